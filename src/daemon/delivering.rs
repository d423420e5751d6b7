//! Runs the mail worker: with the settings of now, and with those of every reload. Without
//! `[email]` nobody is told by mail, and what was recorded waits.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::complaints::{Complaints, Speak, some};
use crate::{
    clock::Clock,
    config::{Config, OperatorTarget},
    domain::subscriber::Address,
    notify::{
        compose::{ComposeError, Composer},
        ledger::StoreLedger,
        operator::{Desk, Notice},
        outbox::{Counters, Outbox},
        relay::Relay,
        smtp::TlsError,
        worker::{self, Handles, Settings, WorkerError},
    },
    store::{LeftNotice, Store, StoreError, tokens::Key},
    web::{Delivered, Metrics},
};

/// Between two tries to start the worker.
const RETRY: Duration = Duration::from_secs(5);
/// Between two looks at the outbox, for the metrics.
const LOOK: Duration = Duration::from_secs(5);

/// Why mails cannot be made or sent at all.
#[derive(Debug, thiserror::Error)]
pub enum DeliveringError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The templates cannot be used.
    #[error("mails cannot be composed: {0}")]
    Compose(#[from] ComposeError),
    /// Encryption cannot be set up.
    #[error("the mail server cannot be talked to: {0}")]
    Tls(#[from] TlsError),
    /// The worker broke off.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A thread broke off.
    #[error("delivering broke off: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Everything the task talks to.
pub struct Delivering {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The newest good configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// Rings when something was queued.
    pub bell: watch::Receiver<u64>,
    /// What the operator should know.
    pub desk: Desk,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// A worker that runs.
struct Work {
    settings: watch::Sender<Arc<Settings>>,
    ring: Arc<Notify>,
    counters: Arc<Counters>,
    /// For looking at the queue from outside.
    queue: Arc<Mutex<Store>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), WorkerError>>,
}

impl Work {
    async fn ask_queue<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        let queue = Arc::clone(&self.queue);
        spawn_blocking(move || ask(&mut queue.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

/// What of a config the worker goes by; `None` without `[email]`.
fn settings(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Settings>, DeliveringError> {
    let Some(email) = &config.email else { return Ok(None) };
    let composer = Arc::new(Composer::new(config, email)?);
    let relay = Arc::new(Relay::new(email, Arc::clone(clock))?);
    Ok(Some(Settings::new(email, composer, relay, operators(config).collect())))
}

/// Numbers this start, and opens the queue: whatever an earlier start had claimed is free.
///
/// # Errors
/// If the store cannot be written, or its key cannot be used.
pub fn begin_epoch(config: &Config, now: Timestamp) -> Result<(i64, StoreLedger), StoreError> {
    let mut store = Store::open(&config.store, now)?;
    let epoch = store.new_epoch()?;
    Ok((epoch, StoreLedger::new(store, Key::open(&config.store)?)))
}

/// The operators who are told by mail.
pub fn operators(config: &Config) -> impl Iterator<Item = Address> {
    config.operators.iter().filter_map(|target| match target {
        OperatorTarget::Mail(address) => Some(address.clone()),
        OperatorTarget::Channel(_) => None,
    })
}

/// Starts the worker; `None` without `[email]`.
async fn start(
    config: &Arc<Config>,
    clock: &Arc<dyn Clock>,
    desk: Desk,
    shutdown: &CancellationToken,
) -> Result<Option<Work>, DeliveringError> {
    let (at_work, clock_there) = (Arc::clone(config), Arc::clone(clock));
    let Some(settings) = spawn_blocking(move || settings(&at_work, &clock_there)).await?? else { return Ok(None) };
    let (at_work, now) = (Arc::clone(config), clock.wall());
    let ((epoch, ledger), queue) =
        spawn_blocking(move || Ok::<_, StoreError>((begin_epoch(&at_work, now)?, Store::open(&at_work.store, now)?)))
            .await??;
    let outbox = Outbox::new(epoch, Arc::clone(&settings.composer), settings.connections, settings.rate_per_second);
    let counters = outbox.counters();
    let (settings_tx, settings_rx) = watch::channel(Arc::new(settings));
    let (ring, stop) = (Arc::new(Notify::new()), shutdown.child_token());
    let handles = Handles {
        clock: Arc::clone(clock),
        ring: Arc::clone(&ring),
        desk,
        settings: settings_rx,
        shutdown: stop.clone(),
    };
    let task = tokio::spawn(worker::run(outbox, ledger, handles));
    Ok(Some(Work { settings: settings_tx, ring, counters, queue: Arc::new(Mutex::new(queue)), stop, task }))
}

/// Delivers until shutdown.
pub async fn run(mut task: Delivering) {
    let mut complaints = Complaints::default();
    let mut counted = [0; 5];
    let mut work: Option<Work> = None;
    loop {
        let config = task.config.borrow_and_update().clone();
        if work.is_none() {
            match start(&config, &task.clock, task.desk.clone(), &task.shutdown).await {
                Ok(started) => {
                    complaints.settled("mail");
                    counted = [0; 5];
                    work = started;
                }
                Err(error) => {
                    let text = error.to_string();
                    if let Speak::Now { repeated } = complaints.about("mail", &text, task.clock.wall()) {
                        tracing::error!(repeated = some(repeated), "no mail can be sent, trying again: {text}");
                    }
                }
            }
        }
        let pause = if work.is_none() && config.email.is_some() { RETRY } else { LOOK };
        tokio::select! {
            () = task.shutdown.cancelled() => break,
            Ok(()) = task.config.changed() => task.reconfigure(&mut work).await,
            Ok(()) = task.bell.changed() => {
                if let Some(work) = &work {
                    work.ring.notify_one();
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
        if work.as_ref().is_some_and(|work| work.task.is_finished())
            && let Some(ended) = work.take()
        {
            tracing::error!("the mail worker ended, and starts anew: {:?}", ended.task.await);
            tokio::time::sleep(RETRY).await;
        }
        if let Some(work) = &work {
            task.count(work, &mut counted).await;
            pick_up(work, &task.desk, task.clock.wall()).await;
        } else {
            task.metrics.outbox_paused(false);
        }
    }
    if let Some(work) = work {
        work.stop.cancel();
        report(work.task.await);
    }
}

fn report(ended: Result<Result<(), WorkerError>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("the mail worker ended: {error}"),
        Err(error) => tracing::error!("the mail worker broke off: {error}"),
    }
}

impl Delivering {
    async fn reconfigure(&mut self, work: &mut Option<Work>) {
        let config = self.config.borrow().clone();
        let (at_work, clock) = (Arc::clone(&config), Arc::clone(&self.clock));
        let settings = spawn_blocking(move || settings(&at_work, &clock)).await;
        match settings {
            Ok(Ok(Some(settings))) => {
                if let Some(work) = work {
                    work.settings.send_replace(Arc::new(settings));
                }
            }
            Ok(Ok(None)) => {
                if let Some(work) = work.take() {
                    work.stop.cancel();
                    report(work.task.await);
                }
            }
            Ok(Err(error)) => {
                tracing::error!("mail goes on as before the change of the config: {error}");
                let text = format!("Mail goes on as before the change of the config. {error}");
                self.desk
                    .tell(Notice::new("mail-config", "The new mail settings do not work", &text), self.clock.wall());
            }
            Err(error) => tracing::error!("reading the mail settings broke off: {error}"),
        }
    }

    /// Carries what was counted since the last look into the metrics.
    async fn count(&self, work: &Work, counted: &mut [u64; 5]) {
        let kinds = [Delivered::sent, Delivered::folded, Delivered::dropped, Delivered::retried, Delivered::failed];
        for (((_, now), before), kind) in work.counters.results().into_iter().zip(counted.iter_mut()).zip(kinds) {
            self.metrics.delivered(kind, now.saturating_sub(*before));
            *before = now;
        }
        self.metrics.outbox_paused(work.counters.paused.load(Ordering::Relaxed) > 0);
        if let Ok(Ok(pending)) = work.ask_queue(|queue| queue.outbox_pending()).await {
            self.metrics.outbox_pending(usize::try_from(pending).unwrap_or(usize::MAX));
        }
    }
}

/// Tells operators what a command left for them, such as that mail comes back.
async fn pick_up(work: &Work, desk: &Desk, now: Timestamp) {
    match work.ask_queue(Store::take_notices).await {
        Ok(Ok(left)) => {
            for LeftNotice { key, subject, text } in left {
                tracing::warn!("{subject}");
                desk.tell(Notice::new(key, &subject, &text), now);
            }
        }
        Ok(Err(error)) => tracing::error!("what a command left for the operator cannot be read: {error}"),
        Err(error) => tracing::error!("reading what a command left broke off: {error}"),
    }
}

/// Delivers what is due, for a single pass: until nothing is due before `until`, or it has come.
///
/// # Errors
/// If mails cannot be made or sent at all.
pub async fn drain(config: &Arc<Config>, clock: &Arc<dyn Clock>, until: Timestamp) -> Result<(), DeliveringError> {
    let stop = CancellationToken::new();
    let desk = Desk::new();
    let Some(work) = start(config, clock, desk.clone(), &stop).await? else { return Ok(()) };
    pick_up(&work, &desk, clock.wall()).await;
    loop {
        let ask = |queue: &mut Store| {
            let next = queue.next_due()?.into_iter().chain(queue.next_letter()?).min();
            Ok::<_, StoreError>((next, queue.outbox_sending()?.saturating_add(queue.letters_sending()?)))
        };
        let (waits_until, on_their_way) = work.ask_queue(ask).await??;
        let is_done = on_their_way == 0 && waits_until.is_none_or(|at| at > until);
        if is_done || clock.wall() >= until {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    Ok(work.task.await??)
}
