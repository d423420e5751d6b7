//! The queue at a glance: counts of what waits, event by event, and of what was refused for good. For
//! people who ask, not for the daemon; 100,000 rows are counted and not handed out.

use jiff::Timestamp;
use serde::Serialize;

use super::fan_out;
use crate::{
    domain::{EventId, IncidentId, SubscriberId, event::Event, id::DeliveryId},
    store::{
        Reader, StoreError, reader,
        row::{At, Word, count},
    },
};

/// What of one event is in the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Which event.
    pub event: Event,
    /// Due now, and never refused.
    pub due: u64,
    /// On their way.
    pub sending: u64,
    /// Promised, and not in the queue yet.
    pub promised: u64,
    /// When the first of them was or is due.
    pub next_at: Timestamp,
}

/// What of one event waits until one moment, and was never refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which event.
    pub event: EventId,
    /// Of which incident.
    pub incident: IncidentId,
    /// Until when.
    pub until: Timestamp,
    /// How many.
    pub count: u64,
    /// One of those for whom it waits.
    pub example: SubscriberId,
}

/// One delivery that a server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub delivery: DeliveryId,
    /// Of which event.
    pub event: EventId,
    /// Of which incident.
    pub incident: IncidentId,
    /// For whom.
    pub subscriber: SubscriberId,
    /// When it was given up, or is tried again.
    pub at: Timestamp,
    /// What the server said last; it may name people.
    pub reply: Option<String>,
}

/// Letters of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueuedLetters {
    /// Which: `confirm`, `settings` or `welcome`.
    pub kind: String,
    /// Due now.
    pub due: u64,
    /// On their way.
    pub sending: u64,
    /// Refused for now.
    pub retried: u64,
    /// Not to leave yet, never refused: there are bounds to how many are sent.
    pub held: u64,
    /// When the first of them was written.
    pub oldest_at: Timestamp,
    /// When the first of them was or is due.
    pub next_at: Timestamp,
}

/// So many moments for which something waits are told apart.
const MOMENTS: i64 = 200;

impl Reader {
    /// Every event of which something is in the queue, or promised, in the order of recording.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn queued(&self, now: Timestamp) -> Result<Vec<Queued>, StoreError> {
        self.read("look at the queue", |db| {
            let mut found: Vec<(EventId, Queued)> = Vec::new();
            let mut event_of = db.prepare_cached("SELECT json, v FROM event WHERE id = ?1")?;
            let mut load = |id: EventId, next_at: Timestamp| -> rusqlite::Result<Option<Queued>> {
                let mut rows = event_of.query([id.as_bytes()])?;
                let event = match rows.next()? {
                    Some(row) => reader::event(row)?,
                    None => None,
                };
                Ok(event.map(|event| Queued { event, due: 0, sending: 0, promised: 0, next_at }))
            };
            let mut groups = db.prepare_cached(
                "SELECT event, state = 'sending', attempts > 0, not_before > ?1, count(*), min(not_before)
                 FROM delivery
                 WHERE done_at IS NULL AND (folded_into IS NULL OR folded_into NOT IN (SELECT id FROM letter))
                 GROUP BY event_seq, event, 2, 3, 4 ORDER BY event_seq",
            )?;
            let mut rows = groups.query([At(now)])?;
            while let Some(row) = rows.next()? {
                let (id, next_at) = (EventId::from_bytes(row.get(0)?), row.get::<_, At>(5)?.0);
                if found.last().is_none_or(|(last, _)| *last != id) {
                    found.extend(load(id, next_at)?.map(|queued| (id, queued)));
                }
                let Some((_, queued)) = found.last_mut().filter(|(last, _)| *last == id) else { continue };
                queued.next_at = queued.next_at.min(next_at);
                let number = count(row.get(4)?);
                match (row.get(1)?, row.get(2)?, row.get(3)?) {
                    (true, _, _) => queued.sending = queued.sending.saturating_add(number),
                    (false, false, false) => queued.due = queued.due.saturating_add(number),
                    // Told apart by reason elsewhere.
                    (false, true, _) | (false, false, true) => {}
                }
            }
            for (id, not_before) in fan_out::promises(db)? {
                let promised = fan_out::promised(db, &id)?;
                if promised == 0 {
                    continue;
                }
                if found.iter().all(|(known, _)| *known != id) {
                    found.extend(load(id, not_before)?.map(|queued| (id, queued)));
                }
                if let Some((_, queued)) = found.iter_mut().find(|(known, _)| *known == id) {
                    queued.promised = promised;
                    queued.next_at = queued.next_at.min(not_before);
                }
            }
            Ok(found.into_iter().map(|(_, queued)| queued).collect())
        })
    }

    /// What waits until a moment to come without having been refused: by event and moment, those with
    /// the most first, and not endlessly many.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn held(&self, now: Timestamp) -> Result<Vec<Held>, StoreError> {
        self.read("look at the queue", |db| {
            db.prepare_cached(
                "SELECT event, incident, not_before, count(*), min(subscriber) FROM delivery
                 WHERE done_at IS NULL AND state = 'queued' AND attempts = 0 AND not_before > ?1
                 GROUP BY event, not_before ORDER BY 4 DESC LIMIT ?2",
            )?
            .query_map((At(now), MOMENTS), |row| {
                Ok(Held {
                    event: EventId::from_bytes(row.get(0)?),
                    incident: row.get::<_, Word<_>>(1)?.0,
                    until: row.get::<_, At>(2)?.0,
                    count: count(row.get(3)?),
                    example: SubscriberId::from_bytes(row.get(4)?),
                })
            })?
            .collect()
        })
    }

    /// Every delivery that was refused for now and waits, those that are due first before others.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn refused_for_now(&self, each: &mut dyn FnMut(Refused)) -> Result<(), StoreError> {
        self.each_refused(
            "SELECT id, event, incident, subscriber, not_before, reply FROM delivery INDEXED BY delivery_again
             WHERE done_at IS NULL AND attempts > 0 AND state = 'queued' AND not_before >= ?1 ORDER BY not_before",
            Timestamp::MIN,
            each,
        )
    }

    /// Every delivery that was given up at `since` or later, the latest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn given_up(&self, since: Timestamp, each: &mut dyn FnMut(Refused)) -> Result<(), StoreError> {
        self.each_refused(
            "SELECT id, event, incident, subscriber, done_at, reply FROM delivery
             WHERE done_at IS NOT NULL AND done_at >= ?1 AND state = 'failed' ORDER BY done_at DESC",
            since,
            each,
        )
    }

    fn each_refused(&self, sql: &str, since: Timestamp, each: &mut dyn FnMut(Refused)) -> Result<(), StoreError> {
        self.read("look at the queue", |db| {
            let mut statement = db.prepare_cached(sql)?;
            let mut rows = statement.query([At(since)])?;
            while let Some(row) = rows.next()? {
                each(Refused {
                    delivery: DeliveryId::from_bytes(row.get(0)?),
                    event: EventId::from_bytes(row.get(1)?),
                    incident: row.get::<_, Word<_>>(2)?.0,
                    subscriber: SubscriberId::from_bytes(row.get(3)?),
                    at: row.get::<_, At>(4)?.0,
                    reply: row.get(5)?,
                });
            }
            Ok(())
        })
    }

    /// Letters that are in the queue, by kind.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn queued_letters(&self, now: Timestamp) -> Result<Vec<QueuedLetters>, StoreError> {
        self.read("look at the letters", |db| {
            db.prepare_cached(
                "SELECT kind,
                     count(*) FILTER (WHERE state = 'queued' AND attempts = 0 AND not_before <= ?1),
                     count(*) FILTER (WHERE state = 'sending'),
                     count(*) FILTER (WHERE state = 'queued' AND attempts > 0),
                     count(*) FILTER (WHERE state = 'queued' AND attempts = 0 AND not_before > ?1),
                     min(id), min(not_before)
                 FROM letter GROUP BY kind ORDER BY kind",
            )?
            .query_map([At(now)], |row| {
                Ok(QueuedLetters {
                    kind: row.get(0)?,
                    due: count(row.get(1)?),
                    sending: count(row.get(2)?),
                    retried: count(row.get(3)?),
                    held: count(row.get(4)?),
                    oldest_at: DeliveryId::from_bytes(row.get(5)?).at(),
                    next_at: row.get::<_, At>(6)?.0,
                })
            })?
            .collect()
        })
    }
}
