//! An outage from the first failing probe to the last mail: real nginx, real Postfix, and a
//! restart in the middle.

use std::{path::Path, time::Duration};

use super::{SOON, await_status, incidents, write_config};
use crate::skip;
use crate::support::{
    daemon::{self, Daemon, free_address, ok, wait_for},
    http,
    nginx::{self, Nginx, Page},
    postfix::{self, Mail, Postfix},
};

/// How many mails the store knows to be sent.
fn sent(folder: &Path) -> i64 {
    let db =
        rusqlite::Connection::open_with_flags(folder.join("watchbell.db"), rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    db.unwrap().query_row("SELECT count(*) FROM delivery WHERE state = 'sent'", [], |row| row.get(0)).unwrap()
}

fn to<'a>(mails: &'a [Mail], who: &str) -> Vec<&'a Mail> {
    mails.iter().filter(|mail| mail.recipient() == who).collect()
}

#[test]
fn an_outage_is_recorded_published_and_told_once_through_a_crash() {
    let Some(_) = nginx::installed() else { skip!("nginx is not installed") };
    if let Err(why) = postfix::installed() {
        skip!("{why}");
    }
    let folder = daemon::folder();
    let folder = folder.path();
    let nginx = Nginx::start(folder);
    let postfix = Postfix::start(folder);
    let database = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free_address();
    let email =
        format!("[email]\nfrom = \"Example Status <status@example.org>\"\nsmtp = \"smtp://{}\"", postfix.address);
    let checks = [
        ("api", format!("http = \"http://{}/health\"\nexpect.body = \"ok\"", nginx.address)),
        ("database", format!("tcp = \"{}\"", database.local_addr().unwrap())),
    ];
    write_config(folder, listen, &email, &checks);
    ok(folder, &["check"]);
    ok(folder, &["subscriber", "add", "all@example.org"]);
    ok(folder, &["subscriber", "add", "database@example.org", "--service", "database"]);

    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    assert!(incidents(folder).is_empty());

    let before = jiff::Timestamp::now();
    nginx.serve(Page::Failing);
    await_status(listen, "api", "major_outage");
    let after = jiff::Timestamp::now();
    let opened = incidents(folder);
    assert_eq!(opened.len(), 1);
    let id = opened[0]["id"].as_str().unwrap().to_owned();
    assert!(id.ends_with("-api"), "{id}");
    let started: jiff::Timestamp = opened[0]["started_at"].as_str().unwrap().parse().unwrap();
    assert!(before <= started && started < after, "{before} {started} {after}");
    assert!(folder.join(format!("notes/incidents/{id}.toml")).exists());
    let page = http::get(listen, &format!("/incidents/{id}/")).unwrap();
    assert_eq!(page.status, 200);
    assert!(page.text().contains("HTTP 503"), "{}", page.text());
    for feed in ["updates.rss", "updates.atom", "feed.json", "history.rss", "history.atom", "services/api/updates.atom"]
    {
        assert!(http::get(listen, &format!("/{feed}")).unwrap().text().contains(&id), "{feed}");
    }
    let mails = postfix.wait_for_mails(1, SOON);
    assert_eq!(mails.len(), 1, "only who follows the API is told");
    assert_eq!(mails[0].recipient(), "all@example.org");
    assert_eq!(mails[0].header("Subject").unwrap(), "[Example Status] Outage: Api");

    wait_for("the mail to be written down", SOON, || (sent(folder) == 1).then_some(()));

    // A crash in the middle loses nothing and tells nothing twice.
    daemon.kill();
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "major_outage");
    nginx.serve(Page::Good);
    await_status(listen, "api", "operational");
    let mails = postfix.wait_for_mails(2, SOON);
    assert_eq!(mails.len(), 2);
    assert!(mails[1].header("Subject").unwrap().starts_with("[Example Status] Resolved: Api (was down "));
    assert_eq!(mails[0].header("References"), mails[1].header("References"), "one thread");
    assert_ne!(mails[0].header("Message-ID"), mails[1].header("Message-ID"));
    let resolved = incidents(folder);
    assert_eq!(resolved.len(), 1);
    assert_eq!(resolved[0]["status"], "resolved");
    assert_eq!(resolved[0]["started_at"], opened[0]["started_at"]);

    // A TCP service goes away: both are told.
    let address = database.local_addr().unwrap();
    drop(database);
    await_status(listen, "database", "major_outage");
    let mails = postfix.wait_for_mails(4, SOON);
    assert_eq!(to(&mails, "database@example.org").len(), 1);

    // The way out works with one click, at once.
    let way_out = to(&mails, "database@example.org")[0].header("List-Unsubscribe").unwrap();
    let path = way_out.trim_matches(['<', '>']).strip_prefix(&format!("http://{listen}")).unwrap().to_owned();
    assert_eq!(http::get(listen, &path).unwrap().status, 200);
    assert!(ok(folder, &["subscriber", "list"]).contains("database@example.org"), "looking changes nothing");
    for _ in 0..2 {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(http::post(listen, &path, form, "List-Unsubscribe=One-Click").unwrap().status, 200);
    }
    assert!(!ok(folder, &["subscriber", "list"]).contains("database@example.org"));
    let _database = wait_for("the port again", SOON, || std::net::TcpListener::bind(address).ok());
    await_status(listen, "database", "operational");
    let mails = postfix.wait_for_mails(5, SOON);
    assert_eq!(to(&mails, "database@example.org").len(), 1, "who left is not mailed");

    for page in [Page::Slow, Page::Closed] {
        nginx.serve(page);
        await_status(listen, "api", "major_outage");
        nginx.serve(Page::Good);
        await_status(listen, "api", "operational");
    }
    let (status, took) = daemon.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status:?} {took:?}");
}
