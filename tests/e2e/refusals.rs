//! A real Postfix that refuses, for now or for good, at every stage of the dialogue, and one that
//! wants a password.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{SOON, mail::Scene};
use crate::skip;
use crate::support::{
    daemon::{self, Daemon, wait_for},
    postfix::{self, Asked, Postfix},
    skip::program,
};

const GOOD: &str = "DUNNO";
const PAUSES: &str = "SELECT count(*) FROM meta WHERE key = 'mail_pause'";

/// How Postfix answers at one stage, so many times. Else it takes everything.
#[derive(Clone, Debug, Default)]
struct Refusal {
    stage: &'static str,
    answer: &'static str,
    times: usize,
}

/// Decides as the last refusal says that was put there.
fn answer(refusal: &Mutex<Refusal>, asked: &Asked) -> String {
    let mut refusal = refusal.lock().unwrap();
    if refusal.times == 0 || asked["protocol_state"] != refusal.stage {
        return GOOD.to_owned();
    }
    refusal.times -= 1;
    refusal.answer.to_owned()
}

/// A Postfix, and what it refuses.
fn refusing(folder: &Path) -> (Postfix, Arc<Mutex<Refusal>>) {
    let refusal = Arc::new(Mutex::new(Refusal::default()));
    let decides = Arc::clone(&refusal);
    (Postfix::start_deciding(folder, move |asked| answer(&decides, asked)), refusal)
}

/// The subjects of what each person got, oldest first.
fn heard(postfix: &Postfix) -> BTreeMap<String, Vec<String>> {
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mail in postfix.mails() {
        let subject = mail.header("Subject").unwrap().replace("[Example Status] ", "");
        heard.entry(mail.recipient()).or_default().push(subject.split(" (").next().unwrap().to_owned());
    }
    heard
}

#[test]
fn a_real_server_that_refuses_for_now_at_any_stage_delays_everyone_and_loses_nobody() {
    if let Err(why) = postfix::installed() {
        skip!("{why}");
    }
    let folder = daemon::folder();
    let (postfix, refusal) = refusing(folder.path());
    let scene = Scene::new(3, &format!("smtp://{}", postfix.address), "connections = 2");
    let _daemon = scene.start();
    let stages = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE"];
    for (n, stage) in stages.into_iter().enumerate() {
        // A connection that is kept would pass the first stages by.
        wait_for("the end of all dialogues", SOON, || postfix.is_idle().then_some(()));
        *refusal.lock().unwrap() = Refusal { stage, answer: "450 4.3.2 not now", times: 2 };
        // Down with the first, up with the second, and so on.
        if n % 2 == 0 {
            scene.fails();
        } else {
            scene.recovers();
        }
        scene.await_sent(3 * (n + 1), SOON);
        assert_eq!(refusal.lock().unwrap().times, 0, "{stage}: Postfix refused as it was told to");
    }
    postfix.wait_for_mails(3 * stages.len(), SOON);
    let heard = heard(&postfix);
    assert_eq!(heard.len(), 3);
    for (person, subjects) in heard {
        assert_eq!(subjects, ["Outage: Api", "Resolved: Api"].repeat(3), "{person}");
    }
}

#[test]
fn a_real_server_that_greylists_delays_strangers_and_a_mailbox_that_is_not_there_costs_nobody_else() {
    if let Err(why) = postfix::installed() {
        skip!("{why}");
    }
    let folder = daemon::folder();
    let first_seen: Mutex<BTreeMap<String, Instant>> = Mutex::default();
    let postfix = Postfix::start_deciding(folder.path(), move |asked| {
        let recipient = asked.get("recipient").cloned().unwrap_or_default();
        if asked["protocol_state"] != "RCPT" {
            return GOOD.to_owned();
        }
        if recipient == "person-1@example.org" {
            return "550 5.1.1 no such user here".to_owned();
        }
        let since = *first_seen.lock().unwrap().entry(recipient).or_insert_with(Instant::now);
        if since.elapsed() < Duration::from_secs(2) { "450 4.2.0 greylisted" } else { GOOD }.to_owned()
    });
    let scene = Scene::new(6, &format!("smtp://{}", postfix.address), "connections = 2");
    let _daemon = scene.start();
    scene.fails();
    // It is over before anybody may be told that it began.
    scene.recovers();
    let suspended = || scene.count("SELECT count(*) FROM subscriber WHERE state = 'suspended'");
    wait_for("what is settled", Duration::from_secs(100), || {
        (suspended() == 1 && scene.count("SELECT count(*) FROM delivery WHERE state IN ('queued', 'sending')") == 0)
            .then_some(())
    });
    let told = postfix.wait_for_mails(5, SOON).len();
    let heard = heard(&postfix);
    assert_eq!(heard.len(), 5, "everybody but the one who is not there: {heard:?}");
    assert!(!heard.contains_key("person-1@example.org"));
    for (person, subjects) in &heard {
        let (last, before) = subjects.split_last().unwrap();
        // As one message if both were due, else in order.
        assert!(last == "Resolved: Api" || last == "Was down: Api" || subjects.len() == 1, "{person}: {subjects:?}");
        assert!(before.is_empty() || before == ["Outage: Api"], "{person}: {subjects:?}");
    }
    assert!(told <= 10);
}

#[test]
fn a_real_server_that_refuses_us_for_good_pauses_mail_and_suspends_nobody() {
    if let Err(why) = postfix::installed() {
        skip!("{why}");
    }
    let folder = daemon::folder();
    let (postfix, refusal) = refusing(folder.path());
    let people = 12;
    let scene = Scene::new(people, &format!("smtp://{}", postfix.address), "connections = 2");
    let mut daemon = scene.start();
    for (n, stage) in ["CONNECT", "MAIL", "RCPT", "END-OF-MESSAGE"].into_iter().enumerate() {
        wait_for("the end of all dialogues", SOON, || postfix.is_idle().then_some(()));
        *refusal.lock().unwrap() =
            Refusal { stage, answer: "554 5.7.1 your domain is not wanted here", times: usize::MAX };
        if n % 2 == 0 {
            scene.fails();
        } else {
            scene.recovers();
        }
        wait_for("a pause", SOON, || (scene.count(PAUSES) == 1).then_some(()));
        let tried = usize::MAX - refusal.lock().unwrap().times;
        assert!(tried <= people, "{stage}: {tried} tries");
        assert_eq!(scene.count("SELECT count(*) FROM subscriber WHERE state = 'suspended'"), 0, "{stage}");
        assert_eq!(scene.count("SELECT count(*) FROM delivery WHERE state = 'failed'"), 0, "{stage}");
        // Whoever mended it need not wait for the next try.
        daemon.kill();
        *refusal.lock().unwrap() = Refusal::default();
        daemon = Daemon::start(scene.path(), scene.listen);
        scene.await_sent(people * (n + 1), SOON);
    }
    postfix.wait_for_mails(4 * people, SOON);
    let heard = heard(&postfix);
    assert_eq!(heard.len(), people);
    for (person, subjects) in heard {
        assert_eq!(subjects, ["Outage: Api", "Resolved: Api"].repeat(2), "{person}");
    }
}

#[test]
fn a_real_server_that_wants_a_password_gets_it_encrypted_and_a_wrong_one_costs_nobody_a_mail() {
    if let Err(why) = postfix::installed() {
        skip!("{why}");
    }
    if program("saslpasswd2").is_none() {
        skip!("saslpasswd2 is not installed");
    }
    let folder = daemon::folder();
    let postfix = Postfix::start_with_login(folder.path(), "status", "right one");
    let smtp = format!("smtp+starttls://localhost:{}", postfix.address.port());
    let login = |password: &str| format!("username = \"status@example.org\"\npassword = \"{password}\"");
    let scene = Scene::new(3, &smtp, &login("a wrong one"));
    let vouched = folder.path().join("postfix/cert.pem");
    let daemon = Daemon::start_with(scene.path(), scene.listen, &[("SSL_CERT_FILE", vouched.as_os_str())]);
    super::await_status(scene.listen, "api", "operational");
    scene.fails();
    wait_for("a pause", SOON, || (scene.count(PAUSES) == 1).then_some(()));
    assert_eq!(scene.count("SELECT coalesce(max(attempts), 0) FROM delivery"), 0, "{}", daemon.log());
    assert!(!daemon.log().contains("a wrong one"), "{}", daemon.log());
    let config = scene.path().join("watchbell.toml");
    let mended = fs::read_to_string(&config).unwrap().replace("a wrong one", "right one");
    fs::write(&config, mended).unwrap();
    scene.await_sent(3, SOON);
    scene.recovers();
    scene.await_sent(6, SOON);
    let mails = postfix.wait_for_mails(6, SOON);
    let received = mails[0].header("Received").unwrap();
    assert!(received.contains("ESMTPSA"), "by TLS and with a login: {received}");
}
