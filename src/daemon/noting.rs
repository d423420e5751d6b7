//! Reads the notes folder: changed notes go to the judge, problems to the operator, and automatic
//! incidents get a file to write into.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

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
    domain::{IncidentId, diagnostic::Severity, incident::Incident},
    notes::{self, Folder, Known, Mark, Scan},
    notify::operator::{Desk, Notice},
    site::words::Names,
    store::{Store, StoreError},
    web::Metrics,
};

/// Between two looks at the folder. Editors need no more than this to be heard within two seconds,
/// and looking works where file system events do not (network mounts, single-file binds).
const LOOK: Duration = Duration::from_millis(500);

/// The same while a file is still being written.
const LOOK_AGAIN: Duration = Duration::from_millis(150);

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
    pub note_files: Vec<Mark>,
    /// What the operator should know.
    pub desk: Desk,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// The folder, and what of it is yet to be written into the store.
struct Shelf {
    folder: Folder,
    marks: Vec<Mark>,
    forgotten: Vec<IncidentId>,
}

impl Shelf {
    /// Looks at the folder, and remembers what its files hold before anyone acts on it: a file
    /// must be known again under another name.
    fn scan(&mut self, known: &Known, config: &Config) -> (Scan, Result<(), StoreError>) {
        let mut scan = self.folder.scan(known);
        self.marks.append(&mut scan.marks);
        self.forgotten.append(&mut scan.forgotten);
        let kept = if self.marks.is_empty() && self.forgotten.is_empty() {
            Ok(())
        } else {
            Store::open(&config.store, known.now)
                .and_then(|mut store| store.set_note_files(&self.marks, &self.forgotten))
        };
        if kept.is_ok() {
            self.marks.clear();
            self.forgotten.clear();
        }
        (scan, kept)
    }
}

/// Reads the folder until shutdown.
pub async fn run(mut task: Noting) {
    let mut complaints = Complaints::default();
    let mut config = task.config.borrow_and_update().clone();
    let mut folder = Folder::new(&config.notes_dir);
    folder.remember(std::mem::take(&mut task.note_files));
    let shelf = Arc::new(Mutex::new(Shelf { folder, marks: Vec::new(), forgotten: Vec::new() }));
    let mut wrong: Vec<String> = Vec::new();
    loop {
        if task.config.has_changed().unwrap_or(false) {
            config = task.config.borrow_and_update().clone();
        }
        let known = Known {
            services: config.service_ids().cloned().collect(),
            timezone: config.site.timezone.clone(),
            now: task.clock.wall(),
        };
        let (at_work, its_config) = (Arc::clone(&shelf), Arc::clone(&config));
        let scan = spawn_blocking(move || {
            at_work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).scan(&known, &its_config)
        });
        let Ok((scan, kept)) = scan.await else {
            tracing::error!("reading the notes broke off, and begins anew: that is a fault in watchbell");
            tokio::select! {
                () = tokio::time::sleep(AFTER_FAULT) => continue,
                () = task.shutdown.cancelled() => return,
            }
        };
        if let Err(error) = kept
            && let Speak::Now { repeated } = complaints.about("names of notes", &error.to_string(), task.clock.wall())
        {
            tracing::warn!(
                repeated = some(repeated),
                "a file that is renamed now may not be known after a restart: {error}"
            );
        }
        for (name, id) in &scan.renamed {
            tracing::info!(%name, incident = %id, "a note has a new name");
        }
        let (invalid, is_unsettled) = (scan.invalid(), scan.is_unsettled);
        for note in scan.changed {
            tracing::debug!(note = %note.id, "note read");
            if task.orders.send(Order::Note(Box::new(note))).await.is_err() {
                return;
            }
        }
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
            if let Speak::Now { repeated } = complaints.about(topic, line, task.clock.wall()) {
                tracing::warn!(repeated = some(repeated), "{line}");
                task.desk.tell(Notice::new(topic.clone(), "A note needs attention", text), task.clock.wall());
            }
        }
        for topic in wrong.iter().filter(|topic| !said.contains_key(*topic)) {
            complaints.settled(topic);
            task.desk.settle(topic);
            tracing::info!("{topic}: nothing is wrong any more");
        }
        task.metrics.notes_invalid(invalid);
        wrong = said.into_keys().collect();
        tokio::select! {
            () = tokio::time::sleep(if is_unsettled { LOOK_AGAIN } else { LOOK }) => {}
            Some(incident) = task.opened.recv() => create(&config, incident, &mut complaints, &task).await,
            () = task.shutdown.cancelled() => return,
        }
    }
}

async fn create(config: &Arc<Config>, incident: Incident, complaints: &mut Complaints, task: &Noting) {
    let at_work = Arc::clone(config);
    let created = spawn_blocking(move || {
        let names = Names::of(&at_work.rules);
        notes::create_file(&at_work.notes_dir, &incident, &|id| names.get(id).to_owned())
    })
    .await;
    let text = match created {
        Ok(Ok(_)) => {
            complaints.settled("notes folder");
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    if let Speak::Now { repeated } = complaints.about("notes folder", &text, task.clock.wall()) {
        tracing::warn!(
            repeated = some(repeated),
            "no note file was created for an incident (this changes nothing else): {text}"
        );
    }
}
