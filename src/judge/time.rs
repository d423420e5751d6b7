//! Arithmetic on instants in whole milliseconds that never fails: at the ends of time it stops.

use std::time::Duration;

use jiff::Timestamp;

/// Whole milliseconds of `duration`.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// `at` and `ms` milliseconds more.
pub(super) fn plus_ms(at: Timestamp, ms: i64) -> Timestamp {
    let end = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(ms)).unwrap_or(end)
}

/// `at` and `duration` more.
pub(super) fn plus(at: Timestamp, duration: Duration) -> Timestamp {
    plus_ms(at, millis(duration))
}

/// Milliseconds from `a` to `b`; zero if `b` is earlier.
pub(super) fn ms_between(a: Timestamp, b: Timestamp) -> u64 {
    u64::try_from(b.as_millisecond().saturating_sub(a.as_millisecond())).unwrap_or(0)
}

/// Whether `a` and `b` are at most `window` apart.
pub(super) fn within(a: Timestamp, b: Timestamp, window: Duration) -> bool {
    u128::from(ms_between(a.min(b), a.max(b))) <= window.as_millis()
}
