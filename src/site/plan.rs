//! Which files the site has, in which order they are published, and what each is made of.
//!
//! Pure: facts in, a list out. A file whose key is the one of the last pass is not rendered again,
//! so a key must cover everything that its file shows, and nothing that changes without need.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date};

use crate::domain::{IncidentId, ServiceId, archive::Head};

use super::{
    context::Context,
    key::Key,
    snapshot::{Facts, Pace, Snapshot},
    view::history::{month_name, months},
};

/// When a file is put in its place: a page never points to what is not there yet, and programs
/// learn of a change last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// Style sheets, icons, the operator's own files.
    Asset,
    /// Pages.
    Page,
    /// Feeds, the calendar, badges, tables.
    Feed,
    /// `index.html`.
    Index,
    /// The JSON API.
    Json,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `index.html`.
    Index,
    /// A service's page.
    Service(ServiceId),
    /// The page of a service that is no longer configured.
    Retired(ServiceId),
    /// An incident's page.
    Incident(IncidentId),
    /// The page of an incident that was taken off the site.
    Withdrawn,
    /// A page that leads to this incident.
    Alias(IncidentId),
    /// `history/`.
    History,
    /// The n-th month of `history/`, newest first.
    Month(usize),
    /// `subscribe/`.
    Subscribe,
    /// `uptime/`: how it is counted.
    Counted,
    /// `404.html`.
    Missing,
    /// `robots.txt`.
    Robots,
    /// `sitemap.xml`: the list of sitemaps.
    Sitemaps,
    /// The sitemap of what is not an incident.
    SitemapPages,
    /// The sitemap of the n-th month.
    SitemapMonth(usize),
    /// One of [`Context::assets`].
    Asset(&'static str),
    /// `updates.*` and `feed.json` of a service, or of all.
    Updates(Option<ServiceId>, Format),
    /// `history.*`.
    HistoryFeed(Format),
    /// `maintenance.ics`.
    Calendar,
    /// A badge of a service, or of all.
    Badge(Option<ServiceId>, BadgeKind),
    /// A service's spans.
    Outages(ServiceId),
    /// A document of the JSON API that shows the present.
    Api(Document),
    /// `api/v2/incidents/ID.json`.
    ApiIncident(IncidentId),
}

/// A feed's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RSS 2.0.
    Rss,
    /// Atom.
    Atom,
    /// JSON Feed.
    Json,
}

/// What a badge shows, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadgeKind {
    /// The status, as a picture.
    Status,
    /// The uptime of 90 days, as a picture.
    Uptime,
    /// The status, for shields.io.
    Shields,
}

/// A document of the JSON API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Document {
    /// Everything that is going on.
    Summary,
    /// The whole in a word.
    Status,
    /// Services.
    Components,
    /// The newest incidents.
    Incidents,
    /// The open ones.
    Unresolved,
    /// Planned work.
    Maintenances,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Within the output.
    pub path: String,
    /// When it is put in place.
    pub order: Order,
    /// What it is made of.
    pub key: Key,
    /// What it is.
    pub what: What,
}

/// The key of all heads: of which incidents there are, and in which versions.
#[must_use]
pub fn heads_key(heads: &[Head]) -> Key {
    heads.iter().fold(Key::default(), |key, head| key.and((head.id.as_str(), head.version, head.withdrawn)))
}

/// Every file of the site but the operator's own, in the order of publishing.
#[must_use]
pub fn plan(snapshot: &Snapshot<'_>) -> Vec<Planned> {
    let Snapshot { context, facts, .. } = *snapshot;
    let mut plan = Plan { files: Vec::with_capacity(facts.heads.len() * 2 + 100), key: context.key };
    for name in context.assets.keys() {
        let path = context.asset(name).to_owned();
        plan.add(path, Order::Asset, Key::default(), What::Asset(name));
    }
    plan.common(context);
    let touched = by_service(facts);
    let none = Touched::default();
    for service in &context.rules.services {
        let touched = touched.get(&service.id).unwrap_or(&none);
        plan.service(snapshot, &service.id, touched);
    }
    for (id, touched) in touched.iter().filter(|(id, _)| context.service(id).is_none()) {
        plan.retired(id, touched.key);
    }
    plan.incidents(snapshot);
    plan.months(snapshot);
    plan.whole(snapshot);
    let mut files = plan.files;
    files.sort_by_key(|file| file.order);
    files
}

/// What is known of a service from the heads of incidents.
#[derive(Default)]
struct Touched {
    key: Key,
}

fn by_service(facts: &Facts) -> BTreeMap<ServiceId, Touched> {
    let mut touched: BTreeMap<ServiceId, Touched> = BTreeMap::new();
    for head in &facts.heads {
        for service in &head.services {
            let entry = touched.entry(service.clone()).or_default();
            entry.key = entry.key.and((head.id.as_str(), head.version));
        }
    }
    for service in facts.services.keys() {
        touched.entry(service.clone()).or_default();
    }
    touched
}

struct Plan {
    files: Vec<Planned>,
    key: Key,
}

impl Plan {
    fn add(&mut self, path: impl Into<String>, order: Order, inputs: Key, what: What) {
        self.files.push(Planned { path: path.into(), order, key: self.key.and(inputs.0), what });
    }

    /// What no fact changes.
    fn common(&mut self, context: &Context) {
        let none = Key::default();
        self.add("subscribe/index.html", Order::Page, none, What::Subscribe);
        self.add("uptime/index.html", Order::Page, none, What::Counted);
        self.add("404.html", Order::Page, none, What::Missing);
        self.add("robots.txt", Order::Page, none, What::Robots);
        self.add("maintenance.ics", Order::Feed, none, What::Calendar);
        if !context.site.noindex {
            self.add("sitemap-pages.xml", Order::Page, none, What::SitemapPages);
        }
    }

    fn service(&mut self, snapshot: &Snapshot<'_>, id: &ServiceId, touched: &Touched) {
        let facts = snapshot.facts;
        let spans = spans_key(facts, id);
        let now = facts.services.get(id);
        let status = Key::of(now.map(|now| (now.status, now.since.as_millisecond())));
        // What it needs is linked by name; whether that is in trouble is said on the first page.
        let slot = snapshot.slot(snapshot.pace_of(id)).as_second();
        let whole = touched.key.and((spans.0, status.0, slot));
        let whole = whole.and(now.map(|now| (now.checks_up, now.checks_known)));
        self.add(format!("services/{id}/index.html"), Order::Page, whole, What::Service(id.clone()));
        self.feeds(id, touched.key);
        self.add(format!("services/{id}/outages.csv"), Order::Feed, spans, What::Outages(id.clone()));
        let badge = |name: &str| format!("badge/{id}/{name}");
        let own = || Some(id.clone());
        let uptime = spans.and((slot, snapshot.changed_at(id).map(Timestamp::as_millisecond)));
        self.add(badge("status.svg"), Order::Feed, status, What::Badge(own(), BadgeKind::Status));
        self.add(badge("shields.json"), Order::Feed, status, What::Badge(own(), BadgeKind::Shields));
        self.add(badge("uptime-90d.svg"), Order::Feed, uptime, What::Badge(own(), BadgeKind::Uptime));
    }

    fn retired(&mut self, id: &ServiceId, touched: Key) {
        self.add(format!("services/{id}/index.html"), Order::Page, touched, What::Retired(id.clone()));
        self.feeds(id, touched);
        self.add(format!("services/{id}/outages.csv"), Order::Feed, touched, What::Outages(id.clone()));
    }

    fn feeds(&mut self, id: &ServiceId, key: Key) {
        for (name, format) in UPDATES {
            let what = What::Updates(Some(id.clone()), format);
            self.add(format!("services/{id}/{name}"), Order::Feed, key, what);
        }
    }

    fn incidents(&mut self, snapshot: &Snapshot<'_>) {
        let facts = snapshot.facts;
        let slot = snapshot.slot(Pace::Live).as_second();
        let present = snapshot.heads_key.and(services_key(snapshot).0).0;
        // An id that an incident on the site has for itself is never an alias of another. What became
        // part of another is off the site, and leads there.
        let shown = || facts.heads.iter().filter(|head| !head.withdrawn);
        let own: BTreeSet<&IncidentId> = shown().map(|head| &head.id).collect();
        let led: BTreeSet<&IncidentId> = shown().flat_map(|head| &head.aliases).collect();
        let mut aliases: BTreeSet<&IncidentId> = BTreeSet::new();
        for head in &facts.heads {
            let id = &head.id;
            let mut key = Key::of((id.as_str(), head.version));
            if head.status.is_open() {
                key = key.and(slot);
            }
            let page = format!("incidents/{id}/index.html");
            if head.withdrawn {
                if !led.contains(id) {
                    self.add(page, Order::Page, Key::of("withdrawn"), What::Withdrawn);
                }
                continue;
            }
            self.add(page, Order::Page, key, What::Incident(id.clone()));
            // While it is open its document says when anything on the site last changed.
            let api = if head.status.is_open() { key.and(present) } else { key };
            self.add(format!("api/v2/incidents/{id}.json"), Order::Json, api, What::ApiIncident(id.clone()));
            for alias in head.aliases.iter().filter(|alias| !own.contains(alias)) {
                if aliases.insert(alias) {
                    let key = Key::of((id.as_str(), head.version, "alias"));
                    self.add(format!("incidents/{alias}/index.html"), Order::Page, key, What::Alias(id.clone()));
                }
            }
        }
    }

    fn months(&mut self, snapshot: &Snapshot<'_>) {
        let context = snapshot.context;
        let months = months(&snapshot.facts.heads, context.zone());
        let name = |n: Option<usize>| n.and_then(|n| months.get(n)).map(|(month, _)| month_name(*month));
        let mut list = Key::default();
        for (n, (month, heads)) in months.iter().enumerate() {
            let versions = heads.iter().fold(Key::default(), |key, head| key.and((head.id.as_str(), head.version)));
            let ids = heads.iter().fold(Key::default(), |key, head| key.and(head.id.as_str()));
            let month = month_name(*month);
            list = list.and((&month, heads.len()));
            let key = versions.and((name(n.checked_sub(1)), name(Some(n + 1))));
            self.add(format!("history/{month}/index.html"), Order::Page, key, What::Month(n));
            if !context.site.noindex {
                self.add(format!("sitemap-{month}.xml"), Order::Page, ids, What::SitemapMonth(n));
            }
        }
        self.add("history/index.html", Order::Page, list, What::History);
        if !context.site.noindex {
            self.add("sitemap.xml", Order::Page, list, What::Sitemaps);
        }
    }

    /// What shows all services, or all incidents.
    fn whole(&mut self, snapshot: &Snapshot<'_>) {
        let Snapshot { context, facts, heads_key, .. } = *snapshot;
        for (name, format) in UPDATES {
            self.add(name, Order::Feed, heads_key, What::Updates(None, format));
        }
        self.add("history.rss", Order::Feed, heads_key, What::HistoryFeed(Format::Rss));
        self.add("history.atom", Order::Feed, heads_key, What::HistoryFeed(Format::Atom));
        let services = services_key(snapshot);
        let mut spans = Key::default();
        for service in &context.rules.services {
            spans = spans.and(spans_key(facts, &service.id).0);
        }
        let slot = snapshot.slot(snapshot.pace()).as_second();
        let present = heads_key.and((services.0, slot));
        self.add("index.html", Order::Index, present.and(spans.0), What::Index);
        for (name, kind) in [
            ("status.svg", BadgeKind::Status),
            ("shields.json", BadgeKind::Shields),
            ("uptime-90d.svg", BadgeKind::Uptime),
        ] {
            let key = if kind == BadgeKind::Uptime { present.and(spans.0) } else { services };
            self.add(format!("badge/overall/{name}"), Order::Feed, key, What::Badge(None, kind));
        }
        for (name, document) in [
            ("summary", Document::Summary),
            ("status", Document::Status),
            ("components", Document::Components),
            ("incidents", Document::Incidents),
            ("incidents/unresolved", Document::Unresolved),
            ("scheduled-maintenances", Document::Maintenances),
            ("scheduled-maintenances/upcoming", Document::Maintenances),
            ("scheduled-maintenances/active", Document::Maintenances),
        ] {
            self.add(format!("api/v2/{name}.json"), Order::Json, present, What::Api(document));
        }
    }
}

/// What is known of all services now.
fn services_key(snapshot: &Snapshot<'_>) -> Key {
    snapshot.context.rules.services.iter().fold(Key::default(), |key, service| {
        let now = snapshot.facts.services.get(&service.id);
        key.and(now.map(|now| (now.status, now.since.as_millisecond(), now.checks_up, now.checks_known)))
    })
}

const UPDATES: [(&str, Format); 3] =
    [("updates.rss", Format::Rss), ("updates.atom", Format::Atom), ("feed.json", Format::Json)];

fn spans_key(facts: &Facts, id: &ServiceId) -> Key {
    facts.spans(id).iter().fold(Key::default(), |key, span| {
        key.and((span.status, span.from.as_millisecond(), span.to.map(Timestamp::as_millisecond)))
    })
}

/// The name of a month's sitemap.
#[must_use]
pub fn sitemap_name(month: Date) -> String {
    format!("sitemap-{}.xml", month_name(month))
}
