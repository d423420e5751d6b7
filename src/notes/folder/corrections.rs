//! The one file of corrections, looked at again and again, by the rules of all notes.

use std::{
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{Look, RETRY, Scan, look_of, of_the_file, rested, unreadable};
use crate::{
    domain::{correction::Correction, diagnostic::Diagnostic},
    fsio,
    notes::{Known, MAX_BYTES, parse_corrections},
};

/// Its name in the folder of all notes.
const NAME: &str = "corrections.toml";

/// What is known of the file.
#[derive(Debug)]
pub(super) struct Corrections {
    path: PathBuf,
    /// How it looks, and since when to us.
    look: Option<(Look, Timestamp)>,
    /// How it looked when it was last read, and when that was.
    read: Option<(Look, Timestamp)>,
    /// The last good version, if it was read since the start.
    good: Option<Vec<Correction>>,
    /// Whether corrections are in force that a file should hold.
    is_in_force: bool,
    problems: Vec<Diagnostic>,
}

impl Corrections {
    /// The file in the folder of all notes. Nothing is read yet.
    pub(super) fn new(notes: &Path) -> Self {
        let path = notes.join(NAME);
        Self { path, look: None, read: None, good: None, is_in_force: false, problems: Vec::new() }
    }

    /// Corrections are in force since before the start.
    pub(super) fn remember(&mut self, is_in_force: bool) {
        self.is_in_force = is_in_force;
    }

    /// What it was read against has changed.
    pub(super) fn read_anew(&mut self) {
        self.read = None;
    }

    /// Looks at it.
    pub(super) fn scan(&mut self, known: &Known, scan: &mut Scan) {
        let look = match look_of(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            look => look,
        };
        match look {
            Ok(Some(look)) => self.look_at(look, known, scan),
            Ok(None) => {
                (self.look, self.read) = (None, None);
                self.problems.clear();
                if self.is_in_force {
                    let hint = "put it back; to take all corrections back, leave a file with nothing but a comment";
                    self.problems.push(of_the_file(&self.path, "the file of corrections is gone".to_owned(), hint));
                }
            }
            Err(error) => self.problems = vec![unreadable(&self.path, &error)],
        }
        scan.problems.extend(self.problems.iter().cloned());
    }

    fn look_at(&mut self, look: Look, known: &Known, scan: &mut Scan) {
        let now = known.now;
        let since = match self.look {
            Some((before, since)) if before == look => since,
            _ => now,
        };
        self.look = Some((look, since));
        if let Some((read, read_at)) = self.read
            && read == look
            && (self.problems.is_empty() || now.duration_since(read_at) < RETRY)
        {
            return;
        }
        if !rested(&look, since, now) {
            scan.is_unsettled = true;
            return;
        }
        let text = fsio::read_text(&self.path, u64::try_from(MAX_BYTES).unwrap_or(u64::MAX));
        if look_of(&self.path).ok().flatten() != Some(look) {
            // It changed under our eyes.
            scan.is_unsettled = true;
            return;
        }
        self.read = Some((look, now));
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                self.problems = vec![unreadable(&self.path, &error)];
                return;
            }
        };
        if text.trim().is_empty() && self.is_in_force {
            // Cut off to be written anew, by an editor that was held up or a disk that is full.
            let hint = "to take all corrections back, leave a comment in it";
            self.problems = vec![of_the_file(&self.path, "the file of corrections is empty".to_owned(), hint)];
            return;
        }
        match parse_corrections(&self.path, &text, known) {
            Ok((corrections, warnings)) => {
                self.problems = warnings;
                self.is_in_force = !corrections.is_empty();
                if self.good.as_ref() != Some(&corrections) {
                    scan.corrections = Some(corrections.clone());
                    self.good = Some(corrections);
                }
            }
            Err(errors) => self.problems = errors,
        }
    }
}
