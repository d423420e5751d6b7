//! A rehearsal: an operator's own config, and a story of what happens to its services. The daemon's
//! parts run through it in simulated time; what is left is the site, the mails, and who was told
//! what and why. No packet leaves, and nothing of the real store, site, notes or people is touched.

mod keeping;
mod record;
mod stage;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::record::{Kind, Line, Summary};
use self::{keeping::Scratch, record::Monitor};
use super::{Simulation, SimulationError, story::Story};
use crate::{
    config::{Config, Loaded},
    domain::{archive::ArchiveError, subscriber::BadAddress},
    site::words::CatalogError,
    store::{Store, StoreError},
};

/// Why a rehearsal came to no end.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The simulation cannot go on.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// Its store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same, of what is published.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The words of the site cannot be read.
    #[error(transparent)]
    Words(#[from] CatalogError),
    /// A made-up address is none.
    #[error("nobody can be told: {0}")]
    Address(#[from] BadAddress),
    /// The folder for what is left is in use.
    #[error("{} is not empty: name a folder that is, or that is not there yet", path.display())]
    NotEmpty {
        /// Which.
        path: PathBuf,
    },
    /// A file could not be written or read.
    #[error("{} could not be {doing}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Not one page came of it.
    #[error("there is no site to look at: {0}")]
    NoSite(String),
}

/// What is left of a rehearsal, beside the files.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// All that happened, in order.
    pub lines: Vec<Line>,
    /// The incidents, oldest first.
    pub incidents: Vec<Summary>,
    /// How many mails were sent: to subscribers, and to operators.
    pub mails: (usize, usize),
}

/// Plays a story with a config, and leaves what came of it in `output`: `site`, `looks/NAME`,
/// `mails` and `notes`. `progress` is told how much of it is over.
///
/// # Errors
/// If `output` is in use or cannot be written, or if the simulation cannot go on.
pub fn rehearse(
    config: Config,
    story: &Story,
    output: &Path,
    progress: &mut dyn FnMut(Duration),
) -> Result<Rehearsed, RehearsalError> {
    keeping::claim(output)?;
    let scratch = Scratch::new()?;
    let config = stage::rehearsed(config, scratch.path())?;
    let loaded = Loaded { config: config.clone(), warnings: Vec::new(), text_hash: 0 };
    let mut simulation = Simulation::new(loaded, story.starts, story.seed);
    simulation.write_seldom();
    stage::set(&mut simulation, story, &config.rules);
    let mut monitor = Monitor::default();
    let ends = story.looks.iter().map(|look| (look.after, Some(&look.name)));
    for (end, look) in ends.chain([(story.lasts, None)]) {
        simulation.run_until(end, &mut |simulation, happened| {
            progress(simulation.moment());
            for it in happened {
                monitor.see(simulation.now(), it);
            }
        })?;
        simulation.publish();
        let site = match look {
            Some(name) => output.join("looks").join(name),
            None => output.join("site"),
        };
        keeping::keep_site(&config.site.output, &site)?;
    }
    if !output.join("site/index.html").is_file() {
        return Err(RehearsalError::NoSite(monitor.trouble().unwrap_or("the monitor never ran").to_owned()));
    }
    keeping::keep(&config.notes_dir, &output.join("notes"))?;
    keeping::keep_mails(simulation.mails(), &output.join("mails"))?;
    let reader = Store::reader(&config.store)?;
    let (mut lines, incidents) = record::of_store(&reader, &config)?;
    lines.extend(monitor.lines);
    lines.extend(record::of_story(story));
    lines.extend(record::of_mails(simulation.mails(), &config.site.title));
    lines.sort_by_key(|line| (line.at, line.kind));
    let to_people = simulation.mails().iter().filter(|mail| mail.subscriber.is_some()).count();
    Ok(Rehearsed { lines, incidents, mails: (to_people, simulation.mails().len() - to_people) })
}
