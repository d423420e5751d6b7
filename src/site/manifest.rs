//! The manifest: which files of the output folder are ours, what each was made of, and what it
//! holds. It lies in the output folder, so that the two can only be moved together.
//!
//! What is not in it was never ours, and is not touched. A change is a line at the end of a
//! journal, so that its cost does not grow with the site; now and then the whole is written anew.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::key::{ContentHash, Key, hex};
use crate::fsio;

/// The folder within the output that holds the manifest and the lock.
pub const FOLDER: &str = ".watchbell";
const HEADER: &str = "watchbell manifest 3";
const MAX_BYTES: u64 = 1 << 30;
/// A journal of fewer bytes is never worth writing the whole anew.
const SHORT: usize = 256 * 1024;
/// The length of a journal that cannot be added to: its end may be cut, or it lacks something.
const UNSURE: usize = usize::MAX;

/// One file that is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it was made of, but for the present.
    pub key: Key,
    /// As of when it states the present, in seconds.
    pub slot: Option<i64>,
    /// When it must be made anew although its key is the same.
    pub until: Option<Timestamp>,
    /// What it holds.
    pub hash: ContentHash,
    /// How long it is in bytes.
    pub length: u64,
    /// No longer planned: it goes with the next pass.
    pub leaving: bool,
}

/// An entry as it is held in memory: a site of 10,000 services has 100,000 of them.
#[derive(Clone, Copy, Debug)]
struct Held {
    key: Key,
    /// [`NEVER`] for none, as below.
    slot: i64,
    until_ms: i64,
    hash: ContentHash,
    /// Files beyond 4 GiB count as not there.
    length: u32,
    leaving: bool,
}

const NEVER: i64 = i64::MIN;

impl From<Entry> for Held {
    fn from(Entry { key, slot, until, hash, length, leaving }: Entry) -> Self {
        Self {
            key,
            slot: slot.unwrap_or(NEVER),
            until_ms: until.map_or(NEVER, Timestamp::as_millisecond),
            hash,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            leaving,
        }
    }
}

impl From<Held> for Entry {
    fn from(Held { key, slot, until_ms, hash, length, leaving }: Held) -> Self {
        let some = |number: i64| (number != NEVER).then_some(number);
        let until = some(until_ms).and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Self { key, slot: some(slot), until, hash, length: length.into(), leaving }
    }
}

/// All files that are ours, by path within the output (with `/`).
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    files: BTreeMap<Box<str>, Held>,
    /// Lines that the journal does not have yet.
    news: String,
    /// How long the journal is, and the rest.
    journal: usize,
    whole: usize,
}

fn path_of(output: &Path) -> PathBuf {
    output.join(FOLDER).join("manifest")
}

fn journal_of(output: &Path) -> PathBuf {
    output.join(FOLDER).join("journal")
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
        let text = read(&path_of(output))?;
        let mut manifest = Self::default();
        if let Some(lines) = text.strip_prefix(HEADER) {
            manifest.play(lines);
        }
        let journal = read(&journal_of(output))?;
        // The last line may have been cut.
        manifest.play(journal.rsplit_once('\n').map_or("", |(whole, _)| whole));
        (manifest.whole, manifest.journal) = (text.len(), if journal.is_empty() { 0 } else { UNSURE });
        Ok(manifest)
    }

    fn play(&mut self, lines: &str) {
        for line in lines.lines() {
            if let Some(path) = line.strip_prefix(BEGUN) {
                if let Some(entry) = self.files.get_mut(path) {
                    (entry.key, entry.hash) = (Key::default(), ContentHash::default());
                }
            } else if let Some(path) = line.strip_prefix(GONE) {
                self.files.remove(path);
            } else if let Some((path, entry)) = parse_line(line) {
                self.files.insert(path.into(), entry.into());
            }
        }
    }

    /// What is known of a file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Entry> {
        self.files.get(path).map(|held| (*held).into())
    }

    /// All files that are ours, in order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Entry)> {
        self.files.iter().map(|(path, held)| (&**path, (*held).into()))
    }

    /// Takes down what a file is now.
    pub fn put(&mut self, path: String, entry: Entry) {
        if self.takes_news() {
            write_line(&mut self.news, &path, &entry);
        }
        self.files.insert(path.into(), entry.into());
    }

    /// Forgets a file.
    pub fn remove(&mut self, path: &str) {
        if self.takes_news() {
            let _ = writeln!(self.news, "{GONE}{path}");
        }
        self.files.remove(path);
    }

    /// Where much changes, the whole is written anew instead.
    fn takes_news(&mut self) -> bool {
        if self.news.len() > SHORT {
            self.news.clear();
            self.journal = UNSURE;
        }
        self.journal != UNSURE
    }

    /// How many files are ours.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Forgets the files that are not as they should be.
    pub fn retain(&mut self, is_right: impl Fn(&str, &Entry) -> bool) {
        let before = self.files.len();
        self.files.retain(|path, held| is_right(path, &(*held).into()));
        if self.files.len() < before {
            self.journal = UNSURE;
        }
    }

    /// Marks the files that are no longer planned; gives those that were not marked yet.
    pub fn leave(&mut self, is_leaving: impl Fn(&str) -> bool) -> Vec<String> {
        let leaving = self.iter().filter(|(path, entry)| !entry.leaving && is_leaving(path));
        let leaving: Vec<(String, Entry)> =
            leaving.map(|(path, entry)| (path.to_owned(), Entry { leaving: true, ..entry })).collect();
        for (path, entry) in &leaving {
            self.put(path.clone(), *entry);
        }
        leaving.into_iter().map(|(path, _)| path).collect()
    }

    /// Writes down which files are about to be replaced, so that a crash in between is known. It is
    /// on the disk when this returns.
    ///
    /// # Errors
    /// As the file system says.
    pub fn begin<'a>(&mut self, output: &Path, paths: impl Iterator<Item = &'a str>) -> io::Result<()> {
        for path in paths {
            let _ = writeln!(self.news, "{BEGUN}{path}");
        }
        if self.journal == UNSURE {
            // Its end is not known to be whole.
            return self.save(output);
        }
        self.write_news(output, true)
    }

    /// Writes down what changed. Should the machine fail before it is on the disk, those files count
    /// as unknown, and nothing worse.
    ///
    /// # Errors
    /// As the file system says.
    pub fn note(&mut self, output: &Path) -> io::Result<()> {
        if self.journal == UNSURE {
            return self.save(output);
        }
        if self.news.is_empty() { Ok(()) } else { self.write_news(output, false) }
    }

    fn write_news(&mut self, output: &Path, durable: bool) -> io::Result<()> {
        fsio::create_folder(&output.join(FOLDER))?;
        // Whatever fails from here on, the journal may end within a line.
        let length = std::mem::replace(&mut self.journal, UNSURE);
        fsio::append(&journal_of(output), self.news.as_bytes(), durable)?;
        self.journal = length + self.news.len();
        self.news.clear();
        Ok(())
    }

    /// Whether the journal has grown so long that it is time to [`Self::save`] the whole.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.journal > SHORT.max(self.whole)
    }

    /// Writes the whole manifest, and begins a new journal with what was begun but not done.
    ///
    /// # Errors
    /// As the file system says.
    pub fn save(&mut self, output: &Path) -> io::Result<()> {
        let mut text = format!("{HEADER}\n");
        for (path, entry) in self.iter() {
            write_line(&mut text, path, &entry);
        }
        fsio::write(&path_of(output), text.as_bytes())?;
        fsio::remove(&journal_of(output), output)?;
        (self.whole, self.journal) = (text.len(), 0);
        self.news = self
            .news
            .lines()
            .filter(|line| line.starts_with(BEGUN))
            .fold(String::new(), |lines, line| lines + line + "\n");
        if self.news.is_empty() { Ok(()) } else { self.write_news(output, true) }
    }
}

/// How the line of a file begins that is about to be replaced,
const BEGUN: &str = "? ";
/// and of one that is gone.
const GONE: &str = "- ";

fn write_line(text: &mut String, path: &str, entry: &Entry) {
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (slot, until) = (number(entry.slot), number(entry.until.map(Timestamp::as_millisecond)));
    let leaving = if entry.leaving { "leaving" } else { "-" };
    let _ =
        writeln!(text, "{:016x} {} {} {slot} {until} {leaving} {path}", entry.key.0, hex(&entry.hash), entry.length);
}

fn parse_line(line: &str) -> Option<(&str, Entry)> {
    let mut parts = line.splitn(7, ' ');
    let key = Key(u64::from_str_radix(parts.next()?, 16).ok()?);
    let hash = unhex(parts.next()?)?;
    let length = parts.next()?.parse().ok()?;
    let number = |text: &str| if text == "-" { Some(None) } else { text.parse::<i64>().ok().map(Some) };
    let slot = number(parts.next()?)?;
    let until = match number(parts.next()?)? {
        None => None,
        Some(millis) => Some(Timestamp::from_millisecond(millis).ok()?),
    };
    let leaving = parts.next()? == "leaving";
    let path = parts.next().filter(|path| is_inside(path))?;
    Some((path, Entry { key, slot, until, hash, length, leaving }))
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
        Entry { key: Key(7), slot: Some(300), until, hash: content_hash(b"x"), length: 1, leaving }
    }

    fn manifest(paths: &[&str]) -> Manifest {
        let mut manifest = Manifest::default();
        for path in paths {
            manifest.put((*path).to_owned(), entry(Some(5), false));
        }
        manifest
    }

    fn files(manifest: &Manifest) -> Vec<(&str, Entry)> {
        manifest.iter().collect()
    }

    #[test]
    fn a_manifest_reads_back_whole_or_from_its_journal() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = manifest(&["a b/c.html", "gone", "z"]);
        manifest.note(folder.path()).unwrap();
        manifest.remove("gone");
        manifest.put("z".to_owned(), entry(None, true));
        manifest.note(folder.path()).unwrap();
        let read = Manifest::load(folder.path()).unwrap();
        assert_eq!(files(&read), [("a b/c.html", entry(Some(5), false)), ("z", entry(None, true))]);
        manifest.save(folder.path()).unwrap();
        assert_eq!(files(&Manifest::load(folder.path()).unwrap()), files(&manifest));
        assert!(!journal_of(folder.path()).exists());
    }

    #[test]
    fn a_crash_between_begin_and_note_makes_those_files_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = manifest(&["a", "b"]);
        manifest.save(folder.path()).unwrap();
        manifest.begin(folder.path(), ["b"].into_iter()).unwrap();
        let loaded = Manifest::load(folder.path()).unwrap();
        assert_eq!(loaded.get("a"), Some(entry(Some(5), false)));
        assert_eq!(loaded.get("b").unwrap().key, Key::default());
        // Nor does writing the whole forget it.
        manifest.begin(folder.path(), ["a"].into_iter()).unwrap();
        let mut loaded = Manifest::load(folder.path()).unwrap();
        loaded.begin(folder.path(), ["c"].into_iter()).unwrap();
        let again = Manifest::load(folder.path()).unwrap();
        assert_eq!(["a", "b"].map(|path| again.get(path).unwrap().key), [Key::default(); 2]);
    }

    #[test]
    fn a_journal_that_was_cut_anywhere_is_read_up_to_there_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        manifest(&["a", "b"]).note(folder.path()).unwrap();
        let journal = std::fs::read(journal_of(folder.path())).unwrap();
        for length in 0..journal.len() {
            let _ = std::fs::remove_file(path_of(folder.path()));
            fsio::write(&journal_of(folder.path()), &journal[..length]).unwrap();
            let mut manifest = Manifest::load(folder.path()).unwrap();
            assert!(manifest.iter().all(|(path, _)| ["a", "b"].contains(&path)), "{length}");
            manifest.put("c".to_owned(), entry(None, false));
            manifest.note(folder.path()).unwrap();
            assert_eq!(files(&Manifest::load(folder.path()).unwrap()), files(&manifest), "{length}");
        }
    }

    #[test]
    fn a_broken_manifest_owns_nothing_and_none_reaches_outside() {
        let folder = tempfile::tempdir().unwrap();
        manifest(&["../x"]).save(folder.path()).unwrap();
        assert_eq!(files(&Manifest::load(folder.path()).unwrap()), []);
        fsio::write(&path_of(folder.path()), b"watchbell manifest 0\nx").unwrap();
        assert_eq!(files(&Manifest::load(folder.path()).unwrap()), []);
    }
}
