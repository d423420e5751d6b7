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
