//! `watchbell notify test|queue|retry|drop|resume|bounce`: trying mail out, what waits to be told, moving it by hand, and what
//! came back.

use clap::{Args, Subcommand};

use super::{Failure, Global, Outcome, load, output};
use crate::{
    clock::{Clock, SystemClock},
    domain::{IncidentId, archive::Archive, id::DeliveryId},
    store::{
        Reader, Store,
        outbox::{Dropped, RECENT, Retried, Which},
    },
};

mod bounce;
mod queue;
mod test;

pub(super) use self::queue::time;

/// Look at the mail queue, move it, and take in what came back
#[derive(Debug, Subcommand)]
pub enum Notify {
    /// Send a test message, and look at what the world knows of the sender's domain
    Test(test::Test),
    /// Print what waits, why, and what was refused; whether mail is paused, since when and why
    Queue {
        /// Only what tells of this incident
        #[arg(long, value_name = "ID")]
        incident: Option<IncidentId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Try again at once what waits, or was given up
    Retry(Meant),
    /// Take what waits out of the queue: it is never told
    Drop(Meant),
    /// End a pause of mail at once, instead of waiting for the next try
    Resume,
    /// Read a mail that came back, on standard input; for a pipe of the mail server
    Bounce(bounce::Bounce),
}

/// What is meant: one of these must be said.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Meant {
    /// What tells of this incident
    #[arg(long, value_name = "ID")]
    incident: Option<IncidentId>,
    /// This delivery or letter alone
    #[arg(long, value_name = "ID")]
    delivery: Option<DeliveryId>,
    /// Everything
    #[arg(long)]
    all: bool,
}

pub fn notify(global: &Global, command: &Notify) -> Outcome {
    let config = load(global)?.config;
    let now = SystemClock::new().wall();
    match command {
        Notify::Queue { incident, json } => queue::queue(&config, incident.as_ref(), *json, now),
        Notify::Retry(meant) => {
            let mut store = Store::open(&config.store, now)?;
            let which = meant.find(&store, &Store::reader(&config.store)?)?;
            let Retried { waiting, given_up, letters, passed_over } = store.retry(&which, now)?;
            say(&[
                (given_up, "given up before, in the queue again"),
                (waiting, "waited, and due now"),
                (letters, "letters, due now"),
            ]);
            if passed_over > 0 {
                let days = RECENT.as_hours() / 24;
                output::say(&format!(
                    "{passed_over} stay given up: their readers left or are suspended, were told something newer of the \
                     same incident, or (with --all) it was more than {days} days ago"
                ));
            }
            if let Some(pause) = store.pause()? {
                output::say(&format!("mail is paused: {}; see `watchbell notify resume`", pause.cause.in_words()));
            }
            Ok(())
        }
        Notify::Drop(meant) => {
            let mut store = Store::open(&config.store, now)?;
            let which = meant.find(&store, &Store::reader(&config.store)?)?;
            let Dropped { waiting, promised, letters, on_their_way } = store.drop_deliveries(&which, now)?;
            say(&[
                (waiting, "dropped"),
                (promised, "not in the queue yet, and dropped"),
                (letters, "letters dropped"),
                (on_their_way, "on their way, and not dropped"),
            ]);
            Ok(())
        }
        Notify::Test(args) => test::test(global, &config, args, now),
        Notify::Bounce(args) => bounce::bounce(global, &config, args, now),
        Notify::Resume => {
            let was_paused = Store::open(&config.store, now)?.end_pause()?;
            output::say(if was_paused {
                "mail is tried again: by the daemon within seconds, if it runs, else at its next start"
            } else {
                "mail is not paused"
            });
            Ok(())
        }
    }
}

impl Meant {
    /// What is meant, if there is such a thing.
    fn find(&self, store: &Store, reader: &Reader) -> Result<Which, Failure> {
        Ok(match (&self.incident, &self.delivery) {
            (Some(id), _) => Which::Incident(with_aliases(reader, id)?),
            (None, Some(id)) if store.has_delivery(id)? => Which::Delivery(*id),
            (None, Some(id)) => return Err(Failure::Usage(format!("there is no delivery `{id}`"))),
            (None, None) => Which::All,
        })
    }
}

/// An incident's id with those of what became part of it.
fn with_aliases(reader: &Reader, id: &IncidentId) -> Result<Vec<IncidentId>, Failure> {
    let own = reader.incident(id)?;
    if let Some(incident) = own.as_ref().filter(|incident| !incident.withdrawn) {
        return Ok(std::iter::once(&incident.id).chain(&incident.aliases).cloned().collect());
    }
    // What became part of another leads there.
    match reader.heads()?.into_iter().find(|head| head.aliases.contains(id)) {
        Some(head) => Ok(std::iter::once(head.id).chain(head.aliases).collect()),
        None if own.is_some() => Ok(vec![id.clone()]),
        None => {
            Err(Failure::Usage(format!("there is no incident `{id}`; `watchbell incident list` shows what there is")))
        }
    }
}

/// Says how many of each there were.
fn say(counts: &[(u64, &str)]) {
    let said: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    output::say(&if said.is_empty() { "nothing to do".to_owned() } else { said.join("\n") });
}
