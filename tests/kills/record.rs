//! What the program wrote down and sent: its store, its commands, its site, and the relay's mails.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use crate::{
    e2e::incidents,
    support::{
        daemon::json,
        smtp::{self, Server},
    },
};

/// All that the program says happened.
#[derive(Clone, Default)]
pub struct Record {
    /// Oldest first.
    pub incidents: Vec<Incident>,
    /// By service, in the order of time.
    pub spans: BTreeMap<String, Vec<Span>>,
    pub events: Vec<Event>,
    pub deliveries: Vec<Delivery>,
    /// Addresses of those who are told, by id.
    pub subscribers: BTreeMap<String, String>,
    /// What the relay took.
    pub mails: Vec<Mail>,
    /// Ids of the newest feed.
    pub feed: Vec<String>,
    /// Names of the notes' files.
    pub notes: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub struct Incident {
    pub id: String,
    pub services: Vec<String>,
    pub started_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    pub texts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Option<Timestamp>,
    pub status: String,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub id: String,
    pub recorded_at: Timestamp,
    pub tells: bool,
}

#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: String,
    pub event: String,
    pub subscriber: String,
    pub state: String,
    pub reply: String,
    pub folded_into: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Mail {
    pub to: String,
    /// The delivery that its Message-ID names.
    pub id: String,
    pub at: Timestamp,
    pub subject: String,
    pub thread: String,
    pub text: String,
}

impl Record {
    /// Reads all of it. The program rests.
    pub fn read(folder: &Path, relay: &Server) -> Self {
        let mut incidents: Vec<Incident> = incidents(folder).iter().map(incident).collect();
        incidents.reverse();
        let mut spans = BTreeMap::<String, Vec<Span>>::new();
        for (service, from, to, status) in
            rows(folder, "SELECT service, from_at, to_at, status FROM span ORDER BY service, from_at", |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?, row.get(3)?))
            })
        {
            spans.entry(service).or_default().push(Span { from: instant(from), to: to.map(instant), status });
        }
        let events = rows(folder, "SELECT id, recorded_at, json_extract(json, '$.notify') FROM event", |row| {
            Ok(Event { id: uuid(row.get(0)?), recorded_at: instant(row.get(1)?), tells: row.get(2)? })
        });
        // What waited for someone who left is theirs no more.
        let sql = "SELECT id, event, subscriber, state, reply, folded_into FROM delivery WHERE reply IS NOT 'left'";
        let deliveries = rows(folder, sql, |row| {
            Ok(Delivery {
                id: uuid(row.get(0)?),
                event: uuid(row.get(1)?),
                subscriber: uuid(row.get(2)?),
                state: row.get(3)?,
                reply: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
                folded_into: row.get::<_, Option<[u8; 16]>>(5)?.map(uuid),
            })
        });
        let listed = json(folder, &["-q", "subscriber", "list", "--json"]);
        let word = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
        let subscribers =
            listed.as_array().unwrap().iter().map(|row| (word(row, "id"), word(row, "address"))).collect();
        let notes = fs::read_dir(folder.join("notes/incidents")).into_iter().flatten().flatten();
        Self {
            incidents,
            spans,
            events,
            deliveries,
            subscribers,
            mails: relay.taken().iter().map(mail).collect(),
            feed: entries(folder).into_iter().map(|(id, _)| id).collect(),
            notes: notes.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
        }
    }
}

fn incident(found: &serde_json::Value) -> Incident {
    let time = |key: &str| found[key].as_str().map(|text| text.parse().unwrap());
    let updates = found["updates"].as_array().unwrap().iter();
    let services = found["services"].as_array().unwrap().iter();
    Incident {
        id: found["id"].as_str().unwrap().to_owned(),
        services: services.map(|service| service["id"].as_str().unwrap().to_owned()).collect(),
        started_at: time("started_at").unwrap(),
        resolved_at: time("resolved_at"),
        texts: updates.filter_map(|update| update["text"].as_str()).map(|text| text.trim().to_owned()).collect(),
    }
}

fn mail(mail: &smtp::Mail) -> Mail {
    let id = |name: &str| {
        let value = header(mail, name);
        value.trim_start_matches('<').split('@').next().unwrap_or("").to_owned()
    };
    Mail {
        to: mail.to.clone(),
        id: id("Message-ID"),
        at: mail.at,
        subject: header(mail, "Subject").to_owned(),
        thread: id("References"),
        text: mail.text.clone(),
    }
}

/// A header's value, if it stands on one line.
pub fn header<'a>(mail: &'a smtp::Mail, name: &str) -> &'a str {
    mail.text.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap_or("")
}

/// Each entry of the site's newest feed: its id, and the time that it states.
pub fn entries(folder: &Path) -> Vec<(String, String)> {
    let Ok(feed) = fs::read_to_string(folder.join("public/updates.atom")) else { return Vec::new() };
    feed.split("<entry>").skip(1).map(|entry| (between(entry, "id"), between(entry, "published"))).collect()
}

/// The text of the first element of that name.
fn between(text: &str, name: &str) -> String {
    let start = text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {text}")).1;
    start.split_once('<').unwrap().0.to_owned()
}

/// What the store answers; nothing if there is none yet, or it is being made.
pub fn rows<T>(folder: &Path, sql: &str, read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let path = folder.join("watchbell.db");
    let Ok(db) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) else { return Vec::new() };
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    let Ok(mut rows) = db.prepare(sql) else { return Vec::new() };
    let Ok(rows) = rows.query_map([], read) else { return Vec::new() };
    rows.collect::<Result<_, _>>().unwrap_or_default()
}

/// The one number that the store answers.
pub fn number(folder: &Path, sql: &str) -> i64 {
    rows(folder, sql, |row| row.get(0)).first().copied().unwrap_or(-1)
}

fn instant(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
