//! A table of keys as JSON Schema (draft 2020-12), for editors that complete and check TOML.
//!
//! It describes form only: what values mean together is known to the reader alone.

use serde_json::{Map, Value, json};

use super::{Key, Scope, Type, kind};

/// The schema of a file whose outermost table is `scope`.
#[must_use]
pub fn of(scope: &'static Scope, title: &str) -> Value {
    let mut schema = table(scope);
    if let Value::Object(schema) = &mut schema {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!(title));
    }
    schema
}

fn table(scope: &'static Scope) -> Value {
    let keys: Vec<&Key> = scope.keys.iter().filter(|key| scope.takes(key)).collect();
    let mut schema = level(&keys, "");
    if !scope.doc.is_empty() {
        insert(&mut schema, "description", json!(scope.doc));
    }
    schema
}

/// The keys whose names begin with `prefix`, as a table.
fn level(keys: &[&Key], prefix: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys {
        let Some(rest) = key.name.strip_prefix(prefix) else { continue };
        if let Some((inner, _)) = rest.split_once('.') {
            if !properties.contains_key(inner) {
                properties.insert(inner.to_owned(), level(keys, &format!("{prefix}{inner}.")));
            }
            continue;
        }
        if key.required {
            required.push(json!(rest));
        }
        properties.insert(rest.to_owned(), property(key));
    }
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        insert(&mut schema, "required", Value::Array(required));
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = value(key.kind);
    let kinds = match key.only {
        [] => String::new(),
        kinds => format!(" For `{}` checks.", kinds.join("`, `")),
    };
    let description = format!("{}{kinds}", key.doc);
    if !description.is_empty() {
        insert(&mut schema, "description", json!(description));
    }
    if let Some(default) = key.default.and_then(kind::constant_json) {
        insert(&mut schema, "default", default);
    }
    schema
}

fn insert(schema: &mut Value, name: &str, value: Value) {
    if let Value::Object(schema) = schema {
        schema.insert(name.to_owned(), value);
    }
}

fn value(kind: Type) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match kind {
        Type::Line(max) | Type::Block(max) => json!({ "type": "string", "maxLength": max }),
        Type::Text | Type::Path | Type::Zone | Type::Network | Type::Mailbox | Type::Host | Type::Cron => {
            json!({ "type": "string" })
        }
        Type::Bool => json!({ "type": "boolean" }),
        Type::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Type::Number(min, max) => json!({ "type": "number", "exclusiveMinimum": min, "maximum": max }),
        Type::Duration(..) => text("^([0-9]+d)? ?([0-9]+h)? ?([0-9]+m)? ?([0-9]+s)? ?([0-9]+ms)?$"),
        Type::Size(..) => json!({ "type": ["string", "integer"], "pattern": "^[0-9]+ ?(B|[kKMG]B|[KMG]iB)?$" }),
        Type::Rate => text("^[0-9]+/(s|m|min|h)$"),
        Type::Words(words) => json!({ "enum": words }),
        Type::Choice(numbers) => json!({ "enum": numbers }),
        Type::ServiceId | Type::CheckId | Type::GroupId => text("^[a-z0-9][a-z0-9-]{0,63}$"),
        Type::Url(schemes) => text(&format!("^({}):", schemes.join("|"))),
        Type::Language => text("^[a-z]{2,3}(-[A-Za-z0-9]{1,8})*$"),
        Type::Colour => text("^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
        Type::Socket | Type::HostPort => text(":[0-9]+$"),
        Type::SocketOrFalse => json!({ "anyOf": [value(Type::Socket), { "const": false }] }),
        Type::Address => text("^[^@]+@[^@]+$"),
        Type::Statuses => {
            json!({ "type": ["string", "integer"], "pattern": "^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$" })
        }
        Type::Regex => json!({ "type": "string", "format": "regex" }),
        Type::Json => json!({}),
        Type::Secret => json!({ "anyOf": [{ "type": "string" }, secret("env"), secret("file")] }),
        // Editors hand TOML dates over as text.
        Type::At => json!({ "type": "string" }),
        Type::Local(max) => {
            let one = json!({ "type": "string", "maxLength": max });
            json!({ "anyOf": [one, { "type": "object", "minProperties": 1, "additionalProperties": one }] })
        }
        Type::List(of) => json!({ "type": "array", "items": value(*of) }),
        Type::OneOrMore(of) => json!({ "anyOf": [value(*of), { "type": "array", "items": value(*of) }] }),
        Type::Map(of) => json!({ "type": "object", "additionalProperties": value(*of) }),
        Type::Table(scope) => table(scope),
        Type::Tables(scope) => json!({ "type": "array", "items": table(scope) }),
    }
}

fn secret(source: &str) -> Value {
    json!({
        "type": "object",
        "properties": { source: { "type": "string" } },
        "required": [source],
        "additionalProperties": false,
    })
}
