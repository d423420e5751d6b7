//! Files that are made from the table of keys, and files that nobody would write.

use std::{collections::BTreeSet, fmt::Write as _};

use proptest::prelude::*;
use watchbell::{
    config::{
        Config, Loaded, example, keys,
        reading::{Key, Scope, Type},
    },
    domain::diagnostic::Diagnostic,
};

use super::{compare, env, folder, shown};

fn parse(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    Config::parse(&folder("valid").join("watchbell.toml"), text, &env)
}

fn parsed(text: &str) -> Loaded {
    parse(text).unwrap_or_else(|errors| panic!("{}\nin:\n{text}", shown(&errors, &folder("valid"))))
}

/// Every table that a key may stand in.
fn scopes() -> Vec<&'static Scope> {
    let mut scopes: Vec<&'static Scope> = vec![&keys::ROOT];
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

/// A file in which `key` stands with this value, beside what it cannot stand without.
fn file_with(scope: &'static Scope, key: &Key, value: &str) -> String {
    let mut text = String::from("[site]\n");
    if scope.header != "[site]" {
        text.push_str("url = \"https://status.example.org/\"\n");
        if scope.header == "[[service.check]]" {
            text.push_str("[[service]]\nid = \"x\"\n");
        }
        let _ = writeln!(text, "{}", scope.header);
    }
    let kind = key.only.first().copied().unwrap_or("http");
    let sibling = key.name.split_once('.').map(|(table, _)| table);
    for other in scope.keys.iter().filter(|other| other.name != key.name && scope.takes(other)) {
        let is_pair = |a: &str, b: &str| (key.name == a && other.name == b) || (key.name == b && other.name == a);
        let is_needed = match other.name.split_once('.') {
            Some((table, _)) => other.required && sibling == Some(table),
            None => other.required,
        } || is_pair("username", "password")
            || is_pair("client_cert", "client_key")
            || (key.name == "timezone" && other.name == "cron" && !scope.header.contains("site"))
            || (scope.header == "[[service.check]]" && other.name == kind);
        if is_needed {
            let _ = writeln!(text, "{} = {}", other.name, other.example);
        }
    }
    let _ = writeln!(text, "{} = {value}", key.name);
    text + "[[group]]\nid = \"public\"\n[[service]]\nid = \"api\"\n[[service]]\nid = \"database\"\n"
}

/// Keys with a value of their own, in tables with a header of their own.
fn plain_keys() -> impl Iterator<Item = (&'static Scope, &'static Key)> {
    let tables = scopes().into_iter().filter(|scope| scope.header.starts_with('['));
    tables
        .flat_map(|scope| scope.keys.iter().filter(move |key| scope.takes(key)).map(move |key| (scope, key)))
        .filter(|(_, key)| !key.example.is_empty())
        // `[[group]]` and the services that every file here ends with would be there twice.
        .filter(|(scope, key)| !(scope.header == "[[group]]" && key.name == "id"))
        .filter(|(scope, key)| !(scope.header == "[[service]]" && key.name == "id"))
}

#[test]
fn every_key_takes_its_example_and_refuses_a_date() {
    let mut seen = 0;
    for (scope, key) in plain_keys() {
        if !matches!(scope.header, "[[group]]" | "[[service]]") {
            parsed(&file_with(scope, key, key.example));
        }
        let errors = parse(&file_with(scope, key, "1979-05-27")).expect_err(key.name);
        assert!(
            // Where a secret should stand, nothing is shown.
            errors.iter().any(|error| {
                matches!(error.source.text.get(error.span.clone()), Some("1979-05-27" | "**********"))
            }),
            "{}: {}",
            key.name,
            shown(&errors, &folder("valid"))
        );
        seen += 1;
    }
    assert!(seen > 90, "{seen}");
}

#[test]
fn every_key_says_what_it_is_for_and_its_default_is_of_its_type() {
    for scope in scopes() {
        let mut names = BTreeSet::new();
        for key in scope.keys {
            assert!(names.insert(key.name), "{} stands twice in {}", key.name, scope.header);
            if scope.header.is_empty() {
                continue;
            }
            assert!(key.doc.ends_with(['.', '`']), "{} of {}", key.name, scope.header);
            assert!(!(key.required && key.default.is_some()), "{} of {}", key.name, scope.header);
            if let Some(default) = key.default.filter(|_| !matches!(key.kind, Type::Tables(_))) {
                assert!(key.kind.constant(key.name, default).is_some(), "{} of {}", key.name, scope.header);
            }
        }
    }
}

#[test]
fn the_example_is_what_the_table_of_keys_says() {
    compare(&folder("../../config.example.toml"), &example()).unwrap();
}

#[test]
fn the_example_loads_without_a_word_and_names_every_key() {
    let text = example();
    assert_eq!(shown(&parsed(&text).warnings, &folder("valid")), "\n");
    for (scope, key) in plain_keys() {
        if !scope.is_defaults {
            let line = format!("{} = ", key.name);
            let is_there = |found: &str| found == line || found.strip_prefix('#') == Some(&line);
            assert!(
                text.lines().any(|text| text.get(..line.len() + 1).is_some_and(|_| {
                    is_there(text.get(..line.len()).unwrap_or("")) || is_there(text.get(..line.len() + 1).unwrap_or(""))
                })),
                "{line}"
            );
        }
    }
}

#[test]
fn what_the_example_only_comments_on_loads_too() {
    // One at a time, since some of them exclude each other.
    let text = example();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('#') && !line.starts_with("# ")) {
        let name = line.split(['=', ' ']).next().unwrap_or("");
        let is_alone = matches!(name, "#ip" | "#body" | "#ca" | "#proxy" | "#http_version")
            || (name.starts_with("#expect.") && name != "#expect.answers");
        if is_alone {
            let changed: Vec<&str> =
                text.lines().enumerate().map(|(n, other)| if n == at { &line[1..] } else { other }).collect();
            parsed(&changed.join("\n"));
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_is_read_or_refused_with_a_reason() {
    let short: String = example().lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    parsed(&short);
    for end in 0..short.len() {
        if let Some(text) = short.get(..end)
            && let Err(errors) = parse(text)
        {
            assert!(!errors.is_empty(), "nothing is said of {text}");
            assert!(errors.iter().all(|error| !error.to_string().is_empty()));
        }
    }
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems_change_nothing() {
    let text = example();
    let other = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(format!("{:?}", parsed(&text).config), format!("{:?}", parsed(&other).config));
    let broken = "\u{feff}[site]\r\nurl = \"https://s.example.org/\"\r\ntitel = \"x\"\r\n";
    let said = shown(&parse(broken).unwrap_err(), &folder("valid"));
    let expected = "watchbell.toml:3:1: unknown key `titel` in `[site]`\n  |\n3 | titel = \"x\"\n  | ^^^^^ did you mean `title`?\n";
    assert_eq!(said, expected);
}

#[test]
fn ten_thousand_services_are_read_in_a_moment() {
    let mut text = String::from("[site]\nurl = \"https://s.example.org/\"\n");
    for n in 0..10_000 {
        let _ = writeln!(text, "[[service]]\nid = \"s{n}\"\n[[service.check]]\nhttp = \"http://10.0.0.1/{n}\"");
        if n > 0 {
            text.push_str("expect.status = 200\n");
        }
    }
    assert_eq!(parsed(&text).config.rules.services.len(), 10_000);
}

/// Words that make garbage look like a config.
fn word() -> impl Strategy<Value = String> {
    let names: Vec<String> = scopes()
        .into_iter()
        .flat_map(|scope| std::iter::once(scope.header).chain(scope.keys.iter().map(|key| key.name)))
        .map(str::to_owned)
        .collect();
    let values: Vec<String> = scopes()
        .into_iter()
        .flat_map(|scope| scope.keys)
        .map(|key| format!(" = {}\n", key.example))
        .chain(
            ["\n", "=", "\"", "'''", "{", "}", "[", "]", ",", ".", "#", "0", "1e9", "\u{feff}", "\0", "é", "{env:"]
                .map(str::to_owned),
        )
        .collect();
    prop_oneof![
        3 => prop::sample::select(names),
        3 => prop::sample::select(values),
        1 => "\\PC{0,5}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused_with_a_reason(words in prop::collection::vec(word(), 0..40)) {
        let text = words.concat();
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
