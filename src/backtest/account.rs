//! What is counted of a record, whether it was written down or replayed: incidents, downtime, and
//! the messages that someone who follows everything would have got.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    domain::{
        Impact, IncidentId, ServiceId, SubscriberId,
        event::{Event, EventKind},
        incident::Incident,
        service::Rules,
        span::{Span, Tally},
        subscriber::{Address, BadAddress, Subscriber, SubscriberState, Wants},
    },
    notify::{
        forecast::{Message, forecast},
        ledger::Lane,
        recipient::Directory,
    },
};

/// What was written down, or would have been.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Those that checks opened.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// Theirs, each incident's oldest first.
    pub events: Vec<Event>,
    /// Each service's, oldest first.
    pub spans: BTreeMap<ServiceId, Vec<Span>>,
}

/// What is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Those that reach into the window, oldest first.
    pub incidents: Vec<Brief>,
    /// Of each service that was down within it, in milliseconds.
    pub downtime_ms: BTreeMap<ServiceId, u64>,
    /// What someone who follows everything would have got within it, by kind.
    pub messages: BTreeMap<&'static str, u64>,
}

/// An incident in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Brief {
    /// Its name: a replay may give it another than it had.
    pub id: IncidentId,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// How much it mattered.
    pub impact: Impact,
    /// What it touched.
    pub services: Vec<ServiceId>,
}

impl Brief {
    /// Whether it is about the same: a service of both, at the same time.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let end = |brief: &Self| brief.resolved_at.unwrap_or(Timestamp::MAX);
        self.started_at <= end(other)
            && other.started_at <= end(self)
            && self.services.iter().any(|service| other.services.contains(service))
    }
}

impl Account {
    /// Counts what lies in `[from, until)`; `reader` is told by `rules`.
    #[must_use]
    pub fn of(record: &Record, rules: &Rules, reader: &Subscriber, from: Timestamp, until: Timestamp) -> Self {
        let mut incidents: Vec<Brief> = record
            .incidents
            .values()
            .filter(|it| it.started_at < until && it.resolved_at.is_none_or(|at| at > from))
            .map(|incident| Brief {
                id: incident.id.clone(),
                started_at: incident.started_at,
                resolved_at: incident.resolved_at,
                impact: incident.impact,
                services: incident.affected.iter().map(|part| part.service.clone()).collect(),
            })
            .collect();
        incidents.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        let down = |spans: &Vec<Span>| Tally::of(spans, from, until).down_ms;
        let downtime_ms = record.spans.iter().map(|(service, spans)| (service.clone(), down(spans)));
        let directory = Directory::new(rules);
        let mut messages = BTreeMap::new();
        let mut events: BTreeMap<&IncidentId, Vec<Arc<Event>>> = BTreeMap::new();
        for event in record.events.iter().filter(|event| is_seen(event)) {
            events.entry(&event.incident).or_default().push(Arc::new(event.clone()));
        }
        for (id, own) in events {
            let Some(incident) = record.incidents.get(id) else { continue };
            let lane = Lane {
                subscriber: reader.clone(),
                incident: incident.id.clone(),
                current: Arc::new(incident.clone()),
                pending: Vec::new(),
                told: Vec::new(),
            };
            let current = |event: &Event| Arc::new(as_of(incident, event));
            let told = forecast(lane, &own, &current, &directory, (Timestamp::MIN, until)).messages;
            for Message { news, .. } in told.into_iter().filter(|message| message.at >= from) {
                *messages.entry(news.as_str()).or_default() += 1;
            }
        }
        Self { incidents, downtime_ms: downtime_ms.filter(|(_, ms)| *ms > 0).collect(), messages }
    }

    /// Downtime of all services together, in milliseconds.
    #[must_use]
    pub fn downtime(&self) -> u64 {
        self.downtime_ms.values().sum()
    }

    /// How many messages.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.messages.values().sum()
    }
}

/// Whether checks alone bring it about: what people write is in no replay.
fn is_seen(event: &Event) -> bool {
    match event.kind {
        EventKind::Postmortem | EventKind::Withdrawn => false,
        EventKind::Updated => event.update.is_none(),
        _ => true,
    }
}

/// The incident as it was when `event` was recorded.
fn as_of(incident: &Incident, event: &Event) -> Incident {
    let view = &event.view;
    Incident {
        root: view.root.clone(),
        status: view.status,
        impact: view.impact,
        started_at: view.started_at,
        resolved_at: view.resolved_at,
        affected: view.affected.clone(),
        withdrawn: false,
        ..incident.clone()
    }
}

/// Someone who follows everything.
///
/// # Errors
/// Never, as long as `example.org` is a domain.
pub fn everyone() -> Result<Subscriber, BadAddress> {
    Ok(Subscriber {
        id: SubscriberId::from_bytes([0; 16]),
        address: Address::parse("everyone@example.org")?.into(),
        state: SubscriberState::Confirmed,
        wants: Wants::default(),
        language: None,
        timezone: None,
        created_at: Timestamp::UNIX_EPOCH,
        confirmed_at: Some(Timestamp::UNIX_EPOCH),
    })
}
