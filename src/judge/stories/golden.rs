//! Days that nobody wants, at their points of change: what was told when, and what the record says.

use crate::judge::{Input, story::*};

/// `api` fails from a minute after the start until ten minutes after it.
fn an_outage(story: &mut Story) {
    story.run_to(60).target("api", DOWN).run_to(600).target("api", UP).run_to(1200);
}

#[test]
fn a_restart_at_each_step_of_an_incident_changes_nothing_of_it() {
    let mut undisturbed = Story::of(&["api"]);
    an_outage(&mut undisturbed);
    assert_eq!(undisturbed.told(), ["70 opened api", "605 resolved api"]);
    assert_eq!(undisturbed.spans("api"), ["0 operational", "60 major_outage", "600 operational"]);
    // Before and after the first failure, the second, the verdict, the sealing of the news, the first
    // good probe, and the end.
    for at in [59, 61, 64, 66, 69, 71, 79, 81, 599, 601, 604, 606, 616] {
        let mut story = Story::of(&["api"]);
        let steps = [(60, None), (600, Some(DOWN)), (1200, Some(UP))];
        let mut from = 0;
        for (to, result) in steps {
            if let Some(result) = result {
                story.target("api", result);
            }
            if (from..to).contains(&at) {
                story.run_to(at);
                story.restart();
            }
            story.run_to(to);
            from = to;
        }
        assert_eq!(story.told(), undisturbed.told(), "restarted at {at}");
        assert_eq!(story.spans("api"), undisturbed.spans("api"), "restarted at {at}");
        let facts = |story: &Story| {
            let facts = story.the_incident().facts.iter();
            facts.map(|fact| (fact.at.as_second(), fact.what.clone())).collect::<Vec<_>>()
        };
        assert_eq!(facts(&story), facts(&undisturbed), "restarted at {at}");
    }
}

#[test]
fn an_hour_of_suspend_is_a_gap_and_no_outage() {
    let mut story = Story::of(&["api", "db"]);
    story.run_to(300).sleep_to(3900);
    story.give(Input::Suspended);
    story.run_to(4200);
    assert!(story.told().is_empty());
    for name in ["api", "db"] {
        assert_eq!(story.spans(name), ["0 operational", "240 unknown", "3900 operational"], "{name}");
    }
}

#[test]
fn an_hour_of_suspend_in_an_outage_neither_ends_it_nor_tells_it_again() {
    let mut story = Story::of(&["api"]);
    story.run_to(60).target("api", DOWN).run_to(300).sleep_to(3900);
    story.give(Input::Suspended);
    story.run_to(4200);
    assert_eq!(story.told(), ["70 opened api"]);
    story.target("api", UP).run_to(4500);
    assert_eq!(story.told()[1..], ["4205 resolved api"]);
    assert_eq!(
        story.spans("api"),
        ["0 operational", "60 major_outage", "240 unknown", "3900 major_outage", "4200 operational"]
    );
}

#[test]
fn a_clock_that_is_set_forward_two_hours_in_an_outage_leaves_it_open() {
    let mut story = Story::of(&["api", "db"]);
    story.run_to(60).target("api", DOWN).run_to(300).sleep_to(7500);
    story.give(Input::Suspended);
    story.run_to(7800).target("api", UP).run_to(8100);
    assert_eq!(story.told(), ["70 opened api", "7805 resolved api"]);
    assert_eq!(story.spans("db"), ["0 operational", "240 unknown", "7500 operational"]);
}

#[test]
fn a_clock_that_is_set_back_two_hours_in_an_outage_leaves_it_open_and_its_end_is_told() {
    let mut story = Story::of(&["api", "db"]);
    story.run_to(7260).target("api", DOWN).run_to(7500);
    assert_eq!(story.told(), ["7270 opened api"]);
    story.now = at(300);
    story.give(Input::Suspended);
    for (start, result) in [(300, DOWN), (360, DOWN), (420, UP), (425, UP)] {
        story.now = at(start);
        story.probe_at("api", result, at(start));
        story.probe_at("db", UP, at(start));
    }
    let last = story.events.last().unwrap();
    assert_eq!((last.kind.as_str(), last.is_sealed(at(426))), ("resolved", true), "told at once: {last:?}");
    assert_eq!(seconds(last.recorded_at), 7270, "recording never runs backwards");
    let incident = story.the_incident();
    assert!(!incident.is_open() && incident.resolved_at >= Some(incident.started_at));
    assert_eq!(story.spans("db"), ["0 operational"]);
}

#[test]
fn two_unrelated_failures_in_one_minute_are_two_incidents_that_end_apart() {
    let mut story = Story::of(&["mail", "shop", "web"]);
    story.run_to(60).target("mail", DOWN).run_to(100).target("shop", DOWN).run_to(400);
    story.target("mail", UP).run_to(700).target("shop", UP).run_to(1000);
    assert_eq!(
        story.told(),
        ["70 opened mail", "130 opened shop", "425 resolved mail", "725 resolved shop"],
        "each to whom it concerns"
    );
    let ids: Vec<_> = story.incidents.keys().map(ToString::to_string).collect();
    assert_eq!(ids, ["2026-11-21-mail", "2026-11-21-shop"]);
    assert!(story.incidents.values().all(|incident| incident.affected.len() == 1 && incident.root.is_none()));
}

#[test]
fn a_child_that_fails_before_its_root_names_the_root_and_keeps_its_name() {
    let mut story = Story::of(&["db", "api -> db", "web -> api"]);
    // The child is found down while the root still answers.
    story.run_to(60).target("web", DOWN).run_to(100);
    assert_eq!(story.told(), ["70 opened web"]);
    story.target("db", DOWN).target("api", DOWN).run_to(300);
    assert_eq!(story.told()[1..], ["130 joined db api"]);
    let incident = story.the_incident();
    assert_eq!(incident.id.as_str(), "2026-11-21-web");
    assert_eq!(incident.root, Some(service_id("db")));
    // The root is back and all that need it.
    story.target("db", UP).target("api", UP).target("web", UP).run_to(600);
    assert!(story.told().last().is_some_and(|last| last.contains("resolved")), "{:?}", story.told());
    assert_eq!(story.incidents.len(), 1);
}
