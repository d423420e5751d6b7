//! Killed in the middle of a migration: a process of its own makes one of a large store, and dies
//! in it. Old or new, never half, with a copy of the old beside it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rusqlite::Connection;

use crate::store::{testing::*, *};

const FOLDER: &str = "WATCHBELL_MIGRATED";
/// What a migration has to go through.
const ROWS: i64 = 600;
const BYTES: i64 = 20_000;
/// Every row becomes one byte longer.
const STEPS: [&str; 3] = [
    "CREATE TABLE novelty (a TEXT) STRICT",
    "UPDATE meta SET value = CAST(value || x'01' AS BLOB) WHERE key LIKE 'large:%'",
    "INSERT INTO novelty VALUES ('done')",
];

fn migrate(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::killed::migrates", "--ignored"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The schema number, and how many rows are as that schema has them.
fn state(path: &Path) -> (i64, i64) {
    let db = Connection::open(path).unwrap();
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok", "{}", path.display());
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let length = BYTES + version - 1;
    let rows = "SELECT count(*) FROM meta WHERE key LIKE 'large:%' AND length(value) = ?1";
    let rows = db.query_row(rows, [length], |row| row.get(0)).unwrap();
    let novelty = db.query_row("SELECT count(*) FROM novelty", [], |row| row.get::<_, i64>(0));
    assert_eq!(novelty.ok(), (version == 2).then_some(1), "half a schema");
    (version, rows)
}

#[test]
fn killed_in_a_migration_a_store_is_old_or_new_and_the_old_one_was_copied_before() {
    let large = tempfile::tempdir().unwrap();
    let store = Store::open(&config(large.path()), at(0)).unwrap();
    let fill = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
                INSERT INTO meta (key, value) SELECT 'large:' || n, randomblob(?2) FROM n";
    store.db.execute(fill, (ROWS, BYTES)).unwrap();
    drop(store);
    let bytes = fs::read(config(large.path()).path).unwrap();

    let (mut copying, mut migrating) = (0, 0);
    for round in 0..12_u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = config(folder.path()).path;
        let copy = suffixed(&path, ".before-v2");
        crate::fsio::write(&path, &bytes).unwrap();
        let mut child = migrate(folder.path());
        // The even rounds die while the copy is made, the odd ones after it.
        let is_there = || {
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names = names.map(|name| name.into_string().unwrap());
            if round % 2 == 0 { names.any(|name| name.ends_with(crate::fsio::TEMPORARY)) } else { copy.exists() }
        };
        while !is_there() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(round / 2 * 8));
        child.kill().unwrap();
        child.wait().unwrap();

        let (version, rows) = state(&path);
        assert_eq!(rows, ROWS);
        copying += usize::from(!copy.exists());
        migrating += usize::from(copy.exists() && version == 1);
        assert!(copy.exists() || version == 1, "no copy of the old one");
        if copy.exists() {
            assert_eq!(state(&copy), (1, ROWS));
        }
        if version == 1 {
            assert!(migrate(folder.path()).wait().unwrap().success(), "what is left over does not stop the next try");
        }
        assert_eq!(state(&path), (2, ROWS));
        assert_eq!(state(&copy), (1, ROWS));
    }
    assert!(copying > 0 && migrating > 0, "{copying} in the copy, {migrating} in the migration");
}

#[test]
#[ignore = "run by the test above, which kills it"]
fn migrates() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut store = Store::open(&config(Path::new(&folder)), at(0)).unwrap();
    let path = store.path.clone();
    schema::migrate(&mut store.db, &path, &STEPS, 2).unwrap();
}
