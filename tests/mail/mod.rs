//! Telling by mail, against a mail server that does what it is told, with the real pool and the
//! real store.

mod bounces;
mod cuts;
mod delivery;
pub mod fixture;
mod pauses;
mod pool;
mod signed;
