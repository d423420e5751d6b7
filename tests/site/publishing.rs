//! What publishing promises of the output folder: the same bytes whichever way it came about,
//! nothing rewritten without need, nothing touched that is not ours.

use std::{collections::BTreeSet, fs, path::Path};

use jiff::{Timestamp, ToSpan};
use watchbell::{domain::IncidentStatus, fsio, site::Publisher};

use super::scene::{self, Down, Scene, at, differences, tree};

/// Publishes the scene into `output` with a publisher that has no past.
fn build(scene: &Scene, output: &Path, now: Timestamp) -> watchbell::site::Published {
    let mut config = scene.config.clone();
    output.clone_into(&mut config.site.output);
    Publisher::new(&config).unwrap().publish(scene, now).unwrap()
}

#[test]
fn a_look_at_the_pages() {
    let Some(folder) = std::env::var_os("WATCHBELL_LOOK") else { return };
    let folder = std::path::PathBuf::from(folder);
    let home = tempfile::tempdir().unwrap();
    build(&scene::calm(home.path()), &folder.join("calm"), at(scene::NOW));
    build(&scene::outage(home.path()), &folder.join("outage"), at(scene::NOW));
    build(&scene::written_up(home.path()), &folder.join("over"), at("2026-12-03T10:00:00Z"));
    build(&scene::hostile(home.path()), &folder.join("hostile"), at(scene::NOW));
    build(&scene::blind(home.path()), &folder.join("blind"), at(scene::NOW));
    let mut mirrored = scene::outage(home.path());
    let templates = home.path().join("mirrored");
    fsio::write(&templates.join("i18n/en.toml"), b"[style]\ndirection = \"rtl\"").unwrap();
    mirrored.config.site.templates = Some(templates);
    build(&mirrored, &folder.join("mirrored"), at(scene::NOW));
}

#[test]
fn a_build_into_an_empty_folder_gives_the_same_bytes_as_all_the_increments() {
    let home = tempfile::tempdir().unwrap();
    let mut scene = scene::calm(home.path());
    let output = home.path().join("public");
    let mut publisher = Publisher::new(&scene.config).unwrap();
    let mut now = at("2026-11-21T09:58:00Z");
    let mut pass = |scene: &Scene, now: Timestamp, what: &str| {
        publisher.publish(scene, now).unwrap();
        let fresh = tempfile::tempdir().unwrap();
        build(scene, fresh.path(), now);
        let (ours, theirs) = (tree(&output), tree(fresh.path()));
        // What left the plan stays for one pass more.
        let different: Vec<_> =
            differences(&ours, &theirs).into_iter().filter(|name| theirs.contains_key(name)).collect();
        assert!(different.is_empty(), "{what} at {now}: {different:?}");
        publisher.renew_at().unwrap()
    };
    let name = "2026-11-21-vm-host-1";
    for step in 0..32 {
        let what = match step {
            3 => {
                scene.turn("vm-host-1", Down, now - 30.seconds());
                scene.open(name, &[("vm-host-1", Down), ("ask", Down)], now - 30.seconds());
                "an outage"
            }
            5 => {
                scene.say(name, IncidentStatus::Identified, now, "Found it.").next_update_at = Some(now + 7.minutes());
                "a word"
            }
            8 => {
                scene.incident_mut(name).updates[0].text = "Found *it*.".into();
                "a correction"
            }
            10 => {
                scene.incident_mut(name).aliases.push("by-hand".parse().unwrap());
                "an alias"
            }
            14 => {
                scene.resolve(name, now - 20.seconds());
                "the end"
            }
            16 => {
                scene::cut_off(&mut scene, now - 20.seconds());
                "blindness"
            }
            18 => {
                scene.blind.clear();
                scene.revision += 1;
                "sight"
            }
            20 => {
                scene.incident_mut("2026-11-14-website").withdrawn = true;
                "a withdrawal"
            }
            25 => {
                // Across midnight, a new month and the end of a year.
                now = at("2026-11-30T23:59:59.900Z");
                "midnight"
            }
            _ => "time",
        };
        let renew_at = pass(&scene, now, what);
        assert!(renew_at > now && renew_at <= now + 5.minutes(), "{renew_at} after {now}");
        now = if step % 3 == 0 { now + 17.seconds() } else { renew_at };
    }
}

/// Whether the folder holds what a build from nothing gives.
fn is_like_a_fresh_build(scene: &Scene, output: &Path, now: Timestamp) {
    let fresh = tempfile::tempdir().unwrap();
    build(scene, fresh.path(), now);
    let different = differences(&tree(output), &tree(fresh.path()));
    assert!(different.is_empty(), "{different:?}");
}

#[test]
fn that_the_monitor_sees_again_is_published_at_once_and_touches_what_it_covered() {
    let home = tempfile::tempdir().unwrap();
    let mut scene = scene::blind(home.path());
    let output = home.path().join("public");
    let mut publisher = Publisher::new(&scene.config).unwrap();
    publisher.publish(&scene, at("2026-11-21T14:01:00Z")).unwrap();
    let before = tree(&output);
    scene.blind.clear();
    scene.revision += 1;
    let now = at("2026-11-21T14:01:10Z");
    publisher.publish(&scene, now).unwrap();
    let changed = differences(&before, &tree(&output));
    let covered = ["archive", "ask", "bugzilla", "vm-host-1", "website"].map(|id| format!("services/{id}/index.html"));
    let pages: BTreeSet<String> = std::iter::once("index.html".to_owned()).chain(covered).collect();
    assert_eq!(changed, pages, "no probe has come back yet: nothing else is new");
    is_like_a_fresh_build(&scene, &output, now);
}

#[test]
fn what_happens_in_the_middle_of_a_renewal_is_published_before_the_rest_of_it() {
    let home = tempfile::tempdir().unwrap();
    let mut scene = scene::calm(home.path());
    let output = home.path().join("public");
    let page = |service: &str| fs::read(output.join(format!("services/{service}/index.html"))).unwrap();
    let mut publisher = Publisher::new(&scene.config).unwrap();
    publisher.publish(&scene, at("2026-11-21T14:01:00Z")).unwrap();
    let before = tree(&output);
    let now = at("2026-11-21T14:05:00Z");
    let first = publisher.advance(&scene, now, 1).unwrap();
    assert_eq!(first.left, 6, "the first page, then each service");
    let changed = differences(&before, &tree(&output));
    assert!(changed.contains("index.html") && changed.iter().all(|name| !name.starts_with("services/")), "{changed:?}");
    let second = publisher.advance(&scene, now, 1).unwrap();
    assert_eq!((second.written, second.left), (1, 5));
    assert!(page("website") != before["services/website/index.html"]);

    let now = at("2026-11-21T14:05:01Z");
    scene.turn("archive", Down, now - 30.seconds());
    scene.open("2026-11-21-archive", &[("archive", Down)], now - 30.seconds());
    let verdict = publisher.advance(&scene, now, 1).unwrap();
    assert!(verdict.left >= 5 && verdict.revision == scene.revision, "{verdict:?}");
    assert!(output.join("incidents/2026-11-21-archive/index.html").exists());
    assert!(fs::read_to_string(output.join("index.html")).unwrap().contains("2026-11-21-archive"));
    assert!(page("archive") != before["services/archive/index.html"]);
    for later in ["bugzilla", "ask", "lists"] {
        assert!(page(later) == before[&format!("services/{later}/index.html")], "{later}");
    }
    let mut steps = 0;
    while publisher.advance(&scene, now, 1).unwrap().left > 0 {
        steps += 1;
        assert!(steps <= 6);
    }
    is_like_a_fresh_build(&scene, &output, now);
}

#[test]
fn a_renewal_that_a_new_process_finds_half_done_is_gone_on_with_and_nothing_is_forgotten() {
    let home = tempfile::tempdir().unwrap();
    let mut scene = scene::calm(home.path());
    let output = home.path().join("public");
    let new = || Publisher::new(&scene::calm(home.path()).config).unwrap();
    let mut publisher = new();
    publisher.publish(&scene, at("2026-11-21T14:01:00Z")).unwrap();
    for die_after in 1..6 {
        let now = at("2026-11-21T14:00:00Z") + (die_after * 5).minutes();
        for _ in 0..die_after {
            publisher.advance(&scene, now, 1).unwrap();
        }
        // Something happens, and the process is gone before it could publish that.
        let name = format!("2026-11-21-lists-{die_after}");
        scene.turn("lists", Down, now);
        scene.open(&name, &[("lists", Down)], now);
        scene.resolve(&name, now + 2.seconds());
        publisher = new();
        let now = now + 3.seconds();
        let first = publisher.advance(&scene, now, 1).unwrap();
        assert!(output.join(format!("incidents/{name}/index.html")).exists());
        assert!(first.left > 0, "pages that only grew older come later");
        publisher.publish(&scene, now).unwrap();
        is_like_a_fresh_build(&scene, &output, now);
    }
}

#[test]
fn a_renewal_that_never_gets_done_in_time_goes_on_where_it_got_to() {
    let home = tempfile::tempdir().unwrap();
    let scene = scene::calm(home.path());
    let mut publisher = Publisher::new(&scene.config).unwrap();
    let mut now = at("2026-11-21T14:01:00Z");
    publisher.publish(&scene, now).unwrap();
    let before = tree(&home.path().join("public"));
    for _ in 0..3 {
        now += 5.minutes();
        for _ in 0..3 {
            publisher.advance(&scene, now, 1).unwrap();
        }
    }
    let changed = differences(&before, &tree(&home.path().join("public")));
    let services = changed.iter().filter(|name| name.starts_with("services/")).count();
    assert_eq!(services, 6, "each had its turn: {changed:?}");
}

#[test]
fn while_nothing_happens_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    let scene = scene::outage(home.path());
    let mut publisher = Publisher::new(&scene.config).unwrap();
    let first = publisher.publish(&scene, at("2026-11-21T14:00:01Z")).unwrap();
    assert_eq!((first.removed, first.unchanged, first.revision), (0, 0, scene.revision));
    let second = publisher.publish(&scene, at("2026-11-21T14:00:59Z")).unwrap();
    assert_eq!((second.written, second.unchanged), (0, first.written));
    // A restart reads nothing but the manifest and looks whether the files are there.
    let again = Publisher::new(&scene.config).unwrap().publish(&scene, at("2026-11-21T14:00:59Z")).unwrap();
    assert_eq!((again.written, again.unchanged), (0, first.written));
}

#[test]
fn what_shows_the_present_is_renewed_and_what_is_past_rests() {
    let home = tempfile::tempdir().unwrap();
    let scene = scene::outage(home.path());
    let output = home.path().join("public");
    let mut publisher = Publisher::new(&scene.config).unwrap();
    publisher.publish(&scene, at("2026-11-21T14:00:01Z")).unwrap();
    let before = tree(&output);
    publisher.publish(&scene, at("2026-11-21T14:05:00Z")).unwrap();
    let changed = differences(&before, &tree(&output));
    assert!(changed.contains("index.html") && changed.contains("incidents/2026-11-21-vm-host-1/index.html"));
    for name in &changed {
        let shows_the_present = name == "index.html"
            || name.starts_with("services/") && name.ends_with("/index.html")
            || name == "incidents/2026-11-21-vm-host-1/index.html"
            || name.starts_with("api/v2/")
            || name.starts_with("badge/") && name.ends_with("uptime-90d.svg");
        assert!(shows_the_present, "{name}");
    }
    assert!(!changed.contains("api/v2/incidents/2026-11-14-website.json"));
}

#[test]
fn an_old_incident_is_not_read_again_for_news_of_another() {
    let home = tempfile::tempdir().unwrap();
    let mut scene = scene::calm(home.path());
    for n in 0..400 {
        let started_at = at("2025-12-01T00:00:00Z") + (n * 20).hours();
        let name = format!("old-{n}");
        scene.open(&name, &[("website", Down)], started_at);
        scene.resolve(&name, started_at + 10.minutes());
    }
    let mut publisher = Publisher::new(&scene.config).unwrap();
    publisher.publish(&scene, at("2026-11-21T14:00:01Z")).unwrap();
    scene.incidents_read.set(0);
    scene.turn("lists", Down, at("2026-11-21T14:01:00Z"));
    scene.open("2026-11-21-lists", &[("lists", Down)], at("2026-11-21T14:01:00Z"));
    publisher.publish(&scene, at("2026-11-21T14:02:00Z")).unwrap();
    assert!(scene.incidents_read.get() <= 2, "{}", scene.incidents_read.get());
}

#[test]
fn what_is_no_longer_ours_goes_one_pass_later_and_what_never_was_stays() {
    let home = tempfile::tempdir().unwrap();
    let scene = scene::calm(home.path());
    let output = home.path().join("public");
    for name in [".well-known/security.txt", "incidents/note.txt", ".htaccess"] {
        fsio::write(&output.join(name), b"mine").unwrap();
    }
    fsio::write(&output.join("services/.index.html.wb-tmp"), b"half").unwrap();
    build(&scene, &output, at(scene::NOW));
    assert!(!output.join("services/.index.html.wb-tmp").exists());
    let mut smaller = scene::calm(home.path());
    smaller.config.rules.services.retain(|service| service.id.as_str() != "lists");
    smaller.services.remove("lists");
    let first = build(&smaller, &output, at(scene::NOW));
    assert_eq!(first.removed, 0);
    assert!(output.join("services/lists/index.html").exists());
    let second = build(&smaller, &output, at(scene::NOW));
    assert!(second.removed >= 5, "{second:?}");
    assert!(!output.join("services/lists").exists());
    for name in [".well-known/security.txt", "incidents/note.txt", ".htaccess"] {
        assert_eq!(fs::read(output.join(name)).unwrap(), b"mine", "{name}");
    }
}

#[test]
fn a_file_that_somebody_removed_or_cut_comes_back_with_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let scene = scene::calm(home.path());
    let output = home.path().join("public");
    build(&scene, &output, at(scene::NOW));
    let before = tree(&output);
    fs::remove_file(output.join("history/index.html")).unwrap();
    fs::write(output.join("404.html"), b"").unwrap();
    assert_eq!(build(&scene, &output, at(scene::NOW)).written, 2);
    assert_eq!(tree(&output), before);
    fs::remove_dir_all(output.join(".watchbell")).unwrap();
    assert_eq!(build(&scene, &output, at(scene::NOW)).written, 0, "a lost manifest costs no writes");
}

#[test]
fn a_publish_that_fails_leaves_the_old_site_and_says_where_and_why() {
    let home = tempfile::tempdir().unwrap();
    let mut scene = scene::calm(home.path());
    let output = home.path().join("public");
    let mut publisher = Publisher::new(&scene.config).unwrap();
    publisher.publish(&scene, at("2026-11-21T14:01:00Z")).unwrap();
    let before = tree(&output);
    // A file stands where a folder must be.
    fs::write(output.join("incidents/new"), b"mine").unwrap();
    scene.open("new", &[("website", Down)], at("2026-11-21T14:01:30Z"));
    let error = publisher.publish(&scene, at("2026-11-21T14:02:00Z")).unwrap_err().to_string();
    assert!(error.contains("incidents/new/index.html could not be written"), "{error}");
    fs::remove_file(output.join("incidents/new")).unwrap();
    assert_eq!(tree(&output), before);
    publisher.publish(&scene, at("2026-11-21T14:02:00Z")).unwrap();
    assert!(output.join("incidents/new/index.html").exists());
}

#[test]
fn two_publishers_at_once_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let scene = scene::calm(home.path());
    let output = home.path().join("public");
    let lock = fsio::Lock::take(&watchbell::site::manifest::lock_path(&output), "process 7").unwrap();
    let error = Publisher::new(&scene.config).unwrap().publish(&scene, at(scene::NOW)).unwrap_err().to_string();
    assert!(error.ends_with("cannot be published: it is held by process 7"), "{error}");
    drop(lock);
}

#[test]
fn the_operators_templates_and_files_win() {
    let home = tempfile::tempdir().unwrap();
    let mut scene = scene::calm(home.path());
    let (templates, own) = (home.path().join("t"), home.path().join("s"));
    fsio::write(&templates.join("404.html"), b"<!doctype html>{{ base.site_title }} & co").unwrap();
    fsio::write(&templates.join("i18n/en.toml"), b"[page]\nhistory = \"Before\"").unwrap();
    fsio::write(&own.join("robots.txt"), b"mine").unwrap();
    fsio::write(&own.join("deep/er/logo.png"), b"\x89PNG").unwrap();
    scene.config.site.templates = Some(templates.clone());
    scene.config.site.static_files = Some(own);
    let output = home.path().join("public");
    build(&scene, &output, at(scene::NOW));
    let read = |name: &str| fs::read_to_string(output.join(name)).unwrap();
    assert_eq!(read("404.html"), "<!doctype html>Document House & co");
    assert_eq!(read("robots.txt"), "mine");
    assert!(read("index.html").contains(">Before</a>"));
    assert_eq!(fs::read(output.join("deep/er/logo.png")).unwrap(), b"\x89PNG");
    fsio::write(&templates.join("index.html"), b"{{ nope }}").unwrap();
    let error = Publisher::new(&scene.config).unwrap().publish(&scene, at(scene::NOW)).unwrap_err().to_string();
    assert!(error.contains("t/index.html:1: undefined value: `nope` is undefined"), "{error}");
}
