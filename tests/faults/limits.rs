//! Too little of something: descriptors, memory, time on a processor.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{SOON, Scene, during, scale, wait_for};
use crate::{
    skip,
    support::{
        daemon::{Daemon, ok},
        http, skip,
        target::Target,
    },
};

/// Services on one target each.
fn many(targets: &[Target]) -> Vec<(String, String)> {
    let check = |target: &Target| format!("http = \"http://{}/\"", target.address);
    targets.iter().enumerate().map(|(n, target)| (format!("s{n}"), check(target))).collect()
}

fn scene(targets: &[Target]) -> Scene {
    let services = many(targets);
    let services: Vec<(&str, String)> = services.iter().map(|(id, check)| (id.as_str(), check.clone())).collect();
    Scene::new("", &services)
}

#[test]
fn with_few_descriptors_nobody_is_called_down_who_is_up_and_what_is_down_is_found() {
    let Some(prlimit) = skip::program("prlimit") else { skip!("prlimit is not installed") };
    // More targets than there are descriptors, each on a host of its own and slow, so that all would
    // be open at once.
    let targets: Vec<Target> = (1..=80).map(|n| Target::at([127, 0, 1, n].into())).collect();
    let scene = scene(&targets);
    scene.edit("timeout = \"1s\"", "timeout = \"1s\"\ndown_after = 2");
    for target in &targets {
        target.takes(Duration::from_millis(300));
    }
    let daemon = Daemon::spawn_under(scene.path(), &[prlimit.to_str().unwrap(), "--nofile=64"], &["run"], &[]);
    wait_for("the site", SOON, || (scene.statuses().len() == targets.len()).then_some(()));
    during(Duration::from_secs(4), || {
        let down: Vec<_> = scene.statuses().into_iter().filter(|(_, status)| status == "major_outage").collect();
        assert!(down.is_empty(), "{down:?}");
    });
    targets[7].answers(500);
    scene.await_status("s7", "major_outage");
    assert_eq!(scene.incidents().len(), 1);
    assert_eq!(http::get(scene.listen, "/").map(|answer| answer.status), Some(200));
    assert!(daemon.terminate().0.success());
    ok(scene.path(), &["store", "verify"]);
}

#[test]
fn with_too_few_descriptors_to_start_it_says_so() {
    let Some(prlimit) = skip::program("prlimit") else { skip!("prlimit is not installed") };
    let target = Target::start();
    for few in [5, 8, 12, 20, 63] {
        let scene = scene(std::slice::from_ref(&target));
        let limit = format!("--nofile={few}");
        let mut daemon = Daemon::spawn_under(scene.path(), &[prlimit.to_str().unwrap(), &limit], &["run"], &[]);
        let status = daemon.ended(SOON);
        let log = daemon.log();
        assert_eq!(status.code(), Some(3), "{few}: {log}");
        assert!(!log.contains("panicked") && log.lines().count() <= 2, "{few}: {log}");
        // Below that there are not enough to get as far as counting them.
        assert!(few < 20 || log.contains(&format!("no more than {few} files may be open")), "{few}: {log}");
    }
}

/// Programs that take all processors for themselves.
struct Burners(Vec<Child>);

impl Burners {
    fn start(count: usize) -> Self {
        let burn = || Command::new("sh").args(["-c", "while :; do :; done"]).stdout(Stdio::null()).spawn().unwrap();
        Self((0..count).map(|_| burn()).collect())
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_process_that_is_starved_calls_nobody_down_who_is_up() {
    let Some(nice) = skip::program("nice") else { skip!("nice is not installed") };
    let targets: Vec<Target> = (0..10).map(|_| Target::start()).collect();
    let scene = scene(&targets);
    let daemon = Daemon::spawn_under(scene.path(), &[nice.to_str().unwrap(), "-n", "19"], &["run"], &[]);
    wait_for("the site", SOON, || (scene.statuses().len() == targets.len()).then_some(()));
    let processors = std::thread::available_parallelism().unwrap().get();
    let burners = Burners::start(4 * processors);
    let seconds = scale("WATCHBELL_STARVE", 6);
    during(Duration::from_secs(seconds.try_into().unwrap()), || {
        let down: Vec<_> = scene.statuses().into_iter().filter(|(_, status)| status.contains("outage")).collect();
        assert!(down.is_empty(), "{down:?}");
    });
    drop(burners);
    targets[3].answers(503);
    scene.await_status("s3", "major_outage");
    assert_eq!(scene.incidents().len(), 1, "and no other");
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_process_that_is_stopped_calls_nobody_down_and_finds_the_next_outage_at_once() {
    let targets: Vec<Target> = (0..10).map(|_| Target::start()).collect();
    // There is always something under way when the stop comes.
    for target in &targets {
        target.takes(Duration::from_millis(400));
    }
    let scene = scene(&targets);
    let daemon = scene.start();
    wait_for("the site", SOON, || (scene.statuses().len() == targets.len()).then_some(()));
    for _ in 0..scale("WATCHBELL_STOPS", 2) {
        scene.await_probes(10.0);
        daemon.signal("STOP");
        std::thread::sleep(Duration::from_secs(4));
        daemon.signal("CONT");
        // Long enough for three failures, had any been counted.
        scene.await_probes(40.0);
        assert_eq!(scene.incidents().len(), 0);
    }
    targets[3].answers(503);
    scene.await_status("s3", "major_outage");
    assert_eq!(scene.incidents().len(), 1);
    assert!(daemon.terminate().0.success());
}
