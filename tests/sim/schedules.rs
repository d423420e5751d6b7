//! Generated days: targets that come and go, a relay with moods, people who join and leave, notes,
//! and ends of the process, jumps of the clock and full disks at any moment.
//!
//! `WATCHBELL_SEED=n` plays one again; `WATCHBELL_SCHEDULES=n` plays so many others.

use std::{panic::AssertUnwindSafe, time::Duration};

use jiff::{SignedDuration, Timestamp};
use watchbell::{
    domain::subscriber::Wants,
    simulation::{
        Action, Behaviour, Dice, Disk, Port, Post, Side,
        network::{answers, refuses, slow, times_out, up},
        relay::{away, greylists, locks_us_out, loses_replies, takes},
    },
};

use super::stage::{Sim, clock_step, config, hours, id, secs};

/// How long everything comes and goes, and how long it rests afterwards.
const LASTS: Duration = hours(3);
const RESTS: Duration = hours(3);

fn pick<T: Clone>(dice: &mut Dice, all: &[T]) -> T {
    all[usize::try_from(dice.below(all.len() as u64)).unwrap()].clone()
}

/// A length between two, of any order of magnitude.
fn length(dice: &mut Dice, least: u64, most: u64) -> Duration {
    let most = 1 + dice.below(most.saturating_sub(least).max(1));
    secs(least + dice.below(most))
}

fn target(sim: &mut Sim, dice: &mut Dice, service: &str) {
    let failing = [refuses(), times_out(), answers(503)];
    let odd = [Behaviour::OursFails, slow(secs(2)), slow(secs(30))];
    let mut moment = length(dice, 60, 5400);
    while moment < LASTS {
        let behaviour = if dice.below(8) == 0 { pick(dice, &odd) } else { pick(dice, &failing) };
        sim.simulation.target(&id(service), moment, behaviour);
        moment += length(dice, 5, 2400);
        sim.simulation.target(&id(service), moment, up());
        moment += length(dice, 5, 5400);
    }
    sim.simulation.target(&id(service), LASTS, up());
}

fn relay(sim: &mut Sim, dice: &mut Dice) {
    let moods: [fn() -> Post; 5] = [away, away, greylists, locks_us_out, loses_replies];
    let mut moment = length(dice, 60, 7200);
    while moment < LASTS {
        let mood = pick(dice, &moods);
        sim.simulation.relay(moment, mood());
        moment += length(dice, 5, 3600);
        sim.simulation.relay(moment, takes());
        moment += length(dice, 60, 7200);
    }
    sim.simulation.relay(LASTS, takes());
}

/// What the last hours count as, sometimes with an error.
fn corrections(dice: &mut Dice, at: Timestamp) -> (String, String) {
    let text: String = (0..dice.below(3))
        .map(|n| {
            let service = pick(dice, &["api", "database", "web", "gone"]);
            let count_as = pick(dice, &["maintenance", "outage", "up", "unknown", "oops"]);
            let to = at - SignedDuration::from_secs(i64::try_from(n * 4000 + dice.below(2000)).unwrap());
            let from = to - SignedDuration::from_secs(i64::try_from(dice.below(3000)).unwrap());
            format!(
                "[[correct]]\nservice = \"{service}\"\nfrom = {from}\nto = {to}\ncount_as = \"{count_as}\"\nwhy = \"{n}\"\n"
            )
        })
        .collect();
    ("corrections.toml".to_owned(), format!("# as of {at}\n{text}"))
}

fn note(dice: &mut Dice, at: Timestamp) -> (String, String) {
    if dice.below(4) == 0 {
        return corrections(dice, at);
    }
    let day = at.strftime("%Y-%m-%d");
    let name = pick(dice, &["by-hand".to_owned(), format!("{day}-api"), format!("{day}-database")]);
    let status = pick(dice, &["", "status = \"identified\"\n", "status = \"resolved\"\n", "status = \"oops\"\n"]);
    let services = if name == "by-hand" { "services = [\"web\"]\nimpact = \"minor\"\n" } else { "" };
    let texts: String = (0..=dice.below(2))
        .map(|n| format!("\n[[update]]\n{status}text = \"We look at it, {n} of {}.\"\n", dice.below(99)))
        .collect();
    (format!("incidents/{name}.toml"), format!("{services}{texts}"))
}

fn trouble(sim: &mut Sim, dice: &mut Dice, services: &[&str]) {
    let moment = secs(30 + dice.below(LASTS.as_secs() - 60));
    let action = match dice.below(20) {
        0..=2 => Action::Restart,
        3..=5 => Action::Crash,
        6..=10 => {
            let (port, side) = (pick(dice, &Port::ALL), pick(dice, &[Side::Before, Side::After]));
            Action::EndAt(port, side, u32::try_from(dice.below(4)).unwrap())
        }
        11 => Action::Suspend(length(dice, 1, 3600)),
        12 => Action::Stop(length(dice, 1, 600)),
        13 => {
            let seconds = i64::try_from(length(dice, 1, 7200).as_secs()).unwrap();
            if dice.below(2) == 0 { clock_step(seconds) } else { clock_step(-seconds) }
        }
        14 => {
            let end = moment + length(dice, 1, 1800);
            sim.plan(moment, Action::Disk(pick(dice, &[Disk::Full, Disk::ReadOnly])));
            sim.plan(end, Action::Disk(Disk::Fine));
            return;
        }
        15 => Action::Pause(length(dice, 1, 900)),
        16 => {
            let mut order = services.to_vec();
            order.reverse();
            let loaded = super::stage::parse(&config(&order), sim.folder());
            Action::Reload(Box::new(loaded))
        }
        _ => {
            let (name, text) = note(dice, sim.simulation.wall_at(moment));
            Action::Note(name, text)
        }
    };
    sim.plan(moment, action);
}

fn schedule(seed: u64) -> Sim {
    let mut dice = Dice::new(seed);
    let all = ["database", "api -> database", "web", "mail"];
    let services = &all[..2 + usize::try_from(dice.below(3)).unwrap()];
    let text = config(services)
        .replace("every = \"60s\"", pick(&mut dice, &["every = \"60s\"", "every = \"30s\"", "every = \"2m\""]))
        .replace("timeout = \"10s\"", pick(&mut dice, &["timeout = \"10s\"", "timeout = \"3s\""]));
    let mut sim = Sim::seeded(&text, seed).subscriber("all@example.org").subscriber_of("api@example.org", &["api"]);
    sim.invariants.compare_every(150);
    for service in services {
        target(&mut sim, &mut dice, service.split(' ').next().unwrap());
    }
    relay(&mut sim, &mut dice);
    let (joins, leaves) = (length(&mut dice, 60, 10_000), length(&mut dice, 60, 10_000));
    sim.subscribe(joins, "late@example.org", Wants::default());
    sim = sim.subscriber("leaves@example.org");
    sim.leaves(leaves, "leaves@example.org");
    for _ in 0..dice.below(9) {
        trouble(&mut sim, &mut dice, services);
    }
    // In the end everything works again.
    sim.plan(LASTS, Action::Disk(Disk::Fine));
    sim
}

fn play(seed: u64) {
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut sim = schedule(seed);
        sim.run_for(LASTS + RESTS);
        sim.ends_well();
    }));
    if let Err(panic) = played {
        eprintln!(
            "the schedule of WATCHBELL_SEED={seed} failed: run `WATCHBELL_SEED={seed} cargo test sim::schedules`"
        );
        std::panic::resume_unwind(panic);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The `n`-th of four shares of all schedules, which run side by side.
fn play_share(n: u64) {
    if let Some(seed) = number("WATCHBELL_SEED") {
        if seed % 4 == n {
            play(seed);
        }
        return;
    }
    // Others than usual, if more are asked for.
    let (first, count) = number("WATCHBELL_SCHEDULES").map_or((0, USUAL), |count| (1000, count));
    for seed in (first..first + count).filter(|seed| seed % 4 == n) {
        play(seed);
    }
}

/// How many are played every time.
const USUAL: u64 = 40;

#[test]
fn whatever_happens_the_invariants_hold_first_share() {
    play_share(0);
}

#[test]
fn whatever_happens_the_invariants_hold_second_share() {
    play_share(1);
}

#[test]
fn whatever_happens_the_invariants_hold_third_share() {
    play_share(2);
}

#[test]
fn whatever_happens_the_invariants_hold_fourth_share() {
    play_share(3);
}
