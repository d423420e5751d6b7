//! The story of an incident for a person: what was seen, decided, said and told, in order.

use jiff::Timestamp;

use super::{Shower, Shown};
use crate::{
    domain::incident::Incident,
    judge::{Decision, Reason},
    notify::account::{Recipients, Told},
};

/// Further lines of a text stand under its first, so that the times alone stand at the margin.
const UNDER: &str = "\n                     ";

/// The lines, oldest first.
pub(super) fn lines(shower: &Shower, incident: &Incident, shown: &Shown) -> Vec<String> {
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for fact in &incident.facts {
        lines.push((fact.at, shower.words.fact(fact, &shower.names)));
    }
    for update in &shown.updates {
        lines.push((update.at, format!("{}: {}", update.status, update.text.trim())));
    }
    lines.extend(decisions(shower, &shown.decisions));
    for told in shown.told.iter().flatten() {
        lines.push((told.recorded_at, told_lines(shower, told)));
    }
    lines.sort_by_key(|(at, _)| *at);
    let line = |(at, text): (Timestamp, String)| {
        format!("{}  {}", at.strftime("%Y-%m-%d %H:%M:%S"), text.replace('\n', UNDER))
    };
    lines.into_iter().map(line).collect()
}

/// Decisions, each once: what was decided on one check again and again is counted.
fn decisions(shower: &Shower, decisions: &[Decision]) -> Vec<(Timestamp, String)> {
    let mut lines: Vec<(&Decision, u32, Timestamp)> = Vec::new();
    for decision in decisions {
        let same_place = |other: &Decision| other.service == decision.service && other.check == decision.check;
        match lines.iter_mut().rev().find(|(last, ..)| same_place(last)) {
            Some((last, times, until)) if last.reason == decision.reason => {
                *times = times.saturating_add(1);
                *until = decision.at;
            }
            _ => lines.push((decision, 1, decision.at)),
        }
    }
    let line = |(decision, times, until): (&Decision, u32, Timestamp)| {
        let clock = |at| clock(at, decision.at);
        let on = decision.check.as_ref().map_or_else(|| decision.service.to_string(), ToString::to_string);
        let again = if times > 1 { format!(" ({times} times, until {})", clock(until)) } else { String::new() };
        (decision.at, format!("  [{on}] {}{again}", reason(shower, &decision.reason)))
    };
    lines.into_iter().map(line).collect()
}

fn reason(shower: &Shower, reason: &Reason) -> String {
    match reason.cause() {
        Some(cause) => format!("{reason} ({})", shower.words.cause(cause)),
        None => reason.to_string(),
    }
}

/// What became of one event.
fn told_lines(shower: &Shower, told: &Told) -> String {
    let about: Vec<&str> = told.services.iter().map(|service| shower.names.get(service)).collect();
    let about = if about.is_empty() { String::new() } else { format!(" ({})", shower.words.list(&about, 3)) };
    let mut text = format!("  -> {}{about}:", told.kind);
    if !told.notify {
        text.push_str(" in the feeds alone");
    } else if told.to.is_empty() {
        text.push_str(" nobody follows it");
    }
    for to in &told.to {
        for line in recipients(shower, to, told.recorded_at) {
            text.push_str("\n     ");
            text.push_str(&line);
        }
    }
    text
}

fn recipients(shower: &Shower, to: &Recipients, recorded_at: Timestamp) -> Vec<String> {
    let number = |n: u64| shower.words.digits(n);
    let clock = |at| clock(at, recorded_at);
    let mut lines = Vec::new();
    let accepted = &to.accepted;
    if let (Some(first), Some(last)) = (accepted.first_at, accepted.last_at) {
        let when = if clock(first) == clock(last) {
            format!("at {}", clock(first))
        } else {
            format!("from {} to {}", clock(first), clock(last))
        };
        let plural = if accepted.count == 1 { "" } else { "s" };
        lines.push(format!("{} {}{plural} by {}, accepted {when}", number(accepted.count), to.recipient, to.way));
    }
    let mut count = |n: u64, what: &str| {
        if n > 0 {
            lines.push(format!("{} {what}", number(n)));
        }
    };
    count(to.folded, "told in the message of another event");
    count(to.sending, "on their way");
    count(
        to.due,
        if shower.sends_mail {
            "due, and not on their way yet"
        } else {
            "wait for a way to send: there is no `[email]`"
        },
    );
    count(to.promised, "to be queued yet");
    for retried in &to.retried {
        count(
            retried.count,
            &format!("refused for now, tried again from {} on: {}", clock(retried.until), class(&retried.reason)),
        );
    }
    for held in &to.held {
        let until = if held.until > shower.now {
            format!("until {} or longer", clock(held.until))
        } else {
            "for now".to_owned()
        };
        count(held.count, &format!("held back {until}: {}", holding(&held.reason)));
    }
    for dropped in &to.dropped {
        count(dropped.count, &format!("not told: {}", dropping(&dropped.reason)));
    }
    for failed in &to.failed {
        count(failed.count, &format!("given up: {}", class(&failed.reason)));
    }
    lines
}

/// A time beside another one: with its day if that is another.
fn clock(at: Timestamp, beside: Timestamp) -> String {
    let is_same_day = at.strftime("%F").to_string() == beside.strftime("%F").to_string();
    at.strftime(if is_same_day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// Why something waits, in words.
pub(in crate::cli) fn holding(reason: &str) -> &str {
    match reason {
        "gather" => "others may join it (`gather`)",
        "settle" => "its text rests (`settle`)",
        "notify_after" => "it must last for `notify_after`",
        "below_min_impact" => "it does not matter enough to them yet (`min_impact`)",
        "digest" => "so many services are affected that what joins or is back is told together",
        "order" => "what comes before it is told first",
        "put_off" => "the mail server was away, or a template did not work",
        other => other,
    }
}

/// Why something is not told, in words.
pub(super) fn dropping(reason: &str) -> &str {
    match reason {
        "not_wanted" => "they want to hear of planned work only",
        "not_confirmed" => "they are not confirmed, or no longer",
        "not_theirs" => "none of their services is concerned",
        "below_min_impact" => "it mattered less than they ask for (`min_impact`)",
        "too_short" => "it was over before `notify_after`",
        "already_told" => "they know already",
        "withdrawn" => "it was withdrawn before they heard of it: no \"up\" without \"down\"",
        "taken_back" | "taken back" => "it was taken back before it was told",
        "long_past" => "it was over long before it could be told",
        "left" | "no longer subscribed" => "they left meanwhile",
        "suspended" => "their server refuses mail for them",
        "restored from a backup" => "the store was restored from a backup",
        other => other,
    }
}

/// What kind of answer a server gave, in words.
pub(in crate::cli) fn class(reason: &str) -> &str {
    match reason {
        "gone" => "no such mailbox",
        "never" => "refused for good",
        "later" => "refused for now",
        "policy" => "refused by a policy of theirs",
        "ours" => "the server does not want our mail",
        "away" => "the server is away",
        "unknown" => "what the server said is not kept",
        other => other,
    }
}
