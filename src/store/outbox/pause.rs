//! The pause of mail as everyone can read it, and as an operator ends it: a row that is taken away.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::fan_out;
use crate::{
    domain::pause::Pause,
    store::{
        Reader, Store, StoreError,
        row::{At, count, json},
    },
};

const KEY: &str = "mail_pause";

/// What a newer version wrote counts as none.
pub(super) fn pause(db: &Connection) -> rusqlite::Result<Option<Pause>> {
    let text: Option<String> =
        db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([KEY], |row| row.get(0)).optional()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

impl Store {
    /// The pause of mail, if there is one. Costs no lock.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn pause(&self) -> Result<Option<Pause>, StoreError> {
        self.read("look whether mail is paused", pause)
    }

    /// Writes down a pause that begins.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn begin_pause(&mut self, pause: &Pause) -> Result<(), StoreError> {
        self.write("note that mail is paused", |tx| {
            tx.prepare_cached(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )?
            .execute((KEY, json(pause)?))
            .map(drop)
        })
    }

    /// Writes down how a pause goes on; `false` if it was taken away meanwhile, and stays so.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn prolong_pause(&mut self, pause: &Pause) -> Result<bool, StoreError> {
        self.write("note that mail is paused", |tx| {
            let changed =
                tx.prepare_cached("UPDATE meta SET value = ?2 WHERE key = ?1")?.execute((KEY, json(pause)?))?;
            Ok(changed > 0)
        })
    }

    /// Takes a pause away; whether there was one. The daemon looks for it while it lasts, so it hears of
    /// it within seconds.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn end_pause(&mut self) -> Result<bool, StoreError> {
        self.write("end the pause of mail", |tx| {
            Ok(tx.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([KEY])? > 0)
        })
    }

    /// How many messages are late because nothing left until `now`: one for each subscriber and incident
    /// of which something is due, and letters. Looks at all that waits.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn late(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.read("count what is late", |db| {
            let queued: i64 = db
                .prepare_cached(
                    "SELECT count(*) FROM (
                         SELECT DISTINCT subscriber, incident FROM delivery
                         WHERE done_at IS NULL AND way = 'mail' AND not_before <= ?1
                             AND (folded_into IS NULL OR folded_into NOT IN (SELECT id FROM letter)))",
                )?
                .query_row([At(now)], |row| row.get(0))?;
            let letters: i64 = db
                .prepare_cached("SELECT count(*) FROM letter WHERE way = 'mail' AND not_before <= ?1")?
                .query_row([At(now)], |row| row.get(0))?;
            let mut late = count(queued).saturating_add(count(letters));
            for (event, not_before) in fan_out::promises(db)? {
                if not_before <= now {
                    late = late.saturating_add(fan_out::promised(db, &event)?);
                }
            }
            Ok(late)
        })
    }
}

impl Reader {
    /// The pause of mail, if there is one.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn pause(&self) -> Result<Option<Pause>, StoreError> {
        self.read("look whether mail is paused", pause)
    }
}
