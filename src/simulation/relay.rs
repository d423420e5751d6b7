//! The scripted relay: what a mail server says to each message, and what it took.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use super::Script;
use crate::{
    domain::{SubscriberId, id::DeliveryId},
    notify::{
        relay::Outgoing,
        reply::{Phase, Reply},
    },
};

/// How long handing over one message takes.
const TAKES: Duration = Duration::from_millis(40);
/// How long it takes to find out that nobody is there.
const CONNECTS: Duration = Duration::from_millis(500);

/// What a mail server does with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Post {
    /// It takes it.
    Takes,
    /// It cannot be reached.
    Away,
    /// It says no.
    Refuses {
        /// To what.
        phase: Phase,
        /// With what code.
        code: u16,
        /// And what words.
        text: String,
    },
    /// It takes it, and the connection breaks before it says so.
    LosesReply,
}

impl Post {
    /// Whether the message is the server's in the end.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Takes | Self::LosesReply)
    }
}

/// Takes every message.
#[must_use]
pub const fn takes() -> Post {
    Post::Takes
}

/// Cannot be reached.
#[must_use]
pub const fn away() -> Post {
    Post::Away
}

/// Says to each recipient that it should be tried later.
#[must_use]
pub fn greylists() -> Post {
    Post::Refuses { phase: Phase::Recipient, code: 450, text: "4.2.0 come back later".to_owned() }
}

/// Says that there is no such mailbox.
#[must_use]
pub fn knows_nobody() -> Post {
    Post::Refuses { phase: Phase::Recipient, code: 550, text: "5.1.1 no such user".to_owned() }
}

/// Does not let us log in.
#[must_use]
pub fn locks_us_out() -> Post {
    Post::Refuses { phase: Phase::Auth, code: 535, text: "5.7.8 bad credentials".to_owned() }
}

/// Takes messages, and breaks the connection before it says so.
#[must_use]
pub const fn loses_replies() -> Post {
    Post::LosesReply
}

/// A message that the mail server took.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Under which delivery, or which notice to an operator.
    pub delivery: DeliveryId,
    /// To which subscriber; `None` for an operator.
    pub subscriber: Option<SubscriberId>,
    /// The envelope's recipient.
    pub to: String,
    /// When handing it over began.
    pub begun: Duration,
    /// When it was taken.
    pub taken: Duration,
    /// When it was taken, by the wall clock.
    pub taken_at: Timestamp,
    /// Whether we heard that it was.
    pub is_answered: bool,
    /// The whole of it.
    pub bytes: Arc<[u8]>,
}

impl Mail {
    /// The value of a header, unfolded; nothing if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let head = text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map_or_else(String::new, |(_, value)| value.trim().to_owned())
    }

    /// What it is about.
    #[must_use]
    pub fn subject(&self) -> String {
        plain(&self.header("Subject"))
    }
}

/// A header's text without the form in which other letters than those of ASCII travel (RFC 2047),
/// as far as it is ours: UTF-8 in base64.
fn plain(header: &str) -> String {
    let mut text = String::new();
    let mut was_encoded = false;
    for word in header.split(' ') {
        let encoded = word
            .strip_prefix("=?utf-8?b?")
            .and_then(|rest| STANDARD.decode(rest.strip_suffix("?=")?).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        // Between two encoded words the space is only there to part them.
        let is_parted = was_encoded && encoded.is_some();
        if !text.is_empty() && !is_parted {
            text.push(' ');
        }
        was_encoded = encoded.is_some();
        text.push_str(encoded.as_deref().unwrap_or(word));
    }
    text
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Handover {
    /// The message.
    pub message: Outgoing,
    /// When it began.
    pub begun: Duration,
    /// What the server says in the end.
    pub post: Post,
}

/// The mail server, and all that it took.
#[derive(Debug)]
pub(super) struct ScriptedRelay {
    /// What it does with every message,
    pub all: Script<Post>,
    /// but with those to some otherwise.
    pub some: BTreeMap<String, Script<Post>>,
    pub mails: Vec<Mail>,
}

impl Default for ScriptedRelay {
    fn default() -> Self {
        Self { all: Script::new(Post::Takes), some: BTreeMap::new(), mails: Vec::new() }
    }
}

impl ScriptedRelay {
    /// Begins to hand over a message; when that will have ended.
    pub fn begin(&self, message: Outgoing, moment: Duration) -> (Duration, Handover) {
        // A server that is away is so for everyone.
        let all = self.all.at(moment);
        let own = self.some.get(message.to.as_str()).map(|script| script.at(moment));
        let post = own.filter(|_| *all == Post::Takes).unwrap_or(all).clone();
        let lasts = if post == Post::Away { CONNECTS } else { TAKES };
        (moment.saturating_add(lasts), Handover { message, begun: moment, post })
    }

    /// A message has been handed over, or has not; what we hear of it.
    pub fn end(&mut self, handover: &Handover, moment: Duration, wall: Timestamp) -> Reply {
        match &handover.post {
            Post::Takes => {
                self.take(handover, moment, wall, true);
                Reply::Accepted { text: "2.0.0 taken".to_owned() }
            }
            Post::LosesReply => {
                self.take(handover, moment, wall, false);
                Reply::broken(Phase::Body, "the connection broke")
            }
            Post::Away => Reply::broken(Phase::Connect, "nobody there"),
            Post::Refuses { phase, code, text } => Reply::refused(*phase, *code, text),
        }
    }

    /// The message is the server's.
    pub fn take(&mut self, handover: &Handover, moment: Duration, wall: Timestamp, is_answered: bool) {
        let Handover { message, begun, .. } = handover;
        self.mails.push(Mail {
            delivery: message.delivery,
            subscriber: message.subscriber,
            to: message.to.as_str().to_owned(),
            begun: *begun,
            taken: moment,
            taken_at: wall,
            is_answered,
            bytes: Arc::clone(&message.bytes),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_read_as_people_read_them() {
        assert_eq!(plain("[Example] Outage: API"), "[Example] Outage: API");
        assert_eq!(plain("=?utf-8?b?W8OcYl0=?= Outage: =?utf-8?b?w5w=?= =?utf-8?b?YmVy?="), "[Üb] Outage: Über");
        assert_eq!(plain("=?utf-8?b?***?="), "=?utf-8?b?***?=");
    }
}
