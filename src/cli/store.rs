//! `watchbell store backup|restore|verify|compact`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, Global, Outcome, load, output};
use crate::{
    clock::{Clock, SystemClock},
    store::{Store, maintenance},
};

/// Look after the store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Copy the store and its key into a new file, while the daemon runs or not
    Backup {
        /// The new file; the key goes beside it
        to: PathBuf,
    },
    /// Put a backup in the store's place, keeping what was there
    Restore {
        /// A file that `store backup` wrote
        from: PathBuf,
    },
    /// Read everything and say whether it is sound; exit 0 or 1
    Verify,
    /// Give unused space back to the file system
    Compact,
}

pub fn store(global: &Global, command: &StoreCommand) -> Outcome {
    let config = load(global)?.config.store;
    match command {
        StoreCommand::Backup { to } => {
            let pages = maintenance::backup(&config, to, &mut |_, _| {})?;
            output::say(&format!("{}: {pages} bytes, and its key beside it", to.display()));
        }
        StoreCommand::Restore { from } => {
            let kept = maintenance::restore(&config, from)?;
            output::say(&format!("{} is restored", config.path.display()));
            if let Some(kept) = kept {
                output::say(&format!("what was there before is in {}", kept.display()));
            }
        }
        StoreCommand::Verify => {
            let faults = maintenance::verify(&config)?;
            if faults.is_empty() {
                output::print(&format!("{}: sound", config.path.display()))?;
            } else {
                faults.iter().try_for_each(|fault| output::print(fault))?;
                return Err(Failure::Bad);
            }
        }
        StoreCommand::Compact => {
            let now = SystemClock::new().wall();
            let freed = maintenance::compact(&mut Store::open(&config, now)?)?;
            output::say(&format!("{}: {freed} bytes given back", config.path.display()));
        }
    }
    Ok(())
}
