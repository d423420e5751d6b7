//! Services and groups as components, and the state of the whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{Api, text, time};
use crate::{
    domain::{
        GroupId, Impact, ServiceId, ServiceStatus,
        service::{Group, Service},
    },
    site::pieces::Composer,
};

/// A component of the Statuspage API.
#[derive(Serialize)]
pub(super) struct Component<'a> {
    id: String,
    name: &'a str,
    status: &'static str,
    created_at: String,
    updated_at: String,
    position: usize,
    description: Option<&'a str>,
    showcase: bool,
    start_date: Option<&'a str>,
    group_id: Option<String>,
    page_id: String,
    group: bool,
    only_show_if_degraded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<Vec<&'a str>>,
    watchbell: Truth,
}

/// The state of the whole site.
#[derive(Serialize)]
pub(super) struct Status {
    indicator: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    watchbell: Option<Truth>,
}

/// What that API has no word for.
#[derive(Clone, Serialize)]
struct Truth {
    status: ServiceStatus,
    since: String,
}

/// What the API says of a service that nobody has looked at.
const NO_DATA: &str = "No recent data";

/// How a service is, and since when.
#[derive(Clone, Copy)]
struct Now {
    status: ServiceStatus,
    since: Timestamp,
}

fn now(api: &Api<'_>, service: &Service) -> Now {
    match api.services.get(&service.id) {
        Some(now) => Now { status: now.status, since: now.since },
        // Never judged: by notes alone if it has no checks, else still to be looked at.
        None if service.enabled_checks().next().is_none() => {
            Now { status: ServiceStatus::Operational, since: api.site.authority.founded_at() }
        }
        None => Now { status: ServiceStatus::Unknown, since: api.site.authority.founded_at() },
    }
}

/// The word of that API.
pub(super) const fn word(status: ServiceStatus) -> &'static str {
    match status {
        ServiceStatus::Unknown => ServiceStatus::DegradedPerformance.as_str(),
        status => status.as_str(),
    }
}

/// What is a component.
enum Part<'a> {
    Service(&'a Service),
    Group(&'a Group, Vec<&'a Service>),
}

/// All groups and services with their positions, in one list: services without a group first, then
/// each group before its services.
fn parts<'a>(api: &Api<'a>) -> Vec<(usize, Part<'a>)> {
    let mut members: BTreeMap<Option<&GroupId>, Vec<&Service>> = BTreeMap::new();
    let known: BTreeSet<&GroupId> = api.rules.groups.iter().map(|group| &group.id).collect();
    for service in &api.rules.services {
        members.entry(service.group.as_ref().filter(|id| known.contains(id))).or_default().push(service);
    }
    let numbered = |services: &[&'a Service]| -> Vec<(usize, Part<'a>)> {
        (1..).zip(services).map(|(position, service)| (position, Part::Service(service))).collect()
    };
    let mut parts = numbered(&members.remove(&None).unwrap_or_default());
    let groups = api.rules.groups.iter().filter_map(|group| Some((group, members.remove(&Some(&group.id))?)));
    for (position, (group, members)) in (parts.len() + 1..).zip(groups.collect::<Vec<_>>()) {
        let services = numbered(&members);
        parts.push((position, Part::Group(group, members)));
        parts.extend(services);
    }
    parts
}

/// All components, with commas between them.
pub(super) fn compose(api: &Api<'_>, json: &mut Composer) {
    for (n, (position, part)) in parts(api).into_iter().enumerate() {
        let (id, now) = match &part {
            Part::Service(service) => (service.id.as_str(), Some(now(api, service))),
            Part::Group(group, members) => (group.id.as_str(), worst(members.iter().map(|service| now(api, service)))),
        };
        let is_group = matches!(part, Part::Group(..));
        let now = now.map(|now| (now.status, now.since.as_millisecond()));
        let make = || {
            let component = match &part {
                Part::Service(service) => of_service(api, service, position),
                Part::Group(group, members) => of_group(api, group, members, position),
            };
            let comma = if n == 0 { "" } else { "," };
            Ok::<_, Infallible>(comma.to_owned() + &text(&component))
        };
        let Ok(()) = json.piece(api.key.and((n == 0, is_group, id, position, now)), make);
    }
}

/// The component of one service, by its id; `None` if it is no longer configured.
pub(super) fn one<'a>(api: &Api<'a>, id: &ServiceId) -> Option<Component<'a>> {
    let service = api.rules.service(id)?;
    let beside = |other: &&std::sync::Arc<Service>| other.group == service.group;
    let place = api.rules.services.iter().filter(beside).position(|other| other.id == *id);
    Some(of_service(api, service, place.map_or(0, |place| place + 1)))
}

impl<'a> Component<'a> {
    /// The same, as it was left by an incident that is over: nothing in it moves any more.
    pub(super) fn at_rest(mut self, status: ServiceStatus, since: Timestamp) -> Self {
        self.status = word(status);
        self.updated_at = time(since);
        self.watchbell = Truth { status, since: time(since) };
        self
    }

    /// With a description of its own instead of "No recent data".
    pub(super) fn described(mut self, description: &'a str) -> Self {
        self.description = (!description.is_empty()).then_some(description);
        self
    }
}

fn of_service<'a>(api: &Api<'a>, service: &'a Service, position: usize) -> Component<'a> {
    let now = now(api, service);
    let description = if now.status == ServiceStatus::Unknown { NO_DATA } else { service.description.as_str() };
    let group = service.group.as_ref().filter(|group| api.rules.groups.iter().any(|known| known.id == **group));
    Component {
        id: service.id.to_string(),
        name: &service.name,
        status: word(now.status),
        created_at: time(api.site.authority.founded_at()),
        updated_at: time(now.since),
        position,
        description: (!description.is_empty()).then_some(description),
        showcase: true,
        start_date: None,
        group_id: group.map(|group| api.group_component_id(group)),
        page_id: api.page_id(),
        group: false,
        only_show_if_degraded: false,
        components: None,
        watchbell: Truth { status: now.status, since: time(now.since) },
    }
}

fn of_group<'a>(api: &Api<'a>, group: &'a Group, members: &[&'a Service], position: usize) -> Component<'a> {
    let worst = worst(members.iter().map(|service| now(api, service)));
    let worst = worst.unwrap_or(Now { status: ServiceStatus::Operational, since: api.site.authority.founded_at() });
    Component {
        id: api.group_component_id(&group.id),
        name: &group.name,
        status: word(worst.status),
        created_at: time(api.site.authority.founded_at()),
        updated_at: time(worst.since),
        position,
        description: (worst.status == ServiceStatus::Unknown).then_some(NO_DATA),
        showcase: false,
        start_date: None,
        group_id: None,
        page_id: api.page_id(),
        group: true,
        only_show_if_degraded: false,
        components: Some(members.iter().map(|service| service.id.as_str()).collect()),
        watchbell: Truth { status: worst.status, since: time(worst.since) },
    }
}

/// The worst status and since when there is one.
fn worst(all: impl Iterator<Item = Now>) -> Option<Now> {
    all.reduce(|a, b| match a.status.cmp(&b.status) {
        std::cmp::Ordering::Less => b,
        std::cmp::Ordering::Greater => a,
        std::cmp::Ordering::Equal => Now { status: a.status, since: a.since.min(b.since) },
    })
}

/// Indicator and description: those of the worst service, each capped by its `max_impact`.
pub(super) fn overall(api: &Api<'_>) -> Status {
    let services = &api.rules.services;
    // However unimportant, what is wrong is never "all operational".
    let capped = |status: ServiceStatus, most: Impact| status.impact().min(most.max(Impact::Minor));
    let impact = services.iter().map(|service| capped(now(api, service).status, service.max_impact)).max();
    let worst = worst(services.iter().map(|service| now(api, service)));
    let status = worst.map_or(ServiceStatus::Operational, |worst| worst.status);
    let (indicator, description) = match (impact.unwrap_or(Impact::None), status) {
        (Impact::Critical, _) => ("critical", "Major System Outage"),
        (Impact::Major, _) => ("major", "Partial System Outage"),
        (Impact::Minor, ServiceStatus::DegradedPerformance) => ("minor", "Partially Degraded Service"),
        (Impact::Minor, _) => ("minor", "Minor Service Outage"),
        (Impact::None, ServiceStatus::UnderMaintenance) => ("maintenance", "Service Under Maintenance"),
        (Impact::None, ServiceStatus::Unknown) => ("minor", NO_DATA),
        (Impact::None, _) => ("none", "All Systems Operational"),
    };
    let truth = |worst: Now| Truth { status: worst.status, since: time(worst.since) };
    Status { indicator, description, watchbell: worst.map(truth) }
}
