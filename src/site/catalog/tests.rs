//! The catalogues are whole, and their plurals are those of their languages.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::fsio;

/// The languages that are built in, each with the plural categories of whole numbers that CLDR has
/// for it. `many` of French and Spanish is for millions alone and may be left to `other`.
const BUILT_IN: [(&str, &[&str]); 2] = [("en", &["one", "other"]), ("de", &["one", "other"])];

/// The categories that hold one number only, which the text may then say in words.
const SINGLE: [(&str, &str); 6] =
    [("en", "one"), ("de", "one"), ("es", "one"), ("ar", "zero"), ("ar", "one"), ("ar", "two")];

/// The texts of one file, without those of English under them.
fn own(language: &str) -> BTreeMap<String, String> {
    let text = defaults::embedded(&format!("i18n/{language}.toml")).unwrap();
    let mut texts = HashMap::new();
    flatten(&mut texts, "", &text.parse().unwrap());
    texts.into_iter().collect()
}

/// What a text has filled in.
fn names(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).map(|rest| rest.split_once('}').expect("a closed brace").0).collect()
}

/// The keys of English of which one is chosen by a number.
fn plurals(english: &BTreeMap<String, String>) -> BTreeSet<&str> {
    let bases = english.keys().filter_map(|key| key.strip_suffix(".other"));
    bases.filter(|base| english.contains_key(&format!("{base}.one"))).collect()
}

#[test]
fn every_catalogue_that_is_built_in_is_looked_at() {
    let files: BTreeSet<String> = defaults::names()
        .filter_map(|name| Some(name.strip_prefix("i18n/")?.strip_suffix(".toml")?.to_owned()))
        .collect();
    assert_eq!(files, BUILT_IN.iter().map(|(language, _)| (*language).to_owned()).collect());
}

#[test]
fn every_catalogue_has_the_texts_of_english_in_its_own_plurals() {
    let english = own("en");
    let plurals = plurals(&english);
    for (language, categories) in BUILT_IN {
        let mut expected: BTreeSet<String> = BTreeSet::new();
        for key in english.keys() {
            match key.rsplit_once('.') {
                Some((base, "one" | "other")) if plurals.contains(base) => {
                    expected.extend(categories.iter().map(|category| format!("{base}.{category}")));
                }
                _ => _ = expected.insert(key.clone()),
            }
        }
        let texts = own(language);
        let has: BTreeSet<String> = texts.keys().cloned().collect();
        let for_millions = |key: &&String| matches!((language, key.rsplit_once('.')), ("es" | "fr", Some((_, "many"))));
        let missing: Vec<_> = expected.difference(&has).filter(|key| !for_millions(key)).collect();
        let unknown: Vec<_> = has.difference(&expected).collect();
        assert!(missing.is_empty() && unknown.is_empty(), "{language}: missing {missing:?}, unknown {unknown:?}");
    }
}

#[test]
fn every_text_is_filled_with_the_same_as_the_english_one() {
    let english = own("en");
    let plurals = plurals(&english);
    for (language, _) in BUILT_IN {
        for (key, text) in own(language) {
            let (base, category) = key.rsplit_once('.').unwrap();
            let is_plural = plurals.contains(base) && category != "name";
            let model = if is_plural { &english[&format!("{base}.other")] } else { &english[&key] };
            let mut expected = names(model);
            if is_plural && SINGLE.contains(&(language, category)) && !text.contains("{n}") {
                expected.remove("n");
            }
            assert_eq!(names(&text), expected, "{language}: {key} = {text:?}");
        }
    }
}

#[test]
fn no_text_is_empty_or_holds_what_cannot_be_seen() {
    for (language, _) in BUILT_IN {
        for (key, text) in own(language) {
            assert!(!text.trim().is_empty(), "{language}: {key}");
            let unseen = text.chars().find(|&c| {
                c.is_control()
                    || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
                    || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}')
            });
            assert_eq!(unseen, None, "{language}: {key} = {text:?}");
        }
    }
}

#[test]
fn plural_categories_are_those_of_cldr() {
    let of =
        |language: &str, numbers: &[u64]| -> Vec<&str> { numbers.iter().map(|&n| category(language, n)).collect() };
    for (language, categories) in BUILT_IN {
        let every: BTreeSet<&str> = (0..=1000).chain([1_000_000]).map(|n| category(language, n)).collect();
        assert_eq!(every, categories.iter().copied().collect(), "{language}");
    }
    for language in ["en", "de"] {
        assert_eq!(of(language, &[0, 1, 2, 21, 1_000_000]), ["other", "one", "other", "other", "other"]);
    }
    assert_eq!(of("fr", &[0, 1, 2, 1_000_000, 1_000_001, 2_000_000]), ["one", "one", "other", "many", "other", "many"]);
    assert_eq!(
        of("es", &[0, 1, 2, 1_000_000, 1_000_001, 2_000_000]),
        ["other", "one", "other", "many", "other", "many"]
    );
    assert_eq!(of("ja", &[0, 1, 2, 1_000_000]), ["other"; 4]);
    assert_eq!(of("ar", &[0, 1, 2, 3, 10, 11, 99]), ["zero", "one", "two", "few", "few", "many", "many"]);
    assert_eq!(
        of("ar", &[100, 101, 102, 103, 110, 111, 1000]),
        ["other", "other", "other", "few", "few", "many", "other"]
    );
}

#[test]
fn what_is_filled_in_is_not_filled_again() {
    assert_eq!(fill("{a} is {b} {c}", &[("a", "{b}"), ("b", "down")]), "{b} is down {c}");
}

#[test]
fn plurals_follow_the_language() {
    let en = Catalog::load("en-GB", None).unwrap();
    assert_eq!(en.language(), "en");
    assert_eq!(en.plural("history.count", 1, &[("n", "1")]), "1 incident");
    assert_eq!(en.plural("history.count", 0, &[("n", "0")]), "0 incidents");
}

#[test]
fn an_operators_catalogue_may_hold_a_few_texts_only() {
    let folder = tempfile::tempdir().unwrap();
    fsio::write(&folder.path().join("i18n/en.toml"), b"[status]\nmajor_outage = \"Kaput\"").unwrap();
    let catalog = Catalog::load("en", Some(folder.path())).unwrap();
    assert_eq!(catalog.raw("status.major_outage"), "Kaput");
    assert_eq!(catalog.raw("status.operational"), "Operational");
}

#[test]
fn a_language_tag_cannot_leave_the_folder() {
    assert_eq!(Catalog::load("../en", None).unwrap().language(), "en");
}

#[test]
fn a_broken_catalogue_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fsio::write(&folder.path().join("i18n/en.toml"), b"[status").unwrap();
    let error = Catalog::load("en", Some(folder.path())).unwrap_err().to_string();
    assert!(error.starts_with("i18n/en.toml: TOML parse error"), "{error}");
}
