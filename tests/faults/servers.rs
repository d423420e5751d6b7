//! All servers of the corpus watched by one daemon, as services of one site: everything that they
//! say stays between them and the operator.

use std::{fs, net::Ipv4Addr, path::Path};

use super::{Scene, http, wait_for};
use crate::support::{
    corpus::{self, Below, Finds, Hostile, Running, WORD},
    daemon::ok,
};

/// The most memory that the daemon may ever have, in KiB, with all of them at once.
const MOST_KIB: usize = 160 * 1024;

fn check(hostile: &Hostile, server: &Running) -> String {
    let mut lines = format!("http = \"{}\"\n", hostile.url(server.address));
    if hostile.below != Below::Tcp {
        lines.push_str("insecure = true\n");
    }
    if let Some(needle) = hostile.needle {
        lines.push_str(&format!("expect.body = \"{needle}\"\n"));
    }
    lines
}

/// Every file below `folder` that holds the word.
fn spread(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(spread(&path));
        } else if has_word(&fs::read(&path).unwrap()) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn has_word(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).to_lowercase().contains(&WORD.to_lowercase())
}

#[test]
fn all_hostile_servers_at_once_cost_little_and_nothing_that_they_say_is_published() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let all = corpus::all();
    // On many hosts, since no host is asked by more than a few at once.
    let hosts = (1..=60).cycle().map(|n| Ipv4Addr::new(127, 0, 2, n));
    let servers: Vec<Running> = all.iter().zip(hosts).map(|(hostile, ip)| Running::start(hostile, ip)).collect();
    let ids: Vec<String> = (0..all.len()).map(|n| format!("s{n}")).collect();
    let services: Vec<(&str, String)> = all
        .iter()
        .zip(&servers)
        .zip(&ids)
        .map(|((hostile, server), id)| (id.as_str(), check(hostile, server)))
        .collect();
    let email = "down_after = 1\n\n[email]\nfrom = \"status@example.org\"\nsmtp = \"dir:mails\"\n";
    let scene = Scene::new(email, &services);
    scene.edit("every = \"1s\"\ntimeout = \"1s\"", "every = \"10s\"\nmax_body = \"256KiB\"\ntimeout = \"3s\"");
    ok(scene.path(), &["subscriber", "add", "ann@example.org"]);
    let daemon = scene.start();

    let expected = |hostile: &Hostile| if hostile.finds == Finds::Up { "operational" } else { "major_outage" };
    let undecided = || -> Vec<String> {
        let statuses = scene.statuses();
        all.iter()
            .zip(&ids)
            .filter_map(|(hostile, id)| {
                let found = statuses.iter().find(|(found, _)| found == id).map_or("missing", |(_, status)| status);
                (found != expected(hostile)).then(|| format!("{}: {found}", hostile.name))
            })
            .collect()
    };
    let mut left = Vec::new();
    let decided = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("verdicts", super::SOON * 4, || {
            left = undecided();
            left.is_empty().then_some(())
        });
    }));
    assert!(decided.is_ok(), "{left:#?}");
    wait_for("mails", super::SOON, || fs::read_dir(scene.path().join("mails")).ok()?.next().map(drop));

    for folder in ["public", "mails", "notes"] {
        assert_eq!(spread(&scene.path().join(folder)), Vec::<String>::new());
    }
    let log = daemon.log();
    assert!(!has_word(log.as_bytes()) && !log.contains("ERROR") && !log.contains("panicked"), "{log}");
    let (metrics, health) =
        (http::get(scene.metrics, "/metrics").unwrap(), http::get(scene.listen, "/healthz").unwrap());
    assert_eq!((metrics.status, health.status), (200, 200), "{}", health.text());
    assert!(!has_word(&metrics.body) && !has_word(&health.body));
    let most = daemon.memory("VmHWM");
    eprintln!("{} servers, {most} KiB at most, {} KiB now", all.len(), daemon.memory("VmRSS"));
    assert!(most < MOST_KIB, "{most} KiB");
    assert!(daemon.terminate().0.success());
    drop(servers);
}
