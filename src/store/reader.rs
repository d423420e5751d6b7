//! Reading what is committed, one moment at a time.

use std::{
    cell::Cell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, types::ValueRef};

use super::{
    Sample, StoreError,
    commit::JSON_VERSION,
    corrections, latency,
    presence::Held,
    results,
    row::{At, Json, Word, count},
    schema, spans,
};
use crate::{
    config::in_force::InForce,
    domain::{
        CheckKey, IncidentId, ServiceId,
        archive::{Archive, ArchiveError, Changes, Head, LatencyPoint, ServiceNow},
        correction::{Correction, lay_over},
        event::Event,
        incident::Incident,
        span::Span,
        target::TargetClass,
    },
    judge::Decision,
};

/// A read-only connection that stands at one commit until [`Reader::refresh`] moves it on.
///
/// While it stands, the log beside the database cannot be cut back: between uses, let it
/// [`Reader::rest`].
#[derive(Debug)]
pub struct Reader {
    db: Held,
    path: PathBuf,
    skipped: Cell<u64>,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let db = schema::open_to_read(path)?;
        let mut reader = Self { db, path: path.to_owned(), skipped: Cell::new(0) };
        reader.refresh()?;
        Ok(reader)
    }

    /// Moves to the newest commit.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn refresh(&mut self) -> Result<(), StoreError> {
        self.rest()?;
        self.skipped.set(0);
        // The snapshot is taken by the first read, not by BEGIN.
        self.db
            .execute_batch("BEGIN; SELECT value FROM meta WHERE key = 'revision';")
            .map_err(|error| StoreError::from_sqlite(&self.path, "read it", error))
    }

    /// Lets go of the moment. Until the next [`Reader::refresh`] every call sees the newest commit.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn rest(&mut self) -> Result<(), StoreError> {
        if self.db.is_autocommit() {
            return Ok(());
        }
        self.db.execute_batch("COMMIT").map_err(|error| StoreError::from_sqlite(&self.path, "read it", error))
    }

    /// How many events were passed over since the last refresh because a newer watchbell wrote
    /// them. They stay in the store.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.get()
    }

    /// Why things were decided as they were in one incident, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn decisions(&self, incident: &IncidentId) -> Result<Vec<Decision>, StoreError> {
        self.read("read decisions", |db| decisions(db, incident))
    }

    /// A check's results in `[from, to)`, oldest first, as far back as they are kept.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn results(&self, check: &CheckKey, from: Timestamp, to: Timestamp) -> Result<Vec<Sample>, StoreError> {
        self.read("read results", |db| results::of_check(db, check, from, to))
    }

    /// A service's spans as they were measured, without corrections: those that reach into
    /// `[from, to)`, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn measured(&self, service: &ServiceId, from: Timestamp, to: Timestamp) -> Result<Vec<Span>, StoreError> {
        self.read("read spans", |db| spans::within(db, service, from, to))
    }

    /// All checks' results that began in `[from, to)`, those that ended first before others, as far
    /// back as they are kept.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn results_of_all(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Sample>, StoreError> {
        self.read("read results", |db| results::of_all(db, from, to))
    }

    /// When the first and the last of the results that are kept began; `None` without any.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn results_kept(&self) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
        self.read("read results", results::kept)
    }

    /// By which rules was judged last; `None` if that was never written down.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn in_force(&self) -> Result<Option<InForce>, StoreError> {
        self.read("read by which rules was judged", in_force)
    }

    /// The judge's world as it was last committed: keys and JSON, by key.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn world(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read("read the judge's state", world)
    }

    /// The word kept under `name` by [`super::Store::mint`].
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn minted(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.read("read a name", |db| {
            db.prepare_cached("SELECT value FROM meta WHERE key = 'minted:' || ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })
    }

    /// The newest event of one incident first; all of them.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn events_of(&self, incident: &IncidentId) -> Result<Vec<Event>, StoreError> {
        self.read("read events", |db| {
            let mut events = db.prepare_cached("SELECT json, v FROM event WHERE incident = ?1 ORDER BY seq DESC")?;
            let mut rows = events.query([incident.as_str()])?;
            self.known_events(&mut rows, usize::MAX)
        })
    }

    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        act(&self.db).map_err(|error| StoreError::from_sqlite(&self.path, doing, error))
    }

    fn answer<T>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ArchiveError> {
        self.read("read it", act).map_err(|error| ArchiveError(Box::new(error)))
    }

    /// Takes events from rows of `json, v` until there are `limit`; what a newer version wrote is
    /// passed over and counted.
    fn known_events(&self, rows: &mut rusqlite::Rows<'_>, limit: usize) -> rusqlite::Result<Vec<Event>> {
        let mut events = Vec::new();
        while events.len() < limit {
            let Some(row) = rows.next()? else { break };
            match event(row)? {
                Some(event) => events.push(event),
                None => self.skipped.set(self.skipped.get() + 1),
            }
        }
        Ok(events)
    }
}

/// An event from a row that begins with `json, v`; `None` if this version cannot know it.
pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Option<Event>> {
    let v: i64 = row.get(1)?;
    let json = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
    Ok(if v == JSON_VERSION { serde_json::from_str(json).ok() } else { None })
}

pub(super) fn incident(db: &Connection, id: &IncidentId) -> rusqlite::Result<Option<Incident>> {
    db.prepare_cached("SELECT json FROM incident WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get::<_, Json<Incident>>(0))
        .optional()
        .map(|found| found.map(|json| json.0))
}

pub(super) fn decisions(db: &Connection, incident: &IncidentId) -> rusqlite::Result<Vec<Decision>> {
    let mut rows = db.prepare_cached("SELECT json FROM decision WHERE incident = ?1 ORDER BY at, no")?;
    rows.query_map([incident.as_str()], |row| row.get::<_, Json<Decision>>(0).map(|json| json.0))?.collect()
}

/// What a version of another form wrote is as good as nothing.
pub(super) fn in_force(db: &Connection) -> rusqlite::Result<Option<InForce>> {
    let text = db
        .prepare_cached("SELECT value FROM meta WHERE key = 'in_force'")?
        .query_row([], |row| row.get::<_, String>(0))
        .optional()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

pub(super) fn world(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut rows = db.prepare_cached("SELECT key, json FROM world ORDER BY key")?;
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn service_now(row: &Row<'_>) -> rusqlite::Result<ServiceNow> {
    let (service, status, since): (Word<_>, Word<_>, At) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(ServiceNow {
        service: service.0,
        status: status.0,
        since: since.0,
        checks_up: row.get(3)?,
        checks_known: row.get(4)?,
        last_result_at: row.get::<_, Option<At>>(5)?.map(|at| at.0),
    })
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let (id, status, impact): (Word<_>, Word<_>, Word<_>) = (row.get(0)?, row.get(3)?, row.get(4)?);
    Ok(Head {
        id: id.0,
        aliases: row.get::<_, Json<_>>(1)?.0,
        version: count(row.get(2)?),
        status: status.0,
        impact: impact.0,
        started_at: row.get::<_, At>(5)?.0,
        resolved_at: row.get::<_, Option<At>>(6)?.map(|at| at.0),
        services: row.get::<_, Json<_>>(7)?.0,
        withdrawn: row.get(8)?,
    })
}

impl Archive for Reader {
    fn services(&self) -> Result<Vec<ServiceNow>, ArchiveError> {
        self.answer(|db| {
            let mut rows = db.prepare_cached(
                "SELECT service, status, since_at, checks_up, checks_known, last_result_at FROM service_now",
            )?;
            rows.query_map([], service_now)?.collect()
        })
    }

    fn heads(&self) -> Result<Vec<Head>, ArchiveError> {
        self.answer(|db| {
            let mut rows = db.prepare_cached(
                "SELECT id, aliases, version, status, impact, started_at, resolved_at, services, withdrawn
                 FROM incident ORDER BY started_at DESC, id DESC",
            )?;
            rows.query_map([], head)?.collect()
        })
    }

    fn incident(&self, id: &IncidentId) -> Result<Option<Incident>, ArchiveError> {
        self.answer(|db| incident(db, id))
    }

    fn spans(&self, service: &ServiceId, from: Timestamp, to: Timestamp) -> Result<Vec<Span>, ArchiveError> {
        self.answer(|db| {
            let corrections = corrections::of(db, Some(service))?;
            if corrections.is_empty() {
                return spans::within(db, service, from, to);
            }
            // A neighbour beyond these bounds may have become one with what lies within.
            let measured = spans::within(db, service, Timestamp::MIN, Timestamp::MAX)?;
            let mut spans = lay_over(&measured, &corrections);
            spans.retain(|span| span.from < to && span.to.is_none_or(|end| end > from));
            Ok(spans)
        })
    }

    fn corrections(&self, service: Option<&ServiceId>) -> Result<Vec<Correction>, ArchiveError> {
        self.answer(|db| corrections::of(db, service))
    }

    fn events(
        &self,
        service: Option<&ServiceId>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Event>, ArchiveError> {
        let since = since.map_or(i64::MIN, Timestamp::as_millisecond);
        self.answer(|db| {
            if let Some(service) = service {
                let mut events = db.prepare_cached(
                    "SELECT event.json, event.v FROM event_service JOIN event ON event.seq = event_service.seq
                     WHERE event_service.service = ?1 AND event.recorded_at >= ?2 ORDER BY event_service.seq DESC",
                )?;
                let mut rows = events.query((service.as_str(), since))?;
                self.known_events(&mut rows, limit)
            } else {
                let mut events =
                    db.prepare_cached("SELECT json, v FROM event WHERE recorded_at >= ?1 ORDER BY seq DESC")?;
                let mut rows = events.query([since])?;
                self.known_events(&mut rows, limit)
            }
        })
    }

    fn latency(
        &self,
        service: &ServiceId,
        from: Timestamp,
        to: Timestamp,
        width: Duration,
    ) -> Result<Vec<LatencyPoint>, ArchiveError> {
        self.answer(|db| latency::within(db, service, from, to, width))
    }

    fn blind(&self) -> Result<BTreeMap<TargetClass, Timestamp>, ArchiveError> {
        self.answer(|db| {
            let text = db
                .prepare_cached("SELECT value FROM meta WHERE key = 'blind'")?
                .query_row([], |row| row.get::<_, Json<_>>(0))
                .optional()?;
            Ok(text.map(|json| json.0).unwrap_or_default())
        })
    }

    fn revision(&self) -> Result<u64, ArchiveError> {
        self.answer(|db| {
            db.prepare_cached("SELECT value FROM meta WHERE key = 'revision'")?
                .query_row([], |row| row.get(0))
                .map(count)
        })
    }

    fn changes(&self, revision: u64) -> Result<Option<Changes>, ArchiveError> {
        let since = i64::try_from(revision).unwrap_or(i64::MAX);
        self.answer(|db| {
            let mut services = db.prepare_cached(
                "SELECT coalesce(now.service, service.id), status, since_at, checks_up, checks_known, last_result_at
                 FROM service LEFT JOIN service_now AS now ON now.service = service.id WHERE revision > ?1",
            )?;
            let service = |row: &Row<'_>| {
                let id: Word<ServiceId> = row.get(0)?;
                let is_judged = row.get_ref(1)? != ValueRef::Null;
                Ok((id.0, if is_judged { Some(service_now(row)?) } else { None }))
            };
            let services = services.query_map([since], service)?.collect::<rusqlite::Result<_>>()?;
            let mut heads = db.prepare_cached(
                "SELECT id, aliases, version, status, impact, started_at, resolved_at, services, withdrawn
                 FROM incident WHERE revision > ?1",
            )?;
            let heads = heads.query_map([since], head)?.collect::<rusqlite::Result<_>>()?;
            let mut rows = db.prepare_cached(
                // Left alone, the order would make it look at every event that ever was.
                "SELECT json, v, seq FROM event INDEXED BY event_revision WHERE revision > ?1 ORDER BY seq",
            )?;
            let mut rows = rows.query([since])?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                match event(row)? {
                    Some(event) => events.push((count(row.get(2)?), event)),
                    None => self.skipped.set(self.skipped.get() + 1),
                }
            }
            Ok(Some(Changes { services, heads, events }))
        })
    }

    fn minted(&self, name: &str) -> Result<Option<String>, ArchiveError> {
        Self::minted(self, name).map_err(|error| ArchiveError(Box::new(error)))
    }
}
