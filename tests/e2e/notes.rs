//! An operator writes, and people read it.

use std::{fs, time::Duration};

use super::{SOON, await_status, incidents, write_config};
use crate::support::{
    daemon::{Daemon, folder, free_address, ok, wait_for},
    http,
    target::Target,
};

#[test]
fn words_are_on_the_page_within_two_seconds_and_in_a_mail_once_they_have_rested() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    let email = "[email]\nfrom = \"status@example.org\"\nsmtp = \"dir:mails\"";
    write_config(folder, listen, email, &[("api", format!("http = \"http://{}/\"", target.address))]);
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    let _daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    target.answers(500);
    await_status(listen, "api", "major_outage");
    let id = incidents(folder)[0]["id"].as_str().unwrap().to_owned();
    let note = folder.join(format!("notes/incidents/{id}.toml"));
    let path = format!("/incidents/{id}/");
    let created = fs::read_to_string(&note).unwrap();
    let update = "\n[[update]]\nstatus = \"identified\"\ntext = \"A **disk** is full. <script>alert(1)</script>\"\n";
    fs::write(&note, format!("{created}{update}")).unwrap();
    let page = wait_for("the text on the page", Duration::from_secs(3), || {
        http::get(listen, &path).map(|answer| answer.text()).filter(|page| page.contains("<strong>disk</strong>"))
    });
    assert!(!page.contains("<script>alert"), "{page}");
    let mails = wait_for("the mail", SOON, || {
        let mails: Vec<String> = fs::read_dir(folder.join("mails"))
            .ok()?
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        (mails.len() >= 2).then_some(mails)
    });
    assert_eq!(mails.len(), 2);

    // A broken edit changes nothing, and is named by `check`.
    fs::write(&note, format!("{created}{update}\n[[update]\n")).unwrap();
    let output = crate::support::daemon::watchbell(folder, &["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("{id}.toml:")), "{output:?}");
    assert!(http::get(listen, &path).unwrap().text().contains("<strong>disk</strong>"));

    // A postmortem becomes part of the page.
    target.answers(200);
    await_status(listen, "api", "operational");
    let postmortem = "\n[postmortem]\npublished = 2020-01-01T00:00:00Z\nsummary = \"It was the disk.\"\nfive_whys = [\"Why? The disk.\"]\n";
    fs::write(&note, format!("{created}{update}{postmortem}")).unwrap();
    wait_for("the postmortem on the page", Duration::from_secs(3), || {
        http::get(listen, &path).filter(|answer| answer.text().contains("It was the disk."))
    });
}

#[test]
fn a_file_with_a_new_name_opens_an_incident_by_hand() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let _daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    fs::create_dir_all(folder.join("notes/incidents")).unwrap();
    let text = "title = \"Logins are slow\"\nimpact = \"minor\"\nservices = [\"api\"]\n\n[[update]]\nstatus = \"investigating\"\ntext = \"Looking.\"\naffected = { api = \"degraded_performance\" }\n";
    fs::write(folder.join("notes/incidents/slow-logins.toml"), text).unwrap();
    await_status(listen, "api", "degraded_performance");
    let page = http::get(listen, "/incidents/slow-logins/").unwrap();
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Logins are slow"));
    let resolved = format!("{text}\n[[update]]\nstatus = \"resolved\"\ntext = \"Fast again.\"\n");
    fs::write(folder.join("notes/incidents/slow-logins.toml"), resolved).unwrap();
    await_status(listen, "api", "operational");
    assert_eq!(incidents(folder)[0]["status"], "resolved");
}

#[test]
fn a_file_renamed_between_two_runs_speaks_of_the_same_incident() {
    let folder = folder();
    let folder = folder.path();
    let listen = free_address();
    write_config(folder, listen, "", &[("api", "tcp = \"127.0.0.1:9\"\nenabled = false".to_owned())]);
    fs::create_dir_all(folder.join("notes/incidents")).unwrap();
    let path = |name: &str| folder.join(format!("notes/incidents/{name}.toml"));
    fs::write(path("slow"), "title = \"Slow\"\nservices = [\"api\"]\n\n[[update]]\ntext = \"Looking.\"\n").unwrap();
    let daemon = Daemon::start(folder, listen);
    wait_for("the incident", SOON, || (!incidents(folder).is_empty()).then_some(()));
    let (status, _) = daemon.terminate();
    assert!(status.success());
    fs::rename(path("slow"), path("slow-logins")).unwrap();
    let daemon = Daemon::start(folder, listen);
    wait_for("the new name", SOON, || daemon.log().contains("a note has a new name").then_some(()));
    let all = incidents(folder);
    assert_eq!((all.len(), &all[0]["id"]), (1, &serde_json::json!("slow")), "{all:?}");
}

#[test]
fn corrections_are_in_the_numbers_within_two_seconds_and_stay_while_their_file_is_broken() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    let email =
        "[email]\nfrom = \"status@example.org\"\nsmtp = \"dir:mails\"\n[operator]\nnotify = [\"ops@example.org\"]";
    write_config(folder, listen, email, &[("api", format!("http = \"http://{}/\"", target.address))]);
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    target.answers(500);
    await_status(listen, "api", "major_outage");
    target.answers(200);
    await_status(listen, "api", "operational");
    let mails = || fs::read_dir(folder.join("mails")).map_or(0, Iterator::count);
    wait_for("both mails", SOON, || (mails() == 2).then_some(()));
    let read = |path: &str| http::get(listen, path).map(|answer| answer.text()).unwrap_or_default();
    let measured = read("/services/api/outages.csv");
    let mut fields = measured.lines().nth(1).unwrap().split(',');
    assert_eq!(fields.next(), Some("major_outage"), "{measured}");
    let (from, to) = (fields.next().unwrap(), fields.next().unwrap());
    let text = format!(
        "[[correct]]\nservice = \"api\"\nfrom = {from}\nto = {to}\ncount_as = \"maintenance\"\nwhy = \"We *moved* it. <script>alert(1)</script>\"\n"
    );
    let file = folder.join("notes/corrections.toml");
    let within = Duration::from_secs(3);
    fs::write(&file, &text).unwrap();
    let page = wait_for("the correction on the page", within, || {
        Some(read("/services/api/")).filter(|page| page.contains("We <em>moved</em> it."))
    });
    assert!(page.contains("Counts as planned work") && !page.contains("<script>alert"), "{page}");
    let corrected = measured.replace("major_outage", "under_maintenance");
    assert_eq!(read("/services/api/outages.csv"), corrected);
    assert!(read("/badge/api/uptime-90d.svg").contains("100 %"));
    assert!(ok(folder, &["check"]).contains("good"));

    // Broken, it changes nothing, and the operator hears; so after a restart.
    fs::write(&file, text.replace("maintenance", "maintenence")).unwrap();
    wait_for("the operator's mail", SOON, || (mails() == 3).then_some(()));
    assert!(daemon.log().contains("corrections.toml:5:12"), "{}", daemon.log());
    let output = crate::support::daemon::watchbell(folder, &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("corrections.toml:5:12") && said.contains("did you mean `maintenance`?"), "{said}");
    daemon.terminate();
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    assert_eq!(read("/services/api/outages.csv"), corrected);
    fs::remove_file(&file).unwrap();
    wait_for("the complaint", SOON, || daemon.log().contains("the file of corrections is gone").then_some(()));
    assert_eq!(read("/services/api/outages.csv"), corrected);

    // Taken back, all is as it was measured; nobody was told of any of it.
    fs::write(&file, "# none\n").unwrap();
    wait_for("what was measured", within, || (read("/services/api/outages.csv") == measured).then_some(()));
    assert!(!read("/services/api/").contains("Corrections"));
    assert_eq!(incidents(folder).len(), 1);
    let told =
        fs::read_dir(folder.join("mails")).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    assert_eq!(told.filter(|mail| mail.contains("ann@example.org")).count(), 2, "an outage and its end");
}
