//! Reading values that need no more than themselves: numbers, words, texts with a form.

use std::ops::Range;

use toml::de::DeValue;

use super::{Type, Value, hint, kind::integer};
use crate::{
    config::{
        cron::{Cron, CronError},
        values::{self, Wrong},
    },
    domain::{CheckId, GroupId, ServiceId, id::BadId, text::LocalText},
    untrusted,
};

/// What is wrong with a value, and with which bytes of a text, if only with some.
pub(super) struct Misread {
    pub wrong: Wrong,
    pub within: Option<Range<usize>>,
}

impl Type {
    /// Reads a value that needs no more than itself. `None`: it is of another TOML type.
    pub(super) fn scalar(self, value: &DeValue<'_>) -> Option<Result<Value, Misread>> {
        if let (Self::Cron, DeValue::String(text)) = (self, value) {
            return Some(Cron::parse(text).map(Value::Cron).map_err(|CronError { message, hint, span }| Misread {
                wrong: Wrong { message, hint },
                within: Some(span),
            }));
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
                    wrong("is too short".to_owned(), format!("write `{min}` or more"))
                } else if length > bound(max) {
                    wrong("is too long".to_owned(), format!("write `{max}` or less"))
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
            (Self::Words(words), DeValue::String(text)) => {
                if let Some(word) = words.iter().find(|word| ***word == **text) {
                    Ok(Value::Text((*word).to_owned()))
                } else {
                    let near = hint::nearest(text, words.iter().copied());
                    let hint =
                        near.map_or_else(|| format!("write {}", self.noun()), |word| format!("did you mean `{word}`?"));
                    wrong(format!("`{text}` is not among the words that may stand here"), hint)
                }
            }
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
        Some(read.map_err(|wrong| Misread { wrong, within: None }))
    }
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
