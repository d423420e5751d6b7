//! Two stories as values: a realistic outage, and one in which every text is hostile.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use jiff::{Timestamp, tz::TimeZone};
use watchbell::{
    config::Site,
    domain::{
        EventId, GroupId, Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus,
        archive::ServiceNow,
        event::{Event, EventKind, IncidentView},
        id::UpdateId,
        incident::{Affected, Fact, FactKind, Incident, Origin, Update},
        note::Postmortem,
        outcome::{Cause, Class},
        service::{Group, Rules, Service},
    },
    site::{
        feeds::{Authority, Entries, Feed, FeedSite, history, updates},
        json::{self, Api},
        key::Key,
        pieces::Composer,
        words::{Names, Words},
    },
};

/// A site with what happened on it.
#[derive(Clone)]
pub struct World {
    pub site: Site,
    pub rules: Rules,
    pub names: Names,
    pub words: Words,
    pub authority: Authority,
    pub services: HashMap<ServiceId, ServiceNow>,
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// In the order of recording.
    pub events: Vec<Event>,
    pub now: Timestamp,
}

/// Read once: worlds are made by the million.
static WORDS: LazyLock<Words> = LazyLock::new(|| Words::load("en", None).unwrap());

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn id(text: &str) -> ServiceId {
    ServiceId::new(text).unwrap()
}

impl World {
    fn new(title: &str, url: &str, services: &[(&str, &str, Option<&str>)], groups: &[(&str, &str)]) -> Self {
        let url: url::Url = url.parse().unwrap();
        let site = Site {
            title: title.to_owned(),
            url: url.clone(),
            description: String::new(),
            timezone: TimeZone::UTC,
            timezone_name: "UTC".to_owned(),
            language: "en".to_owned(),
            languages: Vec::new(),
            output: "public".into(),
            templates: None,
            static_files: None,
            logo: None,
            accent: "#2563eb".to_owned(),
            support: None,
            links: Vec::new(),
            history_days: 90,
            noindex: false,
        };
        let service = |&(service, name, group): &(&str, &str, Option<&str>)| {
            Arc::new(Service {
                id: id(service),
                name: name.to_owned(),
                group: group.map(|group| GroupId::new(group).unwrap()),
                description: String::new(),
                depends_on: Vec::new(),
                objective: None,
                acceptable_downtime: None,
                owners: Vec::new(),
                max_impact: Impact::Critical,
                notify_after: std::time::Duration::ZERO,
                checks: Vec::new(),
            })
        };
        let rules = Rules {
            services: services.iter().map(service).collect(),
            groups: groups
                .iter()
                .map(|(group, name)| Group { id: GroupId::new(group).unwrap(), name: (*name).to_owned() })
                .collect(),
            ..Rules::default()
        };
        Self {
            names: Names::of(&rules),
            words: WORDS.clone(),
            authority: Authority::mint(&url, at("2020-01-01T00:00:00Z")),
            site,
            rules,
            services: HashMap::new(),
            incidents: BTreeMap::new(),
            events: Vec::new(),
            now: at("2020-04-05T12:00:00Z"),
        }
    }

    pub fn feed_site(&self) -> FeedSite<'_> {
        FeedSite { site: &self.site, names: &self.names, words: &self.words, authority: &self.authority }
    }

    /// As an archive gives them: newest first.
    pub fn archived(&self, service: Option<&ServiceId>) -> Vec<Event> {
        let follows = |event: &&Event| service.is_none_or(|service| event.services.contains(service));
        self.events.iter().rev().filter(follows).cloned().collect()
    }

    pub fn updates(&self, service: Option<&ServiceId>) -> Feed {
        updates(&self.feed_site(), service, &self.archived(service), &self.incidents, self.now, &mut Entries::default())
    }

    pub fn history(&self) -> Feed {
        history(&self.feed_site(), &self.incidents, &mut Entries::default())
    }

    pub fn api(&self) -> Api<'_> {
        Api {
            site: self.feed_site(),
            rules: &self.rules,
            services: &self.services,
            incidents: &self.incidents,
            changed_at: json::changed_at(self.services.values(), &self.incidents),
            fresh_until: self.now + jiff::SignedDuration::from_mins(10),
            key: Key::default(),
        }
    }

    /// `summary.json`, of which nothing is published yet; likewise below.
    pub fn summary(&self) -> Vec<u8> {
        self.composed(Api::summary)
    }

    pub fn components(&self) -> Vec<u8> {
        self.composed(Api::components)
    }

    pub fn incidents(&self) -> Vec<u8> {
        self.composed(Api::incidents)
    }

    fn composed<'a>(&'a self, fill: impl FnOnce(&Api<'a>, &mut Composer)) -> Vec<u8> {
        let mut json = Composer::default();
        fill(&self.api(), &mut json);
        json.finish().unwrap().0
    }

    pub fn set(&mut self, service: &str, status: ServiceStatus, since: &str) {
        let now = ServiceNow {
            service: id(service),
            status,
            since: at(since),
            checks_up: 0,
            checks_known: 1,
            last_result_at: Some(self.now),
        };
        self.services.insert(id(service), now);
    }

    /// Puts `incident` as it is now, and what is told of it.
    pub fn tell(
        &mut self,
        incident: &Incident,
        kind: EventKind,
        recorded: &str,
        services: &[&str],
        update: Option<Update>,
    ) {
        let recorded_at = at(recorded);
        let n = u8::try_from(self.events.len() % 256).unwrap();
        self.events.push(Event {
            id: EventId::new(recorded_at, [n; 10]),
            kind,
            incident: incident.id.clone(),
            at: update.as_ref().map_or(recorded_at, |update| update.at),
            recorded_at,
            seals_at: recorded_at + jiff::SignedDuration::from_secs(30),
            services: services.iter().map(|service| id(service)).collect(),
            notify: true,
            view: IncidentView::from(incident),
            update,
            fact: None,
        });
        self.incidents.insert(incident.id.clone(), incident.clone());
    }
}

pub fn part(service: &str, worst: ServiceStatus, started: &str, class: Class) -> Affected {
    Affected {
        service: id(service),
        status: worst,
        worst,
        started_at: at(started),
        recovered_at: None,
        earlier_ms: 0,
        cause: Some(Cause::from(class)),
        seen_failing: true,
    }
}

pub fn update(n: u8, when: &str, status: IncidentStatus, text: &str) -> Update {
    Update {
        id: UpdateId::from_bytes([n; 16]),
        at: at(when),
        recorded_at: at(when),
        changed_at: at(when),
        status,
        text: text.into(),
        affected: BTreeMap::new(),
        next_update_at: None,
        notify: true,
        withdrawn: false,
    }
}

pub fn incident(name: &str, started: &str, noticed: &str, affected: Vec<Affected>) -> Incident {
    Incident {
        id: IncidentId::new(name).unwrap(),
        version: 1,
        aliases: Vec::new(),
        origin: Origin::Automatic,
        title: None,
        root: None,
        status: IncidentStatus::Investigating,
        impact: affected.iter().map(|part| part.worst.impact()).max().unwrap_or(Impact::None),
        impact_override: None,
        started_at: at(started),
        noticed_at: at(noticed),
        resolved_at: None,
        facts: affected
            .iter()
            .map(|part| Fact {
                at: at(noticed),
                what: FactKind::Confirmed { service: part.service.clone(), probes: 3, cause: part.cause },
            })
            .collect(),
        affected,
        updates: Vec::new(),
        postmortem: None,
        auto_resolve: true,
        withdrawn: false,
        reopened: 0,
    }
}

pub fn recover(incident: &mut Incident, service: &str, when: &str) {
    for part in incident.affected.iter_mut().filter(|part| part.service == id(service)) {
        part.status = ServiceStatus::Operational;
        part.recovered_at = Some(at(when));
        let after_ms = part.downtime_ms(at(when));
        incident.facts.push(Fact { at: at(when), what: FactKind::Recovered { service: id(service), after_ms } });
    }
}

pub fn resolve(incident: &mut Incident, when: &str) {
    incident.status = IncidentStatus::Resolved;
    incident.resolved_at = Some(at(when));
    incident.facts.push(Fact { at: at(when), what: FactKind::Resolved });
}

/// A hypervisor crashes and takes three services with it; they come back over nine days, while
/// people write. A day later another service is slow, and one has not been looked at.
pub fn hypervisor() -> World {
    use ServiceStatus::{DegradedPerformance, MajorOutage, Operational, Unknown};
    let services = [
        ("vm-host-1", "VM host 1", None),
        ("bugzilla", "Bugzilla", Some("public")),
        ("askbot", "Ask", Some("public")),
        ("archive", "Download archive", Some("public")),
        ("wiki", "Wiki", Some("public")),
        ("backup", "Backups", None),
    ];
    let mut world =
        World::new("Example Status", "https://status.example.org/", &services, &[("public", "Public services")]);
    let mut crash = incident(
        "2020-03-26-vm-host-1",
        "2020-03-26T10:15:00Z",
        "2020-03-26T10:15:12Z",
        vec![
            part("vm-host-1", MajorOutage, "2020-03-26T10:15:00Z", Class::ConnectTimeout),
            part("bugzilla", MajorOutage, "2020-03-26T10:15:02Z", Class::ConnectRefused),
            part("askbot", MajorOutage, "2020-03-26T10:15:03Z", Class::ConnectRefused),
            part("archive", MajorOutage, "2020-03-26T10:15:05Z", Class::Dns),
        ],
    );
    crash.root = Some(id("vm-host-1"));
    let all = ["vm-host-1", "bugzilla", "askbot", "archive"];
    world.tell(&crash, EventKind::Opened, "2020-03-26T10:15:12Z", &all, None);

    let first = update(
        1,
        "2020-03-26T10:40:00Z",
        IncidentStatus::Identified,
        "A hypervisor **crashed**; file systems of three guests are damaged.\n\n- Ask is being restored\n- [details](https://wiki.example.org/?a=1&b=2)",
    );
    let first = Update { next_update_at: Some(at("2020-03-26T12:00:00Z")), ..first };
    crash.status = IncidentStatus::Identified;
    crash.updates.push(first.clone());
    world.tell(&crash, EventKind::Updated, "2020-03-26T10:40:00Z", &all, Some(first));

    recover(&mut crash, "vm-host-1", "2020-03-26T11:05:00Z");
    recover(&mut crash, "askbot", "2020-03-26T18:45:00Z");
    world.tell(&crash, EventKind::Recovered, "2020-03-26T18:45:10Z", &["askbot"], None);
    recover(&mut crash, "bugzilla", "2020-03-26T22:00:00Z");
    world.tell(&crash, EventKind::Recovered, "2020-03-26T22:00:10Z", &["bugzilla"], None);

    let partial =
        update(2, "2020-04-03T16:00:00Z", IncidentStatus::Monitoring, "Recent releases can be downloaded again.");
    let partial = Update { affected: [(id("archive"), ServiceStatus::PartialOutage)].into(), ..partial };
    crash.status = IncidentStatus::Monitoring;
    crash.affected[3].status = ServiceStatus::PartialOutage;
    crash.updates.push(partial.clone());
    world.tell(&crash, EventKind::Updated, "2020-04-03T16:00:00Z", &all, Some(partial));

    recover(&mut crash, "archive", "2020-04-04T18:30:00Z");
    resolve(&mut crash, "2020-04-04T18:30:00Z");
    world.tell(&crash, EventKind::Resolved, "2020-04-04T18:30:10Z", &all, None);
    crash.status = IncidentStatus::Postmortem;
    crash.postmortem = Some(Postmortem {
        published: Some(at("2020-04-05T09:00:00Z")),
        sections: vec![("summary".to_owned(), "One machine held *too much*.".into())],
        ..Postmortem::default()
    });
    world.tell(&crash, EventKind::Postmortem, "2020-04-05T09:00:00Z", &all, None);

    let mut slow = incident(
        "2020-04-05-wiki",
        "2020-04-05T11:30:00Z",
        "2020-04-05T11:30:40Z",
        vec![part("wiki", DegradedPerformance, "2020-04-05T11:30:00Z", Class::Slow)],
    );
    slow.affected[0].cause = Some(Cause { limit_ms: Some(2000), ..Cause::from(Class::Slow) });
    slow.facts[0].what = FactKind::Confirmed { service: id("wiki"), probes: 3, cause: slow.affected[0].cause };
    world.tell(&slow, EventKind::Opened, "2020-04-05T11:30:40Z", &["wiki"], None);

    for service in ["vm-host-1", "bugzilla", "askbot", "archive"] {
        world.set(service, Operational, "2020-04-04T18:30:00Z");
    }
    world.set("wiki", DegradedPerformance, "2020-04-05T11:30:00Z");
    world.set("backup", Unknown, "2020-04-05T11:45:00Z");
    world
}

/// Everything that may break a feed: markup, CDATA ends, entities, controls (were they let
/// through), right-to-left text, pictures, and ten kilobytes of it.
pub fn hostile() -> World {
    let name = "R&D </b><script>alert(\"1\")</script> ]]> &amp; &copy; 'x' שלום 🚨";
    let mut world = World::new(
        "<Status> & \"Co\" ]]>",
        "https://xn--bcher-kva.example/status/",
        &[("api", name, Some("g")), ("web", "ألف 🧨\u{0}\u{b}\u{1b}\u{85}\u{fffe}\u{fffd}", None)],
        &[("g", "<group> ]]>")],
    );
    "News <b>of</b> the site &lt; ]]> \u{1}".clone_into(&mut world.site.description);
    let mut bad = incident(
        "2020-04-05-api",
        "2020-04-05T11:00:00Z",
        "2020-04-05T11:00:00.001Z",
        vec![
            part("api", ServiceStatus::PartialOutage, "2020-04-05T11:00:00Z", Class::HttpStatus),
            part("web", ServiceStatus::MajorOutage, "2020-04-05T11:00:00Z", Class::Timeout),
        ],
    );
    bad.title = Some("It's </title> <img src=x onerror=alert(1)> ]]> &#x3c;b&#62; אבג".into());
    world.tell(&bad, EventKind::Opened, "2020-04-05T11:00:00.001Z", &["api", "web"], None);
    let texts = [
        "<script>alert(1)</script>\n\n<img src=x onerror=alert(1)> ]]> &amp; \u{1} \u{fffe} &#0; &#x1b;".to_owned(),
        "[a](javascript:alert(1)) [b](/relative) [c](https://example.org/?a=1&b=\"2\"'3') ![i](https://t.example/p.gif)".to_owned(),
        "# Heading\n\n> quote\n\n```html onload=x\n</pre><script>\n```\n\n1. one\n2. two\n\n---\n\n*שלום* עולם 🚨".to_owned(),
        "لا\u{202e}حول ".to_owned() + &"many words & more <of> them ]]> ".repeat(320),
        "<!-- -->\n<b\n\n<![CDATA[ x ]]>\n\n<?xml version=\"1.0\"?>\n\n</p></li></ul>".to_owned(),
    ];
    for (n, text) in (1..).zip(texts) {
        let when = format!("2020-04-05T11:0{n}:00Z");
        let said = update(n, &when, IncidentStatus::Investigating, &text);
        bad.updates.push(said.clone());
        // All recorded in the same millisecond.
        world.tell(&bad, EventKind::Updated, "2020-04-05T11:10:00Z", &["api", "web"], Some(said));
    }
    world.set("api", ServiceStatus::PartialOutage, "2020-04-05T11:00:00Z");
    world.set("web", ServiceStatus::MajorOutage, "2020-04-05T11:00:00Z");
    world
}

/// A site on which nothing ever happened.
pub fn quiet() -> World {
    let mut world = World::new("Quiet", "http://127.0.0.1:8080/", &[("api", "API", None)], &[]);
    world.set("api", ServiceStatus::Operational, "2020-04-01T00:00:00Z");
    world
}
