//! A story to rehearse: what happens to whose services and when, read from TOML with the same
//! diagnostics as the config.

mod convert;
pub mod keys;
mod targets;

use std::{path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::Post;
use crate::{
    config::{
        Config,
        reading::{Reader, Sources, schema},
    },
    domain::{
        CheckKey,
        diagnostic::Diagnostic,
        outcome::Cause,
        subscriber::{Address, Wants},
    },
};

/// The longest story that is read, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// A story that can be played.
#[derive(Clone, Debug)]
pub struct Story {
    /// What it is about; may be empty.
    pub title: String,
    /// When it begins.
    pub starts: Timestamp,
    /// How long it is followed.
    pub lasts: Duration,
    /// What chance is made of.
    pub seed: u64,
    /// Who is told.
    pub people: Vec<Person>,
    /// What happens, in the order of time.
    pub happenings: Vec<Happening>,
    /// When the site is kept as it is, in the order of time.
    pub looks: Vec<Look>,
}

/// Someone who is told.
#[derive(Clone, Debug)]
pub struct Person {
    /// Made up.
    pub address: Address,
    /// What they follow.
    pub wants: Wants,
    /// The language of their mails, unless it is the site's.
    pub language: Option<String>,
    /// The zone of their times, unless it is the site's.
    pub timezone: Option<String>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub struct Happening {
    /// How long after the beginning.
    pub after: Duration,
    /// How long it lasts; `None`: to the end, or it takes no time.
    pub lasts: Option<Duration>,
    /// What.
    pub what: What,
    /// The same for people: "database: down (timeout), for 5m".
    pub told: String,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// Targets are like that.
    Are(Vec<CheckKey>, State),
    /// Nothing can be reached from here but this machine.
    Cut,
    /// Names cannot be resolved.
    ResolverAway,
    /// No probe can be made at all.
    CannotProbe,
    /// The machine is suspended.
    Suspended(Duration),
    /// The process is stopped, and time goes on.
    Stopped(Duration),
    /// It ends, and is started again so long after.
    Off(Duration),
    /// It ends without being asked, and is started again.
    Crash,
    /// There is no room on its disk.
    DiskFull,
    /// Its clock is set.
    Clock(SignedDuration),
    /// The mail server does that.
    Relay(Post),
    /// A note is saved: name of the file and content.
    Note(String, String),
}

/// How a target is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// As it should be; answers take so long.
    Up(Option<Duration>),
    /// Slower than it may be, by so much or any.
    Slow(Option<Duration>),
    /// Not as it should be.
    Down(Cause),
    /// As it should be, but of a thousand probes so many are lost.
    Lossy(u16),
}

/// A moment at which the site is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// How long after the beginning.
    pub after: Duration,
    /// What it is called.
    pub name: String,
}

/// Reads a story about the services of `config`. With it come warnings.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn parse(path: &Path, text: &str, config: &Config) -> Result<(Story, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut reader = Reader::new(&keys::STORY, text, Sources::none(), config.site.timezone.clone());
    let root = reader.read();
    let story = convert::story(&root, config, &mut reader);
    let (errors, warnings) = reader.finish(path);
    match story {
        Some(story) if errors.is_empty() => Ok((story, warnings)),
        _ => Err(errors),
    }
}

/// The JSON Schema of a story.
#[must_use]
pub fn schema() -> serde_json::Value {
    schema::of(&keys::STORY, "watchbell: a story to rehearse")
}
