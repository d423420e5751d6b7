//! What happened in a rehearsal, as lines in the order of time: the story, what the judge found and
//! why, what people wrote, and who was told what.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::RehearsalError;
use crate::{
    config::Config,
    domain::{
        IncidentId, ServiceId,
        archive::Archive,
        incident::{Incident, Update},
    },
    judge::Decision,
    simulation::{Happened, Mail, story::Story},
    site::words::{Names, Words},
    store::Reader,
};

/// So many addresses are named in one line.
const NAMED: usize = 3;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, by the monitor's clock.
    pub at: Timestamp,
    /// What kind of thing.
    pub kind: Kind,
    /// What.
    pub text: String,
}

/// The kinds of lines, in the order in which those of one moment stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The story says so.
    Story,
    /// Of the monitor itself: it started, it ended, something failed.
    Monitor,
    /// What the incident says of itself.
    Fact,
    /// Why.
    Decision,
    /// What a person wrote.
    Update,
    /// Who was told.
    Told,
    /// What operators were told.
    Operator,
}

impl Kind {
    /// The word that stands before the text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Story => "story",
            Self::Monitor => "monitor",
            Self::Fact => "fact",
            Self::Decision => "decision",
            Self::Update => "update",
            Self::Told => "told",
            Self::Operator => "operator",
        }
    }
}

/// An incident in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its permanent name.
    pub id: IncidentId,
    /// What people read.
    pub title: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was noticed.
    pub noticed_at: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// What it touched, in the order of joining.
    pub services: Vec<ServiceId>,
}

/// What became of the monitor: what goes wrong again and again is one line.
#[derive(Debug, Default)]
pub struct Monitor {
    pub lines: Vec<Line>,
    /// What is wrong at present.
    trouble: Option<String>,
}

impl Monitor {
    /// Something happened.
    pub fn see(&mut self, now: Timestamp, happened: &Happened) {
        let text = match happened {
            Happened::Started => "started".to_owned(),
            Happened::NotStarted(why) => format!("could not start: {why}"),
            Happened::Ended { is_crash: true } => "was killed".to_owned(),
            Happened::Ended { is_crash: false } => "ended".to_owned(),
            Happened::NotPublished(why) => format!("could not publish: {why}"),
            Happened::NewsPublished | Happened::Published if self.trouble.is_some() => "publishes again".to_owned(),
            Happened::NewsPublished
            | Happened::Published
            | Happened::Committed
            | Happened::Mailed
            | Happened::NoteFile(_)
            | Happened::Acted => return,
        };
        let is_trouble = matches!(happened, Happened::NotStarted(_) | Happened::NotPublished(_));
        if is_trouble && self.trouble.as_ref() == Some(&text) {
            return;
        }
        self.trouble = is_trouble.then(|| text.clone());
        self.lines.push(Line { at: now, kind: Kind::Monitor, text });
    }

    /// What is wrong at present.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

/// The story itself.
pub fn of_story(story: &Story) -> Vec<Line> {
    let at = |after| story.starts.saturating_add(after).unwrap_or(story.starts);
    let line = |(after, text): (std::time::Duration, String)| Line { at: at(after), kind: Kind::Story, text };
    let happenings = story.happenings.iter().map(|it| (it.after, it.told.clone()));
    let looks = story.looks.iter().map(|look| (look.after, format!("a look: looks/{}", look.name)));
    happenings.chain(looks).map(line).collect()
}

/// What was found, decided and written, and the incidents.
pub fn of_store(reader: &Reader, config: &Config) -> Result<(Vec<Line>, Vec<Summary>), RehearsalError> {
    let words = Words::load(&config.site.language, config.site.templates.as_deref())?;
    let names = Names::of(&config.rules);
    let (mut lines, mut incidents) = (Vec::new(), Vec::new());
    let heads = reader.heads()?;
    for head in heads.iter().rev() {
        lines.extend(reader.decisions(&head.id)?.iter().map(decision));
        let merged = heads.iter().any(|other| other.aliases.contains(&head.id));
        let Some(incident) = reader.incident(&head.id)?.filter(|_| !merged) else { continue };
        let fact = |fact: &crate::domain::incident::Fact| Line {
            at: fact.at,
            kind: Kind::Fact,
            text: format!("{}: {}", head.id, words.fact(fact, &names)),
        };
        lines.extend(incident.facts.iter().map(fact));
        lines.extend(incident.updates.iter().filter(|it| !it.withdrawn).map(|it| update(it, &head.id, &words)));
        incidents.push(summary(&incident, &words, &names));
    }
    Ok((lines, incidents))
}

fn decision(decision: &Decision) -> Line {
    let on = decision.check.as_ref().map_or_else(|| decision.service.to_string(), ToString::to_string);
    Line { at: decision.at, kind: Kind::Decision, text: format!("{on}: {}", decision.reason) }
}

fn update(update: &Update, incident: &IncidentId, words: &Words) -> Line {
    let text = words.local(&update.text).trim().replace('\n', " ");
    Line { at: update.recorded_at, kind: Kind::Update, text: format!("{incident}: {}: {text}", update.status) }
}

fn summary(incident: &Incident, words: &Words, names: &Names) -> Summary {
    Summary {
        id: incident.id.clone(),
        title: words.incident_title(incident, names),
        started_at: incident.started_at,
        noticed_at: incident.noticed_at,
        resolved_at: incident.resolved_at,
        services: incident.affected.iter().map(|part| part.service.clone()).collect(),
    }
}

/// Who was told what: the same to several people in the same second is one line.
pub fn of_mails(mails: &[Mail], title: &str) -> Vec<Line> {
    let start = format!("[{title}] ");
    let mut told: BTreeMap<(i64, Kind, String), (Timestamp, Vec<&str>)> = BTreeMap::new();
    for mail in mails {
        let kind = if mail.subscriber.is_some() { Kind::Told } else { Kind::Operator };
        let subject = mail.subject();
        let subject = subject.strip_prefix(&start).unwrap_or(&subject).to_owned();
        let same = told.entry((mail.taken_at.as_second(), kind, subject)).or_insert((mail.taken_at, Vec::new()));
        same.1.push(&mail.to);
    }
    let line = |((_, kind, subject), (at, mut to)): ((i64, Kind, String), (Timestamp, Vec<&str>))| {
        to.sort_unstable();
        let more = to.len().saturating_sub(NAMED);
        let whom = to.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let others = if more > 0 { format!(" and {more} more") } else { String::new() };
        Line { at, kind, text: format!("{whom}{others}: {subject}") }
    };
    told.into_iter().map(line).collect()
}
