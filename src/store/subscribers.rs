//! Who asked to be told. An address is there once, however it is written.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use sha2::{Digest, Sha256};

use super::{
    Store, StoreError, asking, letters, outbox,
    row::{At, Json, count, impact, json, rank},
};
use crate::domain::{
    ServiceId, SubscriberId,
    subscriber::{Choice, Destination, Subscriber, SubscriberState, Wants},
};

/// What adding a subscriber did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Their id: the given one, or the one that the address had already.
    pub id: SubscriberId,
    /// Whether the address was new; else what was known of it is replaced.
    pub is_new: bool,
}

/// Which subscribers to list. Everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state.
    pub state: Option<SubscriberState>,
    /// Following this service, by itself, by its group, or by following all.
    pub service: Option<ServiceId>,
    /// With this in the address, in any case.
    pub text: Option<String>,
}

/// What leaving removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    /// The address and what waits; that they left is remembered for 30 days, as a hash.
    Left,
    /// Everything.
    Nothing,
}

const COLUMNS: &str = "id, address, state, services, groups, incidents, maintenance, min_impact, language, timezone, \
                       created_at, confirmed_at";

impl Store {
    /// Adds a subscriber, or replaces the choices and the state of whoever has that address
    /// already; they keep their id and their `created_at`, and a suspension ends.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn add_subscriber(&mut self, subscriber: &Subscriber) -> Result<Added, StoreError> {
        self.write("add a subscriber", |tx| put(tx, subscriber))
    }

    /// Lets a subscriber leave: their address and what waits for them are deleted at once; a
    /// salted hash is kept for 30 days. Returns whether they were there: leaving twice is no
    /// error.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn remove_subscriber(&mut self, id: &SubscriberId, now: Timestamp) -> Result<bool, StoreError> {
        self.write("remove a subscriber", |tx| remove(tx, id, Trace::Left, now))
    }

    /// Whoever was asked says that nobody is to ask that mailbox again: what is known of them goes.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn stop_asking(&mut self, id: &SubscriberId, mailbox: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        self.write("stop asking", |tx| {
            tx.prepare_cached("INSERT INTO unwanted (hash, since) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING")?
                .execute((mailbox, At(now)))?;
            remove(tx, id, Trace::Left, now).map(drop)
        })
    }

    /// Whether nobody is to ask there: whoever has that mailbox said so.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn is_unwanted(&self, address: &Destination) -> Result<bool, StoreError> {
        self.read("look up an address", |db| asking::is_unwanted(db, address))
    }

    /// As [`Self::remove_subscriber`], by address.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn remove_address(&mut self, address: &Destination, now: Timestamp) -> Result<bool, StoreError> {
        self.write("remove a subscriber", |tx| match by_address(tx, address)? {
            Some(found) => remove(tx, &found.id, Trace::Left, now),
            None => Ok(false),
        })
    }

    /// Erases every trace of an address, what was sent to it and the hash of having left included,
    /// from the file too. Returns whether there was any.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn forget(&mut self, address: &Destination, now: Timestamp) -> Result<bool, StoreError> {
        self.secure_delete(true)?;
        let forgotten = self.write("forget a subscriber", |tx| {
            let found = by_address(tx, address)?;
            let was_there = match &found {
                Some(found) => remove(tx, &found.id, Trace::Nothing, now)?,
                None => false,
            };
            let was_asked = asking::forget(tx, address)?;
            let hashes =
                tx.prepare_cached("DELETE FROM departed WHERE hash = ?1")?.execute([departed_hash(tx, address)?])?;
            Ok(was_there || was_asked || hashes > 0)
        });
        self.secure_delete(false)?;
        let forgotten = forgotten?;
        if forgotten {
            // The old pages still stand in the log. A reader may hold it; the next checkpoint
            // takes it away then.
            self.read("cut back the log", |db| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))?;
        }
        Ok(forgotten)
    }

    fn secure_delete(&self, is_on: bool) -> Result<(), StoreError> {
        self.read("prepare to erase", |db| db.pragma_update_and_check(None, "secure_delete", is_on, |_| Ok(())))
    }

    /// Gives a subscriber who gets news another choice; whether there is one.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn choose(&mut self, id: &SubscriberId, choice: Choice) -> Result<bool, StoreError> {
        self.write("change a subscriber", |tx| {
            let found = by_id(tx, id)?.filter(|found| found.state == SubscriberState::Confirmed);
            let Some(found) = found else { return Ok(false) };
            put(tx, &found.choosing(choice))?;
            Ok(true)
        })
    }

    /// One subscriber.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn subscriber(&self, id: &SubscriberId) -> Result<Option<Subscriber>, StoreError> {
        self.read("look up a subscriber", |db| by_id(db, id))
    }

    /// Whoever has that address.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn subscriber_by_address(&self, address: &Destination) -> Result<Option<Subscriber>, StoreError> {
        self.read("look up a subscriber", |db| by_address(db, address))
    }

    /// Whether that address left within the last 30 days.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn has_left(&self, address: &Destination) -> Result<bool, StoreError> {
        self.read("look up a subscriber", |db| has_left(db, address))
    }

    /// All subscribers who match, by address.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn subscribers(&self, filter: &Filter) -> Result<Vec<Subscriber>, StoreError> {
        let mut found = Vec::new();
        self.each_subscriber(filter, |subscriber| {
            found.push(subscriber);
            true
        })?;
        Ok(found)
    }

    /// Hands over all subscribers who match, by address, one at a time, until `take` says `false`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn each_subscriber(&self, filter: &Filter, mut take: impl FnMut(Subscriber) -> bool) -> Result<(), StoreError> {
        self.read("list subscribers", |db| {
            let mut rows = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM subscriber
                 WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR instr(address_key, ?2) > 0)
                   AND (?3 IS NULL OR services = '[]' AND groups = '[]'
                        OR EXISTS (SELECT 1 FROM json_each(services) WHERE value = ?3)
                        OR EXISTS (SELECT 1 FROM json_each(groups) JOIN service ON service.grp = json_each.value
                                   WHERE service.id = ?3))
                 ORDER BY address_key"
            ))?;
            let state = filter.state.map(SubscriberState::as_str);
            let text = filter.text.as_ref().map(|text| text.to_lowercase());
            let service = filter.service.as_ref().map(ServiceId::as_str);
            let mut rows = rows.query((state, text, service))?;
            while let Some(row) = rows.next()? {
                if !take(from_row(row)?) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// How many subscribers there are in each state: pending, confirmed, suspended.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn subscriber_counts(&self) -> Result<[u64; 3], StoreError> {
        self.read("count subscribers", |db| {
            db.query_row(
                "SELECT count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'confirmed'),
                        count(*) FILTER (WHERE state = 'suspended') FROM subscriber",
                [],
                |row| Ok([count(row.get(0)?), count(row.get(1)?), count(row.get(2)?)]),
            )
        })
    }

    /// Adds or replaces all that `plan` makes of what is there, or none.
    pub(super) fn put_all(
        &mut self,
        plan: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Vec<Subscriber>>,
    ) -> Result<(), StoreError> {
        self.write("import subscribers", |tx| {
            for subscriber in plan(tx)? {
                put(tx, &subscriber)?;
            }
            Ok(())
        })
    }
}

/// What keeps hashes of addresses from being looked up in a list of addresses.
pub(super) fn salt(db: &Connection) -> rusqlite::Result<Vec<u8>> {
    db.prepare_cached("SELECT value FROM meta WHERE key = 'salt'")?.query_row([], |row| row.get(0))
}

fn departed_hash(db: &Connection, address: &Destination) -> rusqlite::Result<[u8; 32]> {
    Ok(Sha256::new().chain_update(salt(db)?).chain_update(address.key()).finalize().into())
}

pub(super) fn has_left(db: &Connection, address: &Destination) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM departed WHERE hash = ?1")?.exists([departed_hash(db, address)?])
}

pub(super) fn put(tx: &Transaction<'_>, subscriber: &Subscriber) -> rusqlite::Result<Added> {
    let wants = &subscriber.wants;
    let found = by_address(tx, &subscriber.address)?;
    let is_new = found.is_none();
    outbox::choose_anew(tx, &found.map_or(subscriber.id, |found| found.id))?;
    let id: [u8; 16] = tx
        .prepare_cached(
            "INSERT INTO subscriber (id, kind, address, address_key, state, services, groups, incidents, maintenance,
                 min_impact, language, timezone, created_at, confirmed_at)
             VALUES (?1, ?14, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT (address_key) DO UPDATE SET address = excluded.address, state = excluded.state,
                 services = excluded.services, groups = excluded.groups, incidents = excluded.incidents,
                 maintenance = excluded.maintenance, min_impact = excluded.min_impact, language = excluded.language,
                 timezone = excluded.timezone, confirmed_at = coalesce(excluded.confirmed_at, confirmed_at),
                 suspended_at = NULL, suspend_reason = NULL, strikes = 0, strike_day = NULL
             RETURNING id",
        )?
        .query_row(
            rusqlite::params![
                subscriber.id.as_bytes(),
                subscriber.address.as_str(),
                subscriber.address.key(),
                subscriber.state.as_str(),
                json(&wants.services)?,
                json(&wants.groups)?,
                wants.incidents,
                wants.maintenance,
                rank(wants.min_impact),
                subscriber.language,
                subscriber.timezone,
                At(subscriber.created_at),
                subscriber.confirmed_at.map(At),
                subscriber.address.way().as_str(),
            ],
            |row| row.get(0),
        )?;
    // Anyone can ask for any address: that its owner left counts until they say so themselves.
    if subscriber.state != SubscriberState::Pending {
        tx.prepare_cached("DELETE FROM departed WHERE hash = ?1")?
            .execute([departed_hash(tx, &subscriber.address)?])?;
        asking::allow_again(tx, &subscriber.address)?;
    }
    Ok(Added { id: SubscriberId::from_bytes(id), is_new })
}

fn remove(tx: &Transaction<'_>, id: &SubscriberId, trace: Trace, now: Timestamp) -> rusqlite::Result<bool> {
    let Some(found) = by_id(tx, id)? else { return Ok(false) };
    if trace == Trace::Left {
        tx.prepare_cached(
            "INSERT INTO departed (hash, left_at) VALUES (?1, ?2)
             ON CONFLICT (hash) DO UPDATE SET left_at = excluded.left_at",
        )?
        .execute((departed_hash(tx, &found.address)?, At(now)))?;
        // Of what was sent only the count stays: servers like to repeat the address in a reply.
        tx.prepare_cached("UPDATE delivery SET reply = NULL WHERE subscriber = ?1")?.execute([id.as_bytes()])?;
        tx.prepare_cached(
            "UPDATE delivery SET state = 'dropped', epoch = NULL, done_at = ?2, reply = 'left', folded_into = NULL
             WHERE subscriber = ?1 AND done_at IS NULL",
        )?
        .execute((id.as_bytes(), At(now)))?;
    } else {
        tx.prepare_cached("DELETE FROM delivery WHERE subscriber = ?1")?.execute([id.as_bytes()])?;
    }
    tx.prepare_cached("DELETE FROM subscriber WHERE id = ?1")?.execute([id.as_bytes()])?;
    tx.prepare_cached("DELETE FROM latecomer WHERE subscriber = ?1")?.execute([id.as_bytes()])?;
    letters::remove(tx, id)?;
    Ok(true)
}

/// Erases somebody, as if they had never asked.
pub(super) fn erase(tx: &Transaction<'_>, id: &SubscriberId, now: Timestamp) -> rusqlite::Result<bool> {
    remove(tx, id, Trace::Nothing, now)
}

pub(super) fn by_id(db: &Connection, id: &SubscriberId) -> rusqlite::Result<Option<Subscriber>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM subscriber WHERE id = ?1"))?
        .query_row([id.as_bytes()], from_row)
        .optional()
}

pub(super) fn by_address(db: &Connection, address: &Destination) -> rusqlite::Result<Option<Subscriber>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM subscriber WHERE address_key = ?1"))?
        .query_row([address.key()], from_row)
        .optional()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Subscriber> {
    Ok(Subscriber {
        id: SubscriberId::from_bytes(row.get(0)?),
        address: row.get::<_, super::row::Word<Destination>>(1)?.0,
        state: row.get(2)?,
        wants: Wants {
            services: row.get::<_, Json<_>>(3)?.0,
            groups: row.get::<_, Json<_>>(4)?.0,
            incidents: row.get(5)?,
            maintenance: row.get(6)?,
            min_impact: impact(row.get(7)?),
        },
        language: row.get(8)?,
        timezone: row.get(9)?,
        created_at: row.get::<_, At>(10)?.0,
        confirmed_at: row.get::<_, Option<At>>(11)?.map(|at| at.0),
    })
}
