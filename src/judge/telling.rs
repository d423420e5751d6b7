//! Events: what is told of an incident, and until when it may still change. Whom to tell, and how,
//! is decided elsewhere.

use jiff::Timestamp;

use super::{
    correlate::{self, Place},
    time,
    turn::Turn,
};
use crate::domain::{
    IncidentId, ServiceId,
    event::{Event, EventKind, IncidentView},
    incident::{FactKind, Update},
};

/// Something to tell.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// What kind of thing.
    pub kind: EventKind,
    /// When it happened.
    pub at: Timestamp,
    /// The services that it is about.
    pub services: Vec<ServiceId>,
    /// The operator's word that came with it.
    pub update: Option<Update>,
    /// What the monitor says with it, if the kind alone does not.
    pub fact: Option<FactKind>,
    /// Whether an operator brought it about.
    pub by_note: bool,
}

impl News {
    /// What the monitor saw by itself.
    pub fn seen(kind: EventKind, at: Timestamp, services: Vec<ServiceId>) -> Self {
        Self { kind, at, services, update: None, fact: None, by_note: false }
    }
}

/// Whether further services may be added to an event of `kind`.
const fn gathers(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Opened | EventKind::Joined | EventKind::Reopened | EventKind::Recovered | EventKind::Intermittent
    )
}

/// Whether news of `kind` can be told as part of an event of kind `earlier`.
const fn fits(kind: EventKind, earlier: EventKind) -> bool {
    match kind {
        EventKind::Joined => {
            matches!(earlier, EventKind::Opened | EventKind::Reopened | EventKind::Joined | EventKind::Intermittent)
        }
        EventKind::Recovered => matches!(earlier, EventKind::Recovered),
        _ => false,
    }
}

/// Until when an event gathers that was recorded at `recorded_at`, and rests from now on. By the
/// present clock: recording never runs backwards, waiting must not run on. Where the clock was set
/// back since, it seals before the time at which it says it was recorded: one that seals later was
/// written by the old clock, and is sealed ([`Event::is_sealed`]).
fn seals_at(at: Timestamp, recorded_at: Timestamp, rest: std::time::Duration) -> Timestamp {
    let rested = time::plus(at, rest);
    if recorded_at > at { rested.min(time::plus_ms(recorded_at, -1)).max(at) } else { rested }
}

impl Turn<'_> {
    /// Tells `news` of an incident: as an event of its own, or as part of one that still gathers.
    pub fn tell(&mut self, id: &IncidentId, news: News) {
        if let (Some(moves), EventKind::Joined | EventKind::Recovered) = (&mut self.held_back, news.kind) {
            moves.push(news);
            return;
        }
        let Some(case) = self.world.cases.get_mut(id) else { return };
        if news.by_note && case.is_quiet && !case.is_told {
            return;
        }
        let view = IncidentView::from(&case.incident);
        let open = case.unsealed.iter_mut().rfind(|event| gathers(event.kind) && event.seals_at > self.at);
        if let Some(event) = open.filter(|event| fits(news.kind, event.kind)) {
            let fresh: Vec<_> = news.services.into_iter().filter(|it| !event.services.contains(it)).collect();
            event.services.extend(fresh);
            event.look(view);
            let event = event.clone();
            self.put(event);
            return;
        }
        let notify = !case.is_silenced
            && (!case.incident.withdrawn || news.kind == EventKind::Withdrawn)
            && news.update.as_ref().is_none_or(|update| update.notify);
        let rules = &self.rules.incidents;
        let rest = match news.kind {
            EventKind::Withdrawn => std::time::Duration::ZERO,
            // What nobody wrote needs no rest.
            EventKind::Updated if news.update.is_none() => std::time::Duration::ZERO,
            EventKind::Updated | EventKind::Postmortem => rules.settle,
            _ if news.update.is_some() || news.by_note => rules.settle,
            EventKind::Resolved => std::time::Duration::ZERO,
            _ => rules.gather,
        };
        let recorded_at = self.world.head.recorded_at.map_or(self.at, |last| last.max(self.at));
        self.world.head.recorded_at = Some(recorded_at);
        let event = Event {
            id: self.world.event_id(recorded_at),
            kind: news.kind,
            incident: id.clone(),
            at: news.at,
            recorded_at,
            seals_at: seals_at(self.at, recorded_at, rest),
            services: news.services,
            notify,
            view,
            update: news.update,
            fact: news.fact,
        };
        if let Some(case) = self.world.cases.get_mut(id) {
            case.is_told = true;
            if event.kind == EventKind::Resolved && case.steady_at.is_some() {
                case.forget_flaps(); // the operator's word
            }
            if event.seals_at > self.at {
                case.unsealed.push(event.clone());
            }
        }
        self.step.events.push(event);
    }

    /// Takes note that `event` changed: as new if it is of this step, else as amended.
    pub fn put(&mut self, event: Event) {
        let all = self.step.events.iter_mut().chain(&mut self.step.amended);
        match all.into_iter().find(|earlier| earlier.id == event.id) {
            Some(earlier) => *earlier = event,
            None => self.step.amended.push(event),
        }
    }

    /// Seals what still gathers: the end is told after it, not beside it.
    pub fn seal_gathering(&mut self, id: &IncidentId) {
        let Some(case) = self.world.cases.get_mut(id) else { return };
        let gathering = |event: &&mut Event| gathers(event.kind) && event.update.is_none();
        let mut sealed = Vec::new();
        for event in case.unsealed.iter_mut().filter(gathering).filter(|event| event.seals_at > self.at) {
            event.seals_at = self.at;
            sealed.push(event.clone());
        }
        for event in sealed {
            self.put(event);
        }
    }

    /// A check of `service` fails since `first_at` without being down yet, and will be decided by
    /// `until`: news that it may join waits for it, so that a cascade or storm is told at once. At
    /// most three times `gather`; the site does not wait.
    pub fn keep_gathering(&mut self, service: &ServiceId, first_at: Timestamp, until: Timestamp) {
        let now = self.at;
        let is_gathering = |event: &Event| gathers(event.kind) && event.seals_at > now;
        let is_news = self.world.live().any(|case| case.unsealed.iter().any(is_gathering));
        if !is_news || !self.world.suffering(service).is_empty() {
            return;
        }
        let (Place::Joins { incident: id, .. } | Place::Again(id)) =
            correlate::place(self.rules, self.world, service, first_at)
        else {
            return;
        };
        let most = self.rules.incidents.gather.saturating_mul(3);
        let Some(case) = self.world.cases.get_mut(&id) else { return };
        // By whole seconds: a thousand suspects are not a thousand changes of one event.
        let until = time::plus_ms(until, 1000 - until.as_millisecond().rem_euclid(1000));
        let mut amended = Vec::new();
        for event in case.unsealed.iter_mut().filter(|event| is_gathering(event)) {
            let seals_at = until.min(time::plus(event.recorded_at.min(now), most));
            if seals_at > event.seals_at {
                event.seals_at = seals_at;
                amended.push(event.clone());
            }
        }
        if !amended.is_empty() {
            self.world.touch_incident(&id);
        }
        for event in amended {
            self.put(event);
        }
    }

    /// The clock may have been set back: what gathers by the old one must not wait until that time
    /// comes again, and is sealed now.
    pub fn follow_clock(&mut self) {
        let rules = &self.rules.incidents;
        let latest = time::plus(self.at, rules.gather.saturating_mul(3).max(rules.settle));
        let at = self.at;
        let before = self.world.checks.values().filter_map(|state| state.after).max().unwrap_or(at);
        let mut sealed = Vec::new();
        for case in self.world.cases.values_mut() {
            if case.unsealed.iter().all(|event| event.seals_at <= latest && !event.is_of_old_clock(at)) {
                continue;
            }
            // What the old clock had sealed may be told already, and never changes.
            for mut event in std::mem::take(&mut case.unsealed).into_iter().filter(|event| event.seals_at > before) {
                event.seals_at = self.at;
                sealed.push(event);
            }
            self.touched.insert(case.incident.id.clone());
        }
        for event in sealed {
            self.put(event);
        }
        let steady = time::plus(self.at, rules.reopen_window);
        let stragglers = time::plus(self.at, rules.merge_window);
        for id in self.world.live().map(|case| case.incident.id.clone()).collect::<Vec<_>>() {
            let Some(case) = self.world.cases.get_mut(&id) else { continue };
            case.steady_at = case.steady_at.map(|at| at.min(steady));
            case.stragglers_at = case.stragglers_at.map(|at| at.min(stragglers));
            self.world.touch_incident(&id);
        }
    }

    /// Changes the unsealed event that tells of `update`, if there is one, and lets it rest anew.
    pub fn amend_update(&mut self, id: &IncidentId, update: &Update) {
        let (at, settle) = (self.at, self.rules.incidents.settle);
        let Some(case) = self.world.cases.get_mut(id) else { return };
        let view = IncidentView::from(&case.incident);
        let mine = |event: &&mut Event| event.update.as_ref().is_some_and(|told| told.id == update.id);
        let Some(event) = case.unsealed.iter_mut().filter(|event| event.seals_at > self.at).find(mine) else { return };
        event.notify = match event.kind {
            EventKind::Updated => update.notify && !update.withdrawn && !case.is_silenced,
            // That it began or ended remains true without the word that came with it.
            _ if update.withdrawn => event.notify,
            _ => update.notify && !case.is_silenced,
        };
        event.at = if event.kind == EventKind::Updated { update.at } else { event.at };
        event.view = view;
        event.update = Some(update.clone());
        event.seals_at = seals_at(at, event.recorded_at, settle);
        let event = event.clone();
        self.put(event);
    }

    /// Brings what still gathers up to what is known of the incident, and drops what is sealed.
    pub fn refresh_views(&mut self, id: &IncidentId) {
        let Some(case) = self.world.cases.get_mut(id) else { return };
        case.unsealed.retain(|event| event.seals_at > self.at);
        if !case.incident.is_open() {
            return;
        }
        let view = IncidentView::from(&case.incident);
        let Some(event) = case.unsealed.iter_mut().rfind(|event| gathers(event.kind)) else { return };
        if event.view != view {
            event.look(view);
            let event = event.clone();
            self.put(event);
        }
    }
}
