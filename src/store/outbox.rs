//! The queue of deliveries: one event for one subscriber, from the commit that caused it until it
//! is settled. What is decided about a delivery is decided elsewhere; here it is written down.
//!
//! A delivery is `queued`, `sending` (claimed by the daemon of one epoch), and in the end `sent`,
//! `folded` into another one's message, `dropped`, or `failed`. Epochs number the daemons' starts:
//! claims of a dead one are free as soon as the next one has its number.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, functions::FunctionFlags};
use sha2::{Digest, Sha256};

use super::{
    Store, StoreError, reader,
    row::{At, count},
    subscribers,
};
use crate::{
    domain::{
        IncidentId, SubscriberId,
        event::Event,
        id::DeliveryId,
        incident::Incident,
        subscriber::{Subscriber, SubscriberState},
    },
    untrusted,
};

/// All that is to be told to one subscriber about one incident.
#[derive(Clone, Debug)]
pub struct Lane {
    /// To whom.
    pub subscriber: Subscriber,
    /// About what.
    pub incident: IncidentId,
    /// The incident as it is now, which may be further on than any of the events.
    pub current: Arc<Incident>,
    /// What they have not been told, oldest event first, due or not. Never empty.
    pub pending: Vec<Pending>,
    /// What they have been told, oldest first; what was folded into a message is not listed.
    pub told: Vec<Told>,
}

/// One event that a subscriber has not been told.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Names this event for this subscriber: the Message-ID comes from it.
    pub delivery: DeliveryId,
    /// What happened.
    pub event: Arc<Event>,
    /// How often the mail server refused it for now.
    pub attempts: u32,
    /// When it was first tried.
    pub first_tried_at: Option<Timestamp>,
}

/// One message that a subscriber has got: it said all up to this event.
#[derive(Clone, Debug)]
pub struct Told {
    /// The newest event that it told of.
    pub event: Arc<Event>,
    /// When the server took it.
    pub at: Timestamp,
}

/// What became of a claimed delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub delivery: DeliveryId,
    /// What.
    pub result: Settlement,
}

/// The ways in which a claim ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The server took it.
    Sent {
        /// What the server said, for the record.
        reply: String,
    },
    /// Not yet; costs no retry.
    Hold {
        /// When to look again.
        until: Timestamp,
    },
    /// The server refused it for now.
    Retry {
        /// When to try again.
        until: Timestamp,
        /// What the server said.
        reply: String,
    },
    /// Told in the message of another delivery, which the server took.
    Folded {
        /// Whose message.
        into: DeliveryId,
    },
    /// Need not be told.
    Dropped {
        /// Why.
        reason: String,
    },
    /// Given up.
    Failed {
        /// What the server said at last.
        reply: String,
    },
}

/// How many deliveries are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting.
    pub queued: u64,
    /// Claimed.
    pub sending: u64,
    /// Taken by a server.
    pub sent: u64,
    /// Told in another one's message.
    pub folded: u64,
    /// Needed no telling.
    pub dropped: u64,
    /// Given up.
    pub failed: u64,
}

impl Counts {
    /// What is not settled yet.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.queued.saturating_add(self.sending)
    }
}

/// For so long is what this version cannot read left alone.
const UNKNOWN_MS: i64 = 3_600_000;

/// How many strikes on different days in a row suspend a subscriber.
const STRIKES: i64 = 3;

impl Store {
    /// Numbers a start of the daemon; whatever an earlier one had claimed is free from now on.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn new_epoch(&mut self) -> Result<i64, StoreError> {
        self.write("begin a new epoch", |tx| {
            tx.execute(
                "UPDATE delivery SET state = 'queued', epoch = NULL WHERE state = 'sending' AND done_at IS NULL",
                [],
            )?;
            tx.query_row("UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value", [], |row| row.get(0))
        })
    }

    /// Takes up to `limit` lanes with something due and nothing in flight, those due for longest
    /// first; what they hold stays claimed until it is settled or another epoch begins. Only
    /// subscribers who are confirmed now are among them.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub fn claim(&mut self, epoch: i64, now: Timestamp, limit: usize) -> Result<Vec<Lane>, StoreError> {
        // Asking costs no lock and no disk; there is nothing to do most of the time.
        if limit == 0 || self.next_due()?.is_none_or(|due| due > now) {
            return Ok(Vec::new());
        }
        self.write("claim deliveries", |tx| claim(tx, epoch, now, limit))
    }

    /// Writes down what became of claims, all in one commit. What is no longer claimed (its
    /// subscriber left meanwhile) is passed over.
    ///
    /// # Errors
    /// If the store cannot be written: what was sent is then sent again after a crash, so try
    /// again.
    pub fn settle(&mut self, settled: &[Settled], now: Timestamp) -> Result<(), StoreError> {
        if settled.is_empty() {
            return Ok(());
        }
        self.write("settle deliveries", |tx| settled.iter().try_for_each(|settled| settle(tx, settled, now)))
    }

    /// How many deliveries are in which state. Looks at all of them.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn outbox_counts(&self) -> Result<Counts, StoreError> {
        self.read("count deliveries", |db| {
            let mut counts = Counts::default();
            let mut states = db.prepare_cached("SELECT state, count(*) FROM delivery GROUP BY state")?;
            let mut rows = states.query([])?;
            while let Some(row) = rows.next()? {
                let number = count(row.get(1)?);
                match row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)? {
                    "queued" => counts.queued = number,
                    "sending" => counts.sending = number,
                    "sent" => counts.sent = number,
                    "folded" => counts.folded = number,
                    "dropped" => counts.dropped = number,
                    "failed" => counts.failed = number,
                    _ => {}
                }
            }
            Ok(counts)
        })
    }

    /// How many deliveries are not settled yet. Cheap.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn outbox_pending(&self) -> Result<u64, StoreError> {
        self.read("count deliveries", |db| {
            db.prepare_cached("SELECT count(*) FROM delivery WHERE done_at IS NULL AND state IN ('queued', 'sending')")?
                .query_row([], |row| row.get(0))
                .map(count)
        })
    }

    /// How many deliveries wait for one subscriber.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn pending_for(&self, subscriber: &SubscriberId) -> Result<u64, StoreError> {
        self.read("count deliveries", |db| {
            db.prepare_cached("SELECT count(*) FROM delivery WHERE subscriber = ?1 AND done_at IS NULL")?
                .query_row([subscriber.as_bytes()], |row| row.get(0))
                .map(count)
        })
    }

    /// When the next lane that has nothing in flight falls due (or fell); `None` if none waits.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read("look at the queue", |db| {
            let next: Option<At> = db
                .prepare_cached(
                    "SELECT not_before FROM delivery AS waiting
                     WHERE done_at IS NULL AND state = 'queued' AND NOT EXISTS (
                         SELECT 1 FROM delivery AS busy WHERE busy.subscriber = waiting.subscriber
                             AND busy.incident = waiting.incident AND busy.state = 'sending')
                     ORDER BY not_before LIMIT 1",
                )?
                .query_row([], |row| row.get(0))
                .optional()?;
            Ok(next.map(|next| next.0))
        })
    }

    /// Whether a subscriber is still to be written to: asked right before a message leaves.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn is_confirmed(&self, subscriber: &SubscriberId) -> Result<bool, StoreError> {
        self.read("look up a subscriber", |db| {
            db.prepare_cached("SELECT 1 FROM subscriber WHERE id = ?1 AND state = 'confirmed'")?
                .exists([subscriber.as_bytes()])
        })
    }

    /// Notes that a subscriber's server refused for good; `gone`: it said that there is no such
    /// mailbox. Returns whether that suspended them: at once if gone, else the third time in a row
    /// on different days (UTC).
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn refused(&mut self, subscriber: &SubscriberId, gone: bool, now: Timestamp) -> Result<bool, StoreError> {
        self.write("note a refusal", |tx| {
            if gone {
                return suspend(tx, subscriber, "no such mailbox", now);
            }
            let day = now.as_millisecond().div_euclid(86_400_000);
            let strikes: Option<i64> = tx
                .prepare_cached(
                    "UPDATE subscriber SET strikes = strikes + (strike_day IS NOT ?2), strike_day = ?2
                     WHERE id = ?1 RETURNING strikes",
                )?
                .query_row((subscriber.as_bytes(), day), |row| row.get(0))
                .optional()?;
            match strikes {
                Some(STRIKES..) => suspend(tx, subscriber, "refused on three days in a row", now),
                _ => Ok(false),
            }
        })
    }

    /// Stops writing to a subscriber, until they subscribe again; what waits for them is dropped.
    /// Returns whether that changed anything.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn suspend(&mut self, subscriber: &SubscriberId, reason: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.write("suspend a subscriber", |tx| suspend(tx, subscriber, reason, at))
    }
}

/// Makes `delivery_id` known to SQL.
pub(super) fn add_functions(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    db.create_scalar_function("delivery_id", 2, flags, |context| {
        let (event, subscriber): ([u8; 16], [u8; 16]) = (context.get(0)?, context.get(1)?);
        Ok(*delivery_id(event, subscriber).as_bytes())
    })
}

/// The id of one event for one subscriber: the event's time, and what only these two give. So it
/// is the same wherever it is made, after a restored backup too.
fn delivery_id(event: [u8; 16], subscriber: [u8; 16]) -> DeliveryId {
    let hash =
        Sha256::new().chain_update(b"watchbell delivery\0").chain_update(event).chain_update(subscriber).finalize();
    let mut id = event;
    for (byte, hashed) in id.iter_mut().skip(6).zip(hash) {
        *byte = hashed;
    }
    // Version 7, variant 1 (RFC 9562, section 5.7).
    if let Some(byte) = id.get_mut(6) {
        *byte = *byte & 0x0f | 0x70;
    }
    if let Some(byte) = id.get_mut(8) {
        *byte = *byte & 0x3f | 0x80;
    }
    DeliveryId::from_bytes(id)
}

/// Queues an event for everyone who follows one of its services and does not have it yet. How
/// much it matters to them is asked when it is about to be told: that may still change.
pub(super) fn fan_out(tx: &Connection, event: &Event) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "WITH about(name) AS (SELECT value FROM json_each(?2)),
              above(name) AS (SELECT DISTINCT grp FROM service WHERE id IN (SELECT name FROM about) AND grp IS NOT NULL)
         INSERT INTO delivery (id, event, event_seq, incident, subscriber, state, not_before)
         SELECT delivery_id(event.id, subscriber.id), event.id, event.seq, event.incident, subscriber.id, 'queued', ?3
         FROM event CROSS JOIN subscriber
         WHERE event.id = ?1 AND subscriber.state = 'confirmed' AND subscriber.incidents
             AND (subscriber.services = '[]' AND subscriber.groups = '[]'
                 OR EXISTS (SELECT 1 FROM json_each(subscriber.services) WHERE value IN (SELECT name FROM about))
                 OR EXISTS (SELECT 1 FROM json_each(subscriber.groups) WHERE value IN (SELECT name FROM above)))
         ON CONFLICT (event, subscriber) DO NOTHING",
    )?
    .execute((event.id.as_bytes(), super::row::json(&event.services)?, At(event.seals_at)))?;
    Ok(())
}

/// After an event got new content: what waits for it waits until its new seal; what need not be
/// told any more is dropped.
pub(super) fn amended(tx: &Connection, event: &Event) -> rusqlite::Result<()> {
    if event.notify {
        tx.prepare_cached(
            "UPDATE delivery SET not_before = ?2
             WHERE event = ?1 AND state = 'queued' AND attempts = 0 AND not_before < ?2",
        )?
        .execute((event.id.as_bytes(), At(event.seals_at)))?;
    } else {
        tx.prepare_cached(
            "UPDATE delivery SET state = 'dropped', done_at = ?2, reply = 'taken back'
             WHERE event = ?1 AND state = 'queued'",
        )?
        .execute((event.id.as_bytes(), At(event.recorded_at)))?;
    }
    Ok(())
}

type LaneKey = ([u8; 16], String);

fn claim(tx: &Transaction<'_>, epoch: i64, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<Lane>> {
    let mut known = Known::default();
    let mut lanes = Vec::new();
    for (subscriber, incident) in due_lanes(tx, now, limit)? {
        let id = SubscriberId::from_bytes(subscriber);
        let found = subscribers::by_id(tx, &id)?.filter(|found| found.state == SubscriberState::Confirmed);
        let Some(subscriber) = found else {
            // Nobody there any more: it must not stand in the way of others for ever.
            tx.prepare_cached(
                "UPDATE delivery SET state = 'dropped', done_at = ?2, reply = 'no longer subscribed'
                 WHERE subscriber = ?1 AND done_at IS NULL",
            )?
            .execute((subscriber, At(now)))?;
            continue;
        };
        let Ok(incident) = incident.parse::<IncidentId>() else { continue };
        let (pending, told) = lane_content(tx, &id, &incident, &mut known)?;
        let current = known.incident(tx, &incident)?;
        let (false, Some(current)) = (pending.is_empty(), current) else {
            // A newer watchbell wrote it: it waits for that one, out of the way.
            tx.prepare_cached(
                "UPDATE delivery SET not_before = ?3 WHERE subscriber = ?1 AND incident = ?2 AND state = 'queued'",
            )?
            .execute((
                id.as_bytes(),
                incident.as_str(),
                now.as_millisecond().saturating_add(UNKNOWN_MS),
            ))?;
            continue;
        };
        let mut mark = tx.prepare_cached("UPDATE delivery SET state = 'sending', epoch = ?2 WHERE id = ?1")?;
        for pending in &pending {
            mark.execute((pending.delivery.as_bytes(), epoch))?;
        }
        lanes.push(Lane { subscriber, incident, current, pending, told });
    }
    Ok(lanes)
}

/// Lanes with something due and nothing claimed, in the order of falling due.
fn due_lanes(tx: &Connection, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<LaneKey>> {
    let mut due = tx.prepare_cached(
        "SELECT subscriber, incident FROM delivery
         WHERE done_at IS NULL AND state = 'queued' AND not_before <= ?1 ORDER BY not_before, event_seq",
    )?;
    let mut busy = tx.prepare_cached(
        "SELECT 1 FROM delivery WHERE subscriber = ?1 AND incident = ?2 AND state = 'sending' LIMIT 1",
    )?;
    let mut seen: HashSet<LaneKey> = HashSet::new();
    let mut lanes = Vec::new();
    let mut rows = due.query([At(now)])?;
    while lanes.len() < limit {
        let Some(row) = rows.next()? else { break };
        let key: LaneKey = (row.get(0)?, row.get(1)?);
        if seen.insert(key.clone()) && !busy.exists((key.0, &key.1))? {
            lanes.push(key);
        }
    }
    Ok(lanes)
}

/// Events and incidents that many lanes of one claim share.
#[derive(Default)]
struct Known {
    incidents: HashMap<IncidentId, Option<Arc<Incident>>>,
    events: HashMap<[u8; 16], Option<Arc<Event>>>,
}

impl Known {
    fn incident(&mut self, tx: &Connection, id: &IncidentId) -> rusqlite::Result<Option<Arc<Incident>>> {
        if let Some(known) = self.incidents.get(id) {
            return Ok(known.clone());
        }
        let found = reader::incident(tx, id)?.map(Arc::new);
        self.incidents.insert(id.clone(), found.clone());
        Ok(found)
    }

    /// `None` also for what a newer watchbell wrote: it stays queued for that one.
    fn event(&mut self, tx: &Connection, id: [u8; 16]) -> rusqlite::Result<Option<Arc<Event>>> {
        if let Some(known) = self.events.get(&id) {
            return Ok(known.clone());
        }
        let mut rows = tx.prepare_cached("SELECT json, v FROM event WHERE id = ?1")?;
        let mut rows = rows.query([id])?;
        let found = match rows.next()? {
            Some(row) => reader::event(row)?.map(Arc::new),
            None => None,
        };
        self.events.insert(id, found.clone());
        Ok(found)
    }
}

fn lane_content(
    tx: &Connection,
    subscriber: &SubscriberId,
    incident: &IncidentId,
    known: &mut Known,
) -> rusqlite::Result<(Vec<Pending>, Vec<Told>)> {
    let mut deliveries = tx.prepare_cached(
        "SELECT id, event, state, attempts, first_tried_at, done_at FROM delivery
         WHERE subscriber = ?1 AND incident = ?2 AND state IN ('queued', 'sent') ORDER BY event_seq",
    )?;
    let mut rows = deliveries.query((subscriber.as_bytes(), incident.as_str()))?;
    let (mut pending, mut told) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let Some(event) = known.event(tx, row.get(1)?)? else { continue };
        match (row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?, row.get::<_, Option<At>>(5)?) {
            ("sent", Some(at)) => told.push(Told { event, at: at.0 }),
            _ => pending.push(Pending {
                delivery: DeliveryId::from_bytes(row.get(0)?),
                event,
                attempts: row.get(3)?,
                first_tried_at: row.get::<_, Option<At>>(4)?.map(|at| at.0),
            }),
        }
    }
    Ok((pending, told))
}

fn settle(tx: &Connection, settled: &Settled, now: Timestamp) -> rusqlite::Result<()> {
    let id = settled.delivery.as_bytes();
    let line = |text: &str| untrusted::line(text, 300);
    let waits = "UPDATE delivery SET state = 'queued', epoch = NULL, not_before = ?2, reply = coalesce(?3, reply),
                     attempts = attempts + (?3 IS NOT NULL),
                     first_tried_at = CASE WHEN ?3 IS NULL THEN first_tried_at ELSE coalesce(first_tried_at, ?4) END
                 WHERE id = ?1 AND state = 'sending'";
    let ends = "UPDATE delivery SET state = ?2, epoch = NULL, done_at = ?3, reply = ?4, folded_into = ?5,
                    attempts = attempts + ?6,
                    first_tried_at = CASE WHEN ?6 THEN coalesce(first_tried_at, ?3) ELSE first_tried_at END
                WHERE id = ?1 AND state = 'sending'";
    let at = At(now);
    match &settled.result {
        Settlement::Hold { until } => tx.prepare_cached(waits)?.execute((id, At(*until), None::<String>, at))?,
        Settlement::Retry { until, reply } => tx.prepare_cached(waits)?.execute((id, At(*until), line(reply), at))?,
        Settlement::Sent { reply } => {
            tx.prepare_cached(
                "UPDATE subscriber SET strikes = 0, strike_day = NULL
                 WHERE strikes > 0 AND id = (SELECT subscriber FROM delivery WHERE id = ?1)",
            )?
            .execute([id])?;
            tx.prepare_cached(ends)?.execute((id, "sent", at, line(reply), None::<[u8; 16]>, 1))?
        }
        Settlement::Folded { into } => {
            tx.prepare_cached(ends)?.execute((id, "folded", at, None::<String>, Some(into.as_bytes()), 0))?
        }
        Settlement::Dropped { reason } => {
            tx.prepare_cached(ends)?.execute((id, "dropped", at, line(reason), None::<[u8; 16]>, 0))?
        }
        Settlement::Failed { reply } => {
            tx.prepare_cached(ends)?.execute((id, "failed", at, line(reply), None::<[u8; 16]>, 1))?
        }
    };
    Ok(())
}

fn suspend(tx: &Connection, subscriber: &SubscriberId, reason: &str, at: Timestamp) -> rusqlite::Result<bool> {
    let changed = tx
        .prepare_cached(
            "UPDATE subscriber SET state = 'suspended', suspended_at = ?2, suspend_reason = ?3
             WHERE id = ?1 AND state <> 'suspended'",
        )?
        .execute((subscriber.as_bytes(), At(at), untrusted::line(reason, 200)))?;
    tx.prepare_cached(
        "UPDATE delivery SET state = 'dropped', done_at = ?2, reply = 'suspended'
         WHERE subscriber = ?1 AND state = 'queued' AND done_at IS NULL",
    )?
    .execute((subscriber.as_bytes(), At(at)))?;
    Ok(changed > 0)
}

/// Every delivery with its state.
#[cfg(test)]
pub(super) fn states(db: &Connection) -> Vec<(DeliveryId, String)> {
    let mut rows = db.prepare("SELECT id, state FROM delivery ORDER BY event_seq, subscriber").unwrap();
    rows.query_map([], |row| Ok((DeliveryId::from_bytes(row.get(0)?), row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}
