//! Streaks: how the results of one check become its verdict. Knows nothing of services.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Reason, time};
use crate::domain::{
    outcome::{Cause, CheckResult},
    service::{Cadence, Check},
};

/// What enough results of a check agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It answers as expected.
    Up,
    /// It answers, but slowly.
    Degraded,
    /// It fails.
    Down,
}

impl Verdict {
    /// What a single result argues for; nothing if the probe could not be made.
    #[must_use]
    pub const fn from_result(result: CheckResult) -> Option<Self> {
        match result {
            CheckResult::Up => Some(Self::Up),
            CheckResult::Degraded => Some(Self::Degraded),
            CheckResult::Down => Some(Self::Down),
            CheckResult::Unknown => None,
        }
    }
}

/// Consecutive results of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// How many.
    pub count: u32,
    /// When the first of them began.
    pub first_at: Timestamp,
}

impl Run {
    /// The run with one more result.
    fn longer(run: Option<Self>, at: Timestamp) -> Self {
        run.map_or(Self { count: 1, first_at: at }, |run| Self { count: run.count.saturating_add(1), ..run })
    }
}

/// What the judge carries of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CheckState {
    /// The last verdict; `None` before the first.
    pub verdict: Option<Verdict>,
    /// The latest results that say the same, and what they say.
    pub run: Option<(Verdict, Run)>,
    /// The latest results that are answers, fast or slow.
    pub answers: Option<Run>,
    /// When the last result that counted began, never running backwards.
    pub last_at: Option<Timestamp>,
    /// Only results that began later count: the last one's start as its clock told it, or the end
    /// of a suspension.
    pub after: Option<Timestamp>,
    /// Nobody has looked for too long: the verdict is not shown until a result confirms it.
    #[serde(default)]
    pub stale: bool,
    /// Why the last result that was not up was not.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// A fingerprint of what is asked of which target.
    #[serde(default)]
    pub target: u64,
    /// Milliseconds without a result after which it is stale.
    #[serde(default)]
    pub limit_ms: i64,
    /// For when a probe was last asked besides its turns, for the sake of another service.
    #[serde(default)]
    pub asked_at: Option<Timestamp>,
    /// It failed often enough, but its verdict waits: at most until then.
    #[serde(default)]
    pub held_until: Option<Timestamp>,
    /// When it last turned down.
    #[serde(default)]
    pub fell_at: Option<Timestamp>,
    /// Why its run is no verdict yet: the beginning of the story of the incident that may follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<(Timestamp, Reason)>,
}

/// Of what was decided of a run, so much from its beginning and so much from its end is kept.
const CONSIDERED: usize = 8;

/// What one more result changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Nothing: it agrees with the verdict.
    Agrees,
    /// It argues for another verdict, but not often enough yet.
    Pending {
        /// So many in a row.
        seen: u32,
        /// Of so many.
        needed: u32,
    },
    /// It failed often enough, but the verdict waits.
    Held,
    /// It ended such a run, of worse results, before the verdict.
    Blip {
        /// After so many.
        seen: u32,
    },
    /// It ended such a run, of better results, before the verdict.
    Relapsed {
        /// After so many.
        seen: u32,
    },
    /// A new verdict, or, after a time without data, the old one again.
    Decided {
        /// Which.
        verdict: Verdict,
        /// Since when: the first result of the run.
        from: Timestamp,
        /// How many results agree.
        probes: u32,
    },
}

impl CheckState {
    /// Counts one result that began at `at`. While `waits`, it does not turn down.
    ///
    /// A run is of equal results, except that any answer, fast or slow, ends a run of failures,
    /// and that answers of both kinds together end an outage: into `degraded` if all were slow.
    pub fn count(&mut self, check: &Check, result: Verdict, at: Timestamp, waits: bool) -> Counted {
        let ended = match self.run {
            Some((kind, run)) if kind != result && self.verdict != Some(kind) => Some((kind, run.count)),
            _ => None,
        };
        let run = Run::longer(self.run.filter(|(kind, _)| *kind == result).map(|(_, run)| run), at);
        self.run = Some((result, run));
        self.answers = if result == Verdict::Down { None } else { Some(Run::longer(self.answers, at)) };
        self.last_at = Some(at);
        if result != Verdict::Down {
            self.held_until = None;
        }

        let (streak, needed, verdict) = match (self.verdict, result, self.answers) {
            (Some(Verdict::Down), _, Some(answers)) => {
                let slow = result == Verdict::Degraded && run.count == answers.count;
                (answers, check.up_after, if slow { Verdict::Degraded } else { Verdict::Up })
            }
            (None | Some(Verdict::Up | Verdict::Degraded), Verdict::Down, _) => (run, check.down_after, Verdict::Down),
            (Some(Verdict::Up), Verdict::Degraded, _) => (run, check.degraded_after, Verdict::Degraded),
            (Some(Verdict::Degraded), Verdict::Up, _) => (run, check.up_after, Verdict::Up),
            // The first answer ever is enough to say that it is up.
            (None, Verdict::Degraded, _) if check.degraded_after <= 1 => (run, 1, Verdict::Degraded),
            (None, _, _) => (run, 1, Verdict::Up),
            (Some(verdict), _, _) => (run, 0, verdict),
        };
        if self.verdict != Some(verdict) && streak.count >= needed.max(1) {
            if waits && verdict == Verdict::Down {
                return Counted::Held;
            }
            self.held_until = None;
            self.verdict = Some(verdict);
            self.stale = false;
            return Counted::Decided { verdict, from: streak.first_at, probes: streak.count };
        }
        let confirms = self.verdict == Some(result) || (self.verdict, result) == (Some(Verdict::Up), Verdict::Degraded);
        if let (true, true, Some(verdict)) = (self.stale, confirms, self.verdict) {
            self.stale = false;
            return Counted::Decided { verdict, from: at, probes: 1 };
        }
        match ended {
            _ if self.verdict != Some(verdict) => Counted::Pending { seen: streak.count, needed },
            Some((kind, seen)) if Some(kind) < self.verdict => Counted::Relapsed { seen },
            Some((_, seen)) => Counted::Blip { seen },
            None => Counted::Agrees,
        }
    }

    /// Whether results argue for another verdict, so that it is probed at the faster pace.
    pub fn is_pending(&self) -> bool {
        match (self.verdict, self.run) {
            (_, None) => false,
            (Some(Verdict::Down), Some(_)) => self.answers.is_some(),
            (None, Some((kind, _))) => kind == Verdict::Down,
            (Some(verdict), Some((kind, _))) => kind != verdict,
        }
    }

    /// Remembers why the present run is no verdict yet.
    pub fn consider(&mut self, at: Timestamp, reason: Reason) {
        if self.run.is_none_or(|(_, run)| run.count <= 1) {
            self.considered.clear();
        }
        if self.considered.len() >= 2 * CONSIDERED {
            self.considered.remove(CONSIDERED);
        }
        self.considered.push((at, reason));
    }

    /// Forgets results that have not become a verdict, so that it needs new ones.
    pub fn forget_run(&mut self) {
        self.considered.clear();
        self.run = None;
        self.answers = None;
        self.held_until = None;
    }

    /// Since when it fails without being down yet.
    pub fn failing_since(&self) -> Option<Timestamp> {
        let (_, run) = self.run.filter(|(kind, _)| *kind == Verdict::Down && self.verdict != Some(*kind))?;
        Some(run.first_at)
    }

    /// Since when it fails and how often, were the result that began at `at` a failure, too.
    pub fn failing_with(&self, at: Timestamp) -> Run {
        Run::longer(self.run.filter(|(kind, _)| *kind == Verdict::Down).map(|(_, run)| run), at)
    }

    /// Whether it is known to be down.
    pub fn is_down(&self) -> bool {
        self.verdict == Some(Verdict::Down) && !self.stale
    }

    /// Whether it may explain something that fails since `first_at`: it fails itself, or was asked
    /// and nothing was heard since.
    pub fn is_in_question(&self, first_at: Timestamp) -> bool {
        let is_silent = || self.after.is_none_or(|last| last < first_at);
        self.failing_since().is_some() || !self.stale && self.is_unanswered() && is_silent()
    }

    /// Whether it was asked besides its turns and has not answered yet.
    pub fn is_unanswered(&self) -> bool {
        // By the clock of now, on both sides.
        self.asked_at.is_some_and(|asked| self.after.is_none_or(|last| last < asked))
    }

    /// Whether somebody waits to hear whether it is down.
    pub fn is_awaited(&self) -> bool {
        self.failing_since().is_some() || self.is_unanswered()
    }

    /// Turns down after having waited; the run of failures.
    pub fn fall(&mut self) -> Option<Run> {
        self.held_until = None;
        self.failing_since()?;
        self.verdict = Some(Verdict::Down);
        self.stale = false;
        self.run.map(|(_, run)| run)
    }

    /// When it becomes stale unless a result comes; `None` if it never had one or already is.
    pub fn stale_at(&self) -> Option<Timestamp> {
        if self.stale { None } else { self.last_at.map(|last| time::plus_ms(last, self.limit_ms)) }
    }
}

/// Milliseconds without a result after which a check has no recent data: ten minutes or three
/// intervals, whichever is more.
pub(super) fn silence_limit_ms(check: &Check) -> i64 {
    let interval = match &check.cadence {
        Cadence::Every(every) => *every,
        Cadence::Cron { patterns, .. } => patterns.iter().filter_map(|p| longest_pause(p)).min().unwrap_or_default(),
    };
    time::millis(interval).saturating_mul(3).max(600_000)
}

/// The longest time between two firings of a cron pattern, among the first few of a leap year.
fn longest_pause(pattern: &str) -> Option<Duration> {
    let start = chrono::DateTime::<chrono::Utc>::from_timestamp(1_704_067_200, 0)?;
    let schedule: cron::Schedule = pattern.parse().ok()?;
    let firings: Vec<_> = schedule.after(&start).take(60).collect();
    firings.iter().zip(firings.iter().skip(1)).filter_map(|(a, b)| (*b - *a).to_std().ok()).max()
}

/// A fingerprint of what is asked: results for another target or with other expectations must not
/// add up. Secrets do not enter it (they print as nothing), for a new password is no new target.
pub(super) fn fingerprint(check: &Check) -> u64 {
    // FNV-1a: stable for ever, unlike the standard library's hasher.
    let text = format!("{:?}", check.probe);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
