//! Asking for news, being asked back, confirming; and how often that may be.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use jiff::SignedDuration;

use crate::{
    domain::{
        asking::{Asking, LetterKind, Scope},
        event::EventKind,
        id::DeliveryId,
        service::Rules,
        subscriber::{Choice, Destination, Subscriber, SubscriberState},
    },
    store::{
        letters::{Confirmed, Letter, LetterEnd},
        testing::*,
        *,
    },
};

const GOOD_FOR: Duration = Duration::from_hours(48);

fn asking(address: &str) -> Asking {
    Asking { address: Destination::parse(address).unwrap(), choice: Choice::default() }
}

fn client(n: u32) -> IpAddr {
    // Each in a /24 of its own.
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + (n << 8)).into()
}

/// Asks, has it answered, and sends what follows; the letters.
fn ask(store: &mut Store, address: &str, from: IpAddr, now: Timestamp) -> Vec<Letter> {
    assert_eq!(store.ask(&asking(address), from, now).unwrap(), Taken::Down);
    store.answer_requests(GOOD_FOR, now).unwrap();
    send(store, now)
}

fn send(store: &mut Store, now: Timestamp) -> Vec<Letter> {
    let letters = store.claim_letters(1, 100, now).unwrap();
    let ended: Vec<(DeliveryId, LetterEnd)> = letters.iter().map(|letter| (letter.id, LetterEnd::Sent)).collect();
    store.settle_letters(&ended, now).unwrap();
    letters
}

fn confirm(store: &mut Store, token: &str, now: Timestamp) -> Confirmed {
    store.confirm(token, &mut |_, open| open.iter().map(|(_, event)| event.id).collect(), now).unwrap()
}

fn state(store: &Store, address: &str) -> Option<SubscriberState> {
    store.subscriber_by_address(&Destination::parse(address).unwrap()).unwrap().map(|found| found.state)
}

#[test]
fn a_link_confirms_once_what_was_asked_for_in_its_mail() {
    let (_folder, mut store) = store();
    let mut first = asking("ann@example.org");
    first.choice.wants.services = vec![service("api")];
    store.ask(&first, client(1), at(0)).unwrap();
    store.answer_requests(GOOD_FOR, at(0)).unwrap();
    let [letter] = send(&mut store, at(0)).try_into().unwrap();
    assert_eq!((letter.kind, letter.token.len()), (LetterKind::Confirm, 22));
    // Somebody else asks for the same address, for something else: that is another mail.
    let [other] = ask(&mut store, "ann@example.org", client(2), at(1)).try_into().unwrap();
    assert_ne!(letter.token, other.token);
    assert_eq!(state(&store, "ann@example.org"), Some(SubscriberState::Pending));

    let Confirmed::Now(id) = confirm(&mut store, &letter.token, at(2)) else { panic!() };
    let ann = store.subscriber(&id).unwrap().unwrap();
    assert_eq!((ann.state, ann.wants.services), (SubscriberState::Confirmed, vec![service("api")]));
    assert_eq!(confirm(&mut store, &letter.token, at(3)), Confirmed::Before(id));
    for guess in ["", "AAAAAAAAAAAAAAAAAAAAAA", &letter.token[1..], &format!("{}A", letter.token), "é"] {
        assert_eq!(confirm(&mut store, guess, at(3)), Confirmed::Nothing, "{guess}");
    }
    store.remove_subscriber(&id, at(4)).unwrap();
    assert_eq!(confirm(&mut store, &other.token, at(5)), Confirmed::Nothing, "who left comes back by asking again");
}

#[test]
fn nothing_in_the_store_confirms_and_a_link_that_is_too_old_does_not() {
    let (_folder, mut store) = store();
    let [letter] = ask(&mut store, "ann@example.org", client(1), at(0)).try_into().unwrap();
    let stored: Vec<u8> = store.db.query_row("SELECT hash FROM confirmation", [], |row| row.get(0)).unwrap();
    assert_eq!(stored.len(), 32);
    let text = format!("{stored:?}{}", letter.token);
    assert!(!text[..text.len() - 22].contains(&letter.token));
    let later = at(0) + SignedDuration::from_hours(48);
    assert_eq!(confirm(&mut store, &letter.token, later), Confirmed::Nothing);
    // Then the address goes, too; but not that of somebody who was imported as pending.
    csv::import(&mut store, b"email,state\nben@example.org,pending\n", &Rules::default(), false, at(0)).unwrap();
    store.tidy(later).unwrap();
    assert_eq!(
        (state(&store, "ann@example.org"), state(&store, "ben@example.org")),
        (None, Some(SubscriberState::Pending))
    );
}

#[test]
fn each_kind_of_address_gets_its_letter_and_nobody_is_changed_by_asking() {
    let (_folder, mut store) = store();
    let kinds = |letters: Vec<Letter>| letters.iter().map(|letter| letter.kind).collect::<Vec<_>>();
    let mut known = subscriber(1, &["api"]);
    known.address = Destination::parse("known@example.org").unwrap();
    store.add_subscriber(&known).unwrap();
    assert_eq!(kinds(ask(&mut store, "KNOWN@example.org", client(1), at(0))), [LetterKind::Settings]);
    assert_eq!(store.subscriber(&known.id).unwrap().unwrap().wants.services, [service("api")]);

    store.suspend(&known.id, "gone", at(1)).unwrap();
    let [letter] = ask(&mut store, "known@example.org", client(1), at(1)).try_into().unwrap();
    assert_eq!(letter.kind, LetterKind::Confirm);
    assert_eq!(state(&store, "known@example.org"), Some(SubscriberState::Suspended));
    assert!(matches!(confirm(&mut store, &letter.token, at(2)), Confirmed::Now(_)));
    assert_eq!(state(&store, "known@example.org"), Some(SubscriberState::Confirmed));

    // Who left is asked like anybody, and an old list brings them back only once they have confirmed.
    store.remove_subscriber(&known.id, at(3)).unwrap();
    assert_eq!(kinds(ask(&mut store, "known@example.org", client(1), at(4))), [LetterKind::Confirm]);
    assert!(store.has_left(&known.address).unwrap());
}

#[test]
fn taking_a_request_down_looks_nobody_up() {
    let (_folder, mut store) = store();
    for table in ["subscriber", "departed", "letter", "confirmation", "delivery"] {
        store.db.execute_batch(&format!("ALTER TABLE {table} RENAME TO {table}_elsewhere")).unwrap();
    }
    for address in ["new@example.org", "a@nowhere.invalid"] {
        assert_eq!(store.ask(&asking(address), client(1), at(0)).unwrap(), Taken::Down);
    }
    assert!(store.answer_requests(GOOD_FOR, at(0)).is_err(), "answering does");
}

#[test]
fn a_bomb_of_ten_thousand_requests_gives_its_victim_three_mails_a_day() {
    let (_folder, mut store) = store();
    // What is counted is the same, and twenty thousand waits for a disk are not what this is about.
    store.db.pragma_update(None, "synchronous", "OFF").unwrap();
    let (mut sent, mut refused) = (Vec::new(), 0);
    // A thousand clients, ten requests each, within an hour; the next day again.
    for day in 0..2 {
        for n in 0..10_000 {
            let now = at(day * 86_400 + i64::from(n) * 36 / 100);
            // Tags lead to the same mailbox.
            let address = if n % 2 == 0 { "victim@example.org".to_owned() } else { format!("Victim+{n}@example.org") };
            if store.ask(&asking(&address), client(n % 1_000), now).unwrap() != Taken::Down {
                refused += 1;
            }
            if n % 500 == 499 {
                while store.answer_requests(GOOD_FOR, now).unwrap().requests > 0 {}
                sent.extend(send(&mut store, now).iter().map(|letter| (day, letter.subscriber.address.clone())));
            }
        }
    }
    assert_eq!(sent.iter().filter(|(day, _)| *day == 0).count(), 3, "{refused} refused");
    assert_eq!(sent.len(), 6, "a day later three more, but none before");
    // Whoever else asks then is told that it is not their fault, and gets through soon after.
    let flooded = at(86_400 + 3_599);
    let honest = asking("honest@example.net");
    assert!(matches!(store.ask(&honest, client(5_000), flooded).unwrap(), Taken::Busy { .. }));
    let after = at(86_400 + 3_700);
    assert_eq!(ask(&mut store, "honest@example.net", client(5_000), after).len(), 1);
    let waiting: i64 = store.db.query_row("SELECT count(*) FROM asking", [], |row| row.get(0)).unwrap();
    assert_eq!(waiting, 0);
}

#[test]
fn who_says_never_is_asked_by_nobody_any_more_until_the_operator_vouches_for_them() {
    let (_folder, mut store) = store();
    let [letter] = ask(&mut store, "victim@example.org", client(1), at(0)).try_into().unwrap();
    store.stop_asking(&letter.subscriber.id, &letter.mailbox, at(1)).unwrap();
    store.stop_asking(&letter.subscriber.id, &letter.mailbox, at(2)).unwrap();
    assert_eq!(state(&store, "victim@example.org"), None);
    assert_eq!(confirm(&mut store, &letter.token, at(2)), Confirmed::Nothing);
    // Weeks later, too, and by other names of the same mailbox; but nobody else is meant.
    let later = |days: i64| at(days * 86_400);
    for (day, address) in [(1, "victim@example.org"), (40, "Victim+tag@example.org"), (400, "VICTIM@example.org")] {
        assert!(ask(&mut store, address, client(2), later(day)).is_empty(), "{address}");
    }
    store.tidy(later(401)).unwrap();
    let import = csv::import(&mut store, b"victim@example.org\n", &Rules::default(), false, later(401)).unwrap();
    assert_eq!((import.added, import.left), (0, 1));
    assert_eq!(ask(&mut store, "other@example.org", client(3), later(401)).len(), 1);
    let victim = Subscriber { address: Destination::parse("victim@example.org").unwrap(), ..subscriber(1, &[]) };
    assert!(store.is_unwanted(&victim.address).unwrap());
    store.add_subscriber(&victim).unwrap();
    store.remove_subscriber(&victim.id, later(402)).unwrap();
    assert_eq!(ask(&mut store, "victim@example.org", client(4), later(403)).len(), 1);
    // To be forgotten is to be as unknown as anybody.
    let [letter] = ask(&mut store, "ben@example.org", client(5), later(403)).try_into().unwrap();
    store.stop_asking(&letter.subscriber.id, &letter.mailbox, later(403)).unwrap();
    assert!(store.forget(&letter.subscriber.address, later(403)).unwrap());
    assert!(!store.is_unwanted(&letter.subscriber.address).unwrap());
}

#[test]
fn limits_outlast_a_restart_and_move_along_with_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let open = || Store::open(&config, at(0)).unwrap();
    let (one, neighbour) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    for n in 0..20 {
        let mut store = open();
        assert_eq!(store.ask(&asking(&format!("a{n}@example.org")), one, at(n * 60)).unwrap(), Taken::Down);
    }
    let mut store = open();
    let until = at(3600);
    assert_eq!(store.ask(&asking("b@example.org"), one, at(1200)).unwrap(), Taken::TooMany { until });
    assert_eq!(store.ask(&asking("b@example.org"), neighbour, at(1200)).unwrap(), Taken::Down);
    assert_eq!(store.ask(&asking("b@example.org"), one, until).unwrap(), Taken::Down, "one an hour old counts no more");
    // A clock that was wrong for a while locks nobody out.
    let wrong = at(0) + SignedDuration::from_hours(24 * 3650);
    for n in 0..20 {
        store
            .ask(
                &asking(&format!("c{n}@example.org")),
                "192.0.2.3".parse().unwrap(),
                wrong + SignedDuration::from_secs(n),
            )
            .unwrap();
    }
    assert_eq!(store.ask(&asking("d@example.org"), "192.0.2.3".parse().unwrap(), until).unwrap(), Taken::Down);
    store.tidy(wrong + SignedDuration::from_hours(48)).unwrap();
    let kept: i64 = store.db.query_row("SELECT count(*) FROM allowed", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 0, "what no longer counts is forgotten");
}

#[test]
fn many_of_one_domain_wait_their_turn_and_none_is_lost() {
    let (_folder, mut store) = store();
    let many = i64::from(Scope::Domain.allowance().most) + 50;
    for n in 0..many {
        store.ask(&asking(&format!("a{n}@example.org")), client(u32::try_from(n).unwrap()), at(0)).unwrap();
    }
    store.ask(&asking("a@elsewhere.example"), client(9_999), at(0)).unwrap();
    while store.answer_requests(GOOD_FOR, at(0)).unwrap().requests > 0 {}
    let mut left = BTreeSet::new();
    let mut sent_by = |store: &mut Store, now| {
        loop {
            let letters = send(store, now);
            if letters.is_empty() {
                return left.len();
            }
            left.extend(letters.into_iter().map(|letter| letter.subscriber.address));
        }
    };
    assert_eq!(sent_by(&mut store, at(0)), 201, "others need not wait");
    assert_eq!(sent_by(&mut store, at(3_599)), 201);
    assert_eq!(sent_by(&mut store, at(3_600)), usize::try_from(many).unwrap() + 1);
}

#[test]
fn what_is_forgotten_was_never_asked_for() {
    let (_folder, mut store) = store();
    for n in 0..3 {
        assert_eq!(ask(&mut store, "ann@example.org", client(n), at(0)).len(), 1);
    }
    assert!(ask(&mut store, "ann@example.org", client(4), at(0)).is_empty());
    store.ask(&asking("ann@example.org"), client(5), at(1)).unwrap();
    assert!(store.forget(&Destination::parse("ann@example.org").unwrap(), at(2)).unwrap());
    for table in ["asking", "letter", "confirmation", "subscriber", "departed"] {
        let rows: i64 = store.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    assert_eq!(ask(&mut store, "ann@example.org", client(6), at(3)).len(), 1);
}

#[test]
fn a_letter_whose_fate_nobody_knows_leaves_again_under_its_id_and_both_links_are_good() {
    let (_folder, mut store) = store();
    store.new_epoch().unwrap();
    store.ask(&asking("ann@example.org"), client(1), at(0)).unwrap();
    store.answer_requests(GOOD_FOR, at(0)).unwrap();
    let [first] = store.claim_letters(1, 9, at(0)).unwrap().try_into().unwrap();
    assert!(store.claim_letters(1, 9, at(0)).unwrap().is_empty(), "claimed once");
    store.new_epoch().unwrap();
    let [second] = store.claim_letters(2, 9, at(60)).unwrap().try_into().unwrap();
    assert_eq!((first.id, first.at), (second.id, second.at));
    let again = LetterEnd::Retry { until: at(70) };
    store.settle_letters(&[(second.id, again)], at(60)).unwrap();
    assert_eq!(store.next_letter().unwrap(), Some(at(70)));
    let [third] = send(&mut store, at(70)).try_into().unwrap();
    assert_eq!((third.id, third.attempts), (first.id, 1));
    assert_eq!(store.next_letter().unwrap(), None);
    assert!(matches!(confirm(&mut store, &first.token, at(80)), Confirmed::Now(_)));
}

#[test]
fn nothing_of_an_incident_overtakes_the_welcome_that_tells_of_it() {
    let (_folder, mut store) = store();
    store.new_epoch().unwrap();
    let [letter] = ask(&mut store, "ann@example.org", client(1), at(0)).try_into().unwrap();
    let down = incident("2026-03-01-api", 1, &["api"]);
    store.commit(&commit(&[&down], &[&event(10, EventKind::Opened, &down)])).unwrap();
    let Confirmed::Now(id) = confirm(&mut store, &letter.token, at(12)) else { panic!() };
    assert!(store.claim_letters(1, 9, at(12)).unwrap().is_empty(), "others may still join it");
    store.commit(&commit(&[&down], &[&event(13, EventKind::Resolved, &down)])).unwrap();
    let (early, late) = (at(22), at(24));
    assert!(claim(&mut store, 1, early, 9).unwrap().is_empty(), "the welcome comes first");
    let [welcome] = store.claim_letters(1, 9, early).unwrap().try_into().unwrap();
    assert_eq!((welcome.kind, welcome.events.len()), (LetterKind::Welcome, 1));
    // A kill in between changes nothing of that.
    store.new_epoch().unwrap();
    assert!(claim(&mut store, 2, late, 9).unwrap().is_empty());
    assert_eq!(send(&mut store, late).len(), 1);
    let [lane] = claim(&mut store, 2, late, 9).unwrap().try_into().unwrap();
    assert_eq!((lane.subscriber.id, lane.told.len(), lane.pending.len()), (id, 1, 1));
    assert_eq!((lane.told[0].event.kind, lane.pending[0].event.kind), (EventKind::Opened, EventKind::Resolved));
}
