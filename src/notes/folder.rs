//! A folder of notes, looked at again and again.
//!
//! A file counts once it has rested, so that none is read half-written; one that does not parse or
//! has vanished leaves its last good version in force. Files are told apart by content, not by
//! time. This looks; it neither waits nor writes.

mod corrections;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

use self::corrections::Corrections;
use super::{Known, MAX_BYTES, id_of, parse_as};
use crate::{
    domain::{
        IncidentId, ServiceId,
        correction::Correction,
        diagnostic::{Diagnostic, Severity, SourceFile},
        note::Note,
    },
    fsio,
};

/// The folder of incidents' notes within that of all notes.
pub(super) const INCIDENTS: &str = "incidents";
/// A file that has not changed for so long is whole.
const RESTED: SignedDuration = SignedDuration::from_secs(1);
/// A file that looks the same twice, at least so far apart, is whole.
const TWICE: SignedDuration = SignedDuration::from_millis(150);
/// A bad file is tried again after so long even if it did not change: what it says may lie in the
/// future, and times come.
const RETRY: SignedDuration = SignedDuration::from_secs(20);

/// What one look at the folder found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Notes that are new, or whose content changed. After a start: all.
    pub changed: Vec<Note>,
    /// All corrections, if the file of them is new or its content changed; so after a start.
    pub corrections: Option<Vec<Correction>>,
    /// All that is wrong with files as they are now, not only since the last look. Warnings of
    /// good files are among them.
    pub problems: Vec<Diagnostic>,
    /// Notes that are in force although their files are gone.
    pub vanished: Vec<IncidentId>,
    /// Files that got a new name: the new name, and the id that their note keeps.
    pub renamed: Vec<(IncidentId, IncidentId)>,
    /// What is to be remembered beyond this process: what is new or other than before.
    pub marks: Vec<Mark>,
    /// Names of which nothing is to be remembered any more.
    pub forgotten: Vec<IncidentId>,
    /// Whether a file is still being written: look again within a second.
    pub is_unsettled: bool,
    /// Why the folder could not be read. A folder that is not there is empty.
    pub failed: Option<io::Error>,
}

impl Scan {
    /// How many files are not in force as they are.
    #[must_use]
    pub fn invalid(&self) -> usize {
        let mut files: Vec<&Path> = self
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .map(|problem| problem.source.path.as_path())
            .collect();
        files.dedup();
        files.len()
    }
}

/// What a file held when it was last good, as far as a rename is known by it: given to
/// [`Folder::remember`], a file is the same also if it got its new name while nobody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The file's name.
    pub name: IncidentId,
    /// The id of its note: another one if it was renamed.
    pub id: IncidentId,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
}

/// What a process knows of the files of the one before.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// What files of notes held.
    pub files: Vec<Mark>,
    /// Whether corrections are in force.
    pub is_corrected: bool,
}

/// How a file looked from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    inode: u64,
    size: u64,
    modified: Timestamp,
}

#[derive(Debug)]
struct File {
    look: Look,
    /// Since when it has looked like that to us.
    since: Timestamp,
    /// How it looked when it was last read.
    read: Option<Look>,
    read_at: Timestamp,
    /// Of what was last read; `None`: it never was.
    hash: Option<[u8; 32]>,
    /// It was good once, perhaps before the start: whatever it holds, it is no other file renamed.
    is_marked: bool,
    /// Holds what another file holds: a copy, which is nothing until it is edited.
    is_copy: bool,
    is_present: bool,
    /// Its note is that of another id: it was renamed.
    id: IncidentId,
    /// The last good version.
    note: Option<Note>,
    problems: Vec<Diagnostic>,
}

impl File {
    /// A file that was never read.
    fn new(id: IncidentId, look: Look, now: Timestamp) -> Self {
        Self {
            look,
            since: now,
            read: None,
            read_at: now,
            hash: None,
            is_marked: false,
            is_copy: false,
            is_present: true,
            id,
            note: None,
            problems: Vec::new(),
        }
    }
}

/// A folder of notes.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    files: BTreeMap<IncidentId, File>,
    corrections: Corrections,
    /// What the files were read against.
    against: Option<(Vec<ServiceId>, TimeZone)>,
}

impl Folder {
    /// The folder `dir`, in which incidents' notes lie in `incidents`, and corrections beside that.
    /// Nothing is read yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let corrections = Corrections::new(dir);
        Self { dir: dir.join(INCIDENTS), files: BTreeMap::new(), corrections, against: None }
    }

    /// Where the incidents' notes lie.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Restores what [`Scan::marks`] and [`Scan::corrections`] once said, before the first scan.
    pub fn remember(&mut self, remembered: Remembered) {
        self.corrections.remember(remembered.is_corrected);
        let unseen = Look { inode: 0, size: 0, modified: Timestamp::MIN };
        self.files.extend(remembered.files.into_iter().map(|Mark { name, id, hash }| {
            let file =
                File { hash: Some(hash), is_marked: true, is_present: false, ..File::new(id, unseen, Timestamp::MIN) };
            (name, file)
        }));
    }

    /// Looks at the folder. Cheap while nothing changes.
    pub fn scan(&mut self, known: &Known) -> Scan {
        let mut scan = Scan::default();
        let is_same =
            |(services, zone): &(Vec<ServiceId>, TimeZone)| *services == known.services && *zone == known.timezone;
        if !self.against.as_ref().is_some_and(is_same) {
            self.files.values_mut().for_each(|file| file.read = None);
            self.corrections.read_anew();
            self.against = Some((known.services.clone(), known.timezone.clone()));
        }
        self.corrections.scan(known, &mut scan);
        let looks = match looks(&self.dir) {
            Ok(looks) => looks,
            Err(error) => {
                scan.failed = Some(error);
                self.report(&mut scan);
                return scan;
            }
        };
        for (name, file) in &mut self.files {
            file.is_present = looks.contains_key(name);
        }
        for (name, look) in looks {
            self.look_at(&name, look, known, &mut scan);
        }
        self.report(&mut scan);
        scan
    }

    fn look_at(&mut self, name: &IncidentId, look: Look, known: &Known, scan: &mut Scan) {
        let now = known.now;
        let file = self.files.entry(name.clone()).or_insert_with(|| File::new(name.clone(), look, now));
        if file.look != look {
            (file.look, file.since) = (look, now);
        }
        let (is_read, is_copy, hash) = (file.read == Some(look), file.is_copy, file.hash);
        let is_due = !file.problems.is_empty() && now.duration_since(file.read_at) >= RETRY;
        let since = file.since;
        // A copy whose original goes away was a rename in two steps.
        let is_renamed = || self.files.values().any(|other| !other.is_present && other.hash == hash);
        if is_read && !is_due && !(is_copy && is_renamed()) {
            return;
        }
        if !rested(&look, since, now) {
            scan.is_unsettled = true;
            return;
        }
        let path = self.dir.join(format!("{name}.toml"));
        let text = fsio::read_text(&path, u64::try_from(MAX_BYTES).unwrap_or(u64::MAX));
        if look_of(&path).ok().flatten() != Some(look) {
            // It changed under our eyes.
            scan.is_unsettled = true;
            return;
        }
        self.take(name, text, known, scan);
    }

    /// Takes what a file holds.
    fn take(&mut self, name: &IncidentId, text: io::Result<String>, known: &Known, scan: &mut Scan) {
        let path = self.dir.join(format!("{name}.toml"));
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                if let Some(file) = self.files.get_mut(name) {
                    file.problems = vec![unreadable(&path, &error)];
                    (file.read, file.read_at) = (Some(file.look), known.now);
                }
                return;
            }
        };
        if text.trim().is_empty() {
            // Cut off to be written anew, by an editor that was held up or a disk that is full.
            if let Some(file) = self.files.get_mut(name) {
                file.problems = if file.is_marked { vec![emptied(&path)] } else { Vec::new() };
                (file.read, file.read_at) = (Some(file.look), known.now);
            }
            return;
        }
        let hash: [u8; 32] = Sha256::digest(&text).into();
        let same = |other: &&mut File| other.hash == Some(hash) && !other.is_copy;
        let is_new = self.files.get(name).is_some_and(|file| !file.is_marked);
        let mut is_copy = false;
        let mut kept = None;
        if is_new {
            let mut twins = self.files.iter_mut().filter(|(other, _)| *other != name).map(|(_, file)| file);
            if let Some(twin) = twins.find(same) {
                if twin.is_present {
                    is_copy = true;
                } else {
                    kept = Some((twin.id.clone(), twin.note.take()));
                }
            }
        }
        if let Some((id, _)) = &kept {
            // The old name is history now: its note lives on under the new one.
            let id = id.clone();
            self.files.retain(|other, file| {
                let is_kept = other == name || file.is_present || file.id != id;
                scan.forgotten.extend((!is_kept).then(|| other.clone()));
                is_kept
            });
            scan.renamed.push((name.clone(), id));
        }
        let Some(file) = self.files.get_mut(name) else { return };
        let is_same_text = file.hash == Some(hash) && kept.is_none();
        (file.read, file.read_at, file.hash, file.is_copy) = (Some(file.look), known.now, Some(hash), is_copy);
        if is_copy {
            file.problems.clear();
            return;
        }
        if let Some((id, note)) = kept {
            (file.id, file.note) = (id, note);
        }
        match parse_as(Some(file.id.clone()), &path, &text, known) {
            Ok((note, warnings)) => {
                file.problems = warnings;
                if file.note.as_ref() != Some(&note) {
                    scan.changed.push(note.clone());
                }
                file.note = Some(note);
                if !file.is_marked || !is_same_text {
                    file.is_marked = true;
                    scan.marks.push(Mark { name: name.clone(), id: file.id.clone(), hash });
                }
            }
            Err(errors) => file.problems = errors,
        }
    }

    fn report(&self, scan: &mut Scan) {
        for file in self.files.values() {
            if file.is_present {
                scan.problems.extend(file.problems.iter().cloned());
            } else if file.note.is_some() {
                scan.vanished.push(file.id.clone());
            }
        }
    }
}

/// Whether a file is whole that looks like this, `since` then to us.
fn rested(look: &Look, since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(look.modified) >= RESTED || now.duration_since(since) >= TWICE
}

/// The notes in a folder. Whatever is not named as one is somebody else's: editors' temporary
/// files, copies such as `x (1).toml`, folders.
fn looks(dir: &Path) -> io::Result<BTreeMap<IncidentId, Look>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut looks = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        // A file that went away meanwhile, or that is a folder, is none.
        if let Some(id) = id_of(&path)
            && let Ok(Some(look)) = look_of(&path)
        {
            looks.insert(id, look);
        }
    }
    Ok(looks)
}

fn look_of(path: &Path) -> io::Result<Option<Look>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let modified = Timestamp::try_from(metadata.modified()?).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(Some(Look { inode: metadata.ino(), size: metadata.len(), modified }))
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    of_the_file(path, format!("the note cannot be read: {error}"), "")
}

fn emptied(path: &Path) -> Diagnostic {
    of_the_file(path, "the note is empty".to_owned(), "to take it off the site, write `withdrawn = true`")
}

fn of_the_file(path: &Path, message: String, hint: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        source: Arc::new(SourceFile { path: path.to_owned(), text: String::new() }),
        span: 0..0,
        message,
        hint: hint.to_owned(),
    }
}

#[cfg(test)]
mod tests;
