//! What to tell one recipient of one incident, now: the one rule that decides send, hold, fold or
//! drop. Pure: it sends nothing and writes nothing down.
//!
//! What is pending is read in order, up to the first event that is not sealed yet. Of that,
//! whatever does not concern the recipient is dropped, and the rest becomes *one* message: it is
//! sent under the newest event, and the earlier ones are folded into it. So what came and went
//! unseen is one message, and nobody reads "up" who never read "down".
//!
//! A message of which nobody knows whether the server took it is sent again first, as it was: else
//! whoever has it would get a copy under another id.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    ledger::{Lane, Pending},
    recipient::{Directory, Recipient},
};
use crate::domain::{
    Impact, ServiceId,
    event::{Event, EventKind},
    id::DeliveryId,
    incident::Affected,
    subscriber::SubscriberState,
};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

/// What becomes of one pending delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send one message now, under this delivery.
    Send {
        /// What the message is.
        news: News,
        /// The earlier deliveries that it tells as well, oldest first.
        fold: Vec<DeliveryId>,
    },
    /// Look again later.
    Hold {
        /// When.
        until: Timestamp,
        /// Why.
        reason: HoldReason,
    },
    /// Told by the message of another delivery of the same plan.
    Folded {
        /// Whose.
        into: DeliveryId,
    },
    /// Never told.
    Drop {
        /// Why.
        reason: DropReason,
    },
}

/// What a message is. Each has a folder of templates of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum News {
    /// It began.
    Opened,
    /// Another service of theirs became affected.
    Joined,
    /// One of theirs is back, others are not.
    Recovered,
    /// A person said something.
    Updated,
    /// It is over for them.
    Resolved,
    /// It failed again.
    Reopened,
    /// It comes and goes.
    Intermittent,
    /// It was written up.
    Postmortem,
    /// It was taken off the site.
    Withdrawn,
    /// It began and ended before they could be told.
    Passed,
}

impl News {
    /// Every kind of message.
    pub const ALL: &'static [Self] = &[
        Self::Opened,
        Self::Joined,
        Self::Recovered,
        Self::Updated,
        Self::Resolved,
        Self::Reopened,
        Self::Intermittent,
        Self::Postmortem,
        Self::Withdrawn,
        Self::Passed,
    ];

    /// The word for it: the name of its folder of templates.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Joined => "joined",
            Self::Recovered => "recovered",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
            Self::Reopened => "reopened",
            Self::Intermittent => "intermittent",
            Self::Postmortem => "postmortem",
            Self::Withdrawn => "withdrawn",
            Self::Passed => "passed",
        }
    }
}

/// Why something is not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldReason {
    /// Others may join it.
    Gather,
    /// A person's words rest, so that they can be mended.
    Settle,
    /// It must last for `notify_after`.
    NotifyAfter,
    /// It does not matter enough to them, and may come to.
    BelowMinImpact,
    /// So much of theirs comes and goes that it is told together.
    Digest,
    /// Something that comes before it is not told yet.
    Order,
}

impl HoldReason {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gather => "gather",
            Self::Settle => "settle",
            Self::NotifyAfter => "notify_after",
            Self::BelowMinImpact => "below_min_impact",
            Self::Digest => "digest",
            Self::Order => "order",
        }
    }

    /// For what an event waits until it seals.
    const fn of_unsealed(event: &Event) -> Self {
        match event.kind {
            EventKind::Updated | EventKind::Postmortem => Self::Settle,
            _ if event.update.is_some() => Self::Settle,
            _ => Self::Gather,
        }
    }
}

/// Why something is never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// They want to hear of planned work only.
    NotWanted,
    /// They are not confirmed, or no longer.
    NotConfirmed,
    /// It is about services that they do not follow.
    NotTheirs,
    /// It mattered less than they want to hear of.
    BelowMinImpact,
    /// It was over before `notify_after`.
    TooShort,
    /// They know already.
    AlreadyTold,
    /// It was taken off the site before they heard of it.
    Withdrawn,
    /// The operator took it back, or told nobody, before it was sealed.
    TakenBack,
    /// It began and ended so long ago that it is history.
    LongPast,
}

impl DropReason {
    /// The word for it in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotWanted => "not_wanted",
            Self::NotConfirmed => "not_confirmed",
            Self::NotTheirs => "not_theirs",
            Self::BelowMinImpact => "below_min_impact",
            Self::TooShort => "too_short",
            Self::AlreadyTold => "already_told",
            Self::Withdrawn => "withdrawn",
            Self::TakenBack => "taken_back",
            Self::LongPast => "long_past",
        }
    }
}

/// An incident of so many services of a recipient is a storm to them:
const STORM: usize = 5;
/// what joins it, and what is back of it, is told no more than once in this time.
const DIGEST: SignedDuration = SignedDuration::from_secs(60);
/// What ended longer ago than this, unheard of, is no news: mail was off, not late.
const LONG_PAST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a recipient believes of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    /// Never heard of it.
    Nothing,
    /// It is going on.
    Trouble,
    /// It is over.
    Over,
}

/// Decides on every pending delivery of a lane, in their order. At most one is sent; what comes
/// after it is held until that one is settled.
#[must_use]
pub fn plan(lane: &Lane, directory: &Directory, now: Timestamp) -> Vec<(DeliveryId, Decision)> {
    let whole = if lane.subscriber.state != SubscriberState::Confirmed {
        Some(DropReason::NotConfirmed)
    } else if lane.subscriber.wants.incidents {
        None
    } else {
        Some(DropReason::NotWanted)
    };
    if let Some(reason) = whole {
        return lane.pending.iter().map(|pending| (pending.delivery, Decision::Drop { reason })).collect();
    }

    let recipient = Recipient { wants: &lane.subscriber.wants, directory };
    let planner = Planner { lane, recipient, now, belief: belief(lane, recipient) };
    if let Some(decisions) = planner.once_more() {
        return decisions;
    }
    let sealed = lane.pending.iter().take_while(|pending| pending.event.is_sealed(now)).count();
    let (ready, waiting) = lane.pending.split_at(sealed);

    let mut decisions = planner.decide(ready);
    // Whatever waits keeps its place: nothing overtakes an event that may still change.
    let mut until = now;
    for pending in waiting {
        let is_open = !pending.event.is_sealed(now);
        let reason = if is_open { HoldReason::of_unsealed(&pending.event) } else { HoldReason::Order };
        until = until.max(pending.event.seals_at);
        decisions.push((pending.delivery, Decision::Hold { until, reason }));
    }
    decisions
}

/// What the recipient believes after all that they were told.
fn belief(lane: &Lane, recipient: Recipient<'_>) -> Belief {
    lane.told.iter().fold(Belief::Nothing, |before, told| after(before, &told.event, recipient))
}

/// What the recipient believes after reading of `event`.
fn after(before: Belief, event: &Event, recipient: Recipient<'_>) -> Belief {
    match event.kind {
        EventKind::Postmortem | EventKind::Withdrawn => before,
        EventKind::Resolved => Belief::Over,
        EventKind::Opened
        | EventKind::Joined
        | EventKind::Recovered
        | EventKind::Updated
        | EventKind::Reopened
        | EventKind::Intermittent => {
            if recipient.is_over(&event.view) {
                Belief::Over
            } else {
                Belief::Trouble
            }
        }
    }
}

struct Planner<'a> {
    lane: &'a Lane,
    recipient: Recipient<'a>,
    now: Timestamp,
    belief: Belief,
}

type Decisions = Vec<(DeliveryId, Decision)>;

impl Planner<'_> {
    /// The message that left before, if nobody knows what became of it and it still concerns them;
    /// what else is pending waits for that.
    fn once_more(&self) -> Option<Decisions> {
        let within = self.lane.pending.iter().find_map(|pending| pending.left_in)?;
        let (kept, others): (Vec<&Pending>, Vec<&Pending>) =
            self.lane.pending.iter().partition(|pending| pending.left_in == Some(within));
        let (last, earlier) = kept.split_last()?;
        let concerns = |pending: &&Pending| self.recipient.concerned(&pending.event).next().is_some();
        if last.delivery != within || !kept.iter().all(concerns) {
            return None;
        }
        let belief = kept.iter().fold(self.belief, |before, pending| after(before, &pending.event, self.recipient));
        let news = match last.event.kind {
            EventKind::Withdrawn => News::Withdrawn,
            EventKind::Postmortem => News::Postmortem,
            _ => self.news(&kept, belief),
        };
        let fold = earlier.iter().map(|pending| pending.delivery).collect();
        let mut decisions: Decisions =
            earlier.iter().map(|pending| (pending.delivery, Decision::Folded { into: within })).collect();
        decisions.push((within, Decision::Send { news, fold }));
        let waits = Decision::Hold { until: self.now, reason: HoldReason::Order };
        decisions.extend(others.iter().map(|pending| (pending.delivery, waits.clone())));
        Some(in_order(decisions, &self.lane.pending))
    }

    fn decide(&self, ready: &[Pending]) -> Decisions {
        // A write-up is a message of its own, after whatever it follows.
        let is_late = |pending: &&Pending| pending.event.kind == EventKind::Postmortem;
        let early = ready.iter().take_while(|pending| !is_late(pending)).count();
        let (early, late) = ready.split_at(early);
        let mut decisions = self.decide_run(early);
        let busy =
            decisions.iter().any(|(_, decision)| matches!(decision, Decision::Send { .. } | Decision::Hold { .. }));
        if busy {
            let until = decisions.iter().find_map(|(_, decision)| match decision {
                Decision::Hold { until, .. } => Some(*until),
                _ => None,
            });
            let waits = Decision::Hold { until: until.unwrap_or(self.now), reason: HoldReason::Order };
            decisions.extend(late.iter().map(|pending| (pending.delivery, waits.clone())));
        } else {
            decisions.extend(self.decide_run(late));
        }
        in_order(decisions, ready)
    }

    /// Decides on events of which all that are told go into one message.
    fn decide_run(&self, run: &[Pending]) -> Decisions {
        let mut decisions = Vec::new();
        let mut kept: Vec<&Pending> = Vec::new();
        let mut belief = self.belief;
        for pending in run {
            if let Some(reason) = self.drop_reason(&pending.event, belief) {
                decisions.push((pending.delivery, Decision::Drop { reason }));
            } else {
                kept.push(pending);
                belief = after(belief, &pending.event, self.recipient);
            }
        }
        let (Some(last), Some(verdict)) = (kept.last(), self.verdict(&kept, belief)) else { return decisions };
        match verdict {
            Verdict::Tell(news) => {
                let earlier = kept.iter().rev().skip(1).rev();
                let fold = earlier.clone().map(|pending| pending.delivery).collect();
                decisions.extend(earlier.map(|pending| (pending.delivery, Decision::Folded { into: last.delivery })));
                decisions.push((last.delivery, Decision::Send { news, fold }));
            }
            Verdict::Hold(until, reason) => {
                decisions.extend(kept.iter().map(|pending| (pending.delivery, Decision::Hold { until, reason })));
            }
            Verdict::Drop(reason) => {
                decisions.extend(kept.iter().map(|pending| (pending.delivery, Decision::Drop { reason })));
            }
        }
        decisions
    }

    /// Why an event is not for this recipient, who believes `belief` by then.
    fn drop_reason(&self, event: &Event, belief: Belief) -> Option<DropReason> {
        if !event.notify {
            return Some(DropReason::TakenBack);
        }
        if self.recipient.concerned(event).next().is_none() {
            return Some(DropReason::NotTheirs);
        }
        match (event.kind, belief) {
            (EventKind::Recovered | EventKind::Resolved, Belief::Over) => Some(DropReason::AlreadyTold),
            // Words about what goes on elsewhere are not news for those whose services are back.
            (EventKind::Updated, Belief::Over)
                if event.view.status.is_open() && self.recipient.is_over(&event.view) =>
            {
                Some(DropReason::AlreadyTold)
            }
            (EventKind::Withdrawn, Belief::Nothing) => Some(DropReason::Withdrawn),
            _ => None,
        }
    }

    /// What to do with the events that concern them; `None` if there are none.
    fn verdict(&self, kept: &[&Pending], belief: Belief) -> Option<Verdict> {
        let last = &kept.last()?.event;
        let is_told = self.belief != Belief::Nothing;
        Some(match last.kind {
            EventKind::Withdrawn if is_told => Verdict::Tell(News::Withdrawn),
            _ if self.lane.current.withdrawn && !is_told => Verdict::Drop(DropReason::Withdrawn),
            EventKind::Postmortem => self.of_impact().unwrap_or(Verdict::Tell(News::Postmortem)),
            _ => self.of_impact().or_else(|| self.of_length(kept, belief)).unwrap_or_else(|| {
                match self.news(kept, belief) {
                    News::Passed if self.is_long_past() => Verdict::Drop(DropReason::LongPast),
                    news => self.of_storm(kept, news).unwrap_or(Verdict::Tell(news)),
                }
            }),
        })
    }

    /// Whether it was over so long ago that it is history: they can read it on the site.
    fn is_long_past(&self) -> bool {
        self.lane.current.resolved_at.is_some_and(|at| later(at, LONG_PAST) <= self.now)
    }

    /// A storm: what joins waits a while after the last message, and what is back waits for others
    /// that may be back in the same minute.
    fn of_storm(&self, kept: &[&Pending], news: News) -> Option<Verdict> {
        let since = match news {
            News::Joined => None,
            News::Recovered => Some(kept.first()?.event.seals_at),
            _ => return None,
        };
        let told_at = self.lane.told.last().map(|told| told.at);
        // Nothing waits for a moment that the clock took back.
        let since = since.into_iter().chain(told_at).filter(|at| *at <= self.now).max()?;
        let until = later(since, DIGEST);
        let is_storm = self.recipient.parts(&self.lane.current.affected).nth(STORM - 1).is_some();
        (is_storm && self.now < until).then_some(Verdict::Hold(until, HoldReason::Digest))
    }

    /// `min_impact`: what they have not heard of waits until it matters enough, or is over.
    fn of_impact(&self) -> Option<Verdict> {
        let wanted = self.recipient.wants.min_impact;
        let is_enough = wanted == Impact::None || self.recipient.impact(&self.lane.current) >= wanted;
        if is_enough || self.belief == Belief::Trouble {
            return None;
        }
        let view = (&*self.lane.current).into();
        if self.recipient.is_over(&view) {
            return Some(Verdict::Drop(DropReason::BelowMinImpact));
        }
        // It may get worse without an event of its own, so it is looked at again: soon at first.
        let (started_at, _) = self.recipient.stretch(&view);
        let pause = self.now.duration_since(started_at) / 4;
        let pause = pause.clamp(SignedDuration::from_secs(15), SignedDuration::from_secs(300));
        Some(Verdict::Hold(later(self.now, pause), HoldReason::BelowMinImpact))
    }

    /// `notify_after`: what no person has spoken of waits until it lasted that long.
    fn of_length(&self, kept: &[&Pending], belief: Belief) -> Option<Verdict> {
        let is_silent = |pending: &Pending| {
            pending.event.update.is_none()
                && self.recipient.concerned(&pending.event).all(|service| self.waits(service, kept))
        };
        if self.belief == Belief::Trouble && belief == Belief::Over || !kept.iter().all(|pending| is_silent(pending)) {
            return None;
        }
        let deadlines =
            kept.iter().flat_map(|pending| self.recipient.concerned(&pending.event)).filter_map(|service| {
                let part = self.lane.current.part(service)?;
                let is_lasting = part.recovered_at.is_none() && self.lane.current.is_open();
                let after = self.recipient.directory.notify_after(service).saturating_sub(self.earlier(part));
                is_lasting
                    .then(|| later(part.started_at, SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX)))
            });
        let hold = |until| Verdict::Hold(until, HoldReason::NotifyAfter);
        Some(deadlines.min().map_or(Verdict::Drop(DropReason::TooShort), hold))
    }

    /// Whether an outage of `service` is news that has not lasted long enough.
    fn waits(&self, service: &ServiceId, kept: &[&Pending]) -> bool {
        let is_news = self.belief != Belief::Trouble
            || kept.iter().any(|pending| {
                matches!(pending.event.kind, EventKind::Opened | EventKind::Joined | EventKind::Reopened)
                    && pending.event.services.contains(service)
            });
        is_news && self.lasted(service) < self.recipient.directory.notify_after(service)
    }

    fn lasted(&self, service: &ServiceId) -> Duration {
        let current = &self.lane.current;
        let Some(part) = current.part(service) else { return Duration::MAX };
        let end = part.recovered_at.or(current.resolved_at).unwrap_or(self.now);
        let round = Duration::try_from(end.duration_since(part.started_at)).unwrap_or(Duration::ZERO);
        round.saturating_add(self.earlier(part))
    }

    /// What earlier rounds of the same incident add: nothing, once they were told as over.
    fn earlier(&self, part: &Affected) -> Duration {
        if self.belief == Belief::Over { Duration::ZERO } else { Duration::from_millis(part.earlier_ms) }
    }

    /// What a message is that tells all of `kept`, after which they believe `belief`.
    fn news(&self, kept: &[&Pending], belief: Belief) -> News {
        let has = |kind| kept.iter().any(|pending| pending.event.kind == kind);
        let has_words = kept.iter().any(|pending| pending.event.update.is_some());
        let only_words = kept.iter().all(|pending| pending.event.kind == EventKind::Updated);
        match (self.belief, belief) {
            (_, Belief::Over) if only_words && self.belief != Belief::Trouble => News::Updated,
            (Belief::Trouble, Belief::Over) => News::Resolved,
            (_, Belief::Over) => News::Passed,
            _ if has(EventKind::Intermittent) => News::Intermittent,
            (Belief::Nothing, _) => News::Opened,
            (Belief::Over, _) if only_words => News::Updated,
            (Belief::Over, _) => News::Reopened,
            (Belief::Trouble, _) if has(EventKind::Reopened) => News::Reopened,
            (Belief::Trouble, _) if has_words || has(EventKind::Updated) => News::Updated,
            (Belief::Trouble, _) if has(EventKind::Joined) || has(EventKind::Opened) => News::Joined,
            (Belief::Trouble, _) => News::Recovered,
        }
    }
}

enum Verdict {
    Tell(News),
    Hold(Timestamp, HoldReason),
    Drop(DropReason),
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The decisions in the order of their events.
fn in_order(mut decisions: Decisions, ready: &[Pending]) -> Decisions {
    decisions.sort_by_key(|(delivery, _)| ready.iter().position(|pending| pending.delivery == *delivery));
    decisions
}
