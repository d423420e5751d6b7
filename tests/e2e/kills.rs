//! Killed again and again, at random moments, while services come and go, an operator writes and
//! mails leave: the truth is scripted, and whatever the program wrote down must agree with it.
//!
//! `WATCHBELL_KILLS` sets how many kills (10 if unset), `WATCHBELL_SEED` repeats a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::{incidents, write_config};
use crate::support::{
    daemon::{Daemon, folder, free_address, json, ok},
    http,
    smtp::{Mail, Server},
    target::Target,
};

/// Who is told of everything.
const PEOPLE: [&str; 2] = ["ann@example.org", "bob@example.org"];
/// However slow the machine, one step of the script takes no longer.
const STEP: Duration = Duration::from_mins(1);

/// Small numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// One outage as it really was: when the service failed, and when it was well again.
struct Outage {
    service: &'static str,
    failed_at: Timestamp,
    well_at: Timestamp,
}

/// The program, killed whenever its time has come.
struct Victim<'a> {
    folder: &'a Path,
    dice: Dice,
    daemon: Option<Daemon>,
    dies_at: Instant,
    kills_left: u64,
    kills: u64,
    /// What each feed entry said of its time, by id.
    entries: BTreeMap<String, String>,
}

impl<'a> Victim<'a> {
    fn new(folder: &'a Path, seed: u64, kills: u64) -> Self {
        let daemon = Some(Daemon::spawn(folder, &["run"]));
        let (dice, dies_at) = (Dice(seed | 1), Instant::now() + Duration::from_secs(2));
        Self { folder, dice, daemon, dies_at, kills_left: kills, kills: 0, entries: BTreeMap::new() }
    }

    /// Lets time pass, and death come.
    fn live(&mut self) {
        std::thread::sleep(Duration::from_millis(20));
        if Instant::now() < self.dies_at || self.kills_left == 0 {
            return;
        }
        self.kills_left -= 1;
        self.kills += 1;
        self.daemon.take().unwrap().kill();
        // What is on the disk is sound at any moment, whatever was being written.
        ok(self.folder, &["-q", "store", "verify"]);
        self.read_feeds();
        self.daemon = Some(Daemon::spawn(self.folder, &["run"]));
        // Some die as they start, some in the middle of their work.
        let life = if self.dice.below(4) == 0 { self.dice.below(150) } else { 150 + self.dice.below(2500) };
        self.dies_at = Instant::now() + Duration::from_millis(life);
    }

    /// Lives on until there is an answer.
    fn until<T>(&mut self, what: &str, mut ask: impl FnMut(&Path) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            self.live();
            if let Some(answer) = ask(self.folder) {
                return answer;
            }
            if began.elapsed() > STEP {
                let log = fs::read_to_string(self.folder.join("log.txt")).unwrap();
                panic!("in vain waited for {what}\n{log}");
            }
        }
    }

    fn rest(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.live();
        }
    }

    /// Ids in feeds are never repeated, never go away (there are too few for that here), and are
    /// never given to something else.
    fn read_feeds(&mut self) {
        let Ok(feed) = fs::read_to_string(self.folder.join("public/updates.atom")) else { return };
        let now: Vec<(String, String)> =
            feed.split("<entry>").skip(1).map(|entry| (between(entry, "id"), between(entry, "published"))).collect();
        let ids: BTreeMap<String, String> = now.iter().cloned().collect();
        assert_eq!(ids.len(), now.len(), "an id stands twice in the feed:\n{feed}");
        for (id, published) in &self.entries {
            assert_eq!(ids.get(id), Some(published), "{id} in\n{feed}");
        }
        self.entries = ids;
    }
}

/// The text of the first element of that name.
fn between(text: &str, name: &str) -> String {
    let start = text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {text}")).1;
    start.split_once('<').unwrap().0.to_owned()
}

fn query<T: rusqlite::types::FromSql>(folder: &Path, sql: &str) -> Vec<Vec<T>> {
    let Ok(db) = Connection::open_with_flags(folder.join("watchbell.db"), OpenFlags::SQLITE_OPEN_READ_ONLY) else {
        return Vec::new();
    };
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    let Ok(mut rows) = db.prepare(sql) else { return Vec::new() };
    let columns = rows.column_count();
    let rows = rows.query_map([], |row| (0..columns).map(|column| row.get(column)).collect());
    rows.unwrap().map(Result::unwrap).collect()
}

fn number(folder: &Path, sql: &str) -> i64 {
    query::<i64>(folder, sql).first().map_or(-1, |row| row[0])
}

fn header<'a>(mail: &'a Mail, name: &str) -> &'a str {
    mail.text.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap_or("")
}

/// Every file below a folder, with its bytes; without the notes of the publisher to itself.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                assert!(!name.contains(".wb-tmp"), "left over: {name}");
                if !name.starts_with(".watchbell") {
                    files.insert(name, fs::read(&path).unwrap());
                }
            }
        }
    }
    files
}

/// The site as it grew, and one made at once from the store: the same bytes.
fn assert_site_is_what_the_store_says(folder: &Path) {
    let config = fs::read_to_string(folder.join("watchbell.toml")).unwrap();
    fs::write(folder.join("fresh.toml"), config.replacen("[site]\n", "[site]\noutput = \"fresh\"\n", 1)).unwrap();
    let mut differing = BTreeSet::new();
    for _ in 0..3 {
        let _ = fs::remove_dir_all(folder.join("fresh"));
        ok(folder, &["-q", "build"]);
        ok(folder, &["-q", "--config", "fresh.toml", "build"]);
        let (grown, fresh) = (tree(&folder.join("public")), tree(&folder.join("fresh")));
        let names: BTreeSet<&String> = grown.keys().chain(fresh.keys()).collect();
        differing =
            names.into_iter().filter(|name| grown.get(*name) != fresh.get(*name)).cloned().collect::<BTreeSet<_>>();
        if differing.is_empty() {
            return;
        }
        // A page that states the minute may have been made in another one: look again.
    }
    let text = |root: &str, name: &str| {
        fs::read_to_string(folder.join(root).join(name)).unwrap_or_else(|error| format!("({error})"))
    };
    for name in &differing {
        eprintln!("--- {name}, grown\n{}\n--- {name}, fresh\n{}", text("public", name), text("fresh", name));
    }
    panic!("the site differs from one that is built anew: {differing:?}");
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_doubles_nothing() {
    let kills = std::env::var("WATCHBELL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let seed = std::env::var("WATCHBELL_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::try_from(Timestamp::now().as_millisecond()).unwrap());
    eprintln!("WATCHBELL_KILLS={kills} WATCHBELL_SEED={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let relay = runtime.block_on(Server::good());
    let folder = folder();
    let folder = folder.path();
    let (api, web, well) = (Target::start(), Target::start(), Target::start());
    let listen = free_address();
    let email = format!("[email]\nfrom = \"Example Status <status@example.org>\"\nsmtp = \"smtp://{}\"", relay.address);
    let http = |target: &Target| format!("http = \"http://{}/\"", target.address);
    write_config(folder, listen, &email, &[("api", http(&api)), ("web", http(&web)), ("well", http(&well))]);
    // Each outage is an incident of its own, whatever else goes on.
    let config = fs::read_to_string(folder.join("watchbell.toml")).unwrap();
    let config = config.replacen("[incidents]\n", "[incidents]\nmerge_window = \"0s\"\n", 1);
    fs::write(folder.join("watchbell.toml"), config).unwrap();
    for person in PEOPLE {
        ok(folder, &["-q", "subscriber", "add", person]);
    }

    let mut victim = Victim::new(folder, seed, kills);
    let (mut outages, mut words) = (Vec::<Outage>::new(), 0);
    let open = |service| {
        format!(
            "SELECT count(*) FROM incident WHERE services = '[\"{service}\"]' AND id <> 'by-hand' AND resolved_at IS NULL"
        )
    };
    let closed = |service| {
        format!(
            "SELECT count(*) FROM incident WHERE services = '[\"{service}\"]' AND id <> 'by-hand' AND resolved_at IS NOT NULL"
        )
    };
    while victim.kills_left > 0 || outages.len() < 4 {
        let (service, target) = if victim.dice.below(2) == 0 { ("api", &api) } else { ("web", &web) };
        let before = outages.iter().filter(|outage| outage.service == service).count();
        let failed_at = Timestamp::now();
        target.answers(503);
        victim.until("the incident", |folder| (number(folder, &open(service)) == 1).then_some(()));
        // Meanwhile an operator writes, as editors do: whole files, and now and then half of one.
        words += 1;
        write_note(folder, words, words % 3 == 0);
        let pause = Duration::from_millis(victim.dice.below(1500));
        victim.rest(pause);
        let well_at = Timestamp::now();
        target.answers(200);
        let done = i64::try_from(before + 1).unwrap();
        victim.until("the resolution", |folder| (number(folder, &closed(service)) == done).then_some(()));
        outages.push(Outage { service, failed_at, well_at });
        // Longer than `reopen_window`: the next one is another incident.
        victim.rest(Duration::from_millis(1300));
    }
    victim.until("the last words", |folder| {
        let texts = number(folder, "SELECT json_array_length(json, '$.updates') FROM incident WHERE id = 'by-hand'");
        (texts >= words.into()).then_some(())
    });
    let waiting = "SELECT count(*) FROM delivery WHERE done_at IS NULL";
    victim.until("an empty outbox", |folder| (number(folder, waiting) == 0).then_some(()));
    // What the last words are to be told as may still be held open to changes.
    victim.rest(Duration::from_millis(2500));
    victim.until("an empty outbox", |folder| (number(folder, waiting) == 0).then_some(()));
    let Victim { daemon, kills, .. } = &mut victim;
    let kills = *kills;
    let (status, took) = daemon.take().unwrap().terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status:?} {took:?}");
    victim.read_feeds();

    // The record is the truth: each outage once, with its times.
    ok(folder, &["-q", "store", "verify"]);
    let mut recorded: Vec<_> =
        incidents(folder).into_iter().filter(|incident| incident["id"] != "by-hand").collect::<Vec<_>>();
    recorded.reverse();
    assert_eq!(recorded.len(), outages.len(), "{recorded:#?}");
    for (incident, outage) in recorded.iter().zip(&outages) {
        let time = |key: &str| -> Timestamp { incident[key].as_str().unwrap().parse().unwrap() };
        assert!(incident["id"].as_str().unwrap().contains(outage.service), "{incident:#?}");
        let (started, resolved) = (time("started_at"), time("resolved_at"));
        let slack = jiff::SignedDuration::from_millis(2);
        assert!(started + slack >= outage.failed_at && started < outage.well_at, "{started} {incident:#?}");
        assert!(resolved + slack >= outage.well_at, "{resolved} {} {incident:#?}", outage.well_at);
    }
    // Spans of each service meet end to end, and tell the same story as the incidents.
    for service in ["api", "web", "well"] {
        let sql = format!("SELECT from_at, coalesce(to_at, 0) FROM span WHERE service = '{service}' ORDER BY from_at");
        let spans = query::<i64>(folder, &sql);
        assert!(!spans.is_empty());
        assert!(spans.windows(2).all(|pair| pair[0][1] == pair[1][0]), "{service}: {spans:?}");
        assert_eq!(spans.last().unwrap()[1], 0, "{service} goes on");
        let down = format!("SELECT count(*) FROM span WHERE service = '{service}' AND status = 'major_outage'");
        let truth = outages.iter().filter(|outage| outage.service == service).count();
        assert_eq!(number(folder, &down), i64::try_from(truth).unwrap(), "{service}");
    }
    // Every word of the operator, once.
    let shown = json(folder, &["incident", "show", "by-hand", "--json"]);
    let texts: Vec<&str> =
        shown["updates"].as_array().unwrap().iter().filter_map(|update| update["text"].as_str()).collect();
    for n in 1..=words {
        let count = texts.iter().filter(|text| text.trim() == format!("Text {n}.")).count();
        assert_eq!(count, 1, "text {n} in {texts:?}");
    }

    // Mails: every event has a delivery for everyone, each was sent or is part of one that was,
    // what was sent arrived, and a copy has the Message-ID of the first and comes after a kill.
    let people = i64::try_from(PEOPLE.len()).unwrap();
    let told = format!(
        "SELECT count(*) FROM event WHERE json_extract(json, '$.notify') AND
         (SELECT count(*) FROM delivery WHERE event = event.id) <> {people}"
    );
    assert_eq!(number(folder, &told), 0, "an event without its deliveries");
    let states = query::<String>(folder, "SELECT DISTINCT state FROM delivery").concat();
    assert!(states.iter().all(|state| ["sent", "folded", "dropped"].contains(&state.as_str())), "{states:?}");
    let mails = relay.taken();
    let mut ids = BTreeMap::<(String, String), usize>::new();
    for mail in &mails {
        *ids.entry((mail.to.clone(), header(mail, "Message-ID").to_owned())).or_default() += 1;
    }
    let sent = number(folder, "SELECT count(*) FROM delivery WHERE state = 'sent'");
    assert_eq!(i64::try_from(ids.len()).unwrap(), sent, "what was sent is what arrived");
    let copies = mails.len() - ids.len();
    assert!(u64::try_from(copies).unwrap() <= kills * 8, "{copies} copies after {kills} kills");
    for person in PEOPLE {
        let subjects: Vec<&str> =
            mails.iter().filter(|mail| mail.to == person).map(|mail| header(mail, "Subject")).collect();
        let resolved = subjects.iter().filter(|subject| subject.contains("Resolved: ")).count();
        assert!(resolved >= outages.len(), "{person} heard the end of each: {subjects:#?}");
        order_is_kept(&mails, person);
    }
    assert_site_is_what_the_store_says(folder);
    assert!(http::get(listen, "/").is_none(), "nothing is left behind");
    eprintln!("{kills} kills, {} outages, {} mails, {copies} copies", outages.len(), mails.len());
}

/// Nobody hears of the end before the beginning.
fn order_is_kept(mails: &[Mail], person: &str) {
    let mut ended = BTreeMap::<&str, &str>::new();
    for mail in mails.iter().filter(|mail| mail.to == person) {
        let (thread, id) = (header(mail, "References"), header(mail, "Message-ID"));
        let subject = header(mail, "Subject");
        if subject.contains("Resolved: ") {
            ended.insert(thread, id);
        } else if subject.contains("Outage: ") {
            assert!(!ended.contains_key(thread), "{person}: {subject} after the end");
        }
    }
}

/// A note with so many words; if `in_two` first cut off in the middle.
fn write_note(folder: &Path, words: u32, in_two: bool) {
    let mut text = "title = \"By hand\"\nservices = [\"well\"]\nimpact = \"minor\"\n".to_owned();
    for n in 1..=words {
        write!(text, "\n[[update]]\nstatus = \"identified\"\ntext = \"Text {n}.\"\n").unwrap();
    }
    let path = folder.join("notes/incidents/by-hand.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if in_two {
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    fs::write(&path, &text).unwrap();
}
