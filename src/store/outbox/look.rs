//! Looking at the queue without touching it: what became of the deliveries of an incident, what is
//! still pending, and who is still to be told. For people who ask, not for the daemon.

use std::{
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use super::{
    Lane, Told,
    fan_out::{self, LAST, TO_BE_TOLD},
    queue::{Known, lane_content},
};
use crate::{
    domain::{EventId, IncidentId, ServiceId, SubscriberId, id::DeliveryId, incident::Incident},
    store::{
        Reader, Store, StoreError,
        row::{At, Word, json},
        subscribers,
    },
};

/// One event for one recipient, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What is told.
    pub event: EventId,
    /// To what kind of recipient: `subscriber`.
    pub recipient: String,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is looked at again, while it is open.
    pub not_before: Timestamp,
    /// When it came to its end.
    pub done_at: Option<Timestamp>,
    /// What the server said last, or why it is not told.
    pub reply: Option<String>,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waiting.
    Queued,
    /// Claimed.
    Sending,
    /// Taken by a server.
    Sent,
    /// Told in another one's message.
    Folded,
    /// Not to be told.
    Dropped,
    /// Given up.
    Failed,
}

/// A word for a state that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no state of a delivery")]
pub struct UnknownState(String);

impl FromStr for DeliveryState {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(match word {
            "queued" => Self::Queued,
            "sending" => Self::Sending,
            "sent" => Self::Sent,
            "folded" => Self::Folded,
            "dropped" => Self::Dropped,
            "failed" => Self::Failed,
            _ => return Err(UnknownState(word.to_owned())),
        })
    }
}

/// A look from beside at what was claimed, from any thread, on a connection of its own.
#[derive(Debug)]
pub struct SecondLook {
    path: PathBuf,
    reader: Mutex<Option<Reader>>,
}

impl SecondLook {
    /// Whether a delivery or a letter is still claimed: not if its subscriber left meanwhile.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn is_claimed(&self, id: &DeliveryId) -> Result<bool, StoreError> {
        // Nothing that holds it can leave it half changed.
        let mut held = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = match held.take() {
            Some(reader) => reader,
            None => Reader::open(&self.path)?,
        };
        let reader = held.insert(reader);
        // What rests sees the newest commit.
        reader.rest()?;
        reader.read("look at what was claimed", |db| {
            db.prepare_cached(
                "SELECT 1 FROM delivery WHERE id = ?1 AND state = 'sending' AND done_at IS NULL
                 UNION ALL SELECT 1 FROM letter WHERE id = ?1 AND state = 'sending'",
            )?
            .exists([id.as_bytes()])
        })
    }
}

impl Store {
    /// What looks again at claims.
    #[must_use]
    pub fn second_look(&self) -> SecondLook {
        SecondLook { path: self.path.clone(), reader: Mutex::new(None) }
    }
}

impl Reader {
    /// Every delivery of the events of an incident, in no particular order, as long as they are kept.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn deliveries(&self, incident: &IncidentId, each: &mut dyn FnMut(&Delivery)) -> Result<(), StoreError> {
        self.read("read what was told", |db| {
            let mut rows = db.prepare_cached(
                "SELECT event, recipient, state, attempts, not_before, done_at, reply FROM delivery
                 WHERE event IN (SELECT id FROM event WHERE incident = ?1)",
            )?;
            let mut rows = rows.query([incident.as_str()])?;
            while let Some(row) = rows.next()? {
                each(&Delivery {
                    event: EventId::from_bytes(row.get(0)?),
                    recipient: row.get(1)?,
                    state: row.get::<_, Word<_>>(2)?.0,
                    attempts: row.get(3)?,
                    not_before: row.get::<_, At>(4)?.0,
                    done_at: row.get::<_, Option<At>>(5)?.map(|at| at.0),
                    reply: row.get(6)?,
                });
            }
            Ok(())
        })
    }

    /// Every lane of an incident in which something is queued, and whether something of it is on its
    /// way at present.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn lanes(&self, incident: &IncidentId, each: &mut dyn FnMut(&Lane, bool)) -> Result<(), StoreError> {
        self.read("read what waits", |db| {
            let mut known = Known::default();
            let Some(current) = known.incident(db, incident)? else { return Ok(()) };
            let mut waiting = db.prepare_cached(
                "SELECT DISTINCT subscriber FROM delivery
                 WHERE event IN (SELECT id FROM event WHERE incident = ?1) AND state = 'queued' AND done_at IS NULL",
            )?;
            let mut busy = db.prepare_cached(
                "SELECT 1 FROM delivery WHERE subscriber = ?1 AND incident = ?2 AND state = 'sending' LIMIT 1",
            )?;
            let mut rows = waiting.query([incident.as_str()])?;
            while let Some(row) = rows.next()? {
                let id = SubscriberId::from_bytes(row.get(0)?);
                let Some(subscriber) = subscribers::by_id(db, &id)? else { continue };
                let (pending, told) = lane_content(db, &id, incident, &mut known)?;
                let is_busy = busy.exists((id.as_bytes(), incident.as_str()))?;
                let (incident, current) = (incident.clone(), current.clone());
                each(&Lane { subscriber, incident, current, pending, told }, is_busy);
            }
            Ok(())
        })
    }

    /// One subscriber's lane of an incident, if something is queued in it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn lane(&self, subscriber: &SubscriberId, incident: &IncidentId) -> Result<Option<Lane>, StoreError> {
        self.read("read what waits", |db| {
            let mut known = Known::default();
            let (current, subscriber) = (known.incident(db, incident)?, subscribers::by_id(db, subscriber)?);
            let (Some(current), Some(subscriber)) = (current, subscriber) else { return Ok(None) };
            let (pending, told) = lane_content(db, &subscriber.id, incident, &mut known)?;
            let lane = Lane { subscriber, incident: incident.clone(), current, pending, told };
            Ok((!lane.pending.is_empty()).then_some(lane))
        })
    }

    /// A lane for everyone who would be promised an event about `services` now, and for everyone for
    /// whom something of `incident` is queued: what they were told of it, and what is pending. What is on
    /// its way is taken for told. `current` stands for the incident.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn audience(
        &self,
        current: &Arc<Incident>,
        services: &[ServiceId],
        each: &mut dyn FnMut(Lane),
    ) -> Result<(), StoreError> {
        self.read("read who would be told", |db| {
            let (mut known, id) = (Known::default(), &current.id);
            let services = json(&services)?;
            let groups: String = db
                .prepare_cached(
                    "SELECT json_group_array(DISTINCT grp) FROM service
                     WHERE id IN (SELECT value FROM json_each(?1)) AND grp IS NOT NULL",
                )?
                .query_row([&services], |row| row.get(0))?;
            let mut people = db.prepare_cached(&format!(
                "SELECT id {TO_BE_TOLD} UNION
                 SELECT subscriber FROM delivery
                 WHERE event IN (SELECT id FROM event WHERE incident = ?6) AND state = 'queued' AND done_at IS NULL"
            ))?;
            let mut on_its_way = db.prepare_cached(
                "SELECT event, not_before FROM delivery
                 WHERE subscriber = ?1 AND incident = ?2 AND state = 'sending' ORDER BY event_seq",
            )?;
            let none: [u8; 0] = [];
            let mut rows = people.query((services, groups, i64::MAX, none.as_slice(), LAST, id.as_str()))?;
            while let Some(row) = rows.next()? {
                let subscriber = SubscriberId::from_bytes(row.get(0)?);
                let Some(subscriber) = subscribers::by_id(db, &subscriber)? else { continue };
                let (pending, mut told) = lane_content(db, &subscriber.id, id, &mut known)?;
                let mut sending = on_its_way.query((subscriber.id.as_bytes(), id.as_str()))?;
                while let Some(row) = sending.next()? {
                    let event = known.event(db, row.get(0)?)?;
                    told.extend(
                        event.map(|event| Told { event, at: row.get::<_, At>(1).map_or(Timestamp::MIN, |at| at.0) }),
                    );
                }
                each(Lane { subscriber, incident: id.clone(), current: Arc::clone(current), pending, told });
            }
            Ok(())
        })
    }

    /// How many subscribers an event was promised to who have no delivery of it yet.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn still_promised(&self, event: &EventId) -> Result<u64, StoreError> {
        self.read("read what is promised", |db| fan_out::promised(db, event))
    }
}
