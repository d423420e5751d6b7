//! Ten thousand checks in one process: each at its turn, none forgotten, and time for visitors.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    daemon::{Daemon, folder, free_address, ok, wait_for},
    http,
};

const SERVICES: usize = 100;
const CHECKS: usize = 100;
/// Each check's turn comes this often.
const EVERY: Duration = Duration::from_secs(30);

type Log = Arc<Mutex<Vec<(String, Instant)>>>;

/// A server that answers 200 and writes down who asked when.
fn serve() -> (SocketAddr, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let log = Log::default();
    for _ in 0..4 {
        let (listener, log) = (listener.try_clone().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).unwrap_or(0);
                let head = String::from_utf8_lossy(&request[..length]);
                if let Some(path) = head.split(' ').nth(1) {
                    log.lock().unwrap().push((path.to_owned(), Instant::now()));
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            }
        });
    }
    (address, log)
}

#[test]
fn ten_thousand_checks_have_their_turns_and_visitors_wait_for_none() {
    let folder = folder();
    let folder = folder.path();
    let ((target, log), listen) = (serve(), free_address());
    let mut text = format!(
        "[site]\ntitle = \"Many\"\nurl = \"http://{listen}/\"\n\n[server]\nlisten = \"{listen}\"\n\n[defaults]\nevery = \"{}s\"\n",
        EVERY.as_secs()
    );
    for service in 0..SERVICES {
        write!(text, "\n[[service]]\nid = \"s{service}\"\n").unwrap();
        for check in 0..CHECKS {
            write!(text, "[[service.check]]\nid = \"c{check}\"\nhttp = \"http://{target}/s{service}/c{check}\"\n")
                .unwrap();
        }
    }
    fs::write(folder.join("watchbell.toml"), text).unwrap();
    ok(folder, &["check"]);
    let daemon = Daemon::start(folder, listen);
    wait_for("the site", Duration::from_secs(30), || {
        // Its front page comes last.
        http::get(listen, "/").filter(|answer| answer.status == 200 && !log.lock().unwrap().is_empty())
    });

    // For one interval: see what is asked, and be a visitor meanwhile.
    // What fell behind while the first site was published is caught up with by then.
    let from = Instant::now() + Duration::from_secs(5);
    let mut slowest = Duration::ZERO;
    while Instant::now() < from + EVERY {
        let asked = Instant::now();
        for path in ["/healthz", "/", "/services/s7/", "/api/v2/summary.json"] {
            let answer = http::get(listen, path).unwrap();
            assert_eq!(answer.status, 200, "{path}: {}\n{}", answer.text(), daemon.log());
        }
        slowest = slowest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(250));
    }
    let seen: Vec<(String, Instant)> =
        log.lock().unwrap().iter().filter(|(_, at)| (from..from + EVERY).contains(at)).cloned().collect();
    let mut by_check: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_second: BTreeMap<u64, usize> = BTreeMap::new();
    for (path, at) in &seen {
        *by_check.entry(path).or_default() += 1;
        *by_second.entry((*at - from).as_secs()).or_default() += 1;
    }
    let figures = format!(
        "{} probes of {} checks; by second {:?}; four pages in {slowest:?} at worst",
        seen.len(),
        by_check.len(),
        by_second.values().collect::<Vec<_>>()
    );
    // A turn at the very edge of the interval may fall just outside it, or twice into it; and other
    // tests run meanwhile.
    let all = SERVICES * CHECKS;
    assert!(by_check.len() >= all * 95 / 100, "{figures}");
    assert!(by_check.values().all(|&times| times <= 2), "{figures}");
    assert!((all * 95 / 100..=all * 105 / 100).contains(&seen.len()), "{figures}");
    let fair = all / usize::try_from(EVERY.as_secs()).unwrap();
    assert!(by_second.values().all(|&asked| (fair / 4..=fair * 4).contains(&asked)), "{figures}");
    assert!(slowest < Duration::from_secs(5), "{figures}");
    eprintln!("{figures}");

    let status = http::get(listen, "/api/v2/status.json").unwrap().json();
    assert_eq!(status["status"]["indicator"], "none", "{status}");
    assert!(!daemon.log().contains("WARN") && !daemon.log().contains("ERROR"), "{}", daemon.log());
    let (status, took) = daemon.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status:?} {took:?}");
}
