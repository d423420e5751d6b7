//! Who would be told what if notes were taken as they stand: the same steps that the daemon takes, on
//! a world that is thrown away. It writes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    account::{Ended, Waiting},
    compose::{ComposeError, Composer, Draft, Tokens},
    forecast::{Message, forecast},
    ledger::Lane,
    plan::{HoldReason, News},
    recipient::{Directory, Recipient},
};
use crate::{
    domain::{
        EventId, IncidentId, ServiceId,
        event::{Event, EventKind},
        id::DeliveryId,
        incident::Incident,
        note::Note,
        service::Rules,
        subscriber::{Subscriber, Wants},
    },
    judge::{self, Input, World},
    store::{Reader, StoreError},
};

/// Stands in a link for the token that each reader has of their own.
const TOKEN: &str = "TOKEN";
/// What waits longer is said to wait.
const LONGEST: Duration = Duration::from_hours(24);

/// Why nothing can be foreseen.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A template or a catalogue.
    #[error(transparent)]
    Compose(#[from] ComposeError),
}

/// What it is foreseen by.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Who follows what, and what they know.
    pub reader: &'a Reader,
    /// How it is judged.
    pub rules: &'a Rules,
    /// How it is said; `None`: nobody is told by mail.
    pub composer: Option<&'a Composer>,
    /// The present.
    pub now: Timestamp,
}

/// What would follow for one incident.
#[derive(Debug)]
pub struct Preview {
    /// The incident as it would be.
    pub incident: Incident,
    /// Whether pages would read otherwise than they do.
    pub is_changed: bool,
    /// What would be told, in the order of recording.
    pub events: Vec<Foreseen>,
}

/// One event that is not told yet.
#[derive(Debug, Serialize)]
pub struct Foreseen {
    /// What kind of thing.
    pub kind: EventKind,
    /// When it happened.
    pub at: Timestamp,
    /// From when on it is told.
    pub seals_at: Timestamp,
    /// What it is about.
    pub services: Vec<ServiceId>,
    /// Whether the daemon has taken it already.
    pub is_recorded: bool,
    /// Whether anyone is told; if not, it stands in the feeds alone.
    pub notify: bool,
    /// The messages that it leaves in, those for most people first.
    pub messages: Vec<ForeseenMessage>,
    /// To how many it is told in the message of a later event.
    pub folded: u64,
    /// For whom it waits longer.
    pub waiting: Vec<Waiting>,
    /// Who is not told.
    pub dropped: Vec<Ended>,
}

/// One message, for all who get it at the same time.
#[derive(Debug, Serialize)]
pub struct ForeseenMessage {
    /// What it is.
    pub news: &'static str,
    /// When it leaves.
    pub at: Timestamp,
    /// To how many subscribers.
    pub subscribers: u64,
    /// Its subject, in the site's language.
    pub subject: String,
    /// What it says as plain text to one of them: to whoever follows everything, if there is one.
    pub text: String,
}

/// Foresees what follows from `notes` for the incident `id`; `None` if there would be none.
///
/// # Errors
/// If the store cannot be read, or a message cannot be composed.
pub fn preview(
    means: Means<'_>,
    mut world: World,
    notes: Vec<Note>,
    id: &IncidentId,
) -> Result<Option<Preview>, PreviewError> {
    let Means { reader, rules, now, .. } = means;
    // What follows from time alone follows without a note, too.
    judge::step(rules, &mut world, Input::Tick, now);
    let mut found = Vec::new();
    let mut changed = BTreeSet::new();
    for note in notes {
        let step = judge::step(rules, &mut world, Input::Note(Box::new(note)), now);
        changed.extend(step.incidents.into_iter().map(|incident| incident.id));
        found.extend(step.events.into_iter().chain(step.amended));
    }
    let Some(incident) = world.incident(id).cloned() else { return Ok(None) };
    let published = incident.postmortem.as_ref().and_then(|postmortem| postmortem.published);
    if let Some(at) = published.filter(|at| *at > now) {
        let later = judge::step(rules, &mut world, Input::Tick, at).events.into_iter();
        found.extend(later.filter(|event| event.kind == EventKind::Postmortem));
    }
    let mut recorded = reader.events_of(&incident.id)?;
    recorded.retain(|event| !event.is_sealed(now));
    recorded.reverse();
    let known: BTreeSet<EventId> = recorded.iter().map(|event| event.id).collect();
    for event in found.into_iter().filter(|event| event.incident == incident.id) {
        match recorded.iter_mut().find(|known| known.id == event.id) {
            Some(known) => *known = event,
            None => recorded.push(event),
        }
    }
    let events: Vec<Arc<Event>> = recorded.into_iter().map(Arc::new).collect();
    let groups = Groups::of(means, &Arc::new(incident.clone()), &events, &known)?;
    let foreseen = events.iter().map(|event| groups.foreseen(means, event, known.contains(&event.id)));
    let events = foreseen.collect::<Result<_, _>>()?;
    Ok(Some(Preview { is_changed: changed.contains(&incident.id), incident, events }))
}

/// Those who get the same message at the same time.
struct Group {
    count: u64,
    /// The one to whom it is shown.
    reader: Subscriber,
    message: Message,
}

/// What becomes of each event, for all together.
#[derive(Default)]
struct Groups {
    sent: BTreeMap<(EventId, Timestamp, News, Vec<EventId>), Group>,
    folded: BTreeMap<EventId, u64>,
    waiting: BTreeMap<(EventId, HoldReason), (u64, Timestamp)>,
    dropped: BTreeMap<(EventId, &'static str), u64>,
}

impl Groups {
    fn of(
        means: Means<'_>,
        incident: &Arc<Incident>,
        events: &[Arc<Event>],
        recorded: &BTreeSet<EventId>,
    ) -> Result<Self, StoreError> {
        let directory = Directory::new(means.rules);
        let mut groups = Self::default();
        let told: Vec<&Arc<Event>> = events.iter().filter(|event| event.notify).collect();
        let services: BTreeSet<ServiceId> = told.iter().flat_map(|event| event.services.iter().cloned()).collect();
        let services: Vec<ServiceId> = services.into_iter().collect();
        let last = told.iter().map(|event| event.seals_at).max().unwrap_or(means.now).max(means.now);
        let longest = services.iter().map(|service| directory.notify_after(service)).max().unwrap_or_default();
        let until = last.saturating_add(longest.min(LONGEST) + Duration::from_secs(1)).unwrap_or(last);
        means.reader.audience(incident, &services, &mut |mut lane| {
            for pending in &mut lane.pending {
                if let Some(event) = events.iter().find(|event| event.id == pending.event.id) {
                    pending.event = Arc::clone(event);
                }
            }
            let coming: Vec<Arc<Event>> = told
                .iter()
                .filter(|event| comes_to(&lane, &directory, event, recorded))
                .map(|it| Arc::clone(it))
                .collect();
            groups.add(lane, &coming, incident, &directory, (means.now, until));
        })?;
        Ok(groups)
    }

    /// Adds what becomes of one reader's lane.
    fn add(
        &mut self,
        lane: Lane,
        coming: &[Arc<Event>],
        incident: &Arc<Incident>,
        directory: &Directory,
        span: (Timestamp, Timestamp),
    ) {
        let reader = lane.subscriber.clone();
        let forecast = forecast(lane, coming, &|_| Arc::clone(incident), directory, span);
        for message in forecast.messages {
            let ids: Vec<EventId> = message.events.iter().map(|event| event.id).collect();
            let Some((last, earlier)) = ids.split_last() else { continue };
            for id in earlier {
                *self.folded.entry(*id).or_default() += 1;
            }
            let key = (*last, message.at, message.news, ids.clone());
            let group = self.sent.entry(key).or_insert_with(|| Group { count: 0, reader: reader.clone(), message });
            group.count += 1;
            if follows_all(&reader.wants) && !follows_all(&group.reader.wants) {
                group.reader = reader.clone();
            }
        }
        for (event, reason, until) in forecast.waiting {
            let (count, first) = self.waiting.entry((event, reason)).or_insert((0, until));
            *count += 1;
            *first = (*first).min(until);
        }
        for (event, reason) in forecast.dropped {
            *self.dropped.entry((event, reason.as_str())).or_default() += 1;
        }
    }

    fn foreseen(&self, means: Means<'_>, event: &Event, is_recorded: bool) -> Result<Foreseen, ComposeError> {
        let own = self.sent.iter().filter(|((last, ..), _)| *last == event.id);
        let messages = own.map(|((_, at, news, _), group)| group.foreseen(means, *at, *news));
        let mut messages = messages.collect::<Result<Vec<_>, _>>()?;
        messages.sort_by_key(|message| std::cmp::Reverse(message.subscribers));
        let waiting = self.waiting.iter().filter(|((id, _), _)| *id == event.id);
        let dropped = self.dropped.iter().filter(|((id, _), _)| *id == event.id);
        Ok(Foreseen {
            kind: event.kind,
            at: event.at,
            seals_at: event.seals_at,
            services: event.services.clone(),
            is_recorded,
            notify: event.notify,
            messages,
            folded: self.folded.get(&event.id).copied().unwrap_or(0),
            waiting: waiting
                .map(|((_, reason), (count, until))| Waiting {
                    reason: reason.as_str().to_owned(),
                    count: *count,
                    until: *until,
                })
                .collect(),
            dropped: dropped
                .map(|((_, reason), count)| Ended { reason: (*reason).to_owned(), count: *count })
                .collect(),
        })
    }
}

impl Group {
    fn foreseen(&self, means: Means<'_>, at: Timestamp, news: News) -> Result<ForeseenMessage, ComposeError> {
        let events: Vec<&Event> = self.message.events.iter().map(AsRef::as_ref).collect();
        let (mut subject, mut text) = (String::new(), String::new());
        if let (Some(composer), Some(last)) = (means.composer, events.last()) {
            let reader = Subscriber { language: None, timezone: None, ..self.reader.clone() };
            let rendered = composer.render(&Draft {
                news,
                delivery: DeliveryId::from_bytes(*last.id.as_bytes()),
                subscriber: &reader,
                events: &events,
                tokens: &Tokens { unsubscribe: TOKEN.to_owned(), manage: TOKEN.to_owned(), envelope: TOKEN.to_owned() },
            })?;
            (subject, text) = (rendered.subject, rendered.text);
        }
        Ok(ForeseenMessage { news: news.as_str(), at, subscribers: self.count, subject, text })
    }
}

/// Whether an event comes to whom it is not queued for yet: to those who follow it, and were there
/// when it was recorded.
fn comes_to(lane: &Lane, directory: &Directory, event: &Event, recorded: &BTreeSet<EventId>) -> bool {
    let reader = &lane.subscriber;
    let was_there = !recorded.contains(&event.id) || reader.confirmed_at.is_none_or(|at| at <= event.recorded_at);
    let is_queued = lane.pending.iter().any(|pending| pending.event.id == event.id);
    let recipient = Recipient { wants: &reader.wants, directory };
    !is_queued && was_there && recipient.concerned(event).next().is_some()
}

fn follows_all(wants: &Wants) -> bool {
    wants.services.is_empty() && wants.groups.is_empty()
}
