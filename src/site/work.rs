//! One pass over the output folder: which of the planned files are made anew, and what the manifest
//! says of them afterwards.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::domain::{IncidentId, ServiceId};

use super::{
    facts::Touched,
    key::{Key, content_hash},
    manifest::{Entry, Manifest},
    pieces::Pieces,
    plan::{self, Order, Planned, What},
    publish::{self, Pass, WriteError},
    publisher::{Published, SiteError},
    render::{Rendered, Renderer},
    snapshot::Snapshot,
};

/// What is known of the output folder.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// The files that are ours.
    pub(super) manifest: Manifest,
    /// Files of the operator's, which stand instead of ours.
    own: BTreeSet<String>,
    /// Files that are no longer planned: they go with the next pass.
    leaving: Vec<String>,
    /// What the passing of time alone changes, and when.
    due: BTreeSet<(Timestamp, Part)>,
    /// As of when pages that show everything state the present.
    slot: Option<Timestamp>,
    /// The service whose page is looked at next, and how many are still to be, for that slot.
    next: usize,
    left: usize,
}

/// What belongs together when time changes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Service(ServiceId),
    Incident(IncidentId),
    Whole,
}

impl Site {
    /// Looks again at whatever time has changed by now.
    pub(super) fn take_due(&mut self, now: Timestamp, touched: &mut Touched) {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            match self.due.pop_first() {
                Some((_, Part::Service(id))) => touched.services.extend([id]),
                Some((_, Part::Incident(id))) => touched.incidents.extend([id]),
                Some((_, Part::Whole)) => touched.whole = true,
                None => {}
            }
        }
    }

    /// Notes when a file has to be looked at again.
    fn stands_until(&mut self, until: Option<Timestamp>, what: Option<&What>) {
        if let (Some(until), Some(what)) = (until, what) {
            self.due.insert((until, part_of(what)));
        }
    }

    /// When time will have changed something next.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many services are still to be looked at.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// From `slot` on pages state a newer present: whether that is news. Then all `services` are to
    /// be looked at, going on where the last round got to.
    pub(super) fn begin_slot(&mut self, slot: Timestamp, services: usize) -> bool {
        let is_new = self.slot != Some(slot);
        if is_new {
            (self.slot, self.left) = (Some(slot), services);
        }
        is_new
    }

    /// What the disk says of the output folder, once what a crash left behind is gone.
    pub(super) fn found(output: &Path) -> Result<Self, SiteError> {
        let unusable = |source| SiteError::Manifest { path: output.to_owned(), source };
        let mut manifest = Manifest::load(output).map_err(unusable)?;
        publish::remove_leftovers(output)?;
        manifest.retain(|path, entry| entry.leaving || publish::is_there(output, path, entry.length));
        let leaving = manifest.iter().filter(|(_, entry)| entry.leaving).map(|(path, _)| path.to_owned()).collect();
        Ok(Self { manifest, leaving, ..Self::default() })
    }
}

/// One pass over the output folder.
pub(super) struct Work<'a> {
    output: &'a Path,
    site: &'a mut Site,
    snapshot: &'a Snapshot<'a>,
    pass: Pass<'a>,
}

/// Whether a file that only states an older present is made anew now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    Now,
    Later,
}

impl<'a> Work<'a> {
    pub(super) fn new(output: &'a Path, site: &'a mut Site, snapshot: &'a Snapshot<'a>) -> Self {
        Self { output, site, snapshot, pass: Pass::new(output) }
    }

    /// Everything that was touched, in order. Pages of services that only state an older present are
    /// left for later.
    pub(super) fn bring_up_to_date(mut self, touched: &Touched) -> Result<Published, SiteError> {
        let snapshot = self.snapshot;
        let leaving = std::mem::take(&mut self.site.leaving);
        let mut is_all = touched.all;
        let mut planned: BTreeSet<u64> = BTreeSet::new();
        if touched.all || touched.whole {
            let own = own_files(snapshot)?;
            let paths: BTreeSet<String> = own.iter().map(|(path, ..)| path.clone()).collect();
            is_all |= paths != self.site.own;
            self.site.own = paths;
            for (path, file, key) in own {
                let make = || match fs::read(&file) {
                    Ok(bytes) => Ok(Some(Rendered::from(bytes))),
                    Err(source) => Err(WriteError { path: file.clone(), doing: "read", source }.into()),
                };
                self.one((&path, Order::Asset), (key, None), Renewal::Now, None, make)?;
                planned.insert(Key::of(&path).0);
            }
        }
        let all = Touched::all();
        for file in plan::plan(snapshot, if is_all { &all } else { touched }) {
            if self.planned(&file, Renewal::Later)? {
                planned.insert(Key::of(&file.path).0);
            }
        }
        let mut published = Published { written: self.pass.commit(&mut self.site.manifest)?, ..Published::default() };
        for path in leaving {
            if self.site.manifest.get(&path).is_some_and(|entry| entry.leaving) {
                publish::remove(self.output, &path)?;
                self.site.manifest.remove(&path);
                published.removed += 1;
            }
        }
        if is_all {
            // Whoever has the last version of a page still finds what it points to: it goes later.
            self.site.leaving = self.site.manifest.leave(|path| !planned.contains(&Key::of(path).0));
        }
        published.unchanged = self.site.manifest.len().saturating_sub(published.written);
        Ok(published)
    }

    /// Looks at the next services until `pages` of their pages are made anew.
    pub(super) fn restate(mut self, pages: usize) -> Result<Published, SiteError> {
        let services = &self.snapshot.context.rules.services;
        while self.site.left > 0 && self.pass.len() < pages {
            self.site.left -= 1;
            self.site.next = if self.site.next >= services.len() { 0 } else { self.site.next };
            if let Some(service) = services.get(self.site.next) {
                for file in plan::present(self.snapshot, &service.id) {
                    self.planned(&file, Renewal::Now)?;
                }
            }
            self.site.next += 1;
        }
        let written = self.pass.commit(&mut self.site.manifest)?;
        Ok(Published { written, unchanged: self.site.manifest.len().saturating_sub(written), ..Published::default() })
    }

    /// One of our files. Whether there is such a file at all.
    fn planned(&mut self, file: &Planned, renewal: Renewal) -> Result<bool, SiteError> {
        // A file of the operator's stands instead of ours.
        if self.site.own.contains(&file.path) {
            return Ok(true);
        }
        let key = if matches!(file.what, What::Asset(_)) { Key::of(&file.path) } else { file.key };
        let snapshot = self.snapshot;
        let is_service = matches!(&file.what, What::Service(_) | What::Badge(Some(_), _));
        let renewal = if is_service { renewal } else { Renewal::Now };
        let make = || Renderer::new(snapshot).render(&file.what, &file.path);
        self.one((&file.path, file.order), (key, file.slot), renewal, Some(&file.what), make)
    }

    /// Renders one file if its inputs changed, stages it if its bytes did. Whether there is such a
    /// file at all.
    fn one(
        &mut self,
        (path, order): (&str, Order),
        (key, slot): (Key, Option<i64>),
        renewal: Renewal,
        what: Option<&What>,
        make: impl FnOnce() -> Result<Option<Rendered>, SiteError>,
    ) -> Result<bool, SiteError> {
        let now = self.snapshot.now;
        let known = self.site.manifest.get(path);
        if let Some(entry) = known
            && entry.key == key
            && (entry.slot == slot || renewal == Renewal::Later)
            && !entry.leaving
            && entry.until.is_none_or(|until| until > now)
        {
            self.site.stands_until(entry.until, what);
            return Ok(true);
        }
        let Some(Rendered { bytes, until, pieces }) = make()? else { return Ok(false) };
        self.site.stands_until(until, what);
        let hash = content_hash(&bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if !pieces.is_empty() {
            self.snapshot.memory.keep_pieces(path, Pieces::new(hash, pieces));
        }
        let fresh = Entry { key, slot, until, hash, length, leaving: false };
        let is_right = match known {
            Some(entry) if entry.hash == hash && entry.length == length => true,
            // A file that a lost manifest no longer knew may be right already.
            _ => is_same(self.output, path, &bytes),
        };
        if is_right {
            self.site.manifest.put(path.to_owned(), fresh);
        } else {
            self.pass.add(path, order, fresh, bytes)?;
        }
        Ok(true)
    }
}

fn part_of(what: &What) -> Part {
    match what {
        What::Service(id)
        | What::Retired(id)
        | What::Outages(id)
        | What::Updates(Some(id), _)
        | What::Badge(Some(id), _) => Part::Service(id.clone()),
        What::Incident(id) | What::Alias(id) | What::ApiIncident(id) => Part::Incident(id.clone()),
        _ => Part::Whole,
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
