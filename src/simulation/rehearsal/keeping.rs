//! Where a rehearsal happens, and what is kept of it: a folder of its own that is gone afterwards,
//! and copies of what people look at.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::RehearsalError;
use crate::{fsio, simulation::Mail};

/// What a page claims about how long it is true: a copy claims nothing.
const CLAIM: &str = "<meta name=\"watchbell:fresh-until\"";

/// How folders are called in which rehearsals happen; the process follows.
const SCRATCH: &str = "watchbell-rehearsal-";

fn failed(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> RehearsalError {
    let path = path.to_owned();
    move |source| RehearsalError::File { path: path.clone(), doing, source }
}

/// Makes the folder for what is left, unless something is in it.
pub fn claim(output: &Path) -> Result<(), RehearsalError> {
    fsio::create_folder(output).map_err(failed(output, "made"))?;
    match fs::read_dir(output).map_err(failed(output, "read"))?.next() {
        None => Ok(()),
        Some(_) => Err(RehearsalError::NotEmpty { path: output.to_owned() }),
    }
}

/// A folder that is gone when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder, in memory if there is such a place: nothing in it must outlive us, and a
    /// simulated day writes as much as a real one. Whatever was left by others who were killed goes.
    pub fn new() -> Result<Self, RehearsalError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let memory = PathBuf::from("/dev/shm");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{SCRATCH}{}-{number}", std::process::id());
        let make = |folder: &Path| fs::DirBuilder::new().mode(0o700).create(folder);
        let in_memory = memory.join(&name);
        if make(&in_memory).is_ok() {
            clear(&memory);
            return Ok(Self(in_memory));
        }
        let folder = std::env::temp_dir().join(name);
        make(&folder).map_err(failed(&folder, "made"))?;
        clear(&std::env::temp_dir());
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Removes what processes left that are gone.
fn clear(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.split('-').next());
        if process.is_some_and(|id| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists()) {
            // Somebody else's, perhaps: it is theirs to remove then.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in a place that is cleared by others.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies a folder; what is not there is empty. Hidden files are the daemon's own.
pub fn keep(from: &Path, to: &Path) -> Result<(), RehearsalError> {
    copy(from, to, &|_, bytes| bytes)
}

/// Copies a site. Its pages do not say any more until when they are true: they are looked at later,
/// and would all be out of date.
pub fn keep_site(from: &Path, to: &Path) -> Result<(), RehearsalError> {
    copy(from, to, &|path, bytes| {
        let is_page = path.extension().is_some_and(|extension| extension == "html");
        match String::from_utf8(bytes) {
            Ok(text) if is_page => without_claim(&text).into_bytes(),
            Ok(text) => text.into_bytes(),
            Err(error) => error.into_bytes(),
        }
    })
}

fn without_claim(page: &str) -> String {
    let Some((before, rest)) = page.split_once(CLAIM) else { return page.to_owned() };
    let after = rest.split_once('>').map_or("", |(_, after)| after);
    format!("{before}{after}")
}

fn copy(from: &Path, to: &Path, change: &dyn Fn(&Path, Vec<u8>) -> Vec<u8>) -> Result<(), RehearsalError> {
    fsio::create_folder(to).map_err(failed(to, "made"))?;
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed(from, "read"))?,
    };
    for entry in entries {
        let path = entry.map_err(failed(from, "read"))?.path();
        let Some(name) = path.file_name().filter(|name| !name.to_string_lossy().starts_with('.')) else { continue };
        let target = to.join(name);
        if path.is_dir() {
            copy(&path, &target, change)?;
        } else {
            let bytes = fs::read(&path).map_err(failed(&path, "read"))?;
            fsio::append(&target, &change(&path, bytes), false).map_err(failed(&target, "written"))?;
        }
    }
    Ok(())
}

/// Writes mails into a folder, in the order in which they were taken.
pub fn keep_mails(mails: &[Mail], to: &Path) -> Result<(), RehearsalError> {
    fsio::create_folder(to).map_err(failed(to, "made"))?;
    let digits = mails.len().to_string().len().max(3);
    for (n, mail) in (1..).zip(mails) {
        // An address may hold a slash.
        let whom = mail.to.replace('/', "_");
        let target = to.join(format!("{n:0digits$}-{}-{whom}.eml", mail.taken_at.strftime("%Y%m%dT%H%M%SZ")));
        fsio::append(&target, &mail.bytes, false).map_err(failed(&target, "written"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_cleared_away_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let mine = format!("{SCRATCH}{}-0", std::process::id());
        for name in [&format!("{SCRATCH}4194999-0"), &mine, &format!("{SCRATCH}x"), "other-4194999-0"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        clear(place.path());
        let mut left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["other-4194999-0", &mine, &format!("{SCRATCH}x")]);
    }

    #[test]
    fn a_copy_of_a_page_claims_nothing_of_the_present() {
        let page = "<head>\n<meta name=\"watchbell:fresh-until\" content=\"2026-11-21T10:00:00Z\">\n<title>x</title>";
        assert_eq!(without_claim(page), "<head>\n\n<title>x</title>");
        assert_eq!(without_claim("<title>x</title>"), "<title>x</title>");
    }
}
