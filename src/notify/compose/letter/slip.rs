//! Letters that tell of no event: a confirmation that is asked for, the way to one's settings, a
//! welcome with what goes on.

use std::sync::Arc;

use super::{
    Directory, Event, Fact, LISTED, Letter, Link, News, OK, PLANNED, Said, ServiceId, Site, Source, Words, Writer,
    address, leave, lightened, own_view,
};
use crate::{
    domain::{
        GroupId, Impact,
        asking::LetterKind,
        subscriber::{Choice, Wants},
    },
    notify::recipient::Recipient,
    site::{templates::escape, words::Names},
};
use jiff::{Timestamp, tz::TimeZone};
use minijinja::Value;
use url::Url;

/// What such a letter is made of.
#[derive(Clone, Copy, Debug)]
pub struct Slip<'a> {
    /// What it is.
    pub kind: LetterKind,
    /// What was chosen.
    pub choice: &'a Choice,
    /// What goes on that is theirs: each the newest event of an incident.
    pub events: &'a [Arc<Event>],
    /// What there is to choose from.
    pub directory: &'a Directory,
    /// How services are called.
    pub names: &'a Names,
    /// The reader's language.
    pub words: &'a Words,
    /// The reader's zone.
    pub zone: &'a TimeZone,
    /// Whose status this is.
    pub site_title: &'a str,
    /// Where the site is.
    pub site_url: &'a Url,
    /// The colour of links.
    pub accent: &'a str,
    /// Opens the page that confirms.
    pub confirm_url: &'a str,
    /// Opens the page for choosing.
    pub manage_url: &'a str,
    /// Where one click ends it.
    pub leave_url: &'a str,
    /// Until when its link is good.
    pub good_until: Timestamp,
}

impl Letter {
    /// What is said.
    #[must_use]
    pub fn slip(slip: &Slip<'_>) -> Self {
        let words = slip.words;
        let site = ("site", slip.site_title);
        let kind = slip.kind.as_str();
        let say = |key: &str, args: &[(&str, &str)]| {
            let mut all = vec![site];
            all.extend_from_slice(args);
            words.text(&format!("letter.{kind}_{key}"), &all)
        };
        let until = words.moment(slip.good_until, slip.zone);
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
        let mut facts = facts(slip);
        let width = facts.iter().map(|fact| fact.padded.chars().count()).max().unwrap_or(0) + 2;
        for fact in &mut facts {
            fact.padded = format!("{:width$}", fact.padded);
        }
        let (dir, start) = if words.direction() == "rtl" { ("rtl", "right") } else { ("ltr", "left") };
        let page = match slip.kind {
            LetterKind::Confirm => slip.confirm_url,
            LetterKind::Settings => slip.manage_url,
            LetterKind::Welcome => slip.site_url.as_str(),
        };
        let manage = || {
            let label = words.text("letter.manage", &[]);
            let line = words.text("letter.manage_line", &[("url", slip.manage_url)]);
            Link { label, line, url: address(slip.manage_url) }
        };
        Self {
            lang: words.language().to_owned(),
            dir,
            start,
            site: Site { title: slip.site_title.to_owned(), url: address(slip.site_url.as_str()) },
            accent: slip.accent.to_owned(),
            accent_dark: lightened(slip.accent),
            tint: going_on
                .first()
                .map_or(if slip.kind == LetterKind::Welcome { OK } else { PLANNED }, |open| open.tint),
            subject: words.text("mail.subject", &[site, ("subject", &subject)]),
            sentence: say("sentence", &[]),
            state: say("state", &[]),
            note,
            facts,
            indent: " ".repeat(width),
            people: going_on.into_iter().map(|open| open.said).collect(),
            page: Link { label: say("page", &[]), line: String::new(), url: address(page) },
            why: say("why", &[]),
            manage: (slip.kind == LetterKind::Welcome).then(manage),
            leave: (slip.kind != LetterKind::Confirm).then(|| leave(words, slip.leave_url)),
        }
    }
}

/// One incident of theirs that goes on.
struct Open {
    title: String,
    tint: super::Tint,
    said: Said,
}

impl Open {
    /// The same as the mail that told others of it: its sentence, facts, newest words, and page.
    fn new(slip: &Slip<'_>, event: &Event) -> Option<Self> {
        let events = [event];
        let source = Source {
            news: News::Opened,
            events: &events,
            wants: &slip.choice.wants,
            directory: slip.directory,
            names: slip.names,
            words: slip.words,
            zone: slip.zone,
            site_title: slip.site_title,
            site_url: slip.site_url,
            accent: slip.accent,
            leave_url: slip.leave_url,
        };
        let recipient = Recipient { wants: &slip.choice.wants, directory: slip.directory };
        let view = own_view(&event.view, recipient);
        let writer = Writer { source: &source, last: event, recipient, is_over: view.resolved_at.is_some(), view };
        let title = writer.title();
        let page = slip.site_url.join(&format!("incidents/{}/", event.incident)).ok()?;
        let (mut text, mut html) = (Vec::new(), Vec::new());
        for fact in writer.facts() {
            let line = format!("{} {}", fact.padded, fact.lines.join("; "));
            html.push(format!("<p>{}</p>", escape(&line)));
            text.push(line);
        }
        for said in writer.people() {
            html.push(format!("<p>{}</p>\n{}", escape(&said.heading), said.html));
            text.push(format!("{}\n{}", said.heading, said.text.trim_end()));
        }
        let label = writer.page_label();
        html.push(format!("<p><a href=\"{}\">{}</a></p>", escape(page.as_str()), escape(&label)));
        text.push(format!("{label}:\n{page}\n"));
        let (text, html) = (text.join("\n"), html.join("\n"));
        let heading = writer.sentence_of(&title);
        Some(Self { title, tint: writer.tint(), said: Said { heading, text, html: Value::from_safe_string(html) } })
    }
}

/// What was chosen, in short lines.
fn facts(slip: &Slip<'_>) -> Vec<Fact> {
    let (words, choice) = (slip.words, slip.choice);
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
    let words = slip.words;
    if wants.services.is_empty() && wants.groups.is_empty() {
        return vec![words.text("letter.everything", &[])];
    }
    let group = |group: &GroupId| words.text("letter.group", &[("name", slip.directory.group_name(group))]);
    let service = |service: &ServiceId| slip.names.get(service).to_owned();
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
