//! What is committed, and how it reads back.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    domain::{
        CheckId, CheckKey, IncidentStatus, ServiceStatus,
        archive::{Archive, Changes, Head, ServiceNow},
        event::EventKind,
        outcome::{CheckResult, Class},
        span::{Span, SpanEdit},
    },
    judge::{Decision, Reason, Row, Step},
    store::{testing::*, *},
};

fn row(key: &str, json: Option<&str>) -> Row {
    Row { key: key.to_owned(), json: json.map(str::to_owned) }
}

fn check(service_id: &str) -> CheckKey {
    CheckKey { service: service(service_id), check: CheckId::new("http").unwrap() }
}

fn sample(second: i64, result: CheckResult, latency_us: u32) -> Sample {
    let class = (result == CheckResult::Down).then_some(Class::Timeout);
    Sample { check: check("api"), at: at(second), result, latency_us, class }
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let (folder, mut store) = store();
    let incident = incident("2026-11-21-api", 1, &["api", "web"]);
    let opened = event(20, EventKind::Opened, &incident);
    let now = ServiceNow {
        service: service("api"),
        status: ServiceStatus::MajorOutage,
        since: at(10),
        checks_up: 0,
        checks_known: 1,
        last_result_at: Some(at(20)),
    };
    let decision = Decision {
        at: at(20),
        service: service("api"),
        check: Some(check("api")),
        incident: Some(incident.id.clone()),
        reason: Reason::Opened,
    };
    let uncounted = Decision { incident: None, ..decision.clone() };
    let mut all = commit(&[&incident], &[&opened]);
    all.steps[0].services.push(now.clone());
    all.steps[0].decisions = vec![decision.clone(), uncounted];
    all.world = vec![row("service:api", Some("{}")), row("check:api/http", Some("1"))];
    store.commit(&all).unwrap();
    drop(store);

    let config = config(folder.path());
    let store = Store::open(&config, at(40)).unwrap();
    let reader = Store::reader(&config).unwrap();
    assert_eq!(store.world().unwrap(), [("check:api/http".into(), "1".into()), ("service:api".into(), "{}".into())]);
    assert_eq!(reader.incident(&incident.id).unwrap(), Some(incident.clone()));
    assert_eq!(reader.heads().unwrap(), [Head::from(&incident)]);
    assert_eq!(reader.events(None, None, 10).unwrap(), [opened]);
    assert_eq!(reader.services().unwrap(), [now]);
    assert_eq!(store.decisions(&incident.id).unwrap(), std::slice::from_ref(&decision));
    assert_eq!(reader.decisions(&incident.id).unwrap(), [decision]);
}

#[test]
fn a_commit_written_twice_is_there_once() {
    let (folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    let incident = incident("2026-11-21-api", 1, &["api"]);
    let mut commit = commit(&[&incident], &[&event(20, EventKind::Opened, &incident)]);
    commit.steps[0].decisions.push(Decision {
        at: at(20),
        service: service("api"),
        check: None,
        incident: Some(incident.id.clone()),
        reason: Reason::Opened,
    });
    store.commit(&commit).unwrap();
    store.commit(&commit).unwrap();
    let reader = Store::reader(&config(folder.path())).unwrap();
    assert_eq!(reader.events(None, None, 10).unwrap().len(), 1);
    assert_eq!(reader.decisions(&incident.id).unwrap().len(), 1);
    assert_eq!(store.outbox_counts().unwrap().queued, 1);
}

#[test]
fn of_an_endless_incident_the_first_and_the_latest_decisions_are_kept() {
    let (_folder, mut store) = store();
    let incident = incident("2026-11-21-api", 1, &["api"]);
    let decision = |second| Decision {
        at: at(second),
        service: service("api"),
        check: None,
        incident: Some(incident.id.clone()),
        reason: Reason::NotTold,
    };
    let mut all = commit(&[&incident], &[]);
    all.steps[0].decisions = (0..2500).map(decision).collect();
    store.commit(&all).unwrap();
    let kept = store.decisions(&incident.id).unwrap();
    assert_eq!(kept.len(), 1000);
    assert_eq!((kept[0].at, kept[499].at, kept[500].at, kept[999].at), (at(0), at(499), at(2000), at(2499)));
}

#[test]
fn a_repeated_old_commit_does_not_undo_a_newer_one() {
    let (folder, mut store) = store();
    let old = incident("2026-11-21-api", 1, &["api"]);
    let mut new = incident("2026-11-21-api", 2, &["api"]);
    (new.status, new.resolved_at) = (IncidentStatus::Resolved, Some(at(50)));
    store.commit(&commit(&[&new], &[])).unwrap();
    store.commit(&commit(&[&old], &[])).unwrap();
    let reader = Store::reader(&config(folder.path())).unwrap();
    assert_eq!(reader.incident(&new.id).unwrap().unwrap(), new);
}

#[test]
fn a_world_row_without_content_goes_away() {
    let (_folder, mut store) = store();
    let world = |rows| Commit { world: rows, ..Commit::new(at(0)) };
    store.commit(&world(vec![row("a", Some("1")), row("b", Some("2"))])).unwrap();
    store.commit(&world(vec![row("a", None), row("b", Some("3"))])).unwrap();
    assert_eq!(store.world().unwrap(), [("b".to_owned(), "3".to_owned())]);
}

#[test]
fn a_full_disk_changes_nothing_and_the_same_store_goes_on_later() {
    let (folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    let pages: i64 = store.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |store: &Store, pages: i64| {
        store.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    limit(&store, pages + 2);
    let incident = incident("2026-11-21-api", 1, &["api"]);
    let mut commit = commit(&[&incident], &[&event(20, EventKind::Opened, &incident)]);
    commit.samples.push(sample(1, CheckResult::Up, 5));
    commit.world = (0..2000).map(|n| row(&format!("check:{n}"), Some(&"x".repeat(100)))).collect();
    let error = store.commit(&commit).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");

    let reader = Store::reader(&config(folder.path())).unwrap();
    assert_eq!(reader.heads().unwrap(), []);
    assert_eq!(store.outbox_counts().unwrap(), outbox::Counts::default());
    assert_eq!(store.world().unwrap(), []);
    limit(&store, 1_000_000);
    store.commit(&commit).unwrap();
    drop(reader);
    let reader = Store::reader(&config(folder.path())).unwrap();
    assert_eq!(reader.heads().unwrap().len(), 1);
    assert_eq!(reader.results(&check("api"), at(0), at(10)).unwrap().len(), 1);
}

#[test]
fn a_store_locked_by_another_program_is_said_to_be_and_works_later() {
    let (folder, mut store) = store();
    store.db.busy_timeout(Duration::ZERO).unwrap();
    let other = rusqlite::Connection::open(&config(folder.path()).path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let incident = incident("2026-11-21-api", 1, &["api"]);
    let commit = commit(&[&incident], &[]);
    let error = store.commit(&commit).unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert_eq!(Store::reader(&config(folder.path())).unwrap().heads().unwrap(), [], "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&commit).unwrap();
}

#[test]
fn a_writer_that_dies_before_its_commit_leaves_no_trace() {
    let (folder, mut store) = store();
    let tx = store.db.transaction().unwrap();
    tx.execute("INSERT INTO world (key, json) VALUES ('a', '1')", []).unwrap();
    drop(tx);
    // What a killed process leaves: the files as they are at that moment.
    let copy = tempfile::tempdir().unwrap();
    store.db.execute_batch("BEGIN IMMEDIATE; INSERT INTO world (key, json) VALUES ('b', '1')").unwrap();
    for name in ["watchbell.db", "watchbell.db-wal"] {
        crate::fsio::write(&copy.path().join(name), &std::fs::read(folder.path().join(name)).unwrap()).unwrap();
    }
    let revived = Store::open(&config(copy.path()), at(0)).unwrap();
    assert_eq!(revived.world().unwrap(), []);
}

#[test]
fn a_reader_stands_at_one_moment_until_it_moves_on() {
    let (folder, mut store) = store();
    let mut reader = Store::reader(&config(folder.path())).unwrap();
    let before = reader.revision().unwrap();
    let incident = incident("2026-11-21-api", 1, &["api"]);
    store.commit(&commit(&[&incident], &[])).unwrap();
    assert_eq!(reader.heads().unwrap(), []);
    assert_eq!(reader.revision().unwrap(), before);
    reader.refresh().unwrap();
    assert_eq!(reader.heads().unwrap().len(), 1);
    assert!(reader.revision().unwrap() > before);
    reader.rest().unwrap();
    reader.rest().unwrap();
    reader.refresh().unwrap();
}

#[test]
fn samples_and_state_alone_change_no_page() {
    let (folder, mut store) = store();
    let mut reader = Store::reader(&config(folder.path())).unwrap();
    let before = reader.revision().unwrap();
    let mut quiet = Commit::new(at(1));
    quiet.samples.push(sample(1, CheckResult::Up, 5));
    quiet.world.push(row("check:api/http", Some("1")));
    quiet.steps.push(Step::default());
    store.commit(&quiet).unwrap();
    reader.refresh().unwrap();
    assert_eq!(reader.revision().unwrap(), before);
}

#[test]
fn events_come_newest_first_by_service_and_since() {
    let (folder, mut store) = store();
    let api = incident("2026-11-21-api", 1, &["api"]);
    let web = incident("2026-11-21-web", 1, &["web", "api"]);
    let events =
        [event(20, EventKind::Opened, &api), event(21, EventKind::Opened, &web), event(22, EventKind::Resolved, &api)];
    store.commit(&commit(&[&api, &web], &events.each_ref())).unwrap();
    let reader = Store::reader(&config(folder.path())).unwrap();
    let [first, second, third] = events;
    assert_eq!(reader.events(None, None, 2).unwrap(), [third.clone(), second.clone()]);
    assert_eq!(reader.events(Some(&service("web")), None, 9).unwrap(), std::slice::from_ref(&second));
    assert_eq!(reader.events(Some(&service("api")), Some(at(21)), 9).unwrap(), [third.clone(), second]);
    assert_eq!(reader.events_of(&api.id).unwrap(), [third, first]);
}

#[test]
fn what_a_newer_version_wrote_is_kept_passed_over_and_counted() {
    let (folder, mut store) = store();
    let api = incident("2026-11-21-api", 1, &["api"]);
    store
        .commit(&commit(&[&api], &[&event(20, EventKind::Opened, &api), &event(21, EventKind::Resolved, &api)]))
        .unwrap();
    store.db.execute("UPDATE event SET kind = 'celebrated', json = replace(json, '\"resolved\"', '\"celebrated\"') WHERE seq = 2", []).unwrap();
    let reader = Store::reader(&config(folder.path())).unwrap();
    let events = reader.events(None, None, 10).unwrap();
    assert_eq!((events.len(), reader.skipped()), (1, 1));
    let kept: i64 = store.db.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 2);
}

#[test]
fn results_read_the_same_before_and_after_they_are_sealed() {
    let (folder, mut store) = store();
    let samples: Vec<_> = (0..400)
        .map(|n| {
            sample(
                n * 30,
                if n % 7 == 0 { CheckResult::Down } else { CheckResult::Up },
                u32::try_from(n).unwrap() * 1000,
            )
        })
        .collect();
    for chunk in samples.chunks(50) {
        store.commit(&Commit { samples: chunk.to_vec(), ..Commit::new(at(0)) }).unwrap();
    }
    let read = || {
        let reader = Store::reader(&config(folder.path())).unwrap();
        reader.results(&check("api"), at(0), at(100_000)).unwrap()
    };
    assert_eq!(read(), samples);
    let tidied = store.tidy(at(12_000)).unwrap();
    assert_eq!((tidied.sealed, tidied.more), (360, false));
    assert_eq!(read(), samples);
    // A result that comes after its hour was sealed is not lost either.
    let late = sample(1, CheckResult::Degraded, 9);
    store.commit(&Commit { samples: vec![late.clone()], ..Commit::new(at(0)) }).unwrap();
    store.tidy(at(100_000)).unwrap();
    let hours: i64 = store.db.query_row("SELECT count(*) FROM result_hour", [], |row| row.get(0)).unwrap();
    assert_eq!(hours, 4);
    assert!(read().contains(&late));
    assert_eq!(read().len(), 401);
}

#[test]
fn results_are_kept_as_long_as_asked_and_latencies_for_ever() {
    let (folder, mut store) = store();
    store.keep_results = Duration::from_hours(24);
    store.commit(&Commit { samples: vec![sample(0, CheckResult::Up, 5)], ..Commit::new(at(0)) }).unwrap();
    store.tidy(at(80_000)).unwrap();
    let read = || {
        let reader = Store::reader(&config(folder.path())).unwrap();
        let latency = reader.latency(&service("api"), at(0), at(1000), Duration::from_mins(15)).unwrap();
        (reader.results(&check("api"), at(0), at(10)).unwrap().len(), latency.len())
    };
    assert_eq!(read(), (1, 1));
    assert_eq!(store.tidy(at(100_000)).unwrap().forgotten, 1);
    assert_eq!(read(), (0, 1));
}

#[test]
fn response_times_are_of_good_answers_in_buckets_of_any_width() {
    let (folder, mut store) = store();
    let samples = vec![
        sample(0, CheckResult::Up, 10),
        sample(60, CheckResult::Degraded, 12),
        sample(70, CheckResult::Down, 1_000_000),
        sample(1000, CheckResult::Up, 14),
        sample(7300, CheckResult::Up, 15),
    ];
    store.commit(&Commit { samples, ..Commit::new(at(0)) }).unwrap();
    let reader = Store::reader(&config(folder.path())).unwrap();
    let read = |width| {
        let points = reader.latency(&service("api"), at(0), at(10_000), Duration::from_secs(width)).unwrap();
        points.iter().map(|p| ((p.at.as_second() - at(0).as_second()), p.p50_us, p.p95_us, p.count)).collect::<Vec<_>>()
    };
    assert_eq!(read(900), [(0, 10, 12, 2), (900, 14, 14, 1), (7200, 15, 15, 1)]);
    assert_eq!(read(3600), [(0, 12, 14, 3), (7200, 15, 15, 1)]);
    let none = reader.latency(&service("web"), at(0), at(10_000), Duration::from_mins(15)).unwrap();
    assert_eq!(none, []);
}

#[test]
fn a_minted_word_stays() {
    let (folder, mut store) = store();
    assert_eq!(store.mint("tag", "status.example.org,2026").unwrap(), "status.example.org,2026");
    assert_eq!(store.mint("tag", "other.example.org,2027").unwrap(), "status.example.org,2026");
    let reader = Store::reader(&config(folder.path())).unwrap();
    assert_eq!(reader.minted("tag").unwrap().as_deref(), Some("status.example.org,2026"));
    assert_eq!(reader.minted("else").unwrap(), None);
}

/// What the record says of every second: the simplest thing that could be right.
type Model = Vec<Option<ServiceStatus>>;

const SECONDS: i64 = 60;

fn model_edit(model: &mut Model, from: i64, spans: &[(i64, ServiceStatus)]) {
    for second in from..SECONDS {
        let status = spans.iter().rev().find(|(begin, _)| *begin <= second).map(|(_, status)| *status);
        model[usize::try_from(second).unwrap()] = status;
    }
}

fn edit_of(from: i64, spans: &[(i64, ServiceStatus)]) -> SpanEdit {
    let ends = spans.iter().skip(1).map(|(begin, _)| Some(at(*begin))).chain([None]);
    let spans = spans.iter().zip(ends).map(|(&(begin, status), to)| Span { status, from: at(begin), to });
    SpanEdit { service: service("api"), from: at(from), spans: spans.collect() }
}

fn edits() -> impl Strategy<Value = (i64, Vec<(i64, ServiceStatus)>)> {
    let status =
        prop::sample::select(&[ServiceStatus::Operational, ServiceStatus::MajorOutage, ServiceStatus::Unknown][..]);
    (0..SECONDS, prop::collection::btree_map(1..20_i64, status.clone(), 0..4), status, any::<bool>()).prop_map(
        |(from, later, first, is_empty)| {
            if is_empty {
                return (from, Vec::new());
            }
            let mut spans = vec![(from, first)];
            for (after, status) in later {
                if spans.last().is_none_or(|(_, last)| *last != status) {
                    spans.push((from + after, status));
                }
            }
            (from, spans)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn edits_of_spans_do_what_a_naive_model_does(edits in prop::collection::vec(edits(), 1..8), from in 0..SECONDS, length in 1..SECONDS) {
        let (folder, mut store) = store();
        let mut model: Model = vec![None; usize::try_from(SECONDS).unwrap()];
        for (from, spans) in &edits {
            model_edit(&mut model, *from, spans);
            let step = Step { spans: vec![edit_of(*from, spans)], ..Step::default() };
            store.commit(&Commit { steps: vec![step], ..Commit::new(at(0)) }).unwrap();
        }
        let reader = Store::reader(&config(folder.path())).unwrap();
        let all = reader.spans(&service("api"), at(0), at(1000)).unwrap();
        for second in 0..SECONDS {
            let found = all.iter().find(|span| span.from <= at(second) && span.to.is_none_or(|to| to > at(second)));
            prop_assert_eq!(found.map(|span| span.status), model[usize::try_from(second).unwrap()], "second {}", second);
        }
        for pair in all.windows(2) {
            let end = pair[0].to.unwrap();
            prop_assert!(end <= pair[1].from);
            prop_assert!(end < pair[1].from || pair[0].status != pair[1].status, "one outage is one span");
        }
        // A window gives what reaches into it, uncut.
        let (begin, end) = (at(from), at(from + length));
        let expected: Vec<_> = all.iter().filter(|span| span.from < end && span.to.is_none_or(|to| to > begin)).cloned().collect();
        prop_assert_eq!(reader.spans(&service("api"), begin, end).unwrap(), expected);
        prop_assert_eq!(reader.spans(&service("web"), begin, end).unwrap(), vec![]);
    }
}

#[test]
fn what_changed_since_a_revision_is_told_and_nothing_else() {
    let (folder, mut store) = store();
    let (old, mut new) = (incident("old", 1, &["api"]), incident("new", 1, &["web"]));
    store.commit(&commit(&[&old, &new], &[&event(1, EventKind::Opened, &old)])).unwrap();
    let mut reader = Store::reader(&config(folder.path())).unwrap();
    reader.rest().unwrap();
    let revision = reader.revision().unwrap();
    assert_eq!(reader.changes(revision).unwrap(), Some(Changes::default()));

    new.version += 1;
    let told = event(2, EventKind::Updated, &new);
    let mut amended = event(1, EventKind::Opened, &old);
    amended.at = at(7);
    let now = |id: &str| ServiceNow {
        service: service(id),
        status: ServiceStatus::Operational,
        since: at(5),
        checks_up: 1,
        checks_known: 1,
        last_result_at: None,
    };
    let mut step = commit(&[&new], &[&told]);
    step.steps[0].amended = vec![amended.clone()];
    step.steps[0].services = vec![now("web")];
    let span = Span { status: ServiceStatus::Operational, from: at(5), to: None };
    step.steps[0].spans = vec![SpanEdit { service: service("mail"), from: at(5), spans: vec![span] }];
    store.commit(&step).unwrap();
    let mut changes = reader.changes(revision).unwrap().unwrap();
    changes.services.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(changes.services, [(service("mail"), None), (service("web"), Some(now("web")))]);
    assert_eq!(changes.heads, [Head::from(&new)]);
    assert_eq!(changes.events, [(1, amended), (2, told)]);
    assert_eq!(reader.changes(reader.revision().unwrap()).unwrap(), Some(Changes::default()));
}
