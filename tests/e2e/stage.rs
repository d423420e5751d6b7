//! A site in the middle of an outage, made by the real daemon: groups, a cascade, a slow service,
//! one without data, words of people, write-ups, and hostile text wherever people may write.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path, time::Duration};

use super::{SOON, await_status, incidents};
use crate::support::{
    daemon::{Daemon, free_address, ok, wait_for},
    http,
    target::Target,
};

/// Text that would be something else if it were not escaped, cleaned and broken where it must be.
pub const HOSTILE: &str = r#"Mind <script>alert("x")</script> & 'quotes' "both" ]]> --> <img src=x onerror=alert(1)> {{ 7 * 7 }}

<div style="position:fixed">raw</div>

[bad](javascript:alert%281%29) [data](data:text/html,x) [good](https://example.org/?a=1&b=%22) ![pixel](https://tracker.example/p.png)

# A heading
## Another

1. one
   - nested `code & <b>`
2. two

> quoted

    indented code that is much too long for a phone because nobody has broken it anywhere at all in its length

```html
<a href="x">
```

Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaftsvorsitzender

שלום עולם, مرحبا بالعالم, 日本語のテキスト, 👩‍👩‍👧‍👦 and a line
with a break. <https://example.org/a/very/long/path/that/does/not/end/anywhere/soon/and/has/no/place/to/break/in/it> ***"#;

/// What is watched, and the daemon that watches it.
pub struct Stage {
    /// Where the site is served.
    pub listen: SocketAddr,
    /// The incident that is open.
    pub open: String,
    /// Ways out of two mails.
    pub ways_out: Vec<String>,
    /// A link that confirms, already used.
    pub confirm: String,
    /// A link to what somebody chose.
    pub manage: String,
    daemon: Daemon,
    targets: Vec<Target>,
}

impl Stage {
    /// Sets it all up in `folder`, and waits until it has happened and is published.
    pub fn set(folder: &Path) -> Self {
        let listen = free_address();
        let targets: Vec<Target> = (0..5).map(|_| Target::start()).collect();
        let [database, api, website, slow, good] = &targets[..] else { unreachable!() };
        write_config(folder, listen, [database, api, website, slow, good].map(|target| target.address));
        let notes = folder.join("notes/incidents");
        fs::create_dir_all(&notes).unwrap();
        for (name, text) in past() {
            fs::write(notes.join(format!("{name}.toml")), text).unwrap();
        }
        ok(folder, &["check"]);
        ok(folder, &["subscriber", "add", "ann@example.org"]);
        ok(folder, &["subscriber", "add", "ben@example.org"]);
        let daemon = Daemon::start(folder, listen);
        await_status(listen, "api", "operational");
        await_status(listen, "slow", "operational");

        // One outage that is over, then one that is not: a cascade.
        website.answers(404);
        await_status(listen, "website", "major_outage");
        website.answers(200);
        await_status(listen, "website", "operational");
        slow.takes(Duration::from_millis(300));
        for target in [database, api, website] {
            target.answers(503);
        }
        for service in ["database", "api", "website"] {
            await_status(listen, service, "major_outage");
        }
        await_status(listen, "slow", "degraded_performance");
        let open = wait_for("an open incident of the database", SOON, || {
            incidents(folder).into_iter().find(|incident| {
                incident["status"] != "resolved" && incident["services"].to_string().contains("database")
            })
        });
        let open = open["id"].as_str().unwrap().to_owned();
        let path = notes.join(format!("{open}.toml"));
        let created = wait_for("the note's file", SOON, || fs::read_to_string(&path).ok());
        let words = format!(
            "{created}\n[[update]]\nstatus = \"identified\"\ntext = '''{HOSTILE}'''\nnext_update = \"30m\"\n\n[[update]]\nstatus = \"identified\"\ntext = \"A disk is full. **No data is lost.** We are adding space.\"\nnext_update = \"45m\"\n"
        );
        fs::write(&path, words).unwrap();
        let page = format!("/incidents/{open}/");
        wait_for("the words on the page", SOON, || {
            http::get(listen, &page).filter(|page| page.text().contains("<strong>No data is lost.</strong>"))
        });
        let by_hand = format!(
            "title = 'Logins <b>fail</b> & \"nobody\" knows why'\nimpact = \"minor\"\nservices = [\"people\"]\n\n[[update]]\nstatus = \"investigating\"\ntext = '''{HOSTILE}'''\naffected = {{ people = \"partial_outage\" }}\n"
        );
        fs::write(notes.join("logins-fail.toml"), by_hand).unwrap();
        await_status(listen, "people", "partial_outage");
        let ways_out = wait_for("mails", SOON, || ways_out(&folder.join("mails")));
        let (confirm, manage) = join(listen, &folder.join("mails"));
        Self { listen, open, ways_out, confirm, manage, daemon, targets }
    }

    /// A page's address.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.listen)
    }

    /// Stops everything; the site stays in `folder`.
    pub fn end(self) {
        assert!(self.daemon.terminate().0.success());
        drop(self.targets);
    }
}

/// The unsubscribe links of both subscribers, once both have mails.
fn ways_out(mails: &Path) -> Option<Vec<String>> {
    let mut found: Vec<String> = fs::read_dir(mails)
        .ok()?
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.ok()?.path()).ok()?.replace("\r\n ", " ");
            let line = text.lines().find(|line| line.starts_with("List-Unsubscribe: "))?;
            Some(line.split(['<', '>']).nth(1)?.to_owned())
        })
        .collect();
    found.sort();
    found.dedup();
    (found.len() == 2).then_some(found)
}

/// Somebody subscribes: the links that confirm, and that lead to what they chose.
fn join(listen: SocketAddr, mails: &Path) -> (String, String) {
    let form = "application/x-www-form-urlencoded";
    let asked = http::post(listen, "/subscribe", form, "email=dora@example.org&group=public&service=database").unwrap();
    assert_eq!(asked.status, 200);
    let token = wait_for("a confirmation", SOON, || {
        fs::read_dir(mails).ok()?.find_map(|entry| {
            let text = fs::read_to_string(entry.ok()?.path()).ok()?.replace("=\r\n", "");
            let token = text.split_once("/confirm/")?.1;
            Some(token.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect::<String>())
        })
    });
    let confirmed = http::post(listen, &format!("/confirm/{token}"), form, "").unwrap().text();
    let manage = confirmed.split_once("../manage/").unwrap().1.split('"').next().unwrap().to_owned();
    (format!("http://{listen}/confirm/{token}"), format!("http://{listen}/manage/{manage}"))
}

fn write_config(folder: &Path, listen: SocketAddr, [database, api, website, slow, good]: [SocketAddr; 5]) {
    let mut text = format!(
        r#"
[site]
title = "Example & <Söhne> \"Status\""
url = "http://{listen}/"
description = "What works & what does <not>"
timezone = "Europe/Berlin"
support = "mailto:help@example.org?subject=A%20\"question\"&x=1"
links = [{{ label = "Docs & <more>", url = "https://docs.example.org/?a=1&b=2" }}]

[server]
listen = "{listen}"

[incidents]
gather = "300ms"
reopen_window = "0s"
merge_window = "10s"

[notes]
settle = "500ms"

[email]
from = "Example Status <status@example.org>"
smtp = "dir:mails"

[defaults]
every = "1s"
timeout = "2s"
recheck = "200ms"

[[group]]
id = "public"
name = "Public services"

[[group]]
id = "inside"
name = "Infrastructure & <inner> things"

[[group]]
id = "many"
name = "Mirrors"

[[service]]
id = "website"
name = "Website"
group = "public"
description = "What everyone sees <first> & \"foremost\""
depends_on = ["api"]
[[service.check]]
http = "http://{website}/"

[[service]]
id = "api"
name = "API"
group = "public"
depends_on = ["database"]
objective = 99.9
acceptable_downtime = "1s"
[[service.check]]
id = "health"
http = "http://{api}/health"
expect.body = "ok"

[[service]]
id = "people"
name = "Accounts (words of people alone)"
group = "public"

[[service]]
id = "slow"
name = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
group = "public"
[[service.check]]
http = "http://{slow}/"
degraded_over = "200ms"

[[service]]
id = "database"
name = "Database"
group = "inside"
[[service.check]]
http = "http://{database}/"

[[service]]
id = "silent"
name = "Silent <b>service</b>"
group = "inside"
[[service.check]]
http = "http://{good}/"
enabled = false

[[service]]
id = "alone"
name = "מערכת ללא קבוצה"
[[service.check]]
http = "http://{good}/"
"#
    );
    for n in 1..=14 {
        write!(text, "\n[[service]]\nid = \"mirror-{n}\"\nname = \"Mirror {n}\"\ngroup = \"many\"\n").unwrap();
        if n != 3 {
            write!(text, "[[service.check]]\nhttp = \"http://{good}/\"\nevery = \"2s\"\n").unwrap();
        }
    }
    fs::write(folder.join("watchbell.toml"), text).unwrap();
}

/// Incidents of earlier times, one with everything that a write-up may have.
fn past() -> Vec<(String, String)> {
    let mut past: Vec<(String, String)> = (1..=9)
        .map(|n| {
            let text = format!(
                "title = \"Deployment {n} went wrong\"\nimpact = \"major\"\nservices = [\"api\", \"mirror-{n}\"]\nstarted = 2025-0{n}-11T08:15:00Z\nresolved = 2025-0{n}-11T09:45:30Z\n\n[[update]]\nat = 2025-0{n}-11T08:30:00Z\nstatus = \"identified\"\ntext = \"Rolled **back**.\"\naffected = {{ api = \"major_outage\" }}\n\n[[update]]\nat = 2025-0{n}-11T09:45:30Z\nstatus = \"resolved\"\ntext = \"All is well.\"\naffected = {{ api = \"operational\" }}\n"
            );
            (format!("deployment-{n}"), text)
        })
        .collect();
    let words =
        ["summary", "impact", "root_cause", "trigger", "detection", "resolution", "leadup", "response", "recovery"]
            .map(|key| format!("{key} = '''{HOSTILE}'''\n"))
            .concat();
    let written_up = format!(
        "title = \"A <i>hypervisor</i> crashed & burned\"\nimpact = \"critical\"\nservices = [\"database\", \"website\"]\nstarted = 2024-03-26T10:15:00Z\nresolved = 2024-04-04T19:00:00Z\n\n[[update]]\nat = 2024-03-26T10:40:00Z\nstatus = \"investigating\"\ntext = '''{HOSTILE}'''\naffected = {{ database = \"major_outage\", website = \"partial_outage\" }}\n\n[[update]]\nat = 2024-04-04T19:00:00Z\nstatus = \"resolved\"\ntext = \"Back.\"\naffected = {{ database = \"operational\", website = \"operational\" }}\n\n[postmortem]\npublished = 2024-04-10T09:00:00Z\n{words}five_whys = [\"Why <b>?</b>\", \"Because & so on\"]\nwent_well = [\"Backups **existed**.\"]\nwent_wrong = [\"Nothing said <so>.\"]\ngot_lucky = [\"Mail & more.\"]\nlearned = [\"Much.\"]\ntimeline = [\n  {{ at = 2024-03-26T10:15:00Z, text = \"It <crashes> & restarts.\", mark = \"outage begins\" }},\n  {{ at = 2024-04-04T19:00:00Z, text = \"Back.\", mark = \"outage ends\" }},\n]\nactions = [\n  {{ text = \"Watch & <learn>\", kind = \"detect\", owner = \"infrastructure\", status = \"in progress\", url = \"https://example.org/1?a=b&c=d\" }},\n]\n"
    );
    past.push(("hypervisor".to_owned(), written_up));
    past
}
