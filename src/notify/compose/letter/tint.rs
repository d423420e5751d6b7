//! How a message's state looks: its shape and colours, for eyes of all kinds.

use serde::Serialize;

/// The shape and the colours of a state, light and dark.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tint {
    shape: char,
    light_text: &'static str,
    light_bar: &'static str,
    light_ground: &'static str,
    dark_text: &'static str,
    dark_bar: &'static str,
    dark_ground: &'static str,
}

const fn tint(shape: char, light: [&'static str; 3], dark: [&'static str; 3]) -> Tint {
    let ([light_text, light_bar, light_ground], [dark_text, dark_bar, dark_ground]) = (light, dark);
    Tint { shape, light_text, light_bar, light_ground, dark_text, dark_bar, dark_ground }
}

/// All is well, or over.
pub const OK: Tint = tint('✓', ["#12774b", "#2f9e6d", "#eef7f2"], ["#5fd39b", "#2f9e6d", "#12211a"]);
/// Slow.
pub const SLOW: Tint = tint('▲', ["#8a5a00", "#b98500", "#fdf6e3"], ["#f0c14b", "#c9971b", "#241d0d"]);
/// Partly down.
pub const PARTIAL: Tint = tint('◆', ["#b14a00", "#d9631a", "#fdf0e6"], ["#ff9f5a", "#d96a25", "#26190f"]);
/// Down.
pub const OUTAGE: Tint = tint('✕', ["#b81d2c", "#d9363e", "#fdeeee"], ["#ff7b80", "#d9363e", "#2a1416"]);
/// Planned work, and what is neither good nor bad.
pub const PLANNED: Tint = tint('■', ["#2456c7", "#5b8def", "#eef3fd"], ["#8ab0ff", "#4f7fe0", "#141c2c"]);

/// A colour halfway to white, to be read on a dark page.
pub fn lightened(colour: &str) -> String {
    let channel = |at: usize| {
        let value = colour.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        value.map(|value| value / 2 + 128)
    };
    match (channel(1), channel(3), channel(5)) {
        (Some(red), Some(green), Some(blue)) => format!("#{red:02x}{green:02x}{blue:02x}"),
        _ => "#8ab0ff".to_owned(),
    }
}
