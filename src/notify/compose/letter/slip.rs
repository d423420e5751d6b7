//! Letters that tell of no event: a confirmation that is asked for, the way to one's settings, a
//! welcome with what goes on.

use std::sync::Arc;

use jiff::Timestamp;
use minijinja::Value;

use super::{Event, Fact, Frame, LISTED, Letter, News, OK, PLANNED, Said, ServiceId, Source, Tint, Words, Writer};
use crate::{
    domain::{
        GroupId, Impact,
        asking::LetterKind,
        subscriber::{Choice, Wants},
    },
    site::templates::escape,
};

/// What such a letter is made of.
#[derive(Clone, Copy, Debug)]
pub struct Slip<'a> {
    /// What it is.
    pub kind: LetterKind,
    /// What was chosen.
    pub choice: &'a Choice,
    /// What goes on that is theirs: each the newest event of an incident.
    pub events: &'a [Arc<Event>],
    /// Opens the page that confirms.
    pub confirm_url: &'a str,
    /// Until when its link is good.
    pub good_until: Timestamp,
    /// All else.
    pub frame: Frame<'a>,
}

impl Letter {
    /// What is said.
    #[must_use]
    pub fn slip(slip: &Slip<'_>) -> Self {
        let frame = &slip.frame;
        let words = frame.words;
        let site = ("site", frame.site_title);
        let kind = slip.kind.as_str();
        let say = |key: &str, args: &[(&str, &str)]| {
            let mut all = vec![site];
            all.extend_from_slice(args);
            words.text(&format!("letter.{kind}_{key}"), &all)
        };
        let until = words.moment(slip.good_until, frame.zone);
        let going_on: Vec<Open> = slip.events.iter().filter_map(|event| Open::new(slip, event)).collect();
        let subject = match going_on.as_slice() {
            [] => say("subject", &[]),
            [first, ..] => words.text("letter.welcome_subject_now", &[("title", &first.title)]),
        };
        let note = match (slip.kind, going_on.is_empty()) {
            (LetterKind::Welcome, true) => words.text("letter.welcome_well", &[]),
            (LetterKind::Welcome, false) => words.text("letter.welcome_now", &[]),
            _ => say("note", &[("until", &until)]),
        };
        let page = match slip.kind {
            LetterKind::Confirm => slip.confirm_url,
            LetterKind::Settings => frame.manage_url,
            LetterKind::Welcome => frame.site_url.as_str(),
        };
        let calm = if slip.kind == LetterKind::Welcome { OK } else { PLANNED };
        let tint = going_on.first().map_or(calm, |open| open.tint);
        Self {
            subject: frame.subject(&subject),
            sentence: say("sentence", &[]),
            state: say("state", &[]),
            note,
            people: going_on.into_iter().map(|open| open.said).collect(),
            page: frame.page(say("page", &[]), page),
            why: say("why", &[]),
            manage: (slip.kind == LetterKind::Welcome).then(|| frame.manage()),
            leave: Some(match slip.kind {
                // They are on no list yet, and may wish never to be.
                LetterKind::Confirm => frame.link("letter.stop", frame.leave_url),
                LetterKind::Settings | LetterKind::Welcome => frame.leave(),
            }),
            ..Self::blank(frame, tint, facts(slip))
        }
    }
}

/// One incident of theirs that goes on.
struct Open {
    title: String,
    tint: Tint,
    said: Said,
}

impl Open {
    /// The same as the mail that told others of it: its sentence, facts, newest words, and page.
    fn new(slip: &Slip<'_>, event: &Event) -> Option<Self> {
        let events = [event];
        let source = Source { news: News::Opened, events: &events, wants: &slip.choice.wants, frame: slip.frame };
        let writer = Writer::new(&source, event);
        let title = writer.title();
        let page = slip.frame.site_url.join(&format!("incidents/{}/", event.incident)).ok()?;
        let words = slip.frame.words;
        let (mut text, mut html) = (Vec::new(), Vec::new());
        for fact in writer.facts() {
            let line = format!("{} {}", fact.padded, fact.lines.join(words.catalog().raw("list.parts")));
            html.push(format!("<p>{}</p>", escape(&line)));
            text.push(line);
        }
        for said in writer.people() {
            html.push(format!("<p>{}</p>\n{}", escape(&said.heading), said.html));
            text.push(format!("{}\n{}", said.heading, said.text.trim_end()));
        }
        let label = writer.page_label();
        html.push(format!("<p><a href=\"{}\">{}</a></p>", escape(page.as_str()), escape(&label)));
        text.push(format!("{}\n{page}\n", words.text("mail.label", &[("label", &label)])));
        let (text, html) = (text.join("\n"), html.join("\n"));
        let heading = writer.sentence_of(&title);
        Some(Self { title, tint: writer.tint(), said: Said { heading, text, html: Value::from_safe_string(html) } })
    }
}

/// What was chosen, in short lines.
fn facts(slip: &Slip<'_>) -> Vec<Fact> {
    let (words, choice) = (slip.frame.words, slip.choice);
    let mut facts = Vec::new();
    let mut say = |key: &str, lines: Vec<String>| {
        let label = words.text(&format!("letter.{key}"), &[]);
        let padded = words.text("mail.label", &[("label", &label)]);
        facts.push(Fact { label, padded, lines });
    };
    say("hears_of", services(slip, &choice.wants));
    say("news", vec![kinds(words, &choice.wants)]);
    if choice.wants.min_impact > Impact::None {
        say("from", vec![words.impact(choice.wants.min_impact).to_owned()]);
    }
    if let Some(zone) = &choice.timezone {
        say("zone", vec![zone.replace('_', " ")]);
    }
    facts
}

fn services(slip: &Slip<'_>, wants: &Wants) -> Vec<String> {
    let words = slip.frame.words;
    if wants.services.is_empty() && wants.groups.is_empty() {
        return vec![words.text("letter.everything", &[])];
    }
    let group = |group: &GroupId| words.text("letter.group", &[("name", slip.frame.directory.group_name(group))]);
    let service = |service: &ServiceId| slip.frame.names.get(service).to_owned();
    let all: Vec<String> = wants.groups.iter().map(group).chain(wants.services.iter().map(service)).collect();
    let mut lines: Vec<String> = all.iter().take(LISTED).cloned().collect();
    let rest = all.len().saturating_sub(LISTED);
    if rest > 0 {
        lines.push(words.count("mail.part_more", u64::try_from(rest).unwrap_or(u64::MAX), &[]));
    }
    lines
}

fn kinds(words: &Words, wants: &Wants) -> String {
    let incidents = wants.incidents.then(|| words.text("letter.incidents", &[]));
    let maintenance = wants.maintenance.then(|| words.text("letter.maintenance", &[]));
    let kinds: Vec<String> = incidents.into_iter().chain(maintenance).collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    words.list(&kinds, kinds.len())
}
