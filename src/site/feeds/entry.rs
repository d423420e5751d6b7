//! What stands in an entry: of an event, and of a whole incident.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Entry, FeedSite, text, timeline};
use crate::{
    domain::{
        IncidentStatus, ServiceStatus,
        event::{Event, EventKind, IncidentView},
        incident::{Affected, Fact, Incident, Update},
    },
    site::markdown,
};

/// An entry lists so many services; a storm has more.
const LISTED: usize = 50;

/// The entry of an event. `incident` is what became of it: corrected texts are taken from there.
pub(super) fn of_event(site: &FeedSite<'_>, event: &Event, incident: Option<&Incident>) -> Entry {
    let mut view = corrected(&event.view, incident);
    if event.kind == EventKind::Withdrawn {
        // What was written about it was taken back.
        view.title = None;
    }
    let update = event.update.as_ref().and_then(|told| match incident {
        Some(incident) => current(incident, told),
        None => Some(told),
    });
    let mut html = match event.kind {
        EventKind::Withdrawn => {
            paragraph(site, event.at, None, &sentence(&site.words.text("incident.withdrawn_text", &[])))
        }
        _ => paragraph(site, event.at, Some(event.view.status), &body(site, event, &view, update, incident)),
    };
    if event.kind != EventKind::Withdrawn {
        html.push_str(&services(site, &view.affected));
    }
    link(site, &mut html, &site.incident_url(&event.incident));
    let corrected_at = update.map_or(event.recorded_at, |update| update.changed_at);
    Entry {
        id: site.authority.event(&event.id),
        title: site.words.event_subject(event.kind, &view, &event.services, site.names),
        url: site.incident_url(&event.incident),
        html,
        published_at: event.recorded_at,
        updated_at: event.recorded_at.max(corrected_at),
        categories: vec![event.kind.as_str().to_owned()],
    }
}

/// The entry of an incident: its updates newest first, each with its state in `<strong>`, so that
/// the first one is the present state.
pub(super) fn of_incident(site: &FeedSite<'_>, incident: &Incident) -> Entry {
    let mut html = String::new();
    for point in timeline::of(incident).iter().rev() {
        let said = point.html(incident, site.words, site.names);
        html.push_str(&paragraph(site, point.at, Some(point.status), &said));
    }
    html.push_str(&services(site, &incident.affected));
    link(site, &mut html, &site.incident_url(&incident.id));
    Entry {
        id: site.authority.incident(&incident.id),
        title: site.words.incident_title(incident, site.names),
        url: site.incident_url(&incident.id),
        html,
        published_at: incident.noticed_at,
        updated_at: timeline::changed_at(incident),
        categories: vec![incident.impact.as_str().to_owned()],
    }
}

/// The view as it was, with the operator's title as it is: a correction changes existing entries.
fn corrected(view: &IncidentView, incident: Option<&Incident>) -> IncidentView {
    let mut view = view.clone();
    if view.title.is_some()
        && let Some(title) = incident.and_then(|incident| incident.title.clone())
    {
        view.title = Some(title);
    }
    view
}

/// The update as it reads now; `None` if it was removed.
fn current<'a>(incident: &'a Incident, told: &'a Update) -> Option<&'a Update> {
    match incident.updates.iter().find(|update| update.id == told.id) {
        Some(update) => (!update.withdrawn).then_some(update),
        None => Some(told),
    }
}

/// What an event says, as HTML blocks.
fn body(
    site: &FeedSite<'_>,
    event: &Event,
    view: &IncidentView,
    update: Option<&Update>,
    incident: Option<&Incident>,
) -> String {
    if let Some(update) = update {
        let mut html = markdown::to_html(site.words.local(&update.text));
        if let Some(at) = update.next_update_at {
            html.push_str(&sentence(&site.words.text("page.next_update", &[("time", &site.moment(at))])));
        }
        return html;
    }
    if let Some(what) = &event.fact {
        let fact = Fact { at: event.at, what: what.clone() };
        return sentence(&site.words.fact(&fact, site.names));
    }
    let summary = incident.and_then(timeline::summary).filter(|_| event.kind == EventKind::Postmortem);
    match summary {
        Some(summary) => markdown::to_html(site.words.local(summary)),
        None => sentence(&format!("{}{}", headline(site, event, view), site.words.catalog().raw("style.stop"))),
    }
}

/// The news as the beginning of a sentence: the incident's title where that says how things are.
fn headline(site: &FeedSite<'_>, event: &Event, view: &IncidentView) -> String {
    match event.kind {
        EventKind::Opened | EventKind::Resolved | EventKind::Postmortem => site.words.incident_title(view, site.names),
        _ => site.words.event_subject(event.kind, view, &event.services, site.names),
    }
}

fn sentence(said: &str) -> String {
    format!("<p>{}</p>", text::escape(said))
}

/// One update in the shape of the Statuspage feeds: time, line break, state in `<strong>`, text.
/// `blocks` is HTML; its first paragraph continues the line of the state.
fn paragraph(site: &FeedSite<'_>, at: Timestamp, status: Option<IncidentStatus>, blocks: &str) -> String {
    let mut out = format!("<p><small><time datetime=\"{at}\">{}</time></small><br/>", text::escape(&site.moment(at)));
    if let Some(status) = status {
        let _ = write!(out, "<strong>{}</strong>", text::escape(&state(site, status)));
    }
    if let Some(rest) = blocks.strip_prefix("<p>") {
        if status.is_some() {
            out.push_str(" - ");
        }
        out.push_str(rest);
    } else {
        out.push_str("</p>");
        out.push_str(blocks);
    }
    out
}

/// The state as readers of such feeds know it: their parsers look for these words.
fn state(site: &FeedSite<'_>, status: IncidentStatus) -> String {
    match status {
        IncidentStatus::Postmortem => site.words.text("postmortem.title", &[]),
        status => site.words.incident_status(status).to_owned(),
    }
}

/// The affected services with their causes and times.
fn services(site: &FeedSite<'_>, affected: &[Affected]) -> String {
    if affected.is_empty() {
        return String::new();
    }
    let mut out = String::from("<ul>");
    for part in affected.iter().take(LISTED) {
        let _ = write!(out, "<li>{}</li>", text::escape(&service(site, part)));
    }
    if let Some(more) = affected.len().checked_sub(LISTED).filter(|&more| more > 0) {
        let n = u64::try_from(more).unwrap_or(u64::MAX);
        let _ = write!(out, "<li>{}</li>", text::escape(&site.words.count("feeds.more_services", n, &[])));
    }
    out.push_str("</ul>");
    out
}

fn service(site: &FeedSite<'_>, part: &Affected) -> String {
    let (words, name) = (site.words, site.names.get(&part.service));
    if let Some(at) = part.recovered_at {
        let (duration, moment) = (words.duration(part.downtime_ms(at)), site.moment(at));
        let how = words.inside(words.status(part.worst));
        let args = [("service", name), ("moment", moment.as_str()), ("duration", &duration), ("status", &how)];
        return words.text("feeds.service_back", &args);
    }
    let status = if part.status == ServiceStatus::Operational { part.worst } else { part.status };
    let status = words.inside(words.status(status));
    let moment = site.moment(part.started_at);
    let mut args = vec![("service", name), ("status", status.as_str()), ("moment", moment.as_str())];
    let cause = part.cause.as_ref().map(|cause| words.inside(&words.cause(cause)));
    match &cause {
        Some(cause) => {
            args.push(("cause", cause));
            words.text("feeds.service_cause", &args)
        }
        None => words.text("feeds.service", &args),
    }
}

fn link(site: &FeedSite<'_>, html: &mut String, url: &str) {
    let _ = write!(
        html,
        "<p><a href=\"{}\">{}</a></p>",
        text::escape(url),
        text::escape(&site.words.text("page.full_story", &[]))
    );
}
