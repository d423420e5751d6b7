//! Keeps the log small while everything fails for days: a complaint repeated is counted, not
//! repeated.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// How long the same complaint rests before it is made again.
const REST: SignedDuration = SignedDuration::from_mins(10);
/// How many different complaints are remembered.
const KINDS: usize = 512;

/// What was said, and how often it was not.
#[derive(Debug, Default)]
pub struct Complaints {
    said: BTreeMap<String, Said>,
}

#[derive(Debug)]
struct Said {
    text: String,
    at: Timestamp,
    held_back: u32,
}

/// What to do with a complaint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speak {
    /// Say it; the same was held back so many times before.
    Now {
        /// Times held back since it was last said.
        repeated: u32,
    },
    /// It was said not long ago.
    No,
}

impl Complaints {
    /// Whether to say `text` about `topic` now. Another text on the same topic is said at once.
    pub fn about(&mut self, topic: &str, text: &str, now: Timestamp) -> Speak {
        if let Some(said) = self.said.get_mut(topic)
            && said.text == text
            && now.duration_since(said.at) < REST
        {
            said.held_back += 1;
            return Speak::No;
        }
        if self.said.len() >= KINDS
            && let Some(oldest) = self.said.iter().min_by_key(|(_, said)| said.at).map(|(topic, _)| topic.clone())
        {
            self.said.remove(&oldest);
        }
        let said = Said { text: text.to_owned(), at: now, held_back: 0 };
        let repeated = self.said.insert(topic.to_owned(), said).map_or(0, |before| before.held_back);
        Speak::Now { repeated }
    }

    /// The topic is fine again; `true` if it was complained about before.
    pub fn settled(&mut self, topic: &str) -> bool {
        self.said.remove(topic).is_some()
    }
}

/// A count as a field of a log line, which none is not worth.
#[must_use]
pub fn some(repeated: u32) -> Option<u32> {
    (repeated > 0).then_some(repeated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_made_once_and_then_counted() {
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let mut complaints = Complaints::default();
        assert_eq!(complaints.about("store", "disk full", at(0)), Speak::Now { repeated: 0 });
        assert_eq!(complaints.about("store", "disk full", at(1)), Speak::No);
        assert_eq!(complaints.about("store", "read-only", at(2)), Speak::Now { repeated: 1 });
        assert_eq!(complaints.about("store", "read-only", at(3)), Speak::No);
        assert_eq!(complaints.about("store", "read-only", at(13)), Speak::Now { repeated: 1 });
        assert!(complaints.settled("store"));
        assert!(!complaints.settled("store"));
    }
}
