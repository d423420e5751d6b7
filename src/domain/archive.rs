//! What publishing may ask of the past: the store answers, the site asks.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus, correction::Correction, event::Event,
    incident::Incident, span::Span, target::TargetClass,
};

/// Why an archive could not answer.
#[derive(Debug, thiserror::Error)]
#[error("the store could not be read: {0}")]
pub struct ArchiveError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Committed facts, read-only. One value sees one moment: two calls never contradict each other.
pub trait Archive {
    /// How each service is now, in no particular order; services never judged are missing.
    ///
    /// # Errors
    /// If the store cannot be read; so for every method.
    fn services(&self) -> Result<Vec<ServiceNow>, ArchiveError>;

    /// The heads of all incidents, withdrawn ones included, newest start first.
    fn heads(&self) -> Result<Vec<Head>, ArchiveError>;

    /// One incident, whole.
    fn incident(&self, id: &IncidentId) -> Result<Option<Incident>, ArchiveError>;

    /// A service's spans that reach into `[from, to)`, corrected, oldest first, uncut.
    fn spans(&self, service: &ServiceId, from: Timestamp, to: Timestamp) -> Result<Vec<Span>, ArchiveError>;

    /// The newest `limit` events recorded at or after `since` (all times if `None`), of one
    /// service or of all, newest first by recording.
    fn events(
        &self,
        service: Option<&ServiceId>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Event>, ArchiveError>;

    /// The corrections in force of one service or of all, oldest first for each. [`Self::spans`]
    /// have them in already.
    fn corrections(&self, service: Option<&ServiceId>) -> Result<Vec<Correction>, ArchiveError> {
        let _ = service;
        Ok(Vec::new())
    }

    /// Response times of a service in buckets of `width` from `from` on, oldest first; buckets
    /// without a good answer are missing.
    fn latency(
        &self,
        service: &ServiceId,
        from: Timestamp,
        to: Timestamp,
        width: Duration,
    ) -> Result<Vec<LatencyPoint>, ArchiveError>;

    /// Since when targets of which classes cannot be seen, because the monitor itself is cut off.
    fn blind(&self) -> Result<BTreeMap<TargetClass, Timestamp>, ArchiveError> {
        Ok(BTreeMap::new())
    }

    /// A counter that grows with every commit that could change a page.
    fn revision(&self) -> Result<u64, ArchiveError>;

    /// What changed after `revision`; `None` if that cannot be told, and all must be read again.
    fn changes(&self, revision: u64) -> Result<Option<Changes>, ArchiveError> {
        let _ = revision;
        Ok(None)
    }

    /// A word that was made up once and is kept for ever, such as who mints the ids of feeds.
    fn minted(&self, name: &str) -> Result<Option<String>, ArchiveError> {
        let _ = name;
        Ok(None)
    }
}

/// What changed between two revisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Services whose state or spans changed, as they are now: without a state, those that were
    /// never judged.
    pub services: Vec<(ServiceId, Option<ServiceNow>)>,
    /// Incidents that are new or changed.
    pub heads: Vec<Head>,
    /// Events that are new or changed, each with its place in the order of recording, oldest first.
    pub events: Vec<(u64, Event)>,
}

/// How a service is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNow {
    /// Which.
    pub service: ServiceId,
    /// How it is.
    pub status: ServiceStatus,
    /// Since when.
    pub since: Timestamp,
    /// How many of its checks are up or degraded.
    pub checks_up: u32,
    /// Of how many that are known.
    pub checks_known: u32,
    /// When it was last probed; `None`: notes alone set its status.
    pub last_result_at: Option<Timestamp>,
}

/// Enough of an incident to list it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its permanent name.
    pub id: IncidentId,
    /// Other ids that lead to it.
    pub aliases: Vec<IncidentId>,
    /// Grows with every change.
    pub version: u64,
    /// How far people are.
    pub status: IncidentStatus,
    /// How much it matters.
    pub impact: Impact,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// Every service that it touched.
    pub services: Vec<ServiceId>,
    /// Taken off the site.
    pub withdrawn: bool,
}

impl From<&Incident> for Head {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id.clone(),
            aliases: incident.aliases.clone(),
            version: incident.version,
            status: incident.status,
            impact: incident.impact,
            started_at: incident.started_at,
            resolved_at: incident.resolved_at,
            services: incident.affected.iter().map(|part| part.service.clone()).collect(),
            withdrawn: incident.withdrawn,
        }
    }
}

/// Response times within one bucket, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyPoint {
    /// The bucket's start.
    pub at: Timestamp,
    /// Median.
    pub p50_us: u32,
    /// 95th percentile.
    pub p95_us: u32,
    /// How many good answers.
    pub count: u32,
}
