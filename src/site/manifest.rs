//! The manifest: which files of the output folder are ours, what each was made of, and what it
//! holds. It lies in the output folder, so that the two can only be moved together.
//!
//! What is not in it was never ours, and is not touched.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::key::{ContentHash, Key, hex};
use crate::fsio;

/// The folder within the output that holds the manifest and the lock.
pub const FOLDER: &str = ".watchbell";
const HEADER: &str = "watchbell manifest 1";
const MAX_BYTES: u64 = 1 << 30;

/// One file that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it was made of.
    pub key: Key,
    /// When it must be made anew although its key is the same.
    pub until: Option<Timestamp>,
    /// What it holds.
    pub hash: ContentHash,
    /// How long it is in bytes.
    pub length: u64,
    /// No longer planned: it goes with the next pass.
    pub leaving: bool,
}

/// All files that are ours, by path within the output (with `/`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The files.
    pub files: BTreeMap<String, Entry>,
}

fn path_of(output: &Path) -> PathBuf {
    output.join(FOLDER).join("manifest")
}

fn pending_of(output: &Path) -> PathBuf {
    output.join(FOLDER).join("pending")
}

/// Where the lock of an output folder lies.
#[must_use]
pub fn lock_path(output: &Path) -> PathBuf {
    output.join(FOLDER).join("lock")
}

impl Manifest {
    /// The manifest of `output`; empty if there is none, or none that can be read: then every file
    /// is made anew, and what was there stays. Files that a crash caught half-way count as unknown.
    ///
    /// # Errors
    /// As the file system says.
    pub fn load(output: &Path) -> io::Result<Self> {
        let read = |path: &Path| match fsio::read_text(path, MAX_BYTES) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                Ok(String::new())
            }
            other => other,
        };
        let mut manifest = Self::parse(&read(&path_of(output))?);
        for path in read(&pending_of(output))?.lines() {
            if let Some(entry) = manifest.files.get_mut(path) {
                entry.key = Key::default();
                entry.hash = ContentHash::default();
            }
        }
        Ok(manifest)
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Self::default();
        }
        Self { files: lines.filter_map(parse_line).collect() }
    }

    fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("{HEADER}\n");
        for (path, entry) in &self.files {
            let until = entry.until.map_or_else(|| "-".to_owned(), |until| until.as_millisecond().to_string());
            let leaving = if entry.leaving { "leaving" } else { "-" };
            let hash = hex(&entry.hash);
            let _ = writeln!(text, "{:016x} {hash} {} {until} {leaving} {path}", entry.key.0, entry.length);
        }
        text
    }

    /// Writes down which files are about to be replaced, so that a crash in between is known.
    ///
    /// # Errors
    /// As the file system says.
    pub fn begin<'a>(output: &Path, paths: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let text = paths.fold(String::new(), |text, path| text + path + "\n");
        fsio::write(&pending_of(output), text.as_bytes())
    }

    /// Writes the manifest and forgets what was about to be replaced.
    ///
    /// # Errors
    /// As the file system says.
    pub fn save(&self, output: &Path) -> io::Result<()> {
        fsio::write(&path_of(output), self.text().as_bytes())?;
        fsio::remove(&pending_of(output), output)
    }
}

fn parse_line(line: &str) -> Option<(String, Entry)> {
    let mut parts = line.splitn(6, ' ');
    let key = Key(u64::from_str_radix(parts.next()?, 16).ok()?);
    let hash = unhex(parts.next()?)?;
    let length = parts.next()?.parse().ok()?;
    let until = match parts.next()? {
        "-" => None,
        millis => Some(Timestamp::from_millisecond(millis.parse().ok()?).ok()?),
    };
    let leaving = parts.next()? == "leaving";
    let path = parts.next().filter(|path| is_inside(path))?;
    Some((path.to_owned(), Entry { key, until, hash, length, leaving }))
}

/// Whether a path names a file within the output: no `..`, nothing absolute.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn unhex(text: &str) -> Option<ContentHash> {
    let mut hash = ContentHash::default();
    if text.len() != hash.len() * 2 {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::key::content_hash;

    fn entry(until: Option<i64>, leaving: bool) -> Entry {
        let until = until.map(|ms| Timestamp::from_millisecond(ms).unwrap());
        Entry { key: Key(7), until, hash: content_hash(b"x"), length: 1, leaving }
    }

    #[test]
    fn a_manifest_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let files = [("a b/c.html".to_owned(), entry(Some(5), false)), ("z".to_owned(), entry(None, true))];
        let manifest = Manifest { files: files.into_iter().collect() };
        manifest.save(folder.path()).unwrap();
        assert_eq!(Manifest::load(folder.path()).unwrap(), manifest);
    }

    #[test]
    fn a_crash_between_begin_and_save_makes_those_files_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a", "b"].map(|path| (path.to_owned(), entry(None, false)));
        let manifest = Manifest { files: files.into_iter().collect() };
        manifest.save(folder.path()).unwrap();
        Manifest::begin(folder.path(), ["b"].into_iter()).unwrap();
        let loaded = Manifest::load(folder.path()).unwrap();
        assert_eq!(loaded.files["a"], entry(None, false));
        assert_eq!(loaded.files["b"].key, Key::default());
    }

    #[test]
    fn a_broken_manifest_owns_nothing_and_none_reaches_outside() {
        assert_eq!(Manifest::parse("watchbell manifest 0\nx"), Manifest::default());
        let outside = Manifest { files: [("../x".to_owned(), entry(None, false))].into() };
        assert_eq!(Manifest::parse(&outside.text()), Manifest::default());
    }
}
