//! What does one event cost that 100,000 people are to be told: until there is a row for each of
//! them, in memory, and for the probes meanwhile? And how long after a verdict does the first mail
//! arrive, of those, and with 1,000 services that fail one after the other?
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "benches stand outside: they look at the clock, and fail loudly"
)]

#[path = "probing/farm.rs"]
#[allow(dead_code, reason = "another bench asks more of it")]
mod farm;
mod support;

use std::{
    collections::HashSet,
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use farm::Farm;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use support::{
    daemon::{Daemon, folder, free_address},
    process::{Process, have, wait_for},
    table::{self, Figure, Goal, Row, percentile},
};
use watchbell::{
    config::Config,
    store::{Store, csv},
};

const READERS: u32 = 100_000;
const SERVICES: usize = 1_000;
/// Of the services, so many fail one after the other.
const FAILING: usize = 100;
const EVERY: Duration = Duration::from_secs(1);
const ROUNDS: usize = 2;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "farm") {
        let number = |n: usize| args.get(n).and_then(|arg| arg.parse().ok()).unwrap_or_default();
        return Ok(farm::run(number(1) as usize, Duration::from_millis(number(2)))?);
    }
    let mut rows = Vec::new();
    let farm = Farm::start(0, EVERY)?;
    if have("smtp-sink", "telling 100,000 people") {
        rows.extend(fan_out(&farm)?);
    }
    rows.push(first_mails(&farm)?);
    Ok(table::print(&rows)?)
}

/// Says where it is: one round takes a while.
fn note(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// One event for everyone, several times.
fn fan_out(farm: &Farm) -> Fallible<Vec<Row>> {
    let figure = Figure::new;
    let (mut took, mut first, mut grown) = (figure("s"), figure("ms"), figure("MB"));
    let (mut quiet, mut fanning, mut mailing) = (figure("ms"), figure("ms"), figure("ms"));
    for _ in 0..ROUNDS {
        let (folder, board, sink) = (folder()?, Board::start()?, free_address()?);
        let _sink = Process::start(Command::new("/usr/sbin/smtp-sink").args(["-u", "root", &sink.to_string(), "256"]))?;
        let metrics = free_address()?;
        let text = config(farm, &board, 1, sink, &format!("metrics = \"{metrics}\"\n"));
        add_readers(folder.path(), READERS)?;
        let daemon = Daemon::start(folder.path(), &text)?;
        note("running");
        thread::sleep(Duration::from_secs(5));
        let store = look_at(folder.path())?;
        let ask = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0));

        let before = lag(metrics)?;
        thread::sleep(Duration::from_secs(10));
        let at_rest = lag(metrics)?;
        quiet.push(at_rest.mean_since(before));
        note("at rest");

        let memory = daemon.process().anonymous_mb()?;
        let mut peak = memory;
        let began = lag(metrics)?;
        board.fails(0);
        let committed = wait_for("row for everyone", Duration::from_mins(1), || {
            let seen = Timestamp::now();
            (ask("SELECT count(*) FROM delivery").ok()? >= i64::from(READERS)).then_some(seen)
        })?;
        let recorded_at = ask("SELECT max(recorded_at) FROM event")?;
        took.push((committed.as_millisecond() - recorded_at) as f64 / 1e3);
        note("queued");
        let fanned = lag(metrics)?;
        fanning.push(fanned.mean_since(began));
        let limit = Instant::now() + Duration::from_mins(5);
        while ask("SELECT count(*) FROM delivery WHERE state = 'sent'")? < i64::from(READERS) {
            peak = peak.max(daemon.process().anonymous_mb()?);
            if Instant::now() > limit {
                return Err(format!("mail does not leave\n{}", daemon.log()).into());
            }
            thread::sleep(Duration::from_millis(500));
        }
        mailing.push(lag(metrics)?.mean_since(fanned));
        note("mailed");
        first.push((ask("SELECT min(done_at) FROM delivery WHERE state = 'sent'")? - recorded_at) as f64);
        grown.push((peak - memory).max(0.0));
        daemon.stop()?;
    }
    let row = |question: &str, ours: Figure, anchor: Option<Figure>, goal: Goal| Row {
        question: format!("one event for {READERS} subscribers: {question}"),
        ours,
        anchor: anchor.map(|figure| ("the same at rest".to_owned(), figure)),
        goal,
    };
    Ok(vec![
        row("from its verdict until everyone is queued", took, None, Goal::AtMost(2.0)),
        row("from its verdict until the first mail is taken and marked", first, None, Goal::AtMost(1000.0)),
        row("growth of anonymous memory until all mails have left", grown, None, Goal::AtMost(50.0)),
        row("lateness of probes until then, mean", fanning, Some(quiet.clone()), Goal::AtMostTimes(1.5)),
        row("lateness of probes while the mails leave flat out, mean", mailing, Some(quiet), Goal::Information),
    ])
}

/// How long after a verdict its first mail is taken.
fn first_mails(farm: &Farm) -> Fallible<Row> {
    let (folder, board, mails) = (folder()?, Board::start()?, Mailbox::start()?);
    add_readers(folder.path(), 1)?;
    let daemon = Daemon::start(folder.path(), &config(farm, &board, FAILING, mails.address, ""))?;
    thread::sleep(Duration::from_secs(5));
    for n in 0..FAILING {
        board.fails(n);
        thread::sleep(Duration::from_millis(300));
    }
    wait_for("mails", Duration::from_secs(30), || (mails.count() >= FAILING / 2).then_some(()))?;
    thread::sleep(Duration::from_secs(3));
    daemon.stop()?;
    let mut waits = mails.waits.lock().map_err(|error| error.to_string())?.clone();
    let mut ours = Figure::new("ms");
    ours.push(percentile(&mut waits, 0.99).ok_or("no mail came")?);
    let median = percentile(&mut waits, 0.5).ok_or("no mail came")?;
    let question = format!(
        "{SERVICES} services: from a verdict to its mail, taken by the server, p99 of {} (median {median:.0} ms)",
        waits.len()
    );
    Ok(Row { question, ours, anchor: None, goal: Goal::AtMost(1000.0) })
}

/// The services of the farm, and the last `failing` of them on the board.
fn config(farm: &Farm, board: &Board, failing: usize, smtp: SocketAddr, server: &str) -> String {
    let mut text = format!(
        "{server}\n[email]\nfrom = \"status@example.org\"\nsmtp = \"smtp://{smtp}\"\nconnections = 10\n\
         [incidents]\ngather = \"0s\"\nmerge_window = \"0s\"\n\
         [defaults]\nevery = \"1s\"\ntimeout = \"900ms\"\ndown_after = 10\n"
    );
    for n in 0..SERVICES {
        // A busy machine must not make outages of its own.
        let (target, more) = match n.checked_sub(SERVICES - failing) {
            Some(n) => (format!("{}/{n}", board.address), "down_after = 1\n"),
            None => (format!("{}:{}/", farm::address(n), farm.port), ""),
        };
        let _ = write!(
            text,
            "[[service]]\nid = \"s{n}\"\n[[service.check]]\nid = \"web\"\nhttp = \"http://{target}\"\n{more}"
        );
    }
    text
}

fn add_readers(folder: &Path, readers: u32) -> Fallible<()> {
    let text = "[site]\nurl = \"http://localhost/\"\n[[service]]\nid = \"s0\"\n";
    let parsed = Config::parse(&folder.join("watchbell.toml"), text, &|_| None);
    let config = parsed.map_err(|errors| format!("{errors:?}"))?.config;
    let now = Timestamp::now();
    let mut store = Store::open(&config.store, now)?;
    let mut list = "email\n".to_owned();
    for n in 0..readers {
        writeln!(list, "reader{n}@example.net")?;
    }
    csv::import(&mut store, list.as_bytes(), &config.rules, false, now)?;
    Ok(())
}

fn look_at(folder: &Path) -> Fallible<Connection> {
    Ok(Connection::open_with_flags(folder.join("watchbell.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

/// How late probes began so far: all their lateness, and their number.
#[derive(Clone, Copy)]
struct Lag {
    seconds: f64,
    probes: f64,
}

impl Lag {
    /// In ms.
    fn mean_since(self, before: Self) -> f64 {
        (self.seconds - before.seconds) * 1e3 / (self.probes - before.probes).max(1.0)
    }
}

fn lag(metrics: SocketAddr) -> Fallible<Lag> {
    let mut stream = TcpStream::connect(metrics)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let value = |name: &str| {
        let name = format!("watchbell_schedule_lag_seconds_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).ok_or("no lag in /metrics")?;
        Ok::<f64, Box<dyn std::error::Error>>(line.trim().parse()?)
    };
    Ok(Lag { seconds: value("sum")?, probes: value("count")? })
}

/// Services that fail when told to.
struct Board {
    address: SocketAddr,
    failing: Arc<Mutex<HashSet<String>>>,
}

impl Board {
    fn start() -> Fallible<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, failing) = (listener.local_addr()?, Arc::<Mutex<HashSet<String>>>::default());
        let shared = Arc::clone(&failing);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || answer(stream, &shared));
            }
        });
        Ok(Self { address, failing })
    }

    fn fails(&self, n: usize) {
        self.failing.lock().unwrap().insert(format!("/{n}"));
    }
}

fn answer(mut stream: TcpStream, failing: &Mutex<HashSet<String>>) {
    let mut request = [0; 2048];
    let length = stream.read(&mut request).unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..length]);
    let is_failing = request.split(' ').nth(1).is_some_and(|path| failing.lock().unwrap().contains(path));
    let status = if is_failing { "503 Service Unavailable" } else { "200 OK" };
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/// A mail server that notes how old each message's event is when it takes it.
struct Mailbox {
    address: SocketAddr,
    waits: Arc<Mutex<Vec<f64>>>,
}

impl Mailbox {
    fn start() -> Fallible<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, waits) = (listener.local_addr()?, Arc::<Mutex<Vec<f64>>>::default());
        let shared = Arc::clone(&waits);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || take(stream, &shared));
            }
        });
        Ok(Self { address, waits })
    }

    fn count(&self) -> usize {
        self.waits.lock().unwrap().len()
    }
}

fn take(mut stream: TcpStream, waits: &Mutex<Vec<f64>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    stream.write_all(b"220 bench\r\n").ok()?;
    loop {
        let line = lines.next()?.ok()?;
        let answer = match line.get(..4) {
            Some("DATA") => "354 go on",
            Some("QUIT") => "221 bye",
            _ => "250 fine",
        };
        write!(stream, "{answer}\r\n").ok()?;
        if answer.starts_with("354") {
            let mut id = String::new();
            loop {
                let line = lines.next()?.ok()?;
                if let Some((_, rest)) = line.split_once("Message-ID: <") {
                    rest.split('@').next()?.clone_into(&mut id);
                }
                if line == "." {
                    break;
                }
            }
            // The id is a UUIDv7: it begins with the milliseconds of its event.
            let made = i64::from_str_radix(id.replace('-', "").get(..12)?, 16).ok()?;
            waits.lock().unwrap().push((Timestamp::now().as_millisecond() - made) as f64);
            stream.write_all(b"250 taken\r\n").ok()?;
        }
    }
}
