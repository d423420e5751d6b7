//! Writing down what the judge found: one commit, one transaction, with everyone to be told in it.

use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    Sample, Store, StoreError, bump_revision, outbox, past, results,
    row::{At, int, json},
    spans,
};
use crate::{
    domain::{IncidentId, ServiceId, archive::ServiceNow, event::Event, incident::Incident},
    judge::{Row, Step},
};

/// The shape of events and incidents as JSON.
pub(super) const JSON_VERSION: i64 = 1;

/// So many decisions of one incident are kept.
const DECISIONS: i64 = 1000;

/// Everything that is written together.
#[derive(Clone, Debug)]
pub struct Commit {
    /// When.
    pub at: Timestamp,
    /// What the judge found, in order.
    pub steps: Vec<Step>,
    /// What changed in its state.
    pub world: Vec<Row>,
    /// What the probes found.
    pub samples: Vec<Sample>,
}

impl Commit {
    /// A commit with nothing in it yet.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self { at, steps: Vec::new(), world: Vec::new(), samples: Vec::new() }
    }

    /// Whether any of its steps changed something that people could see.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        self.steps.iter().any(Step::changes_something)
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.world.is_empty() && self.samples.is_empty()
    }
}

impl Store {
    /// Writes all of it, durably, or nothing: state, incidents, spans, events, and the promise of
    /// each new event to every subscriber who follows a service of it, which [`Store::fan_out`]
    /// keeps as far as this does not. Writing the same again tells nobody twice and opens nothing
    /// twice, so a commit whose fate is unknown can be repeated.
    ///
    /// # Errors
    /// If the store cannot be written; nothing is changed then, and the same commit can be tried
    /// again.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let mut probed = std::mem::take(&mut self.probed);
        let written = self.write("record what happened", |tx| {
            let mut budget = outbox::Budget::default();
            for step in &commit.steps {
                write_step(tx, step, &mut budget)?;
            }
            write_world(tx, &commit.world)?;
            results::append(tx, &mut probed, &commit.samples)
        });
        if written.is_ok() {
            self.probed = probed; // else some numbers in it were rolled back
        }
        written
    }
}

fn write_step(tx: &Connection, step: &Step, budget: &mut outbox::Budget) -> rusqlite::Result<()> {
    let shows = !(step.incidents.is_empty()
        && step.spans.is_empty()
        && step.services.is_empty()
        && step.events.is_empty()
        && step.amended.is_empty()
        && step.blind.is_none());
    let revision = if shows { bump_revision(tx)? } else { 0 };
    for incident in &step.incidents {
        write_incident(tx, incident, revision)?;
    }
    for edit in &step.spans {
        spans::apply(tx, edit)?;
        touch_service(tx, &edit.service, revision)?;
    }
    for now in &step.services {
        write_service(tx, now)?;
        touch_service(tx, &now.service, revision)?;
    }
    if let Some(blind) = &step.blind {
        tx.prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('blind', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute([json(blind)?])?;
    }
    for decision in &step.decisions {
        if let Some(incident) = &decision.incident {
            tx.prepare_cached(
                "INSERT INTO decision (incident, at, json) SELECT ?1, ?2, ?3 WHERE NOT EXISTS
                     (SELECT 1 FROM decision WHERE incident = ?1 AND at = ?2 AND json = ?3)",
            )?
            .execute((incident.as_str(), At(decision.at), json(decision)?))?;
            forget_middle(tx, incident)?;
        }
    }
    for event in &step.events {
        let heeded = past::heeded(tx, event)?;
        let event = heeded.as_ref().unwrap_or(event);
        if insert_event(tx, event, revision)? && event.notify {
            outbox::promise(tx, event, budget)?;
        }
    }
    for event in &step.amended {
        let heeded = past::heeded_again(tx, event)?;
        amend_event(tx, heeded.as_ref().unwrap_or(event), revision, budget)?;
    }
    Ok(())
}

/// Of the story of an incident that goes on for weeks, the beginning and the latest are kept.
fn forget_middle(tx: &Connection, incident: &IncidentId) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM decision WHERE (SELECT count(*) FROM decision WHERE incident = ?1) > ?2
             AND no = (SELECT no FROM decision WHERE incident = ?1 ORDER BY at, no LIMIT 1 OFFSET ?2 / 2)",
    )?
    .execute((incident.as_str(), DECISIONS))?;
    Ok(())
}

fn write_incident(tx: &Connection, incident: &Incident, revision: i64) -> rusqlite::Result<()> {
    let services: Vec<_> = incident.affected.iter().map(|part| &part.service).collect();
    // An older version never replaces a newer one: a repeated commit must not undo a later one.
    tx.prepare_cached(
        "INSERT INTO incident
             (id, v, version, aliases, status, impact, started_at, resolved_at, services, withdrawn, revision, json)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (id) DO UPDATE SET v = excluded.v, version = excluded.version, aliases = excluded.aliases,
             status = excluded.status, impact = excluded.impact, started_at = excluded.started_at,
             resolved_at = excluded.resolved_at, services = excluded.services, withdrawn = excluded.withdrawn,
             revision = excluded.revision, json = excluded.json
         WHERE excluded.version >= incident.version",
    )?
    .execute((
        incident.id.as_str(),
        JSON_VERSION,
        int(incident.version),
        json(&incident.aliases)?,
        incident.status.as_str(),
        incident.impact.as_str(),
        At(incident.started_at),
        incident.resolved_at.map(At),
        json(&services)?,
        incident.withdrawn,
        revision,
        json(incident)?,
    ))?;
    Ok(())
}

/// Notes that something about a service changed.
fn touch_service(tx: &Connection, service: &ServiceId, revision: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO service (id, name, revision) VALUES (?1, ?1, ?2)
         ON CONFLICT (id) DO UPDATE SET revision = excluded.revision",
    )?
    .execute((service.as_str(), revision))?;
    Ok(())
}

fn write_service(tx: &Connection, now: &ServiceNow) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO service_now (service, status, since_at, checks_up, checks_known, last_result_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (service) DO UPDATE SET status = excluded.status, since_at = excluded.since_at,
             checks_up = excluded.checks_up, checks_known = excluded.checks_known,
             last_result_at = excluded.last_result_at",
    )?
    .execute((
        now.service.as_str(),
        now.status.as_str(),
        At(now.since),
        now.checks_up,
        now.checks_known,
        now.last_result_at.map(At),
    ))?;
    Ok(())
}

/// Writes a new event; `false` if it is known already.
fn insert_event(tx: &Connection, event: &Event, revision: i64) -> rusqlite::Result<bool> {
    let inserted = tx
        .prepare_cached(
            "INSERT INTO event (id, v, kind, incident, recorded_at, seals_at, revision, json)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
        )?
        .execute((
            event.id.as_bytes(),
            JSON_VERSION,
            event.kind.as_str(),
            event.incident.as_str(),
            At(event.recorded_at),
            At(event.seals_at),
            revision,
            json(event)?,
        ))?;
    if inserted > 0 {
        write_event_services(tx, event)?;
    }
    Ok(inserted > 0)
}

fn write_event_services(tx: &Connection, event: &Event) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO event_service (service, seq) SELECT ?1, seq FROM event WHERE id = ?2
         ON CONFLICT (service, seq) DO NOTHING",
    )?;
    for service in &event.services {
        insert.execute((service.as_str(), event.id.as_bytes()))?;
    }
    Ok(())
}

/// Gives an event that is not sealed yet its new content, and tells those whom it now concerns.
fn amend_event(tx: &Connection, event: &Event, revision: i64, budget: &mut outbox::Budget) -> rusqlite::Result<()> {
    if !insert_event(tx, event, revision)? {
        tx.prepare_cached(
            "UPDATE event SET kind = ?2, recorded_at = ?3, seals_at = ?4, revision = ?5, json = ?6 WHERE id = ?1",
        )?
        .execute((
            event.id.as_bytes(),
            event.kind.as_str(),
            At(event.recorded_at),
            At(event.seals_at),
            revision,
            json(event)?,
        ))?;
        tx.prepare_cached("DELETE FROM event_service WHERE seq = (SELECT seq FROM event WHERE id = ?1)")?
            .execute([event.id.as_bytes()])?;
        write_event_services(tx, event)?;
        outbox::amended(tx, event)?;
    }
    if event.notify { outbox::promise(tx, event, budget) } else { Ok(()) }
}

fn write_world(tx: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached(
        "INSERT INTO world (key, json) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET json = excluded.json",
    )?;
    let mut delete = tx.prepare_cached("DELETE FROM world WHERE key = ?1")?;
    for row in rows {
        match &row.json {
            Some(json) => put.execute((&row.key, json))?,
            None => delete.execute([&row.key])?,
        };
    }
    Ok(())
}
