//! How a service is: its checks' verdicts and people's notes put together (spec, section 4, rule 2).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Decision, Reason,
    check::Verdict,
    turn::Turn,
    uptime::{Base, Claim, Record},
    world::World,
};
use crate::domain::{
    CheckKey, IncidentId, ServiceId, ServiceStatus, archive::ServiceNow, outcome::Cause, service::Service,
};

/// What the judge carries of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServiceState {
    /// Everything said of it, and its spans.
    pub record: Record,
    /// Whether its checks, as far as anyone knew last, were in trouble.
    #[serde(default)]
    pub checks_in_trouble: bool,
    /// The incident that it was last part of.
    #[serde(default)]
    pub latest: Option<IncidentId>,
    /// When it was last found to be well again.
    #[serde(default)]
    pub clear_from: Option<Timestamp>,
    /// What was last made known of it: since when, and how many checks of how many are up.
    #[serde(default)]
    pub shown: Option<(ServiceStatus, Timestamp, u32, u32)>,
}

/// The status that checks give; nothing if none of them is known. Some down is worse than some slow.
pub(super) fn of_checks(verdicts: impl Iterator<Item = Verdict>) -> Option<ServiceStatus> {
    let (mut up, mut slow, mut down) = (0, 0, 0);
    for verdict in verdicts {
        match verdict {
            Verdict::Up => up += 1,
            Verdict::Degraded => slow += 1,
            Verdict::Down => down += 1,
        }
    }
    match (up, slow, down) {
        (0, 0, 0) => None,
        (_, 0, 0) => Some(ServiceStatus::Operational),
        (_, _, 0) => Some(ServiceStatus::DegradedPerformance),
        (0, 0, _) => Some(ServiceStatus::MajorOutage),
        _ => Some(ServiceStatus::PartialOutage),
    }
}

impl ServiceState {
    /// The status that its checks give now.
    pub fn checks_now(&self) -> Option<ServiceStatus> {
        of_checks(self.record.checks.values().filter_map(|line| line.last().flatten()))
    }

    /// How many checks are up or degraded, of how many that are known.
    pub fn counts(&self) -> (u32, u32) {
        let known = self.record.checks.values().filter_map(|line| line.last().flatten());
        known.fold((0, 0), |(up, known), verdict| (up + u32::from(verdict != Verdict::Down), known + 1))
    }
}

/// By what the status of `service` is found.
pub(super) fn base_of(service: &Service) -> Base {
    if service.checks.iter().any(|check| check.enabled) { Base::Checks } else { Base::Notes }
}

impl Turn<'_> {
    /// Derives how `id` was since `from`, and follows up on what changed.
    pub fn judge(&mut self, id: &ServiceId, from: Timestamp) {
        let World { services, cases, .. } = &mut *self.world;
        let Some(state) = services.get_mut(id) else { return };
        let before = state.record.now().map(|(status, _)| status);

        // Checks that failed and recovered outweigh what was only concluded from an impact, and
        // need no word against them any more once the incident is over.
        let yields = |claim: &&mut Claim| {
            let is_over = || cases.get(&claim.incident).is_none_or(|case| !case.incident.is_open());
            claim.to.is_none() && (claim.is_implied || is_over())
        };
        if let Some(checks) = state.checks_now() {
            if state.checks_in_trouble && !checks.is_trouble() {
                let back_at = state.record.checks.values().filter_map(|line| line.points().last()).map(|(at, _)| *at);
                let back_at = back_at.max().unwrap_or(from);
                state
                    .record
                    .claims
                    .iter_mut()
                    .filter(yields)
                    .for_each(|claim| claim.to = Some(back_at.max(claim.from)));
            }
            state.checks_in_trouble = checks.is_trouble();
        }
        let edit = state.record.rebuild(id, from, self.at);
        self.world.touch_service(id);
        self.step.spans.extend(edit);
        self.show(id);
        self.follow(id, before.unwrap_or(ServiceStatus::Unknown));
    }

    /// Makes known how `id` is, if that changed.
    fn show(&mut self, id: &ServiceId) {
        let last_result_at = self.last_result_at(id);
        let Some(state) = self.world.services.get_mut(id) else { return };
        let Some((status, since)) = state.record.now() else { return };
        let (checks_up, checks_known) = state.counts();
        let shown = Some((status, since, checks_up, checks_known));
        if state.shown == shown {
            return;
        }
        state.shown = shown;
        let now = ServiceNow { service: id.clone(), status, since, checks_up, checks_known, last_result_at };
        self.step.services.retain(|earlier| earlier.service != *id);
        self.step.services.push(now);
    }

    /// When any check of `id` last had a result.
    fn last_result_at(&self, id: &ServiceId) -> Option<Timestamp> {
        let checks = self.world.services.get(id)?.record.checks.keys();
        let keys = checks.map(|check| CheckKey { service: id.clone(), check: check.clone() });
        keys.filter_map(|key| self.world.checks.get(&key)?.last_at).max()
    }

    /// Why `id` is in trouble, by the first of its checks that is.
    pub fn cause_of(&self, id: &ServiceId) -> Option<Cause> {
        let record = &self.world.services.get(id)?.record;
        let worst = record.checks.values().filter_map(|line| line.last().flatten()).max()?;
        let (check, _) = record.checks.iter().find(|(_, line)| line.last().flatten() == Some(worst))?;
        self.world.checks.get(&CheckKey { service: id.clone(), check: check.clone() })?.cause
    }

    /// Notes a decision on `service`.
    pub fn decide(&mut self, service: &ServiceId, check: Option<&CheckKey>, reason: Reason) {
        let incident = self.world.open_part(service);
        let (service, check) = (service.clone(), check.cloned());
        self.step.decisions.push(Decision { at: self.at, service, check, incident, reason });
    }
}
