//! Input keys: one number for all that a file is made of. Equal keys mean equal bytes, so a file
//! whose key did not change need not be rendered.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
};

use twox_hash::XxHash3_64;

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

/// The XXH3 of a file's content, 64 bits: it tells contents apart that differ by accident, at the
/// speed of reading them.
pub type ContentHash = [u8; 8];

/// The hash of a file's content.
#[must_use]
pub fn content_hash(bytes: &[u8]) -> ContentHash {
    XxHash3_64::oneshot(bytes).to_be_bytes()
}

/// The hash of what is left to read, without holding it.
///
/// # Errors
/// As reading does.
pub fn hash_of(mut content: impl Read) -> io::Result<ContentHash> {
    let mut hasher = XxHash3_64::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(hasher.finish().to_be_bytes()),
            read => hasher.write(buffer.get(..read).unwrap_or_default()),
        }
    }
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
        assert_eq!(hex(&content_hash(b"")), "2d06800538d394c2");
        let long = b"abc".repeat(100_000);
        assert_eq!(hash_of(long.as_slice()).unwrap(), content_hash(&long));
    }
}
