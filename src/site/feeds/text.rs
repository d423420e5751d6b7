//! The last door before a feed: text in titles, text in HTML. Text was cleaned when it came in;
//! here stands what only feed readers and validators mind.

/// Whether a character may stand in a feed: what XML 1.0 forbids makes it unreadable, the rest of
/// what is refused here (C1 controls, non-characters, U+FFFD) makes validators complain.
fn is_allowed(c: char) -> bool {
    match c {
        '\t' | '\n' => true,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fdd0}'..='\u{fdef}' | '\u{fffd}' => false,
        _ => (u32::from(c) & 0xfffe) != 0xfffe,
    }
}

/// `text` without what may not stand in a feed.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().filter(|&c| is_allowed(c)).collect()
}

/// A title: plain text on one line. Readers disagree on whether a title is text or HTML, so what
/// looks like a tag or an entity is bent until it reads the same both ways.
#[must_use]
pub fn title(text: &str) -> String {
    const ENTITIES: [&str; 9] = ["amp", "lt", "gt", "quot", "apos", "nbsp", "copy", "reg", "shy"];
    let cleaned = clean(text);
    let line = cleaned.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::with_capacity(line.len());
    for (at, c) in line.char_indices() {
        let after = line.get(at + c.len_utf8()..).unwrap_or("");
        match c {
            '<' if after.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) => {
                out.push('‹');
            }
            '&' if after.starts_with('#') || ENTITIES.iter().any(|name| after.starts_with(name)) => out.push('＆'),
            _ => out.push(c),
        }
    }
    out
}

/// `text` as it may stand between tags and inside quoted attributes of HTML and XML.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|&c| is_allowed(c)) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A number is known to XML and to old HTML alike.
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_breaks_a_feed_passes() {
        assert_eq!(clean("a\u{0}\u{b}\u{1b}\u{85}\u{fffd}\u{fffe}\u{1ffff}\u{fdd0}b\tc\n😀"), "ab\tc\n😀");
    }

    #[test]
    fn a_title_reads_the_same_as_text_and_as_html() {
        assert_eq!(title("a </b><script>\n&amp; &#x3c; R&D <5 s"), "a ‹/b>‹script> ＆amp; ＆#x3c; R&D <5 s");
    }

    #[test]
    fn markup_in_text_stays_text() {
        assert_eq!(escape("<a href='x'>&\"]]>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;]]&gt;");
    }
}
