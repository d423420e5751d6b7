//! One step: an input, and all that follows from it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Decision, Input, Priority, Reason, Request, Sight, Step,
    check::{self, CheckState, Counted, Run, Verdict},
    service,
    telling::News,
    time,
    uptime::Base,
    world::World,
};
use crate::domain::{
    CheckKey, IncidentId, ServiceId,
    outcome::{Cause, Outcome},
    service::{Check, Rules},
};

/// A step in the making.
pub(super) struct Turn<'a> {
    /// By which rules.
    pub rules: &'a Rules,
    /// What is known.
    pub world: &'a mut World,
    /// When.
    pub at: Timestamp,
    /// What follows.
    pub step: Step,
    /// Incidents that changed.
    pub touched: BTreeSet<IncidentId>,
    /// While a note is applied: services that come and go, told only if nothing else says so.
    pub held_back: Option<Vec<News>>,
}

/// One failure of a check that is about to count.
struct One {
    cause: Option<Cause>,
    /// When it began, never running backwards.
    start: Timestamp,
    /// The same as the clock of now tells it.
    asked: Timestamp,
    /// When the failure before it began, or it itself: what a canary finds that is asked later speaks
    /// for the latest failures.
    since: Timestamp,
}

impl<'a> Turn<'a> {
    /// A step in which nothing followed yet.
    pub fn new(rules: &'a Rules, world: &'a mut World, at: Timestamp) -> Self {
        Self { rules, world, at, step: Step::default(), touched: BTreeSet::new(), held_back: None }
    }

    /// Takes the input and all that follows from it.
    pub fn take(mut self, input: Input) -> Step {
        self.world.index(self.rules, matches!(input, Input::Rules));
        match input {
            Input::Outcome { check, outcome } => self.outcome(&check, &outcome),
            Input::Note(note) => self.note(*note),
            Input::Maintenance(window) => self.window(*window),
            Input::Rules => self.load_rules(),
            Input::Suspended => self.suspended(),
            Input::Tick => {}
        }
        self.let_time_pass();
        for id in std::mem::take(&mut self.touched) {
            self.refresh_views(&id);
            self.world.touch_incident(&id);
            if let Some(case) = self.world.cases.get_mut(&id) {
                case.incident.version = case.incident.version.saturating_add(1);
                case.forget_flapping();
                self.step.incidents.push(case.incident.clone());
            }
        }
        self.step
    }

    /// The check of that name, if it is configured and enabled.
    pub fn check(&self, key: &CheckKey) -> Option<&'a Check> {
        let checks = &self.world.service(self.rules, &key.service)?.checks;
        checks.iter().find(|check| check.id == key.check && check.enabled)
    }

    /// Counts one result.
    fn outcome(&mut self, key: &CheckKey, outcome: &Outcome) {
        if key.service.is_canaries() {
            self.canary(key, outcome);
            return;
        }
        let Some(check) = self.check(key) else {
            self.decide(&key.service, Some(key), Reason::NotCounted);
            return;
        };
        // Looking a check up costs more than all that is done with it: once, while all is well.
        let blind_since = self.blind_since(check, outcome.cause);
        let state = if let Some(state) = self.world.checks.get_mut(key) {
            state
        } else {
            self.meet_check(key, check);
            let Some(state) = self.world.checks.get_mut(key) else { return };
            state
        };
        if state.after.is_some_and(|after| outcome.started_at <= after) {
            self.decide(&key.service, Some(key), Reason::NotCounted);
            return;
        }
        let Some(result) = Verdict::from_result(outcome.result) else {
            let is_pending = state.is_pending();
            self.decide(&key.service, Some(key), Reason::NotCounted);
            if is_pending {
                self.recheck(key, check, outcome);
            }
            return;
        };
        if let Some(since) = blind_since {
            self.forget_until_seen(key, since);
            self.decide(&key.service, Some(key), Reason::Blind);
            return;
        }
        // One that began by a clock which was set back since must not keep later ones from counting.
        let asked = outcome.started_at.min(self.at);
        let was_awaited = state.is_awaited();
        let before = state.after.replace(asked).filter(|_| state.failing_since().is_some());
        // A clock that was set back must not make history run backwards.
        let start = outcome.started_at.min(self.at).max(state.last_at.unwrap_or(Timestamp::MIN));
        let last = state.last_at.filter(|last| time::plus_ms(*last, state.limit_ms) <= start);
        let gap = last.filter(|_| !state.stale);
        if last.is_some() {
            state.stale = true;
            state.forget_run();
        }
        if let Some(cause) = outcome.cause {
            state.cause = Some(cause);
        }
        let (state, waits) = if result == Verdict::Down {
            let one = One { cause: outcome.cause, start, asked, since: before.unwrap_or(asked) };
            let waits = self.wait_of(key, check, &one);
            let Some(state) = self.world.checks.get_mut(key) else { return };
            (state, waits)
        } else {
            (state, None)
        };
        let was_down = state.is_down();
        let counted = state.count(check, result, start, waits.is_some());
        if let (Counted::Held, Some((_, until))) = (&counted, &waits) {
            state.held_until = state.held_until.or(Some(*until));
        }
        let is_answered = was_awaited && !state.is_awaited();
        let (deadline, is_pending, held_until) = (state.stale_at(), state.is_pending(), state.held_until);
        self.world.expect_by(deadline);
        self.world.touch_held_check(key, held_until);

        if let Some(last) = gap {
            self.lose_sight(key, last);
        }
        match counted {
            Counted::Pending { seen, needed } if result != Verdict::Up => {
                self.consider(key, Reason::BelowThreshold { seen, needed, cause: outcome.cause });
            }
            Counted::Agrees | Counted::Pending { .. } => {}
            Counted::Held => {
                let reason = waits.map_or(Reason::NotCounted, |(reason, _)| reason);
                self.consider(key, reason);
            }
            Counted::Blip { seen } => self.decide(&key.service, Some(key), Reason::Blip { seen }),
            Counted::Relapsed { seen } => self.decide(&key.service, Some(key), Reason::Relapsed { seen }),
            Counted::Decided { verdict: Verdict::Down, from, probes } => self.fell(key, check, from, probes),
            Counted::Decided { verdict, from, probes } => {
                // That it is up is part of an incident which may be over by it; that it is slow, of one
                // which may begin with it.
                if verdict == Verdict::Up {
                    self.decide(&key.service, Some(key), Reason::Up { probes });
                }
                self.say(key, from, Some(verdict));
                self.judge(&key.service, from);
                if was_down {
                    self.ask_dependants(&key.service);
                }
                self.tell_how(key);
                if verdict == Verdict::Degraded {
                    self.decide(&key.service, Some(key), Reason::Degraded { probes });
                }
            }
        }
        if is_pending {
            self.recheck(key, check, outcome);
            self.hold_news(key, check, outcome);
        }
        if is_answered {
            self.release(&key.service);
        }
    }

    /// Decides that a run of `key` is no verdict yet. If no incident has that in its story, the one to
    /// which the run may lead will.
    fn consider(&mut self, key: &CheckKey, reason: Reason) {
        self.decide(&key.service, Some(key), reason.clone());
        if self.step.decisions.last().is_some_and(|decision| decision.incident.is_some()) {
            return;
        }
        if let Some(state) = self.world.checks.get_mut(key) {
            state.consider(self.at, reason);
        }
    }

    /// A run of `key` became a verdict: how is part of the story of its incident, if it has one.
    pub fn tell_how(&mut self, key: &CheckKey) {
        let Some(state) = self.world.checks.get_mut(key) else { return };
        let considered = std::mem::take(&mut state.considered);
        let Some(incident) = self.world.open_part(&key.service) else { return };
        let (service, check) = (&key.service, Some(key.clone()));
        self.step.decisions.extend(considered.into_iter().map(|(at, reason)| Decision {
            at,
            service: service.clone(),
            check: check.clone(),
            incident: Some(incident.clone()),
            reason,
        }));
    }

    /// News that `key` may join, should it turn down, waits for that.
    fn hold_news(&mut self, key: &CheckKey, check: &Check, outcome: &Outcome) {
        let Some(state) = self.world.checks.get(key) else { return };
        let Some((first_at, (_, run))) = state.failing_since().zip(state.run) else { return };
        let pace = check.recheck.saturating_add(outcome.latency);
        let left = pace.saturating_mul(check.down_after.saturating_sub(run.count));
        let until = state.held_until.unwrap_or_else(|| time::plus(self.at, left));
        self.keep_gathering(&key.service, first_at, until);
    }

    /// One more failure is about to count: asks whatever may explain it, and says for what a verdict
    /// must wait until when.
    fn wait_of(&mut self, key: &CheckKey, check: &Check, one: &One) -> Option<(Reason, Timestamp)> {
        let state = self.world.checks.get(key)?;
        if state.verdict == Some(Verdict::Down) {
            return None;
        }
        let Run { count, first_at } = state.failing_with(one.start);
        let is_patient = state.held_until.is_none_or(|until| self.at < until);
        self.ask_canaries(check, one.cause, one.asked);
        self.ask_ancestors(&key.service);
        if is_patient && count >= check.down_after { self.wait(key, first_at, one.since) } else { None }
    }

    /// Asks for the next probe of `key` at the faster pace, for a verdict waits for it.
    fn recheck(&mut self, key: &CheckKey, check: &Check, outcome: &Outcome) {
        let at = time::plus(time::plus(outcome.started_at, outcome.latency), check.recheck);
        self.step.requests.push(Request::Probe { check: key.clone(), at, priority: Priority::Recheck });
    }

    /// Records what is known of a check from `from` on.
    pub fn say(&mut self, key: &CheckKey, from: Timestamp, verdict: Option<Verdict>) {
        let Some(state) = self.world.services.get_mut(&key.service) else { return };
        state.record.checks.entry(key.check.clone()).or_default().set(from, verdict);
        self.world.touch_service(&key.service);
    }

    /// Nobody looked since `last`: from then on nothing is known of the check.
    fn lose_sight(&mut self, key: &CheckKey, last: Timestamp) {
        let Some(state) = self.world.services.get(&key.service) else { return };
        if !state.record.checks.contains_key(&key.check) {
            return;
        }
        self.say(key, last, None);
        self.judge(&key.service, last);
        self.decide(&key.service, Some(key), Reason::NoRecentData);
    }

    /// What follows from time alone. That nobody knows any more, and that work begins or ends, comes
    /// first: the rest follows from it.
    fn let_time_pass(&mut self) {
        self.lose_sight_of_stale();
        self.follow_plan();
        let due = self.world.live().filter(|case| case.publish_at().is_some_and(|at| at <= self.at));
        let due: Vec<IncidentId> = due.map(|case| case.incident.id.clone()).collect();
        for id in &due {
            self.write_up(id);
        }
        let due = self.world.live().filter(|case| case.stragglers_at.is_some_and(|at| at <= self.at));
        let due: Vec<IncidentId> = due.map(|case| case.incident.id.clone()).collect();
        for id in &due {
            self.name_stragglers(id);
        }
        let due = self.world.live().filter(|case| case.steady_at.is_some_and(|at| at <= self.at));
        let due: Vec<IncidentId> = due.map(|case| case.incident.id.clone()).collect();
        for id in &due {
            self.settle_down(id);
        }
        let due = self.world.live().filter(|case| case.promised_at().is_some_and(|at| at <= self.at));
        let due: Vec<IncidentId> = due.map(|case| case.incident.id.clone()).collect();
        for id in &due {
            let Some(case) = self.world.cases.get_mut(id) else { continue };
            case.overdue_told = case.promised_at();
            let promised_at = case.overdue_told.unwrap_or(self.at);
            self.world.touch_incident(id);
            let services = self.parts(id);
            if let Some(first) = services.first() {
                self.decide_for(id, first, Reason::Overdue { promised_at });
            }
            self.step.sights.push(Sight::Overdue { incident: id.clone(), services, promised_at });
        }
        if self.world.wait_ends_at().is_some_and(|until| until <= self.at) {
            self.release_all();
        }
    }

    /// Checks of which nobody has heard for too long.
    fn lose_sight_of_stale(&mut self) {
        if self.world.scratch.fresh_until.is_none_or(|until| self.at < until) {
            return;
        }
        let is_due = |state: &CheckState| state.stale_at().is_some_and(|deadline| deadline <= self.at);
        let due = self.world.checks.iter().filter(|(_, state)| is_due(state));
        let due: Vec<(CheckKey, Option<Timestamp>)> = due.map(|(key, state)| (key.clone(), state.last_at)).collect();
        for (key, last) in due {
            let Some(state) = self.world.checks.get_mut(&key) else { continue };
            state.stale = true;
            state.forget_run();
            self.world.touch_check(&key);
            if let Some(last) = last {
                self.lose_sight(&key, last);
            }
        }
        self.world.scratch.fresh_until = self.world.checks.values().filter_map(CheckState::stale_at).min();
    }

    /// Everything that ran before is void: what is undecided needs new evidence.
    fn suspended(&mut self) {
        self.follow_clock();
        for (key, state) in &mut self.world.checks {
            let priority = if state.is_pending() { Priority::Recheck } else { Priority::PulledForward };
            if state.is_pending() {
                state.forget_run();
            }
            state.after = Some(time::plus_ms(self.at, -1));
            (state.asked_at, state.fell_at) = (None, None);
            self.step.requests.push(Request::Probe { check: key.clone(), at: self.at, priority });
        }
        let keys: Vec<CheckKey> = self.world.checks.keys().cloned().collect();
        for key in &keys {
            self.world.touch_check(key);
        }
        self.world.forget_falls();
        self.look_ahead();
        self.forget_questions();
    }

    /// Meets a check for the first time.
    pub fn meet_check(&mut self, key: &CheckKey, check: &Check) {
        let service = self.world.services.entry(key.service.clone()).or_default();
        if service.record.base.last().is_none() {
            service.record.base.set(self.at, Base::Checks);
        }
        let target = check::fingerprint(check);
        let state = CheckState { target, limit_ms: check::silence_limit_ms(check), ..CheckState::default() };
        self.world.checks.insert(key.clone(), state);
        self.world.touch_check(key);
        self.world.touch_service(&key.service);
    }

    /// Brings the world in line with rules that are new.
    fn load_rules(&mut self) {
        let rules = self.rules;
        for service in &rules.services {
            let state = self.world.services.entry(service.id.clone()).or_default();
            let base = service::base_of(service);
            let mut is_new = state.record.base.last() != Some(base);
            if is_new {
                state.record.base.set(self.at, base);
            }
            let known: Vec<_> = state.record.checks.keys().cloned().collect();
            for check in known {
                let key = CheckKey { service: service.id.clone(), check };
                is_new |= self.check(&key).is_none() && self.drop_check(&key);
            }
            for (key, check) in service.enabled_checks() {
                self.adopt_check(&key, check);
            }
            if is_new {
                self.judge(&service.id, self.at);
            }
        }
        let is_gone = |key: &&CheckKey| self.check(key).is_none();
        let gone: Vec<CheckKey> = self.world.checks.keys().filter(is_gone).cloned().collect();
        for key in gone {
            self.drop_check(&key);
        }
        let is_gone = |id: &&ServiceId| self.world.service(rules, id).is_none();
        let gone: Vec<ServiceId> = self.world.services.keys().filter(is_gone).cloned().collect();
        for id in &gone {
            self.drop_service(id);
        }
        self.world.scratch.fresh_until = self.world.checks.values().filter_map(CheckState::stale_at).min();
        self.keep_canaries();
        self.plan_work();
        self.reapply_notes();
        self.release_all();
    }

    /// Goes on with a check that is configured, as far as it still asks the same.
    fn adopt_check(&mut self, key: &CheckKey, check: &Check) {
        let Some(state) = self.world.checks.get_mut(key) else {
            self.meet_check(key, check);
            return;
        };
        let (target, limit_ms) = (check::fingerprint(check), check::silence_limit_ms(check));
        let is_same = state.target == target;
        (state.target, state.limit_ms) = (target, limit_ms);
        if !is_same {
            // Results still on their way are of the old target.
            state.forget_run();
            state.after = state.after.max(Some(self.at));
        }
        let is_urgent = state.is_pending() || !is_same;
        // A start or a reload is no reason to look again sooner than the pace of rechecks.
        let next = state.after.filter(|_| is_same).map(|last| time::plus(last, check.recheck));
        let paced = next.map(|next| next.clamp(self.at, time::plus(self.at, check.recheck)));
        self.world.touch_check(key);
        if is_urgent {
            let at = paced.unwrap_or(self.at);
            self.step.requests.push(Request::Probe { check: key.clone(), at, priority: Priority::Recheck });
        }
    }

    /// Forgets a check that is no longer probed; whether its service's state must be derived anew.
    fn drop_check(&mut self, key: &CheckKey) -> bool {
        if self.world.checks.remove(key).is_some() {
            self.world.touch_check(key);
        }
        let Some(state) = self.world.services.get(&key.service) else { return false };
        let is_known = state.record.checks.get(&key.check).is_some_and(|line| line.last().flatten().is_some());
        if is_known {
            self.say(key, self.at, None);
        }
        is_known
    }

    /// A service is no longer configured.
    fn drop_service(&mut self, id: &ServiceId) {
        let Some(state) = self.world.services.get_mut(id) else { return };
        if state.record.base.last() == Some(Base::Gone) {
            return;
        }
        state.record.base.set(self.at, Base::Gone);
        state.checks_in_trouble = false;
        self.decide(id, None, Reason::NoLongerMonitored);
        self.end_part(id);
        self.judge(id, self.at);
    }
}
