//! The token in an envelope's sender: it names the message that comes back, for whom it was and
//! since when, and only who holds the key can make one.
//!
//! Mail servers fold the case of a local part, and take 64 characters of it: so it is 28 bytes as 45
//! letters of base32 (RFC 4648, section 6; lower case, unpadded). 16 are an id, 2 the day, and 10 the
//! beginning of an HMAC-SHA256 over what it is, id and day. It holds no address.

use hmac::Mac;
use jiff::Timestamp;

use super::tokens::Key;
use crate::{
    config::Email,
    domain::{SubscriberId, id::DeliveryId},
};

/// How many characters a token has: what the config makes room for.
pub const TOKEN_LENGTH: usize = Email::TOKEN_LENGTH;

const DELIVERY: &[u8] = b"watchbell bounce of a delivery 1\0";
const LETTER: &[u8] = b"watchbell bounce of a letter 1\0";
const ID_BYTES: usize = 16;
const DAY_BYTES: usize = 2;
const MAC_BYTES: usize = 10;
const DAY_MS: i64 = 86_400_000;
/// Servers try for up to five days (RFC 5321, section 4.5.4.1), and some then still write about it.
const GOOD_DAYS: i64 = 14;

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// News: its delivery is in the store, with whom it was for.
    Delivery(DeliveryId),
    /// A letter, of which nothing is kept once it left: to whom it was.
    Letter(SubscriberId),
}

/// What a token of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// What comes back.
    pub sent: Sent,
    /// Whether it left so long ago that nothing follows from it any more.
    pub is_stale: bool,
}

impl Key {
    /// The token for the envelope of what was `sent`, recorded at `at`: the same at each try, since
    /// a server that asks to come again later knows us by our envelope.
    #[must_use]
    pub fn envelope(&self, sent: Sent, at: Timestamp) -> String {
        let day = u16::try_from(at.as_millisecond().div_euclid(DAY_MS)).unwrap_or(u16::MAX).to_be_bytes();
        let (purpose, id) = match &sent {
            Sent::Delivery(id) => (DELIVERY, id.as_bytes()),
            Sent::Letter(id) => (LETTER, id.as_bytes()),
        };
        let mut mac = self.mac(purpose, id);
        mac.update(&day);
        let mac = mac.finalize().into_bytes();
        let bytes: Vec<u8> = id.iter().chain(&day).chain(mac.iter().take(MAC_BYTES)).copied().collect();
        encode(&bytes)
    }

    /// What a token of [`Key::envelope`] says, however its letters are cased; `None` if we never made
    /// it.
    #[must_use]
    pub fn check_envelope(&self, token: &str, now: Timestamp) -> Option<Returned> {
        let bytes = decode(token)?;
        let (id, rest) = bytes.split_first_chunk::<ID_BYTES>()?;
        let (day, mac) = rest.split_first_chunk::<DAY_BYTES>()?;
        let is_made_for = |purpose: &[u8]| {
            let mut expected = self.mac(purpose, id);
            expected.update(day);
            expected.verify_truncated_left(mac).is_ok()
        };
        let sent = if is_made_for(DELIVERY) {
            Sent::Delivery(DeliveryId::from_bytes(*id))
        } else if is_made_for(LETTER) {
            Sent::Letter(SubscriberId::from_bytes(*id))
        } else {
            return None;
        };
        let age = now.as_millisecond().div_euclid(DAY_MS) - i64::from(u16::from_be_bytes(*day));
        Some(Returned { sent, is_stale: age > GOOD_DAYS })
    }
}

fn encode(bytes: &[u8]) -> String {
    let letter = |value: u32| {
        let value = u8::try_from(value & 31).unwrap_or(0);
        char::from(if value < 26 { b'a' + value } else { b'2' + value - 26 })
    };
    let mut text = String::with_capacity(TOKEN_LENGTH);
    let (mut held, mut bits) = (0u32, 0u32);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(letter(held >> bits));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(letter(held << (5 - bits)));
    }
    text
}

/// The bytes of a token; `None` for anything that [`encode`] does not write but for its case.
fn decode(text: &str) -> Option<[u8; ID_BYTES + DAY_BYTES + MAC_BYTES]> {
    if text.len() != TOKEN_LENGTH {
        return None;
    }
    let mut bytes = [0; ID_BYTES + DAY_BYTES + MAC_BYTES];
    let mut places = bytes.iter_mut();
    let (mut held, mut bits) = (0u32, 0u32);
    for letter in text.bytes() {
        let value = match letter.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        held = held << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *places.next()? = u8::try_from(held >> bits).ok()?;
            held &= (1 << bits) - 1;
        }
    }
    (held == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const START: Timestamp = Timestamp::constant(1_795_219_200, 0);

    fn keys() -> [Key; 2] {
        [1, 2].map(|n| Key::of_bytes([n; 32]))
    }

    fn all() -> [Sent; 2] {
        [Sent::Delivery(DeliveryId::from_bytes([7; 16])), Sent::Letter(SubscriberId::from_bytes([7; 16]))]
    }

    fn days(n: i64) -> Timestamp {
        START + SignedDuration::from_hours(n * 24)
    }

    #[test]
    fn a_token_names_what_was_sent_and_nobody_else_can_make_one() {
        let [one, two] = keys();
        for sent in all() {
            let token = one.envelope(sent, START);
            assert_eq!(token.len(), TOKEN_LENGTH);
            assert!(token.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{token}");
            assert_eq!(one.check_envelope(&token, START), Some(Returned { sent, is_stale: false }));
            assert_eq!(two.check_envelope(&token, START), None);
        }
    }

    #[test]
    fn servers_may_fold_its_case() {
        let [key, _] = keys();
        for sent in all() {
            let token = key.envelope(sent, START).to_uppercase();
            assert_eq!(key.check_envelope(&token, START).unwrap().sent, sent);
        }
    }

    #[test]
    fn a_token_changed_in_any_place_is_refused() {
        let [key, _] = keys();
        let token = key.envelope(all()[0], START);
        for at in 0..token.len() {
            for other in ['a', 'z', '2', '7', '0', '-', 'é'] {
                let changed: String = token.chars().enumerate().map(|(n, c)| if n == at { other } else { c }).collect();
                assert!(changed == token || key.check_envelope(&changed, START).is_none(), "{changed}");
            }
        }
        for bad in ["", "x", &token[1..], &format!("{token}a")] {
            assert_eq!(key.check_envelope(bad, START), None, "{bad}");
        }
    }

    #[test]
    fn it_is_good_for_two_weeks() {
        let [key, _] = keys();
        let token = key.envelope(all()[0], START);
        for (day, is_stale) in [(0, false), (14, false), (15, true), (400, true)] {
            assert_eq!(key.check_envelope(&token, days(day)).unwrap().is_stale, is_stale, "{day}");
        }
        // A clock that was set back is no reason to think it old.
        assert!(!key.check_envelope(&token, days(-3)).unwrap().is_stale);
    }

    #[test]
    fn a_token_is_for_nothing_else() {
        let [key, _] = keys();
        let id = SubscriberId::from_bytes([7; 16]);
        assert_eq!(key.check_envelope(&key.unsubscribe(&id), START), None);
        assert_eq!(key.check_unsubscribe(&key.envelope(Sent::Letter(id), START)), None);
        assert_ne!(key.envelope(all()[0], START), key.envelope(all()[1], START));
    }

    #[test]
    fn tokens_of_released_versions_stay_good() {
        let key = Key::of_bytes([3; 32]);
        let token = key.envelope(Sent::Delivery(DeliveryId::from_bytes([9; 16])), START);
        assert_eq!(token, "beeqscijbeeqscijbeeqscijbfisvwzlero2xokfihlt6");
    }

    #[test]
    fn letters_are_those_of_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foobar", "mzxw6ytboi")] {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
    }
}
