//! What is wrong with a file that an operator wrote: where, what, and what to write instead.

use std::{fmt, ops::Range, path::PathBuf, sync::Arc};

/// A file's text with its name, shared by all that is said of it.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// As the operator would write it.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// Whether a diagnostic stops the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but not as the operator may think.
    Warning,
    /// It does not.
    Error,
}

/// One thing to say about one place in a file. `Display` shows all of it:
///
/// ```text
/// watchbell.toml:14:1: unknown key `evry` in a check
///    |
/// 14 | evry = "30s"
///    | ^^^^ did you mean `every`?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the file from being used.
    pub severity: Severity,
    /// The file.
    pub source: Arc<SourceFile>,
    /// Bytes of the text that are underlined; empty or beyond the end is allowed.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub hint: String,
}

impl Diagnostic {
    /// All of it but the underlined text, in one line, as logs want it:
    /// "watchbell.toml:14:1: unknown key `evry` in a check (did you mean `every`?)". Of a file
    /// without a text there is no place to name.
    #[must_use]
    pub fn brief(&self) -> String {
        let path = self.source.path.display();
        let warning = if self.severity == Severity::Warning { "warning: " } else { "" };
        let place = if self.source.text.is_empty() {
            String::new()
        } else {
            let (line, column) = self.position();
            format!("{line}:{column}:")
        };
        let hint = if self.hint.is_empty() { String::new() } else { format!(" ({})", self.hint) };
        // Both may repeat what stands in the file: a line of a log is one line.
        format!("{path}:{place} {warning}{}{hint}", self.message).replace('\n', " ")
    }

    /// Line and column of the span's start, both from 1; columns count characters.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        let start = floor_char_boundary(&self.source.text, self.span.start);
        let before = self.source.text.get(..start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let column = before.get(line_start..).unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

fn floor_char_boundary(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The most characters of a line that are shown.
const WIDEST: usize = 160;

/// The part of a line around `column` that is shown, and where in it the column stands.
fn window(line: &str, column: usize) -> (String, usize) {
    if line.chars().nth(WIDEST).is_none() && column < WIDEST {
        return (line.to_owned(), column);
    }
    let skipped = column.saturating_sub(WIDEST / 3);
    let mut shown: String = line.chars().skip(skipped).take(WIDEST).collect();
    if skipped > 0 {
        // In place of the first character, so that what follows stays in its column.
        shown = shown.chars().skip(1).fold("…".to_owned(), |shown, c| shown + c.encode_utf8(&mut [0; 4]));
    }
    if line.chars().nth(skipped + WIDEST).is_some() {
        shown.push('…');
    }
    (shown, column - skipped)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source.text.is_empty() {
            return f.write_str(&self.brief());
        }
        let (line, column) = self.position();
        let warning = if self.severity == Severity::Warning { "warning: " } else { "" };
        writeln!(f, "{}:{line}:{column}: {warning}{}", self.source.path.display(), self.message)?;
        let text = self.source.text.lines().nth(line - 1).unwrap_or("").replace(['\t', '\r'], " ");
        let gutter = line.to_string().len();
        let start = floor_char_boundary(&self.source.text, self.span.start);
        let end = floor_char_boundary(&self.source.text, self.span.end).max(start);
        let marked = self.source.text.get(start..end).unwrap_or("");
        let width = marked.lines().next().unwrap_or("").chars().count().max(1);
        let (text, indent) = window(&text, column - 1);
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{line} | {text}")?;
        write!(f, "{:gutter$} | {:indent$}{}", "", "", "^".repeat(width.min(WIDEST - indent)))?;
        if !self.hint.is_empty() {
            write!(f, " {}", self.hint)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(text: &str, span: Range<usize>) -> String {
        let source = Arc::new(SourceFile { path: "watchbell.toml".into(), text: text.to_owned() });
        let message = "unknown key `evry` in a check".to_owned();
        Diagnostic { severity: Severity::Error, source, span, message, hint: "did you mean `every`?".to_owned() }
            .to_string()
    }

    #[test]
    fn the_place_is_named_and_underlined() {
        let expected = "watchbell.toml:2:1: unknown key `evry` in a check\n  |\n2 | evry = \"30s\"\n  | ^^^^ did you mean `every`?";
        assert_eq!(diagnostic("é\nevry = \"30s\"\n", 3..7), expected);
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_shown() {
        let text = format!("{}evry{}", "x".repeat(1000), "y".repeat(1000));
        let said = diagnostic(&text, 1000..1004);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() < 200), "{said}");
        let at = lines[3].find('^').unwrap();
        assert_eq!(lines[2].chars().skip(at).take(4).collect::<String>(), "evry");
        assert!(diagnostic(&text, 0..2000).lines().all(|line| line.chars().count() < 200));
    }

    #[test]
    fn in_a_log_it_is_one_line_whatever_it_repeats() {
        let source = Arc::new(SourceFile { path: "w.toml".into(), text: "a".to_owned() });
        let said = "b\nc".to_owned();
        let whole = Diagnostic { severity: Severity::Error, source, span: 0..1, message: said.clone(), hint: said };
        assert_eq!(whole.brief(), "w.toml:1:1: b c (b c)");
    }

    #[test]
    fn a_span_outside_the_text_or_inside_a_character_is_no_trouble() {
        assert!(diagnostic("é", 1..1).starts_with("watchbell.toml:1:1: "));
        assert!(!diagnostic("a\rb", 0..1).contains('\r'), "a terminal would write over the line");
        assert!(diagnostic("a\n", 99..120).starts_with("watchbell.toml:2:1: "));
        assert_eq!(
            diagnostic("", 0..0),
            "watchbell.toml: unknown key `evry` in a check (did you mean `every`?)",
            "nothing is there to be underlined"
        );
    }
}
