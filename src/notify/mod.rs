//! Telling people: whom to tell what and when, and handing it to a mail server.
//!
//! ```text
//!  Ledger (the store) ─ claim ─> plan ─> compose ─> Outgoing ─ Relay (SMTP or a folder) ─> Reply
//!        ^                         │                                                        │
//!        └──────────── settle ─────┴───────────────────── retry <───────────────────────────┘
//! ```
//!
//! [`plan`] and [`retry`] decide and touch nothing; [`compose`] makes bytes of values;
//! [`outbox`] keeps what is in flight; [`worker`] is the thin asynchronous shell around them.
//! Without `[email]` in the config nobody runs the worker: events stay in the feeds, and their
//! deliveries wait in the store until there is a way to send them.

pub mod account;
pub mod bounce;
mod carrier;
pub mod compose;
pub mod forecast;
pub mod ledger;
pub mod letters;
pub mod operator;
pub mod outbox;
pub mod plan;
pub mod preview;
pub mod queue;
pub mod rate;
pub mod recipient;
pub mod relay;
pub mod reply;
pub mod retry;
pub mod sender;
pub mod smtp;
mod standstill;
#[cfg(test)]
mod story;
pub mod webhook;
pub mod welcome;
pub mod window;
pub mod worker;
