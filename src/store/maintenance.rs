//! Looking after the store: copies, going back to one, checking, making it smaller.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rusqlite::{
    Connection, OpenFlags, Transaction, TransactionBehavior,
    backup::{Backup as Copying, StepResult},
    ffi,
};

use super::{
    Store, StoreError,
    latency::Histogram,
    presence::Doorway,
    reader, results,
    row::{At, count},
    schema, suffixed,
    tokens::{self, Key},
};
use crate::{config, domain::incident::Incident, fsio};

/// How far some long work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// So much is done.
    pub done: u64,
    /// Of so much; 0: not known.
    pub total: u64,
}

/// Pages copied at a time, between two words of progress.
const PAGES: i32 = 2_000;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Size of the copy in bytes.
    pub bytes: u64,
    /// Where the key was copied to; `None`: there is none yet.
    pub key: Option<PathBuf>,
}

/// Copies the store, as it is at one moment, to a new file, and its key beside that. The daemon
/// may go on working. The copy is sound: it is checked before it gets its name.
///
/// # Errors
/// If one of the new files exists already, or the store cannot be read or the copy written;
/// nothing is left behind then.
pub fn backup(config: &config::Store, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Backup, StoreError> {
    let key_to = tokens::path_beside(to);
    let key = Key::read(&Key::path(config))?;
    // A key that is ours already was left by a backup that was killed before the copy was there.
    let is_left = key.is_some() && Key::read(&key_to).is_ok_and(|left| left == key);
    for path in [to, &key_to] {
        if path.symlink_metadata().is_ok() && !(is_left && path == key_to) {
            return Err(StoreError::Exists { path: path.to_owned() });
        }
    }
    let db = schema::open_to_read(&config.path)?;
    remove_drafts(&key_to);
    if let Some(key) = key.as_ref().filter(|_| !is_left) {
        fsio::create(&key_to, key.bytes(), 0o600).map_err(|error| StoreError::from_io(&key_to, error))?;
    }
    if let Err(error) = copy_out(&db, to, progress) {
        let _ = fsio::remove(&key_to, schema::folder_of(&key_to));
        return Err(error);
    }
    let bytes = fs::metadata(to).map_err(|error| StoreError::from_io(to, error))?.len();
    Ok(Backup { bytes, key: key.map(|_| key_to) })
}

/// Copies a database to a new file, whole and checked, or not at all.
pub(super) fn copy_out(db: &Connection, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), StoreError> {
    let draft = draft_copy(db, to, progress)?;
    let placed = fsio::place_new(&draft, to).map_err(|error| StoreError::from_io(to, error));
    let _ = fsio::remove(&draft, schema::folder_of(&draft));
    placed
}

/// Copies a database into a draft beside `to`: one file, checked, on the disk.
fn draft_copy(db: &Connection, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, StoreError> {
    let draft = schema::draft_of(to);
    let folder = schema::folder_of(&draft);
    let io = |error| StoreError::from_io(to, error);
    remove_drafts(to);
    fsio::remove(&draft, folder).map_err(io)?;
    fsio::create(&draft, b"", 0o600).map_err(io)?;
    let copied = copy_pages(db, &draft, progress)
        .map_err(|error| StoreError::from_sqlite(to, "copy it", error))
        .and_then(|problem| match problem {
            Some(what) => {
                Err(StoreError::Broken { path: db.path().map_or_else(|| to.to_owned(), PathBuf::from), what })
            }
            None => File::open(&draft).and_then(|file| file.sync_all()).map_err(io),
        });
    if let Err(error) = copied {
        let _ = fsio::remove(&draft, folder);
        return Err(error);
    }
    Ok(draft)
}

/// Removes what others who made a file at `path` left beside it as they were killed.
fn remove_drafts(path: &Path) {
    for left in schema::drafts_left(path) {
        // Best effort: it may be large, or secret, but nothing depends on it.
        let _ = fsio::remove(&left, schema::folder_of(path));
    }
}

fn copy_pages(db: &Connection, draft: &Path, progress: &mut dyn FnMut(Progress)) -> rusqlite::Result<Option<String>> {
    let mut copy = Connection::open_with_flags(draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // With a read transaction of its own the copy stands at one moment, and does not begin anew
    // whenever somebody else commits.
    let reading = Transaction::new_unchecked(db, TransactionBehavior::Deferred)?;
    reading.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    {
        let copying = Copying::new(db, &mut copy)?;
        loop {
            match copying.step(PAGES)? {
                StepResult::Done => break,
                StepResult::More => {}
                // Nobody else knows of the copy, and a reader of the log waits for nobody.
                _ => return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)),
            }
            let pages = copying.progress();
            let total = u64::try_from(pages.pagecount).unwrap_or(0);
            let remaining = u64::try_from(pages.remaining).unwrap_or(0);
            progress(Progress { done: total.saturating_sub(remaining), total });
        }
    }
    reading.finish()?;
    // One file that needs no other: a copy with a log beside it is easily torn apart.
    copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    let found: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    copy.close().map_err(|(_, error)| error)?;
    Ok((found != "ok").then_some(found))
}

/// What restoring did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where the store that was there before is now.
    pub before: Option<PathBuf>,
    /// Messages that waited in the backup. They are not told: they were, or are long past.
    pub dropped: u64,
    /// Whether the backup had a key beside it; else the one that was there stays.
    pub has_key: bool,
}

/// Puts a backup in the place of the store. The backup is checked first and only read; the store
/// that was there is kept beside it as `.before-restore`.
///
/// # Errors
/// If a daemon holds the store, if the backup is not sound, or if a file cannot be written; the
/// store is then as it was.
pub fn restore(
    config: &config::Store,
    from: &Path,
    now: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, StoreError> {
    schema::prepare_place(&config.path, config.allow_volatile)?;
    let _lock = Store::hold(config)?;
    if let Some(problem) = verify(from, progress)?.problems.into_iter().next() {
        return Err(StoreError::Broken { path: from.to_owned(), what: problem });
    }
    let key = Key::read(&tokens::path_beside(from))?;
    let (backup, _) = schema::open_to_check(from)?;
    let draft = draft_copy(&backup, &config.path, progress)?;
    let placed = quieten(&draft, now)
        .map_err(|error| StoreError::from_sqlite(&config.path, "prepare the backup", error))
        .and_then(|dropped| replace(config, &draft, key.as_ref()).map(|before| (before, dropped)));
    let _ = fsio::remove(&draft, schema::folder_of(&draft));
    let (before, dropped) = placed?;
    Ok(Restored { before, dropped, has_key: key.is_some() })
}

/// Drops what waits in a backup: it was told since, or is long past.
fn quieten(draft: &Path, now: Timestamp) -> rusqlite::Result<u64> {
    let mut db = Connection::open_with_flags(draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let tx = db.transaction()?;
    let dropped = drop_all(&tx, now)?;
    tx.commit()?;
    db.close().map_err(|(_, error)| error)?;
    Ok(dropped)
}

/// Drops all that waits to be told, and the pause of that; how many deliveries those were.
pub(super) fn drop_all(tx: &Connection, now: Timestamp) -> rusqlite::Result<u64> {
    let dropped = tx.execute(
        "UPDATE delivery SET state = 'dropped', epoch = NULL, done_at = ?1, reply = 'restored from a backup'
         WHERE done_at IS NULL",
        [At(now)],
    )?;
    tx.execute_batch(
        "DELETE FROM fan_out; DELETE FROM latecomer; DELETE FROM asking; DELETE FROM letter;
         DELETE FROM meta WHERE key = 'mail_pause'",
    )?;
    Ok(u64::try_from(dropped).unwrap_or(0))
}

/// Moves the store out of the way and the draft into its place.
fn replace(config: &config::Store, draft: &Path, key: Option<&Key>) -> Result<Option<PathBuf>, StoreError> {
    let path = &config.path;
    let io = |error| StoreError::from_io(path, error);
    let mut before = None;
    if path.symlink_metadata().is_ok() {
        fold_log(path);
        let kept = free_name(path);
        fsio::also_named(path, &kept).map_err(io)?;
        before = Some(kept);
    }
    // A log that could not be folded in belongs to the old file, and must not meet the new one.
    let log = suffixed(path, "-wal");
    if log.symlink_metadata().is_ok() {
        let kept = suffixed(before.as_ref().unwrap_or(&free_name(path)), "-wal");
        fsio::place(&log, &kept).map_err(io)?;
    }
    fsio::remove(&suffixed(path, "-shm"), schema::folder_of(path)).map_err(io)?;
    fsio::place(draft, path).map_err(io)?;
    if let Some(key) = key {
        let key_path = Key::path(config);
        let key_io = |error| StoreError::from_io(&key_path, error);
        let is_same = Key::read(&key_path).is_ok_and(|old| old.as_ref() == Some(key));
        if !is_same {
            if key_path.symlink_metadata().is_ok() {
                fsio::place(&key_path, &free_name(&key_path)).map_err(key_io)?;
            }
            fsio::create(&key_path, key.bytes(), 0o600).map_err(key_io)?;
        }
    }
    Ok(before)
}

/// Brings what stands in the log into the file. Best effort: a broken store is replaced as well.
fn fold_log(path: &Path) {
    let doorway = Doorway::enter();
    if schema::recognise(path, &doorway).is_ok()
        && let Ok(db) = doorway.connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    {
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

fn free_name(path: &Path) -> PathBuf {
    let first = suffixed(path, ".before-restore");
    let more = (2..).map(|n: u32| suffixed(path, &format!(".before-restore-{n}")));
    std::iter::once(first.clone()).chain(more).find(|name| name.symlink_metadata().is_err()).unwrap_or(first)
}

/// What checking found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong.
    pub problems: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// What was looked at, in words with numbers.
    pub counts: Vec<(&'static str, u64)>,
}

/// Checks a store, or a backup of one, from end to end; reads only.
///
/// # Errors
/// If it cannot even be opened.
pub fn verify(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Report, StoreError> {
    let (db, _) = schema::open_to_check(path)?;
    let mut report = Report::default();
    check_all(&db, &mut report, progress).map_err(|error| StoreError::from_sqlite(path, "check it", error))?;
    let key_path = tokens::path_beside(path);
    match Key::read(&key_path) {
        Ok(Some(_)) => {}
        Ok(None) => report.notes.push(format!("there is no key `{}` yet", key_path.display())),
        Err(error) => report.problems.push(error.to_string()),
    }
    for file in [path, &key_path] {
        let mode = fs::metadata(file).map_or(0, |meta| meta.permissions().mode());
        if mode & 0o077 != 0 {
            report.notes.push(format!("others can read `{}`: `chmod 600` it", file.display()));
        }
    }
    Ok(report)
}

fn check_all(db: &Connection, report: &mut Report, progress: &mut dyn FnMut(Progress)) -> rusqlite::Result<()> {
    const STEPS: u64 = 6;
    let mut step = (1..).map(|done| progress(Progress { done, total: STEPS }));
    let mut integrity = db.prepare("PRAGMA integrity_check(20)")?;
    for line in integrity.query_map([], |row| row.get::<_, String>(0))? {
        let line = line?;
        if line != "ok" {
            report.problems.push(line);
        }
    }
    if !report.problems.is_empty() {
        return Ok(()); // what else is wrong follows from that
    }
    step.next();
    let mut foreign = db.prepare("PRAGMA foreign_key_check")?;
    for line in foreign.query_map([], |row| row.get::<_, String>(0))? {
        report.problems.push(format!("a row of `{}` refers to one that is gone", line?));
    }
    step.next();
    let mut ask = |what: &str, sql: &str| -> rusqlite::Result<()> {
        let found = count(db.query_row(sql, [], |row| row.get(0))?);
        if found > 0 {
            report.problems.push(format!("{found} {what}"));
        }
        Ok(())
    };
    ask(
        "deliveries of an event that is gone",
        "SELECT count(*) FROM delivery WHERE event NOT IN (SELECT id FROM event)",
    )?;
    ask(
        "events that are to be queued are gone",
        "SELECT count(*) FROM fan_out WHERE event NOT IN (SELECT id FROM event)",
    )?;
    ask(
        "deliveries wait for somebody who is gone",
        "SELECT count(*) FROM delivery WHERE done_at IS NULL AND subscriber NOT IN (SELECT id FROM subscriber)",
    )?;
    ask(
        "events of an incident that is gone",
        "SELECT count(*) FROM event WHERE incident NOT IN (SELECT id FROM incident)",
    )?;
    ask(
        "stretches of a service's record overlap, or stand open before another",
        "SELECT count(*) FROM (SELECT from_at, to_at, lead(from_at) OVER (PARTITION BY service ORDER BY from_at) AS next
                               FROM span)
         WHERE to_at <= from_at OR to_at > next OR (to_at IS NULL AND next IS NOT NULL)",
    )?;
    step.next();
    check_json(db, report)?;
    step.next();
    check_packed(db, report)?;
    step.next();
    for (what, table) in [
        ("incidents", "incident"),
        ("events", "event"),
        ("subscribers", "subscriber"),
        ("deliveries", "delivery"),
        ("services", "service"),
    ] {
        let number = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).map(count)?;
        report.counts.push((what, number));
    }
    step.next();
    Ok(())
}

fn check_json(db: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let mut incidents = db.prepare("SELECT id, json FROM incident")?;
    let mut rows = incidents.query([])?;
    while let Some(row) = rows.next()? {
        let json: String = row.get(1)?;
        if let Err(error) = serde_json::from_str::<Incident>(&json) {
            report.problems.push(format!("incident `{}` cannot be read: {error}", row.get::<_, String>(0)?));
        }
    }
    let mut events = db.prepare("SELECT json, v FROM event")?;
    let mut rows = events.query([])?;
    let mut unknown = 0_u64;
    while let Some(row) = rows.next()? {
        unknown += u64::from(reader::event(row)?.is_none());
    }
    if unknown > 0 {
        report.notes.push(format!("{unknown} events are of a kind that this version does not know"));
    }
    Ok(())
}

fn check_packed(db: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let mut hours = db.prepare("SELECT hour_at, count, data FROM result_hour")?;
    let mut rows = hours.query([])?;
    let (mut bad, mut sealed) = (0_u64, 0);
    while let Some(row) = rows.next()? {
        let number = count(row.get(1)?);
        let data: Vec<u8> = row.get(2)?;
        let points = results::unpacked(row.get(0)?, &data);
        bad += u64::from(points.is_none_or(|points| u64::try_from(points.len()) != Ok(number)));
        sealed += number;
    }
    let mut quarters = db.prepare("SELECT data FROM latency")?;
    let mut rows = quarters.query([])?;
    while let Some(row) = rows.next()? {
        bad += u64::from(Histogram::decode(&row.get::<_, Vec<u8>>(0)?).is_none());
    }
    if bad > 0 {
        report.problems.push(format!("{bad} packed rows cannot be unpacked"));
    }
    let log = count(db.query_row("SELECT count(*) FROM result_log", [], |row| row.get(0))?);
    report.counts.push(("results", sealed + log));
    Ok(())
}

/// What compacting did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Size of the file before, in bytes.
    pub before: u64,
    /// And after.
    pub after: u64,
}

/// Forgets what has been kept long enough, and gives free pages back to the disk. The daemon may
/// go on working.
///
/// # Errors
/// If the store cannot be written; nothing is lost then.
pub fn compact(store: &mut Store, now: Timestamp, progress: &mut dyn FnMut(Progress)) -> Result<Compacted, StoreError> {
    let size = |store: &Store| fs::metadata(&store.path).map_or(0, |meta| meta.len());
    let before = size(store);
    let mut done = 0;
    loop {
        let tidied = store.tidy(now)?;
        done += tidied.sealed;
        progress(Progress { done, total: 0 });
        if !tidied.more {
            break;
        }
    }
    store.read("give back free pages", |db| {
        let mut pages = db.prepare("PRAGMA incremental_vacuum")?;
        let mut rows = pages.query([])?;
        while rows.next()?.is_some() {}
        db.execute_batch("PRAGMA optimize")?;
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    })?;
    Ok(Compacted { before, after: size(store) })
}
