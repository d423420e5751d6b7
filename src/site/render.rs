//! One planned file, as bytes: the right view into the right template, or the right function.

use std::fmt::Write as _;

use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use crate::domain::{IncidentId, ServiceId, ServiceStatus, span::Tally, subscriber::Choice};

use super::{
    SiteError,
    badge::{Badge, Tone},
    calendar,
    context::{fresh_until, slot},
    days, feeds,
    feeds::{Entries, Feed, select},
    json::Api,
    outages_csv,
    pieces::{Composer, Piece},
    plan::{self, BadgeKind, Document, Format, What, sitemap_name},
    snapshot::{FeedOf, Snapshot},
    view::{self, Base, Page, choices::Choices, history, incident, index, service},
};

/// A file's content, and when it must be made anew although nothing changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The content.
    pub bytes: Vec<u8>,
    /// When the passing of time alone changes it.
    pub until: Option<Timestamp>,
    /// The pieces that a later version may take over.
    pub pieces: Vec<Piece>,
}

impl From<Vec<u8>> for Rendered {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

/// Renders files of one moment.
pub struct Renderer<'a> {
    snapshot: &'a Snapshot<'a>,
}

impl<'a> Renderer<'a> {
    /// A renderer for one moment.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot<'a>) -> Self {
        Self { snapshot }
    }

    /// One file. `None`: there is nothing to it after all.
    ///
    /// # Errors
    /// If the archive cannot be read, or a template is wrong.
    pub fn render(&self, what: &What, path: &str) -> Result<Option<Rendered>, SiteError> {
        let snapshot = self.snapshot;
        let rendered = match what {
            What::Index => self.index(path)?,
            What::Service(id) => match snapshot.context.service(id) {
                Some(service) => self.page("service.html", &service::service(snapshot, service)?)?,
                None => return Ok(None),
            },
            What::Retired(id) => self.page("service.html", &service::retired(snapshot, id)?)?,
            What::Incident(id) => return self.incident(id),
            What::Withdrawn => self.page("gone.html", &incident::withdrawn(snapshot, folder(path)))?,
            What::Alias(id) => return self.alias(id, folder(path)),
            What::History => self.page("history.html", &history::history(snapshot))?,
            What::Month(month) => self.month(*month, path)?,
            What::Subscribe => self.page("subscribe.html", &self.subscribe())?,
            What::Counted => self.page("uptime.html", &self.plain("uptime/", "counted.title", "uptime"))?,
            What::Missing => self.missing()?,
            What::Robots => self.robots().into(),
            What::Sitemaps => self.sitemaps().into(),
            What::SitemapPages => self.sitemap_pages().into(),
            What::SitemapMonth(month) => self.sitemap_month(*month).into(),
            What::Asset(name) => {
                snapshot.context.assets.get(name).map(|asset| asset.bytes.clone()).unwrap_or_default().into()
            }
            What::Updates(service, format) => self.feed(FeedOf::Updates(service.clone()), *format)?,
            What::HistoryFeed(format) => self.feed(FeedOf::History, *format)?,
            What::Calendar => {
                let head = calendar::CalendarHead {
                    name: &snapshot.context.site.title,
                    url: &snapshot.context.url("maintenance.ics"),
                };
                calendar::ics(&head, Vec::new()).into()
            }
            What::Badge(service, kind) => self.badge(service.as_ref(), *kind).into(),
            What::Outages(id) => outages_csv::csv(&snapshot.archive.spans(id, Timestamp::MIN, Timestamp::MAX)?).into(),
            What::Api(document) => self.document(*document, path)?,
            What::ApiIncident(id) => match snapshot.incident(id)? {
                Some(incident) => self.api().incident(&incident).into(),
                None => return Ok(None),
            },
        };
        Ok(Some(rendered))
    }

    fn page(&self, template: &str, view: &impl Serialize) -> Result<Rendered, SiteError> {
        Ok(self.snapshot.context.templates.render(template, view)?.into_bytes().into())
    }

    fn index(&self, path: &str) -> Result<Rendered, SiteError> {
        let templates = &self.snapshot.context.templates;
        let page = templates.render("index.html", &index::index(self.snapshot)?)?;
        let Some((head, tail)) = page.split_once(index::GROUPS) else { return Ok(page.into_bytes().into()) };
        self.composed(path, |html| {
            html.text(head);
            for (group, services) in index::groups(self.snapshot) {
                let group = templates.render("group.html", &group)?;
                let (head, tail) = group.split_once(index::ROWS).unwrap_or((&group, ""));
                html.text(head);
                for service in services {
                    let make = || templates.render("row.html", index::row(self.snapshot, service));
                    html.piece(index::row_key(self.snapshot, service), make)?;
                }
                html.text(tail);
            }
            html.text(tail);
            Ok(())
        })
    }

    fn month(&self, month: Date, path: &str) -> Result<Rendered, SiteError> {
        let Snapshot { context, .. } = *self.snapshot;
        let page = context.templates.render("month.html", history::month(self.snapshot, month))?;
        let Some((head, tail)) = page.split_once(history::DAYS) else { return Ok(page.into_bytes().into()) };
        self.composed(path, |html| {
            html.text(head);
            for (date, heads) in history::days(self.snapshot, month) {
                let make = || {
                    let day = history::day(self.snapshot, date, heads)?;
                    Ok::<_, SiteError>(context.templates.render("day.html", day)?)
                };
                html.piece(context.key.and(plan::of_heads(heads).0), make)?;
            }
            html.text(tail);
            Ok(())
        })
    }

    /// A file put together by `fill` from what is published and what is new.
    fn composed(
        &self,
        path: &str,
        fill: impl Fn(&mut Composer) -> Result<(), SiteError>,
    ) -> Result<Rendered, SiteError> {
        let over = |old| {
            let mut composer = Composer::over(old);
            fill(&mut composer)?;
            Ok::<_, SiteError>(composer.finish())
        };
        let (bytes, pieces) = match over(self.snapshot.published(path))? {
            Some(finished) => finished,
            None => over(None)?.unwrap_or_default(),
        };
        Ok(Rendered { bytes, pieces, until: None })
    }

    fn incident(&self, id: &IncidentId) -> Result<Option<Rendered>, SiteError> {
        let Some(whole) = self.snapshot.incident(id)? else { return Ok(None) };
        let page = self.page("incident.html", &incident::incident(self.snapshot, &whole))?;
        let published = whole.postmortem.as_ref().and_then(|postmortem| postmortem.published);
        Ok(Some(Rendered { until: published.filter(|at| *at > self.snapshot.now), ..page }))
    }

    fn alias(&self, id: &IncidentId, path: &str) -> Result<Option<Rendered>, SiteError> {
        let Some(whole) = self.snapshot.incident(id)? else { return Ok(None) };
        let context = self.snapshot.context;
        let title = context.words.incident_title(&whole, &context.names);
        self.page("gone.html", &incident::moved(self.snapshot, path, id.as_str(), &title)).map(Some)
    }

    fn base(&self, path: &str, key: &str, section: &'static str) -> Base {
        let title = self.snapshot.context.words.text(key, &[]);
        let page = Page { path, title: &title, description: "", present: None, section, service: None };
        view::base(self.snapshot.context, &page, self.snapshot.now)
    }

    fn plain(&self, path: &str, title: &str, section: &'static str) -> Plain {
        let context = self.snapshot.context;
        Plain {
            base: self.base(path, title, section),
            zone: context.site.timezone_name.replace('_', " "),
            legend: ServiceStatus::ALL.iter().map(|&status| view::state(context, status)).collect(),
        }
    }

    fn missing(&self) -> Result<Rendered, SiteError> {
        let mut plain = self.plain("", "missing.title", "missing");
        plain.base.stand_anywhere(self.snapshot.context);
        self.page("404.html", &plain)
    }

    fn subscribe(&self) -> Subscribe {
        let context = self.snapshot.context;
        let feeds_of = |folder: &str, name: &str| FeedsOf { name: name.to_owned(), folder: folder.to_owned() };
        Subscribe {
            base: self.base("subscribe/", "subscribe.title", "subscribe"),
            form: index::form(context),
            choice: context.subscribe_form.then(|| Choices::new(context, &Choice::default())),
            services: context
                .rules
                .services
                .iter()
                .map(|service| feeds_of(&format!("services/{}/", service.id), &service.name))
                .collect(),
        }
    }

    fn feed(&self, of: FeedOf, format: Format) -> Result<Rendered, SiteError> {
        let made = if let Some(made) = self.snapshot.last_feed(&of) {
            made
        } else {
            let made = match &of {
                FeedOf::Updates(service) => self.updates(service.as_ref())?,
                FeedOf::History => {
                    let Snapshot { context, facts, memory, .. } = *self.snapshot;
                    (feeds::history(&context.feed_site(), &facts.incidents, &mut memory.entries.borrow_mut()), None)
                }
            };
            self.snapshot.keep_feed(of, made)
        };
        let (feed, until) = &*made;
        let bytes = match format {
            Format::Rss => feed.rss(),
            Format::Atom => feed.atom(),
            Format::Json => feed.json(),
        };
        Ok(Rendered { bytes, until: *until, ..Rendered::default() })
    }

    /// The news, and when there will be more of it although nothing happens.
    fn updates(&self, service: Option<&ServiceId>) -> Result<(Feed, Option<Timestamp>), SiteError> {
        let snapshot = self.snapshot;
        let own;
        let events = if service.is_some() {
            own = snapshot.archive.events(service, None, select::MOST)?;
            &own
        } else {
            &snapshot.facts.events
        };
        // The incidents of older events: read for this feed alone.
        let mut more;
        let mut incidents = &snapshot.facts.incidents;
        if events.iter().any(|event| !incidents.contains_key(&event.incident)) {
            more = std::collections::BTreeMap::new();
            for event in events {
                if !more.contains_key(&event.incident)
                    && let Some(incident) = snapshot.incident(&event.incident)?
                {
                    more.insert(event.incident.clone(), incident);
                }
            }
            incidents = &more;
        }
        // Those of one service are seldom asked for twice.
        let mut own = Entries::default();
        let mut known = snapshot.memory.entries.borrow_mut();
        let made = if service.is_some() { &mut own } else { &mut *known };
        let feed = feeds::updates(&snapshot.context.feed_site(), service, events, incidents, snapshot.now, made);
        Ok((feed, select::next_shown_at(events, snapshot.now)))
    }

    fn badge(&self, service: Option<&ServiceId>, kind: BadgeKind) -> Vec<u8> {
        let Snapshot { context, facts, .. } = *self.snapshot;
        let words = &context.words;
        let label = service.map_or(context.site.title.as_str(), |id| context.names.get(id));
        if kind == BadgeKind::Uptime {
            let tally = |id: &ServiceId| {
                let pace = if service.is_some() { self.snapshot.pace_of(id) } else { self.snapshot.pace() };
                days::window(facts.spans(id), 90, self.snapshot.counted_until(id, pace))
            };
            // Of the whole: of all services' time together.
            let tally = service.map_or_else(
                || context.rules.services.iter().map(|service| tally(&service.id)).fold(Tally::default(), sum),
                tally,
            );
            let message = words.uptime(tally.uptime());
            let label = format!("{label} · {}", words.text("service.window_90", &[]));
            return Badge { label: &label, message: &message, tone: Tone::of_uptime(tally.uptime()) }.svg();
        }
        let status = service.map_or_else(|| index::overall(self.snapshot), |id| facts.status(id));
        let badge = Badge { label, message: words.status(status), tone: status.into() };
        if kind == BadgeKind::Shields { badge.shields() } else { badge.svg() }
    }

    fn api(&self) -> Api<'a> {
        let Snapshot { context, facts, now, .. } = *self.snapshot;
        Api {
            site: context.feed_site(),
            rules: &context.rules,
            services: &facts.services,
            incidents: &facts.incidents,
            changed_at: self.snapshot.shown_changed_at(),
            fresh_until: fresh_until(slot(now)),
            key: context.key,
        }
    }

    fn document(&self, document: Document, path: &str) -> Result<Rendered, SiteError> {
        let api = self.api();
        Ok(match document {
            Document::Summary => self.composed(path, |json| {
                api.summary(json);
                Ok(())
            })?,
            Document::Components => self.composed(path, |json| {
                api.components(json);
                Ok(())
            })?,
            Document::Status => api.status().into(),
            Document::Incidents => self.composed(path, |json| {
                api.incidents(json);
                Ok(())
            })?,
            Document::Unresolved => api.incidents_unresolved().into(),
            Document::Maintenances => api.maintenances().into(),
        })
    }

    fn robots(&self) -> Vec<u8> {
        let context = self.snapshot.context;
        if context.site.noindex {
            return b"User-agent: *\nDisallow: /\n".to_vec();
        }
        format!("User-agent: *\nDisallow:\n\nSitemap: {}\n", context.url("sitemap.xml")).into_bytes()
    }

    fn sitemaps(&self) -> Vec<u8> {
        let names = self.snapshot.facts.heads.months().map(|(month, _)| sitemap_name(month));
        let all = ["sitemap-pages.xml".to_owned()].into_iter().chain(names);
        sitemap("sitemapindex", "sitemap", all.map(|name| self.snapshot.context.url(&name)))
    }

    fn sitemap_pages(&self) -> Vec<u8> {
        let context = self.snapshot.context;
        let fixed = ["", "history/", "subscribe/", "uptime/"].map(str::to_owned);
        let services = context.rules.services.iter().map(|service| format!("services/{}/", service.id));
        sitemap("urlset", "url", fixed.into_iter().chain(services).map(|path| context.url(&path)))
    }

    fn sitemap_month(&self, month: Date) -> Vec<u8> {
        let Snapshot { context, facts, .. } = *self.snapshot;
        let heads = facts.heads.of_month(month);
        let own = format!("history/{}/", history::month_name(month));
        let incidents = heads.iter().map(|head| format!("incidents/{}/", head.id));
        sitemap("urlset", "url", [own].into_iter().chain(incidents).map(|path| context.url(&path)))
    }
}

/// A sitemap, or an index of them (<https://www.sitemaps.org/protocol.html>). Without `lastmod`:
/// the bytes of a month that is over rest.
fn sitemap(root: &str, item: &str, urls: impl Iterator<Item = String>) -> Vec<u8> {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n"
    );
    for url in urls {
        let url = super::templates::escape(&url);
        let _ = writeln!(xml, "<{item}><loc>{url}</loc></{item}>");
    }
    let _ = writeln!(xml, "</{root}>");
    xml.into_bytes()
}

fn sum(a: Tally, b: Tally) -> Tally {
    Tally {
        total_ms: a.total_ms + b.total_ms,
        down_ms: a.down_ms + b.down_ms,
        degraded_ms: a.degraded_ms + b.degraded_ms,
        maintenance_ms: a.maintenance_ms + b.maintenance_ms,
        unknown_ms: a.unknown_ms + b.unknown_ms,
        worst: a.worst.max(b.worst),
    }
}

/// The folder that a page stands for: `a/b/` for `a/b/index.html`.
fn folder(path: &str) -> &str {
    path.strip_suffix("index.html").unwrap_or(path)
}

#[derive(Serialize)]
struct Plain {
    base: Base,
    zone: String,
    legend: Vec<view::State>,
}

#[derive(Serialize)]
struct Subscribe {
    base: Base,
    form: Option<index::Form>,
    choice: Option<Choices>,
    services: Vec<FeedsOf>,
}

#[derive(Serialize)]
struct FeedsOf {
    name: String,
    folder: String,
}
