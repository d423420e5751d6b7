//! What judging and scheduling alone cost: a day of 10,000 checks at 60 s, on one core. No socket, no
//! store, no site: each probe has its answer at once, one in a thousand is lost, and fifty services
//! have an outage.
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

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use support::table::{self, Figure, Goal, Row};
use watchbell::{
    config::Config,
    daemon::SLOT,
    domain::{
        CheckKey,
        outcome::{CheckResult, Class, Outcome, Phases},
        service::Rules,
    },
    judge::{self, Input, Request, World},
    schedule::Schedule,
};

const CHECKS: usize = 10_000;
const ROUNDS: usize = 3;
/// Every so many services one has an outage, each of twenty minutes.
const OUTAGE_EVERY: usize = 200;
const OUTAGE: SignedDuration = SignedDuration::from_mins(20);

fn main() -> io::Result<()> {
    let text = format!(
        "[site]\ntitle = \"Many\"\nurl = \"http://127.0.0.1:1/\"\n{}",
        past::services_text(CHECKS, "127.0.0.1:9")
    );
    // A host for each: ten thousand targets on one machine would all be each other's kin.
    let text = one_host_each(&text);
    let rules = match Config::parse(Path::new("/nowhere/watchbell.toml"), &text, &|_| None) {
        Ok(loaded) => loaded.config.rules,
        Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<String>()),
    };
    let mut ours = Figure::new("s CPU");
    for _ in 0..ROUNDS {
        let began = support::process::own_cpu()?;
        let (probes, events) = day(&rules);
        ours.push(support::process::own_cpu()? - began);
        assert!(probes >= CHECKS * 1440 && events >= CHECKS / OUTAGE_EVERY, "{probes} probes, {events} events");
    }
    table::print(&[Row {
        question: "judging and scheduling alone: a day of 10,000 checks at 60 s, on one core".to_owned(),
        ours,
        anchor: None,
        goal: Goal::AtMost(60.0),
    }])
}

fn one_host_each(text: &str) -> String {
    let mut lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (n, line) in lines.iter_mut().filter(|line| line.contains("http://127.0.0.1:9/")).enumerate() {
        *line = line.replace("127.0.0.1:9", &format!("s{n}.example.org"));
    }
    lines.join("\n")
}

/// One day; how many probes there were, and how many events.
fn day(rules: &Rules) -> (usize, usize) {
    let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    let end = start + SignedDuration::from_hours(24);
    let mut schedule = Schedule::new(SLOT);
    schedule.set(rules, start);
    let mut world = World::new(7);
    judge::step(rules, &mut world, Input::Rules, start);
    let failing = rules.services.iter().step_by(OUTAGE_EVERY);
    let failing = failing.flat_map(|service| service.enabled_checks().map(|(key, _)| key).collect::<Vec<_>>());
    let outages: BTreeMap<CheckKey, Timestamp> =
        failing.zip(0..).map(|(key, n)| (key, start + SignedDuration::from_mins(25 * n))).collect();
    let (mut probes, mut events) = (0_usize, 0_usize);
    let mut now = start;
    loop {
        let next = schedule.wake_at().into_iter().chain(world.wake_at(rules)).min().unwrap_or(end).max(now);
        if next >= end {
            return (probes, events);
        }
        now = next;
        let mut steps = Vec::new();
        if world.wake_at(rules).is_some_and(|at| at <= now) {
            steps.push(judge::step(rules, &mut world, Input::Tick, now));
        }
        for due in schedule.take_due(now) {
            probes += 1;
            let is_out = outages.get(&due.check).is_some_and(|from| *from <= now && now < *from + OUTAGE);
            let is_up = !is_out && !probes.is_multiple_of(1000);
            let outcome = Outcome {
                result: if is_up { CheckResult::Up } else { CheckResult::Down },
                cause: (!is_up).then(|| Class::ConnectRefused.into()),
                started_at: now,
                latency: Duration::from_millis(80),
                phases: Phases::default(),
                detail: None,
            };
            schedule.done(&due.check, now);
            steps.push(judge::step(rules, &mut world, Input::Outcome { check: due.check, outcome }, now));
        }
        for step in steps {
            events += step.events.len();
            for Request::Probe { check, at, priority } in step.requests {
                schedule.request(&check, at, priority);
            }
        }
    }
}
