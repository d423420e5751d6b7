//! The only place that asks what time it is.
//!
//! Two clocks, two types: [`jiff::Timestamp`] says *when* something happened (wall clock, may be
//! set), [`Elapsed`] says *how long* something took (never set, stands still while suspended).
//! Deciding code takes both as arguments.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Time since the process's own origin. Only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Elapsed(pub Duration);

impl Elapsed {
    /// How long it is since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where time comes from. The daemon holds a [`SystemClock`]; simulations hold their own.
pub trait Clock: Send + Sync {
    /// Now, cut to whole milliseconds: the unit of everything that is stored.
    fn wall(&self) -> Timestamp;
    /// Time since an origin that never changes within this process.
    fn elapsed(&self) -> Elapsed;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose [`Elapsed`] starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask")]
    fn wall(&self) -> Timestamp {
        to_millis(Timestamp::now())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that may ask")]
    fn elapsed(&self) -> Elapsed {
        Elapsed(Instant::now().saturating_duration_since(self.origin))
    }
}

/// Cuts a time to whole milliseconds.
#[must_use]
pub fn to_millis(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
