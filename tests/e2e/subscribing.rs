//! Coming, choosing and leaving, as a subscriber meets it: a form, a mail, a button, news, no news.

use std::{fs, net::SocketAddr, path::Path};

use super::{SOON, await_status, write_config};
use crate::support::{
    daemon::{self, Daemon, free_address, json, wait_for},
    http::{self, Answer},
    postfix::Mail,
    target::Target,
};

/// A daemon that watches two services and puts mails into a folder.
pub struct Scene {
    pub folder: tempfile::TempDir,
    pub listen: SocketAddr,
    pub api: Target,
    pub web: Target,
    pub daemon: Daemon,
}

const FORM: &str = "application/x-www-form-urlencoded";

impl Scene {
    pub fn start(extra: &str) -> Self {
        let folder = daemon::folder();
        let (listen, api, web) = (free_address(), Target::start(), Target::start());
        let email = format!("[email]\nfrom = \"Example Status <status@example.org>\"\nsmtp = \"dir:mails\"\n{extra}");
        let check = |target: &Target| format!("http = \"http://{}/\"", target.address);
        write_config(folder.path(), listen, &email, &[("api", check(&api)), ("web", check(&web))]);
        let daemon = Daemon::start(folder.path(), listen);
        await_status(listen, "api", "operational");
        await_status(listen, "web", "operational");
        Self { folder, listen, api, web, daemon }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        http::post(self.listen, path, FORM, body).expect("an answer")
    }

    pub fn get(&self, path: &str) -> Answer {
        http::get(self.listen, path).expect("an answer")
    }

    /// All mails so far, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        let Ok(entries) = fs::read_dir(self.path().join("mails")) else { return Vec::new() };
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "eml"));
        files.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        files.iter().map(|path| Mail { text: fs::read_to_string(path).unwrap().replace("\r\n", "\n") }).collect()
    }

    /// The newest mail with that in its subject, once there is one.
    pub fn await_mail(&self, subject: &str) -> Mail {
        wait_for(&format!("mail about `{subject}`"), SOON, || {
            self.mails().into_iter().rev().find(|mail| mail.header("Subject").unwrap().contains(subject))
        })
    }

    pub fn subjects(&self) -> Vec<String> {
        self.mails().iter().map(|mail| mail.header("Subject").unwrap()).collect()
    }

    pub fn subscribers(&self) -> Vec<serde_json::Value> {
        json(self.path(), &["subscriber", "list", "--json"]).as_array().unwrap().clone()
    }

    /// Subscribes, reads the mail, presses the button; the way to the settings.
    pub fn join(&self, form: &str) -> String {
        assert_eq!(self.post("/subscribe", form).status, 200);
        let link = link(&self.await_mail("Confirm that you want news"), "/confirm/");
        let answer = self.post(&link, "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.text();
        let token = page.split_once("../manage/").unwrap().1.split('"').next().unwrap();
        format!("/manage/{token}")
    }
}

/// The text of a mail with its soft line ends undone.
pub fn text(mail: &Mail) -> String {
    mail.text.replace("=\n", "").replace("=3D", "=")
}

/// The path of a link in a mail that leads below `place`.
pub fn link(mail: &Mail, place: &str) -> String {
    let text = text(mail);
    let (_, rest) = text.split_once(place).unwrap_or_else(|| panic!("no link to {place} in\n{text}"));
    let token: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    format!("{place}{token}")
}

#[test]
fn a_form_a_button_and_news_until_one_leaves() {
    let scene = Scene::start("");
    let page = scene.get("/subscribe/").text();
    assert!(page.contains(&format!("action=\"http://{}/subscribe\"", scene.listen)), "{page}");

    let asked = scene.post("/subscribe", "email=ann%2Bnews%40example.org&service=api&timezone=Europe%2FBerlin");
    assert_eq!(asked.status, 200);
    let mail = scene.await_mail("Confirm that you want news");
    assert_eq!(mail.header("To").unwrap(), "ann+news@example.org");
    assert_eq!(mail.header("Auto-Submitted").unwrap(), "auto-generated");
    assert_eq!(mail.header("List-Unsubscribe"), None, "nobody is on a list who did not say so");
    assert!(text(&mail).contains("You hear of:  Api\n"), "{}", text(&mail));
    assert_eq!(scene.subscribers()[0]["state"], "pending");

    // Looking changes nothing.
    let confirm = link(&mail, "/confirm/");
    for _ in 0..3 {
        let page = scene.get(&confirm);
        assert!(page.status == 200 && page.text().contains("<form class=\"told\" method=\"post\">"), "{}", page.text());
        assert_eq!(page.headers["cache-control"], "no-store");
    }
    assert_eq!(scene.subscribers()[0]["state"], "pending");
    assert_eq!(scene.post(&confirm, "").status, 200);
    assert_eq!(scene.post(&confirm, "").status, 200, "pressed twice");
    let one = &scene.subscribers()[0];
    assert_eq!((one["state"].as_str(), one["timezone"].as_str()), (Some("confirmed"), Some("Europe/Berlin")));
    let welcome = scene.await_mail("You get news from now on");
    assert!(text(&welcome).contains("Nothing that you follow is in trouble now."), "{}", text(&welcome));

    // Somebody who is known gets the way to what they chose, and no other.
    assert_eq!(scene.post("/subscribe", "email=ANN%2Bnews%40example.org&service=web").body, asked.body);
    let settings = link(&scene.await_mail("What you hear of"), "/manage/");
    assert_eq!(scene.subscribers()[0]["services"], serde_json::json!(["api"]), "only they change it");
    let page = scene.get(&settings).text();
    assert!(page.contains("value=\"api\" checked>") && page.contains("value=\"web\">"), "{page}");
    let saved = scene.post(&settings, "service=web&kinds=incidents&min_impact=minor&do=save").text();
    assert!(saved.contains("role=\"status\">Saved.") && saved.contains("value=\"web\" checked>"), "{saved}");
    let wrong = scene.post(&settings, "service=web&do=save");
    assert!(wrong.status == 400 && wrong.text().contains("Choose incidents, planned work, or both."));

    // They hear of what they follow now, and of nothing else.
    scene.api.answers(503);
    await_status(scene.listen, "api", "major_outage");
    scene.web.answers(503);
    scene.await_mail("Outage: Web");
    scene.web.answers(200);
    scene.await_mail("Resolved: Web");
    assert!(!scene.subjects().iter().any(|subject| subject.contains("Api")), "{:?}", scene.subjects());

    let before = scene.mails().len();
    let left = scene.post(&settings, "do=leave");
    assert!(left.status == 200 && left.text().contains("Unsubscribed"), "{}", left.text());
    assert!(scene.subscribers().is_empty());
    for gone in [&settings, &confirm] {
        assert_eq!(scene.post(gone, "").status, 410, "{gone}");
    }
    scene.web.answers(503);
    await_status(scene.listen, "web", "major_outage");
    scene.web.answers(200);
    await_status(scene.listen, "web", "operational");
    let (status, _) = scene.daemon.terminate();
    assert!(status.success());
    let after = fs::read_dir(scene.folder.path().join("mails")).unwrap().count();
    assert_eq!(after, before, "nothing more comes");
}

#[test]
fn who_confirms_in_the_middle_of_an_outage_reads_of_it_in_the_welcome_and_then_of_its_end() {
    let scene = Scene::start("");
    scene.api.answers(503);
    await_status(scene.listen, "api", "major_outage");
    scene.join("email=ann@example.org");
    let welcome = scene.await_mail("You get news from now on. Api is down");
    let said = text(&welcome);
    for words in ["Api is down.", "What: Outage (HTTP 503)", "Since: ", "/incidents/", "Unsubscribe: "] {
        assert!(said.contains(words), "no `{words}` in\n{said}");
    }
    scene.api.answers(200);
    scene.await_mail("Resolved: Api");
    let subjects = scene.subjects();
    assert_eq!(subjects.len(), 3, "a confirmation, a welcome, an end: {subjects:?}");
    assert!(subjects[2].contains("Resolved: Api (was down"), "{subjects:?}");
}
