//! What can go wrong with the store: where, what, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::{ErrorCode, ffi};

/// What went wrong with the store. Nothing was changed by the call that returns one.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder is missing and could not be made.
    #[error("the folder `{path}` for the store could not be created: {source}; create it for the user that runs watchbell", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file or its folder does not let us write.
    #[error("the store `{path}` cannot be written: let the user that runs watchbell write to it and to its folder ({detail})", path = path.display())]
    ReadOnly {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// There is no store to read.
    #[error("there is no store at `{path}` yet: `watchbell run` makes one, or correct `[store] url`", path = path.display())]
    Missing {
        /// The database file.
        path: PathBuf,
    },
    /// A database, but not one of watchbell's.
    #[error("`{path}` is another program's database, not a watchbell store; it is left as it is: choose another file in `[store] url`", path = path.display())]
    NotOurs {
        /// The database file.
        path: PathBuf,
    },
    /// It was damaged, or never was a database.
    #[error("the store `{path}` is broken: {what}; it is left as it is: bring back a backup with `watchbell store restore FILE`, or move it away to begin anew", path = path.display())]
    Broken {
        /// The database file.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// The file was removed or replaced while it was open.
    #[error("the store `{path}` was removed or replaced while in use: what is recorded now is lost at the next restart; restart watchbell now, or bring back a backup with `watchbell store restore FILE`", path = path.display())]
    Displaced {
        /// The database file.
        path: PathBuf,
    },
    /// A newer watchbell wrote it.
    #[error("the store `{path}` was written by a newer watchbell (its schema is {found}, this one knows {known}); it is left as it is: install that version, or restore the backup made before the upgrade", path = path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema number.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// An older watchbell wrote it, and readers do not migrate.
    #[error("the store `{path}` has the older schema {found} (this watchbell writes {known}): start `watchbell run` once to bring it up to date", path = path.display())]
    Older {
        /// The database file.
        path: PathBuf,
        /// Its schema number.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Another process is the daemon of this store.
    #[error("the store `{path}` is in use by {holder}: stop that first", path = path.display())]
    Held {
        /// The database file.
        path: PathBuf,
        /// What the holder says of itself.
        holder: String,
    },
    /// The file system does not keep what it is given, or not for us alone.
    #[error("the store `{path}` lies on {kind}: {why}; choose a local disk in `[store] url`, or set `allow_volatile = true` in `[store]` to accept that", path = path.display())]
    FileSystem {
        /// The database file.
        path: PathBuf,
        /// Such as `tmpfs`.
        kind: String,
        /// What is to be feared.
        why: &'static str,
    },
    /// No room left.
    #[error("there is no room left on the disk of the store `{path}`; nothing was changed: make room, it goes on by itself", path = path.display())]
    Full {
        /// The database file.
        path: PathBuf,
    },
    /// Somebody else has locked it for too long.
    #[error("another program has kept the store `{path}` locked for more than 5 s while we tried to {doing}: end it (a `sqlite3` shell? a copy being made?)", path = path.display())]
    Busy {
        /// The database file.
        path: PathBuf,
        /// What we were about to do.
        doing: &'static str,
    },
    /// Something is where a file should be written.
    #[error("`{path}` exists already and is left as it is: choose another name, or move it away", path = path.display())]
    Exists {
        /// What exists.
        path: PathBuf,
    },
    /// The key of all links in mails.
    #[error("the key file `{path}` cannot be used: {what}; bring it back from a backup, since links in mails already sent need it", path = path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file beside the database.
    #[error("`{path}`: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else that `SQLite` said.
    #[error("could not {doing} in the store `{path}`: {source}", path = path.display())]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What we were about to do.
        doing: &'static str,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// The error for what `SQLite` said while we tried to `doing`.
    pub(super) fn from_sqlite(path: &Path, doing: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let detail = source.to_string();
        let extended = source.sqlite_error().map_or(0, |error| error.extended_code);
        // A text that is none: its bytes were changed by something else than us.
        if matches!(source, rusqlite::Error::Utf8Error(..) | rusqlite::Error::FromSqlConversionFailure(..)) {
            return Self::Broken { path, what: detail };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            // The index of the write-ahead log could not grow.
            Some(ErrorCode::SystemIoFailure) if extended == ffi::SQLITE_IOERR_SHMSIZE => Self::Full { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Broken { path, what: detail },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, doing },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { path, detail }
            }
            _ => Self::Sqlite { path, doing, source },
        }
    }

    /// The error for what the system said of a file.
    pub(super) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            io::ErrorKind::StorageFull => Self::Full { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, detail: source.to_string() }
            }
            _ => Self::Io { path, source },
        }
    }
}
