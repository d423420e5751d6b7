//! The monitor's own way out is cut: its canary dies, and so does what it watches. Nobody is told, and
//! the site says since when.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
};

use super::{
    SOON, await_status, incidents,
    pages::{assert_valid, browse},
    write_config,
};
use crate::support::{
    daemon::{Daemon, folder, free_address, json, ok, wait_for},
    http,
    skip::{note_missing, program},
    target::Target,
};

/// Waits until a probe came.
fn await_probe(canary: &TcpListener) {
    canary.set_nonblocking(true).unwrap();
    wait_for("a probe of the canary", SOON * 3, || match canary.accept() {
        Ok(_) => Some(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    });
}

#[test]
fn while_no_canary_answers_the_site_says_since_when_and_afterwards_no_more() {
    let folder = folder();
    let folder = folder.path();
    let (listen, target) = (free_address(), Target::start());
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = canary.local_addr().unwrap();
    let check = |path: &str| format!("http = \"http://{}/{path}\"", target.address);
    write_config(folder, listen, "", &[("api", check("api")), ("web", check("web"))]);
    let path = folder.join("watchbell.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("[incidents]", &format!("[incidents]\ncanary = [\"tcp:{address}\"]"));
    fs::write(&path, text).unwrap();
    ok(folder, &["check"]);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    await_probe(&canary);

    let before = jiff::Timestamp::now();
    drop(canary);
    target.answers(503);
    // As the Statuspage API has it: it knows no word for it.
    await_status(listen, "api", "degraded_performance");
    let page = |path: &str| http::get(listen, path).unwrap().text();
    let says = "The monitor itself has been cut off";
    let index = wait_for("the first page to say so", SOON, || Some(page("/")).filter(|it| it.contains(says)));
    assert!(index.contains("nothing new is known of 2 services"), "{index}");
    assert!(index.contains("<body data-status=\"unknown\">"), "{index}");
    let service = page("/services/api/");
    let said = service.split_once(says).expect("so does the page of a service").0;
    let since: jiff::Timestamp = said.rsplit_once("datetime=\"").unwrap().1.split('"').next().unwrap().parse().unwrap();
    assert!(before <= since && since <= jiff::Timestamp::now(), "{before} {since}");
    assert!(incidents(folder).is_empty(), "nobody is told");
    let components = http::get(listen, "/api/v2/components.json").unwrap().json();
    assert_eq!(components["components"][0]["watchbell"]["status"], "unknown");
    assert!(page("/badge/api/status.svg").contains("No recent data"));

    let (java, checker) = (program("java"), program("vnu.jar"));
    let (node, chromium, axe) = (program("node"), program("chromium"), program("axe.min.js"));
    if let (Some(node), Some(_), Some(axe)) = (&node, &chromium, &axe) {
        let pages = ["", "services/api/"].map(|path| serde_json::json!({ "url": format!("http://{listen}/{path}") }));
        let job = serde_json::json!({
            "axe": axe, "pages": pages, "widths": [320, 390, 1100], "schemes": ["light", "dark"],
        });
        fs::write(folder.join("audit.json"), job.to_string()).unwrap();
        browse(node, &["audit".as_ref(), folder.join("audit.json").as_ref()]);
    }
    if let (Some(java), Some(checker)) = (&java, &checker) {
        assert_valid(java, checker, &folder.join("public"), &format!("http://{listen}/"), &[]);
    }

    let _canary = TcpListener::bind(address).unwrap();
    target.answers(200);
    wait_for("the first page to say so no more", SOON, || Some(page("/")).filter(|it| !it.contains(says)));
    await_status(listen, "api", "operational");
    assert!(!page("/services/api/").contains(says));
    assert!(json(folder, &["-q", "incident", "list", "--json"]).as_array().unwrap().is_empty());
    daemon.terminate();
    note_missing(&[
        ("java", &java),
        ("vnu-jar", &checker),
        ("node", &node),
        ("chromium", &chromium),
        ("axe-core", &axe),
    ]);
}
