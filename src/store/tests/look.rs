//! Looking at the queue from beside the daemon.

use crate::{
    domain::event::EventKind,
    store::{
        outbox::{DeliveryState, Settled, Settlement, fan_out::SLICE},
        testing::*,
        *,
    },
};

#[test]
fn a_reader_sees_each_delivery_of_an_incident_and_of_no_other() {
    let (folder, mut store) = store();
    for n in 1..=3 {
        store.add_subscriber(&subscriber(n, &[])).unwrap();
    }
    let (api, web) = (incident("2026-11-21-api", 1, &["api"]), incident("2026-11-21-web", 1, &["web"]));
    store
        .commit(&commit(&[&api, &web], &[&event(20, EventKind::Opened, &api), &event(21, EventKind::Opened, &web)]))
        .unwrap();
    let lanes = claim(&mut store, 1, at(60), 2).unwrap();
    let [one, other] = lanes.as_slice() else { panic!("{lanes:?}") };
    let reply = "250 ok".to_owned();
    let result = Settlement::Sent { reply };
    store.settle(&[Settled { delivery: one.pending[0].delivery, result }], at(61)).unwrap();
    store.remove_subscriber(&other.subscriber.id, at(62)).unwrap();

    let reader = Store::reader(&config(folder.path())).unwrap();
    let mut states = Vec::new();
    reader
        .deliveries(&api.id, &mut |delivery| {
            assert_eq!(delivery.event, event(20, EventKind::Opened, &api).id);
            states.push((delivery.state, delivery.done_at, delivery.reply.clone()));
        })
        .unwrap();
    let mut waiting = Vec::new();
    reader
        .lanes(&api.id, &mut |lane, is_busy| waiting.push((lane.subscriber.id, is_busy, lane.pending.len())))
        .unwrap();
    assert_eq!(states.len(), 3);
    let count = |state| states.iter().filter(|(it, ..)| *it == state).count();
    let left = (DeliveryState::Dropped, Some(at(62)), Some("left".to_owned()));
    assert!(states.contains(&left), "{states:?}");
    assert_eq!((count(DeliveryState::Sent), count(DeliveryState::Queued)), (1, 1), "{states:?}");
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].1, waiting[0].2), (false, 1));
}

#[test]
fn the_audience_of_an_event_is_who_follows_it_with_what_they_know() {
    let (folder, mut store) = store();
    let people = [subscriber(1, &["api"]), subscriber(2, &[]), subscriber(3, &["web"]), subscriber(4, &["api"])];
    for person in &people {
        store.add_subscriber(person).unwrap();
    }
    let api = incident("2026-11-21-api", 1, &["api"]);
    store.commit(&commit(&[&api], &[&event(20, EventKind::Opened, &api)])).unwrap();
    let lanes = claim(&mut store, 1, at(60), 2).unwrap();
    let delivery = lanes[0].pending[0].delivery;
    let result = Settlement::Sent { reply: "250 ok".to_owned() };
    store.settle(&[Settled { delivery, result }], at(61)).unwrap();
    let reader = Store::reader(&config(folder.path())).unwrap();
    let audience = |services: &[&str]| {
        let services: Vec<_> = services.iter().map(|id| service(id)).collect();
        let mut found = Vec::new();
        let mut each = |lane: crate::store::outbox::Lane| {
            found.push((lane.subscriber.id, lane.pending.len(), lane.told.len()));
        };
        reader.audience(&std::sync::Arc::new(api.clone()), &services, &mut each).unwrap();
        found
    };
    let found = audience(&["api"]);
    let who: Vec<_> = found.iter().map(|(id, ..)| *id).collect();
    assert_eq!(who, [people[0].id, people[1].id, people[3].id]);
    // One was told, one is being told, one waits.
    let known = |n: usize| found.iter().filter(|(_, pending, told)| (*pending, *told) == (1 - n, n)).count();
    assert_eq!((known(1), known(0)), (2, 1), "{found:?}");
    assert_eq!(audience(&["web"]).len(), 3, "also for whom something is queued: {:?}", audience(&["web"]));
}

#[test]
fn who_is_promised_an_event_and_has_no_delivery_yet_is_counted() {
    let (folder, mut store) = store();
    crowd(&store, SLICE + 100);
    let api = incident("2026-11-21-api", 1, &["api"]);
    let opened = event(20, EventKind::Opened, &api);
    store.commit(&commit(&[&api], &[&opened])).unwrap();
    let reader = Store::reader(&config(folder.path())).unwrap();
    assert_eq!(reader.still_promised(&opened.id).unwrap(), 100);
    while store.fan_out(at(60)).unwrap().next_at.is_some_and(|next| next <= at(60)) {}
    let reader = Store::reader(&config(folder.path())).unwrap();
    assert_eq!(reader.still_promised(&opened.id).unwrap(), 0);
}
