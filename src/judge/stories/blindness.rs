//! Is it us? (spec, section 4, rule 8).

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    domain::{ServiceId, ServiceStatus, outcome::Class, service::Rules, target::TargetClass},
    judge::{Input, Priority, Reason, Request, Sight, story::*},
};

/// `services` on public hosts, and canaries on these hosts.
fn watched(services: &[&str], canaries: &[&str]) -> Rules {
    let mut rules = rules(services);
    for service in &mut rules.services {
        let service = Arc::get_mut(service).unwrap();
        for one in &mut service.checks {
            let host = match service.id.as_str() {
                "local" => "127.0.0.1".to_owned(),
                "fixed" => "198.51.100.7".to_owned(),
                name => format!("{name}.example.org"),
            };
            *one = check(one.id.as_str(), &host);
        }
    }
    let mut hidden = service("hidden:");
    hidden.id = ServiceId::of_canaries();
    hidden.checks = canaries.iter().enumerate().map(|(n, host)| check(&format!("canary-{}", n + 1), host)).collect();
    rules.canaries = Some(Arc::new(hidden));
    rules
}

fn sights(story: &Story) -> Vec<&Sight> {
    story.steps.iter().flat_map(|step| &step.sights).collect()
}

const CANARY: &str = "~canary/canary-1";
const SECOND: &str = "~canary/canary-2";

#[test]
fn a_verdict_needs_a_canary_that_was_asked_after_the_first_failure() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(30);
    story.now = at(60);
    let step = story.probe_at("api", DOWN, at(60));
    let asked = Request::Probe { check: key(CANARY), at: at(60), priority: Priority::Canary };
    assert!(step.requests.contains(&asked), "in parallel with the rechecks: {:?}", step.requests);
    for start in [65, 70] {
        story.now = at(start);
        story.probe_at("api", DOWN, at(start));
    }
    assert!(story.told().is_empty());
    story.now = at(72);
    story.probe_at(CANARY, UP, at(59));
    assert!(story.told().is_empty(), "that was before");
    story.probe_at(CANARY, UP, at(61));
    assert!(story.told().is_empty(), "our link may have been cut since");
    story.probe_at(CANARY, UP, at(71));
    assert_eq!(story.told(), ["72 opened api"]);
    assert_eq!(story.the_incident().started_at, at(60));
}

#[test]
fn with_canaries_that_answer_an_outage_is_told_no_later() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(300).target("api", DOWN).run_to(900).target("api", UP).run_to(1800);
    assert_eq!(story.told(), ["310 opened api", "905 resolved api"]);
}

#[test]
fn a_link_that_is_cut_is_no_outage_and_what_is_on_this_machine_is_judged_all_the_same() {
    let mut story = Story::with(watched(&["api", "web", "local"], &["192.0.2.1", "192.0.2.2"]));
    story.run_to(300);
    for name in ["api", "web", "local", CANARY, SECOND] {
        story.target(name, DOWN);
    }
    story.run_to(1200);
    assert_eq!(story.told(), ["310 opened local"]);
    assert_eq!(story.spans("api"), ["0 operational", "300 unknown"]);
    assert_eq!(sights(&story), [&Sight::Lost { class: TargetClass::Public, since: at(300) }]);
    assert!(story.steps.iter().flat_map(|step| &step.decisions).any(|it| it.reason == Reason::Blind));
    let shown = |story: &Story| story.steps.iter().filter_map(|step| step.blind.clone()).collect::<Vec<_>>();
    let dark: BTreeMap<_, _> = [(TargetClass::Public, at(300))].into();
    assert_eq!(shown(&story), std::slice::from_ref(&dark), "the site says since when");
    for name in ["api", "web", CANARY, SECOND] {
        story.target(name, UP);
    }
    story.run_to(1230);
    assert_eq!(story.status("api"), Some(ServiceStatus::Operational), "probed anew at once: {:?}", story.spans("api"));
    assert_eq!(sights(&story)[1], &Sight::Regained { class: TargetClass::Public, since: at(300) });
    assert_eq!(shown(&story), [dark, BTreeMap::new()]);
    assert_eq!(story.told().len(), 1);
}

#[test]
fn an_outage_that_goes_on_through_blindness_is_neither_ended_nor_told_again() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(300).target("api", DOWN).run_to(600).target(CANARY, DOWN).run_to(1200);
    assert_eq!(story.status("api"), Some(ServiceStatus::Unknown));
    story.target(CANARY, UP).run_to(1500);
    assert_eq!(story.status("api"), Some(ServiceStatus::MajorOutage));
    assert_eq!(story.told(), ["310 opened api"]);
    story.target("api", UP).run_to(1700);
    assert_eq!(story.told()[1..], ["1505 resolved api"]);
}

#[test]
fn what_fails_after_blindness_is_told_once_enough_probes_agree() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(300).target("api", DOWN).target(CANARY, DOWN).run_to(900).target(CANARY, UP).run_to(1000);
    assert_eq!(story.told().len(), 1, "{:?}", story.told());
    assert!(story.the_incident().started_at >= at(900), "what was seen in the dark does not count");
}

#[test]
fn one_canary_that_answers_is_enough_to_see() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1", "192.0.2.2"]));
    story.run_to(300).target("api", DOWN).target(SECOND, DOWN).run_to(600);
    assert_eq!(story.told(), ["310 opened api"]);
    assert!(sights(&story).is_empty());
}

#[test]
fn a_canary_that_was_never_up_is_ignored_and_reported_once() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.target(CANARY, DOWN).run_to(300).target("api", DOWN).run_to(900);
    assert_eq!(story.told(), ["310 opened api"], "as if there were none");
    assert_eq!(sights(&story), [&Sight::Useless { canary: key(CANARY).check }]);
}

#[test]
fn canaries_that_do_not_answer_at_all_hold_a_verdict_for_a_while_and_not_for_ever() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(300).target("api", DOWN).target(CANARY, UNKNOWN).run_to(900);
    assert_eq!(story.told(), ["340 opened api"]);
}

#[test]
fn a_packet_that_a_canary_loses_makes_nobody_blind() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(300).target(CANARY, DOWN).run_to(304).target(CANARY, UP).run_to(900);
    assert!(sights(&story).is_empty());
    assert_eq!(story.spans("api"), ["0 operational"]);
}

#[test]
fn rules_without_the_canary_end_the_blindness() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(300).target("api", DOWN).target(CANARY, DOWN).run_to(600);
    assert_eq!(story.status("api"), Some(ServiceStatus::Unknown));
    let mut rules = watched(&["api"], &[]);
    rules.canaries = None;
    story.reload(rules);
    story.run_to(700);
    assert!(story.told().last().is_some_and(|line| line.ends_with("opened api")), "{:?}", story.told());
}

#[test]
fn a_restart_proves_canaries_anew() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(300).target(CANARY, DOWN);
    story.restart().target("api", DOWN).run_to(700);
    assert_eq!(story.told(), ["310 opened api"]);
}

#[test]
fn a_link_that_is_cut_after_a_lost_packet_is_no_outage_either() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(290);
    story.now = at(298);
    story.probe_at("api", DOWN, at(288));
    story.probe_at(CANARY, UP, at(298));
    // Only now.
    for start in [303, 308] {
        story.now = at(start);
        story.probe_at("api", DOWN, at(start));
    }
    assert!(story.told().is_empty(), "the canary was up before two of the three");
    story.target("api", DOWN).target(CANARY, DOWN).run_to(600);
    assert!(story.told().is_empty());
    assert_eq!(story.status("api"), Some(ServiceStatus::Unknown));
}

#[test]
fn what_failed_while_no_canary_answered_must_fail_anew() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(290);
    for start in [300, 305, 310] {
        story.now = at(start);
        story.probe_at("api", DOWN, at(start));
    }
    // It hangs, once; then the link is there again.
    story.now = at(311);
    story.probe_at(CANARY, DOWN, at(300));
    story.now = at(312);
    story.probe_at(CANARY, UP, at(312));
    assert!(story.told().is_empty() && sights(&story).is_empty());
    story.run_to(600);
    assert!(story.told().is_empty());
    assert_eq!(story.spans("api"), ["0 operational"]);
}

#[test]
fn name_servers_that_fail_are_no_outage_and_what_needs_none_is_judged_all_the_same() {
    let mut story = Story::with(watched(&["api", "web", "fixed"], &["192.0.2.1", "canary.example.net"]));
    story.run_to(300);
    for name in ["api", "web", SECOND] {
        story.target(name, DOWN).fails_as(name, Class::Dns);
    }
    story.target("fixed", DOWN).run_to(1200);
    assert_eq!(story.told(), ["310 opened fixed"]);
    assert_eq!(story.spans("api"), ["0 operational", "300 unknown"]);
    assert_eq!(sights(&story), [&Sight::Lost { class: TargetClass::ByName, since: at(300) }]);
    for name in ["api", "web", SECOND] {
        story.target(name, UP);
    }
    story.run_to(1230);
    assert_eq!(sights(&story)[1], &Sight::Regained { class: TargetClass::ByName, since: at(300) });
    for name in ["api", "web"] {
        assert_eq!(
            story.status(name),
            Some(ServiceStatus::Operational),
            "probed anew at once: {:?}",
            story.spans(name)
        );
    }
    assert_eq!(story.told().len(), 1);
}

#[test]
fn a_resolver_that_fails_for_a_minute_is_told_to_operators_alone() {
    let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = Story::with(watched(&names, &["192.0.2.1", "canary.example.net"]));
    story.run_to(290);
    for name in names.iter().chain([&SECOND]) {
        story.target(name, DOWN).fails_as(name, Class::Dns);
    }
    story.run_to(350);
    for name in names.iter().chain([&SECOND]) {
        story.target(name, UP);
    }
    story.run_to(900);
    assert!(story.told().is_empty() && story.incidents.is_empty(), "{:?}", story.told());
    assert_eq!(sights(&story).len(), 2, "lost, and regained");
    for name in &names {
        let spans = story.spans(name);
        assert!(spans.last().is_some_and(|last| last.ends_with("operational")), "{spans:?}");
        assert!(spans.iter().all(|span| span.ends_with("operational") || span.ends_with("unknown")), "{spans:?}");
    }
}

#[test]
fn a_name_that_is_not_found_while_others_are_is_an_outage() {
    let mut story = Story::with(watched(&["api", "web"], &["192.0.2.1", "canary.example.net"]));
    story.run_to(300).target("api", DOWN).fails_as("api", Class::Dns).run_to(900).target("api", UP).run_to(1200);
    assert_eq!(story.told(), ["310 opened api", "905 resolved api"]);
}

#[test]
fn a_canary_by_name_whose_server_is_down_shows_that_names_are_found() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1", "canary.example.net"]));
    story.run_to(300).target(SECOND, DOWN).target("api", DOWN).fails_as("api", Class::Dns).run_to(900);
    assert_eq!(story.told(), ["310 opened api"]);
    assert!(sights(&story).is_empty());
}

#[test]
fn once_the_clock_was_set_back_canaries_that_answer_are_believed_all_the_same() {
    let mut story = Story::with(watched(&["api"], &["192.0.2.1"]));
    story.run_to(7200);
    story.now = at(100);
    story.give(Input::Suspended);
    for start in [100, 105, 110] {
        story.now = at(start);
        story.probe_at("api", DOWN, at(start));
        story.probe_at(CANARY, UP, at(start));
    }
    assert_eq!(story.told(), ["110 opened api"], "and nothing waits for the old clock");
}
