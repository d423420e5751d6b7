//! Spans: a service's record, derived from what was said of its checks and by notes, each since
//! when. Verdicts and notes are backdated, so the record is derived anew from the earliest change
//! on; what came out differently is an edit. Percentages are `domain::span`'s business.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{check::Verdict, service};
use crate::domain::{CheckId, IncidentId, ServiceId, ServiceStatus, span::Span, span::SpanEdit};

/// A record longer than this loses its older half: later changes reach no further back.
const KEPT: usize = 128;

/// Values, each in force from its time on until the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Timeline<T>(Vec<(Timestamp, T)>);

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Timeline<T> {
    /// From `from` on it is `value`, whatever was said of that time before.
    pub fn set(&mut self, from: Timestamp, value: T) {
        while self.0.last().is_some_and(|(at, _)| *at >= from) {
            self.0.pop();
        }
        if self.last().is_none_or(|last| last != value) {
            self.0.push((from, value));
        }
    }

    /// What is in force at `at`.
    pub fn at(&self, at: Timestamp) -> Option<T> {
        let index = self.0.partition_point(|(from, _)| *from <= at).checked_sub(1)?;
        self.0.get(index).map(|(_, value)| *value)
    }

    /// What is in force now.
    pub fn last(&self) -> Option<T> {
        self.0.last().map(|(_, value)| *value)
    }

    /// The pairs, oldest first.
    pub fn points(&self) -> &[(Timestamp, T)] {
        &self.0
    }

    /// Forgets what was no longer in force at `cut`.
    fn trim(&mut self, cut: Timestamp) {
        let keep = self.0.partition_point(|(from, _)| *from <= cut).saturating_sub(1);
        self.0.drain(..keep);
    }
}

/// By what a service's status is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Base {
    /// By its checks, and notes.
    Checks,
    /// By notes alone: it has no checks.
    Notes,
    /// It is no longer configured.
    Gone,
}

/// A note's word on a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// The incident that the note is about.
    pub incident: IncidentId,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub to: Option<Timestamp>,
    /// How the service is.
    pub status: ServiceStatus,
    /// Wins over checks.
    #[serde(default)]
    pub is_override: bool,
    /// Follows from the incident's impact alone, and so gives way to checks that fail and recover.
    #[serde(default)]
    pub is_implied: bool,
}

impl Claim {
    /// Whether it is in force at `at`.
    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && self.to.is_none_or(|to| at < to)
    }
}

/// Planned work on a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Planned {
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

/// All that a service's record follows from, and the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// By what its status is found.
    pub base: Timeline<Base>,
    /// Each check's verdict; `None` while nobody knows.
    pub checks: BTreeMap<CheckId, Timeline<Option<Verdict>>>,
    /// What notes say.
    pub claims: Vec<Claim>,
    /// Planned work.
    #[serde(default)]
    pub planned: Vec<Planned>,
    /// What follows.
    pub spans: Timeline<ServiceStatus>,
    /// Nothing before this can be derived any more.
    #[serde(default)]
    pub trimmed_at: Option<Timestamp>,
}

impl Record {
    /// How the service was at `at`; `None` before anything is known.
    fn status_at(&self, at: Timestamp) -> Option<ServiceStatus> {
        let base = self.base.at(at)?;
        let is_planned = self.planned.iter().any(|it| it.from <= at && at < it.to);
        if is_planned && base != Base::Gone {
            return Some(ServiceStatus::UnderMaintenance);
        }
        let worst = |forced: bool| {
            let claims = self.claims.iter().filter(|claim| claim.holds(at) && (claim.is_override || !forced));
            claims.map(|claim| claim.status).max()
        };
        match (base, worst(true)) {
            (Base::Gone, _) => return Some(ServiceStatus::Unknown),
            (_, Some(forced)) => return Some(forced),
            (Base::Notes, None) => return Some(worst(false).unwrap_or(ServiceStatus::Operational)),
            (Base::Checks, None) => {}
        }
        let checks = service::of_checks(self.checks.values().filter_map(|line| line.at(at).flatten()));
        match (checks, worst(false)) {
            (Some(checks), claim) => Some(claim.map_or(checks, |claim| claim.max(checks))),
            (None, Some(claim)) if claim.is_trouble() => Some(claim),
            (None, _) => self.checks.values().any(|line| line.at(at).is_some()).then_some(ServiceStatus::Unknown),
        }
    }

    /// Derives the record anew from `from` on; the edit, if anything came out differently. What is
    /// planned for later than `now` is not recorded yet.
    pub fn rebuild(&mut self, service: &ServiceId, from: Timestamp, now: Timestamp) -> Option<SpanEdit> {
        let born = self.base.points().first()?.0;
        let from = from.max(born).max(self.trimmed_at.unwrap_or(born));
        let mut times = vec![from];
        times.extend(self.base.points().iter().map(|(at, _)| *at));
        times.extend(self.checks.values().flat_map(Timeline::points).map(|(at, _)| *at));
        times.extend(self.claims.iter().flat_map(|claim| [Some(claim.from), claim.to]).flatten());
        let edges = self.planned.iter().flat_map(|it| [it.from, it.to]);
        times.extend(edges.filter(|at| *at <= now));
        times.retain(|at| *at >= from);
        times.sort_unstable();
        times.dedup();

        let mut new = Timeline(self.spans.points().iter().filter(|(at, _)| *at < from).copied().collect());
        for at in times {
            let status = self.status_at(at).or(new.last().map(|_| ServiceStatus::Unknown));
            if let Some(status) = status {
                new.set(at, status);
            }
        }
        // What was once recorded stays covered, if only by "nobody knows".
        if let (Some((old, _)), first) = (self.spans.points().first(), new.points().first())
            && first.is_none_or(|(at, _)| old < at)
        {
            match new.0.first_mut() {
                Some((at, ServiceStatus::Unknown)) => *at = *old,
                _ => new.0.insert(0, (*old, ServiceStatus::Unknown)),
            }
        }
        let edit = edit(service, &self.spans, &new);
        self.spans = new;
        self.trim();
        edit
    }

    /// Forgets the older half of whatever is longest, once that is too long.
    fn trim(&mut self) {
        let half = |len: usize| (len > KEPT).then_some(len / 2);
        let spans = self.spans.points();
        let of_spans = half(spans.len()).and_then(|at| spans.get(at)).map(|(at, _)| *at);
        // A check may come and go without anyone seeing it: behind a note that wins over it.
        let lines = self.checks.values().map(Timeline::points);
        let of_checks = lines.filter_map(|line| line.get(half(line.len())?)).map(|(at, _)| *at);
        let Some(cut) = of_checks.chain(of_spans).max() else { return };
        self.trimmed_at = Some(cut);
        self.spans.trim(cut);
        self.base.trim(cut);
        self.checks.values_mut().for_each(|line| line.trim(cut));
        self.claims.retain(|claim| claim.to.is_none_or(|to| to > cut));
    }

    /// How the service is now, and since when.
    pub fn now(&self) -> Option<(ServiceStatus, Timestamp)> {
        self.spans.points().last().map(|(from, status)| (*status, *from))
    }

    /// When the trouble that the service is in began; `None` if it is in none.
    pub fn trouble_since(&self) -> Option<Timestamp> {
        self.spans.points().iter().rev().take_while(|(_, status)| status.is_trouble()).last().map(|(from, _)| *from)
    }
}

/// What must be written so that a record of `old` reads like `new`.
fn edit(service: &ServiceId, old: &Timeline<ServiceStatus>, new: &Timeline<ServiceStatus>) -> Option<SpanEdit> {
    let (old, new) = (old.points(), new.points());
    let mut same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    if same == old.len() && same == new.len() {
        return None;
    }
    // An old span that begins before the first new one would survive in part: begin one earlier.
    let reaches = |new_from: Timestamp| old.get(same).is_some_and(|(from, _)| *from < new_from);
    if new.get(same).is_none_or(|(from, _)| reaches(*from)) {
        same = same.saturating_sub(1);
    }
    let rest = new.get(same..)?;
    let ends = rest.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
    let spans: Vec<Span> =
        rest.iter().zip(ends).map(|((from, status), to)| Span { status: *status, from: *from, to }).collect();
    let from = spans.first()?.from;
    Some(SpanEdit { service: service.clone(), from, spans })
}
