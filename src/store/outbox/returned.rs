//! What a server took and then gave back: a bounce. What follows from it for its recipient is what
//! follows from a refusal at once, but for how "in a row" is counted: a mail that was taken says
//! nothing here, only one that did not come back does.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{STRIKES, suspend};
use crate::{
    domain::{
        SubscriberId,
        id::DeliveryId,
        subscriber::{Address, SubscriberState},
    },
    store::{
        Store, StoreError,
        envelope::Sent,
        letters,
        row::{At, count, int},
        subscribers,
    },
    untrusted,
};

const DAY_MS: i64 = 86_400_000;
/// From so many recipients of one event on that are refused afterwards, and more than a fifth of all,
/// it is more likely that we are at fault than they.
const MANY: u64 = 10;
const ONE_IN: u64 = 5;
/// Why somebody is suspended.
const GONE: &str = "a mail came back: there is no such mailbox";
const IN_A_ROW: &str = "mails came back on three days in a row";

/// Whose doing it is that a message came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// There is no such mailbox.
    Gone,
    /// The recipient's, for good.
    Recipient,
    /// Nobody's whom we write to.
    Nobody,
}

impl Blame {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Recipient => "recipient",
            Self::Nobody => "nobody",
        }
    }
}

/// What noting a bounce did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Nothing: it is no longer known, or whom it was for has left.
    Forgotten,
    /// Nothing: it was noted before.
    Before,
    /// It stands as given up.
    GivenUp,
    /// And counts against its recipient, on so many different days in a row.
    Struck {
        /// So many.
        days: u64,
    },
    /// And its recipient is written to no more.
    Suspended,
    /// So many recipients of the same event are refused that it is held against none of them.
    TooMany,
    /// It asked for a confirmation: that is over, and the address is forgotten.
    AskingEnded,
}

impl Store {
    /// To whom something was sent, if they are still there.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn sent_to(&self, sent: &Sent) -> Result<Option<Address>, StoreError> {
        self.read("look up what came back", |db| {
            let subscriber = match sent {
                Sent::Letter(subscriber) => Some(*subscriber),
                Sent::Delivery(delivery) => db
                    .prepare_cached("SELECT subscriber FROM delivery WHERE id = ?1")?
                    .query_row([delivery.as_bytes()], |row| row.get(0))
                    .optional()?
                    .map(SubscriberId::from_bytes),
            };
            let found = subscriber.map(|id| subscribers::by_id(db, &id)).transpose()?.flatten();
            Ok(found.and_then(|found| found.address.mail().cloned()))
        })
    }

    /// Notes that something came back, with what was said of it. The same bounce twice counts once.
    ///
    /// # Errors
    /// If the store cannot be written: then nothing was noted.
    pub fn came_back(&mut self, sent: &Sent, blame: Blame, reply: &str, now: Timestamp) -> Result<Noted, StoreError> {
        self.write("note what came back", |tx| match sent {
            Sent::Delivery(delivery) => came_back(tx, delivery, blame, &untrusted::line(reply, 300), now),
            Sent::Letter(subscriber) => letter_came_back(tx, subscriber, blame, now),
        })
    }
}

fn came_back(
    tx: &Transaction<'_>,
    delivery: &DeliveryId,
    blame: Blame,
    reply: &str,
    now: Timestamp,
) -> rusqlite::Result<Noted> {
    type Row = ([u8; 16], [u8; 16], String, Option<At>, bool);
    let found: Option<Row> = tx
        .prepare_cached(
            "SELECT subscriber, event, incident, done_at, returned IS NOT NULL FROM delivery
             WHERE id = ?1 AND state IN ('sending', 'sent', 'folded', 'failed')",
        )?
        .query_row([delivery.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .optional()?;
    let Some((subscriber, event, incident, done_at, is_noted)) = found else { return Ok(Noted::Forgotten) };
    if is_noted {
        return Ok(Noted::Before);
    }
    let id = SubscriberId::from_bytes(subscriber);
    let is_there = subscribers::by_id(tx, &id)?.is_some();
    // Of who left nothing is kept that their server said.
    let reply = is_there.then_some(reply);
    // It may come back before it is written down that it left.
    let left_at = done_at.map_or(now, |at| at.0);
    tx.prepare_cached(
        "UPDATE delivery SET state = 'failed', epoch = NULL, done_at = ?2, reply = ?3, returned = ?4 WHERE id = ?1",
    )?
    .execute((delivery.as_bytes(), At(left_at), reply, blame.as_str()))?;
    // What it told besides came back with it.
    tx.prepare_cached(
        "UPDATE delivery SET state = 'failed', epoch = NULL, done_at = coalesce(done_at, ?4), reply = ?5
         WHERE subscriber = ?1 AND incident = ?2 AND folded_into = ?3 AND id <> ?3 AND state IN ('sending', 'folded')",
    )?
    .execute((subscriber, &incident, delivery.as_bytes(), At(left_at), reply))?;
    if blame == Blame::Nobody || !is_there {
        return Ok(Noted::GivenUp);
    }
    if are_too_many(tx, event)? {
        acquit(tx, event)?;
        return Ok(Noted::TooMany);
    }
    let (days, reason) = match blame {
        Blame::Gone => (STRIKES, GONE),
        _ => (days_in_a_row(tx, &id, left_at)?, IN_A_ROW),
    };
    if days < STRIKES {
        return Ok(Noted::Struck { days: u64::try_from(days).unwrap_or(0) });
    }
    suspend(tx, &id, reason, now)?;
    Ok(Noted::Suspended)
}

/// On how many different days (UTC) mails were sent that came back, with none between them that did
/// not.
fn days_in_a_row(tx: &Connection, subscriber: &SubscriberId, until: Timestamp) -> rusqlite::Result<i64> {
    let mut sent = tx.prepare_cached(
        "SELECT done_at, returned FROM delivery
         WHERE subscriber = ?1 AND done_at <= ?2 AND (state = 'sent' OR returned IS NOT NULL) ORDER BY done_at DESC",
    )?;
    let mut rows = sent.query((subscriber.as_bytes(), At(until)))?;
    let mut days = BTreeSet::new();
    while let Some(row) = rows.next()? {
        match row.get::<_, Option<String>>(1)?.as_deref() {
            None => break,
            // A full mailbox, a route that is missing: no sign of either.
            Some("nobody") => {}
            Some(_) => {
                days.insert(row.get::<_, i64>(0)?.div_euclid(DAY_MS));
            }
        }
    }
    Ok(i64::try_from(days.len()).unwrap_or(i64::MAX))
}

/// Whether so many mails of an event came back that it is not believed of each recipient.
fn are_too_many(tx: &Connection, event: [u8; 16]) -> rusqlite::Result<bool> {
    let refused: u64 = tx
        .prepare_cached(
            "SELECT count(*) FROM delivery INDEXED BY delivery_returned
             WHERE event = ?1 AND returned IS NOT NULL AND returned <> 'nobody'",
        )?
        .query_row([event], |row| row.get::<_, i64>(0))
        .map(count)?;
    if refused < MANY {
        return Ok(false);
    }
    // No more of them are looked at than it takes to know.
    let enough = refused.saturating_mul(ONE_IN);
    let sent: u64 = tx
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM delivery
                 WHERE event = ?1 AND (state = 'sent' OR returned IS NOT NULL) LIMIT ?2)",
        )?
        .query_row((event, int(enough)), |row| row.get::<_, i64>(0))
        .map(count)?;
    Ok(sent < enough)
}

/// Whoever was suspended for what came back of that event is written to again.
fn acquit(tx: &Connection, event: [u8; 16]) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE subscriber SET state = 'confirmed', suspended_at = NULL, suspend_reason = NULL
         WHERE state = 'suspended' AND suspend_reason IN (?2, ?3) AND id IN (
             SELECT subscriber FROM delivery INDEXED BY delivery_returned
             WHERE event = ?1 AND returned IS NOT NULL AND returned <> 'nobody' AND suspended_at >= done_at)",
    )?
    .execute((event, GONE, IN_A_ROW))
    .map(drop)
}

/// Who cannot be written to confirms nothing.
fn letter_came_back(
    tx: &Transaction<'_>,
    subscriber: &SubscriberId,
    blame: Blame,
    now: Timestamp,
) -> rusqlite::Result<Noted> {
    let Some(found) = subscribers::by_id(tx, subscriber)? else { return Ok(Noted::Forgotten) };
    match found.state {
        _ if blame == Blame::Nobody => Ok(Noted::GivenUp),
        SubscriberState::Pending => {
            subscribers::erase(tx, subscriber, now)?;
            Ok(Noted::AskingEnded)
        }
        // They asked anew.
        SubscriberState::Suspended => {
            letters::remove(tx, subscriber)?;
            Ok(Noted::AskingEnded)
        }
        // As at the relay: a letter is held against nobody who gets news.
        SubscriberState::Confirmed => Ok(Noted::GivenUp),
    }
}
