//! The documents of whole stories, byte by byte: `tests/golden/feeds/`. Read a change there as you
//! would read code. `WATCHBELL_GOLDEN=write` writes them anew.

use std::path::{Path, PathBuf};

use watchbell::{
    domain::ServiceStatus,
    fsio,
    site::{
        badge::{Badge, Tone},
        calendar::{CalendarHead, ics},
    },
};

use super::fixture::{self, World};

fn check(folder: &str, files: Vec<(String, Vec<u8>)>) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/feeds").join(folder);
    let mut wrong = Vec::new();
    for (name, bytes) in files {
        let path = root.join(&name);
        if std::env::var_os("WATCHBELL_GOLDEN").is_some_and(|value| value == "write") {
            fsio::create_folder(path.parent().unwrap()).unwrap();
            fsio::write(&path, &bytes).unwrap();
        }
        if std::fs::read(&path).ok().as_deref() != Some(bytes.as_slice()) {
            wrong.push(shown(&path, &bytes));
        }
    }
    assert!(wrong.is_empty(), "differ from their golden files:\n{}", wrong.join("\n"));
}

fn shown(path: &Path, bytes: &[u8]) -> String {
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    let ours = String::from_utf8_lossy(bytes);
    let line = ours.lines().zip(golden.lines()).find(|(a, b)| a != b);
    format!("{}: {line:?}", path.display())
}

fn documents(world: &World) -> Vec<(String, Vec<u8>)> {
    let (updates, history, api) = (world.updates(None), world.history(), world.api());
    let mut files = vec![
        ("updates.rss".to_owned(), updates.rss()),
        ("updates.atom".to_owned(), updates.atom()),
        ("feed.json".to_owned(), updates.json()),
        ("history.rss".to_owned(), history.rss()),
        ("history.atom".to_owned(), history.atom()),
        ("api/v2/summary.json".to_owned(), pretty(&world.summary())),
        ("api/v2/status.json".to_owned(), pretty(&api.status())),
        ("api/v2/incidents.json".to_owned(), pretty(&world.incidents())),
        ("api/v2/scheduled-maintenances.json".to_owned(), pretty(&api.maintenances())),
    ];
    for incident in world.incidents.values() {
        files.push((format!("api/v2/incidents/{}.json", incident.id), pretty(&api.incident(incident))));
    }
    let service = &world.rules.services[0];
    let own = world.updates(Some(&service.id));
    files.push((format!("services/{}/updates.rss", service.id), own.rss()));
    files.push((format!("services/{}/updates.atom", service.id), own.atom()));
    files.push((format!("services/{}/feed.json", service.id), own.json()));
    let url = world.feed_site().url("maintenance.ics");
    files.push(("maintenance.ics".to_owned(), ics(&CalendarHead { name: &world.site.title, url: &url }, Vec::new())));
    for status in ServiceStatus::ALL {
        let badge = Badge { label: &service.name, message: world.words.status(*status), tone: Tone::from(*status) };
        files.push((format!("badge/{status}.svg"), badge.svg()));
    }
    files
}

/// One member a line, for people who read the golden file.
fn pretty(bytes: &[u8]) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let mut out = serde_json::to_vec_pretty(&value).unwrap();
    out.push(b'\n');
    out
}

#[test]
fn the_story_of_a_hypervisor_reads_as_its_golden_files() {
    check("hypervisor", documents(&fixture::hypervisor()));
}

#[test]
fn hostile_texts_read_as_their_golden_files() {
    check("hostile", documents(&fixture::hostile()));
}

#[test]
fn a_quiet_site_reads_as_its_golden_files() {
    check("quiet", documents(&fixture::quiet()));
}

#[test]
fn the_same_facts_give_the_same_bytes() {
    let (first, later) =
        (fixture::hypervisor(), World { now: fixture::at("2021-01-01T00:00:00Z"), ..fixture::hypervisor() });
    for (a, b) in [
        (first.updates(None).rss(), later.updates(None).rss()),
        (first.updates(None).atom(), later.updates(None).atom()),
        (first.updates(None).json(), later.updates(None).json()),
        (first.history().rss(), later.history().rss()),
        (first.history().atom(), later.history().atom()),
    ] {
        assert!(a == b, "a feed depends on the present");
    }
}
