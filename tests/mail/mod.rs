//! Telling by mail and by webhook, against servers that do what they are told, with the real pool and
//! the real store.

mod bounces;
mod cuts;
mod delivery;
pub mod fixture;
mod pauses;
mod pool;
mod sender;
mod signed;
mod webhooks;
