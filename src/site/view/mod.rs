//! What templates are given: words, addresses and shapes, ready to be shown. Templates decide how
//! things look, never what is true.

use jiff::{SignedDuration, Timestamp};
use minijinja::Value;
use serde::Serialize;

use crate::domain::{Impact, IncidentStatus, ServiceStatus, incident::Update};

use super::{
    chart,
    context::{Context, Style, fresh_until, slot},
    days, markdown,
    snapshot::Snapshot,
};

pub mod choices;
pub mod history;
pub mod incident;
pub mod index;
pub mod service;

/// HTML that is safe as it stands.
fn html(text: String) -> Value {
    Value::from_safe_string(text)
}

/// A moment: for people, and for programs.
#[derive(Clone, Debug, Serialize)]
pub struct When {
    /// What people read.
    pub text: String,
    /// RFC 3339, UTC.
    pub iso: String,
}

impl When {
    fn new(text: String, at: Timestamp) -> Self {
        Self { text, iso: at.to_string() }
    }
}

/// A link within the site or out of it.
#[derive(Clone, Debug, Serialize)]
pub struct Link {
    /// What people read.
    pub text: String,
    /// Where it leads.
    pub href: String,
}

/// A state as it is always shown: a word, a shape and a colour.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// `data-status`.
    pub status: &'static str,
    /// Shape and colour.
    pub class: &'static str,
    /// What people read.
    pub word: String,
}

/// A state of a service.
#[must_use]
pub fn state(context: &Context, status: ServiceStatus) -> State {
    State { status: status.as_str(), class: chart::class(status), word: context.words.status(status).to_owned() }
}

/// The colour of an incident: how bad it is while it is open, calm once it is over.
#[must_use]
pub fn incident_class(status: IncidentStatus, impact: Impact) -> &'static str {
    match (status.is_open(), impact) {
        (false, _) => "ok",
        (true, Impact::None) => "none",
        (true, Impact::Minor) => "slow",
        (true, Impact::Major) => "partial",
        (true, Impact::Critical) => "outage",
    }
}

/// What every page has.
#[derive(Clone, Debug, Serialize)]
pub struct Base {
    /// BCP 47.
    pub language: String,
    /// `ltr` or `rtl`.
    pub direction: String,
    /// The title of the page alone.
    pub title: String,
    /// Of the site.
    pub site_title: String,
    /// For search engines.
    pub description: String,
    /// What leads from this page to the root of the site, such as `../../`.
    pub root: String,
    /// The page's own absolute address; empty: it has none.
    pub canonical: String,
    /// The site's absolute address.
    pub site_url: String,
    /// Path of the style sheet, from the root.
    pub css: String,
    /// The style sheet itself with its element, where it stands in the page.
    pub style: Option<Value>,
    /// Path of the icon, from the root.
    pub icon: String,
    /// Path of the logo, from the root; empty: none.
    pub logo: String,
    /// The policy.
    pub csp: String,
    /// The one script, with its element.
    pub script: Value,
    /// Whether search engines are asked to stay away.
    pub noindex: bool,
    /// Set on pages that show the present: until when it may be believed (RFC 3339).
    pub fresh_until: Option<String>,
    /// `data-status` of the page; empty: none.
    pub status: &'static str,
    /// Feeds of this page: title, address, type.
    pub feeds: Vec<FeedLink>,
    /// Which part of the site this is, for the navigation.
    pub section: &'static str,
    /// "Times in UTC. Checked every 30 s."
    pub foot: String,
    /// Where people ask for help; empty: nowhere.
    pub support: String,
    /// Further links.
    pub links: Vec<Link>,
}

/// A feed that a page announces.
#[derive(Clone, Debug, Serialize)]
pub struct FeedLink {
    /// What it is called.
    pub title: String,
    /// Absolute.
    pub href: String,
    /// Its media type.
    pub kind: &'static str,
}

/// What is said of a page besides what all have in common.
pub struct Page<'a> {
    /// Where it lies: a folder that ends in `/`, or a file; from the root.
    pub path: &'a str,
    /// Its title alone.
    pub title: &'a str,
    /// For search engines; empty: the site's.
    pub description: &'a str,
    /// The state that it shows; `None`: it claims no present.
    pub present: Option<ServiceStatus>,
    /// Which part of the site it is.
    pub section: &'static str,
    /// The service whose feeds it announces first.
    pub service: Option<&'a crate::domain::ServiceId>,
}

/// What leads from `path` to the root.
#[must_use]
pub fn root_of(path: &str) -> String {
    let up = "../".repeat(path.matches('/').count());
    if up.is_empty() { "./".to_owned() } else { up }
}

/// The base of a page at `now`.
#[must_use]
pub fn base(context: &Context, page: &Page<'_>, now: Timestamp) -> Base {
    let (site, words) = (&context.site, &context.words);
    let feed = |folder: &str, name: &str, title: &str, kind| FeedLink {
        title: title.to_owned(),
        href: context.url(&format!("{folder}{name}")),
        kind,
    };
    let mut feeds = Vec::new();
    let mut announce = |folder: &str, title: &str| {
        feeds.push(feed(folder, "updates.atom", title, "application/atom+xml"));
        feeds.push(feed(folder, "updates.rss", title, "application/rss+xml"));
        feeds.push(feed(folder, "feed.json", title, "application/feed+json"));
    };
    if let Some(service) = page.service {
        let title = format!("{}: {}", site.title, context.names.get(service));
        announce(&format!("services/{service}/"), &title);
    }
    announce("", &site.title);
    let fresh = page.present.map(|_| fresh_until(slot(now)).to_string());
    let icon = page.present.map_or("none", chart::class);
    Base {
        language: words.language().to_owned(),
        direction: words.direction().to_owned(),
        title: page.title.to_owned(),
        site_title: site.title.clone(),
        description: if page.description.is_empty() { site.description.clone() } else { page.description.to_owned() },
        root: root_of(page.path),
        canonical: context.url(page.path.strip_suffix("index.html").unwrap_or(page.path)),
        site_url: site.url.to_string(),
        css: context.asset("css").to_owned(),
        icon: context.asset(icon).to_owned(),
        logo: context.asset("logo").to_owned(),
        csp: context.content_security_policy(Style::Linked),
        style: None,
        script: html(format!("<script>{}</script>", context.script)),
        noindex: site.noindex,
        fresh_until: fresh,
        status: page.present.map_or("", ServiceStatus::as_str),
        feeds,
        section: page.section,
        foot: foot(context),
        support: site.support.as_ref().map(ToString::to_string).unwrap_or_default(),
        links: site.links.iter().map(|(text, url)| Link { text: text.clone(), href: url.to_string() }).collect(),
    }
}

impl Base {
    /// Makes the page one that may be served at any address, at any depth: with its style sheet in
    /// it, its neighbours named from the top, and no address of its own.
    pub fn stand_anywhere(&mut self, context: &Context) {
        context.site.url.path().clone_into(&mut self.root);
        self.canonical.clear();
        self.noindex = true;
        self.csp = context.content_security_policy(Style::Inside);
        self.style = Some(html(format!("<style>{}</style>", String::from_utf8_lossy(context.css()))));
    }
}

/// "Times in UTC. Checked every 30 s." Nothing in it depends on the moment.
fn foot(context: &Context) -> String {
    let (words, site) = (&context.words, &context.site);
    let zone = words.text("page.times_in", &[("zone", &site.timezone_name.replace('_', " "))]);
    let ms = |duration: std::time::Duration| words.duration(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let checked = context.cadence.map(|(shortest, longest)| {
        if shortest == longest {
            words.text("page.checked_every", &[("duration", &ms(shortest))])
        } else {
            words.text("page.checked_between", &[("shortest", &ms(shortest)), ("longest", &ms(longest))])
        }
    });
    checked.map_or_else(|| zone.clone(), |checked| format!("{zone} {checked}"))
}

/// What a person said, as it stands on a page.
#[derive(Clone, Debug, Serialize)]
pub struct Word {
    /// "Identified".
    pub status: String,
    /// Its colour.
    pub class: &'static str,
    /// When.
    pub at: When,
    /// What, as HTML.
    pub text: Value,
    /// When the text was changed long after it was first seen.
    pub changed: Option<When>,
}

/// A text that is corrected within this long is not worth a remark.
const CORRECTION: SignedDuration = SignedDuration::from_mins(5);

/// A person's words; times are told to a reader who knows that it is `near`.
fn word(context: &Context, update: &Update, impact: Impact, near: Timestamp) -> Word {
    let (words, zone) = (&context.words, context.zone());
    let is_corrected = update.changed_at.duration_since(update.recorded_at) > CORRECTION;
    let changed = is_corrected.then(|| {
        let moment = words.moment_near(update.changed_at, near, zone);
        When::new(words.text("incident.corrected", &[("moment", &moment)]), update.changed_at)
    });
    Word {
        status: words.incident_status(update.status).to_owned(),
        class: incident_class(update.status, impact),
        at: When::new(words.moment_near(update.at, near, zone), update.at),
        text: html(markdown::to_html_under(words.local(&update.text), 2)),
        changed,
    }
}

/// The line about the next promised update; `None` without a promise, or once it was kept.
fn promise(snapshot: &Snapshot<'_>, update: Option<&Update>, stated_at: Timestamp, inside: bool) -> Option<When> {
    let due = update?.next_update_at?;
    let words = &snapshot.context.words;
    let time = words.moment_near(due, stated_at, snapshot.context.zone());
    let key = match (due < stated_at, inside) {
        (true, false) => "page.update_overdue",
        (true, true) => "page.update_overdue_inside",
        (false, false) => "page.next_update",
        (false, true) => "page.next_update_inside",
    };
    Some(When::new(words.text(key, &[("time", &time)]), due))
}

/// Whether `at` falls on the same day as `other` in the site's zone.
fn same_day(context: &Context, at: Timestamp, other: Timestamp) -> bool {
    days::date(at, context.zone()) == days::date(other, context.zone())
}
