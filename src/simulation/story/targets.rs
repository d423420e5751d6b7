//! What happens to targets: which checks, and what their probes find.

use std::{collections::BTreeSet, time::Duration};

use super::{
    State, What,
    convert::{service, unknown},
};
use crate::{
    config::{
        Config,
        reading::{Fields, Reader},
        values::shown,
    },
    domain::{
        CheckKey,
        outcome::{Cause, CertificateFault, Class},
        service::Check,
    },
};

/// Whose targets are how from then on, and the same for people.
pub(super) fn are(fields: &Fields, config: &Config, reader: &mut Reader<'_>) -> Option<(What, String)> {
    let mut chosen: Vec<(CheckKey, &Check)> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (name, span) in fields.list::<String>("services") {
        let Some(service) = service(&name, span.clone(), config, reader) else { continue };
        if service.enabled_checks().next().is_none() {
            reader.error(span, format!("`{name}` has no checks: nothing shows how it is"), "write a `note` instead");
        }
        chosen.extend(service.enabled_checks());
        names.push(name);
    }
    let all = || config.rules.services.iter().flat_map(|service| service.enabled_checks());
    for (name, span) in fields.list::<String>("checks") {
        let keys: Vec<String> = all().map(|(key, _)| key.to_string()).collect();
        match all().find(|(key, _)| key.to_string() == name) {
            Some(found) => chosen.push(found),
            None => unknown("check", &name, span, keys.iter().map(String::as_str), reader),
        }
        names.push(name);
    }
    for (name, span) in fields.list::<String>("hosts") {
        let mut found = all().filter(|(_, check)| check.probe.host().eq_ignore_ascii_case(&name)).peekable();
        if found.peek().is_none() {
            let hosts: BTreeSet<&str> = all().map(|(_, check)| check.probe.host()).collect();
            unknown("host", &name, span, hosts.into_iter(), reader);
        }
        chosen.extend(found);
        names.push(name);
    }
    if names.is_empty() && !["services", "checks", "hosts"].iter().any(|key| fields.has(key)) {
        reader.missing(fields.header(), "this does not say who", "add `services`, `checks` or `hosts`");
        return None;
    }
    let (state, word) = state(fields, &chosen, reader)?;
    let keys = chosen.into_iter().map(|(key, _)| key).collect();
    Some((What::Are(keys, state), format!("{}: {word}", names.join(", "))))
}

fn state(fields: &Fields, checks: &[(CheckKey, &Check)], reader: &mut Reader<'_>) -> Option<(State, String)> {
    let word: String = fields.get("are")?;
    for (key, states) in
        [("class", &["down"][..]), ("http_status", &["down"]), ("takes", &["up", "slow"]), ("loses", &["lossy"])]
    {
        if fields.has(key) && !states.contains(&word.as_str()) {
            reader.error(
                fields.key_span(key),
                format!("`{key}` is for those that are `{}`, and these are `{word}`", states.join("` or `")),
                "take it out",
            );
        }
    }
    let takes: Option<Duration> = fields.get("takes");
    Some(match word.as_str() {
        "down" => {
            let cause = cause(fields, reader)?;
            let status = cause.http_status.map_or(String::new(), |status| format!(" {status}"));
            (State::Down(cause), format!("down ({}{status})", cause.class))
        }
        "slow" => {
            for (key, check) in checks {
                let limit = check.degraded_over;
                let is_never = limit.is_none_or(|limit| takes.is_some_and(|takes| takes <= limit));
                if is_never {
                    let said = limit.map_or("has no `degraded_over`".to_owned(), |limit| {
                        format!("is slow only over {}", shown(limit))
                    });
                    reader.warning(fields.span("are"), format!("`{key}` {said}: it stays up"), "");
                }
            }
            (State::Slow(takes), takes.map_or("slow".to_owned(), |takes| format!("slow ({})", shown(takes))))
        }
        "lossy" => {
            let Some(percent) = fields.get::<f64>("loses") else {
                if !fields.has("loses") {
                    reader.missing(fields.key_span("are"), "this does not say how many are lost", "add `loses = 5`");
                }
                return None;
            };
            (State::Lossy(thousandths(percent)), format!("lossy ({percent} %)"))
        }
        _ => (State::Up(takes), takes.map_or("up".to_owned(), |takes| format!("up ({})", shown(takes)))),
    })
}

/// Of a hundred, as of a thousand.
fn thousandths(percent: f64) -> u16 {
    (0..=1000_u16).rev().find(|n| f64::from(*n) <= percent * 10.0 + 1e-9).unwrap_or(0)
}

fn cause(fields: &Fields, reader: &mut Reader<'_>) -> Option<Cause> {
    let http_status: Option<u16> = fields.get::<u32>("http_status").and_then(|status| u16::try_from(status).ok());
    let given: Option<String> = fields.get("class");
    if fields.has("http_status") && given.as_deref().is_some_and(|class| class != "http_status") {
        reader.error(
            fields.key_span("http_status"),
            "only an answer has a status",
            "take it out, or write `class = \"http_status\"`",
        );
    }
    let default = if http_status.is_some() { "http_status" } else { "timeout" };
    let word = given.unwrap_or_else(|| default.to_owned());
    let class: Class = serde_json::from_value(serde_json::Value::String(word)).ok()?;
    Some(Cause {
        http_status: http_status.or((class == Class::HttpStatus).then_some(500)),
        certificate: (class == Class::Certificate).then_some(CertificateFault::Expired),
        ..class.into()
    })
}
