//! Badges: small pictures that say how a service is, for readmes and dashboards, and the same as
//! JSON for shields.io.
//!
//! Every badge brings its own background, so it reads the same on light and dark pages. Nothing is
//! drawn with ids, so several badges may be put into one document.

use serde::Serialize;

use super::{feeds::text, json};
use crate::domain::ServiceStatus;

/// The colour of a badge's right half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Slow.
    Slow,
    /// Partly down.
    Partial,
    /// Down.
    Outage,
    /// Planned work.
    Planned,
    /// Nobody knows.
    NoData,
}

impl Tone {
    /// White text on each has a contrast of at least 4.8 (WCAG 2.2).
    const fn colour(self) -> &'static str {
        match self {
            Self::Good => "#12774b",
            Self::Slow => "#8a5a00",
            Self::Partial => "#b14a00",
            Self::Outage => "#b81d2c",
            Self::Planned => "#2456c7",
            Self::NoData => "#5b6470",
        }
    }

    /// The nearest of the colours that shields.io knows by name.
    const fn shields(self) -> &'static str {
        match self {
            Self::Good => "brightgreen",
            Self::Slow => "yellow",
            Self::Partial => "orange",
            Self::Outage => "red",
            Self::Planned => "blue",
            Self::NoData => "lightgrey",
        }
    }
}

impl From<ServiceStatus> for Tone {
    fn from(status: ServiceStatus) -> Self {
        match status {
            ServiceStatus::Operational => Self::Good,
            ServiceStatus::Unknown => Self::NoData,
            ServiceStatus::UnderMaintenance => Self::Planned,
            ServiceStatus::DegradedPerformance => Self::Slow,
            ServiceStatus::PartialOutage => Self::Partial,
            ServiceStatus::MajorOutage => Self::Outage,
        }
    }
}

impl Tone {
    /// The tone of an uptime in hundred-thousandths; `None`: no data.
    #[must_use]
    pub const fn of_uptime(share: Option<u32>) -> Self {
        match share {
            None => Self::NoData,
            Some(99_900..) => Self::Good,
            Some(99_000..) => Self::Slow,
            Some(95_000..) => Self::Partial,
            Some(_) => Self::Outage,
        }
    }
}

/// What a badge says: `label` on the left ("API"), `message` on the right ("Operational").
#[derive(Clone, Copy, Debug)]
pub struct Badge<'a> {
    /// Whose state.
    pub label: &'a str,
    /// How it is.
    pub message: &'a str,
    /// In which colour.
    pub tone: Tone,
}

/// Longer texts are cut: a badge is no place for a sentence.
const MAX_CHARS: usize = 48;
const HEIGHT: u32 = 20;
/// Left and right of each text.
const PADDING: u32 = 6;

impl Badge<'_> {
    /// The picture.
    #[must_use]
    pub fn svg(&self) -> Vec<u8> {
        let (label, message) = (cut(self.label), cut(self.message));
        let (label_width, message_width) = (width(&label), width(&message));
        let left = label_width + 2 * PADDING;
        let right = message_width + 2 * PADDING;
        let whole = left + right;
        let (label, message) = (text::escape(&label), text::escape(&message));
        let colour = self.tone.colour();
        // Rounded at the outer corners; the last pixel of each half is drawn by its own path.
        let inner = left - 3;
        let outer = right - 3;
        let label_x = PADDING;
        let message_x = left + PADDING;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{HEIGHT}" viewBox="0 0 {whole} {HEIGHT}" role="img" aria-label="{label}: {message}"><title>{label}: {message}</title><path fill="#3a4149" d="M3 0h{inner}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z"/><path fill="{colour}" d="M{left} 0h{outer}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z"/><g fill="#fff" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11" text-rendering="geometricPrecision" aria-hidden="true"><text x="{label_x}" y="14" textLength="{label_width}">{label}</text><text x="{message_x}" y="14" textLength="{message_width}">{message}</text></g></svg>
"##
        )
        .into_bytes()
    }

    /// The same for <https://shields.io/badges/endpoint-badge>.
    #[must_use]
    pub fn shields(&self) -> Vec<u8> {
        json::bytes(&Shields {
            schema_version: 1,
            label: &cut(self.label),
            message: &cut(self.message),
            color: self.tone.shields(),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shields<'a> {
    schema_version: u8,
    label: &'a str,
    message: &'a str,
    color: &'a str,
}

fn cut(text: &str) -> String {
    crate::untrusted::line(&text::clean(text), MAX_CHARS)
}

/// Widths of the characters from space to `~` at 11 pixels, in tenths of a pixel.
const WIDTHS: [u8; 95] = [
    35, 44, 51, 92, 70, 105, 86, 30, 43, 43, 55, 92, 35, 40, 35, 37, 70, 70, 70, 70, 70, 70, 70, 70, 70, 70, 37, 37,
    92, 92, 92, 58, 110, 75, 75, 77, 85, 70, 63, 85, 83, 32, 32, 72, 61, 95, 82, 87, 66, 87, 76, 70, 67, 81, 75, 109,
    75, 67, 75, 43, 37, 43, 92, 55, 55, 67, 70, 60, 70, 68, 39, 70, 70, 31, 31, 64, 31, 107, 70, 67, 70, 70, 45, 57,
    43, 70, 65, 90, 65, 65, 58, 70, 37, 70, 92,
];

/// How wide `text` is at 11 pixels, in whole pixels. `textLength` makes it so in any font.
fn width(text: &str) -> u32 {
    let tenths: u32 = text.chars().map(tenths).sum();
    tenths.div_ceil(10).max(1)
}

fn tenths(c: char) -> u32 {
    let ascii = u32::from(c).checked_sub(32).and_then(|at| usize::try_from(at).ok()).and_then(|at| WIDTHS.get(at));
    match c {
        _ if let Some(&width) = ascii => u32::from(width),
        // Marks that stand on the letter before them.
        '\u{300}'..='\u{36f}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        _ if is_wide(c) => 125,
        _ => 72,
    }
}

/// Whether a character is as wide as high: East Asian scripts and pictures.
#[must_use]
pub const fn is_wide(c: char) -> bool {
    matches!(
        c,
        '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{2600}'..='\u{27bf}'
            | '\u{1f000}'..='\u{3ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(label: &str, message: &str) -> String {
        String::from_utf8(Badge { label, message, tone: Tone::Good }.svg()).unwrap()
    }

    #[test]
    fn a_badge_says_in_words_what_it_shows() {
        let svg = svg("API", "Operational");
        assert!(svg.contains("<title>API: Operational</title>"), "{svg}");
        assert!(svg.contains(r#"role="img" aria-label="API: Operational""#), "{svg}");
    }

    #[test]
    fn hostile_names_stay_text() {
        let svg = svg("</text><script>alert(1)</script>\u{1b}\u{202e}&\"'", "x");
        assert!(!svg.contains("<script>") && !svg.contains('\u{1b}') && !svg.contains('\u{202e}'), "{svg}");
        assert!(svg.contains("&lt;/text&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;"), "{svg}");
    }

    #[test]
    fn a_long_name_is_cut_and_an_empty_one_does_no_harm() {
        assert!(svg(&"n".repeat(500), "x").contains(&format!("{}…", "n".repeat(47))));
        assert!(svg("", "").contains("<title>: </title>"));
    }

    #[test]
    fn widths_follow_the_letters() {
        assert!(width("iiii") < width("nnnn") && width("nnnn") < width("WWWW"));
        assert_eq!(width("日本"), 25);
        assert_eq!(width("e\u{301}"), width("e"));
    }

    #[test]
    fn the_colour_of_an_uptime_says_how_good_it_is() {
        assert_eq!(Tone::of_uptime(Some(100_000)), Tone::Good);
        assert_eq!(Tone::of_uptime(Some(99_899)), Tone::Slow);
        assert_eq!(Tone::of_uptime(Some(94_999)), Tone::Outage);
        assert_eq!(Tone::of_uptime(None), Tone::NoData);
    }

    #[test]
    fn shields_gets_its_schema() {
        let badge = Badge { label: "API", message: "Outage", tone: Tone::Outage };
        let expected = "{\"schemaVersion\":1,\"label\":\"API\",\"message\":\"Outage\",\"color\":\"red\"}\n";
        assert_eq!(String::from_utf8(badge.shields()).unwrap(), expected);
    }
}
