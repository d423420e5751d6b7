//! Subscribers as CSV (RFC 4180): importing and exporting lists. What a file says is found out in
//! [`parse()`].

mod parse;

use std::{collections::HashSet, io};

use jiff::Timestamp;

pub use self::parse::{Candidate, Parsed, parse};
use super::{
    Filter, Store, StoreError,
    asking::is_unwanted,
    subscribers::{by_address, has_left},
    tokens,
};
use crate::domain::{
    GroupId, ServiceId, SubscriberId,
    service::Rules,
    subscriber::{Subscriber, SubscriberState, Wants},
};

/// The columns of an export, in order.
pub const COLUMNS: &[&str] = &[
    "email",
    "services",
    "groups",
    "kinds",
    "min_impact",
    "language",
    "timezone",
    "state",
    "created_at",
    "confirmed_at",
    "webhook",
];

/// Something wrong with a line of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct LineError {
    /// Counted from 1, as an editor does.
    pub line: u64,
    /// What is wrong, and what to write instead.
    pub what: String,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// These lines are bad; no line was imported.
    #[error("{} of the file's lines cannot be imported, so none was", .0.len())]
    Lines(Vec<LineError>),
    /// The store could not be used; no line was imported.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New subscribers.
    pub added: u64,
    /// Known ones who got new choices.
    pub updated: u64,
    /// Known ones whose line said nothing new.
    pub same: u64,
    /// Lines about an address that stood further up in the file.
    pub duplicates: u64,
    /// Lines of people who left within the last 30 days, or want to be asked by nobody: not brought back.
    pub left: u64,
    /// Lines of another kind than mail or webhook.
    pub other_kinds: u64,
    /// Bad lines that were skipped, as asked for.
    pub skipped: Vec<LineError>,
    /// Columns that mean nothing to us.
    pub ignored_columns: Vec<String>,
}

/// Imports a file: all its good lines, or none if one is bad and `skip_bad` is not set. Known
/// subscribers get what the file says and keep what it does not speak of.
///
/// # Errors
/// All bad lines, or that the store cannot be used; nothing is imported then.
pub fn import(
    store: &mut Store,
    bytes: &[u8],
    rules: &Rules,
    skip_bad: bool,
    now: Timestamp,
) -> Result<Imported, ImportError> {
    let Parsed { candidates, errors, other_kinds, ignored_columns } = parse(bytes, rules);
    if !errors.is_empty() && !skip_bad {
        return Err(ImportError::Lines(errors));
    }
    let mut imported = Imported { other_kinds, ignored_columns, skipped: errors, ..Imported::default() };
    store.put_all(|tx| {
        let mut seen = HashSet::new();
        let mut changed = Vec::new();
        for candidate in candidates {
            if !seen.insert(candidate.address.key()) {
                imported.duplicates += 1;
                continue;
            }
            match by_address(tx, &candidate.address)? {
                None if has_left(tx, &candidate.address)? || is_unwanted(tx, &candidate.address)? => {
                    imported.left += 1;
                }
                None => {
                    imported.added += 1;
                    changed.push(fresh(candidate, now)?);
                }
                Some(known) => {
                    let merged = merged(known.clone(), candidate, now);
                    if merged == known {
                        imported.same += 1;
                    } else {
                        imported.updated += 1;
                        changed.push(merged);
                    }
                }
            }
        }
        Ok(changed)
    })?;
    Ok(imported)
}

fn fresh(candidate: Candidate, now: Timestamp) -> rusqlite::Result<Subscriber> {
    let random = tokens::random_bytes().map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let subscriber = Subscriber {
        id: SubscriberId::new(now, random),
        address: candidate.address.clone(),
        state: SubscriberState::Pending,
        wants: Wants::default(),
        language: None,
        timezone: None,
        created_at: candidate.created_at.unwrap_or(now),
        confirmed_at: None,
    };
    Ok(merged(subscriber, candidate, now))
}

/// A known subscriber with what the file says. Who imports vouches: without a word on the state,
/// whoever only has not confirmed yet is confirmed.
fn merged(mut known: Subscriber, candidate: Candidate, now: Timestamp) -> Subscriber {
    known.wants.services = candidate.services.unwrap_or(known.wants.services);
    known.wants.groups = candidate.groups.unwrap_or(known.wants.groups);
    if let Some((incidents, maintenance)) = candidate.kinds {
        known.wants.incidents = incidents;
        known.wants.maintenance = maintenance;
    }
    known.wants.min_impact = candidate.min_impact.unwrap_or(known.wants.min_impact);
    known.language = candidate.language.or(known.language);
    known.timezone = candidate.timezone.or(known.timezone);
    known.state = candidate.state.unwrap_or(match known.state {
        SubscriberState::Pending => SubscriberState::Confirmed,
        state => state,
    });
    known.confirmed_at = candidate.confirmed_at.or(known.confirmed_at);
    if known.state == SubscriberState::Confirmed {
        known.confirmed_at = known.confirmed_at.or(Some(now));
    }
    known
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The lines could not be written.
    #[error("the list could not be written: {0}")]
    Write(#[from] io::Error),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes all subscribers who match, with [`COLUMNS`] as the header; returns how many. What comes
/// out can be imported again.
///
/// # Errors
/// If the store cannot be read or the lines cannot be written.
pub fn export(store: &Store, filter: &Filter, out: impl io::Write) -> Result<u64, ExportError> {
    // An address may begin with what a comment begins with: then it stands in quotes.
    let mut writer = ::csv::WriterBuilder::new().comment(Some(b'#')).from_writer(out);
    let io = |error: ::csv::Error| ExportError::Write(io::Error::from(error));
    writer.write_record(COLUMNS).map_err(io)?;
    let mut written = 0;
    let mut failed = None;
    store.each_subscriber(filter, |subscriber| match writer.write_record(record(&subscriber)) {
        Ok(()) => {
            written += 1;
            true
        }
        Err(error) => {
            failed = Some(error);
            false
        }
    })?;
    if let Some(error) = failed {
        return Err(io(error));
    }
    writer.flush()?;
    Ok(written)
}

fn record(subscriber: &Subscriber) -> [String; 11] {
    let wants = &subscriber.wants;
    let mut kinds = Vec::new();
    if wants.incidents {
        kinds.push("incidents");
    }
    if wants.maintenance {
        kinds.push("maintenance");
    }
    let join = |ids: Vec<&str>| ids.join(" ");
    [
        subscriber.address.mail().map(|address| address.as_str().to_owned()).unwrap_or_default(),
        join(wants.services.iter().map(ServiceId::as_str).collect()),
        join(wants.groups.iter().map(GroupId::as_str).collect()),
        kinds.join(" "),
        wants.min_impact.as_str().to_owned(),
        subscriber.language.clone().unwrap_or_default(),
        subscriber.timezone.clone().unwrap_or_default(),
        subscriber.state.as_str().to_owned(),
        subscriber.created_at.to_string(),
        subscriber.confirmed_at.map(|at| at.to_string()).unwrap_or_default(),
        subscriber.address.webhook().map(|url| url.as_str().to_owned()).unwrap_or_default(),
    ]
}
