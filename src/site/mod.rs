//! The public site: words, pages, feeds, and putting them where a web server finds them.
//!
//! Everything here reads committed facts through [`crate::domain::archive::Archive`] and writes
//! files through [`crate::fsio`]. Nothing here judges, and nothing here talks to the network.

pub mod badge;
pub mod calendar;
pub mod catalog;
pub mod chart;
pub mod days;
pub mod defaults;
pub mod feeds;
pub mod json;
pub mod key;
pub mod manifest;
pub mod markdown;
pub mod outages_csv;
pub mod publish;
pub mod templates;
pub mod words;
