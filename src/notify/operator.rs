//! Telling operators about the monitor itself: a bad config, a bad note, paused mail. A queue in
//! memory: what it holds is also in the log, and a restart begins anew.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use crate::{
    domain::{CheckId, IncidentId, pause::Pause, subscriber::Address, target::TargetClass},
    untrusted,
};

/// The same complaint is mailed again after this long, if it is still made.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// The most notices that wait to be sent; further ones stay in the log alone.
const LONGEST_QUEUE: usize = 100;

/// One thing that operators should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about: a second one with the same key is the same complaint.
    pub key: String,
    /// One line.
    pub subject: String,
    /// What is wrong, where, and what to do.
    pub text: String,
    /// Who is told besides operators: owners of the services that it is about.
    pub owners: Vec<Address>,
    /// The complaint that is over by this: one that is still waiting need not be made any more, and if its
    /// cause comes back, that is news again.
    pub settles: Option<&'static str>,
}

/// Complaints about mail, and their ends.
const PAUSED: &str = "mail-paused";
const GOES_ON: &str = "mail-goes-on";

impl Notice {
    /// Something to know, in the operator's own words for it.
    #[must_use]
    pub fn new(key: impl Into<String>, subject: &str, text: &str) -> Self {
        let (subject, text) = (untrusted::line(subject, 150), untrusted::block(text, 20_000));
        Self { key: key.into(), subject, text, owners: Vec::new(), settles: None }
    }

    /// The same for these, too.
    #[must_use]
    pub fn also_for(self, owners: impl IntoIterator<Item = Address>) -> Self {
        Self { owners: owners.into_iter().collect(), ..self }
    }

    /// Mail does not leave.
    #[must_use]
    pub fn mail_is_paused(pause: &Pause) -> Self {
        let (what, since) = (pause.cause.in_words(), time(pause.since_at));
        let text = format!(
            "Mail to subscribers is paused since {since}: {what}.\n\nThe mail server said: {said}\n\n\
             Nothing is lost. One message is tried every few minutes; when it is taken, the rest follow.\n\
             Look at `[email]` in the config and at the mail server's log. `watchbell notify queue` shows what waits, \
             and `watchbell notify resume` tries again at once.",
            said = pause.said,
        );
        Self { settles: Some(GOES_ON), ..Self::new(PAUSED, &format!("Mail is paused: {what}"), &text) }
    }

    /// Mail leaves again, and so many messages leave late.
    #[must_use]
    pub fn mail_goes_on(pause: &Pause, now: Timestamp, late: u64) -> Self {
        let since = pause.since_at;
        let minutes = now.duration_since(since).as_mins();
        let long = match (minutes / 60, minutes % 60) {
            (0, 0) => "less than a minute".to_owned(),
            (0, minutes) => format!("{minutes} min"),
            (hours, minutes) => format!("{hours} h {minutes} min"),
        };
        let late = match late {
            0 => "Nobody's message is late by that.".to_owned(),
            1 => "1 message waited meanwhile, and leaves late.".to_owned(),
            late => format!("{late} messages waited meanwhile, and leave late."),
        };
        let text = format!(
            "Mail to subscribers was paused from {} to {} ({long}): {}. Now it takes our mail.\n\n{late} What was over by \
             then is told as such.",
            time(since),
            time(now),
            pause.cause.in_words(),
        );
        Self { settles: Some(PAUSED), ..Self::new(GOES_ON, &format!("Mail goes on after {long}"), &text) }
    }

    /// A server behind ours refuses our mail, for a reason that is not the recipient's.
    #[must_use]
    pub fn mail_comes_back(reply: &str) -> Self {
        let text = format!(
            "A mail to a subscriber came back. The server that refused it holds it against us, not against them:\n\n\
             {reply}\n\nNobody is suspended for that. The likeliest reason is the sender's domain: \
             `watchbell notify test` looks at its SPF, DKIM and DMARC records, and says what is missing."
        );
        Self::new("mail-comes-back", "Mail to subscribers comes back: it is held against us", &text)
    }

    /// More recipients of one event are said not to exist than can be believed.
    #[must_use]
    pub fn too_much_comes_back(reply: &str) -> Self {
        let text = format!(
            "Mails of one event come back from more than a fifth of those who were told. The last one said:\n\n\
             {reply}\n\nThat is more likely a fault of a mail server on the way than of so many people: nobody is \
             suspended for it. Look at the log of the mail server in `[email] smtp`."
        );
        Self::new("too-much-comes-back", "Mail to many subscribers comes back", &text)
    }

    /// Every canary of a class fails.
    #[must_use]
    pub fn blind(class: TargetClass, since: Timestamp) -> Self {
        let text = format!(
            "Since {since} no canary {class} answers. What is probed there counts as unknown, and subscribers hear \
             nothing of it, until one answers again.\n\nLook at the monitor's own network, or at `canary` in \
             `[incidents]`."
        );
        Self::new(format!("blind {class}"), &format!("The monitor is blind: no canary {class} answers"), &text)
    }

    /// One answers again.
    #[must_use]
    pub fn sees_again(class: TargetClass, since: Timestamp) -> Self {
        let text =
            format!("Since {since} no canary {class} answered. One does again; everything there is probed anew.");
        Self::new(format!("sees {class}"), "The monitor sees again", &text)
    }

    /// An update that was promised did not come.
    #[must_use]
    pub fn overdue(incident: &IncidentId, promised_at: Timestamp) -> Self {
        let text = format!(
            "The last update of the incident {incident} promised the next one for {promised_at}. People wait for it.\n\n\
             Write it into the incident's note."
        );
        Self::new(format!("overdue {incident} {promised_at}"), &format!("An update is overdue: {incident}"), &text)
    }

    /// A canary was never up.
    #[must_use]
    pub fn useless_canary(canary: &CheckId) -> Self {
        let text = format!(
            "{canary} was never up since the start. Nothing waits for it, so that a fault of the monitor's own network \
             may look like an outage.\n\nThe number is its place in `canary` of `[incidents]`."
        );
        Self::new(format!("useless {canary}"), &format!("{canary} never answers"), &text)
    }

    /// A template or a catalogue does not work.
    #[must_use]
    pub fn cannot_compose(error: &str) -> Self {
        let text = format!(
            "A mail to subscribers could not be composed: {error}\n\nIt is tried again every minute until the \
             template is mended. `watchbell check` shows what is wrong."
        );
        Self::new("mail-template", "A mail template does not work", &text)
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Where the rest of the program leaves notices, and the mail worker finds them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    ring: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<(Notice, Timestamp)>,
    told: BTreeMap<String, Timestamp>,
}

impl Desk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves a notice, unless the same complaint was made within the last day.
    pub fn tell(&self, notice: Notice, now: Timestamp) {
        {
            let mut state = self.lock();
            if let Some(over) = notice.settles {
                state.told.remove(over);
                state.waiting.retain(|(waiting, _)| waiting.key != over);
            }
            state.told.retain(|_, at| at.checked_add(AGAIN_AFTER).is_ok_and(|until| until > now));
            if state.told.contains_key(&notice.key) || state.waiting.len() >= LONGEST_QUEUE {
                return;
            }
            state.told.insert(notice.key.clone(), now);
            state.waiting.push((notice, now));
        }
        self.inner.ring.notify_one();
    }

    /// The cause of a complaint is gone: if it comes back, that is news again.
    pub fn settle(&self, key: &str) {
        self.lock().told.remove(key);
    }

    /// Everything that waits, oldest first, with when it was left.
    #[must_use]
    pub fn take(&self) -> Vec<(Notice, Timestamp)> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Waits until a notice is left.
    pub async fn rung(&self) {
        self.inner.ring.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it can leave it half changed.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pause::Cause;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    #[test]
    fn the_same_complaint_is_made_once_a_day_unless_it_was_settled() {
        let desk = Desk::new();
        let notice = || Notice::new("config", "The config is bad", "Line 3.");
        desk.tell(notice(), at(0));
        desk.tell(notice(), at(1));
        assert_eq!(desk.take().len(), 1);
        desk.tell(notice(), at(25));
        assert_eq!(desk.take().len(), 1);
        desk.settle("config");
        desk.tell(notice(), at(26));
        assert_eq!(desk.take().len(), 1);
    }

    #[test]
    fn a_complaint_that_is_over_before_it_was_made_is_not_made() {
        let desk = Desk::new();
        let pause = |hours| Pause {
            cause: Cause::Ours,
            since_at: at(hours),
            tries: 1,
            next_at: at(hours),
            said: "535 5.7.8 no (to logging in)".to_owned(),
            is_told: true,
        };
        for hours in [0, 3] {
            desk.tell(Notice::mail_is_paused(&pause(hours)), at(hours));
            desk.tell(Notice::mail_goes_on(&pause(hours), at(hours + 1), 12), at(hours + 1));
            let told: Vec<Notice> = desk.take().into_iter().map(|(notice, _)| notice).collect();
            let [notice] = &told[..] else { panic!("{told:?}") };
            assert_eq!(notice.subject, "Mail goes on after 1 h 0 min");
            assert!(notice.text.contains("12 messages waited meanwhile"), "{}", notice.text);
        }
        desk.tell(Notice::mail_is_paused(&pause(5)), at(5));
        assert_eq!(desk.take().len(), 1, "each pause is news");
    }

    #[test]
    fn notices_are_bounded() {
        let desk = Desk::new();
        for n in 0..1000 {
            desk.tell(Notice::new(format!("k{n}"), "x", "y"), at(0));
        }
        assert_eq!(desk.take().len(), LONGEST_QUEUE);
    }
}
