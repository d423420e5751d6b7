//! Cascades: what is probed at once, what waits for what, and who is named the root (spec, section
//! 4, rule 4).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{
        GroupId, IncidentId,
        event::EventKind,
        incident::FactKind,
        note::Note,
        service::{Cadence, Rules},
    },
    judge::{Priority, Reason, Request, Step, story::*},
};

/// Puts the services of these names into one group.
fn grouped(rules: &mut Rules, names: &[&str]) {
    for service in rules.services.iter_mut().filter(|service| names.contains(&service.id.as_str())) {
        Arc::get_mut(service).unwrap().group = Some(GroupId::new("public").unwrap());
    }
}

/// Which checks were asked for the sake of others, and for when.
fn pulled(step: &Step) -> Vec<(String, Timestamp)> {
    let asked = step.requests.iter().filter_map(|request| match request {
        Request::Probe { check, at, priority: Priority::PulledForward } => Some((check.service.to_string(), *at)),
        Request::Probe { .. } => None,
    });
    asked.collect()
}

fn reasons(story: &Story) -> Vec<&Reason> {
    story.steps.iter().flat_map(|step| &step.decisions).map(|decision| &decision.reason).collect()
}

#[test]
fn when_a_check_fails_all_that_its_service_needs_is_asked_at_once_and_then_at_the_pace_of_rechecks() {
    let mut story = Story::of(&["db", "cache -> db", "api -> cache", "mail"]);
    story.now = at(60);
    let step = story.probe_at("api", DOWN, at(60));
    assert_eq!(pulled(&step), [("cache".to_owned(), at(60)), ("db".to_owned(), at(60))]);
    story.now = at(62);
    story.probe_at("cache", UP, at(60));
    assert!(pulled(&story.probe_at("api", DOWN, at(62))).is_empty(), "asked two seconds ago");
    story.now = at(66);
    story.probe_at("db", UP, at(63));
    let step = story.probe_at("api", DOWN, at(66));
    assert_eq!(pulled(&step), [("cache".to_owned(), at(66)), ("db".to_owned(), at(68))], "not sooner than a recheck");
    story.now = at(130);
    assert!(pulled(&story.probe_at("api", DOWN, at(126))).is_empty(), "it is down by now, and that is known");
}

#[test]
fn what_runs_at_times_of_the_operators_choosing_is_not_asked() {
    let mut rules = rules(&["backup", "api -> backup"]);
    Arc::get_mut(&mut rules.services[0]).unwrap().checks[0].cadence = Cadence::Cron {
        patterns: vec!["0 0 3 * * *".to_owned()],
        written: "0 3 * * *".to_owned(),
        timezone: "UTC".to_owned(),
    };
    let mut story = Story::with(rules);
    for start in [0, 5, 10] {
        story.now = at(start);
        assert!(pulled(&story.probe_at("api", DOWN, at(start))).is_empty());
    }
    assert_eq!(story.told(), ["10 opened api"], "and nothing waits for it");
}

#[test]
fn a_verdict_waits_for_the_root_which_is_named_from_the_first_message_on() {
    let mut story = Story::of(&["db", "api -> db", "web -> api"]);
    story.run_to(100).target("db", DOWN).target("api", DOWN).target("web", DOWN).run_to(300);
    // `api` is due first, and pulls the others forward.
    assert_eq!(story.told(), ["130 opened db api web"]);
    let incident = story.the_incident();
    assert_eq!((incident.root.as_ref(), incident.id.as_str()), (Some(&service_id("db")), "2026-11-21-db"));
    assert_eq!((incident.started_at, story.events[0].at), (at(120), at(120)));
    assert!(reasons(&story).contains(&&Reason::WaitsForAncestor { ancestor: service_id("db") }));
    let view = &story.events[0].view;
    assert_eq!((view.root.as_ref(), view.affected.len()), (Some(&service_id("db")), 3));
}

#[test]
fn an_ancestor_that_answers_ends_the_wait_at_once() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(30);
    for start in [60, 65, 70] {
        story.now = at(start);
        story.probe_at("api", DOWN, at(start));
    }
    assert!(story.events.is_empty(), "asked, but not answered yet: it may hang");
    story.now = at(74);
    story.probe_at("db", UP, at(65));
    assert_eq!(story.told(), ["74 opened api"]);
    assert_eq!(story.the_incident().started_at, at(60));
}

#[test]
fn an_ancestor_that_hangs_is_the_root_although_its_answer_comes_last() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(30);
    for (now, check, start) in
        [(60, "api", 60), (65, "api", 65), (70, "api", 70), (71, "db", 61), (86, "db", 76), (101, "db", 91)]
    {
        story.now = at(now);
        story.probe_at(check, DOWN, at(start));
    }
    assert_eq!(story.told(), ["101 opened db api"]);
    assert_eq!(story.events[0].at, at(60), "it began with what failed first");
    assert_eq!(story.the_incident().root, Some(service_id("db")));
}

#[test]
fn a_verdict_waits_for_a_while_and_not_for_ever() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(30);
    story.now = at(61);
    story.probe_at("db", DOWN, at(60));
    story.target("db", UNKNOWN).target("api", DOWN).run_to(600);
    // Three timeouts of ten seconds with five between them: so long may the root take.
    assert_eq!(story.told(), ["115 opened api"]);
    assert_eq!(story.the_incident().started_at, at(60));
}

#[test]
fn a_verdict_that_waits_is_a_blip_if_it_is_good_again() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(30).target("db", UNKNOWN).target("api", DOWN).run_to(80).target("api", UP).run_to(600);
    assert!(story.told().is_empty());
    assert_eq!(story.spans("api"), ["0 operational"]);
    assert!(reasons(&story).iter().any(|reason| matches!(reason, Reason::Blip { .. })));
}

#[test]
fn rules_without_the_dependency_end_the_wait() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(30).target("db", UNKNOWN).target("api", DOWN).run_to(80);
    assert!(story.told().is_empty());
    story.reload(rules(&["db", "api"]));
    assert_eq!(story.told(), ["80 opened api"]);
}

#[test]
fn when_a_check_turns_down_whoever_may_go_with_it_is_asked() {
    let mut rules = rules(&["a", "b", "c -> db", "d -> db", "e -> a", "db", "other"]);
    grouped(&mut rules, &["a", "b"]);
    Arc::get_mut(&mut rules.services[2]).unwrap().checks = vec![check("tcp", "A")];
    let mut story = Story::with(rules);
    let mut steps = Vec::new();
    for start in [600, 605, 610] {
        story.now = at(start);
        steps.push(story.probe_at("a", DOWN, at(start)));
    }
    assert!(pulled(&steps[0]).is_empty() && pulled(&steps[1]).is_empty());
    let asked: Vec<_> = pulled(&steps[2]).into_iter().map(|(id, _)| id).collect();
    assert_eq!(asked, ["e", "b", "c"], "those that need it, of its group, on its host");
    let results = [("c", DOWN), ("db", UP), ("c", DOWN), ("db", UP), ("c", DOWN)];
    let steps = results.map(|(name, result)| {
        story.now += Duration::from_secs(3);
        story.probe_at(name, result, story.now)
    });
    let asked: Vec<_> = pulled(&steps[4]).into_iter().map(|(id, _)| id).collect();
    assert_eq!(asked, ["d"], "what shares the dependency; its host was asked before");
}

#[test]
fn a_cascade_is_seen_whole_within_seconds() {
    let names: Vec<String> = (0..200).map(|n| format!("s{n} -> db")).collect();
    let mut all = vec!["db"];
    all.extend(names.iter().map(String::as_str));
    let mut story = Story::of(&all);
    story.run_to(110);
    for name in names.iter().filter_map(|name| name.split(' ').next()).chain(["db"]) {
        story.target(name, DOWN);
    }
    // `db` alone is due now; the others would be a minute later.
    story.now = at(115);
    story.probe_at("db", DOWN, at(115));
    story.run_to(140);
    let incident = story.the_incident();
    assert_eq!(incident.affected.len(), 201);
    assert!(incident.affected.iter().all(|part| part.started_at <= at(126)), "not at their turn");
}

#[test]
fn what_depends_on_a_service_that_is_back_is_asked_whether_it_is_back_too() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(60).target("db", DOWN).target("api", DOWN).run_to(181);
    story.target("db", UP).target("api", UP);
    for start in [200, 205] {
        story.now = at(start);
        story.probe_at("db", UP, at(start));
    }
    assert_eq!(pulled(story.steps.last().unwrap()), [("api".to_owned(), at(205))]);
    story.run_to(220);
    assert_eq!(story.told().last().unwrap(), "210 resolved db api");
}

/// `api` and `web` fail two minutes apart and have an incident each; then `db` does, which both need.
fn root_found_last(story: &mut Story) {
    story.run_to(60).target("api", DOWN).run_to(240).target("web", DOWN).run_to(360);
    assert_eq!(story.incidents.len(), 2);
    story.target("db", DOWN).run_to(480);
}

#[test]
fn two_incidents_that_turn_out_to_share_a_root_become_one() {
    let mut story = Story::of(&["db", "api -> db", "web -> db"]);
    root_found_last(&mut story);
    assert_eq!(story.told(), ["70 opened api", "250 opened web", "370 joined db web"]);
    let incident = story.the_incident();
    assert_eq!((incident.id.as_str(), incident.root.as_ref()), ("2026-11-21-api", Some(&service_id("db"))));
    let alias = IncidentId::new("2026-11-21-web").unwrap();
    assert_eq!(incident.aliases, std::slice::from_ref(&alias));
    assert_eq!(incident.affected.len(), 3);
    assert_eq!(incident.part(&service_id("web")).unwrap().started_at, at(240), "each keeps its own time");
    for name in ["db", "api", "web"] {
        story.target(name, UP);
    }
    story.run_to(600);
    assert_eq!(story.told().last().unwrap(), "485 resolved api db web");
    // Failing again reopens the whole, and its old name is not given again.
    story.target("web", DOWN).run_to(720);
    assert_eq!(story.told().last().unwrap(), "610 reopened web");
    assert_eq!(story.world.incident(&alias).unwrap().id, story.the_incident().id);
}

#[test]
fn what_is_merged_before_it_was_told_is_told_once() {
    let mut rules = rules(&["db", "api -> db", "web -> db"]);
    rules.incidents.gather = Duration::from_hours(1);
    let mut story = Story::with(rules);
    root_found_last(&mut story);
    assert_eq!(story.told(), ["70 opened api db web", "250 opened web (silent)"]);
}

fn with_text(id: &str) -> Note {
    let mut note = note(id, &[]);
    note.updates.push(update("We look into it."));
    note
}

#[test]
fn what_people_wrote_about_is_never_merged_away() {
    let mut story = Story::of(&["db", "api -> db", "web -> db"]);
    story.run_to(60).target("api", DOWN).run_to(240).target("web", DOWN).run_to(300);
    story.note(&with_text("2026-11-21-web"));
    story.run_to(360).target("db", DOWN).run_to(480);
    assert_eq!(story.the_incident().id.as_str(), "2026-11-21-web");
    assert_eq!(story.the_incident().updates.len(), 1);

    let mut story = Story::of(&["db", "api -> db", "web -> db"]);
    story.run_to(60).target("api", DOWN).run_to(240).target("web", DOWN).run_to(300);
    story.note(&with_text("2026-11-21-web"));
    story.note(&with_text("2026-11-21-api"));
    story.run_to(360).target("db", DOWN).run_to(480);
    assert_eq!(story.incidents.len(), 2);
}

#[test]
fn a_note_on_what_was_merged_speaks_of_the_whole() {
    let mut story = Story::of(&["db", "api -> db", "web -> db"]);
    root_found_last(&mut story);
    story.note(&with_text("2026-11-21-web"));
    assert_eq!(story.the_incident().updates.len(), 1);
    assert_eq!(story.the_incident().id.as_str(), "2026-11-21-api");
}

#[test]
fn a_storm_in_a_group_is_one_event_although_it_is_seen_by_and_by() {
    let names: Vec<String> = (0..1000).map(|n| format!("s{n}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut rules = rules(&all);
    grouped(&mut rules, &all);
    let mut story = Story::quick(rules);
    story.run_to(110);
    for name in &names {
        story.target(name, DOWN);
    }
    for start in [110, 115, 120] {
        story.now = at(start);
        story.probe_at("s7", DOWN, at(start));
    }
    story.run_to(170);
    assert_eq!(story.the_incident().affected.len(), 1000);
    assert_eq!(story.events.len(), 1, "the others were probed at once, and news waited for them");
    assert_eq!(story.events[0].services.len(), 1000);
    let waited = story.events[0].seals_at.duration_since(story.events[0].recorded_at).as_secs();
    assert!((10..=30).contains(&waited), "{waited}");
}

#[test]
fn without_suspects_news_waits_for_gather_and_no_longer() {
    let mut story = Story::of(&["db", "api -> db", "mail"]);
    story.run_to(60).target("db", DOWN).run_to(75).target("mail", DOWN).run_to(300);
    assert_eq!(story.events[0].seals_at.duration_since(story.events[0].recorded_at).as_secs(), 10);
}

#[test]
fn when_the_root_is_back_those_that_are_not_are_named() {
    let mut story = Story::of(&["db", "api -> db", "web -> api", "cron -> db"]);
    story.run_to(60).target("db", DOWN).target("api", DOWN).target("web", DOWN).target("cron", DOWN).run_to(200);
    story.target("db", UP).target("cron", UP).run_to(600);
    let told = story.told();
    assert_eq!(told, ["70 opened db api cron web", "245 recovered cron db", "300 updated api web"]);
    let named = story.the_incident().facts.iter().find_map(|fact| match &fact.what {
        FactKind::LeftBehind { root, services } => Some((root.clone(), services.len())),
        _ => None,
    });
    assert_eq!(named, Some((service_id("db"), 2)));
    assert!(reasons(&story).contains(&&Reason::LeftBehind { root: service_id("db") }));
    story.target("api", UP).target("web", UP).run_to(900);
    assert_eq!(story.told()[3..], ["605 recovered api", "605 resolved db api cron web"]);
}

#[test]
fn when_the_root_fails_again_or_all_are_back_in_time_nobody_is_named() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(60).target("db", DOWN).target("api", DOWN).run_to(200).target("db", UP).run_to(270);
    story.target("db", DOWN);
    for start in [270, 275, 280] {
        story.now = at(start);
        story.probe_at("db", DOWN, at(start));
    }
    story.run_to(600);
    assert!(story.events.iter().all(|event| event.kind != EventKind::Updated), "{:?}", story.told());
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(60).target("db", DOWN).target("api", DOWN).run_to(200).target("db", UP).run_to(250);
    story.target("api", UP).run_to(600);
    assert!(story.events.iter().all(|event| event.kind != EventKind::Updated), "{:?}", story.told());
}
