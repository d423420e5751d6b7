//! Feeds: the news for feed readers, as RSS 2.0, Atom and JSON Feed 1.1.
//!
//! [`updates`] has one entry for each event, since readers do not show an edited entry again;
//! [`history`] has one for each incident, its updates inside. Both are pure: values in, a [`Feed`]
//! out, which writes itself in each format. Nothing here knows what time it is.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    key::Key,
    words::{Names, Words},
};
use crate::{
    config::Site,
    domain::{IncidentId, ServiceId, event::Event, incident::Incident},
};

mod entry;
pub mod select;
pub mod tags;
pub mod text;
pub mod timeline;
pub mod write;

pub use tags::Authority;
pub use write::{Entry, Feed};

/// What feeds and the JSON API need to know of the site.
#[derive(Clone, Copy, Debug)]
pub struct FeedSite<'a> {
    /// Title, address, language and zone.
    pub site: &'a Site,
    /// How services are called.
    pub names: &'a Names,
    /// The site's words.
    pub words: &'a Words,
    /// Who mints ids: made once, kept for ever.
    pub authority: &'a Authority,
}

impl FeedSite<'_> {
    /// The absolute address of `path` within the site.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.site.url)
    }

    /// The absolute address of an incident's page.
    #[must_use]
    pub fn incident_url(&self, id: &IncidentId) -> String {
        self.url(&format!("incidents/{id}/"))
    }

    /// A point in time as people read it, with year and zone.
    fn moment(&self, at: Timestamp) -> String {
        self.words.moment(at, &self.site.timezone)
    }
}

/// Entries that were made before, of one [`FeedSite`]: most of a feed is what it was.
#[derive(Debug, Default)]
pub struct Entries(BTreeMap<Key, Entry>);

impl Entries {
    /// More than two feeds never hold; what is older is made anew should it be needed.
    const MOST: usize = 2 * select::MOST;

    fn get(&mut self, key: Key, make: impl FnOnce() -> Entry) -> Entry {
        if self.0.len() > Self::MOST {
            self.0.clear();
        }
        let make = || {
            let entry = make();
            Entry { html: text::clean(&entry.html), ..entry }
        };
        self.0.entry(key).or_insert_with(make).clone()
    }
}

/// What the entry of an event is made of: itself, which may change before it seals, and what became
/// of its incident.
fn key_of(event: &Event, incident: Option<&Incident>) -> Key {
    Key::of((event, incident.map(|incident| (incident.version, incident.withdrawn))))
}

/// The feed of `updates.rss`, `updates.atom` and `feed.json`, of the whole site or of one service.
///
/// `events` are the newest [`select::MOST`] of the archive, `incidents` (at least) those that they
/// are about: an update whose text was corrected since shows the correction.
#[must_use]
pub fn updates(
    site: &FeedSite<'_>,
    service: Option<&ServiceId>,
    events: &[Event],
    incidents: &BTreeMap<IncidentId, Incident>,
    now: Timestamp,
    made: &mut Entries,
) -> Feed {
    let mut entry = |event: &Event| {
        let incident = incidents.get(&event.incident);
        made.get(key_of(event, incident), || entry::of_event(site, event, incident))
    };
    let entries = select::events(events, incidents, now).into_iter().map(&mut entry).collect();
    feed(site, service, "updates", "feeds.updates_of", entries)
}

/// The feed of `history.rss` and `history.atom`: `incidents` are those that began last (at least
/// [`select::LEAST`], if there are as many).
#[must_use]
pub fn history(site: &FeedSite<'_>, incidents: &BTreeMap<IncidentId, Incident>, made: &mut Entries) -> Feed {
    let mut entry = |incident: &Incident| {
        let key = Key::of(("whole", incident.id.as_str(), incident.version));
        made.get(key, || entry::of_incident(site, incident))
    };
    let entries = select::incidents(incidents).into_iter().map(&mut entry).collect();
    feed(site, None, "history", "feeds.history_of", entries)
}

fn feed(site: &FeedSite<'_>, service: Option<&ServiceId>, name: &str, title: &str, mut entries: Vec<Entry>) -> Feed {
    write::distinguish(&mut entries);
    let whose = match service {
        Some(service) => format!("{}: {}", site.site.title, site.names.get(service)),
        None => site.site.title.clone(),
    };
    let folder = service.map(|service| format!("services/{service}/")).unwrap_or_default();
    Feed {
        id: site.authority.feed(name, service),
        title: site.words.text(title, &[("title", &whose)]),
        description: site.site.description.clone(),
        language: site.words.language().to_owned(),
        author: site.site.title.clone(),
        home_url: site.url(&folder),
        self_url: site.url(&format!("{folder}{name}")),
        json_url: (name == "updates").then(|| site.url(&format!("{folder}feed.json"))),
        updated_at: entries.iter().map(|entry| entry.updated_at).max().unwrap_or_else(|| site.authority.founded_at()),
        entries,
    }
}
