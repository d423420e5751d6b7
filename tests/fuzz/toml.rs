//! What operators write: the config and notes.

use std::{collections::HashSet, path::Path};

use jiff::tz::TimeZone;
use watchbell::{
    config::{
        Config, keys,
        reading::{Key, Scope, Type},
    },
    domain::{IncidentId, ServiceId, diagnostic::Diagnostic},
    notes::{self, Known},
    simulation::story,
};

use super::{
    dice::{Dice, HOSTILE},
    harness::{Target, files},
    html,
};

/// What no message may show.
const CANARY: &str = "hunter2canary";

/// Every kind of table below `root`.
fn scopes(root: &'static Scope) -> Vec<&'static Scope> {
    let mut scopes = vec![root];
    let mut at = 0;
    while let Some(scope) = scopes.get(at).copied() {
        at += 1;
        for key in scope.keys {
            if let Type::Table(inner) | Type::Tables(inner) = key.kind
                && !scopes.iter().any(|known| std::ptr::eq(*known, inner))
            {
                scopes.push(inner);
            }
        }
    }
    scopes
}

fn is_secret(kind: Type) -> bool {
    matches!(kind, Type::Secret | Type::Map(Type::Secret))
}

/// Lines that hold a secret, each of which is known to do so by itself.
fn secret_lines() -> Vec<String> {
    let scopes = scopes(&keys::ROOT);
    // Elsewhere a `url` is no secret.
    let secrets = scopes.iter().flat_map(|scope| scope.keys).filter(|key| is_secret(key.kind) && key.name != "url");
    let mut lines: Vec<String> = secrets
        .map(|key| match key.kind {
            Type::Map(_) => format!("{} = {{ Authorization = \"{CANARY}\" }}", key.name),
            _ => format!("{} = \"{CANARY}\"", key.name),
        })
        .collect();
    lines.push(format!(
        "check = [{{ http = \"https://a.example/\", headers = {{ Authorization = \"{CANARY}\" }}, evry = 1 }}]"
    ));
    lines.push(format!("check = [{{ http = \"https://ann:{CANARY}@a.example/\", evry = 1 }}]"));
    lines.push(format!("password = '{CANARY}'"));
    lines.push(format!("paswort = \"{CANARY}\""));
    lines.push(format!("smtp = \"smtps://ann:{CANARY}@mail.example\""));
    lines
}

fn quoted(text: &str) -> String {
    ::toml::Value::String(text.to_owned()).to_string()
}

fn value(dice: &mut Dice, key: &Key, others: &[&'static Key]) -> String {
    match dice.below(12) {
        0 => quoted(dice.pick(HOSTILE)),
        1 => others[dice.below(others.len())].example.to_owned(),
        2 => dice
            .pick(&[
                "0",
                "-1",
                "1e9",
                "true",
                "[]",
                "{}",
                "\"\"",
                "1979-05-27",
                "'''\n'''",
                "99999999999999999999",
                "nan",
                "0x10",
            ])
            .to_owned(),
        3 => quoted(&dice.text()),
        4 => format!("[{}, {}]", key.example, key.example),
        _ => key.example.to_owned(),
    }
}

/// A file along the keys of `root`, mostly right.
fn document(dice: &mut Dice, root: &'static Scope, secrets: &[String], text: &mut String) {
    let scopes = scopes(root);
    let others: Vec<&'static Key> = scopes.iter().flat_map(|s| s.keys).filter(|key| !key.example.is_empty()).collect();
    for n in 0..=dice.few(10) {
        let scope = if n == 0 && root.header.is_empty() { root } else { scopes[dice.below(scopes.len())] };
        match scope.header {
            "" => {}
            header if header.starts_with('[') => *text += &format!("{header}\n"),
            header => *text += &format!("[[{header}]]\n"),
        }
        let keys: Vec<&Key> = scope.keys.iter().filter(|key| !key.example.is_empty()).collect();
        let mut seen = HashSet::new();
        for _ in 0..dice.few(10) {
            if dice.one_in(12) && !secrets.is_empty() {
                *text += &format!("{}\n", secrets[dice.below(secrets.len())]);
            } else if let Some(key) = keys.get(dice.below(keys.len()))
                && (seen.insert(key.name) || dice.one_in(10))
            {
                let name = if dice.one_in(30) { dice.text() } else { key.name.to_owned() };
                *text += &format!("{name} = {}\n", value(dice, key, &others));
            }
        }
    }
}

/// What must hold of everything that is said of a file.
#[track_caller]
fn is_well_said(diagnostics: &[Diagnostic], may_show: bool) {
    for diagnostic in diagnostics {
        let text = &diagnostic.source.text;
        assert!(diagnostic.span.start <= text.len() && diagnostic.span.end <= text.len(), "{:?}", diagnostic.span);
        let (line, column) = diagnostic.position();
        assert!(line >= 1 && column >= 1 && line <= text.lines().count().max(1) + 1);
        let (whole, brief) = (diagnostic.to_string(), diagnostic.brief());
        assert!(!diagnostic.message.is_empty() && !brief.contains('\n'), "{brief}");
        for said in [&whole, &brief] {
            assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
            assert!(may_show || !said.contains(CANARY), "a secret shows: {said}");
            assert!(!said.contains("canary-env"), "a secret shows: {said}");
            assert!(said.len() < 10_000, "{} bytes: {said}", said.len());
        }
    }
}

fn env(name: &str) -> Option<String> {
    match name {
        "UNSET" => None,
        "EMPTY" => Some(String::new()),
        name if name.ends_with("_URL") => Some("https://hooks.example.org/canary-env".to_owned()),
        _ => Some("canary-env".to_owned()),
    }
}

fn check_config(input: &[u8], secrets: &[String]) {
    let text = String::from_utf8_lossy(input);
    // A secret that was moved to where nothing says that it is one cannot be known as one.
    let is_known = |line: &str| !line.contains(CANARY) || secrets.iter().any(|secret| secret == line);
    let may_show = text.contains("\"\"\"") || text.contains("'''") || !text.lines().all(is_known);
    match Config::parse(Path::new("/nowhere/watchbell.toml"), &text, &env) {
        Ok(loaded) => {
            is_well_said(&loaded.warnings, may_show);
            let shown = format!("{:?}", loaded.config);
            assert!(may_show || !shown.contains(CANARY), "{shown}");
            assert!(!shown.contains("canary-env"), "{shown}");
            for check in loaded.config.rules.services.iter().flat_map(|service| &service.checks) {
                assert!(check.timeout.as_millis() > 0 && check.down_after > 0 && check.up_after > 0);
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "nothing is said of {text}");
            is_well_said(&errors, may_show);
        }
    }
}

fn configs(folder: &str) -> Vec<Vec<u8>> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(folder))
}

const TOML: &[&str] = &[
    "\n",
    "=",
    " = ",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "{ ",
    " }",
    ",",
    ".",
    "#",
    "\\",
    "\\u0000",
    "\\U0010FFFF",
    "{env:",
    "{file:",
    "{ env = \"UNSET\" }",
    "{ env = \"X\" }",
    "{ file = \"x\" }",
    "true",
    "inf",
    "1979-05-27",
    "07:32:00",
    "0x",
    "_",
    "\u{feff}",
    "[service]",
    "[[service]]",
    "[[service.check]]",
    "[site]",
    "[[update]]",
    "[postmortem]",
    "id = \"a\"\n",
    "\r\n",
];

/// A config that is refused is refused with a reason, at a place, and without showing a secret.
pub fn config() {
    let secrets = secret_lines();
    let mut seeds = configs("valid");
    // What is said of each is held elsewhere; here they are what others are made of.
    seeds.extend(configs("invalid").into_iter().filter(|text| text.len() < 4000 && !text.starts_with(b"tests")));
    seeds.retain(|text| !text.windows(6).any(|word| word == b"canary"));
    let many = (0..1500).map(|n| {
        format!(
            "[[service]]\nid = \"s{n}\"\ncheck = [{{ http = \"http://10.0.0.1/{n}\", headers = {{ A = \"{n}\" }} }}]\n"
        )
    });
    let mut large = vec![many.collect::<String>().into_bytes()];
    large.push(format!("[site]\n{} = 1\n", "a".repeat(100_000)).into_bytes());
    large.push(format!("[site]\nurl = \"http://a.example/\"\ntimezone = \"{}\"\n", "a".repeat(100_000)).into_bytes());
    large.push("[site]\na = 1\n".repeat(2000).into_bytes());
    large.push(
        format!("[site]\n{}", (0..5000).map(|n| format!("passwort{n} = \"{CANARY}\"\n")).collect::<String>())
            .into_bytes(),
    );
    large.push(format!("a = {}", "[".repeat(50_000)).into_bytes());
    large.push(format!("a = {}", "{a=".repeat(50_000)).into_bytes());
    large.push(format!("a{} = 1", ".a".repeat(50_000)).into_bytes());
    let target = Target { seeds, large, words: TOML, ..Target::new("config", 1500) };
    let make = |dice: &mut Dice| {
        let mut text = "[site]\nurl = \"https://status.example.org/\"\n".to_owned();
        document(dice, &keys::ROOT, &secrets, &mut text);
        text.into_bytes()
    };
    target.run(make, |input| check_config(input, &secrets));
}

/// A note that is refused is refused with a reason, at a place; what is read is fit to be shown.
pub fn note() {
    let known = Known {
        services: ["api", "database", "web"].map(|id| ServiceId::new(id).unwrap()).into(),
        timezone: TimeZone::get("Europe/Berlin").unwrap(),
        now: "2026-11-21T12:00:00Z".parse().unwrap(),
    };
    let make = |dice: &mut Dice| {
        let mut text = String::new();
        document(dice, &notes::keys::INCIDENT, &[], &mut text);
        text.into_bytes()
    };
    Target { words: TOML, ..Target::new("note", 2500) }.run(make, |input| {
        let text = String::from_utf8_lossy(input);
        let path = Path::new("notes/incidents/2026-11-21-api.toml");
        match notes::parse(path, &text, &known) {
            Ok((note, warnings)) => {
                is_well_said(&warnings, true);
                assert_eq!(note.id, IncidentId::new("2026-11-21-api").unwrap());
                if let Some(title) = &note.title {
                    let title = title.get("en", "en");
                    assert!(title.chars().count() <= 200 && !title.contains('\n'), "{title}");
                    html::is_clean(title);
                }
                for update in &note.updates {
                    html::is_clean(update.text.get("en", "en"));
                    let soon = update.next_update_ms.is_none_or(|ms| ms <= 30 * 86_400_000);
                    assert!(
                        soon && update.affected.keys().all(|id| known.services.contains(id) || !warnings.is_empty())
                    );
                }
                assert!(note.started.is_none_or(|started| note.resolved.is_none_or(|resolved| started <= resolved)));
            }
            Err(errors) => {
                assert!(!errors.is_empty(), "nothing is said of {text}");
                is_well_said(&errors, true);
            }
        }
    });
}

/// A story that is refused is refused with a reason, at a place; what is read stays within its time.
pub fn story() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories/watchbell.toml");
    let config = Config::load(&path).unwrap().config;
    let make = |dice: &mut Dice| {
        let mut text = "starts = 2026-11-21T22:00:00\nlasts = \"3h\"\n".to_owned();
        document(dice, &story::keys::STORY, &[], &mut text);
        text.into_bytes()
    };
    let seeds = files(&path.with_file_name("invalid"));
    Target { seeds, words: TOML, ..Target::new("story", 1500) }.run(make, |input| {
        let text = String::from_utf8_lossy(input);
        match story::parse(Path::new("story.toml"), &text, &config) {
            Ok((story, warnings)) => {
                is_well_said(&warnings, true);
                let moments = story.happenings.iter().map(|it| it.after).chain(story.looks.iter().map(|it| it.after));
                moments.for_each(|after| assert!(after <= story.lasts, "{after:?}"));
            }
            Err(errors) => {
                assert!(!errors.is_empty(), "nothing is said of {text}");
                is_well_said(&errors, true);
            }
        }
    });
}
