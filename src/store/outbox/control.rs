//! What an operator moves by hand: what waits or was given up is due now, or is never told. Slice by
//! slice, so that the daemon, which goes on meanwhile, waits for one slice at most.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction, params_from_iter, types::Value};

use super::fan_out::{self, SLICE};
use crate::{
    domain::{IncidentId, id::DeliveryId},
    store::{
        MOMENT, Store, StoreError, letters,
        row::{count, json},
    },
};

/// Why what an operator dropped is not told.
pub const BY_HAND: &str = "dropped by the operator";
/// Without being named, what was given up longer ago than this stays so: it is no news any more.
pub const RECENT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Which of the queue is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// What tells of an incident: its id, and those of what became part of it.
    Incident(Vec<IncidentId>),
    /// One delivery, or one letter.
    Delivery(DeliveryId),
    /// Everything.
    All,
}

impl Which {
    /// A condition on a row of `delivery`, whose parameter is `?1`.
    const fn condition(&self) -> &'static str {
        match self {
            Self::Incident(_) => "event IN (SELECT id FROM event WHERE incident IN (SELECT value FROM json_each(?1)))",
            Self::Delivery(_) => "id = ?1",
            Self::All => "?1 IS NULL",
        }
    }

    fn parameter(&self) -> rusqlite::Result<Value> {
        Ok(match self {
            Self::Incident(ids) => Value::Text(json(ids)?),
            Self::Delivery(id) => Value::Blob(id.as_bytes().to_vec()),
            Self::All => Value::Null,
        })
    }

    /// Runs `sql` with the parameter and `more`, from `?2` on; how many rows that changed.
    fn execute(&self, tx: &Connection, sql: &str, more: impl IntoIterator<Item = Value>) -> rusqlite::Result<u64> {
        let parameters = std::iter::once(self.parameter()?).chain(more);
        let changed = tx.prepare_cached(sql)?.execute(params_from_iter(parameters))?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    fn number(&self, tx: &Connection, sql: &str, more: impl IntoIterator<Item = Value>) -> rusqlite::Result<u64> {
        let parameters = std::iter::once(self.parameter()?).chain(more);
        tx.prepare_cached(sql)?.query_row(params_from_iter(parameters), |row| row.get(0)).map(count)
    }
}

/// What retrying did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// Deliveries that waited and are due now.
    pub waiting: u64,
    /// Deliveries that were given up and are in the queue again.
    pub given_up: u64,
    /// Letters that had been refused for now and are due now.
    pub letters: u64,
    /// What stays given up: its subscriber left or is suspended, or was told something newer of the same
    /// incident, or it is of old.
    pub passed_over: u64,
}

/// What dropping did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Deliveries that waited.
    pub waiting: u64,
    /// Deliveries that were promised, and not in the queue yet.
    pub promised: u64,
    /// Letters.
    pub letters: u64,
    /// What is on its way, and is not dropped.
    pub on_their_way: u64,
}

fn slice() -> Value {
    Value::Integer(i64::try_from(SLICE).unwrap_or(i64::MAX))
}

fn at(at: Timestamp) -> Value {
    Value::Integer(at.as_millisecond())
}

impl Store {
    /// Whether there is such a delivery or letter.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn has_delivery(&self, id: &DeliveryId) -> Result<bool, StoreError> {
        self.read("look up a delivery", |db| {
            let found: Option<i64> = db
                .prepare_cached("SELECT 1 FROM delivery WHERE id = ?1 UNION SELECT 1 FROM letter WHERE id = ?1")?
                .query_row([id.as_bytes()], |row| row.get(0))
                .optional()?;
            Ok(found.is_some())
        })
    }

    /// Makes due now what waits, and puts back into the queue what was given up, unless that would tell
    /// somebody of what was before what they were told last. What may not be told yet goes on waiting:
    /// that is decided when it is claimed.
    ///
    /// # Errors
    /// If the store cannot be written; what was done before stays so.
    pub fn retry(&mut self, which: &Which, now: Timestamp) -> Result<Retried, StoreError> {
        let condition = which.condition();
        let waits = format!(
            "UPDATE delivery SET not_before = ?2 WHERE no IN (
                 SELECT no FROM delivery
                 WHERE done_at IS NULL AND state = 'queued' AND not_before > ?2 AND {condition} LIMIT ?3)"
        );
        let failed = format!("FROM delivery AS failed WHERE state = 'failed' AND done_at >= ?2 AND {condition}");
        let again = format!(
            "UPDATE delivery SET state = 'queued', not_before = ?4, done_at = NULL, attempts = 0, epoch = NULL,
                 folded_into = NULL, returned = NULL
             WHERE no IN (
                 SELECT no {failed}
                     AND EXISTS (SELECT 1 FROM subscriber WHERE id = failed.subscriber AND state = 'confirmed')
                     AND NOT EXISTS (
                         SELECT 1 FROM delivery AS later
                         WHERE later.subscriber = failed.subscriber AND later.incident = failed.incident
                             AND later.event_seq > failed.event_seq
                             AND (later.state IN ('sending', 'sent', 'folded')
                                  OR later.state = 'dropped' AND later.reply = '{BY_HAND}'))
                 LIMIT ?3)"
        );
        let since = match which {
            Which::All => now.checked_sub(RECENT).unwrap_or(Timestamp::MIN),
            Which::Incident(_) | Which::Delivery(_) => Timestamp::from_millisecond(0).unwrap_or(Timestamp::MIN),
        };
        // The whole incident of somebody at once: else the later of two would keep the earlier one back.
        let given_up =
            self.by_slices("retry deliveries", |tx| which.execute(tx, &again, [at(since), slice(), at(now)]))?;
        let waiting = self.by_slices("retry deliveries", |tx| which.execute(tx, &waits, [at(now), slice()]))?;
        let everything_failed = format!("SELECT count(*) FROM delivery WHERE state = 'failed' AND {condition}");
        let passed_over =
            self.read("count what was given up", |db| which.number(db, &everything_failed, std::iter::empty()))?;
        let letters = match which {
            Which::Incident(_) => 0,
            Which::Delivery(_) | Which::All => self.write("retry letters", |tx| {
                // Those that were never tried wait because there are bounds to how many are sent.
                let sql = format!(
                    "UPDATE letter SET not_before = ?2
                     WHERE state = 'queued' AND attempts > 0 AND not_before > ?2 AND {condition}"
                );
                which.execute(tx, &sql, [at(now)])
            })?,
        };
        Ok(Retried { waiting, given_up, letters, passed_over })
    }

    /// Takes out of the queue what waits: it is never told. What is on its way stays so.
    ///
    /// # Errors
    /// If the store cannot be written; what was done before stays so.
    pub fn drop_deliveries(&mut self, which: &Which, now: Timestamp) -> Result<Dropped, StoreError> {
        let condition = which.condition();
        let (promised, letters) =
            self.write("drop what is promised", |tx| Ok((take_back(tx, which)?, drop_letters(tx, which, now)?)))?;
        let sql = format!(
            "UPDATE delivery SET state = 'dropped', epoch = NULL, done_at = ?2, reply = '{BY_HAND}', folded_into = NULL
             WHERE no IN (
                 SELECT no FROM delivery WHERE done_at IS NULL AND state = 'queued' AND {condition} LIMIT ?3)"
        );
        let waiting = self.by_slices("drop deliveries", |tx| which.execute(tx, &sql, [at(now), slice()]))?;
        let sending =
            format!("SELECT count(*) FROM delivery WHERE done_at IS NULL AND state = 'sending' AND {condition}");
        let on_their_way =
            self.read("count what is on its way", |db| which.number(db, &sending, std::iter::empty()))?;
        Ok(Dropped { waiting, promised, letters, on_their_way })
    }

    /// Does `act` again and again, each time in a transaction of its own, until one finds less to do than
    /// it may; how much that was.
    fn by_slices(
        &mut self,
        doing: &'static str,
        act: impl Fn(&Transaction<'_>) -> rusqlite::Result<u64>,
    ) -> Result<u64, StoreError> {
        let mut all = 0_u64;
        loop {
            let some = self.write(doing, &act)?;
            all = all.saturating_add(some);
            if some < u64::try_from(SLICE).unwrap_or(u64::MAX) {
                return Ok(all);
            }
            std::thread::sleep(MOMENT);
        }
    }
}

/// Takes back what is promised; to how many.
fn take_back(tx: &Connection, which: &Which) -> rusqlite::Result<u64> {
    let condition = which.condition();
    let is_meant = match which {
        Which::Incident(_) | Which::All => format!("SELECT count(*) FROM fan_out WHERE event = ?2 AND {condition}"),
        Which::Delivery(_) => return Ok(0),
    };
    let mut taken = 0_u64;
    for (event, _) in fan_out::promises(tx)? {
        if which.number(tx, &is_meant, [Value::Blob(event.as_bytes().to_vec())])? > 0 {
            taken = taken.saturating_add(fan_out::promised(tx, &event)?);
            tx.prepare_cached("DELETE FROM fan_out WHERE event = ?1")?.execute([event.as_bytes()])?;
        }
    }
    fan_out::tidy(tx)?;
    Ok(taken)
}

fn drop_letters(tx: &Connection, which: &Which, now: Timestamp) -> rusqlite::Result<u64> {
    if matches!(which, Which::Incident(_)) {
        return Ok(0);
    }
    let ids: Vec<[u8; 16]> = tx
        .prepare_cached(&format!("SELECT id FROM letter WHERE state = 'queued' AND {}", which.condition()))?
        .query_map([which.parameter()?], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    ids.iter().try_for_each(|id| letters::discard(tx, *id, now))?;
    Ok(u64::try_from(ids.len()).unwrap_or(u64::MAX))
}
