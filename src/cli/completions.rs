//! `watchbell completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome};

/// Arguments.
#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell
    shell: Shell,
}

pub fn completions(args: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "watchbell", &mut script);
    super::output::print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
