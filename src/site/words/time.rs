//! Lengths of time, times of day and dates in words. Zones are arguments; nothing asks a clock.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::Words;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Words {
    /// A length of time in its two largest units, cut: "30 s", "16 min", "3 h 48 min", "9 d 6 h".
    #[must_use]
    pub fn duration(&self, ms: u64) -> String {
        let unit = |key: &str, n: u64| self.text(&format!("duration.{key}"), &[("n", &self.digits(n))]);
        let (large, small) = match ms {
            0..SECOND if ms > 0 => (unit("s", 1), None),
            0..MINUTE => (unit("s", ms / SECOND), None),
            MINUTE..HOUR => (unit("min", ms / MINUTE), None),
            HOUR..DAY => (unit("h", ms / HOUR), Some((ms % HOUR / MINUTE, "min"))),
            _ => (unit("d", ms / DAY), Some((ms % DAY / HOUR, "h"))),
        };
        match small {
            Some((n, key)) if n > 0 => {
                self.text("duration.two", &[("large", large.as_str()), ("small", &unit(key, n))])
            }
            _ => large,
        }
    }

    /// The time between two moments in words; "0 s" if `to` is not later.
    #[must_use]
    pub fn between(&self, from: Timestamp, to: Timestamp) -> String {
        self.duration(u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0))
    }

    /// A limit from the config, exactly: "300 ms", "2.5 s", "10 s", "90 s".
    pub(super) fn limit(&self, ms: u32) -> String {
        if ms < 1000 {
            return self.text("duration.ms", &[("n", &ms.to_string())]);
        }
        let fraction = format!("{:03}", ms % 1000);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { self.catalog().raw("style.decimal") };
        self.text("duration.s", &[("n", &format!("{}{point}{fraction}", ms / 1000))])
    }

    /// A response time: "84 ms", "1.24 s".
    #[must_use]
    pub fn latency(&self, us: u32) -> String {
        let ms = us.div_ceil(1000);
        let point = self.catalog().raw("style.decimal");
        if ms < 1000 {
            self.text("duration.ms", &[("n", &ms.to_string())])
        } else {
            self.text("duration.s", &[("n", &format!("{}{point}{:02}", ms / 1000, ms % 1000 / 10))])
        }
    }

    /// The time of day: "10:15".
    #[must_use]
    pub fn clock(&self, at: Timestamp, zone: &TimeZone) -> String {
        self.civil("time.clock", at, zone)
    }

    /// The time of day to the second: "10:15:42".
    #[must_use]
    pub fn clock_seconds(&self, at: Timestamp, zone: &TimeZone) -> String {
        self.civil("time.clock_seconds", at, zone)
    }

    fn civil(&self, key: &str, at: Timestamp, zone: &TimeZone) -> String {
        let time = at.to_zoned(zone.clone()).time();
        let two = |n: i8| format!("{n:02}");
        self.text(key, &[("hour", &two(time.hour())), ("minute", &two(time.minute())), ("second", &two(time.second()))])
    }

    /// The time of day with its zone: "10:15 UTC".
    #[must_use]
    pub fn time(&self, at: Timestamp, zone: &TimeZone) -> String {
        self.text("time.zoned", &[("time", &self.clock(at, zone)), ("zone", &zone_name(at, zone))])
    }

    /// A day of a known year: "14 November".
    #[must_use]
    pub fn day(&self, date: Date) -> String {
        self.date_text("time.day", date)
    }

    /// A day: "14 November 2026".
    #[must_use]
    pub fn date(&self, date: Date) -> String {
        self.date_text("time.date", date)
    }

    /// A month: "November 2026".
    #[must_use]
    pub fn month(&self, date: Date) -> String {
        self.date_text("time.month", date)
    }

    fn date_text(&self, key: &str, date: Date) -> String {
        let month = self.catalog().raw(&format!("month.{}", date.month())).to_owned();
        let day = if date.day() == 1 { self.text("time.first", &[]) } else { date.day().to_string() };
        self.text(key, &[("day", &day), ("month", &month), ("year", &date.year().to_string())])
    }

    /// All of it: "21 November 2026, 14:03 UTC".
    #[must_use]
    pub fn moment(&self, at: Timestamp, zone: &TimeZone) -> String {
        let date = self.date(at.to_zoned(zone.clone()).date());
        self.text("time.day_at", &[("date", &date), ("time", &self.time(at, zone))])
    }

    /// As much of it as a reader at `now` needs: the time alone on the same day, no year in the
    /// same year.
    #[must_use]
    pub fn moment_near(&self, at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
        let [date, today] = [at, now].map(|t| t.to_zoned(zone.clone()).date());
        if date == today {
            self.time(at, zone)
        } else if date.year() == today.year() {
            self.text("time.day_at", &[("date", &self.day(date)), ("time", &self.time(at, zone))])
        } else {
            self.moment(at, zone)
        }
    }

    /// Since when and for how long: "Since 10:15 UTC (3 h 48 min)".
    #[must_use]
    pub fn since(&self, at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
        self.text("time.since", &[("time", &self.moment_near(at, now, zone)), ("duration", &self.between(at, now))])
    }
}

/// How people call the zone at that time: `UTC`, `CET`; `UTC+03`, `UTC+10:30` where it has no letters.
#[must_use]
pub fn zone_name(at: Timestamp, zone: &TimeZone) -> String {
    let name = zone.to_offset_info(at).abbreviation().to_owned();
    match name.split_at_checked(3) {
        Some((hours, minutes)) if name.starts_with(['+', '-']) && minutes.len() == 2 => format!("UTC{hours}:{minutes}"),
        _ if name.starts_with(['+', '-']) => format!("UTC{name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words::load("en", None).unwrap()
    }

    #[test]
    fn lengths_of_time_have_at_most_two_units_and_are_cut() {
        let shown = |ms| words().duration(ms);
        assert_eq!(shown(0), "0 s");
        assert_eq!(shown(300), "1 s");
        assert_eq!(shown(30_999), "30 s");
        assert_eq!(shown(16 * MINUTE + 59_000), "16 min");
        assert_eq!(shown(2 * HOUR), "2 h");
        assert_eq!(shown(3 * HOUR + 48 * MINUTE), "3 h 48 min");
        assert_eq!(shown(9 * DAY + 6 * HOUR + 59 * MINUTE), "9 d 6 h");
    }

    #[test]
    fn times_carry_their_zone_and_only_the_date_that_is_needed() {
        let words = words();
        let now: Timestamp = "2026-11-21T14:03:12Z".parse().unwrap();
        let at: Timestamp = "2026-11-21T10:15:42Z".parse().unwrap();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(words.time(at, &TimeZone::UTC), "10:15 UTC");
        assert_eq!(words.clock_seconds(at, &TimeZone::UTC), "10:15:42");
        assert_eq!(words.time(at, &berlin), "11:15 CET");
        assert_eq!(words.moment(now, &TimeZone::UTC), "21 November 2026, 14:03 UTC");
        assert_eq!(words.since(at, now, &TimeZone::UTC), "Since 10:15 UTC (3 h 47 min)");
        let march: Timestamp = "2026-03-01T10:15:42Z".parse().unwrap();
        assert_eq!(words.moment_near(march, now, &TimeZone::UTC), "1 March, 10:15 UTC");
        assert_eq!(words.month(march.to_zoned(TimeZone::UTC).date()), "March 2026");
    }

    #[test]
    fn a_zone_without_letters_is_named_by_its_distance_from_utc() {
        let at: Timestamp = "2026-11-21T10:15:42Z".parse().unwrap();
        let name = |zone: &str| zone_name(at, &TimeZone::get(zone).unwrap());
        assert_eq!(name("America/Sao_Paulo"), "UTC-03");
        assert_eq!(name("Asia/Kathmandu"), "UTC+05:45");
        assert_eq!(name("Asia/Kolkata"), "IST");
    }
}
