//! Mail: what we compose, read by another parser; what relays answer.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use mail_parser::{MessageParser, MimeHeaders};
use watchbell::{
    config::{Config, Email},
    domain::{
        EventId, IncidentStatus, ServiceId,
        event::{Event, EventKind, IncidentView},
        id::DeliveryId,
        incident::Incident,
        subscriber::{Address, Subscriber},
    },
    notify::{
        bounce::{self, Bounce, Outcome},
        compose::{Composer, Draft, Tokens},
        plan::News,
        reply::{self, Phase, Reply},
    },
    untrusted,
};

use super::{
    dice::{Dice, NEXT, texts},
    harness::Target,
    html,
};
use crate::{
    feeds::fixture,
    mail::fixture::{World, at, config, email},
};

/// The headers of every message to a subscriber, in alphabetical order, as the parser spells them.
const HEADERS: &[&str] = &[
    "Auto-Submitted",
    "Content-Language",
    "Content-Type",
    "Date",
    "From",
    "In-Reply-To",
    "List-ID",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Message-ID",
    "References",
    "Subject",
    "To",
    "X-Auto-Response-Suppress",
];

/// Those of a notice to the operator.
const NOTICE_HEADERS: &[&str] = &[
    "Auto-Submitted",
    "Content-Transfer-Encoding",
    "Content-Type",
    "Date",
    "From",
    "MIME-Version",
    "Message-ID",
    "Subject",
    "To",
    "X-Auto-Response-Suppress",
];

/// Site's title, sender's name, service's name, incident's title, what people said, and a seed for
/// the rest.
fn story(dice: &mut Dice) -> Vec<u8> {
    let mut all: Vec<String> = (0..4).map(|_| dice.text()).collect();
    all.push((0..dice.few(4)).map(|_| dice.text()).collect());
    all.push(dice.below(1 << 16).to_string());
    all.join(&NEXT.to_string()).into_bytes()
}

fn incident(texts: &[String], shape: usize) -> Incident {
    let mut incident = fixture::incident(
        "2026-11-21-api",
        "2026-11-21T10:15:00Z",
        "2026-11-21T10:15:05Z",
        vec![
            fixture::part(
                "api",
                watchbell::domain::ServiceStatus::MajorOutage,
                "2026-11-21T10:15:00Z",
                CLASSES[shape % CLASSES.len()],
            ),
            fixture::part(
                "website",
                watchbell::domain::ServiceStatus::PartialOutage,
                "2026-11-21T10:15:01Z",
                CLASSES[shape / 3 % CLASSES.len()],
            ),
        ],
    );
    incident.title = (!shape.is_multiple_of(3)).then(|| untrusted::line(&texts[3], 200).as_str().into());
    if !shape.is_multiple_of(2) {
        fixture::recover(&mut incident, "website", "2026-11-21T10:20:00Z");
    }
    if shape.is_multiple_of(5) {
        fixture::recover(&mut incident, "api", "2026-11-21T10:25:00Z");
        fixture::resolve(&mut incident, "2026-11-21T10:25:00Z");
    }
    incident
}

const CLASSES: &[watchbell::domain::outcome::Class] = {
    use watchbell::domain::outcome::Class;
    &[
        Class::Dns,
        Class::ConnectRefused,
        Class::Timeout,
        Class::HttpStatus,
        Class::Certificate,
        Class::Slow,
        Class::Body,
    ]
};

const KINDS: &[(News, EventKind)] = &[
    (News::Opened, EventKind::Opened),
    (News::Joined, EventKind::Joined),
    (News::Recovered, EventKind::Recovered),
    (News::Updated, EventKind::Updated),
    (News::Resolved, EventKind::Resolved),
    (News::Reopened, EventKind::Reopened),
    (News::Intermittent, EventKind::Intermittent),
    (News::Passed, EventKind::Resolved),
    (News::Postmortem, EventKind::Postmortem),
    (News::Withdrawn, EventKind::Withdrawn),
];

fn sender(texts: &[String]) -> (Config, Email) {
    // As the config's keys would have them: one clean line.
    let line = |n: usize| untrusted::line(texts.get(n).map_or("", String::as_str), 200);
    let email = Email { from_name: line(1), ..email() };
    let mut config = config(&email);
    config.site.title = line(0);
    let mut services = config.rules.services.clone();
    for service in &mut services {
        Arc::make_mut(service).name = line(2);
    }
    config.rules.services = services;
    (config, email)
}

fn compose(composer: &Composer, texts: &[String], shape: usize) -> Vec<u8> {
    let incident = incident(texts, shape);
    let (news, kind) = KINDS[shape % KINDS.len()];
    // As a note's keys would have them.
    let text = untrusted::block(&texts[4], 20_000);
    let update = fixture::update(1, "2026-11-21T10:21:00Z", IncidentStatus::Identified, &text);
    let event = Event {
        id: EventId::new(at(0), [7; 10]),
        kind,
        incident: incident.id.clone(),
        at: at(0),
        recorded_at: at(1),
        seals_at: at(1),
        services: ["api", "website"].map(|id| ServiceId::new(id).unwrap()).into(),
        notify: true,
        view: IncidentView::from(&incident),
        fact: None,
        update: (shape / 7).is_multiple_of(2).then_some(update),
    };
    let subscriber = Subscriber {
        timezone: (shape / 11).is_multiple_of(2).then(|| "Asia/Tokyo".to_owned()),
        ..World::subscriber(shape)
    };
    let draft = Draft {
        news,
        delivery: DeliveryId::new(at(0), [1; 10]),
        subscriber: &subscriber,
        events: &[&event],
        tokens: &Tokens { unsubscribe: "TOKEN-of_90.chars".to_owned(), ..Tokens::default() },
    };
    composer.compose(&draft).expect("whatever people write can be told").bytes.to_vec()
}

/// That it is a message as RFC 5322 has it, with these headers and no others.
fn well_formed<'a>(bytes: &'a [u8], headers: &[&str]) -> mail_parser::Message<'a> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.is_ascii() && !text.replace("\r\n", "").contains(['\r', '\n', '\0']), "{text}");
    assert!(text.split("\r\n").all(|line| line.len() <= 998), "{text}");
    let message = MessageParser::default().parse(bytes).expect("a message");
    let mut found: Vec<&str> = message.headers_raw().map(|(name, _)| name).collect();
    found.sort_unstable();
    assert_eq!(found, headers, "{text}");
    let subject = message.subject().expect("a subject");
    assert!(subject.chars().count() <= 300 && !subject.contains(['\r', '\n', '\u{fffd}']), "{subject:?}");
    html::is_clean(subject);
    message
}

/// Elements with their attributes, as far as the templates use them.
fn used(html: &str) -> BTreeSet<(String, String)> {
    let read = html::read(html);
    let starts = read.tags.iter().filter(|tag| !tag.is_end);
    starts
        .flat_map(|tag| {
            let attributes = tag.attributes.iter().map(|(name, _)| (tag.name.clone(), name.clone()));
            std::iter::once((tag.name.clone(), String::new())).chain(attributes)
        })
        .collect()
}

/// What the templates alone use, and what markdown may.
fn allowed() -> &'static BTreeSet<(String, String)> {
    static ALLOWED: OnceLock<BTreeSet<(String, String)>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let texts = ["Example", "Sender", "API", "Trouble", "Words.", "0"].map(str::to_owned);
        let (config, email) = sender(&texts);
        let composer = Composer::new(&config, &email).unwrap();
        let mut all = BTreeSet::new();
        for shape in 0..420 {
            let bytes = compose(&composer, &texts, shape);
            let message = MessageParser::default().parse(&bytes).unwrap();
            all.extend(used(&message.body_html(0).unwrap()));
        }
        for name in [
            "p",
            "h3",
            "h4",
            "h5",
            "h6",
            "em",
            "strong",
            "a",
            "ul",
            "ol",
            "li",
            "pre",
            "code",
            "blockquote",
            "hr",
            "br",
        ] {
            all.insert((name.to_owned(), String::new()));
        }
        all.extend([("a", "href"), ("a", "rel"), ("ol", "start")].map(|(tag, name)| (tag.to_owned(), name.to_owned())));
        assert!(!all.iter().any(|(tag, name)| name.starts_with("on") || tag == "script"));
        all
    })
}

/// Whatever people write, a message has the headers that we set and no others, its parts read back
/// whole, and its HTML has no element or attribute that is not the templates' or markdown's.
pub fn mail() {
    let usual = ["Example Status", "Example", "API"].map(str::to_owned);
    let (config, email) = sender(&usual);
    let shared = Composer::new(&config, &email).unwrap();
    let to = Address::parse("ops@example.org").unwrap();
    Target::new("mail", 400).run(story, |input| {
        // What stands for broken bytes here would stand for bytes that we broke.
        let mut texts: Vec<String> = texts(input).iter().map(|text| text.replace('\u{fffd}', "?")).collect();
        texts.resize(6, String::new());
        let shape = texts[5].bytes().fold(0, |sum: usize, byte| (sum * 31 + usize::from(byte)) % 4620);
        // Making a composer takes longer than composing: most messages share one.
        let own = shape.is_multiple_of(8).then(|| {
            let (config, email) = sender(&texts);
            (Composer::new(&config, &email).unwrap(), config.site.title, email.from_name)
        });
        let composer = own.as_ref().map_or(&shared, |own| &own.0);
        let (site, name) = own.as_ref().map_or(("Example Status", "Example"), |own| (&*own.1, &*own.2));

        let bytes = compose(composer, &texts, shape);
        let message = well_formed(&bytes, HEADERS);
        let from = message.from().and_then(|from| from.first()).unwrap();
        assert_eq!(from.address(), Some("status@example.org"));
        assert_eq!(from.name().unwrap_or(""), name.replace("=?", "= ?"));
        let sent_to = message.to().and_then(|to| to.first()).unwrap();
        assert_eq!(sent_to.address().unwrap(), format!("reader{shape}@example.net"));
        let leave = message.header_raw("List-Unsubscribe").unwrap().trim();
        assert_eq!(leave, "<https://status.example.org/unsubscribe/TOKEN-of_90.chars>");
        assert_eq!((message.text_body_count(), message.html_body_count(), message.attachment_count()), (1, 1, 0));
        let (plain, html) = (message.body_text(0).unwrap(), message.body_html(0).unwrap());
        for body in [&plain, &html] {
            html::is_clean(body);
            assert!(body.contains("https://status.example.org/unsubscribe/TOKEN-of_90.chars"), "{body}");
            // Markdown has it for characters that there are not.
            assert!(!body.contains('\u{fffd}') || texts[4].contains("&#"), "{body}");
        }
        let foreign: Vec<_> = used(&html).difference(allowed()).cloned().collect();
        assert!(foreign.is_empty(), "{foreign:?} in {html}");
        let read = html::read(&html);
        for (name, value) in read.tags.iter().flat_map(|tag| &tag.attributes) {
            assert!(
                !matches!(name.as_str(), "href" | "src") || html::leads_to_a_good_place(value, false),
                "{name}={value}"
            );
        }
        assert_eq!((&read.scripts[..], &read.errors[..]), (&[][..], &[][..]), "{html}");

        let (subject, said) = (&texts[3], &texts[4]);
        let notice = composer.compose_notice(DeliveryId::new(at(0), [2; 10]), &to, subject, said, at(0)).unwrap();
        let message = well_formed(&notice.bytes, NOTICE_HEADERS);
        let expected = untrusted::line(&format!("[{}] {subject}", untrusted::line(site, 100)), 200);
        assert_eq!(message.subject(), Some(expected.replace("=?", "= ?").as_str()));
        let body = message.body_text(0).unwrap().replace("\r\n", "\n");
        assert_eq!(body.trim_end(), said.replace("\r\n", "\n").replace('\r', "\n").trim_end());
        assert_eq!(
            message.part(0).and_then(|part| part.content_type()).map(mail_parser::ContentType::ctype),
            Some("text")
        );
    });
}

const REPLIES: &[&str] = &[
    "220 ",
    "250 ",
    "250-",
    "354 ",
    "421 ",
    "450 ",
    "451 ",
    "452 ",
    "535 ",
    "550 ",
    "552 ",
    "554 ",
    "2.0.0 ",
    "4.2.0 ",
    "5.1.1 ",
    "5.7.1 ",
    "4.3.2 ",
    "5.1.1.1 ",
    "255.999.65536 ",
    "5..1 ",
    "5.1 ",
    "ok",
    "queued as 4ABC",
    "<ann@example.net>",
    "ann@example.net",
    "ann+x@example.net:",
    "\"a b\"@example.net",
    "user unknown",
    "(",
    ")",
    ";",
    ": ",
    " ",
    "\r\n",
    "\n",
    "-",
    "PIPELINING",
    "AUTH PLAIN LOGIN",
    "STARTTLS",
    "SIZE 1",
    "SMTPUTF8",
    "250",
    "99",
    "1000 ",
    "mail.example greets you",
    "@",
    "a@b@c",
];

/// Whatever a server says is sorted, and what of it reaches a log is short, clean, one line, and
/// without the addresses that servers repeat.
pub fn smtp_words() {
    let make = |dice: &mut Dice| dice.pieces(REPLIES, 10).into_bytes();
    let large = vec!["5.1.1 ".repeat(20_000).into(), "a@".repeat(50_000).into()];
    Target { words: REPLIES, large, ..Target::new("smtp_words", 4000) }.run(make, |input| {
        let text = String::from_utf8_lossy(input);
        let code = 100 + input.iter().fold(0, |sum: u16, byte| (sum * 7 + u16::from(*byte)) % 500);
        for phase in [
            Phase::Connect,
            Phase::Greeting,
            Phase::Tls,
            Phase::Auth,
            Phase::Sender,
            Phase::Recipient,
            Phase::Data,
            Phase::Body,
        ] {
            for answer in [Reply::refused(phase, code, &text), Reply::broken(phase, &text)] {
                is_fit_for_a_log(&answer.to_string());
                assert_ne!(reply::classify(&answer), reply::Class::Sent);
                if let Reply::Refused { enhanced: Some((class, ..)), .. } = answer {
                    assert_eq!(u16::from(class), code / 100);
                }
            }
        }
    });
}

const PIECES: &[&str] = &[
    "From: MAILER-DAEMON@mx.example.net\r\n",
    "From: Ann <ann@example.net>\r\n",
    "To: bounces+",
    "X-Failed-Recipients: ann@example.net, bob@example.net\r\n",
    "Auto-Submitted: auto-replied\r\n",
    "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n",
    "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n",
    "\r\n--b\r\n",
    "\r\n--b--\r\n",
    "Content-Type: message/delivery-status\r\n\r\n",
    "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: base64\r\n\r\n",
    "Content-Type: message/rfc822\r\n\r\n",
    "Content-Type: text/rfc822-headers\r\n\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Reporting-MTA: dns; mx.example.net\r\n\r\n",
    "Final-Recipient: rfc822; ann@example.net\r\n",
    "Original-Recipient: rfc822;",
    "Action: failed\r\n",
    "Action: delayed\r\n",
    "Action:",
    "Status: 5.1.1\r\n",
    "Status: 4.4.7\r\n",
    "Status: 5.0.0\r\n",
    "Status:",
    "Diagnostic-Code: smtp; 550-5.1.1 no such user\r\n",
    "Diagnostic-Code: x-unix;",
    "This is a permanent error. 550 5.1.1",
    "Hi. This is the qmail-send program at x.\n(#5.2.1)\n",
    "this is a warning only",
    "retry timeout exceeded",
    "--- Below this line is a copy of the message.\n",
    "Return-Path: <bounces+",
    "aaaabbbbccccddddeeeeffffgggghhhhiiiijjjjkkkkl",
    "@example.org",
    "\r\n\r\n",
    "\r\n",
    "\n",
    " ",
    ";",
    ":",
    "<",
    "=?utf-8?q?=0d=0a?=",
    "\u{202e}",
    "5.1.1.1",
    "(#",
    "-",
];

/// Whatever comes to the address of bounces is read without harm, and quickly; without our token
/// nothing is done, and what would be said of it is fit for a log.
pub fn bounces() {
    let make = |dice: &mut Dice| dice.pieces(PIECES, 24).into_bytes();
    let large = vec![
        b"a".repeat(1 << 20),
        PIECES.concat().repeat(400).into_bytes(),
        format!("{}{}", PIECES[5], "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n".repeat(20_000)).into_bytes(),
        format!("{}\r\n{}", PIECES[0], "this is a permanent error 550 5.1.1 ".repeat(25_000)).into_bytes(),
        format!(
            "{}\r\n\r\n{}",
            PIECES[0],
            "Return-Path: <aaaabbbbccccddddeeeeffffgggghhhhiiiijjjjkkkkl>\r\n".repeat(15_000)
        )
        .into_bytes(),
    ];
    let world = std::sync::Mutex::new(World::new(1));
    let key = world.lock().unwrap().key();
    Target { words: PIECES, large, ..Target::new("bounces", 4000) }.run(make, |input| {
        let bounce = Bounce::read(input, &["bounces+aaaabbbbccccddddeeeeffffgggghhhhiiiijjjjkkkkl".to_owned()]);
        for said in bounce.refusals("ann@example.net") {
            is_fit_for_a_log(&said);
        }
        let outcome = bounce::act(&mut world.lock().unwrap().store, &key, &bounce, at(0)).unwrap();
        assert!(matches!(outcome, Outcome::NoBounce(_) | Outcome::NoToken), "{outcome:?}");
        is_fit_for_a_log(&outcome.to_string());
    });
}

pub fn is_fit_for_a_log(said: &str) {
    assert!(said.chars().count() < 260 && !said.contains(['\n', '@']), "{said:?}");
    html::is_clean(said);
}
