//! When a message is tried again, when it is given up, and when the whole queue rests. Pure.
//!
//! A message that the server refuses costs *it* a try. A server that is away costs nobody one:
//! the queue rests, and one message at a time finds out whether it is back.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::reply::Class;
pub use crate::domain::pause::Cause;
use crate::domain::{id::DeliveryId, pause::Pause};

/// Pauses grow up to this long.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// How long a message is tried while the server can be reached.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);
/// While the server is away, one message is tried at most this rarely.
const LONGEST_REST: Duration = Duration::from_mins(5);

/// What follows for a message that was refused for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    At(Timestamp),
    /// It was tried for long enough.
    GiveUp,
}

/// What follows for a message refused for the `attempts`-th time, counted from 1.
///
/// The pauses make up the time for which it was tried, so that a server that is away, during
/// which nothing is counted, shortens nobody's 24 hours.
#[must_use]
pub fn next(delivery: DeliveryId, attempts: u32, now: Timestamp) -> Next {
    let tried: Duration = (1..attempts).map(|n| pause(delivery, n)).sum();
    if tried >= GIVE_UP_AFTER {
        return Next::GiveUp;
    }
    let pause = SignedDuration::try_from(pause(delivery, attempts)).unwrap_or(SignedDuration::MAX);
    Next::At(now.checked_add(pause).unwrap_or(Timestamp::MAX))
}

/// The pause after the `attempts`-th refusal: 1 to 2 s, then four times as long each time, up to
/// an hour, give or take a fifth. The same message always rests as long, so a plan can be redone.
fn pause(delivery: DeliveryId, attempts: u32) -> Duration {
    let base = Duration::from_millis(1500).saturating_mul(4u32.saturating_pow(attempts.saturating_sub(1)));
    let base = base.min(LONGEST_PAUSE * 5 / 6);
    let spread = if attempts <= 1 { base * 2 / 3 } else { base * 2 / 5 };
    // Between base - spread/2 and base + spread/2.
    base.saturating_sub(spread / 2) + spread * dice(delivery, attempts) / 1000
}

/// 0 to 999, from a message's own id.
fn dice(delivery: DeliveryId, attempts: u32) -> u32 {
    let seed = delivery
        .as_bytes()
        .iter()
        .fold(attempts.wrapping_mul(0x9e37_79b9), |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (seed ^ (seed >> 15)) % 1000
}

/// A rest of the whole queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: Timestamp,
    /// How often the server was tried since.
    pub tries: u32,
    /// When one message is tried next.
    pub until: Timestamp,
    /// Whether the operator ended it, or may have: messages leave, and the next answer shows whether it
    /// is over.
    pub is_lifted: bool,
}

/// Whether messages leave freely, or the queue rests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    rest: Option<Rest>,
    /// Messages in a row that ended a connection without an answer.
    cuts: u32,
}

impl Gate {
    /// The rest, if the queue rests.
    #[must_use]
    pub fn rest(&self) -> Option<&Rest> {
        self.rest.as_ref().filter(|rest| !rest.is_lifted)
    }

    /// The same, and also one that was lifted and of which nobody knows yet whether it is over.
    #[must_use]
    pub fn trouble(&self) -> Option<&Rest> {
        self.rest.as_ref()
    }

    /// How many messages may leave now, of `wanted`.
    #[must_use]
    pub fn allows(&self, wanted: usize, in_flight: usize, now: Timestamp) -> usize {
        match self.rest() {
            None => wanted,
            Some(rest) if rest.until <= now && in_flight == 0 => wanted.min(1),
            Some(_) => 0,
        }
    }

    /// Learns from an answer. Returns the rest that it ended, or the one that it began.
    pub fn learn(&mut self, class: Class, was_cut: bool, now: Timestamp) -> Option<Change> {
        self.cuts = if was_cut { self.cuts.saturating_add(1) } else { 0 };
        match class {
            Class::Nothing => None,
            Class::Away => self.rest_for(Cause::Away, now),
            Class::Later if self.cuts >= 3 => self.rest_for(Cause::Away, now),
            // A policy cited to one recipient may be about them alone: another message finds out.
            Class::Ours | Class::Policy => self.rest_for(Cause::Ours, now),
            // The server is there, and dealt with one message: whatever it says of that one.
            Class::Sent => self.rest.take().map(Change::Ended),
            Class::Later | Class::Gone | Class::Never => match self.rest {
                Some(Rest { cause: Cause::Refusals, is_lifted: false, .. }) => self.rest_for(Cause::Refusals, now),
                Some(Rest { cause: Cause::Refusals, .. }) => None,
                _ if was_cut => None,
                _ => self.rest.take().map(Change::Ended),
            },
        }
    }

    /// Too many recipients of one event were refused.
    pub fn trip(&mut self, now: Timestamp) -> Option<Change> {
        self.rest_for(Cause::Refusals, now)
    }

    /// The clock was set back to `now`: the rest does not last longer for that.
    pub fn set_back(&mut self, now: Timestamp) {
        if let Some(rest) = &mut self.rest {
            rest.until = rest.until.min(now);
        }
    }

    /// Lets messages leave again at once: the operator says so, or mended something.
    pub fn lift(&mut self) {
        self.cuts = 0;
        if let Some(rest) = &mut self.rest {
            rest.is_lifted = true;
        }
    }

    /// An earlier start rested: one message finds out whether it still has to.
    pub fn go_on(&mut self, pause: &Pause, now: Timestamp) {
        let Pause { cause, since_at, tries, .. } = *pause;
        self.rest = Some(Rest { cause, since: since_at, tries, until: now, is_lifted: false });
    }

    fn rest_for(&mut self, cause: Cause, now: Timestamp) -> Option<Change> {
        let before = self.rest;
        if let Some(rest) = self.rest.as_mut().filter(|rest| !rest.is_lifted && now < rest.until) {
            // It left before the rest began: that it failed as well says nothing new.
            if cause == Cause::Refusals {
                rest.cause = cause;
            }
            return None;
        }
        let tries = before.map_or(0, |rest| rest.tries.saturating_add(1));
        // Soon at first: it may have been a hiccup, or one recipient.
        let pause = match cause {
            _ if tries == 0 => Duration::from_secs(2),
            Cause::Away => Duration::from_secs(2).saturating_mul(2u32.saturating_pow(tries)).min(LONGEST_REST),
            Cause::Ours | Cause::Refusals => LONGEST_REST,
        };
        let until = now.checked_add(SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX));
        let since = before.map_or(now, |rest| rest.since);
        let rest = Rest { cause, since, tries, until: until.unwrap_or(Timestamp::MAX), is_lifted: false };
        self.rest = Some(rest);
        before.is_none().then_some(Change::Began(rest))
    }
}

/// A rest that began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The queue rests from now on.
    Began(Rest),
    /// It leaves freely again.
    Ended(Rest),
}

/// How the recipients of one event fared, to tell their mistakes from ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The server took it for so many.
    pub taken: u32,
    /// And refused so many for good.
    pub refused: u32,
}

impl Tally {
    /// Whether so many were refused that we are more likely at fault than they: more than a
    /// fifth, and at least ten.
    #[must_use]
    pub fn is_suspicious(self) -> bool {
        self.refused >= 10 && self.refused.saturating_mul(5) > self.taken.saturating_add(self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn delivery(n: u8) -> DeliveryId {
        DeliveryId::new(START, [n; 10])
    }

    #[test]
    fn the_first_retry_comes_after_one_to_two_seconds_and_the_pauses_grow_to_an_hour() {
        for n in 0..=255 {
            let id = delivery(n);
            let first = pause(id, 1);
            assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&first), "{first:?}");
            assert!((1..=6).all(|attempt| pause(id, attempt) < pause(id, attempt + 1)));
            assert!((1..40).all(|attempt| pause(id, attempt) <= LONGEST_PAUSE));
            assert!(pause(id, 9) > LONGEST_PAUSE / 2);
        }
    }

    #[test]
    fn pauses_are_spread() {
        let firsts: std::collections::BTreeSet<_> = (0..=255).map(|n| pause(delivery(n), 3)).collect();
        assert!(firsts.len() > 100, "{}", firsts.len());
    }

    #[test]
    fn a_message_is_given_up_after_a_day_of_refusals() {
        for n in 0..=255 {
            let (mut now, mut attempts) = (START, 0);
            loop {
                attempts += 1;
                match next(delivery(n), attempts, now) {
                    Next::At(then) => now = then,
                    Next::GiveUp => break,
                }
            }
            let day = 24 * 3600;
            assert!((day..day + 3600).contains(&now.as_second()), "{now} after {attempts}");
        }
    }

    #[test]
    fn a_server_that_is_away_is_tried_after_seconds_then_every_five_minutes() {
        let mut gate = Gate::default();
        assert!(matches!(gate.learn(Class::Away, false, START), Some(Change::Began(_))));
        let mut rests = Vec::new();
        let mut now = START;
        for _ in 0..10 {
            let until = gate.rest().unwrap().until;
            rests.push(until.duration_since(now).as_secs());
            assert_eq!(gate.allows(9, 0, now), 0);
            assert_eq!((gate.allows(9, 0, until), gate.allows(9, 1, until)), (1, 0));
            now = until;
            assert_eq!(gate.learn(Class::Away, false, now), None);
        }
        assert_eq!(rests, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        let Some(Change::Ended(rest)) = gate.learn(Class::Sent, false, now) else { panic!() };
        assert_eq!(rest.since, START);
        assert_eq!(gate.allows(9, 3, now), 9);
    }

    #[test]
    fn refusals_of_our_own_doing_are_tried_again_at_once_and_then_every_five_minutes() {
        let mut gate = Gate::default();
        gate.learn(Class::Ours, false, START);
        assert_eq!(gate.rest().unwrap().until, at(2));
        gate.learn(Class::Ours, false, at(2));
        assert_eq!(gate.rest().unwrap().until, at(302));
    }

    #[test]
    fn a_policy_that_hits_one_recipient_rests_the_queue_for_two_seconds_only() {
        let mut gate = Gate::default();
        gate.learn(Class::Policy, false, START);
        assert!(matches!(gate.learn(Class::Sent, false, at(2)), Some(Change::Ended(_))));
    }

    #[test]
    fn what_was_on_its_way_as_the_rest_began_is_no_try() {
        for (class, cause) in [(Class::Policy, Cause::Ours), (Class::Away, Cause::Away), (Class::Ours, Cause::Ours)] {
            let mut gate = Gate::default();
            gate.learn(class, false, START);
            assert_eq!(gate.learn(class, false, at(1)), None);
            assert_eq!(gate.rest().map(|rest| (rest.cause, rest.tries, rest.until)), Some((cause, 0, at(2))));
        }
        // But it may be the last of too many.
        let mut gate = Gate::default();
        gate.learn(Class::Away, false, START);
        gate.trip(at(1));
        assert_eq!(gate.rest().map(|rest| (rest.cause, rest.tries, rest.until)), Some((Cause::Refusals, 0, at(2))));
    }

    #[test]
    fn one_message_that_ends_connections_holds_up_nobody_but_three_in_a_row_do() {
        let mut gate = Gate::default();
        assert_eq!(gate.learn(Class::Later, true, START), None);
        assert_eq!(gate.learn(Class::Later, true, START), None);
        assert!(gate.rest().is_none());
        assert!(matches!(gate.learn(Class::Later, true, START), Some(Change::Began(_))));
        gate.learn(Class::Sent, false, START);
        gate.learn(Class::Later, true, START);
        assert!(gate.rest().is_none());
    }

    #[test]
    fn any_word_about_a_recipient_shows_that_the_server_is_back() {
        let mut gate = Gate::default();
        gate.learn(Class::Away, false, START);
        assert!(gate.learn(Class::Gone, false, at(2)).is_some());
        // But after too many refusals, one more proves nothing.
        gate.trip(at(3));
        assert!(gate.learn(Class::Gone, false, at(5)).is_none());
        assert_eq!(gate.rest().unwrap().until, at(305));
    }

    #[test]
    fn a_rest_that_was_lifted_holds_nothing_up_and_is_over_once_a_message_is_taken() {
        let mut gate = Gate::default();
        gate.learn(Class::Ours, false, START);
        gate.learn(Class::Ours, false, at(2));
        gate.lift();
        assert_eq!((gate.allows(9, 3, at(3)), gate.rest()), (9, None));
        // It was not mended after all: the same rest goes on.
        assert_eq!(gate.learn(Class::Ours, false, at(3)), None);
        assert_eq!(gate.rest().map(|rest| (rest.since, rest.until)), Some((START, at(303))));
        gate.lift();
        let Some(Change::Ended(rest)) = gate.learn(Class::Sent, false, at(4)) else { panic!() };
        assert_eq!((rest.since, gate.trouble()), (START, None));
    }

    #[test]
    fn refusals_are_believed_again_once_the_operator_says_so() {
        let mut gate = Gate::default();
        gate.trip(START);
        gate.lift();
        assert_eq!(gate.learn(Class::Gone, false, at(1)), None);
        assert_eq!((gate.rest(), gate.allows(9, 0, at(1))), (None, 9));
        assert!(matches!(gate.learn(Class::Sent, false, at(2)), Some(Change::Ended(_))));
    }

    #[test]
    fn a_new_start_goes_on_with_a_rest_by_one_message_at_once() {
        let pause = Pause {
            cause: Cause::Away,
            since_at: START,
            tries: 9,
            next_at: at(900),
            said: String::new(),
            is_told: true,
        };
        let mut gate = Gate::default();
        gate.go_on(&pause, at(700));
        assert_eq!((gate.allows(9, 0, at(700)), gate.allows(9, 1, at(700))), (1, 0));
        gate.learn(Class::Away, false, at(701));
        assert_eq!(gate.rest().map(|rest| (rest.since, rest.tries, rest.until)), Some((START, 10, at(1001))));
    }

    #[test]
    fn a_fifth_of_at_least_ten_is_too_many() {
        assert!(!Tally { taken: 0, refused: 9 }.is_suspicious());
        assert!(Tally { taken: 0, refused: 10 }.is_suspicious());
        assert!(!Tally { taken: 40, refused: 10 }.is_suspicious());
        assert!(Tally { taken: 39, refused: 10 }.is_suspicious());
    }
}
