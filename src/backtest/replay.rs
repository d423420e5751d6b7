//! Hands recorded results to the judge, in the order in which they ended, and keeps what follows.
//! Requests are not answered: the probes are those that were made.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Undecided,
    account::Record,
    denser::Denser,
    edits::{Edits, OfCheck},
};
use crate::{
    domain::{
        CheckKey, ServiceId,
        maintenance::Window,
        outcome::{CheckResult, Class, Outcome, Phases},
        service::{Check, Rules},
        span::{Span, SpanEdit},
    },
    judge::{self, Input, Step, World},
    store::Sample,
};

/// A judge that is told again what was found.
pub struct Replay<'a> {
    /// Those that are switched on, and what was edited in them.
    checks: BTreeMap<CheckKey, (&'a Check, OfCheck)>,
    /// The same rules, but nobody waits for canaries that will not answer.
    judged_by: Rules,
    world: World,
    at: Timestamp,
    denser: Denser,
    /// When nothing was known, although there are results: we were blind.
    blind: BTreeMap<ServiceId, Vec<Span>>,
    /// Results that ended after the piece in which they began.
    left: Vec<Sample>,
    record: Record,
    filled_in: u64,
}

/// What came of a replay.
pub struct Replayed {
    pub record: Record,
    /// When the last result ended.
    pub until: Timestamp,
    pub undecided: Vec<Undecided>,
    pub filled_in: u64,
}

impl<'a> Replay<'a> {
    /// One that knows nothing at `begin`.
    pub fn new(rules: &'a Rules, edits: &Edits, blind: BTreeMap<ServiceId, Vec<Span>>, begin: Timestamp) -> Self {
        let judged_by = Rules { canaries: None, ..rules.clone() };
        let all = rules.services.iter().flat_map(|service| service.enabled_checks());
        let mut replay = Self {
            checks: all.map(|(key, check)| (key.clone(), (check, edits.of_check(&key)))).collect(),
            judged_by,
            world: World::new(1),
            at: begin,
            denser: Denser::default(),
            blind,
            left: Vec::new(),
            record: Record::default(),
            filled_in: 0,
        };
        replay.step(Input::Rules, begin);
        replay
    }

    /// Work that was planned.
    pub fn plan(&mut self, window: Window) {
        self.step(Input::Maintenance(Box::new(window)), self.at);
    }

    /// Takes results in the order in which they ended; all that began before `next` are known now.
    pub fn take(&mut self, samples: Vec<Sample>, next: Timestamp) {
        let mut found = std::mem::take(&mut self.left);
        for sample in samples {
            let Some((check, edits)) = self.checks.get(&sample.check).copied() else { continue };
            let sample = judged_anew(self.seen(sample), check, edits);
            if edits.is_denser {
                let between = self.denser.before(&sample, check);
                self.filled_in += u64::try_from(between.len()).unwrap_or(0);
                found.extend(between);
            }
            found.push(sample);
        }
        let (now, later): (Vec<Sample>, Vec<Sample>) = found.into_iter().partition(|sample| sample.ended_at() < next);
        self.left = later;
        self.hand_in(now);
    }

    /// Takes what is left, and lets the time of the last result be the end.
    pub fn finish(mut self) -> Replayed {
        let last = std::mem::take(&mut self.left);
        self.hand_in(last);
        Replayed { record: self.record, until: self.at, undecided: self.denser.undecided, filled_in: self.filled_in }
    }

    fn hand_in(&mut self, mut samples: Vec<Sample>) {
        samples.sort_by(|a, b| (a.ended_at(), a.at, &a.check).cmp(&(b.ended_at(), b.at, &b.check)));
        for sample in samples {
            let at = sample.ended_at().max(self.at);
            while let Some(due) = self.world.wake_at(&self.judged_by).filter(|due| *due <= at) {
                let before = self.world.wake_at(&self.judged_by);
                self.step(Input::Tick, due.max(self.at));
                if self.world.wake_at(&self.judged_by) == before {
                    break; // nothing came of it: it would be due for ever
                }
            }
            let Sample { check, at: started_at, result, latency_us, class } = sample;
            let outcome = Outcome {
                result,
                cause: class.map(Into::into),
                started_at,
                latency: std::time::Duration::from_micros(latency_us.into()),
                phases: Phases::default(),
                detail: None,
            };
            self.step(Input::Outcome { check, outcome }, at);
        }
    }

    /// What was found, as it counted: nothing while we were blind.
    fn seen(&self, mut sample: Sample) -> Sample {
        let spans = self.blind.get(&sample.check.service).map_or(&[][..], Vec::as_slice);
        let is_within = |span: &Span| span.from < sample.at && span.to.is_none_or(|to| sample.at < to);
        if spans.iter().any(is_within) {
            (sample.result, sample.class) = (CheckResult::Unknown, Some(Class::Local));
        }
        sample
    }

    fn step(&mut self, input: Input, at: Timestamp) {
        self.at = at;
        let Step { incidents, merged, events, amended, spans, .. } =
            judge::step(&self.judged_by, &mut self.world, input, at);
        for incident in incidents {
            self.record.incidents.insert(incident.id.clone(), incident);
        }
        for (id, _) in merged {
            self.record.incidents.remove(&id);
            self.record.events.retain(|event| event.incident != id);
        }
        self.record.events.extend(events);
        for event in amended {
            // It is not sealed yet: one of the latest.
            match self.record.events.iter_mut().rev().find(|known| known.id == event.id) {
                Some(known) => *known = event,
                None => self.record.events.push(event),
            }
        }
        for edit in spans {
            apply(&mut self.record.spans, edit);
        }
    }
}

/// A result as these rules count it: what they let be slow, and in time.
fn judged_anew(mut sample: Sample, check: &Check, edits: OfCheck) -> Sample {
    let latency = std::time::Duration::from_micros(sample.latency_us.into());
    let is_answer = match sample.result {
        CheckResult::Up => true,
        CheckResult::Degraded => sample.class == Some(Class::Slow),
        CheckResult::Down | CheckResult::Unknown => false,
    };
    if !is_answer {
        return sample;
    }
    if edits.timeout_is_lower && latency > check.timeout {
        (sample.result, sample.class) = (CheckResult::Down, Some(Class::Timeout));
        sample.latency_us = u32::try_from(check.timeout.as_micros()).unwrap_or(u32::MAX);
    } else if edits.degraded_over_is_new {
        let is_slow = check.degraded_over.is_some_and(|limit| latency > limit);
        (sample.result, sample.class) =
            if is_slow { (CheckResult::Degraded, Some(Class::Slow)) } else { (CheckResult::Up, None) };
    }
    sample
}

/// Applies an edit as the store does.
fn apply(all: &mut BTreeMap<ServiceId, Vec<Span>>, edit: SpanEdit) {
    let spans = all.entry(edit.service).or_default();
    while spans.last().is_some_and(|span| span.from >= edit.from) {
        spans.pop();
    }
    if let Some(last) = spans.last_mut().filter(|span| span.to.is_none_or(|to| to > edit.from)) {
        last.to = Some(edit.from);
    }
    for new in edit.spans.into_iter().filter(|span| span.to.is_none_or(|to| to > span.from)) {
        match spans.last_mut() {
            Some(last) if last.status == new.status && last.to == Some(new.from) => last.to = new.to,
            _ => spans.push(new),
        }
    }
}
