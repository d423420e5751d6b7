//! Is it us? Canaries are asked when a check fails, in parallel with its rechecks; if all of a class
//! fail, we are blind there: results are unknown, and nobody but the operator is told (spec, section
//! 4, rule 8).
//!
//! A canary counts once it was seen up since the start; one that never was is ignored and reported.
//! A verdict waits for an answer that was asked for after its first failure, but not for ever: when
//! none comes at all, the probes speak for themselves.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Priority, Reason, Request, Verdict, check, time, turn::Turn};
use crate::domain::{
    CheckId, CheckKey, IncidentId,
    outcome::Outcome,
    service::{Check, Rules},
};

/// All canaries of a class must fail so often in a row: a lost packet is no blindness.
const ENOUGH: u32 = 2;
/// A canary that failed so often without ever being up is reported.
const HOPELESS: u32 = 3;
/// A failing canary is asked again after this long.
const AGAIN: Duration = Duration::from_secs(5);
/// A verdict waits at most so long for canaries that do not answer at all.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// From where targets are reached: a fault of one way out says nothing of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetClass {
    /// This machine.
    Loopback,
    /// A network of our own.
    Private,
    /// Everything else.
    Public,
}

impl TargetClass {
    /// The class of a target by its host. A name says less than an address: those without a dot and
    /// those of the zones kept for private use are taken for private.
    #[must_use]
    pub fn of(host: &str) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return match address.to_canonical() {
                IpAddr::V4(v4) => Self::of_v4(v4),
                IpAddr::V6(v6) => Self::of_v6(v6),
            };
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let zone = name.rsplit_once('.').map(|(_, zone)| zone);
        match zone.unwrap_or(&name) {
            "localhost" => Self::Loopback,
            "local" | "internal" | "lan" | "intranet" | "home" | "private" | "corp" | "test" => Self::Private,
            _ if zone.is_none() || name.ends_with(".home.arpa") => Self::Private,
            _ => Self::Public,
        }
    }

    const fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, ..] = address.octets();
        if address.is_loopback() || address.is_unspecified() {
            Self::Loopback
        } else if address.is_private() || address.is_link_local() || (a == 100 && b & 0xc0 == 64) {
            Self::Private
        } else {
            Self::Public
        }
    }

    const fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() || address.is_unspecified() {
            Self::Loopback
        } else if address.is_unique_local() || address.is_unicast_link_local() {
            Self::Private
        } else {
            Self::Public
        }
    }
}

impl fmt::Display for TargetClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "on this machine",
            Self::Private => "in private networks",
            Self::Public => "on the public network",
        })
    }
}

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
}

impl Canary {
    /// Whether it was up when asked at `after` or later.
    fn was_up_after(&self, after: Timestamp) -> bool {
        self.last.is_some_and(|(asked, is_up)| is_up && asked >= after)
    }
}

/// The canaries of `rules` for targets of `class`.
fn of_class(rules: &Rules, class: TargetClass) -> impl Iterator<Item = (CheckKey, &Check)> {
    let all = rules.canaries.iter().flat_map(|service| service.enabled_checks());
    all.filter(move |(_, check)| TargetClass::of(check.probe.host()) == class)
}

impl Turn<'_> {
    /// Since when we are blind for targets like that of `check`.
    pub fn blind_since(&self, check: &Check) -> Option<Timestamp> {
        if self.world.head.blind.is_empty() {
            return None;
        }
        self.world.head.blind.get(&TargetClass::of(check.probe.host())).copied()
    }

    /// A check fails since `first_at`: asks the canaries whose answer its verdict needs.
    pub fn ask_canaries(&mut self, check: &Check, first_at: Timestamp) {
        if self.rules.canaries.is_none() {
            return;
        }
        let (now, rules) = (self.at, self.rules);
        for (key, _) in of_class(rules, TargetClass::of(check.probe.host())) {
            let canary = self.world.canaries.entry(key.check.clone()).or_default();
            let is_answered = canary.last.is_some_and(|(asked, _)| asked >= first_at);
            let is_asked = canary.asked_at.is_some_and(|asked| asked >= first_at || now < time::plus(asked, AGAIN / 5));
            if is_answered || is_asked {
                continue;
            }
            canary.asked_at = Some(now);
            self.world.touch_canary(&key.check);
            self.step.requests.push(Request::Probe { check: key, at: now, priority: Priority::Canary });
        }
    }

    /// Until when the verdict of `check`, failing since `first_at`, waits for canaries; `None`: it
    /// need not.
    pub fn waits_for_canaries(&self, check: &Check, first_at: Timestamp) -> Option<Timestamp> {
        self.rules.canaries.as_ref()?;
        let mut proven = of_class(self.rules, TargetClass::of(check.probe.host()))
            .filter_map(|(key, _)| self.world.canaries.get(&key.check))
            .filter(|canary| canary.is_proven)
            .peekable();
        proven.peek()?;
        (!proven.any(|canary| canary.was_up_after(first_at))).then(|| time::plus(self.at, LONGEST_WAIT))
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
        canary.last = Some((asked, is_up));
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
        let class = TargetClass::of(check.probe.host());
        if is_up {
            self.see_again(class);
        } else {
            self.lose_sight_of_class(class);
        }
        self.release_all();
    }

    /// Blind for `class`, if every canary that counts fails.
    fn lose_sight_of_class(&mut self, class: TargetClass) {
        if self.world.head.blind.contains_key(&class) {
            return;
        }
        let rules = self.rules;
        let all = of_class(rules, class).filter_map(|(key, _)| self.world.canaries.get(&key.check));
        let proven: Vec<_> = all.filter(|canary| canary.is_proven).collect();
        if proven.is_empty() || proven.iter().any(|canary| canary.fails < ENOUGH) {
            return;
        }
        let since = proven.iter().filter_map(|canary| canary.failing_since).max().unwrap_or(self.at);
        self.world.head.blind.insert(class, since);
        self.world.touch_head();
        self.step.sights.push(Sight::Lost { class, since });
        for service in &rules.services {
            for (key, check) in service.enabled_checks() {
                if TargetClass::of(check.probe.host()) == class {
                    self.forget_until_seen(&key, since);
                }
            }
        }
    }

    /// What was known of a check is not known any more since `since`, or its last result after that.
    fn forget_until_seen(&mut self, key: &CheckKey, since: Timestamp) {
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

    /// A canary of `class` answers: whatever was unknown for it is probed anew.
    fn see_again(&mut self, class: TargetClass) {
        let Some(since) = self.world.head.blind.remove(&class) else { return };
        self.world.touch_head();
        self.step.sights.push(Sight::Regained { class, since });
        let rules = self.rules;
        for service in &rules.services {
            for (key, check) in service.enabled_checks() {
                if TargetClass::of(check.probe.host()) != class {
                    continue;
                }
                if let Some(state) = self.world.checks.get_mut(&key) {
                    // What began before was made in the dark.
                    state.after = state.after.max(Some(time::plus_ms(self.at, -1)));
                    self.world.touch_check(&key);
                }
                let (at, priority) = (self.at, Priority::PulledForward);
                self.step.requests.push(Request::Probe { check: key, at, priority });
            }
        }
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
            let mut all = of_class(rules, class).filter_map(|(key, _)| self.world.canaries.get(&key.check));
            if !all.any(|canary| canary.is_proven && canary.fails >= ENOUGH) {
                self.see_again(class);
            }
        }
    }

    /// We stood still, or the clock was moved: no canary was asked since.
    pub fn forget_questions(&mut self) {
        let ids: Vec<CheckId> = self.world.canaries.keys().cloned().collect();
        for id in ids {
            if let Some(canary) = self.world.canaries.get_mut(&id) {
                (canary.asked_at, canary.last) = (None, None);
            }
            self.world.touch_canary(&id);
        }
    }
}

/// Whether anything is said of a check at present.
fn state_is_known(service: Option<&super::service::ServiceState>, check: &CheckId) -> bool {
    service.is_some_and(|state| state.record.checks.get(check).is_some_and(|line| line.last().flatten().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_target_is_told_by_its_host() {
        for (host, class) in [
            ("127.0.0.1", TargetClass::Loopback),
            ("[::1]", TargetClass::Loopback),
            ("localhost", TargetClass::Loopback),
            ("api.localhost", TargetClass::Loopback),
            ("10.1.2.3", TargetClass::Private),
            ("192.168.0.9", TargetClass::Private),
            ("100.64.0.1", TargetClass::Private),
            ("fd00::1", TargetClass::Private),
            ("::ffff:10.0.0.1", TargetClass::Private),
            ("db", TargetClass::Private),
            ("db.internal", TargetClass::Private),
            ("printer.home.arpa", TargetClass::Private),
            ("192.0.2.1", TargetClass::Public),
            ("2001:db8::1", TargetClass::Public),
            ("api.example.org.", TargetClass::Public),
        ] {
            assert_eq!(TargetClass::of(host), class, "{host}");
        }
    }
}
