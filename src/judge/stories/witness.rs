//! Someone who sees every input and all that follows from it, knows what results mean in the plainest
//! way, and objects at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::{CheckKey, ServiceId, maintenance::Window, outcome::CheckResult},
    judge::{Input, Step, story::Story},
};

/// So many failures, or slow answers, in a row are a verdict.
const IN_A_ROW: usize = 3;
/// Whoever was not probed for so long is not known to have failed all the time.
const SILENT: SignedDuration = SignedDuration::from_mins(10);

/// Results of one check that say the same, one after the other.
#[derive(Debug, Default)]
struct Run {
    result: Option<CheckResult>,
    /// When the first of them began, and how many there are.
    first: Option<Timestamp>,
    count: usize,
    /// When each began since the last good one, failures and slow answers alike.
    bad: Vec<Timestamp>,
    last: Option<Timestamp>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Witness {
    runs: BTreeMap<CheckKey, Run>,
    /// When trouble of each service can have begun: the first of enough bad results in a row.
    firsts: BTreeMap<ServiceId, BTreeSet<Timestamp>>,
    /// The same if nobody could see meanwhile, or it was broken off: any of so many bad ones, slow or
    /// failed. What was down, was not seen for long, and is slow then has not been well in between.
    others: BTreeMap<ServiceId, BTreeSet<Timestamp>>,
    /// Every version of planned work.
    pub windows: Vec<Window>,
    /// People had their say: what is so need not be what checks found.
    pub is_noted: bool,
    /// Something else than results may have ended a run.
    pub is_disturbed: bool,
}

impl Witness {
    /// An input, before the judge has it.
    pub fn sees(&mut self, input: &Input) {
        match input {
            Input::Outcome { check, outcome } => self.result(check, outcome.result, outcome.started_at),
            Input::Note(_) => self.is_noted = true,
            Input::Maintenance(window) => self.windows.push((**window).clone()),
            Input::Suspended => self.is_disturbed = true,
            Input::Rules | Input::Tick => {}
        }
    }

    fn result(&mut self, check: &CheckKey, result: CheckResult, at: Timestamp) {
        self.is_disturbed |= check.service.is_canaries() && result == CheckResult::Down;
        if result == CheckResult::Unknown {
            return;
        }
        let run = self.runs.entry(check.clone()).or_default();
        self.is_disturbed |= run.last.is_some_and(|last| at.duration_since(last) >= SILENT);
        run.last = Some(at);
        if run.result != Some(result) {
            (run.result, run.first, run.count) = (Some(result), Some(at), 0);
        }
        run.count += 1;
        if result == CheckResult::Up {
            run.bad.clear();
            return;
        }
        run.bad.push(at);
        if run.bad.len() >= IN_A_ROW {
            let new = if run.bad.len() == IN_A_ROW { &run.bad[..] } else { &run.bad[run.bad.len() - 1..] };
            self.others.entry(check.service.clone()).or_default().extend(new);
        }
        if run.count >= IN_A_ROW {
            self.firsts.entry(check.service.clone()).or_default().extend(run.first);
        }
    }

    /// What follows from it.
    pub fn hears(&self, story: &Story, step: &Step) {
        if self.is_noted {
            return;
        }
        for incident in &step.incidents {
            for part in &incident.affected {
                let begins = |all: &BTreeMap<ServiceId, BTreeSet<Timestamp>>| {
                    all.get(&part.service).is_some_and(|all| all.contains(&part.started_at))
                };
                let of_work = || {
                    let mut edges = self.windows.iter().flat_map(|window| [window.starts, window.ends]);
                    edges.any(|at| at == part.started_at) && self.others.contains_key(&part.service)
                };
                assert!(
                    begins(&self.firsts) || self.is_disturbed && begins(&self.others) || of_work(),
                    "{} did not begin with the first of enough failures: {part:?} in {}, {:?}",
                    part.service,
                    incident.id,
                    self.firsts.get(&part.service),
                );
            }
        }
        for now in step.services.iter().filter(|now| story.rules.service(&now.service).is_some()) {
            let is_told = !now.status.is_trouble() || !story.world.suffering(&now.service).is_empty();
            assert!(is_told, "in trouble, and in no incident: {now:?}");
        }
    }
}
