//! An incident as one recipient sees it: only the services that they follow, and over when theirs
//! are back. Pure; decides nothing about telling.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::domain::{
    GroupId, Impact, ServiceId, ServiceStatus,
    event::{Event, IncidentView},
    incident::{Affected, Incident},
    service::Rules,
    subscriber::Wants,
};

/// What telling needs to know of each service and group, by its permanent name.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    services: BTreeMap<ServiceId, Entry>,
    groups: BTreeMap<GroupId, String>,
}

#[derive(Clone, Debug)]
struct Entry {
    group: Option<GroupId>,
    notify_after: Duration,
    max_impact: Impact,
}

impl Directory {
    /// What the config says of its services.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let services = rules
            .services
            .iter()
            .map(|service| {
                let entry = Entry {
                    group: service.group.clone(),
                    notify_after: service.notify_after,
                    max_impact: service.max_impact,
                };
                (service.id.clone(), entry)
            })
            .collect();
        let groups = rules.groups.iter().map(|group| (group.id.clone(), group.name.clone())).collect();
        Self { services, groups }
    }

    /// What people call a group; its id if it is no longer configured.
    #[must_use]
    pub fn group_name<'a>(&'a self, group: &'a GroupId) -> &'a str {
        self.groups.get(group).map_or(group.as_str(), String::as_str)
    }

    /// How long an outage of it lasts before subscribers are told.
    #[must_use]
    pub fn notify_after(&self, service: &ServiceId) -> Duration {
        self.services.get(service).map_or(Duration::ZERO, |entry| entry.notify_after)
    }

    fn group(&self, service: &ServiceId) -> Option<&GroupId> {
        self.services.get(service)?.group.as_ref()
    }

    fn max_impact(&self, service: &ServiceId) -> Impact {
        self.services.get(service).map_or(Impact::Critical, |entry| entry.max_impact)
    }
}

/// One recipient's choice, looked up in one directory.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// What they chose.
    pub wants: &'a Wants,
    /// What there is to choose from.
    pub directory: &'a Directory,
}

impl<'a> Recipient<'a> {
    /// Whether they follow a service.
    #[must_use]
    pub fn follows(self, service: &ServiceId) -> bool {
        self.wants.follows(service, self.directory.group(service))
    }

    /// The services of theirs that an event is about.
    pub fn concerned(self, event: &'a Event) -> impl Iterator<Item = &'a ServiceId> {
        event.services.iter().filter(move |service| self.follows(service))
    }

    /// Their parts of an incident.
    pub fn parts<'v>(self, affected: &'v [Affected]) -> impl Iterator<Item = &'v Affected> + use<'a, 'v> {
        affected.iter().filter(move |part| self.follows(&part.service))
    }

    /// Whether they follow every service that an incident touched.
    #[must_use]
    pub fn follows_all(self, affected: &[Affected]) -> bool {
        affected.iter().all(|part| self.follows(&part.service))
    }

    /// Whether the incident is over for them: it is over, or theirs are back while others are not.
    ///
    /// Who follows all of it waits for the end itself, which the operator may have reserved.
    #[must_use]
    pub fn is_over(self, view: &IncidentView) -> bool {
        !view.status.is_open()
            || (!self.follows_all(&view.affected) && self.parts(&view.affected).all(|part| part.recovered_at.is_some()))
    }

    /// When it began and, if it did, ended for them.
    #[must_use]
    pub fn stretch(self, view: &IncidentView) -> (Timestamp, Option<Timestamp>) {
        let first = self.parts(&view.affected).map(|part| part.started_at).min();
        let started_at = match first {
            // What the operator says of the whole may be earlier than any part, but not theirs alone.
            Some(_) if self.follows_all(&view.affected) => view.started_at,
            Some(first) => first,
            None => view.started_at,
        };
        let ended_at = if self.is_over(view) {
            let last = self.parts(&view.affected).filter_map(|part| part.recovered_at).max();
            if self.follows_all(&view.affected) { view.resolved_at.or(last) } else { last.or(view.resolved_at) }
        } else {
            None
        };
        (started_at, ended_at)
    }

    /// How much it matters to them: the operator's word, else the worst of theirs.
    #[must_use]
    pub fn impact(self, incident: &Incident) -> Impact {
        incident.impact_override.unwrap_or_else(|| {
            self.parts(&incident.affected)
                .map(|part| part.worst.impact().min(self.directory.max_impact(&part.service)))
                .max()
                .unwrap_or(incident.impact)
        })
    }

    /// The worst that any of theirs is in, or was in if all are back.
    #[must_use]
    pub fn worst(self, view: &IncidentView) -> ServiceStatus {
        let now = self.parts(&view.affected).filter(|part| part.recovered_at.is_none()).map(|part| part.status).max();
        now.filter(|status| status.is_trouble())
            .or_else(|| self.parts(&view.affected).map(|part| part.worst).max())
            .unwrap_or(ServiceStatus::Operational)
    }
}
