//! Reads the notes folder: changed notes go to the judge, corrections into the store, problems to the
//! operator, and automatic incidents get a file to write into.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::{
    complaints::{Complaints, Speak, some},
    judging::Order,
};
use crate::{
    clock::Clock,
    config::Config,
    domain::{IncidentId, correction::Correction, diagnostic::Severity, incident::Incident, note::Note},
    notes::{self, Folder, Known, Mark, Remembered, Scan},
    notify::operator::{Desk, Notice},
    site::words::Names,
    store::{Store, StoreError},
    web::Metrics,
};

/// Between two looks at the folder. Editors need no more than this to be heard within two seconds,
/// and looking works where file system events do not (network mounts, single-file binds).
pub const LOOK: Duration = Duration::from_millis(500);

/// The same while a file is still being written.
pub const LOOK_AGAIN: Duration = Duration::from_millis(150);

/// Between two tries to create a file.
const FILE_AGAIN: Duration = Duration::from_secs(2);

/// After a fault of ours.
const AFTER_FAULT: Duration = Duration::from_secs(10);

/// Everything the task talks to.
pub struct Noting {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The newest good configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// To the judge.
    pub orders: mpsc::Sender<Order>,
    /// Automatic incidents that need a file.
    pub opened: mpsc::UnboundedReceiver<Incident>,
    /// What was last known of the files.
    pub remembered: Remembered,
    /// Rung when corrections have changed.
    pub changed: watch::Sender<u64>,
    /// What the operator should know.
    pub desk: Desk,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// What is to be written down.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'a> {
    /// What is to be known again of files after a start, and names to forget.
    Files(&'a [Mark], &'a [IncidentId]),
    /// The corrections in force from now on.
    Corrections(&'a [Correction]),
}

impl Kept<'_> {
    /// Writes it into the store; whether pages may change by that.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn keep(self, store: &mut Store) -> Result<bool, StoreError> {
        match self {
            Self::Files(marks, forgotten) => store.set_note_files(marks, forgotten).map(|()| false),
            Self::Corrections(corrections) => store.set_corrections(corrections),
        }
    }
}

/// Writes something down, as [`Kept::keep`] does.
pub type Keep<'a> = &'a mut dyn FnMut(Kept<'_>) -> Result<bool, StoreError>;

/// What one look found, for others to act on.
#[derive(Debug, Default)]
pub struct Found {
    /// Notes that are new or changed.
    pub notes: Vec<Note>,
    /// Whether other corrections are in force now, and pages are to be made anew.
    pub is_corrected: bool,
    /// Whether something is still to be written into the store, which could not be.
    pub is_unkept: bool,
    /// How many files are not in force as they are.
    pub invalid: usize,
    /// Whether a file is still being written: look again soon.
    pub is_unsettled: bool,
}

/// Reads the folder again and again, tells the operator what is wrong, and creates files. It waits
/// for nothing.
pub struct NoteReader {
    folder: Folder,
    /// What is yet to be written into the store.
    marks: Vec<Mark>,
    forgotten: Vec<IncidentId>,
    corrections: Option<Vec<Correction>>,
    complaints: Complaints,
    /// What was wrong at the last look.
    wrong: Vec<String>,
    desk: Desk,
}

impl NoteReader {
    /// One that has read nothing yet, and knows files again by what is `remembered`.
    #[must_use]
    pub fn new(config: &Config, remembered: Remembered, desk: Desk) -> Self {
        let mut folder = Folder::new(&config.notes_dir);
        folder.remember(remembered);
        let (complaints, wrong) = (Complaints::default(), Vec::new());
        Self { folder, marks: Vec::new(), forgotten: Vec::new(), corrections: None, complaints, wrong, desk }
    }

    /// Looks at the folder, and remembers what its files hold before anyone acts on it: a file
    /// must be known again under another name.
    pub fn look(&mut self, config: &Config, now: Timestamp, keep: Keep<'_>) -> Found {
        let known =
            Known { services: config.service_ids().cloned().collect(), timezone: config.site.timezone.clone(), now };
        let mut scan = self.folder.scan(&known);
        self.marks.append(&mut scan.marks);
        self.forgotten.append(&mut scan.forgotten);
        if !self.marks.is_empty() || !self.forgotten.is_empty() {
            match keep(Kept::Files(&self.marks, &self.forgotten)) {
                Ok(_) => {
                    self.marks.clear();
                    self.forgotten.clear();
                }
                Err(error) => {
                    if let Speak::Now { repeated } = self.complaints.about("names of notes", &error.to_string(), now) {
                        tracing::warn!(
                            repeated = some(repeated),
                            "a file that is renamed now may not be known after a restart: {error}"
                        );
                    }
                }
            }
        }
        for (name, id) in &scan.renamed {
            tracing::info!(%name, incident = %id, "a note has a new name");
        }
        let is_corrected = self.correct(scan.corrections.take(), now, keep);
        self.complain(&scan, now);
        Found {
            invalid: scan.invalid(),
            is_unsettled: scan.is_unsettled,
            is_corrected,
            is_unkept: self.corrections.is_some(),
            notes: scan.changed,
        }
    }

    /// Puts corrections in force; whether that changes any.
    fn correct(&mut self, new: Option<Vec<Correction>>, now: Timestamp, keep: Keep<'_>) -> bool {
        self.corrections = new.or(self.corrections.take());
        let Some(corrections) = &self.corrections else { return false };
        match keep(Kept::Corrections(corrections)) {
            Ok(is_changed) => {
                self.complaints.settled("corrections");
                if is_changed {
                    tracing::info!(count = corrections.len(), "corrections are in force as their file has them");
                }
                self.corrections = None;
                is_changed
            }
            Err(error) => {
                if let Speak::Now { repeated } = self.complaints.about("corrections", &error.to_string(), now) {
                    tracing::warn!(
                        repeated = some(repeated),
                        "corrections could not be written down, those of before stay in force, trying again: {error}"
                    );
                }
                false
            }
        }
    }

    /// Tells the operator what is wrong, and what is no more.
    fn complain(&mut self, scan: &Scan, now: Timestamp) {
        // Of each topic the line for the log, and the whole for the operator.
        let mut said = BTreeMap::<String, (String, String)>::new();
        for problem in &scan.problems {
            if problem.severity == Severity::Warning {
                // `check` shows these; the note is used.
                tracing::debug!("{problem}");
                continue;
            }
            let (line, text) = said.entry(problem.source.path.display().to_string()).or_default();
            if text.is_empty() {
                *line = format!("a note is not used as it is, its last good version stays: {}", problem.brief());
            } else {
                line.push_str("; ");
                line.push_str(&problem.brief());
                text.push_str("\n\n");
            }
            text.push_str(&problem.to_string());
        }
        if let Some(error) = &scan.failed {
            let text = format!("the notes folder cannot be read: {error}");
            said.insert("the notes folder".to_owned(), (text.clone(), text));
        }
        for id in &scan.vanished {
            let text = format!(
                "the file of the note `{id}` is gone; what it said stays in force (to take it off the site, put the \
                 file back with `withdrawn = true`)"
            );
            said.insert(format!("{id}.toml"), (text.clone(), text));
        }
        for (topic, (line, text)) in &said {
            if let Speak::Now { repeated } = self.complaints.about(topic, line, now) {
                tracing::warn!(repeated = some(repeated), "{line}");
                self.desk.tell(Notice::new(topic.clone(), "A note needs attention", text), now);
            }
        }
        for topic in self.wrong.iter().filter(|topic| !said.contains_key(*topic)) {
            self.complaints.settled(topic);
            self.desk.settle(topic);
            tracing::info!("{topic}: nothing is wrong any more");
        }
        self.wrong = said.into_keys().collect();
    }

    /// Takes note of whether an automatic incident got its file.
    pub fn created(&mut self, created: io::Result<bool>, now: Timestamp) {
        match created {
            Ok(_) => {
                self.complaints.settled("notes folder");
            }
            Err(error) => {
                let text = error.to_string();
                if let Speak::Now { repeated } = self.complaints.about("notes folder", &text, now) {
                    tracing::warn!(
                        repeated = some(repeated),
                        "no note file was created for an incident, trying again (this changes nothing else): {text}"
                    );
                }
            }
        }
    }
}

/// Creates the file of an automatic incident, unless there is one.
///
/// # Errors
/// As the file system says.
pub fn create_file(config: &Config, incident: &Incident) -> io::Result<bool> {
    let names = Names::of(&config.rules);
    notes::create_file(&config.notes_dir, incident, &|id| names.get(id).to_owned())
}

/// Reads the folder until shutdown.
pub async fn run(mut task: Noting) {
    let mut config = task.config.borrow_and_update().clone();
    let reader = NoteReader::new(&config, std::mem::take(&mut task.remembered), task.desk.clone());
    let reader = Arc::new(Mutex::new(reader));
    let (mut unfiled, mut failed_at) = (Vec::<Incident>::new(), None);
    loop {
        if task.config.has_changed().unwrap_or(false) {
            config = task.config.borrow_and_update().clone();
        }
        let (at_work, its_config, now) = (Arc::clone(&reader), Arc::clone(&config), task.clock.wall());
        let found = spawn_blocking(move || {
            let mut keep = |kept: Kept<'_>| kept.keep(&mut Store::open(&its_config.store, now)?);
            at_work.lock().unwrap_or_else(PoisonError::into_inner).look(&its_config, now, &mut keep)
        });
        let Ok(found) = found.await else {
            tracing::error!("reading the notes broke off, and begins anew: that is a fault in watchbell");
            tokio::select! {
                () = tokio::time::sleep(AFTER_FAULT) => continue,
                () = task.shutdown.cancelled() => return,
            }
        };
        if found.is_corrected {
            task.changed.send_modify(|rung| *rung += 1);
        }
        for note in found.notes {
            tracing::debug!(note = %note.id, "note read");
            if task.orders.send(Order::Note(Box::new(note))).await.is_err() {
                return;
            }
        }
        task.metrics.notes_invalid(found.invalid);
        tokio::select! {
            () = tokio::time::sleep(if found.is_unsettled { LOOK_AGAIN } else { LOOK }) => {}
            Some(incident) = task.opened.recv() => {
                unfiled.push(incident);
                failed_at = None;
            }
            () = task.shutdown.cancelled() => return,
        }
        let (elapsed, now) = (task.clock.elapsed(), task.clock.wall());
        if unfiled.is_empty() || failed_at.is_some_and(|at| elapsed.since(at) < FILE_AGAIN) {
            continue;
        }
        let (at_work, its_config, waiting) = (Arc::clone(&reader), Arc::clone(&config), unfiled.clone());
        let work = spawn_blocking(move || {
            let mut reader = at_work.lock().unwrap_or_else(PoisonError::into_inner);
            let mut is_filed = |incident: &Incident| {
                let created = create_file(&its_config, incident);
                let is_there = created.is_ok();
                reader.created(created, now);
                is_there
            };
            waiting.into_iter().filter(|incident| !is_filed(incident)).collect()
        });
        match work.await {
            Ok(waiting) => unfiled = waiting,
            Err(error) => tracing::error!("creating a note file broke off: {error}"),
        }
        failed_at = (!unfiled.is_empty()).then_some(elapsed);
    }
}
