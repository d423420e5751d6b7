//! The one writer of facts, on a thread of its own: commits go in order, and one that fails is
//! tried again until it succeeds, since nothing that was judged may be lost.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::{
    complaints::{Complaints, Speak, some},
    health::Health,
};
use crate::{
    clock::{Clock, Elapsed},
    notify::operator::{Desk, Notice},
    store::{Commit, Store, StoreError, Tidied},
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

/// Writes until the sender is gone. Each commit that changes something rings `bell`.
pub fn run<J: Journal>(
    mut writer: Writer<J>,
    mut commits: mpsc::Receiver<Commit>,
    bell: &watch::Sender<u64>,
    clock: &Arc<dyn Clock>,
    is_ending: &dyn Fn() -> bool,
) {
    while let Some(commit) = commits.blocking_recv() {
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
            bell.send_modify(|rung| *rung += 1);
        }
        if !is_ending() {
            writer.tidy(clock.wall(), clock.elapsed());
        }
    }
    writer.rest();
}
