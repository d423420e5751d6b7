//! The task that owns the [`Engine`]: it starts probes, hands in what comes back, and passes on
//! what is to be written. It never waits for the disk, a server or a subscriber.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{engine::Engine, health::Health};
use crate::{
    clock::{Clock, Elapsed},
    domain::{
        CheckKey,
        incident::Incident,
        note::Note,
        outcome::Outcome,
        service::{Rules, Service},
    },
    judge::{Priority, Sight},
    notify::operator::{Desk, Notice},
    probe::{Bounds, Prober},
    store::Commit,
    web::Metrics,
};

/// The longest pause between two looks at the clock; a much longer gap means that we stood still.
pub const LOOK: Duration = Duration::from_millis(250);
/// Wall time and elapsed time may drift apart so much between two looks, and a look be so late.
const SLACK: Duration = Duration::from_secs(2);

/// What others ask of the judging task.
#[derive(Debug)]
pub enum Order {
    /// A note is new or changed.
    Note(Box<Note>),
    /// Other rules are in force from now on.
    Rules(Arc<Rules>),
}

/// Everything the task talks to.
pub struct Judging {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Makes the probes.
    pub prober: Prober,
    /// What others ask.
    pub orders: mpsc::Receiver<Order>,
    /// To the writer.
    pub commits: mpsc::Sender<Commit>,
    /// Automatic incidents whose note files are to be created.
    pub opened: mpsc::UnboundedSender<Incident>,
    /// What is going on, for `/healthz`.
    pub health: Arc<Health>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// For the operator: that we cannot see.
    pub desk: Desk,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// A probe that ended: with an outcome, or broken off.
type Ended = (CheckKey, Option<Outcome>);

/// Runs until shutdown; then hands the last commit to the writer and returns.
pub async fn run(mut engine: Engine, mut task: Judging) {
    let bounds = Bounds::of_process();
    let mut probes: JoinSet<Ended> = JoinSet::new();
    let mut watch = Watch::new((task.clock.wall(), task.clock.elapsed()));
    loop {
        let now = task.look(&mut watch, &mut engine);
        engine.tick(now);
        for due in engine.take_ended_slots(now) {
            let lag = Duration::try_from(now.duration_since(due.due_at)).unwrap_or_default();
            match engine.service_of(&due.check) {
                Some(service) => {
                    task.metrics.begun(lag);
                    task.start(&mut probes, &bounds, due.check, service, due.priority);
                }
                None => engine.gave_up(&due.check, now),
            }
        }
        task.hand_on(&mut engine, now);

        let pause = engine.wake_at().map_or(LOOK, |at| {
            Duration::try_from(at.duration_since(task.clock.wall())).unwrap_or(Duration::ZERO).min(LOOK)
        });
        // While the writer is behind there is nothing to hurry for.
        let pause = if task.commits.capacity() == 0 { pause.max(LOOK / 10) } else { pause };
        tokio::select! {
            () = task.shutdown.cancelled() => break,
            Some(order) = task.orders.recv() => match order {
                Order::Note(note) => engine.note(*note, task.clock.wall()),
                Order::Rules(rules) => {
                    task.metrics.keep_checks(&keys(engine.rules()), &keys(&rules));
                    engine.set_rules(rules, task.clock.wall());
                }
            },
            Some(ended) = probes.join_next() => {
                // Before it counts: if we stood still, it ran out of time through no fault of its target.
                task.look(&mut watch, &mut engine);
                task.take(&mut engine, ended);
                while let Some(ended) = probes.try_join_next() {
                    task.take(&mut engine, ended);
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
    // Probes under way are cut here: they say nothing about their targets.
    probes.abort_all();
    let last = engine.take_all(task.clock.wall());
    if task.commits.send(last).await.is_err() {
        tracing::error!("the writer was gone before the last commit");
    }
}

impl Judging {
    /// Looks at both clocks; if we stood still or one was moved, what is under way is void.
    fn look(&self, watch: &mut Watch, engine: &mut Engine) -> Timestamp {
        let look = (self.clock.wall(), self.clock.elapsed());
        if watch.stood_still(look) {
            tracing::warn!(
                "the process stood still or the clock was moved: everything is probed anew before anything is decided"
            );
            engine.suspended(look.0);
        }
        self.health.judged(look.1);
        look.0
    }

    fn start(
        &self,
        probes: &mut JoinSet<Ended>,
        bounds: &Bounds,
        key: CheckKey,
        service: Arc<Service>,
        priority: Priority,
    ) {
        let (bounds, prober, clock) = (bounds.clone(), self.prober.clone(), Arc::clone(&self.clock));
        probes.spawn(async move {
            let probe = async {
                let check = service.checks.iter().find(|check| check.id == key.check)?;
                let _permit = bounds.start(check.probe.host(), priority).await;
                Some(prober.probe(check, clock.wall()).await)
            };
            let outcome = AssertUnwindSafe(probe).catch_unwind().await;
            (key, outcome.ok().flatten())
        });
    }

    fn take(&self, engine: &mut Engine, ended: Result<Ended, JoinError>) {
        let now = self.clock.wall();
        match ended {
            Ok((check, Some(outcome))) => {
                self.metrics.checked(&check, outcome.result, outcome.latency);
                if let (Some(cause), Some(detail)) = (&outcome.cause, &outcome.detail) {
                    tracing::debug!(%check, class = %cause.class, "{detail}");
                }
                engine.finished(check, outcome, now);
            }
            Ok((check, None)) => {
                tracing::error!(%check, "a probe broke off: that is a fault in watchbell");
                engine.gave_up(&check, now);
            }
            Err(_) => {} // cut at shutdown
        }
    }

    /// Passes on what is to be written, if the writer has room for it.
    fn hand_on(&self, engine: &mut Engine, now: Timestamp) {
        for incident in engine.take_opened() {
            // The task that writes note files ends only at shutdown.
            let _ = self.opened.send(incident);
        }
        for sight in engine.take_sights() {
            tell_operator(&self.desk, engine.rules(), &sight, now);
        }
        self.metrics.blips(engine.take_blips());
        if let Ok(permit) = self.commits.try_reserve()
            && let Some(commit) = engine.take_commit(now)
        {
            let dropped = engine.take_dropped_samples();
            if dropped > 0 {
                tracing::warn!(dropped, "results are missing: the store could not be written for too long");
            }
            self.metrics.incidents_open(engine.world().open_incidents().count());
            for event in commit.steps.iter().flat_map(|step| &step.events) {
                let services = event.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                tracing::info!(incident = %event.incident, services, at = %event.at, "{}", event.kind);
            }
            permit.send(commit);
        }
    }
}

/// Leaves what only operators and owners are told at their desk.
pub fn tell_operator(desk: &Desk, rules: &Rules, sight: &Sight, now: Timestamp) {
    match sight {
        Sight::Lost { class, since } => {
            tracing::warn!(%since, "blind: no canary {class} answers");
            desk.tell(Notice::blind(*class, *since), now);
        }
        Sight::Regained { class, since } => {
            tracing::warn!(%since, "no longer blind: a canary {class} answers; everything is probed anew");
            desk.settle(&Notice::blind(*class, *since).key);
            desk.settle(&Notice::sees_again(*class, *since).key);
            desk.tell(Notice::sees_again(*class, *since), now);
        }
        Sight::Overdue { incident, services, promised_at } => {
            tracing::warn!(%incident, %promised_at, "an update that was promised is overdue");
            let owners = services.iter().filter_map(|id| rules.service(id)).flat_map(|service| service.owners.clone());
            desk.tell(Notice::overdue(incident, *promised_at).also_for(owners), now);
        }
        Sight::Useless { canary } => {
            tracing::warn!(%canary, "was never up since the start, and is ignored");
            desk.tell(Notice::useless_canary(canary), now);
        }
    }
}

fn keys(rules: &Rules) -> std::collections::BTreeSet<CheckKey> {
    rules.services.iter().flat_map(|service| service.enabled_checks().map(|(key, _)| key)).collect()
}

/// Looks at both clocks again and again, and notices what lies between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    looked: (Timestamp, Elapsed),
}

impl Watch {
    /// One that has looked just now.
    #[must_use]
    pub fn new(look: (Timestamp, Elapsed)) -> Self {
        Self { looked: look }
    }

    /// Looks again: whether more time passed since the last look than should have, or the two
    /// clocks disagree.
    pub fn stood_still(&mut self, look: (Timestamp, Elapsed)) -> bool {
        let before = std::mem::replace(&mut self.looked, look);
        let elapsed = look.1.since(before.1);
        let wall = look.0.duration_since(before.0);
        let apart = wall.checked_sub(jiff::SignedDuration::try_from(elapsed).unwrap_or(jiff::SignedDuration::MAX));
        let drifted = apart.is_none_or(|apart| apart.unsigned_abs() > SLACK);
        drifted || elapsed > LOOK + SLACK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(wall_ms: i64, elapsed_ms: u64) -> (Timestamp, Elapsed) {
        (Timestamp::from_millisecond(wall_ms).unwrap(), Elapsed(Duration::from_millis(elapsed_ms)))
    }

    #[test]
    fn a_gap_or_a_jump_of_the_clock_is_noticed() {
        let stood_still = |before, now| Watch::new(before).stood_still(now);
        assert!(!stood_still(look(0, 0), look(250, 250)));
        assert!(!stood_still(look(0, 0), look(1500, 1500)), "a busy machine");
        assert!(stood_still(look(0, 0), look(30_000, 30_000)), "stopped");
        assert!(stood_still(look(0, 0), look(3_600_000, 250)), "suspended, or the clock set forward");
        assert!(stood_still(look(7_200_000, 0), look(0, 250)), "the clock set back");
    }
}
