//! What comes and goes: told once, then only the site follows, until one verdict has held (spec,
//! section 4, rule 6).
//!
//! The third outage in quick succession makes an incident intermittent. A service that it did not
//! touch before is told all the same: flapping never delays the first "down".

use jiff::Timestamp;

use super::{Reason, telling::News, time, turn::Turn};
use crate::domain::{
    IncidentId, ServiceId,
    event::EventKind,
    incident::{Fact, FactKind},
};

/// So many times back and failing again is coming and going: at the third outage.
const AGAIN: u32 = 2;

impl Turn<'_> {
    /// `service` fails again in `id` since `start`; whether that makes it intermittent, or finds it
    /// so. `is_whole`: all of it had been over.
    pub fn count_flap(&mut self, id: &IncidentId, service: &ServiceId, start: Timestamp, is_whole: bool) -> bool {
        let window = self.rules.incidents.reopen_window;
        let Some(case) = self.world.cases.get_mut(id) else { return false };
        let recovered_at = case.incident.part(service).and_then(|part| part.recovered_at);
        let is_soon = recovered_at.is_some_and(|at| time::within(at, start, window));
        let count = case.flaps.entry(service.clone()).or_default();
        *count = if is_soon { count.saturating_add(1) } else { 0 };
        let is_often = *count >= AGAIN;
        case.rounds = case.rounds.saturating_add(u32::from(is_whole));
        is_often || case.rounds >= AGAIN || case.steady_at.is_some()
    }

    /// Whether subscribers hear nothing of what checks say of `id` at present.
    pub fn is_intermittent(&self, id: &IncidentId) -> bool {
        self.world.cases.get(id).is_some_and(|case| case.steady_at.is_some())
    }

    /// It comes and goes: told at the first time; from then on it must hold anew after each change.
    pub fn flap(&mut self, id: &IncidentId, service: &ServiceId, start: Timestamp) {
        let was_so = self.is_intermittent(id);
        self.wait_for_steady(id);
        if was_so {
            self.decide_for(id, service, Reason::NotTold);
            return;
        }
        self.decide_for(id, service, Reason::Intermittent);
        if let Some(incident) = self.incident_mut(id) {
            incident.facts.push(Fact { at: start, what: FactKind::Intermittent });
        }
        // Whoever follows any of it must know why they hear no more.
        let services = self.parts(id);
        self.tell(id, News::seen(EventKind::Intermittent, start, services));
    }

    /// Something changed while it comes and goes: from now on that must hold.
    pub fn wait_for_steady(&mut self, id: &IncidentId) {
        let due = time::plus(self.at, self.rules.incidents.reopen_window);
        if let Some(case) = self.world.cases.get_mut(id) {
            case.steady_at = Some(due);
            self.touched.insert(id.clone());
        }
    }

    /// It held: told once, saying which.
    pub fn settle_down(&mut self, id: &IncidentId) {
        let Some(case) = self.world.cases.get_mut(id) else { return };
        case.forget_flaps();
        self.world.touch_incident(id);
        let Some(incident) = self.world.cases.get(id).map(|case| &case.incident) else { return };
        let parts = incident.affected.iter().filter(|part| part.recovered_at.is_none() && part.status.is_trouble());
        let down: Vec<ServiceId> = parts.map(|part| part.service.clone()).collect();
        let (at, is_open, resolved_at) = (self.at, incident.is_open(), incident.resolved_at);
        let services = self.parts(id);
        let Some(first) = down.first().or(services.first()).cloned() else { return };
        self.decide_for(id, &first, Reason::Steady { down: u32::try_from(down.len()).unwrap_or(u32::MAX) });
        let what = FactKind::Steady { services: down.clone() };
        if let Some(incident) = self.incident_mut(id) {
            incident.facts.extend(resolved_at.map(|at| Fact { at, what: FactKind::Resolved }));
            incident.facts.push(Fact { at, what: what.clone() });
        }
        let news = match resolved_at {
            Some(resolved_at) => News::seen(EventKind::Resolved, resolved_at, services),
            None if down.is_empty() && is_open => News::seen(EventKind::Recovered, at, services),
            None => News { fact: Some(what), ..News::seen(EventKind::Updated, at, services) },
        };
        self.seal_gathering(id);
        self.tell(id, news);
    }
}
