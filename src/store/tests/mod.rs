//! Stories of the store, one file for each thing that it does.

mod asking;
mod control;
mod fan_out;
mod killed;
mod look;
mod opening;
mod outbox;
mod people;
mod recording;
mod upkeep;
