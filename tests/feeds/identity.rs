//! What a feed reader remembers: ids, order and times of change.

use std::collections::BTreeSet;

use watchbell::{
    domain::{IncidentStatus, event::EventKind, incident::Incident},
    site::feeds::{Entry, Feed, select},
};

use super::fixture::{self, World, at, id};

fn ids(feed: &Feed) -> Vec<String> {
    feed.entries.iter().map(|entry| entry.id.clone()).collect()
}

fn entry<'a>(feed: &'a Feed, id: &str) -> &'a Entry {
    feed.entries.iter().find(|entry| entry.id == id).unwrap()
}

fn crash(world: &mut World) -> &mut Incident {
    world.incidents.values_mut().find(|incident| incident.root.is_some()).unwrap()
}

#[test]
fn ids_are_unique_and_survive_a_new_address_and_new_names() {
    let world = fixture::hypervisor();
    let mut moved = fixture::hypervisor();
    moved.site.url = "https://elsewhere.example/base/".parse().unwrap();
    moved.site.title = "Another title".to_owned();
    moved.names = [(id("bugzilla"), "Issues".to_owned())].into_iter().collect();
    for (a, b) in [(world.updates(None), moved.updates(None)), (world.history(), moved.history())] {
        assert_eq!(a.id, b.id);
        assert_eq!(ids(&a), ids(&b));
        assert_eq!(ids(&a).into_iter().collect::<BTreeSet<_>>().len(), a.entries.len());
        assert!(b.entries.iter().all(|entry| entry.url.starts_with("https://elsewhere.example/base/incidents/")));
    }
}

#[test]
fn a_corrected_text_changes_existing_entries_and_makes_no_new_one() {
    let world = fixture::hypervisor();
    let mut edited = fixture::hypervisor();
    let changed = &mut crash(&mut edited).updates[0];
    changed.text = "A hypervisor stopped.".into();
    changed.changed_at = at("2020-04-05T11:59:00Z");

    let (before, after) = (world.updates(None), edited.updates(None));
    assert_eq!(ids(&before), ids(&after));
    let moved: Vec<_> = before.entries.iter().zip(&after.entries).filter(|(a, b)| a != b).collect();
    assert_eq!(moved.len(), 1);
    assert!(moved[0].0.updated_at < moved[0].1.updated_at);
    assert!(moved[0].1.html.contains("A hypervisor stopped.") && !moved[0].1.html.contains("crashed"));
    assert_eq!(moved[0].0.published_at, moved[0].1.published_at);
    assert_eq!(after.updated_at, moved[0].1.updated_at);

    let (before, after) = (world.history(), edited.history());
    assert_eq!(ids(&before), ids(&after));
    let id = format!("{}:incident/2020-03-26-vm-host-1", world.authority);
    assert!(entry(&before, &id).updated_at < entry(&after, &id).updated_at);
    assert_eq!(entry(&before, &id).published_at, entry(&after, &id).published_at);
    assert!(entry(&after, &id).html.contains("A hypervisor stopped."));
    let other = format!("{}:incident/2020-04-05-wiki", world.authority);
    assert_eq!(entry(&before, &other), entry(&after, &other));
}

#[test]
fn a_new_event_is_one_new_entry_on_top_and_leaves_the_others_alone() {
    let world = fixture::hypervisor();
    let mut later = fixture::hypervisor();
    let mut slow = later.incidents.values().find(|incident| incident.root.is_none()).unwrap().clone();
    fixture::recover(&mut slow, "wiki", "2020-04-05T11:50:00Z");
    fixture::resolve(&mut slow, "2020-04-05T11:50:00Z");
    later.tell(&slow, EventKind::Resolved, "2020-04-05T11:50:10Z", &["wiki"], None);
    let (before, after) = (world.updates(None), later.updates(None));
    assert_eq!(after.entries.len(), before.entries.len() + 1);
    assert_eq!(after.entries[0].title, "Resolved: Wiki (was slow 20 min)");
    assert_eq!(after.entries[1..], before.entries[..]);
    assert_eq!(after.updated_at, after.entries[0].updated_at);
    // In the history it is the same entry, whose first state is the present one.
    let (before, after) = (world.history(), later.history());
    assert_eq!(ids(&before), ids(&after));
    assert!(after.entries[0].html.contains("<strong>Resolved</strong>"));
    assert!(after.entries[0].html.find("Resolved") < after.entries[0].html.find("Investigating"));
}

#[test]
fn what_a_person_wrote_appears_once_it_has_rested_and_what_the_monitor_saw_at_once() {
    let mut world = fixture::hypervisor();
    let mut slow = world.incidents.values().find(|incident| incident.root.is_none()).unwrap().clone();
    let said = fixture::update(9, "2020-04-05T11:59:50Z", IncidentStatus::Identified, "A long query.");
    slow.updates.push(said.clone());
    world.tell(&slow, EventKind::Updated, "2020-04-05T11:59:50Z", &["wiki"], Some(said));
    let count = |world: &World| world.updates(None).entries.len();
    let (hidden, events) = (count(&world), world.archived(None));
    assert_eq!(select::next_shown_at(&events, world.now), Some(at("2020-04-05T12:00:20Z")));
    world.now = at("2020-04-05T12:00:20Z");
    assert_eq!(count(&world), hidden + 1);
    assert_eq!(select::next_shown_at(&events, world.now), None);
    // The history follows at once.
    assert!(world.history().entries[0].html.contains("A long query."));
}

#[test]
fn every_updated_time_is_distinct_even_within_one_millisecond() {
    for world in [fixture::hypervisor(), fixture::hostile()] {
        for feed in [world.updates(None), world.history()] {
            let times: BTreeSet<_> = feed.entries.iter().map(|entry| entry.updated_at).collect();
            assert_eq!(times.len(), feed.entries.len());
        }
    }
}

#[test]
fn fifty_entries_stand_and_more_only_if_they_are_of_the_last_day() {
    let mut world = fixture::quiet();
    let incident = fixture::incident("2020-01-01-api", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", Vec::new());
    let tell = |world: &mut World, minutes: i64| {
        let when = at("2020-01-01T00:00:00Z") + jiff::SignedDuration::from_mins(minutes);
        world.tell(&incident, EventKind::Reopened, &when.to_string(), &["api"], None);
    };
    for n in 0..80 {
        tell(&mut world, n * 60);
    }
    assert_eq!(world.updates(None).entries.len(), 50);
    for n in 0..600 {
        tell(&mut world, 100_000 + n);
    }
    let feed = world.updates(None);
    assert_eq!(feed.entries.len(), 500);
    let order: Vec<_> = feed.entries.iter().map(|entry| entry.published_at).collect();
    assert!(order.is_sorted_by(|a, b| a >= b), "newest first");
    // A year later the same entries stand.
    world.now = at("2021-01-01T00:00:00Z");
    assert_eq!(world.updates(None), feed);
}

#[test]
fn an_incident_taken_off_the_site_leaves_nothing_but_that_fact() {
    let mut world = fixture::hypervisor();
    let mut gone = crash(&mut world).clone();
    gone.withdrawn = true;
    gone.title = Some("Do not print this".into());
    world.tell(&gone, EventKind::Withdrawn, "2020-04-05T11:59:00Z", &["vm-host-1"], None);
    let updates = world.updates(None);
    let of_it: Vec<_> = updates.entries.iter().filter(|entry| entry.url.contains("vm-host-1")).collect();
    assert_eq!(of_it.len(), 1);
    assert_eq!(of_it[0].title, "Withdrawn: VM host 1 (Bugzilla, Ask and 1 more)");
    let all = [updates.json(), world.history().json(), world.summary(), world.incidents()].concat();
    let all = String::from_utf8(all).unwrap();
    assert!(!all.contains("hypervisor") && !all.contains("Do not print"), "{all}");
}

#[test]
fn what_was_said_of_an_incident_stays_when_that_becomes_part_of_another() {
    let mut world = fixture::hypervisor();
    let before = ids(&world.updates(None));
    let merged = crash(&mut world);
    merged.withdrawn = true;
    let gone = merged.id.clone();
    assert!(ids(&world.updates(None)).len() < before.len());
    let other = world.incidents.values_mut().find(|incident| incident.id != gone).unwrap();
    other.aliases.push(gone.clone());
    let other = other.id.clone();
    assert_eq!(ids(&world.updates(None)), before);
    // The other is taken off the site, and with it what it was made of.
    world.incidents.get_mut(&other).unwrap().withdrawn = true;
    let left = world.updates(None);
    assert!(left.entries.iter().all(|entry| !entry.url.contains(gone.as_str())));
}

#[test]
fn a_removed_update_is_gone_from_every_feed() {
    let mut world = fixture::hypervisor();
    let before = world.updates(None).entries.len();
    let removed = &mut crash(&mut world).updates[0];
    removed.withdrawn = true;
    removed.changed_at = at("2020-04-05T11:59:00Z");
    assert_eq!(world.updates(None).entries.len(), before - 1);
    let all = [world.updates(None).json(), world.history().json(), world.incidents()].concat();
    assert!(!String::from_utf8(all).unwrap().contains("hypervisor"));
}

#[test]
fn a_service_has_the_entries_that_concern_it_under_the_same_ids() {
    let world = fixture::hypervisor();
    let (whole, own) = (world.updates(None), world.updates(Some(&id("bugzilla"))));
    assert!(!own.entries.is_empty() && own.entries.len() < whole.entries.len());
    assert!(own.entries.iter().all(|entry| whole.entries.iter().any(|other| other.id == entry.id)));
    assert_eq!(own.self_url, "https://status.example.org/services/bugzilla/updates");
    assert_eq!(own.title, "Example Status: Bugzilla");
    assert_ne!(own.id, whole.id);
}
