//! What the store gives back: rows that a bad disk, a later version or somebody with an editor
//! changed.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use watchbell::{
    config::Config,
    domain::{
        CheckKey, IncidentId, IncidentStatus,
        archive::{Head, ServiceNow},
        event::Event,
        incident::Incident,
        note::{Note, NoteUpdate},
        outcome::{Cause, CheckResult, Class, Outcome, Phases},
        service::Rules,
        subscriber::Subscriber,
    },
    judge::{self, Decision, Input, World},
};

use super::{dice::Dice, harness::Target};
use crate::feeds::fixture;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let text = "[site]\nurl = \"https://status.example.org/\"\n[[group]]\nid = \"g\"\n\
        [[service]]\nid = \"host\"\ngroup = \"g\"\ncheck = [{ tcp = \"a.example:1\", down_after = 1, up_after = 1 }]\n\
        [[service]]\nid = \"api\"\ngroup = \"g\"\ndepends_on = [\"host\"]\ncheck = [{ http = \"http://b.example/\" }, { tcp = \"b.example:2\", down_after = 2 }]\n\
        [[service]]\nid = \"lone\"\n";
    Config::parse(std::path::Path::new("/nowhere/watchbell.toml"), text, &|_| None).unwrap().config.rules
});

fn start() -> Timestamp {
    "2026-11-21T10:15:00Z".parse().unwrap()
}

fn keys() -> Vec<CheckKey> {
    RULES.services.iter().flat_map(|service| service.enabled_checks().map(|(key, _)| key)).collect()
}

fn outcome(dice: &mut Dice, at: Timestamp) -> Outcome {
    let is_up = dice.one_in(2);
    Outcome {
        result: if is_up { CheckResult::Up } else { CheckResult::Down },
        cause: (!is_up).then(|| Cause::from(Class::ConnectRefused)),
        started_at: at,
        latency: std::time::Duration::from_millis(dice.below(500) as u64),
        phases: Phases::default(),
        detail: None,
    }
}

fn note(dice: &mut Dice, at: Timestamp) -> Note {
    let name = dice.pick(&["2026-11-21-host", "2026-11-21-api", "by-hand", "other"]);
    let status =
        [None, Some(IncidentStatus::Identified), Some(IncidentStatus::Monitoring), Some(IncidentStatus::Resolved)]
            [dice.below(4)];
    let update = NoteUpdate {
        at: dice.one_in(2).then_some(at),
        status,
        text: dice.text().as_str().into(),
        affected: std::collections::BTreeMap::new(),
        next_update_ms: dice.one_in(2).then_some(60_000),
        notify: true,
    };
    let mut note = Note::blank(IncidentId::new(name).unwrap());
    note.title = dice.one_in(2).then(|| dice.text().as_str().into());
    note.services = if dice.one_in(2) { vec![RULES.services[dice.below(3)].id.clone()] } else { Vec::new() };
    note.withdrawn = dice.one_in(12);
    note.updates = vec![update; dice.few(3)];
    note
}

/// A day of a small world, with all that came of it.
fn live(dice: &mut Dice, world: &mut World, mut at: Timestamp, steps: usize, mut see: impl FnMut(&judge::Step)) {
    let keys = keys();
    see(&judge::step(&RULES, world, Input::Rules, at));
    for _ in 0..steps {
        at += SignedDuration::from_millis(1 + dice.below(90_000) as i64);
        let input = match dice.below(12) {
            0 => Input::Note(Box::new(note(dice, at))),
            1 => Input::Tick,
            2 if dice.one_in(4) => Input::Suspended,
            3 if dice.one_in(4) => Input::Rules,
            _ => Input::Outcome { check: keys[dice.below(keys.len())].clone(), outcome: outcome(dice, at) },
        };
        see(&judge::step(&RULES, world, input, at));
    }
}

/// Changes one value somewhere in `value`.
fn spoil(dice: &mut Dice, value: &mut Value) {
    if dice.one_in(6) {
        *value = odd(dice);
        return;
    }
    match value {
        Value::Object(map) if !map.is_empty() => {
            let name = map.keys().nth(dice.below(map.len())).unwrap().clone();
            match dice.below(12) {
                0 => drop(map.remove(&name)),
                1 => drop(map.insert(dice.pick(&["v", "version", "new", "kind", "at"]).to_owned(), odd(dice))),
                _ => spoil(dice, map.get_mut(&name).unwrap()),
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let n = dice.below(list.len());
            match dice.below(8) {
                0 => drop(list.remove(n)),
                1 => list.push(list[n].clone()),
                _ => spoil(dice, &mut list[n]),
            }
        }
        // Rows stand as texts within the whole.
        Value::String(text) if text.starts_with('{') => {
            if let Ok(mut inner) = serde_json::from_str(text) {
                spoil(dice, &mut inner);
                *text = inner.to_string();
            }
        }
        other => *other = odd(dice),
    }
}

fn odd(dice: &mut Dice) -> Value {
    match dice.below(10) {
        0 => Value::Null,
        1 => Value::Bool(true),
        2 => 0.into(),
        3 => u64::MAX.into(),
        4 => u32::MAX.into(),
        5 => (-1).into(),
        6 => 1e300.into(),
        7 => dice
            .pick(&[
                "",
                "operational",
                "major_outage",
                "exploded",
                "resolved",
                "2026-11-21T10:15:00Z",
                "1970-01-01T00:00:00Z",
                "9999-12-30T22:00:00Z",
                "-009999-01-03T00:00:00Z",
                "host",
                "../x",
            ])
            .into(),
        8 => Value::Array(Vec::new()),
        _ => serde_json::json!({"reason": "later", "new": 1}),
    }
}

/// A stored state of the judge, however it was changed, is refused with the row's name or goes on;
/// what is taken is written and read again as the same.
pub fn world() {
    let make = |dice: &mut Dice| {
        let mut world = World::new(7);
        let steps = dice.few(40);
        live(dice, &mut world, start(), steps, |_| {});
        let mut value = serde_json::to_value(&world).unwrap();
        for _ in 0..dice.few(3) {
            spoil(dice, &mut value);
        }
        value.to_string().into_bytes()
    };
    Target::new("world", 600).run(make, |input| {
        let mut world: World = match serde_json::from_slice(input) {
            Ok(world) => world,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        };
        let written = serde_json::to_string(&world).unwrap();
        let again: World = serde_json::from_str(&written).unwrap();
        assert!(world == again, "{written}");
        let seed = input.iter().fold(1, |sum: u64, byte| sum.wrapping_mul(31) ^ u64::from(*byte));
        let later = start() + SignedDuration::from_hours(2);
        live(&mut Dice::new(seed), &mut world, later, 12, |step| {
            for event in &step.events {
                assert_eq!(
                    serde_json::from_str::<Event>(&serde_json::to_string(event).unwrap()).as_ref().ok(),
                    Some(event)
                );
            }
            for incident in &step.incidents {
                let read = serde_json::from_str::<Incident>(&serde_json::to_string(incident).unwrap());
                assert_eq!(read.as_ref().ok(), Some(incident));
            }
        });
        let _ = world.wake_at(&RULES);
    });
}

fn reads_back<T: Serialize + DeserializeOwned>(text: &str) -> Option<T> {
    let value: T = serde_json::from_str(text).ok()?;
    let written = serde_json::to_string(&value).unwrap();
    let again: T = serde_json::from_str(&written).expect("what we write we read");
    assert_eq!(serde_json::to_string(&again).unwrap(), written);
    Some(value)
}

/// A stored record of any kind is read or not, and what is read can be told and shown.
pub fn records() {
    let make = |dice: &mut Dice| {
        let mut all: Vec<Value> = Vec::new();
        let steps = 10 + dice.few(30);
        live(dice, &mut World::new(3), start(), steps, |step| {
            all.extend(step.events.iter().map(|event| serde_json::to_value(event).unwrap()));
            all.extend(step.incidents.iter().map(|incident| serde_json::to_value(incident).unwrap()));
            all.extend(step.services.iter().map(|now| serde_json::to_value(now).unwrap()));
            all.extend(step.decisions.iter().map(|decision| serde_json::to_value(decision).unwrap()));
        });
        let mut value = if all.is_empty() { Value::Null } else { all.swap_remove(dice.below(all.len())) };
        for _ in 0..dice.few(3) {
            spoil(dice, &mut value);
        }
        value.to_string().into_bytes()
    };
    let plain = fixture::quiet();
    Target::new("records", 1500).run(make, |input| {
        let text = String::from_utf8_lossy(input);
        let _ = (
            reads_back::<ServiceNow>(&text),
            reads_back::<Subscriber>(&text),
            reads_back::<Note>(&text),
            reads_back::<Head>(&text),
        );
        if let Some(decision) = reads_back::<Decision>(&text) {
            assert!(!decision.reason.to_string().is_empty());
        }
        let mut world = plain.clone();
        if let Some(incident) = reads_back::<Incident>(&text) {
            world.incidents.insert(incident.id.clone(), incident);
        }
        if let Some(event) = reads_back::<Event>(&text) {
            let _ = event.is_sealed(start());
            world.events.push(event);
        }
        for feed in [world.updates(None), world.history()] {
            crate::feeds::xml::flat(std::str::from_utf8(&feed.rss()).unwrap());
            crate::feeds::xml::flat(std::str::from_utf8(&feed.atom()).unwrap());
        }
        for bytes in [world.summary(), world.incidents()] {
            serde_json::from_slice::<Value>(&bytes).unwrap();
        }
    });
}
