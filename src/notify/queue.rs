//! The queue as an operator looks at it: whether mail is paused, what waits and why, and what was
//! refused for good. Counts and ids, never a name; it decides nothing: why something waits is what
//! [`plan`] says of one of those for whom it does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    account::{Ended, Waiting, class_of},
    plan::{self, Decision},
    recipient::Directory,
};
use crate::{
    domain::{EventId, IncidentId, ServiceId, SubscriberId, event::EventKind, id::DeliveryId, pause::Cause},
    store::{
        Reader, StoreError,
        outbox::{Held, Queued, QueuedLetters, RECENT, Refused},
    },
};

/// Of each class of reply so many of the latest refusals are named.
const LATEST: usize = 5;

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Queue {
    /// The pause, if there is one.
    pub paused: Option<Paused>,
    /// Messages that wait, on their way not counted.
    pub waiting: u64,
    /// Messages on their way.
    pub sending: u64,
    /// Messages that were given up lately.
    pub given_up: u64,
    /// When the oldest of what waits was recorded.
    pub oldest_at: Option<Timestamp>,
    /// When the first of what waits is or was due.
    pub next_at: Option<Timestamp>,
    /// What waits, event by event, in the order of recording.
    pub events: Vec<QueuedEvent>,
    /// Messages that tell of no event, by kind.
    pub letters: Vec<QueuedLetters>,
    /// What was given up lately, by class of reply.
    pub refused: Vec<Refusals>,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// Why.
    pub cause: Cause,
    /// The same in words.
    pub why: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// How often one message was tried since.
    pub tries: u32,
    /// When one is tried next.
    pub next_try_at: Timestamp,
    /// What the server said last.
    pub said: String,
}

/// One event, and what of it is in the queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueuedEvent {
    /// Whose.
    pub incident: IncidentId,
    /// Which.
    pub event: EventId,
    /// What kind of thing.
    pub kind: EventKind,
    /// What it is about.
    pub services: Vec<ServiceId>,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Due, and not claimed yet.
    pub due: u64,
    /// On their way.
    pub sending: u64,
    /// Promised, and not in the queue yet.
    pub promised: u64,
    /// Refused for now, by the class of the last reply.
    pub retried: Vec<Waiting>,
    /// Not to be told yet, by reason.
    pub held: Vec<Waiting>,
}

/// What was given up for one kind of reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// Which kind, and how many.
    #[serde(flatten)]
    pub ended: Ended,
    /// When the last.
    pub last_at: Timestamp,
    /// The latest, for `notify retry --delivery` and for finding out who that is.
    pub latest: Vec<Refusal>,
}

/// One delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which.
    pub delivery: DeliveryId,
    /// For whom.
    pub subscriber: SubscriberId,
    /// Of which incident.
    pub incident: IncidentId,
    /// When.
    pub at: Timestamp,
}

/// How many of an event wait for one reason, and until when the first does.
type Reasons = BTreeMap<(EventId, String), (u64, Timestamp)>;

/// Looks at the queue; with `only`, at what tells of these incidents.
///
/// # Errors
/// If the store cannot be read.
pub fn look(
    reader: &Reader,
    directory: &Directory,
    only: Option<&[IncidentId]>,
    now: Timestamp,
) -> Result<Queue, StoreError> {
    let is_meant = |incident: &IncidentId| only.is_none_or(|only| only.contains(incident));
    let mut retried: Reasons = BTreeMap::new();
    reader.refused_for_now(&mut |refused| {
        add(&mut retried, refused.event, class_of(refused.reply.as_deref()), 1, refused.at);
    })?;
    let mut held: Reasons = BTreeMap::new();
    for waiting in reader.held(now)? {
        let reason = reason(reader, directory, &waiting, now)?;
        add(&mut held, waiting.event, reason, waiting.count, waiting.until);
    }
    let queued = reader.queued(now)?.into_iter().filter(|queued| is_meant(&queued.event.incident));
    let events: Vec<QueuedEvent> = queued.map(|queued| event(queued, &mut retried, &mut held)).collect();
    let letters = if only.is_some() { Vec::new() } else { reader.queued_letters(now)? };
    let refused = refusals(reader, &is_meant, now)?;
    let many = |waiting: &[Waiting]| waiting.iter().map(|waiting| waiting.count).sum::<u64>();
    let waits = |event: &QueuedEvent| event.due + event.promised + many(&event.retried) + many(&event.held);
    let letters_wait = |letters: &QueuedLetters| letters.due + letters.retried + letters.held;
    let next_of = |event: &QueuedEvent| {
        let later = event.retried.iter().chain(&event.held).map(|waiting| waiting.until).min();
        if event.due + event.promised > 0 { Some(now) } else { later }
    };
    let next_letter = |letters: &QueuedLetters| if letters.due > 0 { now } else { letters.next_at };
    Ok(Queue {
        paused: reader.pause()?.map(|pause| Paused {
            cause: pause.cause,
            why: pause.cause.in_words(),
            since: pause.since_at,
            tries: pause.tries,
            next_try_at: pause.next_at,
            said: pause.said,
        }),
        waiting: events.iter().map(waits).sum::<u64>() + letters.iter().map(letters_wait).sum::<u64>(),
        sending: events.iter().map(|event| event.sending).chain(letters.iter().map(|letters| letters.sending)).sum(),
        given_up: refused.iter().map(|refused| refused.ended.count).sum(),
        oldest_at: events
            .iter()
            .map(|event| event.recorded_at)
            .chain(letters.iter().map(|letters| letters.oldest_at))
            .min(),
        next_at: events.iter().filter_map(next_of).chain(letters.iter().map(next_letter)).min(),
        events,
        letters,
        refused,
    })
}

fn add(to: &mut Reasons, event: EventId, reason: String, count: u64, at: Timestamp) {
    let (all, until) = to.entry((event, reason)).or_insert((0, at));
    *all = all.saturating_add(count);
    *until = (*until).min(at);
}

/// Why something waits: what the rule says of it for one of those for whom it does.
fn reason(reader: &Reader, directory: &Directory, held: &Held, now: Timestamp) -> Result<String, StoreError> {
    let Some(lane) = reader.lane(&held.example, &held.incident)? else { return Ok("unknown".to_owned()) };
    let decisions = plan::plan(&lane, directory, now);
    let of = lane.pending.iter().find(|pending| pending.event.id == held.event);
    let found = of.and_then(|of| decisions.iter().find(|(delivery, _)| *delivery == of.delivery));
    Ok(match found {
        Some((_, Decision::Hold { reason, .. })) => reason.as_str(),
        // It would leave, but was put off: the server was away, or a template did not work.
        _ => "put_off",
    }
    .to_owned())
}

fn event(queued: Queued, retried: &mut Reasons, held: &mut Reasons) -> QueuedEvent {
    let Queued { event, due, sending, promised, .. } = queued;
    let of = |all: &mut Reasons| -> Vec<Waiting> {
        let own = all.extract_if(.., |(id, _), _| *id == event.id);
        own.map(|((_, reason), (count, until))| Waiting { reason, count, until }).collect()
    };
    QueuedEvent {
        retried: of(retried),
        held: of(held),
        incident: event.incident,
        event: event.id,
        kind: event.kind,
        services: event.services,
        recorded_at: event.recorded_at,
        due,
        sending,
        promised,
    }
}

/// What was given up lately, by class, the class with the latest first.
fn refusals(
    reader: &Reader,
    is_meant: &dyn Fn(&IncidentId) -> bool,
    now: Timestamp,
) -> Result<Vec<Refusals>, StoreError> {
    let mut found: Vec<Refusals> = Vec::new();
    let since = now.checked_sub(RECENT).unwrap_or(Timestamp::MIN);
    reader.given_up(since, &mut |refused| {
        if !is_meant(&refused.incident) {
            return;
        }
        let Refused { delivery, subscriber, incident, at, reply, .. } = refused;
        let class = class_of(reply.as_deref());
        let place = found.iter().position(|known| known.ended.reason == class).unwrap_or_else(|| {
            found.push(Refusals { ended: Ended { reason: class, count: 0 }, last_at: at, latest: Vec::new() });
            found.len().saturating_sub(1)
        });
        if let Some(known) = found.get_mut(place) {
            known.ended.count = known.ended.count.saturating_add(1);
            if known.latest.len() < LATEST {
                known.latest.push(Refusal { delivery, subscriber, incident, at });
            }
        }
    })?;
    Ok(found)
}
