//! The golden files as the parsers of Python read them: feedparser, html5lib, icalendar.

use std::{path::Path, process::Command};

use crate::support::skip::program;

#[test]
fn parsers_of_another_language_find_nothing_wrong_in_the_golden_feeds() {
    let Some(python) = program("venv-python") else { crate::skip!("feedparser and icalendar are not installed") };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/validate-feeds.py");
    let output = Command::new(python).arg(script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(" 0 problems"), "{said}");
}
