//! Stories and properties of the schedule.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::domain::{
    CheckId, Impact, ServiceId,
    service::{Cadence, Check, Probe, Service, Tcp},
};

const START_MS: i64 = 1_790_000_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(START_MS + ms).unwrap()
}

fn check(cadence: Cadence) -> Check {
    Check {
        id: CheckId::new("tcp").unwrap(),
        enabled: true,
        cadence,
        timeout: Duration::from_secs(10),
        down_after: 3,
        up_after: 2,
        recheck: Duration::from_secs(5),
        degraded_over: None,
        degraded_after: 3,
        ip: None,
        probe: Probe::Tcp(Tcp { host: "192.0.2.1".to_owned(), port: 1, send: None, expect_text: None }),
    }
}

fn rules(cadences: impl IntoIterator<Item = Cadence>) -> Rules {
    let service = |(n, cadence): (usize, Cadence)| {
        Arc::new(Service {
            id: ServiceId::new(&format!("s{n}")).unwrap(),
            name: format!("Service {n}"),
            group: None,
            description: String::new(),
            depends_on: Vec::new(),
            objective: None,
            acceptable_downtime: None,
            owners: Vec::new(),
            max_impact: Impact::Critical,
            notify_after: Duration::ZERO,
            checks: vec![check(cadence)],
        })
    };
    Rules { services: cadences.into_iter().enumerate().map(service).collect(), ..Rules::default() }
}

fn every(count: usize, seconds: u64) -> Rules {
    rules((0..count).map(|_| Cadence::Every(Duration::from_secs(seconds))))
}

fn key(n: usize) -> CheckKey {
    CheckKey { service: ServiceId::new(&format!("s{n}")).unwrap(), check: CheckId::new("tcp").unwrap() }
}

fn schedule(rules: &Rules) -> Schedule {
    let mut schedule = Schedule::new(Duration::from_millis(20));
    schedule.set(rules, at(0));
    schedule
}

/// Runs from wake-up to wake-up until `end_ms`; every probe takes `probe_ms`. Gives what started
/// and when.
fn run(schedule: &mut Schedule, from_ms: i64, end_ms: i64, probe_ms: i64) -> Vec<(i64, Due)> {
    let mut running: BTreeMap<i64, Vec<CheckKey>> = BTreeMap::new();
    let mut started = Vec::new();
    let mut now = from_ms;
    loop {
        let wake = schedule.wake_at().map_or(i64::MAX, |wake| wake.as_millisecond() - START_MS);
        let ended = running.first_key_value().map_or(i64::MAX, |(&end, _)| end);
        now = now.max(wake.min(ended));
        if now >= end_ms {
            return started;
        }
        if ended <= now {
            for check in running.pop_first().map(|(_, checks)| checks).unwrap_or_default() {
                schedule.done(&check, at(now));
            }
        }
        for due in schedule.take_due(at(now)) {
            running.entry(now + probe_ms).or_default().push(due.check.clone());
            started.push((now, due));
        }
    }
}

#[test]
fn ten_thousand_checks_each_have_one_turn_a_minute_and_never_burst() {
    let mut schedule = schedule(&every(10_000, 60));
    // One slot more, for turns in the last one.
    let mut started = run(&mut schedule, 0, 180_021, 300);
    started.retain(|(_, due)| due.due_at < at(180_000));
    let mut times: BTreeMap<CheckKey, Vec<i64>> = BTreeMap::new();
    let mut busiest: BTreeMap<i64, u32> = BTreeMap::new();
    for (now, due) in &started {
        times.entry(due.check.clone()).or_default().push(due.due_at.as_millisecond());
        *busiest.entry(now / 100).or_default() += 1;
        let late = START_MS + now - due.due_at.as_millisecond();
        assert!((0..20).contains(&late), "{late} ms late");
    }
    assert_eq!(times.len(), 10_000);
    assert!(times.values().all(|turns| turns.len() == 3 && turns.windows(2).all(|pair| pair[1] - pair[0] == 60_000)));
    // 16.7 in each tenth of a second on average; by chance alone hardly ever more than 40.
    assert!(busiest.values().all(|&count| count <= 45), "{:?}", busiest.values().max());
    assert_eq!(schedule.skipped(), 0);
}

#[test]
fn turns_are_the_same_after_a_restart() {
    let rules = every(50, 30);
    let turns = |from_ms| {
        let mut schedule = Schedule::new(Duration::from_millis(20));
        schedule.set(&rules, at(from_ms));
        let mut found: Vec<_> = run(&mut schedule, from_ms, from_ms + 30_000, 1)
            .into_iter()
            .map(|(_, due)| (due.check, (due.due_at.as_millisecond() - START_MS).rem_euclid(30_000)))
            .collect();
        found.sort();
        found
    };
    assert_eq!(turns(0), turns(1_234_567));
}

#[test]
fn a_slow_check_is_not_started_twice_and_its_turns_are_counted() {
    let mut schedule = schedule(&every(1, 10));
    let started = run(&mut schedule, 0, 100_000, 25_000);
    // Each probe covers two further turns.
    assert_eq!(started.len(), 4);
    assert_eq!(schedule.skipped(), 6);
}

#[test]
fn a_request_is_served_at_its_time_with_its_priority_and_the_turn_stays() {
    let mut schedule = schedule(&every(2, 60));
    let turns = run(&mut schedule, 0, 60_000, 1);
    schedule.request(&key(0), at(60_000), Priority::Recheck);
    schedule.request(&key(1), at(60_000), Priority::PulledForward);
    let due = schedule.take_due(at(60_000));
    let expected = [(key(0), Priority::Recheck), (key(1), Priority::PulledForward)];
    assert_eq!(due.iter().map(|due| (due.check.clone(), due.priority)).collect::<Vec<_>>(), expected);
    schedule.done(&key(0), at(60_001));
    schedule.done(&key(1), at(60_001));
    let again = run(&mut schedule, 60_001, 120_000, 1);
    let due_at =
        |list: &[(i64, Due)]| list.iter().map(|(_, due)| due.due_at.as_millisecond() % 60_000).collect::<Vec<_>>();
    assert_eq!(due_at(&again), due_at(&turns));
}

#[test]
fn a_request_made_while_in_flight_waits_for_the_end() {
    let mut schedule = schedule(&every(1, 3600));
    schedule.request(&key(0), at(0), Priority::Recheck);
    assert_eq!(schedule.take_due(at(0)).len(), 1);
    schedule.request(&key(0), at(5), Priority::Recheck);
    assert!(schedule.take_due(at(100)).is_empty());
    schedule.done(&key(0), at(200));
    assert_eq!(schedule.wake_at(), Some(at(20)));
    assert_eq!(schedule.take_due(at(200)).len(), 1);
}

#[test]
fn a_request_for_later_than_the_turn_is_served_by_the_turn() {
    let mut schedule = schedule(&every(1, 2));
    let turn = run(&mut schedule, 0, 2_100, 1)[0].1.due_at;
    let next = turn.as_millisecond() - START_MS + 2_000;
    schedule.request(&key(0), at(next + 3_000), Priority::Recheck);
    let due = schedule.take_due(at(next));
    assert_eq!((due[0].priority, due[0].due_at), (Priority::Recheck, at(next)));
    schedule.done(&key(0), at(next + 1));
    let after = run(&mut schedule, next + 1, next + 4_100, 1);
    assert!(after.iter().all(|(_, due)| due.priority == Priority::Regular), "{after:?}");
}

#[test]
fn the_sooner_and_the_more_urgent_of_two_requests_count() {
    let mut schedule = schedule(&every(1, 3600));
    schedule.request(&key(0), at(50), Priority::PulledForward);
    schedule.request(&key(0), at(500), Priority::Recheck);
    let due = schedule.take_due(at(60));
    assert_eq!((due[0].priority, due[0].due_at), (Priority::Recheck, at(50)));
    schedule.done(&key(0), at(70));
    assert!(schedule.take_due(at(1000)).is_empty());
}

#[test]
fn after_a_long_stall_nothing_bursts_and_all_are_probed_again_soon() {
    let mut schedule =
        schedule(&rules((0..1000).map(|n| Cadence::Every(Duration::from_secs(if n % 2 == 0 { 60 } else { 86_400 })))));
    run(&mut schedule, 0, 100_000, 1);
    let woken = 100_000 + 3 * 86_400_000;
    let first = schedule.take_due(at(woken));
    assert!(first.len() < 100, "{} at once", first.len());
    for due in &first {
        schedule.done(&due.check, at(woken));
    }
    let started = run(&mut schedule, woken, woken + 61_000, 1);
    let seen: std::collections::BTreeSet<_> =
        first.iter().chain(started.iter().map(|(_, due)| due)).map(|due| due.check.clone()).collect();
    assert_eq!(seen.len(), 1000);
    let mut busiest: BTreeMap<i64, u32> = BTreeMap::new();
    for (now, _) in &started {
        *busiest.entry(now / 1000).or_default() += 1;
    }
    assert!(busiest.values().all(|&count| count < 200), "{busiest:?}");
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_probing() {
    let mut schedule = schedule(&every(100, 60));
    run(&mut schedule, 0, 60_000, 1);
    let back = 60_000 - 3_600_000;
    assert!(schedule.take_due(at(back)).len() <= 2);
    assert!(run(&mut schedule, back, back + 60_000, 1).len() >= 98);
}

#[test]
fn a_reload_keeps_turns_requests_and_what_is_in_flight() {
    let mut schedule = schedule(&every(3, 60));
    schedule.request(&key(0), at(0), Priority::Recheck);
    assert_eq!(schedule.take_due(at(0)).len(), 1);
    schedule.request(&key(1), at(40), Priority::Recheck);
    schedule.set(&every(2, 60), at(10));
    assert_eq!(schedule.len(), 2);
    assert_eq!(schedule.in_flight(), 1);
    let due = schedule.take_due(at(40));
    assert_eq!(due.iter().map(|due| due.check.clone()).collect::<Vec<_>>(), [key(1)]);
    // What is gone is gone; telling of its end is no trouble.
    schedule.set(&every(0, 60), at(50));
    schedule.done(&key(0), at(60));
    assert_eq!(schedule.wake_at(), None);
}

#[test]
fn a_start_probes_at_once_only_what_missed_a_turn_and_spreads_it() {
    let mut schedule = schedule(&every(1000, 3600));
    for n in 0..1000 {
        let last_at = if n < 500 { None } else { Some(at(-1)) };
        schedule.resume(&key(n), last_at, at(0));
    }
    let started = run(&mut schedule, 0, 10_000, 1);
    assert!((500..520).contains(&started.len()), "{}", started.len());
    let mut busiest: BTreeMap<i64, u32> = BTreeMap::new();
    for (now, _) in &started {
        *busiest.entry(now / 1000).or_default() += 1;
    }
    assert!(busiest.values().all(|&count| count < 100), "{busiest:?}");
}

#[test]
fn checks_with_one_cron_pattern_do_not_fire_together() {
    let cadence = Cadence::Cron {
        patterns: vec!["0 */5 * * * *".to_owned()],
        written: "*/5 * * * *".to_owned(),
        timezone: "Europe/Berlin".to_owned(),
    };
    let mut schedule = schedule(&rules((0..100).map(|_| cadence.clone())));
    let started = run(&mut schedule, 0, 600_000, 1);
    assert_eq!(started.len(), 200);
    let mut busiest: BTreeMap<i64, u32> = BTreeMap::new();
    for (now, _) in &started {
        *busiest.entry(now / 100).or_default() += 1;
    }
    assert!(busiest.values().all(|&count| count <= 10), "{busiest:?}");
    assert!(started.iter().all(|(_, due)| due.due_at.as_millisecond() % 300_000 < 5_000));
}

#[test]
fn a_cron_check_that_can_never_fire_is_only_probed_on_request() {
    let cadence =
        Cadence::Cron { patterns: vec!["0 0 2 30 2 *".to_owned()], written: String::new(), timezone: "UTC".to_owned() };
    let mut schedule = schedule(&rules([cadence]));
    assert_eq!(schedule.wake_at(), None);
    schedule.request(&key(0), at(7), Priority::Canary);
    assert_eq!(schedule.wake_at(), Some(at(20)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_check_has_one_turn_in_each_interval_whatever_else_is_asked(
        intervals in prop::collection::vec(prop::sample::select(vec![1_000_u64, 1_700, 5_000, 30_000, 60_000]), 1..40),
        requests in prop::collection::vec((0_usize..40, 0_i64..120_000), 0..60),
        offset in 0_i64..1_000_000,
    ) {
        let rules = rules(intervals.iter().map(|&ms| Cadence::Every(Duration::from_millis(ms))));
        let mut schedule = Schedule::new(Duration::from_millis(10));
        schedule.set(&rules, at(offset));
        for (n, when) in requests {
            schedule.request(&key(n), at(offset + when), Priority::Recheck);
        }
        // One slot more, for turns in the last one.
        let mut started = run(&mut schedule, offset, offset + 120_011, 0);
        started.retain(|(_, due)| due.due_at < at(offset + 120_000));
        for (n, &ms) in intervals.iter().enumerate() {
            let ms = i64::try_from(ms).unwrap();
            let turns: Vec<_> = started.iter()
                .filter(|(_, due)| due.check == key(n) && due.priority == Priority::Regular)
                .map(|(_, due)| due.due_at.as_millisecond())
                .collect();
            let all = started.iter().filter(|(_, due)| due.check == key(n)).count();
            // A turn that coincides with a request carries the request's priority.
            prop_assert!(turns.windows(2).all(|pair| (pair[1] - pair[0]) % ms == 0));
            prop_assert!(i64::try_from(all).unwrap() >= 120_000 / ms);
            prop_assert!(i64::try_from(turns.len()).unwrap() <= 120_000 / ms + 1);
        }
        prop_assert_eq!(schedule.skipped(), 0);
    }
}
