//! watchbell watches services, writes down when they break, publishes a static status site
//! with feeds, and tells everyone who asked.
//!
//! ```text
//!  watchbell.toml ─┐                   ┌─ judge::step(rules, world, input, at)   (pure) ─┐
//!                  ├─> schedule ─> probe ─> Outcome ─┐   -> events, decisions, spans,    │   ┌─> site: plan, render, publish ─> public/
//!  notes/*.toml  ──┘                   notes ────────┴─>    requests, wake_at ───────────┴> store ─┤
//!                                                                                            └─> notify: plan, compose, send ─> mail
//! ```
//!
//! Everything that *decides* is a plain function of values; everything that *touches* the world
//! decides nothing. Layers, lowest first; none imports a later one (`tests/layering.rs`):
//!
//! 1. [`domain`], [`clock`], [`fsio`], [`untrusted`], [`secret`]: the nouns, and the guarded edges
//! 2. [`config`], [`notes`], [`judge`], [`schedule`]: reading what operators write; deciding
//! 3. [`probe`], [`store`], [`site`]: asking a server; remembering; publishing
//! 4. [`notify`]: whom to tell what and when, and telling them
//! 5. [`web`]: the HTTP side
//! 6. [`daemon`]: every task and wake-up
//! 7. [`simulation`], [`backtest`]: the same without tasks, in simulated time; results judged by other rules
//! 8. [`cli`]: one file a command

pub mod backtest;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod domain;
pub mod fsio;
pub mod judge;
pub mod notes;
pub mod notify;
pub mod probe;
pub mod schedule;
pub mod secret;
pub mod simulation;
pub mod site;
pub mod store;
pub mod untrusted;
pub mod web;
