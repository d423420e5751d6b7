//! Templates: what is inserted is escaped for the file it lands in, and what is missing is an error.
//!
//! A file's kind follows from its name. A name whose kind is unknown fails when something is
//! inserted, so a new kind of file can never be written unescaped by oversight.

use std::path::{Path, PathBuf};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde},
};
use serde::Serialize;

use super::{
    defaults::{self, OverrideError},
    words::Words,
};

/// The templates of a site, in one language.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    folder: Option<PathBuf>,
}

/// A template that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// An operator's file.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// It is wrong, or asks for something that the page does not have.
    #[error("{place}: {message}")]
    Wrong {
        /// File and line.
        place: String,
        /// What is wrong.
        message: String,
    },
}

impl Templates {
    /// The built-in templates, those of `overrides` over them, and `words` for their `t(..)`.
    ///
    /// # Errors
    /// If an operator's template cannot be read or parsed.
    pub fn load(overrides: Option<&Path>, words: &Words) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(kind);
        environment.set_formatter(format);
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
        environment.set_syntax(syntax.build().map_err(|error| wrong(&error, overrides))?);
        add_words(&mut environment, words);
        let names = defaults::names().filter(|name| !name.starts_with("i18n/")).map(|name| name.to_string());
        let mut templates = Self { environment, folder: overrides.map(Path::to_owned) };
        for name in names.collect::<Vec<_>>() {
            if let Some(source) = defaults::read(overrides, &name)? {
                templates
                    .environment
                    .add_template_owned(name, source.into_owned())
                    .map_err(|error| wrong(&error, overrides))?;
            }
        }
        Ok(templates)
    }

    /// The file `name` with `context` inserted.
    ///
    /// # Errors
    /// If there is no such template, or it asks for something that `context` does not have.
    pub fn render(&self, name: &str, context: impl Serialize) -> Result<String, TemplateError> {
        let render = || self.environment.get_template(name)?.render(Serde(&context));
        render().map_err(|error| wrong(&error, self.folder.as_deref()))
    }
}

/// File, line and the innermost reason, for people.
fn wrong(error: &Error, folder: Option<&Path>) -> TemplateError {
    let mut innermost = error;
    while let Some(cause) = std::error::Error::source(innermost).and_then(|cause| cause.downcast_ref::<Error>()) {
        innermost = cause;
    }
    let name = innermost.name().or(error.name()).unwrap_or("a template");
    let file = folder.map(|folder| folder.join(name)).filter(|file| file.exists());
    let file = file.map_or_else(|| name.to_owned(), |file| file.display().to_string());
    let line = innermost.line().or(error.line());
    let place = line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
    let detail = innermost.detail().map_or_else(String::new, |detail| format!(": {detail}"));
    TemplateError::Wrong { place, message: format!("{}{detail}", innermost.kind()) }
}

/// What is inserted into a file of that name must be escaped as what.
fn kind(name: &str) -> AutoEscape {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html" | "xml" | "svg" | "rss" | "atom") => AutoEscape::Html,
        Some("json") => AutoEscape::Json,
        Some("txt") => AutoEscape::None,
        Some("css") => AutoEscape::Custom("css".into()),
        _ => AutoEscape::Custom("unknown".into()),
    }
}

fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        // The strict mode lets nothing undefined come this far; this is the second bolt.
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let fail = |message: String| Err(Error::new(ErrorKind::InvalidOperation, message));
    match state.auto_escape() {
        AutoEscape::Html if !value.is_safe() => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out.write_str(&escape(&text)).map_err(Error::from)
        }
        AutoEscape::Custom(kind) if kind == "css" => {
            let text = value.to_string();
            if text.chars().all(|c| c.is_ascii_alphanumeric() || "#-.% ".contains(c)) {
                out.write_str(&text).map_err(Error::from)
            } else {
                fail(format!("`{text}` cannot stand in a style sheet"))
            }
        }
        AutoEscape::Custom(_) => fail(format!("do not know how to escape what goes into `{}`", state.name())),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// `text` for the content of an element or an attribute of HTML or XML.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `t("page.history")`, `t("page.days_ago", n=90)`; `tn("history.count", 3)` for plurals.
fn add_words(environment: &mut Environment<'static>, words: &Words) {
    let missing = |key: &str| Error::new(ErrorKind::InvalidOperation, format!("the catalogue has no text `{key}`"));
    let filled = |kwargs: &Kwargs| -> Result<Vec<(String, String)>, Error> {
        let names: Vec<String> = kwargs.args().map(str::to_owned).collect();
        names.into_iter().map(|name| Ok((name.clone(), kwargs.get::<Value>(&name)?.to_string()))).collect()
    };
    let own = words.clone();
    environment.add_function("t", move |key: String, kwargs: Kwargs| {
        let args = filled(&kwargs)?;
        let args: Vec<(&str, &str)> = args.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if own.catalog().has(&key) { Ok(own.text(&key, &args)) } else { Err(missing(&key)) }
    });
    let own = words.clone();
    environment.add_function("tn", move |key: String, n: u64, kwargs: Kwargs| {
        let args = filled(&kwargs)?;
        let args: Vec<(&str, &str)> = args.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if own.catalog().has(&format!("{key}.other")) { Ok(own.count(&key, n, &args)) } else { Err(missing(&key)) }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio;

    fn with(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Templates, TemplateError>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fsio::write(&folder.path().join(name), text.as_bytes()).unwrap();
        }
        let words = Words::load("en", None).unwrap();
        let templates = Templates::load(Some(folder.path()), &words);
        (folder, templates)
    }

    #[test]
    fn every_known_kind_is_escaped_and_an_unknown_one_refused() {
        for name in ["x.html", "x.svg", "x.rss", "x.atom", "x.xml"] {
            assert_eq!(kind(name), AutoEscape::Html, "{name}");
        }
        for name in ["x.html.tmpl", "x.ics", "x", "x.js"] {
            assert_eq!(kind(name), AutoEscape::Custom("unknown".into()), "{name}");
        }
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(kind);
        environment.set_formatter(format);
        for name in ["a.html", "a.ics", "a.css"] {
            environment.add_template_owned(name, "{{ x }}").unwrap();
        }
        let context = minijinja::context!(x => "<a/b \"'&");
        let render = |name: &str| environment.get_template(name).unwrap().render(&context);
        assert_eq!(render("a.html").unwrap(), "&lt;a/b &quot;&#39;&amp;");
        assert!(render("a.ics").unwrap_err().to_string().contains("do not know how to escape"));
        assert!(render("a.css").unwrap_err().to_string().contains("cannot stand in a style sheet"));
    }

    #[test]
    fn a_missing_variable_is_an_error_that_names_file_and_line() {
        let (folder, templates) = with(&[("404.html", "one\n{{ nothing }}")]);
        let error = templates.unwrap().render("404.html", minijinja::context!()).unwrap_err().to_string();
        assert_eq!(error, format!("{}/404.html:2: undefined value: `nothing` is undefined", folder.path().display()));
    }

    #[test]
    fn a_template_that_does_not_parse_is_refused_at_once() {
        let (_folder, templates) = with(&[("404.html", "{% if %}")]);
        assert!(templates.unwrap_err().to_string().contains("404.html:1: syntax error"));
    }

    #[test]
    fn a_text_that_the_catalogue_lacks_is_an_error() {
        let (_folder, templates) = with(&[("404.html", "{{ t('page.nope') }}")]);
        let error = templates.unwrap().render("404.html", minijinja::context!()).unwrap_err().to_string();
        assert!(error.ends_with("the catalogue has no text `page.nope`"), "{error}");
    }
}
