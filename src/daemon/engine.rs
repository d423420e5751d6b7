//! The one owner of the [`World`]: schedule, judge and what waits to be written, as one value that
//! time and outcomes are handed to. It touches nothing, so a simulation can drive it as well as
//! the daemon does.

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::{
        CheckKey,
        incident::{Incident, Origin},
        note::Note,
        outcome::Outcome,
        service::{Rules, Service},
    },
    judge::{self, Decision, Input, Priority, Reason, Request, Sight, Step, World},
    schedule::{Due, Schedule},
    store::{Commit, Sample},
};

/// Samples alone wait this long for others to be written with them.
const GATHER_SAMPLES: SignedDuration = SignedDuration::from_secs(1);
/// More samples than this are not kept while the store fails; steps always are.
const MAX_SAMPLES: usize = 200_000;

/// Schedule, judge and what waits to be written.
#[derive(Debug)]
pub struct Engine {
    rules: Arc<Rules>,
    /// Where each check stands: the service it belongs to.
    services: HashMap<CheckKey, Arc<Service>>,
    world: World,
    schedule: Schedule,
    commit: Commit,
    urgent: bool,
    oldest_unwritten_at: Option<Timestamp>,
    /// Samples alone wait this long.
    gather: SignedDuration,
    dropped_samples: u64,
    /// Runs of failures that ended before the verdict.
    blips: u64,
    /// Outcomes of probes that began before this are void: we stood still meanwhile.
    void_before: Option<Timestamp>,
    opened: Vec<Incident>,
    sights: Vec<Sight>,
}

impl Engine {
    /// Goes on from `world` under `rules`.
    #[must_use]
    pub fn new(rules: Arc<Rules>, world: World, mut schedule: Schedule, now: Timestamp) -> Self {
        schedule.set(&rules, now);
        let mut engine = Self {
            services: by_check(&rules),
            rules,
            world,
            schedule,
            commit: Commit::new(now),
            urgent: false,
            oldest_unwritten_at: None,
            gather: GATHER_SAMPLES,
            dropped_samples: 0,
            blips: 0,
            void_before: None,
            opened: Vec::new(),
            sights: Vec::new(),
        };
        // A canary that was up before says nothing of the way out that we have now.
        engine.world.distrust_canaries();
        engine.step(Input::Rules, now);
        let last: HashMap<_, _> = engine.world.last_results().collect();
        for check in engine.services.keys() {
            engine.schedule.resume(check, last.get(check).copied().flatten(), now);
        }
        engine
    }

    /// Lets samples alone wait that long for others, rather than a second: where simulated days
    /// are to pass quickly, and a crash may lose what it would not.
    pub fn gather_samples_for(&mut self, gather: SignedDuration) {
        self.gather = gather;
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The service that a check belongs to; `None` if the check is gone or switched off.
    #[must_use]
    pub fn service_of(&self, check: &CheckKey) -> Option<Arc<Service>> {
        self.services.get(check).cloned()
    }

    /// Asks for a probe of every check now, rather than at its turn.
    pub fn ask_all(&mut self, now: Timestamp) {
        for check in self.services.keys() {
            self.schedule.request(check, now, Priority::Regular);
        }
    }

    /// Whether no verdict is pending and no news waits for others to join.
    #[must_use]
    pub fn is_decided(&self, now: Timestamp) -> bool {
        self.world.is_decided(now)
    }

    /// What is known now.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Puts other rules in force, keeping all that still applies.
    pub fn set_rules(&mut self, rules: Arc<Rules>, now: Timestamp) {
        self.schedule.set(&rules, now);
        self.services = by_check(&rules);
        self.rules = rules;
        self.step(Input::Rules, now);
    }

    /// The checks to probe now, most urgent first. Each must come back through
    /// [`Self::finished`] or [`Self::gave_up`].
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Due> {
        self.schedule.take_due(now)
    }

    /// As [`Self::take_due`], but only those whose slot has ended: whoever looks sooner, or late,
    /// must not start one before its time. A check that waits equally long at each of its turns
    /// keeps an even pace.
    pub fn take_ended_slots(&mut self, now: Timestamp) -> Vec<Due> {
        self.schedule.take_due(self.schedule.start_of_slot(now))
    }

    /// A probe came back.
    pub fn finished(&mut self, check: CheckKey, outcome: Outcome, now: Timestamp) {
        self.schedule.done(&check, now);
        let began_by_another_clock = outcome.started_at > now;
        if began_by_another_clock || self.void_before.is_some_and(|at| outcome.started_at < at) {
            self.schedule.request(&check, now, Priority::Recheck);
            return;
        }
        if !self.services.contains_key(&check) {
            return; // removed by a reload while it was under way
        }
        if check.service.is_canaries() {
            self.step(Input::Outcome { check, outcome }, now);
            return; // of use for the moment only
        }
        if self.commit.samples.len() < MAX_SAMPLES {
            self.commit.samples.push(Sample::new(check.clone(), &outcome));
        } else {
            self.dropped_samples += 1;
        }
        self.oldest_unwritten_at.get_or_insert(now);
        self.step(Input::Outcome { check, outcome }, now);
    }

    /// A probe was not made or not finished, and says nothing.
    pub fn gave_up(&mut self, check: &CheckKey, now: Timestamp) {
        self.schedule.done(check, now);
    }

    /// A note is new or changed.
    pub fn note(&mut self, note: Note, now: Timestamp) {
        self.step(Input::Note(Box::new(note)), now);
    }

    /// We stood still until now, or the clock jumped: what is under way is void.
    pub fn suspended(&mut self, now: Timestamp) {
        self.void_before = Some(now);
        self.step(Input::Suspended, now);
    }

    /// Lets time pass: whatever is due in the world by `now` happens.
    pub fn tick(&mut self, now: Timestamp) {
        if self.world.wake_at(&self.rules).is_some_and(|at| at <= now) {
            self.step(Input::Tick, now);
        }
    }

    /// When to call [`Self::take_due`], [`Self::tick`] or [`Self::take_commit`] again at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        let flush = self.oldest_unwritten_at.map(|at| at.saturating_add(self.gather).unwrap_or(at));
        self.acts_at().into_iter().chain(flush).min()
    }

    /// The same while nothing can be written: when to call [`Self::take_due`] or [`Self::tick`].
    #[must_use]
    pub fn acts_at(&self) -> Option<Timestamp> {
        self.schedule.wake_at().into_iter().chain(self.world.wake_at(&self.rules)).min()
    }

    /// What is to be written now: at once if something changed, samples alone after a second.
    pub fn take_commit(&mut self, now: Timestamp) -> Option<Commit> {
        let rested = self.oldest_unwritten_at.is_some_and(|at| now.duration_since(at) >= self.gather);
        (self.urgent || rested).then(|| self.take_all(now))
    }

    /// All that is not yet written.
    pub fn take_all(&mut self, now: Timestamp) -> Commit {
        self.urgent = false;
        self.oldest_unwritten_at = None;
        let mut commit = std::mem::replace(&mut self.commit, Commit::new(now));
        commit.at = now;
        commit.world = self.world.take_dirty();
        commit
    }

    /// Incidents that checks opened since the last call: their note files are to be created.
    pub fn take_opened(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.opened)
    }

    /// What operators should know of our own sight, since the last call.
    pub fn take_sights(&mut self) -> Vec<Sight> {
        std::mem::take(&mut self.sights)
    }

    /// How many samples were not kept because the store failed for too long, since the last call.
    pub fn take_dropped_samples(&mut self) -> u64 {
        std::mem::take(&mut self.dropped_samples)
    }

    /// How many runs of failures ended before the verdict, since the last call.
    pub fn take_blips(&mut self) -> u64 {
        std::mem::take(&mut self.blips)
    }

    fn step(&mut self, input: Input, now: Timestamp) {
        let mut step = judge::step(&self.rules, &mut self.world, input, now);
        for request in std::mem::take(&mut step.requests) {
            match request {
                Request::Probe { check, at, priority } => self.schedule.request(&check, at, priority),
            }
        }
        self.sights.append(&mut step.sights);
        let is_blip = |decision: &&Decision| matches!(decision.reason, Reason::Blip { .. });
        self.blips += u64::try_from(step.decisions.iter().filter(is_blip).count()).unwrap_or(0);
        // Of others nobody keeps the reason: they must not pile up while the store fails.
        step.decisions.retain(|decision| decision.incident.is_some());
        let is_new =
            |incident: &&Incident| incident.version == 1 && incident.origin == Origin::Automatic && !incident.withdrawn;
        self.opened.extend(step.incidents.iter().filter(is_new).cloned());
        if step != Step::default() {
            self.urgent |= step.changes_something();
            self.oldest_unwritten_at.get_or_insert(now);
            match self.commit.steps.last_mut() {
                Some(last) => last.absorb(step),
                None => self.commit.steps.push(step),
            }
        }
    }
}

fn by_check(rules: &Rules) -> HashMap<CheckKey, Arc<Service>> {
    let keys = |service: &Arc<Service>| {
        let service = Arc::clone(service);
        service.enabled_checks().map(|(key, _)| (key, Arc::clone(&service))).collect::<Vec<_>>()
    };
    rules.probed().flat_map(keys).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::outcome::{CheckResult, Class, Phases},
        judge::story::{DOWN, UNKNOWN, at, key, rules},
    };

    fn engine() -> Engine {
        Engine::new(Arc::new(rules(&["api"])), World::new(7), Schedule::new(Duration::from_millis(15)), at(0))
    }

    fn outcome(result: CheckResult, second: i64) -> Outcome {
        Outcome {
            result,
            cause: Some(Class::Reset.into()),
            started_at: at(second),
            latency: Duration::from_millis(5),
            phases: Phases::default(),
            detail: None,
        }
    }

    #[test]
    fn while_the_store_fails_only_what_is_to_be_kept_piles_up() {
        let mut engine = engine();
        engine.take_all(at(0));
        for second in 1..500 {
            engine.finished(key("api"), outcome(UNKNOWN, second), at(second));
        }
        assert!(engine.take_all(at(500)).steps.is_empty());
        assert_eq!(engine.take_blips(), 0);
        for second in 501..504 {
            engine.finished(key("api"), outcome(DOWN, second), at(second));
        }
        let commit = engine.take_commit(at(504)).unwrap();
        let kinds: Vec<_> =
            commit.steps.iter().flat_map(|step| &step.events).map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["opened"]);
        assert_eq!(commit.samples.len(), 3);
        assert!(engine.take_commit(at(505)).is_none(), "all of it was handed over");
    }

    #[test]
    fn of_what_changes_again_and_again_only_the_newest_waits_for_the_store() {
        let names: Vec<String> = (0..60).map(|n| format!("s{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut engine =
            Engine::new(Arc::new(rules(&names)), World::new(7), Schedule::new(Duration::from_millis(15)), at(0));
        engine.take_all(at(0));
        for second in 1..=3 {
            for name in &names {
                engine.finished(key(name), outcome(DOWN, second), at(second));
            }
        }
        let commit = engine.take_all(at(4));
        let incidents: Vec<&Incident> = commit.steps.iter().flat_map(|step| &step.incidents).collect();
        let told: usize = commit.steps.iter().flat_map(|step| step.events.iter().chain(&step.amended)).count();
        let storm = incidents.iter().find(|incident| !incident.withdrawn).unwrap();
        assert_eq!(storm.affected.len(), 60, "as it is at last");
        assert!(incidents.len() < 6 && told < 6, "{} incidents, {told} events", incidents.len());
        assert_eq!(commit.steps.iter().map(|step| step.services.len()).sum::<usize>(), 60);
    }

    #[test]
    fn a_blip_is_counted_and_nothing_of_it_is_written() {
        let mut engine = engine();
        engine.finished(key("api"), outcome(crate::judge::story::UP, 1), at(1));
        engine.finished(key("api"), outcome(DOWN, 2), at(2));
        engine.finished(key("api"), outcome(crate::judge::story::UP, 3), at(3));
        assert_eq!((engine.take_blips(), engine.take_blips()), (1, 0));
        assert!(engine.take_all(at(4)).steps.iter().all(|step| step.decisions.is_empty()));
    }

    #[test]
    fn a_probe_that_began_before_we_stood_still_says_nothing() {
        let mut engine = engine();
        engine.suspended(at(100));
        for _ in 0..9 {
            engine.finished(key("api"), outcome(DOWN, 99), at(101));
        }
        let commit = engine.take_all(at(102));
        assert!(commit.samples.is_empty());
        assert!(commit.steps.iter().all(|step| step.events.is_empty()));
    }

    #[test]
    fn an_incident_that_is_over_still_gets_its_file_unless_that_was_seen_or_is_long_ago() {
        use crate::{daemon::unfiled, judge::story::UP, notes::Mark};

        let mut engine = engine();
        for second in 1..=3 {
            engine.finished(key("api"), outcome(DOWN, second), at(second));
        }
        assert_eq!(unfiled(engine.world(), &[]).len(), 1, "it goes on");
        for second in 10..=11 {
            engine.finished(key("api"), outcome(UP, second), at(second));
        }
        let ended = unfiled(engine.world(), &[]);
        assert!(ended.len() == 1 && !ended[0].is_open(), "{ended:?}");
        let mark = Mark { name: ended[0].id.clone(), id: ended[0].id.clone(), hash: [0; 32] };
        assert!(unfiled(engine.world(), &[mark]).is_empty());
        for second in 90_000..=90_002 {
            engine.finished(key("api"), outcome(DOWN, second), at(second));
        }
        let late = unfiled(engine.world(), &[]);
        assert!(late.len() == 1 && late[0].is_open(), "{late:?}");
    }

    #[test]
    fn what_is_due_starts_at_the_end_of_its_slot() {
        let mut engine = engine();
        let ms = |ms: i64| at(0) + SignedDuration::from_millis(ms);
        engine.take_due(at(0));
        engine.gave_up(&key("api"), at(0));
        let slot = i64::try_from(engine.schedule.wake_at().unwrap().duration_since(at(0)).as_millis()).unwrap();
        engine.take_due(ms(slot));
        engine.gave_up(&key("api"), ms(slot));
        engine.schedule.request(&key("api"), ms(slot + 1), Priority::Recheck);
        for too_soon in [slot + 1, slot + 7, slot + 14] {
            assert_eq!(engine.take_ended_slots(ms(too_soon)), []);
        }
        assert_eq!(engine.take_ended_slots(ms(slot + 15)).len(), 1, "its slot is over");
    }
}
