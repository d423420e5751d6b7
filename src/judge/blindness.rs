//! Is it us? Canaries are asked when a check fails, in parallel with its rechecks; if all of a class
//! fail, we are blind there: results are unknown, and nobody but the operator is told (spec, section
//! 4, rule 8).
//!
//! A canary counts once it was seen up since the start; one that never was is ignored and reported.
//! A verdict waits for an answer that was asked for while it failed, but not for ever: when none
//! comes at all, the probes speak for themselves. What failed while no canary answered must fail
//! anew.
//!
//! Name servers of ours that fail are blindness, too, for names alone: where the name is what was not
//! found, canaries that are given by name speak, whatever those given by address say.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Priority, Reason, Request, Verdict, check, time, turn::Turn};
use crate::domain::{
    CheckId, CheckKey, IncidentId, ServiceId,
    outcome::{Cause, Class, Outcome},
    service::{Check, Rules},
    target::TargetClass,
};

/// All canaries of a class must fail so often in a row: a lost packet is no blindness.
const ENOUGH: u32 = 2;
/// A canary that failed so often without ever being up is reported.
const HOPELESS: u32 = 3;
/// A failing canary is asked again after this long.
const AGAIN: Duration = Duration::from_secs(5);
/// A verdict waits at most so long for canaries that do not answer at all.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What only operators are told: that we cannot see, or that they owe people a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Every canary of a class fails.
    Lost {
        /// Which.
        class: TargetClass,
        /// Since when.
        since: Timestamp,
    },
    /// One answers again.
    Regained {
        /// Which.
        class: TargetClass,
        /// Since when nothing could be seen.
        since: Timestamp,
    },
    /// People promised to say more on an open incident by then, and did not.
    Overdue {
        /// Which.
        incident: IncidentId,
        /// The services that it is about: their owners are told, too.
        services: Vec<ServiceId>,
        /// When they meant to.
        promised_at: Timestamp,
    },
    /// A canary was never up since the start, and is ignored.
    Useless {
        /// Which: by its place in the config.
        canary: CheckId,
    },
}

/// What is known of one canary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Canary {
    /// A fingerprint of what is asked.
    target: u64,
    /// It was up at least once since the start.
    is_proven: bool,
    /// Its last answer: asked when, and whether it was up.
    last: Option<(Timestamp, bool)>,
    /// How often it failed in a row.
    fails: u32,
    /// When the first of these was asked.
    failing_since: Option<Timestamp>,
    /// When it was last asked for the sake of a check.
    asked_at: Option<Timestamp>,
    /// The last time that it was asked and its name was found.
    #[serde(default)]
    named_at: Option<Timestamp>,
    /// How often in a row its name was not, and when the first of these was asked.
    #[serde(default)]
    nameless: u32,
    #[serde(default)]
    nameless_since: Option<Timestamp>,
}

impl Canary {
    /// Whether it showed, when asked at `after` or later, that targets of `class` can be seen.
    fn vouches(&self, class: TargetClass, after: Timestamp) -> bool {
        match class {
            TargetClass::ByName => self.named_at.is_some_and(|asked| asked >= after),
            _ => self.last.is_some_and(|(asked, is_up)| is_up && asked >= after),
        }
    }

    /// How often in a row it did not, and since when.
    const fn failing(&self, class: TargetClass) -> (u32, Option<Timestamp>) {
        match class {
            TargetClass::ByName => (self.nameless, self.nameless_since),
            _ => (self.fails, self.failing_since),
        }
    }
}

/// Whether what a canary at `host` finds speaks for targets of `class`.
fn speaks_for(host: &str, class: TargetClass) -> bool {
    match class {
        TargetClass::ByName => TargetClass::is_by_name(host),
        _ => TargetClass::of(host) == class,
    }
}

/// The canaries of `rules` for targets of `class`.
fn of_class(rules: &Rules, class: TargetClass) -> impl Iterator<Item = (CheckKey, &Check)> {
    let all = rules.canaries.iter().flat_map(|service| service.enabled_checks());
    all.filter(move |(_, check)| speaks_for(check.probe.host(), class))
}

/// In which ways a failure of `check` for that cause may be our own: its class, and, if its name was
/// not found, names.
fn doubts(check: &Check, cause: Option<Cause>) -> impl Iterator<Item = TargetClass> {
    let host = check.probe.host();
    let is_nameless = cause.is_some_and(|cause| cause.class == Class::Dns) && TargetClass::is_by_name(host);
    [Some(TargetClass::of(host)), is_nameless.then_some(TargetClass::ByName)].into_iter().flatten()
}

impl Turn<'_> {
    /// Since when we are blind for targets like that of `check`, of which a probe found `cause`.
    pub fn blind_since(&self, check: &Check, cause: Option<Cause>) -> Option<Timestamp> {
        if self.world.head.blind.is_empty() {
            return None;
        }
        doubts(check, cause).find_map(|class| self.world.head.blind.get(&class).copied())
    }

    /// A probe of a check that began at `start` failed: asks the canaries whose answer its verdict needs.
    pub fn ask_canaries(&mut self, check: &Check, cause: Option<Cause>, start: Timestamp) {
        if self.rules.canaries.is_none() {
            return;
        }
        let (now, rules) = (self.at, self.rules);
        for (key, _) in doubts(check, cause).flat_map(|class| of_class(rules, class)) {
            let canary = self.world.canaries.entry(key.check.clone()).or_default();
            if canary.last.into_iter().map(|(asked, _)| asked).chain(canary.asked_at).any(|asked| asked >= start) {
                continue;
            }
            let at = canary.asked_at.map_or(now, |asked| now.max(time::plus(asked, AGAIN / 5)));
            canary.asked_at = Some(at);
            self.world.touch_canary(&key.check);
            self.step.requests.push(Request::Probe { check: key, at, priority: Priority::Canary });
        }
    }

    /// Until when the verdict of `check`, which failed for that cause since `since` and may do so in
    /// vain, waits for canaries; `None`: it need not.
    pub fn waits_for_canaries(&self, check: &Check, cause: Option<Cause>, since: Timestamp) -> Option<Timestamp> {
        self.rules.canaries.as_ref()?;
        let is_vouched = |class: TargetClass| {
            let mut proven = self.proven(class).peekable();
            proven.peek().is_none() || proven.any(|canary| canary.vouches(class, since))
        };
        (!doubts(check, cause).all(is_vouched)).then(|| time::plus(self.at, LONGEST_WAIT))
    }

    /// The canaries for `class` that count.
    fn proven(&self, class: TargetClass) -> impl Iterator<Item = &Canary> {
        let all = of_class(self.rules, class).filter_map(|(key, _)| self.world.canaries.get(&key.check));
        all.filter(|canary| canary.is_proven)
    }

    /// Whether every canary for `class` that counts fails at present, at least so often in a row.
    fn are_all_failing(&self, class: TargetClass, times: u32) -> bool {
        let mut proven = self.proven(class).peekable();
        proven.peek().is_some() && proven.all(|canary| canary.failing(class).0 >= times)
    }

    /// A canary was asked, and this is what came of it.
    pub fn canary(&mut self, key: &CheckKey, outcome: &Outcome) {
        let (now, rules) = (self.at, self.rules);
        let found = rules.canaries.iter().flat_map(|service| service.enabled_checks()).find(|(it, _)| it == key);
        let Some(((_, check), result)) = found.zip(Verdict::from_result(outcome.result)) else { return };
        let asked = outcome.started_at.min(now);
        let target = check::fingerprint(check);
        let canary = self.world.canaries.entry(key.check.clone()).or_default();
        if canary.target != target {
            *canary = Canary { target, asked_at: canary.asked_at, ..Canary::default() };
        }
        if canary.last.is_some_and(|(last, _)| asked < last && last <= now) {
            return; // overtaken
        }
        let is_up = result != Verdict::Down;
        let is_named = is_up || outcome.cause.is_none_or(|cause| cause.class != Class::Dns);
        let host = check.probe.host();
        let classes = [TargetClass::of(host), TargetClass::ByName].into_iter().filter(|it| speaks_for(host, *it));
        let shown: Vec<TargetClass> =
            classes.clone().filter(|class| if *class == TargetClass::ByName { is_named } else { is_up }).collect();
        let dark: Vec<TargetClass> = shown.iter().copied().filter(|class| self.are_all_failing(*class, 1)).collect();
        let canary = self.world.canaries.entry(key.check.clone()).or_default();
        canary.last = Some((asked, is_up));
        if is_named {
            (canary.named_at, canary.nameless, canary.nameless_since) = (Some(asked), 0, None);
        } else {
            canary.nameless = canary.nameless.saturating_add(1);
            canary.nameless_since = canary.nameless_since.or(Some(asked));
        }
        if is_up {
            canary.is_proven = true;
            (canary.fails, canary.failing_since) = (0, None);
        } else {
            canary.fails = canary.fails.saturating_add(1);
            canary.failing_since = canary.failing_since.or(Some(asked));
            if canary.is_proven || canary.fails < HOPELESS {
                let at = time::plus(now, AGAIN);
                self.step.requests.push(Request::Probe { check: key.clone(), at, priority: Priority::Canary });
            } else if canary.fails == HOPELESS {
                self.step.sights.push(Sight::Useless { canary: key.check.clone() });
            }
        }
        self.world.touch_canary(&key.check);
        for class in classes {
            if !shown.contains(&class) {
                self.lose_sight_of_class(class);
            } else if !self.see_again(class) && dark.contains(&class) {
                self.doubt_failures(class);
            }
        }
        self.release_all();
    }

    /// Blind for `class`, if every canary that counts fails.
    fn lose_sight_of_class(&mut self, class: TargetClass) {
        if self.world.head.blind.contains_key(&class) {
            return;
        }
        if !self.are_all_failing(class, ENOUGH) {
            return;
        }
        let since = self.proven(class).filter_map(|canary| canary.failing(class).1).max().unwrap_or(self.at);
        self.world.head.blind.insert(class, since);
        self.show_blindness();
        self.step.sights.push(Sight::Lost { class, since });
        for (key, check) in self.rules.services.iter().flat_map(|service| service.enabled_checks()) {
            // Whose name is found all the same is seen.
            if self.is_in_doubt(&key, check, class) {
                self.forget_until_seen(&key, since);
            }
        }
    }

    /// Makes known what we cannot see.
    fn show_blindness(&mut self) {
        self.world.touch_head();
        self.step.blind = Some(self.world.head.blind.clone());
    }

    /// Whether nothing that the latest failures of a check say counts while we cannot see `class`.
    fn is_in_doubt(&self, key: &CheckKey, check: &Check, class: TargetClass) -> bool {
        let Some(state) = self.world.checks.get(key) else { return false };
        let is_failing = state.run.is_some_and(|(kind, _)| kind == Verdict::Down);
        match class {
            TargetClass::ByName => is_failing && doubts(check, state.cause).any(|it| it == class),
            _ => TargetClass::of(check.probe.host()) == class,
        }
    }

    /// For a while no canary of `class` answered, not long enough to be blind: what failed meanwhile
    /// must fail anew before it is a verdict.
    fn doubt_failures(&mut self, class: TargetClass) {
        for (key, check) in self.rules.services.iter().flat_map(|service| service.enabled_checks()) {
            if !self.is_in_doubt(&key, check, class) {
                continue;
            }
            let Some(state) = self.world.checks.get_mut(&key).filter(|it| it.failing_since().is_some()) else {
                continue;
            };
            state.forget_run();
            self.world.touch_check(&key);
            let (at, priority) = (self.at, Priority::Recheck);
            self.step.requests.push(Request::Probe { check: key, at, priority });
        }
    }

    /// What was known of a check is not known any more since `since`, or its last result after that.
    pub fn forget_until_seen(&mut self, key: &CheckKey, since: Timestamp) {
        let Some(state) = self.world.checks.get_mut(key) else { return };
        let good_until = state.failing_since().or(state.last_at);
        state.forget_run();
        state.asked_at = None;
        let was_stale = good_until.is_some() && std::mem::replace(&mut state.stale, true);
        self.world.touch_check(key);
        let Some(last) = good_until else { return };
        if !was_stale && state_is_known(self.world.services.get(&key.service), &key.check) {
            let from = since.max(last).min(self.at);
            self.say(key, from, None);
            self.judge(&key.service, from);
            self.decide(&key.service, Some(key), Reason::Blind);
        }
    }

    /// A canary of `class` answers: whatever was unknown for it is probed anew. Whether we were blind.
    fn see_again(&mut self, class: TargetClass) -> bool {
        let Some(since) = self.world.head.blind.remove(&class) else { return false };
        self.show_blindness();
        self.step.sights.push(Sight::Regained { class, since });
        for (key, check) in self.rules.services.iter().flat_map(|service| service.enabled_checks()) {
            if !speaks_for(check.probe.host(), class) {
                continue;
            }
            let Some(state) = self.world.checks.get_mut(&key) else { continue };
            if class == TargetClass::ByName && !state.stale {
                continue; // it was seen all the while
            }
            // What began before was made in the dark.
            state.after = state.after.max(Some(time::plus_ms(self.at, -1)));
            self.world.touch_check(&key);
            let (at, priority) = (self.at, Priority::PulledForward);
            self.step.requests.push(Request::Probe { check: key, at, priority });
        }
        true
    }

    /// The rules are new: forgets canaries that are no more, and what followed from them.
    pub fn keep_canaries(&mut self) {
        let rules = self.rules;
        let is_gone = |id: &&CheckId| {
            let mut all = rules.canaries.iter().flat_map(|service| service.enabled_checks());
            !all.any(|(key, _)| key.check == **id)
        };
        let gone: Vec<CheckId> = self.world.canaries.keys().filter(is_gone).cloned().collect();
        for id in &gone {
            self.world.canaries.remove(id);
            self.world.touch_canary(id);
        }
        let blind: Vec<TargetClass> = self.world.head.blind.keys().copied().collect();
        for class in blind {
            if !self.proven(class).any(|canary| canary.failing(class).0 >= ENOUGH) {
                self.see_again(class);
            }
        }
    }

    /// We stood still, or the clock was moved: no canary was asked since.
    pub fn forget_questions(&mut self) {
        let ids: Vec<CheckId> = self.world.canaries.keys().cloned().collect();
        for id in ids {
            if let Some(canary) = self.world.canaries.get_mut(&id) {
                (canary.asked_at, canary.last, canary.named_at) = (None, None, None);
            }
            self.world.touch_canary(&id);
        }
    }
}

/// Whether anything is said of a check at present.
fn state_is_known(service: Option<&super::service::ServiceState>, check: &CheckId) -> bool {
    service.is_some_and(|state| state.record.checks.get(check).is_some_and(|line| line.last().flatten().is_some()))
}
