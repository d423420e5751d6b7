//! Two incidents that turn out to be one: a root found later explains both, or they are part of one
//! storm (spec, section 4, rule 4). Both ids are permanent, so one becomes an alias that leads to
//! the other, as with notes.
//!
//! What people wrote about stays theirs: an incident with text of its own is never merged away.

use jiff::Timestamp;

use super::{Reason, case::Case, notes, telling::News, time, turn::Turn};
use crate::domain::{
    IncidentId, IncidentStatus, ServiceId,
    event::EventKind,
    incident::{Affected, Fact, FactKind, Incident, Origin},
    note::Note,
};

impl Turn<'_> {
    /// `service` was found to be the root of `id`: other open incidents that it explains are the
    /// same.
    pub fn merge_explained(&mut self, id: &IncidentId, service: &ServiceId) {
        let is_root = |case: &Case| case.incident.root.as_ref() == Some(service);
        if !self.world.cases.get(id).is_some_and(is_root) {
            return;
        }
        let needs_it = self.world.descendants(service);
        let is_explained = |case: &&Case| {
            let incident = &case.incident;
            let mut suffering = incident.affected.iter().filter(|part| part.recovered_at.is_none());
            incident.root.as_ref().is_none_or(|root| root == service || needs_it.contains(root))
                && suffering.any(|part| needs_it.contains(&part.service))
        };
        let others: Vec<IncidentId> =
            self.others(id).filter(is_explained).map(|case| case.incident.id.clone()).collect();
        self.merge(id, others);
    }

    /// `id` is a storm at `start`: other incidents that began with it are the same.
    pub fn merge_storm(&mut self, id: &IncidentId, start: Timestamp) {
        let window = self.rules.incidents.merge_window;
        let is_near = |case: &&Case| time::within(case.incident.started_at, start, window);
        let others: Vec<IncidentId> = self.others(id).filter(is_near).map(|case| case.incident.id.clone()).collect();
        self.merge(id, others);
    }

    /// Open incidents of checks besides `id`.
    fn others(&self, id: &IncidentId) -> impl Iterator<Item = &Case> {
        self.world.live().filter(move |case| {
            let incident = &case.incident;
            incident.id != *id && incident.is_open() && !incident.withdrawn && incident.origin == Origin::Automatic
        })
    }

    fn is_mute(&self, id: &IncidentId) -> bool {
        let case = self.world.cases.get(id).filter(|case| case.incident.origin == Origin::Automatic);
        case.is_some_and(|case| case.notes.iter().filter_map(|name| self.world.note(name)).all(notes::is_blank))
    }

    /// Makes one of `id` and `others`: the one that people wrote about, else the earliest.
    fn merge(&mut self, id: &IncidentId, mut others: Vec<IncidentId>) {
        if others.is_empty() || self.held_back.is_some() {
            return; // while a note is applied its incident stays what it is
        }
        others.push(id.clone());
        let age =
            |id: &IncidentId| self.world.cases.get(id).map(|case| (case.incident.started_at, case.incident.noticed_at));
        let Some(into) = others.iter().min_by_key(|id| (self.is_mute(id), age(id), (*id).clone())).cloned() else {
            return;
        };
        others.retain(|other| *other != into && self.is_mute(other));
        let mut moved = Vec::new();
        for other in &others {
            moved.extend(self.absorb(&into, other));
        }
        if moved.is_empty() {
            return;
        }
        self.weigh(&into);
        let at = self.at;
        self.tell(&into, News::seen(EventKind::Joined, at, moved));
    }

    /// Makes `from` a part of `into`, and its id an alias; the services that it brought.
    fn absorb(&mut self, into: &IncidentId, from: &IncidentId) -> Vec<ServiceId> {
        let now = self.at;
        let Some(old) = self.world.cases.remove(from) else { return Vec::new() };
        let Some(case) = self.world.cases.get_mut(into) else { return Vec::new() };
        let gone = old.incident.clone();
        let moved: Vec<ServiceId> = gone.affected.iter().map(|part| part.service.clone()).collect();
        join(&mut case.incident, &old.incident);
        if case.incident.reopened == 0 {
            case.incident.started_at = case.incident.started_at.min(gone.started_at);
            case.round_from = case.incident.started_at;
        }
        case.incident.noticed_at = case.incident.noticed_at.min(gone.noticed_at);
        case.incident.aliases.extend(gone.aliases.iter().cloned());
        case.incident.aliases.push(from.clone());
        case.notes.extend(old.notes.iter().cloned());
        for name in old.notes.iter().chain([from]) {
            let blank = || notes::NoteState { note: Note::blank(from.clone()), incident: into.clone() };
            self.world.notes.entry(name.clone()).or_insert_with(blank).incident = into.clone();
            self.world.touch_note(name);
        }
        for service in &moved {
            let Some(state) = self.world.services.get_mut(service) else { continue };
            if state.latest.as_ref() == Some(from) {
                state.latest = Some(into.clone());
            }
            for claim in state.record.claims.iter_mut().filter(|claim| claim.incident == *from) {
                claim.incident = into.clone();
            }
            self.world.touch_service(service);
        }
        // Its own news that was not told yet is told as part of the other.
        for mut event in old.unsealed.into_iter().filter(|event| event.seals_at > now) {
            event.notify = false;
            event.seals_at = now;
            self.put(event);
        }
        self.touched.remove(from);
        self.touched.insert(into.clone());
        self.world.touch_incident(from);
        self.world.touch_incident(into);
        self.step.incidents.push(taken_off(gone, now));
        self.step.merged.push((from.clone(), into.clone()));
        for decision in self.step.decisions.iter_mut().filter(|decision| decision.incident.as_ref() == Some(from)) {
            decision.incident = Some(into.clone());
        }
        if let Some(first) = moved.first() {
            self.decide_for(into, first, Reason::Merged { from: from.clone() });
        }
        moved
    }
}

/// Adds the parts and facts of `other` to `incident`.
fn join(incident: &mut Incident, other: &Incident) {
    for part in &other.affected {
        if let Some(known) = incident.affected.iter_mut().find(|known| known.service == part.service) {
            *known = both(known, part);
            continue;
        }
        incident.affected.push(part.clone());
        let needs = incident.root.clone().filter(|root| *root != part.service);
        let what = FactKind::Joined { service: part.service.clone(), needs };
        incident.facts.push(Fact { at: part.started_at, what });
    }
    // That all of it was over is not so for the whole.
    incident.facts.extend(other.facts.iter().filter(|fact| fact.what != FactKind::Resolved).cloned());
    incident.facts.sort_by_key(|fact| fact.at);
    incident.auto_resolve &= other.auto_resolve;
}

/// One service's parts in two incidents, as one: the one that goes on, or went on longer.
fn both(a: &Affected, b: &Affected) -> Affected {
    let ends_at = |part: &Affected| part.recovered_at.unwrap_or(Timestamp::MAX);
    let (last, first) = if ends_at(a) >= ends_at(b) { (a, b) } else { (b, a) };
    Affected {
        worst: last.worst.max(first.worst),
        earlier_ms: last.earlier_ms.saturating_add(first.downtime_ms(last.started_at.max(first.started_at))),
        cause: last.cause.or(first.cause),
        seen_failing: last.seen_failing || first.seen_failing,
        ..last.clone()
    }
}

/// What is left of an incident that became part of another: nothing that is shown.
fn taken_off(mut incident: Incident, now: Timestamp) -> Incident {
    let over_at = now.max(incident.started_at);
    incident.version = incident.version.saturating_add(1);
    incident.withdrawn = true;
    incident.status = IncidentStatus::Resolved;
    incident.resolved_at = Some(over_at);
    for part in incident.affected.iter_mut().filter(|part| part.recovered_at.is_none()) {
        part.recovered_at = Some(over_at.max(part.started_at));
        part.status = crate::domain::ServiceStatus::Operational;
    }
    incident
}
