//! What does a probe cost? CPU of the whole daemon (schedule, probe, judgement, store, site) for
//! 1,000 HTTP services every second over fresh connections, against what only asks them; and how
//! evenly it asks.
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

mod bare;
mod farm;
#[path = "../support/mod.rs"]
mod support;

use std::{fmt::Write as _, io, thread, time::Duration};

use farm::{Farm, Report};
use support::{
    daemon::{Daemon, folder},
    process::cpu_during,
    table::{self, Figure, Goal, Row},
};

const SERVICES: usize = 1_000;
const EVERY: Duration = Duration::from_secs(1);
/// Whoever is measured has run for so long before.
const WARM: Duration = Duration::from_secs(4);
const WINDOW: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize| args.get(n).and_then(|arg| arg.parse::<u64>().ok()).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("farm") => farm::run(number(1) as usize, Duration::from_millis(number(2))),
        Some("bare") => bare::run(number(1) as u16, number(2) as usize, Duration::from_millis(number(3))),
        _ => bench(),
    }
}

fn bench() -> io::Result<()> {
    let mut farm = Farm::start(0, EVERY)?;
    let unit = "ms CPU per 1,000 checks";
    let (mut ours, mut bare) = (Figure::new(unit), Figure::new(unit));
    for _ in 0..ROUNDS {
        bare.push(loop_cost(&mut farm)?);
        ours.push(daemon_cost(&mut farm)?.0);
    }
    table::print(&[Row {
        question: "CPU of the whole daemon, 1,000 HTTP services every second".to_owned(),
        ours,
        anchor: Some(("bare paced reqwest loop".to_owned(), bare)),
        goal: Goal::AtMostTimes(1.5),
    }])
}

/// CPU milliseconds of the bare loop for 1,000 requests.
fn loop_cost(farm: &mut Farm) -> io::Result<f64> {
    let client = bare::start(farm.port, SERVICES, EVERY)?;
    let (cpu, report) = measured(farm, || cpu_during(&[&client], WINDOW))?;
    Ok(per_thousand(cpu, report))
}

/// CPU milliseconds of the daemon for 1,000 checks, and how evenly it made them.
fn daemon_cost(farm: &mut Farm) -> io::Result<(f64, Report)> {
    let folder = folder()?;
    let daemon = Daemon::start(folder.path(), &services(farm.port))?;
    let (cpu, report) = measured(farm, || cpu_during(&[daemon.process()], WINDOW))?;
    daemon.stop()?;
    Ok((per_thousand(cpu, report), report))
}

/// Lets things run in, then measures while the farm takes notes.
fn measured(farm: &mut Farm, measure: impl FnOnce() -> io::Result<f64>) -> io::Result<(f64, Report)> {
    thread::sleep(WARM);
    farm.reset()?;
    let cpu = measure()?;
    let report = farm.report()?;
    let asked = report.requests as f64 / (SERVICES as f64 * WINDOW.as_secs_f64() / EVERY.as_secs_f64());
    if report.services < SERVICES || !(0.9..1.1).contains(&asked) || report.reused > 0 {
        return Err(io::Error::other(format!("not what was to be measured: {report:?}")));
    }
    Ok((cpu, report))
}

fn per_thousand(cpu: f64, report: Report) -> f64 {
    cpu * 1e6 / report.requests as f64
}

/// The config of the services.
fn services(port: u16) -> String {
    let mut text = format!("[defaults]\nevery = \"{}ms\"\ntimeout = \"800ms\"\n", EVERY.as_millis());
    for n in 0..SERVICES {
        let _ = write!(
            text,
            "\n[[service]]\nid = \"s{n}\"\n[[service.check]]\nid = \"web\"\nhttp = \"http://{}:{port}/\"\n",
            farm::address(n)
        );
    }
    text
}
