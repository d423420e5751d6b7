//! A store that others lock, or that was damaged: it refuses or works, and never guesses.

use std::{fs, path::Path, process::Output};

use rusqlite::Connection;

use super::{SOON, Scene, http, scale, wait_for};
use crate::support::{
    daemon::{ok, watchbell},
    target::Target,
};

fn scene(target: &Target) -> Scene {
    Scene::new("", &[("api", format!("http = \"http://{}/\"", target.address))])
}

#[test]
fn a_store_that_another_program_locks_holds_up_no_probe_and_loses_nothing() {
    let target = Target::start();
    let scene = scene(&target);
    let daemon = scene.start();
    scene.await_status("api", "operational");
    let other = Connection::open(scene.path().join("watchbell.db")).unwrap();
    other.busy_timeout(SOON).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked_at = jiff::Timestamp::now();
    target.answers(500);
    scene.await_probes(5.0);
    wait_for("the complaint", SOON, || daemon.log().contains("the store cannot be written").then_some(()));
    wait_for("ill health", SOON, || http::get(scene.listen, "/healthz").filter(|answer| answer.status == 503));
    scene.await_probes(5.0);
    assert_eq!(http::get(scene.listen, "/").unwrap().status, 200);
    let unlocked_at = jiff::Timestamp::now();
    other.execute_batch("ROLLBACK").unwrap();
    scene.await_status("api", "major_outage");
    let incidents = scene.incidents();
    assert_eq!(incidents.len(), 1);
    let started: jiff::Timestamp = incidents[0]["started_at"].as_str().unwrap().parse().unwrap();
    assert!((locked_at..unlocked_at).contains(&started), "it began when it began: {started}");
    wait_for("good health", SOON, || http::get(scene.listen, "/healthz").filter(|answer| answer.status == 200));
    assert!(daemon.terminate().0.success());
}

/// Numbers that a seed repeats.
fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(limit).unwrap()).unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What the store says, as far as people see it.
fn shown(folder: &Path) -> Output {
    watchbell(folder, &["-q", "incident", "list", "--json"])
}

/// Runs one pass of the whole program on the store as it is; whether it worked, or refused as it
/// should.
fn works(folder: &Path, what: &str) -> bool {
    let db = folder.join("watchbell.db");
    let before = fs::read(&db).unwrap();
    let output = watchbell(folder, &["build"]);
    let said = text(&output);
    assert!(!said.contains("panicked"), "{what}: {said}");
    match output.status.code() {
        Some(0) => true,
        Some(3) => {
            assert!(said.contains("watchbell.db") && said.contains("backup"), "{what}: {said}");
            // Where the tables are sound and only a value is not, that is found out late: what a
            // start notes down before that is a few pages.
            let after = fs::read(&db).unwrap();
            let changed = after.chunks(4096).zip(before.chunks(4096)).filter(|(after, before)| after != before).count();
            assert!(after.len() == before.len() && changed <= 4, "{what}: {changed} pages changed: {said}");
            false
        }
        code => panic!("{what}: {code:?}: {said}"),
    }
}

#[test]
fn a_store_with_a_flipped_byte_is_refused_or_works_and_is_never_made_worse() {
    let target = Target::start();
    let scene = scene(&target);
    ok(scene.path(), &["subscriber", "add", "ann@example.org"]);
    let daemon = scene.start();
    for _ in 0..2 {
        target.answers(500);
        scene.await_status("api", "major_outage");
        target.answers(200);
        scene.await_status("api", "operational");
    }
    assert!(daemon.terminate().0.success());
    let folder = scene.path();
    let (db, good) = (folder.join("watchbell.db"), fs::read(folder.join("watchbell.db")).unwrap());
    let known = text(&shown(folder));
    let (mut refused, mut same, mut other) = (0, 0, Vec::new());
    let seeds = scale("WATCHBELL_FLIPS", 25);
    for seed in 0..seeds {
        let mut roll = dice(seed.try_into().unwrap());
        let (at, bit) = (roll(good.len()), roll(8));
        let mut bytes = good.clone();
        bytes[at] ^= 1 << bit;
        for left in ["watchbell.db-wal", "watchbell.db-shm"] {
            let _ = fs::remove_file(folder.join(left));
        }
        fs::write(&db, &bytes).unwrap();
        let what = format!("seed {seed}: byte {at}, bit {bit}");
        if works(folder, &what) {
            let output = shown(folder);
            assert!(!text(&output).contains("panicked"), "{what}");
            if text(&output) == known { same += 1 } else { other.push(what) }
        } else {
            refused += 1;
        }
    }
    // What changes a letter of a text and nothing else cannot be told from what was written.
    assert!(other.len() * 5 <= seeds, "{other:?}");
    eprintln!("{seeds} flips of {} bytes: {refused} refused, {same} harmless, others {other:?}", good.len());
}

#[test]
fn a_store_that_is_cut_short_emptied_or_mixed_up_is_refused_and_kept() {
    let target = Target::start();
    let scene = scene(&target);
    let daemon = scene.start();
    target.answers(500);
    scene.await_status("api", "major_outage");
    assert!(daemon.terminate().0.success());
    let folder = scene.path();
    let (db, good) = (folder.join("watchbell.db"), fs::read(folder.join("watchbell.db")).unwrap());
    for length in [0, 1, 99, 100, 4096, good.len() / 2, good.len() - 4096, good.len() - 1] {
        fs::write(&db, &good[..length]).unwrap();
        assert!(!works(folder, &format!("the first {length} bytes")), "{length} of {} bytes", good.len());
    }
    fs::write(&db, &good).unwrap();
    // A log that belongs to nothing, as after a copy of the wrong files.
    fs::write(folder.join("watchbell.db-wal"), [0xAA; 5000]).unwrap();
    works(folder, "a log of garbage");
    let _ = fs::remove_file(folder.join("watchbell.db-wal"));
    assert!(works(folder, "the store as it was"));
    assert_eq!(scene.incidents().len(), 1);
}
