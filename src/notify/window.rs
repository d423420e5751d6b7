//! How far ahead of the server messages are claimed. Pure.
//!
//! Claiming one at a time leaves each connection idle for a turn of the ledger between messages;
//! claiming many lets those who leave meanwhile be written to. So it begins with one for each
//! connection and grows only while the server takes messages as fast as they come. Once there are
//! enough for every connection, many are claimed together or none: a claim has its price.

use jiff::SignedDuration;

use super::reply::Class;

/// The most that one connection has been given and that is not written down yet: so many copies
/// there are at most after a kill.
pub const UNMARKED: usize = 8;
/// The most that are claimed for one connection, sent or not.
const AHEAD: usize = 4 * UNMARKED;
/// A message that took no longer, from its claim to the server's answer, came without a queue.
const PROMPT: SignedDuration = SignedDuration::from_millis(250);

/// The number of messages that may be on their way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    connections: usize,
    size: usize,
}

impl Window {
    /// One for each connection, to begin with.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        let connections = connections.max(1);
        Self { connections, size: connections }
    }

    /// How many more may be claimed while so many are on their way.
    #[must_use]
    pub fn room(&self, on_their_way: usize) -> usize {
        let is_enough = on_their_way >= self.connections && on_their_way > self.size / 2;
        if is_enough { 0 } else { self.size.saturating_sub(on_their_way) }
    }

    /// Learns from a message that ended `took` after its claim.
    pub fn learn(&mut self, class: Class, took: SignedDuration) {
        self.size = match class {
            Class::Sent if took.is_negative() => self.size,
            Class::Sent if took <= PROMPT => (self.size + 1).min(self.connections.saturating_mul(AHEAD)),
            Class::Sent => (self.size / 2).max(self.connections),
            // One recipient's trouble says nothing of the server's pace.
            Class::Later | Class::Policy | Class::Gone | Class::Never => self.size,
            Class::Away | Class::Ours | Class::Nothing => self.connections,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: SignedDuration = SignedDuration::from_millis(2);
    const SLOWLY: SignedDuration = SignedDuration::from_millis(900);

    #[test]
    fn it_grows_while_the_server_keeps_up_and_then_claims_many_together_or_none() {
        let mut window = Window::new(4);
        assert_eq!((0..=4).map(|n| window.room(n)).collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
        for _ in 0..200 {
            window.learn(Class::Sent, AT_ONCE);
        }
        assert_eq!([0, 64, 65, 127, 128].map(|n| window.room(n)), [128, 64, 0, 0, 0]);
    }

    #[test]
    fn a_connection_that_is_idle_never_waits_for_the_others() {
        let mut window = Window::new(4);
        window.learn(Class::Sent, AT_ONCE);
        assert_eq!((0..=5).map(|n| window.room(n)).collect::<Vec<_>>(), [5, 4, 3, 2, 0, 0]);
    }

    #[test]
    fn a_server_that_takes_its_time_gets_one_a_connection() {
        let mut window = Window::new(4);
        for _ in 0..200 {
            window.learn(Class::Sent, AT_ONCE);
        }
        for _ in 0..5 {
            window.learn(Class::Sent, SLOWLY);
        }
        assert_eq!(window.room(0), 4);
    }

    #[test]
    fn a_server_that_is_away_begins_anew_and_a_bad_recipient_changes_nothing() {
        let mut window = Window::new(2);
        for _ in 0..5 {
            window.learn(Class::Sent, AT_ONCE);
        }
        for class in [Class::Later, Class::Policy, Class::Gone, Class::Never] {
            window.learn(class, AT_ONCE);
            assert_eq!(window.room(0), 7);
        }
        window.learn(Class::Sent, SignedDuration::from_secs(-3600));
        assert_eq!(window.room(0), 7, "a clock that was set back proves nothing");
        window.learn(Class::Away, AT_ONCE);
        assert_eq!(window.room(0), 2);
    }
}
