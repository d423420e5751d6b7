//! An incident as a row of updates, the way that consumers of feeds and of the JSON API expect it:
//! what people said, and what the monitor adds where they said nothing.
//!
//! The monitor's own words are few: that it began, that all is back, that it failed again. A row
//! is never empty, and ends with `resolved` if the incident did.

use jiff::Timestamp;

use crate::{
    domain::{
        IncidentStatus, ServiceId, ServiceStatus,
        incident::{Fact, FactKind, Incident, Origin, Update},
        text::LocalText,
    },
    site::{
        markdown,
        words::{Names, Words},
    },
};

/// The monitor names so many services in one update.
const NAMED: usize = 8;

/// One update, of a person or of the monitor.
#[derive(Clone, Debug)]
pub struct Point<'a> {
    /// Permanent, and unique on the site: an update's id, or the incident's with a word.
    pub id: String,
    /// When it applies.
    pub at: Timestamp,
    /// When watchbell knew of it.
    pub recorded_at: Timestamp,
    /// When its text last changed.
    pub changed_at: Timestamp,
    /// How far people are from here on.
    pub status: IncidentStatus,
    /// Who says what.
    pub said: Said<'a>,
    /// Whether anyone was told.
    pub notify: bool,
}

/// What an update says.
#[derive(Clone, Debug)]
pub enum Said<'a> {
    /// A person's words.
    Person(&'a Update),
    /// What the monitor saw.
    Monitor(Vec<&'a Fact>),
    /// It began, as far as anybody noted.
    Began,
    /// It is over, or waits for a person to say so.
    Over,
    /// It was written up: the summary, if there is one.
    WrittenUp(Option<&'a LocalText>),
}

/// All updates of `incident`, oldest first.
#[must_use]
pub fn of(incident: &Incident) -> Vec<Point<'_>> {
    let mut points: Vec<Point<'_>> = incident.updates.iter().filter(|update| !update.withdrawn).map(person).collect();
    points.extend(monitor(incident));
    if let Some(at) = incident.postmortem.as_ref().and_then(|written| written.published)
        && incident.status == IncidentStatus::Postmortem
        && !points.iter().any(|point| point.status == IncidentStatus::Postmortem)
    {
        let said = Said::WrittenUp(summary(incident));
        points.push(own(incident, "postmortem", at, IncidentStatus::Postmortem, said));
    }
    // At the same moment: that it began, what people said, that it is over.
    points.sort_by_key(|point| {
        (
            point.at,
            matches!(point.said, Said::Over | Said::WrittenUp(_)),
            !matches!(point.said, Said::Began | Said::Monitor(_)),
        )
    });
    points
}

/// When anything in `incident` that its readers see last changed.
#[must_use]
pub fn changed_at(incident: &Incident) -> Timestamp {
    let removed = incident.updates.iter().filter(|update| update.withdrawn).map(|update| update.changed_at);
    of(incident)
        .iter()
        .flat_map(|point| [point.recorded_at, point.changed_at])
        .chain(removed)
        .chain(incident.facts.iter().map(|fact| fact.at))
        .max()
        .unwrap_or(incident.noticed_at)
        .max(incident.noticed_at)
}

/// The summary of a postmortem that is public.
#[must_use]
pub fn summary(incident: &Incident) -> Option<&LocalText> {
    let written = incident.postmortem.as_ref().filter(|written| written.published.is_some())?;
    written.sections.iter().find(|(name, _)| name == "summary").map(|(_, text)| text)
}

fn person(update: &Update) -> Point<'_> {
    Point {
        id: update.id.to_string(),
        at: update.at,
        recorded_at: update.recorded_at,
        changed_at: update.changed_at.max(update.recorded_at),
        status: update.status,
        said: Said::Person(update),
        notify: update.notify,
    }
}

fn own<'a>(incident: &Incident, word: &str, at: Timestamp, status: IncidentStatus, said: Said<'a>) -> Point<'a> {
    let id = format!("{}-{word}", incident.id);
    Point { id, at, recorded_at: at, changed_at: at, status, said, notify: true }
}

/// What the monitor adds: the beginning, each end and each new beginning.
fn monitor(incident: &Incident) -> Vec<Point<'_>> {
    let people = || incident.updates.iter().filter(|update| !update.withdrawn);
    // What ends stands after what people said before it was known, though the first good probe may
    // be older: the newest update says how things are. Likewise what begins stands before it.
    let last_word = people().filter(|update| update.status.is_open()).map(|update| update.at).max();
    let first_word = people().map(|update| update.at).min();
    let mut points = Vec::new();
    // Rounds of the incident: each begins with the start or a `Reopened`, and ends with a `Resolved`.
    let mut rounds: Vec<Round<'_>> = vec![Round { began_at: incident.started_at, facts: Vec::new(), ended_at: None }];
    for fact in &incident.facts {
        let Some(round) = rounds.last_mut() else { break };
        match (&fact.what, round.ended_at) {
            (FactKind::Resolved, None) => round.ended_at = Some(fact.at),
            (FactKind::Reopened { .. }, Some(_)) => {
                rounds.push(Round { began_at: fact.at, facts: vec![fact], ended_at: None });
            }
            (FactKind::Confirmed { .. } | FactKind::Reopened { .. }, None) => round.facts.push(fact),
            _ => {}
        }
    }
    let count = rounds.len();
    for (n, round) in rounds.into_iter().enumerate() {
        let suffix = if n == 0 { String::new() } else { format!("-{}", n + 1) };
        if n > 0 {
            let said = Said::Monitor(round.facts);
            let word = format!("reopened{suffix}");
            points.push(own(incident, &word, round.began_at, IncidentStatus::Investigating, said));
        } else if incident.origin == Origin::Automatic || people().next().is_none() {
            let said = if round.facts.is_empty() { Said::Began } else { Said::Monitor(round.facts) };
            let began_at = first_word.map_or(round.began_at, |word| word.min(round.began_at));
            let mut point = own(incident, "investigating", began_at, IncidentStatus::Investigating, said);
            point.recorded_at = incident.noticed_at;
            point.changed_at = point.recorded_at;
            points.push(point);
        }
        let is_last = n + 1 == count;
        let ended_at = if is_last { incident.resolved_at } else { round.ended_at };
        let is_said = |at: Timestamp| {
            is_last && people().any(|update| !update.status.is_open() && update.at >= round.began_at && update.at >= at)
        };
        // A person's "resolved" a moment after the last recovery says it already; one long before
        // a later recovery does not.
        if let Some(at) = ended_at
            && !is_said(at)
        {
            let at = last_word.filter(|_| is_last).map_or(at, |word| word.max(at));
            points.push(own(incident, &format!("resolved{suffix}"), at, IncidentStatus::Resolved, Said::Over));
        }
        if is_last
            && incident.status == IncidentStatus::Monitoring
            && let Some(at) = all_back_at(incident)
            && !people().any(|update| update.status == IncidentStatus::Monitoring)
        {
            let at = last_word.map_or(at, |word| word.max(at));
            points.push(own(incident, &format!("monitoring{suffix}"), at, IncidentStatus::Monitoring, Said::Over));
        }
    }
    points
}

struct Round<'a> {
    began_at: Timestamp,
    facts: Vec<&'a Fact>,
    ended_at: Option<Timestamp>,
}

/// When the last service was back; `None` while one is not.
fn all_back_at(incident: &Incident) -> Option<Timestamp> {
    incident.affected.iter().map(|part| part.recovered_at).collect::<Option<Vec<_>>>()?.into_iter().max()
}

impl Point<'_> {
    /// What it says, as markdown for [`Said::Person`], as plain sentences otherwise.
    fn words(&self, incident: &Incident, words: &Words, names: &Names) -> String {
        match &self.said {
            Said::Person(update) => words.local(&update.text).to_owned(),
            Said::Monitor(facts) => {
                let more = facts.len().saturating_sub(NAMED);
                let mut said: Vec<String> = facts.iter().take(NAMED).map(|fact| words.fact(fact, names)).collect();
                if more > 0 {
                    let n = u64::try_from(more).unwrap_or(u64::MAX);
                    said.push(words.count("feeds.more_services", n, &[]));
                }
                said.join(" ")
            }
            Said::Began => format!("{}.", words.incident_title(incident, names)),
            Said::Over if incident.affected.is_empty() => words.text("feeds.over", &[]),
            Said::Over => words.text("fact.resolved", &[]),
            Said::WrittenUp(summary) => {
                summary.map_or_else(|| words.text("feeds.written_up", &[]), |text| words.local(text).to_owned())
            }
        }
    }

    /// What it says, as HTML blocks.
    #[must_use]
    pub fn html(&self, incident: &Incident, words: &Words, names: &Names) -> String {
        let said = self.words(incident, words, names);
        match &self.said {
            Said::Person(_) | Said::WrittenUp(Some(_)) => markdown::to_html(&said),
            _ => format!("<p>{}</p>", super::text::escape(&said)),
        }
    }

    /// What it says, as plain text.
    #[must_use]
    pub fn text(&self, incident: &Incident, words: &Words, names: &Names) -> String {
        let said = self.words(incident, words, names);
        match &self.said {
            Said::Person(_) | Said::WrittenUp(Some(_)) => markdown::to_text(&said),
            _ => said,
        }
    }

    /// How the services of `incident` were once this was said, as far as it is known.
    pub fn services<'a>(&'a self, incident: &'a Incident) -> impl Iterator<Item = (&'a ServiceId, ServiceStatus)> {
        let stated = match &self.said {
            Said::Person(update) => Some(&update.affected),
            _ => None,
        };
        incident.affected.iter().filter_map(move |part| {
            if let Some(&status) = stated.and_then(|stated| stated.get(&part.service)) {
                return Some((&part.service, status));
            }
            let is_over = !self.status.is_open() || part.recovered_at.is_some_and(|at| at <= self.at);
            let has_begun = part.started_at <= self.recorded_at || part.earlier_ms > 0;
            match (is_over, has_begun) {
                (true, _) => Some((&part.service, ServiceStatus::Operational)),
                (false, true) => Some((&part.service, part.worst)),
                (false, false) => None,
            }
        })
    }
}
