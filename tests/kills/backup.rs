//! A backup of a large store, killed in the middle: nothing that looks like a good one is left, the
//! next try goes well, and a daemon that dies meanwhile does not spoil it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rusqlite::Connection;

use crate::{
    e2e::{SOON, await_status, write_config},
    support::{
        daemon::{Daemon, WATCHBELL, folder, free_address, ok, wait_for, watchbell},
        target::Target,
    },
};

/// A store of so many mebibytes takes a moment to copy.
const LARGE: i64 = 48;

fn begin(folder: &Path) -> Child {
    Command::new(WATCHBELL)
        .current_dir(folder)
        .args(["-q", "store", "backup", "copy.db"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What is being made, and is not finished.
fn drafts(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_draft = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(".copy.db.") && name.ends_with(".wb-tmp")
    };
    paths.filter(is_draft).collect()
}

/// Waits until so much of the copy is written.
fn await_half(folder: &Path, bytes: u64) {
    wait_for("half a copy", SOON, || {
        drafts(folder).iter().any(|path| fs::metadata(path).is_ok_and(|meta| meta.len() >= bytes)).then_some(())
    });
}

#[test]
fn a_backup_that_was_killed_looks_like_none_and_one_whose_daemon_was_killed_is_good() {
    let place = folder();
    let folder = place.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    ok(folder, &["-q", "subscriber", "add", "ann@example.org"]);
    let db = Connection::open(folder.join("watchbell.db")).unwrap();
    let fill = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
                INSERT INTO meta (key, value) SELECT 'large:' || n, randomblob(1048576) FROM n";
    db.execute(fill, [LARGE]).unwrap();
    drop(db);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");

    for mebibytes in [0, 8, 24] {
        let mut backup = begin(folder);
        await_half(folder, mebibytes << 20);
        backup.kill().unwrap();
        backup.wait().unwrap();
        assert!(!folder.join("copy.db").exists(), "it looks like a good one");
        // Nor can what is left be taken for one.
        let elsewhere = tempfile::tempdir_in(folder).unwrap();
        fs::copy(folder.join("watchbell.toml"), elsewhere.path().join("watchbell.toml")).unwrap();
        for draft in drafts(folder) {
            let refused = watchbell(elsewhere.path(), &["store", "restore", draft.to_str().unwrap()]);
            assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        }
        assert!(!elsewhere.path().join("watchbell.db").exists());
    }

    let mut backup = begin(folder);
    await_half(folder, 8 << 20);
    daemon.kill();
    let daemon = Daemon::start(folder, listen);
    assert!(backup.wait().unwrap().success(), "what was left over was in the way");
    assert_eq!(drafts(folder), Vec::<PathBuf>::new(), "left over");
    await_status(listen, "api", "operational");
    assert!(daemon.terminate().0.success());
    ok(folder, &["-q", "store", "restore", "copy.db"]);
    ok(folder, &["-q", "store", "verify"]);
    assert!(ok(folder, &["subscriber", "list"]).contains("ann@example.org"));
}
