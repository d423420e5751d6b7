//! Files that are made of many pieces, such as a row for each service: those that did not change
//! are taken from the published file, so that a change costs what it changes.
//!
//! The pieces themselves are not held in memory, only where they lie. The published file is
//! trusted as far as its hash goes: whatever else lies there is not used.

use std::{
    fs::File,
    io::{Read, Seek},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use super::key::{ContentHash, Key, hash_of};

/// Where a piece lies in its file, in bytes, and what it was made of.
pub type Piece = (Key, Range<usize>);

/// The pieces of a file with a certain content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    hash: ContentHash,
    /// In order of their keys.
    places: Vec<Piece>,
}

impl Pieces {
    /// Those of the content with this hash.
    #[must_use]
    pub fn new(hash: ContentHash, mut places: Vec<Piece>) -> Self {
        places.sort_unstable_by_key(|(key, _)| *key);
        Self { hash, places }
    }

    fn find(&self, key: Key) -> Option<Range<usize>> {
        let at = self.places.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.places.get(at).map(|(_, place)| place.clone())
    }
}

/// A published file whose pieces are known.
#[derive(Debug)]
pub struct Old {
    file: File,
    pieces: Arc<Pieces>,
}

impl Old {
    /// The file at `path`; `None` if it is not there, or does not hold those pieces.
    #[must_use]
    pub fn open(path: &Path, pieces: Arc<Pieces>) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let hash = hash_of(file.by_ref()).ok()?;
        file.rewind().ok()?;
        (hash == pieces.hash).then_some(Self { file, pieces })
    }
}

/// A file that is being put together.
#[derive(Debug, Default)]
pub struct Composer {
    old: Option<Old>,
    bytes: Vec<u8>,
    places: Vec<Piece>,
    /// What comes next from the old file: neighbours are read at once.
    taken: Range<usize>,
    /// Whether that could not be read.
    failed: bool,
}

impl Composer {
    /// A file whose last version was `old`.
    #[must_use]
    pub fn over(old: Option<Old>) -> Self {
        Self { old, ..Self::default() }
    }

    /// Adds what is no piece.
    pub fn text(&mut self, text: &str) {
        self.take();
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Adds the piece that is made of what `key` stands for: as it was, or as `make` makes it.
    ///
    /// # Errors
    /// As `make`.
    pub fn piece<E>(&mut self, key: Key, make: impl FnOnce() -> Result<String, E>) -> Result<(), E> {
        let known = self.old.as_ref().and_then(|old| old.pieces.find(key));
        let begin = self.bytes.len() + self.taken.len();
        match known {
            Some(place) if place.start == self.taken.end => self.taken.end = place.end,
            Some(place) => {
                self.take();
                self.taken = place;
            }
            None => self.text(&make()?),
        }
        self.places.push((key, begin..self.bytes.len() + self.taken.len()));
        Ok(())
    }

    /// Reads what is still to come from the old file.
    fn take(&mut self) {
        let place = std::mem::take(&mut self.taken);
        let Some(old) = self.old.as_ref().filter(|_| !place.is_empty()) else { return };
        let begin = self.bytes.len();
        self.bytes.resize(begin + place.len(), 0);
        let offset = u64::try_from(place.start).unwrap_or(u64::MAX);
        let to = self.bytes.get_mut(begin..).unwrap_or_default();
        self.failed |= old.file.read_exact_at(to, offset).is_err();
    }

    /// The file, and its pieces; `None` if the old one could not be read: begin anew, without it.
    #[must_use]
    pub fn finish(mut self) -> Option<(Vec<u8>, Vec<Piece>)> {
        self.take();
        (!self.failed).then_some((self.bytes, self.places))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::{fsio, site::key::content_hash};

    /// A file of these pieces between two texts, and which of them were made.
    fn compose(old: Option<Old>, pieces: &[&str]) -> (Vec<u8>, Vec<Piece>, Vec<String>) {
        let mut composer = Composer::over(old);
        let mut made = Vec::new();
        composer.text("<");
        for piece in pieces {
            let make = || {
                made.push((*piece).to_owned());
                Ok::<_, Infallible>((*piece).to_owned())
            };
            composer.piece(Key::of(piece), make).unwrap();
        }
        composer.text(">");
        let (bytes, places) = composer.finish().unwrap();
        (bytes, places, made)
    }

    #[test]
    fn what_did_not_change_is_taken_from_the_old_file_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let (bytes, places, made) = compose(None, &["one ", "two ", "three ", "four "]);
        assert_eq!((bytes.as_slice(), made.len()), (b"<one two three four >".as_slice(), 4));
        fsio::write(&path, &bytes).unwrap();
        let pieces = Arc::new(Pieces::new(content_hash(&bytes), places));
        let next = |new: &[&str]| compose(Old::open(&path, Arc::clone(&pieces)), new);
        let (bytes, places, made) = next(&["four ", "one ", "two ", "five ", "three "]);
        assert_eq!(bytes, b"<four one two five three >");
        assert_eq!(made, ["five "]);
        let read: Vec<&[u8]> = places.iter().map(|(_, place)| &bytes[place.clone()]).collect();
        assert_eq!(read, [b"four ".as_slice(), b"one ", b"two ", b"five ", b"three "]);
        assert_eq!(next(&["two ", "two "]).0, b"<two two >");
    }

    #[test]
    fn a_file_that_holds_something_else_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let (bytes, places, _) = compose(None, &["one "]);
        let pieces = Arc::new(Pieces::new(content_hash(&bytes), places));
        assert!(Old::open(&path, Arc::clone(&pieces)).is_none());
        fsio::write(&path, b"<ONE >").unwrap();
        assert!(Old::open(&path, Arc::clone(&pieces)).is_none());
        fsio::write(&path, &bytes).unwrap();
        let old = Old::open(&path, pieces).unwrap();
        // Cut in the moment after it was looked at: said, not guessed.
        File::options().write(true).open(&path).unwrap().set_len(2).unwrap();
        let mut composer = Composer::over(Some(old));
        composer.piece(Key::of("one "), || Ok::<_, Infallible>(String::new())).unwrap();
        assert_eq!(composer.finish(), None);
    }
}
