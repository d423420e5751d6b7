//! One row for each question: what we need, what the anchor needs in the same run, and whether
//! that is good enough. Printed as an aligned table or as Markdown, and kept as lines of JSON
//! until `scripts/bench` puts all of them together.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use serde::{Deserialize, Serialize};

/// One figure, measured several times.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figure {
    /// What each round gave, in order.
    pub rounds: Vec<f64>,
    /// What the numbers count, such as `ms CPU per 1,000 checks`.
    pub unit: String,
}

/// What is good enough.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Goal {
    /// Ours is at most so many times the anchor.
    AtMostTimes(f64),
    /// Ours is at least so many times the anchor: rates.
    AtLeastTimes(f64),
    /// The anchor is at least so many times ours: "so many times less".
    TimesLess(f64),
    /// Ours itself is at most this; there is nothing to compare it with.
    AtMost(f64),
    /// Nothing is asked: for information. The ratio is ours to the anchor's.
    Information,
}

/// One question and its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What was asked.
    pub question: String,
    /// What watchbell gave, round by round.
    pub ours: Figure,
    /// What it is compared with, measured in the same rounds.
    pub anchor: Option<(String, Figure)>,
    /// What was wished for.
    pub goal: Goal,
}

impl Figure {
    /// A figure in `unit`.
    pub fn new(unit: &str) -> Self {
        Self { rounds: Vec::new(), unit: unit.to_owned() }
    }

    /// The figure of one more round.
    pub fn push(&mut self, value: f64) {
        self.rounds.push(value);
    }

    fn show(&self) -> String {
        match spread(&self.rounds) {
            Some((low, median, high)) if self.rounds.len() > 1 => {
                format!("{} {} ({}–{})", number(median), self.unit, number(low), number(high))
            }
            Some((_, only, _)) => format!("{} {}", number(only), self.unit),
            None => "not measured".to_owned(),
        }
    }
}

impl Row {
    /// Ratios of one round each, lowest, median, highest: rounds are paired, since a machine may be
    /// slower in one than in the next.
    fn ratio(&self) -> Option<(f64, f64, f64)> {
        let (_, anchor) = self.anchor.as_ref()?;
        let pairs = self.ours.rounds.iter().zip(&anchor.rounds);
        let ratios: Vec<f64> = match self.goal {
            Goal::TimesLess(_) => pairs.map(|(ours, anchor)| anchor / ours).collect(),
            _ => pairs.map(|(ours, anchor)| ours / anchor).collect(),
        };
        spread(&ratios)
    }

    /// Whether the goal is met, by the median; `None` if there is none, or nothing was measured.
    pub fn met(&self) -> Option<bool> {
        let ratio = self.ratio().map(|(_, median, _)| median);
        match self.goal {
            Goal::AtMostTimes(most) => Some(ratio? <= most),
            Goal::AtLeastTimes(least) | Goal::TimesLess(least) => Some(ratio? >= least),
            Goal::AtMost(most) => Some(spread(&self.ours.rounds)?.1 <= most),
            Goal::Information => None,
        }
    }

    fn cells(&self) -> [String; 6] {
        let times = |value: f64| format!("{}x", number(value));
        let ratio = self.ratio().map_or_else(String::new, |(low, median, high)| {
            let text = if low < high { format!("{median:.2} ({low:.2}–{high:.2})") } else { format!("{median:.2}") };
            if matches!(self.goal, Goal::TimesLess(_)) { format!("{text} times less") } else { text }
        });
        let anchor =
            self.anchor.as_ref().map_or_else(String::new, |(name, figure)| format!("{name}: {}", figure.show()));
        let goal = match self.goal {
            Goal::AtMostTimes(most) => format!("at most {}", times(most)),
            Goal::AtLeastTimes(least) => format!("at least {}", times(least)),
            Goal::TimesLess(least) => format!("at least {} less", times(least)),
            Goal::AtMost(most) => format!("at most {} {}", number(most), self.ours.unit),
            Goal::Information => String::new(),
        };
        let met = match self.met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        [self.question.clone(), self.ours.show(), anchor, ratio, goal, met.to_owned()]
    }
}

/// Prints `rows`: as lines of JSON if the program was called with `--json`, else as a table.
pub fn print(rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if std::env::args().any(|arg| arg == "--json") {
        for row in rows {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        }
        Ok(())
    } else {
        write!(out, "{}", aligned(rows))
    }
}

const HEADS: [&str; 6] = ["question", "watchbell", "anchor", "ratio", "goal", "met"];

/// The rows as Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = format!("| {} |\n|{}\n", HEADS.join(" | "), " --- |".repeat(HEADS.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.cells().join(" | ").replace("|  |", "| |"));
    }
    text
}

/// The rows for a terminal, each over as many lines as it has cells: they are long.
pub fn aligned(rows: &[Row]) -> String {
    let wide = HEADS.iter().map(|head| head.len()).max().unwrap_or_default();
    let mut text = String::new();
    for row in rows {
        for (head, cell) in HEADS.iter().zip(row.cells()).filter(|(_, cell)| !cell.is_empty()) {
            let _ = writeln!(text, "{head:<wide$}  {cell}");
        }
        text.push('\n');
    }
    text
}

/// Lowest, median and highest of `values`.
pub fn spread(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (*sorted.first()?, *sorted.last()?);
    let upper = *sorted.get(sorted.len() / 2)?;
    let median =
        if sorted.len().is_multiple_of(2) { f64::midpoint(*sorted.get(sorted.len() / 2 - 1)?, upper) } else { upper };
    Some((low, median, high))
}

/// The value below which the share `at` (0 to 1) of `values` lies; they are sorted by this.
pub fn percentile(values: &mut [f64], at: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((last as f64 * at).round() as usize).copied()
}

/// Three digits that count, with separators: `18,700`, `95.9`, `0.034`.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}
