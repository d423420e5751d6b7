//! `watchbell once`: one pass of what the daemon does, for cron and CI.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::{Global, Outcome, load, output, read_notes, runtime};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    daemon::{self, Opened, delivering, engine::Engine},
    domain::{CheckKey, outcome},
    notes::{self, Scan},
    probe::{Bounds, Prober},
    schedule::Schedule,
    site::{Publisher, words::Names},
    store::Store,
};

/// Whatever is not decided by then is left for the next pass.
const AT_MOST: SignedDuration = SignedDuration::from_secs(60);
/// Between two looks at the clock.
const LOOK: Duration = Duration::from_millis(50);

pub fn once(global: &Global) -> Outcome {
    let config = Arc::new(load(global)?.config);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    runtime()?.block_on(pass(global, &config, &clock))?;
    Ok(())
}

async fn pass(global: &Global, config: &Arc<Config>, clock: &Arc<dyn Clock>) -> anyhow::Result<()> {
    let Opened { lock, mut store, world, remembered } = daemon::open(config, &**clock)?;
    let began_at = clock.wall();
    let until = began_at.saturating_add(AT_MOST)?;
    let unfiled = daemon::unfiled(&world, &remembered.files);
    let mut engine = Engine::new(Arc::new(config.rules.clone()), world, Schedule::new(daemon::SLOT), began_at);
    let scan = read_notes(config, remembered, began_at);
    store.set_note_files(&scan.marks, &scan.forgotten)?;
    if let Some(corrections) = &scan.corrections {
        store.set_corrections(corrections)?;
    }
    take_notes(global, scan, &mut engine, began_at);
    engine.ask_all(began_at);
    judge_until_decided(&mut engine, &mut store, clock, until).await?;
    let names = Names::of(&config.rules);
    for incident in unfiled.into_iter().chain(engine.take_opened()) {
        if let Err(error) = notes::create_file(&config.notes_dir, &incident, &|id| names.get(id).to_owned()) {
            output::say(&format!("no note file was created for {}: {error}", incident.id));
        }
    }
    let now = clock.wall();
    store.commit(&engine.take_all(now))?;
    let published = Publisher::new(config)?.publish(&Store::reader(&config.store)?, now)?;
    tracing::info!(written = published.written, removed = published.removed, "published");
    while store.fan_out(now)?.next_at.is_some_and(|at| at <= now) {}
    delivering::drain(config, clock, until).await?;
    drop(lock);
    Ok(())
}

fn take_notes(global: &Global, scan: Scan, engine: &mut Engine, now: Timestamp) {
    if !global.quiet {
        scan.problems.iter().for_each(|problem| output::say(&problem.to_string()));
    }
    for note in scan.changed {
        engine.note(note, now);
    }
}

/// Probes until every check has its verdict and all news has been gathered, or `until` has come.
async fn judge_until_decided(
    engine: &mut Engine,
    store: &mut Store,
    clock: &Arc<dyn Clock>,
    until: Timestamp,
) -> anyhow::Result<()> {
    let prober = Prober::new(Arc::clone(clock));
    let bounds = Bounds::of_process();
    let mut probes: JoinSet<Option<(CheckKey, outcome::Outcome)>> = JoinSet::new();
    loop {
        let now = clock.wall();
        engine.tick(now);
        for due in engine.take_due(now) {
            let Some(service) = engine.service_of(&due.check) else {
                engine.gave_up(&due.check, now);
                continue;
            };
            let (bounds, prober, clock) = (bounds.clone(), prober.clone(), Arc::clone(clock));
            probes.spawn(async move {
                let check = service.checks.iter().find(|check| check.id == due.check.check)?;
                let _permit = bounds.start(check.probe.host(), due.priority).await;
                let outcome = prober.probe(check, clock.wall()).await;
                Some((due.check, outcome))
            });
        }
        if let Some(commit) = engine.take_commit(now) {
            store.commit(&commit)?;
        }
        if (probes.is_empty() && engine.is_decided(now)) || now >= until {
            return Ok(());
        }
        tokio::select! {
            Some(Ok(Some((check, outcome)))) = probes.join_next() => engine.finished(check, outcome, clock.wall()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
