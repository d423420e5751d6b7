//! What may stand behind a key: types, and reading one value as its type says.

use std::{net::SocketAddr, ops::Range, time::Duration};

use ipnet::IpNet;
use jiff::{Timestamp, civil, tz::TimeZone};
use regex::Regex;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use url::Url;

use super::{Fields, Item, Reader, Scope, Sources, hint};
use crate::{
    config::{
        cron::{Cron, CronError},
        values::{self, Wrong},
    },
    domain::{CheckId, GroupId, ServiceId, id::BadId, subscriber::Address, text::LocalText},
    secret::Secret,
    untrusted,
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
        let span = value.span();
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
                reader.error(span, format!("`{name}` may stand several times"), format!("write `{}`", scope.header));
                None
            }
            (Self::Table(scope), DeValue::Array(_)) => {
                reader.error(span, format!("`{name}` stands only once"), format!("write `{}`", scope.header));
                None
            }
            (Self::Secret, DeValue::Table(table)) => secret_table(table, span, reader),
            (Self::Secret, DeValue::String(text)) => {
                if !(text.contains("{env:") || text.contains("{file:")) {
                    reader.secret.push(span.clone());
                }
                filled(text, &span, reader).map(|text| Value::Secret(Secret::new(text)))
            }
            (Self::Local(max), DeValue::Table(table)) => local(name, max, table, span, reader),
            (Self::Json, value) => Some(Value::Json(json(value))),
            (Self::At, DeValue::Datetime(at)) => match instant(at, &reader.zone) {
                Ok(at) => Some(Value::At(at)),
                Err(wrong) => {
                    reader.error(span, wrong.message, wrong.hint);
                    None
                }
            },
            (kind, value) => match kind.scalar(value) {
                Some(Ok(value)) => Some(value),
                Some(Err((wrong, within))) => {
                    let span = within.and_then(|within| inside(&span, value, within)).unwrap_or(span);
                    let message = if wrong.message.contains('`') || wrong.message.starts_with("this ") {
                        wrong.message
                    } else {
                        format!("`{name}` {}", wrong.message)
                    };
                    reader.error(span, message, wrong.hint);
                    None
                }
                None => {
                    reader.error(span, format!("`{name}` cannot be {}", given(value)), kind.instead(value));
                    None
                }
            },
        }
    }

    /// Reads a value that needs no more than itself. `None`: it is of another TOML type.
    fn scalar(self, value: &DeValue<'_>) -> Option<Result<Value, (Wrong, Option<Range<usize>>)>> {
        if let (Self::Cron, DeValue::String(text)) = (self, value) {
            return Some(
                Cron::parse(text)
                    .map(Value::Cron)
                    .map_err(|CronError { message, hint, span }| (Wrong { message, hint }, Some(span))),
            );
        }
        let wrong = |message: String, hint: String| Err(Wrong { message, hint });
        let bad_id = |error: BadId| {
            Wrong::new(format!("`{}` is not a usable {}", error.given, error.what), format!("write {}", error.rule))
        };
        let read = match (self, value) {
            (Self::Line(max), DeValue::String(text)) => {
                bounded(text, max).map(|()| Value::Text(untrusted::line(text, max)))
            }
            (Self::Block(max), DeValue::String(text)) => {
                bounded(text, max).map(|()| Value::Text(untrusted::block(text, max)))
            }
            (Self::Local(max), DeValue::String(text)) => {
                bounded(text, max).map(|()| Value::Local(LocalText::One(untrusted::block(text, max))))
            }
            (Self::Text | Self::Path, DeValue::String(text)) => Ok(Value::Text(text.to_string())),
            (Self::Bool, DeValue::Boolean(is)) => Ok(Value::Bool(*is)),
            (Self::SocketOrFalse, DeValue::Boolean(false)) => Ok(Value::Bool(false)),
            (Self::SocketOrFalse, DeValue::Boolean(true)) => {
                wrong("needs an address".to_owned(), "write `\"127.0.0.1:9464\"`, or `false`".to_owned())
            }
            (Self::Integer(min, max), DeValue::Integer(number)) => match integer(number) {
                Some(number) if (min..=max).contains(&number) => Ok(Value::Integer(number)),
                _ => wrong(format!("cannot be {number}"), format!("write {}", self.noun())),
            },
            (Self::Number(min, max), DeValue::Integer(_) | DeValue::Float(_)) => {
                let number = match value {
                    DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
                    DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
                    _ => None,
                };
                match number.filter(|number| *number > f64::from(min) && *number <= f64::from(max)) {
                    Some(number) => Ok(Value::Number(number)),
                    None => wrong(
                        format!("must be more than {min} and at most {max}"),
                        format!("write a number such as `{max}` or less"),
                    ),
                }
            }
            (Self::Duration(min, max), DeValue::String(text)) => values::duration(text).and_then(|length| {
                let bound = |text: &str| values::duration(text).unwrap_or_default();
                if length < bound(min) {
                    wrong(format!("is too short with `{text}`"), format!("write `{min}` or more"))
                } else if length > bound(max) {
                    wrong(format!("is too long with `{text}`"), format!("write `{max}` or less"))
                } else {
                    Ok(Value::Duration(length))
                }
            }),
            (Self::Size(min, max), DeValue::String(text)) => {
                values::size(text).and_then(|bytes| in_size(bytes, min, max))
            }
            (Self::Size(min, max), DeValue::Integer(number)) => number
                .as_str()
                .parse()
                .map_err(|_| Wrong::new("is no size", "write `1MiB`"))
                .and_then(|bytes| in_size(bytes, min, max)),
            (Self::Rate, DeValue::String(text)) => values::rate(text).map(Value::Number),
            (Self::Words(words), DeValue::String(text)) => match words.iter().find(|word| ***word == **text) {
                Some(word) => Ok(Value::Text((*word).to_owned())),
                None => {
                    let near = hint::nearest(text, words.iter().copied());
                    let hint =
                        near.map_or_else(|| format!("write {}", self.noun()), |word| format!("did you mean `{word}`?"));
                    wrong(format!("`{text}` is not among the words that may stand here"), hint)
                }
            },
            (Self::Choice(numbers), DeValue::Integer(number)) => match integer(number) {
                Some(number) if numbers.contains(&number) => Ok(Value::Integer(number)),
                _ => wrong(format!("cannot be {number}"), format!("write {}", self.noun())),
            },
            (Self::ServiceId, DeValue::String(text)) => {
                ServiceId::new(text).map(|id| Value::Text(id.into())).map_err(bad_id)
            }
            (Self::CheckId, DeValue::String(text)) => {
                CheckId::new(text).map(|id| Value::Text(id.into())).map_err(bad_id)
            }
            (Self::GroupId, DeValue::String(text)) => {
                GroupId::new(text).map(|id| Value::Text(id.into())).map_err(bad_id)
            }
            (Self::Url(schemes), DeValue::String(text)) => values::url(text, schemes).map(Value::Url),
            (Self::Zone, DeValue::String(text)) => values::zone(text).map(Value::Zone),
            (Self::Language, DeValue::String(text)) => values::language(text).map(Value::Text),
            (Self::Colour, DeValue::String(text)) => values::colour(text).map(Value::Text),
            (Self::Socket | Self::SocketOrFalse, DeValue::String(text)) => values::socket(text).map(Value::Socket),
            (Self::Network, DeValue::String(text)) => values::network(text).map(Value::Network),
            (Self::Address, DeValue::String(text)) => values::address(text).map(Value::Address),
            (Self::Mailbox, DeValue::String(text)) => values::mailbox(text).map(Value::Mailbox),
            (Self::HostPort, DeValue::String(text)) => values::host_port(text).map(Value::HostPort),
            (Self::Host, DeValue::String(text)) => values::host(text).map(Value::Text),
            (Self::Statuses, DeValue::String(text)) => values::statuses(text).map(Value::Statuses),
            (Self::Statuses, DeValue::Integer(number)) => values::statuses(number.as_str()).map(Value::Statuses),
            (Self::Regex, DeValue::String(text)) => {
                regex::RegexBuilder::new(text).size_limit(1 << 20).build().map(Value::Regex).map_err(|error| {
                    Wrong::new(format!("this is not a regular expression: {}", last_line(&error.to_string())), "")
                })
            }
            _ => return None,
        };
        Some(read.map_err(|wrong| (wrong, None)))
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

fn integer(number: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn bounded(text: &str, max: usize) -> Result<(), Wrong> {
    let length = text.chars().count();
    if length <= max {
        return Ok(());
    }
    Err(Wrong::new(format!("is {length} characters long"), format!("write at most {max}")))
}

fn in_size(bytes: u64, min: u64, max: u64) -> Result<Value, Wrong> {
    if (min..=max).contains(&bytes) {
        return Ok(Value::Bytes(bytes));
    }
    Err(Wrong::new("is out of bounds", format!("write from {} KiB to {} MiB", min.div_ceil(1024), max >> 20)))
}

fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or("").trim();
    untrusted::line(line.strip_prefix("error: ").unwrap_or(line), 200)
}

/// What stands there, with its article.
fn given(value: &DeValue<'_>) -> &'static str {
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

/// `{ env = "NAME" }` or `{ file = "PATH" }`.
fn secret_table(table: &DeTable<'_>, span: Range<usize>, reader: &mut Reader<'_>) -> Option<Value> {
    let mut entries = table.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        reader.error(span, "this is not a secret", format!("write {}", Type::Secret.noun()));
        return None;
    };
    let Some(source @ ("env" | "file")) = Some(&**key.get_ref()) else {
        reader.error(key.span(), format!("unknown key `{}` in a secret", key.get_ref()), "write `env` or `file`");
        return None;
    };
    let Some(name) = value.get_ref().as_str() else {
        reader.error(
            value.span(),
            format!("`{source}` cannot be {}", given(value.get_ref())),
            "write a name in quotes",
        );
        return None;
    };
    fetched(source, name, &value.span(), reader).map(|text| Value::Secret(Secret::new(text)))
}

/// The text with every `{env:NAME}` and `{file:PATH}` replaced.
fn filled(text: &str, span: &Range<usize>, reader: &mut Reader<'_>) -> Option<String> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some(at) = ["{env:", "{file:"].iter().filter_map(|mark| rest.find(mark)).min() {
        let (before, marked) = rest.split_at(at);
        let Some((inner, after)) = marked.split_once('}') else {
            reader.error(span.clone(), "a `{env:NAME}` is not closed", "add the `}`");
            return None;
        };
        let (source, name) = inner.trim_start_matches('{').split_once(':')?;
        whole.push_str(before);
        whole.push_str(&fetched(source, name, span, reader)?);
        rest = after;
    }
    whole.push_str(rest);
    Some(whole)
}

fn fetched(source: &str, name: &str, span: &Range<usize>, reader: &mut Reader<'_>) -> Option<String> {
    let sources = reader.sources;
    let found = if source == "env" {
        (sources.env)(name).ok_or_else(|| format!("the environment variable `{name}` is not set"))
    } else {
        (sources.file)(name).map_err(|why| format!("the secret's file `{name}` cannot be read: {why}"))
    };
    let (message, hint) = match found {
        Err(message) => (message, if source == "env" { "set it for the process that runs watchbell" } else { "" }),
        Ok(text) if text.trim().is_empty() => (format!("the secret from `{name}` is empty"), ""),
        // An editor ends a file with a line end; no secret does.
        Ok(text) => return Some(text.trim_end_matches(['\n', '\r']).to_owned()),
    };
    reader.error(span.clone(), message, hint);
    None
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

/// The moment that a TOML date and time means; without an offset, in `zone`. A time that the zone
/// skips is taken as the same time after the gap, one that it has twice as the first.
fn instant(at: &toml::value::Datetime, zone: &TimeZone) -> Result<Timestamp, Wrong> {
    let (Some(date), Some(time)) = (at.date, at.time) else {
        return Err(Wrong::new("this is not a date with a time", "write both: `2026-11-21T10:15:00Z`"));
    };
    let wrong = || Wrong::new("this is not a usable time", "write one since 1970: `2026-11-21T10:15:00Z`");
    let small = |number: u8| i8::try_from(number).map_err(|_| wrong());
    let date = civil::Date::new(i16::try_from(date.year).map_err(|_| wrong())?, small(date.month)?, small(date.day)?)
        .map_err(|_| wrong())?;
    // A leap second counts as the one before it.
    let second = small(time.second.unwrap_or(0).min(59))?;
    let nanosecond = i32::try_from(time.nanosecond.unwrap_or(0)).map_err(|_| wrong())?;
    let time = civil::Time::new(small(time.hour)?, small(time.minute)?, second, nanosecond).map_err(|_| wrong())?;
    let zone = match at.offset {
        None => zone.clone(),
        Some(toml::value::Offset::Z) => TimeZone::UTC,
        Some(toml::value::Offset::Custom { minutes }) => {
            jiff::tz::Offset::from_seconds(i32::from(minutes) * 60).map_err(|_| wrong())?.to_time_zone()
        }
    };
    let moment = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().map_err(|_| wrong())?;
    if moment < Timestamp::UNIX_EPOCH {
        return Err(wrong());
    }
    Ok(crate::clock::to_millis(moment))
}
