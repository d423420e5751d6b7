//! A pause of mail as others meet it: across restarts, ended by hand, told to operators once.

use std::{sync::atomic::Ordering, time::Duration};

use watchbell::{
    domain::{
        asking::Asking,
        pause::Cause,
        subscriber::{Address, Choice},
    },
    notify::{
        operator::Notice,
        relay::Outgoing,
        reply::{Phase, Reply},
    },
};

use super::{
    delivery::{accepted, drive},
    fixture::{World, at},
};

fn no_login(_: &Outgoing, _: i64) -> Reply {
    Reply::refused(Phase::Auth, 535, "5.7.8 bad credentials of status@example.org")
}

fn keys(notices: &[Notice]) -> Vec<&str> {
    notices.iter().map(|notice| notice.key.as_str()).collect()
}

#[test]
fn a_pause_is_written_down_for_everyone_and_is_gone_when_mail_goes_on() {
    let mut world = World::new(40);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    drive(&mut outbox, &mut ledger, (0, 1000), no_login);
    outbox.poll(&mut ledger, at(1000)).unwrap();
    let pause = world.store.pause().unwrap().unwrap();
    assert_eq!((pause.cause, pause.since_at, pause.is_told), (Cause::Ours, at(0), true));
    assert!(pause.tries > 3 && pause.next_at > at(900), "{pause:?}");
    assert_eq!(pause.said, "535 5.7.8 bad credentials of *** (to logging in)");
    assert_eq!(outbox.counters().paused.load(Ordering::Relaxed), 1);
    assert_eq!(drive(&mut outbox, &mut ledger, (1000, 2000), |_, _| accepted()).len(), 40);
    assert_eq!(world.store.pause().unwrap(), None);
    assert_eq!(outbox.counters().paused.load(Ordering::Relaxed), 0);
    let notices = outbox.take_notices();
    assert_eq!(keys(&notices), ["mail-paused", "mail-goes-on"]);
    let over = &notices[1].text;
    assert!(over.contains("40 messages waited meanwhile"), "{over}");
    assert!(over.contains("from 2026-11-21 10:15:00 UTC"), "{over}");
}

#[test]
fn a_new_start_goes_on_with_the_same_pause_by_one_message_and_tells_it_to_nobody_twice() {
    let mut world = World::new(40);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    drive(&mut outbox, &mut ledger, (0, 1000), no_login);
    assert_eq!(keys(&outbox.take_notices()), ["mail-paused"]);
    drop((outbox, ledger));
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    let first = outbox.poll(&mut ledger, at(1010)).unwrap();
    assert_eq!(first.len(), 1, "one finds out");
    outbox.complete(first[0].delivery, &no_login(&first[0], 1010), at(1010));
    let tried = drive(&mut outbox, &mut ledger, (1011, 2000), no_login);
    assert!((2..=4).contains(&tried.len()), "{}", tried.len());
    assert!(outbox.take_notices().is_empty(), "they know");
    assert_eq!(drive(&mut outbox, &mut ledger, (2000, 3000), |_, _| accepted()).len(), 40);
    let notices = outbox.take_notices();
    assert_eq!(keys(&notices), ["mail-goes-on"]);
    assert!(notices[0].text.contains("from 2026-11-21 10:15:00 UTC"), "{}", notices[0].text);
}

#[test]
fn an_operator_who_mended_it_does_not_wait_for_the_next_try() {
    let mut world = World::new(40);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    drive(&mut outbox, &mut ledger, (0, 1000), no_login);
    assert!(outbox.poll(&mut ledger, at(1001)).unwrap().is_empty());
    assert!(world.store.end_pause().unwrap());
    // Nothing rings: the daemon looks by itself.
    let first = outbox.poll(&mut ledger, at(1005)).unwrap();
    assert_eq!(first.len(), 4);
    for message in &first {
        outbox.complete(message.delivery, &accepted(), at(1006));
    }
    let told = drive(&mut outbox, &mut ledger, (1006, 1010), |_, _| accepted());
    assert_eq!(told.len(), 36);
    assert_eq!(keys(&outbox.take_notices()), ["mail-paused", "mail-goes-on"]);
}

#[test]
fn an_operator_who_mended_nothing_gets_the_same_pause_back() {
    let mut world = World::new(40);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    drive(&mut outbox, &mut ledger, (0, 1000), no_login);
    world.store.end_pause().unwrap();
    let tried = drive(&mut outbox, &mut ledger, (1005, 2000), no_login);
    assert!((4..=8).contains(&tried.len()), "{}", tried.len());
    let pause = world.store.pause().unwrap().unwrap();
    assert_eq!((pause.since_at, pause.is_told), (at(0), true));
    assert_eq!(keys(&outbox.take_notices()), ["mail-paused"], "told once");
}

#[test]
fn a_hiccup_is_nobodys_news() {
    let mut world = World::new(40);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let mut tries = 0;
    let told = drive(&mut outbox, &mut ledger, (0, 60), |_, _| {
        tries += 1;
        if tries <= 2 { Reply::refused(Phase::Greeting, 421, "busy") } else { accepted() }
    });
    assert_eq!(told.len(), 42);
    assert!(outbox.take_notices().is_empty());
    assert_eq!(world.store.pause().unwrap(), None);
}

#[test]
fn letters_are_counted_as_other_messages_are() {
    let mut world = World::new(0);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    for n in 0..3 {
        let address = Address::parse(&format!("dora{n}@example.org")).unwrap();
        world.store.ask_for(&Asking { address: address.into(), choice: Choice::default() }, at(0)).unwrap();
    }
    world.store.answer_requests(Duration::from_hours(48), at(1)).unwrap();
    assert_eq!(world.store.outbox_pending().unwrap(), 3);
    let mut tries = 0;
    drive(&mut outbox, &mut ledger, (1, 60), |_, _| {
        tries += 1;
        match tries {
            1 => Reply::refused(Phase::Recipient, 450, "4.2.0 later"),
            2 => Reply::refused(Phase::Recipient, 550, "5.1.1 nobody"),
            _ => accepted(),
        }
    });
    let results: Vec<_> = outbox.counters().results().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(results, [("sent", 2), ("retried", 1), ("failed", 1)]);
    assert_eq!(world.store.outbox_pending().unwrap(), 0);
}
