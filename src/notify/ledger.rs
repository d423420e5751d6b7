//! What telling asks of the store: the queue of deliveries, as one trait.
//!
//! It holds no queue itself. [`StoreLedger`] is the store's; a test may have one in memory.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use super::compose::Tokens;
pub use crate::store::{
    envelope::Sent,
    letters::{Letter, LetterEnd},
    outbox::{Decide, Fate, Lane, Pending, Settled, Settlement, Told},
};
use crate::{
    domain::{SubscriberId, id::DeliveryId, pause::Pause},
    store::{Store, StoreError, tokens::Key},
};

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
#[error("the queue of deliveries could not be used: {0}")]
pub struct LedgerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Whether what was claimed is still to leave, from any thread.
pub type Look = Arc<dyn Fn(&DeliveryId) -> bool + Send + Sync>;

/// The queue of deliveries. Every method is one transaction, or as good as one.
pub trait Ledger {
    /// Takes up to `limit` lanes with something due and nothing in flight, oldest first, and writes
    /// down what `decide` says of each. What leaves stays claimed until it is settled, or until a
    /// daemon with a newer `epoch` asks. Only subscribers who are confirmed now are among them.
    /// Returns how many lanes there were.
    ///
    /// # Errors
    /// If the store cannot be used; so for every method. Then nothing was claimed, whatever was
    /// decided.
    fn claim(&mut self, epoch: i64, now: Timestamp, limit: usize, decide: Decide<'_>) -> Result<usize, LedgerError>;

    /// Writes down what became of claims.
    fn settle(&mut self, settled: &[Settled], now: Timestamp) -> Result<(), LedgerError>;

    /// [`Ledger::settle`] and then [`Ledger::claim`], both or neither: one wait for the disk.
    fn turn(
        &mut self,
        settled: &[Settled],
        epoch: i64,
        now: Timestamp,
        limit: usize,
        decide: Decide<'_>,
    ) -> Result<usize, LedgerError> {
        if !settled.is_empty() {
            self.settle(settled, now)?;
        }
        self.claim(epoch, now, limit, decide)
    }

    /// Notes that a subscriber's server refused for good, which is `gone` if it said that there
    /// is no such mailbox. Returns whether that suspended them: at once if gone, else the third
    /// time in a row on different days.
    fn refused(&mut self, subscriber: &SubscriberId, gone: bool, now: Timestamp) -> Result<bool, LedgerError>;

    /// The clock was set back `by` so much, to `now`: what was put off comes so much earlier.
    fn set_back(&mut self, by: SignedDuration, now: Timestamp) -> Result<(), LedgerError>;

    /// What the links in a message to `subscriber` open, the one to their choice until `manage_until`;
    /// and, as the envelope has it, what was `sent` and recorded at `at`.
    fn tokens(&self, subscriber: &SubscriberId, manage_until: Timestamp, sent: Sent, at: Timestamp) -> Tokens;

    /// When the next lane that has nothing in flight falls due, or fell; `None` if none waits.
    fn next_due(&mut self) -> Result<Option<Timestamp>, LedgerError>;

    /// Takes up to `limit` letters that are due, as [`Ledger::claim`] takes lanes.
    fn claim_letters(&mut self, _epoch: i64, _limit: usize, _now: Timestamp) -> Result<Vec<Letter>, LedgerError> {
        Ok(Vec::new())
    }

    /// Writes down how letters ended.
    fn settle_letters(&mut self, _ended: &[(DeliveryId, LetterEnd)], _now: Timestamp) -> Result<(), LedgerError> {
        Ok(())
    }

    /// When the next letter falls due, or fell; `None` if none waits.
    fn next_letter(&mut self) -> Result<Option<Timestamp>, LedgerError> {
        Ok(None)
    }

    /// What says of a delivery or letter that was claimed whether it is still to leave.
    fn second_look(&self) -> Look {
        Arc::new(|_| true)
    }

    /// The pause that was written down, perhaps by an earlier start.
    fn pause(&mut self) -> Result<Option<Pause>, LedgerError> {
        Ok(None)
    }

    /// Whether a pause that was written down was taken away by an operator. Costs no lock.
    fn is_resumed(&mut self) -> Result<bool, LedgerError> {
        Ok(false)
    }

    /// Writes down a pause that begins.
    fn begin_pause(&mut self, _pause: &Pause) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Writes down how a pause goes on; `false` if an operator took it away meanwhile.
    fn prolong_pause(&mut self, _pause: &Pause) -> Result<bool, LedgerError> {
        Ok(true)
    }

    /// Writes down that a pause is over.
    fn end_pause(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// How many messages are late because nothing left until `now`.
    fn late(&mut self, _now: Timestamp) -> Result<u64, LedgerError> {
        Ok(0)
    }

    /// The path token with which `subscriber`, who was asked at `mailbox`, says that nobody is to ask
    /// them again.
    fn stop_token(&self, _subscriber: &SubscriberId, _mailbox: &[u8; 32]) -> String {
        String::new()
    }
}

/// What calling webhooks asks besides.
pub trait WebhookLedger: Ledger {
    /// The secret that signs what is sent to the webhook of `subscriber`.
    fn webhook_secret(&self, subscriber: &SubscriberId) -> [u8; 32];

    /// `subscriber` leaves: their receiver says that it is gone.
    ///
    /// # Errors
    /// If the store cannot be used.
    fn leaves(&mut self, subscriber: &SubscriberId, now: Timestamp) -> Result<(), LedgerError>;
}

/// The queue in the store, of what leaves by one way. It has a connection of its own: telling never
/// waits for judging.
#[derive(Debug)]
pub struct StoreLedger {
    store: Store,
    key: Key,
}

impl StoreLedger {
    /// The queue of `store`, whose `key` makes the tokens in links.
    #[must_use]
    pub fn new(store: Store, key: Key) -> Self {
        Self { store, key }
    }
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> Self {
        Self(Box::new(error))
    }
}

impl Ledger for StoreLedger {
    fn claim(&mut self, epoch: i64, now: Timestamp, limit: usize, decide: Decide<'_>) -> Result<usize, LedgerError> {
        Ok(self.store.claim(epoch, now, limit, decide)?)
    }

    fn settle(&mut self, settled: &[Settled], now: Timestamp) -> Result<(), LedgerError> {
        Ok(self.store.settle(settled, now)?)
    }

    fn turn(
        &mut self,
        settled: &[Settled],
        epoch: i64,
        now: Timestamp,
        limit: usize,
        decide: Decide<'_>,
    ) -> Result<usize, LedgerError> {
        if settled.is_empty() {
            return self.claim(epoch, now, limit, decide);
        }
        Ok(self.store.settle_and_claim(settled, epoch, now, limit, decide)?)
    }

    fn refused(&mut self, subscriber: &SubscriberId, gone: bool, now: Timestamp) -> Result<bool, LedgerError> {
        Ok(self.store.refused(subscriber, gone, now)?)
    }

    fn set_back(&mut self, by: SignedDuration, now: Timestamp) -> Result<(), LedgerError> {
        Ok(self.store.set_back(by, now)?)
    }

    fn tokens(&self, subscriber: &SubscriberId, manage_until: Timestamp, sent: Sent, at: Timestamp) -> Tokens {
        Tokens {
            unsubscribe: self.key.unsubscribe(subscriber),
            manage: self.key.manage(subscriber, manage_until),
            envelope: self.key.envelope(sent, at),
        }
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>, LedgerError> {
        Ok(self.store.next_due()?)
    }

    fn claim_letters(&mut self, epoch: i64, limit: usize, now: Timestamp) -> Result<Vec<Letter>, LedgerError> {
        Ok(self.store.claim_letters(epoch, limit, now)?)
    }

    fn settle_letters(&mut self, ended: &[(DeliveryId, LetterEnd)], now: Timestamp) -> Result<(), LedgerError> {
        Ok(self.store.settle_letters(ended, now)?)
    }

    fn next_letter(&mut self) -> Result<Option<Timestamp>, LedgerError> {
        Ok(self.store.next_letter()?)
    }

    fn second_look(&self) -> Look {
        let second_look = self.store.second_look();
        Arc::new(move |delivery| {
            second_look.is_claimed(delivery).unwrap_or_else(|error| {
                // It waits, as all does that cannot be claimed or marked.
                tracing::debug!(%delivery, %error, "whether it is still to leave is not known");
                false
            })
        })
    }

    fn pause(&mut self) -> Result<Option<Pause>, LedgerError> {
        Ok(self.store.pause()?)
    }

    fn is_resumed(&mut self) -> Result<bool, LedgerError> {
        Ok(self.store.pause()?.is_none())
    }

    fn begin_pause(&mut self, pause: &Pause) -> Result<(), LedgerError> {
        Ok(self.store.begin_pause(pause)?)
    }

    fn prolong_pause(&mut self, pause: &Pause) -> Result<bool, LedgerError> {
        Ok(self.store.prolong_pause(pause)?)
    }

    fn end_pause(&mut self) -> Result<(), LedgerError> {
        self.store.end_pause()?;
        Ok(())
    }

    fn late(&mut self, now: Timestamp) -> Result<u64, LedgerError> {
        Ok(self.store.late(now)?)
    }

    fn stop_token(&self, subscriber: &SubscriberId, mailbox: &[u8; 32]) -> String {
        self.key.stop(subscriber, mailbox)
    }
}

impl WebhookLedger for StoreLedger {
    fn webhook_secret(&self, subscriber: &SubscriberId) -> [u8; 32] {
        self.key.webhook_secret(subscriber)
    }

    fn leaves(&mut self, subscriber: &SubscriberId, now: Timestamp) -> Result<(), LedgerError> {
        Ok(self.store.remove_subscriber(subscriber, now).map(drop)?)
    }
}
