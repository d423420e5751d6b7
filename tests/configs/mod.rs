//! Config files: every rule has a file that breaks it, with what is said of it beside it.
//!
//! `WATCHBELL_BLESS=1 cargo test configs` writes the expected texts anew; read the difference.

mod generated;
mod valid;

use std::{fs, path::PathBuf};

use watchbell::{config::Config, domain::diagnostic::Diagnostic, fsio};

/// A folder of these tests.
fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name)
}

/// The variables that the files here ask for.
fn env(name: &str) -> Option<String> {
    match name {
        "UNSET" => None,
        "EMPTY" => Some(String::new()),
        name if name.ends_with("_URL") || name == "OPS_SLACK" => Some("https://hooks.example.org/canary".to_owned()),
        _ => Some("canary".to_owned()),
    }
}

fn shown(diagnostics: &[Diagnostic], folder: &std::path::Path) -> String {
    let all: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    // Names of files do not depend on where the tests run.
    all.join("\n\n").replace(&format!("{}/", folder.display()), "") + "\n"
}

/// Compares `text` with the file, or writes it there if asked to.
fn compare(path: &std::path::Path, text: &str) -> Result<(), String> {
    if std::env::var_os("WATCHBELL_BLESS").is_some() {
        fsio::write(path, text.as_bytes()).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == text { Ok(()) } else { Err(format!("{}\nexpected:\n{expected}\nfound:\n{text}", path.display())) }
}

fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

#[test]
fn every_rule_says_what_is_wrong_where_and_what_to_write_instead() {
    let folder = folder("invalid");
    let mut wrong = Vec::new();
    for path in files("invalid") {
        let text = fs::read_to_string(&path).unwrap();
        let said = match Config::parse(&path, &text, &env) {
            Ok(_) => "(nothing)\n".to_owned(),
            Err(errors) => shown(&errors, &folder),
        };
        assert!(!said.contains("canary"), "{}: a secret shows:\n{said}", path.display());
        wrong.extend(compare(&path.with_extension("txt"), &said).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
