//! The facts that one pass of publishing is made of, read from the archive once and kept for as
//! long as nothing changed.
//!
//! Nothing here grows with history but the list of heads: old incidents are read one at a time,
//! when a page of theirs is made.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, ToSpan};

use crate::domain::{
    IncidentId, ServiceId, ServiceStatus,
    archive::{Archive, ArchiveError, Head, LatencyPoint, ServiceNow},
    event::Event,
    incident::Incident,
    service::Service,
    span::Span,
};

use super::{
    context::{Context, live_slot, next_live_slot, next_slot, slot},
    days::Days,
    feeds::select,
    key::Key,
};

/// So many days back uptime is shown.
const SPAN_DAYS: i64 = 366;
/// So many of the newest incidents are kept in memory, besides those that are open or in the news.
const NEWEST: usize = 60;
/// So many days of response times are drawn,
pub const LATENCY_DAYS: i64 = 30;
/// in buckets of so many hours.
pub const LATENCY_HOURS: i64 = 4;

/// A service counts as new for so many seconds: its uptime changes by the minute.
const NEW_S: i64 = 900;

/// How often what a page says of the present is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Nothing is going on.
    Calm,
    /// Something is, and people look at how long it lasts.
    Live,
}

/// What a list says about an incident.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its title, as the site says it.
    pub title: String,
    /// The worst that it meant for a service.
    pub worst: ServiceStatus,
}

/// Facts that stay as they are while the store's revision does.
#[derive(Debug, Default)]
pub struct Facts {
    /// The store's revision.
    pub revision: u64,
    /// How each service is.
    pub services: BTreeMap<ServiceId, ServiceNow>,
    /// All incidents, newest start first.
    pub heads: Vec<Head>,
    /// The newest events, newest first.
    pub events: Vec<Event>,
    /// Those that are open, newest or in the news, whole.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// The last year's spans of each configured service.
    pub spans: BTreeMap<ServiceId, Vec<Span>>,
    /// Since when they reach back.
    pub spans_from: Timestamp,
}

impl Facts {
    /// Reads what is new since `before`, and takes over from it what did not change.
    ///
    /// # Errors
    /// If the archive cannot be read.
    pub fn read(archive: &dyn Archive, context: &Context, now: Timestamp, before: Self) -> Result<Self, ArchiveError> {
        let revision = archive.revision()?;
        let spans_from = slot(now).checked_sub((SPAN_DAYS * 24).hours()).unwrap_or(Timestamp::MIN);
        // A year back moves on by itself; once a day is often enough to forget.
        let is_recent = spans_from.as_second() - before.spans_from.as_second() < 86_400;
        if revision == before.revision && is_recent && revision != 0 {
            return Ok(before);
        }
        let services = archive.services()?.into_iter().map(|now| (now.service.clone(), now)).collect();
        let heads = archive.heads()?;
        let events = archive.events(None, None, select::MOST)?;
        let mut known = before.incidents;
        let mut incidents = BTreeMap::new();
        let in_the_news: BTreeSet<&IncidentId> = events.iter().map(|event| &event.incident).collect();
        for (n, head) in heads.iter().enumerate() {
            if n >= NEWEST && !head.status.is_open() && !in_the_news.contains(&head.id) {
                continue;
            }
            let incident = match known.remove(&head.id).filter(|incident| incident.version == head.version) {
                Some(incident) => Some(incident),
                None => archive.incident(&head.id)?,
            };
            incidents.extend(incident.map(|incident| (head.id.clone(), incident)));
        }
        let mut spans = BTreeMap::new();
        for service in &context.rules.services {
            spans.insert(service.id.clone(), archive.spans(&service.id, spans_from, Timestamp::MAX)?);
        }
        Ok(Self { revision, services, heads, events, incidents, spans, spans_from })
    }

    /// How a configured service is; one that was never judged is unknown.
    #[must_use]
    pub fn status(&self, service: &ServiceId) -> ServiceStatus {
        self.services.get(service).map_or(ServiceStatus::Unknown, |now| now.status)
    }

    /// A service's spans.
    #[must_use]
    pub fn spans(&self, service: &ServiceId) -> &[Span] {
        self.spans.get(service).map_or(&[], Vec::as_slice)
    }

    /// The incidents that are open and on the site, worst first, then newest.
    #[must_use]
    pub fn open(&self) -> Vec<&Incident> {
        let mut open: Vec<&Incident> =
            self.incidents.values().filter(|incident| incident.is_open() && !incident.withdrawn).collect();
        open.sort_by(|a, b| (b.impact, b.started_at).cmp(&(a.impact, a.started_at)).then_with(|| a.id.cmp(&b.id)));
        open
    }
}

/// Response times, and until when they were read.
type Drawn = (Timestamp, Arc<[LatencyPoint]>);

/// What is kept from pass to pass so that nothing is read twice.
#[derive(Debug, Default)]
pub struct Memory {
    summaries: RefCell<BTreeMap<IncidentId, (u64, Arc<Summary>)>>,
    latency: RefCell<BTreeMap<ServiceId, Drawn>>,
}

/// Facts, the moment, and a way to ask for more.
#[derive(Clone, Copy)]
pub struct Snapshot<'a> {
    /// What pages are made of besides facts.
    pub context: &'a Context,
    /// What is read.
    pub facts: &'a Facts,
    /// What was read before.
    pub memory: &'a Memory,
    /// Where the rest is.
    pub archive: &'a dyn Archive,
    /// The present.
    pub now: Timestamp,
    /// The days of the bars.
    pub days: &'a Days,
    /// Of all incidents.
    pub heads_key: Key,
}

impl<'a> Snapshot<'a> {
    /// As of when the present is stated on a page whose facts last changed at `changed_at`.
    #[must_use]
    pub fn stated_at(&self, changed_at: Option<Timestamp>, pace: Pace) -> Timestamp {
        // What changed by a clock that was set back since says nothing of now.
        changed_at.filter(|at| *at <= self.now).map_or(self.slot(pace), |at| at.max(self.slot(pace)))
    }

    /// When the present slot of a page began.
    #[must_use]
    pub fn slot(&self, pace: Pace) -> Timestamp {
        match pace {
            Pace::Calm => slot(self.now),
            Pace::Live => live_slot(self.now),
        }
    }

    /// The pace of a service's page: live while it is in trouble, or new.
    #[must_use]
    pub fn pace_of(&self, service: &ServiceId) -> Pace {
        let is_new = self
            .facts
            .spans(service)
            .first()
            .is_some_and(|span| self.now.as_second().saturating_sub(span.from.as_second()) < NEW_S);
        if is_new || self.facts.status(service).is_trouble() { Pace::Live } else { Pace::Calm }
    }

    /// The pace of what shows all services: that of the liveliest, or of an open incident.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let is_live = |service: &Arc<Service>| self.pace_of(&service.id) == Pace::Live;
        let is_open = |incident: &Incident| incident.is_open() && !incident.withdrawn;
        if self.facts.incidents.values().any(is_open) || self.context.rules.services.iter().any(is_live) {
            Pace::Live
        } else {
            Pace::Calm
        }
    }

    /// When pages that state the present are to be made anew.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        match self.pace() {
            Pace::Calm => next_slot(self.now),
            Pace::Live => next_live_slot(self.now),
        }
    }

    /// Until when a service's time is counted where its uptime is shown. What has only begun counts
    /// for the moment that it has been: a service that is seen up must not be called without data.
    #[must_use]
    pub fn counted_until(&self, service: &ServiceId, pace: Pace) -> Timestamp {
        let stated_at = self.stated_at(self.changed_at(service), pace);
        let spans = self.facts.spans(service);
        let begun_at = spans.iter().find(|span| span.status != ServiceStatus::Unknown).map(|span| span.from);
        let first_moment = begun_at.and_then(|at| at.checked_add(1.millisecond()).ok());
        first_moment.map_or(stated_at, |moment| stated_at.max(moment))
    }

    /// When the newest thing happened to a service, as far as is known.
    #[must_use]
    pub fn changed_at(&self, service: &ServiceId) -> Option<Timestamp> {
        let told = self.facts.events.iter().find(|event| event.services.contains(service));
        let since = self.facts.services.get(service).map(|now| now.since);
        since.max(told.map(|event| event.recorded_at))
    }

    /// An incident, whole.
    ///
    /// # Errors
    /// If the archive cannot be read.
    pub fn incident(&self, id: &IncidentId) -> Result<Option<Incident>, ArchiveError> {
        match self.facts.incidents.get(id) {
            Some(incident) => Ok(Some(incident.clone())),
            None => self.archive.incident(id),
        }
    }

    /// What a list says about an incident; read once for each of its versions.
    ///
    /// # Errors
    /// If the archive cannot be read.
    pub fn summary(&self, head: &Head) -> Result<Option<Arc<Summary>>, ArchiveError> {
        if let Some((version, summary)) = self.memory.summaries.borrow().get(&head.id)
            && *version == head.version
        {
            return Ok(Some(Arc::clone(summary)));
        }
        let Some(incident) = self.incident(&head.id)? else { return Ok(None) };
        let summary = Arc::new(Summary {
            title: self.context.words.incident_title(&incident, &self.context.names),
            worst: incident.affected.iter().map(|part| part.worst).max().unwrap_or(ServiceStatus::Operational),
        });
        self.memory.summaries.borrow_mut().insert(head.id.clone(), (head.version, Arc::clone(&summary)));
        Ok(Some(summary))
    }

    /// Until when response times are drawn: whole hours, and none whose last results may be on
    /// their way to the store.
    #[must_use]
    pub fn latency_until(&self) -> Timestamp {
        let seconds = slot(self.now).as_second().saturating_sub(super::context::SLOT_S).div_euclid(3600) * 3600;
        Timestamp::from_second(seconds).unwrap_or(self.now)
    }

    /// Response times of a service; read once an hour.
    ///
    /// # Errors
    /// If the archive cannot be read.
    pub fn latency(&self, service: &ServiceId) -> Result<Arc<[LatencyPoint]>, ArchiveError> {
        let to = self.latency_until();
        if let Some((until, points)) = self.memory.latency.borrow().get(service)
            && *until == to
        {
            return Ok(Arc::clone(points));
        }
        let from = to.checked_sub((LATENCY_DAYS * 24).hours()).unwrap_or(Timestamp::MIN);
        let width = Duration::from_secs(u64::try_from(LATENCY_HOURS * 3600).unwrap_or(3600));
        let points: Arc<[LatencyPoint]> = self.archive.latency(service, from, to, width)?.into();
        self.memory.latency.borrow_mut().insert(service.clone(), (to, Arc::clone(&points)));
        Ok(points)
    }

    /// The heads of the incidents of a service that stand on the site, newest first.
    pub fn heads_of(&self, service: &ServiceId) -> impl Iterator<Item = &'a Head> + use<'a> {
        let service = service.clone();
        self.facts.heads.iter().filter(move |head| !head.withdrawn && head.services.contains(&service))
    }
}
