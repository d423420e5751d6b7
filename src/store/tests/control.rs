//! What operators move by hand, and what they see of the queue before.

use std::collections::BTreeSet;

use crate::{
    domain::{
        SubscriberId,
        event::EventKind,
        incident::Incident,
        pause::{Cause, Pause},
    },
    store::{
        outbox::{BY_HAND, Settled, Settlement, Which, fan_out::SLICE},
        testing::*,
        *,
    },
};

fn api() -> Incident {
    incident("2026-11-21-api", 1, &["api"])
}

fn of(incident: &Incident) -> Which {
    Which::Incident(vec![incident.id.clone()])
}

/// Three people who are told of an outage of `api`: one is, one is refused for now, one for good.
fn three() -> (tempfile::TempDir, Store) {
    let (folder, mut store) = store();
    for n in 1..=3 {
        store.add_subscriber(&subscriber(n, &[])).unwrap();
    }
    store.commit(&commit(&[&api()], &[&event(20, EventKind::Opened, &api())])).unwrap();
    let mut lanes = claim(&mut store, 1, at(60), 9).unwrap();
    lanes.sort_by_key(|lane| lane.subscriber.id);
    let results = [
        Settlement::Sent { reply: "250 ok".to_owned() },
        Settlement::Retry { until: at(900), reply: "450 4.2.0 later (to RCPT TO)".to_owned() },
        Settlement::Failed { reply: "554 5.7.1 no (to RCPT TO)".to_owned() },
    ];
    let settled =
        lanes.iter().zip(results).map(|(lane, result)| Settled { delivery: lane.pending[0].delivery, result });
    store.settle(&settled.collect::<Vec<_>>(), at(61)).unwrap();
    (folder, store)
}

/// The numbers of those whose lanes are claimed now.
fn due(store: &mut Store, second: i64) -> BTreeSet<u8> {
    let lanes = claim(store, 2, at(second), 99).unwrap();
    lanes.iter().map(|lane| lane.subscriber.id.as_bytes()[0]).collect()
}

#[test]
fn what_waits_and_what_was_given_up_is_due_again_and_what_was_told_is_not() {
    for which in [of(&api()), Which::All] {
        let (_folder, mut store) = three();
        assert_eq!(due(&mut store, 100), BTreeSet::new());
        let done = store.retry(&which, at(100)).unwrap();
        assert_eq!((done.waiting, done.given_up, done.passed_over), (1, 1, 0));
        let again = store.retry(&which, at(100)).unwrap();
        assert_eq!((again.waiting, again.given_up), (0, 0), "it is due already");
        assert_eq!(due(&mut store, 100), BTreeSet::from([2, 3]));
    }
    let (_folder, mut store) = three();
    let other = Which::Incident(vec![IncidentId::new("another").unwrap()]);
    assert_eq!(store.retry(&other, at(100)).unwrap(), crate::store::outbox::Retried::default());
}

#[test]
fn one_delivery_can_be_named() {
    let (folder, mut store) = three();
    let reader = Store::reader(&config(folder.path())).unwrap();
    let mut refused = Vec::new();
    reader.given_up(at(0), &mut |one| refused.push(one)).unwrap();
    let [one] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(one.subscriber, SubscriberId::from_bytes([3; 16]));
    assert!(store.has_delivery(&one.delivery).unwrap());
    let done = store.retry(&Which::Delivery(one.delivery), at(100)).unwrap();
    assert_eq!((done.waiting, done.given_up), (0, 1));
    assert_eq!(due(&mut store, 100), BTreeSet::from([3]));
}

#[test]
fn nobody_is_told_of_the_beginning_after_they_were_told_of_the_end() {
    let (_folder, mut store) = three();
    let mut over = api();
    over.version = 2;
    store.commit(&commit(&[&over], &[&event(80, EventKind::Resolved, &over)])).unwrap();
    let lanes = claim(&mut store, 1, at(95), 9).unwrap();
    let of_three = lanes.iter().find(|lane| lane.subscriber.id.as_bytes()[0] == 3).unwrap();
    let result = Settlement::Sent { reply: "250 ok".to_owned() };
    store.settle(&[Settled { delivery: of_three.pending[0].delivery, result }], at(96)).unwrap();
    let done = store.retry(&of(&api()), at(100)).unwrap();
    assert_eq!((done.given_up, done.passed_over), (0, 1));
}

#[test]
fn who_left_or_is_suspended_is_not_tried_again_nor_what_is_of_old_unless_it_is_named() {
    let (_folder, mut store) = three();
    store.suspend(&SubscriberId::from_bytes([3; 16]), "no such mailbox", at(70)).unwrap();
    let done = store.retry(&Which::All, at(100)).unwrap();
    assert_eq!((done.given_up, done.passed_over), (0, 1));

    let (_folder, mut store) = three();
    let later = 9 * 86_400;
    assert_eq!(store.retry(&Which::All, at(later)).unwrap().given_up, 0);
    assert_eq!(store.retry(&of(&api()), at(later)).unwrap().given_up, 1);
}

#[test]
fn what_is_dropped_is_never_told_in_the_queue_or_not_yet() {
    let (folder, mut store) = store();
    crowd(&store, 2 * SLICE + 100);
    let (api, web) = (api(), incident("2026-11-21-web", 1, &["web"]));
    store.commit(&commit(&[&api], &[&event(20, EventKind::Opened, &api)])).unwrap();
    store.commit(&commit(&[&web], &[&event(25, EventKind::Opened, &web)])).unwrap();
    let in_queue = u64::try_from(SLICE).unwrap();
    let [lane] = &claim(&mut store, 1, at(60), 1).unwrap()[..] else { panic!() };
    assert_eq!(lane.incident, api.id);
    let done = store.drop_deliveries(&of(&api), at(61)).unwrap();
    assert_eq!((done.waiting, done.promised, done.letters, done.on_their_way), (in_queue - 1, in_queue + 100, 0, 1));
    while store.fan_out(at(90)).unwrap().next_at.is_some() {}
    let reader = Store::reader(&config(folder.path())).unwrap();
    let mut reasons = BTreeSet::new();
    reader
        .deliveries(&api.id, &mut |delivery| {
            reasons.insert(delivery.reply.clone());
        })
        .unwrap();
    assert_eq!(reasons, BTreeSet::from([None, Some(BY_HAND.to_owned())]));
    let counts = store.outbox_counts().unwrap();
    assert_eq!(
        (counts.queued, counts.sending, counts.dropped),
        (2 * in_queue + 100, 1, in_queue - 1),
        "the other stays"
    );
    let done = store.drop_deliveries(&Which::All, at(91)).unwrap();
    assert_eq!((done.waiting, done.on_their_way), (2 * in_queue + 100, 1));
    assert!(due(&mut store, 200).is_empty());
}

#[test]
fn letters_wait_beside_and_are_dropped_with_everything() {
    let (folder, mut store) = three();
    let asking = crate::domain::asking::Asking {
        address: crate::domain::subscriber::Destination::parse("dora@example.org").unwrap(),
        choice: crate::domain::subscriber::Choice::default(),
    };
    store.ask_for(&asking, at(70)).unwrap();
    store.answer_requests(std::time::Duration::from_hours(48), at(71)).unwrap();
    // One was sent and one given up; one waits, and the letter.
    assert_eq!(store.outbox_pending().unwrap(), 2);
    let reader = Store::reader(&config(folder.path())).unwrap();
    let letters = reader.queued_letters(at(80)).unwrap();
    assert_eq!((letters.len(), letters[0].kind.as_str(), letters[0].due), (1, "confirm", 1));
    assert_eq!(store.retry(&Which::All, at(80)).unwrap().letters, 0, "it is due, and what has its turn keeps it");
    assert_eq!(store.drop_deliveries(&Which::All, at(81)).unwrap().letters, 1);
    assert_eq!(store.outbox_pending().unwrap(), 0);
}

#[test]
fn the_queue_is_counted_by_event_moment_and_refusal() {
    let (folder, mut store) = three();
    let web = incident("2026-11-21-web", 1, &["web"]);
    store.commit(&commit(&[&web], &[&event(90, EventKind::Opened, &web)])).unwrap();
    let reader = Store::reader(&config(folder.path())).unwrap();
    let queued = reader.queued(at(95)).unwrap();
    let found: Vec<_> =
        queued.iter().map(|queued| (queued.event.incident.as_str(), queued.due, queued.sending)).collect();
    assert_eq!(found, [("2026-11-21-api", 0, 0), ("2026-11-21-web", 0, 0)]);
    let held = reader.held(at(95)).unwrap();
    assert_eq!(held.iter().map(|held| (held.until, held.count)).collect::<Vec<_>>(), [(at(100), 3)]);
    let mut refused = Vec::new();
    reader.refused_for_now(&mut |one| refused.push((one.subscriber.as_bytes()[0], one.at))).unwrap();
    assert_eq!(refused, [(2, at(900))]);
    assert_eq!(reader.queued(at(100)).unwrap()[1].due, 3);
}

#[test]
fn a_pause_is_read_by_all_and_stays_away_once_it_was_taken_away() {
    let (folder, mut store) = three();
    let pause = |tries| Pause {
        cause: Cause::Ours,
        since_at: at(61),
        tries,
        next_at: at(400),
        said: "535 5.7.8 no (to logging in)".to_owned(),
        is_told: false,
    };
    assert!(!store.end_pause().unwrap());
    store.begin_pause(&pause(0)).unwrap();
    assert!(store.prolong_pause(&pause(1)).unwrap());
    assert_eq!(Store::reader(&config(folder.path())).unwrap().pause().unwrap(), Some(pause(1)));
    assert_eq!(store.late(at(100)).unwrap(), 0);
    assert_eq!(store.late(at(900)).unwrap(), 1, "what was given up is not late");
    assert!(store.end_pause().unwrap());
    assert!(!store.prolong_pause(&pause(2)).unwrap());
    assert_eq!(store.pause().unwrap(), None);
}
