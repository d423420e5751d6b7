//! The conversation with the mail server, broken off after every byte of it, either way: whatever
//! was lost on the wire, everyone hears everything, in order, and twice only what was in doubt.
//!
//! Outbox, store and protocol are the program's; time is simulated, so that no pause between two
//! tries is waited for. `WATCHBELL_CUTS=all` cuts at every byte; else some of the message's inside
//! are left out.

use std::collections::BTreeMap;

use watchbell::{
    config::{MailSecurity, MailTransport},
    notify::{ledger::StoreLedger, outbox::Outbox, relay::Relay, reply::Reply},
};

use super::fixture::{Later, World, at, email};
use crate::support::{
    proxy::{End, Proxy, Spoiled},
    smtp::{Mail, Server},
};

/// Cuts of one store and one server: what they keep grows with them.
const AT_ONCE: usize = 200;

/// The mail side of a daemon, whose time this test moves.
struct Telling {
    outbox: Outbox,
    ledger: StoreLedger,
    relay: Relay,
    now: i64,
}

impl Telling {
    fn through(world: &mut World, proxy: &Proxy) -> Self {
        let mut email = email();
        let (host, port) = (proxy.address.ip().to_string(), proxy.address.port());
        email.transport = MailTransport::Smtp { host, port, security: MailSecurity::Plain };
        email.connections = 1;
        let relay = Relay::new(&email, Later::new()).unwrap();
        Self { outbox: world.outbox(1), ledger: world.ledger(), relay, now: 0 }
    }

    /// Delivers until so many more are known to be taken; `false` if there are no more.
    async fn deliver(&mut self, wanted: usize) -> bool {
        let mut taken = 0;
        while taken < wanted {
            let messages = self.outbox.poll(&mut self.ledger, at(self.now)).unwrap();
            if messages.is_empty() {
                let Some(wake) = self.outbox.wake_at() else { return false };
                let pause = wake.duration_since(at(self.now)).as_secs();
                assert!(pause < 3600, "nothing is put off for as long as {pause} s");
                self.now += pause.max(0) + 1;
            }
            for message in messages {
                let reply = self.relay.send(&message).await;
                taken += usize::from(matches!(reply, Reply::Accepted { .. }));
                // Each takes a second, so that none is claimed ahead of the one that is cut off.
                self.now += 1;
                self.outbox.complete(message.delivery, &reply, at(self.now));
            }
        }
        true
    }
}

/// How many bytes the two sides say about two messages on one connection, and of those the client's
/// about the first one.
async fn conversation() -> (usize, usize, usize) {
    let server = Server::good().await;
    let proxy = Proxy::to(server.address);
    let mut world = World::new(2);
    let mut telling = Telling::through(&mut world, &proxy);
    world.opens(0);
    assert!(telling.deliver(1).await);
    let (first, _) = proxy.passed();
    assert!(telling.deliver(1).await);
    let (asked, answered) = proxy.passed();
    assert_eq!(proxy.connections(), 1);
    (first, asked, answered)
}

/// Every way to break the conversation off that is tried.
fn cuts((first, asked, answered): (usize, usize, usize)) -> Vec<Spoiled> {
    let all = std::env::var_os("WATCHBELL_CUTS").is_some();
    // Whatever stands inside a message, losing the rest of it is much the same.
    let near = |after: usize, mark: usize| after.abs_diff(mark) < 40;
    let tried = |after: &usize| {
        all || *after < 220
            || near(*after, first)
            || near(*after, first + 120)
            || near(*after, asked)
            || after.is_multiple_of(97)
    };
    let client =
        (0..=asked).filter(tried).flat_map(|after| [End::Close, End::Reset].map(|end| Spoiled::asking(after, end)));
    let server = (0..answered).flat_map(|after| [End::Close, End::Reset].map(|end| Spoiled::answering(after, end)));
    client.chain(server).collect()
}

fn header<'a>(mail: &'a Mail, name: &str) -> &'a str {
    mail.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

/// Tells people of an outage and its end while connections break off; how many copies there were.
async fn survive(cuts: &[Spoiled]) -> usize {
    let server = Server::good().await;
    let proxy = Proxy::to(server.address);
    let people = cuts.len() + cuts.len() / 2 + 1;
    let mut world = World::new(people);
    let mut telling = Telling::through(&mut world, &proxy);
    world.opens(0);
    let mut copies = 0;
    for (n, cut) in cuts.iter().enumerate() {
        if n == people / 4 {
            // In the middle: who was told of the outage hears of its end, others of both at once.
            world.resolves(telling.now + 600);
            telling.now += 600;
        }
        proxy.spoil_next([*cut]);
        let before = server.taken().len();
        assert!(telling.deliver(2).await, "{cut:?}");
        let again = server.taken().len() - before - 2;
        assert!(again <= 1, "{cut:?}: {again} messages were taken of which nobody heard");
        copies += again;
        telling.relay.close().await;
    }
    assert_eq!(proxy.to_come(), 0, "every cut was made");
    while telling.deliver(100).await {}
    telling.outbox.flush(&mut telling.ledger, at(telling.now)).unwrap();

    let counts = world.store.outbox_counts().unwrap();
    assert_eq!((counts.open(), counts.failed, counts.dropped), (0, 0, 0));
    let mut told: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for mail in server.taken() {
        let heard = told.entry(mail.to.clone()).or_default();
        let (subject, id) = (header(&mail, "Subject").to_owned(), header(&mail, "Message-ID").to_owned());
        // A copy follows the first at once, and has its id.
        if heard.last().is_none_or(|(_, last)| *last != id) {
            heard.push((subject, id));
        }
    }
    assert_eq!(told.len(), people);
    for (person, heard) in told {
        let subjects: Vec<&str> =
            heard.iter().map(|(subject, _)| subject.trim_start_matches("[Example Status] ")).collect();
        let parts: Vec<&str> = subjects.iter().filter_map(|subject| subject.split(':').next()).collect();
        match parts[..] {
            // Also whoever has an outage of which the server's answer was lost, and that ended before it
            // was sent again.
            ["Outage", "Resolved"] | ["Was down"] => {}
            _ => panic!("{person}: {subjects:?}"),
        }
        assert!(heard.windows(2).all(|pair| pair[0].1 != pair[1].1), "{person}: {heard:?}");
    }
    copies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_cut_off_after_any_byte_loses_nothing_and_repeats_only_what_was_in_doubt() {
    let lengths = Box::pin(conversation()).await;
    let cuts = cuts(lengths);
    let began = std::time::Instant::now();
    let mut copies = 0;
    for part in cuts.chunks(AT_ONCE) {
        copies += Box::pin(survive(part)).await;
    }
    eprintln!("{lengths:?} bytes, {} cuts, {copies} copies, {:?}", cuts.len(), began.elapsed());
    assert!(copies > 0, "some cuts came between the message and the answer to it");
}
