//! Which files the site has, in which order they are published, and what each is made of.
//!
//! Pure: facts in, a list out. A file whose key is the one of the last pass is not rendered again,
//! so a key must cover everything that its file shows, and nothing that changes without need.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{Timestamp, civil::Date};

use crate::domain::{IncidentId, ServiceId, archive::Head};

use super::{
    context::Context,
    facts::Touched,
    key::Key,
    snapshot::{Pace, Snapshot},
    view::history::month_name,
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
    /// A month of `history/`.
    Month(Date),
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
    /// The sitemap of a month.
    SitemapMonth(Date),
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
    /// What it is made of, but for the present.
    pub key: Key,
    /// As of when it states the present, in seconds; `None` if it states none.
    pub slot: Option<i64>,
    /// What it is.
    pub what: What,
}

/// The files of the site that have to be looked at, but the operator's own. They are put in place by
/// their [`Order`], however they come.
pub fn plan<'a>(snapshot: &'a Snapshot<'a>, touched: &Touched) -> impl Iterator<Item = Planned> + use<'a> {
    let services = services_key(snapshot);
    let parts = if touched.all { everything(snapshot) } else { those(snapshot, touched) };
    // One part after the other: of a large site, the list alone would be large.
    parts.into_iter().flat_map(move |part| {
        let mut plan = Plan::new(snapshot);
        plan.part(part, services);
        plan.files
    })
}

/// Those files of a configured service that state the present.
#[must_use]
pub fn present(snapshot: &Snapshot<'_>, service: &ServiceId) -> Vec<Planned> {
    let mut plan = Plan::new(snapshot);
    plan.service_present(service);
    plan.files
}

/// Files that are made of the same facts.
#[derive(Clone, Debug)]
enum Part<'a> {
    Asset(&'static str),
    /// What no fact changes.
    Common,
    Service(ServiceId),
    Incident(&'a Head),
    Month(Date),
    /// What shows all services, or all incidents.
    Whole,
}

/// Whatever there is.
fn everything<'a>(snapshot: &'a Snapshot<'a>) -> Vec<Part<'a>> {
    let Snapshot { context, facts, .. } = *snapshot;
    let mut parts: Vec<Part<'_>> = context.assets.keys().map(|name| Part::Asset(name)).collect();
    parts.push(Part::Common);
    parts.extend(context.rules.services.iter().map(|service| Part::Service(service.id.clone())));
    let known: BTreeSet<&ServiceId> = facts.heads.services().chain(facts.services.keys()).collect();
    let retired = known.into_iter().filter(|id| context.service(id).is_none());
    parts.extend(retired.cloned().map(Part::Service));
    parts.extend(facts.heads.iter().map(|head| Part::Incident(head)));
    parts.extend(facts.heads.months().map(|(month, _)| Part::Month(month)));
    parts.push(Part::Whole);
    parts
}

/// Only what some facts concern.
fn those<'a>(snapshot: &'a Snapshot<'a>, touched: &Touched) -> Vec<Part<'a>> {
    let facts = snapshot.facts;
    // First what is largest: it is written while the rest is made.
    let mut parts: Vec<Part<'_>> = touched.whole.then_some(Part::Whole).into_iter().collect();
    parts.extend(touched.services.iter().cloned().map(Part::Service));
    // What is open says when anything on the site last changed.
    let open = facts.heads.open().filter(|_| touched.whole);
    let incidents: BTreeSet<&IncidentId> = touched.incidents.iter().chain(open).collect();
    let heads = incidents.into_iter().filter_map(|id| facts.heads.get(id));
    parts.extend(heads.map(|head| Part::Incident(head)));
    parts.extend(touched.months.iter().copied().map(Part::Month));
    parts
}

struct Plan<'a> {
    files: Vec<Planned>,
    snapshot: &'a Snapshot<'a>,
}

impl<'a> Plan<'a> {
    fn new(snapshot: &'a Snapshot<'a>) -> Self {
        Self { files: Vec::new(), snapshot }
    }

    /// `services` is the key of what is known of all services.
    fn part(&mut self, part: Part<'_>, services: Key) {
        let context = self.snapshot.context;
        match part {
            Part::Asset(name) => self.add(context.asset(name), Order::Asset, Key::default(), What::Asset(name)),
            Part::Common => self.common(),
            Part::Service(id) if context.service(&id).is_some() => self.service(&id),
            Part::Service(id) => self.retired(&id),
            Part::Incident(head) => self.incident(head, services),
            Part::Month(month) => self.month(month),
            Part::Whole => self.whole(services),
        }
    }

    fn add(&mut self, path: impl Into<String>, order: Order, inputs: Key, what: What) {
        self.add_present(path, order, inputs, None, what);
    }

    fn add_present(&mut self, path: impl Into<String>, order: Order, inputs: Key, slot: Option<i64>, what: What) {
        let key = self.snapshot.context.key.and(inputs.0);
        self.files.push(Planned { path: path.into(), order, key, slot, what });
    }

    /// What no fact changes.
    fn common(&mut self) {
        let context: &Context = self.snapshot.context;
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

    fn service(&mut self, id: &ServiceId) {
        let facts = self.snapshot.facts;
        let now = facts.services.get(id);
        let status = Key::of(now.map(|now| (now.status, now.since.as_millisecond())));
        let heads = of_heads(facts.heads.of_service(id));
        self.feeds(id, heads);
        self.add(format!("services/{id}/outages.csv"), Order::Feed, facts.spans_key(id), What::Outages(id.clone()));
        let badge = |name: &str| format!("badge/{id}/{name}");
        let own = || Some(id.clone());
        self.add(badge("status.svg"), Order::Feed, status, What::Badge(own(), BadgeKind::Status));
        self.add(badge("shields.json"), Order::Feed, status, What::Badge(own(), BadgeKind::Shields));
        self.service_present(id);
    }

    fn service_present(&mut self, id: &ServiceId) {
        let Snapshot { facts, .. } = *self.snapshot;
        let now = facts.services.get(id);
        let slot = self.snapshot.slot(self.snapshot.pace_of(id));
        // What changed within the slot is stated as of then.
        let changed_at = self.snapshot.changed_at(id).filter(|at| *at > slot).map(Timestamp::as_millisecond);
        let spans = facts.spans_key(id).and(changed_at);
        // What it needs is linked by name; whether that is in trouble is said on the first page.
        let page = of_heads(facts.heads.of_service(id)).and((spans.0, facts.corrections_key(id).0));
        let page = page.and(now.map(|now| (now.status, now.since.as_millisecond(), now.checks_up, now.checks_known)));
        let service = self.snapshot.context.service(id);
        let blind = service.and_then(|service| self.snapshot.blind_since(service)).map(Timestamp::as_millisecond);
        let page = page.and(blind);
        let slot = Some(slot.as_second());
        self.add_present(format!("services/{id}/index.html"), Order::Page, page, slot, What::Service(id.clone()));
        let badge = What::Badge(Some(id.clone()), BadgeKind::Uptime);
        self.add_present(format!("badge/{id}/uptime-90d.svg"), Order::Feed, spans, slot, badge);
    }

    fn retired(&mut self, id: &ServiceId) {
        let facts = self.snapshot.facts;
        let told = of_heads(facts.heads.of_service(id));
        let touched = told.and(facts.corrections_key(id).0);
        self.add(format!("services/{id}/index.html"), Order::Page, touched, What::Retired(id.clone()));
        self.feeds(id, told);
        self.add(format!("services/{id}/outages.csv"), Order::Feed, touched, What::Outages(id.clone()));
    }

    fn feeds(&mut self, id: &ServiceId, key: Key) {
        for (name, format) in UPDATES {
            let what = What::Updates(Some(id.clone()), format);
            self.add(format!("services/{id}/{name}"), Order::Feed, key, what);
        }
    }

    fn incident(&mut self, head: &Head, services: Key) {
        let heads = &self.snapshot.facts.heads;
        let id = &head.id;
        let key = Key::of((id.as_str(), head.version));
        let page = format!("incidents/{id}/index.html");
        if head.withdrawn {
            // What became part of another leads there.
            if !heads.is_led(id) {
                self.add(page, Order::Page, Key::of("withdrawn"), What::Withdrawn);
            }
            return;
        }
        let slot = |pace| head.status.is_open().then(|| self.snapshot.slot(pace).as_second());
        let (live, calm) = (slot(Pace::Live), slot(Pace::Calm));
        self.add_present(page, Order::Page, key, live, What::Incident(id.clone()));
        // While it is open its document says when anything on the site last changed.
        let api = if head.status.is_open() { key.and((heads.key().0, services.0)) } else { key };
        let path = format!("api/v2/incidents/{id}.json");
        self.add_present(path, Order::Json, api, calm, What::ApiIncident(id.clone()));
        for alias in head.aliases.iter().filter(|alias| heads.leads_to(alias, head)) {
            let key = Key::of((id.as_str(), head.version, "alias"));
            self.add(format!("incidents/{alias}/index.html"), Order::Page, key, What::Alias(id.clone()));
        }
    }

    fn month(&mut self, month: Date) {
        let Snapshot { context, facts, .. } = *self.snapshot;
        let heads = facts.heads.of_month(month);
        if heads.is_empty() {
            return;
        }
        let neighbours = [facts.heads.month_after(month), facts.heads.month_before(month)];
        let key = of_heads(heads).and(neighbours.map(|month| month.map(month_name)));
        let ids = heads.iter().fold(Key::default(), |key, head| key.and(head.id.as_str()));
        let name = month_name(month);
        self.add(format!("history/{name}/index.html"), Order::Page, key, What::Month(month));
        if !context.site.noindex {
            self.add(sitemap_name(month), Order::Page, ids, What::SitemapMonth(month));
        }
    }

    /// What shows all services, or all incidents.
    fn whole(&mut self, services: Key) {
        let Snapshot { context, facts, .. } = *self.snapshot;
        let heads = facts.heads.key();
        let rules = &context.rules.services;
        let spans = rules.iter().fold(Key::default(), |key, service| key.and(facts.spans_key(&service.id).0));
        let present = heads.and(services.0);
        let slot = |pace| Some(self.snapshot.slot(pace).as_second());
        let (own, calm) = (slot(self.snapshot.pace()), slot(Pace::Calm));
        let all = present.and(spans.0);
        let blind = facts.blind.iter().fold(all, |key, (class, since)| key.and((*class, since.as_millisecond())));
        // The largest files first: they reach the disk while the others are made.
        self.add_present("index.html", Order::Index, blind, own, What::Index);
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
            self.add_present(format!("api/v2/{name}.json"), Order::Json, present, calm, What::Api(document));
        }
        let badge = |name: &str| format!("badge/overall/{name}");
        self.add(badge("status.svg"), Order::Feed, services, What::Badge(None, BadgeKind::Status));
        self.add(badge("shields.json"), Order::Feed, services, What::Badge(None, BadgeKind::Shields));
        self.add_present(badge("uptime-90d.svg"), Order::Feed, all, own, What::Badge(None, BadgeKind::Uptime));
        let months = |with: fn(usize) -> usize| {
            let months = facts.heads.months();
            months.fold(Key::default(), |key, (month, heads)| key.and((month_name(month), with(heads.len()))))
        };
        self.add("history/index.html", Order::Page, months(|count| count), What::History);
        if !context.site.noindex {
            self.add("sitemap.xml", Order::Page, months(|_| 0), What::Sitemaps);
        }
        for (name, format) in UPDATES {
            self.add(name, Order::Feed, heads, What::Updates(None, format));
        }
        self.add("history.rss", Order::Feed, heads, What::HistoryFeed(Format::Rss));
        self.add("history.atom", Order::Feed, heads, What::HistoryFeed(Format::Atom));
    }
}

/// The key of some heads: which they are, in which versions.
#[must_use]
pub fn of_heads(heads: &[Arc<Head>]) -> Key {
    heads.iter().fold(Key::default(), |key, head| key.and((head.id.as_str(), head.version, head.withdrawn)))
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

/// The name of a month's sitemap.
#[must_use]
pub fn sitemap_name(month: Date) -> String {
    format!("sitemap-{}.xml", month_name(month))
}
