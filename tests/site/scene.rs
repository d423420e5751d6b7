//! A site's facts in memory: an archive that a test can change between two passes.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use jiff::{Timestamp, ToSpan};
use watchbell::{
    config::Config,
    domain::{
        EventId, IncidentId, IncidentStatus, ServiceId, ServiceStatus,
        archive::{Archive, ArchiveError, Changes, Head, LatencyPoint, ServiceNow},
        event::{Event, EventKind, IncidentView},
        id::UpdateId,
        incident::{Affected, Fact, FactKind, Incident, Origin, Update},
        note::{Action, Postmortem, TimelineEntry},
        outcome::{Cause, Class},
        span::Span,
        target::TargetClass,
    },
};

pub use ServiceStatus::{DegradedPerformance as Slow, MajorOutage as Down, Operational as Up, PartialOutage as Partly};

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn id(text: &str) -> ServiceId {
    ServiceId::new(text).unwrap()
}

/// All that an archive can be asked, and how often it was.
pub struct Scene {
    pub config: Config,
    pub services: BTreeMap<ServiceId, ServiceNow>,
    pub incidents: BTreeMap<IncidentId, Incident>,
    pub spans: BTreeMap<ServiceId, Vec<Span>>,
    /// Oldest first.
    pub events: Vec<Event>,
    pub latency: BTreeMap<ServiceId, Vec<LatencyPoint>>,
    /// What the monitor cannot see, since when.
    pub blind: BTreeMap<TargetClass, Timestamp>,
    pub revision: u64,
    /// How many incidents were read one by one.
    pub incidents_read: Cell<usize>,
    /// What was there when its revision was asked for: to tell what changed since.
    asked: RefCell<BTreeMap<u64, Then>>,
}

#[derive(Clone)]
struct Then {
    services: BTreeMap<ServiceId, ServiceNow>,
    incidents: BTreeMap<IncidentId, Incident>,
    spans: BTreeMap<ServiceId, Vec<Span>>,
    events: usize,
}

pub fn config(folder: &Path, text: &str) -> Config {
    match Config::parse(&folder.join("watchbell.toml"), text, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

impl Scene {
    /// Nothing has happened yet; every service has been up since `since`.
    pub fn calm(config: Config, since: Timestamp) -> Self {
        let ids: Vec<ServiceId> = config.service_ids().cloned().collect();
        let now = |service: &ServiceId| ServiceNow {
            service: service.clone(),
            status: Up,
            since,
            checks_up: 1,
            checks_known: 1,
            last_result_at: Some(since),
        };
        let span = || vec![Span { status: Up, from: since, to: None }];
        Self {
            services: ids.iter().map(|service| (service.clone(), now(service))).collect(),
            spans: ids.iter().map(|service| (service.clone(), span())).collect(),
            config,
            incidents: BTreeMap::new(),
            events: Vec::new(),
            latency: BTreeMap::new(),
            blind: BTreeMap::new(),
            revision: 1,
            incidents_read: Cell::new(0),
            asked: RefCell::default(),
        }
    }

    /// The service is in `status` from `from` on.
    pub fn turn(&mut self, service: &str, status: ServiceStatus, from: Timestamp) {
        let spans = self.spans.get_mut(&id(service)).unwrap();
        spans.retain(|span| span.from < from);
        if let Some(last) = spans.last_mut() {
            last.to = Some(from);
        }
        spans.push(Span { status, from, to: None });
        let now = self.services.get_mut(&id(service)).unwrap();
        (now.status, now.since) = (status, from);
        now.checks_up = u32::from(!status.is_down());
        self.revision += 1;
    }

    /// A past stretch that changes nothing of the present.
    pub fn was(&mut self, service: &str, status: ServiceStatus, from: Timestamp, to: Timestamp) {
        let now = self.services[&id(service)].clone();
        self.turn(service, status, from);
        self.turn(service, Up, to);
        self.services.insert(id(service), now);
    }

    pub fn open(&mut self, name: &str, services: &[(&str, ServiceStatus)], started_at: Timestamp) -> &mut Incident {
        let affected = services.iter().map(|(service, worst)| Affected {
            service: id(service),
            status: *worst,
            worst: *worst,
            started_at,
            recovered_at: None,
            earlier_ms: 0,
            cause: Some(Cause::from(Class::ConnectTimeout)),
            seen_failing: true,
        });
        let worst = services.iter().map(|(_, worst)| *worst).max().unwrap();
        let incident = Incident {
            id: IncidentId::new(name).unwrap(),
            version: 1,
            aliases: Vec::new(),
            origin: Origin::Automatic,
            title: None,
            root: (services.len() > 1).then(|| id(services[0].0)),
            status: IncidentStatus::Investigating,
            impact: worst.impact(),
            impact_override: None,
            started_at,
            noticed_at: started_at + 30.seconds(),
            resolved_at: None,
            affected: affected.collect(),
            updates: Vec::new(),
            facts: vec![
                Fact { at: started_at, what: FactKind::FirstFailure { service: id(services[0].0) } },
                Fact {
                    at: started_at + 30.seconds(),
                    what: FactKind::Confirmed {
                        service: id(services[0].0),
                        probes: 3,
                        cause: Some(Cause::from(Class::ConnectTimeout)),
                    },
                },
            ],
            postmortem: None,
            auto_resolve: true,
            withdrawn: false,
            reopened: 0,
        };
        let name = incident.id.clone();
        self.incidents.insert(name.clone(), incident);
        self.tell(name.as_str(), EventKind::Opened, started_at + 30.seconds(), None);
        self.incidents.get_mut(&name).unwrap()
    }

    pub fn incident_mut(&mut self, name: &str) -> &mut Incident {
        self.revision += 1;
        let incident = self.incidents.get_mut(name).unwrap();
        incident.version += 1;
        incident
    }

    pub fn say(&mut self, name: &str, status: IncidentStatus, when: Timestamp, text: &str) -> &mut Update {
        let n = u8::try_from(self.events.len() % 250).unwrap();
        let update = Update {
            id: UpdateId::new(when, [n; 10]),
            at: when,
            recorded_at: when,
            changed_at: when,
            status,
            text: text.into(),
            affected: BTreeMap::new(),
            next_update_at: None,
            notify: true,
            withdrawn: false,
        };
        let incident = self.incident_mut(name);
        incident.status = status;
        incident.updates.push(update.clone());
        self.tell(name, EventKind::Updated, when, Some(update));
        self.incidents.get_mut(name).unwrap().updates.last_mut().unwrap()
    }

    pub fn resolve(&mut self, name: &str, when: Timestamp) {
        let incident = self.incident_mut(name);
        incident.status = IncidentStatus::Resolved;
        incident.resolved_at = Some(when);
        for part in &mut incident.affected {
            part.recovered_at.get_or_insert(when);
            part.status = Up;
        }
        incident.facts.push(Fact { at: when, what: FactKind::Resolved });
        let services: Vec<ServiceId> = incident.affected.iter().map(|part| part.service.clone()).collect();
        for service in services {
            if self.services.get(&service).is_some_and(|now| now.status != Up) {
                self.turn(service.as_str(), Up, when);
            }
        }
        self.tell(name, EventKind::Resolved, when, None);
    }

    fn tell(&mut self, name: &str, kind: EventKind, when: Timestamp, update: Option<Update>) {
        self.revision += 1;
        let incident = &self.incidents[name];
        let n = u8::try_from(self.events.len() % 250).unwrap();
        self.events.push(Event {
            id: EventId::new(when, [n; 10]),
            kind,
            incident: incident.id.clone(),
            at: when,
            recorded_at: when,
            seals_at: when + 10.seconds(),
            services: incident.affected.iter().map(|part| part.service.clone()).collect(),
            notify: true,
            view: IncidentView::from(incident),
            update,
            fact: None,
        });
    }
}

impl Archive for Scene {
    fn services(&self) -> Result<Vec<ServiceNow>, ArchiveError> {
        Ok(self.services.values().cloned().collect())
    }

    fn heads(&self) -> Result<Vec<Head>, ArchiveError> {
        let mut heads: Vec<Head> = self.incidents.values().map(Head::from).collect();
        heads.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| a.id.cmp(&b.id)));
        Ok(heads)
    }

    fn incident(&self, id: &IncidentId) -> Result<Option<Incident>, ArchiveError> {
        self.incidents_read.set(self.incidents_read.get() + 1);
        Ok(self.incidents.get(id).cloned())
    }

    fn spans(&self, service: &ServiceId, from: Timestamp, to: Timestamp) -> Result<Vec<Span>, ArchiveError> {
        let reaches_in = |span: &&Span| span.to.is_none_or(|end| end > from) && span.from < to;
        Ok(self.spans.get(service).into_iter().flatten().filter(reaches_in).cloned().collect())
    }

    fn events(
        &self,
        service: Option<&ServiceId>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Event>, ArchiveError> {
        let wanted = |event: &&Event| {
            service.is_none_or(|service| event.services.contains(service))
                && since.is_none_or(|since| event.recorded_at >= since)
        };
        Ok(self.events.iter().rev().filter(wanted).take(limit).cloned().collect())
    }

    fn latency(
        &self,
        service: &ServiceId,
        from: Timestamp,
        to: Timestamp,
        _width: Duration,
    ) -> Result<Vec<LatencyPoint>, ArchiveError> {
        let points = self.latency.get(service).into_iter().flatten();
        Ok(points.filter(|point| point.at >= from && point.at < to).copied().collect())
    }

    fn blind(&self) -> Result<BTreeMap<TargetClass, Timestamp>, ArchiveError> {
        Ok(self.blind.clone())
    }

    fn revision(&self) -> Result<u64, ArchiveError> {
        let then = Then {
            services: self.services.clone(),
            incidents: self.incidents.clone(),
            spans: self.spans.clone(),
            events: self.events.len(),
        };
        self.asked.borrow_mut().insert(self.revision, then);
        Ok(self.revision)
    }

    fn changes(&self, revision: u64) -> Result<Option<Changes>, ArchiveError> {
        let asked = self.asked.borrow();
        let Some(then) = asked.get(&revision) else { return Ok(None) };
        let services = self.spans.keys().chain(self.services.keys()).collect::<BTreeSet<_>>();
        let services = services
            .into_iter()
            .filter(|&id| then.services.get(id) != self.services.get(id) || then.spans.get(id) != self.spans.get(id));
        let incidents = self.incidents.iter().filter(|&(id, incident)| then.incidents.get(id) != Some(incident));
        let events = (1..).zip(&self.events).skip(then.events);
        Ok(Some(Changes {
            services: services.map(|id| (id.clone(), self.services.get(id).cloned())).collect(),
            heads: incidents.map(|(_, incident)| Head::from(incident)).collect(),
            events: events.map(|(seq, event)| (seq, event.clone())).collect(),
        }))
    }
}

/// The site of the pictures.
pub const DOCUMENT_HOUSE: &str = r#"
[site]
title = "Document House"
url = "https://status.example.org/"
description = "How the services of the Document House are doing."
support = "mailto:help@example.org"
links = [{ label = "Docs", url = "https://docs.example.org/?a=1&b=2" }]
[defaults]
every = "30s"
[[group]]
id = "public"
name = "Public services"
[[group]]
id = "infrastructure"
name = "Infrastructure"
[[service]]
id = "website"
name = "Website"
group = "public"
check = [{ http = "https://www.example.org/" }]
objective = 99.9
description = "What visitors see first"
[[service]]
id = "bugzilla"
name = "Bugzilla"
group = "public"
depends_on = ["vm-host-1"]
acceptable_downtime = "2h"
check = [{ http = "https://bugs.example.org/" }]
[[service]]
id = "ask"
name = "Ask"
group = "public"
depends_on = ["vm-host-1"]
check = [{ http = "https://ask.example.org/" }]
[[service]]
id = "archive"
name = "Download archive"
group = "public"
depends_on = ["vm-host-1"]
check = [{ http = "https://archive.example.org/" }]
[[service]]
id = "vm-host-1"
name = "VM host 1"
group = "infrastructure"
check = [{ tcp = "vm1.example.org:22" }]
[[service]]
id = "lists"
name = "Mailing lists"
group = "infrastructure"
check = [{ tcp = "lists.example.org:25" }]
"#;

/// The moment of the pictures.
pub const NOW: &str = "2026-11-21T14:03:00Z";

/// The Document House on a calm day.
pub fn calm(folder: &Path) -> Scene {
    let mut scene = Scene::calm(config(folder, DOCUMENT_HOUSE), at("2026-01-01T00:00:00Z"));
    scene.spans.insert(id("vm-host-1"), vec![Span { status: Up, from: at("2026-09-15T08:00:00Z"), to: None }]);
    scene.was("website", Slow, at("2026-09-23T08:10:00Z"), at("2026-09-23T08:36:00Z"));
    scene.was("bugzilla", Partly, at("2026-09-04T08:10:00Z"), at("2026-09-04T09:36:00Z"));
    scene.was("bugzilla", Down, at("2026-09-05T01:10:00Z"), at("2026-09-05T01:40:00Z"));
    scene.was("ask", ServiceStatus::UnderMaintenance, at("2026-10-02T20:00:00Z"), at("2026-10-02T22:00:00Z"));
    scene.was("archive", Slow, at("2026-11-02T08:10:00Z"), at("2026-11-02T08:36:00Z"));
    scene.was("website", Slow, at("2026-11-14T09:15:00Z"), at("2026-11-14T09:41:00Z"));
    let slow = scene.open("2026-11-14-website", &[("website", Slow)], at("2026-11-14T09:15:00Z"));
    slow.title = Some("Slow answers from the website".into());
    scene.say(
        "2026-11-14-website",
        IncidentStatus::Identified,
        at("2026-11-14T09:20:00Z"),
        "A crawler asks for **every** page of the [archive](https://www.example.org/archive).",
    );
    scene.resolve("2026-11-14-website", at("2026-11-14T09:41:00Z"));
    for (n, service) in scene.config.service_ids().enumerate() {
        let start = at("2026-10-01T00:00:00Z");
        let points = (0..52 * 6).filter(|bucket| *bucket != 300).map(|bucket: i64| {
            let wave = u32::try_from((bucket * 7919) % 37).unwrap();
            let p50_us = 60_000 + wave * 900 + u32::try_from(n).unwrap() * 11_000;
            LatencyPoint { at: start + (bucket * 4).hours(), p50_us, p95_us: p50_us * 2 + wave * 4000, count: 480 }
        });
        scene.latency.insert(service.clone(), points.collect());
    }
    scene
}

/// The Document House while the monitor's own way out is cut. Mailing lists are in its own network.
pub fn blind(folder: &Path) -> Scene {
    let mut scene = calm(folder);
    scene.config = config(folder, &DOCUMENT_HOUSE.replace("lists.example.org:25", "10.0.0.9:25"));
    cut_off(&mut scene, at("2026-11-21T13:41:20Z"));
    scene
}

/// The way out is cut since then.
pub fn cut_off(scene: &mut Scene, since: Timestamp) {
    scene.blind.insert(TargetClass::Public, since);
    for service in ["website", "bugzilla", "ask", "archive", "vm-host-1"] {
        scene.turn(service, ServiceStatus::Unknown, since);
    }
}

/// The Document House while a host is down.
pub fn outage(folder: &Path) -> Scene {
    let mut scene = calm(folder);
    let start = at("2026-11-21T10:15:12Z");
    for (service, status) in [("vm-host-1", Down), ("bugzilla", Down), ("ask", Down), ("archive", Down)] {
        scene.turn(service, status, start);
    }
    let name = "2026-11-21-vm-host-1";
    scene.open(name, &[("vm-host-1", Down), ("bugzilla", Down), ("ask", Down), ("archive", Down)], start);
    let joined = |service: &str, when: &str| Fact {
        at: at(when),
        what: FactKind::Joined { service: id(service), needs: Some(id("vm-host-1")) },
    };
    let facts = [joined("ask", "2026-11-21T10:16:02Z"), joined("archive", "2026-11-21T10:16:03Z")];
    scene.incident_mut(name).facts.extend(facts);
    scene.say(
        name,
        IncidentStatus::Investigating,
        at("2026-11-21T10:31:00Z"),
        "Several services went down at once. We are looking into it.",
    );
    scene.turn("archive", Partly, at("2026-11-21T11:02:00Z"));
    let incident = scene.incident_mut(name);
    incident.affected[3].status = Partly;
    incident.facts.push(Fact {
        at: at("2026-11-21T11:02:00Z"),
        what: FactKind::Changed { service: id("archive"), status: Partly, up: 2, of: 3 },
    });
    let update = scene.say(
        name,
        IncidentStatus::Identified,
        at("2026-11-21T13:40:00Z"),
        "The hypervisor crashed and restarted; three machines do not boot because of file system damage. \
         We are repairing the disk of **Ask** first; Bugzilla may need to be restored from last night’s backup.",
    );
    update.next_update_at = Some(at("2026-11-21T14:30:00Z"));
    scene
}

/// The same once it is over and written up.
pub fn written_up(folder: &Path) -> Scene {
    let mut scene = outage(folder);
    let name = "2026-11-21-vm-host-1";
    let incident = scene.incident_mut(name);
    incident.affected[2].recovered_at = Some(at("2026-11-21T18:45:00Z"));
    incident.facts.push(Fact {
        at: at("2026-11-21T18:45:00Z"),
        what: FactKind::Recovered { service: id("ask"), after_ms: 30_588_000 },
    });
    scene.turn("ask", Up, at("2026-11-21T18:45:00Z"));
    scene.resolve(name, at("2026-11-30T19:00:00Z"));
    let incident = scene.incident_mut(name);
    incident.status = IncidentStatus::Postmortem;
    let text = |name: &str, text: &str| (name.to_owned(), text.into());
    incident.postmortem = Some(Postmortem {
        published: Some(at("2026-12-02T09:00:00Z")),
        sections: vec![
            text("root_cause", "A *known* fault of the storage driver.\n\n# Detail\n\n```\nfsck: 3 damaged\n```"),
            text("summary", "A host crashed; three machines did not boot."),
            text("impact", "- 80 changes were lost\n- all were recovered"),
        ],
        five_whys: vec!["Because the **disk** was damaged.".into(), "Because nothing looked.".into()],
        went_well: vec!["The backup was whole.".into()],
        went_wrong: vec!["Self-healing reported nothing.".into(), "Nobody was told at night.".into()],
        got_lucky: vec!["Mails held the lost changes.".into()],
        learned: vec!["Look at what heals itself.".into()],
        timeline: vec![
            TimelineEntry {
                at: at("2026-11-21T10:15:00Z"),
                text: "The host crashes.".into(),
                mark: Some("outage begins".into()),
            },
            TimelineEntry { at: at("2026-11-22T08:00:00Z"), text: "A backup is *restored*.".into(), mark: None },
        ],
        actions: vec![
            Action {
                text: "Watch the healing.".into(),
                kind: Some("detect".into()),
                owner: Some("infrastructure team".into()),
                status: Some("in progress".into()),
                url: Some("https://tracker.example.org/1?a=1&b=2".into()),
            },
            Action {
                text: "Never again.".into(),
                kind: None,
                owner: None,
                status: None,
                url: Some("javascript:alert(1)".into()),
            },
        ],
    });
    scene
}

/// Every text that somebody could write is an attack.
pub fn hostile(folder: &Path) -> Scene {
    let text = r#"
[site]
title = "</title><script>alert('title')</script> & \"Co\""
url = "https://status.example.org/sub/path/"
description = "\"><script>alert(1)</script>"
[[group]]
id = "g"
name = "<b>Group</b>"
[[service]]
id = "s"
name = "<img src=x onerror=alert(1)>"
group = "g"
description = "<svg onload=alert(1)>"
check = [{ tcp = "secret.internal:1" }]
owners = ["hidden@example.org"]
[[service]]
id = "long"
name = "Averyveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryverylongnamewithoutspaces"
group = "g"
depends_on = ["s"]
check = [{ tcp = "secret.internal:2" }]
"#;
    let mut scene = Scene::calm(config(folder, text), at("2026-11-01T00:00:00Z"));
    let start = at("2026-11-21T10:15:12Z");
    scene.turn("s", Down, start);
    scene.turn("long", Down, start);
    let incident = scene.open("evil", &[("s", Down), ("long", Down)], start);
    incident.title = Some("</h1><script>alert(2)</script> {{ 7 * 7 }} {% raw %}".into());
    scene.say(
        "evil",
        IncidentStatus::Identified,
        at("2026-11-21T10:31:00Z"),
        "<script>alert(3)</script>\n\n[x](javascript:alert(4)) ![y](https://evil.example/y.png) {{ 7 * 7 }}\n\n\
         <style>*{display:none}</style> &#8238;evil [ok](https://ok.example/\"onclick=alert(5))",
    );
    scene
}

/// Names of files, for comparing two folders.
pub fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if name != ".watchbell" {
                    folders.push(path);
                }
            } else {
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// The names in one and not in the other, and those that differ.
pub fn differences(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
    a.keys().chain(b.keys()).filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}
