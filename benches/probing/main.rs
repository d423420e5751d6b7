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
mod prometheus;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fmt::Write as _,
    io, thread,
    time::{Duration, Instant},
};

use farm::{Farm, Report};
use support::{
    daemon::{Daemon, folder},
    process::{Process, cpu_during, have, say},
    table::{self, Figure, Goal, Row},
};

const SERVICES: usize = 1_000;
const EVERY: Duration = Duration::from_secs(1);
/// Whoever is measured has run for so long before.
const WARM: Duration = Duration::from_secs(3);
const WINDOW: Duration = Duration::from_secs(10);
/// Whoever does not ask all services within it never will.
const PATIENCE: Duration = Duration::from_mins(1);
const ROUNDS: usize = 3;
const CPU: &str = "ms CPU per 1,000 checks";

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize| args.get(n).and_then(|arg| arg.parse::<u64>().ok()).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("farm") => farm::run(number(1) as usize, Duration::from_millis(number(2))),
        Some("bare") => bare::run(number(1) as u16, number(2) as usize, Duration::from_millis(number(3))),
        _ => bench(),
    }
}

/// What one contestant gave in one round.
struct Round {
    /// CPU milliseconds for 1,000 checks.
    cpu: f64,
    /// What the farm saw.
    seen: Report,
}

impl Round {
    fn said(self, who: &str) -> Self {
        let Report { p50_error_ms: p50, p99_error_ms: p99, max_error_ms: max, mean_gap_ms: mean, .. } = self.seen;
        say(&format!(
            "{who}: {:.1} ms CPU per 1,000; gap error p50 {p50:.2}, p99 {p99:.2}, at most {max:.1} ms; mean gap {mean:.3} ms",
            self.cpu
        ));
        self
    }
}

fn bench() -> io::Result<()> {
    let with_prometheus = prometheus::PROGRAMS.iter().all(|program| have(program, "CPU against prometheus"));
    let mut farm = Farm::start(0, EVERY)?;
    let mut hanging_farm = Farm::start(SERVICES / 100, EVERY)?;
    let (mut bare, mut ours, mut hanging) = (Vec::new(), Vec::new(), Vec::new());
    // Ours of the rounds in which prometheus kept up, and prometheus.
    let mut beside = (Figure::new(CPU), Figure::new(CPU));
    for _ in 0..ROUNDS {
        bare.push(bare_loop(&mut farm)?.said("bare loop"));
        let round = daemon(&mut farm)?.said("watchbell");
        if with_prometheus {
            match prometheus_and_exporter(&mut farm) {
                Ok(theirs) => {
                    beside.0.push(round.cpu);
                    beside.1.push(theirs.said("prometheus").cpu);
                }
                Err(error) => say(&format!("prometheus does not count in this round: {error}")),
            }
        }
        ours.push(round);
        hanging.push(daemon(&mut hanging_farm)?.said("watchbell, 1 % hanging"));
    }
    let cpu = |rounds: &[Round]| figure(rounds, CPU, |round| round.cpu);
    let p99 = |rounds: &[Round]| figure(rounds, "ms", |round| round.seen.p99_error_ms);
    let mean = |rounds: &[Round]| figure(rounds, "ms", |round| (round.seen.mean_gap_ms - ms(EVERY)).abs());
    let row = |question: &str, ours: Figure, anchor: Option<(&str, Figure)>, goal: Goal| Row {
        question: format!("1,000 HTTP services every second, fresh connections: {question}"),
        ours,
        anchor: anchor.map(|(name, figure)| (name.to_owned(), figure)),
        goal,
    };
    let loop_name = "bare paced reqwest loop";
    let mut rows =
        vec![row("CPU of the whole daemon", cpu(&ours), Some((loop_name, cpu(&bare))), Goal::AtMostTimes(1.5))];
    if !beside.1.rounds.is_empty() {
        let anchor = Some(("prometheus + blackbox_exporter", beside.1));
        rows.push(row("CPU of the whole daemon", beside.0, anchor, Goal::TimesLess(8.0)));
    }
    for (rounds, which) in [(&ours, ""), (&hanging, ", 1 % of them hanging")] {
        let anchor = Some((loop_name, p99(&bare)));
        rows.push(row(&format!("gap error, p99{which}"), p99(rounds), anchor, Goal::AtMost(10.0)));
        rows.push(row(&format!("gap error, mean{which}"), mean(rounds), None, Goal::AtMost(0.1)));
    }
    table::print(&rows)
}

fn figure(rounds: &[Round], unit: &str, of: impl Fn(&Round) -> f64) -> Figure {
    Figure { rounds: rounds.iter().map(of).collect(), unit: unit.to_owned() }
}

fn bare_loop(farm: &mut Farm) -> io::Result<Round> {
    let client = bare::start(farm.port, SERVICES, EVERY)?;
    measure(farm, &[&client])
}

fn daemon(farm: &mut Farm) -> io::Result<Round> {
    let folder = folder()?;
    let daemon = Daemon::start(folder.path(), &services(farm.port))?;
    daemon.settled()?;
    let round = measure(farm, &[daemon.process()])?;
    daemon.stop()?;
    Ok(round)
}

fn prometheus_and_exporter(farm: &mut Farm) -> io::Result<Round> {
    let folder = folder()?;
    let [server, exporter] = prometheus::start(folder.path(), farm.port, SERVICES, EVERY)?;
    // It takes its first targets seconds after its start.
    let began = Instant::now();
    while !asks_all(farm)? {
        if began.elapsed() > PATIENCE {
            return Err(io::Error::other("it does not ask all services"));
        }
    }
    measure(farm, &[&server, &exporter])
}

/// Whether all are asked within two turns.
fn asks_all(farm: &mut Farm) -> io::Result<bool> {
    farm.reset()?;
    thread::sleep(2 * EVERY);
    Ok(farm.report()?.services >= SERVICES * 99 / 100)
}

/// Lets them run in, then counts while the farm takes notes.
fn measure(farm: &mut Farm, processes: &[&Process]) -> io::Result<Round> {
    thread::sleep(WARM);
    farm.reset()?;
    let cpu = cpu_during(processes, WINDOW)?;
    let seen = farm.report()?;
    let asked = seen.requests as f64 / (SERVICES as f64 * WINDOW.as_secs_f64() / EVERY.as_secs_f64());
    if seen.services < SERVICES * 99 / 100 || !(0.9..1.1).contains(&asked) || seen.reused > 0 {
        return Err(io::Error::other(format!("not what was to be measured: {seen:?}")));
    }
    Ok(Round { cpu: cpu * 1e6 / seen.requests as f64, seen })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
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
