//! `watchbell incident show ID --preview`: what would be told of an incident if its note were taken as
//! the file stands now. It reads, and changes nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::{Shower, story};
use crate::{
    cli::{Failure, Outcome, output, read_notes},
    config::Config,
    domain::{
        IncidentId,
        diagnostic::{Diagnostic, Severity},
        incident::Incident,
        note::Postmortem,
        subscriber::Address,
    },
    judge::World,
    notes::{self, Remembered},
    notify::{
        compose::Composer,
        preview::{Foreseen, ForeseenMessage, Means, preview as foresee},
    },
    store::Reader,
};

/// What `--json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a IncidentId,
    title: String,
    /// Whether pages would read otherwise than they do.
    is_changed: bool,
    events: &'a [Foreseen],
    overdue: Option<Overdue>,
    /// A postmortem that is not public.
    draft: Option<&'a Postmortem>,
}

/// Who hears of it if nothing more is said by then.
#[derive(Clone, Copy, Serialize)]
struct Overdue {
    at: Timestamp,
    operators: usize,
    owners: usize,
}

pub(super) fn preview(config: &Config, shower: &Shower, reader: &Reader, id: &IncidentId, json: bool) -> Outcome {
    let remembered = Remembered { files: reader.note_files()?, ..Remembered::default() };
    let scan = read_notes(config, remembered, shower.now);
    if let Some(error) = scan.failed {
        return Err(anyhow::anyhow!("{} cannot be read: {error}", config.notes_dir.display()).into());
    }
    let world = World::restore(0, reader.world()?.into_iter())?;
    let its = |problem: &&Diagnostic| {
        let name = notes::id_of(&problem.source.path);
        name.is_some_and(|name| name == *id || world.incident(&name).is_some_and(|it| world.incident(id) == Some(it)))
    };
    let mut problems = scan.problems.iter().filter(its).peekable();
    if problems.peek().is_some() {
        let mut is_bad = false;
        for problem in problems {
            is_bad |= problem.severity == Severity::Error;
            output::say(&problem.to_string());
        }
        if is_bad {
            output::say("the note is not taken as it is; its last good version stays in force");
            return Err(Failure::Bad);
        }
    }
    let composer = config.email.as_ref().map(|email| Composer::new(config, email)).transpose()?;
    let means = Means { reader, rules: &config.rules, composer: composer.as_ref(), now: shower.now };
    let Some(found) = foresee(means, world, scan.changed, id)? else {
        return Err(Failure::Usage(format!(
            "there is no incident `{id}`, and no note of that name; `watchbell incident list` shows what there is"
        )));
    };
    let shown = Shown {
        id: &found.incident.id,
        title: shower.words.incident_title(&found.incident, &shower.names),
        is_changed: found.is_changed,
        events: &found.events,
        overdue: overdue(config, &found.incident, shower.now),
        draft: draft(&found.incident, shower.now),
    };
    if json { Ok(output::print_json(&shown)?) } else { print(shower, &shown) }
}

/// Who is told if the next update does not come as it is promised.
fn overdue(config: &Config, incident: &Incident, now: Timestamp) -> Option<Overdue> {
    let word = incident.latest_update().filter(|_| incident.is_open() && !incident.withdrawn)?;
    let at = word.next_update_at.filter(|at| *at > now)?;
    let affected = incident.affected.iter().filter_map(|part| config.rules.service(&part.service));
    let owners: BTreeSet<&Address> = affected.flat_map(|service| &service.owners).collect();
    Some(Overdue { at, operators: config.operators.len(), owners: owners.len() })
}

/// A postmortem that is not public yet.
fn draft(incident: &Incident, now: Timestamp) -> Option<&Postmortem> {
    incident.postmortem.as_ref().filter(|postmortem| postmortem.published.is_none_or(|at| at > now))
}

fn print(shower: &Shower, shown: &Shown<'_>) -> Outcome {
    output::print(&shown.title)?;
    output::print(&format!("{}, as it would be if its note were taken now", shown.id))?;
    if shown.events.is_empty() {
        output::print("")?;
        output::print(if shown.is_changed {
            "Pages would follow. Nobody would be told: nothing that would change is news."
        } else {
            "Nobody would be told: nothing in the note is new."
        })?;
    }
    for event in shown.events {
        output::print("")?;
        for line in event_lines(shower, event) {
            output::print(&line)?;
        }
    }
    if let Some(overdue) = shown.overdue {
        let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        output::print("")?;
        output::print(&format!(
            "If nothing more is said by {}: {} and {} of its services are told that an update is overdue.",
            moment(overdue.at),
            counted(overdue.operators, "operator"),
            counted(overdue.owners, "owner"),
        ))?;
    }
    if let Some(draft) = shown.draft {
        output::print("")?;
        for line in draft_lines(shower, draft) {
            output::print(&line)?;
        }
    }
    Ok(())
}

fn event_lines(shower: &Shower, event: &Foreseen) -> Vec<String> {
    let about: Vec<&str> = event.services.iter().map(|service| shower.names.get(service)).collect();
    let known = if event.is_recorded { "recorded, and not told yet" } else { "new" };
    let mut lines = vec![format!("{} ({}): {known}", event.kind, shower.words.list(&about, 3))];
    if !event.notify {
        lines.push("  in the feeds alone: nobody is told".to_owned());
        return lines;
    }
    let number = |n: u64| shower.words.digits(n);
    for message in &event.messages {
        lines.push(format!(
            "  at {}: {} subscriber{} by mail, as `{}`",
            moment(message.at),
            number(message.subscribers),
            if message.subscribers == 1 { "" } else { "s" },
            message.news,
        ));
    }
    if event.folded > 0 {
        lines.push(format!("  {} in the message of what comes after it", number(event.folded)));
    }
    for waiting in &event.waiting {
        let (count, until) = (number(waiting.count), moment(waiting.until));
        lines.push(format!("  {count} held back until {until} or longer: {}", story::holding(&waiting.reason)));
    }
    for dropped in &event.dropped {
        lines.push(format!("  {} not told: {}", number(dropped.count), story::dropping(&dropped.reason)));
    }
    if event.messages.is_empty() && event.folded == 0 && event.waiting.is_empty() && event.dropped.is_empty() {
        lines.push("  nobody follows it".to_owned());
    }
    if !shower.sends_mail {
        lines.push("  there is no `[email]`: it waits for one".to_owned());
    }
    lines.extend(event.messages.iter().flat_map(message_lines));
    lines
}

fn message_lines(message: &ForeseenMessage) -> Vec<String> {
    if message.text.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), format!("  | Subject: {}", message.subject), "  |".to_owned()];
    lines.extend(message.text.lines().map(|line| format!("  | {line}").trim_end().to_owned()));
    lines
}

fn draft_lines(shower: &Shower, draft: &Postmortem) -> Vec<String> {
    let words = &shower.words;
    let mut lines = vec![match draft.published {
        Some(at) => format!("The postmortem becomes public at {}:", moment(at)),
        None => "The postmortem is a draft, which only this shows (`published` makes it public):".to_owned(),
    }];
    let mut part = |name: &str, text: Vec<String>| {
        if !text.is_empty() {
            lines.push(String::new());
            lines.push(format!("  {}", words.postmortem_heading(name)));
            lines.extend(text.iter().flat_map(|text| text.lines()).map(|line| format!("    {line}")));
        }
    };
    for (name, text) in &draft.sections {
        part(name, vec![words.local(text).trim().to_owned()]);
    }
    let item = |text: &String| format!("- {}", text.trim());
    for (name, items) in [
        ("five_whys", &draft.five_whys),
        ("went_well", &draft.went_well),
        ("went_wrong", &draft.went_wrong),
        ("got_lucky", &draft.got_lucky),
        ("learned", &draft.learned),
    ] {
        part(name, items.iter().map(item).collect());
    }
    let moment = |at: Timestamp| moment(at);
    part("timeline", draft.timeline.iter().map(|it| format!("{}  {}", moment(it.at), it.text)).collect());
    part("actions", draft.actions.iter().map(|it| item(&it.text)).collect());
    lines
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
