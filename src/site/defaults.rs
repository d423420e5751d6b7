//! The files of `site-templates/` as they were when this program was built, and an operator's
//! folder over them: a file there wins, file by file.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

use rust_embed::RustEmbed;

use crate::{config::reading::hint, fsio};

/// No template, catalogue or style sheet is longer than this.
const MAX_BYTES: u64 = 1 << 20;

/// How names of templates, catalogues and style sheets end.
const KINDS: [&str; 5] = [".html", ".txt", ".toml", ".css", ".svg"];

#[derive(RustEmbed)]
#[folder = "site-templates/"]
struct Embedded;

/// The built-in content of `path` (such as `i18n/en.toml`), if there is such a file.
#[must_use]
pub fn embedded(path: &str) -> Option<Cow<'static, str>> {
    let file = Embedded::get(path)?;
    match file.data {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// The names of all built-in files.
pub fn names() -> impl Iterator<Item = Cow<'static, str>> {
    Embedded::iter()
}

/// Files of the operator's folder that replace nothing, by the path within it, each with the
/// built-in name that may be meant. Hidden files, copies of editors and what is no template are
/// nobody's mistake.
///
/// # Errors
/// If the folder cannot be read.
pub fn unused(folder: &Path) -> io::Result<Vec<(String, Option<String>)>> {
    let mut unused = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(within) = folders.pop() {
        for entry in std::fs::read_dir(folder.join(&within))? {
            let entry = entry?;
            let path = within.join(entry.file_name());
            let Some(name) = path.to_str().map(str::to_owned) else { continue };
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if KINDS.iter().any(|kind| name.ends_with(kind)) && embedded(&name).is_none() {
                let known: Vec<_> = names().collect();
                let near = hint::nearest(&name, known.iter().map(AsRef::as_ref)).map(str::to_owned);
                unused.push((name, near));
            }
        }
    }
    unused.sort();
    Ok(unused)
}

/// A file of the operator's folder that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: it could not be read: {source}", path.display())]
pub struct OverrideError {
    /// Which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The content of `path`: from `overrides` if it has such a file, else the built-in one.
///
/// # Errors
/// If the operator's file exists but cannot be read, is no UTF-8, or is longer than 1 MiB.
pub fn read(overrides: Option<&Path>, path: &str) -> Result<Option<Cow<'static, str>>, OverrideError> {
    if let Some(folder) = overrides {
        let file = folder.join(path);
        match fsio::read_text(&file, MAX_BYTES) {
            Ok(text) => return Ok(Some(Cow::Owned(text))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(source) => return Err(OverrideError { path: file, source }),
        }
    }
    Ok(embedded(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_file_wins_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        fsio::write(&folder.path().join("i18n/en.toml"), b"mine").unwrap();
        assert_eq!(read(Some(folder.path()), "i18n/en.toml").unwrap().unwrap(), "mine");
        let other = tempfile::tempdir().unwrap();
        assert!(read(Some(other.path()), "i18n/en.toml").unwrap().unwrap().contains("[status]"));
        assert!(read(None, "i18n/xx.toml").unwrap().is_none());
    }

    #[test]
    fn a_file_that_replaces_nothing_is_found_with_the_name_that_may_be_meant() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["404.html", "idnex.html", "mail/opened/body.txt", "mail/oppened/body.txt", "notes.md", ".x.html"] {
            fsio::write(&folder.path().join(name), b"").unwrap();
        }
        let found = unused(folder.path()).unwrap();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            found,
            [
                ("idnex.html".to_owned(), some("index.html")),
                ("mail/oppened/body.txt".to_owned(), some("mail/opened/body.txt")),
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_text_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fsio::write(&folder.path().join("i18n/en.toml"), b"\xff").unwrap();
        let error = read(Some(folder.path()), "i18n/en.toml").unwrap_err().to_string();
        assert!(error.contains("i18n/en.toml: it could not be read: byte 0"), "{error}");
    }
}
