//! Cron cadences: when patterns fire next, in a time zone. Pure.
//!
//! The `cron` crate knows no time zone of ours, so it is given civil time as if that were UTC, and
//! jiff says which instant a civil time is. Where the clock is put forward, what falls into the
//! missing hour fires once, right after it; where it is put back, what falls into the repeated hour
//! fires in its first pass only. A pattern that fires in every hour (`*` or `*/n`) goes by the
//! hours that pass instead: the repeated hour counts twice, the missing one not at all.
//!
//! It does not read the five-field form that people write; `config` turns that into ours.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

/// How far around a time a change of the clocks can move a civil time.
const SHIFT: SignedDuration = SignedDuration::from_hours(3);

/// Patterns that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCron {
    /// Not a pattern.
    #[error("`{0}` is not a cron pattern")]
    Pattern(String),
    /// Not a time zone.
    #[error("`{0}` is no known time zone")]
    Zone(String),
}

/// Patterns in a time zone; fires when one of them does.
#[derive(Clone, Debug)]
pub struct Cron {
    patterns: Vec<Pattern>,
    zone: TimeZone,
}

#[derive(Clone, Debug)]
struct Pattern {
    times: cron::Schedule,
    /// Whether it fires in every hour or every n-th, so that hours that pass are what is meant.
    by_passing_hours: bool,
}

impl Cron {
    /// Reads patterns of six fields (seconds first, Sunday is 1) and the IANA name of a zone.
    ///
    /// # Errors
    /// If a pattern or the zone cannot be read.
    pub fn new(patterns: &[String], zone: &str) -> Result<Self, BadCron> {
        let patterns = patterns
            .iter()
            .map(|text| {
                let times = cron::Schedule::from_str(text).map_err(|_| BadCron::Pattern(text.clone()))?;
                let by_passing_hours = match text.split_whitespace().nth(2) {
                    Some(hours) => hours.contains('*'),
                    None => text.eq_ignore_ascii_case("@hourly"),
                };
                Ok(Pattern { times, by_passing_hours })
            })
            .collect::<Result<_, _>>()?;
        let zone = TimeZone::get(zone).map_err(|_| BadCron::Zone(zone.to_owned()))?;
        Ok(Self { patterns, zone })
    }

    /// The first time strictly after `after`; `None` if it never fires again.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.patterns.iter().filter_map(|pattern| pattern.next_after(after, &self.zone)).min()
    }
}

impl Pattern {
    fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.by_passing_hours { self.next_by_offset(after, zone) } else { self.next_civil(after, zone) }
    }

    /// The civil times of the pattern after `from`, in order.
    fn civil_after(&self, from: civil::DateTime) -> impl Iterator<Item = civil::DateTime> {
        let start = TimeZone::UTC.to_timestamp(from).map_or(0, Timestamp::as_second);
        let start = DateTime::<Utc>::from_timestamp(start, 0).unwrap_or_default();
        self.times
            .after_owned(start)
            .map_while(|at| Timestamp::from_second(at.timestamp()).ok())
            .map(|at| TimeZone::UTC.to_datetime(at))
    }

    fn next_civil(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let earlier = after.checked_sub(SHIFT).unwrap_or(after);
        // Only near a change of the clocks must earlier civil times be looked at again.
        let from = if zone.to_offset(earlier) == zone.to_offset(after) { after } else { earlier };
        let mut best: Option<(Timestamp, civil::DateTime)> = None;
        for at in self.civil_after(zone.to_datetime(from)) {
            if best.is_some_and(|(_, found)| at.duration_since(found) > SHIFT) {
                break;
            }
            let resolved = zone.to_ambiguous_zoned(at);
            let plain = !resolved.is_ambiguous();
            let Ok(instant) = resolved.compatible().map(|zoned| zoned.timestamp()) else { break };
            if instant > after && best.is_none_or(|(sooner, _)| instant < sooner) {
                best = Some((instant, best.map_or(at, |(_, found)| found)));
                if plain && from == after {
                    break;
                }
            }
        }
        best.map(|(instant, _)| instant)
    }

    /// Takes the offset from UTC as fixed until it changes.
    fn next_by_offset(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut from = after;
        // A pattern with an hour field of this kind fires within days, whatever else it says of
        // days and months; a handful of changes of the clocks lie between at most.
        for _ in 0..64 {
            let offset = zone.to_offset(from);
            let next = self.civil_after(offset.to_datetime(from)).next()?;
            let next = offset.to_timestamp(next).ok()?;
            match zone.following(from).next() {
                Some(change) if change.timestamp() <= next => {
                    // A second earlier, so that the moment of the change itself can fire.
                    from = change.timestamp();
                    let offset = zone.to_offset(from);
                    let just_before = from.checked_sub(SignedDuration::from_secs(1)).ok()?;
                    let next = self.civil_after(offset.to_datetime(just_before)).next()?;
                    if offset.to_timestamp(next).ok()? == from && from > after {
                        return Some(from);
                    }
                }
                _ => return Some(next),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(pattern: &str) -> Cron {
        Cron::new(&[pattern.to_owned()], "Europe/Berlin").unwrap()
    }

    fn next(cron: &Cron, after: &str, count: usize) -> Vec<String> {
        let mut at: Timestamp = after.parse().unwrap();
        (0..count)
            .map(|_| {
                at = cron.next_after(at).unwrap();
                at.to_zoned(TimeZone::get("Europe/Berlin").unwrap()).strftime("%F %H:%M%:z").to_string()
            })
            .collect()
    }

    #[test]
    fn a_time_in_the_missing_hour_fires_once_after_it() {
        let found = next(&cron("0 30 2 * * *"), "2026-03-28T00:00:00Z", 3);
        assert_eq!(found, ["2026-03-28 02:30+01:00", "2026-03-29 03:30+02:00", "2026-03-30 02:30+02:00"]);
        // Asked after the change but before the moved time, it is still to come.
        let found = next(&cron("0 30 2 * * *"), "2026-03-29T01:10:00Z", 1);
        assert_eq!(found, ["2026-03-29 03:30+02:00"]);
        // A civil time after the gap may come before a moved one.
        let found = next(&cron("0 10,30 2,3 * * *"), "2026-03-29T00:59:00Z", 2);
        assert_eq!(found, ["2026-03-29 03:10+02:00", "2026-03-29 03:30+02:00"]);
    }

    #[test]
    fn a_time_in_the_repeated_hour_fires_in_its_first_pass_only() {
        let found = next(&cron("0 30 2 * * *"), "2026-10-24T12:00:00Z", 2);
        assert_eq!(found, ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"]);
        // Asked within the second pass.
        let found = next(&cron("0 30 2 * * *"), "2026-10-25T01:10:00Z", 1);
        assert_eq!(found, ["2026-10-26 02:30+01:00"]);
    }

    #[test]
    fn a_pattern_for_every_hour_counts_hours_that_pass() {
        let found = next(&cron("0 0 * * * *"), "2026-10-24T23:30:00Z", 4);
        let expected =
            ["2026-10-25 02:00+02:00", "2026-10-25 02:00+01:00", "2026-10-25 03:00+01:00", "2026-10-25 04:00+01:00"];
        assert_eq!(found, expected);
        let found = next(&cron("0 */30 * * * *"), "2026-03-29T00:10:00Z", 3);
        assert_eq!(found, ["2026-03-29 01:30+01:00", "2026-03-29 03:00+02:00", "2026-03-29 03:30+02:00"]);
    }

    #[test]
    fn the_soonest_of_several_patterns_counts() {
        let both = Cron::new(&["0 0 2 1 * *".to_owned(), "0 0 2 * * Mon".to_owned()], "UTC").unwrap();
        let after: Timestamp = "2026-05-28T00:00:00Z".parse().unwrap();
        assert_eq!(both.next_after(after).unwrap().to_string(), "2026-06-01T02:00:00Z");
        let after: Timestamp = "2026-06-01T02:00:00Z".parse().unwrap();
        assert_eq!(both.next_after(after).unwrap().to_string(), "2026-06-08T02:00:00Z");
    }

    #[test]
    fn what_can_never_fire_never_fires() {
        assert_eq!(cron("0 0 2 30 2 *").next_after("2026-01-01T00:00:00Z".parse().unwrap()), None);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert_eq!(Cron::new(&["x".to_owned()], "UTC").unwrap_err(), BadCron::Pattern("x".to_owned()));
        assert_eq!(Cron::new(&[], "Mars/Base").unwrap_err(), BadCron::Zone("Mars/Base".to_owned()));
    }
}
