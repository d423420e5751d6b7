//! The JSON Schema of `watchbell.toml`.

use serde_json::{Value, json};

use super::{keys, reading::schema};

/// The schema, made from the table of keys.
#[must_use]
pub fn schema() -> Value {
    let mut whole = schema::of(&keys::ROOT, "watchbell.toml");
    let kinds: Vec<Value> = keys::KINDS.iter().map(|kind| json!({ "required": [kind] })).collect();
    if let Some(Value::Object(check)) = whole.pointer_mut("/properties/service/items/properties/check/items") {
        check.insert("oneOf".to_owned(), Value::Array(kinds));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_nests_dotted_keys_and_asks_for_one_kind() {
        let schema = schema();
        let check = &schema["properties"]["service"]["items"]["properties"]["check"]["items"];
        assert_eq!(check["oneOf"].as_array().unwrap().len(), keys::KINDS.len());
        assert_eq!(check["properties"]["expect"]["properties"]["status"]["default"], json!(["2xx"]));
        assert_eq!(check["properties"]["basic_auth"]["required"], json!(["username", "password"]));
        assert_eq!(schema["required"], json!(["site"]));
        assert!(schema["properties"]["defaults"]["properties"]["http"].is_null());
    }
}
