//! What is being called: a state machine between the ledger and the receivers, as the outbox is one
//! for mail. It waits for nothing and asks no clock.
//!
//! Each receiver is on its own. One that fails rests, with growing pauses, and nothing is tried there
//! meanwhile; at most [`EACH`] calls are made to one at a time, and [`AT_ONCE`] in all.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{
    answer::{Answer, Verdict, verdict},
    payload::{Draft, MANAGE_FOR, Writer},
};
use crate::{
    clock::to_millis,
    domain::{SubscriberId, event::Event, id::DeliveryId, webhook::WebhookUrl},
    notify::{
        compose::Tokens,
        ledger::{Fate, Lane, LedgerError, LetterEnd, Sent, Settled, Settlement, WebhookLedger},
        outbox::{Counters, count, fate},
        plan::{self, Decision, News},
        retry::{self, Next},
    },
};

/// So many calls in all.
pub const AT_ONCE: usize = 32;
/// So many to one receiver.
const EACH: usize = 2;
/// What finds its receiver busy looks again after this.
const BUSY: SignedDuration = SignedDuration::from_secs(1);
/// Pauses between tries of a receiver grow so often; then they are as long as they get.
const STEPS: u32 = 12;
/// A receiver that fails for so long gets no further try of the same message.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// What cannot be written is tried again after this: a catalogue is being edited.
const REWRITE: SignedDuration = SignedDuration::from_secs(60);

/// One call to be made.
#[derive(Clone, Debug)]
pub struct Call {
    /// Under which delivery: the receiver knows a second copy by it.
    pub delivery: DeliveryId,
    /// Where.
    pub url: WebhookUrl,
    /// What is said.
    pub body: Bytes,
    /// What signs it.
    pub secret: [u8; 32],
}

/// A call that is under way.
#[derive(Clone, Debug)]
struct Flight {
    subscriber: SubscriberId,
    what: What,
    /// How often it failed before.
    attempts: u32,
    /// Whether its receiver failed the last time.
    is_failing: bool,
}

#[derive(Clone, Debug)]
enum What {
    /// News, with what is folded into it.
    News { fold: Vec<DeliveryId> },
    /// A letter, with so many events in it.
    Letter { told: usize },
}

/// A receiver that fails.
#[derive(Clone, Copy, Debug)]
struct Rest {
    since: Timestamp,
    until: Timestamp,
    failures: u32,
}

/// The queue's memory while the daemon runs. All else is in the ledger.
#[derive(Debug)]
pub struct Queue {
    epoch: i64,
    writer: Arc<Writer>,
    flights: BTreeMap<DeliveryId, Flight>,
    resting: BTreeMap<SubscriberId, Rest>,
    settled: Vec<Settled>,
    letters: Vec<(DeliveryId, LetterEnd)>,
    /// Who refused for good, and who is gone.
    struck: Vec<SubscriberId>,
    gone: Vec<SubscriberId>,
    /// Written, but not given out yet: the ledger failed meanwhile.
    ready: Vec<Call>,
    counters: Arc<Counters>,
    wake_at: Option<Timestamp>,
    polled_at: Option<Timestamp>,
}

impl Queue {
    /// An empty one. `epoch` is this start: claims of earlier ones are free.
    #[must_use]
    pub fn new(epoch: i64, writer: Arc<Writer>) -> Self {
        Self {
            epoch,
            writer,
            flights: BTreeMap::new(),
            resting: BTreeMap::new(),
            settled: Vec::new(),
            letters: Vec::new(),
            struck: Vec::new(),
            gone: Vec::new(),
            ready: Vec::new(),
            counters: Arc::default(),
            wake_at: None,
            polled_at: None,
        }
    }

    /// Goes on with a new config.
    pub fn reconfigure(&mut self, writer: Arc<Writer>) {
        self.writer = writer;
    }

    /// What became of deliveries so far.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// When [`Queue::poll`] could next do something, if nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.wake_at
    }

    /// Writes down what was learned, claims what is due, and gives out the calls to be made now.
    ///
    /// # Errors
    /// If the ledger cannot be used. Nothing is lost: what was learned is written down next time, and
    /// until then nobody is called.
    pub fn poll(&mut self, ledger: &mut dyn WebhookLedger, now: Timestamp) -> Result<Vec<Call>, LedgerError> {
        if let Some(before) = self.polled_at.filter(|before| later(now, SignedDuration::from_secs(2)) < *before) {
            // The clock was set back: nothing waits for the old one.
            ledger.set_back(before.duration_since(now), now)?;
            self.resting.values_mut().for_each(|rest| rest.until = rest.until.min(now));
        }
        self.polled_at = Some(now);
        self.flush(ledger, now)?;
        self.poll_letters(ledger, now)?;
        self.poll_news(ledger, now)?;
        self.flush(ledger, now)?;
        self.resting.retain(|_, rest| later(rest.until, GIVE_UP_AFTER) > now);
        self.wake_at = if self.room() == 0 {
            None // an answer wakes
        } else {
            ledger.next_due()?.into_iter().chain(ledger.next_letter()?).min()
        };
        Ok(std::mem::take(&mut self.ready))
    }

    fn poll_letters(&mut self, ledger: &mut dyn WebhookLedger, now: Timestamp) -> Result<(), LedgerError> {
        // Whoever asks for many receivers that hang must not keep news from those that answer.
        let room = (AT_ONCE / 4).saturating_sub(self.letters_under_way()).min(self.room());
        for letter in ledger.claim_letters(self.epoch, room, now)? {
            let id = letter.subscriber.id;
            let Some(url) = letter.subscriber.address.webhook() else { continue };
            if let Some(until) = self.busy_until(&id, now) {
                self.letters.push((letter.id, LetterEnd::Hold { until }));
                continue;
            }
            let manage_until = later(now, MANAGE_FOR);
            let tokens = Tokens::of(&letter, ledger, manage_until);
            let told = letter.events.len();
            match self.writer.letter(&letter, &tokens, manage_until) {
                Ok(body) => {
                    let secret = ledger.webhook_secret(&id);
                    self.begin(letter.id, url, body, secret, id, What::Letter { told }, letter.attempts);
                }
                Err(error) => {
                    tracing::error!(%error, "a webhook cannot be called, and waits");
                    self.letters.push((letter.id, LetterEnd::Hold { until: later(now, REWRITE) }));
                }
            }
        }
        Ok(())
    }

    fn poll_news(&mut self, ledger: &mut dyn WebhookLedger, now: Timestamp) -> Result<(), LedgerError> {
        let room = self.room();
        if room == 0 {
            return Ok(());
        }
        let writer = Arc::clone(&self.writer);
        let mut taken: BTreeMap<SubscriberId, usize> = BTreeMap::new();
        let mut decided = Vec::new();
        let mut decide = |lane: Lane| {
            let id = lane.subscriber.id;
            let so_far = taken.get(&id).copied().unwrap_or(0);
            if let Some(until) = self.busy_after(&id, so_far, now) {
                return lane.pending.iter().map(|pending| (pending.delivery, Fate::Waits { until })).collect();
            }
            let decisions = plan::plan(&lane, writer.directory(), now);
            if decisions.iter().any(|(_, decision)| matches!(decision, Decision::Send { .. })) {
                *taken.entry(id).or_default() += 1;
            }
            let fates = decisions.iter().map(|(delivery, decision)| (*delivery, fate(*delivery, decision))).collect();
            decided.push((lane, decisions));
            fates
        };
        ledger.claim(self.epoch, now, room, &mut decide)?;
        for (lane, decisions) in decided {
            self.take(ledger, &lane, decisions, now);
        }
        Ok(())
    }

    /// The call of one lane, if it has one to make.
    fn take(
        &mut self,
        ledger: &dyn WebhookLedger,
        lane: &Lane,
        decisions: Vec<(DeliveryId, Decision)>,
        now: Timestamp,
    ) {
        let mut sending: Option<(DeliveryId, News, Vec<DeliveryId>)> = None;
        for (delivery, decision) in decisions {
            match decision {
                Decision::Send { news, fold } => sending = Some((delivery, news, fold)),
                Decision::Drop { .. } => count(&self.counters.dropped, 1),
                Decision::Folded { .. } | Decision::Hold { .. } => {}
            }
        }
        let Some((delivery, news, fold)) = sending else { return };
        let told = |id: &DeliveryId| *id == delivery || fold.contains(id);
        let pending: Vec<_> = lane.pending.iter().filter(|pending| told(&pending.delivery)).collect();
        let events: Vec<&Event> = pending.iter().map(|pending| &*pending.event).collect();
        let attempts = pending.last().map_or(0, |last| last.attempts);
        let id = lane.subscriber.id;
        let token = ledger.tokens(&id, now, Sent::Delivery(delivery), now).unsubscribe;
        let draft = Draft { news, subscriber: &lane.subscriber, events: &events, unsubscribe_token: &token };
        match (self.writer.news(&draft), lane.subscriber.address.webhook()) {
            (Ok(body), Some(url)) => {
                let secret = ledger.webhook_secret(&id);
                self.begin(delivery, url, body, secret, id, What::News { fold }, attempts);
            }
            (written, _) => {
                if let Err(error) = written {
                    tracing::error!(%error, "a webhook cannot be called, and waits");
                }
                self.hold(delivery, &fold, later(now, REWRITE));
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a call, each once")]
    fn begin(
        &mut self,
        delivery: DeliveryId,
        url: &WebhookUrl,
        body: Vec<u8>,
        secret: [u8; 32],
        subscriber: SubscriberId,
        what: What,
        attempts: u32,
    ) {
        let is_failing = self.resting.contains_key(&subscriber);
        self.flights.insert(delivery, Flight { subscriber, what, attempts, is_failing });
        self.ready.push(Call { delivery, url: url.clone(), body: body.into(), secret });
    }

    /// Learns how a call ended. It is written down by the next [`Queue::poll`] or [`Queue::flush`].
    pub fn complete(&mut self, delivery: DeliveryId, answer: &Answer, now: Timestamp) {
        let Some(flight) = self.flights.remove(&delivery) else { return };
        let verdict = verdict(answer);
        let id = flight.subscriber;
        let mut is_dead = false;
        match verdict {
            Verdict::Taken | Verdict::Refused | Verdict::Gone => {
                self.resting.remove(&id);
            }
            Verdict::Later { after } => is_dead = self.rests(id, delivery, after, now),
            Verdict::Nothing => {}
        }
        if verdict == Verdict::Gone {
            tracing::info!(subscriber = %id, "a webhook is gone, and its subscription ends");
            self.gone.push(id);
        }
        match flight.what {
            What::Letter { told } => self.letter_ended(delivery, told, flight.attempts, verdict, now),
            What::News { fold } => {
                let again = match verdict {
                    Verdict::Later { after } if !is_dead => next(delivery, flight.attempts, after, now),
                    _ => None,
                };
                self.news_ended(delivery, &fold, id, answer, verdict, again, now);
            }
        }
    }

    fn letter_ended(&mut self, letter: DeliveryId, told: usize, attempts: u32, verdict: Verdict, now: Timestamp) {
        let end = match verdict {
            Verdict::Taken => LetterEnd::Sent,
            Verdict::Gone | Verdict::Refused => LetterEnd::Failed,
            Verdict::Nothing => LetterEnd::Hold { until: now },
            Verdict::Later { after } => match next(letter, attempts, after, now) {
                Some(until) => LetterEnd::Retry { until },
                None => LetterEnd::Failed,
            },
        };
        match end {
            LetterEnd::Sent => {
                count(&self.counters.sent, 1);
                count(&self.counters.folded, told);
            }
            LetterEnd::Retry { .. } => count(&self.counters.retried, 1),
            LetterEnd::Failed => count(&self.counters.failed, told.saturating_add(1)),
            LetterEnd::Hold { .. } => {}
        }
        self.letters.push((letter, end));
    }

    #[expect(clippy::too_many_arguments, reason = "what is known of a call that ended, each once")]
    fn news_ended(
        &mut self,
        delivery: DeliveryId,
        fold: &[DeliveryId],
        subscriber: SubscriberId,
        answer: &Answer,
        verdict: Verdict,
        again: Option<Timestamp>,
        now: Timestamp,
    ) {
        let reply = answer.to_string();
        match verdict {
            Verdict::Taken => {
                count(&self.counters.sent, 1);
                count(&self.counters.folded, fold.len());
                for &delivery_folded in fold {
                    self.settle(delivery_folded, Settlement::Folded { into: delivery });
                }
                self.settle(delivery, Settlement::Sent { reply });
            }
            Verdict::Nothing => self.hold(delivery, fold, now),
            Verdict::Later { .. } => {
                let Some(until) = again else { return self.fail(delivery, fold, subscriber, &reply) };
                count(&self.counters.retried, 1);
                // If they may have it, and only their answer was lost, it is the same message that is
                // made again; else what happens meanwhile may be told with it.
                let is_in_doubt = matches!(answer, Answer::Failed { may_have_it: true, .. });
                for &folded in fold {
                    let waits = Settlement::Hold { until };
                    self.settle(folded, if is_in_doubt { Settlement::Doubted { until, reply: None } } else { waits });
                }
                let again = Settlement::Retry { until, reply: reply.clone() };
                let doubted = Settlement::Doubted { until, reply: Some(reply) };
                self.settle(delivery, if is_in_doubt { doubted } else { again });
            }
            Verdict::Gone | Verdict::Refused => self.fail(delivery, fold, subscriber, &reply),
        }
    }

    /// Given up: a strike, as a mailbox gets it whose server refuses for good. A receiver that is
    /// called in vain for days on end is suspended so.
    fn fail(&mut self, delivery: DeliveryId, fold: &[DeliveryId], subscriber: SubscriberId, reply: &str) {
        count(&self.counters.failed, fold.len() + 1);
        tracing::warn!(%delivery, %subscriber, reply, "a webhook was given up");
        self.struck.push(subscriber);
        for &delivery in fold.iter().chain([&delivery]) {
            self.settle(delivery, Settlement::Failed { reply: reply.to_owned() });
        }
    }

    fn hold(&mut self, delivery: DeliveryId, fold: &[DeliveryId], until: Timestamp) {
        for &delivery in fold.iter().chain([&delivery]) {
            self.settle(delivery, Settlement::Hold { until });
        }
    }

    fn settle(&mut self, delivery: DeliveryId, result: Settlement) {
        self.settled.push(Settled { delivery, result });
    }

    /// Writes down what was learned.
    ///
    /// # Errors
    /// If the ledger cannot be used; it is then tried again next time.
    pub fn flush(&mut self, ledger: &mut dyn WebhookLedger, now: Timestamp) -> Result<(), LedgerError> {
        if !self.settled.is_empty() {
            ledger.settle(&self.settled, now)?;
            self.settled.clear();
        }
        if !self.letters.is_empty() {
            ledger.settle_letters(&self.letters, now)?;
            self.letters.clear();
        }
        // One at a time: what the ledger could not note stays.
        while let Some(subscriber) = self.struck.last() {
            if ledger.refused(subscriber, false, now)? {
                tracing::info!(%subscriber, "a webhook is suspended");
            }
            self.struck.pop();
        }
        while let Some(subscriber) = self.gone.last() {
            ledger.leaves(subscriber, now)?;
            self.gone.pop();
        }
        Ok(())
    }

    /// A receiver failed: it rests. Its pauses grow by the failures of all calls to it, those of one
    /// message by its own alone. Whether it has failed for so long that no message is tried again.
    fn rests(&mut self, subscriber: SubscriberId, delivery: DeliveryId, after: Duration, now: Timestamp) -> bool {
        let before = self.resting.get(&subscriber);
        let failures = before.map_or(0, |rest| rest.failures);
        let since = before.map_or(now, |rest| rest.since);
        let until = next(delivery, failures.min(STEPS), after, now).unwrap_or(now);
        self.resting.insert(subscriber, Rest { since, until, failures: failures.saturating_add(1) });
        now.duration_since(since) >= GIVE_UP_AFTER
    }

    fn room(&self) -> usize {
        AT_ONCE.saturating_sub(self.flights.len())
    }

    fn failing_under_way(&self) -> usize {
        self.flights.values().filter(|flight| flight.is_failing).count()
    }

    fn letters_under_way(&self) -> usize {
        self.flights.values().filter(|flight| matches!(flight.what, What::Letter { .. })).count()
    }

    fn busy_until(&self, subscriber: &SubscriberId, now: Timestamp) -> Option<Timestamp> {
        self.busy_after(subscriber, 0, now)
    }

    /// Until when nothing more is begun with a receiver, to which `more` calls are about to be made.
    fn busy_after(&self, subscriber: &SubscriberId, more: usize, now: Timestamp) -> Option<Timestamp> {
        let under_way = self.flights.values().filter(|flight| flight.subscriber == *subscriber).count() + more;
        match self.resting.get(subscriber) {
            Some(rest) if rest.until > now => Some(rest.until),
            // One call finds out whether it is back; and those that hang never take all the places.
            Some(_) if under_way > 0 || self.failing_under_way() >= AT_ONCE / 2 => Some(later(now, BUSY)),
            _ => (under_way >= EACH).then(|| later(now, BUSY)),
        }
    }
}

/// When to try again what failed once more, after `attempts` earlier tries; `None`: not any more.
fn next(delivery: DeliveryId, attempts: u32, after: Duration, now: Timestamp) -> Option<Timestamp> {
    match retry::next(delivery, attempts.saturating_add(1), now) {
        Next::At(until) => {
            let wished = now.checked_add(SignedDuration::try_from(after).unwrap_or_default()).unwrap_or(until);
            // As the ledger keeps it: else what waits for a rest comes back a moment before its end.
            Some(to_millis(until.max(wished)))
        }
        Next::GiveUp => None,
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
