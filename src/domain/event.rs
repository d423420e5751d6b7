//! What is told: one event for each thing that happened to an incident.
//!
//! An event is written in the transaction of the change that it tells of. Until `seals_at` others
//! may join it; then it is frozen, and everything told of it derives from what it holds.

use std::{fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    EventId, Impact, IncidentId, IncidentStatus, ServiceId,
    incident::{Affected, FactKind, Incident, Update},
    text::LocalText,
};

/// Whoever asked the time and then read what was recorded meanwhile is behind it, but by less.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(2);

/// One thing that happened to one incident.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// Permanent: the feed entry's id and the Message-IDs come from it.
    pub id: EventId,
    /// What kind of thing.
    pub kind: EventKind,
    /// Whose.
    pub incident: IncidentId,
    /// When it happened, as people should read it: backdated where that is known.
    pub at: Timestamp,
    /// When it was recorded: the order of feeds.
    pub recorded_at: Timestamp,
    /// From when on it is frozen and told.
    pub seals_at: Timestamp,
    /// The services that it is about; whoever follows one of them is told.
    pub services: Vec<ServiceId>,
    /// Whether subscribers and channels are told (feeds carry it anyway).
    pub notify: bool,
    /// The incident as it was then.
    pub view: IncidentView,
    /// The update that it tells of, for [`EventKind::Updated`] and whatever came with one.
    #[serde(default)]
    pub update: Option<Update>,
    /// What the monitor says with it, for an update that nobody wrote.
    #[serde(default)]
    pub fact: Option<FactKind>,
}

impl Event {
    /// Tells of the incident as it is known by now: it may have begun earlier than was thought.
    pub fn look(&mut self, view: IncidentView) {
        if self.kind == EventKind::Opened {
            self.at = self.at.min(view.started_at);
        }
        self.view = view;
    }

    /// Whether nothing can join it any more.
    #[must_use]
    pub fn is_sealed(&self, now: Timestamp) -> bool {
        self.seals_at <= now || self.is_of_old_clock(now)
    }

    /// Whether it was recorded in what is the future again: the clock was set back since, and
    /// whatever the event waited for then is over. Not so if `now` was only asked a moment before.
    #[must_use]
    pub fn is_of_old_clock(&self, now: Timestamp) -> bool {
        self.recorded_at.duration_since(now) > CLOCK_SLACK && self.seals_at >= self.recorded_at
    }
}

/// What a message needs to know of an incident at the time of an event.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
pub struct IncidentView {
    /// The operator's title.
    pub title: Option<LocalText>,
    /// The service whose failure explains the others'.
    pub root: Option<ServiceId>,
    /// How far people are.
    pub status: IncidentStatus,
    /// How much it matters.
    pub impact: Impact,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// Every service that it touched so far.
    pub affected: Vec<Affected>,
}

impl From<&Incident> for IncidentView {
    fn from(incident: &Incident) -> Self {
        Self {
            title: incident.title.clone(),
            root: incident.root.clone(),
            status: incident.status,
            impact: incident.impact,
            started_at: incident.started_at,
            resolved_at: incident.resolved_at,
            affected: incident.affected.clone(),
        }
    }
}

/// The kinds of events of an incident (spec, section 1). Maintenance will add its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It began.
    Opened,
    /// A service became affected.
    Joined,
    /// One service is back; the incident is not over.
    Recovered,
    /// A person said something.
    Updated,
    /// It is over.
    Resolved,
    /// It failed again.
    Reopened,
    /// It comes and goes.
    Intermittent,
    /// It was written up.
    Postmortem,
    /// It was taken off the site.
    Withdrawn,
}

impl EventKind {
    /// The word for it in JSON and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Joined => "joined",
            Self::Recovered => "recovered",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
            Self::Reopened => "reopened",
            Self::Intermittent => "intermittent",
            Self::Postmortem => "postmortem",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A word that is no kind of event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of event")]
pub struct UnknownKind(pub String);

impl FromStr for EventKind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        Ok(match word {
            "opened" => Self::Opened,
            "joined" => Self::Joined,
            "recovered" => Self::Recovered,
            "updated" => Self::Updated,
            "resolved" => Self::Resolved,
            "reopened" => Self::Reopened,
            "intermittent" => Self::Intermittent,
            "postmortem" => Self::Postmortem,
            "withdrawn" => Self::Withdrawn,
            _ => return Err(UnknownKind(word.to_owned())),
        })
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_while_somebody_looked_at_the_clock_is_not_sealed_but_the_future_is() {
        let at = |ms: i64| Timestamp::from_millisecond(1_795_255_200_000 + ms).unwrap();
        let event = Event {
            id: EventId::new(at(0), [7; 10]),
            kind: EventKind::Updated,
            incident: IncidentId::new("by-hand").unwrap(),
            at: at(0),
            recorded_at: at(0),
            seals_at: at(30_000),
            services: Vec::new(),
            notify: true,
            view: IncidentView {
                title: None,
                root: None,
                status: IncidentStatus::Investigating,
                impact: Impact::Minor,
                started_at: at(0),
                resolved_at: None,
                affected: Vec::new(),
            },
            update: None,
            fact: None,
        };
        assert!(!event.is_sealed(at(-3)), "the time was asked just before");
        assert!(!event.is_sealed(at(29_999)));
        assert!(event.is_sealed(at(30_000)));
        assert!(event.is_sealed(at(-7_200_000)), "the clock was set back by hours");
    }
}
