//! The asynchronous shell around the [`Outbox`]: wakes it, carries its messages to the relay and
//! the replies back. It decides nothing.
//!
//! The ledger is used on blocking threads only: a slow disk holds up mail, never the runtime.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, watch},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::{
    carrier::{Cargo, Carrier},
    compose::Composer,
    ledger::Ledger,
    operator::{Desk, Notice},
    outbox::Outbox,
    relay::{Outgoing, Relay},
    reply::Reply,
};
use crate::{
    clock::Clock,
    config::Email,
    domain::{id::DeliveryId, subscriber::Address},
};

/// Even if nobody rings, the ledger is looked at this often: a lost ring costs latency only.
const POLL: Duration = Duration::from_secs(5);
/// After a failure of the ledger.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long messages in flight may take to end once the daemon stops.
const GRACE: Duration = Duration::from_secs(3);

/// What a reload may change.
#[derive(Debug)]
pub struct Settings {
    /// Makes messages.
    pub composer: Arc<Composer>,
    /// Takes them away.
    pub relay: Arc<Relay>,
    /// The most at once.
    pub connections: u32,
    /// The most a second.
    pub rate_per_second: Option<f64>,
    /// Who is told about the monitor itself.
    pub operators: Vec<Address>,
}

impl Settings {
    /// Those of a config's `[email]`.
    #[must_use]
    pub fn new(email: &Email, composer: Arc<Composer>, relay: Arc<Relay>, operators: Vec<Address>) -> Self {
        Self { composer, relay, connections: email.connections, rate_per_second: email.rate_per_second, operators }
    }
}

/// What the daemon hands to [`run`].
pub struct Handles {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Rung after each commit that may have queued deliveries.
    pub ring: Arc<Notify>,
    /// What operators should know.
    pub desk: Desk,
    /// The settings of now, and of every reload.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// Why the worker ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[error("the mail worker failed: {0}")]
pub struct WorkerError(#[from] tokio::task::JoinError);

/// Delivers until it is told to stop; then lets what is in flight end, for a few seconds.
///
/// # Errors
/// If the ledger or the outbox panicked. The claims of this epoch are then free for the next one.
pub async fn run<L: Ledger + Send + 'static>(
    mut outbox: Outbox,
    mut ledger: L,
    mut handles: Handles,
) -> Result<(), WorkerError> {
    let mut settings = handles.settings.borrow_and_update().clone();
    let mut carrier = Carrier::new(Arc::clone(&handles.clock), settings.connections, ledger.second_look());
    // Of what ended since the last word to the ledger.
    let mut unmarked: Vec<OwnedSemaphorePermit> = Vec::new();
    loop {
        let now = handles.clock.wall();
        let polled;
        let poll = move |outbox: &mut Outbox, ledger: &mut L| {
            let polled = outbox.poll_with(ledger, now, &mut || unmarked.clear());
            (polled, unmarked)
        };
        (outbox, ledger, (polled, unmarked)) = blocking(outbox, ledger, poll).await?;
        // Changed meanwhile: what was claimed leaves by the new way already.
        if handles.settings.has_changed().unwrap_or(false) {
            settings = renewed(&mut handles.settings, &mut outbox, &mut carrier);
        }
        let is_able = match polled {
            Ok(messages) => {
                for message in messages {
                    carrier.send(&settings.relay, Cargo::Delivery(message.delivery), message);
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "mail waits");
                false
            }
        };
        for notice in outbox.take_notices() {
            handles.desk.tell(notice, now);
        }
        if outbox.lets_notices_leave() && !carrier.carries_notice() {
            for message in notices(&settings.composer, &settings.operators, &handles.desk) {
                carrier.send(&settings.relay, Cargo::Notice, message);
            }
        }
        let sleep = pause(is_able, outbox.wake_at(), now);
        tokio::select! {
            biased;
            () = handles.shutdown.cancelled() => break,
            Some(first) = carrier.next() => {
                for ended in carrier.group(first).await {
                    complete(&mut outbox, ended.cargo, &ended.reply, handles.clock.wall());
                    unmarked.extend(ended.mark);
                }
            }
            Ok(()) = handles.settings.changed() => settings = renewed(&mut handles.settings, &mut outbox, &mut carrier),
            () = handles.ring.notified() => {}
            () = handles.desk.rung() => {}
            () = tokio::time::sleep(sleep) => {
                let relay = Arc::clone(&settings.relay);
                tokio::spawn(async move { relay.tidy().await });
            }
        }
    }
    for ended in carrier.recall() {
        complete(&mut outbox, ended.cargo, &ended.reply, handles.clock.wall());
    }
    let mut grace = std::pin::pin!(tokio::time::sleep(GRACE));
    loop {
        let ended = tokio::select! {
            ended = carrier.next() => ended,
            () = &mut grace => None,
        };
        let is_last = ended.is_none();
        if let Some(first) = ended {
            for ended in carrier.group(first).await {
                complete(&mut outbox, ended.cargo, &ended.reply, handles.clock.wall());
            }
        }
        // As each comes: who ends us may not wait for the last of them.
        let now = handles.clock.wall();
        let flushed;
        (outbox, ledger, flushed) = blocking(outbox, ledger, move |outbox, ledger| outbox.flush(ledger, now)).await?;
        if let Err(error) = flushed {
            tracing::error!(%error, "the last replies could not be written down");
        }
        if is_last {
            break;
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), settings.relay.close()).await;
    Ok(())
}

/// The settings of now, in force from here on.
fn renewed(changes: &mut watch::Receiver<Arc<Settings>>, outbox: &mut Outbox, carrier: &mut Carrier) -> Arc<Settings> {
    let settings = changes.borrow_and_update().clone();
    outbox.reconfigure(Arc::clone(&settings.composer), settings.connections, settings.rate_per_second);
    carrier.resize(settings.connections);
    settings
}

fn complete(outbox: &mut Outbox, cargo: Cargo, reply: &Reply, now: Timestamp) {
    match cargo {
        Cargo::Delivery(delivery) => outbox.complete(delivery, reply, now),
        Cargo::Notice if matches!(reply, Reply::Accepted { .. }) => {}
        Cargo::Notice => tracing::error!(%reply, "a notice to an operator could not be mailed"),
    }
}

async fn blocking<L, T>(
    mut outbox: Outbox,
    mut ledger: L,
    work: impl FnOnce(&mut Outbox, &mut L) -> T + Send + 'static,
) -> Result<(Outbox, L, T), WorkerError>
where
    L: Send + 'static,
    T: Send + 'static,
{
    let done = spawn_blocking(move || {
        let result = work(&mut outbox, &mut ledger);
        (outbox, ledger, result)
    });
    Ok(done.await?)
}

fn pause(is_able: bool, wake_at: Option<Timestamp>, now: Timestamp) -> Duration {
    if !is_able {
        return AFTER_FAILURE;
    }
    let until = wake_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
    // Never at once again: a clock that stands still must not make it spin.
    until.unwrap_or(POLL).clamp(Duration::from_millis(1), POLL)
}

/// What waits on the desk, as a message to each operator, and to each owner whom it concerns.
pub fn notices(composer: &Composer, operators: &[Address], desk: &Desk) -> Vec<Outgoing> {
    let mut messages = Vec::new();
    for (notice, at) in desk.take() {
        let owners: BTreeSet<&Address> = notice.owners.iter().filter(|owner| !operators.contains(owner)).collect();
        for (n, to) in operators.iter().chain(owners).enumerate() {
            match compose(composer, &notice, to, at, n) {
                Ok(message) => messages.push(message),
                Err(error) => tracing::error!(%error, "a notice to an operator could not be composed"),
            }
        }
    }
    messages
}

fn compose(
    composer: &Composer,
    notice: &Notice,
    to: &Address,
    at: Timestamp,
    n: usize,
) -> Result<Outgoing, super::compose::ComposeError> {
    // The same notice to the same operator has the same id: it is not sent twice.
    let mut random = [0u8; 10];
    for (at, byte) in notice.key.bytes().chain(n.to_be_bytes()).enumerate() {
        if let Some(slot) = random.get_mut(at % 10) {
            *slot = slot.wrapping_mul(31).wrapping_add(byte);
        }
    }
    composer.compose_notice(DeliveryId::new(at, random), to, &notice.subject, &notice.text, at)
}
