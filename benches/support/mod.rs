//! What every bench needs: rows and tables, processes and what they cost, the daemon under
//! measurement.
#![allow(dead_code, reason = "each program uses its own part")]

pub mod daemon;
pub mod process;
pub mod table;
