//! What the store's own tests share.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use super::{Commit, Store};
use crate::{
    config,
    domain::{
        EventId, Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus, SubscriberId,
        event::{Event, EventKind},
        incident::{Affected, Incident, Origin},
        subscriber::{Address, Subscriber, SubscriberState, Wants},
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
        address: Address::parse(&format!("reader{n}@example.org")).unwrap(),
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
