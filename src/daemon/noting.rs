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
    complaints::{Complaints, Speak},
    judging::Order,
};
use crate::{
    clock::Clock,
    config::Config,
    domain::{diagnostic::Severity, incident::Incident},
    notes::{self, Folder, Known},
    notify::operator::{Desk, Notice},
    site::words::Names,
    web::Metrics,
};

/// Between two looks at the folder. Editors need no more than this to be heard within two seconds,
/// and looking works where file system events do not (network mounts, single-file binds).
const LOOK: Duration = Duration::from_millis(500);

/// The same while a file is still being written.
const LOOK_AGAIN: Duration = Duration::from_millis(150);

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
    /// What the operator should know.
    pub desk: Desk,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// Reads the folder until shutdown.
pub async fn run(mut task: Noting) {
    let mut complaints = Complaints::default();
    let mut config = task.config.borrow_and_update().clone();
    let mut folder = Arc::new(Mutex::new(Folder::new(&config.notes_dir)));
    let mut wrong: Vec<String> = Vec::new();
    loop {
        if task.config.has_changed().unwrap_or(false) {
            let newer = task.config.borrow_and_update().clone();
            if newer.notes_dir != config.notes_dir {
                folder = Arc::new(Mutex::new(Folder::new(&newer.notes_dir)));
            }
            config = newer;
        }
        let known = Known {
            services: config.service_ids().cloned().collect(),
            timezone: config.site.timezone.clone(),
            now: task.clock.wall(),
        };
        let at_work = Arc::clone(&folder);
        let scan =
            spawn_blocking(move || at_work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).scan(&known));
        let Ok(scan) = scan.await else {
            tracing::error!("reading the notes broke off");
            folder = Arc::new(Mutex::new(Folder::new(&config.notes_dir)));
            continue;
        };
        let (invalid, is_unsettled) = (scan.invalid(), scan.is_unsettled);
        for note in scan.changed {
            tracing::debug!(note = %note.id, "note read");
            if task.orders.send(Order::Note(Box::new(note))).await.is_err() {
                return;
            }
        }
        let mut said = BTreeMap::<String, String>::new();
        for problem in &scan.problems {
            if problem.severity == Severity::Warning {
                // `check` shows these; the note is used.
                tracing::debug!("{problem}");
                continue;
            }
            let text = said.entry(problem.source.path.display().to_string()).or_default();
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&problem.to_string());
        }
        if let Some(error) = &scan.failed {
            said.insert("the notes folder".to_owned(), format!("the notes folder cannot be read: {error}"));
        }
        for id in &scan.vanished {
            let text = format!("the file of the note `{id}` is gone; what it said stays in force");
            said.insert(format!("{id}.toml"), text);
        }
        for (topic, text) in &said {
            if let Speak::Now { repeated } = complaints.about(topic, text, task.clock.wall()) {
                tracing::warn!(repeated, "a note needs attention; its last good version stays in force\n{text}");
                task.desk.tell(Notice::new(topic.clone(), "A note needs attention", text), task.clock.wall());
            }
        }
        for topic in wrong.iter().filter(|topic| !said.contains_key(*topic)) {
            complaints.settled(topic);
            task.desk.settle(topic);
            tracing::info!("{topic} is good again");
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
        tracing::warn!(repeated, "no note file was created for an incident (this changes nothing else): {text}");
    }
}
