//! One round: a folder, a daemon that dies so often, and a world that goes on: services that fail
//! and recover, an operator who writes and reloads, people who join and leave.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::{
    audit::{self, BY_HAND, audit},
    moments::{Moment, Trap},
    people::{FAITHFUL, People},
    record::{Record, entries, number, rows},
    site,
    truth::{Outage, Truth},
    victim::{Dice, Victim},
};
use crate::support::{
    daemon::{WATCHBELL, folder, free_address, ok, watchbell},
    http,
    smtp::Server,
    target::Target,
};

/// However slow the machine, one step of the script takes no longer.
const STEP: Duration = Duration::from_mins(2);
/// Longer than `reopen_window`: the next outage is another incident.
const APART: Duration = Duration::from_millis(1300);
/// The code of a good result in the store.
const UP: i64 = 0;
/// And that of one that did not come in time.
const TIMED_OUT: i64 = 30;
/// Fewer outages than this would be a poor round.
const OUTAGES: usize = 4;

/// What one round found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub kills: usize,
    /// Of which moments.
    pub moments: BTreeMap<Moment, usize>,
    /// How many kills found what under way.
    pub phases: BTreeMap<&'static str, usize>,
    pub outages: usize,
    pub incidents: usize,
    pub people: usize,
    pub deliveries: usize,
    pub mails: usize,
    pub copies: usize,
    pub to_who_left: usize,
    pub stalls: usize,
    /// All that is wrong.
    pub wrong: Vec<String>,
}

/// The world of one round, at its end.
pub struct Ended {
    pub report: Report,
    pub truth: Truth,
    pub record: Record,
    pub folder: tempfile::TempDir,
    pub relay: Server,
}

/// A service, and where it is in its life.
struct Watched {
    id: &'static str,
    target: Target,
    state: State,
    since: Instant,
    outages: usize,
}

#[derive(Clone, Copy)]
enum State {
    Well { until: Instant },
    Failing { at: Timestamp },
    Down { at: Timestamp, until: Instant },
    Recovering,
}

struct Round {
    folder: PathBuf,
    listen: SocketAddr,
    dice: Dice,
    victim: Victim,
    services: Vec<Watched>,
    people: People,
    relay: Server,
    truth: Truth,
    report: Report,
    edition: u32,
    writes_at: Instant,
    reloads_at: Instant,
    backups: u32,
    /// What each feed entry said of its time, by id.
    entries: BTreeMap<String, String>,
}

/// Lives through so many kills, and compares.
pub fn live_through(seed: u64, kills: u64) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let trap = Trap::default();
    let relay = runtime.block_on(Server::scripted(trap.at_the_relay()));
    let place = folder();
    let folder = place.path().to_owned();
    let listen = free_address();
    let now = Instant::now();
    // On a host each: those that share one share an incident if they fail at once.
    let services = [("api", 1), ("web", 2), ("shop", 3)].map(|(id, host)| Watched {
        id,
        target: Target::at(Ipv4Addr::new(127, 0, 0, host).into()),
        state: State::Well { until: now + Duration::from_secs(1) },
        since: now,
        outages: 0,
    });
    let mut dice = Dice::new(seed);
    let round = Configured { folder: &folder, listen, relay: relay.address, services: &services };
    round.write(0);
    for person in FAITHFUL {
        ok(&folder, &["-q", "subscriber", "add", person]);
    }
    fs::create_dir_all(folder.join("notes/incidents")).unwrap();
    fs::create_dir_all(folder.join("public")).unwrap();
    let victim = Victim::new(&folder, trap, kills, &mut dice);
    let mut round = Round {
        people: People::new(&folder, listen),
        folder,
        listen,
        dice,
        victim,
        services: services.into(),
        relay,
        truth: Truth::default(),
        report: Report::default(),
        edition: 0,
        writes_at: now,
        reloads_at: now + Duration::from_secs(3),
        backups: 0,
        entries: BTreeMap::new(),
    };
    while !(round.victim.is_spared() && round.truth.outages.len() >= OUTAGES) {
        round.tick(true);
    }
    round.until("all services to be well", |round| {
        round.services.iter().all(|service| matches!(service.state, State::Well { .. })) && round.people.is_quiet()
    });
    let record = round.end();
    round.report.wrong.extend(audit(&round.truth, &record));
    let Round { report, truth, relay, .. } = round;
    drop(runtime);
    Ended { report, truth, record, folder: place, relay }
}

/// What the config says.
struct Configured<'a> {
    folder: &'a Path,
    listen: SocketAddr,
    relay: SocketAddr,
    services: &'a [Watched],
}

impl Configured<'_> {
    fn write(&self, edition: u32) {
        let Self { folder, listen, relay, services } = self;
        // The odd editions probe the web a little more often, which must not touch any streak.
        let pace = if edition.is_multiple_of(2) { "1s" } else { "900ms" };
        let mut text = format!(
            r#"
[site]
title = "Example Status"
description = "Edition {edition}."
url = "http://{listen}/"

[server]
listen = "{listen}"

[incidents]
merge_window = "0s"
gather = "400ms"
reopen_window = "1s"

[notes]
settle = "1s"

[email]
from = "Example Status <status@example.org>"
smtp = "smtp://{relay}"

[defaults]
every = "1s"
timeout = "5s"
recheck = "150ms"
"#
        );
        for service in *services {
            let (id, address) = (service.id, service.target.address);
            let every = if id == "web" { pace } else { "1s" };
            write!(
                text,
                "\n[[service]]\nid = \"{id}\"\nname = \"The {id}\"\n\n[[service.check]]\nhttp = \"http://{address}/\"\nevery = \"{every}\"\n"
            )
            .unwrap();
        }
        text.push_str("\n[[service]]\nid = \"people\"\nname = \"People\"\n");
        // As editors should: whoever starts in this moment finds the old one or the new.
        fs::write(folder.join("new.toml"), text).unwrap();
        fs::rename(folder.join("new.toml"), folder.join("watchbell.toml")).unwrap();
    }
}

impl Round {
    /// Lets time pass, and death come.
    fn tick(&mut self, may_fail: bool) {
        std::thread::sleep(Duration::from_millis(10));
        if let Some((moment, is_dead)) = self.victim.fate() {
            self.die(moment, is_dead);
        }
        for at in 0..self.services.len() {
            self.serve(at, may_fail);
        }
        if may_fail && Instant::now() >= self.writes_at {
            self.write_note();
            self.writes_at = Instant::now() + Duration::from_millis(1500) + self.dice.millis(2500);
        }
        if may_fail && Instant::now() >= self.reloads_at {
            self.reload();
            self.reloads_at = Instant::now() + Duration::from_secs(2) + self.dice.millis(3000);
        }
        if may_fail || !self.people.is_quiet() {
            let went = self.people.go_on(&mut self.dice, &self.relay);
            self.report.wrong.extend(went.err());
        }
    }

    /// Lives on until it is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            self.tick(false);
            assert!(began.elapsed() < STEP, "in vain waited for {what}\n{}", self.victim.log());
        }
    }

    /// Kills, looks at what is left, and starts anew.
    fn die(&mut self, moment: Moment, is_dead: bool) {
        let mut backup = None;
        if !is_dead {
            match moment {
                Moment::Reload => {
                    self.reload();
                    self.victim.daemon().signal("HUP");
                    std::thread::sleep(self.dice.millis(60));
                }
                Moment::Backup => {
                    self.backups += 1;
                    let name = format!("backup{}.db", self.backups);
                    let child = Command::new(WATCHBELL)
                        .current_dir(&self.folder)
                        .args(["-q", "store", "backup", &name])
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .spawn()
                        .unwrap();
                    std::thread::sleep(Duration::from_millis(4) + self.dice.millis(40));
                    backup = Some((name, child, self.dice.below(2) == 0));
                }
                Moment::Command => {
                    self.people.join(&mut self.dice);
                    std::thread::sleep(Duration::from_millis(4) + self.dice.millis(30));
                    if self.dice.below(2) == 0 {
                        self.people.kill_command();
                    }
                }
                Moment::Ending => {
                    self.victim.daemon().signal("TERM");
                    std::thread::sleep(self.dice.millis(250));
                }
                _ => {}
            }
        }
        let age = self.victim.age();
        let is_failing = |service: &Watched| matches!(service.state, State::Failing { .. } | State::Recovering);
        let is_judged = self.services.iter().any(is_failing);
        self.victim.bury(moment);
        let phase = |is: bool, name: &'static str, report: &mut Report| {
            *report.phases.entry(name).or_default() += usize::from(is);
        };
        phase(age < Duration::from_millis(200), "in its first 200 ms", &mut self.report);
        phase(is_judged, "a verdict pending", &mut self.report);
        let claimed = "SELECT count(*) FROM delivery WHERE state = 'sending'";
        phase(number(&self.folder, claimed) > 0, "messages claimed", &mut self.report);
        let waiting = "SELECT count(*) FROM delivery WHERE state = 'queued'";
        phase(number(&self.folder, waiting) > 0, "messages waiting", &mut self.report);
        phase(site::temporary(&self.folder) > 0, "a page half written", &mut self.report);
        phase(!self.people.is_quiet(), "somebody joining or leaving", &mut self.report);

        // What is on the disk is sound at any moment, whatever was being written.
        let verified = watchbell(&self.folder, &["-q", "store", "verify"]);
        if !verified.status.success() {
            self.report.wrong.push(format!("after a kill ({}): {verified:?}", moment.name()));
        }
        self.report.wrong.extend(site::torn(&self.folder));
        self.read_feeds();
        if let Some((name, mut child, dies)) = backup {
            if dies {
                let _ = child.kill();
            }
            let status = child.wait().unwrap();
            let made = look_at_backup(&self.folder.join(&name));
            match (status.code(), made) {
                (Some(0), Some(true)) | (None, None | Some(true)) => {}
                (code, made) => self.report.wrong.push(format!("{name}: exit {code:?}, sound: {made:?}")),
            }
        }
        self.victim.live(&mut self.dice);
    }

    /// A service goes its way.
    fn serve(&mut self, at: usize, may_fail: bool) {
        let (pause, length, kind) = (self.dice.millis(1500), self.dice.millis(1800), self.dice.below(4));
        let service = &mut self.services[at];
        let now = Instant::now();
        let count = |folder: &Path, id: &str, ended: &str| {
            let sql = format!(
                "SELECT count(*) FROM incident WHERE services = '[\"{id}\"]' AND id <> '{BY_HAND}' AND resolved_at IS {ended} NULL"
            );
            usize::try_from(number(folder, &sql)).unwrap_or(0)
        };
        // What happened before is known to have passed: else a hiccup and what follows it are one outage.
        let is_calm = || {
            let since = format!(
                "SELECT max(at) FROM result_log JOIN probed ON probed.no = probed_no JOIN service ON service.no = service_no
                 WHERE service.id = '{}' AND code = {UP}",
                service.id
            );
            let failed_at = service.target.failed_at().map_or(0, Timestamp::as_millisecond);
            service.target.hiccups_left() == 0 && number(&self.folder, &since) > failed_at
        };
        let next = match service.state {
            State::Well { until } if now < until || !may_fail || !is_calm() => return,
            State::Well { .. } if kind == 0 => {
                // A hiccup of fewer answers than make a verdict.
                service.target.hiccups(1 + (service.outages as u64 % 2));
                State::Well { until: now + APART + pause }
            }
            State::Well { .. } => {
                let at = Timestamp::now();
                service.target.answers(503);
                State::Failing { at }
            }
            State::Failing { at } if count(&self.folder, service.id, "") == 1 => {
                State::Down { at, until: now + length }
            }
            State::Down { at, until } if now >= until => {
                let well_at = Timestamp::now();
                service.target.answers(200);
                self.truth.outages.push(Outage { service: service.id.to_owned(), failed_at: at, well_at });
                service.outages += 1;
                State::Recovering
            }
            State::Recovering if count(&self.folder, service.id, "NOT") == service.outages => {
                State::Well { until: now + APART + pause }
            }
            stays => {
                let waits = matches!(stays, State::Failing { .. } | State::Recovering);
                let log = || self.victim.log();
                assert!(
                    !waits || service.since.elapsed() < STEP,
                    "in vain waited for the incident of {} to open or end\n{}",
                    service.id,
                    log()
                );
                return;
            }
        };
        (service.state, service.since) = (next, now);
        if let State::Down { .. } = next
            && length.as_millis().is_multiple_of(2)
        {
            self.remark(at);
        }
    }

    /// The operator writes into the file of a service's open incident.
    fn remark(&mut self, at: usize) {
        let id = self.services[at].id;
        let open = format!("SELECT id FROM incident WHERE services = '[\"{id}\"]' AND resolved_at IS NULL");
        let Some(incident) = rows::<String>(&self.folder, &open, |row| row.get(0)).pop() else { return };
        let path = self.folder.join(format!("notes/incidents/{incident}.toml"));
        let Ok(text) = fs::read_to_string(&path) else { return }; // not there yet
        let remark = format!("About {incident}.");
        fs::write(&path, text.replace("text = \"\"", &format!("text = \"{remark}\""))).unwrap();
        self.truth.remarks.insert(incident, remark);
    }

    /// The operator writes, as editors do: whole files, and now and then half of one.
    fn write_note(&mut self) {
        self.truth.words += 1;
        let mut text = "title = \"By hand\"\nservices = [\"people\"]\nimpact = \"minor\"\n".to_owned();
        for n in 1..=self.truth.words {
            write!(text, "\n[[update]]\nstatus = \"identified\"\ntext = \"Text {n}.\"\n").unwrap();
        }
        let path = self.folder.join(format!("notes/incidents/{BY_HAND}.toml"));
        if self.truth.words.is_multiple_of(3) {
            fs::write(&path, &text[..text.len() - 5]).unwrap();
            std::thread::sleep(Duration::from_millis(30));
        }
        fs::write(&path, &text).unwrap();
    }

    /// The operator changes the config; at its next look, or at SIGHUP, it is read.
    fn reload(&mut self) {
        self.edition += 1;
        let (folder, listen, relay) = (&self.folder, self.listen, self.relay.address);
        Configured { folder, listen, relay, services: &self.services }.write(self.edition);
    }

    /// Ids in feeds are never repeated, never go away (there are too few for that here), and are
    /// never given to something else.
    fn read_feeds(&mut self) {
        let now = entries(&self.folder);
        let ids: BTreeMap<String, String> = now.iter().cloned().collect();
        if ids.len() != now.len() {
            self.report.wrong.push(format!("an id stands twice in the feed: {now:?}"));
        }
        for (id, published) in &self.entries {
            if ids.get(id) != Some(published) {
                let at = Timestamp::now();
                self.report.wrong.push(format!("{at}: the feed's entry {id} of {published} is {:?}", ids.get(id)));
            }
        }
        self.entries = ids;
    }

    /// Lets everything come to rest, ends the program, and reads what it wrote.
    fn end(&mut self) -> Record {
        let words = i64::try_from(self.truth.words).unwrap();
        let said = format!("SELECT json_array_length(json, '$.updates') FROM incident WHERE id = '{BY_HAND}'");
        self.until("the last words", |round| number(&round.folder, &said) >= words);
        let remarks = self.truth.remarks.clone();
        self.until("the last remarks", |round| {
            let texts = rows::<String>(&round.folder, "SELECT json FROM incident", |row| row.get(0));
            remarks.values().all(|remark| texts.iter().any(|text| text.contains(remark.as_str())))
        });
        // What the last words are to be told as may still be held open to changes.
        let waiting = "SELECT count(*) FROM delivery WHERE done_at IS NULL";
        for _ in 0..2 {
            let settled_at = Instant::now() + Duration::from_millis(1500);
            self.until("an empty outbox", |round| Instant::now() > settled_at && number(&round.folder, waiting) == 0);
        }
        self.report.wrong.extend(self.victim.terminate().err());
        self.read_feeds();
        if http::get(self.listen, "/").is_some() {
            self.report.wrong.push("something is left behind that serves".to_owned());
        }
        let verified = watchbell(&self.folder, &["-q", "store", "verify"]);
        if !verified.status.success() {
            self.report.wrong.push(format!("in the end: {verified:?}"));
        }
        self.truth.kills = self.victim.deaths.iter().map(|(at, _)| *at).collect();
        // What timed out did so through the machine: these services answer at once.
        let timed_out = format!("SELECT count(*) FROM result_log WHERE code = {TIMED_OUT}");
        self.truth.stalls = self.victim.log().matches("the process stood still").count()
            + usize::try_from(number(&self.folder, &timed_out)).unwrap_or(0);
        self.truth.people = self.people.all.clone();
        self.truth.outages.sort_by_key(|outage| outage.failed_at);
        for service in &self.services {
            self.truth.answered.insert(service.id.to_owned(), service.target.answered());
        }
        let record = Record::read(&self.folder, &self.relay);
        if record.feed.len() != record.events.len() {
            let (entries, events) = (record.feed.len(), record.events.len());
            self.report.wrong.push(format!("the feed has {entries} entries, the store {events} events"));
        }
        self.report.wrong.extend(site::unlike_a_fresh_one(&self.folder));
        let report = &mut self.report;
        report.kills = self.victim.deaths.len();
        for (_, moment) in &self.victim.deaths {
            *report.moments.entry(*moment).or_default() += 1;
        }
        report.outages = self.truth.outages.len();
        report.incidents = record.incidents.iter().filter(|incident| incident.id != BY_HAND).count();
        report.people = self.truth.people.len();
        report.deliveries = record.deliveries.iter().filter(|delivery| delivery.state == "sent").count();
        report.mails = record.mails.len();
        report.copies = audit::copies(&record);
        report.to_who_left = audit::to_who_left(&record);
        report.stalls = self.truth.stalls;
        record
    }
}

/// Whether a backup is sound; `None`: there is none.
fn look_at_backup(path: &Path) -> Option<bool> {
    if !path.exists() {
        return None;
    }
    let sound = || {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let integrity: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let people: i64 = db.query_row("SELECT count(*) FROM subscriber", [], |row| row.get(0))?;
        Ok::<_, rusqlite::Error>(integrity == "ok" && people >= 2)
    };
    Some(sound().unwrap_or(false))
}
