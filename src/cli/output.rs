//! Writing to the terminal: results to stdout, talk to stderr, tables that align.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::store::maintenance::Progress;

/// Says something to the operator.
pub fn say(text: &str) {
    // Nobody is left to tell if even this fails.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a line of a result.
///
/// # Errors
/// If stdout is closed.
pub fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints a result as JSON.
///
/// # Errors
/// If stdout is closed.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::other)?;
    writeln!(out)
}

/// Prints rows whose columns align; the first row is the heading. An empty table prints nothing.
///
/// # Errors
/// If stdout is closed.
pub fn print_table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut widths = heading.map(visible_width);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(visible_width(cell));
        }
    }
    let line = |cells: &[String; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell}{:1$}", "", width - visible_width(cell)))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    print(&line(&heading.map(str::to_uppercase)))?;
    rows.iter().try_for_each(|row| print(&line(row)))
}

/// Shows how far something long has come, on a terminal and nowhere else.
pub fn progress() -> impl FnMut(Progress) {
    let is_shown = io::stderr().is_terminal();
    let mut shown = None;
    move |progress: Progress| {
        let percent = progress.done.saturating_mul(100).checked_div(progress.total).unwrap_or(100);
        if is_shown && shown != Some(percent) {
            shown = Some(percent);
            let end = if percent >= 100 { "\r     \r" } else { "" };
            // A terminal that went away need not be told.
            let _ = write!(io::stderr().lock(), "\r{percent:3} %{end}");
        }
    }
}

/// How many columns a cell takes: colour takes none.
fn visible_width(cell: &str) -> usize {
    let mut coloured = false;
    cell.chars()
        .filter(|&c| {
            let visible = !coloured && c != '\u{1b}';
            coloured = (coloured || c == '\u{1b}') && c != 'm';
            visible
        })
        .count()
}

/// Whether an error only says that nobody reads our output any more (`| head`).
#[must_use]
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
