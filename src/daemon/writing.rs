//! The one writer of facts, on a thread of its own: commits go in order, and one that fails is
//! tried again until it succeeds, since nothing that was judged may be lost. What an event owes to
//! many people is written in slices, and a commit waits for no more than one of them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use super::{
    complaints::{Complaints, Speak, some},
    health::Health,
};
use crate::{
    clock::{Clock, Elapsed},
    notify::operator::{Desk, Notice},
    store::{self, Commit, Store, StoreError, Tidied, outbox::Sliced},
};

/// Between two tries of a commit that failed.
pub const RETRY: Duration = Duration::from_secs(1);
/// Tries of the last commit at shutdown.
const LAST_TRIES: u32 = 3;
/// Between two bits of tidying up.
const TIDY: Duration = Duration::from_mins(1);

/// What the writer does to the store: a port, so that a simulation can let it fail.
pub trait Journal {
    /// Writes all of a commit, durably, or nothing.
    ///
    /// # Errors
    /// If it cannot be written; it can then be tried again.
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError>;

    /// Queues what an event owes to some more people.
    ///
    /// # Errors
    /// If it cannot be written; nothing is lost then.
    fn fan_out(&mut self, now: Timestamp) -> Result<Sliced, StoreError>;

    /// Whether what is written is still at its place.
    ///
    /// # Errors
    /// If it was removed or replaced.
    fn check_place(&self) -> Result<(), StoreError>;

    /// Packs and forgets a bit of what has been kept long enough.
    ///
    /// # Errors
    /// If it cannot be written; nothing is lost then.
    fn tidy(&mut self, now: Timestamp) -> Result<Tidied, StoreError>;

    /// Leaves all of it in one place, as far as that is possible.
    ///
    /// # Errors
    /// If it cannot be written; nothing is lost then.
    fn fold_log(&self) -> Result<(), StoreError>;
}

impl Journal for Store {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        Self::commit(self, commit)
    }

    fn fan_out(&mut self, now: Timestamp) -> Result<Sliced, StoreError> {
        Self::fan_out(self, now)
    }

    fn check_place(&self) -> Result<(), StoreError> {
        Self::check_place(self)
    }

    fn tidy(&mut self, now: Timestamp) -> Result<Tidied, StoreError> {
        Self::tidy(self, now)
    }

    fn fold_log(&self) -> Result<(), StoreError> {
        Self::fold_log(self)
    }
}

/// Writes commits, and says what is wrong if they cannot be written. It waits for nothing.
pub struct Writer<J> {
    journal: J,
    health: Arc<Health>,
    desk: Desk,
    complaints: Complaints,
    tidied_at: Option<Elapsed>,
}

impl<J: Journal> Writer<J> {
    /// One that has written nothing yet.
    #[must_use]
    pub fn new(journal: J, health: Arc<Health>, desk: Desk) -> Self {
        Self { journal, health, desk, complaints: Complaints::default(), tidied_at: None }
    }

    /// Tries to write; whether it is written. Else the same commit is to be tried again after
    /// [`RETRY`].
    pub fn write(&mut self, commit: &Commit, now: Timestamp) -> bool {
        if let Err(error) = self.journal.commit(commit) {
            let text = error.to_string();
            self.health.store_failed(&text);
            if let Speak::Now { repeated } = self.complaints.about("store", &text, now) {
                tracing::error!(repeated = some(repeated), "the store cannot be written, trying again: {text}");
            }
            return false;
        }
        if self.complaints.settled("store") {
            tracing::info!("the store can be written again");
        }
        match self.journal.check_place() {
            Ok(()) => self.health.store_works(),
            Err(error) => {
                // Site and mails go on as long as we do: better than ending with the only copy.
                let text = error.to_string();
                self.health.store_failed(&text);
                if let Speak::Now { repeated } = self.complaints.about("place", &text, now) {
                    tracing::error!(repeated, "{text}");
                    self.desk.tell(Notice::new("store", "The store was removed or replaced", &text), now);
                }
            }
        }
        true
    }

    /// Queues what is owed to some more people, if there are any: how many got something, and how
    /// long to wait before looking again; `None` if nobody waits.
    pub fn fan_out(&mut self, now: Timestamp) -> (usize, Option<Duration>) {
        match self.journal.fan_out(now) {
            Ok(Sliced { queued, next_at }) => {
                let wait = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
                // A clock may be set meanwhile.
                (queued, next_at.map(|at| wait(at).clamp(store::MOMENT, RETRY)))
            }
            Err(error) => {
                let text = error.to_string();
                self.health.store_failed(&text);
                if let Speak::Now { repeated } = self.complaints.about("store", &text, now) {
                    tracing::error!(repeated = some(repeated), "who is to be told waits: {text}");
                }
                (0, Some(RETRY))
            }
        }
    }

    /// Nothing more is to be written.
    pub fn rest(&self) {
        if let Err(error) = self.journal.fold_log() {
            tracing::debug!("the log stays beside the store: {error}");
        }
    }

    /// Tidies up if it is time for that.
    pub fn tidy(&mut self, now: Timestamp, elapsed: Elapsed) {
        if self.tidied_at.is_some_and(|at| elapsed.since(at) < TIDY) {
            return;
        }
        match self.journal.tidy(now) {
            // A bit at a time: events must not wait long behind it.
            Ok(tidied) => self.tidied_at = (!tidied.more).then_some(elapsed),
            Err(error) => {
                self.tidied_at = Some(elapsed);
                tracing::debug!("tidying up waits: {error}");
            }
        }
    }
}

/// Who is woken by what the writer did.
pub struct Bells {
    /// Rung after each commit that changes something.
    pub changed: watch::Sender<u64>,
    /// The same, and after each slice of what an event owes to many.
    pub queued: watch::Sender<u64>,
}

fn ring(bell: &watch::Sender<u64>) {
    bell.send_modify(|rung| *rung += 1);
}

/// The next commit, if one comes within `wait`; `Err` once there will be none.
fn next(runtime: &Handle, commits: &mut mpsc::Receiver<Commit>, wait: Option<Duration>) -> Result<Option<Commit>, ()> {
    let Some(wait) = wait else { return commits.blocking_recv().map(Some).ok_or(()) };
    match runtime.block_on(async { tokio::time::timeout(wait, commits.recv()).await }) {
        Ok(Some(commit)) => Ok(Some(commit)),
        Ok(None) => Err(()),
        Err(_) => Ok(None),
    }
}

/// Writes until the sender is gone. What is not queued for everyone by then, the next start finds.
pub fn run<J: Journal>(
    mut writer: Writer<J>,
    mut commits: mpsc::Receiver<Commit>,
    bells: &Bells,
    clock: &Arc<dyn Clock>,
    is_ending: &dyn Fn() -> bool,
) {
    let runtime = Handle::current();
    let mut wait = Some(Duration::ZERO);
    while let Ok(commit) = next(&runtime, &mut commits, wait.filter(|_| !is_ending())) {
        if let Some(commit) = commit {
            let mut tries = 0;
            while !writer.write(&commit, clock.wall()) {
                tries += 1;
                if is_ending() && tries >= LAST_TRIES {
                    tracing::error!("ending with {} steps unwritten", commit.steps.len());
                    return;
                }
                std::thread::sleep(RETRY);
            }
            if commit.changes_something() {
                ring(&bells.changed);
                ring(&bells.queued);
                wait = Some(Duration::ZERO);
            }
            if !is_ending() {
                writer.tidy(clock.wall(), clock.elapsed());
            }
        } else {
            let queued;
            (queued, wait) = writer.fan_out(clock.wall());
            if queued > 0 {
                ring(&bells.queued);
            }
        }
    }
    writer.rest();
}
