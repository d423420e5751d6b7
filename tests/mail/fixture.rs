//! A store with subscribers and incidents in it, and the config that tells of them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use tempfile::TempDir;
use url::Url;
use watchbell::{
    clock::{Clock, Elapsed, SystemClock},
    config::{self, Config, Email, MailTransport, Server, Site, Subscriptions},
    domain::{
        EventId, Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus, SubscriberId,
        event::{Event, EventKind},
        incident::{Affected, Incident, Origin},
        service::{IncidentRules, Rules, Service},
        subscriber::{Address, Subscriber, SubscriberState, Wants, Way},
    },
    judge::Step,
    notify::{compose::Composer, ledger::StoreLedger, outbox::Outbox},
    store::{Commit, Reader, Store, tokens::Key},
};

/// A second of 2026-11-21, from 10:15 UTC on.
pub fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-11-21T10:15:00Z".parse().unwrap();
    start.checked_add(SignedDuration::from_secs(second)).unwrap()
}

/// A clock that runs on from an hour after the stories.
pub struct Later(SystemClock);

impl Later {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(SystemClock::new()))
    }
}

impl Clock for Later {
    fn wall(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.0.elapsed().0).unwrap();
        watchbell::clock::to_millis(at(3600).checked_add(passed).unwrap())
    }

    fn elapsed(&self) -> Elapsed {
        self.0.elapsed()
    }
}

pub fn service(id: &str) -> ServiceId {
    ServiceId::new(id).unwrap()
}

fn rules() -> Rules {
    let one = |id: &str, name: &str| {
        Arc::new(Service {
            id: service(id),
            name: name.to_owned(),
            group: None,
            description: String::new(),
            depends_on: Vec::new(),
            objective: None,
            acceptable_downtime: None,
            owners: Vec::new(),
            max_impact: Impact::Critical,
            notify_after: Duration::ZERO,
            checks: Vec::new(),
        })
    };
    Rules {
        services: vec![one("api", "API"), one("website", "Website")],
        groups: Vec::new(),
        incidents: IncidentRules::default(),
        canaries: None,
    }
}

pub fn email() -> Email {
    Email {
        from_name: "Example Status".to_owned(),
        from: Address::parse("status@example.org").unwrap(),
        transport: MailTransport::Dir(PathBuf::from("mails")),
        credentials: None,
        connections: 4,
        rate_per_second: None,
        envelope_from: String::new(),
        dkim: None,
    }
}

pub fn config(email: &Email) -> Config {
    Config {
        path: PathBuf::from("watchbell.toml"),
        site: Site {
            title: "Example Status".to_owned(),
            url: Url::parse("https://status.example.org/").unwrap(),
            description: String::new(),
            timezone: TimeZone::UTC,
            timezone_name: "UTC".to_owned(),
            language: "en".to_owned(),
            languages: Vec::new(),
            output: PathBuf::from("public"),
            templates: None,
            static_files: None,
            logo: None,
            accent: "#2563eb".to_owned(),
            support: None,
            links: Vec::new(),
            history_days: 90,
            noindex: false,
        },
        store: config::Store {
            path: PathBuf::from("watchbell.db"),
            keep_results: Duration::from_hours(1),
            allow_volatile: true,
        },
        server: Server {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            url: Url::parse("https://status.example.org/").unwrap(),
            trusted_proxies: Vec::new(),
            metrics: None,
        },
        operators: Vec::new(),
        notes_dir: PathBuf::from("notes"),
        rules: rules(),
        email: Some(email.clone()),
        subscriptions: Subscriptions { enabled: true, confirm_within: Duration::from_hours(1), webhooks: false },
        heartbeat: None,
    }
}

pub fn composer(email: &Email) -> Arc<Composer> {
    Arc::new(Composer::new(&config(email), email).unwrap())
}

/// A store, and one incident of `api` in it that goes on.
pub struct World {
    pub store: Store,
    folder: TempDir,
    incident: Incident,
    events: u8,
}

impl World {
    /// With `subscribers` people in it, who follow everything.
    pub fn new(subscribers: usize) -> Self {
        // In memory where that can be: what a disk does is no matter here.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut store = Store::open(&Self::store_config(&folder), at(-3600)).unwrap();
        store.set_services(&rules()).unwrap();
        for n in 0..subscribers {
            store.add_subscriber(&Self::subscriber(n)).unwrap();
        }
        Self { store, folder, incident: Self::incident(at(0)), events: 0 }
    }

    fn incident(started_at: Timestamp) -> Incident {
        Incident {
            id: IncidentId::minted(started_at, &service("api"), 1),
            version: 0,
            aliases: Vec::new(),
            origin: Origin::Automatic,
            title: None,
            root: None,
            status: IncidentStatus::Investigating,
            impact: Impact::Critical,
            impact_override: None,
            started_at,
            noticed_at: started_at,
            resolved_at: None,
            affected: vec![Affected {
                service: service("api"),
                status: ServiceStatus::MajorOutage,
                worst: ServiceStatus::MajorOutage,
                started_at,
                recovered_at: None,
                earlier_ms: 0,
                cause: None,
                seen_failing: true,
            }],
            updates: Vec::new(),
            facts: Vec::new(),
            postmortem: None,
            auto_resolve: true,
            withdrawn: false,
            reopened: 0,
        }
    }

    /// From here on it is about another incident.
    pub fn begins_anew(&mut self, second: i64) {
        self.incident = Self::incident(at(second));
    }

    fn store_config(folder: &TempDir) -> config::Store {
        config::Store {
            path: folder.path().join("watchbell.db"),
            keep_results: Duration::from_hours(1),
            allow_volatile: true,
        }
    }

    pub fn subscriber(n: usize) -> Subscriber {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&(n as u64).to_be_bytes());
        Subscriber {
            id: SubscriberId::new(at(-3600), random),
            address: Address::parse(&format!("reader{n}@example.net")).unwrap().into(),
            state: SubscriberState::Confirmed,
            wants: Wants::default(),
            language: None,
            timezone: None,
            created_at: at(-3600),
            confirmed_at: Some(at(-3600)),
        }
    }

    /// A second connection to the same store, as the mail worker has it.
    pub fn ledger(&self) -> StoreLedger {
        let config = Self::store_config(&self.folder);
        StoreLedger::new(Store::open(&config, at(0)).unwrap(), Key::open(&config).unwrap())
    }

    /// What makes and checks its tokens.
    pub fn key(&self) -> Key {
        Key::open(&Self::store_config(&self.folder)).unwrap()
    }

    /// The store, to look at.
    pub fn reader(&self) -> Reader {
        Store::reader(&Self::store_config(&self.folder)).unwrap()
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn incident_id(&self) -> IncidentId {
        self.incident.id.clone()
    }

    /// The same for what leaves by that way.
    pub fn ledger_of(&self, way: Way) -> StoreLedger {
        let config = Self::store_config(&self.folder);
        StoreLedger::new(Store::open(&config, at(0)).unwrap().telling_by(way), Key::open(&config).unwrap())
    }

    /// A new start of whoever tells by that way.
    pub fn epoch_of(&self, way: Way) -> i64 {
        Store::open(&Self::store_config(&self.folder), at(0)).unwrap().telling_by(way).new_epoch().unwrap()
    }

    pub fn outbox(&mut self, connections: u32) -> Outbox {
        Outbox::new(self.store.new_epoch().unwrap(), composer(&email()), connections, None)
    }

    pub fn opens(&mut self, second: i64) {
        self.tell(second, EventKind::Opened);
    }

    pub fn resolves(&mut self, second: i64) {
        for part in &mut self.incident.affected {
            part.recovered_at = Some(at(second));
            part.status = ServiceStatus::Operational;
        }
        self.incident.status = IncidentStatus::Resolved;
        self.incident.resolved_at = Some(at(second));
        self.tell(second, EventKind::Resolved);
    }

    fn tell(&mut self, second: i64, kind: EventKind) {
        self.events += 1;
        self.incident.version += 1;
        let event = Event {
            id: EventId::new(at(second), [self.events; 10]),
            kind,
            incident: self.incident.id.clone(),
            at: at(second),
            recorded_at: at(second),
            seals_at: at(second),
            services: vec![service("api")],
            notify: true,
            view: (&self.incident).into(),
            update: None,
            fact: None,
        };
        let mut commit = Commit::new(at(second));
        commit.steps.push(Step { incidents: vec![self.incident.clone()], events: vec![event], ..Step::default() });
        self.store.commit(&commit).unwrap();
    }
}
