//! Asking a server: one attempt, one outcome.

pub mod bounds;
mod reach;
mod resolve;
mod trace;

pub use bounds::{Bounds, Permit};
