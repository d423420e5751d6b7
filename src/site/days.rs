//! Days of the site's zone, and how a service fared on each. Pure: spans and times in.
//!
//! A day is as long as its zone makes it: 23 or 25 hours where clocks change.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use crate::domain::span::{Span, Tally};

/// The day in `zone` that `at` falls on.
#[must_use]
pub fn date(at: Timestamp, zone: &TimeZone) -> Date {
    at.to_zoned(zone.clone()).date()
}

/// When a day begins in `zone`.
#[must_use]
pub fn start(date: Date, zone: &TimeZone) -> Timestamp {
    // Only the ends of time have no such moment.
    date.to_zoned(zone.clone()).map_or(Timestamp::MIN, |start| start.timestamp())
}

/// The day `n` days before `date`.
#[must_use]
pub fn before(date: Date, n: u32) -> Date {
    date.checked_sub(i64::from(n).days()).unwrap_or(Date::MIN)
}

/// The first day of the month of `date`.
#[must_use]
pub fn month(date: Date) -> Date {
    date.first_of_month()
}

/// The last days, oldest first: where each begins, and when the last of them ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Days {
    /// The days, oldest first.
    pub dates: Vec<Date>,
    /// When each begins; one more than there are days: the last ends at `now`.
    pub bounds: Vec<Timestamp>,
}

impl Days {
    /// The `n` days of `zone` that end with the one that `now` falls on.
    #[must_use]
    pub fn last(n: u32, now: Timestamp, zone: &TimeZone) -> Self {
        let today = date(now, zone);
        let dates: Vec<Date> = (0..n.max(1)).rev().map(|back| before(today, back)).collect();
        let bounds = dates.iter().map(|&date| start(date, zone)).chain([now]).collect();
        Self { dates, bounds }
    }

    /// When the first of them begins.
    #[must_use]
    pub fn from(&self) -> Timestamp {
        self.bounds.first().copied().unwrap_or(Timestamp::MIN)
    }

    /// How a service with these spans fared on each day. `spans` are in order of time.
    #[must_use]
    pub fn tallies(&self, spans: &[Span]) -> Vec<Tally> {
        let mut rest = spans;
        self.bounds
            .windows(2)
            .map(|bounds| {
                let &[from, to] = bounds else { return Tally::default() };
                // What ended before this day will not matter to a later one either.
                let over = rest.iter().take_while(|span| span.to.is_some_and(|end| end <= from)).count();
                rest = rest.get(over..).unwrap_or_default();
                Tally::of(rest.iter().take_while(|span| span.from < to), from, to)
            })
            .collect()
    }
}

/// The tally of the last `days` times 24 hours.
#[must_use]
pub fn window(spans: &[Span], days: i64, now: Timestamp) -> Tally {
    let from = now.checked_sub((days * 24).hours()).unwrap_or(Timestamp::MIN);
    Tally::of(spans, from, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ServiceStatus;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn days_are_those_of_the_zone_and_as_long_as_it_makes_them() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let days = Days::last(3, at("2026-10-26T11:00:00Z"), &berlin);
        assert_eq!(
            days.dates.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["2026-10-24", "2026-10-25", "2026-10-26"]
        );
        let up = [Span { status: ServiceStatus::Operational, from: at("2026-01-01T00:00:00Z"), to: None }];
        let hours: Vec<u64> = days.tallies(&up).iter().map(|tally| tally.total_ms / 3_600_000).collect();
        assert_eq!(hours, [24, 25, 12]);
    }

    #[test]
    fn each_day_sees_its_own_part_of_a_long_outage() {
        let spans = [
            Span {
                status: ServiceStatus::Operational,
                from: at("2026-11-18T06:00:00Z"),
                to: Some(at("2026-11-19T23:00:00Z")),
            },
            Span {
                status: ServiceStatus::MajorOutage,
                from: at("2026-11-19T23:00:00Z"),
                to: Some(at("2026-11-20T02:00:00Z")),
            },
            Span { status: ServiceStatus::Operational, from: at("2026-11-20T02:00:00Z"), to: None },
        ];
        let days = Days::last(5, at("2026-11-21T12:00:00Z"), &TimeZone::UTC);
        let tallies = days.tallies(&spans);
        let down: Vec<u64> = tallies.iter().map(|tally| tally.down_ms / 3_600_000).collect();
        assert_eq!(down, [0, 0, 1, 2, 0]);
        assert_eq!(tallies[0].worst, None);
        assert_eq!(tallies[1].unknown_ms / 3_600_000, 6);
        assert_eq!(window(&spans, 1, at("2026-11-21T12:00:00Z")).down_ms, 0);
        assert_eq!(window(&spans, 7, at("2026-11-21T12:00:00Z")).down_ms, 3 * 3_600_000);
    }
}
