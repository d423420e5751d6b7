//! Copies, going back to one, checking, making it smaller.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    config,
    domain::{CheckId, CheckKey, archive::Archive, event::EventKind, outcome::CheckResult},
    fsio,
    store::{maintenance::*, testing::*, tokens::Key, *},
};

fn quiet(_: Progress) {}

/// A store with one subscriber, one incident, one event told and one waiting.
fn filled(config: &config::Store) -> Store {
    let mut store = Store::open(config, at(0)).unwrap();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    let incident = incident("2026-11-21-api", 1, &["api"]);
    let mut first = commit(&[&incident], &[&event(20, EventKind::Opened, &incident)]);
    let check = CheckKey { service: service("api"), check: CheckId::new("http").unwrap() };
    first.samples = (0..50)
        .map(|n| Sample { check: check.clone(), at: at(n * 60), result: CheckResult::Up, latency_us: 500, class: None })
        .collect();
    store.commit(&first).unwrap();
    let delivery = claim(&mut store, 1, at(60), 9).unwrap()[0].pending[0].delivery;
    let result = outbox::Settlement::Sent { reply: "250 ok".to_owned() };
    store.settle(&[outbox::Settled { delivery, result }], at(60)).unwrap();
    store.commit(&commit(&[], &[&event(40, EventKind::Resolved, &incident)])).unwrap();
    store.tidy(at(3600 * 3)).unwrap();
    store
}

fn problems(path: &Path) -> Vec<String> {
    verify(path, &mut quiet).unwrap().problems
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_whole_private_and_made_while_the_daemon_works() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let _lock = Store::hold(&config).unwrap();
    let mut store = filled(&config);
    let key = Key::open(&config).unwrap();
    let to = folder.path().join("backups/mon day.db");
    let mut seen = Vec::new();
    let made = backup(&config, &to, &mut |progress| seen.push(progress)).unwrap();
    assert_eq!(made.bytes, fs::metadata(&to).unwrap().len());
    assert_eq!(names(to.parent().unwrap()), ["mon day.db", "mon day.db.key"]);
    for path in [&to, &made.key.clone().unwrap()] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    store.remove_subscriber(&subscriber(1, &[]).id, at(70)).unwrap();
    assert_eq!(problems(&to), Vec::<String>::new());
    let copy = config::Store { path: to.clone(), ..config.clone() };
    assert_eq!(Key::open(&copy).unwrap(), key);
    assert_eq!(Store::open(&copy, at(80)).unwrap().subscribers(&Filter::default()).unwrap().len(), 1);
}

#[test]
fn a_backup_overwrites_nothing_and_leaves_nothing_half_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    drop(filled(&config));
    Key::open(&config).unwrap();
    let to = folder.path().join("b.db");
    fsio::write(&to, b"precious").unwrap();
    assert!(matches!(backup(&config, &to, &mut quiet), Err(StoreError::Exists { .. })));
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    let to = folder.path().join("c.db");
    fsio::write(&folder.path().join("c.db.key"), b"precious").unwrap();
    assert!(matches!(backup(&config, &to, &mut quiet), Err(StoreError::Exists { .. })));
    let to = folder.path().join("b.db/inside/d.db");
    assert!(backup(&config, &to, &mut quiet).is_err());
    let left: Vec<_> = names(folder.path()).into_iter().filter(|name| !name.starts_with("watchbell.db")).collect();
    assert_eq!(left, ["b.db", "c.db.key"]);
}

#[test]
fn restoring_brings_back_the_past_and_tells_it_to_nobody_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let mut store = filled(&config);
    let key = Key::open(&config).unwrap();
    let to = folder.path().join("b.db");
    backup(&config, &to, &mut quiet).unwrap();
    store.remove_subscriber(&subscriber(1, &[]).id, at(70)).unwrap();
    drop(store);
    fs::remove_file(Key::path(&config)).unwrap();

    let restored = restore(&config, &to, at(90), &mut quiet).unwrap();
    let before = PathBuf::from(format!("{}.before-restore", config.path.display()));
    assert_eq!(restored, Restored { before: Some(before.clone()), dropped: 1, has_key: true });
    assert_eq!(Key::open(&config).unwrap(), key);
    let mut store = Store::open(&config, at(91)).unwrap();
    assert_eq!(store.subscribers(&Filter::default()).unwrap().len(), 1);
    let epoch = store.new_epoch().unwrap();
    assert!(claim(&mut store, epoch, at(99_999), 9).unwrap().is_empty());
    assert_eq!(Store::reader(&config).unwrap().heads().unwrap().len(), 1);
    let old = config::Store { path: before, ..config.clone() };
    assert_eq!(Store::open(&old, at(92)).unwrap().subscribers(&Filter::default()).unwrap().len(), 0);
    drop(store);

    let again = restore(&config, &to, at(95), &mut quiet).unwrap().before.unwrap();
    assert!(again.to_string_lossy().ends_with(".before-restore-2"), "an older store is not lost either");
}

#[test]
fn restoring_replaces_a_broken_store_and_keeps_its_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    drop(filled(&config));
    let to = folder.path().join("b.db");
    backup(&config, &to, &mut quiet).unwrap();
    fsio::write(&config.path, b"rubble").unwrap();
    fsio::write(&suffixed(&config.path, "-wal"), b"more rubble").unwrap();
    let restored = restore(&config, &to, at(90), &mut quiet).unwrap();
    let before = restored.before.unwrap();
    assert_eq!(fs::read(&before).unwrap(), b"rubble");
    assert_eq!(fs::read(suffixed(&before, "-wal")).unwrap(), b"more rubble");
    assert_eq!(problems(&config.path), Vec::<String>::new());
    Store::open(&config, at(91)).unwrap();
}

#[test]
fn restoring_is_refused_while_a_daemon_works_or_from_a_bad_backup() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    drop(filled(&config));
    let to = folder.path().join("b.db");
    backup(&config, &to, &mut quiet).unwrap();
    let before = fs::read(&config.path).unwrap();

    let lock = Store::hold(&config).unwrap();
    assert!(matches!(restore(&config, &to, at(90), &mut quiet), Err(StoreError::Held { .. })));
    drop(lock);
    let bad = folder.path().join("bad.db");
    let mut bytes = fs::read(&to).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xaa);
    fsio::write(&bad, &bytes).unwrap();
    assert!(matches!(restore(&config, &bad, at(90), &mut quiet), Err(StoreError::Broken { .. })));
    assert!(matches!(
        restore(&config, &folder.path().join("none.db"), at(90), &mut quiet),
        Err(StoreError::Missing { .. })
    ));
    assert_eq!(fs::read(&config.path).unwrap(), before);
    let left: Vec<_> =
        names(folder.path()).into_iter().filter(|name| name.contains("restore") || name.contains("wb-tmp")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn checking_finds_what_does_not_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let store = filled(&config);
    assert_eq!(problems(&config.path), Vec::<String>::new());
    let counts = verify(&config.path, &mut quiet).unwrap().counts;
    assert!(counts.contains(&("results", 50)) && counts.contains(&("events", 2)), "{counts:?}");
    store
        .db
        .execute_batch(
            "DELETE FROM subscriber;
             INSERT INTO span VALUES ('api', 0, 10, 'operational'), ('api', 5, NULL, 'operational'), ('api', 7, 9, 'operational');
             UPDATE incident SET json = '{}';
             UPDATE event SET v = 9 WHERE seq = 1;
             UPDATE result_hour SET data = x'01ff';",
        )
        .unwrap();
    let report = verify(&config.path, &mut quiet).unwrap();
    let found = report.problems.join("\n");
    for expected in [
        "1 deliveries wait for somebody who is gone",
        "2 stretches of a service's record overlap",
        "incident `2026-11-21-api` cannot be read",
        "1 packed rows cannot be unpacked",
    ] {
        assert!(found.contains(expected), "{found}");
    }
    assert!(report.notes.iter().any(|note| note.starts_with("1 events are of a kind")), "{:?}", report.notes);
}

#[test]
fn compacting_gives_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let mut store = filled(&config);
    let rows =
        (0..3000).map(|n| crate::judge::Row { key: format!("check:{n}"), json: Some("x".repeat(500)) }).collect();
    store.commit(&Commit { world: rows, ..Commit::new(at(0)) }).unwrap();
    let rows = (0..3000).map(|n| crate::judge::Row { key: format!("check:{n}"), json: None }).collect();
    store.commit(&Commit { world: rows, ..Commit::new(at(0)) }).unwrap();
    store.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let done = compact(&mut store, at(4 * 3600), &mut quiet).unwrap();
    assert!(done.after + 1_000_000 < done.before, "{done:?}");
    assert_eq!(problems(&config.path), Vec::<String>::new());
}

#[test]
fn what_was_told_of_old_incidents_is_forgotten_and_of_open_ones_is_not() {
    const DAY: i64 = 86_400;
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let mut store = filled(&config);
    store.tidy(at(100 * DAY)).unwrap();
    assert_eq!(store.outbox_counts().unwrap().sent, 1);
    let mut over = incident("2026-11-21-api", 2, &["api"]);
    over.resolved_at = Some(at(50));
    store.commit(&commit(&[&over], &[])).unwrap();
    store.tidy(at(80 * DAY)).unwrap();
    assert_eq!(store.outbox_counts().unwrap().sent, 1);
    store.tidy(at(100 * DAY)).unwrap();
    assert_eq!(store.outbox_counts().unwrap(), outbox::Counts { queued: 1, ..outbox::Counts::default() });
}

#[test]
fn a_damaged_hour_of_results_is_no_hour_without_results() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    drop(filled(&config));
    let reader = Store::reader(&config).unwrap();
    assert!(!reader.results_of_all(at(0), at(3600)).unwrap().is_empty());
    rusqlite::Connection::open(&config.path).unwrap().execute("UPDATE result_hour SET data = x'01ff'", []).unwrap();
    let reader = Store::reader(&config).unwrap();
    for error in [reader.results_of_all(at(0), at(3600)).unwrap_err(), reader.results_kept().unwrap_err()] {
        assert!(error.to_string().contains("a packed hour of results is damaged"), "{error}");
    }
}
