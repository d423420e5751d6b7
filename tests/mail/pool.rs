//! The pool of SMTP connections: what it says of every way in which handing over can go wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use watchbell::{
    clock::{Clock, Elapsed, SystemClock},
    config::MailSecurity,
    domain::subscriber::Address,
    notify::{
        reply::{Class, Phase, Reply, classify},
        smtp::{Encryption, Server as Target, Smtp, Timeouts},
    },
    secret::Secret,
};

use crate::support::smtp::{Act, Moment, Server, Setup, tls};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\nHello.\r\n.dot\r\n..two\r\n";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn target(server: &Server, security: MailSecurity) -> Target {
    Target {
        host: "127.0.0.1".to_owned(),
        port: server.address.port(),
        security,
        credentials: None,
        connections: 2,
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            command: Duration::from_millis(300),
            body: Duration::from_millis(300),
        },
        extra_roots: Vec::new(),
    }
}

fn pool(target: Target) -> Smtp {
    Smtp::new(target, Arc::new(SystemClock::new())).unwrap()
}

async fn send(pool: &Smtp) -> Reply {
    pool.send(&address("status@example.org"), &address("ann@example.net"), MESSAGE).await
}

async fn class_when(script: impl Fn(&Moment) -> Act + Send + Sync + 'static) -> (Reply, Class) {
    let server = Server::scripted(script).await;
    let reply = send(&pool(target(&server, MailSecurity::Plain))).await;
    let class = classify(&reply);
    (reply, class)
}

fn command(moment: &Moment, verb: &str) -> bool {
    matches!(moment, Moment::Command(line) if line.starts_with(verb))
}

#[tokio::test]
async fn a_message_arrives_as_it_is_with_its_dots_and_line_ends() {
    for extensions in [vec![], vec!["PIPELINING", "8BITMIME"]] {
        let server = Server::start(Setup { extensions, ..Setup::default() }).await;
        let pool = pool(target(&server, MailSecurity::Plain));
        for _ in 0..3 {
            assert!(matches!(send(&pool).await, Reply::Accepted { text } if text == "250 2.0.0 queued as TEST"));
        }
        for mail in server.taken() {
            assert_eq!(mail.text.as_bytes(), MESSAGE);
            assert!(mail.wire.ends_with(b"\r\n..dot\r\n...two\r\n.\r\n"));
            assert_eq!((mail.from.as_str(), mail.to.as_str()), ("status@example.org", "ann@example.net"));
        }
        assert_eq!(server.look(|seen| (seen.mails.len(), seen.connections)), (3, 1), "one connection is enough");
    }
}

#[tokio::test]
async fn no_bare_line_end_ever_leaves_whatever_a_message_holds() {
    let server = Server::good().await;
    let pool = pool(target(&server, MailSecurity::Plain));
    for evil in ["a\n.\nQUIT\n", "a\r.\rb", "a\r\n.\nMAIL FROM:<x@example.org>\r\n", "\r\n.\r\r\n", "no end"] {
        pool.send(&address("a@example.org"), &address("b@example.org"), evil.as_bytes()).await;
    }
    for mail in server.taken() {
        let wire = String::from_utf8(mail.wire).unwrap();
        assert!(!wire.replace("\r\n", "").contains(['\r', '\n']), "{wire:?}");
    }
    assert_eq!(server.taken().len(), 5);
    assert_eq!(server.look(|seen| seen.commands.iter().filter(|command| command.starts_with("MAIL")).count()), 5);
}

#[tokio::test]
async fn never_more_connections_are_open_than_allowed() {
    let server = Server::good().await;
    let pool = Arc::new(pool(target(&server, MailSecurity::Plain)));
    let sending = (0..40).map(|_| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { send(&pool).await })
    });
    for sent in sending.collect::<Vec<_>>() {
        assert!(matches!(sent.await.unwrap(), Reply::Accepted { .. }));
    }
    assert_eq!(server.taken().len(), 40);
    assert!(server.look(|seen| seen.most_open) <= 2);
}

#[tokio::test]
async fn each_refusal_is_named_by_what_was_refused() {
    for (verb, said, phase, class) in [
        ("MAIL", "553 5.7.1 not yours", Phase::Sender, Class::Ours),
        ("RCPT", "550 5.1.1 no such user", Phase::Recipient, Class::Gone),
        ("RCPT", "450 4.2.0 greylisted", Phase::Recipient, Class::Later),
        ("DATA", "554 5.5.1 no", Phase::Data, Class::Ours),
        ("MAIL", "421 4.7.0 too much", Phase::Sender, Class::Away),
    ] {
        for pipelining in [false, true] {
            let script = move |moment: &Moment| if command(moment, verb) { Act::Say(said) } else { Act::Usual };
            let extensions = if pipelining { vec!["PIPELINING"] } else { vec![] };
            let server = Server::start(Setup { script: Some(Box::new(script)), extensions, tls: None }).await;
            let reply = send(&pool(target(&server, MailSecurity::Plain))).await;
            assert!(matches!(reply, Reply::Refused { phase: found, .. } if found == phase), "{verb} {said}: {reply}");
            assert_eq!(classify(&reply), class, "{verb} {said}");
            assert_eq!(server.taken().len(), 0);
        }
    }
}

#[tokio::test]
async fn a_refused_recipient_costs_the_next_one_nothing() {
    for extensions in [vec![], vec!["PIPELINING"]] {
        let asked = AtomicUsize::new(0);
        let script = move |moment: &Moment| match moment {
            Moment::Command(line) if line.starts_with("RCPT") && asked.fetch_add(1, Ordering::SeqCst) == 0 => {
                Act::Say("550 5.1.1 no such user")
            }
            _ => Act::Usual,
        };
        let server = Server::start(Setup { script: Some(Box::new(script)), extensions, tls: None }).await;
        let pool = pool(target(&server, MailSecurity::Plain));
        assert_eq!(classify(&send(&pool).await), Class::Gone);
        assert_eq!(classify(&send(&pool).await), Class::Sent);
        assert_eq!(server.look(|seen| seen.connections), 1);
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_says_where() {
    let (_, class) =
        class_when(|moment| if matches!(moment, Moment::Connected(_)) { Act::Close } else { Act::Usual }).await;
    assert_eq!(class, Class::Away);
    let (_, class) =
        class_when(|moment| if command(moment, "RCPT") { Act::SayAndClose("421 bye") } else { Act::Usual }).await;
    assert_eq!(class, Class::Away);
    let (reply, class) = class_when(|moment| if *moment == Moment::InBody { Act::Close } else { Act::Usual }).await;
    assert!(matches!(reply, Reply::Broken { phase: Phase::Body, .. }), "{reply}");
    assert_eq!(class, Class::Later);
    let (reply, _) = class_when(|moment| if *moment == Moment::Received(0) { Act::Close } else { Act::Usual }).await;
    assert!(matches!(reply, Reply::Broken { phase: Phase::Body, .. }), "{reply}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_in_time() {
    for verb in ["EHLO", "MAIL", "RCPT", "DATA"] {
        let (reply, class) = class_when(move |moment| if command(moment, verb) { Act::Hang } else { Act::Usual }).await;
        assert!(matches!(&reply, Reply::Broken { text, .. } if text == "no answer in time"), "{reply}");
        assert_eq!(class, Class::Away);
    }
    let (reply, class) =
        class_when(|moment| if matches!(moment, Moment::Connected(_)) { Act::Hang } else { Act::Usual }).await;
    assert!(matches!(reply, Reply::Broken { phase: Phase::Greeting, .. }), "{reply}");
    assert_eq!(class, Class::Away);
}

#[tokio::test]
async fn nobody_listening_is_a_server_that_is_away() {
    let gone = Server::good().await.address;
    let server = Server::good().await;
    let mut target = target(&server, MailSecurity::Plain);
    // Port 1 of a loopback address that nobody uses.
    target.host = "127.0.0.254".to_owned();
    target.port = 1;
    let reply = send(&pool(target)).await;
    assert!(matches!(reply, Reply::Broken { phase: Phase::Connect, .. }), "{reply} {gone}");
}

#[tokio::test]
async fn garbage_and_endless_answers_are_survived() {
    static ENDLESS: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "x".repeat(2 << 20));
    for said in ["hello", "", "999 what", "250-a\r\n250-   \r\n250 b", ENDLESS.as_str()] {
        let (reply, class) =
            class_when(move |moment| if matches!(moment, Moment::Connected(_)) { Act::Say(said) } else { Act::Usual })
                .await;
        assert!(!matches!(reply, Reply::Accepted { .. }) || said.starts_with("250"), "{reply}");
        assert!(matches!(class, Class::Away | Class::Ours | Class::Sent), "{reply}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_no_attempt() {
    let script = |moment: &Moment| {
        if matches!(moment, Moment::Received(0)) {
            Act::SayAndClose("250 2.0.0 taken, and good-bye")
        } else {
            Act::Usual
        }
    };
    let server = Server::scripted(script).await;
    let pool = pool(target(&server, MailSecurity::Plain));
    assert!(matches!(send(&pool).await, Reply::Accepted { .. }));
    assert!(matches!(send(&pool).await, Reply::Accepted { .. }));
    assert_eq!(server.look(|seen| (seen.connections, seen.mails.len())), (2, 2));
}

#[tokio::test]
async fn a_kept_connection_on_which_the_server_lost_patience_is_no_attempt() {
    for extensions in [vec![], vec!["PIPELINING"]] {
        let script = |moment: &Moment| match moment {
            // What Postfix says to who is silent for too long, and nobody hears before the next message.
            Moment::Received(0) => {
                Act::SayAndClose("250 2.0.0 taken\r\n421 4.4.2 mail.example.org Error: timeout exceeded")
            }
            _ => Act::Usual,
        };
        let setup = Setup { script: Some(Box::new(script)), extensions, ..Setup::default() };
        let server = Server::start(setup).await;
        let pool = pool(target(&server, MailSecurity::Plain));
        assert!(matches!(send(&pool).await, Reply::Accepted { .. }));
        let second = send(&pool).await;
        assert!(matches!(second, Reply::Accepted { .. }), "{second:?}");
        assert_eq!(server.look(|seen| (seen.connections, seen.mails.len())), (2, 2));
    }
}

/// A clock that is set by hand.
#[derive(Default)]
struct Hands(AtomicUsize);

impl Clock for Hands {
    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
    fn elapsed(&self) -> Elapsed {
        Elapsed(Duration::from_secs(self.0.load(Ordering::SeqCst) as u64))
    }
}

#[tokio::test]
async fn a_connection_that_rested_too_long_or_carried_a_hundred_is_not_used_again() {
    let server = Server::good().await;
    let clock = Arc::new(Hands::default());
    let pool = Smtp::new(target(&server, MailSecurity::Plain), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    send(&pool).await;
    clock.0.store(9, Ordering::SeqCst);
    assert!(pool.tidy().await);
    send(&pool).await;
    assert_eq!(server.look(|seen| seen.connections), 1);
    clock.0.store(20, Ordering::SeqCst);
    send(&pool).await;
    assert_eq!(server.look(|seen| seen.connections), 2);
    clock.0.store(40, Ordering::SeqCst);
    assert!(!pool.tidy().await);
    server.until(|seen| seen.commands.iter().any(|command| command == "QUIT")).await;
    for _ in 0..101 {
        send(&pool).await;
    }
    assert_eq!(server.look(|seen| seen.connections), 4);
}

#[tokio::test]
async fn what_was_asked_to_be_encrypted_never_leaves_in_the_clear() {
    let server = Server::good().await;
    let mut plain = target(&server, MailSecurity::StartTls);
    plain.credentials = Some(("status".to_owned(), Secret::new("hunter2")));
    let reply = send(&pool(plain)).await;
    assert_eq!(classify(&reply), Class::Ours);
    assert!(reply.to_string().contains("STARTTLS"), "{reply}");
    assert!(server.look(|seen| seen.commands.iter().all(|command| command.starts_with("EHLO") || command == "QUIT")));
}

#[tokio::test]
async fn starttls_and_tls_carry_the_message_and_the_password() {
    for implicit in [false, true] {
        let (certificate, acceptor) = tls(&["localhost"]);
        let server = Server::start(Setup {
            script: None,
            extensions: vec!["PIPELINING", "AUTH PLAIN LOGIN"],
            tls: Some((acceptor, implicit)),
        })
        .await;
        let mut target = target(&server, if implicit { MailSecurity::Tls } else { MailSecurity::StartTls });
        target.host = "localhost".to_owned();
        target.extra_roots = vec![certificate];
        target.timeouts.command = Duration::from_secs(5);
        target.credentials = Some(("status".to_owned(), Secret::new("hunter2")));
        let pool = pool(target);
        let reply = send(&pool).await;
        assert!(matches!(reply, Reply::Accepted { .. }), "{reply}");
        assert!(matches!(send(&pool).await, Reply::Accepted { .. }));
        assert!(server.taken().iter().all(|mail| mail.encrypted));
        let auths =
            server.look(|seen| seen.commands.iter().filter(|command| command.starts_with("AUTH PLAIN")).count());
        assert_eq!(auths, 1);
        let dialogue = pool.try_out(&address("status@example.org"), &address("ann@example.net"), MESSAGE).await;
        let expected = if implicit { Encryption::Tls13 } else { Encryption::StartTls };
        assert_eq!((dialogue.peer, dialogue.encryption), (Some(server.address), Some(expected)));
        assert!(dialogue.is_logged_in && matches!(dialogue.reply, Reply::Accepted { .. }), "{dialogue:?}");
    }
}

#[tokio::test]
async fn a_message_that_is_tried_out_says_how_far_it_came() {
    let script = |moment: &Moment| if command(moment, "AUTH") { Act::Say("535 5.7.8 no") } else { Act::Usual };
    let setup = Setup { script: Some(Box::new(script)), extensions: vec!["AUTH PLAIN"], tls: None };
    let server = Server::start(setup).await;
    let credentials = Some(("status".to_owned(), Secret::new("hunter2")));
    let pool = pool(Target { credentials, ..target(&server, MailSecurity::Plain) });
    let dialogue = pool.try_out(&address("status@example.org"), &address("ann@example.net"), MESSAGE).await;
    assert_eq!((dialogue.peer, dialogue.encryption, dialogue.is_logged_in), (Some(server.address), None, false));
    assert!(matches!(dialogue.reply, Reply::Refused { phase: Phase::Auth, code: 535, .. }), "{dialogue:?}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_or_for_another_name_is_refused() {
    for (names, trusted) in [(["localhost"], false), (["other.example"], true)] {
        for implicit in [false, true] {
            let (certificate, acceptor) = tls(&names);
            let server = Server::start(Setup { tls: Some((acceptor, implicit)), ..Setup::default() }).await;
            let mut target = target(&server, if implicit { MailSecurity::Tls } else { MailSecurity::StartTls });
            target.host = "localhost".to_owned();
            target.timeouts.command = Duration::from_secs(5);
            target.extra_roots = if trusted { vec![certificate] } else { Vec::new() };
            let reply = send(&pool(target)).await;
            assert!(matches!(reply, Reply::Broken { phase: Phase::Tls, .. }), "{reply}");
            assert!(server.look(|seen| !seen.commands.iter().any(|command| command.starts_with("MAIL"))));
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_our_own_trouble() {
    let script = |moment: &Moment| if command(moment, "AUTH") { Act::Say("535 5.7.8 no") } else { Act::Usual };
    let server =
        Server::start(Setup { script: Some(Box::new(script)), extensions: vec!["AUTH PLAIN"], tls: None }).await;
    let mut target = target(&server, MailSecurity::Plain);
    target.credentials = Some(("status".to_owned(), Secret::new("hunter2")));
    let reply = send(&pool(target)).await;
    assert_eq!(classify(&reply), Class::Ours);
    assert!(
        !reply.to_string().contains("hunter2") && matches!(reply, Reply::Refused { phase: Phase::Auth, code: 535, .. })
    );
}
