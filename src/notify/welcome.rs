//! What of all that goes on is somebody's own, who has just confirmed: they find it in their welcome,
//! and hear of what follows as if they had been told from the beginning. Pure.

use std::sync::Arc;

use super::recipient::{Directory, Recipient};
use crate::domain::{EventId, event::Event, incident::Incident, subscriber::Wants};

/// Of `open` incidents, each with its newest event, those that `wants` asks for.
#[must_use]
pub fn theirs(wants: &Wants, directory: &Directory, open: &[(Incident, Arc<Event>)]) -> Vec<EventId> {
    let recipient = Recipient { wants, directory };
    let is_theirs = |incident: &Incident, event: &Event| {
        wants.incidents
            && !incident.withdrawn
            && recipient.parts(&event.view.affected).next().is_some()
            && !recipient.is_over(&event.view)
            && recipient.impact(incident) >= wants.min_impact
    };
    open.iter().filter(|(incident, event)| is_theirs(incident, event)).map(|(_, event)| event.id).collect()
}
