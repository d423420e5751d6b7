//! How much anonymous memory the daemon holds after a minute of work, publishing included: with
//! 1,000 checks, and with 10,000 healthy ones.
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
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use support::{
    daemon::{Daemon, folder},
    process::say,
    table::{self, Figure, Goal, Row},
};

/// Every check has had its turn, and every page was published.
const WORK: Duration = Duration::from_secs(75);

fn main() -> io::Result<()> {
    let target = serve()?;
    let mut rows = Vec::new();
    for (services, most) in [(1_000, 30.0), (10_000, 120.0)] {
        let folder = folder()?;
        let began = Instant::now();
        let daemon = Daemon::start(folder.path(), &past::services_text(services, &target.to_string()))?;
        say(&format!("{services} checks: the first page after {:.1} s", began.elapsed().as_secs_f64()));
        let mut ours = Figure::new("MB at most");
        let (mut highest, mut last) = (0.0_f64, 0.0);
        while began.elapsed() < WORK.max(Duration::from_secs(services as u64 / 80)) {
            last = daemon.process().anonymous_mb()?;
            highest = highest.max(last);
            thread::sleep(Duration::from_millis(100));
        }
        say(&format!("{services} checks: {last:.1} MB at the end, {highest:.1} MB at most"));
        ours.push(highest);
        rows.push(Row {
            question: format!("anonymous memory with {services} checks, publishing included"),
            ours,
            anchor: None,
            goal: Goal::AtMost(most),
        });
        daemon.stop()?;
    }
    table::print(&rows)
}

/// A server that is well.
fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    for _ in 0..4 {
        let listener = listener.try_clone()?;
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            }
        });
    }
    Ok(address)
}
