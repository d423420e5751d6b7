//! The scripted network: what a probe of each target finds.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{Dice, Script};
use crate::domain::{
    CheckKey, ServiceId,
    outcome::{Cause, CheckResult, Class, Outcome, Phases},
    service::Check,
};

/// How long a healthy target takes.
const USUAL: Duration = Duration::from_millis(80);

/// How a target behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As expected, after so long: slow if that is more than the check's `degraded_over`.
    Up(Duration),
    /// Nothing listens, or whatever else is found at once.
    Fails(Cause),
    /// No answer within the check's time.
    Hangs,
    /// The probe cannot be made at all.
    OursFails,
    /// As expected, but of a thousand probes so many are lost on the way.
    Loses(u16),
}

/// As expected, and quickly.
#[must_use]
pub const fn up() -> Behaviour {
    Behaviour::Up(USUAL)
}

/// As expected, after so long.
#[must_use]
pub const fn slow(latency: Duration) -> Behaviour {
    Behaviour::Up(latency)
}

/// Nothing listens there.
#[must_use]
pub fn refuses() -> Behaviour {
    Behaviour::Fails(Class::ConnectRefused.into())
}

/// Answers, but with that status.
#[must_use]
pub fn answers(http_status: u16) -> Behaviour {
    Behaviour::Fails(Cause { http_status: Some(http_status), ..Class::HttpStatus.into() })
}

/// Does not answer in time.
#[must_use]
pub const fn times_out() -> Behaviour {
    Behaviour::Hangs
}

/// All targets, each with its script.
#[derive(Clone, Debug)]
pub(super) struct Network {
    services: BTreeMap<ServiceId, Script<Behaviour>>,
    checks: BTreeMap<CheckKey, Script<Behaviour>>,
    usual: Script<Behaviour>,
}

impl Default for Network {
    fn default() -> Self {
        Self { services: BTreeMap::new(), checks: BTreeMap::new(), usual: Script::new(up()) }
    }
}

impl Network {
    /// From `moment` on all checks of a service find this.
    pub fn set_service(&mut self, service: &ServiceId, moment: Duration, behaviour: Behaviour) {
        self.services.entry(service.clone()).or_insert_with(|| Script::new(up())).set(moment, behaviour);
    }

    /// From `moment` on one check finds this, whatever the others find.
    pub fn set_check(&mut self, check: &CheckKey, moment: Duration, behaviour: Behaviour) {
        self.checks.entry(check.clone()).or_insert_with(|| Script::new(up())).set(moment, behaviour);
    }

    /// What is true of a check's target.
    pub fn script(&self, check: &CheckKey) -> &Script<Behaviour> {
        self.checks.get(check).or_else(|| self.services.get(&check.service)).unwrap_or(&self.usual)
    }

    /// What a probe finds that begins now.
    pub fn probe(
        &self,
        key: &CheckKey,
        check: &Check,
        moment: Duration,
        started_at: Timestamp,
        dice: &mut Dice,
    ) -> Outcome {
        let (cause, latency) = match *self.script(key).at(moment) {
            Behaviour::Up(latency) if latency >= check.timeout => (Some(too_late(check)), check.timeout),
            Behaviour::Up(latency) => (slow_by(check, latency), latency),
            Behaviour::Fails(Cause { class: Class::ConnectTimeout, .. }) => {
                (Some(Cause { class: Class::ConnectTimeout, ..too_late(check) }), check.timeout)
            }
            Behaviour::Fails(cause) => (Some(cause), USUAL),
            Behaviour::Hangs => (Some(too_late(check)), check.timeout),
            Behaviour::OursFails => (Some(Class::Local.into()), Duration::from_millis(1)),
            Behaviour::Loses(of_thousand) if dice.below(1000) < u64::from(of_thousand) => {
                (Some(too_late(check)), check.timeout)
            }
            Behaviour::Loses(_) => (slow_by(check, USUAL), USUAL),
        };
        outcome(cause, started_at, latency)
    }

    /// What becomes of a probe under way while the machine stands still.
    pub fn cut(key_started_at: Timestamp, latency: Duration) -> Outcome {
        outcome(Some(Class::Reset.into()), key_started_at, latency)
    }
}

fn too_late(check: &Check) -> Cause {
    Cause { limit_ms: u32::try_from(check.timeout.as_millis()).ok(), ..Class::Timeout.into() }
}

fn slow_by(check: &Check, latency: Duration) -> Option<Cause> {
    let limit = check.degraded_over.filter(|limit| latency > *limit)?;
    Some(Cause { limit_ms: u32::try_from(limit.as_millis()).ok(), ..Class::Slow.into() })
}

fn outcome(cause: Option<Cause>, started_at: Timestamp, latency: Duration) -> Outcome {
    let result = match cause.map(|cause| cause.class) {
        None => CheckResult::Up,
        Some(Class::Slow) => CheckResult::Degraded,
        Some(Class::Local) => CheckResult::Unknown,
        Some(_) => CheckResult::Down,
    };
    Outcome { result, cause, started_at, latency, phases: Phases::default(), detail: None }
}
