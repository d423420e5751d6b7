//! Cascades seen whole: what else is probed at once when a check fails, and the verdicts that wait
//! for it (spec, section 4, rule 4). To which incident a service then belongs is decided in
//! `correlate.rs`.
//!
//! When a check fails, whatever its service needs is asked; when it turns down, so are those that
//! need it, share a dependency, a group or a host with it. While an ancestor is in question, a
//! verdict waits for it, so that the root is told first and named from the first message on.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

use super::{Priority, Reason, Request, time, turn::Turn, world::Kin};
use crate::domain::{
    CheckKey, ServiceId, ServiceStatus,
    service::{Cadence, Check, Probe, Service},
};

/// A verdict waits for its ancestors at most so long, however patient their checks are.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// Whether a check may be asked besides its turns: nothing that runs at times of the operator's
/// choosing.
const fn may_be_asked(check: &Check) -> bool {
    matches!((&check.cadence, &check.probe), (Cadence::Every(_), Probe::Http(_) | Probe::Tcp(_)))
}

impl Turn<'_> {
    /// A check of `service` fails: whatever it needs is asked.
    pub fn ask_ancestors(&mut self, service: &ServiceId) {
        for ancestor in self.world.ancestors(self.rules, service) {
            self.ask_service(&ancestor, false);
        }
    }

    /// A check turned down: whoever may go down with its service is asked.
    pub fn ask_relatives(&mut self, key: &CheckKey, check: &Check) {
        let now = self.at;
        let (rules, id) = (self.rules, &key.service);
        for dependant in self.world.descendants(id) {
            self.ask_service(&dependant, false);
        }
        let Some(service) = self.world.service(rules, id) else { return };
        for kin in Kin::of(service) {
            // Whoever of them fell just before has asked them all: a storm asks once, not each for all.
            let Some(members) = self.world.kin_to_ask(&kin, now, check.recheck) else { continue };
            for member in members.into_iter().filter(|member| member.service != *id) {
                self.ask(&member, false);
            }
        }
        if let Some(state) = self.world.checks.get_mut(key) {
            state.fell_at = state.fell_at.max(Some(now));
            self.world.note_fall(service, now);
        }
    }

    /// A check of `service` is back: what needs it and is down may be, too.
    pub fn ask_dependants(&mut self, service: &ServiceId) {
        for dependant in self.world.descendants(service) {
            self.ask_service(&dependant, true);
        }
    }

    /// Asks those checks of a service that are down, or those that are not.
    fn ask_service(&mut self, id: &ServiceId, down: bool) {
        let Some(service) = self.world.service(self.rules, id) else { return };
        for (key, _) in service.enabled_checks() {
            self.ask(&key, down);
        }
    }

    /// Asks for a probe of `key`, if it is as `down` as that, now, or once `recheck` has passed since
    /// it last had one.
    fn ask(&mut self, key: &CheckKey, down: bool) {
        let Some(check) = self.check(key).filter(|check| may_be_asked(check)) else { return };
        if !self.world.checks.contains_key(key) {
            self.meet_check(key, check);
        }
        let now = self.at;
        let Some(state) = self.world.checks.get_mut(key) else { return };
        let is_asked =
            state.is_unanswered() || state.asked_at.is_some_and(|asked| now < time::plus(asked, check.recheck));
        if is_asked || state.is_pending() || state.is_down() != down {
            return;
        }
        let at =
            state.after.map_or(now, |last| time::plus(last, check.recheck).clamp(now, time::plus(now, check.recheck)));
        state.asked_at = Some(at);
        self.world.touch_check(key);
        self.step.requests.push(Request::Probe { check: key.clone(), at, priority: Priority::PulledForward });
    }

    /// Until when the verdict of a check of `service`, failing since `first_at`, waits for which
    /// of its ancestors; `None`: it need not.
    fn waits_for(&self, service: &ServiceId, first_at: Timestamp) -> Option<(ServiceId, Timestamp)> {
        let mut found: Option<(ServiceId, Timestamp)> = None;
        for ancestor in self.world.ancestors(self.rules, service) {
            let Some(ancestor) = self.world.service(self.rules, &ancestor) else { continue };
            for (key, check) in ancestor.enabled_checks() {
                let Some(state) = self.world.checks.get(&key) else { continue };
                if state.is_down() {
                    return None; // explained already
                }
                if state.is_in_question(first_at) {
                    let needs = check.timeout.saturating_add(check.recheck).saturating_mul(check.down_after.max(1));
                    let until = time::plus(self.at, needs.min(LONGEST_WAIT));
                    let later = found.as_ref().map_or(until, |(_, other)| until.max(*other));
                    // The farthest found last explains the most.
                    found = Some((ancestor.id.clone(), later));
                }
            }
        }
        found
    }

    /// For what, and until when, the verdict of `key`, failing since `first_at` and in the probes since
    /// `since`, waits; `None`: it need not.
    pub fn wait(&self, key: &CheckKey, first_at: Timestamp, since: Timestamp) -> Option<(Reason, Timestamp)> {
        // A canary that was asked while the latest failures were made: one asked earlier says nothing
        // of a link that was cut in between.
        let cause = self.world.checks.get(key).and_then(|state| state.cause);
        let canary = self.check(key).and_then(|check| self.waits_for_canaries(check, cause, since));
        let ancestor = || self.waits_for(&key.service, first_at);
        canary
            .map(|until| (Reason::WaitsForCanary, until))
            .or_else(|| ancestor().map(|(ancestor, until)| (Reason::WaitsForAncestor { ancestor }, until)))
    }

    /// Gives the verdicts that waited for checks of `service` and need wait no longer.
    pub fn release(&mut self, service: &ServiceId) {
        let mut decided: VecDeque<ServiceId> = [service.clone()].into();
        while let Some(ancestor) = decided.pop_front() {
            if self.world.waiting().next().is_none() {
                return;
            }
            let needs_it = |key: &CheckKey| self.world.ancestors(self.rules, &key.service).contains(&ancestor);
            let waiting: Vec<CheckKey> = self.world.waiting().filter(|key| needs_it(key)).cloned().collect();
            for key in waiting {
                if self.waits_no_longer(&key) {
                    self.conclude(&key);
                    decided.push_back(key.service);
                }
            }
        }
    }

    /// Looks anew at every verdict that waits: the rules changed, or its time is up.
    pub fn release_all(&mut self) {
        let waiting: Vec<CheckKey> = self.world.waiting().cloned().collect();
        for key in waiting {
            let Some(state) = self.world.checks.get(&key) else { continue };
            if state.held_until.is_some_and(|until| until <= self.at) || self.waits_no_longer(&key) {
                self.conclude(&key);
                self.release(&key.service);
            }
        }
    }

    /// Whether what the verdict of `key` waited for is known.
    fn waits_no_longer(&self, key: &CheckKey) -> bool {
        let Some(state) = self.world.checks.get(key) else { return false };
        let failing = state.failing_since().zip(state.after);
        failing.is_some_and(|(first_at, since)| self.wait(key, first_at, since).is_none())
    }

    /// Gives the verdict that waited.
    fn conclude(&mut self, key: &CheckKey) {
        let Some(check) = self.check(key) else { return };
        let Some(state) = self.world.checks.get_mut(key) else { return };
        let Some(run) = state.fall() else { return };
        // It is known again, until nothing is heard of it any more.
        let deadline = state.stale_at();
        self.world.expect_by(deadline);
        self.world.touch_check(key);
        self.fell(key, check, run.first_at, run.count);
    }

    /// A check turned down.
    pub fn fell(&mut self, key: &CheckKey, check: &Check, from: Timestamp, probes: u32) {
        self.say(key, from, Some(super::Verdict::Down));
        self.judge(&key.service, from);
        self.tell_how(key);
        let cause = self.world.checks.get(key).and_then(|state| state.cause);
        self.decide(&key.service, Some(key), Reason::Down { probes, cause });
        let status = self.world.services.get(&key.service).and_then(|state| state.record.now());
        if status.is_some_and(|(status, _)| status == ServiceStatus::UnderMaintenance) {
            self.decide(&key.service, Some(key), Reason::Planned);
        }
        self.ask_relatives(key, check);
    }
}

/// Whether two services share a group, a dependency or a host.
pub(super) fn are_related(a: &Service, b: &Service) -> bool {
    let of_b: Vec<Kin> = Kin::of(b).collect();
    Kin::of(a).any(|kin| of_b.contains(&kin))
}
