//! What other rules would have made of the results that were recorded: they are handed to the judge
//! again, and what comes out is counted beside what there was. Nothing is probed, written or told.
//!
//! ```text
//! store ─> results ─> denser.rs ─> replay.rs (judge) ─┐
//!   │                    ↑                            ├─> account.rs, twice: would have been, was
//!   ├─> by which rules ─> edits.rs                    │
//!   └─> events, incidents, spans ─────────────────────┘
//! ```
//!
//! A replay is exact as long as the rules ask for the probes that were made. It differs from what
//! there was where something else than results decided: what people wrote, a process that stood
//! still, a clock that was set, canaries (their answers are not kept: what was unknown then counts
//! as unknown), and results that were forgotten.

mod account;
mod denser;
mod edits;
mod replay;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use self::{
    account::Record,
    edits::Edits,
    replay::{Replay, Replayed},
};
pub use self::{
    account::{Account, Brief},
    edits::{Edit, Judged},
};
use crate::{
    domain::{
        CheckKey, ServiceId, ServiceStatus,
        archive::{Archive, ArchiveError, Head},
        incident::Origin,
        service::Rules,
        span::Span,
        subscriber::BadAddress,
    },
    judge::{RestoreError, World},
    store::{Reader, StoreError},
};

/// So much before the window is replayed as well, so that what went on at its beginning is known.
const RUN_UP: SignedDuration = SignedDuration::from_hours(24);
/// Results are read in pieces of this length, each from a full hour on.
const PIECE: SignedDuration = SignedDuration::from_hours(1);

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same, of what is published.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What the store says of planned work cannot be understood.
    #[error("the state in the store cannot be read: {0}")]
    World(#[from] RestoreError),
    /// The address of whoever stands for all readers.
    #[error("nobody can stand for the readers: {0}")]
    Reader(#[from] BadAddress),
    /// Nobody probed.
    #[error("the store holds no results: there is nothing to replay")]
    NoResults,
    /// Nobody probed since.
    #[error("the last result in the store is of {last}: there is nothing to replay after that")]
    NoneSince {
        /// When the last one began.
        last: Timestamp,
    },
}

/// What there would have been, beside what there was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Backtest {
    /// From when on both are compared: the moment asked for, or the first result that is kept.
    pub from: Timestamp,
    /// Until when: the last result.
    pub until: Timestamp,
    /// The first result that is kept, if that is later than was asked for.
    pub oldest_result_at: Option<Timestamp>,
    /// How many results were replayed within the window.
    pub results: u64,
    /// By the rules given.
    pub would_have_been: Account,
    /// What was recorded.
    pub was: Account,
    /// Keys whose values differ from those by which was judged last; `None` if the store does not
    /// say by which that was.
    pub edited: Option<Vec<Edit>>,
    /// Since when the store's rules were in force, if that is within the window.
    pub in_force_since: Option<Timestamp>,
    /// Checks of the rules given that have no result in the window.
    pub without_results: Vec<CheckKey>,
    /// Outages that were, in which too few probes were made to say whether they would have been.
    pub undecided: Vec<Undecided>,
    /// Probes that would have been made between two that agreed; they are taken to agree, too.
    pub filled_in: u64,
}

/// An outage of one check that ended before enough probes were made for the rules given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undecided {
    /// Whose.
    pub check: CheckKey,
    /// The first failure.
    pub from: Timestamp,
    /// How many failures were seen in a row.
    pub seen: u32,
    /// How many are needed.
    pub needed: u32,
}

/// Replays what was recorded since then by `rules`. `progress` is told how much of how much is done.
///
/// # Errors
/// If the store cannot be read, or has no results of that time.
pub fn backtest(
    reader: &mut Reader,
    rules: &Rules,
    since: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Backtest, BacktestError> {
    // All that was is of one moment: what a daemon beside us writes from then on does not count.
    reader.refresh()?;
    let (first, last) = reader.results_kept()?.ok_or(BacktestError::NoResults)?;
    if last < since {
        return Err(BacktestError::NoneSince { last });
    }
    let from = since.max(first);
    let in_force = reader.in_force()?;
    let everyone = account::everyone()?;
    let edits = Edits::between(in_force.as_ref(), rules);
    let world = World::restore(0, reader.world()?.into_iter())?;
    let begin = from.saturating_sub(RUN_UP).unwrap_or(first).max(first);
    let was = recorded(reader, rules, begin)?;
    let blind = if rules.canaries.is_some() || edits.had_canaries { unknown(&was) } else { BTreeMap::new() };
    let mut replay = Replay::new(rules, &edits, blind, begin);
    for window in world.planned() {
        replay.plan(window.clone());
    }
    let mut piece = begin;
    let mut results: u64 = 0;
    let mut seen: BTreeSet<CheckKey> = BTreeSet::new();
    let whole = hours(begin, last);
    while piece <= last {
        let next = next_piece(piece);
        // A moment for each piece: the daemon goes on tidying up, and must not wait for us.
        reader.refresh()?;
        let samples = reader.results_of_all(piece, next)?;
        reader.rest()?;
        for sample in samples.iter().filter(|sample| sample.at >= from && sample.at <= last) {
            results += 1;
            if !seen.contains(&sample.check) {
                seen.insert(sample.check.clone());
            }
        }
        replay.take(samples.into_iter().filter(|sample| sample.at <= last).collect(), next);
        piece = next;
        progress(hours(begin, piece).min(whole), whole);
    }
    let Replayed { record, until, undecided, filled_in } = replay.finish();
    let known = |key: &CheckKey| !seen.contains(key);
    let all = rules.services.iter().flat_map(|service| service.enabled_checks().map(|(key, _)| key));
    Ok(Backtest {
        from,
        until,
        oldest_result_at: (since < first).then_some(first),
        results,
        would_have_been: Account::of(&record, rules, &everyone, from, until),
        was: Account::of(&was, &edits.rules_then, &everyone, from, until),
        in_force_since: in_force.as_ref().map(|it| it.since).filter(|at| *at > from),
        edited: in_force.is_some().then_some(edits.all),
        without_results: all.filter(known).collect(),
        undecided: undecided.into_iter().filter(|it| it.from >= from).collect(),
        filled_in,
    })
}

/// What was written down of all that went on at `begin` or later, as of the moment at which the
/// reader stands.
fn recorded(reader: &Reader, rules: &Rules, begin: Timestamp) -> Result<Record, BacktestError> {
    let mut record = Record::default();
    let heads = reader.heads()?;
    let merged: BTreeSet<_> = heads.iter().flat_map(|head| head.aliases.iter().cloned()).collect();
    let goes_on = |head: &&Head| head.resolved_at.is_none_or(|at| at >= begin) && !merged.contains(&head.id);
    for head in heads.iter().filter(goes_on) {
        let Some(incident) = reader.incident(&head.id)?.filter(|it| it.origin == Origin::Automatic) else { continue };
        let mut events = reader.events_of(&head.id)?;
        events.reverse();
        record.events.extend(events);
        record.incidents.insert(incident.id.clone(), incident);
    }
    let mut services: BTreeSet<ServiceId> = rules.services.iter().map(|service| service.id.clone()).collect();
    services.extend(reader.services()?.into_iter().map(|now| now.service));
    for service in services {
        let spans = reader.measured(&service, begin, Timestamp::MAX)?;
        record.spans.insert(service, spans);
    }
    Ok(record)
}

/// When nothing was known of each service.
fn unknown(record: &Record) -> BTreeMap<ServiceId, Vec<Span>> {
    let of = |spans: &Vec<Span>| spans.iter().filter(|it| it.status == ServiceStatus::Unknown).cloned().collect();
    record.spans.iter().map(|(service, spans)| (service.clone(), of(spans))).collect()
}

/// The next full hour: results are packed by hours.
fn next_piece(piece: Timestamp) -> Timestamp {
    let hour = PIECE.as_secs();
    let start = piece.as_second().div_euclid(hour).saturating_mul(hour);
    Timestamp::from_second(start.saturating_add(hour)).unwrap_or(Timestamp::MAX)
}

fn hours(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_hours()).unwrap_or(0)
}
