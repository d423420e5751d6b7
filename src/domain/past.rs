//! What the site shows as told of which the store knows nothing: an older copy of the store was put in
//! its place. Its past is not told again, and what begins afterwards is. Pure.
//!
//! Of an outage that checks found, people believe what the site showed last: that it goes on is no
//! news while they believe so, nor that it is over once they know. What people wrote is in their notes
//! still, and read anew at the start: so many of each kind as the site showed are not told again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    EventId, IncidentId,
    event::{Event, EventKind},
    incident::Origin,
};

/// For so long after the start notes may be those of before.
const NOTES_WITHIN: SignedDuration = SignedDuration::from_mins(5);

/// One entry of the published feed of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event that it shows.
    pub event: EventId,
    /// Of which incident.
    pub incident: IncidentId,
    /// What kind.
    pub kind: EventKind,
    /// When it was recorded.
    pub at: Timestamp,
}

/// What was told that the store does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    found_at: Timestamp,
    /// All that was not known.
    shown: BTreeSet<EventId>,
    incidents: BTreeMap<IncidentId, Shown>,
    /// Events that were found told already: should they be amended, they still are.
    silent: BTreeSet<EventId>,
}

/// What the site showed of one incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Shown {
    /// Whether it was over, as far as the entries say.
    is_over: Option<bool>,
    /// So many of each kind.
    told: BTreeMap<EventKind, u32>,
}

impl Past {
    /// What of `entries` the store does not know; `None` if it knows all of it.
    #[must_use]
    pub fn find(entries: &[Entry], is_known: impl Fn(&EventId) -> bool, now: Timestamp) -> Option<Self> {
        let mut unknown: Vec<&Entry> = entries.iter().filter(|entry| !is_known(&entry.event)).collect();
        unknown.sort_by_key(|entry| (entry.at, entry.event));
        let mut incidents: BTreeMap<IncidentId, Shown> = BTreeMap::new();
        for entry in &unknown {
            let shown = incidents.entry(entry.incident.clone()).or_default();
            let told = shown.told.entry(entry.kind).or_default();
            *told = told.saturating_add(1);
            match entry.kind {
                EventKind::Resolved | EventKind::Withdrawn => shown.is_over = Some(true),
                EventKind::Opened
                | EventKind::Joined
                | EventKind::Recovered
                | EventKind::Reopened
                | EventKind::Intermittent => shown.is_over = Some(false),
                EventKind::Updated | EventKind::Postmortem => {}
            }
        }
        let shown = unknown.iter().map(|entry| entry.event).collect();
        (!unknown.is_empty()).then_some(Self { found_at: now, shown, incidents, silent: BTreeSet::new() })
    }

    /// Whether people were told of `event` before, of an incident that began as `origin` says. Each thing
    /// that the site showed is used up by that.
    pub fn is_told(&mut self, event: &Event, origin: Origin) -> bool {
        if self.silent.contains(&event.id) {
            return true;
        }
        let Some(shown) = self.incidents.get_mut(&event.incident) else { return false };
        let is_of_people = origin == Origin::Operator
            || event.update.is_some()
            || matches!(event.kind, EventKind::Updated | EventKind::Postmortem);
        let is_told = if is_of_people {
            let is_early = event.recorded_at.duration_since(self.found_at) < NOTES_WITHIN;
            let left = shown.told.get_mut(&event.kind).filter(|left| is_early && **left > 0);
            left.map(|left| *left = left.saturating_sub(1)).is_some()
        } else {
            shown.is_believed(event.kind)
        };
        if is_told {
            self.silent.insert(event.id);
        }
        is_told
    }

    /// Whether it was found already that the site shows `event`: what happened since is not of the past.
    #[must_use]
    pub fn has_found(&self, event: &EventId) -> bool {
        self.shown.contains(event)
    }

    /// Whether an event that is amended was told before.
    #[must_use]
    pub fn is_silent(&self, event: &EventId) -> bool {
        self.silent.contains(event)
    }
}

impl Shown {
    /// Whether people believe already what an event of a check says. What is news ends the belief.
    fn is_believed(&mut self, kind: EventKind) -> bool {
        match (kind, self.is_over) {
            (EventKind::Opened | EventKind::Intermittent, Some(false)) => {
                // From now on the store knows of it, too.
                self.is_over = None;
                true
            }
            (EventKind::Recovered, Some(true)) => true,
            (EventKind::Resolved, Some(true)) => {
                self.is_over = None;
                true
            }
            (EventKind::Opened | EventKind::Reopened | EventKind::Resolved, _) => {
                self.is_over = None;
                false
            }
            (
                EventKind::Joined
                | EventKind::Recovered
                | EventKind::Intermittent
                | EventKind::Updated
                | EventKind::Postmortem
                | EventKind::Withdrawn,
                _,
            ) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Impact, IncidentStatus, event::IncidentView};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_255_200 + second).unwrap()
    }

    fn id(n: u8) -> EventId {
        EventId::new(at(0), [n; 10])
    }

    fn api() -> IncidentId {
        IncidentId::new("2026-11-21-api").unwrap()
    }

    /// What the site shows, oldest first, of which nothing is known.
    fn past(kinds: &[EventKind]) -> Past {
        let entry =
            |(kind, n): (&EventKind, u8)| Entry { event: id(n), incident: api(), kind: *kind, at: at(n.into()) };
        let entries: Vec<Entry> = kinds.iter().zip(1..).map(entry).collect();
        Past::find(&entries, |_| false, at(1000)).unwrap()
    }

    fn event(n: u8, kind: EventKind, second: i64) -> Event {
        Event {
            id: id(n),
            kind,
            incident: api(),
            at: at(second),
            recorded_at: at(second),
            seals_at: at(second),
            services: Vec::new(),
            notify: true,
            view: IncidentView {
                title: None,
                root: None,
                status: IncidentStatus::Investigating,
                impact: Impact::Major,
                started_at: at(second),
                resolved_at: None,
                affected: Vec::new(),
            },
            update: None,
            fact: None,
        }
    }

    use EventKind::{Intermittent, Joined, Opened, Postmortem, Recovered, Reopened, Resolved, Updated};

    /// Which of these, recorded one after the other, count as told.
    fn told(past: &mut Past, origin: Origin, second: i64, kinds: &[EventKind]) -> Vec<bool> {
        kinds.iter().zip(100..).map(|(kind, n)| past.is_told(&event(n, *kind, second), origin)).collect()
    }

    #[test]
    fn a_store_that_knows_all_that_is_shown_has_no_past() {
        let entries = [Entry { event: id(1), incident: api(), kind: Opened, at: at(1) }];
        assert_eq!(Past::find(&entries, |event| *event == id(1), at(9)), None);
        assert_eq!(Past::find(&[], |_| false, at(9)), None);
    }

    #[test]
    fn whoever_knows_that_it_is_over_is_not_told_so_again_and_hears_of_the_next_one() {
        let mut past = past(&[Opened, Joined, Resolved]);
        let kinds = [Recovered, Resolved, Reopened, Resolved];
        assert_eq!(told(&mut past, Origin::Automatic, 1100, &kinds), [true, true, false, false]);
    }

    #[test]
    fn an_outage_that_begins_after_the_one_that_was_shown_is_told() {
        let mut past = past(&[Opened, Resolved]);
        assert_eq!(told(&mut past, Origin::Automatic, 1001, &[Opened, Resolved]), [false, false]);
    }

    #[test]
    fn whoever_knows_that_it_goes_on_hears_next_that_it_is_over() {
        let mut past = past(&[Opened, Updated]);
        let kinds = [Opened, Joined, Resolved, Reopened];
        assert_eq!(told(&mut past, Origin::Automatic, 5000, &kinds), [true, false, false, false]);
    }

    #[test]
    fn an_outage_that_comes_and_goes_is_no_news_to_those_who_believe_it_goes_on() {
        assert_eq!(told(&mut past(&[Opened, Resolved, Reopened]), Origin::Automatic, 5000, &[Intermittent]), [true]);
    }

    #[test]
    fn what_people_wrote_is_not_told_again_when_notes_are_read_anew_and_what_they_add_is() {
        let mut shown = past(&[Opened, Updated, Updated, Resolved, Postmortem]);
        let kinds = [Opened, Updated, Updated, Updated, Resolved, Postmortem];
        let expected = [true, true, true, false, true, true];
        assert_eq!(told(&mut shown, Origin::Operator, 1010, &kinds), expected);
        // Long after the start nobody reads notes of before.
        assert_eq!(told(&mut past(&[Opened, Updated]), Origin::Operator, 2000, &[Updated]), [false]);
    }

    #[test]
    fn what_was_told_stays_so_when_it_is_amended() {
        let mut past = past(&[Opened]);
        let opened = event(100, Opened, 1001);
        assert!(past.is_told(&opened, Origin::Automatic));
        assert!(past.is_silent(&opened.id) && past.is_told(&opened, Origin::Automatic));
        assert!(!past.is_silent(&id(101)));
    }

    #[test]
    fn another_incident_is_news() {
        let mut past = past(&[Opened]);
        let mut other = event(100, Opened, 1001);
        other.incident = IncidentId::new("2026-11-21-web").unwrap();
        assert!(!past.is_told(&other, Origin::Automatic));
    }
}
