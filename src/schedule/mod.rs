//! Which check is due when. Pure: time is an argument, and phases come from names, so a restart
//! changes nothing.
//!
//! A check with `every` is due at `phase + n * every` from the epoch, its phase being a hash of its
//! name: checks are spread evenly, stay so over restarts, and never drift. Rechecks and probes
//! pulled forward are the only state. Missed turns are never made up for in a burst.
//!
//! It does not probe, and knows nothing of slots or descriptors: see [`crate::probe::Bounds`].

pub mod cron;
mod turn;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use jiff::Timestamp;

use self::turn::Turns;
use crate::{
    domain::{CheckKey, service::Rules},
    judge::Priority,
};

/// A turn that is later than this has been missed: the process stood still, and whatever else was
/// due then is just as late.
const MISSED_AFTER_MS: i64 = 2_000;

/// What was missed is caught up with at this pace, one check every so many milliseconds…
const CATCH_UP_MS: i64 = 10;
/// …but within at least this time,
const CATCH_UP_LEAST_MS: i64 = 3_000;
/// and at most this.
const CATCH_UP_MOST_MS: i64 = 60_000;

/// A check whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub check: CheckKey,
    /// How urgent.
    pub priority: Priority,
    /// When it should have started, to the millisecond.
    pub due_at: Timestamp,
}

/// All checks with their next times. See the module.
#[derive(Debug)]
pub struct Schedule {
    slot_ms: i64,
    entries: Vec<Entry>,
    index: BTreeMap<CheckKey, usize>,
    /// Soonest first. What no longer agrees with its entry is dropped when it comes up.
    heap: BinaryHeap<Reverse<(i64, usize, u32)>>,
    /// The latest time that we were told, to notice a clock that was set back.
    seen_ms: i64,
    skipped: u64,
}

#[derive(Debug)]
struct Entry {
    key: CheckKey,
    turns: Turns,
    /// Its next regular turn; `None`: never.
    next_ms: Option<i64>,
    /// A probe asked for besides its turns.
    request: Option<(i64, Priority)>,
    in_flight: bool,
    /// Which of its places in the heap is the current one.
    generation: u32,
}

impl Entry {
    /// When it is due next, if it may start then.
    fn due_ms(&self) -> Option<i64> {
        // While one is in flight, only the turn is watched, so that it can be counted as skipped.
        let request = if self.in_flight { None } else { self.request.map(|(at, _)| at) };
        match (self.next_ms, request) {
            (Some(turn), Some(request)) => Some(turn.min(request)),
            (turn, request) => turn.or(request),
        }
    }
}

impl Schedule {
    /// An empty schedule whose wake-ups are grouped into slots of that length (10 to 20 ms: a
    /// wake-up costs more than a probe's share of one).
    #[must_use]
    pub fn new(slot: Duration) -> Self {
        Self {
            slot_ms: millis(slot).max(1),
            entries: Vec::new(),
            index: BTreeMap::new(),
            heap: BinaryHeap::new(),
            seen_ms: i64::MIN,
            skipped: 0,
        }
    }

    /// Takes over the checks of `rules`. What was known of a check of the same name stays: pending
    /// requests, and whether it is in flight. Its turns depend on its name and cadence alone.
    pub fn set(&mut self, rules: &Rules, now: Timestamp) {
        let now_ms = now.as_millisecond();
        let mut old: BTreeMap<CheckKey, Entry> =
            self.entries.drain(..).map(|entry| (entry.key.clone(), entry)).collect();
        self.index.clear();
        self.heap.clear();
        for (key, check) in rules.probed().flat_map(|service| service.enabled_checks()) {
            let turns = Turns::new(&key, &check.cadence);
            let before = old.remove(&key);
            let next_ms = match &before {
                // A turn that is due this very moment is not lost to a reload.
                Some(entry) if entry.turns.same_as(&turns) => entry.next_ms,
                _ => turns.first_at_or_after(now_ms),
            };
            let (request, in_flight) = before.map_or((None, false), |entry| (entry.request, entry.in_flight));
            let at = self.entries.len();
            self.index.insert(key.clone(), at);
            self.entries.push(Entry { key, turns, next_ms, request, in_flight, generation: 0 });
            self.enqueue(at);
        }
        self.seen_ms = now_ms;
    }

    /// Asks for a probe at `at`, if that is sooner than its turn; else its turn serves, with that
    /// priority. While one is in flight, the next waits for it. Unknown checks are ignored.
    pub fn request(&mut self, check: &CheckKey, at: Timestamp, priority: Priority) {
        let Some(&place) = self.index.get(check) else { return };
        if let Some(entry) = self.entries.get_mut(place) {
            let at_ms = at.as_millisecond().min(entry.next_ms.unwrap_or(i64::MAX));
            entry.request = Some(match entry.request {
                Some((sooner, urgent)) => (sooner.min(at_ms), urgent.min(priority)),
                None => (at_ms, priority),
            });
        }
        self.enqueue(place);
    }

    /// Says when a check was last probed, after a start: if a turn has passed since, it is caught
    /// up with, spread so that nothing bursts (ten milliseconds a check, within a minute).
    pub fn resume(&mut self, check: &CheckKey, last_at: Option<Timestamp>, now: Timestamp) {
        let Some(&place) = self.index.get(check) else { return };
        let Some(entry) = self.entries.get(place) else { return };
        let now_ms = now.as_millisecond();
        let missed = match last_at {
            None => true,
            Some(last) => {
                entry.turns.first_at_or_after(last.as_millisecond().saturating_add(1)).is_some_and(|turn| turn < now_ms)
            }
        };
        if missed {
            self.catch_up(place, now_ms);
        }
    }

    /// The checks that must start now, most urgent first. Each is in flight until [`Self::done`]; a
    /// check that is still in flight at its turn is not started again, and the turn is counted.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Due> {
        let now_ms = now.as_millisecond();
        if now_ms < self.seen_ms.saturating_sub(MISSED_AFTER_MS) {
            self.clock_was_set_back(now_ms);
        }
        self.seen_ms = now_ms;
        let mut due = Vec::new();
        while let Some(&Reverse((at_ms, place, generation))) = self.heap.peek() {
            if at_ms > now_ms {
                break;
            }
            self.heap.pop();
            if self.entries.get(place).is_some_and(|entry| entry.generation == generation)
                && let Some(found) = self.turn_of(place, now_ms)
            {
                due.push(found);
            }
        }
        due.sort_by_key(|found| (found.priority, found.due_at));
        due
    }

    /// One entry has come up: starts it, or notes why not, and puts it back.
    fn turn_of(&mut self, place: usize, now_ms: i64) -> Option<Due> {
        let entry = self.entries.get_mut(place)?;
        let mut started: Option<(Priority, i64)> = None;
        let mut missed = false;
        if let Some(turn_ms) = entry.next_ms
            && turn_ms <= now_ms
        {
            entry.next_ms = entry.turns.first_at_or_after(now_ms.saturating_add(1));
            if entry.in_flight {
                self.skipped += 1;
            } else if now_ms - turn_ms > MISSED_AFTER_MS.min(entry.turns.length_ms() / 2) {
                self.skipped += 1;
                missed = true;
            } else {
                started = Some((Priority::Regular, turn_ms));
            }
        }
        if !entry.in_flight
            && let Some((at_ms, priority)) = entry.request
            && at_ms <= now_ms
        {
            entry.request = None;
            started = Some(match started {
                Some((_, turn_ms)) => (priority, turn_ms.min(at_ms)),
                None => (priority, at_ms),
            });
        }
        let due = started.map(|(priority, at_ms)| {
            entry.in_flight = true;
            let due_at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
            Due { check: entry.key.clone(), priority, due_at }
        });
        if missed && due.is_none() {
            self.catch_up(place, now_ms);
        } else {
            self.enqueue(place);
        }
        due
    }

    /// A probe has ended, or was cut short.
    pub fn done(&mut self, check: &CheckKey, now: Timestamp) {
        let Some(&place) = self.index.get(check) else { return };
        if let Some(entry) = self.entries.get_mut(place) {
            entry.in_flight = false;
            if entry.next_ms.is_some_and(|turn| turn <= now.as_millisecond()) {
                // Its turn passed while it ran, and nobody looked.
                entry.next_ms = entry.turns.first_at_or_after(now.as_millisecond().saturating_add(1));
                self.skipped += 1;
            }
        }
        self.enqueue(place);
    }

    /// When [`Self::take_due`] should be called next: the end of the slot in which something is due.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        // The top may be out of date; then the wake-up finds nothing to do, which is cheap and rare.
        let Reverse((at_ms, _, _)) = self.heap.peek()?;
        let slots = at_ms.div_euclid(self.slot_ms) + i64::from(at_ms.rem_euclid(self.slot_ms) != 0);
        Timestamp::from_millisecond(slots.saturating_mul(self.slot_ms)).ok()
    }

    /// When the slot that `at` lies in began: all before it have ended.
    #[must_use]
    pub fn start_of_slot(&self, at: Timestamp) -> Timestamp {
        let at_ms = at.as_millisecond();
        Timestamp::from_millisecond(at_ms - at_ms.rem_euclid(self.slot_ms)).unwrap_or(at)
    }

    /// How many turns were skipped because the probe before had not ended, or we stood still.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// How many checks it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many probes are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.entries.iter().filter(|entry| entry.in_flight).count()
    }

    /// Asks for a probe at a time of its own within the next seconds, unless its turn comes
    /// within them anyway: turns are spread as evenly, and thousands are not probed twice.
    fn catch_up(&mut self, place: usize, now_ms: i64) {
        let checks = i64::try_from(self.entries.len()).unwrap_or(i64::MAX);
        let spread_ms = checks.saturating_mul(CATCH_UP_MS).clamp(CATCH_UP_LEAST_MS, CATCH_UP_MOST_MS);
        let Some(entry) = self.entries.get(place) else { return };
        let key = entry.key.clone();
        if entry.next_ms.is_none_or(|turn| turn > now_ms.saturating_add(spread_ms)) {
            let at_ms = now_ms.saturating_add(entry.turns.share_of(spread_ms));
            let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
            self.request(&key, at, Priority::Regular);
        } else {
            self.enqueue(place);
        }
    }

    fn clock_was_set_back(&mut self, now_ms: i64) {
        let jump = self.seen_ms.saturating_sub(now_ms);
        for place in 0..self.entries.len() {
            if let Some(entry) = self.entries.get_mut(place) {
                entry.next_ms = entry.turns.first_at_or_after(now_ms);
                entry.request = entry.request.map(|(at, priority)| (at.saturating_sub(jump), priority));
            }
            self.enqueue(place);
        }
    }

    fn enqueue(&mut self, place: usize) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        entry.generation = entry.generation.wrapping_add(1);
        if let Some(at_ms) = entry.due_ms() {
            self.heap.push(Reverse((at_ms, place, entry.generation)));
        }
        // Outdated places pile up only if one check is asked for again and again.
        if self.heap.len() > 4 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.heap.retain(|Reverse((_, place, generation))| {
                entries.get(*place).is_some_and(|entry| entry.generation == *generation)
            });
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
