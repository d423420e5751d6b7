//! What is remembered: all SQL of watchbell, behind verbs that are one transaction each.
//!
//! [`Store`] writes, [`Reader`] reads one moment at a time. Who writes what: judgement, events,
//! spans and results only the holder of the daemon's lock ([`Store::hold`]); subscribers and the
//! outbox's controls anyone. Every write begins with `BEGIN IMMEDIATE` and is on the disk when it
//! returns; one that fails has changed nothing. Nothing here decides what is true or who is told.
//!
//! The holder calls [`Store::tidy`] about once a minute: it seals results into hourly rows and
//! forgets what has been kept long enough.

mod asking;
mod commit;
mod corrections;
pub mod csv;
pub mod envelope;
mod error;
mod fs_kind;
mod latency;
pub mod letters;
pub mod maintenance;
mod note_files;
mod notices;
pub mod outbox;
mod past;
mod presence;
mod reader;
mod results;
mod row;
mod schema;
mod spans;
mod subscribers;
mod tidy;
pub mod tokens;

use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use self::presence::Held;
pub use self::{
    asking::{Answered, Taken},
    commit::Commit,
    error::StoreError,
    fs_kind::{FsKind, fs_kind},
    latency::Histogram,
    notices::LeftNotice,
    reader::Reader,
    results::Sample,
    schema::{APPLICATION_ID, VERSION},
    subscribers::{Added, Filter},
    tidy::Tidied,
};
use crate::{
    config::{self, in_force::InForce},
    domain::{CheckKey, IncidentId, service::Rules, subscriber::Way},
    fsio::{Lock, LockError},
    judge::Decision,
};

/// A store of more bytes is not checked whole at each start: that would take longer than a second.
const CHECKED_WHOLE: u64 = 256 * 1024 * 1024;

/// Whoever writes much, a slice at a time, lets others in for so long after each.
pub const MOMENT: Duration = Duration::from_millis(2);

/// The one connection of a process that writes.
#[derive(Debug)]
pub struct Store {
    db: Held,
    path: PathBuf,
    /// Which file it is, whatever is at its place later.
    identity: (u64, u64),
    keep_results: Duration,
    /// Numbers of checks that are known to be committed.
    probed: HashMap<CheckKey, i64>,
    /// How often deliveries were claimed.
    claims: usize,
    /// Of which way the deliveries and letters are that it claims.
    way: Way,
}

impl Store {
    /// Opens the store, making it if there is none and bringing an older one up to date. `now`
    /// is noted in a new one.
    ///
    /// # Errors
    /// If there is something else at its place, or the place does not suit a store: each error
    /// says what, where, and what to do. What was found is left as it is.
    pub fn open(config: &config::Store, now: Timestamp) -> Result<Self, StoreError> {
        let mut db = schema::open(&config.path, config.allow_volatile, now)?;
        outbox::add_functions(&db).map_err(|error| StoreError::from_sqlite(&config.path, "open it", error))?;
        db.set_transaction_behavior(TransactionBehavior::Immediate);
        let path = config.path.clone();
        let identity = schema::identity(&path).map_err(|error| StoreError::from_io(&path, error))?;
        Ok(Self {
            db,
            path,
            identity,
            keep_results: config.keep_results,
            probed: HashMap::new(),
            claims: 0,
            way: Way::Mail,
        })
    }

    /// The same, for claiming what leaves by that way: else it is mail.
    #[must_use]
    pub fn telling_by(self, way: Way) -> Self {
        Self { way, ..self }
    }

    /// Becomes the one daemon of this store, for as long as the lock is kept. The store itself
    /// need not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Held`] with the name of the other daemon, or if the lock file cannot be used.
    pub fn hold(config: &config::Store) -> Result<Lock, StoreError> {
        let holder = format!("watchbell (process {})", std::process::id());
        let lock = suffixed(&config.path, ".lock");
        Lock::take(&lock, &holder).map_err(|error| match error {
            LockError::Held { holder } => StoreError::Held { path: config.path.clone(), holder },
            LockError::Io { path, source } => StoreError::from_io(&path, source),
        })
    }

    /// Opens the store for reading, at its newest commit.
    ///
    /// # Errors
    /// As [`Store::open`]; also if there is no store yet.
    pub fn reader(config: &config::Store) -> Result<Reader, StoreError> {
        Reader::open(&config.path)
    }

    /// Looks for damage, quickly: at all pages, or in a large store at those of all tables but the
    /// ones of results, which are looked at when they are read.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is any; nothing is changed.
    pub fn check_sound(&self) -> Result<(), StoreError> {
        let large = fs::metadata(&self.path).is_ok_and(|meta| meta.len() > CHECKED_WHOLE);
        let found = self.read("check it", |db| schema::quick_check(db, large))?;
        match found {
            None => Ok(()),
            Some(what) => {
                self.read("leave it as it is", |db| schema::keep_log_at_close(db, true))?;
                Err(StoreError::Broken { path: self.path.clone(), what })
            }
        }
    }

    /// Brings the log into the file itself, as far as others let it: after a good end the file alone
    /// is all there is to copy.
    ///
    /// # Errors
    /// If it cannot be written; the log has the rest then.
    pub fn fold_log(&self) -> Result<(), StoreError> {
        self.read("bring its log into it", |db| {
            // Nobody is waited for: at the end there is little time.
            db.busy_timeout(Duration::from_millis(250))?;
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        })
    }

    /// Whether the file that is open is still the one at its place.
    ///
    /// # Errors
    /// [`StoreError::Displaced`] if it was removed or replaced: what is written from then on is
    /// gone when we end.
    pub fn check_place(&self) -> Result<(), StoreError> {
        match schema::identity(&self.path) {
            Ok(found) if found == self.identity => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(()),
            _ => Err(StoreError::Displaced { path: self.path.clone() }),
        }
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The judge's world as it was last committed: keys and JSON, by key.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn world(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read("read the judge's state", reader::world)
    }

    /// Why things were decided as they were in one incident, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn decisions(&self, incident: &IncidentId) -> Result<Vec<Decision>, StoreError> {
        self.read("read decisions", |db| reader::decisions(db, incident))
    }

    /// Takes down names, groups and order of the services; those that are no longer configured
    /// keep their last name and group.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn set_services(&mut self, rules: &Rules) -> Result<(), StoreError> {
        self.write("record the services", |tx| {
            tx.execute("UPDATE service SET position = NULL WHERE position IS NOT NULL", [])?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO service (id, grp, name, position) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (id) DO UPDATE SET grp = excluded.grp, name = excluded.name, position = excluded.position",
            )?;
            for (position, service) in (0_i64..).zip(&rules.services) {
                let group = service.group.as_ref().map(crate::domain::GroupId::as_str);
                insert.execute((service.id.as_str(), group, &service.name, position))?;
            }
            bump_revision(tx)?;
            Ok(())
        })
    }

    /// Takes down by which rules is judged from `now` on, unless they say the same as before.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn set_in_force(&mut self, rules: &Rules, now: Timestamp) -> Result<(), StoreError> {
        let in_force = InForce::of(rules, now);
        let known = self.read("read by which rules was judged", reader::in_force)?;
        if known.is_some_and(|known| known.tables == in_force.tables) {
            return Ok(());
        }
        self.write("record the rules", |tx| {
            tx.execute(
                "INSERT INTO meta (key, value) VALUES ('in_force', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [row::json(&in_force)?],
            )?;
            Ok(())
        })
    }

    /// A word that is made up once and kept for ever, such as the authority of feed ids: the one
    /// kept under `name`, else `candidate`, which is then kept.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn mint(&mut self, name: &str, candidate: &str) -> Result<String, StoreError> {
        self.write("keep a name", |tx| {
            let key = format!("minted:{name}");
            tx.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING",
                (&key, candidate),
            )?;
            tx.query_row("SELECT value FROM meta WHERE key = ?1", [&key], |row| row.get(0))
        })
    }

    /// Reads; `doing` completes "could not …".
    fn read<T>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        act(&self.db).map_err(|error| StoreError::from_sqlite(&self.path, doing, error))
    }

    /// Does all of `act`, durably, or nothing; `doing` completes "could not …".
    fn write<T>(
        &mut self,
        doing: &'static str,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let run = |db: &mut Connection| {
            let tx = db.transaction()?;
            let value = act(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        run(&mut self.db).map_err(|error| StoreError::from_sqlite(&self.path, doing, error))
    }
}

/// `path` with something appended to its last part.
fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// Says that a page could look different now; gives the new revision.
fn bump_revision(tx: &Connection) -> rusqlite::Result<i64> {
    tx.prepare_cached("UPDATE meta SET value = value + 1 WHERE key = 'revision' RETURNING value")?
        .query_row([], |row| row.get(0))
}

/// The number of a service, known from now on if it was not.
fn service_no(tx: &Connection, id: &str) -> rusqlite::Result<i64> {
    let known =
        tx.prepare_cached("SELECT no FROM service WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()?;
    match known {
        Some(no) => Ok(no),
        None => tx
            .prepare_cached("INSERT INTO service (id, name) VALUES (?1, ?1) RETURNING no")?
            .query_row([id], |row| row.get(0)),
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
