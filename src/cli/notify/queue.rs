//! `watchbell notify queue`: the queue for a person, or as JSON.

use jiff::Timestamp;

use super::{Outcome, output, with_aliases};
use crate::{
    cli::incident::{class, holding},
    config::Config,
    domain::IncidentId,
    notify::{
        account::Waiting,
        queue::{self, Queue, QueuedEvent},
        recipient::Directory,
    },
    store::{Store, outbox::QueuedLetters},
};

pub(super) fn queue(config: &Config, incident: Option<&IncidentId>, json: bool, now: Timestamp) -> Outcome {
    let reader = Store::reader(&config.store)?;
    let only = incident.map(|id| with_aliases(&reader, id)).transpose()?;
    let found = queue::look(&reader, &Directory::new(&config.rules), only.as_deref(), now)?;
    if json {
        return Ok(output::print_json(&found)?);
    }
    for line in lines(&found, config.email.is_some(), now) {
        output::print(&line)?;
    }
    Ok(())
}

/// What a person reads.
fn lines(queue: &Queue, sends_mail: bool, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if !sends_mail {
        lines.push("there is no `[email]` in the config: what waits for mail goes on waiting".to_owned());
    }
    if let Some(paused) = &queue.paused {
        lines.push(format!("mail is paused since {}: {}", time(paused.since), paused.why));
        lines.push(format!("  the mail server said: {}", paused.said));
        lines.push(format!(
            "  tried {}; the next message is tried at {}; `watchbell notify resume` ends the pause",
            times(paused.tries),
            time(paused.next_try_at)
        ));
    }
    let mut summary = vec![format!("{} waiting", queue.waiting), format!("{} on their way", queue.sending)];
    if queue.given_up > 0 {
        summary.push(format!("{} given up in the last 7 days", queue.given_up));
    }
    summary.extend(queue.oldest_at.map(|at| format!("the oldest of {}", time(at))));
    summary.extend(
        queue.next_at.map(|at| {
            if at <= now { "the next is due".to_owned() } else { format!("the next is due at {}", time(at)) }
        }),
    );
    lines.push(summary.join(", "));
    for event in &queue.events {
        lines.push(String::new());
        lines.extend(of_event(event));
    }
    if !queue.letters.is_empty() {
        lines.push(String::new());
        lines.push("letters".to_owned());
        lines.extend(queue.letters.iter().map(of_letters));
    }
    if !queue.refused.is_empty() {
        lines.push(String::new());
        lines.push("given up".to_owned());
        for refused in &queue.refused {
            lines.push(format!(
                "  {} {}, the last at {}",
                refused.ended.count,
                class(&refused.ended.reason),
                time(refused.last_at)
            ));
            for one in &refused.latest {
                lines.push(format!(
                    "    {} {} subscriber {} delivery {}",
                    time(one.at),
                    one.incident,
                    one.subscriber,
                    one.delivery
                ));
            }
        }
    }
    lines
}

fn of_event(event: &QueuedEvent) -> Vec<String> {
    let about: Vec<&str> = event.services.iter().take(3).map(crate::domain::ServiceId::as_str).collect();
    let more = if event.services.len() > about.len() { ", ..." } else { "" };
    let head = format!("{} {} of {} ({}{more})", event.incident, event.kind, time(event.recorded_at), about.join(", "));
    let mut lines = vec![head];
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            lines.push(format!("  {count} {what}"));
        }
    };
    add(event.due, "due");
    add(event.sending, "on their way");
    add(event.promised, "to be queued yet");
    for Waiting { reason, count, until } in &event.retried {
        add(*count, &format!("refused for now, tried again from {} on: {}", time(*until), class(reason)));
    }
    for Waiting { reason, count, until } in &event.held {
        add(*count, &format!("held back until {} or longer: {}", time(*until), holding(reason)));
    }
    lines
}

fn of_letters(letters: &QueuedLetters) -> String {
    let parts = [
        (letters.due, "due"),
        (letters.sending, "on their way"),
        (letters.retried, "refused for now"),
        (letters.held, "waiting for their turn"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    format!("  {}: {}, the oldest of {}", letters.kind, parts.join(", "), time(letters.oldest_at))
}

pub(in crate::cli) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
