//! Simulated time: what passes in truth, and what the two clocks of a machine say of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Elapsed;

/// The clocks of a simulated machine.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    start: Timestamp,
    /// What passed in truth since the beginning.
    moment: Duration,
    /// How far the wall clock is off.
    off: SignedDuration,
    /// For how long the machine was suspended: elapsed time stood still then.
    slept: Duration,
}

impl Time {
    /// Clocks that are right, at `start`.
    #[must_use]
    pub const fn new(start: Timestamp) -> Self {
        Self { start, moment: Duration::ZERO, off: SignedDuration::ZERO, slept: Duration::ZERO }
    }

    /// What passed since the beginning.
    #[must_use]
    pub const fn moment(&self) -> Duration {
        self.moment
    }

    /// What the wall clock says now.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.wall_at(self.moment)
    }

    /// What the wall clock, as it goes now, says at a moment.
    #[must_use]
    pub fn wall_at(&self, moment: Duration) -> Timestamp {
        let by = signed(moment).saturating_add(self.off);
        self.start.saturating_add(by).unwrap_or(self.start)
    }

    /// The moment at which the wall clock will say that, or has said it.
    #[must_use]
    pub fn moment_of(&self, wall: Timestamp) -> Duration {
        let passed = wall.duration_since(self.start).saturating_sub(self.off);
        Duration::try_from(passed).unwrap_or(Duration::ZERO)
    }

    /// What elapsed for the machine.
    #[must_use]
    pub fn elapsed(&self) -> Elapsed {
        Elapsed(self.moment.saturating_sub(self.slept))
    }

    /// Lets time pass until `moment`.
    pub fn pass_to(&mut self, moment: Duration) {
        self.moment = self.moment.max(moment);
    }

    /// Sets the wall clock forward, or back.
    pub fn step(&mut self, by: SignedDuration) {
        self.off = self.off.saturating_add(by);
    }

    /// Lets time pass while the machine is suspended.
    pub fn suspend(&mut self, lasts: Duration) {
        self.moment = self.moment.saturating_add(lasts);
        self.slept = self.slept.saturating_add(lasts);
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_moved_and_a_machine_that_slept_still_agree_on_what_passed() {
        let start = Timestamp::from_second(1_772_323_200).unwrap();
        let mut time = Time::new(start);
        time.pass_to(Duration::from_secs(100));
        time.step(SignedDuration::from_hours(-2));
        time.suspend(Duration::from_secs(50));
        assert_eq!(time.moment(), Duration::from_secs(150));
        assert_eq!(time.elapsed(), Elapsed(Duration::from_secs(100)));
        assert_eq!(time.wall(), start + SignedDuration::from_secs(150 - 7200));
        assert_eq!(time.moment_of(time.wall()), time.moment());
    }
}
