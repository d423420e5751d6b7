//! Who was told what of an incident, and what was held back and why: counts for the operator, never
//! a name. It decides nothing: why something waits is what [`plan`] says of it now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    ledger::Lane,
    plan::{self, Decision},
    recipient::Directory,
    reply::{self, Reply},
};
use crate::{
    domain::{
        EventId, ServiceId,
        event::{Event, EventKind},
        id::UpdateId,
        incident::Incident,
    },
    store::{
        Reader, StoreError,
        outbox::{Delivery, DeliveryState},
    },
};

/// What waits for another message of the same incident to the same recipient.
const ORDER: &str = plan::HoldReason::Order.as_str();

/// One event, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// Which.
    pub event: EventId,
    /// What kind of thing.
    pub kind: EventKind,
    /// When it happened.
    pub at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// From when on it is told.
    pub seals_at: Timestamp,
    /// What it is about.
    pub services: Vec<ServiceId>,
    /// The update that it tells of.
    pub update: Option<UpdateId>,
    /// Whether anyone is told; if not, it stands in the feeds alone.
    pub notify: bool,
    /// What became of it, for each kind of recipient.
    pub to: Vec<Recipients>,
}

/// All recipients of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recipients {
    /// Which kind: `subscriber`.
    pub recipient: String,
    /// By which way: `mail`.
    pub way: &'static str,
    /// Taken by their servers.
    pub accepted: Accepted,
    /// Told in the message of another event.
    pub folded: u64,
    /// On their way at present.
    pub sending: u64,
    /// Due, and not claimed yet.
    pub due: u64,
    /// Promised, and not in the queue yet.
    pub promised: u64,
    /// Refused for now, to be tried again.
    pub retried: Vec<Waiting>,
    /// Not told yet.
    pub held: Vec<Waiting>,
    /// Not to be told.
    pub dropped: Vec<Ended>,
    /// Given up, by the class of the last reply.
    pub failed: Vec<Ended>,
}

/// Messages that servers took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// How many.
    pub count: u64,
    /// When the first.
    pub first_at: Option<Timestamp>,
    /// When the last.
    pub last_at: Option<Timestamp>,
}

/// What waits for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// When the first of them is looked at again.
    pub until: Timestamp,
}

/// What is over for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Tally {
    accepted: Accepted,
    folded: u64,
    sending: u64,
    due: u64,
    promised: u64,
    retried: BTreeMap<String, (u64, Timestamp)>,
    held: BTreeMap<String, (u64, Timestamp)>,
    dropped: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
}

/// The account of an incident, and of those that became part of it.
///
/// # Errors
/// If the store cannot be read.
pub fn of_incident(
    reader: &Reader,
    incident: &Incident,
    directory: &Directory,
    now: Timestamp,
) -> Result<Vec<Told>, StoreError> {
    let mut account = Account::new(directory, now);
    let mut events = Vec::new();
    for id in std::iter::once(&incident.id).chain(&incident.aliases) {
        reader.deliveries(id, &mut |delivery| account.delivery(delivery))?;
        reader.lanes(id, &mut |lane, is_busy| account.lane(lane, is_busy))?;
        events.extend(reader.events_of(id)?);
    }
    for event in &events {
        account.promised(event.id, reader.still_promised(&event.id)?);
    }
    Ok(account.close(events))
}

/// The account of one incident in the making.
#[derive(Debug)]
struct Account<'a> {
    directory: &'a Directory,
    now: Timestamp,
    tallies: BTreeMap<(EventId, String), Tally>,
}

impl<'a> Account<'a> {
    /// One in which nothing was counted yet.
    const fn new(directory: &'a Directory, now: Timestamp) -> Self {
        Self { directory, now, tallies: BTreeMap::new() }
    }

    fn tally(&mut self, event: EventId, recipient: &str) -> &mut Tally {
        self.tallies.entry((event, recipient.to_owned())).or_default()
    }

    /// Counts a delivery, unless it is queued: for what that waits is known of its lane only.
    fn delivery(&mut self, delivery: &Delivery) {
        let tally = self.tally(delivery.event, &delivery.recipient);
        let reason = || delivery.reply.clone().filter(|reply| !reply.is_empty()).unwrap_or_else(|| "left".to_owned());
        match delivery.state {
            DeliveryState::Sent => {
                let Accepted { count, first_at, last_at } = &mut tally.accepted;
                *count = count.saturating_add(1);
                *first_at = (*first_at).into_iter().chain(delivery.done_at).min();
                *last_at = (*last_at).max(delivery.done_at);
            }
            DeliveryState::Folded => tally.folded = tally.folded.saturating_add(1),
            DeliveryState::Sending => tally.sending = tally.sending.saturating_add(1),
            DeliveryState::Dropped => add(&mut tally.dropped, reason()),
            DeliveryState::Failed => add(&mut tally.failed, class_of(delivery.reply.as_deref())),
            DeliveryState::Queued if delivery.attempts > 0 => {
                wait(&mut tally.retried, class_of(delivery.reply.as_deref()), delivery.not_before);
            }
            DeliveryState::Queued => {}
        }
    }

    /// Counts what is queued in a lane, `is_busy` if something of it is on its way.
    fn lane(&mut self, lane: &Lane, is_busy: bool) {
        let decisions: BTreeMap<_, _> = plan::plan(lane, self.directory, self.now).into_iter().collect();
        let now = self.now;
        for pending in lane.pending.iter().filter(|pending| pending.attempts == 0) {
            let tally = self.tally(pending.event.id, "subscriber");
            match decisions.get(&pending.delivery) {
                _ if is_busy => wait(&mut tally.held, ORDER.to_owned(), now),
                Some(Decision::Hold { until, reason }) => wait(&mut tally.held, reason.as_str().to_owned(), *until),
                Some(Decision::Drop { reason }) => add(&mut tally.dropped, reason.as_str().to_owned()),
                Some(Decision::Send { .. } | Decision::Folded { .. }) | None => tally.due = tally.due.saturating_add(1),
            }
        }
    }

    /// Counts those who are promised an event and have no delivery of it yet.
    fn promised(&mut self, event: EventId, count: u64) {
        if count > 0 {
            self.tally(event, "subscriber").promised = count;
        }
    }

    /// What became of each of `events`, in the order of recording.
    fn close(self, mut events: Vec<Event>) -> Vec<Told> {
        let mut to: BTreeMap<EventId, Vec<Recipients>> = BTreeMap::new();
        for ((event, recipient), tally) in self.tallies {
            to.entry(event).or_default().push(tally.close(recipient));
        }
        events.sort_by_key(|event| (event.recorded_at, event.id));
        let told = |event: Event| Told {
            to: to.remove(&event.id).unwrap_or_default(),
            event: event.id,
            kind: event.kind,
            at: event.at,
            recorded_at: event.recorded_at,
            seals_at: event.seals_at,
            services: event.services,
            update: event.update.map(|update| update.id),
            notify: event.notify,
        };
        events.into_iter().map(told).collect()
    }
}

impl Tally {
    fn close(self, recipient: String) -> Recipients {
        let waiting = |all: BTreeMap<String, (u64, Timestamp)>| {
            all.into_iter().map(|(reason, (count, until))| Waiting { reason, count, until }).collect()
        };
        let ended =
            |all: BTreeMap<String, u64>| all.into_iter().map(|(reason, count)| Ended { reason, count }).collect();
        Recipients {
            recipient,
            way: "mail",
            accepted: self.accepted,
            folded: self.folded,
            sending: self.sending,
            due: self.due,
            promised: self.promised,
            retried: waiting(self.retried),
            held: waiting(self.held),
            dropped: ended(self.dropped),
            failed: ended(self.failed),
        }
    }
}

/// What kind of answer was written down: its words may name people.
pub(super) fn class_of(text: Option<&str>) -> String {
    let class = text.and_then(Reply::written).map(|reply| reply::classify(&reply));
    class.map_or("unknown", reply::Class::as_str).to_owned()
}

fn add(to: &mut BTreeMap<String, u64>, reason: String) {
    let count = to.entry(reason).or_default();
    *count = count.saturating_add(1);
}

fn wait(to: &mut BTreeMap<String, (u64, Timestamp)>, reason: String, at: Timestamp) {
    let (count, until) = to.entry(reason).or_insert((0, at));
    *count = count.saturating_add(1);
    *until = (*until).min(at);
}
