//! Whether an HTTP answer is what its check expects. Pure.

use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName},
};
use serde_json::Value;

use super::classify::Fault;
use crate::domain::{
    outcome::{Cause, Class},
    service::HttpExpect,
};

/// As much of a body as was read.
#[derive(Debug)]
pub(super) struct Body {
    /// By the character set that the answer names.
    pub(super) text: String,
    /// The bytes themselves, if they are not UTF-8.
    pub(super) raw: Option<Vec<u8>>,
    /// How many bytes.
    pub(super) length: usize,
    /// Whether there is more of it than may be read.
    pub(super) cut: bool,
}

/// Whether the body matters at all; if not, it is read but not kept.
pub(super) fn wants_body(expect: &HttpExpect) -> bool {
    expect.body.is_some() || expect.body_regex.is_some() || !expect.json.is_empty()
}

/// Whether that status is listed, for redirects: one that is expected is not followed.
pub(super) fn lists(expect: &HttpExpect, status: StatusCode) -> bool {
    expect.status.iter().any(|&(from, to)| (from..=to).contains(&status.as_u16()))
}

pub(super) fn status(expect: &HttpExpect, status: StatusCode) -> Result<(), Fault> {
    if if expect.status.is_empty() { status.is_success() } else { lists(expect, status) } {
        return Ok(());
    }
    let cause = Cause { http_status: Some(status.as_u16()), ..Class::HttpStatus.into() };
    Err(Fault { cause, ..Fault::new(Class::HttpStatus, &format!("HTTP {}", status.as_u16())) })
}

pub(super) fn headers(expect: &HttpExpect, headers: &HeaderMap) -> Result<(), Fault> {
    for (name, text) in &expect.header {
        let values = HeaderName::try_from(name.as_str()).map(|name| headers.get_all(name)).ok();
        let found = values.into_iter().flatten().any(|value| contains(value.as_bytes(), text.as_bytes()));
        if !found {
            return Err(Fault::new(Class::Body, &format!("header `{name}` does not hold `{text}`")));
        }
    }
    Ok(())
}

pub(super) fn body(expect: &HttpExpect, body: &Body) -> Result<(), Fault> {
    let place = if body.cut { format!("the first {} bytes of the body", body.length) } else { "the body".to_owned() };
    let missing = |what: &str| Err(Fault::new(Class::Body, &format!("{what} is not in {place}")));
    if let Some(text) = &expect.body
        && !body.text.contains(text)
        && !body.raw.as_ref().is_some_and(|raw| contains(raw, text.as_bytes()))
    {
        return missing(&format!("`{text}`"));
    }
    if let Some(regex) = &expect.body_regex
        && !regex.is_match(&body.text)
    {
        return missing(&format!("a match of `{}`", regex.as_str()));
    }
    if expect.json.is_empty() {
        return Ok(());
    }
    if body.cut {
        return Err(Fault::new(Class::Body, &format!("the body is longer than {} bytes", body.length)));
    }
    let json: Value = match serde_json::from_str(body.text.trim_start_matches('\u{feff}')) {
        Ok(json) => json,
        Err(error) => return Err(Fault::new(Class::Body, &format!("the body is not JSON: {error}"))),
    };
    for (pointer, expected) in &expect.json {
        match json.pointer(pointer) {
            None => return Err(Fault::new(Class::Body, &format!("the body has no `{pointer}`"))),
            Some(found) if !equal(found, expected) => {
                return Err(Fault::new(Class::Body, &format!("`{pointer}` is {found}, not {expected}")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// As JSON sees it: `1` and `1.0` are one number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || (a.as_f64() == b.as_f64()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn read(text: &str, cut: bool) -> Body {
        Body { text: text.to_owned(), raw: None, length: text.len(), cut }
    }

    #[test]
    fn without_a_list_any_2xx_is_good_and_a_list_is_taken_as_it_is() {
        let listed = HttpExpect { status: vec![(200, 299), (301, 301)], ..HttpExpect::default() };
        for (code, default, with_list) in
            [(200, true, true), (204, true, true), (301, false, true), (503, false, false)]
        {
            let code = StatusCode::from_u16(code).unwrap();
            assert_eq!(status(&HttpExpect::default(), code).is_ok(), default, "{code}");
            assert_eq!(status(&listed, code).is_ok(), with_list, "{code}");
        }
        let fault = status(&listed, StatusCode::SERVICE_UNAVAILABLE).unwrap_err();
        assert_eq!((fault.cause.class, fault.cause.http_status), (Class::HttpStatus, Some(503)));
    }

    #[test]
    fn a_header_must_hold_the_text_in_one_of_its_values() {
        let expect = HttpExpect { header: [("X-State".to_owned(), "ok".to_owned())].into(), ..HttpExpect::default() };
        let mut found = HeaderMap::new();
        assert!(headers(&expect, &found).is_err());
        found.append("x-state", HeaderValue::from_static("bad"));
        assert!(headers(&expect, &found).is_err());
        found.append("x-state", HeaderValue::from_bytes(b"\xff ok").unwrap());
        assert!(headers(&expect, &found).is_ok());
    }

    #[test]
    fn text_and_patterns_are_looked_for_in_what_was_read() {
        let expect = HttpExpect {
            body: Some("ok".to_owned()),
            body_regex: Some(regex::Regex::new("^a.*z$").unwrap()),
            ..HttpExpect::default()
        };
        assert!(wants_body(&expect) && !wants_body(&HttpExpect::default()));
        assert!(body(&expect, &read("a ok z", false)).is_ok());
        assert_eq!(body(&expect, &read("a z", false)).unwrap_err().detail, "`ok` is not in the body");
        assert_eq!(
            body(&expect, &read("ok", true)).unwrap_err().detail,
            "a match of `^a.*z$` is not in the first 2 bytes of the body"
        );
    }

    #[test]
    fn json_is_compared_by_value() {
        let expect = HttpExpect {
            json: [("/status".to_owned(), "ok".into()), ("/n".to_owned(), serde_json::json!([1, {"a": 2.0}]))].into(),
            ..HttpExpect::default()
        };
        assert!(body(&expect, &read("\u{feff}{\"n\":[1.0,{\"a\":2}],\"status\":\"ok\"}", false)).is_ok());
        assert!(body(&expect, &read(r#"{"status":"ok"}"#, false)).unwrap_err().detail.contains("no `/n`"));
        assert!(body(&expect, &read(r#"{"status":"bad","n":[1,{"a":2}]}"#, false)).is_err());
        assert!(body(&expect, &read("<html>", false)).unwrap_err().detail.starts_with("the body is not JSON"));
        assert!(body(&expect, &read("{", true)).unwrap_err().detail.contains("longer"));
    }
}
