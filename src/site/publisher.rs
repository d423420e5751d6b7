//! The publisher: brings the output folder up to date with the archive.
//!
//! What changed goes first, and all of it in one pass. Pages that only have to state a newer present
//! come after that, a few at a time, and whatever changes meanwhile goes before the rest of them.
//!
//! It holds no present of its own: two publishers that see the same archive at the same time write
//! the same bytes, whatever each did before.

use std::{
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::{
    config::Config,
    domain::archive::{Archive, ArchiveError},
    fsio::{Lock, LockError},
};

use super::{
    catalog::CatalogError,
    context::Context,
    defaults::OverrideError,
    facts::{Facts, Touched},
    feeds::Authority,
    manifest,
    publish::WriteError,
    snapshot::{Memory, Snapshot},
    templates::TemplateError,
    work::{Site, Work},
};

/// The name under which the store keeps who mints the ids of feeds.
pub const AUTHORITY: &str = "authority";

/// Who would mint the ids of feeds if nobody did yet: offer it to the store once, before the first
/// pass, under [`AUTHORITY`].
#[must_use]
pub fn authority(config: &Config, now: Timestamp) -> String {
    Authority::mint(&config.site.url, now).to_string()
}

/// Why the site could not be brought up to date. What was published before stands.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The store.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A catalogue.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A file of the operator's.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// A template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The logo.
    #[error("the logo {} could not be read: {source}", path.display())]
    Logo {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the site.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The manifest.
    #[error("the list of published files in {} could not be used: {source}", path.display())]
    Manifest {
        /// The output folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else publishes there, or the lock cannot be used.
    #[error("the site in {} cannot be published: {source}", path.display())]
    Locked {
        /// The output folder.
        path: PathBuf,
        /// Who, or why.
        source: LockError,
    },
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Files that are new or changed.
    pub written: usize,
    /// Files that are gone.
    pub removed: usize,
    /// Files of ours that stayed as they were.
    pub unchanged: usize,
    /// Services whose pages still have to be looked at: whether they state the present anew.
    pub left: usize,
    /// The store's revision that the site now shows.
    pub revision: u64,
}

/// What is not in the config file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether `POST /subscribe` is answered, so that a form may lead there.
    pub subscribe_form: bool,
}

/// Brings the output folder up to date, again and again.
#[derive(Debug)]
pub struct Publisher {
    config: Config,
    options: Options,
    context: Context,
    /// Whether the context has the authority that the store keeps.
    knows_authority: bool,
    facts: Facts,
    memory: Memory,
    site: Option<Site>,
    renew_at: Option<Timestamp>,
}

impl Publisher {
    /// A publisher for a config: reads templates and words. Nothing is written yet.
    ///
    /// # Errors
    /// If a template, a catalogue or the logo of the operator's cannot be used.
    pub fn new(config: &Config) -> Result<Self, SiteError> {
        Self::with_options(config, Options::default())
    }

    /// The same, told what is not in the config file.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_options(config: &Config, options: Options) -> Result<Self, SiteError> {
        // Until the archive says otherwise: the same for every build of this site.
        let authority = Authority::mint(&config.site.url, Timestamp::UNIX_EPOCH);
        Ok(Self {
            context: context(config, authority, options)?,
            config: config.clone(),
            options,
            knows_authority: false,
            facts: Facts::default(),
            memory: Memory::default(),
            site: None,
            renew_at: None,
        })
    }

    /// When the site must be published again even if nothing happens: a statement about the present
    /// grows old, or something begins to be shown. `None` before the first pass.
    #[must_use]
    pub fn renew_at(&self) -> Option<Timestamp> {
        self.renew_at
    }

    /// Brings the output folder up to date with `archive` as of `now`.
    ///
    /// # Errors
    /// If that fails; the site is then as it was, or (if the disk fails while files are put in
    /// place) each file is old or new, and the next pass goes on from there.
    pub fn publish(&mut self, archive: &dyn Archive, now: Timestamp) -> Result<Published, SiteError> {
        let mut all = self.advance(archive, now, usize::MAX)?;
        while all.left > 0 {
            let more = self.advance(archive, now, usize::MAX)?;
            (all.written, all.left, all.unchanged) = (all.written + more.written, more.left, more.unchanged);
        }
        all.unchanged = self.site.as_ref().map_or(0, |site| site.manifest.len().saturating_sub(all.written));
        Ok(all)
    }

    /// Goes a step towards that: publishes whatever changed, or else restates the present on at most
    /// `pages` pages. Done when nothing is `left`.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn advance(&mut self, archive: &dyn Archive, now: Timestamp, pages: usize) -> Result<Published, SiteError> {
        let output = self.context.site.output.clone();
        let holder = format!("process {}", std::process::id());
        let locked = |source| SiteError::Locked { path: output.clone(), source };
        let _lock = Lock::take(&manifest::lock_path(&output), &holder).map_err(locked)?;
        // Whatever is half done when something fails is found out from the disk.
        let known = self.site.take();
        let (site, published) = self.step(archive, now, pages, &output, known)?;
        self.site = Some(site);
        Ok(published)
    }

    fn step(
        &mut self,
        archive: &dyn Archive,
        now: Timestamp,
        pages: usize,
        output: &Path,
        known: Option<Site>,
    ) -> Result<(Site, Published), SiteError> {
        let unusable = |source| SiteError::Manifest { path: output.to_owned(), source };
        let is_new_context = self.learn_authority(archive)?;
        let mut touched = match self.facts.update(archive, &self.context, now) {
            Ok(touched) => touched,
            Err(error) => {
                self.facts = Facts::default();
                return Err(error.into());
            }
        };
        let mut site = match known {
            Some(site) if !is_new_context => site,
            _ => {
                touched = Touched::all();
                Site::found(output)?
            }
        };
        let snapshot = Snapshot::new(&self.context, &self.facts, &self.memory, archive, now);
        let slot = snapshot.slot(snapshot.pace());
        touched.whole |= site.begin_slot(slot, self.context.rules.services.len());
        site.take_due(now, &mut touched);
        let work = Work::new(output, &mut site, &snapshot);
        let mut published = if touched.is_empty() { work.restate(pages)? } else { work.bring_up_to_date(&touched)? };
        published.left = site.left();
        published.revision = self.facts.revision;
        site.manifest.note(output).map_err(unusable)?;
        if site.left() == 0 && site.manifest.is_long() {
            site.manifest.save(output).map_err(unusable)?;
        }
        let renewal = snapshot.renew_at();
        self.renew_at = Some(site.due_at().map_or(renewal, |at| renewal.min(at)));
        Ok((site, published))
    }

    /// Takes over who mints the ids of feeds, as the store keeps it. Whether that changes pages.
    fn learn_authority(&mut self, archive: &dyn Archive) -> Result<bool, SiteError> {
        if self.knows_authority {
            return Ok(false);
        }
        let kept = archive.minted(AUTHORITY)?.and_then(|text| text.parse::<Authority>().ok());
        let Some(kept) = kept else { return Ok(false) };
        self.knows_authority = true;
        if kept == self.context.authority {
            return Ok(false);
        }
        self.context = context(&self.config, kept, self.options)?;
        self.memory = Memory::default();
        Ok(true)
    }
}

fn context(config: &Config, authority: Authority, options: Options) -> Result<Context, SiteError> {
    Context::load(config, authority, config.subscriptions.enabled && options.subscribe_form)
}
