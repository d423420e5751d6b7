//! Notes as read again and again: which update of a file is which known one, and what several
//! files about one incident say together. What follows is decided in `operator.rs`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{
    IncidentId,
    incident::Update,
    note::{Note, NoteUpdate},
};

/// The last good version of a note, and the incident that it speaks of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NoteState {
    /// As read.
    pub note: Note,
    /// Its own name, unless it became an alias.
    pub incident: IncidentId,
}

/// Whether a note holds any text of a person.
pub(super) fn is_blank(note: &Note) -> bool {
    note.title.is_none() && note.updates.is_empty() && note.postmortem.is_none()
}

/// What `notes`, all about one incident, say together: the first word counts, updates add up.
pub(super) fn merged<'a>(mut notes: impl Iterator<Item = &'a Note>) -> Option<Note> {
    let mut all = notes.next()?.clone();
    for note in notes {
        all.title = all.title.or_else(|| note.title.clone());
        all.impact = all.impact.or(note.impact);
        all.started = [all.started, note.started].into_iter().flatten().min();
        all.resolved = all.resolved.or(note.resolved);
        all.auto_resolve = all.auto_resolve.or(note.auto_resolve);
        all.is_override |= note.is_override;
        all.withdrawn |= note.withdrawn;
        all.notify = all.notify.or(note.notify);
        all.services.extend(note.services.iter().cloned());
        all.updates.extend(note.updates.iter().cloned());
        all.postmortem = all.postmortem.or_else(|| note.postmortem.clone());
    }
    Some(all)
}

/// A known update, and whether its file said when it was.
pub(super) type Known<'a> = (&'a Update, bool);

/// For each update of a file, in its order, the index of the known one that it is (spec, section
/// 5): by equal time, then equal text, then place. `known` is in the order of the file as well,
/// withdrawn ones last.
///
/// By place only those are the same that lie between the same neighbours; and never two that the
/// file gave different times, for that is something new and would else be told to nobody.
pub(super) fn match_updates(known: &[Known<'_>], given: &[NoteUpdate]) -> Vec<Option<usize>> {
    let mut found: Vec<Option<usize>> = vec![None; given.len()];
    let mut free: BTreeSet<usize> = (0..known.len()).collect();
    let mut claim = |found: &mut Vec<Option<usize>>, same: &dyn Fn(&NoteUpdate, &Update) -> bool| {
        for (slot, update) in found.iter_mut().zip(given).filter(|(slot, _)| slot.is_none()) {
            let hit = free.iter().copied().find(|index| known.get(*index).is_some_and(|(it, _)| same(update, it)));
            if let Some(index) = hit {
                free.remove(&index);
                *slot = Some(index);
            }
        }
    };
    claim(&mut found, &|given, known| given.at == Some(known.at) && given.text == known.text);
    claim(&mut found, &|given, known| given.at == Some(known.at));
    claim(&mut found, &|given, known| given.text == known.text);

    let free: Vec<usize> = free.into_iter().filter(|i| known.get(*i).is_some_and(|(it, _)| !it.withdrawn)).collect();
    let anchors = found.clone();
    // The matched neighbours, by index in `known`, between which the given update stands.
    let between = |place: usize| {
        let before = anchors.iter().take(place).flatten().last().copied();
        let after = anchors.iter().skip(place).flatten().next().copied();
        (before, after)
    };
    let may_be = |index: usize, update: &NoteUpdate| {
        known.get(index).is_some_and(|(_, is_timed)| update.at.is_none() || !*is_timed)
    };
    let mut left = free;
    // Under the last anchor new ones come at the end, above the first one on top.
    let has_anchor = anchors.iter().any(Option::is_some);
    let order: Vec<usize> = (0..given.len()).collect();
    let from_the_end = |place: &usize| has_anchor && between(*place).0.is_none();
    let (top, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(from_the_end);
    for place in rest.into_iter().chain(top.into_iter().rev()) {
        let (Some(update), Some(None)) = (given.get(place), found.get(place)) else { continue };
        let (before, after) = between(place);
        let fits = |index: &usize| {
            before.is_none_or(|before| before < *index)
                && after.is_none_or(|after| *index < after)
                && may_be(*index, update)
        };
        let hit = if before.is_none() && has_anchor { left.iter().rposition(fits) } else { left.iter().position(fits) };
        if let (Some(hit), Some(slot)) = (hit, found.get_mut(place)) {
            *slot = Some(left.remove(hit));
        }
    }
    found
}

/// Whether what is written as begun at `started` is so long past that nobody needs to be told.
pub(super) fn is_long_past(started: Timestamp, now: Timestamp) -> bool {
    super::time::ms_between(started, now) > 24 * 3_600_000
}
