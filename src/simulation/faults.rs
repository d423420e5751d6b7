//! What goes wrong at the ports between deciding and the world: ends of the process at named
//! points, and disks that are full or cannot be written.
//!
//! The store underneath is real. A disk's faults are made here, before the call reaches it: each
//! port fails with the error that a real disk gives, and changes nothing.

use std::{cell::RefCell, io, path::Path, rc::Rc};

use jiff::{SignedDuration, Timestamp};

use crate::{
    daemon::{publishing::PublishingError, writing::Journal},
    domain::{SubscriberId, pause::Pause},
    notify::ledger::{Decide, Ledger, LedgerError, Sent, Settled, Tokens},
    site::{SiteError, publish::WriteError},
    store::{Commit, Store, StoreError, Tidied, outbox::Sliced},
};

/// Where the daemon touches the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// Writing what was judged, if it changes something.
    Commit,
    /// Claiming deliveries.
    Claim,
    /// Handing a message to the relay.
    Send,
    /// Writing down what became of messages.
    Mark,
    /// Publishing the site.
    Publish,
    /// Creating the note file of an incident.
    NoteFile,
}

impl Port {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Commit, Self::Claim, Self::Send, Self::Mark, Self::Publish, Self::NoteFile];
}

/// On which side of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Nothing was done yet.
    Before,
    /// It was done, and nobody here knows it yet.
    After,
}

/// How the disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disk {
    /// As it should be.
    #[default]
    Fine,
    /// There is no room left.
    Full,
    /// Nothing can be written.
    ReadOnly,
}

impl Disk {
    fn error(self) -> Option<io::Error> {
        match self {
            Self::Fine => None,
            Self::Full => Some(io::Error::from(io::ErrorKind::StorageFull)),
            Self::ReadOnly => Some(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)),
        }
    }

    fn store_error(self, path: &Path) -> Option<StoreError> {
        let path = path.to_owned();
        match self {
            Self::Fine => None,
            Self::Full => Some(StoreError::Full { path }),
            Self::ReadOnly => Some(StoreError::ReadOnly { path, detail: "read-only file system".to_owned() }),
        }
    }
}

/// What is to go wrong. Shared by everything that stands at a port.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    /// Where to end next, and how often that point is passed before.
    trap: Option<(Port, Side, u32)>,
    is_dead: bool,
}

impl Faults {
    pub fn set_disk(&self, disk: Disk) {
        self.0.borrow_mut().disk = disk;
    }

    /// Ends the process at a point, after passing it `passes` times.
    pub fn end_at(&self, port: Port, side: Side, passes: u32) {
        self.0.borrow_mut().trap = Some((port, side, passes));
    }

    /// Whether a trap is still set.
    pub fn is_set(&self) -> bool {
        self.0.borrow().trap.is_some()
    }

    /// Whether the process has ended.
    pub fn is_dead(&self) -> bool {
        self.0.borrow().is_dead
    }

    /// The same, forgotten by then.
    pub fn take_death(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().is_dead)
    }

    /// Passes a point; whether the process lives on.
    pub fn lives(&self, port: Port, side: Side) -> bool {
        let mut state = self.0.borrow_mut();
        if state.is_dead {
            return false;
        }
        if let Some((at, which, passes)) = &mut state.trap
            && (*at, *which) == (port, side)
        {
            if let Some(left) = passes.checked_sub(1) {
                *passes = left;
            } else {
                state.trap = None;
                state.is_dead = true;
            }
        }
        !state.is_dead
    }

    /// Whether the disk lets us write the store.
    pub fn of_store(&self, path: &Path) -> Result<(), StoreError> {
        self.0.borrow().disk.store_error(path).map_or(Ok(()), Err)
    }

    /// Whether it lets us write other files.
    pub fn of_files(&self) -> io::Result<()> {
        self.0.borrow().disk.error().map_or(Ok(()), Err)
    }

    /// Whether it lets us write the site.
    pub fn of_site(&self, output: &Path) -> Result<(), PublishingError> {
        self.of_files().map_err(|source| {
            PublishingError::Site(SiteError::Write(WriteError { path: output.to_owned(), doing: "written", source }))
        })
    }
}

/// The writer's store behind its port.
pub(super) struct GuardedJournal {
    pub store: Store,
    pub faults: Faults,
}

impl Journal for GuardedJournal {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        // Nobody hears this error: the process has ended.
        let gone = || StoreError::Displaced { path: self.store.path().to_owned() };
        let counts = commit.changes_something();
        if counts && !self.faults.lives(Port::Commit, Side::Before) {
            return Err(gone());
        }
        self.faults.of_store(self.store.path())?;
        self.store.commit(commit)?;
        if counts && !self.faults.lives(Port::Commit, Side::After) {
            return Err(StoreError::Displaced { path: self.store.path().to_owned() });
        }
        Ok(())
    }

    fn fan_out(&mut self, now: Timestamp) -> Result<Sliced, StoreError> {
        self.faults.of_store(self.store.path())?;
        self.store.fan_out(now)
    }

    fn check_place(&self) -> Result<(), StoreError> {
        self.store.check_place()
    }

    fn tidy(&mut self, now: Timestamp) -> Result<Tidied, StoreError> {
        self.faults.of_store(self.store.path())?;
        self.store.tidy(now)
    }

    fn fold_log(&self) -> Result<(), StoreError> {
        self.faults.of_store(self.store.path())?;
        self.store.fold_log()
    }
}

/// The queue of deliveries behind its ports.
pub(super) struct GuardedLedger {
    pub ledger: Box<dyn Ledger>,
    pub path: std::path::PathBuf,
    pub faults: Faults,
}

impl GuardedLedger {
    fn write<T>(&mut self, act: impl FnOnce(&mut dyn Ledger) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.faults.of_store(&self.path).map_err(|error| LedgerError(Box::new(error)))?;
        act(&mut *self.ledger)
    }

    fn gone() -> LedgerError {
        LedgerError("the process has ended".into())
    }
}

impl Ledger for GuardedLedger {
    fn claim(&mut self, epoch: i64, now: Timestamp, limit: usize, decide: Decide<'_>) -> Result<usize, LedgerError> {
        // Claiming nothing writes nothing.
        if self.ledger.next_due()?.is_none_or(|due| due > now) {
            return Ok(0);
        }
        if !self.faults.lives(Port::Claim, Side::Before) {
            return Err(Self::gone());
        }
        let lanes = self.write(|ledger| ledger.claim(epoch, now, limit, decide))?;
        if lanes == 0 || self.faults.lives(Port::Claim, Side::After) { Ok(lanes) } else { Err(Self::gone()) }
    }

    fn settle(&mut self, settled: &[Settled], now: Timestamp) -> Result<(), LedgerError> {
        if !self.faults.lives(Port::Mark, Side::Before) {
            return Err(Self::gone());
        }
        self.write(|ledger| ledger.settle(settled, now))?;
        if self.faults.lives(Port::Mark, Side::After) { Ok(()) } else { Err(Self::gone()) }
    }

    fn refused(&mut self, subscriber: &SubscriberId, gone: bool, now: Timestamp) -> Result<bool, LedgerError> {
        self.write(|ledger| ledger.refused(subscriber, gone, now))
    }

    fn set_back(&mut self, by: SignedDuration, now: Timestamp) -> Result<(), LedgerError> {
        self.write(|ledger| ledger.set_back(by, now))
    }

    fn tokens(&self, subscriber: &SubscriberId, manage_until: Timestamp, sent: Sent, at: Timestamp) -> Tokens {
        self.ledger.tokens(subscriber, manage_until, sent, at)
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>, LedgerError> {
        self.ledger.next_due()
    }

    fn pause(&mut self) -> Result<Option<Pause>, LedgerError> {
        self.ledger.pause()
    }

    fn is_resumed(&mut self) -> Result<bool, LedgerError> {
        self.ledger.is_resumed()
    }

    fn begin_pause(&mut self, pause: &Pause) -> Result<(), LedgerError> {
        self.write(|ledger| ledger.begin_pause(pause))
    }

    fn prolong_pause(&mut self, pause: &Pause) -> Result<bool, LedgerError> {
        self.write(|ledger| ledger.prolong_pause(pause))
    }

    fn end_pause(&mut self) -> Result<(), LedgerError> {
        self.write(|ledger| ledger.end_pause())
    }

    fn late(&mut self, now: Timestamp) -> Result<u64, LedgerError> {
        self.ledger.late(now)
    }
}
