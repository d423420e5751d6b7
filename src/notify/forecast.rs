//! What somebody will be told of an incident, and when, if nothing else happens: by the one rule of
//! telling, with a mail server that takes everything at once. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    ledger::{Lane, Pending, Told},
    plan::{self, Decision, DropReason, HoldReason, News},
    recipient::Directory,
};
use crate::domain::{EventId, event::Event, id::DeliveryId, incident::Incident};

/// What waited for a message looks again so long after it.
const AFTER_ONE: SignedDuration = SignedDuration::from_millis(100);

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it is.
    pub news: News,
    /// When it leaves.
    pub at: Timestamp,
    /// What it tells of, oldest first.
    pub events: Vec<Arc<Event>>,
}

/// What becomes of a lane.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    /// In their order.
    pub messages: Vec<Message>,
    /// What is not told.
    pub dropped: Vec<(EventId, DropReason)>,
    /// What still waits in the end, why, and until when at least.
    pub waiting: Vec<(EventId, HoldReason, Timestamp)>,
}

/// What becomes of `lane` from one moment to another if the events that are `coming`, oldest first,
/// come in, each telling of the incident as it is `current` then.
#[must_use]
pub fn forecast(
    mut lane: Lane,
    coming: &[Arc<Event>],
    current: &dyn Fn(&Event) -> Arc<Incident>,
    directory: &Directory,
    (from, until): (Timestamp, Timestamp),
) -> Forecast {
    let mut forecast = Forecast::default();
    let mut waiting: BTreeMap<DeliveryId, (HoldReason, Timestamp)> = BTreeMap::new();
    let queued = lane.pending.iter().map(|pending| &pending.event);
    let mut looks: BTreeSet<Timestamp> =
        queued.chain(coming).map(|event| event.recorded_at.max(event.seals_at).max(from)).collect();
    let mut coming = coming.iter().peekable();
    while let Some(now) = looks.pop_first().filter(|now| *now <= until) {
        while let Some(event) = coming.next_if(|event| event.recorded_at <= now) {
            lane.current = current(event);
            // Each event is told once: its id will do.
            let delivery = DeliveryId::from_bytes(*event.id.as_bytes());
            let event = Arc::clone(event);
            lane.pending.push(Pending { delivery, event, attempts: 0, first_tried_at: None, left_in: None });
        }
        for (delivery, decision) in plan::plan(&lane, directory, now) {
            waiting.remove(&delivery);
            match decision {
                Decision::Hold { until, reason } => {
                    waiting.insert(delivery, (reason, until));
                    // Never again at the same time: that would have no end.
                    looks.extend(Some(until).filter(|until| *until > now));
                }
                Decision::Send { news, fold } => {
                    let is_told = |pending: &Pending| pending.delivery == delivery || fold.contains(&pending.delivery);
                    let (told, rest) = lane.pending.into_iter().partition(is_told);
                    lane.pending = rest;
                    let told: Vec<Pending> = told;
                    let events: Vec<Arc<Event>> = told.into_iter().map(|pending| pending.event).collect();
                    lane.told.extend(events.last().map(|event| Told { event: Arc::clone(event), at: now }));
                    forecast.messages.push(Message { news, at: now, events });
                    looks.extend(now.checked_add(AFTER_ONE).ok());
                }
                // Goes with the message that it is folded into.
                Decision::Folded { .. } => {}
                Decision::Drop { reason } => {
                    if let Some(place) = lane.pending.iter().position(|pending| pending.delivery == delivery) {
                        forecast.dropped.push((lane.pending.remove(place).event.id, reason));
                    }
                }
            }
        }
    }
    let held = lane.pending.iter().filter_map(|pending| {
        let (reason, until) = waiting.get(&pending.delivery)?;
        Some((pending.event.id, *reason, *until))
    });
    forecast.waiting = held.collect();
    forecast
}
