//! What operators write, and what follows (spec, section 5).

use std::collections::BTreeMap;

use crate::{
    domain::{
        Impact, IncidentId, IncidentStatus, ServiceStatus,
        event::EventKind,
        incident::{Origin, Update},
        note::{Note, NoteUpdate, Postmortem},
        text::LocalText,
    },
    judge::{Input, Reason, Sight, Step, notes::match_updates, story::*},
};

const DAY: i64 = 86_400;

fn said(text: &str, status: IncidentStatus) -> NoteUpdate {
    NoteUpdate { status: Some(status), ..update(text) }
}

fn by_hand() -> Note {
    let mut note = note("login-slow", &["legacy"]);
    note.title = Some("Login is slow".into());
    note.impact = Some(Impact::Minor);
    note
}

fn texts(story: &Story) -> Vec<String> {
    let updates = story.the_incident().updates.iter().filter(|update| !update.withdrawn);
    updates.map(|update| update.text.get("en", "en").to_owned()).collect()
}

#[test]
fn a_promise_that_is_not_kept_is_told_to_operators_once() {
    let overdue = |story: &Story| {
        let all = story.steps.iter().flat_map(|step| &step.sights);
        all.filter(|sight| matches!(sight, Sight::Overdue { .. })).cloned().collect::<Vec<_>>()
    };
    let mut story = Story::of(&["legacy:"]);
    story.run_to(60);
    let mut word = by_hand();
    word.updates.push(NoteUpdate { next_update_ms: Some(600_000), ..said("We look.", IncidentStatus::Identified) });
    story.note(&word);
    story.run_to(659);
    assert!(overdue(&story).is_empty());
    story.run_to(5000);
    let (incident, services) = (story.the_incident().id.clone(), vec![service_id("legacy")]);
    assert_eq!(overdue(&story), [Sight::Overdue { incident, services, promised_at: at(660) }]);
    word.updates.push(NoteUpdate { next_update_ms: Some(600_000), ..said("Still.", IncidentStatus::Identified) });
    story.note(&word);
    word.updates.push(said("Done.", IncidentStatus::Resolved));
    story.run_to(5300).note(&word);
    story.run_to(9000);
    assert_eq!(overdue(&story).len(), 1, "kept, and over");
}

#[test]
fn a_note_opens_an_incident_by_hand_and_sets_the_status() {
    let mut story = Story::of(&["legacy:", "api"]);
    story.run_to(600);
    let mut word = by_hand();
    word.started = Some(at(300));
    word.updates.push(said("We look into it.", IncidentStatus::Identified));
    story.note(&word);
    assert_eq!(story.told(), ["600 opened legacy"]);
    let event = &story.events[0];
    assert_eq!((event.at, event.seals_at), (at(300), at(630)), "backdated; told when the text has rested");
    assert!(event.update.is_some());
    assert_eq!(story.spans("legacy"), ["0 operational", "300 degraded_performance"]);
    let incident = story.the_incident();
    assert_eq!((incident.origin, incident.status), (Origin::Operator, IncidentStatus::Identified));
    assert_eq!((incident.impact, incident.noticed_at), (Impact::Minor, at(600)));

    story.now = at(900);
    word.resolved = Some(at(840));
    story.note(&word);
    assert_eq!(story.spans("legacy"), ["0 operational", "300 degraded_performance", "840 operational"]);
    assert_eq!(story.the_incident().resolved_at, Some(at(840)));
    assert_eq!(story.told(), ["600 opened legacy", "900 resolved legacy"]);
    assert_eq!(story.the_incident().affected[0].downtime_ms(at(9999)), 540_000);
}

#[test]
fn reading_the_same_note_again_changes_nothing() {
    let mut story = Story::of(&["legacy:"]);
    let word = by_hand();
    story.note(&word);
    let step = story.note(&word);
    assert_eq!(step, crate::judge::Step::default());
}

#[test]
fn an_update_is_told_once_with_the_text_that_rested() {
    let mut story = Story::of(&["legacy:"]);
    let mut word = by_hand();
    story.note(&word);
    story.now = at(100);
    word.updates.push(update("We are restarting teh servers."));
    story.note(&word);
    assert_eq!(story.told().last().unwrap(), "100 updated legacy");
    story.now = at(120);
    word.updates[0].text = "We are restarting the servers.".into();
    let step = story.note(&word);
    assert_eq!((step.events.len(), step.amended.len()), (0, 1));
    let event = story.events.last().unwrap();
    assert_eq!(event.seals_at, at(150), "it rests anew");
    assert_eq!(event.update.as_ref().unwrap().text, LocalText::from("We are restarting the servers."));
    story.now = at(200);
    word.updates[0].text = "We restarted the servers.".into();
    let step = story.note(&word);
    assert_eq!((step.events.len(), step.amended.len()), (0, 0), "told ones are corrected on pages alone");
    assert_eq!(step.incidents[0].updates[0].changed_at, at(200));
    assert_eq!(step.incidents[0].updates[0].at, at(100));
}

#[test]
fn a_file_that_says_nothing_yet_opens_nothing() {
    let mut story = Story::of(&["legacy:"]);
    assert_eq!(story.note(&Note::blank(IncidentId::new("x").unwrap())), Step::default());
    assert!(story.told().is_empty());
}

#[test]
fn a_text_removed_while_nobody_looked_is_withdrawn() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(60);
    let id = story.the_incident().id.clone();
    let mut word = Note::blank(id);
    word.updates = vec![update("Wrong.")];
    story.note(&word);
    word.updates.clear();
    story.note(&word);
    assert!(story.the_incident().updates[0].withdrawn);
}

#[test]
fn an_opening_whose_first_word_is_removed_is_told_all_the_same() {
    let mut story = Story::of(&["legacy:"]);
    let mut word = by_hand();
    word.updates = vec![update("Wrong window.")];
    let step = story.note(&word);
    assert!(step.events[0].notify);
    word.updates.clear();
    let step = story.note(&word);
    let opened = &step.amended[0];
    assert!(opened.notify && opened.update.as_ref().is_some_and(|update| update.withdrawn), "{opened:?}");
}

#[test]
fn a_removed_update_is_withdrawn_and_not_told_if_it_was_not_yet() {
    let mut story = Story::of(&["legacy:"]);
    let mut word = by_hand();
    story.note(&word);
    word.updates = vec![update("Wrong window.")];
    story.note(&word);
    word.updates.clear();
    story.now = at(10);
    let step = story.note(&word);
    assert!(!step.amended[0].notify);
    assert!(story.the_incident().updates[0].withdrawn);
    word.updates = vec![update("Wrong window.")];
    let step = story.note(&word);
    assert!(step.events.is_empty(), "brought back, it is the same");
    assert!(step.amended[0].notify);
    assert!(!story.the_incident().updates[0].withdrawn);
}

#[test]
fn a_status_that_is_not_said_is_the_one_before() {
    let mut story = Story::of(&["legacy:"]);
    let mut word = by_hand();
    word.updates = vec![said("a", IncidentStatus::Identified)];
    story.note(&word);
    story.now = at(60);
    word.updates.push(update("b"));
    story.note(&word);
    assert_eq!(story.the_incident().updates[1].status, IncidentStatus::Identified);
    assert_eq!(story.the_incident().status, IncidentStatus::Identified);
}

#[test]
fn updates_set_statuses_from_their_time_on() {
    let mut story = Story::of(&["bugzilla:", "askbot:", "archive:"]);
    let mut word = note("vm-host", &["bugzilla", "askbot", "archive"]);
    word.impact = Some(Impact::Critical);
    story.note(&word);
    story.now = at(600);
    let back = |service: &str, status| BTreeMap::from([(service_id(service), status)]);
    word.updates.push(NoteUpdate { affected: back("askbot", ServiceStatus::Operational), ..update("askbot is back") });
    story.note(&word);
    story.now = at(900);
    word.updates
        .push(NoteUpdate { affected: back("archive", ServiceStatus::PartialOutage), ..update("recent releases") });
    story.note(&word);
    story.now = at(1200);
    word.updates.push(said("All is back.", IncidentStatus::Resolved));
    story.note(&word);
    assert_eq!(story.spans("bugzilla"), ["0 major_outage", "1200 operational"]);
    assert_eq!(story.spans("askbot"), ["0 major_outage", "600 operational"]);
    assert_eq!(story.spans("archive"), ["0 major_outage", "900 partial_outage", "1200 operational"]);
    let times: Vec<_> = story.the_incident().affected.iter().map(|part| part.recovered_at.map(seconds)).collect();
    assert_eq!(times, [Some(1200), Some(600), Some(1200)], "each has its own");
    assert_eq!(story.told().len(), 4, "updates tell it; nothing is told twice: {:?}", story.told());
}

#[test]
fn the_history_of_an_organisation_is_told_to_nobody() {
    let mut story = Story::of(&["legacy:"]);
    story.run_to(60);
    let mut word = by_hand();
    word.started = Some(at(-9 * DAY));
    word.resolved = Some(at(-8 * DAY));
    word.updates = vec![NoteUpdate { at: Some(at(-9 * DAY + 60)), ..update("A disk is full.") }];
    word.postmortem = Some(Postmortem { published: Some(at(-7 * DAY)), ..Postmortem::default() });
    let step = story.note(&word);
    assert!(step.events.is_empty() && step.spans.is_empty(), "{step:?}");
    let incident = story.the_incident();
    assert_eq!((incident.status, incident.resolved_at), (IncidentStatus::Postmortem, Some(at(-8 * DAY))));
    assert_eq!(incident.affected[0].worst, ServiceStatus::DegradedPerformance);
    assert_eq!(incident.affected[0].downtime_ms(at(0)), 86_400_000);
    word.notify = Some(true);
    word.id = crate::domain::IncidentId::new("another").unwrap();
    let step = story.note(&word);
    let kinds: Vec<_> = step.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Resolved, EventKind::Postmortem], "unless it says so");
}

#[test]
fn a_failure_within_a_quiet_incident_is_told() {
    let mut story = Story::of(&["api"]);
    let mut word = note("old-trouble", &["api"]);
    word.impact = Some(Impact::Minor);
    word.started = Some(at(-3 * DAY));
    story.note(&word);
    assert!(story.events.is_empty());
    story.target("api", DOWN).run_to(120).target("api", UP).run_to(300);
    assert_eq!(story.told(), ["125 resolved api"]);
}

#[test]
fn a_note_with_the_name_of_an_automatic_incident_is_its_note() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(120);
    let mut word = note("2026-11-21-api", &[]);
    story.note(&word);
    assert_eq!(story.events.len(), 1, "an empty file says nothing");
    word.title = Some("API down".into());
    word.impact = Some(Impact::Minor);
    word.updates = vec![said("A cable.", IncidentStatus::Identified)];
    story.note(&word);
    assert_eq!(story.told(), ["10 opened api", "120 updated api"]);
    let incident = story.the_incident();
    assert_eq!((incident.impact, incident.status), (Impact::Minor, IncidentStatus::Identified));
    assert_eq!(incident.title, Some("API down".into()));
    story.target("api", UP).run_to(300);
    assert_eq!(story.told()[2], "125 resolved api");
}

#[test]
fn a_new_file_about_a_mute_incident_becomes_its_note_and_its_start_counts() {
    let mut story = Story::of(&["site", "bot"]);
    story.target("site", DOWN).run_to(300);
    story.note(&note("2026-11-21-site", &[]));
    let mut word = note("db-overload", &["site", "bot"]);
    word.started = Some(at(-120));
    word.title = Some("Database overload".into());
    word.updates = vec![update("We see it.")];
    story.note(&word);
    let incident = story.the_incident();
    assert_eq!(incident.aliases, [word.id.clone()]);
    assert_eq!((incident.started_at, incident.origin), (at(-120), Origin::Automatic));
    assert_eq!(story.told(), ["10 opened site", "300 updated site bot"]);
    assert_eq!(story.world.incident(&word.id).unwrap().id.as_str(), "2026-11-21-site");
    story.now = at(400);
    word.updates.push(update("Better."));
    story.note(&word);
    assert_eq!(texts(&story), ["We see it.", "Better."]);
}

#[test]
fn a_new_file_beside_an_incident_that_has_text_is_an_incident_of_its_own() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(60);
    let mut first = note("2026-11-21-api", &[]);
    first.updates = vec![update("Known.")];
    story.note(&first);
    story.note(&note("other", &["api"]));
    assert_eq!(story.incidents.len(), 2);
    story.target("api", UP).run_to(300);
    assert!(story.incidents.values().all(|incident| !incident.is_open()), "checks of both failed and recovered");
}

#[test]
fn an_incident_by_hand_whose_check_fails_is_the_same_and_ends_with_it() {
    let mut story = Story::of(&["api"]);
    story.run_to(60);
    let mut word = note("api-slow", &["api"]);
    word.impact = Some(Impact::Minor);
    story.note(&word);
    story.run_to(120).target("api", DOWN).run_to(300).target("api", UP).run_to(600);
    assert_eq!(story.spans("api"), ["0 operational", "60 degraded_performance", "120 major_outage", "300 operational"]);
    assert_eq!(story.told(), ["60 opened api", "305 resolved api"]);
}

#[test]
fn an_incident_by_hand_whose_checks_never_fail_waits_for_the_operator() {
    let mut story = Story::of(&["api"]);
    story.run_to(60);
    let mut word = note("api-slow", &["api"]);
    word.impact = Some(Impact::Major);
    story.note(&word);
    story.run_to(5000);
    assert!(story.the_incident().is_open());
    assert_eq!(story.status("api"), Some(ServiceStatus::PartialOutage));
}

#[test]
fn an_operators_end_while_a_check_is_down_waits_until_it_was_good() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(300);
    let mut word = note("2026-11-21-api", &[]);
    word.updates = vec![said("Fixed.", IncidentStatus::Resolved)];
    story.note(&word);
    let incident = story.the_incident();
    assert_eq!(incident.status, IncidentStatus::Monitoring);
    assert_eq!(incident.updates[0].status, IncidentStatus::Monitoring);
    assert_eq!(story.events.last().unwrap().kind, EventKind::Updated);
    let reasons: Vec<_> = story.steps.iter().flat_map(|step| &step.decisions).map(|it| &it.reason).collect();
    assert!(reasons.contains(&&Reason::StillDown));
    story.target("api", UP).run_to(600);
    assert_eq!(story.the_incident().resolved_at, Some(at(300)));
    assert_eq!(story.events.last().unwrap().kind, EventKind::Resolved);
}

#[test]
fn what_an_operator_says_is_worse_holds_though_checks_are_well() {
    let mut story = Story::of(&["archive"]);
    story.target("archive", DOWN).run_to(300);
    let mut word = note("2026-11-21-archive", &[]);
    let affected = BTreeMap::from([(service_id("archive"), ServiceStatus::PartialOutage)]);
    word.updates = vec![NoteUpdate { affected, ..update("Recent releases are back.") }];
    story.note(&word);
    assert_eq!(story.status("archive"), Some(ServiceStatus::MajorOutage), "the worse counts");
    story.target("archive", UP).run_to(600);
    assert_eq!(story.spans("archive"), ["0 major_outage", "300 partial_outage"]);
    assert!(story.the_incident().is_open());
    let affected = BTreeMap::from([(service_id("archive"), ServiceStatus::Operational)]);
    word.updates.push(NoteUpdate { affected, ..update("All of it.") });
    story.note(&word);
    assert_eq!(story.spans("archive"), ["0 major_outage", "300 partial_outage", "600 operational"]);
    assert_eq!(story.the_incident().resolved_at, Some(at(600)));
}

#[test]
fn override_wins_over_checks() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(300);
    let mut word = note("2026-11-21-api", &[]);
    word.is_override = true;
    let affected = BTreeMap::from([(service_id("api"), ServiceStatus::Operational)]);
    word.updates = vec![NoteUpdate { affected, ..update("Our probe is wrong.") }];
    story.note(&word);
    assert_eq!(story.status("api"), Some(ServiceStatus::Operational));
    assert!(!story.the_incident().is_open());
    word.title = Some("Not us".into());
    story.note(&word);
    story.run_to(3000);
    assert_eq!(story.spans("api"), ["0 major_outage", "300 operational"], "as long as it is wrong");
    story.target("api", UP).run_to(3600).target("api", DOWN).run_to(7200);
    assert_eq!(story.spans("api").last().unwrap(), "3600 major_outage", "the next outage is none of its business");
}

#[test]
fn a_withdrawn_incident_leaves_the_site_and_says_so_once() {
    let mut story = Story::of(&["legacy:"]);
    let mut word = by_hand();
    story.note(&word);
    story.now = at(300);
    word.withdrawn = true;
    story.note(&word);
    assert_eq!(story.told(), ["0 opened legacy", "300 withdrawn legacy"]);
    assert!(story.events[1].notify);
    assert_eq!(story.spans("legacy"), ["0 operational"], "as if it had not been");
    assert_eq!(story.world.open_incidents().count(), 0);
    word.withdrawn = false;
    story.note(&word);
    assert_eq!(story.spans("legacy"), ["0 degraded_performance"]);
    assert_eq!(story.events.len(), 2, "back without a word");
}

#[test]
fn a_postmortem_is_told_once_when_its_time_has_come() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(120).target("api", UP).run_to(300);
    let mut word = note("2026-11-21-api", &[]);
    word.postmortem = Some(Postmortem::default());
    story.note(&word);
    assert_eq!(story.the_incident().status, IncidentStatus::Resolved, "a draft is nothing yet");
    word.postmortem = Some(Postmortem { published: Some(at(500)), ..Postmortem::default() });
    story.note(&word);
    assert_eq!(story.world.wake_at(&story.rules), Some(at(500)));
    story.run_to(700);
    assert_eq!(story.told()[2..], ["500 postmortem api"]);
    assert_eq!(story.the_incident().status, IncidentStatus::Postmortem);
    word.postmortem = Some(Postmortem { published: Some(at(500)), learned: vec!["x".into()], ..Postmortem::default() });
    story.note(&word);
    story.give(Input::Tick);
    assert_eq!(story.events.len(), 3);
}

#[test]
fn a_service_that_nobody_configured_is_kept_in_the_note_and_counts_once_it_is() {
    let mut story = Story::of(&["legacy:"]);
    let mut word = by_hand();
    word.services.push(service_id("ghost"));
    story.note(&word);
    assert_eq!(story.the_incident().affected.len(), 1);
    story.now = at(60);
    story.reload(rules(&["legacy:", "ghost:"]));
    assert_eq!(story.the_incident().affected.len(), 2);
    assert_eq!(story.status("ghost"), Some(ServiceStatus::DegradedPerformance));
}

#[test]
fn a_silenced_note_tells_only_feeds() {
    let mut story = Story::of(&["legacy:"]);
    let mut word = by_hand();
    word.notify = Some(false);
    story.note(&word);
    assert_eq!(story.told(), ["0 opened legacy (silent)"]);
}

#[test]
fn a_late_word_on_an_incident_that_ended_by_itself_does_not_open_it() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(120).target("api", UP).run_to(300);
    let mut word = note("2026-11-21-api", &[]);
    word.updates = vec![said("It was a cable.", IncidentStatus::Identified), update("Sorry.")];
    story.note(&word);
    assert!(!story.the_incident().is_open());
    assert_eq!(story.the_incident().updates[1].status, IncidentStatus::Resolved);
}

#[test]
fn an_operator_may_open_again_what_they_opened() {
    let mut story = Story::of(&["legacy:"]);
    let mut word = by_hand();
    word.updates = vec![said("Done.", IncidentStatus::Resolved)];
    word.updates[0].at = Some(at(0));
    story.note(&word);
    assert!(!story.the_incident().is_open());
    story.now = at(60);
    word.updates.insert(0, said("Not quite.", IncidentStatus::Investigating));
    story.note(&word);
    assert!(story.the_incident().is_open());
    assert_eq!(story.events.last().unwrap().kind, EventKind::Reopened);
}

#[test]
fn the_end_that_a_note_gives_acts_once() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(120).target("api", UP).run_to(300);
    let mut word = note("2026-11-21-api", &[]);
    word.resolved = Some(at(200));
    story.note(&word);
    story.target("api", DOWN).run_to(420);
    word.title = Some("x".into());
    story.note(&word);
    assert!(story.the_incident().is_open(), "it failed again after that");
}

/// Updates as known, by text; `@5` at the end is a time that the file gave.
fn matched(known: &[&str], given: &[&str]) -> Vec<Option<usize>> {
    let split = |text: &str| match text.split_once('@') {
        Some((text, time)) => (text.to_owned(), Some(at(time.parse().unwrap()))),
        None => (text.to_owned(), None),
    };
    let mut world = crate::judge::World::new(1);
    let known: Vec<(Update, bool)> = known
        .iter()
        .enumerate()
        .map(|(place, text)| {
            let (text, time) = split(text);
            let first_seen = at(1000 + i64::try_from(place).unwrap());
            let update = Update {
                id: world.update_id(first_seen),
                at: time.unwrap_or(first_seen),
                recorded_at: first_seen,
                changed_at: first_seen,
                status: IncidentStatus::Investigating,
                text: LocalText::One(text),
                affected: BTreeMap::new(),
                next_update_at: None,
                notify: true,
                withdrawn: false,
            };
            (update, time.is_some())
        })
        .collect();
    let known: Vec<_> = known.iter().map(|(update, is_timed)| (update, *is_timed)).collect();
    let given: Vec<_> = given
        .iter()
        .map(|text| {
            let (text, time) = split(text);
            NoteUpdate { at: time, ..update(&text) }
        })
        .collect();
    match_updates(&known, &given)
}

#[test]
fn updates_are_matched_by_time_then_text_then_place() {
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [Option<usize>]);
    let cases: &[Case<'_>] = &[
        (&[], &["a"], &[None]),
        (&["a", "b"], &["a", "b", "c"], &[Some(0), Some(1), None]),
        (&["a", "b"], &["c", "a", "b"], &[None, Some(0), Some(1)]),
        (&["a@1", "b@2"], &["b@2", "x@1"], &[Some(1), Some(0)]),
        (&["a"], &["a typo fixed"], &[Some(0)]),
        (&["a", "b", "c"], &["a", "B", "c"], &[Some(0), Some(1), Some(2)]),
        (&["a", "b"], &["new", "A", "b"], &[None, Some(0), Some(1)]),
        (&["a", "b"], &["a", "B", "new"], &[Some(0), Some(1), None]),
        (&["a", "b"], &["b"], &[Some(1)]),
        (&["a", "a"], &["a", "a", "a"], &[Some(0), Some(1), None]),
        (&["a@1"], &["b@2"], &[None]),
        (&["a@1"], &["a@2"], &[Some(0)]),
        (&["a"], &["A@5"], &[Some(0)]),
    ];
    for (known, given, expected) in cases {
        assert_eq!(matched(known, given), *expected, "{known:?} {given:?}");
    }
}

#[test]
fn history_that_is_over_has_nothing_to_do_with_an_outage_of_today() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(300);
    let mut own = note("2026-11-21-api", &[]);
    own.updates = vec![update("We see it.")];
    story.note(&own);
    let mut word = note("last-month", &["api"]);
    word.impact = Some(Impact::Critical);
    word.started = Some(at(-30 * DAY));
    word.resolved = Some(at(-29 * DAY));
    let step = story.note(&word);
    assert!(step.events.is_empty());
    assert_eq!(step.incidents.len(), 1);
    assert_eq!(step.incidents[0].resolved_at, Some(at(-29 * DAY)), "it does not become an open one");
    assert_eq!(story.spans("api"), ["0 major_outage"]);
}

#[test]
fn an_incident_by_hand_over_a_failing_service_ends_with_its_checks() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(300);
    let mut own = note("2026-11-21-api", &[]);
    own.updates = vec![update("We see it.")];
    story.note(&own);
    let mut word = note("network", &["api"]);
    word.updates = vec![update("The network, it seems.")];
    story.note(&word);
    assert_eq!(story.told()[2..], ["300 opened api"]);
    story.target("api", UP).run_to(600);
    assert!(story.incidents.values().all(|incident| incident.resolved_at == Some(at(300))));
}

#[test]
fn an_incident_that_goes_on_and_ends_while_it_is_withdrawn_says_both_to_whoever_reads_on() {
    let mut story = Story::of(&["web"]);
    let mut word = note("by-hand", &["web"]);
    word.updates = vec![NoteUpdate { status: Some(IncidentStatus::Resolved), ..update("It is over.") }];
    story.note(&word);
    story.sleep_to(100);
    word.withdrawn = true;
    story.note(&word);
    story.sleep_to(200);
    word.updates.push(NoteUpdate { status: Some(IncidentStatus::Identified), ..update("It is not.") });
    story.note(&word);
    story.sleep_to(300);
    word.updates.push(NoteUpdate { status: Some(IncidentStatus::Resolved), ..update("Now it is.") });
    story.note(&word);
    let silent = ["200 reopened web (silent)", "300 resolved web (silent)"];
    assert_eq!(story.told()[1..], ["100 withdrawn web", silent[0], silent[1]]);
}

#[test]
fn what_was_first_written_off_the_site_opens_when_it_comes_back() {
    let mut story = Story::of(&["web"]);
    let mut word = note("by-hand", &["web"]);
    word.withdrawn = true;
    word.updates = vec![NoteUpdate { status: Some(IncidentStatus::Resolved), ..update("It is over.") }];
    story.note(&word);
    assert_eq!(story.told(), Vec::<String>::new());
    story.sleep_to(100);
    word.withdrawn = false;
    word.updates.push(NoteUpdate { status: Some(IncidentStatus::Identified), ..update("It is not.") });
    story.note(&word);
    assert_eq!(story.told(), ["100 opened web"]);
}
