//! Letters: messages to one subscriber that tell of no event, from what caused them until they are
//! sent; and the links that confirm, which only the letter itself knows.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction};
use sha2::{Digest, Sha256};

use super::{
    Store, StoreError, asking, outbox, reader,
    row::{At, Json, count, json},
    subscribers, tokens,
};
use crate::domain::{
    EventId, SubscriberId,
    asking::LetterKind,
    event::Event,
    id::DeliveryId,
    incident::Incident,
    subscriber::{Choice, Subscriber, SubscriberState, Wants, Way},
};

/// One letter, claimed.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Names it: the Message-ID comes from it.
    pub id: DeliveryId,
    /// What it is.
    pub kind: LetterKind,
    /// To whom.
    pub subscriber: Subscriber,
    /// What was asked for.
    pub choice: Choice,
    /// When it was to leave.
    pub at: Timestamp,
    /// How often the server refused it for now.
    pub attempts: u32,
    /// What confirms; empty if there is nothing to confirm.
    pub token: String,
    /// The hash of the mailbox, of whoever is asked.
    pub mailbox: [u8; 32],
    /// Until when the link in it is good.
    pub good_until: Timestamp,
    /// What is going on, which it tells as well.
    pub events: Vec<Arc<Event>>,
}

/// How a letter ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterEnd {
    /// The server took it.
    Sent,
    /// It was not tried, or the server is away: costs no try.
    Hold {
        /// When to look again.
        until: Timestamp,
    },
    /// The server refused it for now.
    Retry {
        /// When to try again.
        until: Timestamp,
    },
    /// Given up.
    Failed,
}

/// What became of a click on the button that confirms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// They get news from now on.
    Now(SubscriberId),
    /// They did already: the button was pressed twice.
    Before(SubscriberId),
    /// The link is too old, or was none of ours.
    Nothing,
}

/// Decides which of the events, each the newest of an incident that is open, tell somebody who wants
/// `Wants` of trouble of theirs.
pub type Greet<'a> = &'a mut dyn FnMut(&Wants, &[(Incident, Arc<Event>)]) -> Vec<EventId>;

const TOKEN_BYTES: usize = 16;

impl Store {
    /// Confirms by the token of a link; the choice is the one that was made with it. Whoever was not
    /// told until now gets a welcome, in which they find what `greet` says is theirs of what goes on.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn confirm(&mut self, token: &str, greet: Greet<'_>, now: Timestamp) -> Result<Confirmed, StoreError> {
        let Some(hash) = hash_of(token) else { return Ok(Confirmed::Nothing) };
        // Asking costs no lock: most tokens that nobody made are guesses.
        let is_known = self.read("look up a confirmation", |db| {
            db.prepare_cached("SELECT 1 FROM confirmation WHERE hash = ?1")?.exists([hash])
        })?;
        if !is_known {
            return Ok(Confirmed::Nothing);
        }
        self.write("confirm a subscriber", |tx| confirm(tx, &hash, greet, now))
    }

    /// Takes up to `limit` letters that are due, oldest first, for the daemon's start `epoch`. A link
    /// that confirms is made here, and its hash written down: it is new for each try, and those of
    /// earlier tries stay good.
    ///
    /// # Errors
    /// If the store cannot be written: then nothing was claimed.
    pub fn claim_letters(&mut self, epoch: i64, limit: usize, now: Timestamp) -> Result<Vec<Letter>, StoreError> {
        if limit == 0 || self.next_letter()?.is_none_or(|due| due > now) {
            return Ok(Vec::new());
        }
        let way = self.way;
        self.write("claim letters", |tx| {
            let due: Vec<[u8; 16]> = tx
                .prepare_cached(
                    "SELECT id FROM letter WHERE way = ?3 AND state = 'queued' AND not_before <= ?1
                     ORDER BY not_before LIMIT ?2",
                )?
                .query_map((At(now), i64::try_from(limit).unwrap_or(i64::MAX), way.as_str()), |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut letters = Vec::with_capacity(due.len());
            for id in due {
                letters.extend(claim(tx, id, epoch, now)?);
            }
            Ok(letters)
        })
    }

    /// Writes down how letters ended. One whose subscriber left meanwhile is passed over.
    ///
    /// # Errors
    /// If the store cannot be written: what was sent is then sent again after a crash, so try again.
    pub fn settle_letters(&mut self, ended: &[(DeliveryId, LetterEnd)], now: Timestamp) -> Result<(), StoreError> {
        if ended.is_empty() {
            return Ok(());
        }
        self.write("settle letters", |tx| ended.iter().try_for_each(|(id, end)| settle(tx, *id, *end, now)))
    }

    /// When the next letter of this store's way falls due, or fell; `None` if none waits.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn next_letter(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read("look at the letters", |db| {
            let next: Option<At> = db
                .prepare_cached("SELECT min(not_before) FROM letter WHERE way = ?1 AND state = 'queued'")?
                .query_row([self.way.as_str()], |row| row.get(0))?;
            Ok(next.map(|at| at.0))
        })
    }

    /// How many letters of this store's way are on it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn letters_sending(&self) -> Result<u64, StoreError> {
        self.read("count letters", |db| {
            db.prepare_cached("SELECT count(*) FROM letter WHERE way = ?1 AND state = 'sending'")?
                .query_row([self.way.as_str()], |row| row.get(0))
                .map(count)
        })
    }
}

/// The hash under which a token is known; `None` if it cannot be one.
fn hash_of(token: &str) -> Option<[u8; 32]> {
    let bytes: [u8; TOKEN_BYTES] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    Some(Sha256::digest(bytes).into())
}

/// Queues a letter.
pub(super) fn queue(
    tx: &Connection,
    kind: LetterKind,
    subscriber: &SubscriberId,
    choice: &Choice,
    good_for: Duration,
    at: Timestamp,
) -> rusqlite::Result<DeliveryId> {
    let id = DeliveryId::new(at, tokens::random()?);
    tx.prepare_cached(
        "INSERT INTO letter (id, kind, subscriber, way, choice, good_for, state, not_before)
         SELECT ?1, ?2, id, kind, ?4, ?5, 'queued', ?6 FROM subscriber WHERE id = ?3",
    )?
    .execute((
        id.as_bytes(),
        kind.as_str(),
        subscriber.as_bytes(),
        json(choice)?,
        i64::try_from(good_for.as_millis()).unwrap_or(i64::MAX),
        At(at),
    ))?;
    Ok(id)
}

fn claim(tx: &Transaction<'_>, id: [u8; 16], epoch: i64, now: Timestamp) -> rusqlite::Result<Option<Letter>> {
    let (kind, subscriber, Json(choice), good_for, attempts): (String, [u8; 16], Json<Choice>, i64, u32) = tx
        .prepare_cached("SELECT kind, subscriber, choice, good_for, attempts FROM letter WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
    let kind = LetterKind::ALL.into_iter().find(|known| known.as_str() == kind);
    let subscriber = subscribers::by_id(tx, &SubscriberId::from_bytes(subscriber))?;
    let is_due = |kind, state| match kind {
        LetterKind::Confirm => state != SubscriberState::Confirmed,
        LetterKind::Settings | LetterKind::Welcome => state == SubscriberState::Confirmed,
    };
    let (Some(kind), Some(subscriber)) = (kind, subscriber) else { return discard(tx, id, now).map(|()| None) };
    // They said meanwhile, of another question, that they want none.
    let is_stopped = kind == LetterKind::Confirm && asking::is_unwanted(tx, &subscriber.address)?;
    if is_stopped || !is_due(kind, subscriber.state) {
        return discard(tx, id, now).map(|()| None);
    }
    let good_until = now.checked_add(SignedDuration::from_millis(good_for)).unwrap_or(Timestamp::MAX);
    let mut token = String::new();
    if kind == LetterKind::Confirm {
        let bytes: [u8; TOKEN_BYTES] = tokens::random()?;
        token = URL_SAFE_NO_PAD.encode(bytes);
        tx.prepare_cached("INSERT INTO confirmation (hash, subscriber, choice, expires_at) VALUES (?1, ?2, ?3, ?4)")?
            .execute((
                <[u8; 32]>::from(Sha256::digest(bytes)),
                subscriber.id.as_bytes(),
                json(&choice)?,
                At(good_until),
            ))?;
    }
    let mut events = Vec::new();
    if kind == LetterKind::Welcome {
        let mut told = tx.prepare_cached(
            "SELECT event.json, event.v FROM delivery JOIN event ON event.id = delivery.event
             WHERE folded_into = ?1 AND done_at IS NULL ORDER BY event_seq",
        )?;
        let mut rows = told.query([id])?;
        while let Some(row) = rows.next()? {
            events.extend(reader::event(row)?.map(Arc::new));
        }
        if let Some(sealed) = events.iter().filter(|event| !event.is_sealed(now)).map(|event| event.seals_at).max() {
            tx.prepare_cached("UPDATE letter SET not_before = ?2 WHERE id = ?1")?.execute((id, At(sealed)))?;
            return Ok(None);
        }
    }
    tx.prepare_cached("UPDATE letter SET state = 'sending', epoch = ?2 WHERE id = ?1")?.execute((id, epoch))?;
    let (id, mailbox) = (DeliveryId::from_bytes(id), asking::mailbox(tx, &subscriber.address)?);
    Ok(Some(Letter { id, kind, subscriber, choice, at: id.at(), attempts, token, mailbox, good_until, events }))
}

/// What need not be sent any more is gone, and what it would have told is not told.
pub(super) fn discard(tx: &Connection, id: [u8; 16], now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM letter WHERE id = ?1")?.execute([id])?;
    tell(tx, id, "dropped", now)
}

/// Ends the deliveries that a letter told.
fn tell(tx: &Connection, id: [u8; 16], state: &str, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE delivery SET state = ?2, done_at = ?3, reply = 'in a welcome', attempts = attempts + 1,
             first_tried_at = coalesce(first_tried_at, ?3)
         WHERE folded_into = ?1 AND done_at IS NULL",
    )?
    .execute((id, state, At(now)))
    .map(drop)
}

fn settle(tx: &Connection, id: DeliveryId, end: LetterEnd, now: Timestamp) -> rusqlite::Result<()> {
    let id = *id.as_bytes();
    let mut waits = tx.prepare_cached(
        "UPDATE letter SET state = 'queued', epoch = NULL, not_before = ?2, attempts = attempts + ?3
         WHERE id = ?1 AND state = 'sending'",
    )?;
    match end {
        LetterEnd::Hold { until } => waits.execute((id, At(until), 0)).map(drop),
        LetterEnd::Retry { until } => waits.execute((id, At(until), 1)).map(drop),
        LetterEnd::Sent => {
            tx.prepare_cached("DELETE FROM letter WHERE id = ?1")?.execute([id])?;
            tell(tx, id, "sent", now)
        }
        LetterEnd::Failed => {
            tx.prepare_cached("DELETE FROM letter WHERE id = ?1")?.execute([id])?;
            tell(tx, id, "failed", now)
        }
    }
}

/// A new start of those who tell by `way`: what an earlier one had claimed waits again.
pub(super) fn free(tx: &Connection, way: Way) -> rusqlite::Result<()> {
    let statement = "UPDATE letter SET state = 'queued', epoch = NULL WHERE way = ?1 AND state = 'sending'";
    tx.execute(statement, [way.as_str()]).map(drop)
}

/// Somebody leaves: nothing more is sent to them, and no link of theirs is good any more.
pub(super) fn remove(tx: &Connection, subscriber: &SubscriberId) -> rusqlite::Result<()> {
    for statement in ["DELETE FROM letter WHERE subscriber = ?1", "DELETE FROM confirmation WHERE subscriber = ?1"] {
        tx.prepare_cached(statement)?.execute([subscriber.as_bytes()])?;
    }
    Ok(())
}

/// Forgets links that are too old, and whoever never used theirs; how many that were.
pub(super) fn tidy(tx: &Connection, now: Timestamp, most: i64) -> rusqlite::Result<usize> {
    let old: Vec<[u8; 16]> = tx
        .prepare_cached("SELECT DISTINCT subscriber FROM confirmation WHERE expires_at <= ?1 LIMIT ?2")?
        .query_map((At(now), most), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for subscriber in &old {
        tx.prepare_cached("DELETE FROM confirmation WHERE subscriber = ?1 AND expires_at <= ?2")?
            .execute((subscriber, At(now)))?;
        // Who was brought here as pending by an import never had a link, and stays.
        tx.prepare_cached(
            "DELETE FROM subscriber WHERE id = ?1 AND state = 'pending'
                 AND NOT EXISTS (SELECT 1 FROM confirmation WHERE confirmation.subscriber = subscriber.id)
                 AND NOT EXISTS (SELECT 1 FROM letter WHERE letter.subscriber = subscriber.id)",
        )?
        .execute([subscriber])?;
    }
    Ok(old.len())
}

fn confirm(tx: &Transaction<'_>, hash: &[u8; 32], greet: Greet<'_>, now: Timestamp) -> rusqlite::Result<Confirmed> {
    let found: Option<([u8; 16], Json<Choice>, bool)> = tx
        .prepare_cached(
            "SELECT subscriber, choice, used_at IS NOT NULL FROM confirmation WHERE hash = ?1 AND expires_at > ?2",
        )?
        .query_row((hash, At(now)), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((id, Json(choice), is_used)) = found else { return Ok(Confirmed::Nothing) };
    let Some(subscriber) = subscribers::by_id(tx, &SubscriberId::from_bytes(id))? else {
        return Ok(Confirmed::Nothing);
    };
    let was = subscriber.state;
    if is_used {
        let is_told = was == SubscriberState::Confirmed;
        return Ok(if is_told { Confirmed::Before(subscriber.id) } else { Confirmed::Nothing });
    }
    let confirmed = Subscriber { state: SubscriberState::Confirmed, confirmed_at: Some(now), ..subscriber };
    let confirmed = confirmed.choosing(choice);
    subscribers::put(tx, &confirmed)?;
    tx.prepare_cached("UPDATE confirmation SET used_at = ?2 WHERE hash = ?1")?.execute((hash, At(now)))?;
    tx.prepare_cached("DELETE FROM letter WHERE subscriber = ?1 AND kind = 'confirm' AND state = 'queued'")?
        .execute([confirmed.id.as_bytes()])?;
    if was != SubscriberState::Confirmed {
        welcome(tx, &confirmed, greet, now)?;
    }
    Ok(Confirmed::Now(confirmed.id))
}

/// Queues the welcome. What it tells counts as told once it is sent; until then nothing else of the
/// same incidents is.
fn welcome(tx: &Transaction<'_>, subscriber: &Subscriber, greet: Greet<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let open = under_way(tx)?;
    let theirs = greet(&subscriber.wants, &open);
    let told: Vec<&Event> = open.iter().map(|(_, event)| &**event).filter(|event| theirs.contains(&event.id)).collect();
    // Others may still join what is not sealed.
    let at = told.iter().map(|event| event.seals_at).max().map_or(now, |sealed| sealed.max(now));
    let letter = queue(tx, LetterKind::Welcome, &subscriber.id, &subscriber.choice(), Duration::ZERO, at)?;
    told.iter().try_for_each(|event| outbox::tell_in_letter(tx, event, &subscriber.id, letter))
}

/// Every incident that is open, with what was told of it last.
fn under_way(tx: &Connection) -> rusqlite::Result<Vec<(Incident, Arc<Event>)>> {
    let mut open = tx.prepare_cached("SELECT json FROM incident WHERE resolved_at IS NULL AND NOT withdrawn")?;
    let mut newest = tx.prepare_cached(
        "SELECT json, v FROM event WHERE incident = ?1 AND kind NOT IN ('postmortem', 'withdrawn')
         ORDER BY seq DESC LIMIT 1",
    )?;
    let mut found = Vec::new();
    let mut rows = open.query([])?;
    while let Some(row) = rows.next()? {
        let Json(incident): Json<Incident> = row.get(0)?;
        let mut events = newest.query([incident.id.as_str()])?;
        if let Some(row) = events.next()?
            && let Some(event) = reader::event(row)?
        {
            found.push((incident, Arc::new(event)));
        }
    }
    Ok(found)
}
