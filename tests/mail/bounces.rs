//! What was sent and comes back: from the envelope that a message leaves in to what follows for its
//! reader.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use jiff::{SignedDuration, Timestamp};
use watchbell::{
    clock::{Clock, SystemClock},
    config::Email,
    domain::subscriber::SubscriberState,
    notify::{
        bounce::{self, Bounce, Outcome},
        ledger::StoreLedger,
        outbox::Outbox,
        relay::Outgoing,
        reply::Reply,
    },
    store::{Filter, outbox::Noted},
};

use super::fixture::{World, at, composer, email};

const DAY: i64 = 86_400;

/// Readers whose mails leave in envelopes that name them.
struct Post {
    world: World,
    ledger: StoreLedger,
    outbox: Outbox,
}

impl Post {
    fn new(readers: usize) -> Self {
        let mut world = World::new(readers);
        let mut outbox = world.outbox(4);
        let email = Email { envelope_from: "bounces+{token}@example.org".to_owned(), ..email() };
        outbox.reconfigure(composer(&email), 100, None);
        Self { ledger: world.ledger(), world, outbox }
    }

    /// Everything that leaves at that second; the relay takes it.
    fn leaves(&mut self, second: i64) -> Vec<Outgoing> {
        let mut left = Vec::new();
        loop {
            let messages = self.outbox.poll(&mut self.ledger, at(second)).unwrap();
            if messages.is_empty() {
                return left;
            }
            for message in &messages {
                self.outbox.complete(message.delivery, &Reply::Accepted { text: "250 ok".to_owned() }, at(second));
            }
            left.extend(messages);
        }
    }

    /// One outage, from its beginning to its end: what leaves in it.
    fn outage(&mut self, second: i64) -> Vec<Outgoing> {
        self.world.begins_anew(second);
        self.world.opens(second);
        let mut left = self.leaves(second + 60);
        self.world.resolves(second + 300);
        left.extend(self.leaves(second + 400));
        left
    }

    fn comes_back(&mut self, message: &Outgoing, status: &str, second: i64) -> Outcome {
        let mail = returned(message, "failed", status);
        self.reads(&mail, second)
    }

    fn reads(&mut self, mail: &[u8], second: i64) -> Outcome {
        let key = self.world.key();
        bounce::act(&mut self.world.store, &key, &Bounce::read(mail, &[]), at(second)).unwrap()
    }

    fn state(&self, n: usize) -> SubscriberState {
        self.world.store.subscriber(&World::subscriber(n).id).unwrap().unwrap().state
    }

    fn suspended(&self) -> usize {
        let filter = Filter { state: Some(SubscriberState::Suspended), ..Filter::default() };
        self.world.store.subscribers(&filter).unwrap().len()
    }
}

/// A report on a message, as its server would address it.
fn returned(message: &Outgoing, action: &str, status: &str) -> Vec<u8> {
    format!(
        "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\nTo: {from}\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n\
         Final-Recipient: rfc822; {to}\r\nAction: {action}\r\nStatus: {status}\r\n\
         Diagnostic-Code: smtp; 550 {status} <{to}>: no\r\n\r\n--b--\r\n",
        from = message.from.as_str(),
        to = message.to.as_str(),
    )
    .into_bytes()
}

fn noted(outcome: &Outcome) -> Noted {
    match outcome {
        Outcome::Noted { noted, .. } => *noted,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_message_leaves_in_an_envelope_of_its_own_that_names_nobody() {
    let mut post = Post::new(2);
    let left = post.outage(0);
    let mut senders: Vec<&str> = left.iter().map(|message| message.from.as_str()).collect();
    senders.sort_unstable();
    senders.dedup();
    assert_eq!((left.len(), senders.len()), (4, 4));
    for message in &left {
        let (local, domain) = message.from.as_str().rsplit_once('@').unwrap();
        assert!(local.starts_with("bounces+") && local.len() <= 64 && domain == "example.org", "{local}");
        assert!(!local.contains("reader") && local == local.to_lowercase());
        // It stands in the envelope alone: who reads a mail may pass it on.
        let token = local.strip_prefix("bounces+").unwrap();
        assert!(!String::from_utf8_lossy(&message.bytes).contains(token));
    }
}

#[test]
fn that_a_mailbox_is_gone_suspends_its_reader_at_once_and_nobody_else() {
    let mut post = Post::new(2);
    let left = post.outage(0);
    let outcome = post.comes_back(&left[0], "5.1.1", 500);
    assert_eq!(noted(&outcome), Noted::Suspended);
    assert!(!outcome.to_string().contains('@'), "{outcome}");
    assert_eq!(post.suspended(), 1);
    assert_eq!(noted(&post.comes_back(&left[0], "5.1.1", 501)), Noted::Before);
    let counts = post.world.store.outbox_counts().unwrap();
    assert_eq!((counts.sent, counts.failed), (3, 1), "what came back was not told");
    assert_eq!(post.outage(DAY).len(), 2, "the other one still hears");
}

#[test]
fn other_refusals_suspend_on_the_third_day_in_a_row() {
    let mut post = Post::new(1);
    for day in 0..3 {
        let left = post.outage(day * DAY);
        assert_eq!(left.len(), 2);
        let days = u64::try_from(day).unwrap() + 1;
        let expected = if days < 3 { Noted::Struck { days } } else { Noted::Suspended };
        // Several on one day count once.
        assert_eq!(noted(&post.comes_back(&left[0], "5.2.1", day * DAY + 500)), expected);
        if days < 3 {
            assert_eq!(noted(&post.comes_back(&left[1], "5.2.1", day * DAY + 600)), expected);
        }
    }
    assert_eq!(post.state(0), SubscriberState::Suspended);
}

#[test]
fn a_mail_between_that_did_not_come_back_breaks_the_row() {
    let mut post = Post::new(1);
    for day in 0..5 {
        let left = post.outage(day * DAY);
        if day != 2 {
            for message in left {
                let days = u64::try_from(if day < 2 { day } else { day - 3 }).unwrap() + 1;
                assert_eq!(noted(&post.comes_back(&message, "5.2.1", day * DAY + 500)), Noted::Struck { days });
            }
        }
    }
    assert_eq!(post.state(0), SubscriberState::Confirmed);
}

#[test]
fn what_is_nobodys_fault_suspends_nobody_and_what_is_ours_is_told() {
    let mut post = Post::new(1);
    for day in 0..4 {
        for message in post.outage(day * DAY) {
            let status = if day == 3 { "5.7.1" } else { "5.2.2" };
            assert_eq!(noted(&post.comes_back(&message, status, day * DAY + 500)), Noted::GivenUp);
        }
        assert_eq!(post.world.store.take_notices().unwrap().len(), usize::from(day == 3), "day {day}");
    }
    assert_eq!(post.state(0), SubscriberState::Confirmed);
}

#[test]
fn a_report_of_anything_but_a_failure_changes_nothing() {
    let mut post = Post::new(1);
    let left = post.outage(0);
    for action in ["delayed", "relayed", "expanded", "delivered"] {
        let mail = returned(&left[0], action, "5.1.1");
        assert!(matches!(post.reads(&mail, 500), Outcome::Passing(word) if word == action));
    }
    assert_eq!(post.world.store.outbox_counts().unwrap().failed, 0);
}

#[test]
fn a_forged_bounce_or_one_that_is_too_old_changes_nothing() {
    let mut post = Post::new(2);
    let left = post.outage(0);
    let mail = String::from_utf8(returned(&left[0], "failed", "5.1.1")).unwrap();
    // Somebody else's id under one's own signature.
    let (mine, theirs) = (left[0].from.as_str(), left[1].from.as_str());
    let forged = format!("{}{}", &theirs[..40], &mine[40..]);
    assert_ne!(forged, mine);
    assert_eq!(post.reads(mail.replace(mine, &forged).as_bytes(), 500), Outcome::NoToken);
    assert_eq!(post.reads(mail.replace(mine, "bounces@example.org").as_bytes(), 500), Outcome::NoToken);
    assert_eq!(post.reads(mail.as_bytes(), 16 * DAY), Outcome::TooOld);
    assert_eq!(post.suspended(), 0);
}

#[test]
fn a_bounce_for_who_has_left_changes_nothing_and_keeps_nothing() {
    let mut post = Post::new(1);
    let left = post.outage(0);
    post.world.store.remove_subscriber(&World::subscriber(0).id, at(450)).unwrap();
    assert_eq!(noted(&post.comes_back(&left[0], "5.1.1", 500)), Noted::GivenUp);
    let mut replies = Vec::new();
    let incident = post.world.incident_id();
    post.world.reader().deliveries(&incident, &mut |delivery| replies.extend(delivery.reply.clone())).unwrap();
    assert_eq!(replies, [""; 0]);
}

#[test]
fn when_too_many_of_one_event_come_back_it_is_held_against_none_of_them() {
    let mut post = Post::new(40);
    post.world.opens(0);
    let left = post.leaves(60);
    assert_eq!(left.len(), 40);
    for (n, message) in left.iter().take(15).enumerate() {
        let outcome = post.comes_back(message, "5.1.1", 100);
        let expected = if n < 9 { Noted::Suspended } else { Noted::TooMany };
        assert_eq!(noted(&outcome), expected, "{n}");
    }
    assert_eq!(post.suspended(), 0, "those before are written to again");
    let notices = post.world.store.take_notices().unwrap();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].text.contains("550 5.1.1 <***>: no"), "{}", notices[0].text);
}

#[test]
fn a_bounce_may_come_before_it_is_written_down_that_the_mail_left() {
    let mut post = Post::new(1);
    post.world.opens(0);
    let message = post.outbox.poll(&mut post.ledger, at(60)).unwrap().remove(0);
    assert_eq!(noted(&post.comes_back(&message, "5.1.1", 61)), Noted::Suspended);
    post.outbox.complete(message.delivery, &Reply::Accepted { text: "250 ok".to_owned() }, at(62));
    assert!(post.leaves(63).is_empty());
    let counts = post.world.store.outbox_counts().unwrap();
    assert_eq!((counts.failed, counts.open()), (1, 0));
}

#[test]
fn a_confirmation_that_comes_back_ends_its_asking() {
    let mut post = Post::new(0);
    let asking = watchbell::domain::asking::Asking {
        address: "new@example.net".parse().unwrap(),
        choice: watchbell::domain::subscriber::Choice::default(),
    };
    let ask = |post: &mut Post, second| {
        post.world.store.ask_for(&asking, at(second)).unwrap();
        post.world.store.answer_requests(std::time::Duration::from_hours(48), at(second)).unwrap();
        post.leaves(second + 1).remove(0)
    };
    let letter = ask(&mut post, 0);
    assert_eq!(noted(&post.comes_back(&letter, "5.7.1", 10)), Noted::GivenUp);
    assert_eq!(post.world.store.subscriber_counts().unwrap(), [1, 0, 0], "that is not theirs to mend");
    assert_eq!(noted(&post.comes_back(&letter, "5.1.1", 20)), Noted::AskingEnded);
    assert_eq!(post.world.store.subscriber_counts().unwrap(), [0, 0, 0]);
    assert_eq!(noted(&post.comes_back(&letter, "5.1.1", 30)), Noted::Forgotten);
    // They may ask again: an old bounce says nothing of that.
    let again = ask(&mut post, 7200);
    assert_ne!(again.from, letter.from);
    assert_eq!(noted(&post.comes_back(&letter, "5.1.1", 7300)), Noted::Forgotten);
    assert_eq!(post.world.store.subscriber_counts().unwrap(), [1, 0, 0]);
}

fn run(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_watchbell"))
        .args(["notify", "bounce", "--config"])
        .arg(folder.join("watchbell.toml"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A config that cannot be used is said before anything is read.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn the_command_acts_on_standard_input_and_tells_a_mail_server_what_it_understands() {
    let now = SystemClock::new().wall();
    let mut post = Post::new(2);
    let shift = |at: Timestamp| now.checked_sub(SignedDuration::from_secs(600)).unwrap().max(at);
    let folder = post.world.folder().to_owned();
    let config = "[site]\nurl = \"https://status.example.org/\"\n[store]\nurl = \"sqlite:watchbell.db\"\nallow_volatile = true\n\
                  [[service]]\nid = \"api\"\n";
    std::fs::write(folder.join("watchbell.toml"), config).unwrap();
    post.world.opens(shift(at(0)).duration_since(at(0)).as_secs());
    let left = post.leaves(now.duration_since(at(0)).as_secs());
    let mail = returned(&left[0], "failed", "5.1.1");

    let said = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let output = run(&folder, &[], b"Subject: hello\r\n\r\nBuy now.\r\n");
    assert_eq!(
        (output.status.code(), &*said(&output)),
        (Some(0), "no bounce: no report, and no mail system sent it; nothing changed\n")
    );
    let output = run(&folder, &[], &mail);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(said(&output), "550 5.1.1 <***>: no (to passing it on): the subscriber is suspended\n");
    assert_eq!(post.suspended(), 1);

    // With what the mail server knows, whatever its mail says; and much of it.
    let other = String::from_utf8(returned(&left[1], "failed", "5.1.1")).unwrap();
    let mut other = other.replace(left[1].from.as_str(), "postmaster@example.org").into_bytes();
    other.extend(std::iter::repeat_n(b'x', 3_000_000));
    let output = run(&folder, &["--quiet", "--recipient", left[1].from.as_str()], &other);
    assert_eq!((output.status.code(), &*said(&output)), (Some(0), ""));
    assert_eq!(post.suspended(), 2);

    // What cannot be done now is asked for again.
    std::fs::remove_file(folder.join("watchbell.db.key")).unwrap();
    std::fs::write(folder.join("watchbell.db.key"), "short").unwrap();
    let output = run(&folder, &[], &mail);
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    std::fs::write(folder.join("watchbell.toml"), "nonsense").unwrap();
    assert_eq!(run(&folder, &[], &mail).status.code(), Some(2));
    assert_eq!(run(&folder, &["--nonsense"], &mail).status.code(), Some(2));
}
