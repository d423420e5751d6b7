//! What an operator wrote about an incident, as read from its file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus, text::LocalText};

/// One file of `notes/incidents/`, valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// The file's name without `.toml`.
    pub id: IncidentId,
    /// Replaces the automatic title.
    pub title: Option<LocalText>,
    /// Replaces the automatic impact.
    pub impact: Option<Impact>,
    /// Affected, besides those that checks find; may be empty for an automatic incident's note.
    pub services: Vec<ServiceId>,
    /// Earlier than any probe saw it.
    pub started: Option<Timestamp>,
    /// Acts once, when first seen.
    pub resolved: Option<Timestamp>,
    /// Overrides `[incidents] auto_resolve`.
    pub auto_resolve: Option<bool>,
    /// Wins over the services' checks.
    pub is_override: bool,
    /// Takes the incident off the site.
    pub withdrawn: bool,
    /// `Some(true)`: tell even of what is long past; `Some(false)`: tell nobody.
    pub notify: Option<bool>,
    /// In the order of the file.
    pub updates: Vec<NoteUpdate>,
    /// What was learned.
    pub postmortem: Option<Postmortem>,
}

impl Note {
    /// A note that says nothing, as an automatic incident's file does until somebody writes into it.
    #[must_use]
    pub fn blank(id: IncidentId) -> Self {
        Self {
            id,
            title: None,
            impact: None,
            services: Vec::new(),
            started: None,
            resolved: None,
            auto_resolve: None,
            is_override: false,
            withdrawn: false,
            notify: None,
            updates: Vec::new(),
            postmortem: None,
        }
    }
}

/// One `[[update]]` of a note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteUpdate {
    /// Without it: when first seen.
    pub at: Option<Timestamp>,
    /// Without it: as before.
    pub status: Option<IncidentStatus>,
    /// Markdown.
    pub text: LocalText,
    /// How services are from here on.
    pub affected: BTreeMap<ServiceId, ServiceStatus>,
    /// Milliseconds after `at` until the next word is promised.
    pub next_update_ms: Option<u64>,
    /// Whether anyone is told.
    pub notify: bool,
}

/// What was learned from an incident. Every text is markdown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postmortem {
    /// From when on it is public; without it, a draft.
    pub published: Option<Timestamp>,
    /// Headed texts in the order of the page: `summary`, `impact`, `root_cause`, `trigger`,
    /// `detection`, `resolution`, `leadup`, `response`, `recovery`, `supporting`.
    pub sections: Vec<(String, LocalText)>,
    /// Each answers why of the one before.
    pub five_whys: Vec<String>,
    /// What helped.
    pub went_well: Vec<String>,
    /// What did not.
    pub went_wrong: Vec<String>,
    /// What could have been worse.
    pub got_lucky: Vec<String>,
    /// What is known now.
    pub learned: Vec<String>,
    /// Oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// What follows.
    pub actions: Vec<Action>,
}

/// The text sections of a postmortem, in the order of the page.
pub const POSTMORTEM_SECTIONS: &[&str] = &[
    "summary",
    "impact",
    "leadup",
    "trigger",
    "root_cause",
    "detection",
    "response",
    "resolution",
    "recovery",
    "supporting",
];

/// One line of a postmortem's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub text: String,
    /// A turning point, such as "outage begins".
    pub mark: Option<String>,
}

/// Something to be done because of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What.
    pub text: String,
    /// Such as `prevent`, `mitigate`, `process`, `detect`.
    pub kind: Option<String>,
    /// A role; shown as written.
    pub owner: Option<String>,
    /// Such as `done`, `in progress`, `to do`.
    pub status: Option<String>,
    /// Where it is followed.
    pub url: Option<String>,
}
