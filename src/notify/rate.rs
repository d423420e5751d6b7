//! `email.rate`: how fast messages may leave. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Spaces messages: as many at once as there are connections, then one each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: SignedDuration,
    burst: u32,
    /// When all that left so far would have left, had each waited its turn.
    spent_until: Timestamp,
}

impl Rate {
    /// At most `per_second` messages a second, `burst` of them at once; without a number: no bound.
    #[must_use]
    pub fn new(per_second: Option<f64>, burst: usize) -> Self {
        let interval = per_second
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .and_then(|rate| Duration::try_from_secs_f64(rate.recip()).ok())
            .and_then(|interval| SignedDuration::try_from(interval).ok())
            .unwrap_or(SignedDuration::ZERO);
        Self { interval, burst: u32::try_from(burst.max(1)).unwrap_or(u32::MAX), spent_until: Timestamp::MIN }
    }

    /// Whether one more may leave now; if so it is counted.
    pub fn take(&mut self, now: Timestamp) -> bool {
        if self.next_at() > now {
            return false;
        }
        let from = self.spent_until.max(now);
        self.spent_until = from.checked_add(self.interval).unwrap_or(Timestamp::MAX);
        true
    }

    /// How many may leave now, of `wanted`, without counting them.
    #[must_use]
    pub fn allows(mut self, wanted: usize, now: Timestamp) -> usize {
        (0..wanted).take_while(|_| self.take(now)).count()
    }

    /// The clock was set back: what was counted lies in its future, and says nothing any more.
    pub fn forget(&mut self) {
        self.spent_until = Timestamp::MIN;
    }

    /// When the next one may leave.
    #[must_use]
    pub fn next_at(&self) -> Timestamp {
        let ahead = self.interval.saturating_mul(i32::try_from(self.burst.saturating_sub(1)).unwrap_or(i32::MAX));
        self.spent_until.checked_sub(ahead).unwrap_or(Timestamp::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_leave_than_allowed_however_they_are_asked_for() {
        let mut rate = Rate::new(Some(50.0), 4);
        let mut left = 0;
        for ms in 0..10_000 {
            let now = Timestamp::from_millisecond(ms).unwrap();
            let allowed = rate.allows(9, now);
            assert!((0..allowed).all(|_| rate.take(now)));
            left += allowed;
            assert_eq!(rate.allows(9, now), 0);
        }
        assert!((500..=504).contains(&left), "{left}");
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_back() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut rate = Rate::new(Some(1.0), 1);
        assert!(rate.take(at(7_200)));
        assert!(!rate.take(at(0)));
        rate.forget();
        assert!(rate.take(at(0)));
        assert!(!rate.take(at(0)));
    }

    #[test]
    fn without_a_number_there_is_no_bound() {
        let mut rate = Rate::new(None, 1);
        assert!((0..10_000).all(|_| rate.take(Timestamp::UNIX_EPOCH)));
    }
}
