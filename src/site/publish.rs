//! Putting files in their place: staged, synced, renamed; old or new, never half.
//!
//! What a pass writes is staged in full before the first file is replaced, so that a full disk or a
//! bad template leaves the site as it was. Which files there are, and what they hold, is decided
//! elsewhere.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::fsio::{self, TEMPORARY};

use super::{
    crew::Crew,
    manifest::{self, Entry, Manifest},
    plan::Order,
};

/// A pass of more files than this is synced as a whole: the file system is then busy with us anyway.
const SYNCED_SINGLY: usize = 512;

/// What could not be done, and to which file.
#[derive(Debug, thiserror::Error)]
#[error("{} could not be {doing}: {source}", path.display())]
pub struct WriteError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was tried, as in "could not be written".
    pub doing: &'static str,
    /// What the system said.
    pub source: io::Error,
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { path, doing, source }
}

/// One pass: files are added, then all are put in place, by their [`Order`].
#[derive(Debug)]
pub struct Pass<'a> {
    output: &'a Path,
    /// Stages files while the next ones are made.
    crew: Crew<WriteError>,
    staged: Vec<(Order, String, Entry)>,
    /// How many of them are in their place.
    placed: usize,
    /// Whether some are not on the disk yet.
    unsynced: bool,
}

impl<'a> Pass<'a> {
    /// A pass over `output`.
    #[must_use]
    pub fn new(output: &'a Path) -> Self {
        Self { output, crew: Crew::default(), staged: Vec::new(), placed: 0, unsynced: false }
    }

    /// How many files were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.staged.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    /// Stages `bytes` for `path` (within the output, with `/`), of which the manifest will say
    /// `entry`.
    ///
    /// # Errors
    /// If a file before it could not be written.
    pub fn add(&mut self, path: &str, order: Order, entry: Entry, bytes: Vec<u8>) -> Result<(), WriteError> {
        self.staged.push((order, path.to_owned(), entry));
        let target = self.output.join(path);
        // Many files are synced all at once, before the first is put in its place.
        let at_once = self.staged.len() > SYNCED_SINGLY;
        self.unsynced |= at_once;
        self.crew.give(move || {
            let staged = fsio::stage(&target, &bytes);
            // A large page is not held while the disk is waited for.
            drop(bytes);
            let synced = staged.and_then(|file| if at_once { Ok(()) } else { file.sync_all() });
            synced.map_err(failed(&target, "written"))
        })
    }

    /// Puts every file in its place, makes that durable, and says so in the manifest.
    ///
    /// # Errors
    /// If a file cannot be replaced: those before it are new, the others old.
    pub fn commit(mut self, manifest: &mut Manifest) -> Result<usize, WriteError> {
        if self.staged.is_empty() {
            return Ok(0);
        }
        let output = self.output;
        let sync_all = || fsio::sync_file_system(output).map_err(failed(output, "synced"));
        self.staged.sort_by_key(|(order, ..)| *order);
        // While the last files are written.
        let begun = manifest.begin(output, self.staged.iter().map(|(_, path, _)| path.as_str()));
        self.crew.finish()?;
        begun.map_err(failed(output, "begun"))?;
        if self.unsynced {
            sync_all()?;
        }
        for (_, path, _) in &self.staged {
            let before = fsio::put_in_place(&output.join(path)).map_err(failed(output, "brought up to date"))?;
            self.placed += 1;
            if let Some(before) = before {
                self.crew.give(move || {
                    drop(before);
                    Ok(())
                })?;
            }
        }
        if self.unsynced {
            sync_all()?;
        } else {
            // Folders that did not exist are made durable through the ones that hold them.
            let targets = self.staged.iter().map(|(_, path, _)| Path::new(path));
            let folders: BTreeSet<&Path> = targets.flat_map(|path| path.ancestors().skip(1)).collect();
            for folder in folders.into_iter().map(|folder| output.join(folder)) {
                self.crew.give(move || fsio::sync_folder(&folder).map_err(failed(&folder, "synced")))?;
            }
            self.crew.finish()?;
        }
        let written = self.staged.len();
        for (_, path, entry) in std::mem::take(&mut self.staged) {
            manifest.put(path, entry);
        }
        Ok(written)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // Why it was given up is known to whoever gave it up.
        let _ = self.crew.finish();
        for (_, path, _) in self.staged.iter().skip(self.placed) {
            fsio::unstage(&self.output.join(path));
        }
    }
}

/// Removes one file of ours.
///
/// # Errors
/// As the file system says; that it is gone already is none.
pub fn remove(output: &Path, path: &str) -> Result<(), WriteError> {
    let target = output.join(path);
    fsio::remove(&target, output).map_err(failed(&target, "removed"))
}

/// Whether the file is there with that length.
#[must_use]
pub fn is_there(output: &Path, path: &str, length: u64) -> bool {
    fs::metadata(output.join(path)).is_ok_and(|data| data.is_file() && data.len() == length)
}

/// Removes what a crash left behind in the output folder.
///
/// # Errors
/// As the file system says.
pub fn remove_leftovers(output: &Path) -> Result<(), WriteError> {
    for (path, _) in files(output)? {
        if is_temporary(&path) {
            fs::remove_file(&path).map_err(failed(&path, "removed"))?;
        }
    }
    Ok(())
}

fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with('.') && name.ends_with(TEMPORARY))
}

/// Every file under `folder` that may be published, with its size and time, in order of names.
/// Missing folders are empty. What lies in a manifest's folder is none of the site.
///
/// # Errors
/// As the file system says.
pub fn files(folder: &Path) -> Result<Vec<(PathBuf, fs::Metadata)>, WriteError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&folder, "read")(error)),
        };
        for entry in entries {
            let path = entry.map_err(failed(&folder, "read"))?.path();
            let Ok(data) = fs::metadata(&path) else { continue };
            if data.is_dir() && path.file_name().is_none_or(|name| name != manifest::FOLDER) {
                let is_link = fs::symlink_metadata(&path).is_ok_and(|data| data.is_symlink());
                // A link to a folder could lead back up for ever.
                if !is_link {
                    folders.push(path);
                }
            } else if data.is_file() {
                found.push((path, data));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_replaces_nothing_until_all_is_staged() {
        let output = tempfile::tempdir().unwrap();
        fsio::write(&output.path().join("a"), b"old").unwrap();
        let mut pass = Pass::new(output.path());
        for n in 0..700 {
            pass.add(&format!("x/{n}"), Order::Page, Entry::default(), vec![b'x'; n]).unwrap();
        }
        pass.add("a", Order::Page, Entry::default(), b"new".to_vec()).unwrap();
        assert_eq!(fs::read(output.path().join("a")).unwrap(), b"old");
        assert!(!output.path().join("x/3").exists());
        assert_eq!(pass.commit(&mut Manifest::default()).unwrap(), 701);
        assert_eq!(fs::read(output.path().join("a")).unwrap(), b"new");
        assert_eq!(fs::read(output.path().join("x/199")).unwrap().len(), 199);
        assert!(files(output.path()).unwrap().iter().all(|(path, _)| !is_temporary(path)));
    }

    #[test]
    fn files_are_put_in_place_by_their_order_however_they_come() {
        let output = tempfile::tempdir().unwrap();
        let mut pass = Pass::new(output.path());
        let came = [("a.json", Order::Json), ("b", Order::Page), ("index.html", Order::Index), ("c", Order::Page)];
        for (path, order) in came {
            pass.add(path, order, Entry::default(), vec![]).unwrap();
        }
        // A folder in the way: there it ends.
        fs::create_dir(output.path().join("index.html")).unwrap();
        pass.commit(&mut Manifest::default()).unwrap_err();
        let there = |path: &str| output.path().join(path).is_file();
        assert_eq!(["b", "c", "a.json"].map(there), [true, true, false]);
    }

    #[test]
    fn a_pass_that_is_given_up_leaves_nothing() {
        let output = tempfile::tempdir().unwrap();
        let mut pass = Pass::new(output.path());
        for n in 0..100 {
            pass.add(&format!("{n}"), Order::Page, Entry::default(), vec![]).unwrap();
        }
        drop(pass);
        assert!(files(output.path()).unwrap().is_empty());
    }

    #[test]
    fn an_error_names_the_file_and_leaves_the_rest_as_it_was() {
        let output = tempfile::tempdir().unwrap();
        fsio::write(&output.path().join("a"), b"a file, no folder").unwrap();
        let mut pass = Pass::new(output.path());
        pass.add("b", Order::Page, Entry::default(), b"new".to_vec()).unwrap();
        pass.add("a/b", Order::Page, Entry::default(), b"new".to_vec()).unwrap();
        let error = pass.commit(&mut Manifest::default()).unwrap_err().to_string();
        assert!(error.contains("a/b could not be written"), "{error}");
        assert!(!output.path().join("b").exists());
    }

    #[test]
    fn leftovers_of_a_crash_go_and_other_files_stay() {
        let output = tempfile::tempdir().unwrap();
        for name in ["x/.index.html.wb-tmp", "x/mine.wb-tmp", ".htaccess"] {
            fsio::write(&output.path().join(name), b"").unwrap();
        }
        remove_leftovers(output.path()).unwrap();
        assert_eq!(files(output.path()).unwrap().len(), 2);
    }
}
