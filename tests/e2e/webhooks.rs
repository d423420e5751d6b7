//! Webhooks as their owners meet them: the program itself in a network of its own, and receivers at an
//! address that looks public to it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use watchbell::notify::webhook::sign;

use super::{SOON, await_status, write_config};
use crate::{
    skip,
    support::{
        daemon::{Daemon, folder, ok, wait_for},
        http,
        netns::Network,
        receiver::{Receiver, Request, status},
        target::Target,
    },
};

const FORM: &str = "application/x-www-form-urlencoded";
/// Nobody special's; it is ours for the length of the test.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 20, 7, 1);

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Whether the owner of `secret` believes it.
fn is_signed(request: &Request, secret: &str) -> bool {
    let secret: [u8; 32] = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap().try_into().unwrap();
    let at = Timestamp::from_second(request.header("webhook-timestamp").parse().unwrap()).unwrap();
    let expected = sign::signature(&secret, request.header("webhook-id"), at, &request.body);
    request.header("webhook-signature") == expected
}

/// The path of a URL of ours.
fn path(url: &serde_json::Value) -> String {
    format!("/{}", url.as_str().unwrap().splitn(4, '/').last().unwrap())
}

fn files_below(folder: &Path, found: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.extend(fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_webhook_asks_is_asked_hears_and_leaves_and_nothing_inside_is_called() {
    let network = match Network::new() {
        Ok(network) => network,
        Err(why) => skip!("{why}"),
    };
    network.also_here(PUBLIC);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let receiver = runtime.block_on(Receiver::at(PUBLIC, |_| Some(status(200))));
    let inner = runtime.block_on(Receiver::at(network.host, |_| Some(status(200))));
    let folder = folder();
    let listen = SocketAddr::from((network.there(), 8080));
    let api = Target::at(network.host.into());
    let extra = "[email]\nfrom = \"status@example.org\"\nsmtp = \"dir:mails\"\n[subscriptions]\nwebhooks = true\n";
    write_config(folder.path(), listen, extra, &[("api", format!("http = \"http://{}/\"", api.address))]);
    let roots = pem(&receiver.certificate) + &pem(&inner.certificate);
    fs::write(folder.path().join("roots.pem"), roots).unwrap();
    let names = format!("127.0.0.1 localhost\n{} rebound.example.org\n", network.host);
    fs::write(folder.path().join("hosts"), names).unwrap();
    let shell = "mount --bind hosts /etc/hosts && exec \"$@\"";
    let mut under = network.inside().to_vec();
    under.extend(["unshare", "--mount", "sh", "-c", shell, "sh"]);
    let roots = folder.path().join("roots.pem");
    let daemon = Daemon::spawn_under(folder.path(), &under, &["run"], &[("SSL_CERT_FILE", roots.as_os_str())]);
    await_status(listen, "api", "operational");

    // The form, and what it does not take.
    let page = http::get(listen, "/subscribe/").unwrap().text();
    assert!(page.contains("name=\"webhook\""), "{page}");
    let ask = |url: &str| http::post(listen, "/subscribe", FORM, &format!("webhook={url}&service=api")).unwrap();
    for url in
        [format!("https://{}/x", inner.address), "https://127.0.0.1:8443/".to_owned(), "http://x.org/".to_owned()]
    {
        assert_eq!(ask(&url).status, 400, "{url}");
    }
    // A name that leads inside can only be seen to when it is called.
    let rebound = format!("https://rebound.example.org:{}/x", inner.address.port());
    let (asked, also) = (ask(receiver.url("/secret-path").as_str()), ask(&rebound));
    assert_eq!((asked.status, also.status), (200, 200));
    assert_eq!(asked.body, also.body);

    // Somebody opens the link: looking changes nothing, the button does.
    let [asks] = runtime.block_on(receiver.awaited(1)).try_into().unwrap();
    assert_eq!(asks.json()["type"], "subscription.confirm");
    assert_eq!(asks.json()["data"]["subscription"]["services"], serde_json::json!(["api"]));
    let confirm = path(&asks.json()["data"]["confirm_url"]);
    for _ in 0..5 {
        assert_eq!(http::get(listen, &confirm).unwrap().status, 200);
    }
    let list = || ok(folder.path(), &["subscriber", "list", "--json", "--state", "confirmed"]);
    assert_eq!(list().trim(), "[]");
    let page = http::post(listen, &confirm, FORM, "").unwrap().text();
    let secret = page.split_once("<code>").unwrap().1.split('<').next().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{page}");
    assert!(list().contains("/secret-path"));
    let manage = page.split_once("../manage/").unwrap().1.split('"').next().unwrap();
    let manage = http::get(listen, &format!("/manage/{manage}")).unwrap().text();
    assert!(manage.contains(&secret) && manage.contains("value=\"api\" checked>"), "{manage}");

    // News.
    api.answers(503);
    let said = runtime.block_on(receiver.awaited(3));
    assert_eq!(said[1].json()["type"], "subscription.welcome");
    assert_eq!(said[2].json()["type"], "incident.opened");
    assert_eq!(said[2].json()["data"]["incident"]["services"][0]["status"], "major_outage");
    api.answers(200);
    let said = runtime.block_on(receiver.awaited(4));
    assert_eq!(said[3].json()["type"], "incident.resolved");
    assert!(said.iter().all(|request| is_signed(request, &secret)));
    assert!(!is_signed(&said[0], &sign::shown(&[0; 32])));
    let ids: std::collections::BTreeSet<_> = said.iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!(ids.len(), 4);

    // It was tried to reach the inner one, and it was not.
    wait_for("two tries of the confirmation", SOON, || {
        let queued = ok(folder.path(), &["subscriber", "list", "--json", "--state", "pending"]);
        queued.contains("rebound").then_some(())
    });
    assert_eq!(inner.connections(), 0);

    // Leaving; nothing says where it was called.
    let leave = path(&said[3].json()["data"]["subscription"]["unsubscribe_url"]);
    assert_eq!(http::post(listen, &leave, FORM, "List-Unsubscribe=One-Click").unwrap().status, 200);
    assert_eq!(list().trim(), "[]");
    let log = daemon.log();
    let mut site = Vec::new();
    files_below(&folder.path().join("public"), &mut site);
    let site = String::from_utf8_lossy(&site).into_owned();
    for trace in ["secret-path", "rebound", &PUBLIC.to_string(), &secret] {
        assert!(!log.contains(trace), "{trace} in\n{log}");
        assert!(!site.contains(trace), "{trace} on the site");
    }
    let (status, took) = daemon.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
}
