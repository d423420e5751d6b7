//! `watchbell schema config|incident`.

use clap::{Args, ValueEnum};

use super::{Outcome, output};
use crate::{config, notes};

/// Arguments.
#[derive(Debug, Args)]
pub struct Schema {
    /// Of which file
    file: File,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum File {
    /// watchbell.toml
    Config,
    /// notes/incidents/*.toml
    Incident,
}

pub fn schema(args: &Schema) -> Outcome {
    let schema = match args.file {
        File::Config => config::schema(),
        File::Incident => notes::incident_schema(),
    };
    output::print_json(&schema)?;
    Ok(())
}
