//! `watchbell schema config|incident|corrections|story|webhook`.

use clap::{Args, ValueEnum};

use super::{Outcome, output};
use crate::{config, notes, notify::webhook::payload, simulation::story};

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
    /// notes/corrections.toml
    Corrections,
    /// A story for `watchbell simulate`
    Story,
    /// What a webhook is sent
    Webhook,
}

pub fn schema(args: &Schema) -> Outcome {
    let schema = match args.file {
        File::Config => config::schema(),
        File::Incident => notes::incident_schema(),
        File::Corrections => notes::corrections_schema(),
        File::Story => story::schema(),
        File::Webhook => payload::schema(),
    };
    output::print_json(&schema)?;
    Ok(())
}
