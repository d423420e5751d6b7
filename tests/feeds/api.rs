//! The JSON as a client of the Statuspage API v2 reads it.

use serde_json::Value;
use watchbell::domain::{
    IncidentStatus, ServiceStatus,
    event::EventKind,
    incident::{Fact, FactKind},
};

use super::fixture::{self, World, at, id};

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn has(value: &Value, members: &[&str]) {
    for member in members {
        assert!(keys(value).contains(member), "`{member}` is missing in {value}");
    }
}

const PAGE: &[&str] = &["id", "name", "url", "time_zone", "updated_at"];
const COMPONENT: &[&str] = &[
    "id",
    "name",
    "status",
    "created_at",
    "updated_at",
    "position",
    "description",
    "showcase",
    "start_date",
    "group_id",
    "page_id",
    "group",
    "only_show_if_degraded",
];
const INCIDENT: &[&str] = &[
    "id",
    "name",
    "status",
    "created_at",
    "updated_at",
    "monitoring_at",
    "resolved_at",
    "impact",
    "shortlink",
    "started_at",
    "page_id",
    "incident_updates",
    "components",
];
const UPDATE: &[&str] = &[
    "id",
    "status",
    "body",
    "incident_id",
    "created_at",
    "updated_at",
    "display_at",
    "affected_components",
    "deliver_notifications",
    "custom_tweet",
    "tweet_id",
];

#[test]
fn every_member_that_clients_read_is_there() {
    for world in [fixture::hypervisor(), fixture::hostile(), fixture::quiet()] {
        let api = world.api();
        assert!(world.summary().starts_with(b"{\"page\":{\"id\":"), "the page comes first");
        let summary = json(&world.summary());
        has(&summary, &["page", "components", "incidents", "scheduled_maintenances", "status"]);
        has(&summary["page"], PAGE);
        has(&summary["page"], &["watchbell_fresh_until"]);
        has(&summary["status"], &["indicator", "description"]);
        for component in summary["components"].as_array().unwrap() {
            has(component, COMPONENT);
            let words = ["operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"];
            assert!(words.contains(&component["status"].as_str().unwrap()));
        }
        for incident in json(&world.incidents())["incidents"].as_array().unwrap() {
            has(incident, INCIDENT);
            let updates = incident["incident_updates"].as_array().unwrap();
            assert!(!updates.is_empty());
            assert_eq!(updates[0]["status"], incident["status"]);
            for update in updates {
                has(update, UPDATE);
                assert_eq!(update["incident_id"], incident["id"]);
            }
            let times: Vec<_> = updates.iter().map(|update| update["display_at"].as_str().unwrap()).collect();
            assert!(times.is_sorted_by(|a, b| a >= b), "newest first");
            for component in incident["components"].as_array().unwrap() {
                has(component, COMPONENT);
            }
        }
        assert_eq!(json(&api.maintenances())["scheduled_maintenances"], serde_json::json!([]));
        assert_eq!(keys(&json(&api.status())), ["page", "status"]);
    }
}

#[test]
fn times_have_milliseconds_and_a_zone() {
    let summary = json(&fixture::hypervisor().summary());
    assert_eq!(summary["page"]["updated_at"], "2020-04-05T11:45:00.000Z");
    assert_eq!(summary["page"]["watchbell_fresh_until"], "2020-04-05T12:10:00.000Z");
    assert_eq!(summary["page"]["time_zone"], "UTC");
}

#[test]
fn services_stand_in_one_list_with_their_groups_before_them() {
    let components = json(&fixture::hypervisor().components());
    let components = components["components"].as_array().unwrap();
    let listed: Vec<_> = components.iter().map(|component| component["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ["vm-host-1", "backup", "public", "bugzilla", "askbot", "archive", "wiki"]);
    let group = &components[2];
    assert_eq!(group["group"], true);
    assert_eq!(group["components"], serde_json::json!(["bugzilla", "askbot", "archive", "wiki"]));
    assert_eq!(group["status"], "degraded_performance");
    assert_eq!(components[3]["group_id"], "public");
    assert_eq!(components[0]["group_id"], Value::Null);
    assert!(keys(&components[3]).iter().all(|key| *key != "components"));
}

#[test]
fn a_service_that_nobody_looked_at_is_served_as_degraded_with_the_truth_beside_it() {
    let components = json(&fixture::hypervisor().components());
    let backup = components["components"].as_array().unwrap().iter().find(|one| one["id"] == "backup").unwrap().clone();
    assert_eq!(backup["status"], "degraded_performance");
    assert_eq!(backup["description"], "No recent data");
    assert_eq!(backup["watchbell"], serde_json::json!({"status": "unknown", "since": "2020-04-05T11:45:00.000Z"}));
}

#[test]
fn the_indicator_is_that_of_the_worst_service() {
    let says = |world: &World| {
        let status = json(&world.api().status());
        (
            status["status"]["indicator"].as_str().unwrap().to_owned(),
            status["status"]["description"].as_str().unwrap().to_owned(),
        )
    };
    let mut world = fixture::quiet();
    let mut with = |status| {
        world.set("api", status, "2020-04-05T00:00:00Z");
        says(&world)
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(with(ServiceStatus::Operational), pair("none", "All Systems Operational"));
    assert_eq!(with(ServiceStatus::Unknown), pair("minor", "No recent data"));
    assert_eq!(with(ServiceStatus::UnderMaintenance), pair("maintenance", "Service Under Maintenance"));
    assert_eq!(with(ServiceStatus::DegradedPerformance), pair("minor", "Partially Degraded Service"));
    assert_eq!(with(ServiceStatus::PartialOutage), pair("major", "Partial System Outage"));
    assert_eq!(with(ServiceStatus::MajorOutage), pair("critical", "Major System Outage"));
}

#[test]
fn an_unimportant_service_makes_no_major_outage_and_no_false_calm() {
    let mut world = fixture::quiet();
    let mut service = (*world.rules.services[0]).clone();
    service.max_impact = watchbell::domain::Impact::None;
    world.rules.services[0] = service.into();
    world.set("api", ServiceStatus::MajorOutage, "2020-04-05T00:00:00Z");
    let status = json(&world.api().status());
    assert_eq!(status["status"]["indicator"], "minor");
    assert_eq!(status["status"]["description"], "Minor Service Outage");
}

#[test]
fn an_automatic_incident_has_a_first_and_a_last_update_of_the_monitor() {
    let mut world = fixture::hypervisor();
    let mut slow = world.incidents.values().find(|incident| incident.root.is_none()).unwrap().clone();
    fixture::recover(&mut slow, "wiki", "2020-04-05T11:50:00Z");
    fixture::resolve(&mut slow, "2020-04-05T11:50:00Z");
    world.incidents.insert(slow.id.clone(), slow.clone());
    let document = json(&world.api().incident(&slow));
    let updates = document["incident"]["incident_updates"].as_array().unwrap();
    let told: Vec<_> =
        updates.iter().map(|update| (update["id"].as_str().unwrap(), update["status"].as_str().unwrap())).collect();
    assert_eq!(told, [("2020-04-05-wiki-resolved", "resolved"), ("2020-04-05-wiki-investigating", "investigating")]);
    assert_eq!(updates[1]["body"], "Outage of Wiki confirmed: 3 probes failed (slower than 2 s).");
    assert_eq!(updates[1]["created_at"], "2020-04-05T11:30:40.000Z");
    assert_eq!(updates[1]["display_at"], "2020-04-05T11:30:00.000Z");
    let changed = &updates[0]["affected_components"][0];
    assert_eq!(changed["name"], "Public services - Wiki");
    assert_eq!(
        (&changed["old_status"], &changed["new_status"]),
        (&"degraded_performance".into(), &"operational".into())
    );
}

#[test]
fn failing_again_adds_updates_and_keeps_the_ids_of_those_before() {
    let mut world = fixture::hypervisor();
    let mut slow = world.incidents.values().find(|incident| incident.root.is_none()).unwrap().clone();
    let updates = |world: &World, slow: &watchbell::domain::incident::Incident| {
        let document = json(&world.api().incident(slow));
        let updates = document["incident"]["incident_updates"].as_array().unwrap().clone();
        updates.into_iter().rev().map(|update| update["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    fixture::resolve(&mut slow, "2020-04-05T11:50:00Z");
    let before = updates(&world, &slow);
    slow.facts.push(Fact { at: at("2020-04-05T11:55:00Z"), what: FactKind::Reopened { service: id("wiki") } });
    slow.status = IncidentStatus::Investigating;
    slow.resolved_at = None;
    let open = updates(&world, &slow);
    assert_eq!(open[..2], before[..]);
    assert_eq!(open[2..], ["2020-04-05-wiki-reopened-2"]);
    fixture::resolve(&mut slow, "2020-04-05T11:59:00Z");
    world.incidents.insert(slow.id.clone(), slow.clone());
    assert_eq!(updates(&world, &slow)[3..], ["2020-04-05-wiki-resolved-2"]);
}

#[test]
fn unresolved_has_what_is_open_and_the_list_has_fifty() {
    let mut world = fixture::hypervisor();
    let open = json(&world.api().incidents_unresolved());
    assert_eq!(open["incidents"].as_array().unwrap().len(), 1);
    assert_eq!(open["incidents"][0]["id"], "2020-04-05-wiki");
    for n in 0..60 {
        let started = format!("2020-02-01T00:{n:02}:00Z");
        let mut old = fixture::incident(&format!("old-{n}"), &started, &started, Vec::new());
        fixture::resolve(&mut old, "2020-02-02T00:00:00Z");
        world.incidents.insert(old.id.clone(), old);
    }
    let listed = json(&world.incidents());
    assert_eq!(listed["incidents"].as_array().unwrap().len(), 50);
    assert_eq!(listed["incidents"][0]["id"], "2020-04-05-wiki");
    assert_eq!(listed["incidents"][2]["id"], "old-59");
}

#[test]
fn the_document_of_an_incident_that_is_over_rests_whatever_happens_later() {
    let world = fixture::hypervisor();
    let over = world.incidents.values().find(|incident| !incident.is_open()).unwrap();
    let before = world.api().incident(over);
    let mut later = fixture::hypervisor();
    later.now = at("2020-06-01T00:00:00Z");
    later.set("bugzilla", ServiceStatus::MajorOutage, "2020-05-30T00:00:00Z");
    later.incidents.retain(|_, incident| incident.id == over.id);
    assert_eq!(String::from_utf8(before), String::from_utf8(later.api().incident(over)));
}

#[test]
fn a_group_that_is_called_like_a_service_has_an_id_of_its_own() {
    let mut world = fixture::hypervisor();
    let mut wiki = (*world.rules.services[4]).clone();
    wiki.id = id("public");
    world.rules.services[4] = wiki.into();
    world.names = watchbell::site::words::Names::of(&world.rules);
    let components = json(&world.components());
    let ids: Vec<_> = components["components"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert!(ids.contains(&"group:public".into()) && ids.contains(&"public".into()), "{ids:?}");
}

#[test]
fn an_incident_that_a_person_opened_speaks_with_that_persons_words_alone() {
    let mut world = fixture::quiet();
    let mut manual = fixture::incident("mail-trouble", "2020-04-05T10:00:00Z", "2020-04-05T10:05:00Z", Vec::new());
    manual.origin = watchbell::domain::incident::Origin::Operator;
    manual.updates.push(fixture::update(1, "2020-04-05T10:04:00Z", IncidentStatus::Identified, "Mail is **late**."));
    manual.status = IncidentStatus::Identified;
    world.tell(&manual, EventKind::Opened, "2020-04-05T10:05:00Z", &["api"], None);
    let document = json(&world.api().incident(&manual));
    let updates = document["incident"]["incident_updates"].as_array().unwrap();
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0]["body"], "Mail is late.");
}

#[test]
fn the_newest_update_says_how_things_are_though_the_first_good_probe_is_older_than_the_last_word() {
    let mut world = fixture::hypervisor();
    let mut slow = world.incidents.values().find(|incident| incident.root.is_none()).unwrap().clone();
    slow.updates.push(fixture::update(
        7,
        "2020-04-05T11:29:00Z",
        IncidentStatus::Identified,
        "Seen before the probes.",
    ));
    slow.updates.push(fixture::update(8, "2020-04-05T11:50:10Z", IncidentStatus::Identified, "Restarting it."));
    fixture::recover(&mut slow, "wiki", "2020-04-05T11:50:00Z");
    fixture::resolve(&mut slow, "2020-04-05T11:50:00Z");
    world.incidents.insert(slow.id.clone(), slow.clone());
    let document = json(&world.api().incident(&slow));
    let updates = document["incident"]["incident_updates"].as_array().unwrap();
    let states: Vec<_> = updates.iter().map(|update| update["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["resolved", "identified", "identified", "investigating"]);
    assert_eq!(document["incident"]["resolved_at"], "2020-04-05T11:50:00.000Z");
    assert_eq!(updates[0]["display_at"], "2020-04-05T11:50:10.000Z");
}
