//! Feeds: the news for feed readers, as RSS 2.0, Atom and JSON Feed 1.1.

pub mod select;
pub mod tags;
pub mod text;
pub mod write;
