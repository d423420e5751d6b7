//! From one event to a delivery for everyone who is to be told, in slices, so that nobody else waits
//! long for the store. Every function is part of a transaction that its caller began.
//!
//! With an event is written that it is to be fanned out, and to whom: that is the promise, and whoever
//! finds it later keeps it. A few subscribers get their deliveries in the same transaction. The rest
//! follows in the order of their ids, which never change, once the event is sealed: until then it may
//! get other content, and that costs nothing so.
//!
//! Who is told is decided by the moment of the event. Who leaves before their turn is not there any
//! more; who chooses anew first gets what they followed until then ([`choose_anew`]), and is passed
//! over like whoever comes later.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    domain::{EventId, SubscriberId, event::Event},
    store::{
        StoreError,
        row::{At, count, json},
    },
};

/// So many subscribers are looked at in one transaction.
pub(in crate::store) const SLICE: usize = 2_000;

/// How many subscribers a transaction may still look at.
#[derive(Debug)]
pub(in crate::store) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(SLICE)
    }
}

/// What one slice did, and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliced {
    /// How many deliveries it queued.
    pub queued: usize,
    /// When the next one can be made; `None` if everyone has what they are to be told.
    pub next_at: Option<Timestamp>,
}

/// An event on its way to those who are to be told.
struct FanOut {
    no: i64,
    event: [u8; 16],
    event_seq: i64,
    incident: String,
    services: String,
    groups: String,
    not_before: At,
    after: Vec<u8>,
}

/// Who is to be told of an event, from its services, its groups, and the number of its fan-out: of
/// those behind the fourth, up to and with the fifth. How much it matters to them is asked when it is
/// about to be told: that may still change.
pub(super) const TO_BE_TOLD: &str = "FROM subscriber
    WHERE id > ?4 AND id <= ?5 AND state = 'confirmed' AND incidents
        AND (services = '[]' AND groups = '[]'
            OR EXISTS (SELECT 1 FROM json_each(services) WHERE value IN (SELECT value FROM json_each(?1)))
            OR EXISTS (SELECT 1 FROM json_each(groups) WHERE value IN (SELECT value FROM json_each(?2))))
        AND NOT EXISTS (SELECT 1 FROM latecomer WHERE latecomer.subscriber = subscriber.id AND since >= ?3)";

/// Behind every id.
pub(super) const LAST: [u8; 16] = [0xff; 16];

const COLUMNS: &str = "no, event, event_seq, incident, services, groups, not_before, after";

impl FanOut {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            no: row.get(0)?,
            event: row.get(1)?,
            event_seq: row.get(2)?,
            incident: row.get(3)?,
            services: row.get(4)?,
            groups: row.get(5)?,
            not_before: row.get(6)?,
            after: row.get(7)?,
        })
    }

    /// Queues it for those behind `after`, up to and with `last`, who follow it and do not have it
    /// yet.
    fn queue(&self, tx: &Connection, after: &[u8], last: &[u8]) -> rusqlite::Result<usize> {
        tx.prepare_cached(&format!(
            "INSERT INTO delivery (id, event, event_seq, incident, subscriber, way, state, not_before)
             SELECT delivery_id(?6, id), ?6, ?7, ?8, id, kind, 'queued', ?9 {TO_BE_TOLD} ORDER BY id
             ON CONFLICT (event, subscriber) DO NOTHING"
        ))?
        .execute((
            &self.services,
            &self.groups,
            self.no,
            after,
            last,
            self.event,
            self.event_seq,
            &self.incident,
            self.not_before,
        ))
    }

    /// Goes on with up to `budget` subscribers; how many deliveries that made.
    fn go_on(&self, tx: &Connection, budget: &mut Budget) -> rusqlite::Result<usize> {
        let Some(last) = last_of_slice(tx, &self.after, budget)? else {
            // There is nobody behind it any more.
            tx.prepare_cached("DELETE FROM fan_out WHERE no = ?1")?.execute([self.no])?;
            tidy(tx)?;
            return Ok(0);
        };
        let queued = self.queue(tx, &self.after, &last)?;
        if budget.0 > 0 {
            tx.prepare_cached("DELETE FROM fan_out WHERE no = ?1")?.execute([self.no])?;
            tidy(tx)?;
        } else {
            tx.prepare_cached("UPDATE fan_out SET after = ?2 WHERE no = ?1")?.execute((self.no, &last))?;
        }
        Ok(queued)
    }
}

/// The last subscriber of those behind `after` whom `budget` allows, which is charged for them;
/// `None` if there is nobody.
fn last_of_slice(tx: &Connection, after: &[u8], budget: &mut Budget) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut ids = tx.prepare_cached("SELECT id FROM subscriber WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let mut rows = ids.query((after, i64::try_from(budget.0).unwrap_or(i64::MAX)))?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        last = Some(row.get(0)?);
        budget.0 = budget.0.saturating_sub(1);
    }
    Ok(last)
}

/// The events that not everyone has a delivery of yet, in their order, and when the next slice of each
/// can be made at the earliest.
pub(super) fn promises(db: &Connection) -> rusqlite::Result<Vec<(EventId, Timestamp)>> {
    db.prepare_cached("SELECT event, not_before FROM fan_out ORDER BY event_seq")?
        .query_map([], |row| Ok((EventId::from_bytes(row.get(0)?), row.get::<_, At>(1)?.0)))?
        .collect()
}

/// How many subscribers an event was promised to who have no delivery of it yet.
pub(super) fn promised(db: &Connection, event: &EventId) -> rusqlite::Result<u64> {
    let promise = db
        .prepare_cached("SELECT services, groups, no, after FROM fan_out WHERE event = ?1")?
        .query_row([event.as_bytes()], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(3)?))
        })
        .optional()?;
    let Some((services, groups, no, after)) = promise else { return Ok(0) };
    db.prepare_cached(&format!(
        "SELECT count(*) {TO_BE_TOLD} AND NOT EXISTS
             (SELECT 1 FROM delivery WHERE delivery.event = ?6 AND delivery.subscriber = subscriber.id)"
    ))?
    .query_row((services, groups, no, after, LAST, event.as_bytes()), |row| row.get(0))
    .map(count)
}

/// Once nothing is under way, nobody is late any more.
pub(super) fn tidy(tx: &Connection) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM latecomer WHERE NOT EXISTS (SELECT 1 FROM fan_out)")?.execute([]).map(drop)
}

/// Promises an event to everyone who follows one of its services now, and begins with it as far as
/// `budget` goes. If it was promised before, it is promised anew, to those of now.
pub(in crate::store) fn promise(tx: &Connection, event: &Event, budget: &mut Budget) -> rusqlite::Result<()> {
    take_back(tx, event)?;
    let fan_out = tx
        .prepare_cached(&format!(
            "INSERT INTO fan_out (event, event_seq, incident, services, groups, not_before, after)
             SELECT id, seq, ?2, ?3,
                 (SELECT json_group_array(DISTINCT grp) FROM service
                  WHERE id IN (SELECT value FROM json_each(?3)) AND grp IS NOT NULL),
                 ?4, x''
             FROM event WHERE id = ?1
             RETURNING {COLUMNS}"
        ))?
        .query_row(
            (event.id.as_bytes(), event.incident.as_str(), json(&event.services)?, At(event.seals_at)),
            FanOut::from_row,
        )?;
    if budget.0 == 0 || waits_for_another(tx, &fan_out)? {
        return Ok(());
    }
    fan_out.go_on(tx, budget).map(drop)
}

/// Whether an earlier event of the same incident is under way: nobody may hear of a later one first.
fn waits_for_another(tx: &Connection, fan_out: &FanOut) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM fan_out WHERE incident = ?1 AND event_seq < ?2")?
        .exists((&fan_out.incident, fan_out.event_seq))
}

/// Takes back a promise; what is queued already stays so.
pub(in crate::store) fn take_back(tx: &Connection, event: &Event) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM fan_out WHERE event = ?1")?.execute([event.id.as_bytes()])?;
    Ok(())
}

/// Somebody is about to choose anew, or to come: they get what is under way to them by what they
/// chose before, and nothing of it by what they choose now.
pub(in crate::store) fn choose_anew(tx: &Connection, subscriber: &SubscriberId) -> rusqlite::Result<()> {
    let under_way: Vec<FanOut> = tx
        .prepare_cached(&format!("SELECT {COLUMNS} FROM fan_out ORDER BY event_seq"))?
        .query_map([], FanOut::from_row)?
        .collect::<rusqlite::Result<_>>()?;
    let Some(newest) = under_way.iter().map(|fan_out| fan_out.no).max() else { return Ok(()) };
    let id = subscriber.as_bytes();
    for fan_out in &under_way {
        // Whoever is not behind `after` has it, or is not to have it.
        if fan_out.after.as_slice() < id.as_slice() {
            fan_out.queue(tx, before(id).as_slice(), id)?;
        }
    }
    tx.prepare_cached(
        "INSERT INTO latecomer (subscriber, since) VALUES (?1, ?2)
         ON CONFLICT (subscriber) DO UPDATE SET since = excluded.since",
    )?
    .execute((id, newest))?;
    Ok(())
}

/// What comes right before an id, in the order of bytes: nobody's id lies in between.
fn before(id: &[u8; 16]) -> [u8; 16] {
    u128::from_be_bytes(*id).saturating_sub(1).to_be_bytes()
}

/// When the next slice can be made; `None` if there is none to make.
pub(super) fn next_at(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let next: Option<At> = db
        .prepare_cached(
            "SELECT min(not_before) FROM fan_out AS mine WHERE NOT EXISTS
                 (SELECT 1 FROM fan_out AS other WHERE other.incident = mine.incident
                  AND other.event_seq < mine.event_seq)",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(next.map(|at| at.0))
}

/// Makes the next slice, of the oldest event that is sealed.
pub(super) fn slice(tx: &Connection, now: Timestamp, budget: &mut Budget) -> rusqlite::Result<usize> {
    let fan_out = tx
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM fan_out AS mine
             WHERE not_before <= ?1 AND NOT EXISTS
                 (SELECT 1 FROM fan_out AS other WHERE other.incident = mine.incident
                  AND other.event_seq < mine.event_seq)
             ORDER BY event_seq LIMIT 1"
        ))?
        .query_row([At(now)], FanOut::from_row)
        .optional()?;
    fan_out.map_or(Ok(0), |fan_out| fan_out.go_on(tx, budget))
}

impl super::Store {
    /// Queues what was promised for some more subscribers, if any wait for that and it is time.
    ///
    /// # Errors
    /// If the store cannot be written: then nothing was done, and nothing is lost.
    pub fn fan_out(&mut self, now: Timestamp) -> Result<Sliced, StoreError> {
        let next_at = |store: &Self| store.read("look at what is to be told", next_at);
        // Asking costs no lock; there is nothing to do most of the time.
        match next_at(self)? {
            Some(at) if at <= now => {}
            later => return Ok(Sliced { queued: 0, next_at: later }),
        }
        let queued = self.write("queue what is to be told", |tx| slice(tx, now, &mut Budget::default()))?;
        Ok(Sliced { queued, next_at: next_at(self)? })
    }
}
