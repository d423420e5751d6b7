//! From a committed event to the reader: the outbox with a real store in simulated time, and the
//! whole worker with real sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use watchbell::{
    clock::{Clock, Elapsed},
    config::{MailSecurity, MailTransport},
    domain::{SubscriberId, subscriber::Address},
    notify::{
        ledger::{Decide, Ledger, LedgerError, Sent, Settled, StoreLedger, Tokens},
        operator::{Desk, Notice},
        outbox::Outbox,
        relay::{Outgoing, Relay},
        reply::{Phase, Reply},
        worker::{self, Handles, Settings},
    },
};

use super::fixture::{Later, World, at, composer, email};
use crate::support::smtp::{Act, Moment, Server, Setup};

pub(super) fn accepted() -> Reply {
    Reply::Accepted { text: "250 2.0.0 taken".to_owned() }
}

fn refused(code: u16, text: &str) -> Reply {
    Reply::refused(Phase::Recipient, code, text)
}

fn subject(message: &Outgoing) -> String {
    let text = String::from_utf8(message.bytes.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap();
    line.trim_start_matches("[Example Status] ").to_owned()
}

/// Runs the outbox from `from` until nothing is left to do by `to`; what was handed over when,
/// and what the relay said.
pub(super) fn drive(
    outbox: &mut Outbox,
    ledger: &mut StoreLedger,
    (from, to): (i64, i64),
    mut relay: impl FnMut(&Outgoing, i64) -> Reply,
) -> Vec<(i64, Outgoing)> {
    let mut handed = Vec::new();
    let mut now = from;
    loop {
        let messages = outbox.poll(ledger, at(now)).unwrap();
        let is_idle = messages.is_empty();
        for message in messages {
            let reply = relay(&message, now);
            outbox.complete(message.delivery, &reply, at(now));
            handed.push((now, message));
        }
        if is_idle {
            let next = outbox.wake_at().map(|wake| seconds(wake).max(now + 1)).filter(|&wake| wake <= to);
            match next {
                Some(next) => now = next,
                None => break,
            }
        }
    }
    outbox.flush(ledger, at(now)).unwrap();
    handed
}

fn seconds(wake: Timestamp) -> i64 {
    let ms = wake.as_millisecond() - at(0).as_millisecond();
    ms.div_euclid(1000) + i64::from(ms.rem_euclid(1000) > 0)
}

#[test]
fn everyone_is_told_of_the_outage_and_of_its_end_once() {
    let mut world = World::new(25);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let told = drive(&mut outbox, &mut ledger, (0, 60), |_, _| accepted());
    assert_eq!(told.len(), 25);
    assert!(told.iter().all(|(_, message)| subject(message) == "Outage: API"));
    world.resolves(720);
    let told = drive(&mut outbox, &mut ledger, (720, 800), |_, _| accepted());
    assert_eq!(told.len(), 25);
    assert!(told.iter().all(|(_, message)| subject(message) == "Resolved: API (was down 12 min)"));
    let addresses: BTreeSet<_> = told.iter().map(|(_, message)| message.to.as_str()).collect();
    assert_eq!(addresses.len(), 25);
    let counts = world.store.outbox_counts().unwrap();
    assert_eq!((counts.sent, counts.open()), (50, 0));
    assert!(drive(&mut outbox, &mut ledger, (800, 90_000), |_, _| accepted()).is_empty());
}

#[test]
fn a_clock_that_is_set_back_holds_no_mail_back() {
    let mut world = World::new(5);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(7200);
    let busy = |_: &Outgoing, _| refused(450, "4.2.1 greylisted, come back later");
    let told = drive(&mut outbox, &mut ledger, (7200, 7230), |_, _| accepted());
    assert_eq!(told.len(), 5);
    world.resolves(7240);
    drive(&mut outbox, &mut ledger, (7240, 7240), busy);
    // Two hours back: what was counted and put off by the old clock lies far ahead.
    let told = drive(&mut outbox, &mut ledger, (60, 960), |_, _| accepted());
    assert_eq!(told.len(), 5);
}

#[test]
fn no_more_messages_are_claimed_than_the_server_takes_within_moments() {
    let mut world = World::new(500);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let first = outbox.poll(&mut ledger, at(0)).unwrap();
    assert_eq!((first.len(), outbox.in_flight()), (4, 4), "one a connection, to begin with");
    assert!(outbox.poll(&mut ledger, at(0)).unwrap().is_empty());
    // One that was taken at once makes way for itself and for one more.
    outbox.complete(first[0].delivery, &accepted(), at(0));
    let mut out = first[1..].to_vec();
    out.extend(outbox.poll(&mut ledger, at(0)).unwrap());
    assert_eq!(out.len(), 5);
    let mut most = 0;
    while out.len() + 70 < 500 - usize::try_from(world.store.outbox_counts().unwrap().sent).unwrap() {
        outbox.complete(out.remove(0).delivery, &accepted(), at(0));
        out.extend(outbox.poll(&mut ledger, at(0)).unwrap());
        most = most.max(out.len());
        assert!(outbox.in_flight() <= 128);
    }
    assert_eq!(most, 128, "32 a connection, in the end");
    // A server that takes two seconds gets one a connection again.
    while out.len() > 4 {
        outbox.complete(out.remove(0).delivery, &accepted(), at(2));
        outbox.flush(&mut ledger, at(2)).unwrap();
    }
    assert!(outbox.poll(&mut ledger, at(2)).unwrap().is_empty());
    assert_eq!(outbox.in_flight(), 4);
}

#[test]
fn a_crash_loses_nothing_and_repeats_only_what_was_in_flight_under_the_same_id() {
    let mut world = World::new(10);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let in_flight = outbox.poll(&mut ledger, at(0)).unwrap();
    // The server took them, and the daemon died before it knew.
    drop((outbox, ledger));
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    let told = drive(&mut outbox, &mut ledger, (5, 60), |_, _| accepted());
    assert_eq!(told.len(), 10);
    let again: BTreeMap<_, _> = told.iter().map(|(_, message)| (message.delivery, &message.bytes)).collect();
    for message in &in_flight {
        assert_eq!(again[&message.delivery], &message.bytes, "the copy is the same to the byte");
    }
}

#[test]
fn a_server_that_is_away_costs_nobody_a_try_and_what_passed_meanwhile_is_one_message() {
    let mut world = World::new(5);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let away = |_: &Outgoing, _| Reply::broken(Phase::Connect, "Connection refused");
    let tried = drive(&mut outbox, &mut ledger, (0, 3600), away);
    assert!((10..40).contains(&tried.len()), "{}", tried.len());
    world.resolves(3600);
    // Two days, far longer than any message is retried.
    let tried = drive(&mut outbox, &mut ledger, (3600, 172_800), away);
    assert!(tried.len() < 700, "{}", tried.len());
    let told = drive(&mut outbox, &mut ledger, (172_800, 173_200), |_, _| accepted());
    let subjects: Vec<_> = told.iter().map(|(_, message)| subject(message)).collect();
    assert_eq!(subjects, vec!["Was down: API (1 h)"; 5]);
    let counts = world.store.outbox_counts().unwrap();
    assert_eq!((counts.sent, counts.folded, counts.failed, counts.open()), (5, 5, 0, 0));
    let notices: Vec<_> = outbox.take_notices().into_iter().map(|notice| notice.key).collect();
    assert_eq!(notices, ["mail-paused", "mail-goes-on"]);
}

#[test]
fn greylisting_delays_one_recipient_and_no_other() {
    let mut world = World::new(5);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let told = drive(&mut outbox, &mut ledger, (0, 900), |message, now| {
        if message.to.as_str().starts_with("reader3@") && now < 300 { refused(450, "4.2.0 later") } else { accepted() }
    });
    let (late, prompt): (Vec<_>, Vec<_>) =
        told.iter().partition(|(_, message)| message.to.as_str().starts_with("reader3@"));
    assert_eq!(prompt.len(), 4);
    assert!(prompt.iter().all(|(now, _)| *now == 0));
    let times: Vec<_> = late.iter().map(|(now, _)| *now).collect();
    assert!((4..8).contains(&times.len()) && (1..=3).contains(&times[1]), "{times:?}");
    assert!(late.windows(2).all(|pair| pair[0].1.bytes == pair[1].1.bytes), "a retry is a copy");
    assert_eq!(world.store.outbox_counts().unwrap().sent, 5);
}

#[test]
fn a_recipient_that_is_refused_for_a_day_is_given_up() {
    let mut world = World::new(2);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let tried = drive(&mut outbox, &mut ledger, (0, 200_000), |message, _| {
        if message.to.as_str().starts_with("reader0@") { refused(452, "4.2.2 full") } else { accepted() }
    });
    let (last, _) = tried.last().unwrap();
    assert!((86_400..93_600).contains(last), "{last}");
    let counts = world.store.outbox_counts().unwrap();
    assert_eq!((counts.sent, counts.failed, counts.open()), (1, 1, 0));
}

#[test]
fn a_mailbox_that_does_not_exist_suspends_its_subscriber_at_once() {
    let mut world = World::new(20);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let relay = |message: &Outgoing, _| {
        if message.to.as_str().starts_with("reader7@") { refused(550, "5.1.1 no such user") } else { accepted() }
    };
    assert_eq!(drive(&mut outbox, &mut ledger, (0, 300), relay).len(), 20);
    world.resolves(600);
    assert_eq!(drive(&mut outbox, &mut ledger, (600, 900), relay).len(), 19);
    let counts = world.store.outbox_counts().unwrap();
    assert_eq!((counts.failed, counts.open()), (1, 0));
    assert!(outbox.take_notices().is_empty());
}

#[test]
fn when_a_fifth_is_refused_the_queue_rests_and_nobody_is_suspended() {
    let mut world = World::new(40);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let tried = drive(&mut outbox, &mut ledger, (0, 1800), |_, _| refused(550, "5.1.1 relay lost its user table"));
    // Ten to see it, then one every five minutes.
    assert!((10..30).contains(&tried.len()), "{}", tried.len());
    assert!(outbox.rest().is_some());
    assert_eq!(world.store.outbox_counts().unwrap().failed, 0);
    assert!(outbox.take_notices().iter().any(|notice| notice.key == "mail-paused"));
    let told = drive(&mut outbox, &mut ledger, (1800, 9000), |_, _| accepted());
    assert_eq!(told.len(), 40);
    assert_eq!(world.store.outbox_counts().unwrap().sent, 40);
}

#[test]
fn a_wrong_password_pauses_the_queue_and_is_reported_not_retried_for_each() {
    let mut world = World::new(40);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    let bad = |_: &Outgoing, _| Reply::refused(Phase::Auth, 535, "5.7.8 no");
    let tried = drive(&mut outbox, &mut ledger, (0, 3600), bad);
    // Four at once, then after 2 s, then one every five minutes.
    assert!((12..20).contains(&tried.len()), "{}", tried.len());
    assert_eq!(outbox.take_notices().len(), 1);
    assert_eq!(drive(&mut outbox, &mut ledger, (3600, 4000), |_, _| accepted()).len(), 40);
}

#[test]
fn who_leaves_is_not_written_to_though_a_mail_was_queued() {
    let mut world = World::new(6);
    let (mut outbox, mut ledger) = (world.outbox(2), world.ledger());
    world.opens(0);
    let first = outbox.poll(&mut ledger, at(0)).unwrap();
    let gone: Vec<_> =
        (0..6).map(World::subscriber).filter(|one| first.iter().all(|sent| sent.to != one.address)).collect();
    world.store.remove_subscriber(&gone[0].id, at(1)).unwrap();
    for message in first {
        outbox.complete(message.delivery, &accepted(), at(1));
    }
    let told = drive(&mut outbox, &mut ledger, (1, 60), |_, _| accepted());
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|(_, message)| message.to != gone[0].address));
}

#[test]
fn a_server_that_drops_the_connection_after_the_message_gets_the_same_message_again() {
    let mut world = World::new(1);
    let (mut outbox, mut ledger) = (world.outbox(2), world.ledger());
    world.opens(0);
    let mut tries = 0;
    let told = drive(&mut outbox, &mut ledger, (0, 60), |_, _| {
        tries += 1;
        if tries == 1 { Reply::broken(Phase::Body, "cut off") } else { accepted() }
    });
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].1.bytes, told[1].1.bytes);
}

// From here on with sockets.

struct Running {
    ring: Arc<Notify>,
    desk: Desk,
    shutdown: CancellationToken,
    settings: watch::Sender<Arc<Settings>>,
    done: tokio::task::JoinHandle<Result<(), worker::WorkerError>>,
}

fn settings(server: &Server, connections: u32) -> Arc<Settings> {
    let mut email = email();
    email.transport = MailTransport::Smtp {
        host: "127.0.0.1".to_owned(),
        port: server.address.port(),
        security: MailSecurity::Plain,
    };
    email.connections = connections;
    let relay = Relay::new(&email, Later::new()).unwrap();
    let operators = vec![Address::parse("ops@example.org").unwrap()];
    Arc::new(Settings::new(&email, composer(&email), Arc::new(relay), operators))
}

fn run(world: &mut World, settings: Arc<Settings>) -> Running {
    let ledger = world.ledger();
    run_with(world, ledger, settings, Later::new())
}

/// A clock that stands still: to it, a server answers at once, however busy the machine is.
struct Still;

impl Clock for Still {
    fn wall(&self) -> Timestamp {
        at(3600)
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed(Duration::ZERO)
    }
}

fn run_with(
    world: &mut World,
    ledger: impl Ledger + Send + 'static,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
) -> Running {
    let outbox = world.outbox(settings.connections);
    let (ring, desk, shutdown) = (Arc::new(Notify::new()), Desk::new(), CancellationToken::new());
    let (sender, receiver) = watch::channel(settings);
    let handles =
        Handles { clock, ring: Arc::clone(&ring), desk: desk.clone(), settings: receiver, shutdown: shutdown.clone() };
    let done = tokio::spawn(worker::run(outbox, ledger, handles));
    Running { ring, desk, shutdown, settings: sender, done }
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.done.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_delivers_what_is_committed_and_ends_when_told_to() {
    let server = Server::good().await;
    let mut world = World::new(60);
    world.opens(0);
    let running = run(&mut world, settings(&server, 4));
    server.until(|seen| seen.mails.len() == 60).await;
    world.resolves(720);
    running.ring.notify_one();
    server.until(|seen| seen.mails.len() == 120).await;
    running.stop().await;
    assert!(server.look(|seen| seen.most_open) <= 4);
    let counts = world.store.outbox_counts().unwrap();
    assert_eq!((counts.sent, counts.open()), (120, 0));
    let mut threads: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mail in server.taken() {
        let line = |name: &str| mail.text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        threads.entry(line("References: ")).or_default().push(line("Subject: [Example Status] "));
    }
    assert_eq!(threads.len(), 60);
    assert!(threads.values().all(|subjects| *subjects == ["Outage: API", "Resolved: API (was down 12 min)"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_421_in_the_middle_loses_nothing_and_repeats_nothing() {
    let asked = AtomicUsize::new(0);
    let server = Server::scripted(move |moment| match moment {
        Moment::Command(line) if line.starts_with("MAIL") && asked.fetch_add(1, Ordering::SeqCst) == 7 => {
            Act::SayAndClose("421 4.7.0 slow down")
        }
        _ => Act::Usual,
    })
    .await;
    let mut world = World::new(20);
    world.opens(0);
    let running = run(&mut world, settings(&server, 2));
    server.until(|seen| seen.mails.len() == 20).await;
    running.stop().await;
    let to: BTreeSet<_> = server.taken().into_iter().map(|mail| mail.to).collect();
    assert_eq!((to.len(), server.taken().len()), (20, 20));
    assert_eq!(world.store.outbox_counts().unwrap().open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_while_the_server_is_silent_is_quick_and_the_message_goes_out_next_time() {
    let server = Server::scripted(|moment| if *moment == Moment::Received(0) { Act::Hang } else { Act::Usual }).await;
    let mut world = World::new(1);
    world.opens(0);
    let running = run(&mut world, settings(&server, 2));
    server.until(|seen| seen.mails.len() == 1).await;
    let clock = Later::new();
    let before = clock.elapsed();
    running.stop().await;
    assert!(clock.elapsed().since(before).as_secs() < 5);
    assert_eq!(world.store.outbox_counts().unwrap().sending, 1);
    let running = run(&mut world, settings(&server, 2));
    server.until(|seen| seen.mails.len() == 2).await;
    running.stop().await;
    let mails = server.look(|seen| seen.mails.clone());
    assert_eq!(mails[0].text, mails[1].text, "the same message, to the byte");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_told_by_the_same_way_and_a_reload_takes_another_server() {
    let (first, second) = (Server::good().await, Server::good().await);
    let mut world = World::new(3);
    let running = run(&mut world, settings(&first, 2));
    let now = Later::new().wall();
    running.desk.tell(Notice::new("notes", "A note cannot be read", "notes/incidents/x.toml:3:1"), now);
    running.desk.tell(Notice::new("notes", "A note cannot be read", "notes/incidents/x.toml:3:1"), now);
    first.until(|seen| seen.mails.len() == 1).await;
    assert_eq!(first.taken()[0].to, "ops@example.org");
    running.settings.send(settings(&second, 2)).unwrap();
    world.opens(0);
    running.ring.notify_one();
    second.until(|seen| seen.mails.len() == 3).await;
    running.stop().await;
    assert_eq!(first.taken().len(), 1);
}

#[tokio::test]
async fn a_folder_gets_each_message_once_however_often_it_is_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::Folder(folder.path().join("mails"));
    let mut world = World::new(2);
    let (mut outbox, mut ledger) = (world.outbox(4), world.ledger());
    world.opens(0);
    for message in outbox.poll(&mut ledger, at(0)).unwrap() {
        for _ in 0..2 {
            assert!(matches!(relay.send(&message).await, Reply::Accepted { .. }));
        }
    }
    let names: Vec<_> = std::fs::read_dir(folder.path().join("mails"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.starts_with("20261121T101500.000Z-")), "{names:?}");
}

/// The queue of a store whose disk is full once so many results are written down.
struct Filling {
    ledger: StoreLedger,
    settled: Arc<AtomicUsize>,
    limit: usize,
}

impl Ledger for Filling {
    fn claim(&mut self, epoch: i64, now: Timestamp, limit: usize, decide: Decide<'_>) -> Result<usize, LedgerError> {
        self.ledger.claim(epoch, now, limit, decide)
    }

    fn settle(&mut self, settled: &[Settled], now: Timestamp) -> Result<(), LedgerError> {
        if self.settled.load(Ordering::SeqCst) >= self.limit {
            return Err(LedgerError("the disk is full".into()));
        }
        self.ledger.settle(settled, now)?;
        self.settled.fetch_add(settled.len(), Ordering::SeqCst);
        Ok(())
    }

    fn refused(&mut self, subscriber: &SubscriberId, gone: bool, now: Timestamp) -> Result<bool, LedgerError> {
        self.ledger.refused(subscriber, gone, now)
    }

    fn set_back(&mut self, by: SignedDuration, now: Timestamp) -> Result<(), LedgerError> {
        self.ledger.set_back(by, now)
    }

    fn tokens(&self, subscriber: &SubscriberId, manage_until: Timestamp, sent: Sent, at: Timestamp) -> Tokens {
        self.ledger.tokens(subscriber, manage_until, sent, at)
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>, LedgerError> {
        self.ledger.next_due()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_has_sent_more_than_eight_that_are_not_written_down() {
    let server = Server::good().await;
    let mut world = World::new(300);
    world.opens(0);
    let settled = Arc::new(AtomicUsize::new(0));
    let ledger = Filling { ledger: world.ledger(), settled: Arc::clone(&settled), limit: 150 };
    let running = run_with(&mut world, ledger, settings(&server, 3), Arc::new(Still));
    // Everything that may be sent without being written down is.
    let marked = || settled.load(Ordering::SeqCst);
    server.until(|seen| marked() >= 150 && seen.mails.len() >= marked() + 3 * 8).await;
    running.stop().await;
    let unmarked = server.taken().len() - marked();
    assert_eq!(unmarked, 3 * 8);
    // The next start sends those again, and all others once.
    let running = run(&mut world, settings(&server, 3));
    server.until(|seen| seen.mails.len() == 300 + unmarked).await;
    running.stop().await;
    let mut copies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for mail in server.taken() {
        copies.entry(mail.to).or_default().insert(mail.text);
    }
    assert_eq!(copies.len(), 300);
    assert!(copies.values().all(|texts| texts.len() == 1), "a copy is the same to the byte");
    assert_eq!(world.store.outbox_counts().unwrap().sent, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_with_messages_waiting_lose_none_and_double_none() {
    for extensions in [vec![], vec!["PIPELINING"]] {
        let server = Server::start(Setup {
            script: Some(Box::new(|moment| match moment {
                Moment::Received(n) if n % 7 == 5 && *n < 40 => Act::Close,
                _ => Act::Usual,
            })),
            extensions,
            tls: None,
        })
        .await;
        let mut world = World::new(60);
        world.opens(0);
        let running = run(&mut world, settings(&server, 2));
        server.until(|seen| seen.mails.iter().filter(|mail| mail.taken).count() == 60).await;
        running.stop().await;
        let taken: BTreeMap<_, _> = server.taken().into_iter().map(|mail| (mail.to, mail.text)).collect();
        assert_eq!((taken.len(), server.taken().len()), (60, 60));
        for mail in server.look(|seen| seen.mails.clone()) {
            assert_eq!(taken[&mail.to], mail.text, "tried again as it was");
        }
        assert_eq!(world.store.outbox_counts().unwrap().open(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_leaves_in_the_middle_of_a_fan_out_is_not_written_to_a_second_later() {
    const FAST: usize = 60;
    let begun: Arc<Mutex<Vec<(String, Instant)>>> = Arc::default();
    let book = Arc::clone(&begun);
    let server = Server::scripted(move |moment| {
        match moment {
            Moment::Command(line) if line.starts_with("RCPT") => {
                let to = line.trim_start_matches("RCPT TO:<").trim_end_matches('>').to_owned();
                book.lock().unwrap().push((to, Instant::now()));
            }
            // A server that was fast, and is slow all of a sudden.
            Moment::Received(FAST..) => std::thread::sleep(Duration::from_millis(400)),
            _ => {}
        }
        Act::Usual
    })
    .await;
    let mut world = World::new(120);
    world.opens(0);
    let running = run(&mut world, settings(&server, 2));
    server.until(|seen| seen.mails.len() > FAST).await;
    let is_begun = |address: &str| begun.lock().unwrap().iter().any(|(to, _)| to == address);
    let leaving: Vec<_> = (0..120).map(World::subscriber).filter(|one| !is_begun(one.address.as_str())).collect();
    for subscriber in &leaving {
        world.store.remove_subscriber(&subscriber.id, at(3600)).unwrap();
    }
    let left = Instant::now();
    assert!(leaving.len() > 20, "{}", leaving.len());
    // All who stayed are written to; then there is nothing left to send.
    while world.store.outbox_pending().unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.stop().await;
    let late: Vec<_> = begun
        .lock()
        .unwrap()
        .iter()
        .filter(|(to, when)| {
            *when > left + Duration::from_secs(1) && leaving.iter().any(|one| one.address.as_str() == to)
        })
        .cloned()
        .collect();
    assert!(late.is_empty(), "{late:?}");
}
