//! Secrets in a file's text, hidden before a message shows the line on which they stand.

use std::{collections::BTreeMap, ops::Range, sync::LazyLock};

use regex::Regex;

/// A user name and password in a URL, anywhere.
#[expect(clippy::unwrap_used, reason = "a constant pattern, compiled in the tests")]
static IN_URL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"://([^/?#@\s"']+)@"#).unwrap());

/// The text with every byte of `ranges`, and every password within a URL, as a `*`, and what could
/// confuse a terminal as a `?`. Quotes, line ends and all places stay as they are.
pub fn hide(text: &str, ranges: &[Range<usize>]) -> String {
    let in_urls = IN_URL.captures_iter(text).filter_map(|found| found.get(1)).map(|found| found.range());
    let mut all: Vec<Range<usize>> = ranges.iter().cloned().chain(in_urls).collect();
    // In order, so that each is looked at once: a file may hold thousands of secrets.
    all.sort_by_key(|range| range.start);
    let mut all = all.into_iter().peekable();
    let mut until = 0;
    let mut hidden = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        while let Some(range) = all.next_if(|range| range.start <= at) {
            until = until.max(range.end);
        }
        let is_shown = at >= until || matches!(c, '"' | '\'' | '\n' | '\r' | '{' | '}' | '[' | ']' | '=' | ',' | ' ');
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

/// `said` without what `hidden` hides of `text`: messages repeat values, and what is known to be
/// secret only once all of the file was read must not stand in them.
pub fn withheld(said: &str, text: &str, hidden: &str) -> String {
    let mut said = said.to_owned();
    let mut from = None;
    // Both are as long in bytes, but what is hidden has a star for each of them.
    for (at, c) in text.char_indices().chain(std::iter::once((text.len(), '*'))) {
        let is_hidden = hidden.as_bytes().get(at) == Some(&b'*') && c != '*';
        match (is_hidden, from) {
            (true, None) => from = Some(at),
            (false, Some(start)) => {
                if let Some(secret) = text.get(start..at).filter(|secret| secret.len() > 2) {
                    said = said.replace(secret, "***");
                }
                from = None;
            }
            _ => {}
        }
    }
    said
}

/// What a message says, fit for a terminal and a log: what could confuse is a `?`, and texts of the
/// file that it repeats are cut when they are long.
pub fn tamed(said: &str) -> String {
    let said: String =
        said.chars().map(|c| if is_confusing(c) || matches!(c, '\r' | '\t') { '?' } else { c }).collect();
    match said.char_indices().nth(LONGEST) {
        Some((end, _)) => said.get(..end).unwrap_or_default().to_owned() + "…",
        None => said,
    }
}

/// The most characters of a message: what the regex library says of a pattern takes several lines.
const LONGEST: usize = 2000;

/// Where secrets may stand in a text that cannot be parsed: what follows a telling name on its line,
/// the lines that such a value goes on for, and all values below a telling header. Names tell by
/// their parts, or because `is_one` says so of a word.
pub fn suspects(text: &str, is_one: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let mut known = BTreeMap::new();
    let mut telling = |line: &str| {
        let word_tells = |(_, word): &(usize, &str)| *known.entry(word.to_string()).or_insert_with(|| is_one(word));
        telling(line).into_iter().chain(words(line).find(word_tells).map(|(at, _)| at)).min()
    };
    let mut found = Vec::new();
    let (mut within, mut until) = (false, None);
    let mut goes_on = false;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        if let Some(quotes) = until {
            if line.contains(quotes) {
                until = None;
            }
            found.push(range);
            continue;
        }
        if line.trim_start().starts_with('[') && !line.contains('=') {
            (within, goes_on) = (telling(line).is_some(), false);
            continue;
        }
        let from = if within { Some(0) } else { telling(line) };
        let value = from.and_then(|from| Some(from + line.get(from..)?.find('=')? + 1));
        match value {
            Some(value) => {
                let rest = line.get(value..).unwrap_or_default();
                until = ["\"\"\"", "'''"].into_iter().find(|quotes| rest.matches(quotes).count() % 2 == 1);
                found.push(range.start + value..range.end);
                goes_on = true;
            }
            None if goes_on && !line.contains('=') => found.push(range),
            None => goes_on = false,
        }
    }
    found
}

/// The bare words of a line, and where they stand.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_end = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'));
    let mut at = 0;
    line.split(is_end).filter_map(move |word| {
        let from = at;
        at += word.len() + line.get(at + word.len()..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        (!word.is_empty()).then_some((from, word))
    })
}

/// The place of the first name in `line` that tells of a secret by a part of it.
fn telling(line: &str) -> Option<usize> {
    const NAMES: &[&str] = &[
        "pass",
        "secret",
        "token",
        "key",
        "auth",
        "cred",
        "pwd",
        "cookie",
        "url",
        "header",
        "body",
        "send",
        "heartbeat",
        "proxy",
    ];
    let line = line.to_ascii_lowercase();
    NAMES.iter().filter_map(|name| line.find(name)).min()
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
    fn what_may_be_a_secret_in_a_broken_text_is_hidden() {
        let text = "name = \"API\nowners = [\"a\nheaders = { X = \"s1\" }\n[check.headers]\nX-Key = \"s2\"\n[b]\n\
                    body = \"\"\"\ns3=\n  s4\n\"\"\"\ncheck = { tcp = \"a:1\", send = \"s5\" }\ntoken =\n  \"s6\"\nevery = \"5s\"\nä = { paswort = \"s7\" }\n";
        let hidden = hide(text, &suspects(text, |word| word == "paswort"));
        assert!((1..=7).all(|n| !hidden.contains(&format!("s{n}"))), "{hidden}");
        assert!(["API", "\"a\n", "a:1", "5s"].iter().all(|shown| hidden.contains(shown)), "{hidden}");
        assert_eq!(hidden.len(), text.len());
    }

    #[test]
    fn a_message_does_not_repeat_what_is_hidden() {
        let text = "\"smtps://ann:s3cret@mail\"";
        let hidden = hide(text, &[]);
        assert_eq!(withheld("`smtps://ann:s3cret@mail` will not do", text, &hidden), "`smtps://***@mail` will not do");
        assert_eq!(withheld("write `x:hünter2`", "\"hünter2\"", "\"********\""), "write `x:***`");
    }

    #[test]
    fn secrets_within_one_another_are_hidden_to_the_last_end() {
        assert_eq!(hide("abcdefgh", &[4..6, 1..7, 2..3]), "a******h");
    }

    #[test]
    fn what_a_message_repeats_is_tamed_and_cut() {
        assert_eq!(tamed("`a\u{1b}[2J\r\u{202e}b`\nc"), "`a?[2J??b`\nc");
        assert_eq!(tamed(&"ü".repeat(5000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn secrets_are_hidden_and_places_stay() {
        let text = "a = \"hünter2\"\nb = \"https://ann:s3cret@example.org/\"\n";
        let hidden = hide(text, std::slice::from_ref(&(4..14)));
        assert_eq!(hidden, "a = \"********\"\nb = \"https://**********@example.org/\"\n");
        assert_eq!(hidden.len(), text.len());
        assert_eq!(hide("a\u{1b}[2J\u{202e}b\r\n", &[]), "a?[2J???b\r\n");
    }
}
