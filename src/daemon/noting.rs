//! Reads the notes folder: changed notes go to the judge, problems to the operator, and automatic
//! incidents get a file to write into.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::{complaints::{Complaints, Speak}, judging::Order};
use crate::{
    clock::Clock,
    config::Config,
    domain::incident::Incident,
    notes::{self, Folder, Known},
    notify::operator::{Desk, Notice},
    web::Metrics,
};

/// Between two looks at the folder. Editors need no more than this to be heard within two seconds,
/// and looking works where file system events do not (network mounts, single-file binds).
const LOOK: Duration = Duration::from_millis(500);

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
    let mut broken: BTreeSet<String> = BTreeSet::new();
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
        let scan = spawn_blocking(move || {
            at_work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).scan(&known)
        });
        let Ok(scan) = scan.await else {
            tracing::error!("reading the notes broke off");
            folder = Arc::new(Mutex::new(Folder::new(&config.notes_dir)));
            continue;
        };
        for note in scan.changed {
            tracing::info!(note = %note.id, "note read");
            if task.orders.send(Order::Note(Box::new(note))).await.is_err() {
                return;
            }
        }
        let mut still_broken = BTreeSet::new();
        for problem in &scan.problems {
            let topic = problem.topic();
            let text = problem.to_string();
            if let Speak::Now { repeated } = complaints.about(&topic, &text, task.clock.wall()) {
                tracing::warn!(repeated, "a note is not used as it is now, its last good version stays\n{text}");
                task.desk.tell(Notice::new(topic.clone(), "A note has an error", &text), task.clock.wall());
            }
            still_broken.insert(topic);
        }
        for topic in broken.difference(&still_broken) {
            complaints.settled(topic);
            task.desk.settle(topic);
            tracing::info!("{topic} is good again");
        }
        broken = still_broken;
        task.metrics.notes_invalid(broken.len());
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Some(incident) = task.opened.recv() => create(&config, incident, &mut complaints, &task).await,
            () = task.shutdown.cancelled() => return,
        }
    }
}

async fn create(config: &Arc<Config>, incident: Incident, complaints: &mut Complaints, task: &Noting) {
    let at_work = Arc::clone(config);
    let created = spawn_blocking(move || notes::create_file(&at_work.notes_dir, &incident, &at_work.rules)).await;
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
