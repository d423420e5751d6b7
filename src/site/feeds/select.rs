//! Which events and incidents stand in a feed.
//!
//! Nothing here depends on the present beyond what is sealed by now: while nothing happens, the
//! same entries stand.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    IncidentId,
    event::{Event, EventKind},
    incident::Incident,
};

/// So many entries stand in every feed, if there are as many.
pub const LEAST: usize = 50;
/// No feed has more: ask the archive for so many.
pub const MOST: usize = 500;
/// Whatever was recorded within it before the newest entry stands too, up to [`MOST`].
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// Whether readers see it yet. What the monitor saw is shown at once; what a person wrote rests
/// until it is told.
#[must_use]
pub fn is_shown(event: &Event, now: Timestamp) -> bool {
    let is_from_people = event.update.is_some() || matches!(event.kind, EventKind::Updated | EventKind::Postmortem);
    !is_from_people || event.is_sealed(now)
}

/// When the next of `events` begins to be shown: publish again then.
#[must_use]
pub fn next_shown_at(events: &[Event], now: Timestamp) -> Option<Timestamp> {
    events.iter().filter(|event| !is_shown(event, now)).map(|event| event.seals_at).min()
}

/// Those of `events` that stand in a feed, newest first. Of an incident that was taken off the site
/// only that fact is left, and an update that was removed from its note is gone. What was said of
/// one that became part of another remains, as long as the other does.
#[must_use]
pub fn events<'a>(events: &'a [Event], incidents: &BTreeMap<IncidentId, Incident>, now: Timestamp) -> Vec<&'a Event> {
    let on_site = incidents.values().filter(|incident| !incident.withdrawn);
    let led: BTreeSet<&IncidentId> = on_site.flat_map(|incident| &incident.aliases).collect();
    let stands = |event: &&Event| {
        let Some(incident) = incidents.get(&event.incident) else { return is_shown(event, now) };
        let update_is_gone = event.kind == EventKind::Updated
            && event
                .update
                .as_ref()
                .is_some_and(|told| incident.updates.iter().any(|update| update.id == told.id && update.withdrawn));
        let is_off = incident.withdrawn && !led.contains(&incident.id);
        is_shown(event, now) && !update_is_gone && (is_off == (event.kind == EventKind::Withdrawn))
    };
    newest(events.iter().filter(stands).collect(), |event| event.recorded_at)
}

/// Those of `incidents` that stand in a feed, newest first by when watchbell knew of them.
#[must_use]
pub fn incidents(incidents: &BTreeMap<IncidentId, Incident>) -> Vec<&Incident> {
    newest(incidents.values().filter(|incident| !incident.withdrawn).collect(), |incident| incident.noticed_at)
}

fn newest<T>(mut all: Vec<&T>, recorded_at: impl Fn(&T) -> Timestamp) -> Vec<&T> {
    // Stable: what was recorded in the same millisecond keeps the order in which it was given.
    all.sort_by_key(|item| std::cmp::Reverse(recorded_at(item)));
    let Some(newest) = all.first().map(|item| recorded_at(item)) else { return all };
    let since = newest.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
    let recent = all.iter().take_while(|item| recorded_at(item) > since).count();
    all.truncate(recent.clamp(LEAST, MOST));
    all
}
