//! Text that may exist in several languages, and lengths of time in words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an operator wrote: one text, or one for each language (BCP 47).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LocalText {
    /// The same for everyone.
    One(String),
    /// By language tag.
    Each(BTreeMap<String, String>),
}

impl LocalText {
    /// The text for `language`: exact, else the bare language, else `default`'s, else any.
    #[must_use]
    pub fn get(&self, language: &str, default: &str) -> &str {
        match self {
            Self::One(text) => text,
            Self::Each(texts) => {
                let bare = language.split('-').next().unwrap_or(language);
                [language, bare, default]
                    .iter()
                    .find_map(|tag| texts.get(*tag))
                    .or_else(|| texts.values().next())
                    .map_or("", String::as_str)
            }
        }
    }

    /// Whether there is nothing but white space in any language.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match self {
            Self::One(text) => text.trim().is_empty(),
            Self::Each(texts) => texts.values().all(|text| text.trim().is_empty()),
        }
    }
}

impl From<&str> for LocalText {
    fn from(text: &str) -> Self {
        Self::One(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_language_is_chosen() {
        let texts = [("en", "hello"), ("de", "hallo")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let text = LocalText::Each(texts.into());
        assert_eq!(text.get("de-AT", "en"), "hallo");
        assert_eq!(text.get("fr", "en"), "hello");
        assert_eq!(text.get("fr", "ja"), "hallo");
    }
}
