//! Stories for the tests of telling: an incident that unfolds, with the events that it causes.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    ledger::{Lane, Pending, Told},
    recipient::Directory,
};
use crate::domain::{
    EventId, GroupId, Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus, SubscriberId,
    event::{Event, EventKind},
    id::{DeliveryId, UpdateId},
    incident::{Affected, Incident, Origin, Update},
    outcome::{Cause, Class},
    service::{Group, Rules, Service},
    subscriber::{Destination, Subscriber, SubscriberState, Wants},
};

/// A second of 2026-11-21, from 10:15 UTC on.
pub fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-11-21T10:15:00Z".parse().unwrap();
    start.checked_add(jiff::SignedDuration::from_secs(second)).unwrap()
}

pub fn service(id: &str) -> ServiceId {
    ServiceId::new(id).unwrap()
}

/// API (public), Website (public), Database, and Slowpoke, of which people hear after 15 minutes.
pub fn rules() -> Rules {
    let public = GroupId::new("public").unwrap();
    let one = |id: &str, name: &str, group: Option<&GroupId>, minutes: u64| {
        Arc::new(Service {
            id: service(id),
            name: name.to_owned(),
            group: group.cloned(),
            description: String::new(),
            depends_on: Vec::new(),
            objective: None,
            acceptable_downtime: None,
            owners: Vec::new(),
            max_impact: Impact::Critical,
            notify_after: std::time::Duration::from_secs(minutes * 60),
            checks: Vec::new(),
        })
    };
    Rules {
        services: vec![
            one("api", "API", Some(&public), 0),
            one("website", "Website", Some(&public), 0),
            one("database", "Database", None, 0),
            one("slowpoke", "Slowpoke", None, 15),
        ],
        groups: vec![Group { id: public, name: "Public services".to_owned() }],
        incidents: crate::domain::service::IncidentRules::default(),
        canaries: None,
    }
}

pub fn directory() -> Directory {
    Directory::new(&rules())
}

pub fn subscriber(services: &[&str]) -> Subscriber {
    Subscriber {
        id: SubscriberId::new(at(0), [7; 10]),
        address: Destination::parse("ann@example.net").unwrap(),
        state: SubscriberState::Confirmed,
        wants: Wants { services: services.iter().map(|id| service(id)).collect(), ..Wants::default() },
        language: None,
        timezone: None,
        created_at: at(-86_400),
        confirmed_at: Some(at(-86_000)),
    }
}

/// An incident that unfolds. Every step returns the event that it causes, sealed at once.
#[derive(Clone, Debug)]
pub struct Story {
    pub incident: Incident,
    pub events: Vec<Arc<Event>>,
}

impl Story {
    /// `services` go down at second `second`.
    pub fn opens(second: i64, services: &[&str]) -> Self {
        let mut story = Self::untold(second, services);
        story.tell(second, EventKind::Opened, services);
        story
    }

    /// The same, without an event.
    pub fn untold(second: i64, services: &[&str]) -> Self {
        let mut story = Self {
            incident: Incident {
                id: IncidentId::minted(at(second), &service(services[0]), 1),
                version: 1,
                aliases: Vec::new(),
                origin: Origin::Automatic,
                title: None,
                root: None,
                status: IncidentStatus::Investigating,
                impact: Impact::Critical,
                impact_override: None,
                started_at: at(second),
                noticed_at: at(second),
                resolved_at: None,
                affected: Vec::new(),
                updates: Vec::new(),
                facts: Vec::new(),
                postmortem: None,
                auto_resolve: true,
                withdrawn: false,
                reopened: 0,
            },
            events: Vec::new(),
        };
        for id in services {
            story.fails(second, id);
        }
        story
    }

    fn fails(&mut self, second: i64, id: &str) {
        match self.incident.affected.iter_mut().find(|part| part.service == service(id)) {
            Some(part) => {
                part.earlier_ms = part.downtime_ms(at(second));
                part.started_at = at(second);
                part.recovered_at = None;
                part.status = part.worst;
            }
            None => self.incident.affected.push(Affected {
                service: service(id),
                status: ServiceStatus::MajorOutage,
                worst: ServiceStatus::MajorOutage,
                started_at: at(second),
                recovered_at: None,
                earlier_ms: 0,
                cause: Some(Cause { http_status: Some(503), ..Cause::from(Class::HttpStatus) }),
                seen_failing: true,
            }),
        }
    }

    fn recovers(&mut self, second: i64, id: &str) {
        for part in self.incident.affected.iter_mut().filter(|part| part.service == service(id)) {
            part.recovered_at = part.recovered_at.or(Some(at(second)));
            part.status = ServiceStatus::Operational;
        }
    }

    pub fn tell(&mut self, second: i64, kind: EventKind, services: &[&str]) -> &mut Event {
        let n = u8::try_from(self.events.len()).unwrap();
        self.incident.version += 1;
        self.events.push(Arc::new(Event {
            id: EventId::new(at(second), [n; 10]),
            kind,
            incident: self.incident.id.clone(),
            at: at(second),
            recorded_at: at(second),
            seals_at: at(second),
            services: services.iter().map(|id| service(id)).collect(),
            notify: true,
            view: (&self.incident).into(),
            update: None,
            fact: None,
        }));
        Arc::get_mut(self.events.last_mut().unwrap()).unwrap()
    }

    fn all(&self) -> Vec<String> {
        self.incident.affected.iter().map(|part| part.service.to_string()).collect()
    }

    fn tell_all(&mut self, second: i64, kind: EventKind) -> &mut Event {
        let all = self.all();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        self.tell(second, kind, &all)
    }

    pub fn joins(&mut self, second: i64, id: &str) -> &mut Event {
        self.fails(second, id);
        self.tell(second, EventKind::Joined, &[id])
    }

    pub fn is_back(&mut self, second: i64, id: &str) -> &mut Event {
        self.recovers(second, id);
        self.tell(second, EventKind::Recovered, &[id])
    }

    pub fn resolves(&mut self, second: i64) -> &mut Event {
        for id in self.all() {
            self.recovers(second, &id);
        }
        self.incident.status = IncidentStatus::Resolved;
        self.incident.resolved_at = Some(at(second));
        self.tell_all(second, EventKind::Resolved)
    }

    pub fn reopens(&mut self, second: i64, id: &str) -> &mut Event {
        self.fails(second, id);
        self.incident.status = IncidentStatus::Investigating;
        self.incident.resolved_at = None;
        self.incident.reopened += 1;
        self.tell(second, EventKind::Reopened, &[id])
    }

    pub fn says(&mut self, second: i64, status: IncidentStatus, text: &str) -> &mut Event {
        self.incident.status = status;
        let update = Update {
            id: UpdateId::new(at(second), [0; 10]),
            at: at(second),
            recorded_at: at(second),
            changed_at: at(second),
            status,
            text: text.into(),
            affected: std::collections::BTreeMap::new(),
            next_update_at: None,
            notify: true,
            withdrawn: false,
        };
        self.incident.updates.push(update.clone());
        let event = self.tell_all(second, EventKind::Updated);
        event.update = Some(update);
        event
    }

    pub fn is_written_up(&mut self, second: i64) -> &mut Event {
        self.tell_all(second, EventKind::Postmortem)
    }

    pub fn is_withdrawn(&mut self, second: i64) -> &mut Event {
        self.incident.withdrawn = true;
        self.tell_all(second, EventKind::Withdrawn)
    }

    /// The delivery of the `n`-th event.
    pub fn delivery(n: usize) -> DeliveryId {
        DeliveryId::new(at(0), [u8::try_from(n).unwrap(); 10])
    }

    /// The lane of `subscriber` who was told the events at `told` and not those at `pending`.
    pub fn lane(&self, subscriber: &Subscriber, told: &[usize], pending: &[usize]) -> Lane {
        Lane {
            subscriber: subscriber.clone(),
            incident: self.incident.id.clone(),
            current: Arc::new(self.incident.clone()),
            pending: pending
                .iter()
                .map(|&n| Pending {
                    delivery: Self::delivery(n),
                    event: Arc::clone(&self.events[n]),
                    attempts: 0,
                    first_tried_at: None,
                    left_in: None,
                })
                .collect(),
            told: told
                .iter()
                .map(|&n| Told { event: Arc::clone(&self.events[n]), at: self.events[n].recorded_at })
                .collect(),
        }
    }
}
