//! The mail queue as operators see and move it, while the daemon runs: what is said when mail does not
//! leave, and what they can do about it.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{SOON, await_status, write_config};
use crate::support::{
    daemon::{self, Daemon, free_address, json, ok, wait_for, watchbell},
    http,
    smtp::{self, Act, Mail, Moment, Server, Setup},
    target::Target,
};

const PEOPLE: usize = 12;

/// A daemon with a mail server that refuses until it is mended.
struct Scene {
    folder: tempfile::TempDir,
    listen: SocketAddr,
    metrics: SocketAddr,
    target: Target,
    server: Server,
    is_mended: Arc<AtomicBool>,
    certificate: std::path::PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Scene {
    /// With a server that says to what `refuses` knows what it gives.
    fn new(email: &str, refuses: impl Fn(&Moment) -> Option<&'static str> + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = Arc::clone(&is_mended);
        let script = move |moment: &Moment| match refuses(moment) {
            Some(text) if !mended.load(Ordering::SeqCst) => Act::Say(text),
            _ => Act::Usual,
        };
        let (folder, listen, metrics, target) = (daemon::folder(), free_address(), free_address(), Target::start());
        let (certificate, acceptor) = smtp::tls(&["localhost"]);
        let pem = folder.path().join("mail.pem");
        let body = STANDARD.encode(&certificate);
        fs::write(&pem, format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")).unwrap();
        let setup =
            Setup { script: Some(Box::new(script)), tls: Some((acceptor, true)), extensions: vec!["AUTH PLAIN"] };
        let server = runtime.block_on(Server::start(setup));
        let tables = format!(
            "[operator]\nnotify = [\"ops@example.org\"]\n\n[email]\nfrom = \"status@example.org\"\nsmtp = \
             \"smtps://localhost:{}\"\n{email}",
            server.address.port()
        );
        write_config(folder.path(), listen, &tables, &[("api", format!("http = \"http://{}/\"", target.address))]);
        let config = folder.path().join("watchbell.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(config, text.replace("[server]\n", &format!("[server]\nmetrics = \"{metrics}\"\n"))).unwrap();
        let mut people = "email\n".to_owned();
        (0..PEOPLE).for_each(|n| writeln!(people, "person-{n}@example.org").unwrap());
        fs::write(folder.path().join("people.csv"), people).unwrap();
        ok(folder.path(), &["-q", "subscriber", "import", "people.csv"]);
        Self { folder, listen, metrics, target, server, is_mended, certificate: pem, _runtime: runtime }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&self) -> Daemon {
        let vouched: &OsStr = self.certificate.as_os_str();
        Daemon::start_with(self.path(), self.listen, &[("SSL_CERT_FILE", vouched)])
    }

    /// Everyone is to be told of an outage.
    fn fails(&self) {
        await_status(self.listen, "api", "operational");
        self.target.answers(503);
        await_status(self.listen, "api", "major_outage");
    }

    fn queue(&self) -> Value {
        json(self.path(), &["-q", "notify", "queue", "--json"])
    }

    /// Waits until operators are to know that mail is paused.
    fn await_pause(&self) -> Value {
        wait_for("a pause that is told", SOON, || {
            let queue = self.queue();
            let is_tried = queue["paused"]["tries"].as_u64().is_some_and(|tries| tries > 0);
            (is_tried && queue["sending"] == 0).then_some(queue)
        })
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = http::get(self.metrics, "/metrics")?.text();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    fn await_metric(&self, name: &str, wanted: f64) {
        wait_for(&format!("{name} {wanted}"), SOON, || {
            self.metric(name).filter(|found| (found - wanted).abs() < 0.5).map(drop)
        });
    }

    fn told(&self) -> Vec<Mail> {
        self.server.taken().into_iter().filter(|mail| mail.to != "ops@example.org").collect()
    }

    fn operators(&self) -> Vec<String> {
        let subject = |mail: &Mail| {
            let text = mail.text.replace("\r\n ", " ");
            text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
        };
        self.server.taken().iter().filter(|mail| mail.to == "ops@example.org").map(subject).collect()
    }
}

fn err(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What everyone can see of a pause while it lasts, and what comes of `resume` once it is mended.
fn paused_seen_and_ended(scene: &Scene, cause: &str, why: &str, said: &str) {
    let daemon = scene.start();
    scene.fails();
    let queue = scene.await_pause();
    assert_eq!((&queue["paused"]["cause"], &queue["waiting"]), (&cause.into(), &PEOPLE.into()), "{queue:#}");
    assert!(queue["paused"]["said"].as_str().unwrap().contains(said), "{queue:#}");
    assert_eq!(queue["events"][0]["kind"], "opened", "{queue:#}");
    let text = ok(scene.path(), &["notify", "queue"]);
    for part in ["mail is paused since ", why, said, "12 waiting", " opened of ", "api"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("person-"), "{text}");
    let check = watchbell(scene.path(), &["check"]);
    assert!(check.status.success() && err(&check).contains("mail is paused since "), "{}", err(&check));
    scene.await_metric("watchbell_outbox_paused", 1.0);
    scene.await_metric("watchbell_outbox_pending", 12.0);
    assert_eq!(http::get(scene.listen, "/healthz").unwrap().status, 200, "probes run, and the store writes");
    let log = daemon.log();
    assert_eq!(log.matches("Mail is paused").count(), 1, "{log}");
    assert!(!log.contains("person-"), "{log}");

    // It is the same pause after a restart.
    let since = queue["paused"]["since"].clone();
    assert!(daemon.terminate().0.success());
    let before = scene.queue()["paused"].clone();
    assert_eq!(before["since"], since, "also while nothing runs");
    let daemon = scene.start();
    let after = wait_for("a try of the new start", SOON, || {
        let paused = scene.queue()["paused"].clone();
        (paused["tries"].as_u64() > before["tries"].as_u64()).then_some(paused)
    });
    assert_eq!(after["since"], since);
    assert_eq!(daemon.log().matches("Mail is paused").count(), 1, "told once");
    assert!(scene.told().is_empty());

    scene.is_mended.store(true, Ordering::SeqCst);
    ok(scene.path(), &["notify", "resume"]);
    wait_for("everyone told", Duration::from_secs(15), || (scene.told().len() == PEOPLE).then_some(()));
    wait_for("operators told", SOON, || {
        scene.operators().iter().any(|subject| subject.contains("Mail goes on")).then_some(())
    });
    scene.await_metric("watchbell_outbox_paused", 0.0);
    scene.await_metric("watchbell_outbox_pending", 0.0);
    scene.await_metric("watchbell_deliveries_total{result=\"sent\"}", 12.0);
    assert_eq!(scene.queue()["paused"], Value::Null);
    assert!(err(&watchbell(scene.path(), &["notify", "resume"])).contains("not paused"));
    let mails = scene.server.taken();
    let over = mails.iter().find(|mail| mail.text.contains("Mail goes on")).unwrap();
    assert!(over.text.replace("=\r\n", "").contains("12 messages waited meanwhile"), "{}", over.text);
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_login_that_is_refused_is_seen_everywhere_told_once_and_over_at_once_when_mended() {
    let refuses = |moment: &Moment| match moment {
        Moment::Command(text) if text.starts_with("AUTH") => Some("535 5.7.8 bad credentials"),
        _ => None,
    };
    let scene = Scene::new("username = \"status\"\npassword = \"correct horse\"\n", refuses);
    paused_seen_and_ended(&scene, "ours", "the mail server refuses our mail", "535 5.7.8 bad credentials");
}

#[test]
fn a_sender_that_is_refused_is_seen_everywhere_told_once_and_over_at_once_when_mended() {
    let refuses = |moment: &Moment| match moment {
        Moment::Command(text) if text.starts_with("MAIL") => Some("553 5.7.1 sender not owned by you"),
        _ => None,
    };
    paused_seen_and_ended(&Scene::new("", refuses), "ours", "the mail server refuses our mail", "553 5.7.1 sender");
}

#[test]
fn when_too_many_are_refused_operators_hear_of_it_by_mail_while_the_queue_rests() {
    let refuses = |moment: &Moment| match moment {
        Moment::Command(text) if text.starts_with("RCPT TO:<person-") => Some("550 5.1.1 the user table is empty"),
        _ => None,
    };
    let scene = Scene::new("", refuses);
    let daemon = scene.start();
    scene.fails();
    let queue = scene.await_pause();
    assert_eq!(queue["paused"]["cause"], "refusals", "{queue:#}");
    wait_for("operators told", SOON, || (!scene.operators().is_empty()).then_some(()));
    assert!(scene.operators()[0].contains("refuses too many recipients"), "{:?}", scene.operators());
    let retried = &queue["events"][0]["retried"];
    assert_eq!(retried[0]["reason"], "gone", "{queue:#}");
    let states = ok(scene.path(), &["subscriber", "list", "--state", "suspended"]);
    assert_eq!(states, "", "nobody is suspended for it");
    scene.is_mended.store(true, Ordering::SeqCst);
    ok(scene.path(), &["notify", "resume"]);
    ok(scene.path(), &["notify", "retry", "--all"]);
    wait_for("everyone told", Duration::from_secs(15), || (scene.told().len() == PEOPLE).then_some(()));
    wait_for("operators told of the end", SOON, || (scene.operators().len() == 2).then_some(()));
    assert!(scene.operators()[1].contains("Mail goes on"), "{:?}", scene.operators());
    assert!(daemon.terminate().0.success());
}

#[test]
fn what_was_given_up_is_shown_by_class_and_tried_again_or_dropped_by_hand() {
    let refuses = |moment: &Moment| match moment {
        Moment::Command(text) if text.starts_with("RCPT TO:<person-3@") => Some("550 5.2.1 mailbox disabled"),
        Moment::Command(text) if text.starts_with("RCPT TO:<person-4@") => Some("450 4.2.0 come back later"),
        _ => None,
    };
    let scene = Scene::new("", refuses);
    let daemon = scene.start();
    scene.fails();
    let queue = wait_for("all but one told", SOON, || {
        let queue = scene.queue();
        (scene.told().len() == PEOPLE - 2 && queue["given_up"] == 1 && queue["events"][0]["retried"][0]["count"] == 1)
            .then_some(queue)
    });
    assert_eq!(queue["refused"][0]["reason"], "never", "{queue:#}");
    let delivery = queue["refused"][0]["latest"][0]["delivery"].as_str().unwrap().to_owned();
    let subscriber = queue["refused"][0]["latest"][0]["subscriber"].as_str().unwrap();
    let people = json(scene.path(), &["subscriber", "list", "--json"]);
    let one = people.as_array().unwrap().iter().find(|one| one["id"] == subscriber).unwrap();
    assert_eq!(one["address"], "person-3@example.org");
    let text = ok(scene.path(), &["notify", "queue"]);
    for part in ["1 waiting", "1 given up in the last 7 days", "1 refused for good", "1 refused for now", subscriber] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("person-") && !text.contains("disabled"), "{text}");

    // Nothing is moved that was not named.
    for command in ["retry", "drop"] {
        assert_eq!(watchbell(scene.path(), &["notify", command]).status.code(), Some(2), "{command}");
        let unknown = watchbell(scene.path(), &["notify", command, "--incident", "2020-01-01-nothing"]);
        assert_eq!(unknown.status.code(), Some(2));
        assert!(err(&unknown).contains("there is no incident"), "{}", err(&unknown));
    }
    let incident = queue["events"][0]["incident"].as_str().unwrap();
    let dropped = watchbell(scene.path(), &["notify", "drop", "--incident", incident]);
    assert!(err(&dropped).contains("1 dropped"), "{}", err(&dropped));
    scene.is_mended.store(true, Ordering::SeqCst);
    let retried = watchbell(scene.path(), &["notify", "retry", "--delivery", &delivery]);
    assert!(err(&retried).contains("1 given up before, in the queue again"), "{}", err(&retried));
    wait_for("that one told", SOON, || scene.told().iter().any(|mail| mail.to == "person-3@example.org").then_some(()));
    let story = ok(scene.path(), &["incident", "show", incident]);
    assert!(story.contains("1 not told: dropped by the operator"), "{story}");
    assert_eq!(scene.queue()["waiting"], 0);
    assert!(scene.told().iter().all(|mail| mail.to != "person-4@example.org"), "never told");
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_hundred_thousand_that_wait_are_a_summary_of_a_few_lines() {
    let folder = daemon::folder();
    let listen = free_address();
    write_config(folder.path(), listen, "", &[("api", "tcp = \"127.0.0.1:1\"".to_owned())]);
    ok(folder.path(), &["subscriber", "add", "ann@example.org"]);
    let mut db = rusqlite::Connection::open(folder.path().join("watchbell.db")).unwrap();
    let event = |n: u8| {
        let id = format!("0193505e-0000-7000-8000-0000000000{n:02}");
        serde_json::json!({
            "id": id, "kind": "opened", "incident": "2026-11-21-api", "at": "2026-11-21T10:00:00Z",
            "recorded_at": "2026-11-21T10:00:00Z", "seals_at": "2026-11-21T10:00:00Z", "services": ["api"],
            "notify": true, "view": { "title": null, "root": null, "status": "investigating", "impact": "critical",
            "started_at": "2026-11-21T10:00:00Z", "resolved_at": null, "affected": [] }
        })
        .to_string()
    };
    let tx = db.transaction().unwrap();
    for n in 1..=2_u8 {
        let blob = format!("0193505E000070008000{n:012}");
        tx.execute_batch(&format!(
            "INSERT INTO event (id, v, kind, incident, recorded_at, seals_at, revision, json)
             VALUES (x'{blob}', 1, 'opened', '2026-11-21-api', 0, 0, 1, '{}');
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
             INSERT INTO delivery (id, event, event_seq, incident, subscriber, state, not_before, attempts, reply)
             SELECT randomblob(16), x'{blob}', {n}, '2026-11-21-api', randomblob(16), 'queued',
                 CASE n % 3 WHEN 0 THEN 0 ELSE 4000000000000 END, n % 3 = 1, iif(n % 3 = 1, '450 4.2.0 later (to RCPT TO)', NULL)
             FROM n;",
            event(n)
        ))
        .unwrap();
    }
    tx.commit().unwrap();
    let began = std::time::Instant::now();
    let text = ok(folder.path(), &["-q", "notify", "queue"]);
    let took = began.elapsed();
    assert!(text.contains("100000 waiting"), "{text}");
    assert!(text.lines().count() < 20, "{text}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let queue = json(folder.path(), &["-q", "notify", "queue", "--json"]);
    assert_eq!(queue["events"].as_array().unwrap().len(), 2);
    assert_eq!(queue["events"][0]["retried"][0]["count"], 16_667, "{queue:#}");
    let retried = watchbell(folder.path(), &["notify", "retry", "--all"]);
    assert!(err(&retried).contains("66668 waited, and due now"), "{}", err(&retried));
    let dropped = watchbell(folder.path(), &["notify", "drop", "--all"]);
    assert!(err(&dropped).contains("100000 dropped"), "{}", err(&dropped));
}
