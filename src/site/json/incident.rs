//! Incidents with their updates.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Api,
    component::{self, Component, word},
    time,
};
use crate::{
    domain::{IncidentStatus, ServiceId, ServiceStatus, incident::Incident},
    site::feeds::timeline::{self, Point},
};

/// An incident of the Statuspage API.
#[derive(Serialize)]
pub(super) struct IncidentItem<'a> {
    id: &'a str,
    name: String,
    status: &'static str,
    created_at: String,
    updated_at: String,
    monitoring_at: Option<String>,
    resolved_at: Option<String>,
    impact: &'static str,
    shortlink: String,
    started_at: String,
    page_id: String,
    incident_updates: Vec<IncidentUpdate<'a>>,
    components: Vec<Component<'a>>,
}

#[derive(Serialize)]
struct IncidentUpdate<'a> {
    id: String,
    status: &'static str,
    body: String,
    incident_id: &'a str,
    created_at: String,
    updated_at: String,
    display_at: String,
    affected_components: Option<Vec<AffectedComponent>>,
    deliver_notifications: bool,
    custom_tweet: Option<&'a str>,
    tweet_id: Option<u64>,
}

#[derive(Serialize)]
struct AffectedComponent {
    code: String,
    name: String,
    old_status: &'static str,
    new_status: &'static str,
}

pub(super) fn item<'a>(api: &Api<'a>, incident: &'a Incident) -> IncidentItem<'a> {
    let points = timeline::of(incident);
    let monitoring_at =
        points.iter().filter(|point| point.status == IncidentStatus::Monitoring).map(|point| point.at).max();
    IncidentItem {
        id: incident.id.as_str(),
        name: api.site.words.incident_title(incident, api.site.names),
        status: incident.status.as_str(),
        created_at: time(incident.noticed_at),
        updated_at: time(timeline::changed_at(incident)),
        monitoring_at: monitoring_at.map(time),
        resolved_at: incident.resolved_at.map(time),
        impact: incident.impact.as_str(),
        shortlink: api.site.incident_url(&incident.id),
        started_at: time(incident.started_at),
        page_id: api.page_id(),
        incident_updates: updates(api, incident, &points),
        components: components(api, incident),
    }
}

/// Newest first.
fn updates<'a>(api: &Api<'a>, incident: &'a Incident, points: &[Point<'_>]) -> Vec<IncidentUpdate<'a>> {
    let mut before: BTreeMap<&ServiceId, ServiceStatus> = BTreeMap::new();
    let mut updates = Vec::new();
    for point in points {
        let after: Vec<(&ServiceId, ServiceStatus)> = point.services(incident).collect();
        // Only what changed: in a storm, every update would else repeat a thousand services.
        let changed = after.iter().filter_map(|&(service, new)| {
            let old = before.get(service).copied().unwrap_or(ServiceStatus::Operational);
            (old != new).then(|| AffectedComponent {
                code: service.to_string(),
                name: full_name(api, service),
                old_status: word(old),
                new_status: word(new),
            })
        });
        let changed: Vec<AffectedComponent> = changed.collect();
        updates.push(IncidentUpdate {
            id: point.id.clone(),
            status: point.status.as_str(),
            body: point.text(incident, api.site.words, api.site.names),
            incident_id: incident.id.as_str(),
            created_at: time(point.recorded_at),
            updated_at: time(point.changed_at),
            display_at: time(point.at),
            affected_components: (!changed.is_empty()).then_some(changed),
            deliver_notifications: point.notify,
            custom_tweet: None,
            tweet_id: None,
        });
        before.extend(after);
    }
    updates.reverse();
    updates
}

/// "Group - Child", as that API names components here.
fn full_name(api: &Api<'_>, service: &ServiceId) -> String {
    let name = api.site.names.get(service);
    let group = api.rules.service(service).and_then(|service| service.group.as_ref());
    match group.and_then(|group| api.rules.groups.iter().find(|known| known.id == *group)) {
        Some(group) => format!("{} - {name}", group.name),
        None => name.to_owned(),
    }
}

/// The affected services that are still configured. Of an incident that is over they stand as it
/// left them, so that the document rests.
fn components<'a>(api: &Api<'a>, incident: &'a Incident) -> Vec<Component<'a>> {
    incident
        .affected
        .iter()
        .filter_map(|part| {
            let component = component::one(api, &part.service)?;
            if incident.is_open() {
                return Some(component);
            }
            let description = api.rules.service(&part.service).map_or("", |service| service.description.as_str());
            let since = part.recovered_at.or(incident.resolved_at).unwrap_or(part.started_at);
            Some(component.at_rest(ServiceStatus::Operational, since).described(description))
        })
        .collect()
}
