//! Input keys: one number for all that a file is made of. Equal keys mean equal bytes, so a file
//! whose key did not change need not be rendered.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
};

use sha2::{Digest, Sha256};

/// A number that stands for some inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

impl Key {
    /// The key of some inputs. Only as stable as this program: a new version renders anew.
    #[must_use]
    pub fn of(inputs: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        inputs.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The key of these inputs and more.
    #[must_use]
    pub fn and(self, inputs: impl Hash) -> Self {
        Self::of((self.0, Self::of(inputs).0))
    }
}

/// The first 16 bytes of the SHA-256 of a file's content.
pub type ContentHash = [u8; 16];

/// The hash of a file's content.
#[must_use]
pub fn content_hash(bytes: &[u8]) -> ContentHash {
    cut(Sha256::digest(bytes).as_slice())
}

/// The hash of what is left to read, without holding it.
///
/// # Errors
/// As reading does.
pub fn hash_of(mut content: impl Read) -> io::Result<ContentHash> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(cut(digest.finalize().as_slice())),
            read => digest.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

fn cut(digest: &[u8]) -> ContentHash {
    let mut hash = ContentHash::default();
    for (to, from) in hash.iter_mut().zip(digest) {
        *to = *from;
    }
    hash
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_inputs_give_another_key_and_the_same_the_same() {
        assert_eq!(Key::of("a").and(1), Key::of("a").and(1));
        assert_ne!(Key::of("a").and(1), Key::of("a").and(2));
        assert_ne!(Key::of(("a", "bc")), Key::of(("ab", "c")));
    }

    #[test]
    fn hashes_are_written_as_hex() {
        assert_eq!(hex(&content_hash(b"")), "e3b0c44298fc1c149afbf4c8996fb924");
        assert_eq!(hash_of(b"abc".as_slice()).unwrap(), content_hash(b"abc"));
    }
}
