//! The life of an incident: opening, joining, recovering, ending, going on again (spec, section 4,
//! rules 3, 5 and 6). Which incident it is, is decided in `correlate.rs`.

use jiff::Timestamp;

use super::{
    Reason, Verdict,
    case::Case,
    correlate::{self, Place},
    telling::News,
    time,
    turn::Turn,
};
use crate::domain::{
    CheckKey, Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus,
    event::EventKind,
    incident::{Affected, Fact, FactKind, Incident, Origin},
    outcome::Cause,
};

impl Turn<'_> {
    /// Lets incidents follow how `service` is, now that it is no longer as `before`.
    pub fn follow(&mut self, service: &ServiceId, before: ServiceStatus) {
        let Some(state) = self.world.services.get_mut(service) else { return };
        let Some((status, since)) = state.record.now() else { return };
        if status.is_trouble() {
            let clear_from = state.clear_from.unwrap_or(Timestamp::MIN);
            let began_at = state.record.trouble_since().unwrap_or(since);
            let suffering = self.world.suffering(service);
            if suffering.is_empty() && !before.is_trouble() {
                self.enter(service, began_at.max(clear_from), status);
            } else if suffering.is_empty() && status > before {
                self.enter(service, since.max(clear_from), status);
            }
            for id in suffering {
                self.change(&id, service, began_at.max(clear_from), status);
            }
        } else if status == ServiceStatus::UnderMaintenance {
            // What was broken before the work began is back when it is, not when the work ends.
            if let Some(since) = self.well_since(service).filter(|_| !self.is_lost_in_trouble(service)) {
                for id in self.world.suffering(service) {
                    self.recover(&id, service, since);
                }
            }
        } else if status == ServiceStatus::Operational {
            if before != ServiceStatus::Operational {
                state.clear_from = Some(since);
            }
            if self.is_lost_in_trouble(service) {
                return; // that nobody knows any more ends nothing
            }
            for id in self.world.suffering(service) {
                self.recover(&id, service, since);
            }
        }
    }

    /// Whether a check of `service` was down or slow when it was last heard of, too long ago to be counted.
    fn is_lost_in_trouble(&self, service: &ServiceId) -> bool {
        let Some(state) = self.world.services.get(service) else { return false };
        let keys = state.record.checks.keys().map(|check| CheckKey { service: service.clone(), check: check.clone() });
        let was_in_trouble = |verdict| matches!(verdict, Some(Verdict::Down | Verdict::Degraded));
        keys.filter_map(|key| self.world.checks.get(&key)).any(|it| it.stale && was_in_trouble(it.verdict))
    }

    /// The incident `id`, to be changed.
    pub fn incident_mut(&mut self, id: &IncidentId) -> Option<&mut Incident> {
        let case = self.world.cases.get_mut(id)?;
        self.touched.insert(id.clone());
        Some(&mut case.incident)
    }

    /// A service begins to suffer.
    fn enter(&mut self, service: &ServiceId, start: Timestamp, status: ServiceStatus) {
        let mut is_flapping = false;
        let (id, kind, reason) = match correlate::place(self.rules, self.world, service, start) {
            Place::Again(id) => {
                is_flapping = self.count_flap(&id, service, start, false);
                (id, EventKind::Joined, Reason::Joined)
            }
            Place::Joins { incident: id, needs, root, reason } => {
                let fact = Fact { at: start, what: FactKind::Joined { service: service.clone(), needs } };
                if let Some(incident) = self.incident_mut(&id) {
                    incident.facts.push(fact);
                    incident.root = root.or(incident.root.take());
                }
                (id, EventKind::Joined, reason)
            }
            Place::Reopens(id) => {
                is_flapping = self.count_flap(&id, service, start, true);
                self.go_on(&id, start);
                (id, EventKind::Reopened, Reason::Reopened)
            }
            Place::New => (self.open(service, start), EventKind::Opened, Reason::Opened),
        };
        let is_known = self.world.cases.get(&id).is_some_and(|case| case.incident.part(service).is_some());
        self.suffer(&id, service, start, status);
        let is_storm = matches!(reason, Reason::JoinedStorm { .. });
        self.decide_for(&id, service, reason);
        let at = if kind == EventKind::Opened { self.started_at(&id).unwrap_or(start) } else { start };
        if is_flapping && is_known {
            self.flap(&id, service, start);
        } else {
            self.tell(&id, News::seen(kind, at, vec![service.clone()]));
        }
        if is_storm {
            self.merge_storm(&id, start);
        }
        self.merge_explained(&id, service);
    }

    fn started_at(&self, id: &IncidentId) -> Option<Timestamp> {
        self.world.cases.get(id).map(|case| case.incident.started_at)
    }

    pub fn decide_for(&mut self, id: &IncidentId, service: &ServiceId, reason: Reason) {
        self.decide(service, None, reason);
        if let Some(decision) = self.step.decisions.last_mut() {
            decision.incident = Some(id.clone());
        }
    }

    /// Opens an incident of `service`.
    fn open(&mut self, service: &ServiceId, start: Timestamp) -> IncidentId {
        let mut ids = (1..).map(|n| IncidentId::minted(start, service, n));
        let id = ids.find(|id| !self.world.is_taken(id)).unwrap_or_else(|| IncidentId::minted(start, service, 0));
        let incident = blank(id.clone(), Origin::Automatic, start, self.at, self.rules.incidents.auto_resolve);
        self.world.cases.insert(id.clone(), Case::new(incident));
        self.touched.insert(id.clone());
        self.world.touch_incident(&id);
        id
    }

    /// An incident that was over goes on.
    pub fn go_on(&mut self, id: &IncidentId, start: Timestamp) {
        let Some(case) = self.world.cases.get_mut(id) else { return };
        case.round_from = start;
        case.declared_over_at = None;
        case.is_revived = false;
        let incident = &mut case.incident;
        incident.status = IncidentStatus::Investigating;
        incident.resolved_at = None;
        incident.reopened = incident.reopened.saturating_add(1);
        self.touched.insert(id.clone());
        self.world.touch_incident(id);
    }

    /// A service begins to suffer within an incident that is open.
    pub fn suffer(&mut self, id: &IncidentId, service: &ServiceId, start: Timestamp, status: ServiceStatus) {
        let Some(incident) = self.incident_mut(id) else { return };
        match incident.affected.iter_mut().find(|part| part.service == *service) {
            Some(part) => {
                part.earlier_ms = part.recovered_at.map_or(part.earlier_ms, |at| part.downtime_ms(at));
                part.started_at = start;
                part.recovered_at = None;
                part.seen_failing = false;
                incident.facts.push(Fact { at: start, what: FactKind::Reopened { service: service.clone() } });
            }
            None => incident.affected.push(Affected {
                service: service.clone(),
                status: ServiceStatus::Operational,
                worst: ServiceStatus::Operational,
                started_at: start,
                recovered_at: None,
                earlier_ms: 0,
                cause: None,
                seen_failing: false,
            }),
        }
        if let Some(state) = self.world.services.get_mut(service) {
            state.latest = Some(id.clone());
            self.world.touch_service(service);
        }
        self.change(id, service, start, status);
    }

    /// A service that suffers is in `status` now; it began at `start`, which may be earlier than
    /// was thought.
    pub fn change(&mut self, id: &IncidentId, service: &ServiceId, start: Timestamp, status: ServiceStatus) {
        let (now, failing) = (self.at, self.failing(service));
        if let (true, Some(case)) = (failing.is_some(), self.world.cases.get_mut(id)) {
            self.touched.extend(std::mem::take(&mut case.is_revived).then(|| id.clone()));
        }
        let counts = self.world.services.get(service).map_or((0, 0), super::service::ServiceState::counts);
        let max_impact =
            |id: &ServiceId| self.world.service(self.rules, id).map_or(Impact::Critical, |it| it.max_impact);
        let Some(case) = self.world.cases.get(id) else { return };
        let mut incident = case.incident.clone();
        let Some(part) = incident.affected.iter_mut().find(|part| part.service == *service) else { return };
        if let Some((probes, cause)) = failing {
            if !part.seen_failing {
                part.seen_failing = true;
                let service = service.clone();
                let known = incident.facts.iter().any(|fact| {
                    fact.at == start && matches!(&fact.what, FactKind::Reopened { service: it } if *it == service)
                });
                if !known {
                    let what = FactKind::FirstFailure { service: service.clone() };
                    incident.facts.push(Fact { at: start, what });
                }
                incident.facts.push(Fact { at: now, what: FactKind::Confirmed { service, probes, cause } });
                part.started_at = part.started_at.min(start);
            } else if part.status != status {
                let what = FactKind::Changed { service: service.clone(), status, up: counts.0, of: counts.1 };
                incident.facts.push(Fact { at: now, what });
            }
            if part.earlier_ms == 0 {
                // Found out later to have begun earlier, by another of its checks.
                part.started_at = part.started_at.min(start);
            }
            part.cause = cause.or(part.cause);
        }
        part.status = status;
        part.worst = part.worst.max(status);
        if incident.origin == Origin::Automatic && incident.reopened == 0 {
            incident.started_at = incident.started_at.min(part.started_at);
        }
        incident.impact = impact_of(&incident, max_impact);
        if incident != case.incident
            && let Some(slot) = self.incident_mut(id)
        {
            *slot = incident;
        }
    }

    /// How many probes agree that `service` fails, and why, if its checks are in trouble.
    fn failing(&self, service: &ServiceId) -> Option<(u32, Option<Cause>)> {
        let state = self.world.services.get(service)?;
        if !state.checks_now()?.is_trouble() {
            return None;
        }
        let keys = state.record.checks.keys().map(|check| CheckKey { service: service.clone(), check: check.clone() });
        let runs = keys.filter_map(|key| self.world.checks.get(&key)).filter_map(|state| {
            state.run.filter(|(kind, _)| Some(*kind) == state.verdict).map(|(kind, run)| (kind, run.count))
        });
        Some((runs.max().map_or(1, |(_, count)| count), self.cause_of(service)))
    }

    /// A service that suffered is well since `since`.
    fn recover(&mut self, id: &IncidentId, service: &ServiceId, since: Timestamp) {
        let Some(incident) = self.incident_mut(id) else { return };
        let Some(part) = incident.affected.iter_mut().find(|part| part.service == *service) else { return };
        // An operator's word that it is affected, though well, is not taken back by checks.
        if part.recovered_at.is_some() || !part.status.is_trouble() {
            return;
        }
        let recovered_at = since.max(part.started_at);
        part.recovered_at = Some(recovered_at);
        part.status = ServiceStatus::Operational;
        let after_ms = part.downtime_ms(recovered_at);
        let what = FactKind::Recovered { service: service.clone(), after_ms };
        incident.facts.push(Fact { at: recovered_at, what });
        if incident.root.as_ref() == Some(service) {
            let due = time::plus(recovered_at, self.rules.incidents.merge_window).max(self.at);
            self.world.cases.entry(id.clone()).and_modify(|case| case.stragglers_at = Some(due));
        }
        // While a note is applied it is not over before all of it is.
        if self.held_back.is_some() || !self.close_if_over(id, service) {
            if self.held_back.is_none() && self.is_intermittent(id) {
                self.wait_for_steady(id);
                self.decide_for(id, service, Reason::NotTold);
                return;
            }
            self.tell(id, News::seen(EventKind::Recovered, recovered_at, vec![service.clone()]));
        }
    }

    /// Ends the incident if nothing of it is left; whether it did. `service` was the last to change.
    pub fn close_if_over(&mut self, id: &IncidentId, service: &ServiceId) -> bool {
        if !self.end_if_over(id, service) {
            return false;
        }
        let services = self.parts(id);
        let over_at = self.world.cases.get(id).and_then(|case| case.incident.resolved_at).unwrap_or(self.at);
        if self.is_intermittent(id) {
            self.wait_for_steady(id);
            self.decide_for(id, service, Reason::NotTold);
            return true;
        }
        self.seal_gathering(id);
        self.tell(id, News::seen(EventKind::Resolved, over_at, services));
        true
    }

    /// The same without telling.
    pub fn end_if_over(&mut self, id: &IncidentId, service: &ServiceId) -> bool {
        let Some(case) = self.world.cases.get_mut(id) else { return false };
        let incident = &case.incident;
        if !incident.is_open() || incident.affected.iter().any(|part| part.status.is_trouble()) {
            return false;
        }
        let is_declared = case.declared_over_at.is_some();
        let by_checks = incident.affected.iter().any(|part| part.seen_failing) && !case.is_revived;
        if !is_declared && incident.origin == Origin::Operator && !by_checks {
            return false;
        }
        if !is_declared && !incident.auto_resolve {
            case.incident.status = IncidentStatus::Monitoring;
            self.touched.insert(id.clone());
            self.decide_for(id, service, Reason::WaitsForOperator);
            return false;
        }
        let over_at = incident.affected.iter().filter_map(|part| part.recovered_at).max().unwrap_or(self.at);
        self.resolve(id, over_at);
        self.decide_for(id, service, Reason::Resolved);
        true
    }

    /// The services of an incident.
    pub fn parts(&self, id: &IncidentId) -> Vec<ServiceId> {
        let parts = self.world.cases.get(id).map(|case| case.incident.affected.iter());
        parts.into_iter().flatten().map(|part| part.service.clone()).collect()
    }

    /// Ends an incident: what is left of it is over since `over_at`.
    fn resolve(&mut self, id: &IncidentId, over_at: Timestamp) {
        self.mark_over(id, over_at);
        self.end_claims(id, over_at);
    }

    /// Marks an incident and whatever of it is left as over since `over_at`.
    pub fn mark_over(&mut self, id: &IncidentId, over_at: Timestamp) {
        let Some(case) = self.world.cases.get_mut(id) else { return };
        case.declared_over_at = None;
        case.stragglers_at = None;
        let incident = &mut case.incident;
        let over_at = over_at.max(incident.started_at);
        incident.status = IncidentStatus::Resolved;
        incident.resolved_at = Some(over_at);
        for part in incident.affected.iter_mut().filter(|part| part.recovered_at.is_none()) {
            part.recovered_at = Some(over_at.max(part.started_at));
            part.status = ServiceStatus::Operational;
        }
        incident.facts.push(Fact { at: over_at, what: FactKind::Resolved });
        self.touched.insert(id.clone());
        self.world.touch_incident(id);
    }

    /// A service is no longer configured: its part in open incidents is over.
    pub fn end_part(&mut self, service: &ServiceId) {
        for id in self.world.suffering(service) {
            let now = self.at;
            let Some(incident) = self.incident_mut(&id) else { continue };
            if let Some(part) = incident.affected.iter_mut().find(|part| part.service == *service) {
                part.recovered_at = Some(now.max(part.started_at));
                part.status = ServiceStatus::Unknown;
            }
            let what = FactKind::NoLongerMonitored { service: service.clone() };
            incident.facts.push(Fact { at: now, what });
            self.close_if_over(&id, service);
        }
    }
}

/// An incident without parts.
pub(super) fn blank(
    id: IncidentId,
    origin: Origin,
    started_at: Timestamp,
    noticed_at: Timestamp,
    auto_resolve: bool,
) -> Incident {
    Incident {
        id,
        version: 0,
        aliases: Vec::new(),
        origin,
        title: None,
        root: None,
        status: IncidentStatus::Investigating,
        impact: Impact::None,
        impact_override: None,
        started_at,
        noticed_at,
        resolved_at: None,
        affected: Vec::new(),
        updates: Vec::new(),
        facts: Vec::new(),
        postmortem: None,
        auto_resolve,
        withdrawn: false,
        reopened: 0,
    }
}

/// The operator's word, else the worst that any service reached, each capped.
pub(super) fn impact_of(incident: &Incident, max_impact: impl Fn(&ServiceId) -> Impact) -> Impact {
    let worst = incident.affected.iter().map(|part| part.worst.impact().min(max_impact(&part.service))).max();
    incident.impact_override.or(worst).unwrap_or(Impact::None)
}
