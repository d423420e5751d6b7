//! Text from outside: cleaned before it is stored or shown anywhere.
//!
//! Removed are control characters, bidirectional overrides and zero-width characters (they make
//! text look like something it is not), and everything that XML 1.0 forbids (one such character
//! makes a feed unreadable for every reader). See Unicode TR36 and XML 1.0, section 2.2.

/// Whether a character may stand in text that others will read.
fn is_harmless(c: char) -> bool {
    !matches!(c,
        '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}' // controls
        | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'                    // invisible
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'                              // bidi and joiners
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'                                           // marks
        | '\u{fdd0}'..='\u{fdef}'                                                        // non-characters
        | '\u{e0000}'..='\u{e007f}') // tags
        // The last two of each plane are non-characters, too: HTML forbids them, XML the first two.
        && u32::from(c) & 0xfffe != 0xfffe
}

/// One line of at most `max_chars` characters: harmful characters are dropped, runs of white
/// space become one space, and a cut is marked with `…`.
#[must_use]
pub fn line(text: &str, max_chars: usize) -> String {
    let kept: String = text.chars().filter(|&c| is_harmless(c)).collect();
    let joined = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(joined, max_chars)
}

/// Several lines of at most `max_chars` characters in all; line ends become `\n`.
#[must_use]
pub fn block(text: &str, max_chars: usize) -> String {
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    let kept: String = unified.chars().filter(|&c| is_harmless(c)).collect();
    cut(kept.trim().to_owned(), max_chars)
}

fn cut(mut text: String, max_chars: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(max_chars) {
        text.truncate(end);
        text.pop();
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_loses_what_misleads_or_breaks_xml() {
        assert_eq!(line("\u{fdd0}a\u{1ffff}", 99), "a", "non-characters, which HTML forbids");
        assert_eq!(line("a\u{0}b\u{202e}c\u{200b}d\r\n e\u{1b}[31m\u{fffe}", 99), "abcd e[31m");
    }

    #[test]
    fn a_block_keeps_its_lines() {
        assert_eq!(block("one\r\ntwo\u{7}\rthree\n", 99), "one\ntwo\nthree");
    }

    #[test]
    fn a_cut_is_marked_and_falls_between_characters() {
        assert_eq!(line("äöüß", 3), "äö…");
        assert_eq!(line("äöü", 3), "äöü");
    }
}
