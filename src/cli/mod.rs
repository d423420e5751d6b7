//! The commands, one file each. Results go to stdout, talk to stderr.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::{
    config::{Config, Loaded},
    domain::{ServiceId, diagnostic::Diagnostic},
    notes::{Folder, Known, Remembered, Scan},
};

mod backtest;
mod build;
mod check;
mod completions;
mod demo;
mod incident;
mod init;
mod logging;
mod notify;
mod once;
mod output;
mod probe;
mod run;
mod schema;
mod simulate;
mod store;
mod subscriber;

/// Watches services, writes down when they break, publishes a static status site with feeds, and
/// tells everyone who asked.
#[derive(Debug, Parser)]
#[command(name = "watchbell", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// The configuration
    #[arg(long, global = true, env = "WATCHBELL_CONFIG", default_value = "watchbell.toml", value_name = "PATH")]
    config: PathBuf,
    /// Say more (twice: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say only what is wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// How log lines are written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole system here and now: no config, no network beyond loopback
    Demo(demo::Demo),
    /// Write a commented watchbell.toml and the notes folder, ready to run
    Init(init::Init),
    /// The daemon: probe, judge, publish, tell, serve
    Run,
    /// One pass of the same, then exit; for cron and CI
    Once,
    /// Validate config, notes and templates; exit 0 or 1
    Check,
    /// Probe now and print a table; writes nothing
    Probe(probe::Probe),
    /// Regenerate the site from the store
    Build,
    /// Replay recorded results through the (edited) rules, beside what happened
    Backtest(backtest::Arguments),
    /// Rehearse an outage in simulated time; leaves a site and the mails to look at
    Simulate(simulate::Simulate),
    /// Look at incidents
    #[command(subcommand)]
    Incident(incident::Incident),
    /// Look at and change who is told
    #[command(subcommand)]
    Subscriber(subscriber::Subscriber),
    /// Look at the mail queue, move it, and take in what came back
    #[command(subcommand)]
    Notify(notify::Notify),
    /// Look after the store
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Print the JSON Schema of a file, for editors
    Schema(schema::Schema),
    /// Print completions for a shell
    Completions(completions::Completions),
}

/// The services that are named, or what there is instead.
fn known_services(config: &Config, named: &[String]) -> Result<Vec<ServiceId>, Failure> {
    let unknown = |name: &String| {
        let known = config.service_ids().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Failure::Usage(format!("there is no service `{name}`; there are: {known}"))
    };
    let find = |name: &String| config.service_ids().find(|id| id.as_str() == name).cloned();
    named.iter().map(|name| find(name).ok_or_else(|| unknown(name))).collect()
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
enum Failure {
    /// The thing checked is bad (exit code 1). What is wrong has been said.
    Bad,
    /// Wrong usage, or an unusable config (exit code 2).
    Usage(String),
    /// It could not be done (exit code 3).
    Failed(anyhow::Error),
    /// It could not be done, and who called is to call again (exit code 75).
    Later(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

type Outcome = Result<(), Failure>;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let global = &cli.global;
    logging::init(global, matches!(cli.command, Command::Simulate(_)));
    let outcome = match cli.command {
        Command::Demo(args) => demo::demo(global, &args),
        Command::Init(args) => init::init(global, &args),
        Command::Run => run::run(global),
        Command::Once => once::once(global),
        Command::Check => check::check(global),
        Command::Probe(args) => probe::probe(global, &args),
        Command::Build => build::build(global),
        Command::Backtest(args) => backtest::backtest(global, &args),
        Command::Simulate(args) => simulate::simulate(global, &args),
        Command::Incident(args) => incident::incident(global, &args),
        Command::Subscriber(args) => subscriber::subscriber(global, &args),
        Command::Notify(args) => notify::notify(global, &args),
        Command::Store(args) => store::store(global, &args),
        Command::Schema(args) => schema::schema(&args),
        Command::Completions(args) => completions::completions(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Bad) => ExitCode::from(1),
        Err(Failure::Usage(text)) => {
            output::say(&text);
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            say_error(&error);
            ExitCode::from(3)
        }
        Err(Failure::Later(error)) => {
            say_error(&error);
            ExitCode::from(75)
        }
    }
}

fn say_error(error: &anyhow::Error) {
    output::say(&format!("error: {}", without_numbers(&format!("{error:#}"))));
}

/// An error's text without the numbers of the system's errors: their words stand before them.
fn without_numbers(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once(" (os error ") {
        plain.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain + rest
}

/// Reads the config, or says all that is wrong with it.
fn load(global: &Global) -> Result<Loaded, Failure> {
    let loaded = Config::load(&global.config).map_err(|problems| Failure::Usage(listed(&problems)))?;
    if !global.quiet {
        for warning in &loaded.warnings {
            output::say(&warning.to_string());
        }
    }
    Ok(loaded)
}

fn listed(problems: &[Diagnostic]) -> String {
    let mut text = String::new();
    for problem in problems {
        text.push_str(&problem.to_string());
        text.push_str("\n\n");
    }
    let count = problems.len();
    text + &format!("{count} {}", if count == 1 { "error" } else { "errors" })
}

/// Reads all notes as they are now, without waiting for a file to rest.
fn read_notes(config: &Config, remembered: Remembered, now: Timestamp) -> Scan {
    let known = Known {
        services: config.service_ids().cloned().collect(),
        timezone: config.site.timezone.clone(),
        // Seen from a little later, every file has rested.
        now: now.saturating_add(SignedDuration::from_secs(5)).unwrap_or(now),
    };
    let mut folder = Folder::new(&config.notes_dir);
    folder.remember(remembered);
    folder.scan(&known)
}

/// Whether to colour what goes to stdout.
fn is_coloured(global: &Global) -> bool {
    match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// A runtime for the commands that need one.
fn runtime() -> Result<tokio::runtime::Runtime, std::io::Error> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::without_numbers;

    #[test]
    fn the_numbers_of_the_system_s_errors_are_left_out() {
        assert_eq!(without_numbers("a cannot be read: Gone (os error 2)"), "a cannot be read: Gone");
        assert_eq!(without_numbers("a: Gone (os error 2): b (os error 3)!"), "a: Gone: b!");
        assert_eq!(without_numbers("all (is) well"), "all (is) well");
    }
}
