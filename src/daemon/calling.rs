//! Runs the worker that calls webhooks: beside that of mail, which never waits for it. It runs with
//! or without `[email]`, and when the public may not add webhooks, too: the operator may have.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    task::{JoinError, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use super::complaints::{Complaints, Speak, some};
use crate::{
    clock::Clock,
    config::Config,
    domain::subscriber::Way,
    notify::{
        ledger::StoreLedger,
        outbox::Counters,
        webhook::{
            client::{Client, ClientError, Guard},
            payload::{PayloadError, Writer},
            queue::Queue,
            worker::{self, Handles},
        },
    },
    store::{Store, StoreError, tokens::Key},
    web::{Delivered, Metrics},
};

/// Between two tries to start the worker.
const RETRY: Duration = Duration::from_secs(5);
/// Between two looks at what it did.
const LOOK: Duration = Duration::from_secs(5);

/// Why webhooks cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub enum CallingError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is sent cannot be written.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// Encryption cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A thread broke off.
    #[error("calling webhooks broke off: {0}")]
    Thread(#[from] JoinError),
}

/// Everything the task talks to.
pub struct Calling {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The newest good configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// Rings when something was queued.
    pub bell: watch::Receiver<u64>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// A worker that runs.
struct Work {
    writer: watch::Sender<Arc<Writer>>,
    ring: Arc<Notify>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), JoinError>>,
}

/// The queue of webhooks in the store: whatever an earlier start had claimed is free.
///
/// # Errors
/// If the store cannot be written, or its key cannot be used.
pub fn begin_epoch(config: &Config, now: Timestamp) -> Result<(i64, StoreLedger), StoreError> {
    let mut store = Store::open(&config.store, now)?.telling_by(Way::Webhook);
    let epoch = store.new_epoch()?;
    Ok((epoch, StoreLedger::new(store, Key::open(&config.store)?)))
}

async fn start(
    config: &Arc<Config>,
    clock: &Arc<dyn Clock>,
    shutdown: &CancellationToken,
) -> Result<Work, CallingError> {
    let (at_work, clock_there) = (Arc::clone(config), Arc::clone(clock));
    let prepare = move || {
        let client = Client::new(Arc::clone(&clock_there), Guard::public(), Vec::new())?;
        let writer = Arc::new(Writer::new(&at_work)?);
        Ok::<_, CallingError>((client, writer, begin_epoch(&at_work, clock_there.wall())?))
    };
    let (client, writer, (epoch, ledger)) = spawn_blocking(prepare).await??;
    let queue = Queue::new(epoch, Arc::clone(&writer));
    let counters = queue.counters();
    let (writer_tx, writer_rx) = watch::channel(writer);
    let (ring, stop) = (Arc::new(Notify::new()), shutdown.child_token());
    let handles = Handles {
        clock: Arc::clone(clock),
        ring: Arc::clone(&ring),
        client: Arc::new(client),
        writer: writer_rx,
        shutdown: stop.clone(),
    };
    let task = tokio::spawn(worker::run(queue, ledger, handles));
    Ok(Work { writer: writer_tx, ring, counters, stop, task })
}

/// Calls until shutdown.
pub async fn run(mut task: Calling) {
    let mut complaints = Complaints::default();
    let mut counted = [0; 5];
    let mut work: Option<Work> = None;
    loop {
        let config = task.config.borrow_and_update().clone();
        if work.is_none() {
            match start(&config, &task.clock, &task.shutdown).await {
                Ok(started) => {
                    complaints.settled("webhooks");
                    counted = [0; 5];
                    work = Some(started);
                }
                Err(error) => {
                    let text = error.to_string();
                    if let Speak::Now { repeated } = complaints.about("webhooks", &text, task.clock.wall()) {
                        tracing::error!(repeated = some(repeated), "no webhook can be called, trying again: {text}");
                    }
                }
            }
        }
        tokio::select! {
            () = task.shutdown.cancelled() => break,
            Ok(()) = task.config.changed() => {
                let config = task.config.borrow().clone();
                if let Some(work) = &work {
                    reconfigure(work, config).await;
                }
            }
            Ok(()) = task.bell.changed() => {
                if let Some(work) = &work {
                    work.ring.notify_one();
                }
            }
            () = tokio::time::sleep(if work.is_none() { RETRY } else { LOOK }) => {}
        }
        if work.as_ref().is_some_and(|work| work.task.is_finished())
            && let Some(ended) = work.take()
        {
            tracing::error!("the worker of webhooks ended, and starts anew: {:?}", ended.task.await);
            tokio::time::sleep(RETRY).await;
        }
        if let Some(work) = &work {
            count(&task.metrics, work, &mut counted);
        }
    }
    if let Some(work) = work {
        work.stop.cancel();
        match work.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => tracing::error!("the worker of webhooks broke off: {error}"),
        }
    }
}

async fn reconfigure(work: &Work, config: Arc<Config>) {
    match spawn_blocking(move || Writer::new(&config)).await {
        Ok(Ok(writer)) => {
            work.writer.send_replace(Arc::new(writer));
        }
        Ok(Err(error)) => tracing::error!("webhooks go on as before the change of the config: {error}"),
        Err(error) => tracing::error!("reading what webhooks say broke off: {error}"),
    }
}

/// Carries what was counted since the last look into the metrics.
fn count(metrics: &Metrics, work: &Work, counted: &mut [u64; 5]) {
    let kinds = [Delivered::sent, Delivered::folded, Delivered::dropped, Delivered::retried, Delivered::failed];
    for (((_, now), before), kind) in work.counters.results().into_iter().zip(counted.iter_mut()).zip(kinds) {
        metrics.delivered(kind, now.saturating_sub(*before));
        *before = now;
    }
}
