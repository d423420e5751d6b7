//! Notes as text.

use super::*;
use crate::domain::{Impact, IncidentStatus, ServiceStatus, correction::CountAs, text::LocalText};

fn known(zone: &str) -> Known {
    Known {
        services: ["api", "bugzilla", "askbot"].iter().map(|id| ServiceId::new(id).unwrap()).collect(),
        timezone: TimeZone::get(zone).unwrap(),
        now: at("2026-11-21T12:00:00Z"),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn read(text: &str) -> Result<(Note, Vec<Diagnostic>), String> {
    parse(Path::new("incidents/2026-11-21-api.toml"), text, &known("Europe/Berlin"))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn note(text: &str) -> Note {
    read(text).unwrap().0
}

fn error(text: &str) -> String {
    read(text).unwrap_err()
}

#[test]
fn a_note_with_everything_is_read_whole() {
    let note = note(
        r#"
title = { en = "API answers slowly", de = "API antwortet langsam" }
impact = "major"
services = ["api", "api"]
started = 2026-11-21T10:15:00Z
resolved = 2026-11-21T11:00:00Z
auto_resolve = false
override = true
withdrawn = true
notify = false

[[update]]
at = 2026-11-21T10:20:00Z
status = "identified"
text = "A hypervisor is **gone**."
affected = { bugzilla = "major_outage", askbot = "operational" }
next_update = "30m"
notify = false

[postmortem]
published = 2026-11-25T09:00:00Z
root_cause = "Disks."
summary = { en = "In short." }
five_whys = ["Why?", "Because."]
went_well = ["a"]
went_wrong = ["b"]
got_lucky = ["c"]
learned = ["d"]
timeline = [
  { at = 2026-11-21T10:30:00Z, text = "later" },
  { at = 2026-11-21T10:15:00Z, text = "first", mark = "outage begins" },
]
actions = [{ text = "x", kind = "prevent", owner = "ops", status = "in progress", url = "https://example.org/1" }]
"#,
    );
    assert_eq!(note.title.unwrap().get("de", "en"), "API antwortet langsam");
    assert_eq!((note.impact, note.auto_resolve, note.notify), (Some(Impact::Major), Some(false), Some(false)));
    assert_eq!(note.services.len(), 1);
    assert_eq!((note.started, note.resolved), (Some(at("2026-11-21T10:15:00Z")), Some(at("2026-11-21T11:00:00Z"))));
    assert!(note.is_override && note.withdrawn);
    let update = &note.updates[0];
    assert_eq!(
        (update.status, update.next_update_ms, update.notify),
        (Some(IncidentStatus::Identified), Some(1_800_000), false)
    );
    assert_eq!(update.affected[&ServiceId::new("bugzilla").unwrap()], ServiceStatus::MajorOutage);
    let postmortem = note.postmortem.unwrap();
    assert_eq!(postmortem.published, Some(at("2026-11-25T09:00:00Z")));
    // In the order of the page, not of the file.
    assert_eq!(
        postmortem.sections.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["summary", "root_cause"]
    );
    assert_eq!(postmortem.timeline[0].mark.as_deref(), Some("outage begins"));
    assert_eq!(postmortem.actions[0].url.as_deref(), Some("https://example.org/1"));
    assert_eq!([postmortem.five_whys.len(), postmortem.learned.len()], [2, 1]);
}

#[test]
fn a_file_that_says_nothing_yet_is_a_note_without_updates() {
    for text in ["", "# only a comment\n", "[[update]]\ntext = \"\"\n", "[[update]]\n", "\u{feff}title = \" \"\r\n"] {
        let note = note(text);
        assert!(note.updates.is_empty() && note.title.is_none(), "{text:?}");
    }
}

#[test]
fn words_about_no_incident_that_could_be_known_are_refused() {
    let read = |name: &str, text: &str| {
        let read = parse(&Path::new("incidents").join(name), text, &known("UTC"));
        read.map_err(|errors| errors.iter().map(ToString::to_string).collect::<String>())
    };
    let words = "# x\n[[update]]\ntext = \"We look into it.\"\n";
    let said = read("outage-of-api.toml", words).unwrap_err();
    assert!(said.contains("toml:2:1: this opens an incident that has neither a `title` nor `services`"), "{said}");
    for name in ["2026-11-21.toml", "2026-11-2x-api.toml"] {
        assert!(read(name, words).is_err(), "{name}");
    }
    assert!(read("2026-11-21-api.toml", words).is_ok(), "an automatic incident has both");
    for more in ["title = \"x\"\n", "services = [\"api\"]\n"] {
        assert!(read("outage-of-api.toml", &format!("{more}{words}")).is_ok(), "{more}");
    }
    assert!(read("outage-of-api.toml", "[[update]]\ntext = \"\"\n").is_ok(), "it says nothing yet");
}

#[test]
fn who_names_no_service_is_told_which_there_are() {
    let said = error("services = [\"quantum\"]");
    assert!(said.contains("there is no service `quantum`") && said.contains("there are `api`, "), "{said}");
}

#[test]
fn times_without_an_offset_are_the_sites() {
    let started = |text: &str| note(&format!("started = {text}")).started.unwrap();
    assert_eq!(started("2026-11-21T11:15:00"), at("2026-11-21T10:15:00Z"));
    assert_eq!(started("2026-11-21 11:15"), at("2026-11-21T10:15:00Z"));
    assert_eq!(started("2026-11-21T05:15:00-05:00"), at("2026-11-21T10:15:00Z"));
    assert_eq!(started("2026-11-21T10:15:00.123456Z"), at("2026-11-21T10:15:00.123Z"));
    // Skipped by the clock in spring: as long after the gap. Twice in autumn: the first.
    assert_eq!(started("2026-03-29T02:30:00"), at("2026-03-29T01:30:00Z"));
    assert_eq!(started("2026-10-25T02:30:00"), at("2026-10-25T00:30:00Z"));
}

#[test]
fn what_lies_ahead_is_refused_and_a_clock_that_is_a_little_fast_is_not() {
    assert!(read("[[update]]\nat = 2026-11-21T12:05:00Z\ntext = \"x\"").is_ok());
    let said = error("[[update]]\nat = 2026-11-21T12:05:01Z\ntext = \"x\"");
    assert!(said.contains("2:6: `at` lies ahead: it is 2026-11-21 13:00 CET now"), "{said}");
    assert!(error("started = 2026-11-22T00:00:00Z").contains("`started` lies ahead"));
    assert!(error("resolved = 2026-11-22T00:00:00Z").contains("`resolved` lies ahead"));
}

#[test]
fn everything_wrong_is_said_at_once_with_its_place() {
    let said = error(
        r#"titel = "x"
impact = "huge"
services = ["apo"]
started = "2026-11-21T10:15:00Z"
resolved = 2026-11-21
[[update]]
status = "fixed"
next_update = 30
affected = { api = "down" }
message = "x"
[postmortem]
timeline = [{ text = "x" }]
actions = [{ text = "x", url = "javascript:alert(1)" }]
"#,
    );
    for (place, message, hint) in [
        ("1:1", "unknown key `titel` in a note", "did you mean `title`?"),
        ("2:10", "`huge` is not among the words", "`\"critical\"`"),
        ("3:13", "there is no service `apo`", "did you mean `api`?"),
        ("4:11", "`started` cannot be text", "write `2026-11-21T10:15:00Z` without quotes"),
        ("5:12", "this is not a date with a time", "write both"),
        ("7:10", "`fixed` is not among the words", "`\"resolved\"`"),
        ("8:15", "`next_update` cannot be a number", "add a unit: `\"30s\"`"),
        ("9:20", "`down` is not among the words", "`\"major_outage\"`"),
        ("10:1", "unknown key `message` in an update", "did you mean `text`?"),
        ("12:13", "`at` is missing in a line of the timeline", "add `at = "),
        ("13:32", "a URL with `javascript:` will not do", "mailto"),
    ] {
        let start = format!("2026-11-21-api.toml:{place}: {message}");
        let found = said.find(&start).unwrap_or_else(|| panic!("{start}\nnot in:\n{said}"));
        let rest = said[found..].split("incidents/").next().unwrap();
        assert!(rest.contains(hint), "{hint} not in {rest}");
    }
}

#[test]
fn a_note_of_what_is_over_may_name_a_service_that_is_gone() {
    let text = "services = [\"gone\"]\nresolved = 2026-11-20T10:00:00Z\nstarted = 2026-11-20T09:00:00Z";
    let (note, warnings) = read(text).unwrap();
    assert_eq!(note.services[0].as_str(), "gone");
    assert!(warnings[0].to_string().contains("warning: there is no service `gone`"));
    assert!(error("services = [\"gone\"]").contains("there is no service `gone`"));
    assert!(error("resolved = 2026-11-20T10:00:00Z\nstarted = 2026-11-20T11:00:00Z").contains("before `started`"));
}

#[test]
fn text_is_cleaned_and_bounded() {
    let note = note("title = \"a\\u202Eb\\nc\"\n[[update]]\ntext = \"x\\u0000\\r\\ny\"");
    assert_eq!(note.title, Some(LocalText::from("ab c")));
    assert_eq!(note.updates[0].text, LocalText::from("x\ny"));
    assert!(error(&format!("title = \"{}\"", "x".repeat(201))).contains("`title` is 201 characters long"));
    assert!(error(&format!("# {}", "x".repeat(MAX_BYTES))).contains("longer than 512 KiB"));
}

#[test]
fn only_files_with_the_name_of_an_incident_are_notes() {
    for name in ["x.toml", "incidents/2026-11-21-api.toml", "0.toml"] {
        assert!(id_of(Path::new(name)).is_some(), "{name}");
    }
    for name in
        [".x.toml", "x.toml~", "X.toml", "x (1).toml", "x.toml.swp", "#x.toml#", "x", ".toml", "-x.toml", "x_y.toml"]
    {
        assert!(id_of(Path::new(name)).is_none(), "{name}");
    }
    let long = format!("{}.toml", "a".repeat(101));
    assert!(parse(Path::new(&long), "", &known("UTC")).unwrap_err()[0].message.contains("not the name of a note"));
}

#[test]
fn any_text_is_read_or_refused_with_a_reason() {
    let whole = "title = { en = \"a\" }\nstarted = 2026-11-21T10:15:00Z\n[[update]]\naffected.api = \"operational\"\ntext = \"é\"\n[postmortem]\nactions = [{ text = \"x\" }]\n";
    for end in 0..whole.len() {
        if let Some(text) = whole.get(..end) {
            assert!(read(text).is_ok() || !error(text).is_empty());
        }
    }
    proptest::proptest!(|(text in "(\\PC|[\\[\\]{}=\"\n.#]|title|update|at|text|status|2026-11-21T10:15:00){0,60}")| {
        proptest::prop_assert!(read(&text).is_ok() || !error(&text).is_empty());
    });
}

#[test]
fn the_schema_holds_every_key() {
    let schema = incident_schema();
    assert_eq!(schema["properties"]["update"]["items"]["properties"]["text"]["anyOf"][0]["type"], "string");
    assert!(schema["properties"]["postmortem"]["properties"]["five_whys"].is_object());
}

fn corrections(text: &str) -> Result<(Vec<Correction>, String), String> {
    let said = |problems: Vec<Diagnostic>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    parse_corrections(Path::new("notes/corrections.toml"), text, &known("Europe/Berlin"))
        .map(|(corrections, warnings)| (corrections, said(warnings)))
        .map_err(said)
}

/// One `[[correct]]`.
fn correct(from: &str, to: &str, more: &str) -> String {
    format!("[[correct]]\nfrom = {from}\nto = {to}\n{more}\n")
}

const WELL: &str = "service = \"api\"\ncount_as = \"up\"\nwhy = \"The check was wrong.\"";

#[test]
fn corrections_are_read_in_the_order_of_time() {
    let text = correct("2026-11-21T11:00:00", "2026-11-21T11:10:00", WELL)
        + &correct(
            "2026-11-21T10:00:00+01:00",
            "2026-11-21T11:00:00",
            "service = \"api\"\ncount_as = \"maintenance\"\nwhy = { en = \"Work.\", de = \"Arbeit.\" }",
        );
    let (read, warnings) = corrections(&text).unwrap();
    assert_eq!(warnings, "");
    let [work, up] = &read[..] else { panic!("{read:?}") };
    // Without an offset, times are those of the site's zone: an hour before UTC.
    assert_eq!((work.from, work.to), (at("2026-11-21T09:00:00Z"), at("2026-11-21T10:00:00Z")));
    assert_eq!((up.from, up.to), (at("2026-11-21T10:00:00Z"), at("2026-11-21T10:10:00Z")));
    assert_eq!((work.count_as, up.count_as), (CountAs::Maintenance, CountAs::Up));
    assert_eq!(work.why.get("de", "en"), "Arbeit.");
    assert_eq!(corrections("# none\n").unwrap().0, []);
}

#[test]
fn a_correction_of_a_service_that_is_not_there_may_speak_of_one_that_is_gone() {
    let text = correct("2026-11-21T10:00:00Z", "2026-11-21T10:10:00Z", &WELL.replace("api", "apu"));
    let (read, warnings) = corrections(&text).unwrap();
    assert_eq!(read[0].service.as_str(), "apu");
    assert!(warnings.contains("corrections.toml:4:11: warning: there is no service `apu`"), "{warnings}");
    assert!(warnings.contains("did you mean `api`?"), "{warnings}");
}

#[test]
fn what_is_wrong_with_corrections_is_said_with_its_place_and_what_to_do() {
    let (from, to) = ("2026-11-21T10:00:00Z", "2026-11-21T10:10:00Z");
    let good = correct(from, to, WELL);
    for (text, expected) in [
        (correct(to, from, WELL), &["toml:3:6: `to` is before `from`", "write when it ended"][..]),
        (correct(from, from, WELL), &["toml:3:6: `to` is the same moment as `from`"]),
        (correct("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z", WELL), &["toml:2:8: `from` lies ahead"]),
        (correct(from, to, &WELL.replace("\"up\"", "\"ok\"")), &["toml:5:12: ", "`\"maintenance\"`", "`\"unknown\"`"]),
        (correct(from, to, &WELL.replace("\"up\"", "\"outge\"")), &["did you mean `outage`?"]),
        (correct(from, to, "service = \"api\"\ncount_as = \"up\""), &["`why` is missing in a correction"]),
        (correct(from, to, &WELL.replace("The check was wrong.", " ")), &["toml:6:7: `why` says nothing"]),
        (correct(from, to, &WELL.replace("service", "servce")), &["did you mean `service`?"]),
        (
            format!("{good}{}", correct("2026-11-21T10:09:59Z", "2026-11-21T10:20:00Z", WELL)),
            &[
                "toml:8:8: this overlaps another correction of `api`, from 2026-11-21 11:00:00 CET to 2026-11-21 11:10:00 CET",
            ],
        ),
        (format!("{good}[[correct]"), &["toml:"]),
    ] {
        let said = corrections(&text).unwrap_err();
        for part in expected {
            assert!(said.contains(part), "{part} is in: {said}");
        }
    }
    // One may begin where another ends, and two services fail at the same time.
    let after = correct(to, "2026-11-21T10:20:00Z", WELL);
    let other = correct(from, to, &WELL.replace("api", "askbot"));
    assert_eq!(corrections(&format!("{good}{after}{other}")).unwrap().0.len(), 3);
    let (_, warnings) = corrections(&correct(from, "2026-11-21T13:00:00Z", WELL)).unwrap();
    assert!(warnings.contains("toml:3:6: warning: `to` lies ahead"), "{warnings}");
}
