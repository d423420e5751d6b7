//! A case: an incident with what the judge must remember of it besides what people see.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{
    IncidentId, ServiceId,
    event::Event,
    id::UpdateId,
    incident::{FactKind, Incident},
};

/// An incident, and what the judge remembers of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "five things that happen or not, in any combination")]
pub(super) struct Case {
    /// What people see.
    pub incident: Incident,
    /// The notes that speak of it: its own first, then those whose names became aliases.
    #[serde(default)]
    pub notes: Vec<IncidentId>,
    /// Its updates in the order of the file, and whether the file says when each was.
    #[serde(default)]
    pub written: Vec<(UpdateId, bool)>,
    /// When the present round began: the start, or the latest reopening.
    pub round_from: Timestamp,
    /// Events that may still change.
    #[serde(default)]
    pub unsealed: Vec<Event>,
    /// Since when the operator says that it is over, while a check is still down.
    #[serde(default)]
    pub declared_over_at: Option<Timestamp>,
    /// The operator opened it again: no check that failed before then may end it.
    #[serde(default)]
    pub is_revived: bool,
    /// The note's `resolved` that was acted on.
    #[serde(default)]
    pub resolved_seen: Option<Timestamp>,
    /// It was long past when first written: nobody is told of it unless checks fail.
    #[serde(default)]
    pub is_quiet: bool,
    /// Its note says that nobody is to be told: only feeds are.
    #[serde(default)]
    pub is_silenced: bool,
    /// Somebody was told of it.
    #[serde(default)]
    pub is_told: bool,
    /// Its root is back: those that need it and are not by then are named.
    #[serde(default)]
    pub stragglers_at: Option<Timestamp>,
    /// How often each service came back and failed again in quick succession.
    #[serde(default)]
    pub flaps: BTreeMap<ServiceId, u32>,
    /// How often all of it was over and failed again.
    #[serde(default)]
    pub rounds: u32,
    /// It comes and goes: it is steady if nothing changes until then.
    #[serde(default)]
    pub steady_at: Option<Timestamp>,
    /// The promise of a next update whose being overdue operators were told of.
    #[serde(default)]
    pub overdue_told: Option<Timestamp>,
    /// Its postmortem was made known.
    #[serde(default)]
    pub is_written_up: bool,
}

/// Whether a fact says more than that something failed or came back once again.
const fn is_no_flap(what: &FactKind) -> bool {
    match what {
        FactKind::FirstFailure { .. }
        | FactKind::Confirmed { .. }
        | FactKind::Changed { .. }
        | FactKind::Recovered { .. }
        | FactKind::Reopened { .. }
        | FactKind::Resolved => false,
        FactKind::Joined { .. }
        | FactKind::Intermittent
        | FactKind::Steady { .. }
        | FactKind::LeftBehind { .. }
        | FactKind::NoLongerMonitored { .. } => true,
    }
}

impl Case {
    /// A case of which nothing was told yet.
    pub fn new(incident: Incident) -> Self {
        Self {
            round_from: incident.started_at,
            incident,
            notes: Vec::new(),
            written: Vec::new(),
            unsealed: Vec::new(),
            declared_over_at: None,
            is_revived: false,
            resolved_seen: None,
            is_quiet: false,
            is_silenced: false,
            is_told: false,
            stragglers_at: None,
            flaps: BTreeMap::new(),
            rounds: 0,
            steady_at: None,
            overdue_told: None,
            is_written_up: false,
        }
    }

    /// Whether time or results may still change it.
    pub fn is_live(&self) -> bool {
        self.incident.is_open() || self.publish_at().is_some() || self.steady_at.is_some()
    }

    /// While it comes and goes, each time is in the record of its services; the story of the
    /// incident would only grow without telling more.
    pub fn forget_flapping(&mut self) {
        let facts = &mut self.incident.facts;
        let Some(from) = facts.iter().rposition(|fact| fact.what == FactKind::Intermittent) else { return };
        if self.steady_at.is_none() {
            return;
        }
        let mut place = 0;
        facts.retain(|fact| {
            place += 1;
            place <= from + 1 || is_no_flap(&fact.what)
        });
    }

    /// It no longer comes and goes: further outages are counted anew.
    pub fn forget_flaps(&mut self) {
        self.steady_at = None;
        self.rounds = 0;
        self.flaps.clear();
    }

    /// When people promised to say more, unless operators were told already that they did not.
    pub fn promised_at(&self) -> Option<Timestamp> {
        let incident = Some(&self.incident).filter(|it| it.is_open() && !it.withdrawn)?;
        incident.latest_update()?.next_update_at.filter(|at| self.overdue_told != Some(*at))
    }

    /// When time alone changes it next.
    pub fn wake_at(&self) -> Option<Timestamp> {
        [self.publish_at(), self.stragglers_at, self.steady_at, self.promised_at()].into_iter().flatten().min()
    }

    /// When its postmortem is to be made known.
    pub fn publish_at(&self) -> Option<Timestamp> {
        let incident = &self.incident;
        if self.is_written_up || incident.is_open() || incident.withdrawn {
            return None;
        }
        incident.postmortem.as_ref()?.published
    }
}
