//! Simulated days: the whole daemon against a scripted network, relay and clock, with a real store
//! in a temporary folder (`watchbell::simulation`), and the invariants that hold after every step.

mod account;
mod alarms;
mod backtest;
mod invariants;
mod pure;
mod sabotage;
mod schedules;
mod speed;
mod stage;
mod stories;
