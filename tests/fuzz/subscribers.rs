//! Lists of subscribers, from us and from other tools.

use std::fmt::Write as _;

use watchbell::{
    domain::{GroupId, ServiceId, service::Rules, subscriber::SubscriberState},
    store::csv::{COLUMNS, Candidate, Parsed, parse},
};

use super::{dice::Dice, harness::Target, html};
use crate::feeds::fixture;

const HEADERS: &[&str] = &[
    "email",
    "E-Mail",
    "Email Address",
    "address",
    "services",
    "components",
    "Subscriptions",
    "groups",
    "kinds",
    "min_impact",
    "language",
    "locale",
    "timezone",
    "state",
    "created_at",
    "Confirmed At",
    "verified_at",
    "mode",
    "type",
    "global",
    "quarantined_at",
    "id",
    "token",
    "phone",
    "",
];

const CELLS: &[&str] = &[
    "",
    "ann@example.org",
    "bob@example.net",
    "eve@bücher.example",
    "ANN@EXAMPLE.ORG",
    "not an address",
    "a@b",
    "api",
    "bugzilla",
    "Ask",
    "vm-host-1 bugzilla",
    "api;web",
    "Download archive",
    "nothing",
    "public",
    "incidents",
    "maintenance",
    "incidents maintenance",
    "all",
    "none",
    "minor",
    "critical",
    "en",
    "de-AT",
    "Europe/Berlin",
    "Mars/Olympus",
    "pending",
    "confirmed",
    "suspended",
    "2026-11-21T10:15:00Z",
    "2026-11-21 10:15:00",
    "2026-11-21 10:15:00 UTC",
    "2026-11-21T10:15:00.123456789+02:00",
    "0",
    "1",
    "true",
    "email",
    "sms",
    "webhook",
    "EMail",
    "\u{feff}",
];

const CSV: &[&str] =
    &[",", ";", "\t", "\"", "\"\"", "\n", "\r\n", "\r", "#", "|", " ", "\u{feff}", "email\n", "ann@example.org\n"];

fn cell(dice: &mut Dice) -> String {
    let text = if dice.one_in(12) { dice.text() } else { dice.pick(CELLS).to_owned() };
    if text.contains([',', ';', '"', '\n', '\t']) && !dice.one_in(10) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// A file as one of the tools writes it.
fn file(dice: &mut Dice) -> Vec<u8> {
    let separator = dice.pick(&[",", ",", ";", "\t"]);
    let mut columns: Vec<&str> = match dice.below(5) {
        0 => COLUMNS.to_vec(),
        1 => vec!["id", "email", "verified_at", "global", "created_at"], // Cachet
        2 => vec!["Email", "Mode", "Components", "Quarantined At", "Created At"], // Statuspage
        3 => vec![],
        _ => (0..=dice.few(12)).map(|_| dice.pick(HEADERS)).collect(),
    };
    if dice.one_in(10) && !columns.is_empty() {
        columns.remove(dice.below(columns.len()));
    }
    let mut text = if dice.one_in(20) { "\u{feff}".to_owned() } else { String::new() };
    if !columns.is_empty() {
        let _ = writeln!(text, "{}", columns.join(separator));
    }
    for _ in 0..dice.few(12) {
        let mut cells: Vec<String> = columns.iter().map(|_| cell(dice)).collect();
        match columns.iter().position(|name| name.to_lowercase().contains("mail") || *name == "address") {
            Some(at) if !dice.one_in(6) => cells[at] = format!("{}@example.org", dice.below(50)),
            None if columns.is_empty() => cells.push(format!("{}@example.org", dice.below(50))),
            _ => {}
        }
        let _ = write!(text, "{}{}", cells.join(separator), dice.pick(&["\n", "\r\n", "\n"]));
    }
    text.into_bytes()
}

/// A line as an export writes it.
fn line(candidate: &Candidate) -> [String; 11] {
    let join = |ids: Vec<&str>| ids.join(" ");
    let kinds = candidate.kinds.map_or(String::new(), |(incidents, maintenance)| {
        let words = [(incidents, "incidents"), (maintenance, "maintenance")];
        join(words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect())
    });
    [
        candidate.address.mail().map(|address| address.as_str().to_owned()).unwrap_or_default(),
        join(candidate.services.iter().flatten().map(ServiceId::as_str).collect()),
        join(candidate.groups.iter().flatten().map(GroupId::as_str).collect()),
        kinds,
        candidate.min_impact.map_or(String::new(), |impact| impact.as_str().to_owned()),
        candidate.language.clone().unwrap_or_default(),
        candidate.timezone.clone().unwrap_or_default(),
        candidate.state.map_or("", SubscriberState::as_str).to_owned(),
        candidate.created_at.map(|at| at.to_string()).unwrap_or_default(),
        candidate.confirmed_at.map(|at| at.to_string()).unwrap_or_default(),
        candidate.address.webhook().map(|url| url.as_str().to_owned()).unwrap_or_default(),
    ]
}

fn check(parsed: &Parsed, input: &[u8], rules: &Rules) {
    let lines = input.split(|byte| matches!(byte, b'\n' | b'\r')).count() as u64;
    for error in &parsed.errors {
        assert!((1..=lines + 1).contains(&error.line), "line {} of {lines}: {}", error.line, error.what);
        assert!(!error.what.contains('\n') && error.what.chars().count() < 400, "{}", error.what);
        html::is_clean(&error.what);
    }
    parsed.ignored_columns.iter().for_each(|name| html::is_clean(name));
    for candidate in &parsed.candidates {
        assert!(candidate.services.iter().flatten().all(|id| rules.service(id).is_some()), "{candidate:?}");
        assert!(candidate.groups.iter().flatten().all(|id| rules.groups.iter().any(|group| group.id == *id)));
        assert!(candidate.language.iter().all(|tag| tag.is_ascii() && tag.len() <= 35));
    }
}

/// A list is read, or each bad line named; what was read, written as an export writes it, is read
/// again as the same.
pub fn subscribers() {
    let rules = fixture::hypervisor().rules;
    let large = vec![
        b"email\n".iter().copied().chain(b"a@b.example,".repeat(20_000)).collect(),
        b"\"".repeat(50_000),
        b"#\n".repeat(20_000),
    ];
    Target { words: CSV, large, ..Target::new("subscribers", 2500) }.run(file, |input| {
        let parsed = parse(input, &rules);
        check(&parsed, input, &rules);
        let mut writer = csv::WriterBuilder::new().comment(Some(b'#')).from_writer(Vec::new());
        writer.write_record(COLUMNS).unwrap();
        for candidate in &parsed.candidates {
            writer.write_record(line(candidate)).unwrap();
        }
        let written = writer.into_inner().unwrap();
        let again = parse(&written, &rules);
        assert_eq!((again.errors.len(), again.other_kinds), (0, 0), "{:?}", again.errors);
        assert_eq!(again.candidates.len(), parsed.candidates.len());
        for (first, second) in parsed.candidates.iter().zip(&again.candidates) {
            assert_eq!(line(first), line(second));
        }
    });
}
