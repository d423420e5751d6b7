//! Streaks, statuses, gaps and spans (spec, section 4, rules 1, 2, 8 and 9).

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{Impact, IncidentStatus, ServiceStatus, note::NoteUpdate, outcome::Class, service::Probe},
    judge::{Input, Priority, Reason, Request, story::*},
};

#[test]
fn an_outage_begins_with_the_first_failure_and_ends_with_the_first_success() {
    let mut story = Story::of(&["api"]);
    story.run_to(300).target("api", DOWN).run_to(900).target("api", UP).run_to(1800);
    // Failing at 300, 305.1 and 310.2, good at 900 and 905.1.
    assert_eq!(story.told(), ["310 opened api", "905 resolved api"]);
    assert_eq!(story.spans("api"), ["0 operational", "300 major_outage", "900 operational"]);
    let incident = story.the_incident();
    assert_eq!(incident.id.as_str(), "2026-11-21-api");
    assert_eq!((incident.started_at, incident.resolved_at), (at(300), Some(at(900))));
    assert_eq!(incident.status, IncidentStatus::Resolved);
    assert_eq!(incident.impact, Impact::Critical);
    assert_eq!(incident.affected[0].downtime_ms(at(5000)), 600_000);
    assert_eq!(incident.affected[0].cause, Some(Class::ConnectRefused.into()));
    assert_eq!(story.status("api"), Some(ServiceStatus::Operational));
}

#[test]
fn two_failures_are_a_blip() {
    let mut story = Story::of(&["api"]);
    story.run_to(300).target("api", DOWN).run_to(306).target("api", UP).run_to(900);
    assert!(story.told().is_empty());
    assert_eq!(story.spans("api"), ["0 operational"]);
    let reasons: Vec<_> = story.steps.iter().flat_map(|step| &step.decisions).map(|it| &it.reason).collect();
    let cause = Some(Class::ConnectRefused.into());
    assert_eq!(
        reasons[1..],
        [
            &Reason::BelowThreshold { seen: 1, needed: 3, cause },
            &Reason::BelowThreshold { seen: 2, needed: 3, cause },
            &Reason::Blip { seen: 2 }
        ]
    );
}

#[test]
fn a_suspect_is_probed_at_the_faster_pace_until_it_is_decided() {
    let mut story = Story::of(&["api"]);
    for (start, results, asked) in [(0, UP, false), (60, DOWN, true), (66, DOWN, true), (72, DOWN, false)] {
        let step = story.probe_at("api", results, at(start));
        let ask_at = at(start) + Duration::from_millis(5_100);
        let request = Request::Probe { check: key("api"), at: ask_at, priority: Priority::Recheck };
        assert_eq!(step.requests, if asked { vec![request] } else { vec![] }, "{start}");
        story.now = at(start + 1);
    }
    assert_eq!(story.probe_at("api", UP, at(132)).requests.len(), 1, "recovery is confirmed at the same pace");
    assert_eq!(story.probe_at("api", UP, at(138)).requests.len(), 0);
}

#[test]
fn a_probe_that_could_not_be_made_neither_counts_nor_breaks_a_run() {
    let mut story = Story::of(&["api"]);
    story.now = at(400);
    story.probe_at("api", UP, at(0));
    for (start, result) in [(60, DOWN), (65, UNKNOWN), (70, DOWN), (75, UNKNOWN)] {
        let step = story.probe_at("api", result, at(start));
        assert_eq!(step.requests.len(), 1, "a verdict still waits");
    }
    story.probe_at("api", DOWN, at(80));
    assert_eq!(story.spans("api"), ["0 operational", "60 major_outage"]);
}

#[test]
fn slow_answers_in_a_row_are_degraded_and_a_fast_one_between_starts_over() {
    let mut story = Story::of(&["api"]);
    story.now = at(400);
    for (start, result) in [(0, UP), (60, SLOW), (65, SLOW), (70, UP), (75, SLOW), (80, SLOW), (85, SLOW)] {
        story.probe_at("api", result, at(start));
    }
    assert_eq!(story.spans("api"), ["0 operational", "75 degraded_performance"]);
    assert_eq!(story.the_incident().impact, Impact::Minor);
    story.probe_at("api", UP, at(90));
    story.probe_at("api", SLOW, at(95));
    story.probe_at("api", UP, at(100));
    assert_eq!(story.status("api"), Some(ServiceStatus::DegradedPerformance));
    story.probe_at("api", UP, at(105));
    assert_eq!(story.spans("api").last().unwrap(), "100 operational");
}

#[test]
fn an_outage_that_ends_in_slow_answers_becomes_degraded_without_a_moment_of_green() {
    let mut story = Story::of(&["api"]);
    story.now = at(400);
    for (start, result) in [(0, DOWN), (5, DOWN), (10, DOWN), (60, SLOW), (65, SLOW), (70, SLOW)] {
        story.probe_at("api", result, at(start));
    }
    assert_eq!(story.spans("api"), ["0 major_outage", "60 degraded_performance"]);
    assert_eq!(story.told().len(), 1);
    assert_eq!(story.the_incident().impact, Impact::Critical, "the worst that it reached");
}

#[test]
fn one_of_two_checks_down_is_partial_and_both_are_major() {
    let mut story = Story::of(&["api: one two"]);
    story.run_to(300).target("api/one", DOWN).run_to(600).target("api/two", DOWN).run_to(900);
    story.target("api/one", UP).run_to(1200).target("api/two", UP).run_to(1500);
    let expected =
        ["0 operational", "300 partial_outage", "600 major_outage", "900 partial_outage", "1200 operational"];
    assert_eq!(story.spans("api"), expected);
    assert_eq!(story.told(), ["310 opened api", "1205 resolved api"], "one incident throughout");
    assert_eq!(story.the_incident().affected[0].worst, ServiceStatus::MajorOutage);
}

#[test]
fn a_slower_verdict_may_turn_out_to_have_begun_earlier() {
    let mut story = Story::of(&["api: one two"]);
    story.now = at(60);
    story.probe_at("api/one", UP, at(0));
    story.probe_at("api/two", UP, at(0));
    story.probe_at("api/two", DOWN, at(30));
    for start in [40, 41, 42] {
        story.probe_at("api/one", DOWN, at(start));
    }
    assert_eq!(story.the_incident().started_at, at(40));
    story.probe_at("api/two", DOWN, at(45));
    story.probe_at("api/two", DOWN, at(50));
    assert_eq!(story.spans("api"), ["0 operational", "30 partial_outage", "40 major_outage"]);
    assert_eq!(story.the_incident().started_at, at(30));
}

#[test]
fn results_that_arrive_late_or_twice_are_ignored() {
    let mut story = Story::of(&["api"]);
    story.now = at(400);
    story.probe_at("api", UP, at(100));
    for start in [100, 90, 80, 70] {
        let step = story.probe_at("api", DOWN, at(start));
        assert_eq!(step.decisions[0].reason, Reason::NotCounted);
    }
    story.probe_at("api", DOWN, at(105));
    story.probe_at("api", DOWN, at(110));
    assert!(story.incidents.is_empty());
}

#[test]
fn without_results_for_ten_minutes_there_is_no_recent_data_since_the_last_one() {
    let mut story = Story::of(&["api"]);
    story.run_to(301).sleep_to(890);
    story.give(Input::Tick);
    assert_eq!(story.spans("api"), ["0 operational"]);
    assert_eq!(story.world.wake_at(&story.rules), Some(at(900)));
    story.now = at(900);
    story.give(Input::Tick);
    assert_eq!(story.spans("api"), ["0 operational", "300 unknown"]);
    story.sleep_to(2000).run_to(2100);
    assert_eq!(story.spans("api"), ["0 operational", "300 unknown", "2000 operational"]);
    assert!(story.told().is_empty(), "unknown opens nothing");
}

#[test]
fn an_incident_stays_open_while_nobody_knows() {
    let mut story = Story::of(&["api"]);
    story.run_to(300).target("api", DOWN).run_to(601).sleep_to(5000);
    story.give(Input::Tick);
    assert_eq!(story.status("api"), Some(ServiceStatus::Unknown));
    assert_eq!(story.world.open_incidents().count(), 1);
    story.run_to(5400).target("api", UP).run_to(6000);
    let spans = ["0 operational", "300 major_outage", "600 unknown", "5000 major_outage", "5400 operational"];
    assert_eq!(story.spans("api"), spans);
    assert_eq!(story.told(), ["310 opened api", "5405 resolved api"]);
}

#[test]
fn a_check_that_nobody_hears_of_any_more_ends_no_outage() {
    let mut story = Story::of(&["api: one two"]);
    story.run_to(300).target("api/two", DOWN).run_to(601).sleep_to(5000);
    story.give(Input::Tick);
    story.probe_at("api/one", UP, at(5000));
    assert_eq!(story.status("api"), Some(ServiceStatus::Operational), "as far as anyone knows");
    assert_eq!(story.told(), ["310 opened api"], "but the other one was never seen well");
    story.target("api/two", UP).run_to(5100);
    assert_eq!(story.told()[1..], ["5005 resolved api"]);
}

#[test]
fn after_a_gap_one_failure_is_no_outage_and_no_green_either() {
    let mut story = Story::of(&["api"]);
    story.run_to(301).sleep_to(5000);
    story.probe_at("api", DOWN, at(5000));
    assert_eq!(story.spans("api"), ["0 operational", "300 unknown"]);
    story.now = at(5020);
    story.probe_at("api", DOWN, at(5005));
    story.probe_at("api", DOWN, at(5010));
    assert_eq!(story.spans("api"), ["0 operational", "300 unknown", "5000 major_outage"]);
}

#[test]
fn failures_before_a_gap_do_not_add_up_with_those_after_it() {
    let mut story = Story::of(&["api"]);
    for (start, result) in [(0, UP), (60, DOWN), (65, DOWN), (9000, DOWN), (18_000, DOWN), (18_005, DOWN), (18_010, UP)]
    {
        story.now = at(start);
        story.probe_at("api", result, at(start));
    }
    assert_eq!(story.spans("api"), ["0 operational", "65 unknown", "18010 operational"]);
}

#[test]
fn a_suspension_voids_what_was_undecided_and_what_was_on_its_way() {
    let mut story = Story::of(&["api", "db"]);
    story.run_to(30);
    story.now = at(70);
    story.probe_at("api", DOWN, at(60));
    story.probe_at("api", DOWN, at(65));
    story.now = at(100);
    let step = story.give(Input::Suspended);
    assert_eq!(step.requests.len(), 2, "everything is probed anew");
    story.probe_at("api", DOWN, at(70));
    story.probe_at("api", DOWN, at(101));
    story.probe_at("api", DOWN, at(102));
    assert!(story.incidents.is_empty());
    story.probe_at("api", DOWN, at(103));
    assert_eq!(story.the_incident().started_at, at(100), "never later than now");
}

#[test]
fn a_clock_that_was_set_back_stops_nothing() {
    let mut story = Story::of(&["api"]);
    story.run_to(7200);
    story.now = at(100);
    story.give(Input::Suspended);
    for start in [100, 105, 110] {
        story.now = at(start);
        story.probe_at("api", DOWN, at(start));
    }
    assert_eq!(story.spans("api"), ["0 operational", "7140 major_outage"]);
    let event = &story.events[0];
    assert_eq!(event.seals_at, at(120), "what is told does not wait for the clock to catch up");
}

#[test]
fn a_probe_that_began_before_the_clock_was_set_back_keeps_none_from_counting() {
    let mut story = Story::of(&["api"]);
    story.run_to(7200);
    story.now = at(100);
    story.give(Input::Suspended);
    story.probe_at("api", DOWN, at(7199));
    for start in [105, 110, 115] {
        story.now = at(start);
        story.probe_at("api", DOWN, at(start));
    }
    assert_eq!(story.events.len(), 1, "it is down, and known to be");
}

#[test]
fn what_gathers_while_the_clock_is_set_back_is_told_at_once() {
    let mut story = Story::of(&["api"]);
    story.run_to(7200);
    story.target("api", DOWN).run_to(7215);
    let event = story.events[0].clone();
    assert!(event.seals_at > story.now && !event.is_sealed(story.now), "{event:?}");
    story.now = at(100);
    story.give(Input::Suspended);
    assert_eq!(story.events[0].seals_at, at(100));
    story.now = at(50);
    story.give(Input::Suspended);
    assert_eq!(story.events[0].seals_at, at(100), "what is sealed never changes");
    assert!(story.events[0].is_sealed(at(100)));
    assert!(event.is_sealed(at(100)), "even if that was never written down");
}

#[test]
fn a_clock_that_is_set_back_twice_holds_nothing_back_either() {
    let mut story = Story::of(&["api"]);
    story.run_to(7200);
    story.now = at(3600);
    story.give(Input::Suspended);
    for start in [3600, 3605, 3610] {
        story.now = at(start);
        story.probe_at("api", DOWN, at(start));
    }
    assert_eq!(story.events[0].seals_at, at(3620));
    story.now = at(100);
    story.give(Input::Suspended);
    assert_eq!(story.events[0].seals_at, at(100));
}

#[test]
fn other_questions_restart_the_streak_and_keep_the_state() {
    let mut story = Story::of(&["api"]);
    story.run_to(30);
    story.now = at(70);
    story.probe_at("api", DOWN, at(60));
    story.probe_at("api", DOWN, at(65));
    let mut new = rules(&["api"]);
    let service = Arc::get_mut(&mut new.services[0]).unwrap();
    if let Probe::Tcp(tcp) = &mut service.checks[0].probe {
        tcp.port = 2;
    }
    story.reload(new.clone());
    story.now = at(100);
    for start in [71, 76] {
        story.probe_at("api", DOWN, at(start));
    }
    assert!(story.incidents.is_empty());
    story.reload(new);
    story.probe_at("api", DOWN, at(81));
    assert_eq!(story.the_incident().started_at, at(71), "the same questions keep it");
}

#[test]
fn a_check_that_runs_by_a_daily_pattern_is_stale_after_three_days() {
    use crate::domain::service::Cadence;
    let mut rules = rules(&["backup"]);
    let service = Arc::get_mut(&mut rules.services[0]).unwrap();
    service.checks[0].cadence = Cadence::Cron {
        patterns: vec!["0 0 3 * * *".to_owned()],
        written: "0 3 * * *".to_owned(),
        timezone: "UTC".to_owned(),
    };
    let mut story = Story::with(rules);
    story.probe_at("backup", UP, at(0));
    assert_eq!(story.world.wake_at(&story.rules), Some(at(3 * 86_400)));
}

#[test]
fn a_service_without_checks_is_well_until_a_note_says_otherwise() {
    let story = Story::of(&["legacy:"]);
    assert_eq!(story.spans("legacy"), ["0 operational"]);
    assert_eq!(story.world.wake_at(&story.rules), None);
}

#[test]
fn a_service_that_was_never_probed_has_no_state() {
    assert!(Story::of(&["api"]).spans("api").is_empty());
}

#[test]
fn a_record_of_endless_flapping_stays_bounded() {
    let mut story = Story::of(&["api"]);
    for round in 0..100 {
        story.now = at(round * 120 + 70);
        for (offset, result) in [(0, DOWN), (5, DOWN), (10, DOWN), (60, UP), (65, UP)] {
            story.probe_at("api", result, at(round * 120 + offset));
        }
    }
    assert_eq!(story.raw_spans("api").len(), 200, "all of it was told to the store");
    assert!(story.longest_row("service:") < 20_000);
}

#[test]
fn a_record_of_endless_flapping_that_a_note_hides_stays_bounded() {
    let mut story = Story::of(&["api"]);
    story.target("api", UP).run_to(60);
    let mut word = note("known-noise", &["api"]);
    word.is_override = true;
    let affected = [(service_id("api"), ServiceStatus::Operational)].into();
    word.updates = vec![NoteUpdate { affected, ..update("The check is wrong.") }];
    story.note(&word);
    for round in 1..600 {
        story.now = at(round * 120 + 70);
        for (offset, result) in [(0, DOWN), (5, DOWN), (10, DOWN), (60, UP), (65, UP)] {
            story.probe_at("api", result, at(round * 120 + offset));
        }
    }
    assert_eq!(story.status("api"), Some(ServiceStatus::Operational));
    assert!(story.longest_row("service:") < 20_000, "{}", story.longest_row("service:"));
}

#[test]
fn that_a_slow_check_is_heard_of_no_more_ends_nothing() {
    let mut story = Story::of(&["api: one two"]);
    story.run_to(60).target("api/one", SLOW).run_to(100);
    assert_eq!(story.told(), ["70 opened api"]);
    // Only the other check answers after a long silence, then both do.
    story.sleep_to(1000);
    story.give(Input::Tick);
    story.now = at(1001);
    story.probe_at("api/two", UP, at(1001));
    assert_eq!(story.told().len(), 1, "{:?}", story.told());
    story.run_to(1100).target("api/one", UP).run_to(1300);
    assert_eq!(story.told()[1..], ["1145 resolved api"], "one incident, told once");
}
