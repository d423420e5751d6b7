//! Single results: appended to a log as they come, later packed into one row for each check and
//! hour. A packed row is a version byte and then, for each result: the milliseconds since the one
//! before (since the hour's start for the first), zigzag; result and class in one byte; the
//! latency in microseconds. Numbers are LEB128, so that a result takes about 6 bytes.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, types::Type};

use super::{
    latency,
    row::{At, Word},
    service_no,
};
use crate::{
    clock::to_millis,
    domain::{
        CheckKey, ServiceId,
        outcome::{CheckResult, Class, Outcome},
    },
};

/// One result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Whose.
    pub check: CheckKey,
    /// When its probe began.
    pub at: Timestamp,
    /// What it said.
    pub result: CheckResult,
    /// How long it took, in microseconds.
    pub latency_us: u32,
    /// Why it was not up.
    pub class: Option<Class>,
}

impl Sample {
    /// What is kept of an outcome.
    #[must_use]
    pub fn new(check: CheckKey, outcome: &Outcome) -> Self {
        Self {
            check,
            at: outcome.started_at,
            result: outcome.result,
            latency_us: u32::try_from(outcome.latency.as_micros()).unwrap_or(u32::MAX),
            class: outcome.cause.map(|cause| cause.class),
        }
    }

    /// When its probe ended.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        let lasted = SignedDuration::from_micros(i64::from(self.latency_us));
        to_millis(self.at.saturating_add(lasted).unwrap_or(self.at))
    }
}

/// A result without its check, as it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// When, in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// Result and class.
    pub(super) code: u8,
    /// Latency in microseconds.
    pub(super) latency_us: u32,
}

const FORMAT: u8 = 1;

/// In the order of their numbers from 1 on: append only.
const CLASSES: &[Class] = &[
    Class::Dns,
    Class::ConnectRefused,
    Class::ConnectTimeout,
    Class::Reset,
    Class::Tls,
    Class::Certificate,
    Class::Timeout,
    Class::HttpStatus,
    Class::Redirect,
    Class::Body,
    Class::Protocol,
    Class::Slow,
    Class::Local,
];

/// Result and class in one byte: two bits and six.
fn code(result: CheckResult, class: Option<Class>) -> u8 {
    let result = match result {
        CheckResult::Up => 0,
        CheckResult::Degraded => 1,
        CheckResult::Down => 2,
        CheckResult::Unknown => 3,
    };
    let class = class.and_then(|class| CLASSES.iter().position(|known| *known == class)).map_or(0, |at| at + 1);
    result | u8::try_from(class << 2).unwrap_or(0)
}

fn decoded(code: u8) -> (CheckResult, Option<Class>) {
    let result = match code & 3 {
        0 => CheckResult::Up,
        1 => CheckResult::Degraded,
        2 => CheckResult::Down,
        _ => CheckResult::Unknown,
    };
    (result, usize::from(code >> 2).checked_sub(1).and_then(|at| CLASSES.get(at)).copied())
}

fn push_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part != 0 && part.leading_zeros() < shift {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Packs results that follow one at `base_ms`; without the version byte.
fn packed(base_ms: i64, points: &[Point]) -> Vec<u8> {
    let mut out = Vec::with_capacity(points.len() * 7);
    let mut last = base_ms;
    for point in points {
        let delta = point.at_ms.wrapping_sub(last);
        push_number(&mut out, (delta << 1).cast_unsigned() ^ (delta >> 63).cast_unsigned());
        out.push(point.code);
        push_number(&mut out, u64::from(point.latency_us));
        last = point.at_ms;
    }
    out
}

/// Reads a packed row of the hour that began at `hour_ms`; `None` if it is not of that format.
pub(super) fn unpacked(hour_ms: i64, data: &[u8]) -> Option<Vec<Point>> {
    let (&format, mut rest) = data.split_first()?;
    if format != FORMAT {
        return None;
    }
    let mut points = Vec::with_capacity(rest.len() / 6);
    let mut last = hour_ms;
    while !rest.is_empty() {
        let zigzag = take_number(&mut rest)?;
        let delta = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        let at_ms = last.checked_add(delta)?;
        let (&code, after) = rest.split_first()?;
        rest = after;
        let latency_us = u32::try_from(take_number(&mut rest)?).ok()?;
        points.push(Point { at_ms, code, latency_us });
        last = at_ms;
    }
    Some(points)
}

/// The same where whoever asks must not take what is damaged for nothing.
fn all_unpacked(hour_ms: i64, data: &[u8]) -> rusqlite::Result<Vec<Point>> {
    let damaged =
        || rusqlite::Error::FromSqlConversionFailure(2, Type::Blob, "a packed hour of results is damaged".into());
    unpacked(hour_ms, data).ok_or_else(damaged)
}

/// The start of the hour (UTC) that a time lies in.
pub(super) const fn hour_of(at_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(3_600_000)
}

/// Appends results to the log, and the good ones' latencies to the roll-ups.
pub(super) fn append(tx: &Connection, known: &mut HashMap<CheckKey, i64>, samples: &[Sample]) -> rusqlite::Result<()> {
    let mut insert =
        tx.prepare_cached("INSERT INTO result_log (probed_no, at, code, latency_us) VALUES (?1, ?2, ?3, ?4)")?;
    let mut quarters: BTreeMap<(&ServiceId, i64), latency::Histogram> = BTreeMap::new();
    for sample in samples {
        let no = if let Some(no) = known.get(&sample.check) {
            *no
        } else {
            let no = probed_no(tx, &sample.check)?;
            known.insert(sample.check.clone(), no);
            no
        };
        insert.execute((no, At(sample.at), code(sample.result, sample.class), sample.latency_us))?;
        if matches!(sample.result, CheckResult::Up | CheckResult::Degraded) {
            let quarter = latency::quarter_of(sample.at.as_millisecond());
            quarters.entry((&sample.check.service, quarter)).or_default().add(sample.latency_us, 1);
        }
    }
    for ((service, quarter), histogram) in quarters {
        latency::merge(tx, service_no(tx, service.as_str())?, quarter, histogram)?;
    }
    Ok(())
}

fn probed_no(tx: &Connection, check: &CheckKey) -> rusqlite::Result<i64> {
    let service = service_no(tx, check.service.as_str())?;
    let name = check.check.as_str();
    let known = tx
        .prepare_cached("SELECT no FROM probed WHERE service_no = ?1 AND name = ?2")?
        .query_row((service, name), |row| row.get(0))
        .optional()?;
    match known {
        Some(no) => Ok(no),
        None => tx
            .prepare_cached("INSERT INTO probed (service_no, name) VALUES (?1, ?2) RETURNING no")?
            .query_row((service, name), |row| row.get(0)),
    }
}

/// Packs up to `limit` results of the log that lie before `before_ms` into their hours; says how
/// many. The log is read from its start and only as far as it is old: one late result near its
/// end waits for the next time.
pub(super) fn seal(tx: &Connection, before_ms: i64, limit: i64) -> rusqlite::Result<u64> {
    let mut hours: BTreeMap<(i64, i64), Vec<Point>> = BTreeMap::new();
    let mut last_seq = None;
    let mut sealed = 0;
    {
        let mut log =
            tx.prepare_cached("SELECT seq, probed_no, at, code, latency_us FROM result_log ORDER BY seq LIMIT ?1")?;
        let mut rows = log.query([limit])?;
        while let Some(row) = rows.next()? {
            let point = Point { at_ms: row.get(2)?, code: row.get(3)?, latency_us: row.get(4)? };
            if point.at_ms >= before_ms {
                break;
            }
            last_seq = Some(row.get::<_, i64>(0)?);
            hours.entry((hour_of(point.at_ms), row.get(1)?)).or_default().push(point);
            sealed += 1;
        }
    }
    let Some(last_seq) = last_seq else { return Ok(0) };
    for ((hour, no), points) in &hours {
        let last_at = tx
            .prepare_cached("SELECT last_at FROM result_hour WHERE hour_at = ?1 AND probed_no = ?2")?
            .query_row((hour, no), |row| row.get::<_, i64>(0))
            .optional()?;
        let mut data = packed(last_at.unwrap_or(*hour), points);
        if last_at.is_none() {
            data.insert(0, FORMAT);
        }
        tx.prepare_cached(
            "INSERT INTO result_hour (hour_at, probed_no, count, last_at, data) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (hour_at, probed_no) DO UPDATE SET count = count + excluded.count,
                 last_at = excluded.last_at, data = CAST(data || excluded.data AS BLOB)",
        )?
        .execute((
            hour,
            no,
            i64::try_from(points.len()).unwrap_or(0),
            points.last().map_or(*hour, |point| point.at_ms),
            data,
        ))?;
    }
    tx.prepare_cached("DELETE FROM result_log WHERE seq <= ?1")?.execute([last_seq])?;
    Ok(sealed)
}

/// A check's results in `[from, to)`, oldest first, packed or not.
pub(super) fn of_check(
    db: &Connection,
    check: &CheckKey,
    from: Timestamp,
    to: Timestamp,
) -> rusqlite::Result<Vec<Sample>> {
    let no: Option<i64> = db
        .prepare_cached(
            "SELECT probed.no FROM probed JOIN service ON service.no = probed.service_no
             WHERE service.id = ?1 AND probed.name = ?2",
        )?
        .query_row((check.service.as_str(), check.check.as_str()), |row| row.get(0))
        .optional()?;
    let Some(no) = no else { return Ok(Vec::new()) };
    let mut points = Vec::new();
    {
        let mut sealed = db.prepare_cached(
            "SELECT hour_at, data FROM result_hour WHERE hour_at >= ?1 AND hour_at < ?2 AND probed_no = ?3 ORDER BY hour_at",
        )?;
        let mut rows = sealed.query((hour_of(from.as_millisecond()), At(to), no))?;
        while let Some(row) = rows.next()? {
            let hour: i64 = row.get(0)?;
            let data = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            points.extend(unpacked(hour, data).unwrap_or_default());
        }
        let mut log =
            db.prepare_cached("SELECT at, code, latency_us FROM result_log WHERE probed_no = ?1 ORDER BY seq")?;
        let mut rows = log.query([no])?;
        while let Some(row) = rows.next()? {
            points.push(Point { at_ms: row.get(0)?, code: row.get(1)?, latency_us: row.get(2)? });
        }
    }
    points.sort_by_key(|point| point.at_ms);
    let wanted = from.as_millisecond()..to.as_millisecond();
    let samples = points.into_iter().filter(|point| wanted.contains(&point.at_ms)).filter_map(|point| {
        let at = Timestamp::from_millisecond(point.at_ms).ok()?;
        let (result, class) = decoded(point.code);
        Some(Sample { check: check.clone(), at, result, latency_us: point.latency_us, class })
    });
    Ok(samples.collect())
}

/// All checks' results in `[from, to)`, packed or not, in the order in which they ended.
pub(super) fn of_all(db: &Connection, from: Timestamp, to: Timestamp) -> rusqlite::Result<Vec<Sample>> {
    let mut checks = db.prepare_cached(
        "SELECT probed.no, service.id, probed.name FROM probed JOIN service ON service.no = probed.service_no",
    )?;
    let check = |row: &rusqlite::Row<'_>| {
        let (service, check): (Word<_>, Word<_>) = (row.get(1)?, row.get(2)?);
        Ok((row.get::<_, i64>(0)?, CheckKey { service: service.0, check: check.0 }))
    };
    let checks: HashMap<i64, CheckKey> = checks.query_map([], check)?.collect::<rusqlite::Result<_>>()?;
    let wanted = from.as_millisecond()..to.as_millisecond();
    let mut samples = Vec::new();
    let mut take = |no: i64, point: Point| {
        if let Some((check, at)) = checks.get(&no).zip(Timestamp::from_millisecond(point.at_ms).ok())
            && wanted.contains(&point.at_ms)
        {
            let (result, class) = decoded(point.code);
            samples.push(Sample { check: check.clone(), at, result, latency_us: point.latency_us, class });
        }
    };
    let mut sealed =
        db.prepare_cached("SELECT hour_at, probed_no, data FROM result_hour WHERE hour_at >= ?1 AND hour_at < ?2")?;
    let mut rows = sealed.query((hour_of(from.as_millisecond()), At(to)))?;
    while let Some(row) = rows.next()? {
        let data = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        for point in all_unpacked(row.get(0)?, data)? {
            take(row.get(1)?, point);
        }
    }
    // The log has the youngest hours only: for others it need not be read.
    let log_starts: Option<At> = db
        .prepare_cached("SELECT at FROM result_log ORDER BY seq LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let may_hold = |starts: &At| starts.0.duration_since(to) < SignedDuration::from_hours(1);
    if !log_starts.as_ref().is_some_and(may_hold) {
        return Ok(in_order(samples));
    }
    let mut log =
        db.prepare_cached("SELECT probed_no, at, code, latency_us FROM result_log WHERE at >= ?1 AND at < ?2")?;
    let mut rows = log.query((At(from), At(to)))?;
    while let Some(row) = rows.next()? {
        take(row.get(0)?, Point { at_ms: row.get(1)?, code: row.get(2)?, latency_us: row.get(3)? });
    }
    Ok(in_order(samples))
}

fn in_order(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_by(|a, b| (a.ended_at(), a.at, &a.check).cmp(&(b.ended_at(), b.at, &b.check)));
    samples
}

/// When the first and the last result began.
pub(super) fn kept(db: &Connection) -> rusqlite::Result<Option<(Timestamp, Timestamp)>> {
    let of_log: (Option<i64>, Option<i64>) =
        db.query_row("SELECT min(at), max(at) FROM result_log", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let of_hours: (Option<i64>, Option<i64>) =
        db.query_row("SELECT min(hour_at), max(last_at) FROM result_hour", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut first = of_log.0;
    if let Some(hour) = of_hours.0 {
        let mut rows = db.prepare_cached("SELECT data FROM result_hour WHERE hour_at = ?1")?;
        let mut rows = rows.query([hour])?;
        while let Some(row) = rows.next()? {
            let data = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            first = all_unpacked(hour, data)?.iter().map(|point| point.at_ms).chain(first).min();
        }
    }
    let last = of_log.1.max(of_hours.1);
    let at = |ms: Option<i64>| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Ok(at(first).zip(at(last)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_result_and_class_reads_back() {
        for result in [CheckResult::Up, CheckResult::Degraded, CheckResult::Down, CheckResult::Unknown] {
            for class in CLASSES.iter().copied().map(Some).chain([None]) {
                assert_eq!(decoded(code(result, class)), (result, class));
            }
        }
    }

    #[test]
    fn the_packed_format_does_not_drift() {
        let points = [
            Point { at_ms: 7_200_000 + 1500, code: code(CheckResult::Up, None), latency_us: 12_345 },
            Point { at_ms: 7_200_000 + 31_500, code: code(CheckResult::Down, Some(Class::HttpStatus)), latency_us: 7 },
            Point { at_ms: 7_200_000 + 31_000, code: code(CheckResult::Up, None), latency_us: u32::MAX },
        ];
        let data =
            [1, 0xb8, 0x17, 0, 0xb9, 0x60, 0xe0, 0xd4, 0x03, 0x22, 7, 0xe7, 0x07, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(packed(7_200_000, &points), data[1..]);
        assert_eq!(unpacked(7_200_000, &data).unwrap(), points);
    }

    proptest! {
        #[test]
        fn what_was_packed_reads_back(raw in prop::collection::vec((-5_000_i64..4_000_000, 0_u8..56, any::<u32>()), 0..50)) {
            let points: Vec<_> = raw.iter().map(|&(at_ms, code, latency_us)| Point { at_ms, code, latency_us }).collect();
            let mut data = vec![FORMAT];
            data.extend(packed(0, &points));
            prop_assert_eq!(unpacked(0, &data).unwrap(), points);
        }

        #[test]
        fn damaged_rows_are_refused_or_read_but_never_panic(data in prop::collection::vec(any::<u8>(), 0..80), hour in any::<i64>()) {
            let _ = unpacked(hour, &data);
        }
    }
}
