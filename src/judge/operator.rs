//! What an operator writes, and what follows from it: opening by hand, updates, the end, the
//! postmortem (spec, section 5).

use jiff::Timestamp;

use super::{
    Reason,
    case::Case,
    incidents::{blank, impact_of},
    notes::{self, NoteState},
    service::ServiceState,
    telling::News,
    turn::Turn,
    updates::Reading,
};
use crate::{
    clock,
    domain::{
        Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus,
        event::EventKind,
        incident::{Affected, Origin, Update},
        note::Note,
    },
};

impl Turn<'_> {
    /// A note is new, or reads otherwise than before.
    pub fn note(&mut self, note: Note) {
        let is_known = match self.world.notes.get(&note.id) {
            Some(state) => state.note == note,
            // A file in which nothing was said yet is no news.
            None => note == Note::blank(note.id.clone()),
        };
        if is_known {
            return;
        }
        let id = match self.world.notes.get(&note.id) {
            Some(state) => state.incident.clone(),
            None => self.home_of(&note),
        };
        let is_new = !self.world.cases.contains_key(&id);
        let name = note.id.clone();
        if is_new {
            self.open_by_hand(&note);
        }
        self.world.notes.insert(name.clone(), NoteState { note, incident: id.clone() });
        self.world.touch_note(&name);
        if let Some(case) = self.world.cases.get_mut(&id)
            && !case.notes.contains(&name)
        {
            // Its own file speaks first.
            let place = if name == id { 0 } else { case.notes.len() };
            case.notes.insert(place, name.clone());
            if name != id {
                case.incident.aliases.push(name);
            }
        }
        self.apply(&id, is_new);
    }

    /// Which incident a note of which nothing is known speaks of.
    fn home_of(&self, note: &Note) -> IncidentId {
        if self.world.cases.contains_key(&note.id) || note.withdrawn {
            return note.id.clone();
        }
        let is_mute = |case: &&Case| case.notes.iter().filter_map(|id| self.world.note(id)).all(notes::is_blank);
        let overlaps = |case: &&Case| {
            let incident = &case.incident;
            note.resolved.is_none_or(|at| at >= incident.started_at)
                && incident.affected.iter().any(|part| note.services.contains(&part.service))
        };
        let open = self.world.live().filter(|case| case.incident.is_open() && !case.incident.withdrawn);
        let home = open.filter(is_mute).filter(overlaps).min_by_key(|case| case.incident.started_at);
        home.map_or_else(|| note.id.clone(), |case| case.incident.id.clone())
    }

    /// Opens the incident that `note` is about.
    fn open_by_hand(&mut self, note: &Note) {
        let first = note.updates.iter().filter_map(|update| update.at).min();
        let started_at = clock::to_millis(note.started.or(first).unwrap_or(self.at).min(self.at));
        let auto_resolve = self.rules.incidents.auto_resolve;
        let incident = blank(note.id.clone(), Origin::Operator, started_at, self.at, auto_resolve);
        let mut case = Case::new(incident);
        case.is_quiet = notes::is_long_past(started_at, self.at);
        self.world.cases.insert(note.id.clone(), case);
        self.world.touch_incident(&note.id);
    }

    /// Brings an incident in line with what its notes say now.
    fn apply(&mut self, id: &IncidentId, is_new: bool) {
        let Some(note) = self.word_on(id) else { return };
        self.held_back = Some(Vec::new());
        let mut reading = Reading { is_new, ..Reading::default() };
        let was_withdrawn = self.world.cases.get(id).is_some_and(|case| case.incident.withdrawn);
        self.take_facts(id, &note);
        self.take_updates(id, &note.updates, &mut reading);
        let joined = self.take_services(id, &note);
        self.take_end(id, &note, &joined, &mut reading);
        self.take_status(id, &reading);
        let changed = self.set_claims(id, &note);
        let (now, services) = (self.at, self.parts(id));
        for service in &services {
            let from = changed.get(service).copied();
            let is_open = self.world.cases.get(id).is_some_and(|case| case.incident.is_open());
            if let Some(from) = from.or(is_open.then_some(now)) {
                self.judge(service, from);
            }
        }
        self.weigh(id);
        if let (false, Some(service)) = (reading.is_over, services.first()) {
            reading.is_over = self.end_if_over(id, service);
        }
        self.touched.insert(id.clone());
        self.world.touch_incident(id);
        self.tell_reading(id, &reading, joined, was_withdrawn);
    }

    /// What all notes on an incident say together.
    fn word_on(&self, id: &IncidentId) -> Option<Note> {
        let case = self.world.cases.get(id)?;
        notes::merged(case.notes.iter().filter_map(|name| self.world.note(name)))
    }

    /// The plain facts.
    fn take_facts(&mut self, id: &IncidentId, note: &Note) {
        let auto_resolve = self.rules.incidents.auto_resolve;
        let Some(case) = self.world.cases.get_mut(id) else { return };
        case.is_quiet &= note.notify != Some(true);
        case.is_silenced = note.notify == Some(false);
        let incident = &mut case.incident;
        incident.title.clone_from(&note.title);
        incident.impact_override = note.impact;
        incident.auto_resolve = note.auto_resolve.unwrap_or(auto_resolve);
        incident.withdrawn = note.withdrawn;
        incident.postmortem.clone_from(&note.postmortem);
        if let Some(started) = note.started.map(clock::to_millis) {
            let old = incident.started_at;
            incident.started_at = match incident.origin {
                Origin::Operator => started.min(incident.noticed_at),
                Origin::Automatic => started.min(old),
            };
            for part in incident.affected.iter_mut().filter(|part| !part.seen_failing && part.started_at == old) {
                part.started_at = incident.started_at;
            }
            if incident.reopened == 0 {
                case.round_from = incident.started_at;
            }
        }
    }

    /// Services that only the note says are affected; those that are new in the incident.
    fn take_services(&mut self, id: &IncidentId, note: &Note) -> Vec<ServiceId> {
        let Some(case) = self.world.cases.get(id) else { return Vec::new() };
        let said = case.incident.updates.iter().filter(|update| !update.withdrawn);
        let said = said.flat_map(|update| update.affected.keys().map(|service| (service, update.at)));
        let listed = note.services.iter().map(|service| (service, case.incident.started_at));
        let mut joined: Vec<(ServiceId, Timestamp)> = Vec::new();
        for (service, at) in listed.chain(said) {
            let is_known = case.incident.part(service).is_some() || joined.iter().any(|(it, _)| it == service);
            // Services come and go: a note on what is long past may name one that is gone.
            if !is_known && (case.is_quiet || self.world.service(self.rules, service).is_some()) {
                joined.push((service.clone(), at));
            }
        }
        for (service, started_at) in &joined {
            let Some(case) = self.world.cases.get_mut(id) else { continue };
            case.incident.affected.push(Affected {
                service: service.clone(),
                status: ServiceStatus::Operational,
                worst: ServiceStatus::Operational,
                started_at: *started_at,
                recovered_at: None,
                earlier_ms: 0,
                cause: None,
                seen_failing: false,
            });
            if let Some(state) = self.world.services.get_mut(service) {
                state.latest = Some(id.clone());
                self.world.touch_service(service);
            }
        }
        joined.into_iter().map(|(service, _)| service).collect()
    }

    /// The operator's word that it is over, or that it goes on.
    fn take_end(&mut self, id: &IncidentId, note: &Note, joined: &[ServiceId], reading: &mut Reading) {
        let Some(case) = self.world.cases.get_mut(id) else { return };
        let incident = &mut case.incident;
        let newest = incident.updates.iter().filter(|update| !update.withdrawn).max_by_key(|update| update.at);
        let newest = newest.filter(|update| reading.new.iter().any(|new| new.id == update.id)).cloned();
        let over_at = match (note.resolved, case.resolved_seen) {
            (Some(at), None) => {
                case.resolved_seen = Some(at);
                Some(at)
            }
            (Some(at), Some(seen)) if at != seen && incident.resolved_at == Some(seen) => {
                // A correction of the time, not a second end.
                case.resolved_seen = Some(at);
                let at = at.min(self.at).max(incident.started_at);
                for part in incident.affected.iter_mut().filter(|part| part.recovered_at == incident.resolved_at) {
                    part.recovered_at = Some(at.max(part.started_at));
                }
                incident.resolved_at = Some(at);
                None
            }
            _ => None,
        };
        let over_at = over_at.or(newest.as_ref().filter(|it| !it.status.is_open()).map(|update| update.at));
        if incident.is_open() {
            for service in joined {
                self.see_failing(id, service, over_at);
            }
        }
        let Some(case) = self.world.cases.get(id) else { return };
        let incident = &case.incident;
        if let (true, Some(over_at)) = (incident.is_open(), over_at) {
            let over_at = clock::to_millis(over_at.min(self.at)).max(incident.started_at);
            self.declare_over(id, over_at, reading);
            return;
        }
        // A word on an incident of checks that is over does not open it: they are well.
        let goes_on = newest.filter(|it| it.status.is_open() && incident.resolved_at.is_some_and(|at| it.at >= at));
        if let (Origin::Operator, false, Some(update)) = (incident.origin, reading.is_new, goes_on) {
            reading.goes_on = true;
            self.go_on(id, update.at);
            if let Some(case) = self.world.cases.get_mut(id) {
                case.is_revived = true;
            }
        }
    }

    /// A service that joins may be failing as it does, unless that began after the end.
    fn see_failing(&mut self, id: &IncidentId, service: &ServiceId, over_at: Option<Timestamp>) {
        let Some(state) = self.world.services.get(service).filter(|state| state.checks_in_trouble) else { return };
        let (Some((status, _)), Some(since)) = (state.record.now(), state.record.trouble_since()) else { return };
        let since = since.max(state.clear_from.unwrap_or(since));
        if over_at.is_none_or(|over_at| since < over_at) {
            self.change(id, service, since, status);
        }
    }

    /// The operator says that it is over since `over_at`: so it is, unless a check is down.
    fn declare_over(&mut self, id: &IncidentId, over_at: Timestamp, reading: &mut Reading) {
        let is_down = |service: &ServiceId| {
            let part = self.world.cases.get(id).and_then(|case| case.incident.part(service));
            let state = self.world.services.get(service).filter(|_| part.is_some_and(|part| part.seen_failing));
            state.and_then(ServiceState::checks_now).is_some_and(ServiceStatus::is_down)
        };
        let down: Vec<ServiceId> = self.parts(id).into_iter().filter(is_down).collect();
        if down.is_empty() {
            reading.is_over = true;
            for service in self.parts(id) {
                if let Some(state) = self.world.services.get_mut(&service) {
                    state.clear_from = state.clear_from.max(Some(over_at));
                    self.world.touch_service(&service);
                }
            }
            self.mark_over(id, over_at);
            return;
        }
        let Some(case) = self.world.cases.get_mut(id) else { return };
        case.declared_over_at = Some(over_at);
        case.incident.status = IncidentStatus::Monitoring;
        for part in case.incident.affected.iter_mut().filter(|part| !down.contains(&part.service)) {
            part.recovered_at = part.recovered_at.or(Some(over_at.max(part.started_at)));
            part.status = ServiceStatus::Operational;
        }
        for service in down {
            self.decide(&service, None, Reason::StillDown);
            if let Some(decision) = self.step.decisions.last_mut() {
                decision.incident = Some(id.clone());
            }
        }
    }

    /// How far people are, by their newest word.
    fn take_status(&mut self, id: &IncidentId, reading: &Reading) {
        let Some(case) = self.world.cases.get_mut(id) else { return };
        if case.declared_over_at.is_some() {
            // Not so while a check is down, whatever was written.
            for update in case.incident.updates.iter_mut().filter(|update| !update.status.is_open()) {
                update.status = IncidentStatus::Monitoring;
            }
            return;
        }
        let newest = case.incident.latest_update().cloned();
        let is_news = |update: &&Update| reading.new.iter().chain(&reading.edited).any(|it| it.id == update.id);
        let newest = newest.as_ref().filter(is_news).filter(|update| update.status.is_open());
        if let (true, Some(update)) = (case.incident.is_open(), newest) {
            case.incident.status = update.status;
        }
    }

    /// How much the incident matters.
    pub fn weigh(&mut self, id: &IncidentId) {
        let max_impact =
            |id: &ServiceId| self.world.service(self.rules, id).map_or(Impact::Critical, |it| it.max_impact);
        let Some(case) = self.world.cases.get(id) else { return };
        let impact = impact_of(&case.incident, max_impact);
        if let Some(case) = self.world.cases.get_mut(id) {
            case.incident.impact = impact;
        }
    }

    /// Tells what is new in a note.
    fn tell_reading(&mut self, id: &IncidentId, reading: &Reading, joined: Vec<ServiceId>, was_withdrawn: bool) {
        let moves = self.held_back.take().unwrap_or_default();
        let Some(case) = self.world.cases.get(id) else { return };
        let (incident, now) = (&case.incident, self.at);
        let (started_at, over_at) = (incident.started_at, incident.resolved_at.unwrap_or(now));
        let services = self.parts(id);
        let (is_told, is_open) = (case.is_told, incident.is_open());
        let news = |kind, at, update| News { kind, at, services: services.clone(), update, fact: None, by_note: true };
        if incident.withdrawn {
            let mut all = Vec::new();
            // Nobody hears of it, but who reads on once it is back finds each end and each beginning.
            if reading.is_over {
                all.push(news(EventKind::Resolved, over_at, None));
            } else if reading.goes_on {
                all.push(news(EventKind::Reopened, now, None));
            }
            if !was_withdrawn {
                all.push(News { by_note: false, ..news(EventKind::Withdrawn, now, None) });
            }
            for it in all.into_iter().filter(|_| is_told) {
                self.tell(id, it);
            }
            return;
        }
        // As the incident holds it: a status may have been corrected.
        let kept = |update: &Update| incident.updates.iter().find(|it| it.id == update.id).cloned();
        let edited: Vec<Update> = reading.edited.iter().filter_map(kept).collect();
        let mut new: Vec<Update> = reading.new.iter().filter_map(kept).collect();
        let newest = new.pop();
        let mut all = Vec::new();
        // What was written while it was off the site was told to nobody.
        if reading.is_new || (!is_told && (newest.is_some() || was_withdrawn)) {
            let (kind, at) =
                if incident.is_open() { (EventKind::Opened, started_at) } else { (EventKind::Resolved, over_at) };
            all.push(news(kind, at, newest));
        } else {
            all.extend(new.into_iter().map(|update| news(EventKind::Updated, update.at, Some(update))));
            match (newest, reading.is_over) {
                (update, true) => all.push(news(EventKind::Resolved, over_at, update)),
                (Some(update), _) if reading.goes_on => all.push(news(EventKind::Reopened, update.at, Some(update))),
                (Some(update), _) => all.push(news(EventKind::Updated, update.at, Some(update))),
                (None, _) => {}
            }
        }
        for update in &edited {
            self.amend_update(id, update);
        }
        if reading.is_over {
            self.seal_gathering(id);
        }
        if all.is_empty() && is_open {
            // Nothing else says so.
            for it in moves {
                self.tell(id, it);
            }
            if !joined.is_empty() {
                self.tell(
                    id,
                    News {
                        kind: EventKind::Joined,
                        at: now,
                        services: joined,
                        update: None,
                        fact: None,
                        by_note: true,
                    },
                );
            }
        }
        for it in all {
            self.tell(id, it);
        }
    }

    /// The postmortem's time has come.
    pub fn write_up(&mut self, id: &IncidentId) {
        let Some(case) = self.world.cases.get_mut(id) else { return };
        let Some(published_at) = case.publish_at() else { return };
        case.is_written_up = true;
        case.incident.status = IncidentStatus::Postmortem;
        self.touched.insert(id.clone());
        self.world.touch_incident(id);
        let services = self.parts(id);
        self.tell(
            id,
            News { kind: EventKind::Postmortem, at: published_at, services, update: None, fact: None, by_note: true },
        );
    }

    /// Rules are new: services that notes named before they were configured count from now on.
    pub fn reapply_notes(&mut self) {
        let open: Vec<IncidentId> =
            self.world.live().map(|case| &case.incident).filter(|it| it.is_open()).map(|it| it.id.clone()).collect();
        for id in open {
            let Some(note) = self.word_on(&id) else { continue };
            let Some(case) = self.world.cases.get(&id) else { continue };
            let is_missing = |service: &&ServiceId| {
                case.incident.part(service).is_none() && self.world.service(self.rules, service).is_some()
            };
            let said = note.updates.iter().flat_map(|update| update.affected.keys());
            if note.services.iter().chain(said).any(|service| is_missing(&service)) {
                self.apply(&id, false);
            }
        }
    }
}
