//! `watchbell subscriber list|add|remove|forget|import|export`.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use super::{Failure, Global, Outcome, known_services, load, output};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    domain::{
        GroupId, Impact, SubscriberId,
        asking::Asking,
        subscriber::{self, Choice, Destination, SubscriberState, Wants},
        webhook::WebhookUrl,
    },
    notify::webhook::sign,
    store::{Filter, Store, csv, tokens::Key},
};

/// Look at and change who is told.
#[derive(Debug, Subcommand)]
pub enum Subscriber {
    /// Print who is told of what
    List {
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a confirmed subscriber: you vouch for their wish
    Add {
        /// Their mail address, or the `https://` URL of their webhook
        address: String,
        /// Only this service (may be given again)
        #[arg(long)]
        service: Vec<String>,
        /// Only services of this group (may be given again)
        #[arg(long)]
        group: Vec<String>,
        /// Only this kind of news (may be given again)
        #[arg(long, value_enum)]
        kind: Vec<Kind>,
        /// Nothing of less impact: `none`, `minor`, `major` or `critical`
        #[arg(long, default_value_t = Impact::None)]
        min_impact: Impact,
        /// Language of their mails, such as `de`
        #[arg(long)]
        language: Option<String>,
        /// Zone of the times in their mails, such as `Europe/Berlin`
        #[arg(long)]
        timezone: Option<String>,
        /// Do not vouch: ask them, by the same mail that the form sends
        #[arg(long)]
        ask: bool,
    },
    /// Let someone leave, as if they had done so themselves
    Remove {
        /// Their address or webhook
        address: String,
    },
    /// Erase every trace of an address
    Forget {
        /// The address or webhook
        address: String,
    },
    /// Add everyone in a CSV file, or nobody if a line is bad
    Import {
        /// The file; `-` reads standard input
        file: PathBuf,
        /// Add the good lines even if others are bad
        #[arg(long)]
        skip_bad: bool,
    },
    /// Write everyone as CSV to standard output
    Export,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Told what they chose
    Confirmed,
    /// Asked, not confirmed
    Pending,
    /// Their server refused for good
    Suspended,
}

impl From<State> for SubscriberState {
    fn from(state: State) -> Self {
        match state {
            State::Confirmed => Self::Confirmed,
            State::Pending => Self::Pending,
            State::Suspended => Self::Suspended,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// What goes wrong
    Incidents,
    /// Planned work
    Maintenance,
}

#[derive(Serialize)]
struct Row<'a> {
    id: SubscriberId,
    address: &'a str,
    state: SubscriberState,
    #[serde(flatten)]
    wants: &'a Wants,
    language: Option<&'a str>,
    timezone: Option<&'a str>,
    created_at: Timestamp,
    confirmed_at: Option<Timestamp>,
}

pub fn subscriber(global: &Global, command: &Subscriber) -> Outcome {
    let config = load(global)?.config;
    let now = SystemClock::new().wall();
    let mut store = Store::open(&config.store, now)?;
    match command {
        Subscriber::List { state, json } => list(&store, state.map(Into::into), *json),
        Subscriber::Add { address, service, group, kind, min_impact, language, timezone, ask } => {
            let wants = Wants {
                services: known_services(&config, service)?,
                groups: known_groups(&config, group)?,
                incidents: kind.is_empty() || kind.contains(&Kind::Incidents),
                maintenance: kind.is_empty() || kind.contains(&Kind::Maintenance),
                min_impact: *min_impact,
            };
            if let Some(zone) = timezone {
                jiff::tz::TimeZone::get(zone).map_err(|_| {
                    Failure::Usage(format!("`{zone}` is not a time zone: write a name such as `Europe/Berlin`"))
                })?;
            }
            if *ask {
                let choice = Choice { wants, language: language.clone(), timezone: timezone.clone() };
                let address_asked = parse(address)?;
                if store.is_unwanted(&address_asked)? {
                    output::say("whoever has that address does not want to be asked again: add them without --ask");
                    return Err(Failure::Bad);
                }
                store.ask_for(&Asking { address: address_asked, choice }, now)?;
                output::say("the daemon asks them, within seconds of its running");
                note_no_mail(&config, address);
                return Ok(());
            }
            let new = subscriber::Subscriber {
                id: SubscriberId::new(now, random()?),
                address: parse(address)?,
                state: SubscriberState::Confirmed,
                wants,
                language: language.clone(),
                timezone: timezone.clone(),
                created_at: now,
                confirmed_at: Some(now),
            };
            let is_new = store.add_subscriber(&new)?.is_new;
            output::say(if is_new { "added" } else { "known already: what was chosen before is replaced" });
            note_no_mail(&config, address);
            if new.address.webhook().is_some() {
                let id = store.subscriber_by_address(&new.address)?.map_or(new.id, |known| known.id);
                output::say("what it is sent is signed (Standard Webhooks) with this secret:");
                output::print(&sign::shown(&Key::open(&config.store)?.webhook_secret(&id)))?;
            }
            Ok(())
        }
        Subscriber::Remove { address } => {
            let removed = store.remove_address(&parse(address)?, now)?;
            answer(removed, "removed")
        }
        Subscriber::Forget { address } => {
            let forgotten = store.forget(&parse(address)?, now)?;
            answer(forgotten, "forgotten; backups of the store that were made before still know them")
        }
        Subscriber::Import { file, skip_bad } => {
            let mut bytes = Vec::new();
            let read = if file.as_os_str() == "-" {
                io::stdin().lock().read_to_end(&mut bytes)
            } else {
                File::open(file).and_then(|mut file| file.read_to_end(&mut bytes))
            };
            read.with_context(|| format!("{} cannot be read", file.display()))?;
            let complain = |errors: &[csv::LineError]| {
                for error in errors {
                    output::say(&format!("{}:{}: {}", file.display(), error.line, error.what));
                }
            };
            let done = match csv::import(&mut store, &bytes, &config.rules, *skip_bad, now) {
                Ok(done) => done,
                Err(csv::ImportError::Lines(errors)) => {
                    complain(&errors);
                    output::say("nobody was added: correct the file, or use --skip-bad");
                    return Err(Failure::Bad);
                }
                Err(error) => return Err(error.into()),
            };
            complain(&done.skipped);
            if !done.ignored_columns.is_empty() {
                output::say(&format!("columns not used: {}", done.ignored_columns.join(", ")));
            }
            let counts = [
                (done.added, "added"),
                (done.updated, "known already and changed"),
                (done.same, "known already and unchanged"),
                (done.duplicates, "named twice in the file"),
                (done.left, "left before, and are not added again"),
                (done.other_kinds, "neither mail addresses nor webhooks"),
                (u64::try_from(done.skipped.len()).unwrap_or(u64::MAX), "bad"),
            ];
            let counts = counts.iter().filter(|(count, what)| *count > 0 || *what == "added");
            output::say(&counts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", "));
            Ok(())
        }
        Subscriber::Export => {
            csv::export(&store, &Filter::default(), io::stdout().lock())?;
            Ok(())
        }
    }
}

fn note_no_mail(config: &Config, address: &str) {
    if config.email.is_none() && !address.contains("://") {
        output::say("note: without `[email]` in the config nobody can be written to");
    }
}

fn list(store: &Store, state: Option<SubscriberState>, json: bool) -> Outcome {
    let subscribers = store.subscribers(&Filter { state, ..Filter::default() })?;
    if json {
        let rows: Vec<Row<'_>> = subscribers
            .iter()
            .map(|subscriber| Row {
                id: subscriber.id,
                address: subscriber.address.as_str(),
                state: subscriber.state,
                wants: &subscriber.wants,
                language: subscriber.language.as_deref(),
                timezone: subscriber.timezone.as_deref(),
                created_at: subscriber.created_at,
                confirmed_at: subscriber.confirmed_at,
            })
            .collect();
        return Ok(output::print_json(&rows)?);
    }
    let rows: Vec<[String; 4]> = subscribers
        .iter()
        .map(|subscriber| {
            let wants = &subscriber.wants;
            let mut follows: Vec<String> = wants.services.iter().map(ToString::to_string).collect();
            follows.extend(wants.groups.iter().map(|group| format!("group {group}")));
            let follows = if follows.is_empty() { "all services".to_owned() } else { follows.join(", ") };
            let kinds = match (wants.incidents, wants.maintenance) {
                (true, true) => "incidents, maintenance",
                (true, false) => "incidents",
                (false, true) => "maintenance",
                (false, false) => "nothing",
            };
            [subscriber.address.as_str().to_owned(), subscriber.state.as_str().to_owned(), follows, kinds.to_owned()]
        })
        .collect();
    output::print_table(["address", "state", "follows", "hears of"], &rows)?;
    if rows.is_empty() {
        output::say("no subscribers: `watchbell subscriber add ADDRESS` adds one");
    }
    Ok(())
}

fn parse(address: &str) -> Result<Destination, Failure> {
    let refused = |why: &str| Failure::Usage(format!("`{address}` cannot be written to: {why}"));
    let found = Destination::parse(address).map_err(|error| refused(&error.to_string()))?;
    if found.webhook().is_some_and(WebhookUrl::is_inner) {
        return Err(refused("only public addresses are called"));
    }
    Ok(found)
}

/// The groups that are named, or what there is instead.
fn known_groups(config: &Config, named: &[String]) -> Result<Vec<GroupId>, Failure> {
    let groups = &config.rules.groups;
    let unknown = |name: &String| {
        let known = groups.iter().map(|group| group.id.to_string()).collect::<Vec<_>>().join(", ");
        let instead =
            if known.is_empty() { "; the config has none".to_owned() } else { format!("; there are: {known}") };
        Failure::Usage(format!("there is no group `{name}`{instead}"))
    };
    let find = |name: &String| groups.iter().map(|group| &group.id).find(|id| id.as_str() == name).cloned();
    named.iter().map(|name| find(name).ok_or_else(|| unknown(name))).collect()
}

fn answer(done: bool, word: &str) -> Outcome {
    if done {
        output::say(word);
        Ok(())
    } else {
        output::say("there is no such subscriber");
        Err(Failure::Bad)
    }
}

fn random() -> Result<[u8; 10], getrandom::Error> {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
