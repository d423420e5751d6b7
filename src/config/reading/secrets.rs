//! Values that do not stand in the file: from the environment, or from files of their own.

use std::ops::Range;

use toml::de::DeTable;

use super::{Reader, Type, Value, kind::given};
use crate::secret::Secret;

/// `{ env = "NAME" }` or `{ file = "PATH" }`.
pub(super) fn table(table: &DeTable<'_>, span: Range<usize>, reader: &mut Reader<'_>) -> Option<Value> {
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
pub(super) fn filled(text: &str, span: &Range<usize>, reader: &mut Reader<'_>) -> Option<String> {
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
