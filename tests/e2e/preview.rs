//! What an operator is told beforehand is what people are told then.

use std::{collections::BTreeSet, fs, path::Path};

use mail_parser::MessageParser;
use serde_json::Value;

use super::{SOON, await_status, incidents, write_config};
use crate::support::{
    daemon::{Daemon, folder, free_address, json, ok, wait_for, watchbell},
    http,
    target::Target,
};

const EMAIL: &str = "[email]\nfrom = \"status@example.org\"\nsmtp = \"dir:mails\"";

/// The files of all mails.
fn mails(folder: &Path) -> BTreeSet<std::path::PathBuf> {
    let files = fs::read_dir(folder.join("mails")).into_iter().flatten().map(|entry| entry.unwrap().path());
    // Not what is still being written.
    files.filter(|path| path.extension().is_some_and(|extension| extension == "eml")).collect()
}

/// Subject and plain text, without the token of the way out.
fn read(path: &Path) -> (String, String, String) {
    let bytes = fs::read(path).unwrap();
    let mail = MessageParser::default().parse(&bytes).unwrap();
    let to = mail.to().unwrap().first().unwrap().address().unwrap().to_owned();
    (to, mail.subject().unwrap().to_owned(), without_token(&mail.body_text(0).unwrap()))
}

fn without_token(text: &str) -> String {
    let line = |line: &str| match ["/unsubscribe/", "/manage/"].iter().find_map(|path| line.split_once(path)) {
        Some((before, _)) => before.to_owned(),
        None => line.to_owned(),
    };
    text.trim().lines().map(|it| line(it.trim_end())).collect::<Vec<_>>().join("\n")
}

fn preview(folder: &Path, id: &str) -> Value {
    json(folder, &["-q", "incident", "show", id, "--preview", "--json"])
}

#[test]
fn before_a_note_is_taken_the_preview_says_what_the_mails_then_say() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    let check = |path: &str| format!("http = \"http://{}/{path}\"", target.address);
    write_config(
        folder,
        listen,
        EMAIL,
        &[("api", check("api")), ("web", "tcp = \"127.0.0.1:1\"\nenabled = false".to_owned())],
    );
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    ok(folder, &["subscriber", "add", "cyd@example.org"]);
    ok(folder, &["subscriber", "add", "ben@example.org", "--service", "web"]);
    target.answers(503);
    ok(folder, &["once"]);
    let id = incidents(folder)[0]["id"].as_str().unwrap().to_owned();
    let before = mails(folder);
    assert_eq!(before.len(), 2);
    let text = ok(folder, &["incident", "show", &id, "--preview"]);
    assert!(text.contains("Nobody would be told: nothing in the note is new."), "{text}");

    let note = folder.join(format!("notes/incidents/{id}.toml"));
    let at = jiff::Timestamp::now();
    let words = format!(
        "\n[[update]]\nat = {at:.0}\nstatus = \"identified\"\ntext = \"A hypervisor crashed. **Sorry**.\"\nnext_update = \"30m\"\n\
         \n[postmortem]\nsummary = \"It was the cable.\"\nwent_well = [\"The alert came.\"]\n"
    );
    fs::write(&note, fs::read_to_string(&note).unwrap_or_default() + &words).unwrap();
    let story = || {
        let all = json(folder, &["-q", "incident", "show", &id, "--json"]);
        ["told", "updates", "decisions"].map(|key| all[key].clone())
    };
    let told_before = story();
    let foreseen = preview(folder, &id);
    let [event] = foreseen["events"].as_array().unwrap().as_slice() else { panic!("{foreseen:#}") };
    assert_eq!((&event["kind"], &event["is_recorded"]), (&"updated".into(), &false.into()), "{foreseen:#}");
    let [message] = event["messages"].as_array().unwrap().as_slice() else { panic!("{foreseen:#}") };
    assert_eq!(message["subscribers"], 2, "not who follows something else");
    let rest = message["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().duration_since(at);
    assert!((1..SOON.as_secs().cast_signed()).contains(&rest.as_secs()), "`settle` later: {rest}");
    assert_eq!(foreseen["overdue"]["operators"], 0);
    assert_eq!(foreseen["draft"]["went_well"][0], "The alert came.");
    let shown = ok(folder, &["incident", "show", &id, "--preview"]);
    for part in
        ["2 subscribers by mail, as `updated`", "A hypervisor crashed.", "It was the cable.", "/unsubscribe/TOKEN"]
    {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    for secret in ["ann@", "ben@", "cyd@"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(story(), told_before, "nothing was written");
    assert_eq!(mails(folder), before);

    let _daemon = Daemon::start(folder, listen);
    let told = wait_for("the mails", SOON, || {
        Some(mails(folder).difference(&before).cloned().collect::<Vec<_>>()).filter(|new| new.len() == 2)
    });
    for path in told {
        let (to, subject, text) = read(&path);
        assert!(to.starts_with("ann") || to.starts_with("cyd"), "{to}");
        assert_eq!(message["subject"], subject.as_str());
        assert_eq!(without_token(message["text"].as_str().unwrap()), text);
    }
}

#[test]
fn what_a_daemon_has_taken_and_not_told_yet_is_shown_beside_it() {
    let folder = folder();
    let folder = folder.path();
    let (target, listen) = (Target::start(), free_address());
    write_config(folder, listen, EMAIL, &[("api", format!("http = \"http://{}/\"", target.address))]);
    let path = folder.join("watchbell.toml");
    let text = fs::read_to_string(&path).unwrap().replace("settle = \"1s\"", "settle = \"10m\"");
    fs::write(&path, text).unwrap();
    ok(folder, &["subscriber", "add", "ann@example.org"]);
    let _daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    target.answers(500);
    await_status(listen, "api", "major_outage");
    let id = incidents(folder)[0]["id"].as_str().unwrap().to_owned();
    wait_for("the first mail", SOON, || (mails(folder).len() == 1).then_some(()));
    let note = folder.join(format!("notes/incidents/{id}.toml"));
    let old = wait_for("the note file", SOON, || fs::read_to_string(&note).ok());
    fs::write(&note, format!("{old}\n[[update]]\ntext = \"We look into it.\"\n")).unwrap();
    wait_for("the page", SOON, || {
        http::get(listen, &format!("/incidents/{id}/")).filter(|page| page.text().contains("We look into it."))
    });
    let foreseen = preview(folder, &id);
    let [event] = foreseen["events"].as_array().unwrap().as_slice() else { panic!("{foreseen:#}") };
    assert_eq!((&event["kind"], &event["is_recorded"]), (&"updated".into(), &true.into()), "{foreseen:#}");
    assert_eq!(event["messages"][0]["subscribers"], 1);
    assert_eq!(event["messages"][0]["at"], event["seals_at"]);
    // What stands in the file now is what counts, also while the daemon has not seen it.
    fs::write(&note, format!("{old}\n[[update]]\ntext = \"We look into it.\"\nnotify = false\n")).unwrap();
    let foreseen = preview(folder, &id);
    assert_eq!(
        (&foreseen["events"][0]["notify"], &foreseen["events"][0]["messages"]),
        (&false.into(), &serde_json::json!([]))
    );
    let told = json(folder, &["-q", "incident", "show", &id, "--json"]);
    assert_eq!(told["told"].as_array().unwrap().len(), 2, "{told:#}");
    assert_eq!(mails(folder).len(), 1);
}

#[test]
fn a_note_that_is_wrong_is_named_and_one_that_is_not_there_is_asked_for() {
    let folder = folder();
    let folder = folder.path();
    write_config(folder, free_address(), "", &[("api", "tcp = \"127.0.0.1:1\"".to_owned())]);
    ok(folder, &["once"]);
    let ask = |id: &str| watchbell(folder, &["-q", "incident", "show", id, "--preview"]);
    assert_eq!(ask("nowhere").status.code(), Some(2));
    fs::create_dir_all(folder.join("notes/incidents")).unwrap();
    let note = folder.join("notes/incidents/slow-logins.toml");
    fs::write(&note, "titel = \"Logins are slow\"\n").unwrap();
    let output = ask("slow-logins");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("slow-logins.toml:1:1"), "{output:?}");
    // By hand, on something that no check finds wrong; nobody can be told by mail.
    fs::write(&note, "title = \"Logins are slow\"\nservices = [\"api\"]\n[[update]]\ntext = \"Looking.\"\n").unwrap();
    let shown = String::from_utf8(ask("slow-logins").stdout).unwrap();
    assert!(shown.contains("Logins are slow") && shown.contains("there is no `[email]`"), "{shown}");
    assert!(!ok(folder, &["incident", "list"]).contains("slow-logins"), "nothing was opened");
}
