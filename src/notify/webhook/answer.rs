//! What a receiver answered, and what follows from that. Pure.

use std::{fmt, time::Duration};

/// A receiver may ask for a longer pause, up to this.
const LONGEST_WISH: Duration = Duration::from_hours(1);

/// How a call ended. Nothing in it says whom it was made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With a status.
    Status {
        /// Three digits.
        code: u16,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// With none.
    Failed {
        /// What happened.
        what: &'static str,
        /// Whether the whole request was sent: then perhaps only the answer was lost.
        may_have_it: bool,
    },
    /// It was never begun.
    NotTried,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, .. } => write!(f, "HTTP {code}"),
            Self::Failed { what, .. } => f.write_str(what),
            Self::NotTried => f.write_str("not tried"),
        }
    }
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They have it.
    Taken,
    /// They want nothing more: the subscription ends.
    Gone,
    /// Not this message, and nothing will change that: a strike.
    Refused,
    /// Not now.
    Later {
        /// At least so long, they say.
        after: Duration,
    },
    /// Nothing was learned.
    Nothing,
}

/// Sorts an answer. A redirect is none that we follow: it leads where nobody has looked.
#[must_use]
pub fn verdict(answer: &Answer) -> Verdict {
    let later = |wish: Option<Duration>| Verdict::Later { after: wish.unwrap_or_default().min(LONGEST_WISH) };
    match *answer {
        Answer::Status { code: 200..=299, .. } => Verdict::Taken,
        Answer::Status { code: 410, .. } => Verdict::Gone,
        Answer::Status { code: 408 | 425 | 429 | 500..=599, retry_after } => later(retry_after),
        Answer::Status { .. } => Verdict::Refused,
        Answer::Failed { .. } => later(None),
        Answer::NotTried => Verdict::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_consequence() {
        let of = |code| verdict(&Answer::Status { code, retry_after: None });
        for code in [200, 201, 202, 204] {
            assert_eq!(of(code), Verdict::Taken, "{code}");
        }
        assert_eq!(of(410), Verdict::Gone);
        for code in [301, 302, 307, 400, 401, 403, 404, 405, 422] {
            assert_eq!(of(code), Verdict::Refused, "{code}");
        }
        for code in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(of(code), Verdict::Later { after: Duration::ZERO }, "{code}");
        }
        let wish = |seconds| verdict(&Answer::Status { code: 429, retry_after: Some(Duration::from_secs(seconds)) });
        assert_eq!(wish(90), Verdict::Later { after: Duration::from_secs(90) });
        assert_eq!(wish(1_000_000), Verdict::Later { after: LONGEST_WISH });
        assert_eq!(verdict(&Answer::NotTried), Verdict::Nothing);
    }
}
