//! Rules that ask for more results in a row, or sooner, would have probed where nobody did: a check
//! that was down was asked at its turns again, not at the pace of rechecks. Between two results that
//! agree the target is taken to have agreed; where they do not, nothing is made up, and an outage
//! that ended before it could be sure is named.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::Undecided;
use crate::{
    domain::{CheckKey, outcome::CheckResult, service::Check},
    store::Sample,
};

/// Results that follow one another sooner than so many rechecks were made at that pace.
const USUAL: u32 = 2;

/// Remembers the run of each check.
#[derive(Debug, Default)]
pub struct Denser {
    runs: BTreeMap<CheckKey, Run>,
    /// Outages too short to say.
    pub undecided: Vec<Undecided>,
}

#[derive(Debug)]
struct Run {
    last: Sample,
    first_at: Timestamp,
    count: u32,
}

impl Denser {
    /// One more result of a check: what would have been found since the one before, oldest first.
    pub fn before(&mut self, sample: &Sample, check: &Check) -> Vec<Sample> {
        let nothing = Vec::new();
        if sample.result == CheckResult::Unknown {
            return nothing;
        }
        let Some(run) = self.runs.get_mut(&sample.check) else {
            self.runs.insert(sample.check.clone(), Run { last: sample.clone(), first_at: sample.at, count: 1 });
            return nothing;
        };
        let pace = time(check.recheck.max(Duration::from_millis(1)));
        let gap = sample.at.duration_since(run.last.ended_at());
        let is_dense = gap < pace.saturating_mul(i32::try_from(USUAL).unwrap_or(1));
        if run.last.result != sample.result {
            let needed = needed(check, CheckResult::Down);
            // Had it been asked at that pace, it might have been found failing often enough.
            if run.last.result == CheckResult::Down && run.count < needed && !is_dense {
                let (from, seen) = (run.first_at, run.count);
                self.undecided.push(Undecided { check: sample.check.clone(), from, seen, needed });
            }
            *run = Run { last: sample.clone(), first_at: sample.at, count: 1 };
            return nothing;
        }
        let needed = needed(check, sample.result);
        let mut between = Vec::new();
        let mut at = later(run.last.ended_at(), pace);
        while !is_dense && run.count < needed && at < sample.at {
            let made_up = Sample { at, ..run.last.clone() };
            at = later(made_up.ended_at(), pace);
            run.count += 1;
            between.push(made_up);
        }
        run.count = run.count.saturating_add(1);
        run.last = sample.clone();
        between
    }
}

/// How many of these in a row decide.
fn needed(check: &Check, result: CheckResult) -> u32 {
    match result {
        CheckResult::Up => check.up_after,
        CheckResult::Degraded => check.degraded_after,
        CheckResult::Down => check.down_after,
        CheckResult::Unknown => 0,
    }
}

fn time(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
