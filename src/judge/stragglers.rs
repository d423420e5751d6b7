//! Those that do not come back with the root: named once it has been back for a while (spec, section
//! 4, rule 4), not hours later by whoever notices.

use super::{Reason, telling::News, turn::Turn};
use crate::domain::{
    CheckKey, IncidentId, ServiceId,
    event::EventKind,
    incident::{Fact, FactKind},
};

impl Turn<'_> {
    /// The root of an incident is back for a while: names those that need it and are not.
    pub fn name_stragglers(&mut self, id: &IncidentId) {
        let Some(case) = self.world.cases.get_mut(id) else { return };
        case.stragglers_at = None;
        self.world.touch_incident(id);
        let Some(incident) = self.world.cases.get(id).map(|case| &case.incident).filter(|it| it.is_open()) else {
            return;
        };
        let Some(root) = incident.root.clone() else { return };
        if incident.part(&root).is_none_or(|part| part.recovered_at.is_none()) {
            return; // it failed again
        }
        let needs_it = self.world.descendants(&root);
        let parts = incident.affected.iter().filter(|part| part.recovered_at.is_none() && part.status.is_trouble());
        let left: Vec<ServiceId> = parts
            .map(|part| part.service.clone())
            .filter(|service| needs_it.contains(service) && !self.is_coming_back(service))
            .collect();
        if left.is_empty() {
            return;
        }
        for service in &left {
            self.decide_for(id, service, Reason::LeftBehind { root: root.clone() });
        }
        let at = self.at;
        let what = FactKind::LeftBehind { root, services: left.clone() };
        if let Some(incident) = self.incident_mut(id) {
            incident.facts.push(Fact { at, what: what.clone() });
        }
        if self.is_intermittent(id) {
            return; // the site says so
        }
        self.tell(id, News { fact: Some(what), ..News::seen(EventKind::Updated, at, left) });
    }

    /// Whether good probes of a service that is down argue that it is back.
    fn is_coming_back(&self, service: &ServiceId) -> bool {
        let Some(state) = self.world.services.get(service) else { return false };
        let keys = state.record.checks.keys().map(|check| CheckKey { service: service.clone(), check: check.clone() });
        keys.filter_map(|key| self.world.checks.get(&key)).any(|state| state.is_down() && state.is_pending())
    }
}
