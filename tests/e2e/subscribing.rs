//! Coming, choosing and leaving, as a subscriber meets it: a form, a mail, a button, news, no news.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use super::{SOON, await_status, pages::browse, write_config};
use crate::skip;
use crate::support::{
    daemon::{self, Daemon, free_address, json, ok, wait_for},
    http::{self, Answer},
    postfix::{self, Mail, Postfix},
    skip::program,
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
        Self::telling("dir:mails", extra)
    }

    /// One that hands mails to `smtp`.
    pub fn telling(smtp: &str, extra: &str) -> Self {
        Self::of_site(smtp, extra, "")
    }

    /// The same, with more keys in `[site]`.
    fn of_site(smtp: &str, extra: &str, site: &str) -> Self {
        let folder = daemon::folder();
        let (listen, api, web) = (free_address(), Target::start(), Target::start());
        let email = format!("[email]\nfrom = \"Example Status <status@example.org>\"\nsmtp = \"{smtp}\"\n{extra}");
        let check = |target: &Target| format!("http = \"http://{}/\"", target.address);
        write_config(folder.path(), listen, &email, &[("api", check(&api)), ("web", check(&web))]);
        let config = folder.path().join("watchbell.toml");
        let text = fs::read_to_string(&config).unwrap().replace("[site]\n", &format!("[site]\n{site}\n"));
        fs::write(&config, text).unwrap();
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

    /// The same by way of a proxy on this machine, which says that it comes from `client`.
    pub fn post_from(&self, client: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "POST /subscribe HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nX-Forwarded-For: 9.9.9.9, {client}\r\n\
             Content-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        http::send(self.listen, &request).expect("an answer")
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

/// The plain text of a mail in any language.
fn decoded(mail: &Mail) -> String {
    let text = mail.text.split_once("Content-Type: text/plain").unwrap().1.split("\n--=_watchbell_").next().unwrap();
    let text = text.split_once("\n\n").unwrap().1.replace("=\n", "");
    let mut bytes = Vec::new();
    let mut pieces = text.split('=');
    bytes.extend(pieces.next().unwrap().bytes());
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend(piece[2..].bytes());
    }
    String::from_utf8(bytes).unwrap()
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

#[test]
fn whoever_is_bombed_ends_it_with_one_click_and_others_subscribe_as_before() {
    let scene = Scene::start("");
    for n in 0..30 {
        scene.post_from(&format!("10.{n}.0.1"), &format!("email=victim%2B{n}%40example.org"));
    }
    let mail = scene.await_mail("Confirm that you want news");
    assert!(text(&mail).contains("Never write to this address again: "), "{}", text(&mail));
    assert_eq!(mail.header("List-Unsubscribe"), None, "no program presses it on its own");
    let stop = link(&mail, "/unsubscribe/");
    let page = scene.get(&stop);
    assert!(page.status == 200 && page.text().contains("<form class=\"told\" method=\"post\">"));
    assert_eq!(scene.post(&stop, "").status, 200);
    for n in 30..60 {
        scene.post_from(&format!("10.{n}.0.1"), "email=victim%40example.org");
    }
    assert_eq!(scene.post("/subscribe", "email=honest@example.org").status, 200);
    let confirmation = wait_for("mail for somebody else", SOON, || {
        scene.mails().into_iter().find(|mail| mail.header("To").unwrap() == "honest@example.org")
    });
    assert_eq!(scene.post(&link(&confirmation, "/confirm/"), "").status, 200);
    scene.await_mail("You get news from now on");
    // Requests are answered in order: whatever was to come of the others has come.
    let to_victim = scene.mails().iter().filter(|mail| mail.header("To").unwrap().starts_with("victim")).count();
    assert!((1..=3).contains(&to_victim), "{to_victim}");
    assert!(!ok(scene.path(), &["subscriber", "list"]).contains("victim@"), "nobody was even taken down");
}

#[test]
fn a_reader_of_german_on_an_english_site_gets_german_mails_and_pages_in_their_zone() {
    let scene = Scene::of_site("dir:mails", "", "languages = [\"de\"]");
    let form = scene.get("/subscribe/").text();
    assert!(form.contains("<option value=\"en\" lang=\"en\">English</option>"), "{form}");
    assert!(form.contains("<option value=\"de\" lang=\"de\">Deutsch</option>"), "{form}");

    let form = "email=ann%40example.org&service=api&language=de&timezone=Europe%2FBerlin";
    let asked = scene.post("/subscribe", form).text();
    assert!(asked.contains("<html lang=\"en\""), "the answer is as the form was: {asked}");
    let mail = wait_for("the first mail", SOON, || scene.mails().into_iter().next());
    assert_eq!(mail.header("Content-Language").unwrap(), "de");
    let said = decoded(&mail);
    for words in ["Möchten Sie Nachrichten von Example Status?", "Zeitzone:        Europe/Berlin\n", " CE"] {
        assert!(said.contains(words), "no `{words}` in\n{said}");
    }
    // Who opens it is not known before they press the button.
    let confirm = link(&mail, "/confirm/");
    assert!(scene.get(&confirm).text().contains("<html lang=\"en\""));
    let confirmed = scene.post(&confirm, "").text();
    assert!(confirmed.contains("<html lang=\"de\"") && confirmed.contains("<h1>Bestätigt</h1>"), "{confirmed}");
    let welcome = decoded(&scene.await_mail("Sie bekommen ab jetzt Nachrichten"));
    assert!(welcome.contains("Nichts von dem, was Sie abonniert haben, ist zurzeit gestört."), "{welcome}");

    scene.api.answers(503);
    let outage = decoded(&scene.await_mail("Ausfall: Api"));
    for words in ["Api ist ausgefallen.", "  Ausfall (HTTP 503)\n", " UTC)\n", "Auf der Statusseite verfolgen:\n"] {
        assert!(outage.contains(words), "no `{words}` in\n{outage}");
    }
    let since = outage.lines().find(|line| line.starts_with("Seit:")).unwrap();
    assert!(since.contains(" CET (") || since.contains(" CEST ("), "{since}");
    scene.api.answers(200);
    let over = decoded(&scene.await_mail("Behoben: Api (Ausfall von"));
    assert!(over.contains("Api ist nach ") && over.contains(" wieder da."), "{over}");

    let manage = confirmed.split_once("../manage/").unwrap().1.split('"').next().unwrap();
    let manage = format!("/manage/{manage}");
    let page = scene.get(&manage).text();
    assert!(page.contains("<h1>Ihre Einstellungen</h1>"), "{page}");
    assert!(page.contains("<option value=\"de\" lang=\"de\" selected>Deutsch</option>"), "{page}");
    let english = scene.post(&manage, "service=api&kinds=incidents&language=en&do=save").text();
    assert!(english.contains("role=\"status\">Saved."), "at once in the language that was chosen: {english}");
    let german = scene.post(&manage, "service=api&kinds=incidents&language=de&do=save").text();
    assert!(german.contains("role=\"status\">Gespeichert."), "{german}");
    let left = scene.post(&manage, "do=leave").text();
    assert!(left.contains("<html lang=\"de\"") && left.contains("<h1>Abbestellt</h1>"), "{left}");
    let subjects = scene.subjects();
    assert_eq!(subjects.len(), 4, "{subjects:?}");
}

/// An answer without its date.
fn answer_without_date(answer: &Answer) -> Answered {
    let mut headers = answer.headers.clone();
    headers.remove("date");
    (answer.status, headers, answer.body.clone())
}

type Answered = (u16, BTreeMap<String, String>, Vec<u8>);

/// How long a request for each kind of address takes when nothing holds it up.
fn quick(
    scene: &Scene,
    rounds: std::ops::Range<usize>,
    answers: &mut BTreeSet<Answered>,
) -> BTreeMap<&'static str, Duration> {
    let kinds = ["new", "pending", "known", "suspended", "left", "nowhere"];
    let mut took: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for round in rounds {
        for n in 0..kinds.len() {
            // Now in one order, now in the other, and each first in its turn.
            let step = if round % 2 == 0 { n } else { kinds.len() - n };
            let kind = kinds[(step + round) % kinds.len()];
            let address = match kind {
                "new" => format!("new{round}%40example.org"),
                "nowhere" => format!("a%40nowhere{round}.invalid"),
                kind => format!("{kind}%40example.org"),
            };
            let began = Instant::now();
            let answer = scene.post_from(&format!("10.{n}.{round}.1"), &format!("email={address}"));
            took.entry(kind).or_default().push(began.elapsed());
            answers.insert(answer_without_date(&answer));
        }
    }
    let tenth = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 10]
    };
    took.into_iter().map(|(kind, times)| (kind, tenth(times))).collect()
}

#[test]
fn every_kind_of_address_gets_the_same_answer_in_the_same_time() {
    let scene = Scene::start("");
    for kind in ["known", "suspended", "left"] {
        ok(scene.path(), &["subscriber", "add", &format!("{kind}@example.org")]);
    }
    ok(scene.path(), &["subscriber", "remove", "left@example.org"]);
    fs::write(scene.path().join("list.csv"), "email,state\nsuspended@example.org,suspended\n").unwrap();
    ok(scene.path(), &["subscriber", "import", "list.csv"]);
    fs::write(scene.path().join("list.csv"), "email,state\npending@example.org,pending\n").unwrap();
    ok(scene.path(), &["subscriber", "import", "list.csv"]);
    let states: BTreeSet<String> =
        scene.subscribers().iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states.len(), 3, "{states:?}");

    // A busy machine may hold up one kind or another now and then; work that one kind costs and another
    // does not would show each time.
    let (mut rounds, mut answers) = (0, BTreeSet::new());
    let mut took = BTreeMap::new();
    let is_equal = (0..6).any(|_| {
        took = quick(&scene, rounds..rounds + 60, &mut answers);
        rounds += 60;
        let (least, most) = (*took.values().min().unwrap(), *took.values().max().unwrap());
        most < least + least / 4 + Duration::from_millis(1)
    });
    assert!(is_equal, "{took:?}");
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().unwrap().0, 200);

    // At most three mails to each, and none to whoever is nowhere but to their relay.
    let mut mails: BTreeMap<String, usize> = BTreeMap::new();
    wait_for("answers by mail", SOON, || {
        mails = BTreeMap::new();
        for mail in scene.mails() {
            *mails.entry(mail.header("To").unwrap()).or_default() += 1;
        }
        (mails.len() == 4 + 2 * rounds).then_some(())
    });
    for kind in ["pending", "known", "suspended", "left"] {
        assert_eq!(mails[&format!("{kind}@example.org")], 3, "{kind}");
    }
}

#[test]
fn what_a_client_says_of_itself_changes_nothing() {
    let scene = Scene::start("");
    let config = fs::read_to_string(scene.path().join("watchbell.toml")).unwrap();
    fs::write(scene.path().join("watchbell.toml"), config.replace("[server]\n", "[server]\ntrusted_proxies = []\n"))
        .unwrap();
    scene.daemon.signal("HUP");
    // Whoever is no proxy speaks for itself alone, whatever it says.
    wait_for("an end to what one client may ask", SOON, || {
        let refused = (0..25).filter(|n| scene.post_from(&format!("10.0.{n}.1"), "email=a@example.org").status == 429);
        (refused.count() > 0).then_some(())
    });
    let answer = scene.post_from("10.9.9.9", "email=a@example.org");
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (429, "3600"));
    let mail = scene.await_mail("Confirm that you want news");
    assert!(!mail.text.contains("evil.example"), "{}", mail.text);
    assert!(text(&mail).contains(&format!("http://{}/confirm/", scene.listen)));
}

/// Sends the same request again and again over one connection; how many were answered with `200`.
fn fetch(listen: SocketAddr, request: &str, times: usize) -> usize {
    let mut stream = TcpStream::connect(listen).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let is_head = request.starts_with("HEAD");
    let (mut buffer, mut good) = (vec![0; 256 * 1024], 0);
    for _ in 0..times {
        stream.write_all(request.as_bytes()).unwrap();
        let mut got = 0;
        loop {
            let read = stream.read(&mut buffer[got..]).unwrap();
            assert!(read > 0, "the connection stays open");
            got += read;
            let text = String::from_utf8_lossy(&buffer[..got]);
            let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.to_lowercase().split_once("content-length: ").unwrap().1.to_owned();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if is_head || got >= head.len() + 4 + length {
                good += usize::from(head.starts_with("HTTP/1.1 200"));
                break;
            }
        }
    }
    good
}

#[test]
fn ten_thousand_fetches_of_every_link_confirm_nobody_and_remove_nobody() {
    let scene = Scene::start("");
    scene.join("email=ann@example.org");
    let welcome = scene.await_mail("You get news from now on");
    assert_eq!(scene.post("/subscribe", "email=ben@example.org").status, 200);
    let asks_ben = || {
        let mails = scene.mails();
        mails.into_iter().find(|mail| mail.header("To").unwrap() == "ben@example.org")
    };
    let confirm = link(&wait_for("a mail to ben", SOON, asks_ben), "/confirm/");
    let before = scene.subscribers();
    let links = [confirm, link(&welcome, "/manage/"), link(&welcome, "/unsubscribe/")];
    std::thread::scope(|threads| {
        for link in &links {
            for (method, query) in [("GET", ""), ("HEAD", ""), ("GET", "?do=leave&List-Unsubscribe=One-Click")] {
                let request = format!("{method} {link}{query} HTTP/1.1\r\nHost: x\r\n\r\n");
                threads.spawn(move || assert_eq!(fetch(scene.listen, &request, 3_334), 3_334, "{request}"));
            }
        }
    });
    assert_eq!(scene.subscribers(), before);
    let states: Vec<_> = before.iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["confirmed", "pending"]);
}

#[test]
fn a_kill_right_after_the_answer_loses_no_request() {
    let scene = Scene::start("");
    for n in 0..3 {
        assert_eq!(scene.post("/subscribe", &format!("email=a{n}@example.org")).status, 200);
    }
    let Scene { folder, listen, api, web, daemon } = scene;
    daemon.kill();
    let daemon = Daemon::start(folder.path(), listen);
    let scene = Scene { folder, listen, api, web, daemon };
    wait_for("all mails", SOON, || {
        let to: BTreeSet<String> = scene.mails().iter().map(|mail| mail.header("To").unwrap()).collect();
        (to.len() == 3).then_some(())
    });
}

#[test]
fn a_reader_with_a_browser_and_a_mailbox_comes_chooses_and_leaves() {
    if let Err(why) = postfix::installed() {
        skip!("{why}");
    }
    let (Some(node), Some(_)) = (program("node"), program("chromium")) else { skip!("no browser") };
    let boxes = daemon::folder();
    let postfix = Postfix::start(boxes.path());
    let scene = Scene::telling(&format!("smtp://{}", postfix.address), "");
    let send = |url: String, fill: serde_json::Value, button: &str| {
        let page = serde_json::json!({ "url": url, "fill": fill, "submit": true, "button": button });
        let job = serde_json::json!({ "pages": [page], "widths": [390], "schemes": ["light"] });
        fs::write(scene.path().join("job.json"), job.to_string()).unwrap();
        browse(&node, &["audit".as_ref(), scene.path().join("job.json").as_ref()]);
    };
    let url = |path: &str| format!("http://{}{path}", scene.listen);
    let nothing = serde_json::json!({});
    send(url("/subscribe/"), serde_json::json!({ "email": "ann+status@example.org" }), "");
    let mails = postfix.wait_for_mails(1, SOON);
    assert_eq!(mails[0].recipient(), "ann+status@example.org");
    let confirm = link(&mails[0], "/confirm/");
    send(url(&confirm), nothing.clone(), "");
    let mails = postfix.wait_for_mails(2, SOON);
    let manage = link(&mails[1], "/manage/");
    scene.api.answers(503);
    await_status(scene.listen, "api", "major_outage");
    let mails = postfix.wait_for_mails(3, SOON);
    assert!(mails[2].header("Subject").unwrap().contains("Outage: Api"), "{mails:?}");
    send(url(&manage), nothing.clone(), "button[value=save]");
    send(url(&manage), nothing, "button[value=leave]");
    assert!(scene.subscribers().is_empty());
    scene.api.answers(200);
    await_status(scene.listen, "api", "operational");
    assert!(scene.daemon.terminate().0.success());
    assert_eq!(postfix.mails().len(), 3, "nothing more comes");
}
