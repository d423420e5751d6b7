//! `watchbell notify bounce`: a mail that came back, from a pipe of the mail server.
//!
//! Whatever it reads, it exits 0 once it has understood it, bounce or not: a mail server would bounce
//! the bounce. When it could not be done it exits 75 instead of 3: mail servers know that as
//! `EX_TEMPFAIL` (`sysexits.h`) and hand the mail over again later, and would throw it away for a 3.

use std::io::{self, Read};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use super::super::{Failure, Global, Outcome, output};
use crate::{
    config::Config,
    notify::bounce,
    store::{Store, tokens::Key},
};

/// Read a mail that came back, on standard input; for a pipe of the mail server
#[derive(Debug, Args)]
pub struct Bounce {
    /// The address to which it came back, if the mail server says so
    #[arg(long, value_name = "ADDRESS")]
    recipient: Vec<String>,
    /// The token in that address, if the mail server says only that
    #[arg(long)]
    token: Vec<String>,
}

pub fn bounce(global: &Global, config: &Config, args: &Bounce, now: Timestamp) -> Outcome {
    let read_and_act = || {
        let mail = read(io::stdin().lock()).context("the mail cannot be read")?;
        let envelope: Vec<String> = args.token.iter().chain(&args.recipient).cloned().collect();
        let bounce = bounce::Bounce::read(&mail, &envelope);
        let mut store = Store::open(&config.store, now)?;
        let key = Key::open(&config.store)?;
        Ok(bounce::act(&mut store, &key, &bounce, now)?)
    };
    let outcome = read_and_act().map_err(Failure::Later)?;
    if !global.quiet {
        // Nobody need read it: what was understood stays understood.
        let _ = output::print(&outcome.to_string());
    }
    Ok(())
}

/// As much of a mail as is looked at. All of it is read: a mail server takes a pipe that closes early
/// for one that failed.
fn read(mut mail: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    mail.by_ref().take(bounce::LONGEST).read_to_end(&mut bytes)?;
    io::copy(&mut mail, &mut io::sink())?;
    Ok(bytes)
}
