//! What really happened: written down by the one who makes it happen.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::support::target::Answered;

/// All that happened in one round.
#[derive(Clone, Default)]
pub struct Truth {
    /// In the order of their beginning.
    pub outages: Vec<Outage>,
    /// Each answer of each service.
    pub answered: BTreeMap<String, Vec<Answered>>,
    /// How many updates the operator wrote into the note of the incident by hand.
    pub words: usize,
    /// What the operator wrote into notes of other incidents, by id.
    pub remarks: BTreeMap<String, String>,
    /// Everyone who ever joined, by address.
    pub people: BTreeMap<String, Person>,
    /// When the program was killed.
    pub kills: Vec<Timestamp>,
    /// How often the machine let the program stand still or a probe time out: times are not exact then.
    pub stalls: usize,
}

/// One outage: when the service failed, and when it was well again.
#[derive(Clone, Debug)]
pub struct Outage {
    pub service: String,
    pub failed_at: Timestamp,
    pub well_at: Timestamp,
}

/// Somebody who joined, and perhaps left.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "instants end in `_at`")]
pub struct Person {
    /// When that was acknowledged; `None`: it never was.
    pub joined_at: Option<Timestamp>,
    /// When leaving was first asked for.
    pub leaving_at: Option<Timestamp>,
    /// When that was acknowledged.
    pub left_at: Option<Timestamp>,
}

impl Truth {
    /// Whether it was killed between the two.
    pub fn was_killed(&self, from: Timestamp, to: Timestamp) -> bool {
        self.kills.iter().any(|at| from <= *at && *at <= to)
    }
}
