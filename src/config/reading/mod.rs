//! Reading a TOML file by a table of keys: every problem of the file at once, each with its place.
//!
//! A [`Scope`] lists the [`Key`]s of one kind of table. [`Reader::read`] walks the file along it
//! and gives [`Fields`]: values that are what their keys' types say. What the values mean together
//! is for the callers. Notes are read by the same means.

mod fields;
pub mod hint;
mod kind;
mod mask;
mod scalar;
pub mod schema;
mod secrets;
mod time;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    path::Path,
    sync::Arc,
};

use jiff::tz::TimeZone;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub use fields::{Fields, FromValue, Item};
pub use kind::{Type, Value};

use crate::domain::diagnostic::{Diagnostic, Severity, SourceFile};

/// One key: everything that the parser, the hints, the example and the schema know of it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As written; `expect.status` is the key `status` of the table `expect`.
    pub name: &'static str,
    /// What may stand there.
    pub kind: Type,
    /// What it is for: a phrase or two.
    pub doc: &'static str,
    /// In TOML; `None`: nothing, or [`Key::required`].
    pub default: Option<&'static str>,
    /// In TOML, for the example.
    pub example: &'static str,
    /// Whether the example shows it as a comment only.
    pub aside: bool,
    /// Whether its table is incomplete without it.
    pub required: bool,
    /// The kinds of check that it is for; empty: all, or it is no key of a check.
    pub only: &'static [&'static str],
    /// Whether it makes no sense in `[defaults]`.
    pub per_check: bool,
    /// What other tools call it.
    pub also: &'static [&'static str],
    /// What this version does not do although the key is understood; empty: it does all.
    pub later: &'static str,
}

impl Key {
    /// A key that is optional and has no default.
    #[must_use]
    pub const fn new(name: &'static str, kind: Type, example: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            doc,
            default: None,
            example,
            aside: false,
            required: false,
            only: &[],
            per_check: false,
            also: &[],
            later: "",
        }
    }

    /// With a default, in TOML.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// That must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// That the example shows as a comment.
    #[must_use]
    pub const fn aside(mut self) -> Self {
        self.aside = true;
        self
    }

    /// For these kinds of check only.
    #[must_use]
    pub const fn only(mut self, kinds: &'static [&'static str]) -> Self {
        self.only = kinds;
        self
    }

    /// That has no place in `[defaults]`.
    #[must_use]
    pub const fn per_check(mut self) -> Self {
        self.per_check = true;
        self
    }

    /// That other tools call by these names.
    #[must_use]
    pub const fn also(mut self, names: &'static [&'static str]) -> Self {
        self.also = names;
        self
    }

    /// That this version reads, but does not act on.
    #[must_use]
    pub const fn later(mut self, what: &'static str) -> Self {
        self.later = what;
        self
    }
}

/// The keys of one kind of table.
#[derive(Debug)]
pub struct Scope {
    /// How its header is written: `[site]`, `[[service.check]]`; empty for the file itself.
    pub header: &'static str,
    /// What it is, for messages: `` `[site]` ``, `a check`.
    pub place: &'static str,
    /// What it is for: a phrase or two.
    pub doc: &'static str,
    /// In the order of the example.
    pub keys: &'static [Key],
    /// Whether keys that are meant for one check alone are unknown here.
    pub is_defaults: bool,
}

impl Scope {
    /// A table with these keys.
    #[must_use]
    pub const fn new(header: &'static str, place: &'static str, doc: &'static str, keys: &'static [Key]) -> Self {
        Self { header, place, doc, keys, is_defaults: false }
    }

    /// Whether `key` may stand here.
    #[must_use]
    pub const fn takes(&self, key: &Key) -> bool {
        !(self.is_defaults && key.per_check)
    }

    /// The key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name && self.takes(key))
    }
}

/// Where values come from that do not stand in the file itself.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// An environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file, its path as written; or why it cannot be read.
    pub file: &'a dyn Fn(&str) -> Result<String, String>,
}

impl Sources<'static> {
    /// No variables and no files.
    #[must_use]
    pub fn none() -> Self {
        Self { env: &|_| None, file: &|_| Err("files are not read here".to_owned()) }
    }
}

/// What kind of problem: a slip of the pen is one complaint, and hides what only follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// The file is no TOML there.
    Syntax,
    /// What stands there will not do.
    Meaning,
    /// Something is not there: perhaps only because it could not be read.
    Absence,
}

/// A problem before it has its text.
#[derive(Clone, Debug)]
struct Problem {
    about: About,
    severity: Severity,
    span: Range<usize>,
    message: String,
    hint: String,
}

/// So many problems of a file are told; the rest is counted.
const MOST_PROBLEMS: usize = 200;

/// One file being read.
pub struct Reader<'a> {
    root: &'static Scope,
    sources: Sources<'a>,
    /// The zone of times without an offset.
    zone: TimeZone,
    problems: Vec<Problem>,
    /// Bytes that no message may show.
    secret: Vec<Range<usize>>,
    /// Names of unknown keys, and whether they may hold a secret: names repeat, and comparing takes time.
    suspects: HashMap<String, bool>,
    text: String,
}

impl<'a> Reader<'a> {
    /// Begins with a file whose outermost table is `root`. A byte order mark is dropped.
    #[must_use]
    pub fn new(root: &'static Scope, text: &str, sources: Sources<'a>, zone: TimeZone) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        Self { root, sources, zone, problems: Vec::new(), secret: Vec::new(), suspects: HashMap::new(), text }
    }

    /// Reads all of it, as far as it can be understood.
    pub fn read(&mut self) -> Fields {
        let text = std::mem::take(&mut self.text);
        let (document, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            let (message, hint) = syntax(error.message(), error.span().is_none_or(|span| span.is_empty()));
            self.add(About::Syntax, error.span().unwrap_or(0..0), message, hint);
        }
        let fields = self.table(self.root, document.get_ref(), 0..0);
        drop(document);
        self.text = text;
        fields
    }

    /// Reports what is wrong.
    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.add(About::Meaning, span, message.into(), hint.into());
    }

    /// Reports that something is not there that must be.
    pub fn missing(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.add(About::Absence, span, message.into(), hint.into());
    }

    /// Reports what works otherwise than the operator may think.
    pub fn warning(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        let (message, hint) = (message.into(), hint.into());
        self.problems.push(Problem { about: About::Meaning, severity: Severity::Warning, span, message, hint });
    }

    fn add(&mut self, about: About, span: Range<usize>, message: String, hint: String) {
        self.problems.push(Problem { about, severity: Severity::Error, span, message, hint });
    }

    /// All that was reported, in the order of the file: errors, then warnings.
    #[must_use]
    pub fn finish(mut self, path: &Path) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let lines = Lines::of(&self.text);
        let broken: HashSet<usize> =
            self.problems.iter().filter(|p| p.about == About::Syntax).map(|p| lines.at(p.span.start)).collect();
        if !broken.is_empty() {
            self.problems.retain(|problem| match problem.about {
                About::Syntax => true,
                About::Meaning => !broken.contains(&lines.at(problem.span.start)),
                About::Absence => false,
            });
        }
        self.problems.sort_by_key(|problem| problem.span.start);
        if !broken.is_empty() {
            // What is not understood may hold secrets without our knowing where.
            let is_one = |word: &str| hint::may_hold_a_secret(self.root, word);
            self.secret.extend(mask::suspects(&self.text, is_one));
        }
        let text = mask::hide(&self.text, &self.secret);
        let source = Arc::new(SourceFile { path: path.to_owned(), text });
        let clear = std::mem::take(&mut self.text);
        let fit = |said: &str, span: &Range<usize>| {
            let (clear, hidden) = (clear.get(span.clone()), source.text.get(span.clone()));
            mask::tamed(&mask::withheld(said, clear.unwrap_or_default(), hidden.unwrap_or_default()))
        };
        let mut seen = HashSet::new();
        let (mut errors, mut warnings): (Vec<Problem>, Vec<Problem>) = self
            .problems
            .into_iter()
            .filter(|problem| seen.insert((problem.span.start, problem.message.clone())))
            .partition(|problem| problem.severity == Severity::Error);
        let told = |Problem { severity, span, message, hint, .. }: Problem| Diagnostic {
            severity,
            source: Arc::clone(&source),
            message: fit(&message, &span),
            hint: fit(&hint, &span),
            span,
        };
        for problems in [&mut errors, &mut warnings] {
            let more = problems.len().saturating_sub(MOST_PROBLEMS);
            problems.truncate(MOST_PROBLEMS);
            if more > 0
                && let Some(last) = problems.last_mut()
            {
                let before = if last.hint.is_empty() { "" } else { "; " };
                last.hint = format!("{}{before}{more} more problems follow", last.hint);
            }
        }
        (errors.into_iter().map(told).collect(), warnings.into_iter().map(told).collect())
    }

    /// Reads one table along its keys.
    fn table(&mut self, scope: &'static Scope, table: &DeTable<'_>, span: Range<usize>) -> Fields {
        let mut fields = Fields::new(scope, span);
        self.walk(scope, "", table, &mut fields);
        for key in scope.keys.iter().filter(|key| key.required && scope.takes(key)) {
            // A part of a table within is only missed where some other part of it is there.
            let around = key.name.rsplit_once('.').map_or("", |(around, _)| around);
            if !fields.has(key.name) && (around.is_empty() || fields.has_within(around)) {
                let span = if around.is_empty() { fields.header() } else { fields.within(around) };
                let add = match key.kind {
                    Type::Table(table) | Type::Tables(table) => table.header.to_owned(),
                    _ => format!("{} = {}", key.name, key.example),
                };
                self.missing(span, format!("`{}` is missing in {}", key.name, scope.place), format!("add `{add}`"));
            }
        }
        fields
    }

    /// Keeps texts out of messages.
    fn hide(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::String(_) => self.secret.push(value.span()),
            DeValue::Array(array) => array.iter().for_each(|element| self.hide(element)),
            DeValue::Table(table) => table.iter().for_each(|(_, element)| self.hide(element)),
            _ => {}
        }
    }

    /// The same for what may be a secret in the value of an unknown key, which nothing else looks at.
    fn hide_suspects(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        let root = self.root;
        if *self.suspects.entry(name.to_owned()).or_insert_with(|| hint::may_hold_a_secret(root, name)) {
            self.hide(value);
            return;
        }
        match value.get_ref() {
            DeValue::Array(array) => array.iter().for_each(|element| self.hide_suspects("", element)),
            DeValue::Table(table) => table.iter().for_each(|(key, value)| self.hide_suspects(key.get_ref(), value)),
            _ => {}
        }
    }

    fn walk(&mut self, scope: &'static Scope, prefix: &str, table: &DeTable<'_>, fields: &mut Fields) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = format!("{prefix}{}", key.get_ref());
            let below = format!("{name}.");
            if let Some(known) = scope.key(&name) {
                let read = known.kind.read(known.name, value, self);
                if !known.later.is_empty() && read.as_ref().is_some_and(Value::is_something) {
                    let span =
                        if matches!(known.kind, Type::Tables(_) | Type::Table(_)) { value.span() } else { key.span() };
                    self.warning(span, known.later, "");
                }
                fields.insert(known, Item { key: key.span(), span: value.span(), value: read });
            } else if scope.keys.iter().any(|known| known.name.starts_with(&below) && scope.takes(known)) {
                if let Some(inner) = value.get_ref().as_table() {
                    fields.open(&name, key.span());
                    self.walk(scope, &below, inner, fields);
                } else {
                    let first = scope.keys.iter().find(|known| known.name.starts_with(&below));
                    let hint = first.map_or(String::new(), |key| format!("write `{} = {}`", key.name, key.example));
                    self.hide(value);
                    self.error(value.span(), format!("`{name}` is a table of its own"), hint);
                }
            } else {
                // Nobody reads that many hints, and each takes a while to find.
                let is_one_of_many = self.problems.len() >= MOST_PROBLEMS;
                if is_one_of_many {
                    self.hide(value);
                } else {
                    self.hide_suspects(&name, value);
                }
                let hint = if is_one_of_many { String::new() } else { hint::unknown(self.root, scope, &name) };
                self.error(key.span(), format!("unknown key `{name}` in {}", scope.place), hint);
            }
        }
    }
}

/// Where lines begin, to compare places by line.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    fn at(&self, place: usize) -> usize {
        self.0.partition_point(|&end| end < place)
    }
}

/// The TOML parser's message in our words: what is wrong, and a hint.
fn syntax(message: &str, is_nothing: bool) -> (String, String) {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    if is_nothing && what == "string values must be quoted" {
        return ("this is not TOML: the value is missing".to_owned(), "write one after the `=`".to_owned());
    }
    let hint = match (what, expected) {
        ("duplicate key", _) => "it is already set above: keep one of the two".to_owned(),
        ("string values must be quoted", _) => "put it in quotes: `\"...\"`".to_owned(),
        ("key with no value", _) => "write `key = value`".to_owned(),
        (_, "") => String::new(),
        (_, expected) => format!("expected {expected}"),
    };
    (format!("this is not TOML: {what}"), hint)
}
