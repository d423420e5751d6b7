//! The queue's own SQL: claiming from it, settling. Every function is part of a
//! transaction that its caller began.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, functions::FunctionFlags};
use sha2::{Digest, Sha256};

use super::{Decide, Fate, Lane, Pending, Settled, Settlement, Told, fan_out};
use crate::{
    domain::{
        IncidentId, SubscriberId,
        event::Event,
        id::DeliveryId,
        incident::Incident,
        subscriber::{SubscriberState, Way},
    },
    store::{reader, row::At, subscribers},
    untrusted,
};

/// Why what an operator took back before it was sealed is not told; it may be told again.
const TAKEN_BACK: &str = "taken back";
/// For so long is what this version cannot read left alone.
const UNKNOWN_MS: i64 = 3_600_000;

/// Makes `delivery_id` known to SQL.
pub(in crate::store) fn add_functions(db: &Connection) -> rusqlite::Result<()> {
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

/// After an event got new content: what waits for it waits until its new seal; what need not be
/// told any more is dropped.
pub(in crate::store) fn amended(tx: &Connection, event: &Event) -> rusqlite::Result<()> {
    if event.notify {
        tx.prepare_cached(
            "UPDATE delivery SET not_before = ?2
             WHERE event = ?1 AND state = 'queued' AND attempts = 0 AND not_before <> ?2",
        )?
        .execute((event.id.as_bytes(), At(event.seals_at)))?;
        // An update that was removed and then written again is told after all.
        tx.prepare_cached(
            "UPDATE delivery SET state = 'queued', not_before = ?2, done_at = NULL, reply = NULL
             WHERE event = ?1 AND state = 'dropped' AND reply = ?3",
        )?
        .execute((event.id.as_bytes(), At(event.seals_at), TAKEN_BACK))?;
    } else {
        fan_out::take_back(tx, event)?;
        tx.prepare_cached(
            "UPDATE delivery SET state = 'dropped', done_at = ?2, reply = ?3 WHERE event = ?1 AND state = 'queued'",
        )?
        .execute((event.id.as_bytes(), At(event.recorded_at), TAKEN_BACK))?;
    }
    Ok(())
}

/// What a subscriber is told by a letter: on its way with that, and nothing else of the same incident
/// meanwhile.
pub(in crate::store) fn tell_in_letter(
    tx: &Connection,
    event: &Event,
    subscriber: &SubscriberId,
    letter: DeliveryId,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO delivery (id, event, event_seq, incident, subscriber, way, state, not_before, folded_into)
         SELECT delivery_id(event.id, ?2), event.id, seq, ?3, ?2, subscriber.kind, 'sending', ?4, ?5
         FROM event JOIN subscriber ON subscriber.id = ?2 WHERE event.id = ?1
         ON CONFLICT (event, subscriber) DO UPDATE SET state = 'sending', epoch = NULL, done_at = NULL, reply = NULL,
             folded_into = excluded.folded_into",
    )?
    .execute((
        event.id.as_bytes(),
        subscriber.as_bytes(),
        event.incident.as_str(),
        At(event.seals_at),
        letter.as_bytes(),
    ))
    .map(drop)
}

type LaneKey = ([u8; 16], String);

/// What is claimed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// By which way it leaves.
    pub way: Way,
    /// By which start of the daemon.
    pub epoch: i64,
    /// When.
    pub now: Timestamp,
    /// So many lanes at most.
    pub limit: usize,
    /// So many of them rather of those that were tried before, which came into the queue later.
    pub again: usize,
}

pub(super) fn claim(tx: &Transaction<'_>, claim: &Claim, decide: Decide<'_>) -> rusqlite::Result<usize> {
    let Claim { epoch, now, .. } = *claim;
    let mut known = Known::default();
    let mut lanes = 0;
    for (subscriber, incident) in due_lanes(tx, claim)? {
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
        for (delivery, fate) in decide(Lane { subscriber, incident, current, pending, told }) {
            note(tx, &delivery, &fate, epoch, now)?;
        }
        lanes += 1;
    }
    Ok(lanes)
}

/// Writes down what was decided of a delivery that is queued.
fn note(tx: &Connection, id: &DeliveryId, fate: &Fate, epoch: i64, now: Timestamp) -> rusqlite::Result<()> {
    let id = id.as_bytes();
    match fate {
        Fate::Leaves { within } => tx
            .prepare_cached("UPDATE delivery SET state = 'sending', epoch = ?2, folded_into = ?3 WHERE id = ?1")?
            .execute((id, epoch, within.as_bytes())),
        Fate::Waits { until } => {
            tx.prepare_cached("UPDATE delivery SET not_before = ?2 WHERE id = ?1")?.execute((id, At(*until)))
        }
        Fate::Dropped { reason } => tx
            .prepare_cached(
                "UPDATE delivery SET state = 'dropped', done_at = ?2, reply = ?3, folded_into = NULL WHERE id = ?1",
            )?
            .execute((id, At(now), reason)),
    }
    .map(drop)
}

/// Lanes with something due and nothing claimed, in the order of falling due, but for some that
/// were tried before: else they would wait until all others had been tried once.
fn due_lanes(tx: &Connection, claim: &Claim) -> rusqlite::Result<Vec<LaneKey>> {
    let mut again = tx.prepare_cached(
        "SELECT subscriber, incident FROM delivery INDEXED BY delivery_again
         WHERE done_at IS NULL AND attempts > 0 AND way = ?2 AND state = 'queued' AND not_before <= ?1
         ORDER BY not_before",
    )?;
    let mut due = tx.prepare_cached(
        "SELECT subscriber, incident FROM delivery
         WHERE done_at IS NULL AND way = ?2 AND state = 'queued' AND not_before <= ?1
         ORDER BY not_before, event_seq",
    )?;
    let mut busy = tx.prepare_cached(
        "SELECT 1 FROM delivery WHERE subscriber = ?1 AND incident = ?2 AND state = 'sending' LIMIT 1",
    )?;
    let mut seen: HashSet<LaneKey> = HashSet::new();
    let mut lanes = Vec::new();
    for (those, limit) in [(&mut again, claim.again), (&mut due, claim.limit)] {
        let mut rows = those.query((At(claim.now), claim.way.as_str()))?;
        while lanes.len() < limit {
            let Some(row) = rows.next()? else { break };
            let key: LaneKey = (row.get(0)?, row.get(1)?);
            if seen.insert(key.clone()) && !busy.exists((key.0, &key.1))? {
                lanes.push(key);
            }
        }
    }
    Ok(lanes)
}

/// Events and incidents that many lanes of one claim share.
#[derive(Default)]
pub(super) struct Known {
    incidents: HashMap<IncidentId, Option<Arc<Incident>>>,
    events: HashMap<[u8; 16], Option<Arc<Event>>>,
}

impl Known {
    pub fn incident(&mut self, tx: &Connection, id: &IncidentId) -> rusqlite::Result<Option<Arc<Incident>>> {
        if let Some(known) = self.incidents.get(id) {
            return Ok(known.clone());
        }
        let found = reader::incident(tx, id)?.map(Arc::new);
        self.incidents.insert(id.clone(), found.clone());
        Ok(found)
    }

    /// `None` also for what a newer watchbell wrote: it stays queued for that one.
    pub fn event(&mut self, tx: &Connection, id: [u8; 16]) -> rusqlite::Result<Option<Arc<Event>>> {
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

/// What is pending and what was told of an incident to one subscriber.
pub(super) fn lane_content(
    tx: &Connection,
    subscriber: &SubscriberId,
    incident: &IncidentId,
    known: &mut Known,
) -> rusqlite::Result<(Vec<Pending>, Vec<Told>)> {
    let mut deliveries = tx.prepare_cached(
        "SELECT id, event, state, attempts, first_tried_at, done_at, folded_into FROM delivery
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
                left_in: row.get::<_, Option<[u8; 16]>>(6)?.map(DeliveryId::from_bytes),
            }),
        }
    }
    Ok((pending, told))
}

pub(super) fn settle(tx: &Connection, settled: &Settled, now: Timestamp) -> rusqlite::Result<()> {
    let id = settled.delivery.as_bytes();
    let line = |text: &str| untrusted::line(text, 300);
    let waits = "UPDATE delivery SET state = 'queued', epoch = NULL, not_before = ?2, reply = coalesce(?3, reply),
                     attempts = attempts + (?3 IS NOT NULL),
                     first_tried_at = CASE WHEN ?3 IS NULL THEN first_tried_at ELSE coalesce(first_tried_at, ?4) END,
                     folded_into = CASE WHEN ?5 THEN folded_into END
                 WHERE id = ?1 AND state = 'sending'";
    let ends = "UPDATE delivery SET state = ?2, epoch = NULL, done_at = ?3, reply = ?4, folded_into = ?5,
                    attempts = attempts + ?6,
                    first_tried_at = CASE WHEN ?6 THEN coalesce(first_tried_at, ?3) ELSE first_tried_at END
                WHERE id = ?1 AND state = 'sending'";
    let at = At(now);
    match &settled.result {
        Settlement::Hold { until } => tx.prepare_cached(waits)?.execute((id, At(*until), None::<String>, at, false))?,
        Settlement::Doubted { until, reply } => {
            tx.prepare_cached(waits)?.execute((id, At(*until), reply.as_deref().map(line), at, true))?
        }
        Settlement::Retry { until, reply } => {
            tx.prepare_cached(waits)?.execute((id, At(*until), line(reply), at, false))?
        }
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

pub(super) fn suspend(
    tx: &Connection,
    subscriber: &SubscriberId,
    reason: &str,
    at: Timestamp,
) -> rusqlite::Result<bool> {
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
pub(in crate::store) fn states(db: &Connection) -> Vec<(DeliveryId, String)> {
    let mut rows = db.prepare("SELECT id, state FROM delivery ORDER BY event_seq, subscriber").unwrap();
    rows.query_map([], |row| Ok((DeliveryId::from_bytes(row.get(0)?), row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}
