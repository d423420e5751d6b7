//! The list of faults in `README.md` speaks of tests that there are.

use std::{collections::BTreeSet, fs, path::Path};

/// The names of all tests in the sources below `folder`.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                if let Some((name, _)) = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')) {
                    if is_test {
                        found.insert(name.to_owned());
                    }
                    is_test = false;
                }
            }
        }
    }
}

#[test]
fn every_fault_is_listed_and_every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests(&root.join(folder), &mut known);
    }
    let text = fs::read_to_string(root.join("tests/faults/README.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.chars().nth(2).is_some_and(|digit| digit.is_ascii_digit()))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let numbers: Vec<usize> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(numbers, (1..=46).collect::<Vec<_>>());
    let mut missing = Vec::new();
    for row in &rows {
        let [number, _, _, tried] = row[..] else { panic!("{row:?}") };
        let named: Vec<&str> = tried
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.contains('_') && !name.contains(['/', '.']))
            .collect();
        missing.extend(named.iter().filter(|name| !known.contains(**name)).map(|name| format!("{number}: {name}")));
        assert!(!named.is_empty() || tried.starts_with("not "), "{number}: {tried}");
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
