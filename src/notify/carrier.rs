//! Messages on their way: a bounded number of sessions that hand them to the relay one after the
//! other, and what became of each. It decides nothing.
//!
//! A session that has handed over [`UNMARKED`] messages waits until what became of them is written
//! down, which bounds the copies after a kill. What waited too long for a session comes back
//! untried: its reader may have left meanwhile. So does what is to be said only after that, if a second
//! look finds that it is not to leave any more.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    ledger::Look,
    relay::{Leave, Outgoing, Relay},
    reply::{Phase, Reply},
    window::UNMARKED,
};
use crate::{
    clock::{Clock, Elapsed},
    domain::id::DeliveryId,
};

/// What was claimed longer ago is not begun any more.
const BEGIN_WITHIN: Duration = Duration::from_millis(500);
/// For so long others that end are waited for, to be written down together.
const MOMENT: Duration = Duration::from_millis(2);

/// What is carried: a message of the outbox, or a notice to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// Of the outbox.
    Delivery(DeliveryId),
    /// To an operator.
    Notice,
}

/// How one message ended.
#[derive(Debug)]
pub struct Ended {
    /// Which.
    pub cargo: Cargo,
    /// What the relay said.
    pub reply: Reply,
    /// A place among the unmarked of its session, free once this is dropped.
    pub mark: Option<OwnedSemaphorePermit>,
}

/// One message that waits for a session.
struct Job {
    cargo: Cargo,
    relay: Arc<Relay>,
    message: Outgoing,
    leave: Option<Leave>,
}

/// The places of a session's unmarked messages.
type Slot = Arc<Semaphore>;

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    free: Vec<Slot>,
    sessions: usize,
    most: usize,
}

struct Shared {
    waiting: Mutex<Waiting>,
    ended: mpsc::UnboundedSender<Ended>,
}

/// The sessions, and what they carry.
pub struct Carrier {
    clock: Arc<dyn Clock>,
    look: Look,
    shared: Arc<Shared>,
    ended: mpsc::UnboundedReceiver<Ended>,
    tasks: JoinSet<()>,
    out: usize,
    notices: usize,
}

impl Carrier {
    /// One without messages, of so many sessions at once. `look` says of a message that took long
    /// whether it is still to leave.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, connections: u32, look: Look) -> Self {
        let (sender, ended) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { waiting: Mutex::default(), ended: sender });
        let mut carrier = Self { clock, look, shared, ended, tasks: JoinSet::new(), out: 0, notices: 0 };
        carrier.resize(connections);
        carrier
    }

    /// Takes another number of sessions.
    pub fn resize(&mut self, connections: u32) {
        let mut waiting = self.shared.lock();
        waiting.most = usize::try_from(connections.max(1)).unwrap_or(1);
        let free = waiting.most.saturating_sub(waiting.sessions);
        waiting.free.resize_with(free, || Arc::new(Semaphore::new(UNMARKED)));
    }

    /// Whether a notice to an operator is among what has not ended yet.
    #[must_use]
    pub fn carries_notice(&self) -> bool {
        self.notices > 0
    }

    /// Hands over a message as soon as a session is free.
    pub fn send(&mut self, relay: &Arc<Relay>, cargo: Cargo, message: Outgoing) {
        let leave = match cargo {
            Cargo::Delivery(delivery) => {
                let look = Arc::clone(&self.look);
                let begin_by = Elapsed(self.clock.elapsed().0 + BEGIN_WITHIN);
                Some(Leave { begin_by, look: Arc::new(move || look(&delivery)) })
            }
            Cargo::Notice => None,
        };
        self.out += 1;
        self.notices += usize::from(cargo == Cargo::Notice);
        let mut waiting = self.shared.lock();
        waiting.jobs.push_back(Job { cargo, relay: Arc::clone(relay), message, leave });
        let slot = waiting.free.pop();
        waiting.sessions += usize::from(slot.is_some());
        drop(waiting);
        while self.tasks.try_join_next().is_some() {}
        if let Some(slot) = slot {
            self.tasks.spawn(session(Arc::clone(&self.shared), slot));
        }
    }

    /// The next message that ended; `None` if none is on its way.
    pub async fn next(&mut self) -> Option<Ended> {
        if self.out == 0 {
            return None;
        }
        let ended = self.ended.recv().await?;
        Some(self.note(ended))
    }

    /// As many as ended within a moment after `first`, but not waiting for more than half of all
    /// that are out, or that may be out unmarked: the others keep the sessions busy while these are
    /// written down.
    pub async fn group(&mut self, first: Ended) -> Vec<Ended> {
        let mut group = vec![first];
        let enough = self.shared.lock().most.saturating_mul(UNMARKED / 2);
        let moment = tokio::time::sleep(MOMENT);
        tokio::pin!(moment);
        while group.len() < self.out.min(enough) {
            tokio::select! {
                biased;
                Some(ended) = self.ended.recv() => {
                    let ended = self.note(ended);
                    group.push(ended);
                }
                () = &mut moment => break,
            }
        }
        while let Ok(ended) = self.ended.try_recv() {
            let ended = self.note(ended);
            group.push(ended);
        }
        group
    }

    /// Takes back what no session has begun.
    pub fn recall(&mut self) -> Vec<Ended> {
        let jobs = std::mem::take(&mut self.shared.lock().jobs);
        let untried = |job: Job| Ended { cargo: job.cargo, reply: Reply::NotTried, mark: None };
        jobs.into_iter().map(|job| self.note(untried(job))).collect()
    }

    fn note(&mut self, ended: Ended) -> Ended {
        self.out = self.out.saturating_sub(1);
        self.notices = self.notices.saturating_sub(usize::from(ended.cargo == Cargo::Notice));
        ended
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds it can leave it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message, or the end of the session whose slot that is.
    fn next(&self, slot: &Slot) -> Option<Job> {
        let mut waiting = self.lock();
        let job = if waiting.sessions > waiting.most { None } else { waiting.jobs.pop_front() };
        if job.is_none() {
            waiting.sessions = waiting.sessions.saturating_sub(1);
            if waiting.sessions + waiting.free.len() < waiting.most {
                waiting.free.push(Arc::clone(slot));
            }
        }
        job
    }
}

/// Hands over one message after the other until none waits.
async fn session(shared: Arc<Shared>, slot: Slot) {
    while let Ok(mark) = Arc::clone(&slot).acquire_owned().await {
        let Some(Job { cargo, relay, message, leave }) = shared.next(&slot) else { break };
        let sending = AssertUnwindSafe(relay.send_by(&message, leave.as_ref())).catch_unwind().await;
        // A reply that makes the protocol's code panic is a broken server, not a broken daemon.
        let reply = sending.unwrap_or_else(|_| Reply::broken(Phase::Body, "the server's reply could not be read"));
        if shared.ended.send(Ended { cargo, reply, mark: Some(mark) }).is_err() {
            break;
        }
    }
}
