//! Putting files in their place: staged, synced, renamed; old or new, never half.
//!
//! What a pass writes is staged in full before the first file is replaced, so that a full disk or a
//! bad template leaves the site as it was. Which files there are, and what they hold, is decided
//! elsewhere.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use crate::fsio::{self, Staged, TEMPORARY};

use super::manifest;

/// How many files are written and synced at once: a sync waits for the disk, not for us.
const WRITERS: usize = 8;
/// How many files are held in memory before they are staged.
const BATCH: usize = 64;

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

/// One pass: files are added, then all are put in place in the order of adding.
#[derive(Debug)]
pub struct Pass<'a> {
    output: &'a Path,
    waiting: Vec<(PathBuf, Vec<u8>)>,
    staged: Vec<Staged>,
    folders: BTreeSet<PathBuf>,
}

impl<'a> Pass<'a> {
    /// A pass over `output`.
    #[must_use]
    pub fn new(output: &'a Path) -> Self {
        Self { output, waiting: Vec::new(), staged: Vec::new(), folders: BTreeSet::new() }
    }

    /// Stages `bytes` for `path` (within the output, with `/`).
    ///
    /// # Errors
    /// If this file or one before it cannot be written.
    pub fn add(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), WriteError> {
        let target = self.output.join(path);
        // Folders that do not exist yet are made durable through the ones that hold them.
        self.folders.extend(target.ancestors().skip(1).take_while(|f| f.starts_with(self.output)).map(Path::to_owned));
        self.waiting.push((target, bytes));
        if self.waiting.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let waiting = std::mem::take(&mut self.waiting);
        let staged = in_parallel(&waiting, |(target, bytes)| {
            let stage = || {
                let mut staged = Staged::write(target, bytes)?;
                staged.sync()?;
                Ok(staged)
            };
            stage().map_err(failed(target, "written"))
        })?;
        self.staged.extend(staged);
        Ok(())
    }

    /// Puts every file in its place, then makes that durable.
    ///
    /// # Errors
    /// If a file cannot be replaced: those before it are new, the others old.
    pub fn commit(mut self) -> Result<usize, WriteError> {
        self.flush()?;
        let written = self.staged.len();
        for staged in std::mem::take(&mut self.staged) {
            staged.commit().map_err(failed(self.output, "brought up to date"))?;
        }
        let folders: Vec<PathBuf> = std::mem::take(&mut self.folders).into_iter().collect();
        in_parallel(&folders, |folder| fsio::sync_folder(folder).map_err(failed(folder, "synced")))?;
        Ok(written)
    }
}

/// `work` on every item, a few at a time; results in order, or the first error.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, WriteError> + Sync,
) -> Result<Vec<R>, WriteError> {
    let share = items.len().div_ceil(WRITERS);
    if share <= 1 {
        return items.iter().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().map(work).collect::<Result<Vec<R>, _>>()))
            .collect();
        let mut results = Vec::with_capacity(items.len());
        for thread in threads {
            match thread.join() {
                Ok(chunk) => results.extend(chunk?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(results)
    })
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
        for n in 0..200 {
            pass.add(&format!("x/{n}"), vec![b'x'; n]).unwrap();
        }
        pass.add("a", b"new".to_vec()).unwrap();
        assert_eq!(fs::read(output.path().join("a")).unwrap(), b"old");
        assert_eq!(pass.commit().unwrap(), 201);
        assert_eq!(fs::read(output.path().join("a")).unwrap(), b"new");
        assert_eq!(fs::read(output.path().join("x/199")).unwrap().len(), 199);
        assert!(files(output.path()).unwrap().iter().all(|(path, _)| !is_temporary(path)));
    }

    #[test]
    fn a_pass_that_is_given_up_leaves_nothing() {
        let output = tempfile::tempdir().unwrap();
        let mut pass = Pass::new(output.path());
        for n in 0..100 {
            pass.add(&format!("{n}"), vec![]).unwrap();
        }
        drop(pass);
        assert!(files(output.path()).unwrap().is_empty());
    }

    #[test]
    fn an_error_names_the_file_and_leaves_the_rest_as_it_was() {
        let output = tempfile::tempdir().unwrap();
        fsio::write(&output.path().join("a"), b"a file, no folder").unwrap();
        let mut pass = Pass::new(output.path());
        pass.add("b", b"new".to_vec()).unwrap();
        pass.add("a/b", b"new".to_vec()).unwrap();
        let error = pass.commit().unwrap_err().to_string();
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
