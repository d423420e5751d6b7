//! The cron patterns that people know, turned into what the `cron` crate reads.
//!
//! People write five fields with Sunday as 0 or 7; the crate wants seconds first and Sunday as 1,
//! and requires both days to match where `crontab(5)` is content with either. Each field is
//! expanded to a plain list of numbers, so that nothing depends on how the crate reads ranges.
//! Nothing here knows what time it is.

use std::{collections::BTreeSet, ops::Range};

/// A pattern that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// As it was written.
    pub written: String,
    /// It fires whenever one of these does: six fields, seconds first, Sunday is 1.
    pub patterns: Vec<String>,
}

/// Why a pattern was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub hint: String,
    /// Bytes of the pattern that are meant.
    pub span: Range<usize>,
}

/// One field: its name for messages, the numbers allowed, and the names for them.
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    /// Where `*` ends; less than `max` only for Sunday, which is 0 as well as 7.
    last: u8,
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", min: 0, max: 59, last: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, last: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, last: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", min: 1, max: 31, last: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    last: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    min: 0,
    max: 7,
    last: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

const NICKNAMES: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// One field as written: which numbers it allows, and whether a `*` stands in it.
struct Set {
    numbers: BTreeSet<u8>,
    has_star: bool,
}

impl Cron {
    /// Reads five fields (minute, hour, day of the month, month, day of the week), six with
    /// seconds first, or a nickname such as `@daily`.
    ///
    /// Where both days are given without a `*`, either is enough, as `crontab(5)` has it.
    ///
    /// # Errors
    /// If it is not understood, or could never fire.
    pub fn parse(written: &str) -> Result<Self, CronError> {
        let whole = 0..written.len();
        let trimmed = written.trim();
        let text = if trimmed.starts_with('@') { nickname(trimmed, whole.clone())? } else { written };
        let fields = split(text);
        let with_seconds: Vec<(&str, Range<usize>)> = match fields.len() {
            5 => std::iter::once(("0", 0..0)).chain(fields).collect(),
            6 => fields,
            count => {
                return Err(CronError {
                    message: format!("a cron pattern has five fields, or six with seconds first; this has {count}"),
                    hint: "write minute, hour, day of the month, month, day of the week: `*/5 * * * *`".to_owned(),
                    span: whole,
                });
            }
        };
        let mut sets = Vec::with_capacity(6);
        for ((text, span), field) in with_seconds.iter().zip([&SECOND, &MINUTE, &HOUR, &DAY, &MONTH, &WEEKDAY]) {
            sets.push(read_field(text, span.start, field)?);
        }
        let Ok([seconds, minutes, hours, days, months, mut weekdays]) = <[Set; 6]>::try_from(sets) else {
            return Err(CronError { message: "not a cron pattern".to_owned(), hint: String::new(), span: whole });
        };
        // Only now that ranges are expanded, so that `5-7` is Friday to Sunday.
        if weekdays.numbers.remove(&7) {
            weekdays.numbers.insert(0);
        }
        let either = !days.has_star && !weekdays.has_star;
        if !either && !months.numbers.iter().any(|&month| days.numbers.iter().any(|&day| day <= longest(month))) {
            return Err(CronError {
                message: "this cron pattern never fires: no such month has such a day".to_owned(),
                hint: String::new(),
                span: whole,
            });
        }
        let line = |days: &str, weekdays: &str| {
            let [seconds, minutes, hours, months] =
                [(&seconds, &SECOND), (&minutes, &MINUTE), (&hours, &HOUR), (&months, &MONTH)]
                    .map(|(set, field)| list(&set.numbers, field));
            format!("{seconds} {minutes} {hours} {days} {months} {weekdays}")
        };
        let (day_list, weekday_list) = (list(&days.numbers, &DAY), weekday_list(&weekdays.numbers));
        let patterns = if either {
            let mut patterns = vec![line("*", &weekday_list)];
            // A day that none of the months has adds nothing, and the crate would search in vain.
            if months.numbers.iter().any(|&month| days.numbers.iter().any(|&day| day <= longest(month))) {
                patterns.insert(0, line(&day_list, "*"));
            }
            patterns
        } else {
            vec![line(&day_list, &weekday_list)]
        };
        Ok(Self { written: trimmed.to_owned(), patterns })
    }
}

/// The most days that a month ever has.
const fn longest(month: u8) -> u8 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn nickname(text: &str, span: Range<usize>) -> Result<&'static str, CronError> {
    let lower = text.to_ascii_lowercase();
    NICKNAMES.iter().find(|(name, _)| *name == lower).map(|(_, pattern)| *pattern).ok_or_else(|| CronError {
        message: format!("`{text}` is not a cron pattern"),
        hint: "write five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly` or `@yearly`".to_owned(),
        span,
    })
}

/// The fields between white space, with their places.
fn split(text: &str) -> Vec<(&str, Range<usize>)> {
    let mut fields = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain(std::iter::once((text.len(), ' '))) {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                fields.push((text.get(from..at).unwrap_or(""), from..at));
                start = None;
            }
            _ => {}
        }
    }
    fields
}

fn read_field(text: &str, offset: usize, field: &Field) -> Result<Set, CronError> {
    let mut set = Set { numbers: BTreeSet::new(), has_star: false };
    let mut at = offset;
    for part in text.split(',') {
        read_part(part, field, &mut set).map_err(|(message, hint)| CronError {
            message,
            hint,
            span: at..at + part.len(),
        })?;
        at += part.len() + 1;
    }
    Ok(set)
}

/// `a`, `a-b`, `a-b/n`, `a/n`, `*`, `*/n` or `?`. An error is a message and a hint.
fn read_part(part: &str, field: &Field, set: &mut Set) -> Result<(), (String, String)> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let by = match step.map(str::parse::<u8>) {
        None => 1,
        Some(Ok(by @ 1..)) => by,
        Some(_) => {
            return Err((format!("`{part}` has no usable step"), "write a number from 1 after the `/`".to_owned()));
        }
    };
    let (first, last) = if range == "*" || (range == "?" && field.name.starts_with("day")) {
        set.has_star = true;
        (field.min, field.last)
    } else if let Some((first, last)) = range.split_once('-') {
        (read_number(first, field)?, read_number(last, field)?)
    } else {
        let first = read_number(range, field)?;
        (first, if step.is_some() { field.last.max(first) } else { first })
    };
    if first > last {
        let halves = [(first, field.last), (field.min, last)].map(|(from, to)| {
            if from == to { shown(from, field) } else { format!("{}-{}", shown(from, field), shown(to, field)) }
        });
        return Err((
            format!("`{part}` runs backwards: a range cannot pass the end of the {}", field.name),
            format!("write `{}`", halves.join(",")),
        ));
    }
    set.numbers.extend((first..=last).step_by(usize::from(by)));
    Ok(())
}

fn read_number(text: &str, field: &Field) -> Result<u8, (String, String)> {
    if let Ok(number) = text.parse::<u8>() {
        if (field.min..=field.max).contains(&number) && !text.starts_with('+') {
            return Ok(number);
        }
    } else if let Some(place) = field.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(field.min.saturating_add(u8::try_from(place).unwrap_or(0)));
    }
    let names = match field.names {
        [first, .., last] => format!(", or a name from `{first}` to `{last}`"),
        _ => String::new(),
    };
    Err((
        format!("`{text}` is no {}", field.name),
        format!("write a number from {} to {}{names}", field.min, field.max),
    ))
}

/// A number as people would write it: by name where there are names.
fn shown(number: u8, field: &Field) -> String {
    let place = usize::from(number.saturating_sub(field.min));
    field.names.get(place % field.names.len().max(1)).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// The numbers as the crate reads them: `*` for all of them.
fn list(numbers: &BTreeSet<u8>, field: &Field) -> String {
    if numbers.len() > usize::from(field.last - field.min) {
        return "*".to_owned();
    }
    numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

/// The same for the days of the week, which the crate counts from Sunday as 1.
fn weekday_list(numbers: &BTreeSet<u8>) -> String {
    list(&numbers.iter().map(|number| number + 1).collect(), &Field { min: 1, max: 7, last: 7, ..WEEKDAY })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use chrono::{Datelike, TimeZone, Timelike, Utc};

    use super::*;

    /// The first times after Thursday, 1 January 2026, 00:00:00 at which it fires: `day/hour:minute`.
    fn firings(pattern: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let start = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
        let mut times: Vec<_> = cron
            .patterns
            .iter()
            .flat_map(|pattern| {
                let schedule = cron::Schedule::from_str(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
                schedule.after(&start).take(count).collect::<Vec<_>>()
            })
            .collect();
        times.sort();
        times.dedup();
        times.truncate(count);
        times
            .iter()
            .map(|at| format!("{}-{} {} {}:{:02}", at.month(), at.day(), at.weekday(), at.hour(), at.minute()))
            .collect()
    }

    #[test]
    fn five_fields_fire_when_people_think_they_do() {
        for (pattern, expected) in [
            ("*/20 * * * *", vec!["1-1 Thu 0:20", "1-1 Thu 0:40", "1-1 Thu 1:00"]),
            ("0 2 * * *", vec!["1-1 Thu 2:00", "1-2 Fri 2:00"]),
            ("0 2 * * 1", vec!["1-5 Mon 2:00", "1-12 Mon 2:00"]),
            ("0 2 * * 0", vec!["1-4 Sun 2:00", "1-11 Sun 2:00"]),
            ("0 2 * * 7", vec!["1-4 Sun 2:00", "1-11 Sun 2:00"]),
            ("0 2 * * 5-7", vec!["1-2 Fri 2:00", "1-3 Sat 2:00", "1-4 Sun 2:00", "1-9 Fri 2:00"]),
            ("0 2 * * Mon-Fri", vec!["1-1 Thu 2:00", "1-2 Fri 2:00", "1-5 Mon 2:00"]),
            ("0 2 * feb sun", vec!["2-1 Sun 2:00", "2-8 Sun 2:00"]),
            ("0 22-23,0-1 * * *", vec!["1-1 Thu 1:00", "1-1 Thu 22:00", "1-1 Thu 23:00", "1-2 Fri 0:00"]),
            ("0 0 29 2 *", vec!["2-29 Tue 0:00"]),
            ("5/20 3 ? * ?", vec!["1-1 Thu 3:05", "1-1 Thu 3:25", "1-1 Thu 3:45"]),
            ("30 15 10 * * *", vec!["1-1 Thu 10:15", "1-2 Fri 10:15"]),
            ("@daily", vec!["1-2 Fri 0:00", "1-3 Sat 0:00"]),
            ("@WEEKLY", vec!["1-4 Sun 0:00", "1-11 Sun 0:00"]),
            ("@yearly", vec!["1-1 Fri 0:00"]),
        ] {
            assert_eq!(firings(pattern, expected.len()), expected, "{pattern}");
        }
    }

    #[test]
    fn two_days_without_a_star_mean_either() {
        assert_eq!(firings("0 2 6 * Mon", 3), ["1-5 Mon 2:00", "1-6 Tue 2:00", "1-12 Mon 2:00"]);
        assert_eq!(firings("0 2 30 2 Mon", 2), ["2-2 Mon 2:00", "2-9 Mon 2:00"]);
        assert_eq!(firings("0 2 */2 * Mon", 2), ["1-5 Mon 2:00", "1-19 Mon 2:00"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_write_instead() {
        for (pattern, message, hint, place) in [
            ("", "this has 0", "write minute, hour", ""),
            ("* * * *", "this has 4", "write minute, hour", "* * * *"),
            ("0 0 0 1 1 1 2026", "this has 7", "write minute, hour", "0 0 0 1 1 1 2026"),
            ("60 * * * *", "`60` is no minute", "from 0 to 59", "60"),
            ("0 24 * * *", "`24` is no hour", "from 0 to 23", "24"),
            ("0 0 0 * *", "`0` is no day of the month", "from 1 to 31", "0"),
            ("0 0 1 Foo *", "`Foo` is no month", "`jan` to `dec`", "Foo"),
            ("0 0 * * Fri-Mon", "`Fri-Mon` runs backwards", "write `fri-sat,sun-mon`", "Fri-Mon"),
            ("0 22-2 * * *", "`22-2` runs backwards", "write `22-23,0-2`", "22-2"),
            ("0,*/0 * * * *", "`*/0` has no usable step", "from 1", "*/0"),
            ("0 0 L * *", "`L` is no day of the month", "from 1 to 31", "L"),
            ("0 0 * * 2#1", "`2#1` is no day of the week", "`sun` to `sat`", "2#1"),
            ("0 0 30 2 *", "never fires", "", "0 0 30 2 *"),
            ("0 0 31 4,6 *", "never fires", "", "0 0 31 4,6 *"),
            ("@reboot", "`@reboot` is not a cron pattern", "`@hourly`", "@reboot"),
        ] {
            let error = Cron::parse(pattern).unwrap_err();
            assert!(error.message.contains(message), "{pattern}: {}", error.message);
            assert!(error.hint.contains(hint), "{pattern}: {}", error.hint);
            assert_eq!(&pattern[error.span], place, "{pattern}");
        }
    }

    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_the_crate_reads_too() {
        proptest::proptest!(|(pattern in "([0-9*,/?-]{1,6}|[a-zA-Z]{3}|@[a-z]+)( ([0-9*,/-]{1,6}|[a-zA-Z]{3})){3,6}")| {
            if let Ok(cron) = Cron::parse(&pattern) {
                for pattern in cron.patterns {
                    cron::Schedule::from_str(&pattern).unwrap();
                }
            }
        });
    }
}
