//! One moment as pages see it: facts, the present, and a way to ask for what is older.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, ToSpan};

use crate::domain::{
    IncidentId, ServiceId, ServiceStatus,
    archive::{Archive, ArchiveError, Head, LatencyPoint},
    incident::Incident,
    service::Service,
    span::Span,
    target::TargetClass,
};

use super::{
    context::{Context, live_slot, next_live_slot, next_slot, slot},
    days::Days,
    facts::Facts,
    feeds::{Entries, Feed},
    json,
    pieces::{Old, Pieces},
    view::history,
};

/// So many days of response times are drawn,
pub const LATENCY_DAYS: i64 = 30;
/// in buckets of so many hours.
pub const LATENCY_HOURS: i64 = 4;

/// A service counts as new for so many seconds: if it had trouble, its uptime changes by the minute.
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
    /// "Down for 26 min, resolved 09:41 UTC".
    pub detail: String,
}

/// Which feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedOf {
    /// The news of a service, or of all.
    Updates(Option<ServiceId>),
    /// Whole incidents.
    History,
}

/// A feed, and when it changes although nothing happens.
type DatedFeed = (Feed, Option<Timestamp>);

/// Response times, and until when they were read.
type Drawn = (Timestamp, Arc<[LatencyPoint]>);

/// What is kept from pass to pass so that nothing is read twice.
#[derive(Debug, Default)]
pub struct Memory {
    summaries: RefCell<BTreeMap<IncidentId, (u64, Arc<Summary>)>>,
    latency: RefCell<BTreeMap<ServiceId, Drawn>>,
    /// Of the feeds of the whole site.
    pub entries: RefCell<Entries>,
    /// By path within the output.
    pieces: RefCell<BTreeMap<String, Arc<Pieces>>>,
}

impl Memory {
    /// Notes where the pieces of a file lie that is about to be published.
    pub fn keep_pieces(&self, path: &str, pieces: Pieces) {
        self.pieces.borrow_mut().insert(path.to_owned(), Arc::new(pieces));
    }
}

/// Facts, the moment, and a way to ask for more.
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
    pub days: Days,
    /// The pace of what shows all services.
    pace: Pace,
    /// When something was last told of a service, newest events only.
    told_at: HashMap<&'a ServiceId, Timestamp>,
    /// The last feed that was made: it is written in one format after the other.
    feed: RefCell<Option<(FeedOf, Rc<DatedFeed>)>>,
    /// [`json::changed_at`], once it was asked for.
    shown_changed_at: OnceCell<Option<Timestamp>>,
}

impl<'a> Snapshot<'a> {
    /// The moment `now`.
    #[must_use]
    pub fn new(
        context: &'a Context,
        facts: &'a Facts,
        memory: &'a Memory,
        archive: &'a dyn Archive,
        now: Timestamp,
    ) -> Self {
        let days = Days::last(context.site.history_days, now, context.zone());
        let mut told_at = HashMap::new();
        for event in facts.events.iter().rev() {
            told_at.extend(event.services.iter().map(|service| (service, event.recorded_at)));
        }
        let mut snapshot = Self {
            context,
            facts,
            memory,
            archive,
            now,
            days,
            pace: Pace::Calm,
            told_at,
            feed: RefCell::default(),
            shown_changed_at: OnceCell::new(),
        };
        let is_open = |id: &IncidentId| facts.heads.get(id).is_some_and(|head| !head.withdrawn);
        let is_live = |service: &Arc<Service>| snapshot.pace_of(&service.id) == Pace::Live;
        if facts.heads.open().any(is_open) || context.rules.services.iter().any(is_live) {
            snapshot.pace = Pace::Live;
        }
        snapshot
    }

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

    /// The pace of a service's page: live while it is in trouble, or new and was.
    #[must_use]
    pub fn pace_of(&self, service: &ServiceId) -> Pace {
        let spans = self.facts.spans(service);
        let is_young = |span: &Span| self.now.as_second().saturating_sub(span.from.as_second()) < NEW_S;
        let is_new = spans.first().is_some_and(is_young) && spans.iter().any(|span| span.status.is_trouble());
        if is_new || self.facts.status(service).is_trouble() { Pace::Live } else { Pace::Calm }
    }

    /// The pace of what shows all services: that of the liveliest, or of an open incident.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
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
        let since = self.facts.services.get(service).map(|now| now.since);
        let blind_since = self.context.service(service).and_then(|service| self.blind_since(service));
        since.max(self.told_at.get(service).copied()).max(blind_since)
    }

    /// Since when the monitor itself is cut off from a service, or from a part of it.
    #[must_use]
    pub fn blind_since(&self, service: &Service) -> Option<Timestamp> {
        let blind = self.facts.blind.iter().filter(|(class, _)| service.is_reached(**class));
        // Whose name is found all the same is seen.
        let is_unseen = |class: TargetClass| {
            class != TargetClass::ByName || self.facts.status(&service.id) == ServiceStatus::Unknown
        };
        blind.filter(|(class, _)| is_unseen(**class)).map(|(_, since)| *since).min()
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
        let worst = incident.affected.iter().map(|part| part.worst).max().unwrap_or(ServiceStatus::Operational);
        let summary = Arc::new(Summary {
            title: self.context.words.incident_title(&incident, &self.context.names),
            worst,
            detail: history::detail(self.context, head, worst),
        });
        self.memory.summaries.borrow_mut().insert(head.id.clone(), (head.version, Arc::clone(&summary)));
        Ok(Some(summary))
    }

    /// When anything that documents of the present show last changed.
    #[must_use]
    pub fn shown_changed_at(&self) -> Option<Timestamp> {
        *self.shown_changed_at.get_or_init(|| json::changed_at(self.facts.services.values(), &self.facts.incidents))
    }

    /// The feed that was made last, if it is this one.
    #[must_use]
    pub fn last_feed(&self, of: &FeedOf) -> Option<Rc<DatedFeed>> {
        let last = self.feed.borrow();
        last.as_ref().filter(|(last, _)| last == of).map(|(_, made)| Rc::clone(made))
    }

    /// Keeps a feed until another is made.
    pub fn keep_feed(&self, of: FeedOf, made: DatedFeed) -> Rc<DatedFeed> {
        let made = Rc::new(made);
        *self.feed.borrow_mut() = Some((of, Rc::clone(&made)));
        made
    }

    /// The published version of a file, if its pieces are known.
    #[must_use]
    pub fn published(&self, path: &str) -> Option<Old> {
        let pieces = Arc::clone(self.memory.pieces.borrow().get(path)?);
        Old::open(&self.context.site.output.join(path), pieces)
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
    pub fn heads_of(&self, service: &ServiceId) -> impl Iterator<Item = &'a Arc<Head>> + use<'a> {
        self.facts.heads.of_service(service).iter().filter(|head| !head.withdrawn)
    }
}
