//! Leaving a test out, visibly.
//!
//! The test runner hides what a passing test prints, so a skip is also noted in `target/skips.txt`,
//! which `scripts/test` empties, prints and counts.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

/// Notes that the running test is left out because of `reason`; see [`skip!`].
pub fn note(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {} ({reason})\n", thread.name().unwrap_or("a test"));
    eprint!("{line}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/skips.txt");
    // One write to a file opened for appending: lines of tests that run at once do not mix.
    let noted =
        OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = noted {
        eprintln!("the skip could not be noted: {error}");
    }
}

/// The path of a program or file that a test needs: what the environment says (`WATCHBELL_NGINX`
/// for `nginx`), else what `scripts/test` put into `target/tools/bin`, else what is in `PATH` or a
/// folder of system programs.
pub fn program(name: &str) -> Option<PathBuf> {
    let variable = format!("WATCHBELL_{}", name.to_uppercase().replace(['-', '.'], "_"));
    if let Some(path) = std::env::var_os(variable) {
        return Some(path.into());
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::iter::once(tools).chain(std::env::split_paths(&path)).chain(system);
    folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()))
}

/// Notes that parts of the running test were left out, for want of programs or files that it names.
pub fn note_missing(wanted: &[(&str, &Option<PathBuf>)]) {
    let missing: Vec<&str> = wanted.iter().filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        note(&format!("in part: {} is not installed", missing.join(", ")));
    }
}

/// Leaves the rest of the test out: `skip!("nginx is not installed")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::support::skip::note(&format!($($reason)+));
        return;
    }};
}
