//! Which keys differ from those by which results were made and judged, and which of them a replay
//! can judge: it has results only where probes were made, and only what those were asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    config::{
        in_force::{INCIDENTS, InForce, Keys},
        values,
    },
    domain::{CheckKey, service::Rules},
};

/// Keys that only decide what results mean: a replay judges them.
const JUDGED: &[&str] = &[
    "merge_window",
    "gather",
    "reopen_window",
    "auto_resolve",
    "group",
    "depends_on",
    "max_impact",
    "notify_after",
    "down_after",
    "up_after",
    "degraded_over",
    "degraded_after",
];

/// One key that was edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// `[incidents]`, a service, or a check.
    pub of: String,
    /// Which key; empty: all of it is new, or gone.
    pub key: String,
    /// What it was; `None`: it was not there, or is not to be shown.
    pub was: Option<String>,
    /// What it is.
    pub is: Option<String>,
    /// Whether a replay can judge it.
    pub judged: Judged,
}

/// Whether a replay can judge an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// It can.
    Yes,
    /// As far as probes were made: those that would have been made besides are taken to agree with
    /// their neighbours.
    WhereProbed,
    /// It cannot: what was asked is recorded, and nothing else.
    NotWhatIsAsked,
    /// It cannot: probes were made when they were made.
    NotWhen,
    /// It cannot: what took longer was cut off.
    NotWhatWasCutOff,
    /// It cannot: what canaries answered is not recorded.
    NotCanaries,
    /// It cannot: there are no results of what is new.
    NoResults,
}

/// What was edited in one check, as far as its results are read otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfCheck {
    /// What took longer than the timeout now was in time.
    pub timeout_is_lower: bool,
    /// Another answer is slow.
    pub degraded_over_is_new: bool,
    /// It would have been probed where it was not.
    pub is_denser: bool,
}

/// All that was edited.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    pub all: Vec<Edit>,
    checks: BTreeMap<String, OfCheck>,
    /// Whether there were canaries.
    pub had_canaries: bool,
    /// The rules, as far as telling was by others.
    pub rules_then: Rules,
}

impl Edits {
    /// What differs between the rules that were in force and these.
    pub fn between(then: Option<&InForce>, rules: &Rules) -> Self {
        let mut edits = Self { rules_then: rules.clone(), ..Self::default() };
        let Some(then) = then else { return edits };
        let now = InForce::of(rules, Timestamp::UNIX_EPOCH);
        let nothing = Keys::new();
        let tables: BTreeSet<&String> = then.tables.keys().chain(now.tables.keys()).collect();
        for of in tables {
            match (then.tables.get(of), now.tables.get(of)) {
                (Some(was), Some(is)) => edits.compare(of, was, is),
                (None, Some(_)) => edits.push(of, "", None, None, Judged::NoResults),
                (_, None) => edits.push(of, "", None, None, Judged::Yes),
            }
        }
        edits.had_canaries = then.tables.get(INCIDENTS).unwrap_or(&nothing).contains_key("canary");
        for service in &mut edits.rules_then.services {
            let Some(keys) = then.tables.get(service.id.as_str()) else { continue };
            let service = Arc::make_mut(service);
            service.notify_after = duration(keys, "notify_after").unwrap_or(service.notify_after);
            service.max_impact = word(keys, "max_impact").unwrap_or(service.max_impact);
        }
        edits
    }

    /// What was edited in one check.
    pub fn of_check(&self, check: &CheckKey) -> OfCheck {
        self.checks.get(&check.to_string()).copied().unwrap_or_default()
    }

    fn compare(&mut self, of: &str, was: &Keys, is: &Keys) {
        let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        for name in names {
            let (was_value, is_value) = (was.get(name), is.get(name));
            if was_value != is_value {
                let judged = judged(name, was, is);
                self.push(of, name, was_value, is_value, judged);
                self.note(of, name, judged);
            }
        }
    }

    fn note(&mut self, of: &str, name: &str, judged: Judged) {
        let check = self.checks.entry(of.to_owned()).or_default();
        check.timeout_is_lower |= name == "timeout" && judged == Judged::Yes;
        check.degraded_over_is_new |= name == "degraded_over";
        check.is_denser |= judged == Judged::WhereProbed;
    }

    fn push(&mut self, of: &str, key: &str, was: Option<&String>, is: Option<&String>, judged: Judged) {
        // A digest says nothing to anyone.
        let shown = |value: Option<&String>| value.filter(|value| !value.starts_with('#')).cloned();
        let (of, key) = (of.to_owned(), key.to_owned());
        self.all.push(Edit { of, key, was: shown(was), is: shown(is), judged });
    }
}

fn judged(name: &str, was: &Keys, is: &Keys) -> Judged {
    match name {
        "canary" => Judged::NotCanaries,
        "recheck" if duration(is, name) < duration(was, name) => Judged::WhereProbed,
        "every" | "cron" | "recheck" => Judged::NotWhen,
        "timeout" if duration(is, name) < duration(was, name) => Judged::Yes,
        "timeout" => Judged::NotWhatWasCutOff,
        "down_after" | "up_after" | "degraded_after" if number(is, name) > number(was, name) => Judged::WhereProbed,
        name if JUDGED.contains(&name) => Judged::Yes,
        _ => Judged::NotWhatIsAsked,
    }
}

fn duration(keys: &Keys, name: &str) -> Option<Duration> {
    values::duration(keys.get(name)?).ok()
}

fn number(keys: &Keys, name: &str) -> Option<u32> {
    word(keys, name)
}

fn word<T: std::str::FromStr>(keys: &Keys, name: &str) -> Option<T> {
    keys.get(name)?.parse().ok()
}
