//! What people say that time counts as: on the page with its reason, in every number, and gone
//! without a trace when it is taken back.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use jiff::Timestamp;
use watchbell::{
    config::Config,
    domain::{
        archive::ServiceNow,
        correction::{Correction, CountAs},
        span::{Span, SpanEdit},
    },
    judge::Step,
    site::Publisher,
    store::{Commit, Reader, Store},
};

use super::scene::{self, Down, Up, at, differences, id, tree};

const TEXT: &str = r#"
[site]
url = "https://status.example.org/"
timezone = "Europe/Berlin"
[store]
allow_volatile = true
[[service]]
id = "api"
name = "API"
objective = 99.9
[[service]]
id = "web"
name = "Web"
"#;

struct Site {
    home: tempfile::TempDir,
    config: Config,
    store: Store,
    reader: Reader,
    publisher: Publisher,
}

impl Site {
    /// Both services are measured since twenty days, and were down for 72 minutes.
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = scene::config(home.path(), TEXT);
        let mut store = Store::open(&config.store, at(scene::NOW)).unwrap();
        store.set_services(&config.rules).unwrap();
        let (down, back) = (at("2026-11-20T10:00:00Z"), at("2026-11-20T11:12:00Z"));
        let since = at("2026-11-01T14:00:00Z");
        let span = |status, from, to| Span { status, from, to };
        let spans = [span(Up, since, Some(down)), span(Down, down, Some(back)), span(Up, back, None)];
        let now = |service| ServiceNow {
            service,
            status: Up,
            since: back,
            checks_up: 1,
            checks_known: 1,
            last_result_at: Some(at(scene::NOW)),
        };
        let ids = ["api", "web"].map(id);
        let step = Step {
            spans: ids.iter().map(|id| SpanEdit { service: id.clone(), from: since, spans: spans.to_vec() }).collect(),
            services: ids.into_iter().map(now).collect(),
            ..Step::default()
        };
        store.commit(&Commit { steps: vec![step], ..Commit::new(at(scene::NOW)) }).unwrap();
        let (reader, publisher) = (Store::reader(&config.store).unwrap(), Publisher::new(&config).unwrap());
        Self { home, config, store, reader, publisher }
    }

    /// Publishes what is committed; the names of files whose bytes changed.
    fn publish(&mut self) -> BTreeSet<String> {
        let output = self.config.site.output.clone();
        let before = if output.exists() { tree(&output) } else { BTreeMap::new() };
        self.reader.refresh().unwrap();
        self.publisher.publish(&self.reader, at(scene::NOW)).unwrap();
        let fresh = self.home.path().join("fresh");
        let _ = std::fs::remove_dir_all(&fresh);
        build(&self.config, &self.reader, &fresh);
        let (ours, theirs) = (tree(&output), tree(&fresh));
        let different = differences(&ours, &theirs).into_iter();
        // What left the plan stays for one pass more.
        let different: Vec<String> = different.filter(|name| theirs.contains_key(name)).collect();
        assert!(different.is_empty(), "a fresh build is the same: {different:?}");
        differences(&before, &tree(&output))
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.config.site.output.join(name)).unwrap()
    }
}

fn build(config: &Config, reader: &Reader, output: &Path) {
    let mut config = config.clone();
    output.clone_into(&mut config.site.output);
    Publisher::new(&config).unwrap().publish(reader, at(scene::NOW)).unwrap();
}

fn correction(service: &str, from: Timestamp, to: Timestamp, count_as: CountAs, why: &str) -> Correction {
    Correction { service: id(service), from, to, count_as, why: why.into() }
}

#[test]
fn a_correction_changes_every_number_says_why_and_leaves_no_trace_when_it_is_taken_back() {
    let mut site = Site::new();
    site.publish();
    let measured = tree(&site.config.site.output);
    assert!(site.text("services/api/index.html").contains("99.75 % uptime"), "72 of 28,800 minutes");
    assert!(!site.text("services/api/index.html").contains("Corrections"));
    let why = "The **probe** had no route. <script>alert(1)</script> [x](javascript:alert(1))";
    let outage = (at("2026-11-20T10:00:00Z"), at("2026-11-20T11:12:00Z"));
    site.store.set_corrections(&[correction("api", outage.0, outage.1, CountAs::Up, why)]).unwrap();
    let changed = site.publish();
    let page = site.text("services/api/index.html");
    for part in [
        "100 % uptime",
        "Corrections",
        "Counts as up (1 h 12 min)",
        "20 November 2026, 11:00 CET",
        "12:12 CET",
        "The <strong>probe</strong> had no route.",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<script>alert") && !page.contains("javascript:"), "{page}");
    assert!(!page.contains("down 1 h 12 min"), "neither in a bar nor in a window: {page}");
    assert!(page.contains("28 min of 28 min left"), "the budget is whole: {page}");
    assert_eq!(site.text("services/api/outages.csv"), "kind,start,end,length_s\r\n");
    assert!(site.text("badge/api/uptime-90d.svg").contains("100 %"));
    let expected = [
        "badge/api/uptime-90d.svg",
        "badge/overall/uptime-90d.svg",
        "index.html",
        "services/api/index.html",
        "services/api/outages.csv",
    ];
    assert_eq!(changed, expected.map(str::to_owned).into(), "pages of no other service, no feed");
    site.store.set_corrections(&[]).unwrap();
    site.publish();
    assert_eq!(differences(&tree(&site.config.site.output), &measured), BTreeSet::new());
}

#[test]
fn each_word_counts_as_it_says() {
    let (from, to) = (at("2026-11-20T10:00:00Z"), at("2026-11-20T11:12:00Z"));
    let day = |count_as: CountAs, from, to| {
        let mut site = Site::new();
        site.store.set_corrections(&[correction("api", from, to, count_as, "x")]).unwrap();
        site.publish();
        (site.text("services/api/index.html"), site.text("services/api/outages.csv"))
    };
    let (page, csv) = day(CountAs::Maintenance, from, to);
    assert!(page.contains("planned work 1 h 12 min") && page.contains("100 % uptime"), "{page}");
    assert!(csv.ends_with("under_maintenance,2026-11-20T10:00:00Z,2026-11-20T11:12:00Z,4320\r\n"), "{csv}");
    let (page, csv) = day(CountAs::Unknown, from, to);
    assert!(page.contains("Counts as without data") && page.contains("100 % uptime"), "{page}");
    assert!(csv.ends_with("unknown,2026-11-20T10:00:00Z,2026-11-20T11:12:00Z,4320\r\n"), "{csv}");
    // Nobody saw how it began: with what was seen it is one outage.
    let (page, csv) = day(CountAs::Outage, at("2026-11-20T09:48:00Z"), from);
    assert!(page.contains("down 1 h 24 min") && page.contains("99.70 % uptime"), "{page}");
    assert!(csv.ends_with("length_s\r\nmajor_outage,2026-11-20T09:48:00Z,2026-11-20T11:12:00Z,5040\r\n"), "{csv}");
}

#[test]
fn other_words_for_the_same_time_and_corrections_of_what_is_gone_are_published_too() {
    let mut site = Site::new();
    let (from, to) = (at("2026-11-20T10:00:00Z"), at("2026-11-20T11:12:00Z"));
    site.store.set_corrections(&[correction("api", from, to, CountAs::Up, "One.")]).unwrap();
    site.publish();
    site.store.set_corrections(&[correction("api", from, to, CountAs::Up, "Two.")]).unwrap();
    assert_eq!(site.publish(), ["services/api/index.html".to_owned()].into());
    assert!(site.text("services/api/index.html").contains("Two."));

    let mut config = site.config.clone();
    config.rules.services.retain(|service| service.id.as_str() != "api");
    site.store.set_services(&config.rules).unwrap();
    site.publisher = Publisher::new(&config).unwrap();
    site.config = config;
    site.publish();
    let typo = correction("apu", from, to, CountAs::Up, "Nobody's.");
    site.store.set_corrections(&[correction("api", from, to, CountAs::Unknown, "Three."), typo]).unwrap();
    let mut changed = site.publish();
    changed.retain(|name| !name.starts_with("badge/")); // what left the plan before goes now
    assert_eq!(changed, ["services/api/index.html", "services/api/outages.csv"].map(str::to_owned).into());
    let page = site.text("services/api/index.html");
    assert!(page.contains("No longer monitored.") && page.contains("Three."), "{page}");
    assert!(site.text("services/api/outages.csv").contains("unknown,2026-11-20T10:00:00Z"));
}
