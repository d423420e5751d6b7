//! What is in flight: a state machine between the ledger and the relay. It claims, plans and
//! composes; it learns from replies and settles. It waits for nothing and asks no clock.
//!
//! [`Outbox::poll`] gives out messages, [`Outbox::complete`] takes back how each ended. No more
//! are claimed ahead than the server takes within moments ([`super::window`]), so that who leaves
//! meanwhile is not written to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};

use super::{
    compose::{Composer, Draft, Tokens},
    ledger::{Fate, Lane, Ledger, LedgerError, Sent, Settled, Settlement},
    letters::Letters,
    operator::Notice,
    plan::{self, Decision},
    rate::Rate,
    relay::Outgoing,
    reply::{Class, Phase, Reply, classify},
    retry::{self, Cause, Change, Gate, Next, Rest, Tally},
    standstill::Standstill,
    window::Window,
};
use crate::domain::{EventId, SubscriberId, event::Event, id::DeliveryId};

#[cfg(test)]
mod tests;

/// How many rounds of claims one poll makes when all of them need nothing sent.
const ROUNDS: usize = 32;
/// A clock that goes back by no more than this is one that is kept right, not one that was set.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(2);
/// A refusal for good waits this long for others of its event, which may show that we are at fault.
const DOUBT: SignedDuration = SignedDuration::from_secs(60);
/// What cannot be composed is tried again after this long: a template is being edited.
const RECOMPOSE: SignedDuration = SignedDuration::from_secs(60);

/// `watchbell_deliveries_total{result}`: what became of deliveries since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Taken by the server.
    pub sent: AtomicU64,
    /// Told in another message.
    pub folded: AtomicU64,
    /// Not to be told.
    pub dropped: AtomicU64,
    /// Refused for now.
    pub retried: AtomicU64,
    /// Given up.
    pub failed: AtomicU64,
    /// 1 while the queue rests because of the server.
    pub paused: AtomicU64,
}

impl Counters {
    /// Each result with its count, for the metrics.
    #[must_use]
    pub fn results(&self) -> [(&'static str, u64); 5] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("sent", read(&self.sent)),
            ("folded", read(&self.folded)),
            ("dropped", read(&self.dropped)),
            ("retried", read(&self.retried)),
            ("failed", read(&self.failed)),
        ]
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
struct Flight {
    subscriber: SubscriberId,
    event: EventId,
    delivery: DeliveryId,
    fold: Vec<DeliveryId>,
    /// How often it was refused before.
    attempts: u32,
    claimed_at: Timestamp,
}

/// A refusal for good that is not written down yet.
#[derive(Clone, Debug)]
struct Doubt {
    flight: Flight,
    reply: String,
    is_gone: bool,
    since: Timestamp,
}

/// The queue's memory while the daemon runs. All else is in the ledger.
#[derive(Debug)]
pub struct Outbox {
    epoch: i64,
    composer: Arc<Composer>,
    window: Window,
    rate: Rate,
    gate: Gate,
    standstill: Box<Standstill>,
    flights: BTreeMap<DeliveryId, Flight>,
    /// What tells of no event.
    letters: Letters,
    /// Composed and counted among the flights, but not given out yet: the ledger failed meanwhile.
    ready: Vec<Outgoing>,
    doubts: Vec<Doubt>,
    tallies: BTreeMap<EventId, Tally>,
    settled: Vec<Settled>,
    notices: Vec<Notice>,
    counters: Arc<Counters>,
    wake_at: Option<Timestamp>,
    polled_at: Option<Timestamp>,
}

impl Outbox {
    /// An empty one. `epoch` is this start of the daemon: claims of earlier ones are free.
    #[must_use]
    pub fn new(epoch: i64, composer: Arc<Composer>, connections: u32, per_second: Option<f64>) -> Self {
        let connections = usize::try_from(connections.max(1)).unwrap_or(1);
        Self {
            epoch,
            composer,
            window: Window::new(connections),
            rate: Rate::new(per_second, connections),
            gate: Gate::default(),
            standstill: Box::default(),
            flights: BTreeMap::new(),
            letters: Letters::default(),
            ready: Vec::new(),
            doubts: Vec::new(),
            tallies: BTreeMap::new(),
            settled: Vec::new(),
            notices: Vec::new(),
            counters: Arc::default(),
            wake_at: None,
            polled_at: None,
        }
    }

    /// Goes on with a new config. What is in flight stays so.
    pub fn reconfigure(&mut self, composer: Arc<Composer>, connections: u32, per_second: Option<f64>) {
        self.composer = composer;
        let connections = usize::try_from(connections.max(1)).unwrap_or(1);
        self.window = Window::new(connections);
        self.rate = Rate::new(per_second, connections);
        // What kept the server from taking our mail may be what was changed.
        self.gate.lift();
        self.count_pause();
    }

    /// What became of deliveries so far.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The rest, if the queue rests because of the server.
    #[must_use]
    pub fn rest(&self) -> Option<&Rest> {
        self.gate.rest()
    }

    /// Whether notices to operators may leave: they are not behind a pause that is about recipients.
    #[must_use]
    pub fn lets_notices_leave(&self) -> bool {
        self.rest().is_none_or(|rest| rest.cause == Cause::Refusals)
    }

    /// What operators should know, since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// How many messages are on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len() + self.letters.in_flight()
    }

    /// When [`Outbox::poll`] could next do something, if nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.wake_at
    }

    /// Writes down what was learned, claims what is due, and gives out what may leave now.
    ///
    /// # Errors
    /// If the ledger cannot be used. Nothing is lost: what was learned is written down next time,
    /// and until then nothing more leaves.
    pub fn poll(&mut self, ledger: &mut dyn Ledger, now: Timestamp) -> Result<Vec<Outgoing>, LedgerError> {
        self.poll_with(ledger, now, &mut || ())
    }

    /// As [`Outbox::poll`]; `written` is called as soon as all is written down that was learned, before
    /// messages are composed.
    ///
    /// # Errors
    /// As [`Outbox::poll`].
    pub fn poll_with(
        &mut self,
        ledger: &mut dyn Ledger,
        now: Timestamp,
        written: &mut dyn FnMut(),
    ) -> Result<Vec<Outgoing>, LedgerError> {
        if let Some(before) = self.polled_at.filter(|before| later(now, CLOCK_SLACK) < *before) {
            self.set_back(ledger, before, now)?;
        }
        if self.polled_at.is_none() {
            self.standstill.take_up(ledger.pause()?, &mut self.gate, now);
        }
        self.polled_at = Some(now);
        self.notices.extend(self.standstill.write(ledger, &mut self.gate, now)?);
        self.count_pause();
        self.confirm_doubts(ledger, false, now)?;
        self.poll_letters(ledger, now)?;
        let mut is_drained = false;
        for _ in 0..ROUNDS {
            let free = self.window.room(self.flights.len());
            let free = self.rate.allows(self.gate.allows(free, self.in_flight(), now), now);
            if free == 0 {
                break;
            }
            let (mut decided, directory) = (Vec::new(), self.composer.directory());
            let mut decide = |lane: Lane| {
                let decisions = plan::plan(&lane, directory, now);
                let fates = decisions.iter().map(|(delivery, decision)| (*delivery, fate(*delivery, decision)));
                let fates = fates.collect();
                decided.push((lane, decisions));
                fates
            };
            let lanes = ledger.turn(&self.settled, self.epoch, now, free, &mut decide)?;
            self.settled.clear();
            written();
            is_drained = lanes == 0;
            if is_drained {
                break;
            }
            for (lane, decisions) in decided {
                let message = self.take(ledger, &lane, decisions, now);
                self.ready.extend(message);
            }
        }
        self.flush(ledger, now)?;
        written();
        if is_drained && self.flights.is_empty() {
            self.confirm_doubts(ledger, true, now)?;
            self.flush(ledger, now)?;
        }
        self.wake_at = self.next_wake(ledger, is_drained, now)?;
        Ok(std::mem::take(&mut self.ready))
    }

    /// Letters leave before news: they are few, and somebody sits and waits.
    fn poll_letters(&mut self, ledger: &mut dyn Ledger, now: Timestamp) -> Result<(), LedgerError> {
        let room = self.gate.allows(self.letters.room(), self.in_flight(), now);
        let room = self.rate.allows(room, now);
        for letter in self.letters.turn(ledger, self.epoch, room, now)? {
            let good_until = later(now, self.composer.manage_for());
            let tokens = Tokens::of(&letter, ledger, good_until);
            match self.composer.compose_letter(&letter, &tokens, good_until) {
                Ok(message) => {
                    self.rate.take(now);
                    self.ready.push(message);
                }
                Err(error) => {
                    self.notices.push(Notice::cannot_compose(&error.to_string()));
                    self.letters.put_off(letter.id, later(now, RECOMPOSE));
                }
            }
        }
        Ok(())
    }

    /// The clock was set back: what was put off by the old one must not wait for it to come again.
    fn set_back(&mut self, ledger: &mut dyn Ledger, before: Timestamp, now: Timestamp) -> Result<(), LedgerError> {
        ledger.set_back(before.duration_since(now), now)?;
        self.rate.forget();
        self.gate.set_back(now);
        for doubt in &mut self.doubts {
            doubt.since = doubt.since.min(now);
        }
        Ok(())
    }

    /// Learns how a message ended. It is written down by the next [`Outbox::poll`] or
    /// [`Outbox::flush`].
    pub fn complete(&mut self, delivery: DeliveryId, reply: &Reply, now: Timestamp) {
        let class = classify(reply);
        let was_cut = matches!(reply, Reply::Broken { phase: Phase::Body, .. });
        if self.letters.complete(delivery, class, reply, &self.counters, now) {
            let change = self.gate.learn(class, was_cut, now);
            self.note_change(change, reply, now);
            return;
        }
        let Some(flight) = self.flights.remove(&delivery) else { return };
        self.window.learn(class, now.duration_since(flight.claimed_at));
        let change = self.gate.learn(class, was_cut, now);
        self.note_change(change, reply, now);
        let tally = self.tallies.entry(flight.event).or_default();
        match class {
            Class::Sent => {
                tally.taken = tally.taken.saturating_add(1);
                self.sent(flight, reply);
            }
            Class::Nothing | Class::Away | Class::Ours => self.hold(&flight, now),
            Class::Later | Class::Policy => self.retry(&flight, reply, now),
            // While refusals are not believed, one more is none either.
            Class::Gone | Class::Never if self.gate.rest().is_some_and(|rest| rest.cause == Cause::Refusals) => {
                self.retry(&flight, reply, now);
            }
            Class::Gone | Class::Never => {
                tally.refused = tally.refused.saturating_add(1);
                let is_suspicious = tally.is_suspicious();
                let event = flight.event;
                let is_gone = class == Class::Gone;
                self.doubts.push(Doubt { flight, reply: reply.to_string(), is_gone, since: now });
                if is_suspicious {
                    self.trip(event, reply, now);
                }
            }
        }
    }

    /// Writes down what was learned.
    ///
    /// # Errors
    /// If the ledger cannot be used; it is then tried again next time.
    pub fn flush(&mut self, ledger: &mut dyn Ledger, now: Timestamp) -> Result<(), LedgerError> {
        if !self.settled.is_empty() {
            ledger.settle(&self.settled, now)?;
            self.settled.clear();
        }
        self.letters.flush(ledger, now)
    }

    /// The message of one lane, if it has one to send.
    fn take(
        &mut self,
        ledger: &dyn Ledger,
        lane: &Lane,
        decisions: Vec<(DeliveryId, Decision)>,
        now: Timestamp,
    ) -> Option<Outgoing> {
        let mut sending = None;
        for (delivery, decision) in decisions {
            match decision {
                Decision::Send { news, fold } => sending = Some((delivery, news, fold)),
                Decision::Drop { .. } => count(&self.counters.dropped, 1),
                // Settled with the message that it is folded into, or not claimed at all.
                Decision::Folded { .. } | Decision::Hold { .. } => {}
            }
        }
        let (delivery, news, fold) = sending?;
        let told = |pending: &&super::ledger::Pending| pending.delivery == delivery || fold.contains(&pending.delivery);
        let pending: Vec<_> = lane.pending.iter().filter(told).collect();
        let events: Vec<&Event> = pending.iter().map(|pending| &*pending.event).collect();
        let last = pending.last()?;
        let flight = Flight {
            subscriber: lane.subscriber.id,
            event: last.event.id,
            delivery,
            fold,
            attempts: last.attempts,
            claimed_at: now,
        };
        // From when it was recorded on, so that a retry has the same links and the same envelope.
        let at = last.event.recorded_at;
        let manage_until = later(at, self.composer.manage_for());
        let tokens = ledger.tokens(&lane.subscriber.id, manage_until, Sent::Delivery(delivery), at);
        let draft = Draft { news, delivery, subscriber: &lane.subscriber, events: &events, tokens: &tokens };
        match self.composer.compose(&draft) {
            Ok(message) => {
                self.rate.take(now);
                self.flights.insert(delivery, flight);
                Some(message)
            }
            Err(error) => {
                self.notices.push(Notice::cannot_compose(&error.to_string()));
                self.hold(&flight, later(now, RECOMPOSE));
                None
            }
        }
    }

    fn settle(&mut self, delivery: DeliveryId, result: Settlement) {
        self.settled.push(Settled { delivery, result });
    }

    fn sent(&mut self, flight: Flight, reply: &Reply) {
        count(&self.counters.sent, 1);
        count(&self.counters.folded, flight.fold.len());
        for delivery in flight.fold {
            self.settle(delivery, Settlement::Folded { into: flight.delivery });
        }
        self.settle(flight.delivery, Settlement::Sent { reply: reply.to_string() });
    }

    fn hold(&mut self, flight: &Flight, until: Timestamp) {
        for &delivery in flight.fold.iter().chain([&flight.delivery]) {
            self.settle(delivery, Settlement::Hold { until });
        }
    }

    fn retry(&mut self, flight: &Flight, reply: &Reply, now: Timestamp) {
        match retry::next(flight.delivery, flight.attempts.saturating_add(1), now) {
            Next::At(until) => {
                count(&self.counters.retried, 1);
                // Whether the server has it nobody knows: then it is the same message that is tried again.
                let is_in_doubt = matches!(reply, Reply::Broken { phase: Phase::Body, .. });
                for &delivery in &flight.fold {
                    let waits = Settlement::Hold { until };
                    self.settle(delivery, if is_in_doubt { Settlement::Doubted { until, reply: None } } else { waits });
                }
                let (delivery, reply) = (flight.delivery, reply.to_string());
                let again = Settlement::Retry { until, reply: reply.clone() };
                let doubted = Settlement::Doubted { until, reply: Some(reply) };
                self.settle(delivery, if is_in_doubt { doubted } else { again });
            }
            Next::GiveUp => self.fail(flight, &reply.to_string()),
        }
    }

    fn fail(&mut self, flight: &Flight, reply: &str) {
        count(&self.counters.failed, flight.fold.len() + 1);
        tracing::warn!(delivery = %flight.delivery, subscriber = %flight.subscriber, reply, "a mail was given up");
        for &delivery in flight.fold.iter().chain([&flight.delivery]) {
            self.settle(delivery, Settlement::Failed { reply: reply.to_owned() });
        }
    }

    /// Too many recipients of one event were refused: they are tried again, and the queue rests.
    fn trip(&mut self, event: EventId, reply: &Reply, now: Timestamp) {
        let change = self.gate.trip(now);
        self.note_change(change, reply, now);
        self.tallies.remove(&event);
        let (doubted, kept) =
            std::mem::take(&mut self.doubts).into_iter().partition(|doubt| doubt.flight.event == event);
        self.doubts = kept;
        let doubted: Vec<Doubt> = doubted;
        for doubt in doubted {
            self.retry(&doubt.flight, reply, now);
        }
    }

    /// Believes refusals for good that no others of their event put in doubt: those that waited
    /// for long, or all of them once the queue `is_drained`.
    fn confirm_doubts(&mut self, ledger: &mut dyn Ledger, is_drained: bool, now: Timestamp) -> Result<(), LedgerError> {
        let is_ripe = |doubt: &Doubt| is_drained || later(doubt.since, DOUBT) <= now;
        // One at a time: what the ledger could not note stays in doubt.
        while let Some(at) = self.doubts.iter().position(is_ripe) {
            let Some(doubt) = self.doubts.get(at) else { break };
            let is_suspended = ledger.refused(&doubt.flight.subscriber, doubt.is_gone, now)?;
            let Doubt { flight, reply, .. } = self.doubts.remove(at);
            if is_suspended {
                tracing::info!(subscriber = %flight.subscriber, reply, "a subscriber is suspended");
            }
            self.fail(&flight, &reply);
        }
        if is_drained {
            self.tallies.clear();
        }
        Ok(())
    }

    fn note_change(&mut self, change: Option<Change>, reply: &Reply, now: Timestamp) {
        self.notices.extend(self.standstill.learn(change, &self.gate, reply, now));
        self.count_pause();
    }

    fn count_pause(&self) {
        self.counters.paused.store(u64::from(self.gate.rest().is_some()), Ordering::Relaxed);
    }

    fn next_wake(
        &self,
        ledger: &mut dyn Ledger,
        is_drained: bool,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let doubt = self.doubts.iter().map(|doubt| later(doubt.since, DOUBT)).min();
        let letter = if self.letters.room() == 0 { None } else { ledger.next_letter()? };
        let due = match self.window.room(self.flights.len()) {
            0 => None,
            _ if is_drained => ledger.next_due()?,
            _ => Some(now),
        };
        let due = due.into_iter().chain(letter).min();
        let due = due.map(|due| due.max(self.rate.next_at()));
        let due = match self.gate.rest() {
            // While a message finds out, its answer is what wakes.
            Some(_) if self.in_flight() > 0 => None,
            Some(rest) => due.map(|due| due.max(rest.until)),
            None => due,
        };
        Ok(due.into_iter().chain(doubt).min())
    }
}

/// What is written down of a decision before anyone acts on it.
pub(super) fn fate(delivery: DeliveryId, decision: &Decision) -> Fate {
    match decision {
        Decision::Send { .. } => Fate::Leaves { within: delivery },
        Decision::Folded { into } => Fate::Leaves { within: *into },
        Decision::Hold { until, .. } => Fate::Waits { until: *until },
        Decision::Drop { reason } => Fate::Dropped { reason: reason.as_str() },
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

pub(super) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(u64::try_from(by).unwrap_or(0), Ordering::Relaxed);
}
