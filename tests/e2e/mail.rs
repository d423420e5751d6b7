//! Telling by mail: many people, crashes in the middle, servers that fail, and encryption.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use super::{SOON, await_status, write_config};
use crate::skip;
use crate::support::{
    daemon::{self, Daemon, free_address, ok, wait_for},
    postfix::{self, Mail, Postfix, Sink},
    proxy::Proxy,
    target::Target,
};

/// A daemon that watches one service and tells people through a mail server at `relay`.
pub struct Scene {
    folder: tempfile::TempDir,
    pub listen: SocketAddr,
    target: Target,
}

impl Scene {
    /// With `people` subscribers; `email` are further lines of `[email]`.
    pub fn new(people: usize, smtp: &str, email: &str) -> Self {
        let folder = daemon::folder();
        let (listen, target) = (free_address(), Target::start());
        let email = format!("[email]\nfrom = \"Example Status <status@example.org>\"\nsmtp = \"{smtp}\"\n{email}");
        let check = format!("http = \"http://{}/\"", target.address);
        write_config(folder.path(), listen, &email, &[("api", check)]);
        let addresses: String = (0..people).map(|n| format!("{}\n", address(n))).collect();
        fs::write(folder.path().join("people.csv"), format!("email\n{addresses}")).unwrap();
        ok(folder.path(), &["subscriber", "import", "people.csv"]);
        Self { folder, listen, target }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn start(&self) -> Daemon {
        let daemon = Daemon::start(self.path(), self.listen);
        await_status(self.listen, "api", "operational");
        daemon
    }

    pub fn fails(&self) {
        self.target.answers(503);
        await_status(self.listen, "api", "major_outage");
    }

    pub fn recovers(&self) {
        self.target.answers(200);
        await_status(self.listen, "api", "operational");
    }

    /// A number that the store knows.
    pub fn count(&self, sql: &str) -> usize {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = rusqlite::Connection::open_with_flags(self.path().join("watchbell.db"), flags).unwrap();
        let count: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
        usize::try_from(count).unwrap()
    }

    /// Waits until so many mails are written down as sent.
    pub fn await_sent(&self, wanted: usize, limit: Duration) {
        let began = Instant::now();
        let sent = || self.count("SELECT count(*) FROM delivery WHERE state = 'sent'");
        wait_for(&format!("{wanted} mails sent"), limit, || (sent() >= wanted).then_some(()));
        assert_eq!(sent(), wanted, "after {:?}", began.elapsed());
    }
}

fn address(n: usize) -> String {
    format!("person-{n}@example.org")
}

/// The subjects and ids of what each person got, oldest first.
fn by_person(mails: &[Mail]) -> BTreeMap<String, Vec<(String, String)>> {
    let mut people: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for mail in mails {
        let to = mail.header("X-Rcpt-Args").unwrap().trim_matches(['<', '>']).to_owned();
        assert_eq!(mail.header("To").unwrap().trim_matches(['<', '>']), to, "the envelope and the letter agree");
        let (subject, id) = (mail.header("Subject").unwrap(), mail.header("Message-ID").unwrap());
        people.entry(to).or_default().push((subject, id));
    }
    people
}

/// Everyone got one mail of the outage and one of its end, in whatever copies.
fn assert_everyone_was_told(mails: &[Mail], people: usize) -> usize {
    let told = by_person(mails);
    assert_eq!(told.len(), people);
    let mut copies = 0;
    for (person, mails) in told {
        for subject in ["[Example Status] Outage: Api", "[Example Status] Resolved: Api (was down "] {
            let ids: Vec<&String> =
                mails.iter().filter(|(found, _)| found.starts_with(subject)).map(|(_, id)| id).collect();
            assert!(!ids.is_empty(), "{person} did not get `{subject}`: {mails:?}");
            assert!(ids.iter().all(|id| *id == ids[0]), "copies have one id: {person}: {mails:?}");
            copies += ids.len() - 1;
        }
    }
    copies
}

#[test]
fn three_hundred_people_hear_of_an_outage_and_of_its_end_once_each() {
    let Some(_) = Sink::installed() else { skip!("smtp-sink is not installed") };
    let sinks = daemon::folder();
    let sink = Sink::start(sinks.path(), &[]);
    let proxy = Proxy::to(sink.address);
    let scene = Scene::new(300, &format!("smtp://{}", proxy.address), "connections = 3");
    let _daemon = scene.start();
    scene.fails();
    scene.await_sent(300, SOON);
    scene.recovers();
    scene.await_sent(600, SOON);
    assert_eq!(assert_everyone_was_told(&sink.mails(), 300), 0, "no copies");
    assert_eq!(sink.mails().len(), 600);
    assert!((2..=3).contains(&proxy.most()), "{} connections at once", proxy.most());
}

#[test]
fn a_crash_in_the_middle_of_telling_misses_nobody() {
    let Some(_) = Sink::installed() else { skip!("smtp-sink is not installed") };
    let sinks = daemon::folder();
    let sink = Sink::start(sinks.path(), &[]);
    let proxy = Proxy::slow(sink.address, Duration::from_millis(5));
    let scene = Scene::new(300, &format!("smtp://{}", proxy.address), "connections = 4");
    let mut daemon = scene.start();
    scene.fails();
    let mut kills = 0;
    for part in [60, 150] {
        wait_for("a part of the mails", SOON, || (sink.count() >= part).then_some(()));
        daemon.kill();
        kills += 1;
        assert!(sink.count() < 300, "the kill came too late to mean anything");
        daemon = Daemon::start(scene.path(), scene.listen);
    }
    scene.await_sent(300, SOON);
    scene.recovers();
    scene.await_sent(600, SOON);
    let copies = assert_everyone_was_told(&sink.mails(), 300);
    assert!(copies <= 8 * 4 * kills, "{copies} copies after {kills} kills");
    drop(daemon);
}

#[test]
fn a_server_that_fails_at_any_stage_delays_and_loses_nothing() {
    let Some(_) = Sink::installed() else { skip!("smtp-sink is not installed") };
    // Hanging up after a command, a goodbye in its place, and refusals for now.
    let faults = [["-q", "MAIL"], ["-q", "DATA"], ["-Q", "RCPT"], ["-r", "MAIL"], ["-r", "."], ["-Q", "CONNECT"]];
    std::thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || survive(&fault));
        }
    });
}

fn survive(fault: &[&str]) {
    let (bad, good) = (daemon::folder(), daemon::folder());
    let faulty = Sink::start(bad.path(), fault);
    let proxy = Proxy::to(faulty.address);
    let scene = Scene::new(5, &format!("smtp://{}", proxy.address), "connections = 2");
    let _daemon = scene.start();
    scene.fails();
    wait_for("a first try", SOON, || proxy.most().checked_sub(1));
    wait_for("a try that failed", SOON, || {
        let tried =
            scene.count("SELECT count(*) FROM delivery WHERE state <> 'sent' AND (attempts > 0 OR reply <> '')");
        (tried > 0 || proxy.said().matches("EHLO").count() > 1 || fault[1] == "CONNECT").then_some(())
    });
    let sink = Sink::start(good.path(), &[]);
    proxy.lead_to(Some(sink.address));
    drop(faulty);
    scene.await_sent(5, SOON);
    scene.recovers();
    scene.await_sent(10, SOON);
    assert_eq!(assert_everyone_was_told(&sink.mails(), 5), 0, "{fault:?}");
}

#[test]
fn a_server_that_is_away_at_first_costs_nobody_a_try() {
    let Some(_) = Sink::installed() else { skip!("smtp-sink is not installed") };
    let relay = free_address();
    let scene = Scene::new(20, &format!("smtp://{relay}"), "");
    let daemon = scene.start();
    scene.fails();
    wait_for("a complaint", SOON, || daemon.log().contains("mail").then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(scene.count("SELECT coalesce(max(attempts), 0) FROM delivery"), 0, "{}", daemon.log());
    let sinks = daemon::folder();
    let sink = Sink::start(sinks.path(), &[]);
    let _gate = Proxy::at(relay, sink.address);
    scene.await_sent(20, SOON);
    scene.recovers();
    scene.await_sent(40, SOON);
    assert_eq!(assert_everyone_was_told(&sink.mails(), 20), 0);
}

#[test]
fn where_tls_was_asked_for_and_is_not_offered_nothing_is_said_in_clear() {
    let Some(_) = Sink::installed() else { skip!("smtp-sink is not installed") };
    let sinks = daemon::folder();
    let sink = Sink::start(sinks.path(), &[]);
    let proxy = Proxy::to(sink.address);
    let smtp = format!("smtp+starttls://{}", proxy.address);
    let scene = Scene::new(3, &smtp, "username = \"status\"\npassword = \"secret-in-clear\"");
    let daemon = scene.start();
    scene.fails();
    wait_for("a few tries", SOON, || (proxy.said().matches("EHLO").count() >= 2).then_some(()));
    let said = proxy.said();
    for word in ["MAIL", "RCPT", "AUTH", "person-", "secret", "c2VjcmV0"] {
        assert!(!said.contains(word), "{said}");
    }
    assert_eq!(scene.count("SELECT count(*) FROM delivery WHERE state IN ('sent', 'failed', 'dropped')"), 0);
    wait_for("the reason for the operator to see", SOON, || daemon.log().contains("STARTTLS").then_some(()));
}

#[test]
fn mail_goes_through_a_real_server_encrypted() {
    if let Err(why) = postfix::installed() {
        skip!("{why}");
    }
    let folder = daemon::folder();
    let postfix = Postfix::start_with_tls(folder.path());
    let ways = [("smtp+starttls", postfix.address), ("smtps", postfix.wrapped.unwrap())];
    for (n, (scheme, address)) in ways.into_iter().enumerate() {
        let smtp = format!("{scheme}://localhost:{}", address.port());
        let scene = Scene::new(2, &smtp, "");
        // A certificate that nobody vouches for is no server to talk to.
        let daemon = scene.start();
        scene.fails();
        wait_for("a complaint", SOON, || daemon.log().to_lowercase().contains("certificate").then_some(()));
        assert_eq!(postfix.mails().len(), 4 * n);
        drop(daemon);
        let vouched = folder.path().join("postfix/cert.pem");
        let daemon = Daemon::start_with(scene.path(), scene.listen, &[("SSL_CERT_FILE", vouched.as_os_str())]);
        scene.await_sent(2, SOON);
        scene.recovers();
        scene.await_sent(4, SOON);
        let mails = postfix.wait_for_mails(4 * (n + 1), SOON);
        let received = mails.last().unwrap().header("Received").unwrap();
        assert!(received.contains("ESMTPS"), "{received}");
        drop(daemon);
    }
}
