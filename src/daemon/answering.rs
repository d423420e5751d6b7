//! Answers requests for news that were taken down: who asked has had a page by then, and what follows
//! comes by mail, or to their webhook. It decides nothing.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    complaints::{Complaints, Speak, some},
    endpoints::Rings,
};
use crate::{
    clock::Clock,
    config::Config,
    store::{Answered, Store, StoreError},
};

/// So much later than it came a request is answered: whoever measures how long the next page takes
/// learns nothing of it.
const LATER: Duration = Duration::from_millis(250);
/// Even if nobody rings: a request may have been left by an earlier start, or by a command.
const LOOK: Duration = Duration::from_secs(5);

/// Everything the task talks to.
pub struct Answering {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The newest good configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// Rung by those who take requests down, and rung for those who send mail.
    pub rings: Rings,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// Answers until shutdown.
pub async fn run(task: Answering) {
    let mut complaints = Complaints::default();
    let mut store = None;
    loop {
        let config = task.config.borrow().clone();
        let clock = Arc::clone(&task.clock);
        let kept = store.take();
        match spawn_blocking(move || answer(kept, &config, &*clock)).await {
            Ok((kept, Ok(answered))) => {
                store = kept;
                complaints.settled("asking");
                if answered.letters > 0 {
                    task.rings.queued();
                }
            }
            Ok((_, Err(error))) => {
                let text = error.to_string();
                if let Speak::Now { repeated } = complaints.about("asking", &text, task.clock.wall()) {
                    tracing::error!(repeated = some(repeated), "who asked for news waits: {text}");
                }
            }
            Err(error) => tracing::error!("answering requests broke off: {error}"),
        }
        tokio::select! {
            () = task.shutdown.cancelled() => return,
            () = task.rings.asked.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        tokio::select! {
            () = task.shutdown.cancelled() => return,
            () = tokio::time::sleep(LATER) => {}
        }
    }
}

/// Answers all that wait, a slice at a time.
fn answer(kept: Option<Store>, config: &Config, clock: &dyn Clock) -> (Option<Store>, Result<Answered, StoreError>) {
    let mut store = match kept.map_or_else(|| Store::open(&config.store, clock.wall()), Ok) {
        Ok(store) => store,
        Err(error) => return (None, Err(error)),
    };
    let mut all = Answered::default();
    loop {
        match store.answer_requests(config.subscriptions.confirm_within, clock.wall()) {
            Ok(Answered { requests: 0, .. }) => return (Some(store), Ok(all)),
            Ok(Answered { requests, letters }) => {
                all.requests += requests;
                all.letters += letters;
                std::thread::sleep(crate::store::MOMENT);
            }
            Err(error) => return (Some(store), Err(error)),
        }
    }
}
