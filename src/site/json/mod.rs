//! `api/v2/`: the public JSON, in the shapes of the Statuspage API v2.
//!
//! What that API has no word for is served as its nearest word, with the truth beside it in a
//! member `watchbell`: a service that nobody has looked at is `degraded_performance`, "No recent
//! data". The indicator is that of the worst service, each capped by its `max_impact`.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    feeds::{FeedSite, timeline},
    key::Key,
    pieces::Composer,
};
use crate::domain::{IncidentId, ServiceId, archive::ServiceNow, incident::Incident, service::Rules};

mod component;
mod incident;

use component::Status;
use incident::IncidentItem;

/// How the list of components begins.
const COMPONENTS: &str = "\"components\":[";

/// So many incidents stand in `incidents.json`.
pub const LISTED: usize = 50;

/// When anything that documents of the present show last changed.
#[must_use]
pub fn changed_at<'a>(
    services: impl Iterator<Item = &'a ServiceNow>,
    incidents: &BTreeMap<IncidentId, Incident>,
) -> Option<Timestamp> {
    let services = services.map(|now| now.since);
    services.chain(incidents.values().map(timeline::changed_at)).max()
}

/// What the JSON is made of.
#[derive(Clone, Copy, Debug)]
pub struct Api<'a> {
    /// Title, address, words and names.
    pub site: FeedSite<'a>,
    /// Services and groups in the order of the site.
    pub rules: &'a Rules,
    /// How each service is.
    pub services: &'a HashMap<ServiceId, ServiceNow>,
    /// At least the [`LISTED`] newest incidents and all that are open.
    pub incidents: &'a BTreeMap<IncidentId, Incident>,
    /// [`changed_at`] of these services and incidents.
    pub changed_at: Option<Timestamp>,
    /// Until when the documents that show the present may be believed.
    pub fresh_until: Timestamp,
    /// Of the site and the rules: what was made under another is made anew.
    pub key: Key,
}

#[derive(Serialize)]
struct Page<'a> {
    id: String,
    name: &'a str,
    url: String,
    time_zone: &'a str,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    watchbell_fresh_until: Option<String>,
}

#[derive(Serialize)]
struct Summary<'a> {
    page: Page<'a>,
    /// Put in by [`Api::compose`].
    components: [(); 0],
    incidents: Vec<IncidentItem<'a>>,
    scheduled_maintenances: [(); 0],
    status: Status,
}

#[derive(Serialize)]
struct StatusOnly<'a> {
    page: Page<'a>,
    status: Status,
}

#[derive(Serialize)]
struct Components<'a> {
    page: Page<'a>,
    /// Put in by [`Api::compose`].
    components: [(); 0],
}

#[derive(Serialize)]
struct Incidents<'a> {
    page: Page<'a>,
    incidents: Vec<IncidentItem<'a>>,
}

#[derive(Serialize)]
struct OneIncident<'a> {
    page: Page<'a>,
    incident: IncidentItem<'a>,
}

#[derive(Serialize)]
struct Maintenances<'a> {
    page: Page<'a>,
    scheduled_maintenances: [(); 0],
}

impl<'a> Api<'a> {
    /// `summary.json`: everything that is going on.
    pub fn summary(&self, json: &mut Composer) {
        let around = Summary {
            page: self.page_now(),
            components: [],
            incidents: self.items(self.unresolved()),
            scheduled_maintenances: [],
            status: component::overall(self),
        };
        compose(&around, COMPONENTS, json, |json| component::compose(self, json));
    }

    /// `status.json`.
    #[must_use]
    pub fn status(&self) -> Vec<u8> {
        bytes(&StatusOnly { page: self.page_now(), status: component::overall(self) })
    }

    /// `components.json`.
    pub fn components(&self, json: &mut Composer) {
        let around = Components { page: self.page_now(), components: [] };
        compose(&around, COMPONENTS, json, |json| component::compose(self, json));
    }

    /// `incidents.json`: the newest, in any state.
    pub fn incidents(&self, json: &mut Composer) {
        let around = Incidents { page: self.page_now(), incidents: Vec::new() };
        compose(&around, "\"incidents\":[", json, |json| {
            for (n, incident) in self.newest().into_iter().take(LISTED).enumerate() {
                let comma = if n == 0 { "" } else { "," };
                let item = || comma.to_owned() + &text(&incident::item(self, incident));
                if incident.is_open() {
                    // Its components stand as they are now.
                    json.text(&item());
                } else {
                    let key = self.key.and((n == 0, incident.id.as_str(), incident.version));
                    let Ok(()) = json.piece(key, || Ok::<_, Infallible>(item()));
                }
            }
        });
    }

    /// `incidents/unresolved.json`.
    #[must_use]
    pub fn incidents_unresolved(&self) -> Vec<u8> {
        bytes(&Incidents { page: self.page_now(), incidents: self.items(self.unresolved()) })
    }

    /// `incidents/ID.json`. Once the incident is over it claims no present, and its bytes rest.
    #[must_use]
    pub fn incident<'b>(&self, incident: &'b Incident) -> Vec<u8>
    where
        'a: 'b,
    {
        let api: Api<'b> = *self;
        let page = if incident.is_open() { api.page_now() } else { api.page(timeline::changed_at(incident), None) };
        bytes(&OneIncident { page, incident: incident::item(&api, incident) })
    }

    /// `scheduled-maintenances.json` and its `upcoming` and `active`.
    #[must_use]
    pub fn maintenances(&self) -> Vec<u8> {
        bytes(&Maintenances { page: self.page_now(), scheduled_maintenances: [] })
    }

    /// All that stand on the site, newest first.
    fn newest(&self) -> Vec<&'a Incident> {
        let mut all: Vec<_> = self.incidents.values().filter(|incident| !incident.withdrawn).collect();
        all.sort_by_key(|incident| std::cmp::Reverse((incident.noticed_at, &incident.id)));
        all
    }

    fn unresolved(&self) -> Vec<&'a Incident> {
        self.newest().into_iter().filter(|incident| incident.is_open()).collect()
    }

    fn items(&self, incidents: Vec<&'a Incident>) -> Vec<IncidentItem<'a>> {
        incidents.into_iter().map(|incident| incident::item(self, incident)).collect()
    }

    fn page_now(&self) -> Page<'a> {
        self.page(self.changed_at.unwrap_or_else(|| self.site.authority.founded_at()), Some(self.fresh_until))
    }

    fn page(&self, changed_at: Timestamp, fresh_until: Option<Timestamp>) -> Page<'a> {
        let site = self.site.site;
        Page {
            id: self.page_id(),
            name: &site.title,
            url: site.url.to_string(),
            time_zone: &site.timezone_name,
            updated_at: time(changed_at),
            watchbell_fresh_until: fresh_until.map(time),
        }
    }

    /// Twelve letters and digits that stay the same whatever becomes of title and address.
    fn page_id(&self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let hash = Sha256::digest(self.site.authority.to_string());
        hash.iter().take(12).filter_map(|byte| ALPHABET.get(usize::from(byte % 32))).map(|&b| char::from(b)).collect()
    }

    /// The id of the component that stands for a group: its own, unless a service has the same.
    fn group_component_id(&self, group: &crate::domain::GroupId) -> String {
        if self.site.names.has(group.as_str()) { format!("group:{group}") } else { group.to_string() }
    }
}

/// A document with a list of pieces in the place of the empty one that begins with `list`.
fn compose(around: &impl Serialize, list: &str, json: &mut Composer, fill: impl FnOnce(&mut Composer)) {
    let around = text(around);
    // No text of anybody's holds this: its quotes would be escaped.
    let (head, tail) = around.split_once(list).unwrap_or((&around, ""));
    json.text(head);
    json.text(list);
    fill(json);
    json.text(tail);
    json.text("\n");
}

/// With milliseconds, as that API writes them.
fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// One line of JSON.
pub(crate) fn bytes(value: &impl Serialize) -> Vec<u8> {
    let mut out = text(value).into_bytes();
    out.push(b'\n');
    out
}

fn text(value: &impl Serialize) -> String {
    // Our values have string keys and no floats: they always serialise.
    serde_json::to_string(value).unwrap_or_default()
}
