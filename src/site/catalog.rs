//! Catalogues: every word that watchbell itself says, one TOML file a language.
//!
//! A catalogue holds texts with `{name}` in them, under dotted keys. A text that depends on a
//! number has one entry for each plural category of its language (CLDR), as a last part of the key:
//! `list.more.one`, `list.more.other`. What a language does not have is taken from English.

use std::{collections::HashMap, path::Path};

use super::defaults::{self, OverrideError};

/// The language that has every text.
pub const FALLBACK: &str = "en";

/// The texts of one language.
#[derive(Clone, Debug)]
pub struct Catalog {
    language: String,
    /// Looked up thousands of times a page, and never listed.
    texts: HashMap<String, String>,
}

/// A catalogue that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// An operator's file.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// It is no TOML.
    #[error("i18n/{language}.toml: {message}")]
    Syntax {
        /// Of which language.
        language: String,
        /// What the parser said.
        message: String,
    },
}

impl Catalog {
    /// The catalogue of `language` (BCP 47), of its bare language, or English: the nearest one that
    /// exists, built in or in the `i18n` folder of `overrides`. An operator's catalogue may hold a
    /// few texts only.
    ///
    /// # Errors
    /// If an operator's file cannot be read or is no valid TOML.
    pub fn load(language: &str, overrides: Option<&Path>) -> Result<Self, CatalogError> {
        let mut texts = HashMap::new();
        merge(&mut texts, FALLBACK, overrides)?;
        let bare = language.split('-').next().unwrap_or(language);
        let mut found = FALLBACK;
        for candidate in [bare, language] {
            // A tag becomes part of a path: only letters, digits and hyphens may.
            let is_tag = !candidate.is_empty() && candidate.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if candidate != found && is_tag && merge(&mut texts, candidate, overrides)? {
                found = candidate;
            }
        }
        Ok(Self { language: found.to_owned(), texts })
    }

    /// The language that the texts are in.
    #[must_use]
    pub fn language(&self) -> &str {
        &self.language
    }

    /// Whether there is such a text.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.texts.contains_key(key)
    }

    /// The text at `key` as it stands, if there is one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }

    /// The text at `key` as it stands; the key itself if there is none.
    #[must_use]
    pub fn raw<'a>(&'a self, key: &'a str) -> &'a str {
        self.texts.get(key).map_or(key, String::as_str)
    }

    /// The text at `key` with each `{name}` filled in. What is filled in is not looked at again.
    #[must_use]
    pub fn text(&self, key: &str, args: &[(&str, &str)]) -> String {
        fill(self.raw(key), args)
    }

    /// The text at `key` for the number `n`: its plural category's, else `other`'s.
    #[must_use]
    pub fn plural(&self, key: &str, n: u64, args: &[(&str, &str)]) -> String {
        let exact = format!("{key}.{}", category(&self.language, n));
        if self.has(&exact) { self.text(&exact, args) } else { self.text(&format!("{key}.other"), args) }
    }
}

/// Adds the texts of one language; whether there were any.
fn merge(texts: &mut HashMap<String, String>, language: &str, overrides: Option<&Path>) -> Result<bool, CatalogError> {
    let path = format!("i18n/{language}.toml");
    let built_in = defaults::embedded(&path);
    let operators = defaults::read(overrides, &path)?.filter(|_| overrides.is_some());
    let found = built_in.is_some() || operators.is_some();
    for text in built_in.into_iter().chain(operators) {
        let table = text.parse::<toml::Table>().map_err(|error| CatalogError::Syntax {
            language: language.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        flatten(texts, "", &table);
    }
    Ok(found)
}

fn flatten(texts: &mut HashMap<String, String>, prefix: &str, table: &toml::Table) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(texts, &key, inner),
            toml::Value::String(text) => {
                texts.insert(key, text.clone());
            }
            other => {
                texts.insert(key, other.to_string());
            }
        }
    }
}

fn fill(pattern: &str, args: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(pattern.len() + 32);
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let known = after
            .split_once('}')
            .and_then(|(name, tail)| args.iter().find(|(known, _)| *known == name).map(|(_, value)| (value, tail)));
        if let Some((value, tail)) = known {
            filled.push_str(value);
            rest = tail;
        } else {
            filled.push('{');
            rest = after;
        }
    }
    filled.push_str(rest);
    filled
}

/// The CLDR plural category of a whole number in the languages that we have.
fn category(language: &str, n: u64) -> &'static str {
    match (language.split('-').next().unwrap_or(language), n) {
        ("ja" | "zh" | "ko", _) => "other",
        ("ar", 0) => "zero",
        ("ar", 2) => "two",
        ("ar", n) if (3..=10).contains(&(n % 100)) => "few",
        ("ar", n) if (11..=99).contains(&(n % 100)) => "many",
        ("fr", 0) | (_, 1) => "one",
        ("es" | "fr", n) if n != 0 && n.is_multiple_of(1_000_000) => "many",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
