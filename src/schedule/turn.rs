//! When a check's regular turns are: its phase, or its cron patterns. Pure.

use jiff::Timestamp;

use super::{cron::Cron, millis};
use crate::domain::{CheckKey, service::Cadence};

/// Checks with the same cron pattern are spread over this long after it fires.
const CRON_SPREAD_MS: i64 = 5_000;

/// The regular turns of one check.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    hash: u64,
    cadence: Cadence,
    /// For cron cadences that can be read; `config` lets no other through.
    cron: Option<Cron>,
}

impl Turns {
    pub(super) fn new(key: &CheckKey, cadence: &Cadence) -> Self {
        let cron = match cadence {
            Cadence::Every(_) => None,
            Cadence::Cron { patterns, timezone, .. } => Cron::new(patterns, timezone).ok(),
        };
        Self { hash: hash(key), cadence: cadence.clone(), cron }
    }

    /// Whether they fall on the same times.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.hash == other.hash && self.cadence == other.cadence
    }

    /// The first turn that is not before `from_ms`.
    pub(super) fn first_at_or_after(&self, from_ms: i64) -> Option<i64> {
        match &self.cadence {
            Cadence::Every(every) => {
                let every = millis(*every).max(1);
                let phase = self.share_of(every);
                from_ms.checked_add((phase.checked_sub(from_ms)?).rem_euclid(every))
            }
            Cadence::Cron { .. } => {
                let late = self.share_of(CRON_SPREAD_MS);
                let after = from_ms.checked_sub(late)?.checked_sub(1)?;
                let next = self.cron.as_ref()?.next_after(Timestamp::from_millisecond(after).ok()?)?;
                next.as_millisecond().checked_add(late)
            }
        }
    }

    /// A part of `whole_ms` that is this check's own: evenly spread over all checks.
    pub(super) fn share_of(&self, whole_ms: i64) -> i64 {
        let whole = u64::try_from(whole_ms).unwrap_or(1).max(1);
        i64::try_from(self.hash % whole).unwrap_or(0)
    }

    /// How far turns lie apart, or a minute where that varies.
    pub(super) fn length_ms(&self) -> i64 {
        match &self.cadence {
            Cadence::Every(every) => millis(*every).max(1),
            Cadence::Cron { .. } => 60_000,
        }
    }
}

/// FNV-1a over the name, then the finaliser of `SplitMix64` so that every bit depends on every byte.
/// Fixed for ever: phases must outlive versions of Rust and of us.
fn hash(key: &CheckKey) -> u64 {
    let name = key.service.as_str().bytes().chain([b'/']).chain(key.check.as_str().bytes());
    let mut hash =
        name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{CheckId, ServiceId};

    #[test]
    fn phases_never_change() {
        let key = CheckKey { service: ServiceId::new("api").unwrap(), check: CheckId::new("health").unwrap() };
        assert_eq!(hash(&key), 3_013_056_830_901_999_402);
        let turns = Turns::new(&key, &Cadence::Every(Duration::from_mins(1)));
        assert_eq!(turns.first_at_or_after(0), Some(39_402));
        assert_eq!(turns.first_at_or_after(39_402), Some(39_402));
        assert_eq!(turns.first_at_or_after(39_403), Some(99_402));
    }
}
