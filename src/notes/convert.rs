//! From a note's tables to a [`Note`]: what its values mean together.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Known;
use crate::{
    config::reading::{Fields, FromValue, Reader, hint},
    domain::{
        IncidentId, ServiceId, ServiceStatus,
        correction::Correction,
        note::{Action, Note, NoteUpdate, POSTMORTEM_SECTIONS, Postmortem, TimelineEntry},
        text::LocalText,
    },
    untrusted,
};

/// As many services are listed to one who named none of them.
const LISTED: usize = 12;

/// How far ahead of ours an operator's clock may be.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Makes a note of a file that was read; what is wrong is reported.
pub(super) fn note(id: IncidentId, root: &Fields, known: &Known, reader: &mut Reader<'_>) -> Note {
    let started = past(root, "started", known, reader);
    let resolved = past(root, "resolved", known, reader);
    if let (Some(started), Some(resolved)) = (started, resolved)
        && resolved < started
    {
        reader.error(root.span("resolved"), "`resolved` is before `started`", "");
    }
    let updates = root.tables("update");
    let is_over = resolved.is_some()
        || updates.iter().any(|update| {
            update.get::<String>("status").is_some_and(|status| matches!(status.as_str(), "resolved" | "postmortem"))
        });
    let mut services = Vec::new();
    for (name, span) in root.list::<String>("services") {
        if let Some(service) = service(&name, span, is_over, known, reader)
            && !services.contains(&service)
        {
            services.push(service);
        }
    }
    let first = updates.first().map_or(0..0, |fields| fields.header());
    let updates: Vec<NoteUpdate> =
        updates.into_iter().filter_map(|fields| update(fields, is_over, known, reader)).collect();
    let title = root.get("title").map(one_line).filter(|title| !title.is_blank());
    if title.is_none() && services.is_empty() && !updates.is_empty() && !is_automatic(&id) {
        reader.error(
            first,
            "this opens an incident that has neither a `title` nor `services`",
            "add one; or, if it is about an incident that is there, name the file after it (`watchbell incident list`)",
        );
    }
    Note {
        id,
        title,
        impact: word(root, "impact"),
        services,
        started,
        resolved,
        auto_resolve: root.get("auto_resolve"),
        is_override: root.get_or_default("override"),
        withdrawn: root.get_or_default("withdrawn"),
        notify: root.get("notify"),
        updates,
        postmortem: root.table("postmortem").map(postmortem),
    }
}

/// Whether an id is of the form that incidents give themselves: `2026-11-21-api`.
fn is_automatic(id: &IncidentId) -> bool {
    let mut date = id.as_str().as_bytes().iter().zip(b"0000-00-00-");
    id.as_str().len() > 11 && date.all(|(c, form)| c == form || (*form == b'0' && c.is_ascii_digit()))
}

/// A time that has come; our clock and the operator's may differ a little.
fn past(fields: &Fields, key: &str, known: &Known, reader: &mut Reader<'_>) -> Option<Timestamp> {
    let at: Timestamp = fields.get(key)?;
    if at.duration_since(known.now) > AHEAD {
        let now = known.now.to_zoned(known.timezone.clone()).strftime("%Y-%m-%d %H:%M %Z");
        reader.error(
            fields.span(key),
            format!("`{key}` lies ahead: it is {now} now"),
            "write a time that has come; a time without `Z` or `+02:00` is meant in the site's zone",
        );
    }
    Some(at)
}

/// One of the config's services. A note about what is over may speak of one that is gone.
fn service(
    name: &str,
    span: std::ops::Range<usize>,
    is_over: bool,
    known: &Known,
    reader: &mut Reader<'_>,
) -> Option<ServiceId> {
    let id = ServiceId::new(name).ok();
    if !id.as_ref().is_some_and(|id| known.services.contains(id)) {
        let near = hint::nearest(name, known.services.iter().map(ServiceId::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.services.len() <= LISTED => {
                let all: Vec<String> = known.services.iter().map(|id| format!("`{id}`")).collect();
                format!("there {} {}", if all.len() == 1 { "is" } else { "are" }, all.join(", "))
            }
            None => String::new(),
        };
        let message = format!("there is no service `{name}`");
        if is_over && id.is_some() {
            reader.warning(span, message, hint);
        } else {
            reader.error(span, message, hint);
        }
    }
    id
}

/// Makes corrections of a file that was read; what is wrong is reported. Oldest first.
pub(super) fn corrections(root: &Fields, known: &Known, reader: &mut Reader<'_>) -> Vec<Correction> {
    let mut good: Vec<Correction> = Vec::new();
    for fields in root.tables("correct") {
        let Some(correction) = correction(fields, known, reader) else { continue };
        let overlaps = |other: &&Correction| {
            other.service == correction.service && correction.from < other.to && other.from < correction.to
        };
        if let Some(other) = good.iter().find(overlaps) {
            reader.error(
                fields.span("from"),
                format!(
                    "this overlaps another correction of `{}`, from {} to {}",
                    other.service,
                    moment(other.from, known),
                    moment(other.to, known)
                ),
                "a moment counts as one thing: let one end where the other begins",
            );
        }
        good.push(correction);
    }
    good.sort_by(|a, b| (a.from, &a.service).cmp(&(b.from, &b.service)));
    good
}

fn correction(fields: &Fields, known: &Known, reader: &mut Reader<'_>) -> Option<Correction> {
    // One that is gone has a past too.
    let service =
        fields.get::<String>("service").and_then(|name| service(&name, fields.span("service"), true, known, reader));
    let from = past(fields, "from", known, reader);
    let to: Option<Timestamp> = fields.get("to");
    let why: Option<LocalText> = fields.get("why");
    if why.as_ref().is_some_and(LocalText::is_blank) {
        reader.error(fields.span("why"), "`why` says nothing", "people who see other numbers want to know why");
    }
    let (from, to) = (from?, to?);
    if to <= from {
        let what = if to == from { "`to` is the same moment as `from`" } else { "`to` is before `from`" };
        reader.error(fields.span("to"), what, "write when it ended");
    } else if to.duration_since(known.now) > AHEAD {
        let hint = format!("whatever is measured until {} counts for nothing", moment(to, known));
        reader.warning(fields.span("to"), "`to` lies ahead", hint);
    }
    Some(Correction { service: service?, from, to, count_as: word(fields, "count_as")?, why: why? })
}

fn moment(at: Timestamp, known: &Known) -> String {
    at.to_zoned(known.timezone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// One update; `None` if it says nothing, as those do that are still to be filled in.
fn update(fields: &Fields, is_over: bool, known: &Known, reader: &mut Reader<'_>) -> Option<NoteUpdate> {
    let mut affected = BTreeMap::new();
    for (name, span, status) in fields.map::<String>("affected") {
        if let (Some(service), Ok(status)) =
            (service(&name, span, is_over, known, reader), status.parse::<ServiceStatus>())
        {
            affected.insert(service, status);
        }
    }
    let update = NoteUpdate {
        at: past(fields, "at", known, reader),
        status: word(fields, "status"),
        text: fields.get("text").unwrap_or_else(|| LocalText::from("")),
        affected,
        next_update_ms: fields
            .get::<std::time::Duration>("next_update")
            .map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX)),
        notify: fields.get("notify").unwrap_or(true),
    };
    let says_something = !update.text.is_blank() || update.status.is_some() || !update.affected.is_empty();
    says_something.then_some(update)
}

/// A title stands in one line, however it was written.
fn one_line(title: LocalText) -> LocalText {
    let line = |text: &str| untrusted::line(text, 200);
    match title {
        LocalText::One(text) => LocalText::One(line(&text)),
        LocalText::Each(texts) => {
            LocalText::Each(texts.into_iter().map(|(language, text)| (language, line(&text))).collect())
        }
    }
}

fn word<T: std::str::FromStr>(fields: &Fields, key: &str) -> Option<T> {
    fields.get::<String>(key).and_then(|word| word.parse().ok())
}

fn postmortem(fields: &Fields) -> Postmortem {
    let texts = |key: &str| -> Vec<String> { list(fields, key) };
    let sections = POSTMORTEM_SECTIONS.iter().filter_map(|name| {
        let text: LocalText = fields.get(name)?;
        (!text.is_blank()).then(|| ((*name).to_owned(), text))
    });
    let mut timeline: Vec<TimelineEntry> = fields
        .tables("timeline")
        .into_iter()
        .filter_map(|line| Some(TimelineEntry { at: line.get("at")?, text: line.get("text")?, mark: line.get("mark") }))
        .collect();
    timeline.sort_by_key(|entry| entry.at);
    let actions = fields.tables("actions").into_iter().filter_map(|action| {
        Some(Action {
            text: action.get("text")?,
            kind: action.get("kind"),
            owner: action.get("owner"),
            status: action.get("status"),
            url: action.get::<url::Url>("url").map(String::from),
        })
    });
    Postmortem {
        published: fields.get("published"),
        sections: sections.collect(),
        five_whys: texts("five_whys"),
        went_well: texts("went_well"),
        went_wrong: texts("went_wrong"),
        got_lucky: texts("got_lucky"),
        learned: texts("learned"),
        timeline,
        actions: actions.collect(),
    }
}

fn list<T: FromValue>(fields: &Fields, key: &str) -> Vec<T> {
    fields.list(key).into_iter().map(|(value, _)| value).collect()
}
