//! What may stand behind a key: types, and reading one value as its type says.

use std::{net::SocketAddr, ops::Range, time::Duration};

use ipnet::IpNet;
use jiff::{Timestamp, tz::TimeZone};
use regex::Regex;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use url::Url;

use super::{Fields, Item, Reader, Scope, Sources, scalar::Misread, secrets, time};
use crate::{
    config::{cron::Cron, values},
    domain::{subscriber::Address, text::LocalText},
    secret::Secret,
};

/// What may stand behind a key.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// One line for people, cleaned, of at most so many characters.
    Line(usize),
    /// Text for people, cleaned, of at most so many characters.
    Block(usize),
    /// Text exactly as written.
    Text,
    /// Yes or no.
    Bool,
    /// A whole number within these bounds.
    Integer(i64, i64),
    /// A number above the first and up to the second.
    Number(u32, u32),
    /// A length of time, at least the first and at most the second.
    Duration(&'static str, &'static str),
    /// A number of bytes, at least and at most.
    Size(u64, u64),
    /// How often a second.
    Rate,
    /// One of these words.
    Words(&'static [&'static str]),
    /// One of these numbers.
    Choice(&'static [i64]),
    /// The name of a service.
    ServiceId,
    /// The name of a check within its service.
    CheckId,
    /// The name of a group or a channel.
    GroupId,
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// A path; relative ones start at the file's folder.
    Path,
    /// An IANA time zone.
    Zone,
    /// A language tag.
    Language,
    /// `#rrggbb`.
    Colour,
    /// An address and port to listen on.
    Socket,
    /// The same, or `false`.
    SocketOrFalse,
    /// A network, or one address.
    Network,
    /// An e-mail address.
    Address,
    /// A name and an e-mail address.
    Mailbox,
    /// `host:port`.
    HostPort,
    /// A host's name or address.
    Host,
    /// A cron pattern.
    Cron,
    /// An HTTP status, or several.
    Statuses,
    /// A regular expression.
    Regex,
    /// Anything.
    Json,
    /// Text that is never shown: plain, `{ env }`, `{ file }`, or with `{env:NAME}` inside.
    Secret,
    /// A date and time.
    At,
    /// Text of at most so many characters, or a table of texts by language.
    Local(usize),
    /// A list.
    List(&'static Type),
    /// A list, or its only element.
    OneOrMore(&'static Type),
    /// A table whose keys are free.
    Map(&'static Type),
    /// A table.
    Table(&'static Scope),
    /// A list of tables.
    Tables(&'static Scope),
}

/// A value that is as its type says.
#[derive(Clone, Debug)]
pub enum Value {
    /// Yes or no; of an address, always no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// Text of any kind.
    Text(String),
    /// A length of time.
    Duration(Duration),
    /// A number of bytes.
    Bytes(u64),
    /// Never shown.
    Secret(Secret),
    /// A URL.
    Url(Url),
    /// A zone and its name.
    Zone((TimeZone, String)),
    /// Where to listen.
    Socket(SocketAddr),
    /// A network.
    Network(IpNet),
    /// An e-mail address.
    Address(Address),
    /// A name and an e-mail address.
    Mailbox((String, Address)),
    /// Host and port.
    HostPort((String, u16)),
    /// A cron pattern.
    Cron(Cron),
    /// First and last HTTP status.
    Statuses((u16, u16)),
    /// A regular expression.
    Regex(Regex),
    /// Anything.
    Json(serde_json::Value),
    /// A time.
    At(Timestamp),
    /// Text by language.
    Local(LocalText),
    /// A list.
    List(Vec<Item>),
    /// Free keys, in the order of the file.
    Map(Vec<(String, Item)>),
    /// A table.
    Table(Fields),
    /// A list of tables.
    Tables(Vec<Fields>),
}

impl Value {
    /// Whether it asks for anything: not `false`, and not empty.
    #[must_use]
    pub fn is_something(&self) -> bool {
        match self {
            Self::Bool(is) => *is,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Tables(tables) => !tables.is_empty(),
            _ => true,
        }
    }
}

impl Type {
    /// What it is called, with its article.
    #[must_use]
    pub fn noun(self) -> String {
        match self {
            Self::Line(_) | Self::Block(_) | Self::Text | Self::Language | Self::Colour => "text in quotes".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Integer(min, max) => format!("a whole number from {min} to {max}"),
            Self::Number(_, max) => format!("a number up to {max}"),
            Self::Duration(..) => "a duration such as `\"30s\"`".to_owned(),
            Self::Size(..) => "a size such as `\"1MiB\"`".to_owned(),
            Self::Rate => "a rate such as `\"50/s\"`".to_owned(),
            Self::Words(words) => format!("one of `\"{}\"`", words.join("\"`, `\"")),
            Self::Choice(numbers) => {
                format!("one of `{}`", numbers.iter().map(i64::to_string).collect::<Vec<_>>().join("`, `"))
            }
            Self::ServiceId => "a service's id in quotes".to_owned(),
            Self::CheckId | Self::GroupId => "a name in quotes".to_owned(),
            Self::Url(_) => "a URL in quotes".to_owned(),
            Self::Path => "a path in quotes".to_owned(),
            Self::Zone => "a time zone such as `\"Europe/Berlin\"`".to_owned(),
            Self::Socket => "an address such as `\"127.0.0.1:8080\"`".to_owned(),
            Self::SocketOrFalse => "an address such as `\"127.0.0.1:9464\"`, or `false`".to_owned(),
            Self::Network => "a network such as `\"10.0.0.0/8\"`".to_owned(),
            Self::Address => "an e-mail address in quotes".to_owned(),
            Self::Mailbox => "a sender such as `\"Status <status@example.org>\"`".to_owned(),
            Self::HostPort => "a target such as `\"db.example.org:5432\"`".to_owned(),
            Self::Host => "a host's name in quotes".to_owned(),
            Self::Cron => "a cron pattern such as `\"*/5 * * * *\"`".to_owned(),
            Self::Statuses => "a status such as `200` or `\"2xx\"`".to_owned(),
            Self::Regex => "a regular expression in quotes".to_owned(),
            Self::Json => "any value".to_owned(),
            Self::Secret => "text in quotes, `{ env = \"NAME\" }` or `{ file = \"PATH\" }`".to_owned(),
            Self::At => "a date and time without quotes, such as `2026-11-21T10:15:00Z`".to_owned(),
            Self::Local(_) => "text in quotes, or a table of texts by language".to_owned(),
            Self::List(of) => format!("a list `[...]` of {}", of.noun()),
            Self::OneOrMore(of) => format!("{}, or a list `[...]` of such", of.noun()),
            Self::Map(_) => "a table `{ name = ... }`".to_owned(),
            Self::Table(scope) | Self::Tables(scope) => format!("a table `{}`", scope.header),
        }
    }

    /// Reads a value; what is wrong with it is reported under the key's `name`.
    pub fn read(self, name: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Value> {
        let (whole, span) = (value, value.span());
        match (self, value.get_ref()) {
            (Self::List(of) | Self::OneOrMore(of), DeValue::Array(array)) => {
                let items = array.iter().map(|element| Item {
                    key: element.span(),
                    span: element.span(),
                    value: of.read(name, element, reader),
                });
                Some(Value::List(items.collect()))
            }
            (Self::OneOrMore(of), _) => {
                let read = of.read(name, value, reader)?;
                Some(Value::List(vec![Item { key: span.clone(), span, value: Some(read) }]))
            }
            (Self::Map(of), DeValue::Table(table)) => Some(Value::Map(map(*of, table, reader))),
            (Self::Table(scope), DeValue::Table(table)) => Some(Value::Table(reader.table(scope, table, span))),
            (Self::Tables(scope), DeValue::Array(array))
                if array.iter().all(|element| element.get_ref().is_table()) =>
            {
                let tables = array.iter().filter_map(|element| {
                    element.get_ref().as_table().map(|table| reader.table(scope, table, element.span()))
                });
                Some(Value::Tables(tables.collect()))
            }
            (Self::Tables(scope), DeValue::Table(_)) => {
                reader.hide_suspects("", whole);
                reader.error(span, format!("`{name}` may stand several times"), format!("write `{}`", scope.header));
                None
            }
            (Self::Table(scope), DeValue::Array(_)) => {
                reader.hide_suspects("", whole);
                reader.error(span, format!("`{name}` stands only once"), format!("write `{}`", scope.header));
                None
            }
            (Self::Secret, DeValue::Table(table)) => secrets::table(table, span, reader),
            (Self::Secret, DeValue::String(text)) => {
                if !(text.contains("{env:") || text.contains("{file:")) {
                    reader.secret.push(span.clone());
                }
                secrets::filled(text, &span, reader).map(|text| Value::Secret(Secret::new(text)))
            }
            (Self::Local(max), DeValue::Table(table)) => local(name, max, table, span, reader),
            (Self::Json, value) => Some(Value::Json(json(value))),
            (Self::At, DeValue::Datetime(at)) => match time::moment(at, &reader.zone) {
                Ok(at) => Some(Value::At(at)),
                Err(wrong) => {
                    reader.error(span, wrong.message, wrong.hint);
                    None
                }
            },
            (kind, value) => match kind.scalar(value) {
                Some(Ok(value)) => Some(value),
                Some(Err(Misread { wrong, within })) => {
                    let span = within.and_then(|within| inside(&span, value, within)).unwrap_or(span);
                    // A message that begins with its verb is about the key.
                    let is_predicate = ["is ", "has ", "needs ", "must ", "cannot "]
                        .iter()
                        .any(|verb| wrong.message.starts_with(verb));
                    let message = if is_predicate { format!("`{name}` {}", wrong.message) } else { wrong.message };
                    reader.error(span, message, wrong.hint);
                    None
                }
                None => {
                    match kind {
                        Self::Secret => reader.secret.push(span.clone()),
                        // Such as a whole address with its token where a table should be.
                        Self::Map(Self::Secret) | Self::Table(_) | Self::Tables(_) => reader.hide(whole),
                        _ => {}
                    }
                    reader.error(span, format!("`{name}` cannot be {}", given(value)), kind.instead(value));
                    None
                }
            },
        }
    }

    /// What to write where a value of another TOML type stands.
    fn instead(self, value: &DeValue<'_>) -> String {
        match (self, value) {
            (Self::Duration(..), DeValue::Integer(number)) => format!("add a unit: `\"{number}s\"`"),
            (Self::Bool, DeValue::String(text)) if matches!(&**text, "true" | "false") => {
                format!("write `{text}` without quotes")
            }
            (Self::Integer(..) | Self::Choice(_) | Self::Number(..), DeValue::String(text))
                if text.parse::<f64>().is_ok() =>
            {
                format!("write `{text}` without quotes")
            }
            (Self::Words(words), DeValue::Float(number)) if words.contains(&number.as_str()) => {
                format!("write `\"{number}\"`")
            }
            (Self::Words(words), DeValue::Integer(number)) if words.contains(&number.as_str()) => {
                format!("write `\"{number}\"`")
            }
            (Self::At, DeValue::String(text)) if text.parse::<Timestamp>().is_ok() => {
                format!("write `{text}` without quotes")
            }
            (Self::List(of), DeValue::String(_)) if of.scalar(value).is_some() => {
                "put it in brackets: `[\"...\"]`".to_owned()
            }
            _ => format!("write {}", self.noun()),
        }
    }

    /// A value that stands in the key table itself.
    #[must_use]
    pub fn constant(self, name: &str, text: &str) -> Option<Value> {
        static NOTHING: Scope = Scope::new("", "", "", &[]);
        let value = DeValue::parse(text).ok()?;
        self.read(name, &value, &mut Reader::new(&NOTHING, "", Sources::none(), TimeZone::UTC))
    }
}

/// A value that stands in the key table itself, as JSON.
pub(super) fn constant_json(text: &str) -> Option<serde_json::Value> {
    DeValue::parse(text).ok().map(|value| json(value.get_ref()))
}

pub(super) fn integer(number: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What stands there, with its article.
pub(super) fn given(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The place of a part of a text within the file, if the text stands there letter by letter.
fn inside(span: &Range<usize>, value: &DeValue<'_>, within: Range<usize>) -> Option<Range<usize>> {
    let text = value.as_str()?;
    // Two quotes around it, and so no escapes within.
    (span.len() == text.len() + 2).then(|| span.start + 1 + within.start..span.start + 1 + within.end)
}

fn map(of: Type, table: &DeTable<'_>, reader: &mut Reader<'_>) -> Vec<(String, Item)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
        .into_iter()
        .map(|(key, value)| {
            let name = key.get_ref().to_string();
            let read = of.read(&name, value, reader);
            (name, Item { key: key.span(), span: value.span(), value: read })
        })
        .collect()
}

/// `{ en = "...", de = "..." }`.
fn local(name: &str, max: usize, table: &DeTable<'_>, span: Range<usize>, reader: &mut Reader<'_>) -> Option<Value> {
    if table.is_empty() {
        reader.error(span, format!("`{name}` has no text"), "write `{ en = \"...\" }`");
        return None;
    }
    let mut texts = std::collections::BTreeMap::new();
    let mut is_whole = true;
    for (language, text) in table {
        if let Err(wrong) = values::language(language.get_ref()) {
            reader.error(language.span(), wrong.message, wrong.hint);
            is_whole = false;
        } else if let Some(Value::Text(text)) = Type::Block(max).read(name, text, reader) {
            texts.insert(language.get_ref().to_string(), text);
        } else {
            is_whole = false;
        }
    }
    is_whole.then_some(Value::Local(LocalText::Each(texts)))
}

fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => integer(number).into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().into(),
        DeValue::Boolean(is) => (*is).into(),
        DeValue::Datetime(at) => at.to_string().into(),
        DeValue::Array(array) => array.iter().map(|element| json(element.get_ref())).collect(),
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
            serde_json::Value::Object(entries.collect())
        }
    }
}
