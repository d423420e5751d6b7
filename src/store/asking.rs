//! Requests through the form: taken down at once, answered a moment later. What follows of one is
//! decided in [`crate::domain::asking`].
//!
//! Taking one down is the same work whatever is known of its address. What is counted for the limits
//! is counted under salted hashes, and kept as long as it counts.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction};
use sha2::{Digest, Sha256};

use super::{
    Store, StoreError, letters,
    row::{At, Json, json},
    subscribers, tokens,
};
use crate::domain::{
    SubscriberId,
    asking::{self, Answer, Asking, FURTHEST, Free, Scope},
    subscriber::{Destination, Subscriber, SubscriberState},
};

/// So many requests are answered in one transaction.
const SLICE: i64 = 64;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It will be answered.
    Down,
    /// Too many came from there.
    TooMany {
        /// When one may ask again.
        until: Timestamp,
    },
    /// Too many came from everywhere.
    Busy {
        /// When one may ask again.
        until: Timestamp,
    },
}

/// What answering did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Requests that were looked at.
    pub requests: usize,
    /// Letters that follow.
    pub letters: usize,
}

impl Store {
    /// Takes down a request of `client`, durably, unless too many came from there lately.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn ask(&mut self, asking: &Asking, client: IpAddr, now: Timestamp) -> Result<Taken, StoreError> {
        let counted = asking::counted(client);
        // Looking costs no lock: who asks too often makes nobody wait.
        let (theirs, all) = self.read("look at the limits", |db| {
            let (mut theirs, mut all) = (now, now);
            for (scope, name) in &counted {
                let free = free_at(db, *scope, name, now)?;
                let until = if *scope == Scope::Requests { &mut all } else { &mut theirs };
                *until = free.max(*until);
            }
            Ok((theirs, all))
        })?;
        if theirs > now {
            return Ok(Taken::TooMany { until: theirs });
        }
        if all > now {
            return Ok(Taken::Busy { until: all });
        }
        self.write("take down a request", |tx| {
            take_down(tx, asking, now)?;
            counted.iter().try_for_each(|(scope, name)| allow(tx, *scope, name, now))
        })?;
        Ok(Taken::Down)
    }

    /// Takes down a request that the operator makes for somebody: no network counts.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn ask_for(&mut self, asking: &Asking, now: Timestamp) -> Result<(), StoreError> {
        self.write("take down a request", |tx| take_down(tx, asking, now))
    }

    /// Answers some of the requests that were taken down, oldest first: whoever is new is pending
    /// from now on, and letters are queued. A link that confirms is good for `good_for` from when it
    /// leaves.
    ///
    /// # Errors
    /// If the store cannot be written: then nothing was answered, and nothing is lost.
    pub fn answer_requests(&mut self, good_for: Duration, now: Timestamp) -> Result<Answered, StoreError> {
        let is_any = self.read("look for requests", |db| db.prepare_cached("SELECT 1 FROM asking")?.exists([]))?;
        if !is_any {
            return Ok(Answered::default());
        }
        self.write("answer requests", |tx| {
            let requests: Vec<(i64, Asking)> = tx
                .prepare_cached("SELECT no, json FROM asking ORDER BY no LIMIT ?1")?
                .query_map([SLICE], |row| Ok((row.get(0)?, row.get::<_, Json<_>>(1)?.0)))?
                .collect::<rusqlite::Result<_>>()?;
            let mut answered = Answered { requests: requests.len(), letters: 0 };
            for (no, asking) in requests {
                answered.letters += usize::from(answer(tx, &asking, good_for, now)?);
                tx.prepare_cached("DELETE FROM asking WHERE no = ?1")?.execute([no])?;
            }
            Ok(answered)
        })
    }
}

fn take_down(tx: &Connection, asking: &Asking, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT INTO asking (at, json) VALUES (?1, ?2)")?.execute((At(now), json(asking)?)).map(drop)
}

/// Answers one request; whether a letter follows.
fn answer(tx: &Transaction<'_>, asking: &Asking, good_for: Duration, now: Timestamp) -> rusqlite::Result<bool> {
    let counted = asking::counted_to(&asking.address);
    let [address, domain, messages] = &counted;
    let free = |(scope, name): &(Scope, String)| free_at(tx, *scope, name, now);
    let free = Free { address: free(address)?, domain: free(domain)?, messages: free(messages)? };
    let known = subscribers::by_address(tx, &asking.address)?;
    // Who gets news already is no stranger to ask.
    let is_confirmed = known.as_ref().is_some_and(|known| known.state == SubscriberState::Confirmed);
    if !is_confirmed && is_unwanted(tx, &asking.address)? {
        return Ok(false);
    }
    let Answer::Letter { kind, at } = asking::answer(known.as_ref().map(|known| known.state), &free, now) else {
        return Ok(false);
    };
    let id = match known {
        Some(known) => known.id,
        None => pending(tx, asking, now)?,
    };
    letters::queue(tx, kind, &id, &asking.choice, good_for, at)?;
    for (scope, name) in &counted {
        allow(tx, *scope, name, at)?;
    }
    Ok(true)
}

fn pending(tx: &Transaction<'_>, asking: &Asking, now: Timestamp) -> rusqlite::Result<SubscriberId> {
    let subscriber = Subscriber {
        id: SubscriberId::new(now, tokens::random()?),
        address: asking.address.clone(),
        state: SubscriberState::Pending,
        wants: asking.choice.wants.clone(),
        language: asking.choice.language.clone(),
        timezone: asking.choice.timezone.clone(),
        created_at: now,
        confirmed_at: None,
    };
    Ok(subscribers::put(tx, &subscriber)?.id)
}

/// When one more may come of that name.
fn free_at(db: &Connection, scope: Scope, name: &str, now: Timestamp) -> rusqlite::Result<Timestamp> {
    let allowance = scope.allowance();
    // What a clock that went wrong has put far ahead says nothing.
    let furthest = now.checked_add(FURTHEST).unwrap_or(Timestamp::MAX);
    let nth: Option<At> = db
        .prepare_cached(
            "SELECT at FROM allowed WHERE scope = ?1 AND name = ?2 AND at <= ?3 ORDER BY at DESC LIMIT 1 OFFSET ?4",
        )?
        .query_row((scope.as_str(), hash(db, name)?, At(furthest), allowance.most.saturating_sub(1)), |row| row.get(0))
        .optional()?;
    Ok(allowance.free_at(nth.map(|at| at.0), now))
}

fn allow(db: &Connection, scope: Scope, name: &str, at: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO allowed (scope, name, at) VALUES (?1, ?2, ?3)")?
        .execute((scope.as_str(), hash(db, name)?, At(at)))
        .map(drop)
}

fn hash(db: &Connection, name: &str) -> rusqlite::Result<[u8; 32]> {
    Ok(Sha256::new().chain_update(subscribers::salt(db)?).chain_update(name).finalize().into())
}

/// The hash of the mailbox behind an address: of the name under which questions to it are counted.
pub(super) fn mailbox(db: &Connection, address: &Destination) -> rusqlite::Result<[u8; 32]> {
    let [(_, name), ..] = asking::counted_to(address);
    hash(db, &name)
}

/// Whether nobody is to ask there.
pub(super) fn is_unwanted(db: &Connection, address: &Destination) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM unwanted WHERE hash = ?1")?.exists([mailbox(db, address)?])
}

/// They may be asked again: they said so themselves, or the operator vouches for it.
pub(super) fn allow_again(db: &Connection, address: &Destination) -> rusqlite::Result<usize> {
    db.prepare_cached("DELETE FROM unwanted WHERE hash = ?1")?.execute([mailbox(db, address)?])
}

/// Forgets what no longer counts; how much that was.
pub(super) fn tidy(tx: &Connection, now: Timestamp, most: i64) -> rusqlite::Result<usize> {
    let mut forgotten = 0;
    for scope in Scope::ALL {
        let before = now.checked_sub(scope.allowance().within).unwrap_or(Timestamp::MIN);
        let after = now.checked_add(FURTHEST).unwrap_or(Timestamp::MAX);
        forgotten += tx
            .prepare_cached(
                "DELETE FROM allowed WHERE no IN
                     (SELECT no FROM allowed WHERE scope = ?1 AND (at < ?2 OR at > ?3) LIMIT ?4)",
            )?
            .execute((scope.as_str(), At(before), At(after), most))?;
    }
    Ok(forgotten)
}

/// Forgets that anything was asked of an address, or is not to be. Whether there was any of it.
pub(super) fn forget(tx: &Connection, address: &Destination) -> rusqlite::Result<bool> {
    let mut forgotten = allow_again(tx, address)?;
    for (scope, name) in asking::counted_to(address) {
        if scope == Scope::Address {
            forgotten += tx
                .prepare_cached("DELETE FROM allowed WHERE scope = ?1 AND name = ?2")?
                .execute((scope.as_str(), hash(tx, &name)?))?;
        }
    }
    let waiting: Vec<(i64, Asking)> = tx
        .prepare_cached("SELECT no, json FROM asking")?
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, Json<_>>(1)?.0)))?
        .collect::<rusqlite::Result<_>>()?;
    for (no, _) in waiting.iter().filter(|(_, asking)| asking.address.key() == address.key()) {
        forgotten += tx.prepare_cached("DELETE FROM asking WHERE no = ?1")?.execute([no])?;
    }
    Ok(forgotten > 0)
}
