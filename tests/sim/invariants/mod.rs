//! What must hold after every step, and in the end. An oracle beside the product: it knows the
//! scripted truth, reads the store by SQL of its own, and counts what the relay took.
//!
//! | | |
//! | --- | --- |
//! | I1 | each outage that was watched for longer than the detection bound is in exactly one incident, which begins and ends with it |
//! | I2 | no service suffers in an incident without an outage in the truth |
//! | I3 | each event has, for each subscriber at its time, a mail that the relay took, or a reason why not; nothing is marked as sent that the relay never took |
//! | I4 | copies of a Message-ID are at most 1 + crashes + replies that were lost |
//! | I5 | a subscriber hears of an incident in the order of its events |
//! | I6 | nobody is written to who has left, or never asked |
//! | I7 | the site follows a commit within 2 s, and is the same as one built into an empty folder |
//! | I8 | no secret, target or address is on the site, nor somebody else's in a mail |
//! | I9 | ids in feeds are never given twice, never change their time, and do not go away |
//! | I10 | who was added is still there, unless they left |
//!
//! Cheap ones are looked at after each step in which something happened; the comparison with an
//! empty folder and the search for secrets now and then (`every`) and in the end.

mod end;
mod truth;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use watchbell::{
    config::Config,
    domain::{
        IncidentId, ServiceId,
        incident::Incident,
        service::{Cadence, Check},
        subscriber::Subscriber,
    },
    simulation::{Action, Behaviour, Disk, Happened, Simulation},
    site::{Options, Publisher},
    store::Store,
    web::takes_subscribers,
};

use self::truth::{checks, detection_bound, outages};
use super::stage::secs;
use crate::site::scene::{differences, tree};

/// An invariant that does not hold.
#[derive(Debug)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Check1 = Result<(), Broken>;

fn broken<T>(text: String) -> Result<T, Broken> {
    Err(Broken(text))
}

/// A stretch within which nobody watched, and what it costs.
#[derive(Clone, Copy, Debug)]
struct Blind {
    at: Stretch,
    /// Catching up takes so long after it.
    costs: Duration,
    /// Whether what was seen before it may no longer count.
    resets: bool,
}

/// A stretch of moments; without an end it goes on.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: Duration,
    to: Option<Duration>,
}

impl Stretch {
    fn overlaps(self, from: Duration, to: Duration) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }
}

/// What became of one event for one subscriber.
struct Row {
    event: Vec<u8>,
    seq: i64,
    incident: String,
    subscriber: Vec<u8>,
    state: String,
    reply: Option<String>,
    folded_into: Option<Vec<u8>>,
}

pub struct Invariants {
    db: Option<Connection>,
    /// Published sites are compared with one from nothing every so many times.
    every: u32,
    published: u32,
    /// Moments at which nobody watched: no daemon, standing still, a disk that takes nothing.
    blind: Vec<Blind>,
    dark_since: Option<Duration>,
    /// What the next start costs.
    start_costs: Duration,
    disk_since: Option<Duration>,
    clock_was_moved: bool,
    people: Vec<(Duration, Subscriber)>,
    left: BTreeMap<String, Duration>,
    versions: BTreeMap<String, i64>,
    /// Who suffers in which incident by what their checks say.
    suffering: BTreeMap<(ServiceId, IncidentId), Stretch>,
    past: Vec<(ServiceId, IncidentId, Stretch)>,
    /// When each event was first seen.
    events: BTreeMap<Vec<u8>, Duration>,
    mails: usize,
    /// Copies of each message, and those of which we never heard.
    copies: BTreeMap<String, (u64, u64)>,
    told: BTreeMap<(String, String), i64>,
    committed_at: Option<Duration>,
    /// Ids of the feed, newest first, with their times.
    entries: Vec<(String, String)>,
    feed: String,
    notes_were_written: bool,
    config_changed: bool,
}

impl Invariants {
    pub fn new() -> Self {
        Self {
            db: None,
            every: 40,
            published: 0,
            blind: Vec::new(),
            dark_since: None,
            start_costs: secs(5),
            disk_since: None,
            clock_was_moved: false,
            people: Vec::new(),
            left: BTreeMap::new(),
            versions: BTreeMap::new(),
            suffering: BTreeMap::new(),
            past: Vec::new(),
            events: BTreeMap::new(),
            mails: 0,
            copies: BTreeMap::new(),
            told: BTreeMap::new(),
            committed_at: None,
            entries: Vec::new(),
            feed: String::new(),
            notes_were_written: false,
            config_changed: false,
        }
    }

    /// Compares the site with one from nothing at every so many publishes.
    pub fn compare_every(&mut self, publishes: u32) {
        self.every = publishes;
    }

    pub fn will_subscribe(&mut self, moment: Duration, subscriber: &Subscriber) {
        self.people.push((moment, subscriber.clone()));
    }

    pub fn will_leave(&mut self, moment: Duration, address: &str) {
        self.left.insert(address.to_owned(), moment);
    }

    pub fn will_act(&mut self, moment: Duration, action: &Action) {
        match action {
            Action::Suspend(lasts) | Action::Stop(lasts) => {
                let at = Stretch { from: moment, to: Some(moment + *lasts) };
                self.blind.push(Blind { at, costs: secs(5), resets: true });
            }
            Action::StepClock(_) => {
                // Everything is probed anew.
                self.clock_was_moved = true;
                let at = Stretch { from: moment, to: Some(moment) };
                self.blind.push(Blind { at, costs: secs(5), resets: true });
            }
            Action::Disk(Disk::Fine) => {
                let at = self.disk_since.take().map(|from| Stretch { from, to: Some(moment + secs(10)) });
                self.blind.extend(at.map(|at| Blind { at, costs: secs(5), resets: true }));
            }
            Action::Disk(_) => self.disk_since = self.disk_since.or(Some(moment)),
            Action::Note(..) | Action::RemoveNote(_) => self.notes_were_written = true,
            Action::Reload(_) => self.config_changed = true,
            _ => {}
        }
    }

    /// Looks at what a step changed.
    pub fn look(&mut self, simulation: &Simulation, happened: &[Happened]) -> Check1 {
        let now = simulation.moment();
        for it in happened {
            match it {
                Happened::Started => {
                    self.open(simulation);
                    let from = self.dark_since.take().unwrap_or(now);
                    let at = Stretch { from, to: Some(now) };
                    self.blind.push(Blind { at, costs: self.start_costs, resets: false });
                }
                Happened::Ended { is_crash } => {
                    // What was found in the last second before a crash may not have been written down.
                    self.start_costs = if *is_crash { secs(15) } else { secs(5) };
                    self.dark_since = Some(now);
                    self.committed_at = None;
                }
                Happened::Committed => {
                    self.committed_at = self.committed_at.or(Some(now));
                }
                Happened::NotPublished(_) => self.committed_at = None,
                _ => {}
            }
        }
        if self.db.is_none() {
            return Ok(());
        }
        let is_news = |it: &Happened| matches!(it, Happened::Committed | Happened::Started | Happened::Ended { .. });
        if happened.iter().any(is_news) {
            self.read_incidents(simulation)?;
            self.read_events(now);
        }
        let is_mail = |it: &Happened| matches!(it, Happened::Mailed | Happened::Ended { .. });
        if happened.iter().any(is_mail) {
            self.read_mails(simulation)?;
        }
        if happened.iter().any(|it| is_mail(it) || is_news(it)) {
            self.sent_is_taken(simulation)?;
        }
        if happened.contains(&Happened::NewsPublished) {
            self.committed_at = None;
            self.read_feed(&simulation.config().site.output)?;
        }
        if happened.contains(&Happened::Published) {
            self.committed_at = None;
            self.published += 1;
            self.read_feed(&simulation.config().site.output)?;
            if self.published.is_multiple_of(self.every) {
                site_is_a_function_of_the_store(simulation)?;
                self.nothing_secret_is_shown(simulation)?;
            }
        }
        match self.committed_at {
            Some(at) if now > at + secs(2) => broken(format!("I7: committed at {at:?}, not published by {now:?}")),
            _ => Ok(()),
        }
    }

    fn open(&mut self, simulation: &Simulation) {
        if self.db.is_none() {
            let path = &simulation.config().store.path;
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            self.db = Some(Connection::open_with_flags(path, flags).unwrap());
        }
    }

    fn db(&self) -> &Connection {
        self.db.as_ref().expect("the store is there once the daemon has started")
    }

    /// I2, and what I1 needs in the end.
    fn read_incidents(&mut self, simulation: &Simulation) -> Check1 {
        let now = simulation.moment();
        let changed: Vec<(String, i64, String)> = {
            let mut rows = self.db().prepare_cached("SELECT id, version, json FROM incident").unwrap();
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
            rows.map(Result::unwrap).filter(|(id, version, _)| self.versions.get(id) != Some(version)).collect()
        };
        for (id, version, json) in changed {
            if self.versions.insert(id.clone(), version).is_some_and(|before| before > version) {
                return broken(format!("I1: the incident {id} went back to version {version}"));
            }
            let incident: Incident = serde_json::from_str(&json).unwrap();
            for part in incident.affected.iter().filter(|part| part.seen_failing) {
                let key = (part.service.clone(), incident.id.clone());
                let suffers = incident.is_open() && part.recovered_at.is_none();
                if suffers && !self.suffering.contains_key(&key) {
                    self.is_true(simulation, &part.service, &incident, part.started_at)?;
                    self.suffering.insert(key, Stretch { from: now, to: None });
                } else if !suffers && let Some(stretch) = self.suffering.remove(&key) {
                    self.past.push((key.0, key.1, Stretch { to: Some(now), ..stretch }));
                }
            }
        }
        Ok(())
    }

    /// I2: the truth has an outage to it.
    fn is_true(
        &self,
        simulation: &Simulation,
        service: &ServiceId,
        incident: &Incident,
        started_at: Timestamp,
    ) -> Check1 {
        let Some(checks) = checks(simulation.config(), service) else { return Ok(()) };
        let now = simulation.moment();
        let bound = checks.iter().map(detection_bound).max().unwrap_or_default();
        // What was seen before nobody watched may be recorded after it.
        let blind: Duration = self
            .blind
            .iter()
            .filter(|it| it.at.overlaps(now.saturating_sub(bound), now))
            .map(|it| it.costs + it.at.to.unwrap_or(now).min(now).saturating_sub(it.at.from))
            .sum();
        let disk = self.disk_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let from = now.saturating_sub(bound + blind + disk);
        let outages = outages(simulation, service, true);
        let Some(outage) = outages.iter().rev().find(|it| it.overlaps(from, now)) else {
            return broken(format!("I2: {service} suffers in {} since {started_at}, and never failed", incident.id));
        };
        // Backdated to the first failing probe, as far as one clock tells both times.
        let earliest = simulation.wall_at(outages.iter().find(|it| it.overlaps(from, now)).unwrap_or(outage).from);
        if !self.clock_was_moved && !self.notes_were_written && started_at < earliest {
            return broken(format!("I1: {} has {service} fail at {started_at}, before {earliest}", incident.id));
        }
        Ok(())
    }

    fn read_events(&mut self, now: Duration) {
        let ids: Vec<Vec<u8>> = {
            let mut rows = self.db().prepare_cached("SELECT id FROM event").unwrap();
            rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        for id in ids {
            self.events.entry(id).or_insert(now);
        }
    }

    fn rows(&self) -> BTreeMap<Vec<u8>, Row> {
        let sql = "SELECT id, event, event_seq, incident, subscriber, state, reply, folded_into FROM delivery";
        let mut rows = self.db().prepare_cached(sql).unwrap();
        let rows = rows.query_map([], |row| {
            let (event, seq, incident, subscriber) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            let (state, reply, folded_into) = (row.get(5)?, row.get(6)?, row.get(7)?);
            Ok((row.get(0)?, Row { event, seq, incident, subscriber, state, reply, folded_into }))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// I4, I5, I6.
    fn read_mails(&mut self, simulation: &Simulation) -> Check1 {
        let rows = self.rows();
        for mail in &simulation.mails()[self.mails..] {
            let id = mail.header("Message-ID");
            if mail.subscriber.is_none() {
                continue;
            }
            if self.left.get(&mail.to).is_some_and(|left| mail.begun > *left) {
                return broken(format!("I6: {} is written to after leaving: {}", mail.to, mail.subject()));
            }
            let asked = self.people.iter().any(|(since, it)| it.address.as_str() == mail.to && *since <= mail.begun);
            if !asked {
                return broken(format!("I6: {} never asked: {}", mail.to, mail.subject()));
            }
            let (copies, unheard) = self.copies.entry(id.clone()).or_default();
            *copies += 1;
            *unheard += u64::from(!mail.is_answered);
            if *copies > 1 + *unheard + simulation.crashes() {
                return broken(format!("I4: {copies} copies of {id} ({}) to {}", mail.subject(), mail.to));
            }
            if *copies > 1 {
                continue;
            }
            let Some(row) = rows.get(mail.delivery.as_bytes().as_slice()) else { continue };
            let last = self.told.entry((mail.to.clone(), row.incident.clone())).or_insert(i64::MIN);
            if row.seq <= *last {
                let (subject, seq) = (mail.subject(), row.seq);
                return broken(format!("I5: {} hears of event {seq} ({subject}) after {last}", mail.to));
            }
            *last = row.seq;
        }
        self.mails = simulation.mails().len();
        Ok(())
    }

    /// I3, as far as it holds at any time: what is marked as sent was taken.
    fn sent_is_taken(&self, simulation: &Simulation) -> Check1 {
        let taken: BTreeSet<&[u8]> =
            simulation.mails().iter().map(|mail| mail.delivery.as_bytes().as_slice()).collect();
        let mut rows = self.db().prepare_cached("SELECT id, event_seq FROM delivery WHERE state = 'sent'").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))).unwrap();
        for (id, seq) in rows.map(Result::unwrap) {
            if !taken.contains(id.as_slice()) {
                return broken(format!("I3: event {seq} is marked as sent, and the relay never took it"));
            }
        }
        Ok(())
    }

    /// I9.
    fn read_feed(&mut self, site: &Path) -> Check1 {
        let feed = fs::read_to_string(site.join("updates.atom")).unwrap_or_default();
        if feed == self.feed {
            return Ok(());
        }
        let text = |entry: &str, tag: &str| {
            let (_, rest) = entry.split_once(&format!("<{tag}>"))?;
            Some(rest.split_once(&format!("</{tag}>"))?.0.to_owned())
        };
        let entries: Vec<(String, String)> = feed
            .split("<entry>")
            .skip(1)
            .map(|entry| (text(entry, "id").unwrap(), text(entry, "published").unwrap_or_default()))
            .collect();
        let ids: BTreeSet<&String> = entries.iter().map(|(id, _)| id).collect();
        if ids.len() != entries.len() {
            return broken(format!("I9: an id is there twice: {entries:?}"));
        }
        for (id, published) in &self.entries {
            match entries.iter().find(|(it, _)| it == id) {
                Some((_, now)) if now == published => {}
                Some((_, now)) => return broken(format!("I9: {id} was published {published}, and now {now}")),
                // Withdrawn incidents leave the feed; long feeds are cut.
                None if entries.len() >= 50 || self.notes_were_written => {}
                None => return broken(format!("I9: {id} is gone from the feed")),
            }
        }
        self.entries = entries;
        self.feed = feed;
        Ok(())
    }

    /// I8.
    fn nothing_secret_is_shown(&self, simulation: &Simulation) -> Check1 {
        let addresses: Vec<&str> = self.people.iter().map(|(_, it)| it.address.as_str()).collect();
        for (name, bytes) in tree(&simulation.config().site.output) {
            let text = String::from_utf8_lossy(&bytes);
            if let Some(word) = addresses.iter().copied().chain(["secret"]).find(|word| text.contains(word)) {
                return broken(format!("I8: {name} shows {word}"));
            }
        }
        for mail in simulation.mails().iter().filter(|mail| mail.subscriber.is_some()) {
            let text = String::from_utf8_lossy(&mail.bytes);
            let others = addresses.iter().copied().filter(|address| *address != mail.to);
            if let Some(word) = others.chain(["secret"]).find(|word| text.contains(word)) {
                return broken(format!("I8: a mail to {} shows {word}", mail.to));
            }
        }
        Ok(())
    }
}

/// I7: the same bytes as a build into an empty folder.
fn site_is_a_function_of_the_store(simulation: &Simulation) -> Check1 {
    let mut config = Config::clone(simulation.config());
    let folder = super::stage::folder();
    folder.path().join("fresh").clone_into(&mut config.site.output);
    let reader = Store::reader(&config.store).unwrap();
    let options = Options { subscribe_form: takes_subscribers(&config) };
    Publisher::with_options(&config, options).unwrap().publish(&reader, simulation.now()).unwrap();
    let (ours, fresh) = (tree(&simulation.config().site.output), tree(&config.site.output));
    let different: Vec<_> = differences(&ours, &fresh).into_iter().filter(|name| fresh.contains_key(name)).collect();
    if different.is_empty() {
        return Ok(());
    }
    if let Some(folder) = std::env::var_os("WATCHBELL_LOOK") {
        for name in &different {
            for (which, tree) in [("ours", &ours), ("fresh", &fresh)] {
                let bytes = tree.get(name).map_or(&[][..], Vec::as_slice);
                fs::write(Path::new(&folder).join(format!("{which}-{}", name.replace('/', "-"))), bytes).unwrap();
            }
        }
    }
    broken(format!("I7: at {} these are not what an empty folder would hold: {different:?}", simulation.now()))
}
