//! The servers that are probed: one process, one address of loopback for each service. It notes
//! who asked when, and says how evenly.
//!
//! Driven by lines on its standard input: `reset` forgets what was noted, `report` prints one line
//! of JSON. Its first line of output is its port.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime,
};

use crate::support::{process::Process, table::percentile};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n";

/// The address of service number `n`.
pub fn address(n: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
    Ipv4Addr::new(127, 20, high, low)
}

/// How evenly those services were asked that answer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Report {
    /// How many of them were asked at all.
    pub services: usize,
    /// Requests in all.
    pub requests: usize,
    /// How many of them came over a connection that had served before.
    pub reused: usize,
    /// The mean gap between two requests to one service, in ms.
    pub mean_gap_ms: f64,
    /// How far a gap is from the interval, in ms.
    pub p50_error_ms: f64,
    /// The same, for all but one in a hundred.
    pub p99_error_ms: f64,
    /// The same, at worst.
    pub max_error_ms: f64,
}

/// The farm, seen from the bench.
pub struct Farm {
    /// Ends with this.
    _process: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The port of every service.
    pub port: u16,
}

impl Farm {
    /// Starts a farm whose first `hanging` services of `services` take connections and never answer.
    pub fn start(hanging: usize, every: Duration) -> io::Result<Self> {
        let me = std::env::current_exe()?;
        let mut process = Process::start(
            Command::new(me)
                .args(["farm", &hanging.to_string(), &every.as_millis().to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )?;
        let gone = || io::Error::other("the farm has no pipes");
        let orders = process.child().stdin.take().ok_or_else(gone)?;
        let mut answers = BufReader::new(process.child().stdout.take().ok_or_else(gone)?);
        let mut port = String::new();
        answers.read_line(&mut port)?;
        let port = port.trim().parse().map_err(io::Error::other)?;
        Ok(Self { _process: process, orders, answers, port })
    }

    /// Forgets who asked.
    pub fn reset(&mut self) -> io::Result<()> {
        writeln!(self.orders, "reset")
    }

    /// What was noted since the last [`Self::reset`].
    pub fn report(&mut self) -> io::Result<Report> {
        writeln!(self.orders, "report")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}

#[derive(Default)]
struct Noted {
    /// For each service, when it was asked.
    asked: Vec<Vec<Instant>>,
    reused: usize,
}

type Notes = Arc<Mutex<Noted>>;

/// The farm's own process.
pub fn run(hanging: usize, every: Duration) -> io::Result<()> {
    let notes = Notes::default();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async { TcpListener::bind("0.0.0.0:0").await })?;
    say(&listener.local_addr()?.port().to_string())?;
    let orders = Arc::clone(&notes);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let mut noted = orders.lock().unwrap();
            if line == "report" {
                let report = report(&noted, hanging, every);
                say(&serde_json::to_string(&report).unwrap()).unwrap();
            } else {
                *noted = Noted::default();
            }
        }
        // The bench is gone.
        std::process::exit(0);
    });
    runtime.block_on(async {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve(stream, Arc::clone(&notes), hanging));
        }
    })
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

async fn serve(mut stream: TcpStream, notes: Notes, hanging: usize) {
    let Ok(std::net::SocketAddr::V4(local)) = stream.local_addr() else { return };
    let [_, _, high, low] = local.ip().octets();
    let service = usize::from(u16::from_be_bytes([high, low]));
    let mut fresh = true;
    let mut request = Vec::with_capacity(512);
    while let Ok(1..) = stream.read_buf(&mut request).await {
        if !request.windows(4).any(|end| end == b"\r\n\r\n") {
            continue;
        }
        {
            let mut noted = notes.lock().unwrap();
            if noted.asked.len() <= service {
                noted.asked.resize_with(service + 1, Vec::new);
            }
            noted.asked[service].push(Instant::now());
            noted.reused += usize::from(!fresh);
            fresh = false;
        }
        if service >= hanging && stream.write_all(ANSWER).await.is_err() {
            return;
        }
        request.clear();
    }
}

fn report(noted: &Noted, hanging: usize, every: Duration) -> Report {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let answering = || noted.asked.iter().skip(hanging).filter(|asked| !asked.is_empty());
    let gaps: Vec<f64> = answering().flat_map(|asked| asked.windows(2)).map(|pair| ms(pair[1] - pair[0])).collect();
    let mut errors: Vec<f64> = gaps.iter().map(|gap| (gap - ms(every)).abs()).collect();
    Report {
        services: answering().count(),
        requests: noted.asked.iter().map(Vec::len).sum(),
        reused: noted.reused,
        mean_gap_ms: gaps.iter().sum::<f64>() / gaps.len().max(1) as f64,
        p50_error_ms: percentile(&mut errors, 0.5).unwrap_or(0.0),
        p99_error_ms: percentile(&mut errors, 0.99).unwrap_or(0.0),
        max_error_ms: percentile(&mut errors, 1.0).unwrap_or(0.0),
    }
}
