//! An event for very many people, killed again and again while it is queued for them in slices: in
//! the end everyone has it, once.

use std::{fmt::Write as _, fs};

use super::record::number;
use crate::{
    e2e::{SOON, await_status, write_config},
    support::{
        daemon::{Daemon, folder, free_address, ok, wait_for},
        target::Target,
    },
};

const PEOPLE: i64 = 40_000;
/// A life ends once it has queued so many.
const A_LIFE: i64 = 5_000;

#[test]
fn killed_between_two_slices_it_goes_on_there_and_everyone_is_queued_once() {
    let place = folder();
    let folder = place.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let mut list = "email\n".to_owned();
    for n in 0..PEOPLE {
        writeln!(list, "reader{n}@example.org").unwrap();
    }
    fs::write(folder.join("people.csv"), list).unwrap();
    ok(folder, &["-q", "subscriber", "import", "people.csv"]);
    let mut daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    target.answers(500);

    let queued = || number(folder, "SELECT count(*) FROM delivery");
    let mut ends = Vec::new();
    while ends.last() != Some(&PEOPLE) {
        let enough = ends.last().map_or(1, |before| (before + A_LIFE).min(PEOPLE));
        wait_for("some more", SOON, || (queued() >= enough).then_some(()));
        daemon.kill();
        ends.push(queued());
        daemon = Daemon::spawn(folder, &["run"]);
    }
    daemon.kill();
    let daemon = Daemon::start(folder, listen);
    let between = ends.iter().filter(|end| **end < PEOPLE).count();
    assert!(between >= 2, "it was never killed on the way: {ends:?}");
    wait_for("nothing left to queue", SOON, || (number(folder, "SELECT count(*) FROM fan_out") == 0).then_some(()));
    assert!(daemon.terminate().0.success());
    eprintln!("lives that ended with so many queued: {ends:?}");
    let told = number(folder, "SELECT count(DISTINCT subscriber) FROM delivery WHERE event_seq = 1");
    assert_eq!((queued(), told), (PEOPLE, PEOPLE), "after lives that ended at {ends:?}");
    ok(folder, &["-q", "store", "verify"]);
}
