//! Tokens in links: made with a key that lies beside the store, and checked without asking it.
//!
//! The key is 32 random bytes in `DATABASE.key`, readable by its owner alone, and part of every
//! backup: links in mails already sent work for as long as it is there. A token is for one purpose
//! and one subscriber: the id's 16 bytes and the first 16 of an HMAC-SHA256 (RFC 2104) over
//! purpose and id, as base64url (RFC 4648, section 5).

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use super::{error::StoreError, suffixed};
use crate::{config, domain::SubscriberId, fsio};

const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 16;
const UNSUBSCRIBE: &[u8] = b"watchbell unsubscribe 1\0";
const MANAGE: &[u8] = b"watchbell manage 1\0";
const STOP: &[u8] = b"watchbell stop 1\0";
const WEBHOOK: &[u8] = b"watchbell webhook secret 1\0";
/// Seconds since 1970, which end in 2106.
const TIME_BYTES: usize = 4;

/// The key of all tokens. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

impl Key {
    /// Where the key of a store lies.
    #[must_use]
    pub fn path(config: &config::Store) -> PathBuf {
        path_beside(&config.path)
    }

    /// The key of a store; made at the first start.
    ///
    /// # Errors
    /// If the file cannot be read or made, or is not a key: it is never replaced.
    pub fn open(config: &config::Store) -> Result<Self, StoreError> {
        let path = Self::path(config);
        if let Some(key) = Self::read(&path)? {
            return Ok(key);
        }
        let bytes: [u8; KEY_BYTES] = random_bytes().map_err(|source| StoreError::from_io(&path, source))?;
        match fsio::create(&path, &bytes, 0o600) {
            Ok(()) => Ok(Self(bytes)),
            // Another process was quicker: theirs counts.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(&path)?
                .ok_or_else(|| StoreError::Key { path: path.clone(), what: "it comes and goes".to_owned() }),
            Err(error) => Err(StoreError::from_io(&path, error)),
        }
    }

    /// The key in a file; `None` if there is no file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Key { path: path.to_owned(), what: error.to_string() }),
        };
        let found = bytes.len();
        bytes.try_into().map(|bytes| Some(Self(bytes))).map_err(|_| StoreError::Key {
            path: path.to_owned(),
            what: format!("it has {found} bytes instead of {KEY_BYTES}"),
        })
    }

    /// A key of a test.
    #[cfg(test)]
    pub(super) const fn of_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a backup.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn mac(&self, purpose: &[u8], id: &[u8; 16]) -> Hmac<Sha256> {
        // A key shorter than a block is the same as one filled up with zeros (RFC 2104, section 2).
        let mut block = [0; 64];
        block.iter_mut().zip(self.0).for_each(|(place, byte)| *place = byte);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        mac.update(purpose);
        mac.update(id);
        mac
    }

    /// The token with which a subscriber leaves: 43 characters, for ever.
    #[must_use]
    pub fn unsubscribe(&self, subscriber: &SubscriberId) -> String {
        let mac = self.mac(UNSUBSCRIBE, subscriber.as_bytes()).finalize().into_bytes();
        let mut token = subscriber.as_bytes().to_vec();
        token.extend(mac.iter().take(MAC_BYTES));
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The token with which a subscriber looks at their choice and changes it, until `good_until`: a
    /// link that is passed on with a mail should not stay good for ever. 48 characters.
    #[must_use]
    pub fn manage(&self, subscriber: &SubscriberId, good_until: Timestamp) -> String {
        let until = u32::try_from(good_until.as_second()).unwrap_or(u32::MAX).to_be_bytes();
        let mut mac = self.mac(MANAGE, subscriber.as_bytes());
        mac.update(&until);
        let mut token = subscriber.as_bytes().to_vec();
        token.extend(until);
        token.extend(mac.finalize().into_bytes().iter().take(MAC_BYTES));
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The token with which whoever got a question says that nobody is to ask them again, however old
    /// it is: it names their mailbox by its salted hash, for when nothing else is known of them any more.
    /// 86 characters.
    #[must_use]
    pub fn stop(&self, subscriber: &SubscriberId, mailbox: &[u8; 32]) -> String {
        let mut mac = self.mac(STOP, subscriber.as_bytes());
        mac.update(mailbox);
        let mut token = subscriber.as_bytes().to_vec();
        token.extend(mailbox);
        token.extend(mac.finalize().into_bytes().iter().take(MAC_BYTES));
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Whose token of [`Key::stop`] that is, and for which mailbox; `None` if we never made it.
    #[must_use]
    pub fn check_stop(&self, token: &str) -> Option<(SubscriberId, [u8; 32])> {
        let bytes: [u8; 16 + 32 + MAC_BYTES] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (mailbox, mac) = rest.split_first_chunk::<32>()?;
        let id = SubscriberId::from_bytes(*id);
        let mut expected = self.mac(STOP, id.as_bytes());
        expected.update(mailbox);
        expected.verify_truncated_left(mac).ok()?;
        Some((id, *mailbox))
    }

    /// The secret that signs what is sent to a subscriber's webhook. It is nowhere written down; who
    /// leaves and comes back has another one, since they have another id.
    #[must_use]
    pub fn webhook_secret(&self, subscriber: &SubscriberId) -> [u8; 32] {
        self.mac(WEBHOOK, subscriber.as_bytes()).finalize().into_bytes().into()
    }

    /// Whose token of [`Key::manage`] that is; `None` if we never made it, or it is too old.
    #[must_use]
    pub fn check_manage(&self, token: &str, now: Timestamp) -> Option<SubscriberId> {
        let bytes: [u8; 16 + TIME_BYTES + MAC_BYTES] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (until, mac) = rest.split_first_chunk::<TIME_BYTES>()?;
        let mut expected = self.mac(MANAGE, id);
        expected.update(until);
        expected.verify_truncated_left(mac).ok()?;
        (i64::from(u32::from_be_bytes(*until)) >= now.as_second()).then_some(SubscriberId::from_bytes(*id))
    }

    /// Whose token that is; `None` if we never made it. Takes the same time for every token of
    /// the right length.
    #[must_use]
    pub fn check_unsubscribe(&self, token: &str) -> Option<SubscriberId> {
        let bytes: [u8; 16 + MAC_BYTES] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let (id, mac) = bytes.split_first_chunk::<16>()?;
        self.mac(UNSUBSCRIBE, id).verify_truncated_left(mac).ok().map(|()| SubscriberId::from_bytes(*id))
    }
}

/// Where the key lies whose database is at `path`.
pub(super) fn path_beside(path: &Path) -> PathBuf {
    suffixed(path, ".key")
}

/// Bytes that nobody can guess, from the operating system.
///
/// # Errors
/// If it has none to give.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The same, within a transaction.
pub(super) fn random<const N: usize>() -> rusqlite::Result<[u8; N]> {
    random_bytes().map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::testing;

    fn id(n: u8) -> SubscriberId {
        SubscriberId::from_bytes([n; 16])
    }

    #[test]
    fn a_token_names_its_subscriber_and_nobody_else_can_make_one() {
        let (one, two) = (Key([1; 32]), Key([2; 32]));
        let token = one.unsubscribe(&id(7));
        assert_eq!(token.len(), 43);
        assert_eq!(one.check_unsubscribe(&token), Some(id(7)));
        assert_eq!(two.check_unsubscribe(&token), None);
    }

    #[test]
    fn a_token_changed_in_any_place_is_refused() {
        let key = Key([1; 32]);
        let token = key.unsubscribe(&id(7));
        for at in 0..token.len() {
            for other in ['A', 'b', '_', '!', 'é'] {
                let changed: String = token.chars().enumerate().map(|(n, c)| if n == at { other } else { c }).collect();
                assert!(changed == token || key.check_unsubscribe(&changed).is_none(), "{changed}");
            }
        }
        for bad in ["", "x", &token[1..], &format!("{token}A"), &format!("{token}=")] {
            assert_eq!(key.check_unsubscribe(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_link_to_the_settings_is_good_for_its_time_and_for_nothing_else() {
        let (key, now) = (Key([1; 32]), Timestamp::from_second(1_800_000_000).unwrap());
        let token = key.manage(&id(7), now);
        assert_eq!(token.len(), 48);
        assert_eq!(key.check_manage(&token, now), Some(id(7)));
        assert_eq!(key.check_manage(&token, now + jiff::SignedDuration::from_secs(1)), None);
        assert_eq!(Key([2; 32]).check_manage(&token, now), None);
        assert_eq!(key.check_unsubscribe(&token), None);
        assert_eq!(key.check_manage(&key.unsubscribe(&id(7)), now), None);
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(key.check_manage(&URL_SAFE_NO_PAD.encode(&bytes), now), None, "byte {at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn tokens_of_released_versions_stay_good() {
        assert_eq!(Key([3; 32]).unsubscribe(&id(9)), "CQkJCQkJCQkJCQkJCQkJCfeg4zUR3_kzqjDJSmUxcQE");
    }

    #[test]
    fn a_link_that_stops_questions_names_its_mailbox_and_nothing_else_passes_for_it() {
        let key = Key([1; 32]);
        let token = key.stop(&id(7), &[9; 32]);
        assert_eq!(token.len(), 86);
        assert_eq!(key.check_stop(&token), Some((id(7), [9; 32])));
        assert_eq!(Key([2; 32]).check_stop(&token), None);
        assert_eq!((key.check_unsubscribe(&token), key.check_stop(&key.unsubscribe(&id(7)))), (None, None));
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(key.check_stop(&URL_SAFE_NO_PAD.encode(&bytes)), None, "byte {at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn every_webhook_has_a_secret_of_its_own_that_no_token_shows() {
        let (one, two) = (Key([1; 32]), Key([2; 32]));
        let secret = one.webhook_secret(&id(7));
        assert_eq!(secret, one.webhook_secret(&id(7)));
        assert!(secret != one.webhook_secret(&id(8)) && secret != two.webhook_secret(&id(7)));
        let token = URL_SAFE_NO_PAD.decode(one.unsubscribe(&id(7))).unwrap();
        assert_ne!(secret[..MAC_BYTES], token[16..]);
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = testing::config(folder.path());
        let key = Key::open(&config).unwrap();
        assert_eq!(Key::open(&config).unwrap(), key);
        assert_eq!(fs::metadata(Key::path(&config)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{key:?}"), "Key(***)");
    }

    #[test]
    fn a_damaged_key_is_an_error_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let config = testing::config(folder.path());
        fsio::write(&Key::path(&config), b"short").unwrap();
        let error = Key::open(&config).unwrap_err().to_string();
        assert!(error.contains("it has 5 bytes instead of 32"), "{error}");
        assert_eq!(fs::read(Key::path(&config)).unwrap(), b"short");
    }
}
