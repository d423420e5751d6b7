//! Reads the config again: at SIGHUP, and when the file has rested after a change. A bad file
//! changes nothing; a good one loses no state.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
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
        self, Config, Loaded,
        reload::{self, Verdict},
    },
    domain::{diagnostic::Diagnostic, service::Rules},
    notify::operator::{Desk, Notice},
    store::{Store, StoreError},
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
    /// Decides on what it says.
    pub reloader: Reloader,
    /// The newest good configuration, for everyone.
    pub config: watch::Sender<Arc<Config>>,
    /// To the judge.
    pub orders: mpsc::Sender<Order>,
    /// SIGHUP was received.
    pub hangups: mpsc::Receiver<()>,
    /// Ends the task.
    pub shutdown: CancellationToken,
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

/// Writes down the services of a config that is about to be in force, in the store of the old one.
pub type Record<'a> = &'a mut dyn FnMut(&config::Store, &Rules) -> Result<(), StoreError>;

/// What became of a config that was read.
#[derive(Clone, Debug)]
pub enum Reloaded {
    /// The one in force stays.
    Stays,
    /// It is good, but the store did not let us: it is to be read again.
    Again,
    /// It is in force from now on.
    InForce(Arc<Config>),
}

/// Decides whether a config that was read again is put in force. It waits for nothing.
pub struct Reloader {
    /// The one in force.
    config: Arc<Config>,
    /// Hash of its text.
    text_hash: u64,
    desk: Desk,
    metrics: Arc<Metrics>,
    complaints: Complaints,
}

impl Reloader {
    /// One for a daemon that starts with `config`.
    #[must_use]
    pub fn new(config: Arc<Config>, text_hash: u64, desk: Desk, metrics: Arc<Metrics>) -> Self {
        Self { config, text_hash, desk, metrics, complaints: Complaints::default() }
    }

    /// Takes what was read: because the file changed, or `by_signal`.
    pub fn read(
        &mut self,
        loaded: Result<Loaded, Vec<Diagnostic>>,
        by_signal: bool,
        now: Timestamp,
        record: Record<'_>,
    ) -> Reloaded {
        match loaded {
            Err(problems) => self.refuse(&problems, now),
            Ok(loaded) if loaded.text_hash == self.text_hash && !by_signal => self.is_good(),
            Ok(loaded) => return self.take(loaded, by_signal, now, record),
        }
        Reloaded::Stays
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

    fn refuse(&mut self, problems: &[Diagnostic], now: Timestamp) {
        // Said each time, since each is a change or was asked for; remembered for the day it is good.
        self.complaints.about("config", "", now);
        self.metrics.config_valid(false);
        for problem in problems.iter().take(SAID) {
            tracing::error!("the changed config is not used, the old one stays in force: {}", problem.brief());
        }
        if let Some(more) = problems.len().checked_sub(SAID).filter(|more| *more > 0) {
            tracing::error!(more, "the changed config has further errors; `watchbell check` shows them all");
        }
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n");
        let text = format!("The old config stays in force.\n\n{text}");
        self.desk.tell(Notice::new("config", "The config has errors", &text), now);
    }

    /// Puts a good config in force, unless it waits for a person or for the store.
    fn take(&mut self, mut loaded: Loaded, by_signal: bool, now: Timestamp, record: Record<'_>) -> Reloaded {
        match reload::assess(&self.config.rules, &loaded.config.rules) {
            Verdict::NeedsSighup { removed } if !by_signal => {
                let names = removed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let text = format!(
                    "The changed config removes {} services ({names}). It is used after SIGHUP; until then the old one stays in force.",
                    removed.len()
                );
                tracing::warn!("{text}");
                self.desk.tell(Notice::new("config-waits", "The config waits for SIGHUP", &text), now);
                self.metrics.config_valid(true);
                return Reloaded::Stays;
            }
            _ => {}
        }
        let kept = reload::keep_until_restart(&self.config, &mut loaded.config);
        if let Err(trouble) = record(&self.config.store, &loaded.config.rules) {
            if let Speak::Now { repeated } = self.complaints.about("store", &trouble.to_string(), now) {
                tracing::error!(
                    repeated = some(repeated),
                    "the changed config waits, since the store cannot be written: {trouble}"
                );
            }
            return Reloaded::Again;
        }
        self.complaints.settled("store");
        for warning in &loaded.warnings {
            tracing::warn!("{}", warning.brief());
        }
        for key in kept {
            tracing::warn!("`{key}` changed: that takes a restart");
        }
        self.text_hash = loaded.text_hash;
        self.config = Arc::new(loaded.config);
        self.is_good();
        Reloaded::InForce(Arc::clone(&self.config))
    }
}

/// Watches until shutdown.
pub async fn run(mut task: Reloading) {
    let mut seen = look(&task.path);
    let reloader = Arc::new(Mutex::new(task.reloader));
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
        if !is_asked && !has_rested {
            continue;
        }
        let (at_work, path, now) = (Arc::clone(&reloader), task.path.clone(), task.clock.wall());
        let reloaded = spawn_blocking(move || {
            let mut record = |store: &config::Store, rules: &Rules| {
                let mut store = Store::open(store, now)?;
                store.set_services(rules)?;
                store.set_in_force(rules, now)
            };
            let mut reloader = at_work.lock().unwrap_or_else(PoisonError::into_inner);
            reloader.read(Config::load(&path), is_asked, now, &mut record)
        });
        match reloaded.await {
            Ok(Reloaded::Again) => {
                changed_at = Some(task.clock.elapsed());
                continue;
            }
            Ok(Reloaded::InForce(config)) => {
                if task.orders.send(Order::Rules(Arc::new(config.rules.clone()))).await.is_err() {
                    return; // the judge ends only at shutdown
                }
                tracing::info!(services = config.rules.services.len(), "config loaded");
                task.config.send_replace(config);
            }
            Ok(Reloaded::Stays) => {}
            Err(_) => tracing::error!("reading the config broke off; the old one stays in force"),
        }
        (changed_at, is_asked) = (None, false);
    }
}
