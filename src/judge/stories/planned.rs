//! Planned work (spec, section 4, rule 7).

use crate::{
    domain::{
        ServiceStatus,
        maintenance::{MaintenanceId, Window},
    },
    judge::{Input, Reason, Step, story::*},
};

fn window(id: &str, services: &[&str], starts: i64, ends: i64) -> Window {
    Window {
        id: MaintenanceId::new(id).unwrap(),
        services: services.iter().map(|id| service_id(id)).collect(),
        starts: at(starts),
        ends: at(ends),
        covers_dependents: true,
        cancelled: false,
    }
}

fn plan(story: &mut Story, window: &Window) -> Step {
    story.give(Input::Maintenance(Box::new(window.clone())))
}

#[test]
fn during_planned_work_failures_open_nothing_and_what_still_fails_at_the_end_does() {
    let mut story = Story::of(&["db"]);
    story.run_to(100);
    plan(&mut story, &window("upgrade", &["db"], 200, 800));
    assert_eq!(story.spans("db"), ["0 operational"], "not yet");
    story.run_to(300).target("db", DOWN).run_to(400).target("db", UP).run_to(600).target("db", DOWN).run_to(790);
    assert!(story.told().is_empty());
    assert_eq!(story.spans("db"), ["0 operational", "200 under_maintenance"]);
    let is_planned = |reason: &Reason| matches!(reason, Reason::Planned);
    assert!(story.steps.iter().flat_map(|step| &step.decisions).any(|it| is_planned(&it.reason)));
    story.run_to(1000);
    assert_eq!(story.told(), ["800 opened db"]);
    assert_eq!((story.the_incident().started_at, story.events[0].at), (at(800), at(800)));
    story.target("db", UP).run_to(1200);
    let spans = ["0 operational", "200 under_maintenance", "800 major_outage", "1020 operational"];
    assert_eq!(story.spans("db"), spans);
}

#[test]
fn planned_work_covers_what_needs_its_services_unless_it_says_otherwise() {
    let mut story = Story::of(&["db", "api -> db", "web -> api", "mail"]);
    story.run_to(100);
    plan(&mut story, &window("upgrade", &["db"], 110, 800));
    for name in ["db", "api", "web", "mail"] {
        story.target(name, DOWN);
    }
    story.run_to(700);
    assert_eq!(story.told(), ["130 opened mail"], "the others are planned");
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(100);
    plan(&mut story, &Window { covers_dependents: false, ..window("upgrade", &["db"], 200, 800) });
    story.run_to(250).target("db", DOWN).target("api", DOWN).run_to(700);
    assert_eq!(story.told(), ["310 opened api"]);
    assert_eq!(story.status("db"), Some(ServiceStatus::UnderMaintenance));
}

#[test]
fn work_that_was_declared_later_takes_its_time_out_of_the_record() {
    let mut story = Story::of(&["db"]);
    story.run_to(300).target("db", DOWN).run_to(600).target("db", UP).run_to(1000);
    assert_eq!(story.spans("db"), ["0 operational", "300 major_outage", "600 operational"]);
    plan(&mut story, &window("forgotten", &["db"], 240, 660));
    assert_eq!(story.spans("db"), ["0 operational", "240 under_maintenance", "660 operational"]);
    plan(&mut story, &Window { cancelled: true, ..window("forgotten", &["db"], 240, 660) });
    assert_eq!(story.spans("db"), ["0 operational", "300 major_outage", "600 operational"]);
    assert_eq!(story.told().len(), 2, "nobody is told again");
}

#[test]
fn what_was_broken_before_and_comes_back_during_the_work_was_down_until_then() {
    let mut story = Story::of(&["db"]);
    story.run_to(60).target("db", DOWN).run_to(200);
    plan(&mut story, &window("repair", &["db"], 200, 3000));
    story.run_to(600).target("db", UP).run_to(700);
    assert_eq!(story.told(), ["70 opened db", "605 resolved db"]);
    assert_eq!(story.the_incident().resolved_at, Some(at(600)));
    assert_eq!(story.spans("db"), ["0 operational", "60 major_outage", "200 under_maintenance"]);
}

#[test]
fn an_end_that_is_moved_holds_from_then_on() {
    let mut story = Story::of(&["db"]);
    story.run_to(100);
    plan(&mut story, &window("upgrade", &["db"], 200, 800));
    story.run_to(250).target("db", DOWN).run_to(500);
    plan(&mut story, &window("upgrade", &["db"], 200, 500));
    assert_eq!(story.told(), ["500 opened db"], "declared over while it still fails");
    plan(&mut story, &window("upgrade", &["db"], 200, 900));
    story.run_to(950);
    assert_eq!(story.spans("db").last().unwrap(), "900 major_outage");
    assert_eq!(story.told().len(), 1);
}

#[test]
fn rules_that_say_what_needs_what_move_the_work_along() {
    let mut story = Story::of(&["db", "api"]);
    story.run_to(100);
    plan(&mut story, &window("upgrade", &["db"], 100, 800));
    assert_eq!(story.status("api"), Some(ServiceStatus::Operational));
    story.reload(rules(&["db", "api -> db"]));
    assert_eq!(story.status("api"), Some(ServiceStatus::UnderMaintenance));
    story.run_to(1000);
    assert_eq!(story.status("api"), Some(ServiceStatus::Operational));
}

#[test]
fn work_that_is_moved_leaves_one_time_of_which_nobody_knows_and_not_two() {
    let mut story = Story::of(&["api"]);
    plan(&mut story, &window("work", &["api"], 0, 106));
    story.sleep_to(1).give(Input::Tick);
    story.run_to(2).sleep_to(601).give(Input::Tick);
    plan(&mut story, &window("work", &["api"], 601, 602));
    assert_eq!(story.spans("api")[0], "0 unknown");
    assert!(!story.spans("api")[1].ends_with("unknown"), "{:?}", story.spans("api"));
}
