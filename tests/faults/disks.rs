//! Disks that fill up and free again, and disks that cannot be written: for the store, the site, the
//! notes and the mails.

use std::{fs, path::Path};

use super::{SOON, Scene, during, e2e, http, wait_for};
use crate::{
    skip,
    support::{
        daemon::{Daemon, ok},
        disk::SmallDisk,
        target::Target,
    },
};

fn check(target: &Target) -> Vec<(&'static str, String)> {
    vec![("api", format!("http = \"http://{}/\"", target.address))]
}

/// Every page and document of the site as it is served is whole.
fn is_whole(scene: &Scene) {
    for (path, end) in [("/", "</html>"), ("/services/api/", "</html>"), ("/updates.atom", "</feed>")] {
        let answer = http::get(scene.listen, path).unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().trim_end().ends_with(end), "{path}: {}", answer.text());
    }
    http::get(scene.listen, "/api/v2/summary.json").unwrap().json();
}

fn mails(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().path());
    let texts = names.filter(|path| path.extension().is_some_and(|end| end == "eml")).map(fs::read_to_string);
    texts.map(|text| text.unwrap().lines().find(|line| line.starts_with("Subject: ")).unwrap().to_owned()).collect()
}

#[test]
fn a_full_disk_of_the_site_leaves_the_old_one_whole_and_holds_up_nothing_else() {
    let target = Target::start();
    let extra = "\n[email]\nfrom = \"status@example.org\"\nsmtp = \"dir:mails\"\n";
    let scene = Scene::new(extra, &check(&target));
    let Some(mut disk) = SmallDisk::mount(&scene.path().join("disk"), 2) else {
        skip!("a small disk cannot be mounted (needs root)")
    };
    scene.edit("[site]\n", "[site]\noutput = \"disk/public\"\n");
    ok(scene.path(), &["subscriber", "add", "ann@example.org"]);
    let daemon = scene.start();
    e2e::await_status(scene.listen, "api", "operational");
    disk.fill();
    target.answers(500);
    wait_for("the complaint", SOON, || daemon.log().contains("not published").then_some(()));
    wait_for("the mail", SOON, || (mails(&scene.path().join("mails")).len() == 1).then_some(()));
    assert_eq!(scene.incidents().len(), 1);
    scene.await_probes(5.0);
    is_whole(&scene);
    disk.free();
    e2e::await_status(scene.listen, "api", "major_outage");
    is_whole(&scene);
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_full_disk_of_the_mails_delays_them_and_loses_and_doubles_none() {
    let target = Target::start();
    let extra = "\n[email]\nfrom = \"status@example.org\"\nsmtp = \"dir:disk/mails\"\n";
    let scene = Scene::new(extra, &check(&target));
    let Some(mut disk) = SmallDisk::mount(&scene.path().join("disk"), 1) else {
        skip!("a small disk cannot be mounted (needs root)")
    };
    for person in ["ann", "bob", "cleo"] {
        ok(scene.path(), &["subscriber", "add", &format!("{person}@example.org")]);
    }
    let daemon = scene.start();
    scene.await_status("api", "operational");
    disk.fill();
    target.answers(500);
    scene.await_status("api", "major_outage");
    scene.await_probes(5.0);
    assert_eq!(mails(&scene.path().join("disk/mails")).len(), 0);
    disk.free();
    wait_for("the mails", SOON, || (mails(&scene.path().join("disk/mails")).len() == 3).then_some(()));
    target.answers(200);
    scene.await_status("api", "operational");
    wait_for("the mails", SOON, || (mails(&scene.path().join("disk/mails")).len() == 6).then_some(()));
    let subjects = mails(&scene.path().join("disk/mails"));
    assert_eq!(subjects.iter().filter(|subject| subject.contains("Outage: Api")).count(), 3, "{subjects:?}");
    assert_eq!(subjects.iter().filter(|subject| subject.contains("Resolved: Api")).count(), 3, "{subjects:?}");
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_full_disk_of_the_notes_hurts_nothing_and_known_words_stay() {
    let target = Target::start();
    let scene = Scene::new("", &check(&target));
    let Some(mut disk) = SmallDisk::mount(&scene.path().join("disk"), 1) else {
        skip!("a small disk cannot be mounted (needs root)")
    };
    scene.edit("[notes]\n", "[notes]\ndir = \"disk/notes\"\n");
    let folder = scene.path().join("disk/notes/incidents");
    fs::create_dir_all(&folder).unwrap();
    let note = folder.join("by-hand.toml");
    let words = "title = \"By hand\"\nservices = [\"api\"]\nimpact = \"none\"\nresolved = 2026-01-02T00:00:00Z\nstarted = 2026-01-01T00:00:00Z\n\n[[update]]\nat = 2026-01-01T00:00:00Z\nstatus = \"identified\"\ntext = \"Known words.\"\n";
    fs::write(&note, words).unwrap();
    let daemon = scene.start();
    let page = || http::get(scene.listen, "/incidents/by-hand/").filter(|page| page.status == 200);
    wait_for("the page", SOON, || page().filter(|page| page.text().contains("Known words.")));
    disk.fill();
    target.answers(500);
    scene.await_status("api", "major_outage");
    // An editor that saves now leaves half a file, or none.
    let _ = fs::write(&note, words.replace("Known words.", &"More words. ".repeat(2000)));
    scene.await_probes(5.0);
    during(std::time::Duration::from_secs(2), || {
        assert!(page().is_some_and(|page| page.text().contains("Known words.")));
    });
    disk.free();
    fs::write(&note, words.replace("Known words.", "Other words.")).unwrap();
    wait_for("the new words", SOON, || page().filter(|page| page.text().contains("Other words.")));
    target.answers(200);
    scene.await_status("api", "operational");
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_store_on_a_read_only_disk_ends_the_start_in_one_clear_sentence() {
    let target = Target::start();
    let extra = "\n[store]\nurl = \"sqlite:disk/watchbell.db\"\nallow_volatile = true\n";
    let scene = Scene::new(extra, &check(&target));
    let Some(disk) = SmallDisk::mount(&scene.path().join("disk"), 4) else {
        skip!("a small disk cannot be mounted (needs root)")
    };
    let daemon = scene.start();
    scene.await_status("api", "operational");
    assert!(daemon.terminate().0.success());
    assert!(disk.remount("ro"));
    let before = fs::read_to_string(scene.path().join("log.txt")).unwrap().len();
    let mut daemon = Daemon::spawn(scene.path(), &["run"]);
    assert_eq!(daemon.ended(SOON).code(), Some(3));
    let said = daemon.log()[before..].to_owned();
    assert!(said.contains("watchbell.db") && said.lines().count() <= 2 && !said.contains("panicked"), "{said}");
    assert!(disk.remount("rw"));
    let daemon = scene.start();
    target.answers(500);
    scene.await_status("api", "major_outage");
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_site_on_a_read_only_disk_is_published_once_it_can_be_written() {
    let target = Target::start();
    let scene = Scene::new("", &check(&target));
    let Some(disk) = SmallDisk::mount(&scene.path().join("disk"), 4) else {
        skip!("a small disk cannot be mounted (needs root)")
    };
    scene.edit("[site]\n", "[site]\noutput = \"disk/public\"\n");
    let daemon = scene.start();
    e2e::await_status(scene.listen, "api", "operational");
    assert!(daemon.terminate().0.success());
    assert!(disk.remount("ro"));
    let daemon = scene.start();
    wait_for("the complaint", SOON, || daemon.log().contains("not published").then_some(()));
    target.answers(500);
    wait_for("the incident", SOON, || (scene.incidents().len() == 1).then_some(()));
    is_whole(&scene);
    assert!(disk.remount("rw"));
    e2e::await_status(scene.listen, "api", "major_outage");
    assert!(daemon.terminate().0.success());
}
