//! Reads the config again: at SIGHUP, and when the file has rested after a change. A bad file
//! changes nothing; a good one loses no state.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::{
    complaints::{Complaints, Speak, some},
    judging::Order,
};
use crate::{
    clock::{Clock, Elapsed},
    config::{
        Config, Loaded,
        reload::{self, Verdict},
    },
    domain::diagnostic::Diagnostic,
    notify::operator::{Desk, Notice},
    store::Store,
    web::Metrics,
};

/// Between two looks at the file. Looking also works where file system events do not.
const LOOK: Duration = Duration::from_millis(500);
/// A changed file is read when it has not changed for this long.
const REST: Duration = Duration::from_secs(2);

/// Everything the task talks to.
pub struct Reloading {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The file.
    pub path: PathBuf,
    /// Hash of the text in force.
    pub text_hash: u64,
    /// The newest good configuration, for everyone.
    pub config: watch::Sender<Arc<Config>>,
    /// To the judge.
    pub orders: mpsc::Sender<Order>,
    /// What the operator should know.
    pub desk: Desk,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// SIGHUP was received.
    pub hangups: mpsc::Receiver<()>,
    /// Ends the task.
    pub shutdown: CancellationToken,
    /// What was said of the store.
    pub complaints: Complaints,
}

/// How many errors of one config go to the log.
const SAID: usize = 10;

/// What a file looks like from outside.
#[derive(Clone, PartialEq, Eq)]
struct Look {
    modified: Option<SystemTime>,
    length: u64,
}

fn look(path: &Path) -> Option<Look> {
    let meta = fs::metadata(path).ok()?;
    Some(Look { modified: meta.modified().ok(), length: meta.len() })
}

/// Watches until shutdown.
pub async fn run(mut task: Reloading) {
    let mut seen = look(&task.path);
    // It may have changed between being loaded and this first look.
    let mut changed_at: Option<Elapsed> = Some(task.clock.elapsed());
    // By SIGHUP, and not yet done.
    let mut is_asked = false;
    loop {
        let by_signal = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            Some(()) = task.hangups.recv() => true,
            () = task.shutdown.cancelled() => return,
        };
        let now = task.clock.elapsed();
        let present = look(&task.path);
        if present != seen {
            seen = present;
            changed_at = Some(now);
        }
        let has_rested = changed_at.is_some_and(|at| now.since(at) >= REST);
        is_asked |= by_signal;
        if is_asked || has_rested {
            let is_done = task.reload(is_asked).await;
            changed_at = (!is_done).then(|| task.clock.elapsed());
            is_asked &= !is_done;
        }
    }
}

impl Reloading {
    /// Reads the file; whether that is all, or it must be tried again.
    async fn reload(&mut self, by_signal: bool) -> bool {
        let path = self.path.clone();
        let Ok(loaded) = spawn_blocking(move || Config::load(&path)).await else {
            tracing::error!("reading the config broke off; the old one stays in force");
            return true;
        };
        match loaded {
            Err(problems) => self.refuse(&problems),
            Ok(loaded) if loaded.text_hash == self.text_hash && !by_signal => self.is_good(),
            Ok(loaded) => return self.take(loaded, by_signal).await,
        }
        true
    }

    /// What the file says is in force: whatever was wrong with it is news if it comes back.
    fn is_good(&mut self) {
        if self.complaints.settled("config") {
            tracing::info!("the config is good again");
        }
        self.metrics.config_valid(true);
        self.desk.settle("config");
        self.desk.settle("config-waits");
    }

    fn refuse(&mut self, problems: &[Diagnostic]) {
        // Said each time, since each is a change or was asked for; remembered for the day it is good.
        self.complaints.about("config", "", self.clock.wall());
        self.metrics.config_valid(false);
        for problem in problems.iter().take(SAID) {
            tracing::error!("the changed config is not used, the old one stays in force: {}", problem.brief());
        }
        if let Some(more) = problems.len().checked_sub(SAID).filter(|more| *more > 0) {
            tracing::error!(more, "the changed config has further errors; `watchbell check` shows them all");
        }
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n");
        let text = format!("The old config stays in force.\n\n{text}");
        self.desk.tell(Notice::new("config", "The config has errors", &text), self.clock.wall());
    }

    /// Puts a good config in force, unless it waits for a person; `false`: the store did not let us.
    async fn take(&mut self, mut loaded: Loaded, by_signal: bool) -> bool {
        let old = Arc::clone(&self.config.borrow());
        match reload::assess(&old.rules, &loaded.config.rules) {
            Verdict::NeedsSighup { removed } if !by_signal => {
                let names = removed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let text = format!(
                    "The changed config removes {} services ({names}). It is used after SIGHUP; until then the old one stays in force.",
                    removed.len()
                );
                tracing::warn!("{text}");
                self.desk.tell(Notice::new("config-waits", "The config waits for SIGHUP", &text), self.clock.wall());
                self.metrics.config_valid(true);
                return true;
            }
            _ => {}
        }
        let kept = reload::keep_until_restart(&old, &mut loaded.config);
        let config = Arc::new(loaded.config);
        let at_work = Arc::clone(&config);
        let store_config = old.store.clone();
        let now = self.clock.wall();
        let written = spawn_blocking(move || Store::open(&store_config, now)?.set_services(&at_work.rules)).await;
        let trouble = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(trouble) = trouble {
            if let Speak::Now { repeated } = self.complaints.about("store", &trouble, now) {
                tracing::error!(
                    repeated = some(repeated),
                    "the changed config waits, since the store cannot be written: {trouble}"
                );
            }
            return false;
        }
        self.complaints.settled("store");
        for warning in &loaded.warnings {
            tracing::warn!("{}", warning.brief());
        }
        for key in kept {
            tracing::warn!("`{key}` changed: that takes a restart");
        }
        self.text_hash = loaded.text_hash;
        if self.orders.send(Order::Rules(Arc::new(config.rules.clone()))).await.is_ok() {
            tracing::info!(services = config.rules.services.len(), "config loaded");
            self.config.send_replace(config);
            self.is_good();
        }
        true
    }
}
