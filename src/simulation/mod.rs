//! The whole daemon in simulated time: against a scripted network, a scripted relay and clocks
//! that can be moved, with a real store, a real site and real notes in a folder.
//!
//! ```text
//!           Action (suspend, crash, note, …)         Script<Behaviour>   Script<Post>
//!                        │                                  │                 │
//!  Simulation::run_until ┴─> Life: Engine, Writer, Bench, NoteReader, Outbox, Reloader
//!                               │ probes, commits, mails                what the relay took
//!                               └─> store, site, notes in a folder ─> whoever looks on
//! ```
//!
//! The parts are the daemon's own: those that its tasks carry values between. Here a loop does
//! that, from one thing that is due to the next, so that a day passes as fast as it can be worked
//! through, and the same seed gives the same day. What is left out: sockets, the HTTP side, the
//! bounds of [`crate::probe::Bounds`], and looks at which nothing can have changed.

mod dice;
mod faults;
mod life;
pub mod network;
pub mod rehearsal;
pub mod relay;
mod script;
pub mod story;
mod time;

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

pub use self::{
    dice::Dice,
    faults::{Disk, Port, Side},
    network::Behaviour,
    relay::{Mail, Post},
    script::Script,
};
use self::{
    faults::Faults,
    life::{Life, Outside, Start},
    network::Network,
    relay::ScriptedRelay,
    time::Time,
};
use crate::{
    config::{Config, Loaded},
    daemon::SLOT,
    domain::{
        CheckKey, IncidentId, ServiceId,
        subscriber::{Address, Subscriber},
    },
    fsio,
    notify::ledger::{Ledger, StoreLedger},
    store::{Store, StoreError},
};

/// Puts something between the daemon and its queue of deliveries.
pub type Wrap = Box<dyn Fn(StoreLedger) -> Box<dyn Ledger>>;

/// How long it takes until a daemon that ended is started again.
const STARTED_AGAIN: Duration = Duration::from_secs(2);
/// The same if it could not start.
const STARTED_ONCE_MORE: Duration = Duration::from_secs(5);
/// More turns without time passing are no progress.
const MOST_TURNS: u32 = 10_000;

/// Something done to the daemon from outside.
#[derive(Clone, Debug)]
pub enum Action {
    /// The machine is suspended for so long: elapsed time stands still with it.
    Suspend(Duration),
    /// The process is stopped for so long, and time goes on.
    Stop(Duration),
    /// The wall clock is set forward, or back.
    StepClock(SignedDuration),
    /// It ends as at SIGKILL, and is started again.
    Crash,
    /// It ends at a point, after passing it so many times.
    EndAt(Port, Side, u32),
    /// It ends as at SIGTERM, and is started again.
    Restart,
    /// It ends as at SIGTERM, and is started again after so long.
    Pause(Duration),
    /// The disk changes.
    Disk(Disk),
    /// A file of the notes folder is written, such as `incidents/2026-11-21-api.toml`.
    Note(String, String),
    /// A file of the notes folder is removed.
    RemoveNote(String),
    /// The config is another one, and SIGHUP is sent.
    Reload(Box<Loaded>),
    /// An operator adds a subscriber.
    Subscribe(Box<Subscriber>),
    /// A subscriber leaves.
    Leave(Address),
}

/// What happened in one step, as far as others could tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The daemon started.
    Started,
    /// It could not start.
    NotStarted(String),
    /// It ended: by a crash, if nobody asked it to.
    Ended {
        /// Whether nobody asked.
        is_crash: bool,
    },
    /// Something was written down that people could see.
    Committed,
    /// What was committed is on the site; pages that only state a newer present follow.
    NewsPublished,
    /// The site was brought up to date.
    Published,
    /// It could not be.
    NotPublished(String),
    /// The relay took a message.
    Mailed,
    /// An incident got its note file.
    NoteFile(IncidentId),
    /// An action was carried out.
    Acted,
}

/// Why a simulation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The daemon turns without time passing.
    #[error("the daemon works without end at {0:?} after the beginning")]
    Spins(Duration),
    /// The store could not be changed from outside.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be written.
    #[error("a note could not be written: {0}")]
    Note(#[from] io::Error),
}

/// Lets a config use `folder` for all that it writes.
pub fn relocate(config: &mut Config, folder: &Path) {
    config.store.path = folder.join("watchbell.db");
    config.store.allow_volatile = true;
    config.site.output = folder.join("public");
    config.notes_dir = folder.join("notes");
}

/// A daemon, and the world around it.
pub struct Simulation {
    config: Arc<Config>,
    text_hash: u64,
    seed: u64,
    outside: Outside,
    life: Option<Life>,
    starts_at: Option<Duration>,
    /// By when they are due.
    actions: BTreeMap<(Duration, u64), Action>,
    planned: u64,
    wrap: Option<Wrap>,
    slot: Duration,
    gather: Option<SignedDuration>,
    /// A clock was moved, or we stood still, since the last turn.
    jumped: bool,
    lives: u64,
    crashes: u64,
}

impl Simulation {
    /// A daemon with that config, which is about to be started. It writes where the config says
    /// (see [`relocate`]). The same seed gives the same simulation.
    #[must_use]
    pub fn new(loaded: Loaded, start: Timestamp, seed: u64) -> Self {
        Self {
            config: Arc::new(loaded.config),
            text_hash: loaded.text_hash,
            seed,
            outside: Outside {
                time: Time::new(crate::clock::to_millis(start)),
                network: Network::default(),
                relay: ScriptedRelay::default(),
                dice: Dice::new(seed),
                faults: Faults::default(),
                happened: Vec::new(),
            },
            life: None,
            starts_at: Some(Duration::ZERO),
            actions: BTreeMap::new(),
            planned: 0,
            wrap: None,
            slot: SLOT,
            gather: None,
            jumped: false,
            lives: 0,
            crashes: 0,
        }
    }

    /// Lets time pass more coarsely: probes start within a second of their time, samples are
    /// written every half minute, and pages are made when something changes, but not renewed. A
    /// crash then loses more samples than it would.
    pub fn pass_coarsely(&mut self) {
        self.slot = Duration::from_secs(1);
        self.write_seldom();
    }

    /// Lets samples be written every half minute, and pages be made when something changes, but not
    /// renewed; everything else happens to the millisecond. A crash then loses more samples than it
    /// would.
    pub fn write_seldom(&mut self) {
        self.gather = Some(SignedDuration::from_secs(30));
    }

    /// Puts something between the daemon and its queue of deliveries, from its next start on.
    pub fn wrap_ledger(&mut self, wrap: Wrap) {
        self.wrap = Some(wrap);
    }

    /// From `moment` on every check of a service finds that.
    pub fn target(&mut self, service: &ServiceId, moment: Duration, behaviour: Behaviour) {
        self.outside.network.set_service(service, moment, behaviour);
    }

    /// From `moment` on one check finds that.
    pub fn target_of(&mut self, check: &CheckKey, moment: Duration, behaviour: Behaviour) {
        self.outside.network.set_check(check, moment, behaviour);
    }

    /// What is true of the target of a check.
    #[must_use]
    pub fn truth(&self, check: &CheckKey) -> &Script<Behaviour> {
        self.outside.network.script(check)
    }

    /// From `moment` on the relay does that with every message.
    pub fn relay(&mut self, moment: Duration, post: Post) {
        self.outside.relay.all.set(moment, post);
    }

    /// From `moment` on the relay does that with messages to one address, while it takes others.
    pub fn relay_to(&mut self, address: &str, moment: Duration, post: Post) {
        let script = self.outside.relay.some.entry(address.to_owned()).or_insert_with(|| Script::new(Post::Takes));
        script.set(moment, post);
    }

    /// Plans something for a moment that has not come.
    pub fn plan(&mut self, moment: Duration, action: Action) {
        self.planned += 1;
        self.actions.insert((moment, self.planned), action);
    }

    /// The config that the daemon runs by, or will start with.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        self.life.as_ref().map_or(&self.config, Life::config)
    }

    /// What passed since the beginning.
    #[must_use]
    pub fn moment(&self) -> Duration {
        self.outside.time.moment()
    }

    /// What the wall clock says.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.outside.time.wall()
    }

    /// What the wall clock, as it goes now, says at a moment.
    #[must_use]
    pub fn wall_at(&self, moment: Duration) -> Timestamp {
        self.outside.time.wall_at(moment)
    }

    /// All that the relay took, in the order of taking.
    #[must_use]
    pub fn mails(&self) -> &[Mail] {
        &self.outside.relay.mails
    }

    /// How often the daemon started.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.lives
    }

    /// How often it ended without being asked to.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        self.crashes
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.life.is_some()
    }

    /// Whether a point was named at which it has not ended yet.
    #[must_use]
    pub fn is_doomed(&self) -> bool {
        self.outside.faults.is_set()
    }

    /// Brings the site up to date at once.
    pub fn publish(&mut self) {
        if let Some(life) = &mut self.life {
            life.publish_now(&mut self.outside);
        }
    }

    /// Lets time pass until `end`, and everything happen that is due by then. `seen` looks on
    /// after each step in which something happened.
    ///
    /// # Errors
    /// If it cannot go on; that the daemon fails is none.
    pub fn run_until(
        &mut self,
        end: Duration,
        seen: &mut dyn FnMut(&Self, &[Happened]),
    ) -> Result<(), SimulationError> {
        let mut turns = 0;
        loop {
            let due = self.next().filter(|at| *at <= end);
            let Some(moment) = due else { break };
            turns = if moment > self.moment() { 0 } else { turns + 1 };
            if turns > MOST_TURNS {
                return Err(SimulationError::Spins(moment));
            }
            self.outside.time.pass_to(moment);
            self.step()?;
            if self.outside.faults.take_death() {
                self.die();
            }
            let happened = std::mem::take(&mut self.outside.happened);
            if !happened.is_empty() {
                seen(self, &happened);
            }
        }
        self.outside.time.pass_to(end);
        Ok(())
    }

    fn next(&self) -> Option<Duration> {
        let action = self.actions.first_key_value().map(|((at, _), _)| *at);
        let life = match &self.life {
            Some(_) if self.jumped => Some(self.moment()),
            Some(life) => life.next(&self.outside.time),
            None => self.starts_at,
        };
        action.into_iter().chain(life).min().map(|at| at.max(self.moment()))
    }

    /// Does one thing that is due.
    fn step(&mut self) -> Result<(), SimulationError> {
        let now = self.moment();
        if self.jumped && self.life.is_some() {
            self.turn();
            return Ok(());
        }
        if let Some(entry) = self.actions.first_entry()
            && entry.key().0 <= now
        {
            let action = entry.remove();
            self.outside.happened.push(Happened::Acted);
            return self.act(action);
        }
        if self.life.is_none() {
            self.start();
            return Ok(());
        }
        self.turn();
        Ok(())
    }

    fn turn(&mut self) {
        let jumped = std::mem::take(&mut self.jumped);
        if let Some(life) = &mut self.life {
            life.turn(jumped, self.wrap.as_ref(), &mut self.outside);
        }
        // Files that the daemon wrote are as old as they would be.
        for happened in &self.outside.happened {
            if let Happened::NoteFile(id) = happened {
                let path = self.config.notes_dir.join(format!("incidents/{id}.toml"));
                // It is only read a little later if that fails.
                let _ = date(&path, self.outside.time.wall());
            }
        }
    }

    fn start(&mut self) {
        self.jumped = false;
        let start = Start {
            config: Arc::clone(&self.config),
            text_hash: self.text_hash,
            // Each life mints ids of its own.
            seed: self.seed.wrapping_add(self.lives.wrapping_mul(0x9e37_79b9)),
            slot: self.slot,
            gather: self.gather,
            wrap: self.wrap.as_ref(),
        };
        match Life::start(&start, &mut self.outside) {
            Ok(life) => {
                self.life = Some(life);
                self.starts_at = None;
                self.lives += 1;
                self.outside.happened.push(Happened::Started);
            }
            Err(error) => {
                self.starts_at = Some(self.moment().saturating_add(STARTED_ONCE_MORE));
                self.outside.happened.push(Happened::NotStarted(error.to_string()));
            }
        }
    }

    fn die(&mut self) {
        if let Some(life) = self.life.take() {
            life.die(&mut self.outside);
            self.crashes += 1;
            self.starts_at = Some(self.moment().saturating_add(STARTED_AGAIN));
            self.outside.happened.push(Happened::Ended { is_crash: true });
        }
    }

    fn stop(&mut self, pause: Duration) {
        if let Some(life) = self.life.take() {
            life.stop(&mut self.outside);
            // Nobody is left to end at a named point.
            self.outside.faults.take_death();
            self.outside.happened.push(Happened::Ended { is_crash: false });
        }
        self.starts_at = Some(self.moment().saturating_add(pause));
    }

    fn act(&mut self, action: Action) -> Result<(), SimulationError> {
        match action {
            Action::Suspend(lasts) => self.jump(true, |time| time.suspend(lasts)),
            Action::Stop(lasts) => self.jump(true, |time| time.pass_to(time.moment().saturating_add(lasts))),
            Action::StepClock(by) => self.jump(false, |time| time.step(by)),
            Action::Crash => self.die(),
            Action::EndAt(port, side, passes) => self.outside.faults.end_at(port, side, passes),
            Action::Restart => self.stop(Duration::ZERO),
            Action::Pause(lasts) => self.stop(lasts),
            Action::Disk(disk) => self.outside.faults.set_disk(disk),
            Action::Note(name, text) => {
                let path = self.config.notes_dir.join(name);
                fsio::write(&path, text.as_bytes())?;
                date(&path, self.now())?;
                self.notes_changed();
            }
            Action::RemoveNote(name) => {
                fsio::remove(&self.config.notes_dir.join(name), &self.config.notes_dir)?;
                self.notes_changed();
            }
            Action::Reload(loaded) => {
                self.text_hash = loaded.text_hash;
                self.config = Arc::new(loaded.config.clone());
                if let Some(life) = &mut self.life {
                    life.reload(*loaded, true, self.wrap.as_ref(), &mut self.outside);
                }
            }
            Action::Subscribe(subscriber) => {
                Store::open(&self.config.store, self.now())?.add_subscriber(&subscriber)?;
            }
            Action::Leave(address) => {
                Store::open(&self.config.store, self.now())?.remove_address(&address.into(), self.now())?;
            }
        }
        Ok(())
    }

    fn notes_changed(&mut self) {
        if let Some(life) = &mut self.life {
            life.notes_changed(&self.outside);
        }
    }

    fn jump(&mut self, stands_still: bool, jump: impl FnOnce(&mut Time)) {
        if let Some(life) = &mut self.life {
            life.before_jump(&self.outside);
            jump(&mut self.outside.time);
            life.after_jump(stands_still, &self.outside);
            self.jumped = true;
        } else {
            jump(&mut self.outside.time);
        }
    }
}

/// Gives a file the age that it has by simulated time: notes are read once they have rested.
fn date(path: &Path, at: Timestamp) -> io::Result<()> {
    fs::File::options().append(true).open(path)?.set_modified(at.into())
}
