//! The public site: words, pages, feeds, and putting them where a web server finds them.
//!
//! A pass reads committed facts ([`snapshot`]) through [`crate::domain::archive::Archive`], names
//! every file and what it depends on ([`plan`]), renders those whose inputs changed ([`render`],
//! [`view`], [`templates`]), and puts those whose bytes changed in their place ([`publish`]). The
//! [`manifest`] remembers. Nothing here judges, and nothing here talks to the network.

pub mod badge;
pub mod calendar;
pub mod catalog;
pub mod chart;
pub mod context;
mod crew;
pub mod days;
pub mod defaults;
pub mod facts;
pub mod feeds;
pub mod heads;
pub mod json;
pub mod key;
pub mod manifest;
pub mod markdown;
pub mod outages_csv;
pub mod pieces;
pub mod plan;
pub mod publish;
mod publisher;
pub mod render;
pub mod snapshot;
pub mod templates;
pub mod view;
pub mod words;
mod work;

pub use publisher::{AUTHORITY, Options, Published, Publisher, SiteError, authority};
