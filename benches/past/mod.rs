//! A store with a past: so many services, so many incidents that are over, and a way to break and
//! mend services now, through the same commits that the daemon makes.
#![allow(clippy::format_collect, clippy::panic, reason = "benches stand outside: they fail loudly")]

use std::{fmt::Write as _, path::Path};

use jiff::{SignedDuration, Timestamp, ToSpan};
use watchbell::{
    config::Config,
    domain::{
        EventId, IncidentId, IncidentStatus, ServiceId, ServiceStatus,
        archive::ServiceNow,
        event::{Event, EventKind, IncidentView},
        incident::{Affected, Fact, FactKind, Incident, Origin},
        outcome::{Cause, Class},
        span::{Span, SpanEdit},
    },
    judge::Step,
    site,
    store::{Commit, Store},
};

/// Between the first failure and the verdict.
const CONFIRMED_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// So many steps are written at once while the past is made.
const BATCH: usize = 500;

/// Everything that was written down so far.
pub struct Past {
    pub config: Config,
    pub store: Store,
    open: Vec<Option<Incident>>,
    ids: Vec<ServiceId>,
    told: u64,
}

/// `services` services in groups of 50, each probed once a minute at `target` (`host:port`).
pub fn services_text(services: usize, target: &str) -> String {
    let mut text = "[defaults]\nevery = \"60s\"\n".to_owned();
    for group in 0..services.div_ceil(50) {
        writeln!(text, "[[group]]\nid = \"g{group}\"\nname = \"Group {group}\"").unwrap();
    }
    for n in 0..services {
        writeln!(text, "[[service]]\nid = \"service-{n}\"\nname = \"Service number {n}\"\ngroup = \"g{}\"", n / 50)
            .unwrap();
        writeln!(text, "check = [{{ http = \"http://{target}/{n}\" }}]").unwrap();
    }
    text
}

impl Past {
    /// The services of `text` (all below `[site]` and `[server]`) since two years before `now`, with `incidents` incidents of 20 minutes,
    /// evenly spread over them and over that time.
    pub fn make(folder: &Path, text: &str, incidents: usize, now: Timestamp) -> Self {
        let text = format!("[site]\ntitle = \"Many\"\nurl = \"http://127.0.0.1:8080/\"\n{text}");
        let config = match Config::parse(&folder.join("watchbell.toml"), &text, &|_| None) {
            Ok(loaded) => loaded.config,
            Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<String>()),
        };
        let since = now - SignedDuration::from_hours(24 * 730);
        let mut store = Store::open(&config.store, since).unwrap();
        store.set_services(&config.rules).unwrap();
        store.mint(site::AUTHORITY, &site::authority(&config, since)).unwrap();
        let ids: Vec<ServiceId> = config.service_ids().cloned().collect();
        let open = vec![None; ids.len()];
        let mut past = Self { config, store, open, ids, told: 0 };
        let births = (0..past.ids.len()).map(|n| past.turn(n, ServiceStatus::Operational, since)).collect();
        past.write(births, since);
        let apart = (now - since).total(jiff::Unit::Millisecond).unwrap() as i64 / (incidents as i64 + 1);
        let mut steps = Vec::new();
        for n in 0..incidents {
            let at = since + SignedDuration::from_millis(apart * (n as i64 + 1) - 3_600_000);
            let service = n * 7919 % past.ids.len();
            steps.push(past.breaks(service, at));
            steps.push(past.mends(service, at + 20.minutes()));
            if steps.len() >= BATCH {
                past.write(std::mem::take(&mut steps), at);
            }
        }
        past.write(steps, now);
        past
    }

    /// Whether a service is down.
    pub fn is_down(&self, service: usize) -> bool {
        self.open[service].is_some()
    }

    /// A verdict: a service that is up is down now, and the other way round.
    pub fn verdict(&mut self, service: usize, now: Timestamp) -> IncidentId {
        let step = if self.is_down(service) { self.mends(service, now) } else { self.breaks(service, now) };
        let incident = step.incidents[0].id.clone();
        self.write(vec![step], now);
        incident
    }

    fn write(&mut self, steps: Vec<Step>, at: Timestamp) {
        self.store.commit(&Commit { steps, ..Commit::new(at) }).unwrap();
    }

    fn turn(&self, service: usize, status: ServiceStatus, from: Timestamp) -> Step {
        let service = self.ids[service].clone();
        let now = ServiceNow {
            service: service.clone(),
            status,
            since: from,
            checks_up: u32::from(!status.is_down()),
            checks_known: 1,
            last_result_at: Some(from),
        };
        let spans = vec![Span { status, from, to: None }];
        Step { services: vec![now], spans: vec![SpanEdit { service, from, spans }], ..Step::default() }
    }

    fn breaks(&mut self, service: usize, now: Timestamp) -> Step {
        let id = self.ids[service].clone();
        let started_at = now - CONFIRMED_AFTER;
        let cause = Some(Cause::from(Class::ConnectTimeout));
        let incident = Incident {
            id: IncidentId::new(&format!("i{}-{id}", self.told)).unwrap(),
            version: 1,
            aliases: Vec::new(),
            origin: Origin::Automatic,
            title: None,
            root: None,
            status: IncidentStatus::Investigating,
            impact: ServiceStatus::MajorOutage.impact(),
            impact_override: None,
            started_at,
            noticed_at: now,
            resolved_at: None,
            affected: vec![Affected {
                service: id.clone(),
                status: ServiceStatus::MajorOutage,
                worst: ServiceStatus::MajorOutage,
                started_at,
                recovered_at: None,
                earlier_ms: 0,
                cause,
                seen_failing: true,
            }],
            updates: Vec::new(),
            facts: vec![
                Fact { at: started_at, what: FactKind::FirstFailure { service: id.clone() } },
                Fact { at: now, what: FactKind::Confirmed { service: id, probes: 3, cause } },
            ],
            postmortem: None,
            auto_resolve: true,
            withdrawn: false,
            reopened: 0,
        };
        self.open[service] = Some(incident.clone());
        self.told(self.turn(service, ServiceStatus::MajorOutage, started_at), incident, EventKind::Opened, now)
    }

    fn mends(&mut self, service: usize, now: Timestamp) -> Step {
        let mut incident = self.open[service].take().unwrap();
        let after = now.duration_since(incident.started_at).as_millis();
        incident.version += 1;
        incident.status = IncidentStatus::Resolved;
        incident.resolved_at = Some(now);
        let part = &mut incident.affected[0];
        (part.status, part.recovered_at) = (ServiceStatus::Operational, Some(now));
        let recovered = FactKind::Recovered { service: part.service.clone(), after_ms: u64::try_from(after).unwrap() };
        incident.facts.push(Fact { at: now, what: recovered });
        incident.facts.push(Fact { at: now, what: FactKind::Resolved });
        self.told(self.turn(service, ServiceStatus::Operational, now), incident, EventKind::Resolved, now)
    }

    fn told(&mut self, mut step: Step, incident: Incident, kind: EventKind, now: Timestamp) -> Step {
        self.told += 1;
        let mut unique = [0; 10];
        unique[..8].copy_from_slice(&self.told.to_be_bytes());
        step.events.push(Event {
            id: EventId::new(now, unique),
            kind,
            incident: incident.id.clone(),
            at: now,
            recorded_at: now,
            seals_at: now,
            services: incident.affected.iter().map(|part| part.service.clone()).collect(),
            notify: true,
            view: IncidentView::from(&incident),
            update: None,
            fact: None,
        });
        step.incidents.push(incident);
        step
    }
}
