//! What telling asks of the store: the queue of deliveries, as values and one trait.
//!
//! It holds no queue itself. The store implements [`Ledger`]; so can a test, in memory.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{
    IncidentId, SubscriberId, event::Event, id::DeliveryId, incident::Incident, subscriber::Subscriber,
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
    /// What they have not been told, oldest event first. Never empty.
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
}

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

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
#[error("the queue of deliveries could not be used: {0}")]
pub struct LedgerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The queue of deliveries. Every method is one transaction.
pub trait Ledger {
    /// Takes up to `limit` lanes with something due and nothing in flight, oldest first. What is
    /// claimed stays claimed until it is settled, or until a daemon with a newer `epoch` asks.
    /// Only subscribers who are confirmed now are among them.
    ///
    /// # Errors
    /// If the store cannot be used; so for every method.
    fn claim(&mut self, epoch: i64, now: Timestamp, limit: usize) -> Result<Vec<Lane>, LedgerError>;

    /// Writes down what became of claims.
    fn settle(&mut self, settled: &[Settled], now: Timestamp) -> Result<(), LedgerError>;

    /// Whether `subscriber` is still confirmed: asked right before a message leaves.
    fn is_confirmed(&mut self, subscriber: &SubscriberId) -> Result<bool, LedgerError>;

    /// Notes that a subscriber's server refused for good, which is `gone` if it said that there
    /// is no such mailbox. Returns whether that suspended them: at once if gone, else the third
    /// time in a row on different days.
    fn refused(&mut self, subscriber: &SubscriberId, gone: bool, now: Timestamp) -> Result<bool, LedgerError>;

    /// The path token with which `subscriber` leaves without logging in.
    fn unsubscribe_token(&self, subscriber: &SubscriberId) -> String;

    /// When the next queued delivery falls due; `None` if none is queued.
    fn next_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, LedgerError>;
}
