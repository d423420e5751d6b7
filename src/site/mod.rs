//! The public site: words, pages, feeds, and putting them where a web server finds them.
//!
//! Everything here reads committed facts through [`crate::domain::archive::Archive`] and writes
//! files through [`crate::fsio`]. Nothing here judges, and nothing here talks to the network.

pub mod catalog;
pub mod defaults;
pub mod markdown;
pub mod words;
