//! How long from starting the program to its first answer and its first probe, with 1,000 services
//! and a store of a million results.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "benches stand outside: they look at the clock, and fail loudly"
)]

#[allow(dead_code, reason = "only its services are used here")]
mod past;
mod support;

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use support::{
    daemon::{WATCHBELL, folder, free_address},
    process::{Process, wait_for},
    table::{self, Figure, Goal, Row},
};
use watchbell::{
    config::Config,
    domain::{CheckKey, outcome::CheckResult},
    store::{Commit, Sample, Store},
};

const SERVICES: usize = 1_000;
const RESULTS: usize = 1_000_000;
const ROUNDS: usize = 5;

fn main() -> io::Result<()> {
    let folder = folder()?;
    let (target, probes) = serve()?;
    let listen = free_address()?;
    let text = format!(
        "[site]\ntitle = \"Many\"\nurl = \"http://{listen}/\"\n[server]\nlisten = \"{listen}\"\n{}",
        past::services_text(SERVICES, &target.to_string())
    );
    let path = folder.path().join("watchbell.toml");
    fs::write(&path, &text)?;
    // The site is there, and every check is known.
    let daemon = start(folder.path())?;
    let summary = || ask(listen, "/api/v2/summary.json").ok().filter(|answer| !answer.contains("No recent data"));
    wait_for("a site that knows all services", Duration::from_mins(5), || {
        thread::sleep(Duration::from_millis(200));
        summary().filter(|answer| answer.starts_with("HTTP/1.1 200"))
    })?;
    daemon.stop()?;
    fill(&path, &text);
    let (mut serving, mut probing) = (Figure::new("ms"), Figure::new("ms"));
    for _ in 0..ROUNDS {
        while probes.try_recv().is_ok() {}
        let began = Instant::now();
        let daemon = start(folder.path())?;
        let answered = || ask(listen, "/").ok().filter(|answer| answer.starts_with("HTTP/1.1 200"));
        wait_for("first page", Duration::from_mins(1), answered)?;
        serving.push(began.elapsed().as_secs_f64() * 1000.0);
        let probed = probes.recv_timeout(Duration::from_mins(1)).map_err(io::Error::other)?;
        probing.push(probed.saturating_duration_since(began).as_secs_f64() * 1000.0);
        daemon.stop()?;
    }
    let row = |question: &str, ours, goal| Row { question: question.to_owned(), ours, anchor: None, goal };
    table::print(&[
        row("from start to the first page, 1,000 services, a million results", serving, Goal::AtMost(200.0)),
        row("from start to the first probe", probing, Goal::Information),
    ])
}

fn start(folder: &Path) -> io::Result<Process> {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log.txt"))?;
    let mut command = Command::new(WATCHBELL);
    command.arg("run").current_dir(folder).env_remove("RUST_LOG");
    Process::start(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))
}

/// As many results as were asked for, a minute apart, up to now.
fn fill(path: &Path, text: &str) {
    let config = Config::parse(path, text, &|_| None).map_err(|_| "the config is wrong").unwrap().config;
    let now = Timestamp::now();
    let mut store = Store::open(&config.store, now).unwrap();
    let checks: Vec<CheckKey> = config
        .rules
        .services
        .iter()
        .flat_map(|service| {
            let key = |check| CheckKey { service: service.id.clone(), check };
            service.enabled_checks().map(move |(_, check)| key(check.id.clone())).collect::<Vec<_>>()
        })
        .collect();
    let each = i64::try_from(RESULTS.div_ceil(checks.len())).unwrap();
    for back in (1..=each).rev() {
        let at = now - SignedDuration::from_mins(back);
        let sample = |check: &CheckKey| Sample {
            check: check.clone(),
            at,
            result: CheckResult::Up,
            latency_us: 12_345,
            class: None,
        };
        store.commit(&Commit { samples: checks.iter().map(sample).collect(), ..Commit::new(at) }).unwrap();
    }
}

fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A server that is well, and says when it was asked.
fn serve() -> io::Result<(SocketAddr, mpsc::Receiver<Instant>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (asked, probes) = mpsc::channel();
    for _ in 0..4 {
        let (listener, asked) = (listener.try_clone()?, asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let _ = asked.send(Instant::now());
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            }
        });
    }
    Ok((address, probes))
}
