//! What others are told of a rest of the queue: the row that everyone can read, the log, the
//! operators. When the queue rests is decided in [`super::retry`]; here only who hears of it when.

use jiff::{SignedDuration, Timestamp};

use super::{
    ledger::{Ledger, LedgerError},
    operator::Notice,
    reply::Reply,
    retry::{Cause, Change, Gate},
};
use crate::domain::pause::Pause;

/// How many tries a server is away before operators are told.
const AWAY_TRIES: u32 = 5;
/// That mail rests for a moment is said in the log this often at most, however often it does.
const SAID_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// What is known of a rest outside of it.
#[derive(Debug, Default)]
pub struct Standstill {
    pause: Option<Pause>,
    /// Whether there is a row of it.
    has_row: bool,
    /// Whether it is not as the row says.
    is_news: bool,
    /// One that operators know of, is over, and has not been told of yet.
    over: Option<Pause>,
    /// When a rest was last said to begin, and how many were passed over in silence since.
    said_at: Option<Timestamp>,
    unsaid: u32,
}

impl Standstill {
    /// Goes on with what an earlier start wrote down, if it did.
    pub fn take_up(&mut self, pause: Option<Pause>, gate: &mut Gate, now: Timestamp) {
        if let Some(pause) = &pause {
            tracing::warn!(since = %pause.since_at, "mail was paused, and is tried by one message: {}", pause.cause.in_words());
            gate.go_on(pause, now);
        }
        self.has_row = pause.is_some();
        self.pause = pause;
    }

    /// Learns what an answer did to the `gate`. Returns what operators should know.
    pub fn learn(&mut self, change: Option<Change>, gate: &Gate, reply: &Reply, now: Timestamp) -> Option<Notice> {
        if let Some(Change::Ended(_)) = change {
            self.end();
            return None;
        }
        let rest = gate.trouble()?;
        let before = self.pause.clone();
        if before
            .as_ref()
            .is_some_and(|before| (before.cause, before.tries, before.next_at) == (rest.cause, rest.tries, rest.until))
        {
            return None;
        }
        if before.is_none() {
            self.say_that_it_began(rest.cause, reply, now);
        }
        // Not at the first failure: it may have been one recipient, or a hiccup.
        let is_lasting = rest.tries >= if rest.cause == Cause::Away { AWAY_TRIES } else { 1 };
        let was_told = before.is_some_and(|before| before.is_told);
        let pause = Pause {
            cause: rest.cause,
            since_at: rest.since,
            tries: rest.tries,
            next_at: rest.until,
            said: reply.to_string(),
            is_told: was_told || is_lasting,
        };
        let notice = (is_lasting && !was_told).then(|| Notice::mail_is_paused(&pause));
        if let Some(notice) = &notice {
            tracing::error!(since = %pause.since_at, %reply, "{}", notice.subject);
        }
        (self.pause, self.is_news) = (Some(pause), true);
        notice
    }

    /// Writes down what is new, and looks whether an operator ended the pause. Returns what operators
    /// should know.
    ///
    /// # Errors
    /// If the ledger cannot be used; it is then tried again next time.
    pub fn write(
        &mut self,
        ledger: &mut dyn Ledger,
        gate: &mut Gate,
        now: Timestamp,
    ) -> Result<Option<Notice>, LedgerError> {
        let is_resumed = match &self.pause {
            Some(pause) if self.is_news && self.has_row => !ledger.prolong_pause(pause)?,
            Some(pause) if self.is_news => {
                ledger.begin_pause(pause)?;
                self.has_row = true;
                false
            }
            Some(_) => self.has_row && gate.rest().is_some() && ledger.is_resumed()?,
            None => {
                if self.has_row {
                    ledger.end_pause()?;
                    self.has_row = false;
                }
                false
            }
        };
        self.is_news = false;
        if is_resumed {
            // Should the server still not take our mail, the same pause goes on, and is written down anew.
            tracing::info!("mail goes on, as the operator says");
            self.has_row = false;
            gate.lift();
        }
        let Some(over) = &self.over else { return Ok(None) };
        let notice = Notice::mail_goes_on(over, now, ledger.late(now)?);
        self.over = None;
        Ok(Some(notice))
    }

    fn end(&mut self) {
        let Some(pause) = self.pause.take() else { return };
        self.is_news = false;
        if pause.is_told {
            tracing::info!(since = %pause.since_at, "mail goes on");
            self.over = Some(pause);
        } else {
            tracing::debug!(since = %pause.since_at, "mail goes on");
        }
    }

    fn say_that_it_began(&mut self, cause: Cause, reply: &Reply, now: Timestamp) {
        let is_time = self.said_at.is_none_or(|at| now.duration_since(at).abs() >= SAID_AGAIN);
        if is_time {
            let unsaid = (self.unsaid > 0).then_some(self.unsaid);
            tracing::warn!(%reply, repeated = unsaid, "mail rests for a moment: {}", cause.in_words());
            (self.said_at, self.unsaid) = (Some(now), 0);
        } else {
            self.unsaid = self.unsaid.saturating_add(1);
        }
    }
}
