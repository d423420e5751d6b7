//! Which incident: where a service that begins to suffer belongs (spec, section 4, rule 4).

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Reason, cascade::are_related, case::Case, time, world::World};
use crate::domain::{IncidentId, ServiceId, incident::Incident, service::Rules};

/// So many services failing within the window belong together even if nothing else relates them.
const STORM: usize = 5;

/// Where a service that begins to suffer belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was part of this open incident before.
    Again(IncidentId),
    /// This open incident explains it, or it explains the incident.
    Joins {
        /// Which.
        incident: IncidentId,
        /// The service in it that this one needs.
        needs: Option<ServiceId>,
        /// The service that explains all, if that is known now.
        root: Option<ServiceId>,
        /// Why.
        reason: Reason,
    },
    /// This incident was just over.
    Reopens(IncidentId),
    /// None that we know of.
    New,
}

/// Finds the place of `service`, suffering since `start`.
pub(super) fn place(rules: &Rules, world: &World, service: &ServiceId, start: Timestamp) -> Place {
    let open = || world.live().filter(|case| case.incident.is_open() && !case.incident.withdrawn);
    if let Some(id) = world.open_part(service) {
        return Place::Again(id);
    }
    if let Some(place) = cascade(rules, world, service, start) {
        return place;
    }
    let window = rules.incidents.merge_window;
    let near: Vec<&Case> = open().filter(|case| time::within(case.incident.started_at, start, window)).collect();
    if let Some(mine) = world.service(rules, service) {
        let related = near.iter().find_map(|case| {
            let mut parts = case.incident.affected.iter();
            parts.find(|part| world.service(rules, &part.service).is_some_and(|it| are_related(mine, it)))?;
            Some(case.incident.id.clone())
        });
        if let Some(incident) = related {
            return Place::Joins { incident, needs: None, root: None, reason: Reason::JoinedRelated };
        }
    }
    let mut failing: BTreeSet<&ServiceId> = BTreeSet::from([service]);
    for part in near.iter().flat_map(|case| &case.incident.affected) {
        if failing.len() < STORM && time::within(part.started_at, start, window) {
            failing.insert(&part.service);
        }
    }
    if let (true, Some(case)) = (failing.len() >= STORM, near.iter().max_by_key(|case| case.incident.affected.len())) {
        let services = near.iter().map(|case| case.incident.affected.len()).sum::<usize>() + 1;
        let reason = Reason::JoinedStorm { services: u32::try_from(services).unwrap_or(u32::MAX) };
        return Place::Joins { incident: case.incident.id.clone(), needs: None, root: None, reason };
    }
    let latest = world.services.get(service).and_then(|state| state.latest.as_ref());
    let latest = latest.and_then(|id| world.cases.get(id)).map(|case| &case.incident);
    match latest.and_then(|incident| Some((incident, incident.resolved_at?))) {
        Some((incident, over)) if may_reopen(incident, over, start, rules) => Place::Reopens(incident.id.clone()),
        _ => Place::New,
    }
}

/// Whether an incident that was over at `over` goes on with a failure at `start`.
fn may_reopen(incident: &Incident, over: Timestamp, start: Timestamp, rules: &Rules) -> bool {
    !incident.withdrawn && u128::from(time::ms_between(over, start)) <= rules.incidents.reopen_window.as_millis()
}

/// The open incident of a service that `service` needs, or that needs it, at any depth.
fn cascade(rules: &Rules, world: &World, service: &ServiceId, start: Timestamp) -> Option<Place> {
    let (up, down) = (world.ancestors(rules, service), world.descendants(service));
    if up.is_empty() && down.is_empty() {
        return None;
    }
    let reopen = rules.incidents.reopen_window;
    // A part that recovered long ago explains nothing any more.
    let is_warm = |incident: &Incident, id: &ServiceId| {
        incident.part(id).is_some_and(|part| part.recovered_at.is_none_or(|at| time::within(at, start, reopen)))
    };
    for case in world.live().filter(|case| case.incident.is_open() && !case.incident.withdrawn) {
        let incident = &case.incident;
        let needs = up.iter().find(|id| is_warm(incident, id));
        let needed = down.iter().find(|id| is_warm(incident, id));
        if needs.is_none() && needed.is_none() {
            continue;
        }
        let root = match &incident.root {
            Some(root) if down.contains(root) => Some(service.clone()),
            Some(root) => Some(root.clone()),
            None if needs.is_none() => Some(service.clone()),
            // The last ancestor found is the farthest: nothing that it needs is affected.
            None => up.iter().rev().find(|id| is_warm(incident, id)).cloned(),
        };
        let reason = Reason::JoinedCascade { root: root.clone().unwrap_or_else(|| service.clone()) };
        return Some(Place::Joins { incident: incident.id.clone(), needs: needs.cloned(), root, reason });
    }
    None
}
