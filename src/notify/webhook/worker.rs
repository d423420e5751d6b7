//! The asynchronous shell around the [`Queue`]: wakes it, makes its calls and brings the answers back.
//! It decides nothing. The ledger is used on blocking threads only.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    task::{JoinError, JoinSet, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use super::{
    answer::Answer,
    client::Client,
    payload::Writer,
    queue::{Call, Queue},
};
use crate::{clock::Clock, domain::id::DeliveryId, notify::ledger::WebhookLedger};

/// Even if nobody rings, the ledger is looked at this often: a lost ring costs latency only.
const POLL: Duration = Duration::from_secs(5);
/// After a failure of the ledger.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long calls under way may take to end once the daemon stops.
const GRACE: Duration = Duration::from_secs(3);

/// What [`run`] talks to.
pub struct Handles {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Rung after each commit that may have queued deliveries.
    pub ring: Arc<Notify>,
    /// Makes the calls.
    pub client: Arc<Client>,
    /// What payloads are made of, now and after every reload.
    pub writer: watch::Receiver<Arc<Writer>>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

type Ended = (DeliveryId, Answer);

/// Calls until it is told to stop; then lets what is under way end, for a few seconds.
///
/// # Errors
/// If the ledger or the queue panicked. The claims of this epoch are then free for the next one.
pub async fn run<L: WebhookLedger + Send + 'static>(
    mut queue: Queue,
    mut ledger: L,
    mut handles: Handles,
) -> Result<(), JoinError> {
    let mut calls: JoinSet<Ended> = JoinSet::new();
    loop {
        let (now, polled) = (handles.clock.wall(), &mut Vec::new());
        let done = spawn_blocking(move || {
            let polled = queue.poll(&mut ledger, now);
            (queue, ledger, polled)
        });
        let result;
        (queue, ledger, result) = done.await?;
        let is_able = match result {
            Ok(due) => {
                *polled = due;
                true
            }
            Err(error) => {
                tracing::error!(%error, "webhooks wait");
                false
            }
        };
        for call in polled.drain(..) {
            calls.spawn(make(Arc::clone(&handles.client), Arc::clone(&handles.clock), call));
        }
        let sleep = pause(is_able, queue.wake_at(), now);
        tokio::select! {
            biased;
            () = handles.shutdown.cancelled() => break,
            Some(ended) = calls.join_next() => note(&mut queue, ended, handles.clock.wall())?,
            Ok(()) = handles.writer.changed() => {
                let writer = handles.writer.borrow_and_update().clone();
                queue.reconfigure(writer);
            }
            () = handles.ring.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
        // Whatever else ended by now is written down with it.
        while let Some(ended) = calls.try_join_next() {
            note(&mut queue, ended, handles.clock.wall())?;
        }
    }
    let mut grace = std::pin::pin!(tokio::time::sleep(GRACE));
    loop {
        let ended = tokio::select! {
            ended = calls.join_next() => ended,
            () = &mut grace => None,
        };
        let is_last = ended.is_none();
        if let Some(ended) = ended {
            note(&mut queue, ended, handles.clock.wall())?;
        }
        let now = handles.clock.wall();
        let done = spawn_blocking(move || {
            let flushed = queue.flush(&mut ledger, now);
            (queue, ledger, flushed)
        });
        let flushed;
        (queue, ledger, flushed) = done.await?;
        if let Err(error) = flushed {
            tracing::error!(%error, "the last answers of webhooks could not be written down");
        }
        if is_last {
            return Ok(());
        }
    }
}

async fn make(client: Arc<Client>, clock: Arc<dyn Clock>, call: Call) -> Ended {
    let answer = client.call(&call, clock.wall()).await;
    (call.delivery, answer)
}

fn note(queue: &mut Queue, ended: Result<Ended, JoinError>, now: Timestamp) -> Result<(), JoinError> {
    let (delivery, answer) = ended?;
    queue.complete(delivery, &answer, now);
    Ok(())
}

fn pause(is_able: bool, wake_at: Option<Timestamp>, now: Timestamp) -> Duration {
    if !is_able {
        return AFTER_FAILURE;
    }
    let until = wake_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
    // Never at once again: a clock that stands still must not make it spin.
    until.unwrap_or(POLL).clamp(Duration::from_millis(5), POLL)
}
