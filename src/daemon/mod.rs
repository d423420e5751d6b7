//! The daemon: every task, every wake-up, reload and shutdown. It decides nothing about services,
//! incidents or mails; it only carries values between those that do.
//!
//! | task | does | waits for |
//! | --- | --- | --- |
//! | [`judging`] | owns the world: starts probes, feeds the judge | outcomes, notes, time |
//! | [`writing`] | the one writer of facts, on a thread of its own | commits |
//! | [`publishing`] | brings the site up to the newest commit | a ring, its renewal time |
//! | [`delivering`] | brings the outbox down to nothing | a ring, its due time |
//! | [`calling`] | calls webhooks | a ring, its due time |
//! | [`answering`] | answers who asked for news | requests |
//! | [`noting`] | reads notes, creates files for automatic incidents | changes of the folder |
//! | [`reloading`] | reads the config again | SIGHUP, changes of the file |
//! | [`crate::web`] | serves | clients |
//!
//! Data flows one way: a lost ring costs latency, never correctness, since whoever is rung also
//! looks by itself and reads only what is committed.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    runtime::Builder,
    sync::{mpsc, watch},
    task::{Id, JoinError, JoinSet, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::{Config, Loaded, MailTransport},
    domain::incident::{Incident, Origin},
    fsio,
    judge::World,
    notes::{self, Mark, Remembered},
    notify::operator::Desk,
    probe::{Prober, bounds},
    schedule::Schedule,
    site,
    store::{Store, StoreError},
    web::Metrics,
};

pub mod answering;
pub mod calling;
pub mod complaints;
pub mod delivering;
pub mod endpoints;
pub mod engine;
pub mod health;
pub mod judging;
pub mod noting;
pub mod past;
pub mod publishing;
pub mod reloading;
pub mod serving;
pub mod signals;
pub mod writing;

/// Wake-ups of the schedule are grouped into slots of this length.
///
/// It divides a second, so that a check that is due every so many seconds waits equally long for
/// the end of its slot each time, and is made at an even pace.
pub const SLOT: Duration = Duration::from_millis(20);
/// Commits that may wait for the writer.
const COMMITS_WAITING: usize = 64;
/// At the start, a store that another program keeps locked is waited for so long.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(30);
/// After SIGTERM, whatever has not ended by then is left: it is in the store.
const END_WITHIN: Duration = Duration::from_millis(4500);

/// With fewer descriptors than this, store, site, mails, visitors and probes take them from each
/// other, and something or other fails for ever.
const FEWEST_DESCRIPTORS: u64 = 64;

/// Why the daemon did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store says of the past cannot be understood.
    #[error("the state in the store cannot be read: {0}")]
    World(#[from] crate::judge::RestoreError),
    /// It would limp.
    #[error(
        "no more than {0} files may be open at once, and {FEWEST_DESCRIPTORS} are needed: raise the limit \
         (`ulimit -n`, or `LimitNOFILE=` of the unit)"
    )]
    FewDescriptors(u64),
    /// The system refused something basic.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A part ended that never should; a service manager will start the whole anew.
    #[error("{part} ended unexpectedly: {why}")]
    PartEnded {
        /// Which.
        part: &'static str,
        /// What it left behind.
        why: String,
    },
}

/// What is done with the lines that say what was started.
pub type Announce = Box<dyn Fn(&[String]) + Send + Sync>;

/// How to run.
pub struct Options {
    /// The configuration, as loaded.
    pub loaded: Loaded,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Ends the daemon.
    pub shutdown: CancellationToken,
    /// Is given the lines that say what was started.
    pub announce: Announce,
    /// Whether to listen to SIGTERM, SIGINT and SIGHUP.
    pub signals: bool,
}

/// What the daemon needs of the store before it starts: its lock, and the world as it was.
pub struct Opened {
    /// Held as long as the daemon runs.
    pub lock: fsio::Lock,
    /// The writer's connection.
    pub store: Store,
    /// The state in which judging stopped.
    pub world: World,
    /// What was last known of the files of notes.
    pub remembered: Remembered,
}

/// Takes the store and reads the world from it.
///
/// # Errors
/// If another daemon holds it, if it cannot be used, or if another program keeps it locked for long.
pub fn open(config: &Config, clock: &dyn Clock) -> Result<Opened, DaemonError> {
    let (seed, began) = (seed()?, clock.elapsed());
    loop {
        match open_seeded(config, clock.wall(), seed) {
            Err(DaemonError::Store(error @ StoreError::Busy { .. }))
                if clock.elapsed().since(began) < UNLOCKED_WITHIN =>
            {
                tracing::warn!("the start waits for at most {} s: {error}", UNLOCKED_WITHIN.as_secs());
            }
            opened => return opened,
        }
    }
}

/// The same, taking new ids from `seed`, so that a simulation can be repeated.
///
/// # Errors
/// As [`open`].
pub fn open_seeded(config: &Config, now: Timestamp, seed: u64) -> Result<Opened, DaemonError> {
    let lock = Store::hold(&config.store)?;
    let mut store = Store::open(&config.store, now)?;
    store.check_sound()?;
    let world = World::restore(seed, store.world()?.into_iter())?;
    let remembered = Remembered { files: store.note_files()?, is_corrected: store.is_corrected()? };
    // Only now: a store that cannot be understood is left as it is.
    store.set_services(&config.rules)?;
    store.set_in_force(&config.rules, now)?;
    if let Err(error) = notes::remove_left(&config.notes_dir) {
        // It is in nobody's way.
        tracing::debug!("what a killed process left among the notes stays there: {error}");
    }
    let authority = store.mint(site::AUTHORITY, &site::authority(config, now))?;
    past::heed(config, &mut store, &authority, now)?;
    Ok(Opened { lock, store, world, remembered })
}

/// The incidents of checks that were written down lately, but whose note files never were seen: the
/// process ended in between.
#[must_use]
pub fn unfiled(world: &World, note_files: &[Mark]) -> Vec<Incident> {
    let late = world.late_incidents().filter(|incident| incident.origin == Origin::Automatic);
    late.filter(|incident| note_files.iter().all(|mark| mark.id != incident.id)).cloned().collect()
}

fn seed() -> Result<u64, DaemonError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| DaemonError::Io {
        what: "the system has no random numbers",
        source: io::Error::other(error),
    })?;
    Ok(u64::from_le_bytes(bytes))
}

/// The tasks under way, by name: none of them may end before the shutdown.
struct Parts {
    tasks: JoinSet<()>,
    names: BTreeMap<Id, &'static str>,
}

impl Parts {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// The next part that ended, with what it left behind.
    async fn next_ended(&mut self) -> Option<(&'static str, Result<(), JoinError>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, Ok(())),
            Err(error) => (error.id(), Err(error)),
        };
        Some((self.names.get(&id).copied().unwrap_or("a part"), result))
    }
}

/// Does `work` on a thread of its own; a panic there is one here.
async fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = spawn_blocking(work).await
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// Runs until `shutdown`, or until a part fails beyond repair.
///
/// # Errors
/// If it cannot start, or a part ended that never should.
pub async fn run(options: Options) -> Result<(), DaemonError> {
    let Options { loaded, clock, shutdown, announce, signals } = options;
    let config = Arc::new(loaded.config);
    let descriptors = bounds::descriptors();
    if descriptors < FEWEST_DESCRIPTORS {
        return Err(DaemonError::FewDescriptors(descriptors));
    }
    let Opened { lock, store, world, remembered } = open(&config, &*clock)?;
    let prober = Prober::new(Arc::clone(&clock));
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(health::Health::default());
    let desk = Desk::new();
    let (orders, orders_rx) = mpsc::channel(64);
    let (commits, commits_rx) = mpsc::channel(COMMITS_WAITING);
    let (opened, opened_rx) = mpsc::unbounded_channel();
    let ((changed, changed_rx), (queued, queued_rx)) = (watch::channel(0), watch::channel(0));
    let (config_tx, config_rx) = watch::channel(Arc::clone(&config));
    let (hangups_tx, hangups) = mpsc::channel(1);
    metrics.config_valid(true);

    let mut parts = Parts { tasks: JoinSet::new(), names: BTreeMap::new() };
    if signals {
        let task = signals::run(shutdown.clone(), hangups_tx.clone())
            .map_err(|source| DaemonError::Io { what: "signals cannot be received", source })?;
        parts.spawn("signals", task);
    }
    announce(&announcement(&config));

    let (writer_clock, writer_shutdown) = (Arc::clone(&clock), shutdown.clone());
    let writer = writing::Writer::new(store, Arc::clone(&health), desk.clone());
    let corrected = changed.clone();
    let called = queued.subscribe();
    let rings = endpoints::Rings { asked: Arc::default(), queued: queued.clone() };
    let bells = writing::Bells { changed, queued };
    let write = move || {
        let is_ending = || writer_shutdown.is_cancelled();
        writing::run(writer, commits_rx, &bells, &writer_clock, &is_ending);
    };
    parts.spawn("writing", on_a_thread(write));
    for incident in unfiled(&world, &remembered.files) {
        // Whoever writes the files has not begun yet, but its queue is there.
        let _ = opened.send(incident);
    }
    let engine = engine::Engine::new(Arc::new(config.rules.clone()), world, Schedule::new(SLOT), clock.wall());
    let judge = judging::run(
        engine,
        judging::Judging {
            clock: Arc::clone(&clock),
            prober,
            orders: orders_rx,
            commits,
            opened,
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
            desk: desk.clone(),
            shutdown: shutdown.clone(),
        },
    );
    // Probes wake thousands of times a second: on one thread, each wakes nobody else, and waits for
    // nothing that mails and visitors do.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| DaemonError::Io { what: "probing cannot be started", source })?;
    parts.spawn(
        "judging",
        on_a_thread(move || {
            runtime.block_on(judge);
            runtime.shutdown_background();
        }),
    );
    parts.spawn(
        "publishing",
        publishing::run(publishing::Publishing {
            clock: Arc::clone(&clock),
            config: config_rx.clone(),
            bell: changed_rx,
            desk: desk.clone(),
            metrics: Arc::clone(&metrics),
            shutdown: shutdown.clone(),
        }),
    );
    parts.spawn(
        "delivering",
        delivering::run(delivering::Delivering {
            clock: Arc::clone(&clock),
            config: config_rx.clone(),
            bell: queued_rx,
            desk: desk.clone(),
            metrics: Arc::clone(&metrics),
            shutdown: shutdown.clone(),
        }),
    );
    parts.spawn(
        "calling webhooks",
        calling::run(calling::Calling {
            clock: Arc::clone(&clock),
            config: config_rx.clone(),
            bell: called,
            metrics: Arc::clone(&metrics),
            shutdown: shutdown.clone(),
        }),
    );
    parts.spawn(
        "reading notes",
        noting::run(noting::Noting {
            clock: Arc::clone(&clock),
            config: config_rx.clone(),
            orders: orders.clone(),
            opened: opened_rx,
            remembered,
            changed: corrected,
            desk: desk.clone(),
            metrics: Arc::clone(&metrics),
            shutdown: shutdown.clone(),
        }),
    );
    parts.spawn(
        "reloading",
        reloading::run(reloading::Reloading {
            clock: Arc::clone(&clock),
            path: config.path.clone(),
            reloader: reloading::Reloader::new(
                Arc::clone(&config),
                loaded.text_hash,
                desk.clone(),
                Arc::clone(&metrics),
            ),
            config: config_tx,
            orders,
            hangups,
            shutdown: shutdown.clone(),
        }),
    );
    parts.spawn(
        "answering",
        answering::run(answering::Answering {
            clock: Arc::clone(&clock),
            config: config_rx.clone(),
            rings: rings.clone(),
            shutdown: shutdown.clone(),
        }),
    );
    parts.spawn(
        "serving",
        serving::run(serving::Serving {
            clock: Arc::clone(&clock),
            config: config_rx,
            health: Arc::clone(&health),
            metrics,
            rings,
            shutdown: shutdown.clone(),
        }),
    );
    let (at_end, its_clock) = (Arc::clone(&health), Arc::clone(&clock));
    parts.spawn("the watchdog", signals::watchdog(clock, health, shutdown.clone()));

    let ended = tokio::select! {
        () = shutdown.cancelled() => None,
        ended = parts.next_ended() => ended,
    };
    // A part that ends because of the shutdown may be seen before the shutdown itself.
    let failure = ended.filter(|(_, result)| !shutdown.is_cancelled() || result.is_err());
    shutdown.cancel();
    let all_ended = async { while parts.next_ended().await.is_some() {} };
    if tokio::time::timeout(END_WITHIN, all_ended).await.is_err() {
        match at_end.check(its_clock.elapsed()) {
            Ok(()) => tracing::warn!("ended before everything was done; the store has the rest"),
            Err(why) => tracing::error!("ended before the last results were written down: {why}"),
        }
    }
    drop(hangups_tx);
    drop(lock);
    match failure {
        Some((part, result)) => {
            let why = result.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
            Err(DaemonError::PartEnded { part, why })
        }
        None => Ok(()),
    }
}

/// What it watches, where the site is, where it listens, who is told: four lines.
fn announcement(config: &Config) -> Vec<String> {
    let services = config.rules.services.len();
    let checks = config.rules.services.iter().flat_map(|service| service.enabled_checks()).count();
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let told = match config.email.as_ref().map(|email| &email.transport) {
        Some(MailTransport::Smtp { host, port, .. }) => format!("subscribers, by mail through {host}:{port}"),
        Some(MailTransport::Dir(folder)) => {
            format!("nobody: mails are put into the folder {}", folder.display())
        }
        None => "nobody by mail: there is no `[email]`".to_owned(),
    };
    vec![
        format!("watches  {} with {}", plural(services, "service"), plural(checks, "check")),
        format!("site     {} for {}", config.site.output.display(), config.site.url),
        format!("listens  http://{}/", config.server.listen),
        format!("tells    {told}"),
    ]
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::{
        domain::{CheckKey, service::Cadence},
        judge::story::{at, rules},
    };

    #[test]
    fn slots_leave_a_check_its_even_pace() {
        for every in [1, 5, 60].map(Duration::from_secs) {
            let mut rules = rules(&["api", "db", "mail", "web"]);
            for service in &mut rules.services {
                Arc::make_mut(service).checks.iter_mut().for_each(|check| check.cadence = Cadence::Every(every));
            }
            let mut schedule = Schedule::new(SLOT);
            schedule.set(&rules, at(0));
            let mut made: BTreeMap<CheckKey, Vec<jiff::Timestamp>> = BTreeMap::new();
            while let Some(now) = schedule.wake_at().filter(|now| *now < at(600)) {
                for due in schedule.take_due(now) {
                    schedule.done(&due.check, now);
                    made.entry(due.check).or_default().push(now);
                }
            }
            assert_eq!(made.len(), 4);
            for pair in made.values().flat_map(|times| times.windows(2)) {
                assert_eq!(pair[1].duration_since(pair[0]), SignedDuration::try_from(every).unwrap());
            }
        }
    }
}
