//! What the documents promise is there: files, scripts, modules; and the sources keep the form that
//! `CONTRIBUTING.md` describes.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The longest a source file may be, in lines.
const LONGEST: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository below `folder` whose name ends in `ending`.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    fn gather(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["target", ".git", "node_modules"].contains(&name) {
                    gather(&path, ending, found);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    gather(&root().join(folder), ending, &mut found);
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files("", ".md") {
        let text = fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split(['#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !file.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {target}", name(&file)));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn scripts_that_documents_name_are_there_and_can_be_run() {
    for file in files("", ".md") {
        let text = fs::read_to_string(&file).unwrap();
        let words = text.split(|char: char| !char.is_ascii_alphanumeric() && !"/-_.".contains(char));
        for word in words.map(|word| word.trim_start_matches("./").trim_end_matches('.')) {
            if word.starts_with("scripts/") && word.len() > "scripts/".len() {
                let path = root().join(word);
                let mode = fs::metadata(&path).map(|meta| meta.permissions().mode());
                assert!(mode.is_ok_and(|mode| mode & 0o111 != 0), "{} names {word}", name(&file));
            }
        }
    }
}

#[test]
fn the_architecture_names_every_module() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for module in library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        let named = [format!("`{module}`"), format!("`src/{module}"), format!("`{module}/")];
        assert!(named.iter().any(|name| architecture.contains(name)), "`{module}` is not in ARCHITECTURE.md");
    }
}

#[test]
fn the_paths_that_the_architecture_names_are_there() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let quoted = architecture.split('`').skip(1).step_by(2);
    for path in quoted
        .filter(|path| ["src/", "tests/", "packaging/", "site-templates/"].iter().any(|top| path.starts_with(top)))
    {
        if !path.contains(['*', '<', ' ']) {
            assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}");
        }
    }
}

#[test]
fn the_changelog_knows_this_version_or_the_next() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let version = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(changelog.contains("## [Unreleased]") || changelog.contains(&version));
}

#[test]
fn every_source_says_first_what_it_is_for() {
    let sources: Vec<_> = files("src", ".rs").into_iter().chain(files("tests", ".rs")).collect();
    let silent: Vec<_> = sources
        .iter()
        .map(|file| (name(file), fs::read_to_string(file).unwrap()))
        .filter(|(_, text)| text.lines().count() > 1 && !text.trim_start().starts_with("//! "))
        .map(|(name, _)| name)
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn no_source_is_longer_than_one_can_read() {
    let long: Vec<_> = files("src", ".rs")
        .iter()
        .map(|file| (name(file), fs::read_to_string(file).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn there_is_no_drawer_for_everything() {
    let drawers: Vec<_> = files("src", ".rs")
        .iter()
        .map(|file| name(file))
        .filter(|name| {
            name.split(['/', '.']).any(|part| ["util", "utils", "helpers", "common", "manager", "misc"].contains(&part))
        })
        .collect();
    assert!(drawers.is_empty(), "{drawers:#?}");
}

#[test]
fn there_is_one_tls_and_one_sqlite_and_both_come_with_the_program() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let count = |name: &str| lock.matches(&format!("name = \"{name}\"\n")).count();
    for stranger in ["aws-lc-sys", "aws-lc-rs", "openssl-sys", "native-tls"] {
        assert_eq!(count(stranger), 0, "{stranger} is a second TLS");
    }
    assert_eq!((count("rustls"), count("libsqlite3-sys")), (1, 1));
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\"bundled\""));
}
