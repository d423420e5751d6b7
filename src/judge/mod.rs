//! The judge: decides what results and notes mean. Pure: rules, state, input and time in; events,
//! decisions with reasons, and requests out. It probes, stores, publishes and sends nothing.
//!
//! ```text
//! Outcome ─> check.rs ─> verdict ─┐
//!                                 ├─> uptime.rs ─> service.rs ─> incidents.rs (correlate.rs) ─┐
//! Note ─> operator.rs ─> claims.rs ┘   spans        status                                     ├─> telling.rs ─> events
//!            └───────────────────────────────────────────────────────────────────────────────┘
//! ```

mod blindness;
mod cascade;
mod case;
mod check;
mod claims;
mod correlate;
mod flapping;
mod incidents;
mod merge;
mod notes;
mod operator;
mod planned;
mod service;
#[cfg(test)]
mod stories;
#[cfg(test)]
pub(crate) mod story;
mod stragglers;
mod telling;
mod time;
mod turn;
mod updates;
mod uptime;
mod world;

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use blindness::Sight;
pub use check::Verdict;
pub use world::{RestoreError, Row, World};

use crate::domain::{
    CheckKey, IncidentId, ServiceId,
    archive::ServiceNow,
    event::Event,
    incident::Incident,
    maintenance::Window,
    note::Note,
    outcome::{Cause, Outcome},
    service::Rules,
    span::SpanEdit,
    target::TargetClass,
};

/// What the judge is given.
#[derive(Clone, Debug)]
pub enum Input {
    /// A probe came back.
    Outcome {
        /// Whose.
        check: CheckKey,
        /// With what.
        outcome: Outcome,
    },
    /// A note is new, or its content changed.
    Note(Box<Note>),
    /// Planned work is new, or was changed.
    Maintenance(Box<Window>),
    /// The rules were loaded anew: the first input after a start or reload.
    Rules,
    /// The process or the machine stood still, or the clock jumped.
    Suspended,
    /// Nothing but time passed.
    Tick,
}

/// All that follows from one input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Incidents that are new or changed, whole.
    pub incidents: Vec<Incident>,
    /// Incidents that became part of another: the id of the first leads to the second from now on.
    pub merged: Vec<(IncidentId, IncidentId)>,
    /// New events.
    pub events: Vec<Event>,
    /// Events that are not sealed yet and changed: same id, new content.
    pub amended: Vec<Event>,
    /// Changes of the record of each service's status.
    pub spans: Vec<SpanEdit>,
    /// Services whose present state changed.
    pub services: Vec<ServiceNow>,
    /// Since when targets of which classes cannot be seen, if that changed.
    pub blind: Option<BTreeMap<TargetClass, Timestamp>>,
    /// Why things were decided as they were.
    pub decisions: Vec<Decision>,
    /// What the judge cannot do itself.
    pub requests: Vec<Request>,
    /// What only operators are told.
    pub sights: Vec<Sight>,
}

impl Step {
    /// Whether anyone but the operator's log could tell that it happened.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        let Self {
            incidents,
            merged: _,
            events,
            amended,
            spans,
            services,
            blind,
            decisions: _,
            requests: _,
            sights: _,
        } = self;
        let is_still = incidents.is_empty() && events.is_empty() && amended.is_empty();
        !(is_still && spans.is_empty() && services.is_empty() && blind.is_none())
    }

    /// Takes in what follows from the next input, so that both can be written as one. Of what changed
    /// twice the newest stays: in a storm, each of a thousand steps has the whole incident.
    pub fn absorb(&mut self, next: Self) {
        let Self { incidents, merged, events, amended, spans, services, blind, decisions, requests, sights } = next;
        for incident in incidents {
            match self.incidents.iter_mut().find(|known| known.id == incident.id) {
                Some(known) => *known = incident,
                None => self.incidents.push(incident),
            }
        }
        self.events.extend(events);
        for event in amended {
            let mut known = self.events.iter_mut().chain(&mut self.amended).rev();
            match known.find(|known| known.id == event.id) {
                Some(known) => *known = event,
                None => self.amended.push(event),
            }
        }
        self.merged.extend(merged);
        self.spans.extend(spans);
        self.services.extend(services);
        self.blind = blind.or(self.blind.take());
        self.decisions.extend(decisions);
        self.requests.extend(requests);
        self.sights.extend(sights);
    }
}

/// Takes one input at `at`: changes `world`, and says all that follows.
///
/// The same rules, world, input and time always give the same step. [`Input::Rules`] comes first
/// after a start and after each change of the rules.
pub fn step(rules: &Rules, world: &mut World, input: Input, at: Timestamp) -> Step {
    turn::Turn::new(rules, world, crate::clock::to_millis(at)).take(input)
}

/// One decision, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// On what.
    pub service: ServiceId,
    /// The check whose result led to it, if one did.
    #[serde(default)]
    pub check: Option<CheckKey>,
    /// Of which incident's story it is part: those are kept, the others only counted.
    #[serde(default)]
    pub incident: Option<IncidentId>,
    /// What was decided, and why.
    pub reason: Reason,
}

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Failing, but not often enough yet.
    BelowThreshold {
        /// So many in a row.
        seen: u32,
        /// Of so many.
        needed: u32,
        /// What this one said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// Enough failures in a row.
    Down {
        /// How many.
        probes: u32,
        /// What the last one said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// Enough successes in a row.
    Up {
        /// How many.
        probes: u32,
    },
    /// Enough slow answers in a row.
    Degraded {
        /// How many.
        probes: u32,
    },
    /// A run of failures ended before the verdict.
    Blip {
        /// After so many.
        seen: u32,
    },
    /// A run of successes did.
    Relapsed {
        /// After so many.
        seen: u32,
    },
    /// A new incident.
    Opened,
    /// Part of an incident that is open.
    Joined,
    /// Part of an open incident, for one needs the other.
    JoinedCascade {
        /// The service whose failure explains the others'.
        root: ServiceId,
    },
    /// Part of an incident that began just before in the same group, on the same host, or with
    /// the same dependency.
    JoinedRelated,
    /// Part of an incident that began just before, for so many services fail at once.
    JoinedStorm {
        /// How many.
        services: u32,
    },
    /// Another incident turned out to be the same.
    Merged {
        /// What leads here from now on.
        from: IncidentId,
    },
    /// Its root is back, and it is not.
    LeftBehind {
        /// The root.
        root: ServiceId,
    },
    /// An incident that was just over goes on.
    Reopened,
    /// It failed for the third time in quick succession.
    Intermittent,
    /// Nobody is told, for it comes and goes.
    NotTold,
    /// What came and went has held for a while.
    Steady {
        /// How many of its services are still down.
        down: u32,
    },
    /// All its services are back.
    Resolved,
    /// All its services are back, but its note says to wait for the operator.
    WaitsForOperator,
    /// The operator says it is over, but a check is still down.
    StillDown,
    /// People promised to say more by then and did not: operators and owners are told.
    Overdue {
        /// By when.
        promised_at: Timestamp,
    },
    /// Nobody has looked for too long.
    NoRecentData,
    /// Its service is no longer configured.
    NoLongerMonitored,
    /// It failed often enough, but something that it needs may explain it: that is decided first.
    WaitsForAncestor {
        /// The service in question.
        ancestor: ServiceId,
    },
    /// It failed often enough, but it may be us: a canary is asked first.
    WaitsForCanary,
    /// No canary answers: we cannot see.
    Blind,
    /// It fails, but work on it is planned.
    Planned,
    /// The result says nothing about the target.
    NotCounted,
}

impl Reason {
    /// What the probe said that led to it.
    #[must_use]
    pub const fn cause(&self) -> Option<&Cause> {
        match self {
            Self::BelowThreshold { cause, .. } | Self::Down { cause, .. } => cause.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowThreshold { seen, needed, .. } => write!(f, "not yet decided: {seen} of {needed} probes agree"),
            Self::Down { probes, .. } => write!(f, "down: {probes} probes in a row failed"),
            Self::Up { probes } => write!(f, "up: {probes} probes in a row succeeded"),
            Self::Degraded { probes } => write!(f, "slow: {probes} probes in a row took too long"),
            Self::Blip { seen } => write!(f, "nothing: it was good again after {seen} failed"),
            Self::Relapsed { seen } => write!(f, "nothing: it failed again after {seen} succeeded"),
            Self::Opened => f.write_str("a new incident"),
            Self::Joined => f.write_str("part of this incident"),
            Self::JoinedCascade { root } => write!(f, "part of this incident: it goes back to {root}"),
            Self::JoinedRelated => f.write_str("part of this incident: related, and at the same time"),
            Self::JoinedStorm { services } => write!(f, "part of this incident: {services} services fail at once"),
            Self::Merged { from } => write!(f, "the incident {from} is the same: it leads here from now on"),
            Self::LeftBehind { root } => write!(f, "still failing, although {root}, which it needs, is back"),
            Self::Reopened => f.write_str("failing again: the incident goes on"),
            Self::Intermittent => f.write_str("it comes and goes: told once, then only the site follows"),
            Self::NotTold => f.write_str("nobody is told: it comes and goes"),
            Self::Steady { down: 0 } => f.write_str("steady again: everything is back, and has been for a while"),
            Self::Steady { down } => write!(f, "steady again: {down} of its services have been down for a while"),
            Self::Resolved => f.write_str("over: everything affected is back"),
            Self::WaitsForOperator => f.write_str("everything is back; its note leaves the end to the operator"),
            Self::StillDown => f.write_str("the operator says it is over, but a check is still down"),
            Self::Overdue { promised_at } => {
                write!(
                    f,
                    "the next update was promised for {promised_at} and did not come: operators and owners are told"
                )
            }
            Self::NoRecentData => f.write_str("nobody has looked for too long"),
            Self::NoLongerMonitored => f.write_str("no longer in the config"),
            Self::WaitsForAncestor { ancestor } => write!(f, "waits: {ancestor}, which it needs, is in question"),
            Self::WaitsForCanary => f.write_str("waits: a canary must show that it is not us"),
            Self::Blind => f.write_str("unknown: no canary answers, so it may be us"),
            Self::Planned => f.write_str("opens nothing: planned work goes on"),
            Self::NotCounted => f.write_str("not counted: the result says nothing about the target"),
        }
    }
}

/// What the judge cannot do itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Probe this check at that time instead of at its turn, if that is sooner.
    Probe {
        /// Which.
        check: CheckKey,
        /// When.
        at: Timestamp,
        /// How urgent.
        priority: Priority,
    },
}

/// How urgent a probe is, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Is it us?
    Canary,
    /// A verdict waits for it.
    Recheck,
    /// A related check failed.
    PulledForward,
    /// Its turn.
    Regular,
}
