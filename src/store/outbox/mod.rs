//! The queue of deliveries: one event for one subscriber, from the commit that caused it until it
//! is settled. What is decided about a delivery is decided elsewhere; here it is written down.
//!
//! A delivery is `queued`, `sending` (claimed by the daemon of one epoch), and in the end `sent`,
//! `folded` into another one's message, `dropped`, or `failed`. Epochs number the daemons' starts:
//! claims of a dead one are free as soon as the next one has its number.

mod control;
pub(super) mod fan_out;
mod look;
mod overview;
mod pause;
mod queue;
mod returned;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rusqlite::OptionalExtension;

#[cfg(test)]
pub(super) use self::queue::states;
use self::queue::{Claim, claim, settle, suspend};
pub use self::{
    control::{BY_HAND, Dropped, RECENT, Retried, Which},
    fan_out::Sliced,
    look::{Delivery, DeliveryState, SecondLook},
    overview::{Held, Queued, QueuedLetters, Refused},
    returned::{Blame, Noted},
};
pub(super) use self::{
    fan_out::{Budget, choose_anew, promise},
    queue::{add_functions, amended, tell_in_letter},
};
use super::{
    Store, StoreError, letters,
    row::{At, count},
};
use crate::domain::{
    IncidentId, SubscriberId,
    event::Event,
    id::DeliveryId,
    incident::Incident,
    subscriber::{Subscriber, Way},
};

/// All that is to be told to one subscriber about one incident.
#[derive(Clone, Debug)]
pub struct Lane {
    /// To whom.
    pub subscriber: Subscriber,
    /// About what.
    pub incident: IncidentId,
    /// The incident as it is now, which may be further on than any of the events.
    pub current: Arc<Incident>,
    /// What they have not been told, oldest event first, due or not. Never empty.
    pub pending: Vec<Pending>,
    /// What they have been told, oldest first; what was folded into a message is not listed.
    pub told: Vec<Told>,
}

/// One event that a subscriber has not been told.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Names this event for this subscriber: the Message-ID comes from it.
    pub delivery: DeliveryId,
    /// What happened.
    pub event: Arc<Event>,
    /// How often the mail server refused it for now.
    pub attempts: u32,
    /// When it was first tried.
    pub first_tried_at: Option<Timestamp>,
    /// The delivery in whose message it was on its way, if nobody knows what became of that.
    pub left_in: Option<DeliveryId>,
}

/// What is decided of a pending delivery when its lane is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It leaves now.
    Leaves {
        /// In the message of which delivery, perhaps its own.
        within: DeliveryId,
    },
    /// Not yet.
    Waits {
        /// When to look again.
        until: Timestamp,
    },
    /// Need not be told.
    Dropped {
        /// Why.
        reason: &'static str,
    },
}

/// Decides on each pending delivery of a lane that is claimed.
pub type Decide<'a> = &'a mut dyn FnMut(Lane) -> Vec<(DeliveryId, Fate)>;

/// One message that a subscriber has got: it said all up to this event.
#[derive(Clone, Debug)]
pub struct Told {
    /// The newest event that it told of.
    pub event: Arc<Event>,
    /// When the server took it.
    pub at: Timestamp,
}

/// What became of a claimed delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub delivery: DeliveryId,
    /// What.
    pub result: Settlement,
}

/// The ways in which a claim ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The server took it.
    Sent {
        /// What the server said, for the record.
        reply: String,
    },
    /// Not yet; costs no retry.
    Hold {
        /// When to look again.
        until: Timestamp,
    },
    /// Perhaps the server took it: then it is the same message that is sent again.
    Doubted {
        /// When to look again.
        until: Timestamp,
        /// What was said last, of the delivery in whose message it was tried.
        reply: Option<String>,
    },
    /// The server refused it for now.
    Retry {
        /// When to try again.
        until: Timestamp,
        /// What the server said.
        reply: String,
    },
    /// Told in the message of another delivery, which the server took.
    Folded {
        /// Whose message.
        into: DeliveryId,
    },
    /// Need not be told.
    Dropped {
        /// Why.
        reason: String,
    },
    /// Given up.
    Failed {
        /// What the server said at last.
        reply: String,
    },
}

/// How many deliveries are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting.
    pub queued: u64,
    /// Claimed.
    pub sending: u64,
    /// Taken by a server.
    pub sent: u64,
    /// Told in another one's message.
    pub folded: u64,
    /// Needed no telling.
    pub dropped: u64,
    /// Given up.
    pub failed: u64,
}

impl Counts {
    /// What is not settled yet.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.queued.saturating_add(self.sending)
    }
}

/// How many strikes on different days in a row suspend a subscriber.
const STRIKES: i64 = 3;

impl Store {
    /// Numbers a start of those who tell by this store's way; whatever an earlier one had claimed is
    /// free from now on, to be sent again as the same messages.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn new_epoch(&mut self) -> Result<i64, StoreError> {
        let way = self.way;
        self.write("begin a new epoch", |tx| {
            tx.execute(
                "UPDATE delivery SET state = 'queued', epoch = NULL
                 WHERE way = ?1 AND state = 'sending' AND done_at IS NULL
                     AND (folded_into IS NULL OR folded_into NOT IN (SELECT id FROM letter))",
                [way.as_str()],
            )?;
            letters::free(tx, way)?;
            tx.query_row("UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value", [], |row| row.get(0))
        })
    }

    /// Takes up to `limit` lanes with something due and nothing in flight, and lets `decide` say what
    /// becomes of each of their deliveries: that is written down before anyone acts on it. What
    /// leaves stays claimed until it is settled or another epoch begins. Only subscribers who are
    /// confirmed now are among them. Returns how many lanes there were.
    ///
    /// # Errors
    /// If the store cannot be used: then nothing was claimed, whatever was decided.
    pub fn claim(&mut self, epoch: i64, now: Timestamp, limit: usize, decide: Decide<'_>) -> Result<usize, StoreError> {
        // Asking costs no lock and no disk; there is nothing to do most of the time.
        if limit == 0 || self.next_due()?.is_none_or(|due| due > now) {
            return Ok(0);
        }
        self.settle_and_claim(&[], epoch, now, limit, decide)
    }

    /// Writes down what became of claims, all in one commit. What is no longer claimed (its
    /// subscriber left meanwhile) is passed over.
    ///
    /// # Errors
    /// If the store cannot be written: what was sent is then sent again after a crash, so try
    /// again.
    pub fn settle(&mut self, settled: &[Settled], now: Timestamp) -> Result<(), StoreError> {
        if settled.is_empty() {
            return Ok(());
        }
        self.write("settle deliveries", |tx| settled.iter().try_for_each(|settled| settle(tx, settled, now)))
    }

    /// [`Store::settle`] and then [`Store::claim`], in one commit: who sends many waits for the disk
    /// half as often.
    ///
    /// # Errors
    /// As either: then neither was done.
    pub fn settle_and_claim(
        &mut self,
        settled: &[Settled],
        epoch: i64,
        now: Timestamp,
        limit: usize,
        decide: Decide<'_>,
    ) -> Result<usize, StoreError> {
        self.claims = self.claims.wrapping_add(1);
        let again = if self.claims.is_multiple_of(2) { limit / 2 } else { limit.div_ceil(2) };
        let way = self.way;
        self.write("settle and claim deliveries", |tx| {
            settled.iter().try_for_each(|settled| settle(tx, settled, now))?;
            claim(tx, &Claim { way, epoch, now, limit, again }, decide)
        })
    }

    /// The clock was set back `by` so much, to `now`: what was put off by the old one comes so
    /// much earlier.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn set_back(&mut self, by: SignedDuration, now: Timestamp) -> Result<(), StoreError> {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let way = self.way;
        self.write("follow the clock", |tx| {
            tx.execute(
                "UPDATE delivery SET not_before = max(?2, not_before - ?1)
                 WHERE done_at IS NULL AND not_before > ?2 AND way = ?3",
                (by, At(now), way.as_str()),
            )?;
            tx.execute(
                "UPDATE letter SET not_before = max(?2, not_before - ?1) WHERE not_before > ?2 AND way = ?3",
                (by, At(now), way.as_str()),
            )?;
            // Each way notices the clock by itself; what is common follows it once.
            if way == Way::Mail {
                tx.execute(
                    "UPDATE fan_out SET not_before = max(?2, not_before - ?1) WHERE not_before > ?2",
                    (by, At(now)),
                )?;
            }
            Ok(())
        })
    }

    /// How many deliveries are in which state. Looks at all of them.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn outbox_counts(&self) -> Result<Counts, StoreError> {
        self.read("count deliveries", |db| {
            let mut counts = Counts::default();
            let mut states = db.prepare_cached("SELECT state, count(*) FROM delivery GROUP BY state")?;
            let mut rows = states.query([])?;
            while let Some(row) = rows.next()? {
                let number = count(row.get(1)?);
                match row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)? {
                    "queued" => counts.queued = number,
                    "sending" => counts.sending = number,
                    "sent" => counts.sent = number,
                    "folded" => counts.folded = number,
                    "dropped" => counts.dropped = number,
                    "failed" => counts.failed = number,
                    _ => {}
                }
            }
            Ok(counts)
        })
    }

    /// How many messages are not settled yet: deliveries, and letters, of which one may tell several
    /// events. Cheap.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn outbox_pending(&self) -> Result<u64, StoreError> {
        self.read("count deliveries", |db| {
            db.prepare_cached(
                "SELECT (SELECT count(*) FROM delivery WHERE done_at IS NULL
                         AND way IN ('mail', 'webhook') AND state IN ('queued', 'sending'))
                     - (SELECT count(*) FROM delivery
                        WHERE done_at IS NULL AND folded_into IN (SELECT id FROM letter))
                     + (SELECT count(*) FROM letter)",
            )?
            .query_row([], |row| row.get(0))
            .map(count)
        })
    }

    /// How many deliveries of this store's way are claimed and not settled. Cheap.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn outbox_sending(&self) -> Result<u64, StoreError> {
        self.read("count deliveries", |db| {
            db.prepare_cached("SELECT count(*) FROM delivery WHERE done_at IS NULL AND way = ?1 AND state = 'sending'")?
                .query_row([self.way.as_str()], |row| row.get(0))
                .map(count)
        })
    }

    /// How many deliveries wait for one subscriber.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn pending_for(&self, subscriber: &SubscriberId) -> Result<u64, StoreError> {
        self.read("count deliveries", |db| {
            db.prepare_cached("SELECT count(*) FROM delivery WHERE subscriber = ?1 AND done_at IS NULL")?
                .query_row([subscriber.as_bytes()], |row| row.get(0))
                .map(count)
        })
    }

    /// When the next lane of this store's way that has nothing in flight falls due (or fell); `None` if
    /// none waits.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read("look at the queue", |db| {
            let next: Option<At> = db
                .prepare_cached(
                    "SELECT not_before FROM delivery AS waiting
                     WHERE done_at IS NULL AND way = ?1 AND state = 'queued' AND NOT EXISTS (
                         SELECT 1 FROM delivery AS busy WHERE busy.subscriber = waiting.subscriber
                             AND busy.incident = waiting.incident AND busy.state = 'sending')
                     ORDER BY not_before LIMIT 1",
                )?
                .query_row([self.way.as_str()], |row| row.get(0))
                .optional()?;
            Ok(next.map(|next| next.0))
        })
    }

    /// Notes that a subscriber's server refused for good; `gone`: it said that there is no such
    /// mailbox. Returns whether that suspended them: at once if gone, else the third time in a row
    /// on different days (UTC).
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn refused(&mut self, subscriber: &SubscriberId, gone: bool, now: Timestamp) -> Result<bool, StoreError> {
        self.write("note a refusal", |tx| {
            if gone {
                return suspend(tx, subscriber, "no such mailbox", now);
            }
            let day = now.as_millisecond().div_euclid(86_400_000);
            let strikes: Option<i64> = tx
                .prepare_cached(
                    "UPDATE subscriber SET strikes = strikes + (strike_day IS NOT ?2), strike_day = ?2
                     WHERE id = ?1 RETURNING strikes",
                )?
                .query_row((subscriber.as_bytes(), day), |row| row.get(0))
                .optional()?;
            match strikes {
                Some(STRIKES..) => suspend(tx, subscriber, "refused on three days in a row", now),
                _ => Ok(false),
            }
        })
    }

    /// Stops writing to a subscriber, until they subscribe again; what waits for them is dropped.
    /// Returns whether that changed anything.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn suspend(&mut self, subscriber: &SubscriberId, reason: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.write("suspend a subscriber", |tx| suspend(tx, subscriber, reason, at))
    }
}
