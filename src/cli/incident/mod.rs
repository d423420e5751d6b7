//! `watchbell incident list|show`: what happened, why it was decided so, and who was told.

use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use super::{Failure, Global, Outcome, load, output};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    domain::{
        Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus,
        archive::Archive,
        id::UpdateId,
        incident::{self, Affected, Update},
    },
    judge::Decision,
    notify::{
        account::{self, Told},
        recipient::Directory,
    },
    site::words::{Names, Words},
    store::{Reader, Store},
};

mod preview;
mod story;

pub(super) use self::story::{class, holding};

/// Look at incidents.
#[derive(Debug, Subcommand)]
pub enum Incident {
    /// Print all incidents, newest first
    List {
        /// Only those that are not over
        #[arg(long)]
        open: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print one incident with its story
    Show {
        /// Which
        id: IncidentId,
        /// Instead: who would be told what if its note were taken as it stands
        #[arg(long)]
        preview: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What `--json` prints of an incident (spec, section 2).
#[derive(Serialize)]
struct Shown {
    id: IncidentId,
    title: String,
    status: IncidentStatus,
    impact: Impact,
    started_at: Timestamp,
    resolved_at: Option<Timestamp>,
    services: Vec<ShownService>,
    updates: Vec<ShownUpdate>,
    decisions: Vec<Decision>,
    /// Only of one that is shown by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Vec<Told>>,
}

#[derive(Serialize)]
struct ShownService {
    id: ServiceId,
    status: ServiceStatus,
    started_at: Timestamp,
    resolved_at: Option<Timestamp>,
    downtime_s: f64,
}

#[derive(Serialize)]
struct ShownUpdate {
    id: UpdateId,
    at: Timestamp,
    status: IncidentStatus,
    text: String,
}

struct Shower {
    words: Words,
    names: Names,
    language: String,
    directory: Directory,
    sends_mail: bool,
    now: Timestamp,
}

impl Shower {
    fn new(config: &Config) -> Result<Self, Failure> {
        Ok(Self {
            words: Words::load(&config.site.language, config.site.templates.as_deref())?,
            names: Names::of(&config.rules),
            language: config.site.language.clone(),
            directory: Directory::new(&config.rules),
            sends_mail: config.email.is_some(),
            now: SystemClock::new().wall(),
        })
    }

    fn shown(&self, incident: &incident::Incident, decisions: Vec<Decision>) -> Shown {
        Shown {
            id: incident.id.clone(),
            title: self.words.incident_title(incident, &self.names),
            status: incident.status,
            impact: incident.impact,
            started_at: incident.started_at,
            resolved_at: incident.resolved_at,
            services: incident.affected.iter().map(|part| self.service(part)).collect(),
            updates: incident
                .updates
                .iter()
                .filter(|update| !update.withdrawn)
                .map(|update| self.update(update))
                .collect(),
            decisions,
            told: None,
        }
    }

    fn service(&self, part: &Affected) -> ShownService {
        ShownService {
            id: part.service.clone(),
            status: part.status,
            started_at: part.started_at,
            resolved_at: part.recovered_at,
            downtime_s: std::time::Duration::from_millis(part.downtime_ms(self.now)).as_secs_f64(),
        }
    }

    fn update(&self, update: &Update) -> ShownUpdate {
        ShownUpdate {
            id: update.id,
            at: update.at,
            status: update.status,
            text: update.text.get(&self.language, "en").to_owned(),
        }
    }
}

pub fn incident(global: &Global, command: &Incident) -> Outcome {
    let config = load(global)?.config;
    let shower = Shower::new(&config)?;
    let reader = Store::reader(&config.store)?;
    match command {
        Incident::List { open, json } => list(&shower, &reader, *open, *json),
        Incident::Show { id, preview: false, json } => show(&shower, &reader, id, *json),
        Incident::Show { id, preview: true, json } => preview::preview(&config, &shower, &reader, id, *json),
    }
}

fn list(shower: &Shower, reader: &Reader, only_open: bool, json: bool) -> Outcome {
    let mut all = Vec::new();
    for head in reader.heads()? {
        if only_open && !head.status.is_open() {
            continue;
        }
        if let Some(incident) = reader.incident(&head.id)? {
            let decisions = if json { reader.decisions(&head.id)? } else { Vec::new() };
            all.push(shower.shown(&incident, decisions));
        }
    }
    if json {
        return Ok(output::print_json(&all)?);
    }
    let rows: Vec<[String; 5]> = all
        .iter()
        .map(|shown| {
            let end = shown.resolved_at.unwrap_or(shower.now);
            let ms = u64::try_from(end.as_millisecond() - shown.started_at.as_millisecond()).unwrap_or(0);
            [
                shown.id.to_string(),
                shown.status.to_string(),
                shown.started_at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
                shower.words.duration(ms),
                shown.title.clone(),
            ]
        })
        .collect();
    output::print_table(["id", "status", "started", "lasted", "title"], &rows)?;
    if rows.is_empty() {
        output::say("no incidents");
    }
    Ok(())
}

fn show(shower: &Shower, reader: &Reader, id: &IncidentId, json: bool) -> Outcome {
    let found = match reader.incident(id)? {
        Some(incident) if !incident.withdrawn => Some(incident),
        // What became part of another leads there.
        own => match reader.heads()?.into_iter().find(|head| head.aliases.contains(id)) {
            Some(head) => reader.incident(&head.id)?,
            None => own,
        },
    };
    let Some(incident) = found else {
        return Err(Failure::Usage(format!(
            "there is no incident `{id}`; `watchbell incident list` shows what there is"
        )));
    };
    let mut decisions = reader.decisions(&incident.id)?;
    for alias in &incident.aliases {
        decisions.extend(reader.decisions(alias)?);
    }
    decisions.sort_by_key(|decision| decision.at);
    let told = account::of_incident(reader, &incident, &shower.directory, shower.now)?;
    let shown = Shown { told: Some(told), ..shower.shown(&incident, decisions) };
    if json {
        return Ok(output::print_json(&shown)?);
    }
    output::print(&shown.title)?;
    output::print(&format!("{}, {} impact, {}", shown.status, shown.impact, shown.id))?;
    output::print("")?;
    let services: Vec<[String; 4]> = incident
        .affected
        .iter()
        .map(|part| {
            [
                part.service.to_string(),
                part.status.to_string(),
                part.started_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
                shower.words.duration(part.downtime_ms(shower.now)),
            ]
        })
        .collect();
    output::print_table(["service", "now", "began", "lasted"], &services)?;
    output::print("")?;
    for line in story::lines(shower, &incident, &shown) {
        output::print(&line)?;
    }
    Ok(())
}
