//! The story of an incident: every decision that belongs to it is kept with it, from the first failure
//! to the last verdict.

use crate::{
    domain::{incident::FactKind, outcome::Class},
    judge::{Reason, story::*},
};

#[test]
fn it_begins_with_the_first_failure_and_ends_with_the_verdict_that_ended_it() {
    let mut story = Story::of(&["api"]);
    story.fails_as("api", Class::Timeout);
    story.run_to(60).target("api", DOWN).run_to(600).target("api", UP).run_to(900);
    assert_eq!(
        story.reasons(),
        [
            "60 api: not yet decided: 1 of 3 probes agree",
            "65 api: not yet decided: 2 of 3 probes agree",
            "70 api: a new incident",
            "70 api: down: 3 probes in a row failed",
            "605 api: up: 2 probes in a row succeeded",
            "605 api: over: everything affected is back",
        ]
    );
    let kept = story.steps.iter().flat_map(|step| &step.decisions).filter(|it| it.incident.is_some());
    let causes: Vec<_> = kept.filter_map(|it| it.reason.cause()).map(|cause| cause.class).collect();
    assert_eq!(causes, [Class::Timeout; 3], "each says what the probe found");
}

#[test]
fn a_blip_belongs_to_it_while_it_is_open_and_else_to_nothing() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(60).target("api", DOWN).run_to(66).target("api", UP).run_to(300);
    assert!(story.reasons().is_empty(), "{:?}", story.reasons());
    story.target("db", DOWN).target("api", DOWN).run_to(600).target("api", UP).run_to(900);
    story.target("api", DOWN).run_to(906).target("api", UP).run_to(1200);
    let blips: Vec<String> = story.reasons().into_iter().filter(|it| it.contains("nothing: ")).collect();
    assert_eq!(blips, ["910 api: nothing: it was good again after 2 failed"]);
}

#[test]
fn a_recovery_that_did_not_hold_is_told_as_such() {
    let mut story = Story::of(&["api"]);
    story.run_to(60).target("api", DOWN).run_to(600).target("api", UP).run_to(602).target("api", DOWN).run_to(900);
    assert!(
        story.reasons().contains(&"605 api: nothing: it failed again after 1 succeeded".to_owned()),
        "{:?}",
        story.reasons()
    );
}

#[test]
fn what_a_verdict_waited_for_is_part_of_it() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.now = at(60);
    for (check, second) in [("api", 60), ("db", 61), ("api", 65), ("api", 70), ("db", 71), ("db", 76)] {
        story.now = at(second) + LATENCY;
        story.probe_at(check, DOWN, at(second));
    }
    let reasons = story.reasons();
    assert!(reasons.contains(&"70 api: waits: db, which it needs, is in question".to_owned()), "{reasons:?}");
    assert!(reasons.iter().any(|it| it == "76 api: part of this incident: it goes back to db"), "{reasons:?}");
    assert!(story.the_incident().facts.iter().any(|it| matches!(it.what, FactKind::Joined { .. })));
}

#[test]
fn what_was_considered_before_a_suspend_is_no_part_of_what_comes_after() {
    let mut story = Story::of(&["api"]);
    story.run_to(60).target("api", DOWN).run_to(66);
    story.sleep_to(3600);
    story.give(crate::judge::Input::Suspended);
    story.run_to(3700);
    let first = story.reasons().into_iter().next().unwrap();
    assert!(first.starts_with("3600 api: not yet decided: 1 of 3"), "{first}");
}

#[test]
fn that_two_incidents_became_one_is_part_of_the_one_that_stays() {
    let mut story = Story::of(&["db", "api -> db", "web -> db"]);
    story.run_to(60);
    for (check, second) in [("api", 60), ("api", 65), ("api", 70), ("web", 200), ("web", 205), ("web", 210)] {
        story.now = at(second) + LATENCY;
        story.probe_at("db", UP, at(second) - LATENCY);
        story.probe_at(check, DOWN, at(second));
    }
    assert_eq!(story.incidents.len(), 2, "the second began too late to be related");
    for second in [300, 305, 310] {
        story.now = at(second) + LATENCY;
        story.probe_at("db", DOWN, at(second));
    }
    let merged: Vec<_> = story
        .steps
        .iter()
        .flat_map(|step| &step.decisions)
        .filter(|it| matches!(it.reason, Reason::Merged { .. }))
        .map(|it| it.incident.clone().unwrap())
        .collect();
    assert_eq!(merged, [story.the_incident().id.clone()]);
}

#[test]
fn a_promise_that_is_not_kept_is_part_of_it() {
    let mut story = Story::of(&["api"]);
    story.run_to(60).target("api", DOWN).run_to(120);
    let mut word = note(story.the_incident().id.as_str(), &[]);
    word.updates.push(crate::domain::note::NoteUpdate { next_update_ms: Some(60_000), ..update("We look.") });
    story.note(&word);
    story.run_to(900);
    let overdue: Vec<String> = story.reasons().into_iter().filter(|it| it.contains("promised")).collect();
    assert_eq!(overdue.len(), 1, "{overdue:?}");
    assert!(overdue[0].starts_with("180 api: "), "{overdue:?}");
}

#[test]
fn a_check_that_never_comes_to_a_verdict_keeps_the_beginning_and_the_latest_of_what_was_considered() {
    let mut rules = rules(&["api"]);
    std::sync::Arc::get_mut(&mut rules.services[0]).unwrap().checks[0].down_after = 40;
    let mut story = Story::with(rules);
    story.run_to(60).target("api", DOWN).run_to(600);
    let reasons = story.reasons();
    assert!(
        reasons[0].ends_with("1 of 40 probes agree") && reasons[15].ends_with("39 of 40 probes agree"),
        "{reasons:?}"
    );
    assert!(reasons[16].ends_with("a new incident"), "{reasons:?}");
}
