//! What goes wrong around the daemon, and costs nothing.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, time::Duration};

use super::{SOON, await_status, incidents, write_config};
use crate::skip;
use crate::support::{
    daemon::{Daemon, folder, free_address, ok, wait_for, watchbell},
    disk::SmallDisk,
    http,
    target::Target,
};

#[test]
fn a_second_daemon_and_a_build_refuse_naming_the_first() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let _daemon = Daemon::start(folder, listen);
    for command in ["run", "build", "once"] {
        let output = watchbell(folder, &[command]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
        assert!(said.contains("process "), "{command}: {said}");
    }
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    ok(folder, &["store", "backup", "copy.db"]);
}

#[test]
fn what_is_recorded_after_another_command_wrote_survives_a_kill() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    // It is not the last one out, and must not take the log away.
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    target.answers(500);
    await_status(listen, "api", "major_outage");
    let before = incidents(folder);
    assert_eq!(before.len(), 1);
    daemon.kill();
    assert_eq!(incidents(folder)[0]["started_at"], before[0]["started_at"]);
    let _daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "major_outage");
    assert_eq!(incidents(folder).len(), 1);
}

#[test]
fn a_port_in_use_is_reported_and_never_stops_probing() {
    let folder = folder();
    let folder = folder.path();
    let target = Target::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let daemon = Daemon::spawn(folder, &["run"]);
    wait_for("the site", SOON, || folder.join("public/index.html").exists().then_some(()));
    wait_for("the complaint", SOON, || daemon.log().contains(&listen.to_string()).then_some(()));
    target.answers(500);
    wait_for("the incident", SOON, || (!incidents(folder).is_empty()).then_some(()));
    drop(taken);
    await_status(listen, "api", "major_outage");
}

#[test]
fn a_store_that_another_program_keeps_locked_delays_the_start_and_says_so() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    let other = rusqlite::Connection::open(folder.join("watchbell.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let daemon = Daemon::spawn(folder, &["run"]);
    wait_for("the complaint", SOON, || daemon.log().contains("the start waits").then_some(()));
    assert!(daemon.log().contains("watchbell.db` locked"), "{}", daemon.log());
    other.execute_batch("COMMIT").unwrap();
    await_status(listen, "api", "operational");
}

#[test]
fn a_note_file_that_could_not_be_created_is_created_once_it_can_be() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    fs::create_dir_all(folder.join("notes")).unwrap();
    fs::write(folder.join("notes/incidents"), "in the way").unwrap();
    let daemon = Daemon::start(folder, listen);
    target.answers(500);
    wait_for("the complaint", SOON, || daemon.log().contains("no note file was created").then_some(()));
    fs::remove_file(folder.join("notes/incidents")).unwrap();
    let id = incidents(folder)[0]["id"].as_str().unwrap().to_owned();
    let note = folder.join(format!("notes/incidents/{id}.toml"));
    wait_for("the note's file", SOON, || note.exists().then_some(()));
    assert_eq!(daemon.log().matches("no note file").count(), 1, "{}", daemon.log());
}

#[test]
fn a_folder_that_cannot_be_written_leaves_the_old_site_and_probing_alone() {
    if fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0) {
        return unwritable_as_root();
    }
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    fs::set_permissions(folder.join("public"), fs::Permissions::from_mode(0o555)).unwrap();
    target.answers(500);
    wait_for("the complaint", SOON, || daemon.log().contains("not published").then_some(()));
    wait_for("the incident", SOON, || (!incidents(folder).is_empty()).then_some(()));
    fs::set_permissions(folder.join("public"), fs::Permissions::from_mode(0o755)).unwrap();
    await_status(listen, "api", "major_outage");
}

/// Root may write into any folder, so the site's is replaced by a file.
fn unwritable_as_root() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    fs::rename(folder.join("public"), folder.join("aside")).unwrap();
    fs::write(folder.join("public"), "in the way").unwrap();
    target.answers(500);
    wait_for("the complaint", SOON, || daemon.log().contains("not published").then_some(()));
    wait_for("the incident", SOON, || (!incidents(folder).is_empty()).then_some(()));
    fs::remove_file(folder.join("public")).unwrap();
    fs::rename(folder.join("aside"), folder.join("public")).unwrap();
    await_status(listen, "api", "major_outage");
}

#[test]
fn a_full_disk_loses_nothing_and_is_survived() {
    let folder = folder();
    let folder = folder.path();
    let Some(mut disk) = SmallDisk::mount(&folder.join("disk"), 3) else {
        skip!("a small disk cannot be mounted (needs root)")
    };
    let (target, listen) = (Target::start(), free_address());
    let extra = "\n[store]\nurl = \"sqlite:disk/watchbell.db\"\nallow_volatile = true\n";
    write_config(folder, listen, extra, &[("api", format!("http = \"http://{}/\"", target.address))]);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    disk.fill();
    target.answers(500);
    wait_for("the complaint", SOON, || daemon.log().contains("the store cannot be written").then_some(()));
    let health = wait_for("ill health", SOON, || http::get(listen, "/healthz").filter(|answer| answer.status == 503));
    assert!(!health.text().contains("disk/"), "no path is shown: {}", health.text());
    disk.free();
    await_status(listen, "api", "major_outage");
    assert_eq!(incidents(folder).len(), 1);
    assert!(daemon.terminate().0.success());
    ok(folder, &["store", "verify"]);
}

#[test]
fn a_store_that_is_none_or_newer_is_left_as_it_is() {
    let folder = folder();
    let folder = folder.path();
    write_config(folder, free_address(), "", &[("api", "tcp = \"127.0.0.1:1\"".to_owned())]);
    let garbage = "this is no database".repeat(500);
    fs::write(folder.join("watchbell.db"), &garbage).unwrap();
    for command in [&["run"][..], &["build"], &["subscriber", "list"], &["incident", "list"]] {
        let output = watchbell(folder, command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command:?}: {said}");
        assert!(said.contains("watchbell.db"), "{command:?}: {said}");
    }
    assert_eq!(fs::read_to_string(folder.join("watchbell.db")).unwrap(), garbage);
}

#[test]
fn a_store_that_is_removed_under_the_daemon_is_an_alarm_and_the_site_goes_on() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, "", &[("api", format!("http = \"http://{}/\"", target.address))]);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    for name in ["watchbell.db", "watchbell.db-wal", "watchbell.db-shm"] {
        let _ = fs::remove_file(folder.join(name));
    }
    wait_for("ill health", SOON, || http::get(listen, "/healthz").filter(|answer| answer.status == 503));
    assert!(daemon.log().contains("was removed or replaced while in use"), "{}", daemon.log());
    target.answers(500);
    await_status(listen, "api", "major_outage");
}

#[test]
fn everything_that_is_watched_may_be_gone_at_the_start() {
    let folder = folder();
    let folder = folder.path();
    let (a, b, listen) = (free_address(), free_address(), free_address());
    let email = format!("[email]\nfrom = \"status@example.org\"\nsmtp = \"smtp://{}\"", free_address());
    write_config(
        folder,
        listen,
        &email,
        &[("api", format!("http = \"http://{a}/\"")), ("db", format!("tcp = \"{b}\""))],
    );
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "major_outage");
    await_status(listen, "db", "major_outage");
    let (status, took) = daemon.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status:?} {took:?}");
}
