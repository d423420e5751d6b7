//! Facts in two columns of plain text, as a font of fixed width shows them.

use super::Fact;
use crate::site::badge::is_wide;

/// Makes all labels as wide as the widest, in columns of a fixed-width font; as many spaces.
pub(super) fn align(facts: &mut [Fact]) -> String {
    let columns = |text: &str| text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum::<usize>();
    let width = facts.iter().map(|fact| columns(&fact.padded)).max().unwrap_or(0) + 2;
    for fact in facts {
        let rest = width.saturating_sub(columns(&fact.padded));
        fact.padded.push_str(&" ".repeat(rest));
    }
    " ".repeat(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_aligned_by_columns_and_not_by_characters() {
        let fact = |label: &str| Fact { label: String::new(), padded: label.to_owned(), lines: Vec::new() };
        let mut facts = ["状態：", "Name:"].map(fact);
        assert_eq!(align(&mut facts).len(), 8);
        assert_eq!(facts.map(|fact| fact.padded), ["状態：  ", "Name:   "]);
    }
}
