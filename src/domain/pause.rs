//! A pause of mail: why nothing leaves, since when, and what was tried. The daemon writes it down for
//! everyone who asks; an operator ends it by taking it away.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why the queue rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The server is away.
    Away,
    /// The server does not want us.
    Ours,
    /// Too many of one event's recipients were refused to believe that each is at fault.
    Refusals,
}

impl Cause {
    /// The same in words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Away => "the mail server cannot be reached or is too busy",
            Self::Ours => "the mail server refuses our mail",
            Self::Refusals => "the mail server refuses too many recipients of one event",
        }
    }
}

/// A pause, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since_at: Timestamp,
    /// How often the server was tried since.
    pub tries: u32,
    /// When one message is tried next.
    pub next_at: Timestamp,
    /// What the server said last, cleaned.
    pub said: String,
    /// Whether operators were told.
    pub is_told: bool,
}
