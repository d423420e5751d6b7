//! Every kind of message, as a reader gets it.
//!
//! With `WATCHBELL_LOOK=FOLDER` the messages are also written there, to look at.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::*;
use crate::{
    config::{Dkim, MailTransport, Server, Site, Store, Subscriptions},
    domain::{GroupId, IncidentStatus, ServiceStatus, event::EventKind, incident::FactKind},
    fsio,
    notify::story::{Story, at, rules, service, subscriber},
    secret::Secret,
};

/// A whole config; tests change what they are about.
fn config() -> (Config, Email) {
    let email = Email {
        from_name: "Example Status".to_owned(),
        from: Address::parse("status@example.org").unwrap(),
        transport: MailTransport::Dir(PathBuf::from("mails")),
        credentials: None,
        connections: 2,
        rate_per_second: None,
        envelope_from: String::new(),
        dkim: None,
    };
    let config = Config {
        path: PathBuf::from("watchbell.toml"),
        site: Site {
            title: "Example Status".to_owned(),
            url: Url::parse("https://status.example.org/").unwrap(),
            description: String::new(),
            timezone: TimeZone::get("Europe/Berlin").unwrap(),
            timezone_name: "Europe/Berlin".to_owned(),
            language: "en".to_owned(),
            languages: Vec::new(),
            output: PathBuf::from("public"),
            templates: None,
            static_files: None,
            logo: None,
            accent: "#2563eb".to_owned(),
            support: None,
            links: Vec::new(),
            history_days: 90,
            noindex: false,
        },
        store: Store {
            path: PathBuf::from("watchbell.db"),
            keep_results: Duration::from_mins(1),
            allow_volatile: false,
        },
        server: Server {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            url: Url::parse("https://status.example.org/").unwrap(),
            trusted_proxies: Vec::new(),
            metrics: None,
        },
        operators: Vec::new(),
        notes_dir: PathBuf::from("notes"),
        rules: rules(),
        email: Some(email.clone()),
        subscriptions: Subscriptions { enabled: true, confirm_within: Duration::from_mins(1), webhooks: false },
        heartbeat: None,
    };
    (config, email)
}

fn tokens(unsubscribe: &str) -> Tokens {
    Tokens { unsubscribe: unsubscribe.to_owned(), manage: "MANAGE".to_owned(), envelope: "envelope".to_owned() }
}

fn compose_with(change: impl Fn(&mut Config, &mut Email), news: News, story: &Story, follows: &[&str]) -> String {
    let (mut config, mut email) = config();
    change(&mut config, &mut email);
    let composer = Composer::new(&config, &email).unwrap();
    let events: Vec<&Event> = story.events.iter().map(|event| &**event).collect();
    let subscriber = subscriber(follows);
    let draft = Draft {
        news,
        delivery: Story::delivery(1),
        subscriber: &subscriber,
        events: &events,
        tokens: &tokens("TOKEN"),
    };
    let message = composer.compose(&draft).unwrap();
    assert_eq!(message.bytes, composer.compose(&draft).unwrap().bytes, "a retry is a copy");
    String::from_utf8(message.bytes.to_vec()).unwrap()
}

fn compose(news: News, story: &Story, follows: &[&str]) -> String {
    compose_with(|_, _| {}, news, story, follows)
}

/// The text of one part, decoded.
fn part_of(message: &str, kind: &str) -> String {
    let part = message.split("--=_watchbell_").find(|part| part.contains(&format!("Content-Type: {kind}"))).unwrap();
    let (_, body) = part.split_once("\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let mut rest = body.trim_end_matches("\r\n");
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '=' if rest.starts_with("\r\n") => rest = &rest[2..],
            '=' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            c => bytes.extend(c.to_string().bytes()),
        }
    }
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

fn header(message: &str, name: &str) -> Option<String> {
    let (head, _) = message.split_once("\r\n\r\n").unwrap();
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let line = unfolded.split("\r\n").find(|line| line.starts_with(&format!("{name}: ")))?;
    Some(line.split_once(": ").unwrap().1.to_owned())
}

const WORDS: &str = "The hypervisor crashed and restarted; three machines do not boot because of *file system \
                     damage*. Progress is on [the wiki](https://wiki.example.org/outage).\n\n- **API** comes first\n- then the rest";

/// The kinds, each with a story that leads to it.
fn every_kind() -> Vec<(News, Story, Vec<&'static str>)> {
    let start = || Story::opens(0, &["api"]);
    let mut kinds = Vec::new();
    kinds.push((News::Opened, start(), vec![]));

    let mut many = Story::opens(0, &["database", "api", "website"]);
    many.incident.root = Some(service("database"));
    many.incident.affected[2].worst = ServiceStatus::PartialOutage;
    many.incident.affected[2].status = ServiceStatus::PartialOutage;
    many.events.clear();
    many.tell(0, EventKind::Opened, &["database", "api", "website"]);
    kinds.push((News::Opened, many.clone(), vec!["api", "website"]));
    kinds.push((News::Opened, many, vec![]));

    let mut story = start();
    story.events.clear();
    story.joins(90, "website");
    kinds.push((News::Joined, story, vec![]));

    let mut story = Story::opens(0, &["api", "website"]);
    story.events.clear();
    story.is_back(420, "api");
    kinds.push((News::Recovered, story, vec![]));

    let mut story = start();
    story.events.clear();
    let event = story.says(960, IncidentStatus::Identified, WORDS);
    event.update.as_mut().unwrap().next_update_at = Some(at(2760));
    kinds.push((News::Updated, story, vec!["api"]));

    let mut story = start();
    story.events.clear();
    story.resolves(720);
    kinds.push((News::Resolved, story, vec!["api"]));

    let mut story = start();
    story.resolves(720);
    story.events.clear();
    story.reopens(900, "api");
    kinds.push((News::Reopened, story.clone(), vec![]));
    story.events.clear();
    story.tell(1200, EventKind::Intermittent, &["api"]);
    kinds.push((News::Intermittent, story, vec![]));

    let mut story = start();
    story.says(300, IncidentStatus::Monitoring, "A disk was full.");
    story.resolves(50_000);
    kinds.push((News::Passed, story.clone(), vec![]));
    story.events.clear();
    story.is_written_up(100_000);
    kinds.push((News::Postmortem, story.clone(), vec![]));
    story.events.clear();
    story.is_withdrawn(100_000);
    kinds.push((News::Withdrawn, story, vec![]));
    kinds
}

#[test]
fn every_kind_of_message_reads_well() {
    let mut all = String::new();
    let kinds = every_kind();
    assert!(News::ALL.iter().all(|news| kinds.iter().any(|(kind, ..)| kind == news)));
    for (n, (news, story, follows)) in kinds.into_iter().enumerate() {
        let message = compose(news, &story, &follows);
        let (text, html) = (part_of(&message, "text/plain"), part_of(&message, "text/html"));
        all = format!("{all}===== {}: {}\n{text}\n", news.as_str(), header(&message, "Subject").unwrap());
        if let Ok(folder) = std::env::var("WATCHBELL_LOOK") {
            let file = PathBuf::from(folder).join(format!("{n:02}-{}", news.as_str()));
            fsio::write(&file.with_extension("eml"), message.as_bytes()).unwrap();
            fsio::write(&file.with_extension("html"), html.as_bytes()).unwrap();
        }
    }
    insta::assert_snapshot!(all);
}

/// Every kind of message and of letter as plain text, for a reader of `language` on an English site.
fn all_in(language: &str) -> String {
    let (mut config, email) = config();
    config.site.languages = vec![language.to_owned()];
    let composer = Composer::new(&config, &email).unwrap();
    let check = |html: &str| {
        let direction = if language == "ar" { "rtl" } else { "ltr" };
        let start = format!("<!DOCTYPE html>\n<html lang=\"{language}\" dir=\"{direction}\">");
        assert!(html.starts_with(&start), "{html}");
    };
    let mut all = String::new();
    for (news, story, follows) in every_kind() {
        let events: Vec<&Event> = story.events.iter().map(|event| &**event).collect();
        let subscriber = Subscriber { language: Some(language.to_owned()), ..subscriber(&follows) };
        let delivery = Story::delivery(1);
        let draft = Draft { news, delivery, subscriber: &subscriber, events: &events, tokens: &tokens("TOKEN") };
        let Rendered { subject, text, html } = composer.render(&draft).unwrap();
        check(&html);
        // Links and the way out are the same in all but the first.
        let text = if all.is_empty() { &text } else { text.split_once("\nhttps://").unwrap().0 };
        all = format!("{all}===== {}: {subject}\n{}\n", news.as_str(), text.trim_end());
    }
    let down = Story::opens(0, &["api"]);
    for (kind, events) in [
        (LetterKind::Confirm, Vec::new()),
        (LetterKind::Settings, Vec::new()),
        (LetterKind::Welcome, Vec::new()),
        (LetterKind::Welcome, down.events),
    ] {
        let mut subscriber = subscriber(&["api"]);
        subscriber.language = Some(language.to_owned());
        subscriber.wants.groups = [GroupId::new("public").unwrap()].into();
        let choice = subscriber.choice();
        let id = Story::delivery(1);
        let token = "TOKEN".to_owned();
        let letter = ledger::Letter {
            id,
            kind,
            subscriber,
            choice,
            mailbox: [7; 32],
            at: at(0),
            attempts: 0,
            token,
            good_until: at(86_400),
            events,
        };
        let message = composer.compose_letter(&letter, &tokens("LEAVE"), at(2_592_000)).unwrap();
        let message = String::from_utf8(message.bytes.to_vec()).unwrap();
        let (text, html) = (part_of(&message, "text/plain"), part_of(&message, "text/html"));
        check(&html);
        let subject = html.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0;
        all = format!("{all}===== {}: {subject}\n{}\n", kind.as_str(), text.trim_end());
    }
    all
}

#[test]
fn every_kind_of_message_reads_well_in_german() {
    insta::assert_snapshot!(all_in("de"));
}

#[test]
fn that_the_root_is_back_and_others_are_not_is_said_in_so_many_words() {
    let mut story = Story::opens(0, &["database", "api", "website"]);
    story.incident.root = Some(service("database"));
    story.is_back(300, "database");
    story.events.clear();
    let services = vec![service("api"), service("website")];
    story.tell(360, EventKind::Updated, &["api", "website"]).fact =
        Some(FactKind::LeftBehind { root: service("database"), services });
    let message = compose(News::Updated, &story, &[]);
    assert_eq!(header(&message, "Subject").unwrap(), "[Example Status] Update: Database (API and Website)");
    let said = part_of(&message, "text/plain");
    assert!(said.contains("Database is back; API and Website, which need it, are not."), "{said}");
    // Who follows one of them reads of that one.
    let said = part_of(&compose(News::Updated, &story, &["api"]), "text/plain");
    assert!(said.contains("Database is back; API, which needs it, is not."), "{said}");
}

#[test]
fn what_is_back_is_not_said_to_be_down() {
    let mut story = Story::opens(0, &["database", "api", "website"]);
    story.incident.root = Some(service("database"));
    story.is_back(300, "database");
    story.events.clear();
    story.says(600, IncidentStatus::Identified, "We restore the rest.");
    let message = compose(News::Updated, &story, &[]);
    let said = part_of(&message, "text/plain");
    assert!(said.starts_with("API and Website are down.\n"), "{said}");
    assert!(said.contains("Database: back at 11:20 CET after 5 min"), "{said}");
    assert_eq!(header(&message, "Subject").unwrap(), "[Example Status] Update: Database (API and Website; identified)");
}

#[test]
fn that_what_came_and_went_is_steady_is_said_with_which() {
    let mut story = Story::opens(0, &["api", "website"]);
    story.is_back(300, "website");
    story.events.clear();
    story.tell(1300, EventKind::Updated, &["api", "website"]).fact =
        Some(FactKind::Steady { services: vec![service("api")] });
    let said = part_of(&compose(News::Updated, &story, &["api"]), "text/plain");
    assert!(said.contains("API no longer comes and goes: it stays down."), "{said}");
    let said = part_of(&compose(News::Updated, &story, &["website"]), "text/plain");
    assert!(said.contains("It no longer comes and goes: everything is back."), "{said}");
}

#[test]
fn the_headers_thread_the_mails_and_offer_the_way_out() {
    let message = compose(News::Opened, &Story::opens(0, &["api"]), &[]);
    let get = |name| header(&message, name).unwrap();
    assert_eq!(get("From"), "\"Example Status\" <status@example.org>");
    assert_eq!(get("To"), "ann@example.net");
    assert_eq!(get("Subject"), "[Example Status] Outage: API");
    assert_eq!(get("Date"), "Sat, 21 Nov 2026 10:15:00 +0000");
    assert_eq!(get("Message-ID"), format!("<{}@status.example.org>", Story::delivery(1)));
    assert_eq!(get("In-Reply-To"), get("References"));
    assert_eq!(get("List-Id"), "<updates.status.example.org>");
    assert_eq!(get("List-Unsubscribe"), "<https://status.example.org/unsubscribe/TOKEN>");
    assert_eq!(get("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_eq!(get("Auto-Submitted"), "auto-generated");
    assert_eq!(get("X-Auto-Response-Suppress"), "All");
    assert_eq!(get("Content-Language"), "en");
    assert!(get("Content-Type").starts_with("multipart/alternative"));
    assert!(message.find("text/plain").unwrap() < message.find("text/html").unwrap());
}

#[test]
fn mails_of_one_incident_to_one_subscriber_share_a_thread_and_no_others_do() {
    let mut story = Story::opens(0, &["api"]);
    let first = header(&compose(News::Opened, &story, &[]), "References");
    story.resolves(60);
    assert_eq!(header(&compose(News::Resolved, &story, &[]), "References"), first);
    let other = Story::opens(0, &["website"]);
    assert_ne!(header(&compose(News::Opened, &other, &[]), "References"), first);
}

#[test]
fn one_click_is_offered_over_https_and_on_loopback_only() {
    for (url, offered) in [
        ("https://status.example.org/", true),
        ("http://127.0.0.1:8080/", true),
        ("http://localhost:8080/", true),
        ("http://[::1]/", true),
        ("http://status.example.org/", false),
    ] {
        let story = Story::opens(0, &["api"]);
        let message = compose_with(|config, _| config.server.url = Url::parse(url).unwrap(), News::Opened, &story, &[]);
        assert_eq!(header(&message, "List-Unsubscribe-Post").is_some(), offered, "{url}");
        assert_eq!(header(&message, "List-Unsubscribe").unwrap(), format!("<{url}unsubscribe/TOKEN>"));
    }
}

#[test]
fn links_keep_the_path_of_the_site() {
    let story = Story::opens(0, &["api"]);
    let message = compose_with(
        |config, _| config.site.url = Url::parse("https://example.org/status/").unwrap(),
        News::Opened,
        &story,
        &[],
    );
    let page = "https://example.org/status/incidents/2026-11-21-api/";
    assert!(part_of(&message, "text/plain").contains(page));
    assert!(part_of(&message, "text/html").contains(page));
}

#[test]
fn nothing_that_people_write_becomes_a_header_or_markup() {
    let mut story = Story::opens(0, &["api"]);
    story.incident.title = Some("Evil\r\nBcc: eve@example.com\u{202e} <script>alert(1)</script>".into());
    story.events.clear();
    story.says(60, IncidentStatus::Identified, "<img src=x onerror=alert(1)>\r\n.\r\n\n.\n[x](javascript:alert(1))");
    let message = compose(News::Updated, &story, &[]);
    assert_eq!(header(&message, "Bcc"), None);
    assert!(!header(&message, "Subject").unwrap().contains(['\r', '\n', '\u{202e}']));
    let html = part_of(&message, "text/html");
    assert!(!html.contains("<script>") && !html.contains("<img") && !html.contains("javascript:"), "{html}");
}

#[test]
fn what_looks_like_an_encoded_word_is_shown_and_not_decoded() {
    let mut story = Story::opens(0, &["api"]);
    story.incident.title = Some("=?utf-8?q?=0d=0aBcc:_eve?=".into());
    story.events.clear();
    story.says(60, IncidentStatus::Identified, "x");
    let message = compose(News::Updated, &story, &[]);
    let subject = header(&message, "Subject").unwrap();
    assert!(subject.contains("= ?utf-8?q?=0d=0aBcc:_eve?="), "{subject}");
}

#[test]
fn every_line_is_ascii_short_and_ends_in_crlf() {
    for (news, mut story, follows) in every_kind() {
        story.incident.title = Some("Größere Störung: 障害 🔥 ".repeat(20).as_str().into());
        let view = (&story.incident).into();
        std::sync::Arc::make_mut(story.events.last_mut().unwrap()).view = view;
        let message = compose(news, &story, &follows);
        assert!(message.is_ascii());
        let bare = message.replace("\r\n", "");
        assert!(!bare.contains(['\r', '\n']));
        assert!(message.split("\r\n").all(|line| line.len() <= 998 && line != "."), "{message}");
    }
}

#[test]
fn a_recipient_reads_only_of_their_services() {
    let story = Story::opens(0, &["database", "api"]);
    let text = part_of(&compose(News::Opened, &story, &["api"]), "text/plain");
    assert!(text.contains("API is down") && !text.contains("Database"), "{text}");
}

#[test]
fn the_readers_zone_and_utc_are_both_shown_unless_they_are_the_same() {
    let story = Story::opens(0, &["api"]);
    let text = |zone: &str| {
        let (mut config, email) = config();
        config.site.timezone = TimeZone::get(zone).unwrap();
        let composer = Composer::new(&config, &email).unwrap();
        let events: Vec<&Event> = story.events.iter().map(|event| &**event).collect();
        let subscriber = subscriber(&[]);
        let draft = Draft {
            news: News::Opened,
            delivery: Story::delivery(0),
            subscriber: &subscriber,
            events: &events,
            tokens: &tokens("TOKEN"),
        };
        part_of(str::from_utf8(&composer.compose(&draft).unwrap().bytes).unwrap(), "text/plain")
    };
    assert!(text("Europe/Berlin").contains("21 November 2026, 11:15 CET (10:15 UTC)"));
    assert!(text("UTC").contains("21 November 2026, 10:15 UTC\n"));
    assert!(text("Asia/Tokyo").contains("21 November 2026, 19:15 JST (10:15 UTC)"));
}

#[test]
fn the_envelope_sender_names_the_message_if_the_config_says_so() {
    let (config, mut email) = config();
    let composer = Composer::new(&config, &email).unwrap();
    assert_eq!(composer.sender_for("token").as_str(), "status@example.org");
    email.envelope_from = "bounces+{token}@example.org".to_owned();
    let composer = Composer::new(&config, &email).unwrap();
    let token = "a".repeat(crate::store::envelope::TOKEN_LENGTH);
    assert_eq!(composer.sender_for(&token).as_str(), format!("bounces+{token}@example.org"));
}

#[test]
fn a_signed_message_names_the_headers_of_the_list() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let dkim =
        Dkim { domain: "example.org".to_owned(), selector: "s1".to_owned(), key: Secret::new(key.into_boxed_str()) };
    let story = Story::opens(0, &["api"]);
    let message = compose_with(|_, email| email.dkim = Some(dkim.clone()), News::Opened, &story, &[]);
    let signature = header(&message, "DKIM-Signature").unwrap();
    assert!(signature.contains("list-unsubscribe:list-unsubscribe-post"), "{signature}");
    assert!(signature.contains("a=ed25519-sha256") && signature.contains("t=1795256100"), "{signature}");
}

#[test]
fn a_notice_to_an_operator_is_plain_and_leads_to_no_reply() {
    let (config, email) = config();
    let composer = Composer::new(&config, &email).unwrap();
    let to = Address::parse("ops@example.org").unwrap();
    let message = composer.compose_notice(Story::delivery(3), &to, "Mail is paused", "Look.\nThere.", at(0)).unwrap();
    let message = String::from_utf8(message.bytes.to_vec()).unwrap();
    assert_eq!(header(&message, "Subject").unwrap(), "[Example Status] Mail is paused");
    assert_eq!(header(&message, "Auto-Submitted").unwrap(), "auto-generated");
    assert_eq!(header(&message, "List-Unsubscribe"), None);
    assert!(message.contains("\r\n\r\nLook.\r\nThere."), "{message}");
}

/// Five readers of the same wishes: what the second one gets makes the stencil, the others' are copies.
fn five(like: &Subscriber) -> Vec<(Subscriber, String)> {
    let long = format!("{}@{}.example.net", "a".repeat(64), "b".repeat(60));
    let addresses = ["ann@example.net", "b@x.org", "c.d+e@mail.example.com", &long, "zoe@example.net"];
    let reader = |(n, address): (u8, &&str)| {
        let id = SubscriberId::new(at(0), [n; 10]);
        let token: String = ('a'..='z').chain('A'..='Z').cycle().skip(usize::from(n) * 7).take(43).collect();
        (Subscriber { id, address: Address::parse(address).unwrap().into(), ..like.clone() }, token)
    };
    (1..).zip(&addresses).map(reader).collect()
}

/// What is known of the kind in the end.
fn all_are_as_composed_alone(config: &Config, email: &Email, news: News, story: &Story, like: &Subscriber) -> Known {
    let mut last = None;
    let events: Vec<&Event> = story.events.iter().map(|event| &**event).collect();
    let shared = Composer::new(config, email).unwrap();
    for (n, (subscriber, token)) in five(like).iter().enumerate() {
        let tokens = Tokens { manage: token.chars().rev().chain("12345".chars()).collect(), ..tokens(token) };
        let draft = Draft { news, delivery: Story::delivery(n), subscriber, events: &events, tokens: &tokens };
        let alone = Composer::new(config, email).unwrap().compose(&draft).unwrap();
        let copied = shared.compose(&draft).unwrap();
        assert_eq!(String::from_utf8_lossy(&copied.bytes), String::from_utf8_lossy(&alone.bytes));
        assert_eq!((copied.from, copied.to), (alone.from, alone.to));
        assert!(String::from_utf8_lossy(&copied.bytes).contains(&format!("/unsubscribe/{token}>")));
        last = Some(shared.stencils.known(&draft));
    }
    last.unwrap()
}

#[test]
fn a_copy_is_what_composing_it_alone_would_give() {
    let mut story = Story::opens(0, &["api", "website"]);
    story.says(60, IncidentStatus::Identified, "A disk is *full*. = é 日本 https://example.org/?a=b");
    story.resolves(120);
    let everything = subscriber(&[]);
    let german = Subscriber {
        language: Some("de".to_owned()),
        timezone: Some("Asia/Tokyo".to_owned()),
        ..subscriber(&["website"])
    };
    for envelope_from in ["", "bounces+{token}@example.org"] {
        let (mut config, mut email) = config();
        config.site.languages = vec!["en".to_owned(), "de".to_owned()];
        email.envelope_from = envelope_from.to_owned();
        for news in News::ALL {
            for like in [&everything, &german] {
                let known = all_are_as_composed_alone(&config, &email, *news, &story, like);
                assert!(matches!(known, Known::Stencil(_)), "{known:?}");
            }
        }
    }
}

#[test]
fn a_template_that_does_more_with_an_address_than_print_it_gets_no_copies() {
    let folder = tempfile::tempdir().unwrap();
    for body in ["{{ leave.url|upper }}", "{{ leave.url|length }} {{ leave.url[-1] }}", "{{ leave.url[40:] }}"] {
        fsio::write(&folder.path().join("mail/opened/body.txt"), body.as_bytes()).unwrap();
        let (mut config, email) = config();
        config.site.templates = Some(folder.path().to_owned());
        let story = Story::opens(0, &["api"]);
        let known = all_are_as_composed_alone(&config, &email, News::Opened, &story, &subscriber(&[]));
        assert!(matches!(known, Known::Unfit), "{known:?}");
    }
}
