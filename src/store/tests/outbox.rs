//! Who is queued for what, who is claimed when, and what settling leaves.

use std::sync::Arc;

use crate::{
    domain::{
        GroupId, Impact, IncidentId,
        archive::Archive,
        event::{Event, EventKind},
        id::DeliveryId,
        incident::Incident,
        service::{Group, Rules, Service},
        subscriber::SubscriberState,
    },
    judge::Step,
    store::{
        outbox::{Counts, Lane, Settled, Settlement, states},
        testing::*,
        *,
    },
};

fn api() -> Incident {
    incident("2026-11-21-api", 1, &["api"])
}

fn opened(incident: &Incident) -> Event {
    event(20, EventKind::Opened, incident)
}

fn rules(services: &[(&str, Option<&str>)]) -> Rules {
    let groups = [Group { id: GroupId::new("public").unwrap(), name: "Public".to_owned() }];
    let services = services.iter().map(|(id, group)| {
        Arc::new(Service {
            id: service(id),
            name: id.to_uppercase(),
            group: group.map(|group| GroupId::new(group).unwrap()),
            description: String::new(),
            depends_on: Vec::new(),
            objective: None,
            acceptable_downtime: None,
            owners: Vec::new(),
            max_impact: Impact::Critical,
            notify_after: std::time::Duration::ZERO,
            checks: Vec::new(),
        })
    });
    Rules { services: services.collect(), groups: groups.into(), ..Rules::default() }
}

fn names(lanes: &[Lane]) -> Vec<&str> {
    let mut names: Vec<_> =
        lanes.iter().map(|lane| lane.subscriber.address.as_str().split('@').next().unwrap()).collect();
    names.sort_unstable();
    names
}

fn sent(delivery: DeliveryId) -> Settled {
    Settled { delivery, result: Settlement::Sent { reply: "250 ok".to_owned() } }
}

#[test]
fn an_event_is_queued_for_those_who_follow_its_services_and_nobody_else() {
    let (_folder, mut store) = store();
    store.set_services(&rules(&[("api", Some("public")), ("web", None)])).unwrap();
    let mut people: Vec<_> = [&[][..], &["api"], &["web"], &["web", "api"], &["web"], &[], &[], &["gone"]]
        .iter()
        .zip(1..)
        .map(|(services, n)| subscriber(n, services))
        .collect();
    people[4].wants.groups.push(GroupId::new("public").unwrap());
    people[5].wants.incidents = false;
    people[6].state = SubscriberState::Pending;
    people[7].wants.groups.push(GroupId::new("other").unwrap());
    for subscriber in &people {
        store.add_subscriber(subscriber).unwrap();
    }
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    let lanes = claim(&mut store, 1, at(60), 99).unwrap();
    assert_eq!(names(&lanes), ["reader1", "reader2", "reader4", "reader5"]);
}

#[test]
fn a_group_is_followed_also_after_its_service_left_the_config() {
    let (_folder, mut store) = store();
    store.set_services(&rules(&[("api", Some("public")), ("web", None)])).unwrap();
    store.set_services(&rules(&[("web", None)])).unwrap();
    let mut reader = subscriber(1, &[]);
    reader.wants.groups.push(GroupId::new("public").unwrap());
    store.add_subscriber(&reader).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    assert_eq!(store.outbox_counts().unwrap().queued, 1);
}

#[test]
fn how_much_it_matters_is_asked_only_when_it_is_told() {
    let (_folder, mut store) = store();
    let mut picky = subscriber(1, &[]);
    picky.wants.min_impact = Impact::Critical;
    store.add_subscriber(&picky).unwrap();
    let mut minor = api();
    minor.impact = Impact::Minor;
    store.commit(&commit(&[&minor], &[&opened(&minor)])).unwrap();
    assert_eq!(store.outbox_counts().unwrap().queued, 1);
}

#[test]
fn what_is_not_to_be_told_is_queued_for_nobody() {
    let (_folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    let quiet = Event { notify: false, ..opened(&api()) };
    store.commit(&commit(&[&api()], &[&quiet])).unwrap();
    assert_eq!(store.outbox_counts().unwrap(), Counts::default());
}

#[test]
fn an_amended_event_reaches_those_whom_it_now_concerns_once() {
    let (folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &["api"])).unwrap();
    store.add_subscriber(&subscriber(2, &["web"])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    assert_eq!(store.outbox_counts().unwrap().queued, 1);
    let both = incident("2026-11-21-api", 2, &["api", "web"]);
    let amended = Event { seals_at: at(35), ..opened(&both) };
    let step = Step { incidents: vec![both], amended: vec![amended.clone()], ..Step::default() };
    let again = Commit { steps: vec![step], ..Commit::new(at(31)) };
    store.commit(&again).unwrap();
    store.commit(&again).unwrap();
    assert_eq!(store.outbox_counts().unwrap().queued, 2);
    assert!(claim(&mut store, 1, at(34), 9).unwrap().is_empty(), "the new seal counts");
    let lanes = claim(&mut store, 1, at(35), 9).unwrap();
    assert_eq!(names(&lanes), ["reader1", "reader2"]);
    assert!(lanes.iter().all(|lane| *lane.pending[0].event == amended));
    let reader = Store::reader(&config(folder.path())).unwrap();
    assert_eq!(reader.events(Some(&service("web")), None, 9).unwrap(), [amended]);
}

#[test]
fn an_update_taken_back_and_written_again_is_told_once() {
    let (_folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    for notify in [false, true] {
        let amended = Event { notify, seals_at: at(50), ..opened(&api()) };
        let step = Step { amended: vec![amended], ..Step::default() };
        store.commit(&Commit { steps: vec![step], ..Commit::new(at(25)) }).unwrap();
    }
    assert_eq!(store.outbox_counts().unwrap(), Counts { queued: 1, ..Counts::default() });
    assert!(claim(&mut store, 1, at(49), 9).unwrap().is_empty());
    assert_eq!(claim(&mut store, 1, at(50), 9).unwrap().len(), 1);
}

#[test]
fn an_update_taken_back_before_its_seal_is_not_told() {
    let (_folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    let quiet = Event { notify: false, ..opened(&api()) };
    let step = Step { amended: vec![quiet], ..Step::default() };
    store.commit(&Commit { steps: vec![step], ..Commit::new(at(25)) }).unwrap();
    assert_eq!(store.outbox_counts().unwrap(), Counts { dropped: 1, ..Counts::default() });
}

#[test]
fn who_was_due_first_is_claimed_first_and_a_lane_only_once() {
    let (_folder, mut store) = store();
    for n in [1, 2, 3] {
        store.add_subscriber(&subscriber(n, &[])).unwrap();
    }
    let web = incident("2026-11-21-web", 1, &["web"]);
    store.commit(&commit(&[&web], &[&event(25, EventKind::Opened, &web)])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api()), &event(22, EventKind::Joined, &api())])).unwrap();
    let first = claim(&mut store, 1, at(60), 2).unwrap();
    assert_eq!(first.iter().map(|lane| lane.incident.as_str()).collect::<Vec<_>>(), ["2026-11-21-api"; 2]);
    assert_eq!(first[0].pending.len(), 2);
    assert!(first[0].pending[0].event.kind == EventKind::Opened, "in the order of events");
    let rest = claim(&mut store, 1, at(60), 9).unwrap();
    assert_eq!(rest.len(), 4);
    assert!(claim(&mut store, 1, at(60), 9).unwrap().is_empty());
    assert_eq!(store.next_due().unwrap(), None);
}

#[test]
fn a_lane_in_flight_waits_with_whatever_comes_next() {
    let (_folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    let lane = claim(&mut store, 1, at(60), 9).unwrap().remove(0);
    store.commit(&commit(&[], &[&event(40, EventKind::Resolved, &api())])).unwrap();
    assert!(claim(&mut store, 1, at(60), 9).unwrap().is_empty());
    store.settle(&[sent(lane.pending[0].delivery)], at(61)).unwrap();
    let next = claim(&mut store, 1, at(61), 9).unwrap().remove(0);
    assert_eq!(next.pending.len(), 1);
    assert_eq!(next.pending[0].event.kind, EventKind::Resolved);
    assert_eq!(next.told.len(), 1);
    assert_eq!((next.told[0].event.kind, next.told[0].at), (EventKind::Opened, at(61)));
}

#[test]
fn claims_of_a_dead_daemon_are_free_at_once() {
    let (folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    let epoch = store.new_epoch().unwrap();
    let lane = claim(&mut store, epoch, at(60), 9).unwrap().remove(0);
    drop(store);
    let mut store = Store::open(&config(folder.path()), at(61)).unwrap();
    let next = store.new_epoch().unwrap();
    assert_eq!(next, epoch + 1);
    let again = claim(&mut store, next, at(61), 9).unwrap().remove(0);
    assert_eq!(again.pending[0].delivery, lane.pending[0].delivery, "so that its copy can be recognised");
}

#[test]
fn held_and_retried_deliveries_come_back_when_they_are_due() {
    let (_folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    let delivery = claim(&mut store, 1, at(60), 9).unwrap()[0].pending[0].delivery;
    store.settle(&[Settled { delivery, result: Settlement::Hold { until: at(100) } }], at(60)).unwrap();
    assert_eq!(store.next_due().unwrap(), Some(at(100)));
    assert!(claim(&mut store, 1, at(99), 9).unwrap().is_empty());
    let pending = claim(&mut store, 1, at(100), 9).unwrap().remove(0).pending.remove(0);
    assert_eq!((pending.attempts, pending.first_tried_at), (0, None));
    let result = Settlement::Retry { until: at(200), reply: "450 later".to_owned() };
    store.settle(&[Settled { delivery, result: result.clone() }], at(101)).unwrap();
    let pending = claim(&mut store, 1, at(200), 9).unwrap().remove(0).pending.remove(0);
    assert_eq!((pending.attempts, pending.first_tried_at), (1, Some(at(101))));
    store.settle(&[Settled { delivery, result }], at(201)).unwrap();
    let pending = claim(&mut store, 1, at(200), 9).unwrap().remove(0).pending.remove(0);
    assert_eq!((pending.attempts, pending.first_tried_at), (2, Some(at(101))));
}

#[test]
fn what_was_refused_for_now_has_its_turn_beside_what_was_not_tried_yet() {
    let (_folder, mut store) = store();
    for n in 1..=20 {
        store.add_subscriber(&subscriber(n, &[])).unwrap();
    }
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    let result = Settlement::Retry { until: at(62), reply: "450 later".to_owned() };
    let refused: Vec<_> = claim(&mut store, 1, at(60), 4)
        .unwrap()
        .iter()
        .map(|lane| Settled { delivery: lane.pending[0].delivery, result: result.clone() })
        .collect();
    store.settle(&refused, at(60)).unwrap();
    let mut tried = |limit: usize| -> (usize, usize) {
        let lanes = claim(&mut store, 1, at(63), limit).unwrap();
        let again = lanes.iter().filter(|lane| lane.pending[0].attempts > 0).count();
        (again, lanes.len() - again)
    };
    assert_eq!(tried(4), (2, 2));
    let one_by_one: Vec<_> = (0..4).map(|_| tried(1)).collect();
    assert_eq!(one_by_one.iter().filter(|tried| **tried == (1, 0)).count(), 2, "{one_by_one:?}");
    assert_eq!(tried(99), (0, 12), "all there are, if there are no others");
}

#[test]
fn what_was_on_its_way_in_another_life_is_known_to_have_been() {
    let (folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    let joined = event(22, EventKind::Joined, &api());
    store.commit(&commit(&[&api()], &[&opened(&api()), &joined])).unwrap();
    let epoch = store.new_epoch().unwrap();
    let lane = claim(&mut store, epoch, at(60), 9).unwrap().remove(0);
    let within = lane.pending[1].delivery;
    assert!(lane.pending.iter().all(|pending| pending.left_in.is_none()));
    store.commit(&commit(&[], &[&event(40, EventKind::Resolved, &api())])).unwrap();
    drop(store);
    let mut store = Store::open(&config(folder.path()), at(61)).unwrap();
    let epoch = store.new_epoch().unwrap();
    let left_in = |lane: &Lane| lane.pending.iter().map(|pending| pending.left_in).collect::<Vec<_>>();
    let lane = claim(&mut store, epoch, at(61), 9).unwrap().remove(0);
    assert_eq!(left_in(&lane), [Some(within), Some(within), None]);
    // Nobody knows still; then it is known that it was not taken.
    let all = |result: &Settlement| {
        let settled = |pending: &outbox::Pending| Settled { delivery: pending.delivery, result: result.clone() };
        lane.pending.iter().map(settled).collect::<Vec<_>>()
    };
    store.settle(&all(&Settlement::Doubted { until: at(70), reply: None }), at(62)).unwrap();
    let again = claim(&mut store, epoch, at(70), 9).unwrap().remove(0);
    assert!(left_in(&again).iter().all(Option::is_some));
    store.settle(&all(&Settlement::Hold { until: at(80) }), at(71)).unwrap();
    let again = claim(&mut store, epoch, at(80), 9).unwrap().remove(0);
    assert_eq!(left_in(&again), [None; 3]);
}

#[test]
fn each_end_is_written_down() {
    let (_folder, mut store) = store();
    for n in 1..=4 {
        store.add_subscriber(&subscriber(n, &[])).unwrap();
    }
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    let lanes = claim(&mut store, 1, at(60), 9).unwrap();
    let ids: Vec<_> = lanes.iter().map(|lane| lane.pending[0].delivery).collect();
    let settled = [
        sent(ids[0]),
        Settled { delivery: ids[1], result: Settlement::Folded { into: ids[0] } },
        Settled { delivery: ids[2], result: Settlement::Dropped { reason: "too_short".to_owned() } },
        Settled { delivery: ids[3], result: Settlement::Failed { reply: "550 \u{7}no".to_owned() } },
    ];
    store.settle(&settled, at(61)).unwrap();
    let found: std::collections::HashMap<_, _> = states(&store.db).into_iter().collect();
    assert_eq!(ids.iter().map(|id| found[id].as_str()).collect::<Vec<_>>(), ["sent", "folded", "dropped", "failed"]);
    let counts = store.outbox_counts().unwrap();
    assert_eq!(counts, Counts { sent: 1, folded: 1, dropped: 1, failed: 1, ..Counts::default() });
    assert_eq!((store.outbox_pending().unwrap(), counts.open()), (0, 0));
    // Settling once more what is settled changes nothing.
    store.settle(&[Settled { delivery: ids[0], result: Settlement::Hold { until: at(0) } }], at(62)).unwrap();
    assert_eq!(store.outbox_counts().unwrap(), counts);
}

#[test]
fn leaving_removes_what_is_queued_and_what_is_claimed() {
    let (_folder, mut store) = store();
    let reader = subscriber(1, &[]);
    store.add_subscriber(&reader).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    let delivery = claim(&mut store, 1, at(60), 9).unwrap()[0].pending[0].delivery;
    store.commit(&commit(&[], &[&event(40, EventKind::Resolved, &api())])).unwrap();
    assert_eq!(store.pending_for(&reader.id).unwrap(), 2);
    assert!(store.remove_subscriber(&reader.id, at(61)).unwrap());
    let left = Counts { dropped: 2, ..Counts::default() };
    assert_eq!(store.outbox_counts().unwrap(), left, "how many is no secret");
    store.settle(&[sent(delivery)], at(62)).unwrap();
    assert_eq!(store.outbox_counts().unwrap(), left);
    assert!(!store.remove_subscriber(&reader.id, at(63)).unwrap(), "leaving twice is no error");
}

#[test]
fn the_suspended_are_not_claimed_and_get_nothing_from_before_when_they_are_back() {
    let (_folder, mut store) = store();
    let reader = subscriber(1, &[]);
    store.add_subscriber(&reader).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    assert!(store.refused(&reader.id, true, at(50)).unwrap());
    assert!(claim(&mut store, 1, at(60), 9).unwrap().is_empty());
    store.add_subscriber(&reader).unwrap();
    assert!(claim(&mut store, 1, at(60), 9).unwrap().is_empty());
    store.commit(&commit(&[], &[&event(40, EventKind::Resolved, &api())])).unwrap();
    assert_eq!(claim(&mut store, 1, at(60), 9).unwrap().len(), 1);
}

#[test]
fn three_refusals_on_different_days_in_a_row_suspend() {
    const DAY: i64 = 86_400;
    let (_folder, mut store) = store();
    let reader = subscriber(1, &[]);
    store.add_subscriber(&reader).unwrap();
    let strike = |store: &mut Store, day: i64| store.refused(&reader.id, false, at(day * DAY)).unwrap();
    assert!(!strike(&mut store, 0));
    assert!(!strike(&mut store, 0), "the same day counts once");
    assert!(!strike(&mut store, 1));
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    let delivery = claim(&mut store, 1, at(DAY), 9).unwrap()[0].pending[0].delivery;
    store.settle(&[sent(delivery)], at(DAY)).unwrap();
    assert!(!strike(&mut store, 2), "a mail that arrived starts the count anew");
    assert!(!strike(&mut store, 3));
    assert!(strike(&mut store, 4));
    assert_eq!(store.subscriber(&reader.id).unwrap().unwrap().state, SubscriberState::Suspended);
}

#[test]
fn what_waits_for_somebody_who_is_gone_stands_in_nobodys_way() {
    let (_folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    store.add_subscriber(&subscriber(2, &[])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    store.db.execute("DELETE FROM subscriber WHERE address LIKE 'reader1%'", []).unwrap();
    let lanes = [claim(&mut store, 1, at(60), 1).unwrap(), claim(&mut store, 1, at(60), 1).unwrap()].concat();
    assert_eq!(names(&lanes), ["reader2"]);
    assert_eq!(store.outbox_counts().unwrap().dropped, 1);
}

#[test]
fn what_a_newer_version_queued_waits_for_it_out_of_the_way() {
    let (_folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    store.db.execute("UPDATE event SET v = 99", []).unwrap();
    assert!(claim(&mut store, 1, at(60), 9).unwrap().is_empty());
    assert_eq!(store.next_due().unwrap(), Some(at(60 + 3600)));
    assert_eq!(store.outbox_counts().unwrap().queued, 1);
}

#[test]
fn the_id_of_a_delivery_comes_from_event_and_subscriber_alone() {
    let ids = || {
        let (_folder, mut store) = store();
        store.add_subscriber(&subscriber(1, &[])).unwrap();
        store.add_subscriber(&subscriber(2, &[])).unwrap();
        store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
        states(&store.db).into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    let found = ids();
    assert_eq!(found, ids());
    assert_ne!(found[0], found[1]);
    for id in found {
        let text = id.to_string();
        assert_eq!(text[..13], opened(&api()).id.to_string()[..13], "it begins with the event's time");
        assert!(text.as_bytes()[14] == b'7' && b"89ab".contains(&text.as_bytes()[19]), "{text} is a UUIDv7");
    }
}

#[test]
fn two_writers_take_turns() {
    let (folder, mut store) = store();
    let mut other = Store::open(&config(folder.path()), at(0)).unwrap();
    other.add_subscriber(&subscriber(1, &[])).unwrap();
    store.commit(&commit(&[&api()], &[&opened(&api())])).unwrap();
    other.remove_subscriber(&subscriber(1, &[]).id, at(1)).unwrap();
    assert_eq!(store.outbox_counts().unwrap().open(), 0);
    let id = IncidentId::new("2026-11-21-api").unwrap();
    assert!(other.decisions(&id).unwrap().is_empty());
}

#[test]
fn what_is_settled_makes_way_for_what_is_claimed_in_the_same_commit() {
    let (_folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    let (incident, first) = (api(), opened(&api()));
    store.commit(&commit(&[&incident], &[&first])).unwrap();
    let lanes = settle_and_claim(&mut store, &[], 1, at(60), 9).unwrap();
    let delivery = lanes[0].pending[0].delivery;
    store.commit(&commit(&[&incident], &[&event(40, EventKind::Resolved, &incident)])).unwrap();
    assert!(settle_and_claim(&mut store, &[], 1, at(70), 9).unwrap().is_empty(), "one at a time");
    let lanes = settle_and_claim(&mut store, &[sent(delivery)], 1, at(70), 9).unwrap();
    assert_eq!((lanes[0].told.len(), lanes[0].pending.len()), (1, 1));
    assert_eq!(lanes[0].pending[0].event.kind, EventKind::Resolved);
    // Nothing due: what was sent is written down all the same.
    let delivery = lanes[0].pending[0].delivery;
    assert!(settle_and_claim(&mut store, &[sent(delivery)], 1, at(80), 9).unwrap().is_empty());
    assert_eq!(store.outbox_counts().unwrap().sent, 2);
}
