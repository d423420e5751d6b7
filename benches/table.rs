//! Puts the rows that the other benches found into one table: on a terminal, as Markdown beside
//! them, and with `--quote FILE` between the marks in that file.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "benches stand outside: they look at the clock, and fail loudly"
)]

mod support;

use std::{env, fs, io, path::PathBuf};

use support::table::{self, Row};

/// Where the table stands in a document.
const MARKS: [&str; 2] = ["<!-- figures: written by scripts/bench --quote -->\n", "<!-- end of figures -->\n"];

fn main() -> io::Result<()> {
    // cargo itself adds `--bench`.
    let mut args = env::args().skip(1).filter(|arg| arg != "--bench");
    let (mut files, mut quote) = (Vec::new(), None);
    while let Some(arg) = args.next() {
        if arg == "--quote" {
            quote = args.next().map(PathBuf::from);
        } else {
            files.push(arg);
        }
    }
    let mut rows: Vec<Row> = Vec::new();
    for file in files {
        for line in fs::read_to_string(file)?.lines() {
            rows.push(serde_json::from_str(line)?);
        }
    }
    table::print(&rows)?;
    if let Some(document) = quote {
        let text = fs::read_to_string(&document)?;
        let around = text.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)));
        let (before, after) = around.ok_or_else(|| io::Error::other("the document has no place for figures"))?;
        let text = [before, MARKS[0], &table::markdown(&rows), MARKS[1], after].concat();
        fs::write(document, text)?;
    }
    Ok(())
}
