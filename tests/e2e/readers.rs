//! What feed readers, scripts and calendars get over HTTP from a daemon in the middle of an outage.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;

use super::{SOON, await_status, incidents, write_config};
use crate::skip;
use crate::support::{
    daemon::{Daemon, folder, free_address, wait_for},
    http::{self, Answer},
    skip::program,
    target::Target,
};

/// Every feed of a site with the services `api` and `web`, and its media type.
const FEEDS: [(&str, &str); 12] = [
    ("updates.rss", "application/rss+xml"),
    ("updates.atom", "application/atom+xml"),
    ("feed.json", "application/feed+json"),
    ("history.rss", "application/rss+xml"),
    ("history.atom", "application/atom+xml"),
    ("services/api/updates.rss", "application/rss+xml"),
    ("services/api/updates.atom", "application/atom+xml"),
    ("services/api/feed.json", "application/feed+json"),
    ("services/web/updates.rss", "application/rss+xml"),
    ("services/web/updates.atom", "application/atom+xml"),
    ("services/web/feed.json", "application/feed+json"),
    ("maintenance.ics", "text/calendar"),
];

fn get(listen: SocketAddr, path: &str) -> Answer {
    let answer = http::get(listen, &format!("/{path}")).unwrap();
    assert_eq!(answer.status, 200, "{path}");
    answer
}

fn json(listen: SocketAddr, path: &str) -> Value {
    let answer = get(listen, path);
    assert!(answer.headers["content-type"].starts_with("application/json"), "{path}: {answer:?}");
    assert_eq!(answer.headers["access-control-allow-origin"], "*", "{path}");
    answer.json()
}

/// All feeds as they are now.
fn feeds(listen: SocketAddr) -> BTreeMap<&'static str, Vec<u8>> {
    FEEDS.iter().map(|(path, _)| (*path, get(listen, path).body)).collect()
}

/// The ids of a JSON feed, and what is under each.
fn items(listen: SocketAddr) -> Vec<(String, String)> {
    let feed = get(listen, "feed.json").json();
    let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
    feed["items"].as_array().unwrap().iter().map(|item| (text(item, "id"), text(item, "content_html"))).collect()
}

/// Another program's parsers find nothing wrong.
fn assert_valid(listen: SocketAddr, folder: &Path) {
    let Some(python) = program("venv-python") else { return };
    for (path, bytes) in feeds(listen) {
        let file = folder.join("feeds").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/validate-feeds.py");
    let output = Command::new(python).arg(script).arg(folder.join("feeds")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("SKIPPED"), "{said}");
}

#[test]
fn readers_follow_an_outage_from_its_first_minute_to_its_end() {
    let folder = folder();
    let folder = folder.path();
    let (api, web, listen) = (Target::start(), Target::start(), free_address());
    let checks =
        [("api", &api), ("web", &web)].map(|(id, target)| (id, format!("http = \"http://{}/\"", target.address)));
    write_config(folder, listen, "", &checks);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    await_status(listen, "web", "operational");
    for (path, kind) in FEEDS {
        let answer = get(listen, path);
        assert!(answer.headers["content-type"].starts_with(kind), "{path}: {:?}", answer.headers);
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{path}");
    }
    assert!(items(listen).is_empty());
    assert_valid(listen, folder);

    api.answers(503);
    await_status(listen, "api", "major_outage");
    let opened = wait_for("the entry", SOON, || Some(items(listen)).filter(|items| items.len() == 1));
    assert!(opened[0].1.contains("HTTP 503"), "{opened:?}");

    // What rests costs a reader nothing.
    wait_for("feeds that rest", SOON, || {
        let tag = get(listen, "updates.atom").headers["etag"].clone();
        let request = format!(
            "GET /updates.atom HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\nIf-None-Match: {tag}\r\n\r\n"
        );
        let answer = http::send(listen, &request).unwrap();
        assert!(answer.status == 200 || answer.body.is_empty());
        (answer.status == 304).then_some(())
    });

    // A person's words become an entry of their own once they have rested, under an id of their own.
    let id = incidents(folder)[0]["id"].as_str().unwrap().to_owned();
    let note = folder.join(format!("notes/incidents/{id}.toml"));
    let created = wait_for("the note's file", SOON, || fs::read_to_string(&note).ok());
    let write = |words: &str| {
        let text = format!("{created}\n[[update]]\nstatus = \"identified\"\ntext = \"{words}\"\n");
        fs::write(&note, text).unwrap();
    };
    write("A **disk** is full.");
    let told = wait_for("the words", SOON, || Some(items(listen)).filter(|items| items.len() == 2));
    assert_eq!(told[1].0, opened[0].0, "ids stay");
    assert!(told[0].1.contains("<strong>disk</strong>"), "{told:?}");

    // A correction changes the entry and makes no other.
    write("A **volume** is full.");
    let corrected =
        wait_for("the correction", SOON, || Some(items(listen)).filter(|items| items[0].1.contains("volume")));
    let ids = |items: &[(String, String)]| items.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&corrected), ids(&told));

    // What scripts read.
    assert_statuspage(listen, &id, "major_outage", "identified");
    let shield = json(listen, "badge/api/shields.json");
    assert_eq!(shield["schemaVersion"], 1);
    assert!(shield["label"].is_string() && shield["message"].is_string() && shield["color"].is_string(), "{shield}");
    assert_ne!(shield["message"], json(listen, "badge/web/shields.json")["message"]);
    for of in ["api", "overall"] {
        for badge in ["status", "uptime-90d"] {
            let answer = get(listen, &format!("badge/{of}/{badge}.svg"));
            assert!(answer.headers["content-type"].starts_with("image/svg+xml"));
            assert!(answer.text().starts_with("<svg "), "{}", answer.text());
        }
    }
    let csv = get(listen, "services/api/outages.csv");
    assert!(csv.headers["content-type"].starts_with("text/csv") && csv.text().contains("major_outage"), "{csv:?}");
    let calendar = get(listen, "maintenance.ics").text();
    assert!(calendar.starts_with("BEGIN:VCALENDAR\r\n") && calendar.ends_with("END:VCALENDAR\r\n"), "{calendar}");
    assert_valid(listen, folder);

    // A restart changes no byte.
    let before = settled(listen);
    assert!(daemon.terminate().0.success());
    let daemon = Daemon::start(folder, listen);
    std::thread::sleep(Duration::from_secs(2));
    for (path, bytes) in feeds(listen) {
        assert!(before[path] == bytes, "{path} changed:\n{}", String::from_utf8_lossy(&bytes));
    }

    api.answers(200);
    await_status(listen, "api", "operational");
    let resolved = wait_for("the end", SOON, || Some(items(listen)).filter(|items| items.len() == 3));
    assert_eq!(ids(&resolved)[1..], ids(&told)[..], "ids stay");
    let distinct: BTreeSet<String> = ids(&resolved).into_iter().collect();
    assert_eq!(distinct.len(), 3);
    assert!(get(listen, "services/web/feed.json").json()["items"].as_array().unwrap().is_empty());
    assert_statuspage(listen, &id, "operational", "resolved");
    assert_valid(listen, folder);
    drop(daemon);
    if program("venv-python").is_none() {
        skip!("feedparser and icalendar are not installed; the rest was tested");
    }
}

/// All feeds, once two looks in a row found the same.
fn settled(listen: SocketAddr) -> BTreeMap<&'static str, Vec<u8>> {
    let mut last = feeds(listen);
    wait_for("feeds that rest", SOON, || {
        std::thread::sleep(Duration::from_millis(700));
        let now = feeds(listen);
        let rests = now == last;
        last = now;
        rests.then(|| last.clone())
    })
}

fn one_of(value: &Value, allowed: &[&str]) {
    assert!(allowed.contains(&value.as_str().unwrap()), "{value} is none of {allowed:?}");
}

fn time(value: &Value) {
    value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
}

/// A client of the Statuspage API reads what is wrong, with the words that it knows and no others.
fn assert_statuspage(listen: SocketAddr, id: &str, api: &str, state: &str) {
    let summary = json(listen, "api/v2/summary.json");
    one_of(&summary["status"]["indicator"], &["none", "minor", "major", "critical", "maintenance"]);
    assert!(!summary["status"]["description"].as_str().unwrap().is_empty());
    for key in ["id", "name", "url", "time_zone"] {
        assert!(summary["page"][key].is_string(), "{key}: {summary}");
    }
    time(&summary["page"]["updated_at"]);
    time(&summary["page"]["watchbell_fresh_until"]);
    assert_eq!(json(listen, "api/v2/status.json")["status"], summary["status"]);
    let components = json(listen, "api/v2/components.json");
    let components = components["components"].as_array().unwrap();
    assert_eq!(components.len(), 2);
    for component in components {
        one_of(
            &component["status"],
            &["operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"],
        );
        for key in ["id", "name", "page_id"] {
            assert!(component[key].is_string(), "{key}: {component}");
        }
        for key in ["created_at", "updated_at"] {
            time(&component[key]);
        }
        let wanted = if component["id"] == "api" { api } else { "operational" };
        assert_eq!(component["status"], wanted);
    }
    let is_open = state != "resolved";
    let unresolved = json(listen, "api/v2/incidents/unresolved.json");
    assert_eq!(unresolved["incidents"].as_array().unwrap().len(), usize::from(is_open));
    assert_eq!(summary["incidents"], unresolved["incidents"]);
    let all = json(listen, "api/v2/incidents.json");
    let incident = &all["incidents"][0];
    assert_eq!(incident["id"], id);
    assert_eq!(incident["status"], state);
    one_of(&incident["impact"], &["none", "minor", "major", "critical"]);
    time(&incident["created_at"]);
    time(&incident["updated_at"]);
    assert_eq!(incident["resolved_at"].is_null(), is_open);
    let shortlink = incident["shortlink"].as_str().unwrap();
    assert!(shortlink.contains(id), "{shortlink}");
    for update in incident["incident_updates"].as_array().unwrap() {
        one_of(&update["status"], &["investigating", "identified", "monitoring", "resolved", "postmortem"]);
        assert_eq!(update["incident_id"], id);
        assert!(update["id"].is_string() && update["body"].is_string());
        time(&update["created_at"]);
        time(&update["display_at"]);
    }
    assert_eq!(incident["components"][0]["id"], "api");
    for name in ["scheduled-maintenances", "scheduled-maintenances/upcoming", "scheduled-maintenances/active"] {
        assert!(json(listen, &format!("api/v2/{name}.json"))["scheduled_maintenances"].as_array().unwrap().is_empty());
    }
}
