//! The committed facts that pages are made of, kept from pass to pass: what did not change is not
//! read again.
//!
//! What grows with history is the list of heads alone, and that is read once: old incidents are
//! read one at a time, when a page of theirs is made.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use crate::domain::{
    IncidentId, ServiceId, ServiceStatus,
    archive::{Archive, ArchiveError, Changes, ServiceNow},
    correction::Correction,
    event::Event,
    incident::Incident,
    span::Span,
    target::TargetClass,
};

use super::{
    context::{Context, slot},
    feeds::select,
    heads::Heads,
    key::Key,
};

/// So many days back uptime is shown.
const SPAN_DAYS: i64 = 366;
/// So many of the newest incidents are kept in memory, besides those that are open or in the news.
const NEWEST: usize = 60;

/// A service's spans of the last year, oldest first, and the key of them.
#[derive(Debug, Default)]
pub struct Spans {
    list: Vec<Span>,
    key: Key,
}

impl From<Vec<Span>> for Spans {
    fn from(list: Vec<Span>) -> Self {
        let key = list.iter().fold(Key::default(), |key, span| {
            key.and((span.status, span.from.as_millisecond(), span.to.map(Timestamp::as_millisecond)))
        });
        Self { list, key }
    }
}

/// A service's corrections, oldest first, and the key of them.
#[derive(Debug, Default)]
struct Corrections {
    list: Vec<Correction>,
    key: Key,
}

impl Corrections {
    fn push(&mut self, correction: Correction) {
        self.key = self.key.and(&correction);
        self.list.push(correction);
    }
}

/// What a pass has to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Everything.
    pub all: bool,
    /// Services whose files may change.
    pub services: BTreeSet<ServiceId>,
    /// Incidents whose files may change.
    pub incidents: BTreeSet<IncidentId>,
    /// Months whose lists may change.
    pub months: BTreeSet<Date>,
    /// What shows all services or all incidents.
    pub whole: bool,
}

impl Touched {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { all: true, whole: true, ..Self::default() }
    }

    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { all, services, incidents, months, whole } = self;
        !all && !whole && services.is_empty() && incidents.is_empty() && months.is_empty()
    }
}

/// Facts that stay as they are while the store's revision does.
#[derive(Debug)]
pub struct Facts {
    /// The store's revision.
    pub revision: u64,
    /// How each service is.
    pub services: HashMap<ServiceId, ServiceNow>,
    /// Since when targets of which classes cannot be seen.
    pub blind: BTreeMap<TargetClass, Timestamp>,
    /// All incidents in short.
    pub heads: Heads,
    /// The newest events, newest first.
    pub events: Vec<Event>,
    /// The last of them in the order of recording, as far as that is known.
    last_event: u64,
    /// Those that are open, newest or in the news, whole.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// The last year's spans of each configured service.
    spans: HashMap<ServiceId, Spans>,
    /// What time counts as, of services that have such corrections, whether configured or not.
    corrections: BTreeMap<ServiceId, Corrections>,
    /// Since when spans reach back.
    spans_from: Timestamp,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            revision: 0,
            services: HashMap::new(),
            blind: BTreeMap::new(),
            heads: Heads::new(TimeZone::UTC),
            events: Vec::new(),
            last_event: 0,
            incidents: BTreeMap::new(),
            spans: HashMap::new(),
            corrections: BTreeMap::new(),
            spans_from: Timestamp::MIN,
        }
    }
}

impl Facts {
    /// Brings them up to date with `archive`; gives what that touched.
    ///
    /// # Errors
    /// If the archive cannot be read; then nothing here is to be relied on any more.
    pub fn update(
        &mut self,
        archive: &dyn Archive,
        context: &Context,
        now: Timestamp,
    ) -> Result<Touched, ArchiveError> {
        let revision = archive.revision()?;
        let mut touched = Touched::default();
        if revision == 0 || revision != self.revision {
            let changes = if self.revision == 0 || revision < self.revision || revision == 0 {
                None
            } else {
                archive.changes(self.revision)?
            };
            touched = match changes {
                Some(changes) => self.take_in(archive, context, changes)?,
                None => self.read_all(archive, context, now)?,
            };
            touched.whole = true;
            self.read_blindness(archive, context, &mut touched)?;
            self.read_incidents(archive)?;
            self.revision = revision;
        }
        self.forget(now, &mut touched);
        Ok(touched)
    }

    fn read_all(&mut self, archive: &dyn Archive, context: &Context, now: Timestamp) -> Result<Touched, ArchiveError> {
        self.services = archive.services()?.into_iter().map(|now| (now.service.clone(), now)).collect();
        self.heads = Heads::new(context.zone().clone());
        for head in archive.heads()? {
            self.heads.put(head);
        }
        self.read_events(archive)?;
        self.corrections.clear();
        self.read_corrections(archive, None)?;
        self.spans_from = year_before(now);
        self.spans.clear();
        for service in &context.rules.services {
            let spans = archive.spans(&service.id, self.spans_from, Timestamp::MAX)?;
            self.spans.insert(service.id.clone(), spans.into());
        }
        Ok(Touched::all())
    }

    /// Those of one service, or of all; what was known of them is gone already.
    fn read_corrections(&mut self, archive: &dyn Archive, service: Option<&ServiceId>) -> Result<(), ArchiveError> {
        for correction in archive.corrections(service)? {
            self.corrections.entry(correction.service.clone()).or_default().push(correction);
        }
        Ok(())
    }

    fn read_events(&mut self, archive: &dyn Archive) -> Result<(), ArchiveError> {
        self.events = archive.events(None, None, select::MOST)?;
        self.last_event = 0;
        Ok(())
    }

    fn take_in(&mut self, archive: &dyn Archive, context: &Context, changes: Changes) -> Result<Touched, ArchiveError> {
        let mut touched = Touched::default();
        for (service, now) in changes.services {
            self.corrections.remove(&service);
            self.read_corrections(archive, Some(&service))?;
            if context.service(&service).is_some() {
                let spans = archive.spans(&service, self.spans_from, Timestamp::MAX)?;
                self.spans.insert(service.clone(), spans.into());
            }
            match now {
                Some(now) => self.services.insert(service.clone(), now),
                None => self.services.remove(&service),
            };
            touched.services.insert(service);
        }
        for head in changes.heads {
            touched.incidents.insert(head.id.clone());
            let moved = self.heads.put(head);
            touched.services.extend(moved.services);
            touched.months.extend(moved.months);
            touched.all |= moved.uproots;
        }
        for (seq, event) in changes.events {
            // A feed shows events that it knew and that were amended, whoever they are about now.
            touched.services.extend(event.services.iter().cloned());
            if let Some(known) = self.events.iter_mut().find(|known| known.id == event.id) {
                touched.services.extend(known.services.iter().cloned());
                *known = event;
            } else if self.last_event != 0 && seq > self.last_event {
                self.events.insert(0, event);
                self.last_event = seq;
            } else {
                self.read_events(archive)?;
                self.last_event = seq.max(self.last_event);
            }
        }
        self.events.truncate(select::MOST);
        Ok(touched)
    }

    /// What cannot be seen stands on the page of each service that it covers.
    fn read_blindness(
        &mut self,
        archive: &dyn Archive,
        context: &Context,
        touched: &mut Touched,
    ) -> Result<(), ArchiveError> {
        let before = std::mem::replace(&mut self.blind, archive.blind()?);
        let classes = before.keys().chain(self.blind.keys()).copied();
        for class in classes.filter(|class| before.get(class) != self.blind.get(class)) {
            let covered = context.rules.services.iter().filter(|service| service.is_reached(class));
            touched.services.extend(covered.map(|service| service.id.clone()));
        }
        Ok(())
    }

    /// Keeps those incidents whole that pages need again and again.
    fn read_incidents(&mut self, archive: &dyn Archive) -> Result<(), ArchiveError> {
        let newest = self.heads.iter().take(NEWEST).map(|head| head.id.clone());
        let in_the_news = self.events.iter().map(|event| event.incident.clone());
        let needed: BTreeSet<IncidentId> = newest.chain(in_the_news).chain(self.heads.open().cloned()).collect();
        self.incidents.retain(|id, incident| {
            needed.contains(id) && self.heads.get(id).is_some_and(|head| head.version == incident.version)
        });
        for id in needed {
            if !self.incidents.contains_key(&id)
                && self.heads.get(&id).is_some()
                && let Some(incident) = archive.incident(&id)?
            {
                self.incidents.insert(id, incident);
            }
        }
        Ok(())
    }

    /// Once a day, forgets spans that no page reaches back to.
    fn forget(&mut self, now: Timestamp, touched: &mut Touched) {
        let from = year_before(now);
        if from.as_second() - self.spans_from.as_second() < 86_400 {
            return;
        }
        self.spans_from = from;
        for (service, spans) in &mut self.spans {
            let before = spans.list.len();
            spans.list.retain(|span| span.to.is_none_or(|to| to > from));
            if spans.list.len() < before {
                *spans = std::mem::take(&mut spans.list).into();
                touched.services.insert(service.clone());
            }
        }
    }

    /// How a configured service is; one that was never judged is unknown.
    #[must_use]
    pub fn status(&self, service: &ServiceId) -> ServiceStatus {
        self.services.get(service).map_or(ServiceStatus::Unknown, |now| now.status)
    }

    /// A service's spans.
    #[must_use]
    pub fn spans(&self, service: &ServiceId) -> &[Span] {
        self.spans.get(service).map_or(&[], |spans| &spans.list)
    }

    /// The key of a service's spans.
    #[must_use]
    pub fn spans_key(&self, service: &ServiceId) -> Key {
        self.spans.get(service).map_or_else(Key::default, |spans| spans.key)
    }

    /// What the operator says that a service's time counts as, oldest first.
    #[must_use]
    pub fn corrections(&self, service: &ServiceId) -> &[Correction] {
        self.corrections.get(service).map_or(&[], |corrections| &corrections.list)
    }

    /// The key of a service's corrections.
    #[must_use]
    pub fn corrections_key(&self, service: &ServiceId) -> Key {
        self.corrections.get(service).map_or_else(Key::default, |corrections| corrections.key)
    }

    /// The incidents that are open and on the site, worst first, then newest.
    #[must_use]
    pub fn open(&self) -> Vec<&Incident> {
        let known = self.heads.open().filter_map(|id| self.incidents.get(id));
        let mut open: Vec<&Incident> = known.filter(|incident| incident.is_open() && !incident.withdrawn).collect();
        open.sort_by(|a, b| (b.impact, b.started_at).cmp(&(a.impact, a.started_at)).then_with(|| a.id.cmp(&b.id)));
        open
    }
}

fn year_before(now: Timestamp) -> Timestamp {
    slot(now).checked_sub((SPAN_DAYS * 24).hours()).unwrap_or(Timestamp::MIN)
}
