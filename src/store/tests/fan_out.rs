//! One event for very many: who gets it, when, and who waits for that.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    clock::{Clock, SystemClock},
    domain::{
        event::{Event, EventKind},
        incident::Incident,
        subscriber::SubscriberState,
    },
    judge::Step,
    store::{
        outbox::{Counts, Sliced, fan_out::SLICE},
        testing::*,
        *,
    },
};

fn api() -> Incident {
    incident("2026-11-21-api", 1, &["api"])
}

fn queued(store: &Store) -> usize {
    usize::try_from(store.outbox_counts().unwrap().queued).unwrap()
}

/// All slices that can be made now.
fn finish(store: &mut Store, now: Timestamp) {
    while store.fan_out(now).unwrap().next_at.is_some_and(|at| at <= now) {}
}

fn has_it(store: &Store, n: u8) -> bool {
    store.pending_for(&subscriber(n, &[]).id).unwrap() > 0
}

#[test]
fn the_many_are_queued_in_slices_once_it_is_sealed_and_an_end_between_two_changes_nothing() {
    let (folder, mut store) = store();
    crowd(&store, 2 * SLICE + 100);
    let opened = commit(&[&api()], &[&event(20, EventKind::Opened, &api())]);
    store.commit(&opened).unwrap();
    assert_eq!(queued(&store), SLICE, "the first ones with the event itself");
    assert_eq!(store.fan_out(at(29)).unwrap(), Sliced { queued: 0, next_at: Some(at(30)) });
    assert_eq!(store.fan_out(at(30)).unwrap(), Sliced { queued: SLICE, next_at: Some(at(30)) });
    drop(store);
    let mut store = Store::open(&config(folder.path()), at(31)).unwrap();
    store.commit(&opened).unwrap();
    assert_eq!(store.fan_out(at(31)).unwrap(), Sliced { queued: 100, next_at: None });
    assert_eq!(store.fan_out(at(32)).unwrap(), Sliced { queued: 0, next_at: None });
    assert_eq!(queued(&store), 2 * SLICE + 100);
    let report = maintenance::verify(store.path(), &mut |_| ()).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
}

#[test]
fn who_is_told_is_decided_by_the_moment_of_the_event() {
    let (_folder, mut store) = store();
    store.set_services(&Rules::default()).unwrap();
    crowd(&store, SLICE + 1);
    // Behind all of those.
    let there: Vec<_> = [(2, "api"), (3, "api"), (4, "web"), (5, "api"), (6, "api"), (7, "api")]
        .map(|(n, id)| subscriber(n, &[id]))
        .into();
    for person in &there {
        store.add_subscriber(person).unwrap();
    }
    let mut pending = subscriber(8, &[]);
    pending.state = SubscriberState::Pending;
    store.add_subscriber(&pending).unwrap();
    store.commit(&commit(&[&api()], &[&event(20, EventKind::Opened, &api())])).unwrap();
    assert!(!has_it(&store, 2), "their turn has not come");

    // Chooses something else, and back; chooses it only now; leaves; is gone; comes; confirms.
    store.add_subscriber(&subscriber(3, &["web"])).unwrap();
    assert!(has_it(&store, 3), "what they followed is under way to them");
    store.add_subscriber(&subscriber(4, &["api"])).unwrap();
    store.remove_subscriber(&there[3].id, at(25)).unwrap();
    store.refused(&there[4].id, true, at(25)).unwrap();
    store.add_subscriber(&subscriber(7, &["web"])).unwrap();
    store.add_subscriber(&subscriber(7, &["api"])).unwrap();
    store.add_subscriber(&subscriber(8, &[])).unwrap();
    store.add_subscriber(&subscriber(9, &[])).unwrap();
    finish(&mut store, at(30));
    let told: Vec<_> = (2..=9).filter(|n| has_it(&store, *n)).collect();
    assert_eq!(told, [2, 3, 7]);
    assert_eq!(queued(&store), SLICE + 1 + 3);

    // What happens next is for those of now.
    store.commit(&commit(&[], &[&event(40, EventKind::Resolved, &api())])).unwrap();
    finish(&mut store, at(50));
    let told: Vec<_> = (2..=9).filter(|n| has_it(&store, *n)).collect();
    assert_eq!(told, [2, 3, 4, 7, 8, 9]);
    let late: i64 = store.db.query_row("SELECT count(*) FROM latecomer", [], |row| row.get(0)).unwrap();
    assert_eq!(late, 0);
}

#[test]
fn nobody_has_the_end_of_an_incident_before_its_beginning() {
    let (_folder, mut store) = store();
    crowd(&store, SLICE + 100);
    store.commit(&commit(&[&api()], &[&event(20, EventKind::Opened, &api())])).unwrap();
    let resolved = Event { seals_at: at(22), ..event(22, EventKind::Resolved, &api()) };
    store.commit(&commit(&[], &[&resolved])).unwrap();
    let web = incident("2026-11-21-web", 1, &["web"]);
    let other = Event { seals_at: at(23), ..event(23, EventKind::Opened, &web) };
    store.commit(&commit(&[&web], &[&other])).unwrap();
    let early = |store: &Store| -> i64 {
        let sql = "SELECT count(*) FROM delivery AS late WHERE event_seq = 2 AND NOT EXISTS
                       (SELECT 1 FROM delivery WHERE subscriber = late.subscriber AND event_seq = 1)";
        store.db.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    // What gathers holds up what follows in its own incident, and no other.
    assert_eq!(store.fan_out(at(25)).unwrap(), Sliced { queued: 100, next_at: Some(at(30)) });
    assert_eq!(queued(&store), 2 * SLICE + 100);
    while store.fan_out(at(30)).unwrap().next_at.is_some() {
        assert_eq!(early(&store), 0);
    }
    assert_eq!((queued(&store), early(&store)), (3 * (SLICE + 100), 0));
}

#[test]
fn what_is_taken_back_reaches_nobody_else_and_what_is_amended_seals_anew() {
    let (_folder, mut store) = store();
    crowd(&store, SLICE + 100);
    let opened = event(20, EventKind::Opened, &api());
    store.commit(&commit(&[&api()], &[&opened])).unwrap();
    let mut amend = |notify: bool| {
        let amended = Event { notify, seals_at: at(50), ..opened.clone() };
        let step = Step { amended: vec![amended], ..Step::default() };
        store.commit(&Commit { steps: vec![step], ..Commit::new(at(25)) }).unwrap();
        finish(&mut store, at(49));
        store.outbox_counts().unwrap()
    };
    let (some, all) = (u64::try_from(SLICE).unwrap(), u64::try_from(SLICE + 100).unwrap());
    assert_eq!(amend(false), Counts { dropped: some, ..Counts::default() });
    assert_eq!(amend(true), Counts { queued: some, ..Counts::default() });
    finish(&mut store, at(50));
    assert_eq!(store.outbox_counts().unwrap(), Counts { queued: all, ..Counts::default() });
}

#[test]
fn a_clock_that_is_set_back_holds_nobody_up() {
    let (_folder, mut store) = store();
    crowd(&store, SLICE + 100);
    store.commit(&commit(&[&api()], &[&event(20, EventKind::Opened, &api())])).unwrap();
    store.set_back(jiff::SignedDuration::from_hours(2), at(-7200)).unwrap();
    finish(&mut store, at(30 - 7200));
    assert_eq!(queued(&store), SLICE + 100);
}

/// Ten events at once for many people, while somebody else marks and claims. With one transaction for
/// each event, or for all, that somebody gets no turn before its end.
#[test]
fn who_marks_and_claims_gets_a_turn_while_events_go_to_many() {
    let (folder, mut store) = store();
    crowd(&store, 8 * SLICE);
    let incidents: Vec<_> = (0..10).map(|n| incident(&format!("2026-11-21-s{n}"), 1, &["api"])).collect();
    let events: Vec<_> = (20..).zip(&incidents).map(|(n, incident)| event(n, EventKind::Opened, incident)).collect();
    let many = commit(&incidents.iter().collect::<Vec<_>>(), &events.iter().collect::<Vec<_>>());
    let mut other = Store::open(&config(folder.path()), at(0)).unwrap();
    let clock = SystemClock::new();
    let is_done = AtomicBool::new(false);
    let (turns, longest, took) = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let began = clock.elapsed();
            store.commit(&many).unwrap();
            while store.fan_out(at(60)).unwrap().next_at.is_some() {
                thread::sleep(MOMENT);
            }
            is_done.store(true, Ordering::SeqCst);
            clock.elapsed().since(began)
        });
        let (mut turns, mut longest) = (0, Duration::ZERO);
        while !is_done.load(Ordering::SeqCst) {
            let began = clock.elapsed();
            other.refused(&subscriber(1, &[]).id, false, at(0)).unwrap();
            longest = longest.max(clock.elapsed().since(began));
            turns += 1;
            thread::sleep(Duration::from_millis(1));
        }
        (turns, longest, writing.join().unwrap())
    });
    assert_eq!(queued(&store), 80 * SLICE);
    assert!(turns > 20 && longest < took / 4, "{turns} turns, one after {longest:?} of {took:?}");
}
