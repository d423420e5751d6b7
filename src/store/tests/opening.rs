//! What may lie where a store should be, and what becomes of it.

use std::{fs, os::unix::fs::PermissionsExt};

use proptest::prelude::*;

use crate::{
    domain::{archive::Archive, event::EventKind},
    fsio,
    store::{testing::*, *},
};

/// The error of opening what `bytes` make of the store's file; the file must be as it was.
fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    fsio::write(&config.path, bytes).unwrap();
    let error = Store::open(&config, at(0)).unwrap_err().to_string();
    assert_eq!(fs::read(&config.path).unwrap(), bytes, "{error}");
    let reading = Store::reader(&config).unwrap_err().to_string();
    assert_eq!(reading, error);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{error}");
    error
}

/// The bytes of a store that was closed, with something in it.
fn closed_store() -> Vec<u8> {
    let (folder, mut store) = store();
    let incident = incident("2026-11-21-api", 1, &["api"]);
    for n in 0..20 {
        store.add_subscriber(&subscriber(n, &[])).unwrap();
    }
    store.commit(&commit(&[&incident], &[&event(20, EventKind::Opened, &incident)])).unwrap();
    drop(store);
    fs::read(config(folder.path()).path).unwrap()
}

#[test]
fn damaged_pages_are_found_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let sound = closed_store();
    let pages = sound.len() / 4096;
    let mut found = 0;
    for page in 1..pages {
        let mut bytes = sound.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        fsio::write(&config.path, &bytes).unwrap();
        // Some damage already shows at opening.
        match Store::open(&config, at(0)).and_then(|store| store.check_sound()) {
            Ok(()) => {}
            Err(error) => {
                assert!(matches!(error, StoreError::Broken { .. }), "{error}");
                found += 1;
            }
        }
        for log in ["-wal", "-shm"] {
            let _ = fs::remove_file(suffixed(&config.path, log));
        }
    }
    assert!(found * 10 >= (pages - 1) * 9, "{found} of {pages}");
    fsio::write(&config.path, &sound).unwrap();
    Store::open(&config, at(0)).unwrap().check_sound().unwrap();
    let db = rusqlite::Connection::open(&config.path).unwrap();
    assert_eq!(schema::quick_check(&db, true).unwrap(), None);
}

#[test]
fn a_store_that_was_removed_or_replaced_while_open_is_noticed() {
    let (folder, store) = store();
    let path = config(folder.path()).path;
    store.check_place().unwrap();
    fsio::place(&path, &folder.path().join("aside")).unwrap();
    assert!(matches!(store.check_place(), Err(StoreError::Displaced { .. })));
    fs::copy(folder.path().join("aside"), &path).unwrap();
    assert!(matches!(store.check_place(), Err(StoreError::Displaced { .. })));
    fsio::place(&folder.path().join("aside"), &path).unwrap();
    store.check_place().unwrap();
}

#[test]
fn a_missing_folder_is_made_and_the_file_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("var lib/ö wb"));
    Store::open(&config, at(0)).unwrap();
    assert_eq!(fs::metadata(&config.path).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(config.path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["watchbell.db"], "closing leaves one file");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fsio::write(&folder.path().join("file"), b"").unwrap();
    let error = Store::open(&config(&folder.path().join("file/sub")), at(0)).unwrap_err();
    assert!(matches!(error, StoreError::Folder { .. }), "{error}");
}

#[test]
fn of_several_that_make_the_store_at_once_all_get_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    std::thread::scope(|scope| {
        for n in 0..6 {
            let config = &config;
            scope.spawn(move || Store::open(config, at(0)).unwrap().add_subscriber(&subscriber(n, &[])).unwrap());
        }
    });
    assert_eq!(Store::open(&config, at(0)).unwrap().subscribers(&Filter::default()).unwrap().len(), 6);
    let drafts = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(fsio::TEMPORARY));
    assert_eq!(drafts.count(), 0);
}

#[test]
fn an_empty_file_is_not_taken_for_a_new_store() {
    assert!(refused(b"").contains("is broken: the file is empty; it is left as it is"));
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    assert!(refused(b"hello").contains("the file is cut short"));
    assert!(refused(&[b'x'; 5000]).contains("it is no SQLite database"));
    let folder = tempfile::tempdir().unwrap();
    let other = rusqlite::Connection::open(folder.path().join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE a (b)").unwrap();
    drop(other);
    let error = refused(&fs::read(folder.path().join("other.db")).unwrap());
    assert!(error.contains("is another program's database"), "{error}");
}

#[test]
fn a_store_that_was_cut_short_is_known_as_such() {
    let bytes = closed_store();
    for length in [100, 4096, bytes.len() / 2, bytes.len() - 1] {
        assert!(refused(&bytes[..length]).contains("the file is cut short"), "{length}");
    }
}

#[test]
fn a_log_without_its_database_is_not_played_into_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    fsio::write(&suffixed(&config.path, "-wal"), b"something").unwrap();
    let error = Store::open(&config, at(0)).unwrap_err().to_string();
    assert!(error.contains("the file is gone, but its log"), "{error}");
    assert!(!config.path.exists());
}

#[test]
fn a_folder_in_the_place_of_the_file_is_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    fs::create_dir(&config.path).unwrap();
    assert!(Store::open(&config, at(0)).unwrap_err().to_string().contains("it is not a file"));
}

#[test]
fn a_newer_store_is_refused_with_both_numbers() {
    let (folder, store) = store();
    store.db.pragma_update(None, "user_version", 7).unwrap();
    drop(store);
    let error = Store::open(&config(folder.path()), at(0)).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 7, known: VERSION, .. }), "{error}");
    assert!(matches!(Store::reader(&config(folder.path())), Err(StoreError::Newer { .. })));
}

#[test]
fn a_store_without_one_of_its_tables_is_broken() {
    let (folder, store) = store();
    store.db.execute_batch("DROP TABLE decision").unwrap();
    drop(store);
    let error = Store::open(&config(folder.path()), at(0)).unwrap_err().to_string();
    assert!(error.contains("`decision` is missing in it"), "{error}");
}

#[test]
fn an_index_that_an_operator_added_does_no_harm() {
    let (folder, store) = store();
    store.db.execute_batch("CREATE INDEX mine ON event (kind)").unwrap();
    drop(store);
    Store::open(&config(folder.path()), at(0)).unwrap();
}

#[test]
fn reading_where_nothing_is_says_so_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::reader(&config(folder.path())).unwrap_err().to_string();
    assert!(error.starts_with("there is no store at"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_second_daemon_is_refused_and_told_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let lock = Store::hold(&config).unwrap();
    let error = Store::hold(&config).unwrap_err().to_string();
    assert!(error.contains(&format!("is in use by watchbell (process {})", std::process::id())), "{error}");
    drop(lock);
    Store::hold(&config).unwrap();
}

#[test]
fn a_place_in_memory_is_refused_unless_allowed() {
    let Ok(FsKind::Volatile(_)) = fs_kind(std::path::Path::new("/dev/shm")) else { return }; // nothing to try it on
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut config = config(folder.path());
    config.allow_volatile = false;
    let error = Store::open(&config, at(0)).unwrap_err().to_string();
    assert!(error.contains("lies on tmpfs: a reboot empties it"), "{error}");
    config.allow_volatile = true;
    Store::open(&config, at(0)).unwrap();
}

#[test]
fn settings_are_those_that_lose_nothing() {
    let (_folder, store) = store();
    let setting = |name: &str| store.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(setting("synchronous"), 2);
    assert_eq!(setting("auto_vacuum"), 2);
    assert_eq!(setting("foreign_keys"), 1);
    assert_eq!(setting("application_id"), i64::from(APPLICATION_ID));
    assert_eq!(setting("user_version"), VERSION);
    assert_eq!(setting("journal_size_limit"), 16 * 1024 * 1024);
    let mode: String = store.db.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn the_first_schema_still_opens() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let db = rusqlite::Connection::open(&config.path).unwrap();
    db.execute_batch(include_str!("../../../tests/store/schema-v1.sql")).unwrap();
    drop(db);
    let mut store = Store::open(&config, at(0)).unwrap();
    let reader = Store::reader(&config).unwrap();
    assert_eq!(reader.heads().unwrap().len(), 1);
    assert_eq!(reader.events(None, None, 10).unwrap().len(), 1);
    assert_eq!(store.subscribers(&Filter::default()).unwrap().len(), 2);
    assert_eq!(store.outbox_counts().unwrap(), outbox::Counts { queued: 1, sent: 1, ..outbox::Counts::default() });
    assert_eq!(store.new_epoch().unwrap(), 2);
    drop((store, reader));
    let report = maintenance::verify(&config.path, &mut |_| ()).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
}

#[test]
fn a_migration_is_made_whole_and_once_and_keeps_a_copy_of_the_old() {
    let (folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    let path = store.path.clone();
    let copy = suffixed(&path, ".before-v2");
    let version =
        |store: &Store| store.db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap();

    let bad = ["CREATE TABLE novelty (a TEXT) STRICT", "CREATE TABLE novelty (a TEXT) STRICT"];
    assert!(schema::migrate(&mut store.db, &path, &bad, 2).is_err());
    assert_eq!(version(&store), 1);
    assert!(store.db.prepare("SELECT a FROM novelty").is_err(), "half a migration is none");
    assert!(copy.exists());

    schema::migrate(&mut store.db, &path, &bad[..1], 2).unwrap();
    schema::migrate(&mut store.db, &path, &bad[..1], 2).unwrap();
    assert_eq!(version(&store), 2);
    drop(store);
    assert!(matches!(Store::open(&config(folder.path()), at(0)), Err(StoreError::Newer { found: 2, .. })));
    let old = config::Store { path: copy, ..config(folder.path()) };
    assert_eq!(Store::open(&old, at(0)).unwrap().subscribers(&Filter::default()).unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Bytes anywhere in the file are flipped: the store opens, or says what is wrong and leaves
    /// the file; reading and checking it never panics.
    #[test]
    fn a_damaged_store_never_panics_and_is_never_lost(flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6)) {
        static CLOSED: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(closed_store);
        let mut bytes = CLOSED.clone();
        for (index, flip) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= flip;
        }
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fsio::write(&config.path, &bytes).unwrap();
        let _ = maintenance::verify(&config.path, &mut |_| ());
        match Store::open(&config, at(0)) {
            Err(_) => prop_assert!(fs::read(&config.path).unwrap() == bytes),
            Ok(mut store) => {
                let _ = (store.world(), store.subscribers(&Filter::default()), store.outbox_counts());
                let incident = incident("2026-11-21-api", 2, &["api"]);
                let _ = store.commit(&commit(&[&incident], &[&event(21, EventKind::Resolved, &incident)]));
                let _ = claim(&mut store, 1, at(40), 10);
                if let Ok(reader) = Store::reader(&config) {
                    let _ = (reader.heads(), reader.events(None, None, 10), reader.incident(&incident.id));
                }
            }
        }
    }
}
