//! `watchbell simulate STORY.toml`: an outage rehearsed in simulated time.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Failure, Global, Outcome, is_coloured, listed, load, output};
use crate::{
    config::Config,
    domain::diagnostic::{Diagnostic, Severity, SourceFile},
    fsio,
    simulation::{
        rehearsal::{Kind, Line, RehearsalError, Rehearsed, Summary, rehearse},
        story::{self, Story},
    },
    site::words::Words,
    store::maintenance::Progress,
};

/// Arguments.
#[derive(Debug, Args)]
pub struct Simulate {
    /// What happens: a TOML file (`watchbell schema story`, story.example.toml)
    #[arg(value_name = "STORY.toml")]
    story: PathBuf,
    /// Where the site and the mails are left [default: a new folder among the temporary ones]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    folder: &'a Path,
    incidents: &'a [Summary],
    mails: usize,
    notices: usize,
    lines: &'a [Line],
}

pub fn simulate(global: &Global, args: &Simulate) -> Outcome {
    let config = load(global)?.config;
    let story = read(global, &args.story, &config)?;
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("watchbell-simulate-{}", std::process::id())),
    };
    let words = Words::load(&config.site.language, config.site.templates.as_deref())?;
    let zone = config.site.timezone.clone();
    let mut show = output::progress();
    let mut advance = |moment: Duration| show(Progress { done: moment.as_secs(), total: story.lasts.as_secs() });
    let rehearsed = rehearse(config, &story, &folder, &mut advance).map_err(|error| match error {
        RehearsalError::NotEmpty { .. } => Failure::Usage(error.to_string()),
        error => error.into(),
    })?;
    advance(story.lasts);
    if args.json {
        let Rehearsed { lines, incidents, mails: (mails, notices) } = &rehearsed;
        return Ok(output::print_json(&Told { folder: &folder, incidents, mails: *mails, notices: *notices, lines })?);
    }
    print(&rehearsed, &story, &folder, &words, &zone, is_coloured(global))
}

/// Reads the story, or says all that is wrong with it.
fn read(global: &Global, path: &Path, config: &Config) -> Result<Story, Failure> {
    let text = fsio::read_text(path, story::MAX_BYTES).map_err(|error| {
        let source = SourceFile { path: path.to_owned(), text: String::new() }.into();
        let message = format!("the story cannot be read: {}", fsio::reason(&error));
        let problem = Diagnostic { severity: Severity::Error, source, span: 0..0, message, hint: String::new() };
        Failure::Usage(listed(&[problem]))
    })?;
    let (story, warnings) = story::parse(path, &text, config).map_err(|problems| Failure::Usage(listed(&problems)))?;
    if !global.quiet {
        for warning in &warnings {
            output::say(&warning.to_string());
        }
    }
    Ok(story)
}

fn print(
    rehearsed: &Rehearsed,
    story: &Story,
    folder: &Path,
    words: &Words,
    zone: &TimeZone,
    is_coloured: bool,
) -> Outcome {
    let mut day = None;
    for line in &rehearsed.lines {
        let at = line.at.to_zoned(zone.clone());
        if day != Some(at.date()) {
            day = Some(at.date());
            output::print(&at.strftime("%A, %-d %B %Y (%Z)").to_string())?;
        }
        let time = at.strftime("%H:%M:%S");
        output::print(&format!("  {time}  {}  {}", coloured(line.kind, is_coloured), line.text))?;
    }
    output::print("")?;
    let rows: Vec<[String; 4]> = rehearsed.incidents.iter().map(|incident| summary(incident, story, words)).collect();
    output::print_table(["incident", "lasted", "noticed after", "title"], &rows)?;
    if rehearsed.incidents.is_empty() {
        output::print("no incident")?;
    }
    let (mails, notices) = rehearsed.mails;
    let has_looks = !story.looks.is_empty();
    output::print("")?;
    output::print(&format!("site   {}", folder.join("site/index.html").display()))?;
    if has_looks {
        output::print(&format!("looks  {}", folder.join("looks").display()))?;
    }
    output::print(&format!(
        "mails  {} ({mails} to subscribers, {notices} to operators)",
        folder.join("mails").display()
    ))?;
    Ok(())
}

/// An incident in a line.
fn summary(incident: &Summary, story: &Story, words: &Words) -> [String; 4] {
    let end = story.starts.saturating_add(story.lasts).unwrap_or(story.starts);
    let lasted = words.between(incident.started_at, incident.resolved_at.unwrap_or(end));
    let open = if incident.resolved_at.is_none() { ", goes on" } else { "" };
    let noticed = words.between(incident.started_at, incident.noticed_at);
    [incident.id.to_string(), format!("{lasted}{open}"), noticed, incident.title.clone()]
}

/// The word for a kind of line, all as wide; the colour only repeats it.
fn coloured(kind: Kind, is_coloured: bool) -> String {
    let word = format!("{:8}", kind.as_str());
    let colour = match kind {
        Kind::Story => anstyle::AnsiColor::Blue,
        Kind::Monitor => anstyle::AnsiColor::Magenta,
        Kind::Fact | Kind::Update => anstyle::AnsiColor::Yellow,
        Kind::Decision => anstyle::AnsiColor::BrightBlack,
        Kind::Told | Kind::Operator => anstyle::AnsiColor::Green,
    };
    if is_coloured {
        let style = colour.on_default();
        format!("{style}{word}{style:#}")
    } else {
        word
    }
}
