//! The pure tier: judging, scheduling and the rule of telling alone, over generated schedules of
//! targets, restarts, jumps of the clock and a relay that comes and goes. No store, no site, no
//! mail: what would be written is kept as values.
//!
//! 10,000 schedules every time, the same ones in `scripts/test`; `PROPTEST_CASES=1000000` by hand. A
//! failure prints the smallest schedule that fails.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use watchbell::{
    daemon::engine::Engine,
    domain::{
        CheckKey, EventId, IncidentId, SubscriberId,
        event::{Event, EventKind},
        id::DeliveryId,
        incident::Incident,
        outcome::{CheckResult, Class, Outcome, Phases},
        service::Rules,
        subscriber::{Address, Subscriber, SubscriberState, Wants},
    },
    judge::World,
    notify::{
        ledger::{Lane, Pending, Told},
        plan::{self, Decision},
        recipient::Directory,
    },
    schedule::Schedule,
};

use super::stage::{at, config, parse};

const SERVICES: [&str; 3] = ["database", "api -> database", "web"];
const DOWN_AFTER: usize = 3;

static RULES: LazyLock<Arc<Rules>> =
    LazyLock::new(|| Arc::new(parse(&config(&SERVICES), Path::new("/nowhere")).config.rules));

#[derive(Clone, Copy, Debug)]
enum Happening {
    /// For so many seconds these targets find that.
    Targets([CheckResult; 3], i64),
    /// The daemon starts anew, after so many seconds.
    Restart(i64),
    Suspend(i64),
    StepClock(i64),
    Relay(bool),
}

fn result() -> impl Strategy<Value = CheckResult> {
    prop_oneof![5 => Just(CheckResult::Up), 4 => Just(CheckResult::Down), 1 => Just(CheckResult::Unknown)]
}

fn happening() -> impl Strategy<Value = Happening> {
    let lasts = prop_oneof![1..30i64, 30..300i64, 300..900i64];
    prop_oneof![
        6 => ([result(), result(), result()], lasts).prop_map(|(all, lasts)| Happening::Targets(all, lasts)),
        1 => (0..120i64).prop_map(Happening::Restart),
        1 => (1..900i64).prop_map(Happening::Suspend),
        1 => (-900..900i64).prop_map(Happening::StepClock),
        2 => any::<bool>().prop_map(Happening::Relay),
    ]
}

/// What would be in the store, and what was told.
#[derive(Default)]
struct Kept {
    rows: BTreeMap<String, String>,
    incidents: BTreeMap<IncidentId, Arc<Incident>>,
    /// In the order of recording.
    events: Vec<Arc<Event>>,
    /// What became of each for the one subscriber.
    done: BTreeMap<EventId, &'static str>,
    told: Vec<(usize, Timestamp)>,
}

struct Play {
    engine: Engine,
    now: Timestamp,
    targets: [CheckResult; 3],
    under_way: Vec<(Timestamp, CheckKey, Outcome)>,
    /// Since the last good one: when each failing probe of a check began.
    failures: BTreeMap<CheckKey, Vec<Timestamp>>,
    relay_is_there: bool,
    clock_was_moved: bool,
    kept: Kept,
    subscriber: Subscriber,
    directory: Directory,
}

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

fn engine(world: World, now: Timestamp) -> Engine {
    Engine::new(Arc::clone(&RULES), world, Schedule::new(Duration::from_millis(15)), now)
}

impl Play {
    fn new() -> Self {
        let now = at("2026-03-01T00:00:00Z");
        let subscriber = Subscriber {
            id: SubscriberId::from_bytes([1; 16]),
            address: Address::parse("a@example.org").unwrap().into(),
            state: SubscriberState::Confirmed,
            wants: Wants::default(),
            language: None,
            timezone: None,
            created_at: now,
            confirmed_at: Some(now),
        };
        Self {
            engine: engine(World::new(7), now),
            now,
            targets: [CheckResult::Up; 3],
            under_way: Vec::new(),
            failures: BTreeMap::new(),
            relay_is_there: true,
            clock_was_moved: false,
            kept: Kept::default(),
            subscriber,
            directory: Directory::new(&RULES),
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Targets(targets, lasts) => {
                self.targets = targets;
                self.run_for(seconds(lasts));
            }
            Happening::Restart(lasts) => {
                self.write();
                self.now += seconds(lasts);
                self.under_way.clear();
                let rows = self.kept.rows.clone().into_iter();
                self.engine = engine(World::restore(self.now.as_second().unsigned_abs(), rows).unwrap(), self.now);
                self.write();
            }
            Happening::Suspend(lasts) => {
                self.now += seconds(lasts);
                self.engine.suspended(self.now);
                self.write();
            }
            Happening::StepClock(by) => {
                self.clock_was_moved = true;
                self.now += seconds(by);
                // What is under way ends as soon as it would have.
                self.under_way.iter_mut().for_each(|(ends_at, ..)| *ends_at += seconds(by));
                self.engine.suspended(self.now);
                self.write();
            }
            Happening::Relay(is_there) => self.relay_is_there = is_there,
        }
    }

    fn run_for(&mut self, lasts: SignedDuration) {
        let end = self.now + lasts;
        loop {
            self.deliver();
            let ends_at = self.under_way.iter().map(|(ends_at, ..)| *ends_at).min();
            let due = self.engine.acts_at().into_iter().chain(ends_at).min().map(|at| at.max(self.now));
            match due {
                Some(due) if due < end => self.now = due,
                _ => break,
            }
            self.turn();
        }
        self.now = end;
        self.deliver();
    }

    fn turn(&mut self) {
        let now = self.now;
        let (ended, left): (Vec<_>, Vec<_>) = self.under_way.drain(..).partition(|(ends_at, ..)| *ends_at <= now);
        self.under_way = left;
        for (_, check, outcome) in ended {
            match outcome.result {
                CheckResult::Up | CheckResult::Degraded => self.failures.remove(&check).unwrap_or_default(),
                CheckResult::Unknown => Vec::new(),
                CheckResult::Down => {
                    self.failures.entry(check.clone()).or_default().push(outcome.started_at);
                    Vec::new()
                }
            };
            self.engine.finished(check, outcome, now);
            // The next result of the same moment may say that something is good again whose verdict
            // had waited for this one.
            self.write();
        }
        self.engine.tick(now);
        for due in self.engine.take_due(now) {
            let place = SERVICES.iter().position(|it| it.starts_with(due.check.service.as_str())).unwrap();
            let result = self.targets[place];
            let cause = match result {
                CheckResult::Up => None,
                CheckResult::Unknown => Some(Class::Local.into()),
                _ => Some(Class::ConnectRefused.into()),
            };
            let latency = Duration::from_millis(80);
            let outcome = Outcome { result, cause, started_at: now, latency, phases: Phases::default(), detail: None };
            self.under_way.push((now + SignedDuration::from_millis(80), due.check, outcome));
        }
        self.write();
    }

    /// Keeps what would be written, and looks at it.
    fn write(&mut self) {
        let commit = self.engine.take_all(self.now);
        for row in commit.world {
            match row.json {
                Some(json) => self.kept.rows.insert(row.key, json),
                None => self.kept.rows.remove(&row.key),
            };
        }
        for step in commit.steps {
            for incident in step.incidents {
                let before = self.kept.incidents.insert(incident.id.clone(), Arc::new(incident.clone()));
                for part in &incident.affected {
                    let was = before.as_ref().and_then(|before| before.part(&part.service));
                    let is_new = was.is_none_or(|was| was.recovered_at.is_some()) && part.recovered_at.is_none();
                    if is_new && incident.is_open() {
                        self.fails_truly(&incident, part);
                    }
                }
            }
            for event in step.events {
                let last = self.kept.events.last().map(|last| last.recorded_at);
                assert!(last.is_none_or(|last| last <= event.recorded_at), "recording runs backwards: {event:?}");
                self.kept.events.push(Arc::new(event));
            }
            for event in step.amended {
                let known = self.kept.events.iter_mut().find(|known| known.id == event.id).expect("known");
                // Whether it was told by a clock that was set back since, judging cannot know for sure.
                let is_told = self.kept.done.contains_key(&event.id);
                assert!(!is_told || self.clock_was_moved, "changed after it was told: {event:?}");
                *known = Arc::new(event);
            }
        }
    }

    /// Never without enough failures in a row, of which the first is the beginning.
    fn fails_truly(&self, incident: &Incident, part: &watchbell::domain::incident::Affected) {
        let mut mine = self.failures.iter().filter(|(check, _)| check.service == part.service);
        let (_, failures) = mine.next().unwrap_or_else(|| panic!("{} never failed: {incident:?}", part.service));
        assert!(failures.len() >= DOWN_AFTER, "{} failed {} times: {incident:?}", part.service, failures.len());
        assert!(
            self.clock_was_moved || failures.contains(&part.started_at),
            "{} began at {}, and failed at {failures:?}",
            part.service,
            part.started_at
        );
    }

    fn pending(&self, incident: &IncidentId) -> Vec<usize> {
        let is_open = |event: &Event| event.incident == *incident && !self.kept.done.contains_key(&event.id);
        (0..self.kept.events.len()).filter(|n| is_open(&self.kept.events[*n])).collect()
    }

    /// Tells what is to be told, if the relay is there.
    fn deliver(&mut self) {
        if !self.relay_is_there || self.kept.events.len() == self.kept.done.len() {
            return;
        }
        let incidents: Vec<IncidentId> = self.kept.incidents.keys().cloned().collect();
        for incident in incidents {
            let pending = self.pending(&incident);
            if pending.is_empty() {
                continue;
            }
            let events = &self.kept.events;
            let delivery = |n: usize| DeliveryId::from_bytes(*events[n].id.as_bytes());
            let number = |id: DeliveryId| (0..events.len()).find(|n| delivery(*n) == id).unwrap();
            let lane = Lane {
                subscriber: self.subscriber.clone(),
                incident: incident.clone(),
                current: Arc::clone(&self.kept.incidents[&incident]),
                pending: pending
                    .iter()
                    .map(|n| Pending {
                        delivery: delivery(*n),
                        event: Arc::clone(&events[*n]),
                        attempts: 0,
                        first_tried_at: None,
                        left_in: None,
                    })
                    .collect(),
                told: self
                    .kept
                    .told
                    .iter()
                    .filter(|(n, _)| events[*n].incident == incident)
                    .map(|(n, at)| Told { event: Arc::clone(&events[*n]), at: *at })
                    .collect(),
            };
            let decisions = plan::plan(&lane, &self.directory, self.now);
            let (mut done, mut sent) = (Vec::new(), None);
            for (id, decision) in decisions {
                let n = number(id);
                match decision {
                    Decision::Send { .. } => {
                        sent = Some(n);
                        done.push((n, "sent"));
                    }
                    Decision::Folded { .. } => done.push((n, "folded")),
                    Decision::Drop { .. } => done.push((n, "dropped")),
                    Decision::Hold { .. } => {}
                }
            }
            let ids: Vec<_> = done.iter().map(|(n, how)| (events[*n].id, *how)).collect();
            if let Some(n) = sent {
                let last =
                    self.kept.told.iter().filter(|(n, _)| events[*n].incident == incident).map(|(n, _)| *n).max();
                assert!(last.is_none_or(|last| last < n), "event {n} is told after {last:?}");
                self.kept.told.push((n, self.now));
            }
            self.kept.done.extend(ids);
        }
    }

    /// Everything is well again, and the relay is there.
    fn ends_well(&mut self) {
        self.relay_is_there = true;
        self.targets = [CheckResult::Up; 3];
        self.run_for(seconds(1200));
        for incident in self.kept.incidents.values() {
            assert!(!incident.is_open(), "all is well, and this goes on: {incident:?}");
            assert!(incident.resolved_at >= Some(incident.started_at), "{incident:?}");
        }
        assert_eq!(self.kept.events.len(), self.kept.done.len(), "each event is told, or is not for a reason");
        let mut open: BTreeMap<&IncidentId, bool> = BTreeMap::new();
        for event in &self.kept.events {
            let was_open = open.get(&event.incident).copied();
            let (fits, is_open) = match event.kind {
                EventKind::Opened => (was_open.is_none(), true),
                EventKind::Reopened => (was_open == Some(false), true),
                EventKind::Resolved => (was_open == Some(true), false),
                // It says both that it goes on, and that nobody will hear of each time.
                EventKind::Intermittent => (was_open.is_some(), true),
                _ => (was_open == Some(true), true),
            };
            assert!(fits, "{} {} while it was {was_open:?}", event.incident, event.kind);
            open.insert(&event.incident, is_open);
        }
        // Who was told that it began was told that it ended.
        for incident in self.kept.incidents.keys() {
            let mut mine = self.kept.told.iter().map(|(n, _)| &self.kept.events[*n]);
            let last = mine.rfind(|event| event.incident == *incident);
            assert!(last.is_none_or(|last| last.kind == EventKind::Resolved), "told at last: {last:?}");
        }
    }
}

/// `api` failed three times while `database` was in question; then both are good again in the same
/// moment. What `database` says comes first and lets the verdict on `api` go: an outage that was, and
/// is over with the next good result.
#[test]
fn a_verdict_that_waited_is_given_although_the_next_good_result_comes_in_the_same_moment() {
    let mut play = Play::new();
    let (up, down, unknown) = (CheckResult::Up, CheckResult::Down, CheckResult::Unknown);
    play.happen(Happening::Targets([up, up, up], 95));
    // From now on both are probed side by side, until their next turns.
    play.happen(Happening::Suspend(1));
    play.happen(Happening::Targets([down, down, up], 3));
    play.happen(Happening::Targets([unknown, down, up], 5));
    play.happen(Happening::Targets([down, down, up], 5));
    assert!(play.kept.events.is_empty(), "it waits for the database");
    play.ends_well();
    let kinds: Vec<EventKind> = play.kept.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Opened, EventKind::Resolved]);
}

/// A clock that is set back by ten minutes in the first seconds: what fails some minutes later is an
/// outage by the clock of then, with as many failures as any other.
#[test]
fn a_clock_that_is_set_back_right_after_the_start_costs_no_failure() {
    let mut play = Play::new();
    let (up, down) = (CheckResult::Up, CheckResult::Down);
    play.happen(Happening::Targets([up, down, up], 2));
    play.happen(Happening::StepClock(-629));
    play.happen(Happening::Targets([up, up, up], 237));
    play.happen(Happening::Targets([down, down, up], 16));
    play.ends_well();
    let told: Vec<(EventKind, usize)> =
        play.kept.events.iter().map(|event| (event.kind, event.services.len())).collect();
    assert_eq!(told, [(EventKind::Opened, 2), (EventKind::Recovered, 1), (EventKind::Resolved, 2)]);
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_is_judged_and_told_as_it_was(happenings in prop::collection::vec(happening(), 1..8)) {
        let mut play = Play::new();
        for happening in happenings {
            play.happen(happening);
        }
        play.ends_well();
    }
}
