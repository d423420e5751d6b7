//! The integration tests, as one program: what is seen from outside.
#![allow(
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests stand outside: they may look at the clock, write files, and fail loudly"
)]

mod configs;
mod docs;
mod e2e;
mod faults;
mod feeds;
mod fuzz;
mod kills;
mod layering;
mod mail;
mod probes;
mod sim;
mod site;
mod stories;
mod support;
mod web;
