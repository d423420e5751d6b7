//! The publisher: one pass brings the output folder up to date with the archive.
//!
//! It holds no present of its own: two publishers that see the same archive at the same time write
//! the same bytes, whatever each did before.

use std::{
    collections::BTreeSet,
    fs, io,
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
    days::Days,
    defaults::OverrideError,
    feeds::Authority,
    key::{Key, content_hash},
    manifest::{self, Entry, Manifest},
    plan::{self, What},
    publish::{self, Pass, WriteError},
    render::{Rendered, Renderer},
    snapshot::{Facts, Memory, Snapshot},
    templates::TemplateError,
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

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Files that are new or changed.
    pub written: usize,
    /// Files that are gone.
    pub removed: usize,
    /// Files that stayed as they were.
    pub unchanged: usize,
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
    manifest: Option<Manifest>,
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
            manifest: None,
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
        let output = self.context.site.output.clone();
        let holder = format!("process {}", std::process::id());
        let locked = |source| SiteError::Locked { path: output.clone(), source };
        let _lock = Lock::take(&manifest::lock_path(&output), &holder).map_err(locked)?;
        let result = self.pass(archive, now, &output);
        if result.is_err() {
            // Whatever was half done is found out from the disk.
            self.manifest = None;
        }
        result
    }

    fn pass(&mut self, archive: &dyn Archive, now: Timestamp, output: &Path) -> Result<Published, SiteError> {
        let unusable = |source| SiteError::Manifest { path: output.to_owned(), source };
        self.learn_authority(archive)?;
        let is_first = self.manifest.is_none();
        let mut manifest = match self.manifest.take() {
            Some(manifest) => manifest,
            None => Manifest::load(output).map_err(unusable)?,
        };
        if is_first {
            publish::remove_leftovers(output)?;
            manifest.files.retain(|path, entry| entry.leaving || publish::is_there(output, path, entry.length));
        }
        let before = std::mem::take(&mut self.facts);
        self.facts = Facts::read(archive, &self.context, now, before)?;
        let days = Days::last(self.context.site.history_days, now, self.context.zone());
        let snapshot = Snapshot {
            context: &self.context,
            facts: &self.facts,
            memory: &self.memory,
            archive,
            now,
            days: &days,
            heads_key: plan::heads_key(&self.facts.heads),
        };
        let outcome = Work { output, now, manifest: &mut manifest }.bring_up_to_date(&snapshot)?;
        manifest.save(output).map_err(unusable)?;
        let soonest = manifest.files.values().filter_map(|entry| entry.until).filter(|until| *until > now).min();
        let renewal = snapshot.renew_at();
        self.renew_at = Some(soonest.map_or(renewal, |until| until.min(renewal)));
        self.manifest = Some(manifest);
        Ok(outcome)
    }

    /// Takes over who mints the ids of feeds, as the store keeps it.
    fn learn_authority(&mut self, archive: &dyn Archive) -> Result<(), SiteError> {
        if self.knows_authority {
            return Ok(());
        }
        let kept = archive.minted(AUTHORITY)?.and_then(|text| text.parse::<Authority>().ok());
        if let Some(kept) = kept {
            if kept != self.context.authority {
                self.context = context(&self.config, kept, self.options)?;
            }
            self.knows_authority = true;
        }
        Ok(())
    }
}

fn context(config: &Config, authority: Authority, options: Options) -> Result<Context, SiteError> {
    Context::load(config, authority, config.subscriptions.enabled && options.subscribe_form)
}

/// One pass over the output folder.
struct Work<'a> {
    output: &'a Path,
    now: Timestamp,
    manifest: &'a mut Manifest,
}

/// A file that changed, and what the manifest will say of it.
struct Change {
    path: String,
    entry: Entry,
}

impl Work<'_> {
    fn bring_up_to_date(&mut self, snapshot: &Snapshot<'_>) -> Result<Published, SiteError> {
        let renderer = Renderer::new(snapshot);
        let mut pass = Pass::new(self.output);
        let mut changes: Vec<Change> = Vec::new();
        let mut planned: BTreeSet<String> = BTreeSet::new();
        let mut outcome = Published { revision: snapshot.facts.revision, ..Published::default() };
        for (path, file, key) in own_files(snapshot)? {
            let make = || match fs::read(&file) {
                Ok(bytes) => Ok(Some(Rendered::from(bytes))),
                Err(source) => Err(WriteError { path: file.clone(), doing: "read", source }.into()),
            };
            self.one(&mut pass, &mut changes, &path, key, make)?;
            planned.insert(path);
        }
        for file in plan::plan(snapshot) {
            // A file of the operator's stands instead of ours.
            if planned.contains(&file.path) {
                continue;
            }
            let key = if matches!(file.what, What::Asset(_)) { Key::of(&file.path) } else { file.key };
            let made =
                self.one(&mut pass, &mut changes, &file.path, key, || renderer.render(&file.what, &file.path))?;
            if made {
                planned.insert(file.path);
            }
        }
        let changed: BTreeSet<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        outcome.unchanged = planned.len().saturating_sub(changed.len());
        if !changes.is_empty() {
            let unusable = |source| SiteError::Manifest { path: self.output.to_owned(), source };
            Manifest::begin(self.output, changed.into_iter()).map_err(unusable)?;
        }
        outcome.written = pass.commit()?;
        for change in changes {
            self.manifest.files.insert(change.path, change.entry);
        }
        outcome.removed = self.remove(&planned)?;
        Ok(outcome)
    }

    /// Renders one file if its inputs changed, stages it if its bytes did. Whether there is such a
    /// file at all.
    fn one(
        &mut self,
        pass: &mut Pass<'_>,
        changes: &mut Vec<Change>,
        path: &str,
        key: Key,
        make: impl FnOnce() -> Result<Option<Rendered>, SiteError>,
    ) -> Result<bool, SiteError> {
        let known = self.manifest.files.get_mut(path);
        if let Some(entry) = &known
            && entry.key == key
            && !entry.leaving
            && entry.until.is_none_or(|until| until > self.now)
        {
            return Ok(true);
        }
        let Some(Rendered { bytes, until }) = make()? else { return Ok(false) };
        let hash = content_hash(&bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let fresh = Entry { key, until, hash, length, leaving: false };
        match known {
            Some(entry) if entry.hash == hash && entry.length == length => *entry = fresh,
            _ => {
                // A file that a lost manifest no longer knew may be right already.
                if is_same(self.output, path, &bytes) {
                    self.manifest.files.insert(path.to_owned(), fresh);
                } else {
                    pass.add(path, bytes)?;
                    changes.push(Change { path: path.to_owned(), entry: fresh });
                }
            }
        }
        Ok(true)
    }

    /// Removes what left the plan a pass ago, and marks what left it now: a reader who has the last
    /// version of a page still finds what it points to.
    fn remove(&mut self, planned: &BTreeSet<String>) -> Result<usize, SiteError> {
        let mut gone = Vec::new();
        for (path, entry) in &mut self.manifest.files {
            if planned.contains(path) {
                entry.leaving = false;
            } else if entry.leaving {
                gone.push(path.clone());
            } else {
                entry.leaving = true;
            }
        }
        for path in &gone {
            publish::remove(self.output, path)?;
            self.manifest.files.remove(path);
        }
        Ok(gone.len())
    }
}

fn is_same(output: &Path, path: &str, bytes: &[u8]) -> bool {
    publish::is_there(output, path, u64::try_from(bytes.len()).unwrap_or(u64::MAX))
        && fs::read(output.join(path)).is_ok_and(|there| there == bytes)
}

/// The operator's own files: path within the output, where it is, and its key.
fn own_files(snapshot: &Snapshot<'_>) -> Result<Vec<(String, PathBuf, Key)>, SiteError> {
    let site = &snapshot.context.site;
    let Some(folder) = &site.static_files else { return Ok(Vec::new()) };
    let files = publish::files(folder)?.into_iter().filter_map(|(file, data)| {
        if file.starts_with(&site.output) {
            return None; // the output lies within: it must not copy itself
        }
        let parts: Option<Vec<&str>> = file.strip_prefix(folder).ok()?.iter().map(|part| part.to_str()).collect();
        let modified = data.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        let key = Key::of(("static", data.len(), modified.map(|at| (at.as_second(), at.subsec_nanosecond()))));
        Some((parts?.join("/"), file, key))
    });
    Ok(files.collect())
}
