//! What a client has already, and which encodings it takes: RFC 9110, sections 8.8, 12.5.3 and 13.
//! Pure.

use hyper::{
    HeaderMap,
    header::{ACCEPT_ENCODING, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH},
};
use jiff::{Timestamp, fmt::rfc2822};

/// Whether the client takes gzip: named, or covered by `*`, with a weight above nought.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for item in list(headers, &ACCEPT_ENCODING) {
        let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
        let wanted = weight.is_some_and(|weight| weight > 0.0);
        match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return wanted,
            "*" => any = wanted,
            _ => {}
        }
    }
    any
}

/// Whether the client's copy is still good. `If-None-Match` counts; without it, `If-Modified-Since`.
pub(super) fn is_unchanged(headers: &HeaderMap, etag: &str, modified_at: Timestamp) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        return list(headers, &IF_NONE_MATCH).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag);
    }
    let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok()).and_then(parse_date);
    since.is_some_and(|since| modified_at.as_second() <= since.as_second())
}

/// An HTTP date.
pub(super) fn date(at: Timestamp) -> Option<String> {
    rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}

fn parse_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.clone(), value.parse().unwrap())])
    }

    #[test]
    fn gzip_is_taken_when_named_with_weight() {
        for yes in ["gzip", "br, gzip", "GZip;q=0.5", "*", "identity;q=0, *;q=1", "deflate, gzip;q=1.0"] {
            assert!(takes_gzip(&with(&ACCEPT_ENCODING, yes)), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "*;q=0", "gzip;q=0, *", "gzip;q=x"] {
            assert!(!takes_gzip(&with(&ACCEPT_ENCODING, no)), "{no}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_tag_matches_in_a_list_and_weakly() {
        let modified_at = "2026-11-21T10:00:00Z".parse().unwrap();
        for yes in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(is_unchanged(&with(&IF_NONE_MATCH, yes), "\"a\"", modified_at), "{yes}");
        }
        let mut headers = with(&IF_NONE_MATCH, "\"b\"");
        headers.insert(IF_MODIFIED_SINCE, "Sat, 21 Nov 2026 10:00:00 GMT".parse().unwrap());
        assert!(!is_unchanged(&headers, "\"a\"", modified_at), "the tag counts, not the date");
    }

    #[test]
    fn a_date_is_compared_by_the_second() {
        let modified_at = "2026-11-21T10:00:00.750Z".parse().unwrap();
        let since = |text: &str| is_unchanged(&with(&IF_MODIFIED_SINCE, text), "\"a\"", modified_at);
        assert_eq!(date(modified_at).unwrap(), "Sat, 21 Nov 2026 10:00:00 GMT");
        assert!(since("Sat, 21 Nov 2026 10:00:00 GMT"));
        assert!(!since("Sat, 21 Nov 2026 09:59:59 GMT"));
        assert!(!since("yesterday"));
    }
}
