//! Telling by webhook, against receivers that do what they are told, with the real client and the real
//! store.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use watchbell::{
    clock::{Clock, SystemClock},
    domain::{
        id::DeliveryId,
        subscriber::{Subscriber, SubscriberState, Way},
        webhook::WebhookUrl,
    },
    notify::ledger::StoreLedger,
    notify::webhook::{
        answer::Answer,
        client::{Client, Guard},
        payload::Writer,
        queue::{Call, Queue},
        sign, worker,
    },
};

use super::fixture::{Later, World, at, config, email};
use crate::support::{daemon::wait_for, receiver::Receiver, skip::program};

fn client(receivers: &[&Receiver]) -> Client {
    let also = receivers.iter().map(|receiver| receiver.address).collect();
    let roots = receivers.iter().map(|receiver| receiver.certificate.clone()).collect();
    Client::new(Arc::new(SystemClock::new()), Guard::and(also), roots).unwrap()
}

fn call(url: WebhookUrl) -> Call {
    Call { delivery: DeliveryId::new(at(0), [1; 10]), url, body: "{}".into(), secret: [7; 32] }
}

fn now() -> Timestamp {
    SystemClock::new().wall()
}

fn writer() -> Arc<Writer> {
    Arc::new(Writer::new(&config(&email())).unwrap())
}

/// The `n`-th reader, told by webhook.
fn hooked(n: usize, url: WebhookUrl) -> Subscriber {
    Subscriber { address: url.into(), ..World::subscriber(n) }
}

fn example(n: usize) -> WebhookUrl {
    WebhookUrl::parse(&format!("https://example.org/{n}")).unwrap()
}

const TAKEN: Answer = Answer::Status { code: 204, retry_after: None };

fn failed(code: u16) -> Answer {
    Answer::Status { code, retry_after: None }
}

/// A world whose first readers have webhooks, and their queue.
fn world(hooks: usize, mails: usize) -> (World, Queue) {
    let mut world = World::new(0);
    for n in 0..hooks + mails {
        let reader = if n < hooks { hooked(n, example(n)) } else { World::subscriber(n) };
        world.store.add_subscriber(&reader).unwrap();
    }
    let queue = Queue::new(world.epoch_of(Way::Webhook), writer());
    (world, queue)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_reaches_a_receiver_and_mail_goes_its_own_way() {
    let receiver = Receiver::good().await;
    let mut world = World::new(0);
    world.store.add_subscriber(&hooked(0, receiver.url("/hook?a=b"))).unwrap();
    world.store.add_subscriber(&World::subscriber(1)).unwrap();
    world.opens(0);
    let queue = Queue::new(world.epoch_of(Way::Webhook), writer());
    let (_writer, writer) = watch::channel(writer());
    let (ring, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
    let handles = worker::Handles {
        clock: Later::new(),
        ring: Arc::clone(&ring),
        client: Arc::new(client(&[&receiver])),
        writer,
        shutdown: shutdown.clone(),
    };
    let working = tokio::spawn(worker::run(queue, world.ledger_of(Way::Webhook), handles));
    let [opened] = receiver.awaited(1).await.try_into().unwrap();
    assert_eq!(opened.line, "POST /hook?a=b HTTP/1.1");
    assert_eq!(opened.header("host"), receiver.address.to_string());
    assert_eq!(opened.header("content-type"), "application/json");
    assert_eq!(opened.json()["type"], "incident.opened");
    world.resolves(60);
    ring.notify_one();
    let all = receiver.awaited(2).await;
    assert_eq!(all[1].json()["type"], "incident.resolved");
    assert_ne!(all[1].header("webhook-id"), opened.header("webhook-id"));
    let counts = || world.store.outbox_counts().unwrap();
    tokio::task::block_in_place(|| {
        wait_for("two that are sent", Duration::from_secs(10), || (counts().sent == 2).then_some(()));
    });
    assert_eq!(counts().queued, 2, "those of mail wait for mail");
    shutdown.cancel();
    working.await.unwrap().unwrap();

    let mut outbox = world.outbox(1);
    let mails = outbox.poll(&mut world.ledger(), at(3600)).unwrap();
    assert_eq!(mails.len(), 1, "and mail knows nothing of webhooks");
}

/// Reads what is verified, and says whether the signature holds, and holds no longer when changed.
const VERIFY: &str = "
import sys, json
from standardwebhooks import Webhook, WebhookVerificationError
said = json.load(sys.stdin)
hook = Webhook(said['secret'])
hook.verify(said['body'], said['headers'])
for body, headers in [(said['body'] + ' ', said['headers']), (said['body'], said['headers'] | {'webhook-id': 'x'})]:
    try:
        hook.verify(body, headers)
    except WebhookVerificationError:
        continue
    sys.exit(1)
";

#[tokio::test]
async fn a_signature_is_good_for_another_programs_eyes() {
    let Some(python) = program("venv-python") else { crate::skip!("standardwebhooks is not installed") };
    let receiver = Receiver::good().await;
    let call = call(receiver.url("/"));
    assert_eq!(client(&[&receiver]).call(&call, now()).await, TAKEN);
    let [request] = receiver.requests().try_into().unwrap();
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> =
        names.into_iter().map(|name| (name.to_owned(), request.header(name).into())).collect();
    assert_eq!(request.header("webhook-id"), call.delivery.to_string());
    let body = String::from_utf8(request.body.clone()).unwrap();
    let said = serde_json::json!({ "secret": sign::shown(&call.secret), "headers": headers, "body": body });
    let mut child = Command::new(&python).args(["-c", VERIFY]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(said.to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
}

#[tokio::test]
async fn nothing_inside_is_ever_connected_to_however_it_is_named() {
    let receiver = Receiver::good().await;
    let client =
        Client::new(Arc::new(SystemClock::new()), Guard::public(), vec![receiver.certificate.clone()]).unwrap();
    let port = receiver.address.port();
    for host in ["127.0.0.1", "0x7f000001", "2130706433", "0", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"] {
        let url = WebhookUrl::parse(&format!("https://{host}:{port}/")).unwrap();
        let answer = client.call(&call(url), now()).await;
        let refused = "its name leads to an address that is not public";
        assert_eq!(answer, Answer::Failed { what: refused, may_have_it: false }, "{host}");
    }
    assert_eq!(receiver.connections(), 0);
    // What a test allows is that address, and nothing beside it.
    let other = Receiver::good().await;
    let answer = self::client(&[&receiver]).call(&call(other.url("/")), now()).await;
    assert!(matches!(answer, Answer::Failed { may_have_it: false, .. }), "{answer}");
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_certificate_must_be_good() {
    let elsewhere = Receiver::good().await;
    let location = format!("HTTP/1.1 302 X\r\nLocation: https://{}/\r\nContent-Length: 0\r\n\r\n", elsewhere.address);
    let receiver = Receiver::scripted(move |_| Some(location.clone().into_bytes())).await;
    let answer = client(&[&receiver, &elsewhere]).call(&call(receiver.url("/")), now()).await;
    assert_eq!(answer, failed(302));
    assert_eq!(elsewhere.connections(), 0);
    let distrusting =
        Client::new(Arc::new(SystemClock::new()), Guard::and(vec![elsewhere.address]), Vec::new()).unwrap();
    let answer = distrusting.call(&call(elsewhere.url("/")), now()).await;
    assert_eq!(answer, Answer::Failed { what: "it cannot be talked to by TLS", may_have_it: false });
    assert!(elsewhere.requests().is_empty(), "nothing is said to whom we do not know");
}

#[tokio::test]
async fn a_receiver_that_floods_or_babbles_costs_little() {
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 1024 * 1024]].concat();
    let large = [b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n".to_vec(), vec![b'a'; 64 * 1024]].concat();
    let answers = [endless, large, b"nonsense\r\n\r\n".to_vec(), b"".to_vec()];
    let receiver = Receiver::scripted(move |n| Some(answers[n % answers.len()].clone())).await;
    let client = client(&[&receiver]);
    let bad = Answer::Failed { what: "no answer that is HTTP", may_have_it: true };
    let answer = |code| Answer::Status { code, retry_after: None };
    for expected in [bad.clone(), answer(200), bad.clone(), bad] {
        assert_eq!(client.call(&call(receiver.url("/")), now()).await, expected);
    }
}

#[tokio::test]
async fn a_receiver_that_says_nothing_is_waited_for_a_few_seconds() {
    let receiver = Receiver::scripted(|_| None).await;
    let began = std::time::Instant::now();
    let answer = client(&[&receiver]).call(&call(receiver.url("/")), now()).await;
    assert_eq!(answer, Answer::Failed { what: "no answer in time", may_have_it: true });
    assert!((Duration::from_secs(7)..Duration::from_secs(20)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// The next calls, and when they are made.
fn next_calls(queue: &mut Queue, ledger: &mut StoreLedger) -> (Timestamp, Vec<Call>) {
    for _ in 0..9 {
        let due = queue.wake_at().unwrap();
        let calls = queue.poll(ledger, due).unwrap();
        if !calls.is_empty() {
            return (due, calls);
        }
    }
    panic!("it wakes for nothing");
}

#[test]
fn a_receiver_that_is_away_rests_by_itself_and_the_others_hear_at_once() {
    let (mut world, mut queue) = world(3, 0);
    world.opens(0);
    let mut ledger = world.ledger_of(Way::Webhook);
    let calls = queue.poll(&mut ledger, at(1)).unwrap();
    assert_eq!(calls.len(), 3);
    let dead = calls.iter().find(|call| call.url == example(0)).unwrap().delivery;
    for call in &calls {
        let answer = if call.delivery == dead { failed(503) } else { TAKEN };
        queue.complete(call.delivery, &answer, at(1));
    }
    // More news, while it rests: that waits with it, and for nobody else.
    world.resolves(1);
    let calls = queue.poll(&mut ledger, at(1)).unwrap();
    assert_eq!(calls.iter().map(|call| call.url.clone()).collect::<Vec<_>>(), [example(1), example(2)]);
    for call in &calls {
        queue.complete(call.delivery, &TAKEN, at(1));
    }
    assert!(queue.poll(&mut ledger, at(1)).unwrap().is_empty());
    // It is tried again after growing pauses, each time once.
    let (mut tries, mut last, mut longest) = (Vec::new(), at(1), SignedDuration::ZERO);
    for _ in 0..8 {
        let (due, calls) = next_calls(&mut queue, &mut ledger);
        longest = longest.max(due.duration_since(last));
        last = due;
        assert_eq!(calls.len(), 1, "at {due}");
        tries.push(calls[0].clone());
        queue.complete(calls[0].delivery, &failed(503), due);
        queue.poll(&mut ledger, due).unwrap();
    }
    assert!(longest > SignedDuration::from_mins(30), "{longest}");
    let body: serde_json::Value = serde_json::from_slice(&tries[7].body).unwrap();
    assert_eq!(body["type"], "incident.passed", "what is over by now is one message");
    // It is back.
    let (due, calls) = next_calls(&mut queue, &mut ledger);
    queue.complete(calls[0].delivery, &TAKEN, due);
    queue.poll(&mut ledger, due).unwrap();
    assert_eq!(queue.wake_at(), None);
    let counts = world.store.outbox_counts().unwrap();
    assert_eq!((counts.sent, counts.folded, counts.open()), (5, 1, 0));
}

#[test]
fn a_receiver_that_is_gone_is_deleted_and_one_that_refuses_for_days_is_suspended() {
    let (mut world, mut queue) = world(2, 0);
    let mut ledger = world.ledger_of(Way::Webhook);
    for day in 0..3 {
        let now = day * 86_400;
        if day % 2 == 0 {
            world.opens(now);
        } else {
            world.resolves(now);
        }
        for call in queue.poll(&mut ledger, at(now)).unwrap() {
            let answer = if call.url == example(0) { failed(410) } else { failed(404) };
            queue.complete(call.delivery, &answer, at(now));
        }
        queue.poll(&mut ledger, at(now)).unwrap();
        let left: Vec<_> = world.store.subscribers(&watchbell::store::Filter::default()).unwrap();
        assert_eq!(left.len(), 1, "day {day}");
        let expected = if day < 2 { SubscriberState::Confirmed } else { SubscriberState::Suspended };
        assert_eq!(left[0].state, expected, "day {day}");
    }
}

#[test]
fn a_receiver_that_is_dead_for_days_is_suspended_in_the_end() {
    let (mut world, mut queue) = world(1, 0);
    let mut ledger = world.ledger_of(Way::Webhook);
    let mut now = 0;
    while now < 6 * 86_400 {
        let opened = now;
        if (now / 3600) % 2 == 0 {
            world.opens(opened);
        } else {
            world.resolves(opened);
        }
        for second in (now..now + 3600).step_by(60) {
            for call in queue.poll(&mut ledger, at(second)).unwrap() {
                queue.complete(call.delivery, &Answer::Failed { what: "away", may_have_it: false }, at(second));
            }
        }
        now += 3600;
    }
    let state = world.store.subscribers(&watchbell::store::Filter::default()).unwrap()[0].state;
    assert_eq!(state, SubscriberState::Suspended);
    assert_eq!(world.store.outbox_counts().unwrap().open(), 0);
}

#[test]
fn one_that_asks_for_a_pause_gets_it() {
    let (mut world, mut queue) = world(1, 0);
    world.opens(0);
    let mut ledger = world.ledger_of(Way::Webhook);
    let calls = queue.poll(&mut ledger, at(1)).unwrap();
    let busy = Answer::Status { code: 429, retry_after: Some(Duration::from_mins(20)) };
    queue.complete(calls[0].delivery, &busy, at(1));
    assert!(queue.poll(&mut ledger, at(1200)).unwrap().is_empty());
    assert_eq!(queue.poll(&mut ledger, at(1201)).unwrap().len(), 1);
}

#[test]
fn a_crash_makes_the_same_call_again_and_leaves_mail_alone() {
    let (mut world, mut queue) = world(1, 1);
    world.opens(0);
    let mut outbox = world.outbox(1);
    let mail = outbox.poll(&mut world.ledger(), at(1)).unwrap();
    let first = queue.poll(&mut world.ledger_of(Way::Webhook), at(1)).unwrap();
    // Only the webhooks' side starts anew.
    let mut queue = Queue::new(world.epoch_of(Way::Webhook), writer());
    let second = queue.poll(&mut world.ledger_of(Way::Webhook), at(2)).unwrap();
    assert_eq!((first.len(), mail.len()), (1, 1));
    assert_eq!((&first[0].delivery, &first[0].body), (&second[0].delivery, &second[0].body));
    assert_eq!(world.store.outbox_sending().unwrap(), 1, "the mail is still on its way");
}

#[test]
fn receivers_that_hang_never_take_all_the_places() {
    let (mut world, mut queue) = world(100, 0);
    world.opens(0);
    let mut ledger = world.ledger_of(Way::Webhook);
    // Those of the first 60 hang, again and again.
    let hangs = |call: &Call| (0..60).any(|n| call.url == example(n));
    let mut hanging = Vec::new();
    let mut told = 0;
    for second in 1..120 {
        for (since, delivery) in std::mem::take(&mut hanging) {
            if second - since >= 8 {
                queue.complete(delivery, &Answer::Failed { what: "no answer in time", may_have_it: true }, at(second));
            } else {
                hanging.push((since, delivery));
            }
        }
        for call in queue.poll(&mut ledger, at(second)).unwrap() {
            if hangs(&call) {
                hanging.push((second, call.delivery));
            } else {
                queue.complete(call.delivery, &TAKEN, at(second));
                told += 1;
            }
        }
        if told == 40 {
            assert!(second < 40, "{second}");
            return;
        }
    }
    panic!("only {told} were told");
}
