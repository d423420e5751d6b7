//! What is done now and then: sealing results, and forgetting what has been kept long enough.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Store, StoreError, asking, letters, results,
    row::{At, count},
};

/// A result that comes this late still finds the log's last hour open.
const LATE_MS: i64 = 120_000;
/// How many rows are sealed or forgotten in one transaction: some 50 ms of work, for which others
/// may have to wait.
const BATCH: i64 = 20_000;
/// Who left is remembered this long.
const DEPARTED: Duration = Duration::from_hours(30 * 24);
/// What was told of an incident that is over is remembered this long.
const TOLD: Duration = Duration::from_hours(90 * 24);

/// What tidying did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Results that were packed into hourly rows.
    pub sealed: u64,
    /// Rows that had been kept long enough.
    pub forgotten: u64,
    /// Whether there is more to do: call again soon.
    pub more: bool,
}

impl Store {
    /// Seals finished hours and forgets what is past its time, a bounded bit of both.
    ///
    /// # Errors
    /// If the store cannot be written; nothing is lost then.
    pub fn tidy(&mut self, now: Timestamp) -> Result<Tidied, StoreError> {
        let before = |age: Duration| At(now.checked_sub(age).unwrap_or(Timestamp::MIN));
        let keep_results = self.keep_results;
        let tidied = self.write("tidy up", |tx| {
            let sealed = results::seal(tx, results::hour_of(now.as_millisecond() - LATE_MS), BATCH)?;
            let hours = tx.execute(
                "DELETE FROM result_hour WHERE rowid IN (
                     SELECT rowid FROM result_hour WHERE hour_at < ?1 - 3600000 ORDER BY hour_at LIMIT ?2)",
                (before(keep_results), BATCH),
            )?;
            let told = tx.execute(
                "DELETE FROM delivery WHERE no IN (
                     SELECT no FROM delivery WHERE done_at < ?1 AND incident IN
                         (SELECT id FROM incident WHERE resolved_at < ?1) LIMIT ?2)",
                (before(TOLD), BATCH),
            )?;
            let departed = tx.execute("DELETE FROM departed WHERE left_at < ?1", [before(DEPARTED)])?;
            let asked = asking::tidy(tx, now, BATCH)? + letters::tidy(tx, now, BATCH)?;
            let (hours, told, departed, asked) = (size(hours), size(told), size(departed), size(asked));
            let more = [sealed, hours, told, asked].into_iter().any(|done| done >= count(BATCH));
            Ok(Tidied { sealed, forgotten: hours + told + departed + asked, more })
        })?;
        if tidied.forgotten > 0 {
            self.read("give back free pages", |db| {
                let mut pages = db.prepare("PRAGMA incremental_vacuum(1000)")?;
                let mut rows = pages.query([])?;
                while rows.next()?.is_some() {}
                Ok(())
            })?;
        }
        Ok(tidied)
    }
}

fn size(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}
