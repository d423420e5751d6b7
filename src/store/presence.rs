//! Which database files this process has open.
//!
//! POSIX drops all of a process's locks on a file when the process closes *any* descriptor of it.
//! Whoever reads a database's first bytes while a connection to it is open takes away the locks of
//! that connection; the next other process that closes the store then believes itself alone, and
//! removes the log that is still being written to (<https://sqlite.org/howtocorrupt.html>,
//! section 2.2). So while a connection is open, nobody here opens the file by other means.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::{Deref, DerefMut},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OpenFlags};

/// A file, whatever it is called: device and inode.
type FileId = (u64, u64);

/// How many connections of this process are open to each file.
static OPEN: Mutex<BTreeMap<FileId, usize>> = Mutex::new(BTreeMap::new());

/// The right to open files; nobody else in this process opens or looks at one meanwhile.
pub(super) struct Doorway(MutexGuard<'static, BTreeMap<FileId, usize>>);

/// A connection that is known to be open.
#[derive(Debug)]
pub(super) struct Held {
    // Dropped in this order: the file is free when nothing is open any more.
    db: Connection,
    _presence: Presence,
}

#[derive(Debug)]
struct Presence(FileId);

fn id_of(path: &Path) -> io::Result<FileId> {
    let meta = fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

fn open() -> MutexGuard<'static, BTreeMap<FileId, usize>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Doorway {
    /// Waits for whoever is opening a file.
    pub(super) fn enter() -> Self {
        Self(open())
    }

    /// Whether a connection of this process to that file is open.
    pub(super) fn is_open(&self, path: &Path) -> bool {
        id_of(path).is_ok_and(|id| self.0.contains_key(&id))
    }

    /// Opens a connection.
    pub(super) fn connect(mut self, path: &Path, flags: OpenFlags) -> rusqlite::Result<Held> {
        let db = Connection::open_with_flags(path, flags)?;
        let id = id_of(path).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        *self.0.entry(id).or_default() += 1;
        Ok(Held { db, _presence: Presence(id) })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut open = open();
        if let Some(count) = open.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.0);
            }
        }
    }
}

impl Deref for Held {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.db
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.db
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, testing};

    /// Whether this process holds a lock on the file that other processes see.
    fn is_locked(path: &Path) -> bool {
        let (pid, inode) = (format!(" {} ", std::process::id()), format!(":{} ", id_of(path).unwrap().1));
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains("POSIX") && line.contains(&pid) && line.contains(&inode))
    }

    #[test]
    fn a_store_opened_again_takes_no_lock_from_the_one_that_is_open() {
        let (folder, mut store) = testing::store();
        let config = testing::config(folder.path());
        store.commit(&testing::commit(&[], &[])).unwrap();
        assert!(is_locked(&config.path));
        let again = Store::open(&config, testing::at(0)).unwrap();
        let reader = Store::reader(&config).unwrap();
        assert!(is_locked(&config.path), "another process would think that nobody has it open");
        drop((again, reader));
        assert!(is_locked(&config.path));
        drop(store);
        assert!(!is_locked(&config.path));
    }
}
