//! Feeds, JSON, badges and calendars, read back by parsers that are not ours.
//!
//! `scripts/validate-feeds.py` reads the golden files once more, with the parsers of Python.

mod api;
pub mod fixture;
mod golden;
mod identity;
pub mod properties;
mod readers;
pub mod xml;
