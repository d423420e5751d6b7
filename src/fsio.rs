//! The only place that writes files.
//!
//! A file is written beside its target under a temporary name, synced, and renamed over it: a
//! reader sees the old content or the new, never half. Temporary names end in [`TEMPORARY`], so
//! that a leftover of a crash is known as ours.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::fs::{FlockOperation, flock};

/// How the name of a temporary file ends.
pub const TEMPORARY: &str = ".wb-tmp";

/// Writes new content beside `target`, creating its folder if need be. Nothing is synced yet, and
/// `target` is as it was.
///
/// # Errors
/// As the file system says; then nothing lies there.
#[expect(clippy::disallowed_methods, reason = "the one place that may write")]
pub fn stage(target: &Path, bytes: &[u8]) -> io::Result<File> {
    let temporary = temporary_name(target);
    let mut file = match File::create(&temporary) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(target.parent().unwrap_or(Path::new(".")))?;
            File::create(&temporary)?
        }
        created => created?,
    };
    match file.write_all(bytes) {
        Ok(()) => Ok(file),
        Err(error) => {
            unstage(target);
            Err(error)
        }
    }
}

/// Puts what was staged for `target` in its place. Its content must be on the disk by now; the
/// folder is not synced: see [`sync_folder`]. Gives what was there before, still open: the last to
/// let go of a large file waits until its space is free.
///
/// # Errors
/// As the file system says; the target is then as it was.
#[expect(clippy::disallowed_methods, reason = "the one place that may write")]
pub fn put_in_place(target: &Path) -> io::Result<Option<File>> {
    let before = File::open(target).ok();
    fs::rename(temporary_name(target), target)?;
    Ok(before)
}

/// Gives up what was staged for `target`, if anything was.
pub fn unstage(target: &Path) {
    // Best effort: a leftover is also removed by its name.
    let _ = fs::remove_file(temporary_name(target));
}

/// Waits until all that was written to the file system of `folder` is on the disk: of many files
/// at once, quicker than one by one.
///
/// # Errors
/// As the file system says.
pub fn sync_file_system(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Adds to the end of a file, making it if there is none. With `durable` it is on the disk when
/// this returns.
///
/// # Errors
/// As the file system says; the end of the file may then be a part of `bytes`.
pub fn append(target: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(target)?;
    file.write_all(bytes)?;
    if durable { file.sync_data() } else { Ok(()) }
}

fn temporary_name(target: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(TEMPORARY);
    target.with_file_name(name)
}

/// Replaces a file's content: old or new, durable when this returns.
///
/// # Errors
/// As the file system says; the target is then as it was.
pub fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = stage(target, bytes)?.sync_all().and_then(|()| put_in_place(target).map(drop));
    if written.is_err() {
        unstage(target);
    }
    written?;
    sync_folder(target.parent().unwrap_or(Path::new(".")))
}

/// Makes renames and removals in a folder durable.
///
/// # Errors
/// As the file system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// Creates a file that must not exist yet, whole or not at all, durable when this returns; `mode`
/// as in chmod.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if it does, else as the file system says.
pub fn create(target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Another name each time: two that try at once must not write into each other's file.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{number}", std::process::id()));
    let temporary = temporary_name(&target.with_file_name(name));
    let result = (|| {
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::hard_link(&temporary, target)?;
        sync_folder(folder)
    })();
    let _ = fs::remove_file(&temporary);
    result
}

/// Removes what processes that were killed left in `folder` as they [`create`]d files there; how many.
/// To be called before this process creates any: what bears its number is of another one before it.
///
/// # Errors
/// As the file system says; a folder that is not there has nothing in it.
pub fn remove_left(folder: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let is_left = maker(&entry.file_name().to_string_lossy())
            .is_some_and(|id| id == std::process::id() || !Path::new("/proc").join(id.to_string()).exists());
        if is_left && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The process that made a file of that name on the way to another, if that is what it is.
fn maker(name: &str) -> Option<u32> {
    let (target, maker) = name.strip_prefix('.')?.strip_suffix(TEMPORARY)?.rsplit_once('.')?;
    let (process, number) = maker.split_once('-')?;
    number.parse::<u32>().ok().filter(|_| !target.is_empty())?;
    process.parse().ok()
}

/// Gives a finished file, made beside `target`, its name; nothing may have that name yet. The
/// content must be on the disk already.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something has, else as the file system says; `finished`
/// then stays.
pub fn place_new(finished: &Path, target: &Path) -> io::Result<()> {
    fs::hard_link(finished, target)?;
    fs::remove_file(finished)?;
    sync_folder(target.parent().unwrap_or(Path::new(".")))
}

/// Gives a file a second name, which nothing may have yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something has, else as the file system says.
pub fn also_named(existing: &Path, name: &Path) -> io::Result<()> {
    fs::hard_link(existing, name)?;
    sync_folder(name.parent().unwrap_or(Path::new(".")))
}

/// Moves a file, made beside `target`, over whatever has that name. The content must be on the
/// disk already.
///
/// # Errors
/// As the file system says; the target is then as it was.
#[expect(clippy::disallowed_methods, reason = "the one place that may write")]
pub fn place(finished: &Path, target: &Path) -> io::Result<()> {
    fs::rename(finished, target)?;
    sync_folder(target.parent().unwrap_or(Path::new(".")))
}

/// Creates a folder with all above it.
///
/// # Errors
/// As the file system says.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Removes a file, and its folder if that is then empty (but never `keep` or anything above it).
/// A file that is already gone is no error.
///
/// # Errors
/// As the file system says.
pub fn remove(target: &Path, keep: &Path) -> io::Result<()> {
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for folder in target.ancestors().skip(1).take_while(|folder| *folder != keep && folder.starts_with(keep)) {
        if fs::remove_dir(folder).is_err() {
            break; // not empty: somebody else's, or still in use
        }
    }
    Ok(())
}

/// Why an operation failed, in the system's words but without its number: "No such file or
/// directory".
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Reads a text file of at most `max` bytes.
///
/// # Errors
/// As the file system says; [`io::ErrorKind::InvalidData`] if it is longer or no UTF-8.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {max} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("byte {at} is not valid UTF-8"))
    })
}

/// A lock that vanishes with its process, and says who holds it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("it is held by {holder}")]
    Held {
        /// What the holder wrote about itself.
        holder: String,
    },
    /// The lock file could not be used.
    #[error("the lock file {path} could not be used: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock at `path`, writing `holder` into it for others to read.
    ///
    /// # Errors
    /// If another process has it, or the file cannot be used.
    pub fn take(path: &Path, holder: &str) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = held_by(&mut file).unwrap_or_default();
                let holder = holder.trim();
                let holder = if holder.is_empty() { "another process" } else { holder }.to_owned();
                return Err(LockError::Held { holder });
            }
            Err(errno) => return Err(io(errno.into())),
        }
        // Who takes it again and again writes nothing again: a file that is cut and rewritten costs
        // some file systems a write to the disk.
        if !held_by(&mut file).is_ok_and(|before| before == holder) {
            file.rewind().and_then(|()| file.set_len(0)).map_err(io)?;
            file.write_all(holder.as_bytes()).map_err(io)?;
        }
        Ok(Self { _file: file })
    }
}

/// What the last holder of a lock wrote about itself.
fn held_by(file: &mut File) -> io::Result<String> {
    let mut holder = String::new();
    file.read_to_string(&mut holder)?;
    Ok(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.txt");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_staged_is_not_in_its_place_and_can_be_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/b.txt");
        stage(&path, b"one").unwrap();
        assert!(!path.exists());
        unstage(&path);
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }

    #[test]
    fn create_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.txt");
        create(&path, b"one", 0o600).unwrap();
        assert_eq!(create(&path, b"two", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn what_dead_processes_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| write(&folder.path().join(name), b"x").unwrap();
        // No process has that number: it is above the largest one.
        let dead = [".a.toml.4194305-0.wb-tmp".to_owned(), format!(".a.toml.{}-7.wb-tmp", std::process::id())];
        let kept = [
            ".a.toml.1-0.wb-tmp",
            ".a.toml.wb-tmp",
            ".4194305-0.wb-tmp",
            "a.toml.4194305-0.wb-tmp",
            ".a.toml.4194305.wb-tmp",
            ".a.toml.4194305-0.swp",
            "b.toml",
        ];
        for name in dead.iter().map(String::as_str).chain(kept) {
            put(name);
        }
        fs::create_dir(folder.path().join(".b.4194305-0.wb-tmp")).unwrap();
        assert_eq!(remove_left(folder.path()).unwrap(), 2);
        assert!(kept.iter().all(|name| folder.path().join(name).exists()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), kept.len() + 1);
        assert_eq!(remove_left(&folder.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn of_many_who_create_a_file_at_once_one_wins_and_its_file_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let winners: Vec<u8> = std::thread::scope(|scope| {
            let tries = (0..16_u8).map(|n| {
                let path = &path;
                scope.spawn(move || create(path, &[n; 4096], 0o600).is_ok().then_some(n))
            });
            tries.collect::<Vec<_>>().into_iter().filter_map(|each| each.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1);
        assert_eq!(fs::read(&path).unwrap(), [winners[0]; 4096]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn removing_clears_empty_folders_up_to_the_one_to_keep() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x/y/z.txt");
        write(&path, b"one").unwrap();
        remove(&path, folder.path()).unwrap();
        assert!(folder.path().exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        remove(&path, folder.path()).unwrap();
    }

    #[test]
    fn a_second_holder_is_refused_and_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path, "process 7").unwrap();
        let error = Lock::take(&path, "process 8").unwrap_err().to_string();
        assert_eq!(error, "it is held by process 7");
        drop(first);
        Lock::take(&path, "process 8").unwrap();
    }
}
