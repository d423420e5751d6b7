//! A simulation as tests speak of it: what is so from when on, what is done, and what came of it.

use std::{fs, path::PathBuf, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use watchbell::{
    config::Config,
    domain::{
        CheckId, CheckKey, ServiceId, SubscriberId,
        archive::Archive,
        event::Event,
        incident::Incident,
        subscriber::{Address, Subscriber, SubscriberState, Wants},
    },
    simulation::{Action, Behaviour, Mail, Post, Simulation},
    store::{Reader, Store},
};

use super::invariants::{Broken, Invariants};

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub const fn mins(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(3600 * n)
}

/// What the next `then_after` is about.
#[derive(Clone, Debug)]
enum Subject {
    Target(String),
    Relay,
    RelayTo(String),
}

/// What is said of a subject.
pub enum Said {
    Target(Behaviour),
    Relay(Post),
}

impl From<Behaviour> for Said {
    fn from(behaviour: Behaviour) -> Self {
        Self::Target(behaviour)
    }
}

impl From<Post> for Said {
    fn from(post: Post) -> Self {
        Self::Relay(post)
    }
}

/// A config of services: `"api"` needs nothing, `"api -> database"` needs the database. Everything
/// that is to stay secret says so.
pub fn config(services: &[&str]) -> String {
    let mut text = String::from(
        r#"
[site]
title = "Example Status"
url = "https://status.example.org/"

[store]
allow_volatile = true

[server]
listen = "127.0.0.1:1"

[operator]
notify = ["secret-operator@example.org"]

[email]
from = "Example Status <status@example.org>"
smtp = "smtps://secret-relay.example.org"
username = "secret-user"
password = "secret-password"

[defaults]
every = "60s"
timeout = "10s"
"#,
    );
    for service in services {
        let (id, needs) = service.split_once("->").unwrap_or((service, ""));
        let id = id.trim();
        let needs: Vec<String> = needs.split_whitespace().map(|id| format!("{id:?}")).collect();
        let name = format!("{}{}", id[..1].to_uppercase(), &id[1..]);
        text.push_str(&format!(
            "\n[[service]]\nid = {id:?}\nname = {name:?}\ndepends_on = [{}]\nowners = [\"secret-owner@example.org\"]\n\
             [[service.check]]\nhttp = \"https://secret-{id}.example.org/health?key=secret-query\"\n\
             headers = {{ Authorization = \"Bearer secret-header\" }}\n",
            needs.join(", ")
        ));
    }
    text
}

pub fn parse(text: &str, folder: &std::path::Path) -> watchbell::config::Loaded {
    let path = folder.join("watchbell.toml");
    match Config::parse(&path, text, &|_| None) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<String>()),
    }
}

/// A folder in memory if there is such a thing: nothing here is about disks.
pub fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = tempfile::Builder::new().prefix("watchbell-sim-").tempdir_in(&memory);
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

pub struct Sim {
    pub simulation: Simulation,
    pub invariants: Invariants,
    folder: TempDir,
    subject: Option<(Subject, Duration)>,
    people: u8,
}

impl Sim {
    pub fn new(config: &str) -> Self {
        Self::seeded(config, 7)
    }

    pub fn seeded(config: &str, seed: u64) -> Self {
        let folder = folder();
        let simulation = Simulation::new(parse(config, folder.path()), at("2026-03-01T00:00:00Z"), seed);
        Self { simulation, invariants: Invariants::new(), folder, subject: None, people: 0 }
    }

    /// From now on `target` finds this: all checks of a service, or one as `api/http`.
    pub fn target(mut self, target: &str, behaviour: Behaviour) -> Self {
        let now = self.simulation.moment();
        self.subject = Some((Subject::Target(target.to_owned()), now));
        self.say(now, behaviour.into());
        self
    }

    /// From now on the relay does this.
    pub fn relay(mut self, post: Post) -> Self {
        let now = self.simulation.moment();
        self.subject = Some((Subject::Relay, now));
        self.say(now, post.into());
        self
    }

    /// From now on the relay does this with messages to one address.
    pub fn relay_to(mut self, address: &str, post: Post) -> Self {
        let now = self.simulation.moment();
        self.subject = Some((Subject::RelayTo(address.to_owned()), now));
        self.say(now, post.into());
        self
    }

    /// What was said last is so for that long, and then this is.
    pub fn then_after(mut self, lasts: Duration, said: impl Into<Said>) -> Self {
        let (_, since) = self.subject.as_mut().expect("something is said first");
        *since += lasts;
        let since = *since;
        self.say(since, said.into());
        self
    }

    fn say(&mut self, moment: Duration, said: Said) {
        let subject = self.subject.clone().expect("something is said first").0;
        match (subject, said) {
            (Subject::Target(name), Said::Target(behaviour)) => match name.split_once('/') {
                Some((service, check)) => {
                    let service = if service == "~canary" { ServiceId::of_canaries() } else { id(service) };
                    let check = CheckKey { service, check: CheckId::new(check).unwrap() };
                    self.simulation.target_of(&check, moment, behaviour);
                }
                None => self.simulation.target(&id(&name), moment, behaviour),
            },
            (Subject::Relay, Said::Relay(post)) => self.simulation.relay(moment, post),
            (Subject::RelayTo(address), Said::Relay(post)) => self.simulation.relay_to(&address, moment, post),
            _ => panic!("targets and relays do different things"),
        }
    }

    /// Someone who follows everything from the first moment on.
    pub fn subscriber(self, address: &str) -> Self {
        self.subscriber_of(address, &[])
    }

    /// Someone who follows these services.
    pub fn subscriber_of(mut self, address: &str, services: &[&str]) -> Self {
        let wants = Wants { services: services.iter().map(|it| id(it)).collect(), ..Wants::default() };
        self.subscribe(secs(1), address, wants);
        self
    }

    pub fn subscribe(&mut self, after: Duration, address: &str, wants: Wants) {
        self.people += 1;
        let moment = self.simulation.moment() + after;
        let at = self.simulation.wall_at(moment);
        let subscriber = Subscriber {
            id: SubscriberId::from_bytes([self.people; 16]),
            address: Address::parse(address).unwrap().into(),
            state: SubscriberState::Confirmed,
            wants,
            language: None,
            timezone: None,
            created_at: at,
            confirmed_at: Some(at),
        };
        self.invariants.will_subscribe(moment, &subscriber);
        self.simulation.plan(moment, Action::Subscribe(Box::new(subscriber)));
    }

    pub fn leaves(&mut self, after: Duration, address: &str) {
        let moment = self.simulation.moment() + after;
        self.invariants.will_leave(moment, address);
        self.simulation.plan(moment, Action::Leave(Address::parse(address).unwrap()));
    }

    /// Plans something for so long after now.
    pub fn after(mut self, after: Duration, action: Action) -> Self {
        self.plan(after, action);
        self
    }

    pub fn plan(&mut self, after: Duration, action: Action) {
        let moment = self.simulation.moment() + after;
        self.invariants.will_act(moment, &action);
        self.simulation.plan(moment, action);
    }

    /// A note is saved now.
    pub fn note(&mut self, name: &str, text: &str) {
        self.plan(Duration::ZERO, Action::Note(name.to_owned(), text.to_owned()));
    }

    /// The config is this one from now on.
    pub fn reload(&mut self, config: &str) {
        let loaded = parse(config, self.folder.path());
        self.plan(Duration::ZERO, Action::Reload(Box::new(loaded)));
    }

    pub fn restart(&mut self) {
        self.plan(Duration::ZERO, Action::Restart);
    }

    /// Lets time pass; panics if an invariant breaks.
    pub fn run_for(&mut self, lasts: Duration) -> &mut Self {
        if let Err(broken) = self.try_run_for(lasts) {
            panic!("{broken}");
        }
        self
    }

    /// Lets time pass until an invariant breaks.
    pub fn try_run_for(&mut self, lasts: Duration) -> Result<(), Broken> {
        let end = self.simulation.moment() + lasts;
        let invariants = &mut self.invariants;
        let mut broken = None;
        let run = self.simulation.run_until(end, &mut |simulation, happened| {
            if broken.is_none() {
                broken = invariants.look(simulation, happened).err();
            }
        });
        if let Err(error) = run {
            return Err(Broken(error.to_string()));
        }
        broken.map_or(Ok(()), Err)
    }

    /// Lets everything settle, and looks at what must hold in the end; panics if it does not.
    pub fn ends_well(&mut self) {
        if let Err(broken) = self.try_end() {
            panic!("{broken}");
        }
    }

    pub fn try_end(&mut self) -> Result<(), Broken> {
        self.simulation.publish();
        self.try_run_for(secs(1))?;
        self.simulation.publish();
        self.invariants.at_the_end(&self.simulation)
    }

    pub fn reader(&self) -> Reader {
        Store::reader(&self.simulation.config().store).unwrap()
    }

    /// All incidents, oldest first.
    pub fn incidents(&self) -> Vec<Incident> {
        let reader = self.reader();
        let heads = reader.heads().unwrap();
        heads.iter().rev().map(|head| reader.incident(&head.id).unwrap().unwrap()).collect()
    }

    /// The only incident.
    pub fn the_incident(&self) -> Incident {
        let mut incidents = self.incidents();
        assert_eq!(incidents.len(), 1, "{incidents:#?}");
        incidents.remove(0)
    }

    /// All events, oldest first.
    pub fn events(&self) -> Vec<Event> {
        let mut events = self.reader().events(None, None, usize::MAX).unwrap();
        events.reverse();
        events
    }

    /// Mails to subscribers.
    pub fn mails(&self) -> Vec<&Mail> {
        self.simulation.mails().iter().filter(|mail| mail.subscriber.is_some()).collect()
    }

    /// What each of them is about: `"10:00 a@example.org Outage: Api"`.
    pub fn subjects(&self) -> Vec<String> {
        let line = |mail: &&Mail| {
            let subject = mail.subject().replace("[Example Status] ", "");
            format!("{} {} {subject}", mail.taken_at.strftime("%H:%M:%S"), mail.to)
        };
        self.mails().iter().map(line).collect()
    }

    /// Mails to the operator.
    pub fn notices(&self) -> Vec<String> {
        let mails = self.simulation.mails().iter().filter(|mail| mail.subscriber.is_none());
        mails.map(|mail| mail.subject().replace("[Example Status] ", "")).collect()
    }

    pub fn page(&self, name: &str) -> String {
        fs::read_to_string(self.simulation.config().site.output.join(name)).unwrap_or_default()
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

pub fn id(service: &str) -> ServiceId {
    ServiceId::new(service).unwrap()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn clock_step(seconds: i64) -> Action {
    Action::StepClock(SignedDuration::from_secs(seconds))
}
