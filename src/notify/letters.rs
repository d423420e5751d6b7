//! Letters that are in flight: messages to one subscriber that tell of no event. As the outbox, it
//! waits for nothing and asks no clock; when the queue rests, letters rest too.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    ledger::{Ledger, LedgerError, Letter, LetterEnd},
    outbox::{Counters, count},
    reply::{Class, Reply},
    retry::{self, Next},
};
use crate::domain::{SubscriberId, id::DeliveryId};

/// So many at once: they share the connections with news.
const AT_ONCE: usize = 4;

/// One on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    subscriber: SubscriberId,
    attempts: u32,
    /// So many events are told in it.
    told: usize,
}

/// The letters that were claimed, and what became of those that ended.
#[derive(Debug, Default)]
pub struct Letters {
    flights: BTreeMap<DeliveryId, Flight>,
    ended: Vec<(DeliveryId, LetterEnd)>,
}

impl Letters {
    /// How many are on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// How many more may be.
    #[must_use]
    pub fn room(&self) -> usize {
        AT_ONCE.saturating_sub(self.flights.len())
    }

    /// Writes down what ended, and claims up to `room` more.
    ///
    /// # Errors
    /// If the ledger cannot be used: nothing is lost then.
    pub fn turn(
        &mut self,
        ledger: &mut dyn Ledger,
        epoch: i64,
        room: usize,
        now: Timestamp,
    ) -> Result<Vec<Letter>, LedgerError> {
        self.flush(ledger, now)?;
        if room == 0 {
            return Ok(Vec::new());
        }
        let letters = ledger.claim_letters(epoch, room, now)?;
        for letter in &letters {
            let flight =
                Flight { subscriber: letter.subscriber.id, attempts: letter.attempts, told: letter.events.len() };
            self.flights.insert(letter.id, flight);
        }
        Ok(letters)
    }

    /// One cannot be made now.
    pub fn put_off(&mut self, letter: DeliveryId, until: Timestamp) {
        if self.flights.remove(&letter).is_some() {
            self.ended.push((letter, LetterEnd::Hold { until }));
        }
    }

    /// Learns how one ended, and counts it; whether it is a letter at all.
    pub fn complete(
        &mut self,
        letter: DeliveryId,
        class: Class,
        reply: &Reply,
        counters: &Counters,
        now: Timestamp,
    ) -> bool {
        let Some(flight) = self.flights.remove(&letter) else { return false };
        let end = match class {
            Class::Sent => LetterEnd::Sent,
            Class::Nothing | Class::Away | Class::Ours => LetterEnd::Hold { until: now },
            Class::Later | Class::Policy => match retry::next(letter, flight.attempts.saturating_add(1), now) {
                Next::At(until) => LetterEnd::Retry { until },
                Next::GiveUp => LetterEnd::Failed,
            },
            // Whoever cannot be written to may ask again.
            Class::Gone | Class::Never => LetterEnd::Failed,
        };
        match end {
            LetterEnd::Sent => {
                count(&counters.sent, 1);
                count(&counters.folded, flight.told);
            }
            LetterEnd::Retry { .. } => count(&counters.retried, 1),
            LetterEnd::Failed => count(&counters.failed, flight.told.saturating_add(1)),
            LetterEnd::Hold { .. } => {}
        }
        if end == LetterEnd::Failed {
            tracing::info!(%letter, subscriber = %flight.subscriber, %reply, "a letter was given up");
        }
        self.ended.push((letter, end));
        true
    }

    /// Writes down what ended.
    ///
    /// # Errors
    /// If the ledger cannot be used; it is then tried again next time.
    pub fn flush(&mut self, ledger: &mut dyn Ledger, now: Timestamp) -> Result<(), LedgerError> {
        if !self.ended.is_empty() {
            ledger.settle_letters(&self.ended, now)?;
            self.ended.clear();
        }
        Ok(())
    }
}
