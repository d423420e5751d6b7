//! Killed again and again while services come and go, an operator writes, people join and leave and
//! mails go out: the truth is scripted, and whatever the program wrote down must agree with it.
//!
//! | file | what |
//! | --- | --- |
//! | `moments` | when it dies: at random, and at named moments that traps outside of it wait for |
//! | `victim` | its lives |
//! | `round`, `people` | what goes on meanwhile |
//! | `truth`, `record`, `audit` | what happened, what it says happened, and where the two disagree |
//! | `site` | files that must be whole at any moment |
//! | `sabotage` | the audit finds what is wrong |
//! | `backup` | a large backup, killed in the middle |
//! | `ending` | asked to end while a relay is slow, then killed |
//! | `many` | an event for very many, killed while it is queued |
//!
//! `scripts/kills` runs a thousand.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    thread,
};

use jiff::Timestamp;

use self::{
    moments::Moment,
    round::{Ended, Report},
};

mod audit;
mod backup;
mod ending;
mod many;
mod moments;
mod people;
mod record;
mod round;
mod sabotage;
mod site;
mod truth;
mod victim;

/// Kills of a usual test run.
const USUAL: u64 = 50;
/// Where the usual kills begin: the same each time.
const USUAL_SEED: u64 = 1;
/// Kills of one round at most.
const OF_A_ROUND: u64 = 25;
/// Rounds side by side.
const SIDE_BY_SIDE: u64 = 4;

fn wished(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// How many kills each round has; few of a known seed are one round, which is lived through again.
fn rounds(kills: u64, is_again: bool) -> Vec<u64> {
    let least = if is_again { 1 } else { SIDE_BY_SIDE.min(kills).max(1) };
    let rounds = kills.div_ceil(OF_A_ROUND).max(least);
    (0..rounds).map(|n| kills / rounds + u64::from(n < kills % rounds)).collect()
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_doubles_nothing() {
    let (asked, known_seed) = (wished("WATCHBELL_KILLS"), wished("WATCHBELL_SEED"));
    let kills = asked.unwrap_or(USUAL);
    // Moments that nobody met before are for long runs.
    let fresh_seed = || asked.map_or(USUAL_SEED, |_| Timestamp::now().as_millisecond().unsigned_abs());
    let seed = known_seed.unwrap_or_else(fresh_seed);
    eprintln!("WATCHBELL_KILLS={kills} WATCHBELL_SEED={seed}");
    let rounds = (0..).zip(rounds(kills, known_seed.is_some()));
    let waiting: Mutex<VecDeque<(u64, u64)>> =
        Mutex::new(rounds.map(|(n, kills)| (seed.wrapping_add(n), kills)).collect());
    let total = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some((seed, kills)) = { waiting.lock().unwrap().pop_front() } {
                    let found = thread::Builder::new()
                        .name(format!("round {seed}"))
                        .spawn(move || round::live_through(seed, kills))
                        .unwrap()
                        .join();
                    let mut total = total.lock().unwrap();
                    match found {
                        Ok(ended) => add(&mut total, seed, kills, ended),
                        Err(panic) => {
                            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                            let text = format!("{text}\n(WATCHBELL_KILLS={kills} WATCHBELL_SEED={seed})");
                            eprintln!("{text}");
                            total.wrong.push(text);
                        }
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    eprintln!("{}", summary(&total));
    assert!(total.wrong.is_empty(), "{}", total.wrong.join("\n"));
    if kills >= USUAL {
        for moment in Moment::NAMED {
            assert!(total.moments.contains_key(&moment), "never killed at: {}", moment.name());
        }
    }
}

fn add(total: &mut Report, seed: u64, kills: u64, ended: Ended) {
    let report = ended.report;
    let (outages, mails, copies, wrong) = (report.outages, report.mails, report.copies, report.wrong);
    total.kills += report.kills;
    for (moment, count) in report.moments {
        *total.moments.entry(moment).or_default() += count;
    }
    for (phase, count) in report.phases {
        *total.phases.entry(phase).or_default() += count;
    }
    total.outages += outages;
    total.incidents += report.incidents;
    total.people += report.people;
    total.deliveries += report.deliveries;
    total.mails += mails;
    total.copies += copies;
    total.to_who_left += report.to_who_left;
    total.stalls += report.stalls;
    eprintln!(
        "{:5} kills: {outages} outages, {mails} mails, {copies} copies{}",
        total.kills,
        if wrong.is_empty() { "" } else { ", WRONG" }
    );
    if !wrong.is_empty() {
        let kept = ended.folder.keep();
        let text = format!(
            "{}\n(WATCHBELL_KILLS={kills} WATCHBELL_SEED={seed}; what is left is in {})",
            wrong.join("\n"),
            kept.display()
        );
        eprintln!("{text}");
        total.wrong.push(text);
    }
}

/// What was found, for people.
fn summary(total: &Report) -> String {
    let list = |counts: &BTreeMap<&str, usize>| {
        let lines: Vec<String> = counts.iter().map(|(name, count)| format!("  {count:5} {name}")).collect();
        lines.join("\n")
    };
    let moments: BTreeMap<&str, usize> = total.moments.iter().map(|(moment, count)| (moment.name(), *count)).collect();
    format!(
        "{} kills\n{}\nof them with\n{}\noutages {}, incidents recorded {}\nmails accepted {}: marked as sent {}, copies {}, to who left meanwhile {}\npeople {}, stalls of the machine {}\nrounds in which something was wrong: {}",
        total.kills,
        list(&moments),
        list(&total.phases),
        total.outages,
        total.incidents,
        total.mails,
        total.deliveries,
        total.copies,
        total.to_who_left,
        total.people,
        total.stalls,
        total.wrong.len()
    )
}
