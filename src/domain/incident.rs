//! What went wrong, for how long, and what people said about it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus, id::UpdateId, note::Postmortem, outcome::Cause,
    text::LocalText,
};

/// One incident, whole. Every change gives it a greater `version`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Permanent.
    pub id: IncidentId,
    /// Grows with every change of anything in it.
    pub version: u64,
    /// Other ids that lead here.
    #[serde(default)]
    pub aliases: Vec<IncidentId>,
    /// Who opened it.
    pub origin: Origin,
    /// The operator's title; without one it is made of the root and the affected.
    pub title: Option<LocalText>,
    /// The service whose failure explains the others', once known.
    pub root: Option<ServiceId>,
    /// How far people are.
    pub status: IncidentStatus,
    /// How much it matters: the operator's word, else the worst that its services reached, each
    /// capped by its `max_impact`.
    pub impact: Impact,
    /// The operator's word for the impact.
    #[serde(default)]
    pub impact_override: Option<Impact>,
    /// When it began: the first failing probe, or what the operator says.
    pub started_at: Timestamp,
    /// When watchbell knew: the verdict, or the note.
    pub noticed_at: Timestamp,
    /// When it ended. Set exactly when `status` is no longer open.
    pub resolved_at: Option<Timestamp>,
    /// Every service that it ever touched, in the order of joining.
    pub affected: Vec<Affected>,
    /// What people said, oldest first.
    #[serde(default)]
    pub updates: Vec<Update>,
    /// What the monitor saw, oldest first.
    #[serde(default)]
    pub facts: Vec<Fact>,
    /// What was learned; a draft until its `published` time.
    #[serde(default)]
    pub postmortem: Option<Postmortem>,
    /// Whether it resolves itself.
    pub auto_resolve: bool,
    /// Taken off the site by its note.
    #[serde(default)]
    pub withdrawn: bool,
    /// How often it was reopened.
    #[serde(default)]
    pub reopened: u32,
}

impl Incident {
    /// Whether it is still going on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.status.is_open()
    }

    /// The part of `service` in it.
    #[must_use]
    pub fn part(&self, service: &ServiceId) -> Option<&Affected> {
        self.affected.iter().find(|part| part.service == *service)
    }

    /// The newest word of a person.
    #[must_use]
    pub fn latest_update(&self) -> Option<&Update> {
        self.updates.iter().filter(|update| !update.withdrawn).max_by_key(|update| (update.at, update.recorded_at))
    }

    /// The worst that any of its services is in now.
    #[must_use]
    pub fn worst_now(&self) -> ServiceStatus {
        self.affected.iter().map(|part| part.status).max().unwrap_or(ServiceStatus::Operational)
    }
}

/// Who opened an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Checks did.
    Automatic,
    /// A note did.
    Operator,
}

/// One service's part in an incident.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Affected {
    /// Which service.
    pub service: ServiceId,
    /// How it is now, as far as this incident goes; `operational` once recovered, `unknown` once
    /// no longer monitored.
    pub status: ServiceStatus,
    /// The worst that it was in.
    pub worst: ServiceStatus,
    /// When it began to suffer (the latest time, if it failed again).
    pub started_at: Timestamp,
    /// When it recovered; `None` while it suffers.
    pub recovered_at: Option<Timestamp>,
    /// Milliseconds affected in earlier rounds of the same incident.
    #[serde(default)]
    pub earlier_ms: u64,
    /// What its failing probes said.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// Whether a check of it failed since the incident began (else only a person says so).
    #[serde(default)]
    pub seen_failing: bool,
}

impl Affected {
    /// Milliseconds affected in all, by `now`.
    #[must_use]
    pub fn downtime_ms(&self, now: Timestamp) -> u64 {
        let end = self.recovered_at.unwrap_or(now);
        let ms = end.as_millisecond().saturating_sub(self.started_at.as_millisecond());
        self.earlier_ms.saturating_add(u64::try_from(ms).unwrap_or(0))
    }
}

/// One thing that a person said about an incident.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Update {
    /// Permanent.
    pub id: UpdateId,
    /// When it applies: as written, else when first seen.
    pub at: Timestamp,
    /// When watchbell first saw it.
    pub recorded_at: Timestamp,
    /// When its text last changed.
    pub changed_at: Timestamp,
    /// How far people are from here on.
    pub status: IncidentStatus,
    /// Markdown.
    pub text: LocalText,
    /// How services are from here on.
    #[serde(default)]
    pub affected: BTreeMap<ServiceId, ServiceStatus>,
    /// When the next word is promised.
    #[serde(default)]
    pub next_update_at: Option<Timestamp>,
    /// Whether anyone is told.
    pub notify: bool,
    /// Removed from its note, and so from the page.
    #[serde(default)]
    pub withdrawn: bool,
}

/// One thing that the monitor saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fact {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: FactKind,
}

/// What the monitor can say by itself on an incident's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum FactKind {
    /// The first probe of an outage failed.
    FirstFailure {
        /// Of this service.
        service: ServiceId,
    },
    /// Enough probes agreed.
    Confirmed {
        /// On this service.
        service: ServiceId,
        /// How many.
        probes: u32,
        /// And said this.
        cause: Option<Cause>,
    },
    /// Another service became affected.
    Joined {
        /// Which.
        service: ServiceId,
        /// Because it needs this one.
        needs: Option<ServiceId>,
    },
    /// A service got better or worse without recovering.
    Changed {
        /// Which.
        service: ServiceId,
        /// How it is now.
        status: ServiceStatus,
        /// How many of its checks are up.
        up: u32,
        /// Of how many.
        of: u32,
    },
    /// A service is back.
    Recovered {
        /// Which.
        service: ServiceId,
        /// After this many milliseconds.
        after_ms: u64,
    },
    /// A service failed again.
    Reopened {
        /// Which.
        service: ServiceId,
    },
    /// It failed for the third time in quick succession.
    Intermittent,
    /// What came and went has held for a while.
    Steady {
        /// Those that are still down; none: all are back.
        services: Vec<ServiceId>,
    },
    /// The root is back, and these that need it are not.
    LeftBehind {
        /// The root.
        root: ServiceId,
        /// Those that are not.
        services: Vec<ServiceId>,
    },
    /// A service is no longer in the config.
    NoLongerMonitored {
        /// Which.
        service: ServiceId,
    },
    /// All is over.
    Resolved,
}
