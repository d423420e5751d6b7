//! A mail that came back: what it says of which of our messages, and what follows. Reading it is
//! pure, and believes nothing but what a token of ours vouches for.
//!
//! What is read: RFC 3464 (and RFC 6533, its form for addresses in other scripts), and what Exim,
//! qmail, sendmail and Exchange write in words ([`words`]). Everything else is no bounce.

use std::fmt;

use jiff::Timestamp;
use mail_parser::{Message, MessageParser, PartType};

use self::words::Codes;
use super::{
    operator::Notice,
    reply::{self, Class, Phase, Reply},
};
use crate::{
    domain::subscriber::Address,
    store::{
        LeftNotice, Store, StoreError,
        envelope::{Returned, TOKEN_LENGTH},
        outbox::{Blame, Noted},
        tokens::Key,
    },
};

mod report;
mod words;

/// Of a mail so much is read: a report is short, and what it returns need not be known.
pub const LONGEST: u64 = 1024 * 1024;
/// So many places at which a token may begin are looked at.
const MOST_PLACES: usize = 4096;

/// Headers that servers write the envelope's recipient into, the surest first.
const RECIPIENT_HEADERS: [&str; 8] = [
    "Delivered-To",
    "X-Original-To",
    "X-Delivered-To",
    "Envelope-To",
    "X-Envelope-To",
    "X-Rcpt-To",
    "Apparently-To",
    "To",
];

/// What a mail says of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    action: Action,
    /// RFC 3463.
    status: Option<(u8, u16, u16)>,
    /// What the server said that is to blame.
    said: String,
    /// The recipient, as we wrote it or as somebody on the way did.
    names: Vec<String>,
}

/// RFC 3464, section 2.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Failed,
    Delayed,
    Delivered,
    Relayed,
    Expanded,
    /// Anything else.
    Other,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
            Self::Other => "something else",
        }
    }
}

/// A mail, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// What it says; or why it is no bounce.
    told: Result<Vec<Told>, &'static str>,
    /// Where the token of what came back may stand, the surest first.
    places: Vec<String>,
}

impl Bounce {
    /// Reads a mail. `envelope` is what the mail server says of its recipient, if it does.
    #[must_use]
    pub fn read(mail: &[u8], envelope: &[String]) -> Self {
        let Some(message) = MessageParser::default().parse(mail) else {
            return Self { told: Err("it is no mail"), places: Vec::new() };
        };
        let mut places = envelope.to_vec();
        for name in RECIPIENT_HEADERS {
            places.extend(headers(&message, name));
        }
        places.extend(senders(&message));
        let told = report::read(&message).unwrap_or_else(|| words::read(&message).map(|told| vec![told]));
        Self { told, places }
    }

    /// What it says of what we sent to `address`: the first that names it, else the first that failed,
    /// else the first.
    fn of(told: &[Told], address: &str) -> Option<(Told, bool)> {
        let names = |told: &&Told| told.names.iter().any(|name| name.eq_ignore_ascii_case(address));
        if let Some(theirs) = told.iter().find(names) {
            return Some((theirs.clone(), true));
        }
        let failed = told.iter().find(|told| told.action == Action::Failed);
        let found = failed.or_else(|| told.first())?;
        // Whose it is that failed nobody says.
        Some((found.clone(), found.names.is_empty()))
    }

    /// What would be written down of it, of each recipient, if it were about a message to `address`.
    #[must_use]
    pub fn refusals(&self, address: &str) -> Vec<String> {
        let told = self.told.iter().flatten();
        told.map(|told| told.refusal(told.names.iter().any(|name| name == address)).1).collect()
    }

    /// What a token of ours in it says.
    fn returned(&self, key: &Key, now: Timestamp) -> Option<Returned> {
        let mut places = self.places.iter().flat_map(|text| tokens(text)).take(MOST_PLACES);
        places.find_map(|token| key.check_envelope(token, now))
    }
}

/// What reading a mail led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is none.
    NoBounce(&'static str),
    /// No token of ours is in it.
    NoToken,
    /// What it is about left too long ago.
    TooOld,
    /// It says that nothing is wrong, or not yet.
    Passing(&'static str),
    /// It was noted.
    Noted {
        /// What kind of refusal it was.
        class: Class,
        /// What was said.
        reply: String,
        /// What followed.
        noted: Noted,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBounce(why) => write!(f, "no bounce: {why}; nothing changed"),
            Self::NoToken => f.write_str("a bounce, but of no message of ours: no token names one; nothing changed"),
            Self::TooOld => f.write_str("a bounce of a message that left more than two weeks ago; nothing changed"),
            Self::Passing(action) => write!(f, "a report that a message is {action}; nothing changed"),
            Self::Noted { class, reply, noted } => {
                let what = match noted {
                    Noted::Forgotten => return f.write_str("a bounce for somebody who is not there; nothing changed"),
                    Noted::Before => return f.write_str("a bounce that was noted before; nothing changed"),
                    Noted::GivenUp if *class == Class::Policy => "not their fault: the operator is told",
                    Noted::GivenUp => "the message is given up, nobody is suspended for it",
                    Noted::Struck { days } => {
                        return write!(f, "{reply}: counts against the subscriber, on {days} of 3 days");
                    }
                    Noted::Suspended => "the subscriber is suspended",
                    Noted::TooMany => "too many recipients of one event: nobody is suspended, the operator is told",
                    Noted::AskingEnded => "it asked for a confirmation: the request is forgotten",
                };
                write!(f, "{reply}: {what}")
            }
        }
    }
}

/// Acts on a mail that came back.
///
/// # Errors
/// If the store cannot be used: then nothing was noted, and the mail should come again.
pub fn act(store: &mut Store, key: &Key, bounce: &Bounce, now: Timestamp) -> Result<Outcome, StoreError> {
    let told = match &bounce.told {
        Ok(told) => told,
        Err(why) => return Ok(Outcome::NoBounce(why)),
    };
    let Some(returned) = bounce.returned(key, now) else { return Ok(Outcome::NoToken) };
    if returned.is_stale {
        return Ok(Outcome::TooOld);
    }
    let address = store.sent_to(&returned.sent)?;
    let Some((told, is_theirs)) = Bounce::of(told, address.as_ref().map_or("", Address::as_str)) else {
        return Ok(Outcome::NoBounce("its report is about nobody"));
    };
    if told.action != Action::Failed {
        return Ok(Outcome::Passing(told.action.as_str()));
    }
    let (class, reply) = told.refusal(is_theirs);
    let blame = match class {
        Class::Gone => Blame::Gone,
        Class::Never => Blame::Recipient,
        _ => Blame::Nobody,
    };
    let noted = store.came_back(&returned.sent, blame, &reply, now)?;
    let is_ours = class == Class::Policy && noted == Noted::GivenUp;
    if is_ours || noted == Noted::TooMany {
        let notice = if is_ours { Notice::mail_comes_back(&reply) } else { Notice::too_much_comes_back(&reply) };
        let Notice { key, subject, text, .. } = notice;
        store.leave_notice(&LeftNotice { key, subject, text }, now)?;
    }
    Ok(Outcome::Noted { class, reply, noted })
}

impl Told {
    /// As a refusal would read if our own server had made it, and what kind of refusal that is.
    ///
    /// That another address than ours is gone may be one member of a list: that counts as any other
    /// refusal, and not as the end of the list.
    fn refusal(&self, is_theirs: bool) -> (Class, String) {
        let class = self.status.map_or(5, |(class, ..)| if class == 4 { 4 } else { 5 });
        let Codes { basic, enhanced, rest: said } = words::codes(&self.said);
        let code = basic.filter(|code| code / 100 == class).unwrap_or(class * 100 + 50);
        // `5.0.0` says only that it failed; the server that refused often knows more.
        let says_why = |(found, subject, _): &(u8, u16, u16)| *subject > 0 && u16::from(*found) == class;
        let text = match self.status.filter(says_why).or(enhanced.filter(says_why)) {
            Some((class, subject, detail)) => format!("{class}.{subject}.{detail} {said}"),
            None if said.is_empty() => "no reason given".to_owned(),
            None => said.to_owned(),
        };
        let reply = Reply::refused(Phase::Onward, code, text.trim_end());
        let class = match reply::classify(&reply) {
            Class::Gone if !is_theirs => Class::Never,
            class => class,
        };
        (class, reply.to_string())
    }
}

/// All values of a header, on one line each.
fn headers(message: &Message<'_>, name: &str) -> Vec<String> {
    let named = message.headers_raw().filter(|(found, _)| found.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Who sent the message that comes back, where a report says so: in its own fields, or in what it
/// returns of it.
fn senders(message: &Message<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for part in &message.parts {
        match &part.body {
            PartType::Message(returned) => found.extend(headers(returned, "Return-Path")),
            PartType::Text(text) => found.extend(return_paths(text)),
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
                found.extend(return_paths(&String::from_utf8_lossy(bytes)));
            }
            PartType::Html(_) | PartType::Multipart(_) => {}
        }
    }
    found
}

fn return_paths(text: &str) -> impl Iterator<Item = String> + '_ {
    let names = ["return-path:", "x-postfix-sender:", "x-envelope-from:"];
    let is_one = move |line: &&str| names.iter().any(|name| starts_with(line.trim_start(), name));
    text.lines().filter(is_one).map(str::to_owned)
}

fn starts_with(line: &str, start: &str) -> bool {
    line.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// Everything in a text that could be a token.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let is_other = |c: char| !matches!(c, 'a'..='z' | 'A'..='Z' | '2'..='7');
    let runs = text.split(is_other).filter(|run| run.len() >= TOKEN_LENGTH);
    // What stands before it may be of the same letters.
    runs.flat_map(|run| (0..=run.len() - TOKEN_LENGTH).rev().filter_map(|at| run.get(at..at + TOKEN_LENGTH)))
}

#[cfg(test)]
mod tests;
