//! What a mail server said, and what kind of answer that is. Pure; what follows from it is
//! decided in `retry`.
//!
//! Codes are those of RFC 5321, enhanced ones those of RFC 3463 and its registry.

use std::fmt;

use crate::untrusted;

/// Up to where a message got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Resolving and connecting.
    Connect,
    /// The server's first words, and EHLO.
    Greeting,
    /// Encrypting.
    Tls,
    /// Logging in.
    Auth,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// DATA, before the message itself.
    Data,
    /// The message, up to the answer to its final dot.
    Body,
    /// What became of it after our server had taken it, as a bounce says.
    Onward,
}

impl Phase {
    const ALL: [Self; 9] = [
        Self::Connect,
        Self::Greeting,
        Self::Tls,
        Self::Auth,
        Self::Sender,
        Self::Recipient,
        Self::Data,
        Self::Body,
        Self::Onward,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connecting",
            Self::Greeting => "the greeting",
            Self::Tls => "encrypting",
            Self::Auth => "logging in",
            Self::Sender => "MAIL FROM",
            Self::Recipient => "RCPT TO",
            Self::Data => "DATA",
            Self::Body => "the message",
            Self::Onward => "passing it on",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How handing over one message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The server took it.
    Accepted {
        /// What it said.
        text: String,
    },
    /// The server said no.
    Refused {
        /// To what.
        phase: Phase,
        /// Three digits.
        code: u16,
        /// `class.subject.detail`, if it gave one.
        enhanced: Option<(u8, u16, u16)>,
        /// What it said.
        text: String,
    },
    /// No answer: not reachable, cut off, too slow, or not understood.
    Broken {
        /// Where it ended.
        phase: Phase,
        /// What happened.
        text: String,
    },
    /// The server is not what the config asks for, such as one without STARTTLS. Nothing was sent.
    Unfit {
        /// What is missing.
        text: String,
    },
    /// It was never begun.
    NotTried,
}

impl Reply {
    /// A refusal from the server's own words, which are cleaned and cut.
    #[must_use]
    pub fn refused(phase: Phase, code: u16, text: &str) -> Self {
        let enhanced = enhanced(text).filter(|(class, ..)| u16::from(*class) == code / 100);
        Self::Refused { phase, code, enhanced, text: said(text) }
    }

    /// The refusal or failure that was written down as `text`, by [`fmt::Display`]; `None` if it was
    /// neither.
    #[must_use]
    pub fn written(text: &str) -> Option<Self> {
        let (said, phase) = text.strip_suffix(')')?.rsplit_once(" (")?;
        let of = |name: &str| Phase::ALL.into_iter().find(|phase| phase.as_str() == name);
        if let Some(phase) = phase.strip_prefix("during ") {
            return Some(Self::broken(of(phase)?, said));
        }
        let phase = of(phase.strip_prefix("to ")?)?;
        let (code, said) = said.split_once(' ').unwrap_or((said, ""));
        Some(Self::refused(phase, code.parse().ok()?, said))
    }

    /// A failure without an answer.
    #[must_use]
    pub fn broken(phase: Phase, text: &str) -> Self {
        Self::Broken { phase, text: said(text) }
    }
}

/// What a server said, fit for a log: cleaned, cut, and without the addresses that servers like to
/// repeat.
#[must_use]
pub fn said(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let is_mark = |c: char| c.is_whitespace() || "<>()[]{}\"',;".contains(c);
    for piece in text.split_inclusive(is_mark) {
        let (word, mark) = match piece.char_indices().next_back() {
            Some((at, c)) if is_mark(c) => piece.split_at(at),
            _ => (piece, ""),
        };
        masked.push_str(if word.contains('@') { "***" } else { word });
        masked.push_str(mark);
    }
    untrusted::line(&masked, 200)
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { text } | Self::Unfit { text } => f.write_str(text),
            Self::Refused { phase, code, text, .. } => write!(f, "{code} {text} (to {phase})"),
            Self::Broken { phase, text } => write!(f, "{text} (during {phase})"),
            Self::NotTried => f.write_str("not tried"),
        }
    }
}

/// The enhanced code at the start of a reply's text, such as `5.1.1`.
fn enhanced(text: &str) -> Option<(u8, u16, u16)> {
    let mut parts = text.split_ascii_whitespace().next()?.split('.');
    let code = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.next().is_none() && matches!(code.0, 2 | 4 | 5)).then_some(code)
}

/// What kind of answer it is: whose trouble it is, and whether it may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It is on its way.
    Sent,
    /// The mail server is away, or overloaded: nobody's message is at fault.
    Away,
    /// The mail server does not want *us*: credentials, sender, policy.
    Ours,
    /// This message or recipient, for now.
    Later,
    /// Perhaps this recipient, perhaps us: the server cited a policy of its own.
    Policy,
    /// There is no such mailbox.
    Gone,
    /// This recipient, for good.
    Never,
    /// Nothing was learned.
    Nothing,
}

impl Class {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Away => "away",
            Self::Ours => "ours",
            Self::Later => "later",
            Self::Policy => "policy",
            Self::Gone => "gone",
            Self::Never => "never",
            Self::Nothing => "nothing",
        }
    }
}

/// Sorts an answer.
#[must_use]
pub fn classify(reply: &Reply) -> Class {
    match reply {
        Reply::Accepted { .. } => Class::Sent,
        Reply::NotTried => Class::Nothing,
        Reply::Unfit { .. } => Class::Ours,
        // A message that makes the server hang up must not hold up all the others.
        Reply::Broken { phase: Phase::Body, .. } => Class::Later,
        Reply::Broken { .. } | Reply::Refused { code: 421, .. } => Class::Away,
        Reply::Refused { phase, code, enhanced, .. } => refused(*phase, *code, *enhanced),
    }
}

fn refused(phase: Phase, code: u16, enhanced: Option<(u8, u16, u16)>) -> Class {
    let is_permanent = code >= 500;
    let subject = enhanced.map(|(_, subject, _)| subject);
    match phase {
        Phase::Connect | Phase::Greeting | Phase::Tls | Phase::Auth | Phase::Sender | Phase::Data => {
            if is_permanent {
                Class::Ours
            } else {
                Class::Away
            }
        }
        Phase::Recipient | Phase::Body | Phase::Onward if !is_permanent => match subject {
            // 4.3: the mail system itself, such as a full disk.
            Some(3) => Class::Away,
            _ => Class::Later,
        },
        Phase::Recipient | Phase::Onward => match enhanced {
            Some((_, 1, 1)) => Class::Gone,
            // A full mailbox, a route that is missing: both pass.
            Some((_, 2, 2) | (_, 4, _)) => Class::Later,
            Some((_, 1 | 2, _)) | None => Class::Never,
            _ => Class::Policy,
        },
        Phase::Body => match enhanced {
            Some((_, 1, 1)) => Class::Gone,
            Some((_, 2, 2) | (_, 4, _)) => Class::Later,
            Some((_, 1 | 2, _)) => Class::Never,
            _ => Class::Policy,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(phase: Phase, code: u16, text: &str) -> Class {
        classify(&Reply::refused(phase, code, text))
    }

    #[test]
    fn what_was_written_down_is_of_the_same_class() {
        for reply in [
            Reply::refused(Phase::Recipient, 550, "5.1.1 no such user (really)"),
            Reply::refused(Phase::Recipient, 451, "4.7.1 greylisted"),
            Reply::refused(Phase::Body, 554, "5.7.1 spam"),
            Reply::broken(Phase::Body, "the connection was lost"),
            Reply::broken(Phase::Connect, "refused"),
            Reply::refused(Phase::Onward, 550, "5.2.1 disabled"),
        ] {
            assert_eq!(Reply::written(&reply.to_string()), Some(reply));
        }
        for other in ["250 ok", "", "no such mailbox (to nobody)", "x (to RCPT TO)"] {
            assert_eq!(Reply::written(other), None, "{other}");
        }
    }

    #[test]
    fn every_answer_is_somebodys() {
        for (phase, code, text, expected) in [
            (Phase::Greeting, 554, "no service for you", Class::Ours),
            (Phase::Greeting, 421, "busy", Class::Away),
            (Phase::Auth, 535, "5.7.8 bad credentials", Class::Ours),
            (Phase::Auth, 454, "4.7.0 try later", Class::Away),
            (Phase::Sender, 553, "5.7.1 sender not owned", Class::Ours),
            (Phase::Sender, 452, "4.3.1 disk full", Class::Away),
            (Phase::Recipient, 550, "5.1.1 no such user", Class::Gone),
            (Phase::Recipient, 550, "no such user", Class::Never),
            (Phase::Recipient, 550, "5.2.1 mailbox disabled", Class::Never),
            (Phase::Recipient, 552, "5.2.2 mailbox full", Class::Later),
            (Phase::Recipient, 554, "5.4.4 no route", Class::Later),
            (Phase::Recipient, 554, "5.7.1 relay access denied", Class::Policy),
            (Phase::Recipient, 450, "4.2.0 greylisted", Class::Later),
            (Phase::Recipient, 451, "4.3.0 queue file error", Class::Away),
            (Phase::Recipient, 421, "4.7.0 too many", Class::Away),
            (Phase::Data, 554, "5.5.1 no", Class::Ours),
            (Phase::Body, 550, "5.7.1 looks like spam", Class::Policy),
            (Phase::Body, 451, "4.7.1 come back", Class::Later),
            (Phase::Body, 550, "5.1.1 no such user", Class::Gone),
            (Phase::Onward, 550, "5.1.1 no such user", Class::Gone),
            (Phase::Onward, 550, "5.7.26 unauthenticated", Class::Policy),
            (Phase::Onward, 450, "4.4.7 expired", Class::Later),
        ] {
            assert_eq!(class(phase, code, text), expected, "{code} {text} to {phase}");
        }
    }

    #[test]
    fn a_connection_that_ends_is_the_servers_trouble_unless_a_message_ended_it() {
        assert_eq!(classify(&Reply::broken(Phase::Recipient, "cut")), Class::Away);
        assert_eq!(classify(&Reply::broken(Phase::Body, "cut")), Class::Later);
        assert_eq!(classify(&Reply::NotTried), Class::Nothing);
    }

    #[test]
    fn an_enhanced_code_that_contradicts_the_reply_is_not_believed() {
        let Reply::Refused { enhanced, .. } = Reply::refused(Phase::Recipient, 450, "5.1.1 hm") else { panic!() };
        assert_eq!(enhanced, None);
    }

    #[test]
    fn addresses_that_a_server_repeats_do_not_reach_the_log() {
        let text = Reply::refused(Phase::Recipient, 550, "5.1.1 <ann@example.net>: unknown; try ann+x@example.net")
            .to_string();
        assert_eq!(text, "550 5.1.1 <***>: unknown; try *** (to RCPT TO)");
        assert_eq!(said("2.0.0 Ok: queued as 4ABC"), "2.0.0 Ok: queued as 4ABC");
    }

    #[test]
    fn what_the_server_said_is_cleaned_before_anyone_sees_it() {
        let text = Reply::refused(Phase::Recipient, 550, "5.1.1 no\u{1b}[31m\r\nuser").to_string();
        assert_eq!(text, "550 5.1.1 no[31m user (to RCPT TO)");
    }
}
