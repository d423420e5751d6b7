//! The commands, as an operator or a script uses them.

use std::fs;

use super::{SOON, await_status, write_config};
use crate::support::{
    daemon::{Daemon, folder, free_address, json, ok, wait_for, watchbell},
    target::Target,
};

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_new_config_is_good_and_shows_what_it_finds() {
    let folder = folder();
    let target = Target::start();
    let url = format!("http://{}/", target.address);
    let closed = free_address().to_string();
    ok(folder.path(), &["init", &url, &closed]);
    ok(folder.path(), &["check"]);
    let rows = json(folder.path(), &["probe", "--json"]);
    assert_eq!(rows[0]["result"], "up");
    assert_eq!(rows[1]["result"], "down");
    assert_eq!(rows[1]["class"], "connect_refused");
    let table = ok(folder.path(), &["probe"]);
    assert!(table.contains("Connection refused"), "{table}");
    let again = watchbell(folder.path(), &["init", &url]);
    assert_eq!(again.status.code(), Some(2), "what is there is not overwritten");
}

#[test]
fn every_mistake_is_named_at_once_with_its_place() {
    let folder = folder();
    let text = "[site]\nurl = \"http://x.example/\"\ntitel = \"X\"\n\n[[service]]\nid = \"overall\"\nname = \"X\"\n[[service.check]]\nhttp = \"ftp://x\"\nevry = \"30s\"\n";
    fs::write(folder.path().join("watchbell.toml"), text).unwrap();
    let output = watchbell(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "watchbell.toml:3:1:",
        "`title`",
        "watchbell.toml:6:",
        "overall",
        "watchbell.toml:9:",
        "watchbell.toml:10:1:",
        "`every`",
    ] {
        assert!(said(&output).contains(part), "{part}\n{}", said(&output));
    }
    for command in ["run", "once", "build", "probe"] {
        assert_eq!(watchbell(folder.path(), &[command]).status.code(), Some(2), "{command}");
    }
    let missing = watchbell(folder.path(), &["--config", "nowhere.toml", "check"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(said(&missing).contains("nowhere.toml"));
    assert_eq!(watchbell(folder.path(), &["frobnicate"]).status.code(), Some(2));
}

#[test]
fn one_pass_finds_publishes_and_tells() {
    let folder = folder();
    let folder = folder.path();
    let target = Target::start();
    // Where `run` serves, a form leads there; after one pass there is nobody to answer it.
    let email = "[email]\nfrom = \"status@example.org\"\nsmtp = \"dir:mails\"\n[subscriptions]\nenabled = false";
    write_config(folder, free_address(), email, &[("api", format!("http = \"http://{}/\"", target.address))]);
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    ok(folder, &["once"]);
    let index = || fs::read_to_string(folder.join("public/index.html")).unwrap();
    assert!(index().contains("All services are operational"));
    target.answers(503);
    ok(folder, &["once"]);
    assert!(index().contains("Api is down"), "{}", index());
    assert_eq!(fs::read_dir(folder.join("mails")).unwrap().count(), 1);
    target.answers(200);
    ok(folder, &["once"]);
    assert!(index().contains("All services are operational"));
    assert_eq!(fs::read_dir(folder.join("mails")).unwrap().count(), 2);

    // The same site comes out of the store alone.
    let built = index();
    fs::remove_dir_all(folder.join("public")).unwrap();
    ok(folder, &["build"]);
    let strip = |page: &str| {
        page.lines().filter(|line| !line.contains("UTC") && !line.contains("fresh-until")).collect::<String>()
    };
    assert_eq!(strip(&index()), strip(&built));
    let list = ok(folder, &["incident", "list"]);
    let id = list.lines().nth(1).unwrap().split(' ').next().unwrap();
    let story = ok(folder, &["incident", "show", id]);
    assert!(story.contains("resolved") && story.contains("HTTP 503"), "{story}");
    let shown = json(folder, &["incident", "show", id, "--json"]);
    assert!(!shown["decisions"].as_array().unwrap().is_empty());
    for part in [
        "not yet decided: 1 of 3 probes agree (HTTP 503)",
        "down: 3 probes in a row failed (HTTP 503)",
        "up: 2 probes in a row succeeded",
        "over: everything affected is back",
        "-> opened (Api):",
        "-> resolved (Api):",
        "1 subscriber by mail, accepted at ",
    ] {
        assert!(story.contains(part), "{part}\n{story}");
    }
    assert!(!story.contains("ann@"), "{story}");
    let told = shown["told"].as_array().unwrap();
    let kinds: Vec<&str> = told.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["opened", "resolved"]);
    assert!(told.iter().all(|event| event["to"][0]["accepted"]["count"] == 1), "{told:?}");
    assert!(json(folder, &["incident", "list", "--json"])[0].get("told").is_none(), "only of one that is shown");
    assert!(shown["services"][0]["downtime_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn subscribers_come_and_go_by_hand_and_by_file() {
    let folder = folder();
    let folder = folder.path();
    write_config(folder, free_address(), "", &[("api", "tcp = \"127.0.0.1:1\"".to_owned())]);
    ok(folder, &["subscriber", "add", "ann@example.org", "--service", "api", "--kind", "incidents"]);
    assert_eq!(watchbell(folder, &["subscriber", "add", "ann@nowhere"]).status.code(), Some(2));
    assert_eq!(watchbell(folder, &["subscriber", "add", "a@example.org", "--service", "apii"]).status.code(), Some(2));
    fs::write(folder.join("bad.csv"), "email\nben@example.org\nnot an address\n").unwrap();
    let output = watchbell(folder, &["subscriber", "import", "bad.csv"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("bad.csv:3"), "{}", said(&output));
    assert_eq!(json(folder, &["subscriber", "list", "--json"]).as_array().unwrap().len(), 1, "nobody was added");
    fs::write(folder.join("good.csv"), "email\nben@example.org\nann@example.org\n").unwrap();
    ok(folder, &["subscriber", "import", "good.csv"]);
    let csv = ok(folder, &["subscriber", "export"]);
    assert!(csv.contains("ben@example.org") && csv.contains("ann@example.org"), "{csv}");
    ok(folder, &["subscriber", "remove", "ben@example.org"]);
    assert_eq!(watchbell(folder, &["subscriber", "remove", "ben@example.org"]).status.code(), Some(1));
    fs::write(folder.join("all.csv"), &csv).unwrap();
    ok(folder, &["subscriber", "import", "all.csv"]);
    let list = ok(folder, &["subscriber", "list"]);
    assert!(!list.contains("ben@example.org"), "who left is not brought back by a file: {list}");
    ok(folder, &["subscriber", "add", "ben@example.org"]);
    assert_eq!(ok(folder, &["subscriber", "export"]).lines().count(), 3);
    ok(folder, &["subscriber", "forget", "ann@example.org"]);
}

#[test]
fn a_store_is_backed_up_restored_checked_and_compacted() {
    let folder = folder();
    let folder = folder.path();
    write_config(folder, free_address(), "", &[("api", "tcp = \"127.0.0.1:1\"".to_owned())]);
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    ok(folder, &["store", "backup", "copy.db"]);
    assert_eq!(watchbell(folder, &["store", "backup", "copy.db"]).status.code(), Some(3), "nothing is overwritten");
    ok(folder, &["subscriber", "add", "ben@example.org"]);
    ok(folder, &["store", "restore", "copy.db"]);
    let list = ok(folder, &["subscriber", "list"]);
    assert!(list.contains("ann@") && !list.contains("ben@"), "{list}");
    ok(folder, &["store", "verify"]);
    ok(folder, &["store", "compact"]);
    fs::write(folder.join("garbage.db"), "not a database at all, whatever its name says".repeat(100)).unwrap();
    assert_eq!(watchbell(folder, &["store", "restore", "garbage.db"]).status.code(), Some(3));
    assert!(ok(folder, &["subscriber", "list"]).contains("ann@"), "a bad backup changes nothing");
}

#[test]
fn completions_and_schemas_are_printed() {
    let folder = folder();
    assert!(ok(folder.path(), &["completions", "bash"]).contains("watchbell"));
    assert!(json(folder.path(), &["schema", "config"])["properties"]["site"].is_object());
    assert!(json(folder.path(), &["schema", "incident"])["properties"]["update"].is_object());
    assert!(json(folder.path(), &["schema", "corrections"])["properties"]["correct"].is_object());
}

#[test]
fn other_rules_are_tried_on_what_was_recorded_while_the_daemon_runs() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let nothing = watchbell(folder, &["backtest"]);
    assert_eq!(nothing.status.code(), Some(3), "there is no store yet: {}", said(&nothing));
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    target.answers(503);
    await_status(listen, "api", "major_outage");
    target.answers(200);
    await_status(listen, "api", "operational");
    // Once the last results are written down, both columns say the same.
    let same = wait_for("both accounts to agree", SOON, || {
        let found = json(folder, &["-q", "backtest", "--since", "1d", "--json"]);
        (found["was"]["incidents"][0]["resolved_at"].is_string() && found["was"] == found["would_have_been"])
            .then_some(found)
    });
    assert_eq!(same["edited"], serde_json::json!([]));
    assert!(same["oldest_result_at"].is_string() && same["results"].as_u64().unwrap() > 3);
    let text = fs::read_to_string(folder.join("watchbell.toml")).unwrap();
    let edited = text.replace("[[service.check]]\n", "[[service.check]]\ndown_after = 100\nexpect.body = \"x\"\n");
    fs::write(folder.join("edited.toml"), edited).unwrap();
    let told = ok(folder, &["--config", "edited.toml", "backtest", "--since", "1d"]);
    for part in [
        "0 incidents instead of 1;",
        "WOULD HAVE BEEN",
        "no longer an incident:",
        "down_after = 100 instead of 3",
        "expect.body: not judged",
        "the oldest result",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains(&target.address.to_string()), "{told}");
    for (since, why) in [("30", "add a unit"), ("soon", "is not a duration"), ("2026-13-01", "duration")] {
        let wrong = watchbell(folder, &["backtest", "--since", since]);
        assert_eq!(wrong.status.code(), Some(2), "{since}");
        assert!(said(&wrong).contains(why), "{}", said(&wrong));
    }
    let late = watchbell(folder, &["backtest", "--since", "2099-01-01"]);
    assert_eq!(late.status.code(), Some(3));
    assert!(said(&late).contains("the last result"), "{}", said(&late));
    assert!(daemon.terminate().0.success());
}

#[test]
fn an_outage_is_rehearsed_in_seconds_and_leaves_nothing_but_its_folder() {
    let folder = folder();
    let folder = folder.path();
    // Names that nobody has: nothing of them is ever asked.
    write_config(folder, free_address(), "", &[("api", "tcp = \"api.invalid:1\"".to_owned())]);
    let story = "starts = 2026-11-21T10:00:00Z\nlasts = \"1h\"\n[[happens]]\nafter = \"5m\"\nservices = [\"api\"]\nare = \"down\"\nlasts = \"10m\"\n";
    fs::write(folder.join("story.toml"), story).unwrap();
    let told = ok(folder, &["simulate", "story.toml", "--output", "out"]);
    for part in
        ["api: down (timeout), for 10m", "Outage: Api", "Resolved: Api", "2026-11-21-api", "out/site/index.html"]
    {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let page = fs::read_to_string(folder.join("out/site/index.html")).unwrap();
    assert!(page.contains("All services are operational"), "{page}");
    assert_eq!(fs::read_dir(folder.join("out/mails")).unwrap().count(), 2);
    let mut left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["out", "story.toml", "watchbell.toml"]);
    let again = watchbell(folder, &["simulate", "story.toml", "--output", "out"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(said(&again).contains("not empty"), "{}", said(&again));
    let shown = json(folder, &["simulate", "story.toml", "--output", "again", "--json"]);
    assert_eq!(shown["incidents"][0]["id"], "2026-11-21-api");
    assert!(shown["lines"].as_array().unwrap().iter().any(|line| line["kind"] == "decision"));

    fs::write(folder.join("story.toml"), story.replace("are =", "aer =").replace("[\"api\"]", "[\"apo\"]")).unwrap();
    let wrong = watchbell(folder, &["simulate", "story.toml"]);
    assert_eq!(wrong.status.code(), Some(2));
    for part in ["story.toml:6:1: unknown key `aer`", "did you mean `are`?"] {
        assert!(said(&wrong).contains(part), "{part}\n{}", said(&wrong));
    }
    assert_eq!(watchbell(folder, &["simulate", "nowhere.toml"]).status.code(), Some(2));
    assert!(json(folder, &["schema", "story"])["properties"]["happens"].is_object());
}
