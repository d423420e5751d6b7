//! The past that an older copy of the store does not know, in the store: found at a start, asked by each
//! commit.

use rusqlite::{Connection, OptionalExtension};

use super::{Store, StoreError, maintenance, reader, row::json};
use crate::domain::{EventId, event::Event, incident::Origin, past::Past};

const KEY: &str = "past";

impl Store {
    /// Whether an event was recorded here.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn knows_event(&self, id: &EventId) -> Result<bool, StoreError> {
        self.read("look up an event", |db| {
            db.prepare_cached("SELECT 1 FROM event WHERE id = ?1")?.exists([id.as_bytes()])
        })
    }

    /// The past that was found at an earlier start, if there was one.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn past(&self) -> Result<Option<Past>, StoreError> {
        self.read("read what was told before", kept)
    }

    /// Takes down what was told that is not known here, and drops what waits: it was told since, or is long
    /// past. Returns how many deliveries that were.
    ///
    /// # Errors
    /// If the store cannot be written: then nothing was done.
    pub fn heed_past(&mut self, past: &Past, now: jiff::Timestamp) -> Result<u64, StoreError> {
        self.write("heed the past", |tx| {
            let dropped = maintenance::drop_all(tx, now)?;
            keep(tx, past)?;
            Ok(dropped)
        })
    }
}

fn keep(tx: &Connection, past: &Past) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?
    .execute((KEY, json(past)?))
    .map(drop)
}

/// What a newer version wrote counts as nothing.
fn kept(tx: &Connection) -> rusqlite::Result<Option<Past>> {
    let text: Option<String> =
        tx.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([KEY], |row| row.get(0)).optional()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// A new event as it is to be recorded: of what was told before, that nobody is told.
pub(super) fn heeded(tx: &Connection, event: &Event) -> rusqlite::Result<Option<Event>> {
    let Some(mut past) = kept(tx)? else { return Ok(None) };
    let origin = reader::incident(tx, &event.incident)?.map_or(Origin::Automatic, |incident| incident.origin);
    let before = past.clone();
    let is_told = past.is_told(event, origin);
    if past != before {
        keep(tx, &past)?;
    }
    Ok(is_told.then(|| Event { notify: false, ..event.clone() }))
}

/// The same for an event that is amended.
pub(super) fn heeded_again(tx: &Connection, event: &Event) -> rusqlite::Result<Option<Event>> {
    let is_silent = kept(tx)?.is_some_and(|past| past.is_silent(&event.id));
    Ok(is_silent.then(|| Event { notify: false, ..event.clone() }))
}
