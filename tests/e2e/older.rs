//! An older copy of the store, put back by hand while the site went on: its past is not told again,
//! and what begins afterwards is.

use std::{fs, net::SocketAddr, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::{SOON, await_status, write_config};
use crate::support::{
    daemon::{self, Daemon, free_address, ok, wait_for},
    target::Target,
};

struct Scene {
    folder: tempfile::TempDir,
    listen: SocketAddr,
    target: Target,
}

impl Scene {
    fn new() -> Self {
        let (folder, listen, target) = (daemon::folder(), free_address(), Target::start());
        let email = "[email]\nfrom = \"status@example.org\"\nsmtp = \"dir:mails\"\n";
        write_config(folder.path(), listen, email, &[("api", format!("http = \"http://{}/\"", target.address))]);
        ok(folder.path(), &["-q", "subscriber", "add", "ann@example.org"]);
        Self { folder, listen, target }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&self) -> Daemon {
        Daemon::start(self.path(), self.listen)
    }

    /// Waits until the store knows of one incident, and that it is in this status.
    fn await_incident(&self, status: &str) {
        wait_for(&format!("an incident that is {status}"), SOON, || {
            let found = super::incidents(self.path());
            (found.len() == 1 && found[0]["status"] == status).then_some(())
        });
    }

    /// A copy of the store as it is, by the database's own means; the daemon may run.
    fn copy_out(&self) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = Connection::open_with_flags(self.path().join("watchbell.db"), flags).unwrap();
        let mut copy = Connection::open(self.path().join("older.db")).unwrap();
        let copying = rusqlite::backup::Backup::new(&db, &mut copy).unwrap();
        copying.run_to_completion(10_000, std::time::Duration::ZERO, None).unwrap();
    }

    /// Puts it back as somebody would who knows no better.
    fn copy_back(&self) {
        for left in ["watchbell.db-wal", "watchbell.db-shm"] {
            let _ = fs::remove_file(self.path().join(left));
        }
        fs::copy(self.path().join("older.db"), self.path().join("watchbell.db")).unwrap();
    }

    fn fails(&self) {
        self.target.answers(503);
        await_status(self.listen, "api", "major_outage");
    }

    fn recovers(&self) {
        self.target.answers(200);
        await_status(self.listen, "api", "operational");
    }

    /// The subjects of all mails so far, oldest first.
    fn subjects(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path().join("mails")) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|ending| ending == "eml"));
        names.sort();
        let subject = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned();
            line.replace("[Example Status] ", "").split(" (").next().unwrap().to_owned()
        };
        names.iter().filter_map(|path| fs::read_to_string(path).ok()).map(subject).collect()
    }

    fn await_subjects(&self, wanted: &[&str]) {
        wait_for(&format!("{wanted:?}"), SOON, || (self.subjects() == wanted).then_some(()));
    }

    /// Waits until the published feed has so many entries.
    fn await_shown(&self, entries: usize) {
        wait_for(&format!("{entries} entries"), SOON, || {
            let text = fs::read_to_string(self.path().join("public/feed.json")).ok()?;
            let feed: serde_json::Value = serde_json::from_str(&text).unwrap();
            (feed["items"].as_array().unwrap().len() == entries).then_some(())
        });
    }

    /// Waits until all that is known has been told or will not be.
    fn await_rest(&self) {
        wait_for("an empty queue", SOON, || {
            let queue = daemon::json(self.path(), &["-q", "notify", "queue", "--json"]);
            (queue["waiting"] == 0 && queue["sending"] == 0).then_some(())
        });
    }
}

const OUTAGE: &str = "Outage: Api";
const OVER: &str = "Resolved: Api";

#[test]
fn an_outage_since_the_copy_is_not_told_again_and_the_next_one_is() {
    let scene = Scene::new();
    let daemon = scene.start();
    await_status(scene.listen, "api", "operational");
    scene.copy_out();
    scene.fails();
    scene.recovers();
    scene.await_subjects(&[OUTAGE, OVER]);
    assert!(daemon.terminate().0.success());
    scene.copy_back();
    let daemon = scene.start();
    assert!(daemon.log().contains("an older store was put in its place"), "{}", daemon.log());
    scene.await_rest();
    assert_eq!(scene.subjects(), [OUTAGE, OVER]);
    scene.fails();
    scene.recovers();
    scene.await_subjects(&[OUTAGE, OVER, OUTAGE, OVER]);
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_copy_from_the_middle_of_an_outage_tells_its_end_to_nobody_twice() {
    let scene = Scene::new();
    let daemon = scene.start();
    await_status(scene.listen, "api", "operational");
    scene.fails();
    scene.await_subjects(&[OUTAGE]);
    scene.await_rest();
    scene.copy_out();
    scene.recovers();
    scene.await_subjects(&[OUTAGE, OVER]);
    assert!(daemon.terminate().0.success());
    scene.copy_back();
    // Nor after a death at once: what the site showed is in the store by then.
    scene.start().kill();
    let daemon = scene.start();
    scene.await_incident("resolved");
    scene.await_rest();
    assert_eq!(scene.subjects(), [OUTAGE, OVER]);
    scene.fails();
    wait_for("the next outage told", SOON, || (scene.subjects().len() == 3).then_some(()));
    assert!(daemon.terminate().0.success());
}

#[test]
fn an_outage_that_goes_on_is_not_told_again_and_its_end_is() {
    let scene = Scene::new();
    let daemon = scene.start();
    await_status(scene.listen, "api", "operational");
    scene.copy_out();
    scene.fails();
    scene.await_subjects(&[OUTAGE]);
    assert!(daemon.terminate().0.success());
    scene.copy_back();
    let daemon = scene.start();
    scene.await_incident("investigating");
    scene.await_rest();
    assert_eq!(scene.subjects(), [OUTAGE]);
    scene.recovers();
    wait_for("the end", SOON, || (scene.subjects().len() == 2).then_some(()));
    assert!(scene.subjects()[1].contains("Api"), "{:?}", scene.subjects());
    assert!(daemon.terminate().0.success());
}

#[test]
fn what_people_wrote_since_the_copy_is_not_told_again_and_what_they_write_afterwards_is() {
    let scene = Scene::new();
    let daemon = scene.start();
    await_status(scene.listen, "api", "operational");
    scene.copy_out();
    let note = scene.path().join("notes/incidents/logins.toml");
    let text = "title = \"Logins fail\"\nservices = [\"api\"]\nimpact = \"minor\"\n\n[[update]]\ntext = \"We look.\"\n";
    fs::create_dir_all(note.parent().unwrap()).unwrap();
    fs::write(&note, text).unwrap();
    wait_for("a first mail", SOON, || (scene.subjects().len() == 1).then_some(()));
    fs::write(&note, format!("{text}\n[[update]]\nstatus = \"identified\"\ntext = \"Found it.\"\n")).unwrap();
    wait_for("a second mail", SOON, || (scene.subjects().len() == 2).then_some(()));
    scene.await_shown(2);
    assert!(daemon.terminate().0.success());
    scene.copy_back();
    let daemon = Daemon::start(scene.path(), scene.listen);
    wait_for("the note read anew", SOON, || super::incidents(scene.path()).first().cloned());
    scene.await_rest();
    assert_eq!(scene.subjects().len(), 2, "{:?}", scene.subjects());
    let more = "\n[[update]]\nstatus = \"identified\"\ntext = \"Found it.\"\n\n[[update]]\nstatus = \"resolved\"\ntext = \"Mended.\"\n";
    fs::write(&note, format!("{text}{more}")).unwrap();
    wait_for("a third mail", SOON, || (scene.subjects().len() == 3).then_some(()));
    assert!(daemon.terminate().0.success());
}
