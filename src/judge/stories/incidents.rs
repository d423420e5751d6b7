//! Opening, joining, recovering, ending and going on again (spec, section 4, rules 3 to 6).

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{GroupId, Impact, IncidentId, IncidentStatus, event::EventKind, incident::FactKind},
    judge::{Reason, story::*},
};

#[test]
fn an_unimportant_service_never_makes_a_major_outage() {
    let mut rules = rules(&["blog"]);
    Arc::get_mut(&mut rules.services[0]).unwrap().max_impact = Impact::Minor;
    let mut story = Story::with(rules);
    story.target("blog", DOWN).run_to(60);
    assert_eq!(story.the_incident().impact, Impact::Minor);
}

#[test]
fn unrelated_services_have_incidents_of_their_own() {
    let mut story = Story::of(&["api", "mail"]);
    story.target("api", DOWN).target("mail", DOWN).run_to(300);
    assert_eq!(story.told(), ["10 opened api", "10 opened mail"]);
}

#[test]
fn what_needs_a_broken_service_joins_its_incident() {
    let mut story = Story::of(&["db", "cache -> db", "api -> cache"]);
    story.run_to(60).target("db", DOWN).run_to(120).target("api", DOWN).run_to(240);
    assert_eq!(story.told(), ["70 opened db", "130 joined api"]);
    let incident = story.the_incident();
    assert_eq!(incident.root, Some(service_id("db")));
    let needs = incident.facts.iter().find_map(|fact| match &fact.what {
        FactKind::Joined { needs, .. } => needs.clone(),
        _ => None,
    });
    assert_eq!(needs, Some(service_id("db")));
    let root = Reason::JoinedCascade { root: service_id("db") };
    assert!(story.steps.iter().flat_map(|step| &step.decisions).any(|it| it.reason == root && it.incident.is_some()));
}

#[test]
fn a_root_found_later_is_named_and_the_id_stays() {
    let mut story = Story::of(&["db", "api -> db", "web -> api"]);
    story.run_to(60).target("web", DOWN).run_to(120).target("api", DOWN).run_to(180);
    assert_eq!(story.the_incident().root, Some(service_id("api")));
    story.target("db", DOWN).run_to(300);
    assert_eq!(story.the_incident().root, Some(service_id("db")));
    assert_eq!(story.the_incident().id.as_str(), "2026-11-21-web");
}

#[test]
fn what_joins_within_gather_is_one_event() {
    let mut story = Story::of(&["db", "api -> db", "web -> db"]);
    story.now = at(30);
    for (start, name) in [(0, "db"), (1, "api"), (2, "web")] {
        for probe in [0, 5, 10] {
            story.probe_at(name, DOWN, at(start + probe));
        }
    }
    assert_eq!(story.told(), ["30 opened db api web"]);
    let event = &story.events[0];
    assert_eq!(event.seals_at, at(41), "in whole seconds for the last one that was suspect");
    assert_eq!(event.view.affected.len(), 3);
    assert_eq!(event.at, at(0));
}

#[test]
fn news_that_worsens_within_gather_is_told_as_it_is_by_then() {
    let mut story = Story::of(&["api: one two"]);
    story.now = at(20);
    story.probe_at("api/two", UP, at(0));
    for start in [1, 6, 11] {
        story.probe_at("api/one", DOWN, at(start));
    }
    assert_eq!(story.events[0].view.impact, Impact::Major);
    for start in [2, 7, 12] {
        story.probe_at("api/two", DOWN, at(start));
    }
    assert_eq!(story.events.len(), 1);
    assert_eq!(story.events[0].view.impact, Impact::Critical);
}

#[test]
fn services_of_one_group_or_host_share_an_incident_within_the_window() {
    let mut rules = rules(&["a", "b", "c", "d"]);
    let group = Some(GroupId::new("public").unwrap());
    Arc::get_mut(&mut rules.services[0]).unwrap().group.clone_from(&group);
    Arc::get_mut(&mut rules.services[1]).unwrap().group.clone_from(&group);
    Arc::get_mut(&mut rules.services[2]).unwrap().checks = vec![check("tcp", "b")];
    Arc::get_mut(&mut rules.services[3]).unwrap().group = group;
    let mut story = Story::with(rules);
    story.run_to(30).target("a", DOWN).target("b", DOWN).target("c", DOWN).run_to(180);
    assert_eq!(story.told(), ["70 opened a b c"]);
    story.target("d", DOWN).run_to(300);
    assert_eq!(story.told().last().unwrap(), "190 opened d", "two minutes later is another matter");
}

#[test]
fn a_storm_is_one_incident_however_unrelated() {
    let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    let mut story = Story::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        story.target(name, DOWN);
    }
    story.run_to(120);
    assert_eq!(story.the_incident().affected.len(), 8, "the fifth knows that it is one");
    assert_eq!(story.the_incident().aliases.len(), 3);
    let told: Vec<_> = story.events.iter().filter(|event| event.notify).collect();
    assert_eq!((told.len(), told[0].services.len()), (1, 8), "{:?}", story.told());
    assert_eq!(told[0].view.affected.len(), 8);
}

#[test]
fn a_thousand_services_of_one_group_are_one_incident_and_one_event() {
    let names: Vec<String> = (0..1000).map(|n| format!("s{n}")).collect();
    let mut rules = rules(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for service in &mut rules.services {
        Arc::get_mut(service).unwrap().group = Some(GroupId::new("public").unwrap());
    }
    let mut story = Story::quick(rules);
    for probe in [0, 5, 10] {
        story.now = at(probe);
        for name in &names {
            story.probe_at(name, DOWN, at(probe));
        }
    }
    assert_eq!(story.the_incident().affected.len(), 1000);
    assert_eq!(story.events.len(), 1);
    assert_eq!(story.events[0].services.len(), 1000);
}

#[test]
fn each_service_that_is_back_is_told_and_the_last_one_ends_it() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.target("db", DOWN).target("api", DOWN).run_to(120).target("db", UP).run_to(300).target("api", UP).run_to(600);
    assert_eq!(story.told(), ["10 opened db api", "125 recovered db", "180 updated api", "305 resolved db api"]);
    let incident = story.the_incident();
    assert_eq!(incident.resolved_at, Some(at(300)));
    assert_eq!(incident.affected[0].downtime_ms(at(9999)), 120_000);
    assert_eq!(incident.affected[1].downtime_ms(at(9999)), 300_000);
}

#[test]
fn failing_again_soon_reopens_and_the_time_adds_up() {
    let mut story = Story::of(&["api"]);
    story.target("api", DOWN).run_to(120).target("api", UP).run_to(300).target("api", DOWN).run_to(420);
    story.target("api", UP).run_to(600);
    assert_eq!(story.told(), ["10 opened api", "125 resolved api", "310 reopened api", "425 resolved api"]);
    let incident = story.the_incident();
    assert_eq!((incident.reopened, incident.started_at, incident.resolved_at), (1, at(0), Some(at(420))));
    assert_eq!(incident.affected[0].downtime_ms(at(9999)), 240_000);
    assert_eq!(incident.affected[0].earlier_ms, 120_000);
}

#[test]
fn failing_again_later_is_a_new_incident_with_a_name_of_its_own() {
    let mut story = Story::of(&["api"]);
    for round in 0..3 {
        story.target("api", DOWN).run_to(round * 3600 + 120).target("api", UP).run_to((round + 1) * 3600);
    }
    let ids: Vec<_> = story.incidents.keys().map(IncidentId::as_str).collect();
    assert_eq!(ids, ["2026-11-21-api", "2026-11-21-api-2", "2026-11-21-api-3"]);
}

#[test]
fn a_name_that_a_note_took_is_not_given_again() {
    let mut story = Story::of(&["api", "mail"]);
    story.note(&note("2026-11-21-api", &["mail"]));
    story.target("api", DOWN).run_to(120);
    assert!(story.incidents.keys().any(|id| id.as_str() == "2026-11-21-api-2"));
}

#[test]
fn a_service_that_fails_again_while_others_still_do_joins_again() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.target("db", DOWN).target("api", DOWN).run_to(120).target("api", UP).run_to(240);
    story.target("api", DOWN).run_to(360);
    assert_eq!(story.told(), ["10 opened db api", "125 recovered api", "250 joined api"]);
    assert_eq!(story.the_incident().part(&service_id("api")).unwrap().earlier_ms, 120_000);
}

#[test]
fn without_auto_resolve_it_waits_for_the_operator() {
    let mut rules = rules(&["api"]);
    rules.incidents.auto_resolve = false;
    let mut story = Story::with(rules);
    story.target("api", DOWN).run_to(120).target("api", UP).run_to(300);
    assert_eq!(story.the_incident().status, IncidentStatus::Monitoring);
    assert_eq!(story.told(), ["10 opened api", "125 recovered api"]);
    let mut word = note("2026-11-21-api", &[]);
    word.updates.push(update("All good."));
    word.updates[0].status = Some(IncidentStatus::Resolved);
    story.note(&word);
    assert_eq!(story.told()[2], "300 resolved api");
    assert_eq!(story.the_incident().status, IncidentStatus::Resolved);
}

#[test]
fn a_removed_service_ends_its_part_and_the_same_name_restores_it() {
    let mut story = Story::of(&["db", "api -> db"]);
    story.target("db", DOWN).target("api", DOWN).run_to(120);
    story.reload(rules(&["db"]));
    assert_eq!(story.spans("api"), ["0 major_outage", "120 unknown"]);
    assert!(story.the_incident().is_open());
    story.reload(rules(&[]));
    assert!(!story.the_incident().is_open());
    assert_eq!(story.told()[1..], ["120 resolved db api"]);
    let is_end = |kind: &FactKind| matches!(kind, FactKind::NoLongerMonitored { .. });
    assert_eq!(story.the_incident().facts.iter().filter(|fact| is_end(&fact.what)).count(), 2);
    story.reload(rules(&["db", "api -> db"]));
    story.target("db", UP).target("api", UP).run_to(600);
    assert_eq!(story.spans("api"), ["0 major_outage", "120 operational"], "no stretch of no length");
    assert_eq!(story.events.len(), 2);
}

#[test]
fn ids_of_events_differ_and_the_same_story_gives_the_same() {
    let tell = || {
        let mut story = Story::of(&["db", "api -> db", "mail"]);
        story.target("db", DOWN).target("mail", DOWN).run_to(200).target("api", DOWN).run_to(400);
        story.events
    };
    let events = tell();
    assert_eq!(events, tell());
    let ids: std::collections::BTreeSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), events.len());
    assert!(events.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at));
}

#[test]
fn the_end_is_told_after_the_beginning_even_within_gather() {
    let mut rules = rules(&["api"]);
    rules.incidents.gather = Duration::from_hours(1);
    let mut story = Story::with(rules);
    story.target("api", DOWN).run_to(120).target("api", UP).run_to(300);
    let (first, last) = (&story.events[0], &story.events[1]);
    assert_eq!((first.kind, last.kind), (EventKind::Opened, EventKind::Resolved));
    assert!(first.seals_at <= last.seals_at);
    assert!(first.view.resolved_at.is_none(), "as it was then");
}

#[test]
fn an_event_of_now_is_not_taken_for_one_of_a_clock_that_was_set_back_a_little() {
    let mut story = Story::quick(rules(&["db", "web"]));
    let mut fails = |name: &str, seconds: [i64; 3]| {
        for second in seconds {
            story.now = at(second);
            story.probe_at(name, DOWN, at(second));
        }
        story.events.last().unwrap().clone()
    };
    fails("db", [100, 105, 110]);
    let event = fails("web", [101, 102, 104]);
    assert_eq!(event.recorded_at, at(110), "recording never runs backwards");
    assert!(event.seals_at > at(104) && !event.is_sealed(at(104)), "it still gathers: {event:?}");
}
