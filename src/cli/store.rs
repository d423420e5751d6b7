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
    let now = SystemClock::new().wall();
    let mut progress = output::progress();
    match command {
        StoreCommand::Backup { to } => {
            let backup = maintenance::backup(&config, to, &mut progress)?;
            let key = if backup.key.is_some() { ", and its key beside it" } else { "" };
            output::say(&format!("{}: {} bytes{key}", to.display(), backup.bytes));
        }
        StoreCommand::Restore { from } => {
            let restored = maintenance::restore(&config, from, now, &mut progress)?;
            output::say(&format!("{} is restored", config.path.display()));
            if let Some(before) = restored.before {
                output::say(&format!("what was there before is in {}", before.display()));
            }
            if restored.dropped > 0 {
                output::say(&format!(
                    "{} messages that waited in the backup are not sent: they are past",
                    restored.dropped
                ));
            }
            if !restored.has_key {
                output::say("the backup has no key beside it: links in old mails work only if the key was the same");
            }
        }
        StoreCommand::Verify => {
            let report = maintenance::verify(&config.path, &mut progress)?;
            report.notes.iter().chain(&report.problems).try_for_each(|line| output::print(line))?;
            if !report.problems.is_empty() {
                return Err(Failure::Bad);
            }
            let counts: Vec<String> = report.counts.iter().map(|(what, count)| counted(*count, what)).collect();
            output::print(&format!("{}: sound ({})", config.path.display(), counts.join(", ")))?;
        }
        StoreCommand::Compact => {
            let done = maintenance::compact(&mut Store::open(&config, now)?, now, &mut progress)?;
            let freed = done.before.saturating_sub(done.after);
            output::say(&format!("{}: {freed} bytes given back", config.path.display()));
        }
    }
    Ok(())
}

/// "1 delivery", "2 deliveries".
fn counted(count: u64, many: &str) -> String {
    let one = match many.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => many.trim_end_matches('s').to_owned(),
    };
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_of_a_kind_is_not_many() {
        assert_eq!(counted(1, "deliveries"), "1 delivery");
        assert_eq!(counted(1, "results"), "1 result");
        assert_eq!(counted(0, "deliveries"), "0 deliveries");
    }
}
