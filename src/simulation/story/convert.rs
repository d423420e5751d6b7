//! From a story's tables to a [`Story`]: what its values mean together.

use std::{ops::Range, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{Happening, Look, Person, Story, What, targets};
use crate::{
    config::{
        Config,
        reading::{Fields, Reader, hint},
        values::{self, shown},
    },
    domain::{
        Impact, ServiceId,
        service::Service,
        subscriber::{Address, Wants},
    },
    notes::{self, Known},
    simulation::{Post, relay},
};

/// Who is told if the story names nobody.
const SAMPLE: &str = "reader@example.org";
/// As many names are listed to one who wrote another.
const LISTED: usize = 12;
/// The keys of which each table of what happens has one.
const SUBJECTS: &[&str] = &["are", "monitor", "clock", "relay", "note"];

/// When a story begins, and how long it is.
#[derive(Clone, Copy)]
struct Frame {
    starts: Timestamp,
    lasts: Duration,
}

/// Makes a story of a file that was read; what is wrong is reported.
pub(super) fn story(root: &Fields, config: &Config, reader: &mut Reader<'_>) -> Option<Story> {
    let frame = root.get("starts").zip(root.get("lasts")).map(|(starts, lasts)| Frame { starts, lasts });
    let mut people: Vec<Person> = Vec::new();
    for fields in root.tables("subscriber") {
        let Some(person) = person(fields, config, reader) else { continue };
        if people.iter().any(|known| known.address == person.address) {
            let hint = "list all that they follow in one table";
            reader.error(fields.span("address"), "this address is a subscriber already", hint);
        }
        people.push(person);
    }
    let mut happenings: Vec<Happening> = root
        .tables("happens")
        .into_iter()
        .filter_map(|fields| {
            let after = after(fields, frame, reader);
            let happening = happening(fields, config, frame.zip(after), reader);
            happening.zip(after).map(|(happening, after)| Happening { after, ..happening })
        })
        .collect();
    happenings.sort_by_key(|happening| happening.after);
    let mut looks: Vec<Look> = Vec::new();
    for (n, fields) in (1..).zip(root.tables("look")) {
        let name: String = fields.get("name").unwrap_or_else(|| format!("{n}"));
        if looks.iter().any(|look| look.name == name) {
            reader.error(fields.span("name"), format!("another look is called `{name}`"), "give it a name of its own");
        }
        looks.extend(after(fields, frame, reader).map(|after| Look { after, name }));
    }
    looks.sort_by_key(|look| look.after);
    let sample = Address::parse(SAMPLE).ok().map(|address| Person {
        address,
        wants: Wants::default(),
        language: None,
        timezone: None,
    });
    let Frame { starts, lasts } = frame?;
    Some(Story {
        title: root.get_or_default("title"),
        starts,
        lasts,
        seed: root.get::<i64>("seed").and_then(|seed| u64::try_from(seed).ok()).unwrap_or(1),
        people: if root.has("subscriber") { people } else { sample.into_iter().collect() },
        happenings,
        looks,
    })
}

fn person(fields: &Fields, config: &Config, reader: &mut Reader<'_>) -> Option<Person> {
    let mut services = Vec::new();
    for (name, span) in fields.list::<String>("services") {
        services.extend(service(&name, span, config, reader).map(|service| service.id.clone()));
    }
    let mut groups = Vec::new();
    for (name, span) in fields.list::<String>("groups") {
        let known = config.rules.groups.iter().map(|group| &group.id);
        match known.clone().find(|id| id.as_str() == name) {
            Some(group) => groups.push(group.clone()),
            None => unknown("group", &name, span, known.map(crate::domain::GroupId::as_str), reader),
        }
    }
    let min_impact = fields.get::<String>("min_impact").and_then(|word| word.parse().ok());
    Some(Person {
        address: fields.get("address")?,
        wants: Wants { services, groups, min_impact: min_impact.unwrap_or(Impact::None), ..Wants::default() },
        language: fields.get("language"),
        timezone: fields.get::<(jiff::tz::TimeZone, String)>("timezone").map(|(_, name)| name),
    })
}

/// How long after the beginning; what is outside of the story is reported.
fn after(fields: &Fields, frame: Option<Frame>, reader: &mut Reader<'_>) -> Option<Duration> {
    let (given, key) = match (fields.has("after"), fields.has("at")) {
        (true, true) => {
            reader.error(fields.key_span("at"), "`after` and `at` exclude each other", "keep one of the two");
            return None;
        }
        (false, false) => {
            reader.missing(fields.header(), "this does not say when", "add `after = \"10m\"`, or `at` with a time");
            return None;
        }
        (true, false) => (fields.get::<Duration>("after")?, "after"),
        (false, true) => {
            let (at, starts): (Timestamp, _) = (fields.get("at")?, frame?.starts);
            let Ok(passed) = Duration::try_from(at.duration_since(starts)) else {
                reader.error(
                    fields.span("at"),
                    "this is before the story begins",
                    "write a later time, or move `starts`",
                );
                return None;
            };
            (passed, "at")
        }
    };
    if let Some(frame) = frame.filter(|frame| given > frame.lasts) {
        reader.error(
            fields.span(key),
            format!("this is after the story ends: it lasts {}", shown(frame.lasts)),
            "write less, or let the story last longer",
        );
        return None;
    }
    Some(given)
}

fn happening(
    fields: &Fields,
    config: &Config,
    moment: Option<(Frame, Duration)>,
    reader: &mut Reader<'_>,
) -> Option<Happening> {
    let given: Vec<&str> = SUBJECTS.iter().copied().filter(|key| fields.has(key)).collect();
    let &[subject] = given.as_slice() else {
        match given.get(1) {
            Some(second) => reader.error(
                fields.key_span(second),
                format!("these are two things: `{}`", given.join("` and `")),
                "write a `[[happens]]` for each",
            ),
            None => reader.missing(
                fields.header(),
                "this does not say what happens",
                format!("add one of `{}`", SUBJECTS.join("`, `")),
            ),
        }
        return None;
    };
    for (key, only) in [
        ("services", "are"),
        ("checks", "are"),
        ("hosts", "are"),
        ("class", "are"),
        ("http_status", "are"),
        ("takes", "are"),
        ("loses", "are"),
        ("text", "note"),
    ] {
        if fields.has(key) && subject != only {
            reader.error(
                fields.key_span(key),
                format!("`{key}` belongs to `{only}`, and this is `{subject}`"),
                "take it out",
            );
        }
    }
    let lasts: Option<Duration> = fields.get("lasts");
    let (what, told) = match subject {
        "are" => targets::are(fields, config, reader)?,
        "monitor" => monitor(fields, lasts, reader)?,
        "clock" => {
            (What::Clock(clock(fields, reader)?), format!("the clock is set by {}", fields.get::<String>("clock")?))
        }
        "relay" => {
            let word: String = fields.get("relay")?;
            (What::Relay(post(&word)), format!("the mail server: {word}"))
        }
        _ => note(fields, config, moment, reader)?,
    };
    let takes_no_time = matches!(what, What::Clock(_) | What::Note(..) | What::Crash)
        || matches!(what, What::Off(pause) if pause.is_zero());
    if takes_no_time && fields.has("lasts") {
        reader.error(fields.key_span("lasts"), "this takes no time", "take it out");
    }
    let told = match lasts {
        Some(lasts) => format!("{told}, for {}", shown(lasts)),
        None => told,
    };
    Some(Happening { after: Duration::ZERO, lasts, what, told })
}

fn monitor(fields: &Fields, lasts: Option<Duration>, reader: &mut Reader<'_>) -> Option<(What, String)> {
    let word: String = fields.get("monitor")?;
    let needs_end = matches!(word.as_str(), "suspended" | "stopped" | "off");
    if needs_end && lasts.is_none() {
        if !fields.has("lasts") {
            reader.missing(fields.key_span("monitor"), "this does not say for how long", "add `lasts = \"10m\"`");
        }
        return None;
    }
    let lasts = lasts.unwrap_or_default();
    Some(match word.as_str() {
        "cut" => (What::Cut, "the monitor: its link is cut".to_owned()),
        "resolver_away" => (What::ResolverAway, "the monitor: its resolver is away".to_owned()),
        "cannot_probe" => (What::CannotProbe, "the monitor: it cannot probe".to_owned()),
        "suspended" => (What::Suspended(lasts), "the monitor: suspended".to_owned()),
        "stopped" => (What::Stopped(lasts), "the monitor: stopped".to_owned()),
        "off" => (What::Off(lasts), "the monitor: off".to_owned()),
        "restart" => (What::Off(Duration::ZERO), "the monitor: restarted".to_owned()),
        "crash" => (What::Crash, "the monitor: crashes".to_owned()),
        _ => (What::DiskFull, "the monitor: its disk is full".to_owned()),
    })
}

fn clock(fields: &Fields, reader: &mut Reader<'_>) -> Option<SignedDuration> {
    let text: String = fields.get("clock")?;
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => {
            let hint = "write `\"+2h\"` for forward, `\"-2h\"` for back";
            reader.error(fields.span("clock"), "this does not say which way", hint);
            return None;
        }
    };
    match values::duration(rest) {
        Ok(by) => SignedDuration::try_from(by).ok()?.checked_mul(sign),
        Err(wrong) => {
            reader.error(fields.span("clock"), wrong.message, wrong.hint);
            None
        }
    }
}

fn post(word: &str) -> Post {
    match word {
        "away" => relay::away(),
        "greylists" => relay::greylists(),
        "refuses" => relay::knows_nobody(),
        "locks_us_out" => relay::locks_us_out(),
        _ => relay::takes(),
    }
}

fn note(
    fields: &Fields,
    config: &Config,
    moment: Option<(Frame, Duration)>,
    reader: &mut Reader<'_>,
) -> Option<(What, String)> {
    let id: String = fields.get("note")?;
    let name = format!("incidents/{}.toml", id.trim_end_matches(".toml").trim_start_matches("incidents/"));
    if notes::id_of(std::path::Path::new(&name)).is_none() {
        let hint = "write an incident's id: `a-z`, `0-9` and `-`, such as `2026-11-21-api`";
        reader.error(fields.span("note"), format!("`{id}` is not the name of a note"), hint);
        return None;
    }
    let Some(text) = fields.get::<String>("text") else {
        if !fields.has("text") {
            reader.missing(fields.key_span("note"), "this does not say what the note says", "add `text = '''...'''`");
        }
        return None;
    };
    let (frame, after) = moment?;
    let known = Known {
        services: config.service_ids().cloned().collect(),
        timezone: config.site.timezone.clone(),
        now: frame.starts.saturating_add(after).unwrap_or(frame.starts),
    };
    if let Err(problems) = notes::parse(std::path::Path::new(&name), &text, &known) {
        for problem in problems {
            // The place is that in the note's own text.
            let (line, _) = problem.position();
            let message = format!("line {line} of this note: {}", problem.message);
            reader.error(fields.span("text"), message, problem.hint);
        }
        return None;
    }
    Some((What::Note(name.clone(), text), format!("a note is saved: {name}")))
}

/// The service of that name; that there is none is reported.
pub(super) fn service<'a>(
    name: &str,
    span: Range<usize>,
    config: &'a Config,
    reader: &mut Reader<'_>,
) -> Option<&'a Service> {
    let found = config.rules.services.iter().find(|service| service.id.as_str() == name);
    if found.is_none() {
        unknown("service", name, span, config.service_ids().map(ServiceId::as_str), reader);
    }
    found.map(|service| &**service)
}

/// There is nothing of that name in the config.
pub(super) fn unknown<'n>(
    what: &str,
    name: &str,
    span: Range<usize>,
    known: impl Iterator<Item = &'n str>,
    reader: &mut Reader<'_>,
) {
    let known: Vec<&str> = known.collect();
    let hint = match hint::nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("the config has no {what}s"),
        None if known.len() <= LISTED => {
            format!("there {} `{}`", if known.len() == 1 { "is" } else { "are" }, known.join("`, `"))
        }
        None => String::new(),
    };
    reader.error(span, format!("there is no {what} `{name}` in the config"), hint);
}
