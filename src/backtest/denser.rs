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
    /// What enough of them agreed on last: while results say the same, nobody asks sooner.
    verdict: Option<CheckResult>,
}

impl Run {
    /// One that begins with a result.
    fn new(sample: &Sample, verdict: Option<CheckResult>) -> Self {
        Self { last: sample.clone(), first_at: sample.at, count: 1, verdict }
    }

    /// Makes it the verdict if it is long enough.
    fn decide(&mut self, check: &Check) {
        if self.count >= needed(check, self.last.result) {
            self.verdict = Some(self.last.result);
        }
    }

    /// Whether it argues for another verdict.
    fn is_pending(&self) -> bool {
        self.verdict != Some(self.last.result)
    }
}

impl Denser {
    /// One more result of a check: what would have been found since the one before, oldest first.
    pub fn before(&mut self, sample: &Sample, check: &Check) -> Vec<Sample> {
        let nothing = Vec::new();
        if sample.result == CheckResult::Unknown {
            return nothing;
        }
        let Some(run) = self.runs.get_mut(&sample.check) else {
            // The first answer ever is enough to say that it is up.
            let verdict = (sample.result != CheckResult::Down).then_some(sample.result);
            self.runs.insert(sample.check.clone(), Run::new(sample, verdict));
            return nothing;
        };
        let pace = time(check.recheck.max(Duration::from_millis(1)));
        let gap = sample.at.duration_since(run.last.ended_at());
        let is_dense = gap < pace.saturating_mul(i32::try_from(USUAL).unwrap_or(1));
        if run.last.result != sample.result {
            let needed = needed(check, CheckResult::Down);
            // Had it been asked at that pace, it might have been found failing often enough.
            if run.last.result == CheckResult::Down && run.is_pending() && run.count < needed && !is_dense {
                let (from, seen) = (run.first_at, run.count);
                self.undecided.push(Undecided { check: sample.check.clone(), from, seen, needed });
            }
            *run = Run::new(sample, run.verdict);
            run.decide(check);
            return nothing;
        }
        let needed = needed(check, sample.result);
        let mut between = Vec::new();
        let mut at = later(run.last.ended_at(), pace);
        while !is_dense && run.is_pending() && run.count < needed && at < sample.at {
            let made_up = Sample { at, ..run.last.clone() };
            at = later(made_up.ended_at(), pace);
            run.count += 1;
            between.push(made_up);
        }
        run.count = run.count.saturating_add(1);
        run.last = sample.clone();
        run.decide(check);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::outcome::Class,
        judge::story::{at, check, key},
    };

    fn sample(result: CheckResult, second: i64) -> Sample {
        let class = (result == CheckResult::Down).then_some(Class::Reset);
        Sample { check: key("api"), at: at(second), result, latency_us: 100_000, class }
    }

    /// What is filled in before each of these results, as seconds, by a check that needs `down_after`.
    fn filled(down_after: u32, results: &[(CheckResult, i64)]) -> (Vec<i64>, Vec<(u32, u32)>) {
        let rules = Check { down_after, ..check("tcp", "api") };
        let mut denser = Denser::default();
        let mut made_up = Vec::new();
        for (result, second) in results {
            made_up.extend(denser.before(&sample(*result, *second), &rules));
        }
        let seconds = made_up.iter().map(|sample| crate::judge::story::seconds(sample.at)).collect();
        (seconds, denser.undecided.iter().map(|it| (it.seen, it.needed)).collect())
    }

    const UP: CheckResult = CheckResult::Up;
    const DOWN: CheckResult = CheckResult::Down;

    #[test]
    fn between_two_failures_it_failed_as_often_as_it_would_have_been_asked() {
        let results = [(UP, 0), (UP, 60), (DOWN, 120), (DOWN, 125), (DOWN, 130), (DOWN, 180), (DOWN, 240), (UP, 300)];
        // Five in all: the last two would have been found at the pace of rechecks.
        assert_eq!(filled(5, &results), (vec![135, 140], vec![]));
        assert_eq!(filled(3, &results), (vec![], vec![]), "the rules that were in force ask for nothing more");
    }

    #[test]
    fn where_results_differ_nothing_is_made_up_and_what_may_have_been_is_named() {
        let results = [(UP, 0), (UP, 60), (DOWN, 120), (DOWN, 125), (DOWN, 130), (UP, 180), (UP, 185), (UP, 240)];
        assert_eq!(filled(5, &results), (vec![], vec![(3, 5)]));
        let blip = [(UP, 0), (UP, 60), (DOWN, 120), (DOWN, 125), (UP, 130), (UP, 135)];
        assert_eq!(filled(5, &blip), (vec![], vec![]), "it was asked all the while");
    }

    #[test]
    fn probes_that_could_not_be_made_say_nothing() {
        let results = [(DOWN, 120), (CheckResult::Unknown, 140), (DOWN, 180)];
        assert_eq!(filled(3, &results).0, [125, 130]);
    }
}
