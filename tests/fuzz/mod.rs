//! Inputs that nobody meant: each target is one function of bytes, with what must hold of it.
//!
//! `scripts/fuzz` runs a million inputs through each.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "random numbers are cut to size, and rates need no sixteen digits"
)]

mod dice;
mod harness;
mod html;
mod site;

/// Each target is a test of its own, so that one can be asked for by its name.
macro_rules! targets {
    ($($module:ident::$name:ident,)*) => {
        mod targets {
            $(#[test]
            fn $name() {
                super::$module::$name();
            })*
        }
    };
}

targets! {
    site::calendar,
    site::feeds,
    site::markdown,
}
