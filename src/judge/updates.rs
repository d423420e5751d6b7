//! Updates of a note, read again: which are new, which read otherwise, which are gone.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{notes, time, turn::Turn};
use crate::{
    clock,
    domain::{IncidentId, IncidentStatus, incident::Update, note::NoteUpdate},
};

/// How one reading of a note changed an incident.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The note opened it.
    pub is_new: bool,
    /// Updates seen for the first time, oldest first.
    pub new: Vec<Update>,
    /// Known updates that read otherwise now.
    pub edited: Vec<Update>,
    /// It is over, by the operator's word.
    pub is_over: bool,
    /// It goes on, by the operator's word.
    pub goes_on: bool,
}

impl Turn<'_> {
    /// Updates: which are new, which read otherwise, which are gone.
    pub fn take_updates(&mut self, id: &IncidentId, given: &[NoteUpdate], reading: &mut Reading) {
        let now = self.at;
        let Some(case) = self.world.cases.get(id) else { return };
        let mut updates = case.incident.updates.clone();
        let find = |id| updates.iter().find(|update| update.id == id);
        let known: Vec<_> = case.written.iter().filter_map(|(id, is_timed)| Some((find(*id)?, *is_timed))).collect();
        let matches = notes::match_updates(&known, given);
        let ids: Vec<_> = known.iter().map(|(update, is_timed)| (update.id, *is_timed)).collect();
        let resolved_at = case.incident.resolved_at;

        let mut written = Vec::new();
        for (update, found) in given.iter().zip(&matches) {
            let found = found.and_then(|index| ids.get(index)).map(|(id, _)| *id);
            let id = found.unwrap_or_else(|| self.world.update_id(now));
            written.push((id, update.at.is_some()));
            let old = updates.iter().position(|known| known.id == id);
            let next = |at: Timestamp| {
                update.next_update_ms.map(|ms| time::plus_ms(at, i64::try_from(ms).unwrap_or(i64::MAX)))
            };
            if let Some(known) = old.and_then(|index| updates.get_mut(index)) {
                let before = known.clone();
                known.at = update.at.map_or(known.at, clock::to_millis);
                known.status = update.status.unwrap_or(known.status);
                known.text.clone_from(&update.text);
                known.affected.clone_from(&update.affected);
                known.next_update_at = next(known.at);
                known.notify = update.notify;
                known.withdrawn = false;
                if known.text != before.text {
                    known.changed_at = now;
                }
                if *known != before {
                    reading.edited.push(known.clone());
                }
            } else {
                let at = clock::to_millis(update.at.unwrap_or(now));
                let in_force = updates.iter().filter(|it| !it.withdrawn && it.at <= at).max_by_key(|it| it.at);
                let is_past_end = resolved_at.is_some_and(|over_at| at >= over_at);
                let before = match in_force {
                    _ if is_past_end => IncidentStatus::Resolved,
                    Some(update) => update.status,
                    None => IncidentStatus::Investigating,
                };
                let new = Update {
                    id,
                    at,
                    recorded_at: now,
                    changed_at: now,
                    status: update.status.unwrap_or(before),
                    text: update.text.clone(),
                    affected: update.affected.clone(),
                    next_update_at: next(at),
                    notify: update.notify,
                    withdrawn: false,
                };
                reading.new.push(new.clone());
                updates.push(new);
            }
        }
        let kept: BTreeSet<_> = written.iter().map(|(id, _)| *id).collect();
        for update in updates.iter_mut().filter(|update| !kept.contains(&update.id)) {
            if !update.withdrawn {
                update.withdrawn = true;
                reading.edited.push(update.clone());
            }
        }
        written.extend(ids.into_iter().filter(|(id, _)| !kept.contains(id)));
        updates.sort_by_key(|update| update.at);
        reading.new.sort_by_key(|update| update.at);
        if let Some(case) = self.world.cases.get_mut(id) {
            case.written = written;
            case.incident.updates = updates;
        }
    }
}
