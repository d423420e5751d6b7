//! Response times as histograms of a quarter of an hour (UTC), which can be merged: the median of
//! a day comes from the day's answers, not from medians. Each power of two is cut into sixteen, so
//! that a value is off by at most 3.2 %.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::row::At;
use crate::domain::{ServiceId, archive::LatencyPoint};

const FORMAT: u8 = 1;
const QUARTER_MS: i64 = 900_000;

/// How many answers took about how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: BTreeMap<u16, u32>,
}

impl Histogram {
    /// Counts `times` answers that took `latency_us` microseconds.
    pub fn add(&mut self, latency_us: u32, times: u32) {
        let count = self.counts.entry(bucket(latency_us)).or_default();
        *count = count.saturating_add(times);
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (&bucket, &times) in &other.counts {
            let count = self.counts.entry(bucket).or_default();
            *count = count.saturating_add(times);
        }
    }

    /// How many answers.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The smallest value that at least `percent` of the answers do not exceed, in microseconds
    /// (nearest rank); `None` if there are none.
    #[must_use]
    pub fn percentile(&self, percent: u32) -> Option<u32> {
        let rank = (u64::from(self.count()) * u64::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(&bucket, &count)| {
            seen += u64::from(count);
            (seen >= rank).then(|| value(bucket))
        })
    }

    /// A version byte, then pairs of three bytes and more: bucket (two bytes), count (LEB128).
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        for (bucket, count) in &self.counts {
            out.extend(bucket.to_be_bytes());
            let mut count = *count;
            while count >= 0x80 {
                out.push(u8::try_from(count & 0x7f).unwrap_or(0) | 0x80);
                count >>= 7;
            }
            out.push(u8::try_from(count).unwrap_or(0));
        }
        out
    }

    /// Reads what [`Self::encode`] made; `None` if it is not of that format.
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let (&FORMAT, mut rest) = data.split_first()? else { return None };
        let mut histogram = Self::default();
        while !rest.is_empty() {
            let (bucket, mut after) = rest.split_first_chunk::<2>()?;
            let mut count: u32 = 0;
            for shift in (0..32).step_by(7) {
                let (&byte, tail) = after.split_first()?;
                after = tail;
                count |= u32::from(byte & 0x7f).checked_shl(shift)?;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            histogram.counts.insert(u16::from_be_bytes(*bucket), count);
            rest = after;
        }
        Some(histogram)
    }
}

/// Values below 16 have a bucket each; above, every power of two has sixteen.
fn bucket(us: u32) -> u16 {
    let wide = match us.checked_ilog2() {
        Some(log) if log >= 4 => 16 * (log - 4) + (us >> (log - 4)),
        _ => us,
    };
    u16::try_from(wide).unwrap_or(u16::MAX)
}

/// The middle of a bucket.
fn value(bucket: u16) -> u32 {
    let bucket = u32::from(bucket);
    if bucket < 32 {
        return bucket;
    }
    let shift = bucket / 16 - 1;
    let low = u64::from(16 + bucket % 16) << shift.min(40);
    u32::try_from(low + (1_u64 << shift.min(40)) / 2).unwrap_or(u32::MAX)
}

/// The start of the quarter of an hour that a time lies in.
pub(super) const fn quarter_of(at_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(QUARTER_MS)
}

/// Adds answers to a service's quarter.
pub(super) fn merge(tx: &Connection, service_no: i64, quarter_ms: i64, mut new: Histogram) -> rusqlite::Result<()> {
    let old = tx
        .prepare_cached("SELECT data FROM latency WHERE service_no = ?1 AND at = ?2")?
        .query_row((service_no, quarter_ms), |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    if let Some(old) = old.as_deref().and_then(Histogram::decode) {
        new.merge(&old);
    }
    tx.prepare_cached(
        "INSERT INTO latency (service_no, at, data) VALUES (?1, ?2, ?3)
         ON CONFLICT (service_no, at) DO UPDATE SET data = excluded.data",
    )?
    .execute((service_no, quarter_ms, new.encode()))?;
    Ok(())
}

/// Response times in buckets of `width` from `from` on. A quarter counts where it begins; the one
/// that `from` lies in counts in the first bucket.
pub(super) fn within(
    db: &Connection,
    service: &ServiceId,
    from: Timestamp,
    to: Timestamp,
    width: Duration,
) -> rusqlite::Result<Vec<LatencyPoint>> {
    let start = from.as_millisecond();
    let width = i64::try_from(width.as_millis()).unwrap_or(i64::MAX).max(1);
    let mut buckets: BTreeMap<i64, Histogram> = BTreeMap::new();
    let mut quarters = db.prepare_cached(
        "SELECT latency.at, latency.data FROM latency JOIN service ON service.no = latency.service_no
         WHERE service.id = ?1 AND latency.at >= ?2 AND latency.at < ?3",
    )?;
    let mut rows = quarters.query((service.as_str(), quarter_of(start), At(to)))?;
    while let Some(row) = rows.next()? {
        let at: i64 = row.get(0)?;
        let data = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        if let Some(histogram) = Histogram::decode(data) {
            buckets.entry(at.saturating_sub(start).max(0) / width).or_default().merge(&histogram);
        }
    }
    let points = buckets.into_iter().filter_map(|(index, histogram)| {
        Some(LatencyPoint {
            at: Timestamp::from_millisecond(start.saturating_add(index.saturating_mul(width))).ok()?,
            p50_us: histogram.percentile(50)?,
            p95_us: histogram.percentile(95)?,
            count: histogram.count(),
        })
    });
    Ok(points.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_is_kept_to_about_three_percent(us in any::<u32>()) {
            let kept = value(bucket(us));
            prop_assert!(u64::from(kept.abs_diff(us)) * 1000 <= u64::from(us) * 32, "{us} became {kept}");
        }

        #[test]
        fn a_histogram_reads_back(values in prop::collection::vec((any::<u32>(), 1_u32..1_000_000), 0..40)) {
            let mut histogram = Histogram::default();
            for (us, times) in values {
                histogram.add(us, times);
            }
            prop_assert_eq!(Histogram::decode(&histogram.encode()).unwrap(), histogram);
        }

        #[test]
        fn damage_is_no_panic(data in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(histogram) = Histogram::decode(&data) {
                let _ = (histogram.count(), histogram.percentile(50), histogram.percentile(100));
            }
        }
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), None);
        for us in 1..=10 {
            histogram.add(us, 1);
        }
        assert_eq!((histogram.percentile(50), histogram.percentile(95), histogram.count()), (Some(5), Some(10), 10));
    }

    #[test]
    fn what_is_merged_is_as_if_counted_together() {
        let (mut one, mut two, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for us in [100, 20_000, 20_001, 3_000_000] {
            one.add(us, 1);
            both.add(us, 1);
        }
        two.add(100, 7);
        both.add(100, 7);
        one.merge(&two);
        assert_eq!(one, both);
    }
}
