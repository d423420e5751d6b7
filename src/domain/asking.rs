//! Asking for news through the form: how often one may, and what follows. Pure.
//!
//! Whoever asks learns nothing about an address: what is limited by the network of the asker may be
//! said to them, what is limited by the address, by its domain or in all only delays or drops a
//! message. All counts are of what was let through, within a time that moves along.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::subscriber::{Choice, Destination, SubscriberState};

/// One request to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// Where to write.
    pub address: Destination,
    /// Of what.
    pub choice: Choice,
}

/// What is counted together, and how much of it is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Requests of one party: an IPv4 address, or a /64, which one machine fills with addresses as it
    /// likes.
    Party,
    /// Requests of a neighbourhood, which one customer may rent: a /24, or a /48.
    Neighbourhood,
    /// All requests.
    Requests,
    /// Messages to one address, or webhook, because somebody asked.
    Address,
    /// Such messages to all addresses of one domain, or webhooks of one host.
    Domain,
    /// All such messages.
    Messages,
}

/// So many, within any time of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// So many.
    pub most: u32,
    /// Within so long.
    pub within: SignedDuration,
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What is to leave later than this from now was put off by a clock that went wrong.
pub const FURTHEST: SignedDuration = DAY;

impl Scope {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Party, Self::Neighbourhood, Self::Requests, Self::Address, Self::Domain, Self::Messages];

    /// The word for it in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Party => "party",
            Self::Neighbourhood => "neighbourhood",
            Self::Requests => "requests",
            Self::Address => "address",
            Self::Domain => "domain",
            Self::Messages => "messages",
        }
    }

    /// How much of it is let through: an office behind one address, and half a town on the day of an
    /// outage, but nobody who means harm to others.
    #[must_use]
    pub const fn allowance(self) -> Allowance {
        let (most, within) = match self {
            Self::Party => (20, HOUR),
            Self::Neighbourhood => (100, HOUR),
            Self::Requests => (10_000, HOUR),
            Self::Address => (3, DAY),
            Self::Domain => (200, HOUR),
            Self::Messages => (600, HOUR),
        };
        Allowance { most, within }
    }
}

impl Allowance {
    /// When one more may come, at `now` or later. `nth` is when the one came, or will come, that has
    /// `most - 1` newer ones; `None` if there are fewer.
    #[must_use]
    pub fn free_at(self, nth: Option<Timestamp>, now: Timestamp) -> Timestamp {
        nth.and_then(|at| at.checked_add(self.within).ok()).map_or(now, |free| free.max(now))
    }
}

/// The names under which requests of a client are counted, each with its scope.
#[must_use]
pub fn counted(client: IpAddr) -> [(Scope, String); 3] {
    let (party, neighbourhood) = match client.to_canonical() {
        IpAddr::V4(v4) => (IpAddr::V4(v4), IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8)))),
        IpAddr::V6(v6) => {
            let network = |bits: u32| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << bits)));
            (network(64), network(80))
        }
    };
    [
        (Scope::Party, party.to_string()),
        (Scope::Neighbourhood, neighbourhood.to_string()),
        (Scope::Requests, String::new()),
    ]
}

/// The names under which messages to an address are counted, each with its scope. What follows a `+`
/// leads to the same mailbox, as a rule, and counts with it; so does what follows the `?` of a webhook.
#[must_use]
pub fn counted_to(address: &Destination) -> [(Scope, String); 3] {
    let key = address.key();
    if let Some(url) = address.webhook() {
        let place = key.split('?').next().unwrap_or(&key).to_owned();
        // No mail domain begins like that: neither uses up what the other may.
        let host = format!("https://{}", url.host());
        return [(Scope::Address, place), (Scope::Domain, host), (Scope::Messages, String::new())];
    }
    let (local, domain) = key.rsplit_once('@').unwrap_or((&key, ""));
    let mailbox = local.split_once('+').map_or(local, |(name, _)| name);
    // `+tag` alone is a whole name.
    let mailbox = if mailbox.is_empty() { local } else { mailbox };
    [
        (Scope::Address, format!("{mailbox}@{domain}")),
        (Scope::Domain, domain.to_owned()),
        (Scope::Messages, String::new()),
    ]
}

/// A message to one subscriber that tells of no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LetterKind {
    /// Asks whether they want news.
    Confirm,
    /// Leads whoever has news already to what they chose.
    Settings,
    /// Says that they get news from now on, and how things are.
    Welcome,
}

impl LetterKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Confirm, Self::Settings, Self::Welcome];

    /// The word for it in the store: the name of its folder of templates, too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Settings => "settings",
            Self::Welcome => "welcome",
        }
    }
}

/// When one more message may leave: to that address, to its domain, and at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// To the address.
    pub address: Timestamp,
    /// To its domain.
    pub domain: Timestamp,
    /// To anyone.
    pub messages: Timestamp,
}

/// What a request is answered with, by mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With nothing: the address got enough.
    Nothing,
    /// With a letter.
    Letter {
        /// Which.
        kind: LetterKind,
        /// When it leaves: later if many others do now.
        at: Timestamp,
    },
}

/// What follows a request for an address that is `known` as such, or not at all. Only what a person
/// confirms changes anything for them.
#[must_use]
pub fn answer(known: Option<SubscriberState>, free: &Free, now: Timestamp) -> Answer {
    let at = free.domain.max(free.messages).max(now);
    if free.address > now || at.duration_since(now) > FURTHEST {
        return Answer::Nothing;
    }
    let kind = match known {
        Some(SubscriberState::Confirmed) => LetterKind::Settings,
        // Who was suspended is written to again once they say that they can read it.
        Some(SubscriberState::Pending | SubscriberState::Suspended) | None => LetterKind::Confirm,
    };
    Answer::Letter { kind, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn free(address: i64, domain: i64, messages: i64) -> Free {
        Free { address: at(address), domain: at(domain), messages: at(messages) }
    }

    #[test]
    fn a_known_address_gets_its_settings_and_any_other_a_confirmation() {
        let kind = |known| match answer(known, &free(0, 0, 0), at(100)) {
            Answer::Letter { kind, at: leaves } => (leaves == at(100)).then_some(kind),
            Answer::Nothing => None,
        };
        assert_eq!(kind(None), Some(LetterKind::Confirm));
        assert_eq!(kind(Some(SubscriberState::Pending)), Some(LetterKind::Confirm));
        assert_eq!(kind(Some(SubscriberState::Suspended)), Some(LetterKind::Confirm));
        assert_eq!(kind(Some(SubscriberState::Confirmed)), Some(LetterKind::Settings));
    }

    #[test]
    fn who_got_enough_gets_nothing_and_who_is_one_of_many_waits() {
        for known in [None, Some(SubscriberState::Confirmed)] {
            assert_eq!(answer(known, &free(101, 0, 0), at(100)), Answer::Nothing);
            assert_eq!(answer(known, &free(0, 0, 100_000), at(100)), Answer::Nothing, "not before tomorrow");
        }
        let waits = |free| match answer(None, &free, at(100)) {
            Answer::Letter { at, .. } => at.as_second(),
            Answer::Nothing => 0,
        };
        assert_eq!((waits(free(0, 500, 200)), waits(free(0, 200, 500))), (500, 500));
    }

    #[test]
    fn an_allowance_is_full_until_its_oldest_is_old_enough() {
        let three = Allowance { most: 3, within: SignedDuration::from_secs(60) };
        assert_eq!(three.free_at(None, at(100)), at(100));
        assert_eq!(three.free_at(Some(at(90)), at(100)), at(150));
        assert_eq!(three.free_at(Some(at(40)), at(100)), at(100));
    }

    #[test]
    fn neighbours_are_told_apart_and_counted_together() {
        let names = |text: &str| counted(text.parse().unwrap()).map(|(_, name)| name);
        let (one, two) = (names("192.0.2.1"), names("::ffff:192.0.2.200"));
        assert_ne!(one[0], two[0]);
        assert_eq!(one[1..], two[1..]);
        let (one, two) = (names("2001:db8:1:2::1"), names("2001:db8:1:2:ffff::9"));
        assert_eq!(one, two, "one machine has a whole /64");
        let other = names("2001:db8:1:3::1");
        assert_ne!(one[0], other[0]);
        assert_eq!(one[1], other[1]);
        assert_ne!(one[1], names("2001:db8:2:2::1")[1]);
    }

    #[test]
    fn tags_and_case_make_no_new_mailbox() {
        let name = |text: &str| counted_to(&Destination::parse(text).unwrap())[0].1.clone();
        assert_eq!(name("Ann+a@example.org"), "ann@example.org");
        assert_eq!(name("ann+b+c@EXAMPLE.org"), name("ann@example.org"));
        assert_ne!(name("+a@example.org"), name("+b@example.org"));
        assert_eq!(name("https://example.org/x?a"), name("https://EXAMPLE.org/x?b"));
        assert_ne!(name("https://example.org/x"), name("https://example.org/y"));
    }
}
