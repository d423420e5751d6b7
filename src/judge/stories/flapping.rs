//! Coming and going: told once, then quiet until it holds (spec, section 4, rule 6).

use crate::{
    domain::{IncidentStatus, event::EventKind, incident::FactKind},
    judge::{Reason, story::*},
};

/// From `from` on, `name` is down for two minutes of every four, so many times.
fn flap(story: &mut Story, name: &str, from: i64, times: i64) -> i64 {
    for round in 0..times {
        let start = from + round * 240;
        story.run_to(start).target(name, DOWN).run_to(start + 120).target(name, UP);
    }
    from + times * 240
}

#[test]
fn at_the_third_outage_it_comes_and_goes_and_only_the_site_follows() {
    let mut story = Story::of(&["api"]);
    let end = flap(&mut story, "api", 60, 40);
    story.run_to(end);
    let told = ["70 opened api", "185 resolved api", "310 reopened api", "425 resolved api", "550 intermittent api"];
    assert_eq!(story.told(), told);
    assert_eq!(story.the_incident().reopened, 39, "the site shows each of them");
    assert_eq!(story.raw_spans("api").len(), 81);
    story.run_to(end + 3600);
    assert_eq!(story.told()[5..], [format!("{} resolved api", end - 115 + 600)]);
    let last = story.events.last().unwrap();
    assert_eq!(last.at, at(end - 120), "over since the first good probe");
    let reasons: Vec<_> = story.steps.iter().flat_map(|step| &step.decisions).map(|it| &it.reason).collect();
    assert!(reasons.contains(&&Reason::Intermittent) && reasons.contains(&&Reason::Steady { down: 0 }));
    assert!(reasons.iter().filter(|it| ***it == Reason::NotTold).count() > 70);
}

#[test]
fn if_it_is_down_that_holds_that_is_told_once() {
    let mut story = Story::of(&["api"]);
    let end = flap(&mut story, "api", 60, 5);
    story.run_to(end).target("api", DOWN).run_to(end + 3600);
    let told = story.told();
    assert_eq!(told[4..], ["550 intermittent api".to_owned(), format!("{} updated api", end + 610)]);
    let steady = FactKind::Steady { services: vec![service_id("api")] };
    assert_eq!(story.events[5].fact, Some(steady));
    assert!(story.the_incident().is_open());
    story.target("api", UP).run_to(end + 3900);
    assert_eq!(story.told()[6..], [format!("{} resolved api", end + 3605)], "the end of that is told as ever");
}

#[test]
fn coming_and_going_never_delays_the_first_word_on_another_service() {
    let mut story = Story::of(&["db", "api -> db"]);
    let end = flap(&mut story, "db", 60, 4);
    story.run_to(end).target("db", DOWN).target("api", DOWN).run_to(end + 100);
    assert_eq!(story.told().last().unwrap(), &format!("{} joined api", end + 10));
    story.target("db", UP).target("api", UP).run_to(end + 2000);
    assert_eq!(story.told().last().unwrap(), &format!("{} resolved db api", end + 725));
}

#[test]
fn what_flaps_while_others_keep_the_incident_open_is_told_once_too() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(60).target("db", DOWN);
    let end = flap(&mut story, "api", 120, 6);
    story.run_to(end);
    let flaps: Vec<_> = story.told().into_iter().filter(|line| line.contains("api")).collect();
    assert_eq!(
        flaps[..5],
        ["130 joined api", "245 recovered api", "370 joined api", "485 recovered api", "610 intermittent db api"]
    );
    assert_eq!(flaps.len(), 5);
}

#[test]
fn what_people_write_is_told_all_the_same_and_their_end_ends_it() {
    let mut story = Story::of(&["api"]);
    let end = flap(&mut story, "api", 60, 5);
    story.run_to(end);
    let mut word = note("2026-11-21-api", &[]);
    word.updates.push(update("We look into it."));
    story.note(&word);
    assert!(story.told().last().unwrap().ends_with("updated api"));
    story.target("api", DOWN).run_to(end + 60).target("api", UP).run_to(end + 200);
    word.updates.push(update("A loose cable."));
    word.updates[1].status = Some(IncidentStatus::Resolved);
    story.note(&word);
    story.run_to(end + 3000);
    let kinds: Vec<_> = story.events[5..].iter().map(|event| event.kind).collect();
    assert!(kinds.iter().filter(|kind| **kind == EventKind::Resolved).count() <= 1, "{:?}", story.told());
    assert_eq!(story.the_incident().status, IncidentStatus::Resolved);
}

#[test]
fn once_steady_it_is_counted_anew() {
    let mut story = Story::of(&["api"]);
    let end = flap(&mut story, "api", 60, 3);
    story.run_to(end).target("api", DOWN).run_to(end + 1000);
    assert!(story.told().last().unwrap().ends_with("updated api"));
    story.target("api", UP).run_to(end + 1100).target("api", DOWN).run_to(end + 1200);
    assert!(story.told().last().unwrap().ends_with("reopened api"), "{:?}", story.told());
}

#[test]
fn outages_far_apart_are_no_coming_and_going() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.run_to(60).target("db", DOWN);
    for round in 0..5 {
        story.run_to(1000 + round * 2000).target("api", DOWN).run_to(1200 + round * 2000).target("api", UP);
    }
    story.run_to(12_000);
    assert!(story.events.iter().all(|event| event.kind != EventKind::Intermittent), "{:?}", story.told());
}

#[test]
fn a_day_of_flapping_leaves_a_page_that_can_be_read() {
    let mut story = Story::of(&["api"]);
    let end = flap(&mut story, "api", 60, 360);
    story.run_to(end);
    assert!(story.the_incident().facts.len() < 20, "{}", story.the_incident().facts.len());
    assert_eq!(story.the_incident().facts[0].at, at(60), "the beginning stays");
    assert_eq!(story.events.len(), 5);
}
