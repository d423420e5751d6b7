//! Secrets in a file's text, hidden before a message shows the line on which they stand.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

/// A user name and password in a URL, anywhere.
#[expect(clippy::unwrap_used, reason = "a constant pattern, compiled in the tests")]
static IN_URL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"://([^/?#@\s"']+)@"#).unwrap());

/// The text with every byte of `ranges`, and every password within a URL, as a `*`, and what could
/// confuse a terminal as a `?`. Quotes, line ends and all places stay as they are.
pub fn hide(text: &str, ranges: &[Range<usize>]) -> String {
    let in_urls = IN_URL.captures_iter(text).filter_map(|found| found.get(1)).map(|found| found.range());
    let all: Vec<Range<usize>> = ranges.iter().cloned().chain(in_urls).collect();
    let mut hidden = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let is_shown = matches!(c, '"' | '\'' | '\n' | '\r' | '{' | '}' | '[' | ']' | '=' | ',' | ' ')
            || !all.iter().any(|range| range.contains(&at));
        if is_confusing(c) {
            hidden.extend(std::iter::repeat_n('?', c.len_utf8()));
        } else if is_shown {
            hidden.push(c);
        } else {
            // As many bytes as before, so that places stay valid.
            hidden.extend(std::iter::repeat_n('*', c.len_utf8()));
        }
    }
    hidden
}

/// Control characters and those that change the direction of text.
fn is_confusing(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_places_stay() {
        let text = "a = \"hünter2\"\nb = \"https://ann:s3cret@example.org/\"\n";
        let hidden = hide(text, std::slice::from_ref(&(4..14)));
        assert_eq!(hidden, "a = \"********\"\nb = \"https://**********@example.org/\"\n");
        assert_eq!(hidden.len(), text.len());
        assert_eq!(hide("a\u{1b}[2J\u{202e}b\r\n", &[]), "a?[2J???b\r\n");
    }
}
