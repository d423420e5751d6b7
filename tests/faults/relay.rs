//! The mail server as the program meets it: connections that break off, and one that takes a byte
//! now and then.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{SOON, Scene, wait_for};
use crate::support::{
    daemon::ok,
    proxy::{End, Proxy, Spoiled, Way},
    smtp::{Mail, Server},
    target::Target,
};

const PEOPLE: [&str; 4] = ["ann@example.org", "bob@example.org", "cleo@example.org", "dan@example.org"];

fn scene(target: &Target, proxy: &Proxy, connections: usize) -> Scene {
    let extra = format!(
        "\n[email]\nfrom = \"status@example.org\"\nsmtp = \"smtp://{}\"\nconnections = {connections}\n",
        proxy.address
    );
    let scene = Scene::new(&extra, &[("api", format!("http = \"http://{}/\"", target.address))]);
    for person in PEOPLE {
        ok(scene.path(), &["subscriber", "add", person]);
    }
    scene
}

fn header<'a>(mail: &'a Mail, name: &str) -> &'a str {
    mail.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

/// What each person heard, copies of one message counted as one.
fn heard(mails: &[Mail]) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for mail in mails {
        let heard = told.entry(mail.to.clone()).or_default();
        let (subject, id) = (header(mail, "Subject").to_owned(), header(mail, "Message-ID").to_owned());
        if heard.iter().all(|(_, known)| *known != id) {
            heard.push((subject, id));
        }
    }
    told.into_iter().map(|(to, heard)| (to, heard.into_iter().map(|(subject, _)| subject).collect())).collect()
}

#[test]
fn connections_to_the_mail_server_that_break_off_lose_nobody_and_repeat_only_what_was_in_doubt() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(Server::good());
    let proxy = Proxy::to(server.address);
    let target = Target::start();
    let scene = scene(&target, &proxy, 1);
    let daemon = scene.start();
    scene.await_status("api", "operational");
    // In the greeting, the sender, the message; before the answer to the message, and within it.
    let cuts = [
        Spoiled::asking(0, End::Reset),
        Spoiled::asking(45, End::Close),
        Spoiled::asking(1500, End::Reset),
        Spoiled::answering(61, End::Close),
        Spoiled::answering(70, End::Reset),
    ];
    // After each a connection that is as it should be.
    proxy.spoil_next(cuts.into_iter().flat_map(|cut| [cut, Spoiled::asking(20_000, End::Close)]));
    target.answers(503);
    scene.await_status("api", "major_outage");
    wait_for("everyone told", SOON, || (heard(&server.taken()).len() == PEOPLE.len()).then_some(()));
    target.answers(200);
    let all = || heard(&server.taken()).values().all(|heard| heard.len() == 2);
    wait_for("everyone told of the end", SOON * 2, || all().then_some(()));
    wait_for("the outbox to be empty", SOON, || (scene.metric("watchbell_outbox_pending") < 0.5).then_some(()));
    for (person, subjects) in heard(&server.taken()) {
        let [first, second] = &subjects[..] else { panic!("{person}: {subjects:?}") };
        assert!(first.contains("Outage: Api") && second.contains("Resolved: Api"), "{person}: {subjects:?}");
    }
    let copies = server.taken().len() - 2 * PEOPLE.len();
    assert!(copies <= 2, "{copies} copies, of two messages in doubt");
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_mail_server_that_takes_a_byte_now_and_then_holds_up_only_mail() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(Server::good());
    let proxy = Proxy::to(server.address);
    let crawl = Way { pace: Some(Duration::from_millis(200)), ..Way::default() };
    proxy.spoil(Spoiled { asked: crawl, answered: crawl });
    let target = Target::start();
    let scene = scene(&target, &proxy, 2);
    let daemon = scene.start();
    scene.await_status("api", "operational");
    target.answers(503);
    scene.await_status("api", "major_outage");
    wait_for("mail to crawl", SOON, || (proxy.passed().0 > 5).then_some(()));
    let began = Instant::now();
    target.answers(200);
    scene.await_status("api", "operational");
    scene.await_probes(10.0);
    assert!(began.elapsed() < SOON && server.taken().is_empty(), "while no mail has left");
    let (status, took) = daemon.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status:?} {took:?}");
    // The next start finds everything still to be told, in one message.
    proxy.spoil(Spoiled::default());
    let daemon = scene.start();
    wait_for("everyone told", SOON, || (heard(&server.taken()).len() == PEOPLE.len()).then_some(()));
    wait_for("the outbox to be empty", SOON, || (scene.metric("watchbell_outbox_pending") < 0.5).then_some(()));
    assert!(daemon.terminate().0.success());
}
