//! Inputs that nobody meant: each target is one function of bytes, with what must hold of it.
//!
//! `scripts/fuzz` runs a million inputs through each.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "random numbers are cut to size, and rates need no sixteen digits"
)]

mod dice;
mod harness;
mod html;
mod mail;
mod pages;
mod site;
mod sockets;
mod subscribers;
mod toml;
mod values;
mod visitors;
mod world;

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
    mail::bounces,
    mail::mail,
    mail::smtp_words,
    pages::pages,
    site::calendar,
    site::feeds,
    site::markdown,
    sockets::http_answers,
    sockets::smtp_replies,
    subscribers::subscribers,
    toml::config,
    toml::note,
    toml::story,
    values::address,
    values::cron,
    values::values,
    visitors::forms,
    visitors::requests_to_us,
    world::records,
    world::world,
}
