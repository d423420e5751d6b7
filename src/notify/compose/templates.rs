//! The templates of mails: strict, and escaping in HTML only.
//!
//! A variable that does not exist is an error, and so is a file of a kind that nobody taught it to
//! escape: a template that was edited badly sends nothing rather than something wrong.

use std::path::Path;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;

use crate::{domain::asking::LetterKind, notify::plan::News, site::defaults};

/// The parts of one message, rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// A whole HTML document.
    pub html: String,
}

/// All templates of mails.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

/// The folder of the test message.
pub const TRIAL: &str = "test";

const PARTS: [&str; 3] = ["subject.txt", "body.txt", "body.html"];

impl Templates {
    /// Loads and parses every template; `overrides` is `site.templates`.
    ///
    /// # Errors
    /// If one is missing, cannot be read, or is no template; the error names it.
    pub fn load(overrides: Option<&Path>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| match name.rsplit_once('.') {
            Some((_, "html")) => AutoEscape::Html,
            Some((_, "txt")) => AutoEscape::None,
            // No such way of escaping exists: printing anything becomes an error.
            _ => AutoEscape::Custom("unknown".into()),
        });
        let folder = overrides.map(Path::to_owned);
        environment.set_loader(move |name| {
            let text = defaults::read(folder.as_deref(), name)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()).with_source(error))?;
            Ok(text.map(std::borrow::Cow::into_owned))
        });
        let templates = Self { environment };
        let news = News::ALL.iter().map(|news| news.as_str());
        for folder in news.chain(LetterKind::ALL.map(LetterKind::as_str)).chain([TRIAL]) {
            for part in PARTS {
                templates.environment.get_template(&name(folder, part))?;
            }
        }
        Ok(templates)
    }

    /// Fills in one message, by the templates of `folder`.
    ///
    /// # Errors
    /// If a template uses what does not exist; the error names it and its line.
    pub fn render(&self, folder: &str, context: &impl Serialize) -> Result<Rendered, Error> {
        let context = Value::from(minijinja::value::Serde(context));
        let [subject, text, html] =
            PARTS.map(|part| self.environment.get_template(&name(folder, part))?.render(&context));
        Ok(Rendered { subject: subject?, text: squeezed(&text?), html: html? })
    }
}

fn name(folder: &str, part: &str) -> String {
    format!("mail/{folder}/{part}")
}

/// Text without the blank lines that loops and blocks leave: at most one between paragraphs.
fn squeezed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = true;
    for line in text.lines() {
        // The two hyphens before the last lines keep their space: RFC 3676, section 4.3.
        let line = if line == "-- " { line } else { line.trim_end() };
        if !line.is_empty() || !blank {
            out.push_str(line);
            out.push('\n');
        }
        blank = line.is_empty();
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio;

    #[test]
    fn the_built_in_templates_parse() {
        Templates::load(None).unwrap();
    }

    #[test]
    fn a_template_of_an_operator_wins_and_a_bad_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fsio::write(&folder.path().join("mail/opened/subject.txt"), b"mine").unwrap();
        let templates = Templates::load(Some(folder.path())).unwrap();
        let subject = templates.environment.get_template("mail/opened/subject.txt").unwrap();
        assert_eq!(subject.render(()).unwrap(), "mine");
        fsio::write(&folder.path().join("mail/opened/body.txt"), b"a\n{{ oops").unwrap();
        let error = Templates::load(Some(folder.path())).unwrap_err();
        assert_eq!((error.name(), error.line()), (Some("mail/opened/body.txt"), Some(2)));
    }

    #[test]
    fn a_variable_that_does_not_exist_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fsio::write(&folder.path().join("mail/opened/subject.txt"), b"{{ nonsense }}").unwrap();
        let templates = Templates::load(Some(folder.path())).unwrap();
        assert!(templates.environment.get_template("mail/opened/subject.txt").unwrap().render(()).is_err());
    }

    #[test]
    fn blank_lines_are_squeezed_and_the_signature_mark_is_kept() {
        assert_eq!(squeezed("\n\na  \n\n\n\nb\n-- \nc\n\n"), "a\n\nb\n-- \nc\n");
    }
}
