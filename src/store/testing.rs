//! What the store's own tests share.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use super::{
    Commit, Store, StoreError,
    outbox::{Fate, Lane, Settled},
};
use crate::{
    config,
    domain::{
        EventId, Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus, SubscriberId,
        event::{Event, EventKind},
        incident::{Affected, Incident, Origin},
        subscriber::{Destination, Subscriber, SubscriberState, Wants},
    },
    judge::Step,
};

/// A store in a folder, wherever the tests run.
pub(super) fn config(folder: &Path) -> config::Store {
    config::Store {
        path: folder.join("watchbell.db"),
        keep_results: Duration::from_hours(35 * 24),
        allow_volatile: true,
    }
}

/// A folder with a new store in it.
pub(super) fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&config(folder.path()), at(0)).unwrap();
    (folder, store)
}

/// A second of 2026-11-21.
pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_219_200 + second).unwrap()
}

pub(super) fn service(id: &str) -> ServiceId {
    ServiceId::new(id).unwrap()
}

pub(super) fn incident(id: &str, version: u64, services: &[&str]) -> Incident {
    Incident {
        id: IncidentId::new(id).unwrap(),
        version,
        aliases: Vec::new(),
        origin: Origin::Automatic,
        title: None,
        root: None,
        status: IncidentStatus::Investigating,
        impact: Impact::Critical,
        impact_override: None,
        started_at: at(10),
        noticed_at: at(20),
        resolved_at: None,
        affected: services
            .iter()
            .map(|id| Affected {
                service: service(id),
                status: ServiceStatus::MajorOutage,
                worst: ServiceStatus::MajorOutage,
                started_at: at(10),
                recovered_at: None,
                earlier_ms: 0,
                cause: None,
                seen_failing: true,
            })
            .collect(),
        updates: Vec::new(),
        facts: Vec::new(),
        postmortem: None,
        auto_resolve: true,
        withdrawn: false,
        reopened: 0,
    }
}

/// The `n`-th event, recorded at second `n`, sealed 10 s later.
pub(super) fn event(n: u8, kind: EventKind, incident: &Incident) -> Event {
    Event {
        id: EventId::new(at(i64::from(n)), [n; 10]),
        kind,
        incident: incident.id.clone(),
        at: at(i64::from(n)),
        recorded_at: at(i64::from(n)),
        seals_at: at(i64::from(n) + 10),
        services: incident.affected.iter().map(|part| part.service.clone()).collect(),
        notify: true,
        view: incident.into(),
        update: None,
        fact: None,
    }
}

pub(super) fn subscriber(n: u8, services: &[&str]) -> Subscriber {
    Subscriber {
        id: SubscriberId::from_bytes([n; 16]),
        address: Destination::parse(&format!("reader{n}@example.org")).unwrap(),
        state: SubscriberState::Confirmed,
        wants: Wants { services: services.iter().map(|id| service(id)).collect(), ..Wants::default() },
        language: None,
        timezone: None,
        created_at: at(0),
        confirmed_at: Some(at(0)),
    }
}

/// A commit of one step.
pub(super) fn commit(incidents: &[&Incident], events: &[&Event]) -> Commit {
    let incidents = incidents.iter().map(|&incident| incident.clone()).collect();
    let events = events.iter().map(|&event| event.clone()).collect();
    let step = Step { incidents, events, ..Step::default() };
    Commit { steps: vec![step], ..Commit::new(at(30)) }
}

/// Claims as one who sends all that is pending of a lane in one message.
pub(super) fn claim(store: &mut Store, epoch: i64, now: Timestamp, limit: usize) -> Result<Vec<Lane>, StoreError> {
    settle_and_claim(store, &[], epoch, now, limit)
}

/// The same, settling first.
pub(super) fn settle_and_claim(
    store: &mut Store,
    settled: &[Settled],
    epoch: i64,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Lane>, StoreError> {
    let mut lanes = Vec::new();
    let mut decide = |lane: Lane| {
        let within = lane.pending.last().unwrap().delivery;
        let fates = lane.pending.iter().map(|pending| (pending.delivery, Fate::Leaves { within })).collect();
        lanes.push(lane);
        fates
    };
    let number = match settled {
        [] => store.claim(epoch, now, limit, &mut decide)?,
        settled => store.settle_and_claim(settled, epoch, now, limit, &mut decide)?,
    };
    assert_eq!(number, lanes.len());
    Ok(lanes)
}

/// Lets so many people follow everything; their ids lie between those of [`subscriber`]s 1 and 2.
pub(super) fn crowd(store: &Store, size: usize) {
    let sql = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
               INSERT INTO subscriber (id, kind, address, address_key, state, services, groups, incidents,
                   maintenance, min_impact, created_at)
               SELECT CAST(x'01' || randomblob(15) AS BLOB), 'mail', 'c' || n || '@example.org', 'c' || n || '@example.org',
                   'confirmed', '[]', '[]', 1, 1, 0, 0 FROM n";
    store.db.execute(sql, [i64::try_from(size).unwrap()]).unwrap();
}
