//! What the judge makes of whole outages: one story a test, and laws that hold for all of them.

mod blindness;
mod cascades;
mod checks;
mod flapping;
mod golden;
mod incidents;
mod laws;
mod notes;
mod planned;
mod reasons;
pub mod witness;
