//! Clocks that are moved under the running program, by libfaketime: elapsed time runs on, the time
//! of day jumps.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::{SOON, Scene, wait_for};
use crate::{
    skip,
    support::{daemon::Daemon, target::Target},
};

/// Where libfaketime is, if it is installed.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let folders = folders.chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")]);
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

fn set(clock: &Path, shift: &str) {
    // Read again and again: whole at any moment.
    let next = clock.with_extension("next");
    fs::write(&next, format!("{shift}\n")).unwrap();
    fs::rename(next, clock).unwrap();
}

/// A daemon whose clock goes by one shift, then by another; what it makes of it.
fn jump(library: &Path, from: &str, to: &str) {
    let target = Target::start();
    let scene = Scene::new("", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let clock = scene.path().join("clock");
    set(&clock, from);
    let environment: [(&str, &OsStr); 4] = [
        ("LD_PRELOAD", library.as_os_str()),
        ("FAKETIME_TIMESTAMP_FILE", clock.as_os_str()),
        ("FAKETIME_NO_CACHE", OsStr::new("1")),
        ("DONT_FAKE_MONOTONIC", OsStr::new("1")),
    ];
    let daemon = Daemon::start_with(scene.path(), scene.listen, &environment);
    scene.await_status("api", "operational");
    let what = format!("from {from} to {to}");
    set(&clock, to);
    wait_for("a word about the clock", SOON, || daemon.log().contains("the clock was moved").then_some(()));
    scene.await_probes(8.0);
    assert_eq!(scene.incidents().len(), 0, "{what}: a clock is no outage");
    scene.await_status("api", "operational");
    target.answers(500);
    scene.await_status("api", "major_outage");
    target.answers(200);
    scene.await_status("api", "operational");
    let incidents = scene.incidents();
    assert_eq!(incidents.len(), 1, "{what}");
    let time = |key: &str| incidents[0][key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("started_at") <= time("resolved_at"), "{what}: {incidents:?}");
    // And while an outage goes on: it neither ends nor is told again.
    target.answers(500);
    scene.await_status("api", "major_outage");
    let known = scene.incidents().len();
    set(&clock, from);
    scene.await_probes(8.0);
    assert_eq!((scene.incidents().len(), scene.status("api").as_str()), (known, "major_outage"), "{what} and back");
    target.answers(200);
    scene.await_status("api", "operational");
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{what}: {log}");
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_clock_that_jumps_opens_ends_and_repeats_nothing() {
    let Some(library) = library() else { skip!("libfaketime is not installed") };
    let jumps = [("+0", "+1h"), ("+0", "-2h"), ("+0", "+4500d"), ("+0", "-20000d")];
    std::thread::scope(|scope| {
        for (from, to) in jumps {
            let library = &library;
            scope.spawn(move || jump(library, from, to));
        }
    });
}
