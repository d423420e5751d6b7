//! One incident: four facts, who is affected, what happened, what was learned.

use jiff::Timestamp;
use minijinja::Value;
use serde::Serialize;
use url::Url;

use crate::domain::{
    Impact, ServiceStatus,
    incident::{Affected, Fact, FactKind, Incident, Origin},
    note::{self, Postmortem},
    text::LocalText,
};

use super::{Base, Page, State, When, Word, base, html, incident_class, promise, same_day, state, word};
use crate::site::{
    context::Context,
    markdown,
    snapshot::{Pace, Snapshot},
};

/// An incident's page.
#[derive(Debug, Serialize)]
pub struct IncidentPage {
    base: Base,
    id: String,
    title: String,
    status: &'static str,
    state: String,
    class: &'static str,
    impact: String,
    is_open: bool,
    promise: Option<When>,
    stated: Option<When>,
    resolved: Option<When>,
    four: Vec<Figure>,
    head_for: String,
    affected: Vec<Part>,
    again: String,
    entries: Vec<Entry>,
    postmortem: Option<PostmortemView>,
}

/// One of the four facts.
#[derive(Debug, Serialize)]
struct Figure {
    label: String,
    value: String,
    iso: String,
}

#[derive(Debug, Serialize)]
struct Part {
    id: String,
    name: String,
    is_linked: bool,
    state: State,
    detail: String,
    lasted: String,
    exceeded: String,
}

/// One line of the timeline: a person's word, or a fact.
#[derive(Debug, Serialize)]
struct Entry {
    word: Option<Word>,
    at: When,
    text: String,
}

/// Everything about one incident as of now.
#[must_use]
pub fn incident(snapshot: &Snapshot<'_>, incident: &Incident) -> IncidentPage {
    let context = snapshot.context;
    let (words, zone) = (&context.words, context.zone());
    let is_open = incident.is_open();
    let stated_at = snapshot.stated_at(changed_at(incident), Pace::Live);
    // Who reads of a thing of the past must be told its dates; what is going on is told by the clock.
    let near = if is_open { stated_at } else { incident.started_at };
    let title = words.incident_title(incident, &context.names);
    let path = format!("incidents/{}/", incident.id);
    let description = incident.latest_update().map(|update| markdown::to_text(words.local(&update.text)));
    let description = description.map(|text| crate::untrusted::line(&text, 200)).unwrap_or_default();
    let page = Page {
        path: &path,
        title: &title,
        description: &description,
        present: is_open.then(|| incident.worst_now()),
        section: "incident",
        service: None,
    };
    let latest = incident.latest_update();
    let was_down = incident.affected.iter().any(|part| part.worst.is_down());
    let moment = |key: &str, at| words.text(key, &[("moment", &words.moment(at, zone))]);
    let impact = words.impact(incident.impact);
    IncidentPage {
        base: base(context, &page, snapshot.now),
        id: incident.id.to_string(),
        title,
        status: incident.worst_now().as_str(),
        state: words.incident_status(incident.status).to_owned(),
        class: incident_class(incident.status, incident.impact),
        impact: if incident.impact == Impact::None { String::new() } else { words.inside(impact) },
        is_open,
        promise: promise(snapshot, latest.filter(|_| is_open), stated_at, true),
        stated: is_open.then(|| When::new(moment("page.as_of", stated_at), stated_at)),
        resolved: incident.resolved_at.map(|at| When::new(moment("incident.resolved", at), at)),
        four: figures(context, incident, stated_at),
        head_for: words.text(if was_down { "incident.down_for" } else { "incident.slow_head" }, &[]),
        affected: incident.affected.iter().map(|part| affected(context, incident, part, stated_at, was_down)).collect(),
        again: if incident.reopened == 0 {
            String::new()
        } else {
            words.count("incident.intermittent", u64::from(incident.reopened), &[])
        },
        entries: entries(context, incident, near),
        postmortem: published(incident, snapshot.now).map(|(text, at)| postmortem(context, text, at)),
    }
}

/// The newest thing in it that is known to have a time.
fn changed_at(incident: &Incident) -> Option<Timestamp> {
    let facts = incident.facts.iter().map(|fact| fact.at);
    let updates = incident.updates.iter().map(|update| update.changed_at.max(update.recorded_at));
    facts.chain(updates).chain([incident.noticed_at]).max()
}

/// The postmortem and since when it is public, if it is.
#[must_use]
pub fn published(incident: &Incident, now: Timestamp) -> Option<(&Postmortem, Timestamp)> {
    let postmortem = incident.postmortem.as_ref()?;
    let at = postmortem.published.filter(|at| *at <= now)?;
    Some((postmortem, at))
}

fn figures(context: &Context, incident: &Incident, stated_at: Timestamp) -> Vec<Figure> {
    let (words, zone) = (&context.words, context.zone());
    let label = |key: &str| words.text(key, &[]);
    let plain = |key: &str, value: String| Figure { label: label(key), value, iso: String::new() };
    let began = if incident.is_open() {
        words.moment_near(incident.started_at, stated_at, zone)
    } else {
        words.moment(incident.started_at, zone)
    };
    let lasted = match incident.resolved_at {
        Some(end) => plain("incident.lasted", words.between(incident.started_at, end)),
        None => plain("incident.lasting", words.between(incident.started_at, stated_at)),
    };
    let was_seen = incident.origin == Origin::Automatic || incident.affected.iter().any(|part| part.seen_failing);
    let noticed = if was_seen {
        plain("incident.noticed_after", words.between(incident.started_at, incident.noticed_at))
    } else {
        plain("incident.noticed", label("incident.noticed_unknown"))
    };
    let first = incident.updates.iter().filter(|update| !update.withdrawn).map(|update| update.at).min();
    let first = match first {
        Some(at) => words.between(incident.started_at, at),
        None if incident.is_open() => label("incident.no_word_yet"),
        None => label("incident.no_word"),
    };
    vec![
        Figure { label: label("incident.began"), value: began, iso: incident.started_at.to_string() },
        lasted,
        noticed,
        plain("incident.first_word_after", first),
    ]
}

fn affected(context: &Context, incident: &Incident, part: &Affected, stated_at: Timestamp, was_down: bool) -> Part {
    let (words, zone) = (&context.words, context.zone());
    let is_back = part.recovered_at.is_some();
    // Of the past only the worst is told: how the service is now stands elsewhere.
    let shown = match (incident.is_open(), is_back) {
        (false, _) => part.worst,
        (true, true) => ServiceStatus::Operational,
        (true, false) => part.status,
    };
    let lasted_ms = part.downtime_ms(incident.resolved_at.unwrap_or(stated_at).max(part.started_at));
    let lasted = words.duration(lasted_ms);
    let lasted = if was_down && !part.worst.is_down() {
        words.text("incident.slow_for", &[("duration", &lasted)])
    } else {
        lasted
    };
    let allowed = context.service(&part.service).and_then(|service| service.acceptable_downtime);
    let allowed = allowed.map(|allowed| u64::try_from(allowed.as_millis()).unwrap_or(u64::MAX));
    let exceeded = allowed
        .filter(|allowed| part.worst.is_down() && lasted_ms > *allowed)
        .map(|allowed| words.text("incident.exceeded", &[("duration", &words.duration(allowed))]));
    let near = if incident.is_open() { stated_at } else { incident.started_at };
    let said = |at: Timestamp| words.moment_near(at, near, zone);
    // The end of the whole stands above; only what was back sooner has a time of its own, as people
    // read it.
    let detail = part.recovered_at.map(said).filter(|at| incident.resolved_at.map(said).as_ref() != Some(at));
    let detail = detail.map(|at| words.text("incident.back_since", &[("time", &at)]));
    Part {
        id: part.service.to_string(),
        name: context.names.get(&part.service).to_owned(),
        is_linked: true,
        state: state(context, shown),
        detail: detail.unwrap_or_default(),
        lasted,
        exceeded: exceeded.unwrap_or_default(),
    }
}

/// What people said and what the monitor saw, newest first; at the same moment people come first, and
/// of facts the one that was written down last.
fn entries(context: &Context, incident: &Incident, near: Timestamp) -> Vec<Entry> {
    let words = &context.words;
    let said = incident.updates.iter().filter(|update| !update.withdrawn).map(|update| {
        let word = word(context, update, incident.impact, near);
        let at = word.at.clone();
        ((update.at, true, update.recorded_at, 0), Entry { word: Some(word), at, text: String::new() })
    });
    let seen = incident.facts.iter().enumerate().map(|(n, fact)| {
        let at = When::new(fact_time(context, fact, near), fact.at);
        ((fact.at, false, fact.at, n), Entry { word: None, at, text: words.fact(fact, &context.names) })
    });
    let mut entries: Vec<_> = said.chain(seen).collect();
    entries.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// The first seconds of an outage are told to the second.
fn fact_time(context: &Context, fact: &Fact, near: Timestamp) -> String {
    let (words, zone) = (&context.words, context.zone());
    if !same_day(context, fact.at, near) {
        return words.moment_near(fact.at, near, zone);
    }
    match fact.what {
        FactKind::FirstFailure { .. } | FactKind::Confirmed { .. } => words.clock_seconds(fact.at, zone),
        _ => words.clock(fact.at, zone),
    }
}

#[derive(Debug, Serialize)]
struct PostmortemView {
    published: When,
    sections: Vec<Section>,
    five_whys: Vec<Value>,
    lists: Vec<List>,
    timeline: Vec<Moment>,
    actions: Vec<ActionView>,
}

#[derive(Debug, Serialize)]
struct Section {
    id: String,
    title: String,
    text: Value,
}

#[derive(Debug, Serialize)]
struct List {
    title: String,
    items: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Moment {
    at: When,
    text: Value,
    mark: String,
}

#[derive(Debug, Serialize)]
struct ActionView {
    text: Value,
    kind: String,
    owner: String,
    status: String,
    url: String,
}

fn postmortem(context: &Context, postmortem: &Postmortem, published_at: Timestamp) -> PostmortemView {
    let (words, zone) = (&context.words, context.zone());
    let markdown = |text: &str| html(markdown::to_html(text));
    let section = |(name, text): &(String, LocalText)| Section {
        id: name.replace('_', "-"),
        title: words.postmortem_heading(name).to_owned(),
        text: markdown(words.local(text)),
    };
    let order = |name: &str| note::POSTMORTEM_SECTIONS.iter().position(|known| *known == name);
    let mut sections: Vec<&(String, LocalText)> =
        postmortem.sections.iter().filter(|(name, text)| order(name).is_some() && !text.is_blank()).collect();
    sections.sort_by_key(|(name, _)| order(name));
    let items = |texts: &[String]| texts.iter().map(|text| markdown(text)).collect::<Vec<_>>();
    let lists = [
        ("went_well", &postmortem.went_well),
        ("went_wrong", &postmortem.went_wrong),
        ("got_lucky", &postmortem.got_lucky),
        ("learned", &postmortem.learned),
    ];
    let moment = words.moment(published_at, zone);
    let mut timeline: Vec<&note::TimelineEntry> = postmortem.timeline.iter().collect();
    timeline.sort_by_key(|entry| entry.at);
    let mut last: Option<Timestamp> = None;
    PostmortemView {
        published: When::new(words.text("postmortem.published", &[("moment", &moment)]), published_at),
        sections: sections.into_iter().map(section).collect(),
        five_whys: items(&postmortem.five_whys),
        lists: lists
            .into_iter()
            .filter(|(_, texts)| !texts.is_empty())
            .map(|(name, texts)| List { title: words.postmortem_heading(name).to_owned(), items: items(texts) })
            .collect(),
        timeline: timeline
            .into_iter()
            .map(|entry| {
                // The date is said where it changes.
                let is_new_day = last.is_none_or(|last| !same_day(context, last, entry.at));
                last = Some(entry.at);
                let at = if is_new_day { words.moment(entry.at, zone) } else { words.time(entry.at, zone) };
                Moment {
                    at: When::new(at, entry.at),
                    text: markdown(&entry.text),
                    mark: entry.mark.clone().unwrap_or_default(),
                }
            })
            .collect(),
        actions: postmortem.actions.iter().map(action).collect(),
    }
}

fn action(action: &note::Action) -> ActionView {
    let url = action.url.as_deref().and_then(|url| Url::parse(url).ok());
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    ActionView {
        text: html(markdown::to_html(&action.text)),
        kind: action.kind.clone().unwrap_or_default(),
        owner: action.owner.clone().unwrap_or_default(),
        status: action.status.clone().unwrap_or_default(),
        url: url.map(|url| url.to_string()).unwrap_or_default(),
    }
}

/// The page that stands where an incident is no more: taken off the site, or under another name.
#[derive(Debug, Serialize)]
pub struct Gone {
    base: Base,
    title: String,
    text: String,
    /// Where it goes on, from this page; empty: nowhere.
    href: String,
    name: String,
}

/// The page of an incident that was taken off the site.
#[must_use]
pub fn withdrawn(snapshot: &Snapshot<'_>, path: &str) -> Gone {
    let words = &snapshot.context.words;
    gone(snapshot, path, &words.text("incident.withdrawn_title", &[]), "incident.withdrawn_text", "", "")
}

/// The page at one of an incident's other ids, which leads to `id`.
#[must_use]
pub fn moved(snapshot: &Snapshot<'_>, path: &str, id: &str, title: &str) -> Gone {
    let words = &snapshot.context.words;
    let href = format!("../{id}/");
    gone(snapshot, path, &words.text("incident.moved_title", &[]), "incident.moved_text", &href, title)
}

fn gone(snapshot: &Snapshot<'_>, path: &str, title: &str, text: &str, href: &str, name: &str) -> Gone {
    let page = Page { path, title, description: "", present: None, section: "incident", service: None };
    let mut base = base(snapshot.context, &page, snapshot.now);
    if let Some(id) = href.strip_prefix("../") {
        base.canonical = snapshot.context.url(&format!("incidents/{id}"));
    } else {
        base.noindex = true;
    }
    Gone {
        base,
        title: title.to_owned(),
        text: snapshot.context.words.text(text, &[]),
        href: href.to_owned(),
        name: name.to_owned(),
    }
}
