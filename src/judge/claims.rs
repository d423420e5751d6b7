//! Claims: how a note says that services are, from when to when, and what that means for their
//! part in its incident.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{case::Case, turn::Turn, uptime::Claim};
use crate::domain::{
    Impact, IncidentId, ServiceId, ServiceStatus,
    incident::{Affected, Origin},
    note::Note,
};

/// The status that an impact implies for the services of a note that does not say how they are.
const fn implied(impact: Impact) -> ServiceStatus {
    match impact {
        Impact::None => ServiceStatus::Operational,
        Impact::Minor => ServiceStatus::DegradedPerformance,
        Impact::Major => ServiceStatus::PartialOutage,
        Impact::Critical => ServiceStatus::MajorOutage,
    }
}

/// What `note` says of services in the present round of its incident.
fn claims_of(case: &Case, note: &Note) -> Vec<(ServiceId, Claim)> {
    let incident = &case.incident;
    let end = incident.resolved_at.or(case.declared_over_at);
    let is_first_round = incident.reopened == 0;
    let mut lines: BTreeMap<&ServiceId, Vec<(Timestamp, ServiceStatus, bool)>> = BTreeMap::new();
    if let (Origin::Operator, true, Some(impact)) = (incident.origin, is_first_round, note.impact) {
        for service in &note.services {
            lines.entry(service).or_default().push((incident.started_at, implied(impact), true));
        }
    }
    for update in incident.updates.iter().filter(|it| !it.withdrawn && (is_first_round || it.at >= case.round_from)) {
        for (service, status) in &update.affected {
            let line = lines.entry(service).or_default();
            // The first word on a service counts from then on; whatever was only implied ends.
            line.retain(|(from, _, _)| *from < update.at);
            line.push((update.at, *status, false));
        }
    }
    let mut claims = Vec::new();
    for (service, line) in lines {
        let ends = line.iter().skip(1).map(|(at, ..)| Some(*at)).chain([end]);
        for ((from, status, is_implied), to) in line.iter().zip(ends) {
            let to = [to, end].into_iter().flatten().min();
            let is_nothing = to.is_some_and(|to| to <= *from) || *status == ServiceStatus::Operational;
            if note.is_override || !is_nothing {
                let (from, status, is_implied, is_override) = (*from, *status, *is_implied, note.is_override);
                let incident = incident.id.clone();
                claims.push((service.clone(), Claim { incident, from, to, status, is_override, is_implied }));
            }
        }
    }
    claims
}

/// Sets the times and states of a part that only notes speak of.
fn settle_part(part: &mut Affected, claims: &[Claim], started_at: Timestamp, over_at: Option<Timestamp>) {
    let trouble: Vec<&Claim> = claims.iter().filter(|claim| claim.status.is_trouble()).collect();
    part.worst = trouble.iter().map(|claim| claim.status).max().unwrap_or(ServiceStatus::Operational);
    let Some((first, last)) = trouble.first().zip(trouble.last()) else {
        part.status = ServiceStatus::Operational;
        part.started_at = part.started_at.max(started_at);
        part.recovered_at = over_at.map(|at| at.max(part.started_at));
        return;
    };
    part.started_at = first.from;
    part.recovered_at = last.to;
    part.status = if last.to.is_some() { ServiceStatus::Operational } else { last.status };
}

impl Turn<'_> {
    /// Puts what `note` says in place of what it said before; the services of which it now says
    /// something else, each with since when.
    pub fn set_claims(&mut self, id: &IncidentId, note: &Note) -> BTreeMap<ServiceId, Timestamp> {
        let mut changed = BTreeMap::new();
        let Some(case) = self.world.cases.get_mut(id) else { return changed };
        let mut new: BTreeMap<ServiceId, Vec<Claim>> = BTreeMap::new();
        if !case.incident.withdrawn {
            for (service, claim) in claims_of(case, note) {
                new.entry(service).or_default().push(claim);
            }
        }
        let incident = &mut case.incident;
        let is_earlier = |claim: &Claim| {
            incident.reopened > 0 && !incident.withdrawn && claim.to.is_some_and(|to| to <= case.round_from)
        };
        let (started_at, over_at) = (incident.started_at, incident.resolved_at.or(case.declared_over_at));
        let services: Vec<ServiceId> = incident.affected.iter().map(|part| part.service.clone()).collect();
        for service in services {
            let Some(state) = self.world.services.get_mut(&service) else {
                // A service of the past: its part is what the note says, and nothing depends on it.
                let claims = new.remove(&service).unwrap_or_default();
                if let Some(part) = incident.affected.iter_mut().find(|part| part.service == service) {
                    settle_part(part, &claims, started_at, over_at);
                }
                continue;
            };
            let all = state.record.claims.iter().cloned();
            let (mut rest, old): (Vec<_>, Vec<_>) = all.partition(|claim| claim.incident != *id || is_earlier(claim));
            let mut new = new.remove(&service).unwrap_or_default();
            for claim in &mut new {
                let before = old.iter().find(|it| it.is_implied == claim.is_implied && it.from == claim.from);
                let before = before.and_then(|it| it.to);
                if claim.is_override && claim.to == over_at && over_at.is_some() {
                    // It outlives its incident as long as there are checks to win over.
                    claim.to = before.or(over_at.filter(|_| !state.checks_in_trouble));
                } else if claim.is_implied {
                    // What gave way to checks stays so.
                    claim.to = [before, claim.to].into_iter().flatten().min();
                }
            }
            new.retain(|claim| claim.to.is_none_or(|to| claim.from < to));
            let differing = old.iter().filter(|it| !new.contains(it)).chain(new.iter().filter(|it| !old.contains(it)));
            let differs_from = differing.map(|claim| claim.from).min();
            if let Some(part) = incident.affected.iter_mut().find(|part| part.service == service && !part.seen_failing)
            {
                settle_part(part, &new, started_at, over_at);
            }
            if let Some(from) = differs_from {
                rest.extend(new);
                state.record.claims = rest;
                changed.insert(service, from);
            }
        }
        for service in changed.keys() {
            self.world.touch_service(service);
        }
        changed
    }

    /// Ends what notes say in favour of an incident that is over since `over_at`.
    pub fn end_claims(&mut self, id: &IncidentId, over_at: Timestamp) {
        for service in self.parts(id) {
            let Some(state) = self.world.services.get_mut(&service) else { continue };
            let mut is_changed = false;
            state.record.claims.retain_mut(|claim| {
                let outlives = claim.is_override && state.checks_in_trouble;
                if claim.incident == *id && claim.to.is_none() && !outlives {
                    claim.to = Some(over_at);
                    is_changed = true;
                }
                claim.to.is_none_or(|to| claim.from < to)
            });
            if is_changed {
                self.judge(&service, over_at);
            }
        }
    }
}
