//! Stories for tests: services whose targets change, notes, restarts, and what the judge makes of
//! them in simulated time. After every input it also restores a second world from the rows and
//! demands the same of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Input, Request, Row, Step, World, step, stories::witness::Witness};
use crate::domain::{
    CheckId, CheckKey, Impact, IncidentId, ServiceId, ServiceStatus,
    event::Event,
    incident::Incident,
    note::{Note, NoteUpdate},
    outcome::{CheckResult, Class, Outcome, Phases},
    service::{Cadence, Check, Probe, Rules, Service, Tcp},
    span::Span,
};

pub const UP: CheckResult = CheckResult::Up;
pub const SLOW: CheckResult = CheckResult::Degraded;
pub const DOWN: CheckResult = CheckResult::Down;
pub const UNKNOWN: CheckResult = CheckResult::Unknown;

/// Every story begins here; times in stories are seconds from here.
const START: i64 = 1_795_255_200; // 2026-11-21T10:00:00Z
pub const LATENCY: Duration = Duration::from_millis(100);

pub fn service_id(id: &str) -> ServiceId {
    ServiceId::new(id).unwrap()
}

/// `api` is the check `tcp` of `api`; `api/two` is its check `two`.
pub fn key(name: &str) -> CheckKey {
    let (service, check) = name.split_once('/').unwrap_or((name, "tcp"));
    if service == "~canary" {
        return CheckKey { service: ServiceId::of_canaries(), check: CheckId::new(check).unwrap() };
    }
    CheckKey { service: service_id(service), check: CheckId::new(check).unwrap() }
}

/// `at(90)` is a minute and a half after the start.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// Seconds from the start.
pub fn seconds(at: Timestamp) -> i64 {
    at.as_second() - START
}

pub fn check(id: &str, host: &str) -> Check {
    Check {
        id: CheckId::new(id).unwrap(),
        enabled: true,
        cadence: Cadence::Every(Duration::from_mins(1)),
        timeout: Duration::from_secs(10),
        down_after: 3,
        up_after: 2,
        recheck: Duration::from_secs(5),
        degraded_over: None,
        degraded_after: 3,
        ip: None,
        probe: Probe::Tcp(Tcp { host: host.to_owned(), port: 1, send: None, expect_text: None }),
    }
}

/// `"api"` has one check; `"api: one two"` has two; `"api -> db"` needs `db`; `"legacy:"` has none.
pub fn service(text: &str) -> Service {
    let (head, needs) = text.split_once("->").unwrap_or((text, ""));
    let (id, checks) = match head.split_once(':') {
        Some((id, checks)) => (id.trim(), checks.split_whitespace().collect()),
        None => (head.trim(), vec!["tcp"]),
    };
    Service {
        id: service_id(id),
        name: id.to_owned(),
        group: None,
        description: String::new(),
        depends_on: needs.split_whitespace().map(service_id).collect(),
        objective: None,
        acceptable_downtime: None,
        owners: Vec::new(),
        max_impact: Impact::Critical,
        notify_after: Duration::ZERO,
        checks: checks.into_iter().map(|check_id| check(check_id, id)).collect(),
    }
}

pub fn rules(services: &[&str]) -> Rules {
    Rules { services: services.iter().map(|text| Arc::new(service(text))).collect(), ..Rules::default() }
}

pub fn note(id: &str, services: &[&str]) -> Note {
    Note {
        id: IncidentId::new(id).unwrap(),
        title: None,
        impact: None,
        services: services.iter().map(|id| service_id(id)).collect(),
        started: None,
        resolved: None,
        auto_resolve: None,
        is_override: false,
        withdrawn: false,
        notify: None,
        updates: Vec::new(),
        postmortem: None,
    }
}

pub fn update(text: &str) -> NoteUpdate {
    NoteUpdate {
        at: None,
        status: None,
        text: text.into(),
        affected: BTreeMap::new(),
        next_update_ms: None,
        notify: true,
    }
}

pub struct Story {
    pub rules: Rules,
    pub world: World,
    pub now: Timestamp,
    /// Every event as it is after its last amendment, in the order of recording.
    pub events: Vec<Event>,
    pub incidents: BTreeMap<IncidentId, Incident>,
    pub steps: Vec<Step>,
    spans: BTreeMap<ServiceId, Vec<Span>>,
    rows: BTreeMap<String, String>,
    targets: BTreeMap<CheckKey, CheckResult>,
    classes: BTreeMap<CheckKey, Class>,
    due: BTreeMap<CheckKey, Timestamp>,
    beside: Beside,
    given: u64,
    pub witness: Option<Box<Witness>>,
}

/// How often a second world, restored from the rows, is given the same.
#[derive(Clone, Copy, Debug)]
enum Beside {
    /// With every input; now and then where there are very many.
    Always,
    /// With inputs chosen by this number; then the story goes on with it. What was given is not kept.
    Chosen(u64),
    Never,
}

impl Story {
    pub fn of(services: &[&str]) -> Self {
        Self::with(rules(services))
    }

    pub fn with(rules: Rules) -> Self {
        let mut story = Self {
            rules,
            world: World::new(7),
            now: at(0),
            events: Vec::new(),
            incidents: BTreeMap::new(),
            steps: Vec::new(),
            spans: BTreeMap::new(),
            rows: BTreeMap::new(),
            targets: BTreeMap::new(),
            classes: BTreeMap::new(),
            due: BTreeMap::new(),
            beside: Beside::Always,
            given: 0,
            witness: None,
        };
        story.give(Input::Rules);
        story.schedule();
        story
    }

    /// Without a second world beside it.
    pub fn quick(rules: Rules) -> Self {
        Self { beside: Beside::Never, ..Self::with(rules) }
    }

    /// A story that costs little: about one in 256 times, chosen by `seed`, its world is written
    /// down and read again, and it goes on with what was read.
    pub fn light(rules: Rules, seed: u64) -> Self {
        Self { beside: Beside::Chosen(seed), witness: Some(Box::default()), ..Self::with(rules) }
    }

    fn schedule(&mut self) {
        let now = self.now;
        let keys: Vec<CheckKey> =
            self.rules.probed().flat_map(|service| service.enabled_checks().map(|(key, _)| key)).collect();
        self.due.retain(|key, _| keys.contains(key));
        for key in keys {
            self.due.entry(key).or_insert(now);
        }
    }

    /// Whether the next input is also given to a world that is restored from the rows.
    fn is_compared(&self) -> bool {
        match self.beside {
            // Restoring costs much more than a step.
            Beside::Always => self.given < 100 || self.given.is_multiple_of(16),
            Beside::Chosen(seed) => (seed ^ self.given).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56 == 0,
            Beside::Never => false,
        }
    }

    /// Writes down what changed in the world.
    fn write_down(&mut self) {
        for Row { key, json } in self.world.take_dirty() {
            match json {
                Some(json) => self.rows.insert(key, json),
                None => self.rows.remove(&key),
            };
        }
    }

    /// Gives one input now, and checks what must hold after every input.
    pub fn give(&mut self, input: Input) -> Step {
        self.given += 1;
        if let Some(witness) = &mut self.witness {
            witness.sees(&input);
        }
        let step = if self.is_compared() {
            self.write_down();
            // Before the first row is written the seed is known only to the world itself.
            let mut twin = if self.rows.is_empty() {
                self.world.clone()
            } else {
                World::restore(7, self.rows.clone().into_iter()).unwrap()
            };
            assert!(twin == self.world, "the rows hold all of the world");
            let expected = step(&self.rules, &mut self.world, input.clone(), self.now);
            let found = step(&self.rules, &mut twin, input, self.now);
            assert_eq!(found, expected, "a restored world goes on in the same way");
            assert!(twin == self.world);
            if matches!(self.beside, Beside::Chosen(_)) {
                self.world = twin;
            }
            expected
        } else {
            step(&self.rules, &mut self.world, input, self.now)
        };
        self.record(&step);
        if let Some(witness) = &self.witness {
            witness.hears(self, &step);
        }
        for request in &step.requests {
            let Request::Probe { check, at, .. } = request;
            if let Some(due) = self.due.get_mut(check) {
                *due = if at < due { (*at).max(self.now) } else { *due };
            }
        }
        if matches!(self.beside, Beside::Always) {
            self.steps.push(step.clone());
        }
        step
    }

    fn record(&mut self, step: &Step) {
        for event in &step.events {
            let last = self.events.last().map(|last| last.recorded_at);
            assert!(last.is_none_or(|last| last <= event.recorded_at), "recording runs backwards: {event:?}");
            self.events.push(event.clone());
        }
        for event in &step.amended {
            let known = self.events.iter_mut().find(|known| known.id == event.id).expect("only known events change");
            assert!(known.seals_at > self.now, "a sealed event never changes: {event:?}");
            *known = event.clone();
        }
        for incident in &step.incidents {
            let old = self.incidents.insert(incident.id.clone(), incident.clone());
            assert!(old.is_none_or(|old| old.version < incident.version));
            assert_eq!(incident.is_open(), incident.resolved_at.is_none(), "{incident:?}");
        }
        for (from, into) in &step.merged {
            let gone = self.incidents.remove(from).expect("only known incidents are merged");
            assert!(gone.withdrawn && !gone.is_open(), "what is merged shows nothing of its own: {gone:?}");
            let whole = self.world.incident(from).expect("its id leads on");
            assert_eq!(whole.id, *into, "its id leads on");
            let lost = gone.affected.iter().find(|part| whole.part(&part.service).is_none());
            assert_eq!(lost, None, "merging loses no service: {whole:?}");
        }
        for edit in &step.spans {
            let spans = self.spans.entry(edit.service.clone()).or_default();
            assert_eq!(edit.spans.first().map(|span| span.from), Some(edit.from));
            spans.retain(|span| span.from < edit.from);
            if let Some(last) = spans.last_mut() {
                assert!(last.to.is_none_or(|to| to >= edit.from), "no hole before {edit:?}");
                last.to = Some(edit.from);
            }
            spans.extend(edit.spans.iter().cloned());
            assert!(spans.last().is_some_and(|span| span.to.is_none()), "the last one is open");
            for (a, b) in spans.iter().zip(spans.iter().skip(1)) {
                assert_eq!(a.to, Some(b.from), "end to end: {spans:?}");
                assert_ne!(a.status, b.status, "neighbours differ: {spans:?}");
                assert!(a.from < b.from, "{spans:?}");
            }
        }
    }

    /// The process ends and starts again at once.
    pub fn restart(&mut self) -> &mut Self {
        self.world.distrust_canaries();
        self.give(Input::Rules);
        self
    }

    /// From now on probes of `check` say `result`.
    pub fn target(&mut self, check: &str, result: CheckResult) -> &mut Self {
        self.targets.insert(key(check), result);
        self
    }

    /// Whenever `check` is down, it is so for that reason.
    pub fn fails_as(&mut self, check: &str, class: Class) -> &mut Self {
        self.classes.insert(key(check), class);
        self
    }

    /// One probe that began `at`, and came back after a moment.
    pub fn probe_at(&mut self, check: &str, result: CheckResult, started_at: Timestamp) -> Step {
        self.probe(key(check), result, started_at)
    }

    fn probe(&mut self, check: CheckKey, result: CheckResult, started_at: Timestamp) -> Step {
        let cause = match result {
            UP => None,
            SLOW => Some(Class::Slow.into()),
            DOWN => Some(self.classes.get(&check).copied().unwrap_or(Class::ConnectRefused).into()),
            UNKNOWN => Some(Class::Local.into()),
        };
        let outcome = Outcome { result, cause, started_at, latency: LATENCY, phases: Phases::default(), detail: None };
        self.give(Input::Outcome { check, outcome })
    }

    /// Lets probes run at their turn and when asked for until `end`.
    pub fn run_to(&mut self, end: i64) -> &mut Self {
        let end = at(end);
        loop {
            let next = self.due.iter().min_by_key(|(_, due)| **due).map(|(key, due)| (key.clone(), *due));
            let wake_at = self.world.wake_at(&self.rules).filter(|at| *at >= self.now);
            match (next, wake_at) {
                (due, Some(wake)) if wake < end && due.as_ref().is_none_or(|(_, due)| wake < *due) => {
                    self.now = wake;
                    self.give(Input::Tick);
                    assert_ne!(self.world.wake_at(&self.rules), Some(wake), "a tick at `wake_at` settles it");
                }
                (Some((key, due)), _) if due < end => {
                    let result = self.targets.get(&key).copied().unwrap_or(UP);
                    self.due.insert(key.clone(), at((seconds(due) / 60 + 1) * 60));
                    self.now = self.now.max(due + LATENCY);
                    self.probe(key, result, due);
                }
                _ => break,
            }
        }
        self.now = self.now.max(end);
        self
    }

    /// Nobody probes until `end`.
    pub fn sleep_to(&mut self, end: i64) -> &mut Self {
        self.now = at(end);
        self.due.values_mut().for_each(|due| *due = (*due).max(at(end)));
        self
    }

    /// A note is saved now.
    pub fn note(&mut self, note: &Note) -> Step {
        self.give(Input::Note(Box::new(note.clone())))
    }

    /// The rules are now these.
    pub fn reload(&mut self, rules: Rules) -> Step {
        self.rules = rules;
        let step = self.give(Input::Rules);
        self.schedule();
        step
    }

    /// Who was told what when: `"15 opened api"`, in the order of recording.
    pub fn told(&self) -> Vec<String> {
        let line = |event: &Event| {
            let services: Vec<_> = event.services.iter().map(ServiceId::as_str).collect();
            let hidden = if event.notify { "" } else { " (silent)" };
            format!("{} {} {}{hidden}", seconds(event.recorded_at), event.kind, services.join(" "))
        };
        self.events.iter().map(line).collect()
    }

    /// The decisions that are kept with an incident: `"70 api: down: 3 probes in a row failed"`.
    pub fn reasons(&self) -> Vec<String> {
        let mut kept: Vec<_> =
            self.steps.iter().flat_map(|step| &step.decisions).filter(|it| it.incident.is_some()).collect();
        kept.sort_by_key(|decision| decision.at);
        kept.iter().map(|it| format!("{} {}: {}", seconds(it.at), it.service, it.reason)).collect()
    }

    /// How a service was: `"0 operational"`, each since when.
    pub fn spans(&self, service: &str) -> Vec<String> {
        let spans = self.spans.get(&service_id(service)).map_or(&[][..], Vec::as_slice);
        spans.iter().map(|span| format!("{} {}", seconds(span.from), span.status)).collect()
    }

    pub fn raw_spans(&self, service: &str) -> &[Span] {
        self.spans.get(&service_id(service)).map_or(&[][..], Vec::as_slice)
    }

    /// How a service is now.
    pub fn status(&self, service: &str) -> Option<ServiceStatus> {
        self.raw_spans(service).last().map(|span| span.status)
    }

    /// The length of the longest row of a kind.
    pub fn longest_row(&mut self, kind: &str) -> usize {
        self.write_down();
        self.rows.iter().filter(|(key, _)| key.starts_with(kind)).map(|(_, json)| json.len()).max().unwrap_or(0)
    }

    /// The only incident.
    pub fn the_incident(&self) -> &Incident {
        assert_eq!(self.incidents.len(), 1, "{:?}", self.incidents.keys());
        self.incidents.values().next().unwrap()
    }
}
