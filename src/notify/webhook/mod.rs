//! Telling by webhook: the event as JSON, signed, to whoever asked for it.
//!
//! ```text
//!  WebhookLedger (the store) ─ claim ─> plan ─> Writer ─> Call ─ Client (guarded) ─> Answer
//!        ^                                │                                          │
//!        └──────────── settle ────────────┴──────────────── queue <──────────────────┘
//! ```
//!
//! The rule that decides what is told is that of mail, and so is the ledger; the queue is another one.
//! There is no server between us and the receivers, so each has its own pauses, and none holds up the
//! others, or any mail.
//!
//! [`queue`], [`payload`], [`sign`] and [`answer`] touch nothing; [`client`] calls; [`worker`] is the
//! thin asynchronous shell.

pub mod answer;
pub mod client;
pub mod payload;
pub mod queue;
pub mod sign;
pub mod worker;
