//! Making, recognising and opening database files. Nothing here knows what the tables mean.
//!
//! A new store is built beside its place and then linked into it, so that under the store's own
//! name there is never a half-made file: whatever is found there is a store, or not ours to touch.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};

use super::{
    error::StoreError,
    fs_kind::fs_kind,
    presence::{Doorway, Held},
    row::At,
    suffixed,
};
use crate::{fsio, store::tokens};

/// Marks a database file as a watchbell store: `wbel`, at byte 68 of the file.
pub const APPLICATION_ID: i32 = 0x7762_656c;

/// Each brings the schema up by one; the first makes it. What is released is never edited.
const MIGRATIONS: &[&str] = &[include_str!("migrations/v1.sql")];

/// The schema that this version writes.
pub const VERSION: i64 = 1;

/// The log is cut back to this many bytes after each checkpoint.
const JOURNAL_SIZE_LIMIT: i64 = 16 * 1024 * 1024;

/// Pages kept in memory, in KiB as a negative number: enough for a slice of an event for 100,000
/// people, or the state of 10,000 checks, without reading back what was just written.
const CACHE_KIB: i64 = -4_096;
/// The same where nothing is written: what was read is kept by whoever asked.
const READING_CACHE_KIB: i64 = -2_048;

/// Between two tries to get at a store that somebody else writes to. Whoever has much to write lets
/// go after each slice of it, for a moment ([`super::MOMENT`]): to wait longer would be to miss it.
const ASK_AGAIN: Duration = Duration::from_millis(1);
/// So often it is tried: for 5 s, or longer on a busy machine.
const MOST_TRIES: i32 = 5_000;

/// The first version without the bug that lets a WAL reset lose pages (3.7.0 to 3.51.2).
const SQLITE_AT_LEAST: i32 = 3_051_003;

/// Opens the store at `path` for reading and writing; makes it if there is none.
pub(super) fn open(path: &Path, allow_volatile: bool, now: Timestamp) -> Result<Held, StoreError> {
    prepare_place(path, allow_volatile)?;
    let doorway = Doorway::enter();
    if recognise(path, &doorway)? == Found::Nothing {
        create(path, now)?;
    }
    let mut db = doorway
        .connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| StoreError::from_sqlite(path, "open it", error))?;
    let sqlite = |error| StoreError::from_sqlite(path, "open it", error);
    settings(&mut db, CACHE_KIB).map_err(sqlite)?;
    keep_log_at_close(&db, true).map_err(sqlite)?;
    let found = check_schema(&db, path)?;
    if db.is_readonly("main").map_err(sqlite)? {
        return Err(StoreError::ReadOnly { path: path.to_owned(), detail: "it can only be read".to_owned() });
    }
    durable(&db, path)?;
    if found < VERSION {
        let steps = MIGRATIONS.get(usize::try_from(found).unwrap_or(0)..).unwrap_or(&[]);
        migrate(&mut db, path, steps, VERSION)?;
    }
    keep_log_at_close(&db, false).map_err(sqlite)?;
    Ok(db)
}

/// Whether closing leaves file and log as they are. What is refused is not to be changed by that,
/// either: the last one out would copy the log into the file and remove it.
pub(super) fn keep_log_at_close(db: &Connection, keep: bool) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Makes the folder for a store, and looks at what it lies on.
pub(super) fn prepare_place(path: &Path, allow_volatile: bool) -> Result<(), StoreError> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        fsio::create_folder(folder).map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
    }
    if !allow_volatile {
        let kind = fs_kind(folder).map_err(|source| StoreError::from_io(folder, source))?;
        if let Some((kind, why)) = kind.danger() {
            return Err(StoreError::FileSystem { path: path.to_owned(), kind: kind.clone(), why });
        }
    }
    Ok(())
}

/// Opens the store at `path` for reading only, if it has the schema of this version.
pub(super) fn open_to_read(path: &Path) -> Result<Held, StoreError> {
    match open_to_check(path)? {
        (db, VERSION..) => Ok(db),
        (_, found) => Err(StoreError::Older { path: path.to_owned(), found, known: VERSION }),
    }
}

/// Opens the store at `path` for reading only; gives its schema number, which may be older.
pub(super) fn open_to_check(path: &Path) -> Result<(Held, i64), StoreError> {
    let doorway = Doorway::enter();
    if recognise(path, &doorway)? == Found::Nothing {
        return Err(StoreError::Missing { path: path.to_owned() });
    }
    let sqlite = |error| StoreError::from_sqlite(path, "open it", error);
    let mut db =
        doorway.connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(sqlite)?;
    settings(&mut db, READING_CACHE_KIB).map_err(sqlite)?;
    let found = check_schema(&db, path)?;
    Ok((db, found))
}

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// What lies where a store should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing at all.
    Nothing,
    /// By its first bytes, a store.
    Store,
}

/// Looks at a file's first bytes without letting `SQLite` near it, which would take an empty file
/// for a new database, and write to it. What this process has open was looked at before, and must
/// not be opened by other means.
pub(super) fn recognise(path: &Path, doorway: &Doorway) -> Result<Found, StoreError> {
    if doorway.is_open(path) {
        return Ok(Found::Store);
    }
    let broken = |what: &str| StoreError::Broken { path: path.to_owned(), what: what.to_owned() };
    let wal = suffixed(path, "-wal");
    let wal_bytes = fs::metadata(&wal).map_or(0, |meta| meta.len());
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A log without its database would be played into the new one.
            return if wal_bytes == 0 {
                Ok(Found::Nothing)
            } else {
                Err(broken("the file is gone, but its log (`-wal`) is still there"))
            };
        }
        Err(error) => return Err(StoreError::from_io(path, error)),
    };
    if !meta.is_file() {
        return Err(broken("it is not a file"));
    }
    let mut header = [0; 100];
    let mut file = File::open(path).map_err(|error| StoreError::from_io(path, error))?;
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(_) if meta.len() == 0 => return Err(broken("the file is empty")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(broken("the file is cut short")),
        Err(error) => return Err(StoreError::from_io(path, error)),
    }
    let number =
        |at: usize| header.get(at..).and_then(<[u8]>::first_chunk::<4>).map_or(0, |bytes| u32::from_be_bytes(*bytes));
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(broken("it is no SQLite database"));
    }
    if i64::from(number(68)) != i64::from(APPLICATION_ID) {
        return Err(StoreError::NotOurs { path: path.to_owned() });
    }
    let page_size = match number(16) >> 16 {
        1 => 65_536,
        size => u64::from(size),
    };
    if meta.len() < page_size {
        return Err(broken("the file is cut short"));
    }
    // The page count in the header holds only with an equal change counter, and while no log waits.
    if wal_bytes == 0 && number(24) == number(92) && meta.len() < page_size * u64::from(number(28)) {
        return Err(broken("the file is cut short"));
    }
    Ok(Found::Store)
}

/// Whether to try once more, after a pause, what was tried so often.
fn ask_again(tries: i32) -> bool {
    std::thread::sleep(ASK_AGAIN);
    tries < MOST_TRIES
}

/// What holds for every connection.
fn settings(db: &mut Connection, cache_kib: i64) -> rusqlite::Result<()> {
    db.busy_handler(Some(ask_again))?;
    db.set_prepared_statement_cache_capacity(128);
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cache_size", cache_kib)?;
    db.pragma_update(None, "temp_store", "MEMORY")
}

/// What holds for every connection that writes: a commit that returned is on the disk.
fn durable(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let run = || {
        let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        db.pragma_update(None, "synchronous", "FULL")?;
        let synchronous: i64 = db.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        db.pragma_update_and_check(None, "journal_size_limit", JOURNAL_SIZE_LIMIT, |_| Ok(()))?;
        Ok((mode, synchronous))
    };
    let (mode, synchronous) = run().map_err(|error| StoreError::from_sqlite(path, "open it", error))?;
    if mode == "wal" && synchronous == 2 && rusqlite::version_number() >= SQLITE_AT_LEAST {
        return Ok(());
    }
    let what = format!("its file system or SQLite ({}) cannot keep a log beside it", rusqlite::version());
    Err(StoreError::ReadOnly { path: path.to_owned(), detail: what })
}

/// Checks that the schema is ours and not newer; gives its number.
pub(super) fn check_schema(db: &Connection, path: &Path) -> Result<i64, StoreError> {
    let sqlite = |error| StoreError::from_sqlite(path, "read its schema", error);
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sqlite)?;
    if application != i64::from(APPLICATION_ID) {
        return Err(StoreError::NotOurs { path: path.to_owned() });
    }
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite)?;
    if found > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    let there = objects(db).map_err(sqlite)?;
    let missing = usize::try_from(found).map_or_else(|_| Ok(Vec::new()), |found| missing_objects(&there, found));
    let missing = missing.map_err(sqlite)?;
    if found < 1 || !missing.is_empty() {
        let what = match missing.first() {
            Some(name) => format!("`{name}` is missing in it"),
            None => "it has no schema".to_owned(),
        };
        return Err(StoreError::Broken { path: path.to_owned(), what });
    }
    Ok(found)
}

/// The first thing that is wrong with its pages, if anything; `large`: those of results aside.
pub(super) fn quick_check(db: &Connection, large: bool) -> rusqlite::Result<Option<String>> {
    const OF_RESULTS: [&str; 3] = ["result_log", "result_hour", "latency"];
    let check = |pragma: &str| -> rusqlite::Result<Option<String>> {
        let found: String = db.query_row(pragma, [], |row| row.get(0))?;
        Ok((found != "ok").then_some(found))
    };
    if !large {
        return check("PRAGMA quick_check(1)");
    }
    let mut tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")?;
    let tables = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    for table in tables.iter().filter(|table| !OF_RESULTS.contains(&table.as_str())) {
        let found = check(&format!("PRAGMA quick_check('{table}')"))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What tells a file from others, whatever its name: device and inode.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

fn missing_objects(there: &BTreeSet<(String, String)>, version: usize) -> rusqlite::Result<Vec<String>> {
    let model = Connection::open_in_memory()?;
    for migration in MIGRATIONS.iter().take(version) {
        model.execute_batch(migration)?;
    }
    Ok(objects(&model)?.difference(there).map(|(name, _)| name.clone()).collect())
}

/// Name and definition of all tables and indexes of ours.
fn objects(db: &Connection) -> rusqlite::Result<BTreeSet<(String, String)>> {
    let mut statement = db.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Makes a new store under a name of its own, then puts it in its place.
fn create(path: &Path, now: Timestamp) -> Result<(), StoreError> {
    let folder = folder_of(path);
    let draft = draft_of(path);
    let io = |error| StoreError::from_io(path, error);
    fsio::remove(&draft, folder).map_err(io)?;
    fsio::create(&draft, b"", 0o600).map_err(io)?;
    let result = fill(&draft, now).map_err(|error| StoreError::from_sqlite(path, "create it", error)).and_then(|()| {
        match fsio::place_new(&draft, path) {
            // Another process was quicker; theirs is as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            placed => placed.map_err(io),
        }
    });
    // Best effort: the name says whose it is.
    let _ = fsio::remove(&draft, folder);
    result
}

/// A name beside `path` for a file being made; another one each time, so that two can try.
pub(super) fn draft_of(path: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{number}{}", std::process::id(), fsio::TEMPORARY))
}

/// What others who made a file at `path` left beside it as they were killed, journals included.
pub(super) fn drafts_left(path: &Path) -> Vec<PathBuf> {
    let start = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let is_left = |name: &str| {
        let process = name.strip_prefix(&start).and_then(|rest| rest.split_once('-'));
        process.is_some_and(|(id, rest)| {
            let is_draft = rest.contains(fsio::TEMPORARY) && id.parse::<u32>().is_ok();
            is_draft && !Path::new("/proc").join(id).exists()
        })
    };
    let entries = fs::read_dir(folder_of(path)).into_iter().flatten().flatten();
    entries.filter(|entry| is_left(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect()
}

fn fill(path: &Path, now: Timestamp) -> rusqlite::Result<()> {
    let mut db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    for migration in MIGRATIONS {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "user_version", VERSION)?;
    let salt =
        tokens::random_bytes::<16>().map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let mut meta = tx.prepare("INSERT INTO meta (key, value) VALUES (?1, ?2)")?;
    meta.execute(("created_at", At(now)))?;
    meta.execute(("salt", salt))?;
    meta.execute(("revision", 0))?;
    meta.execute(("epoch", 0))?;
    drop(meta);
    tx.commit()?;
    db.close().map_err(|(_, error)| error)
}

/// Brings an older schema up to `version`: all steps or none, with a copy of the old beside it.
pub(super) fn migrate(db: &mut Connection, path: &Path, steps: &[&str], version: i64) -> Result<(), StoreError> {
    let copy = suffixed(path, &format!(".before-v{version}"));
    if !copy.exists() {
        super::maintenance::copy_out(db, &copy, &mut |_| ())?;
    }
    let mut run = || {
        let tx: Transaction<'_> = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found >= version {
            return Ok(()); // another process was quicker
        }
        for step in steps {
            tx.execute_batch(step)?;
        }
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()
    };
    run().map_err(|error| StoreError::from_sqlite(path, "bring its schema up to date", error))
}
