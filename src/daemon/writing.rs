//! The one writer of facts, on a thread of its own: commits go in order, and one that fails is
//! tried again until it succeeds, since nothing that was judged may be lost.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{
    complaints::{Complaints, Speak, some},
    health::Health,
};
use crate::{
    clock::Clock,
    notify::operator::{Desk, Notice},
    store::{Commit, Store},
};

/// Between two tries of a commit that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Tries of the last commit at shutdown.
const LAST_TRIES: u32 = 3;
/// Between two bits of tidying up.
const TIDY: Duration = Duration::from_mins(1);

/// Writes until the sender is gone. Each commit that changes something rings `bell`.
pub fn run(
    mut store: Store,
    mut commits: mpsc::Receiver<Commit>,
    bell: &watch::Sender<u64>,
    health: &Health,
    desk: &Desk,
    clock: &Arc<dyn Clock>,
    is_ending: &dyn Fn() -> bool,
) {
    let mut complaints = Complaints::default();
    let mut tidied_at = None;
    while let Some(commit) = commits.blocking_recv() {
        let mut tries = 0;
        while let Err(error) = store.commit(&commit) {
            let text = error.to_string();
            health.store_failed(&text);
            if let Speak::Now { repeated } = complaints.about("store", &text, clock.wall()) {
                tracing::error!(repeated = some(repeated), "the store cannot be written, trying again: {text}");
            }
            tries += 1;
            if is_ending() && tries >= LAST_TRIES {
                tracing::error!("ending with {} steps unwritten", commit.steps.len());
                return;
            }
            std::thread::sleep(RETRY);
        }
        if complaints.settled("store") {
            tracing::info!("the store can be written again");
        }
        match store.check_place() {
            Ok(()) => health.store_works(),
            Err(error) => {
                // Site and mails go on as long as we do: better than ending with the only copy.
                let text = error.to_string();
                health.store_failed(&text);
                if let Speak::Now { repeated } = complaints.about("place", &text, clock.wall()) {
                    tracing::error!(repeated, "{text}");
                    desk.tell(Notice::new("store", "The store was removed or replaced", &text), clock.wall());
                }
            }
        }
        if commit.changes_something() {
            bell.send_modify(|rung| *rung += 1);
        }
        let now = clock.elapsed();
        if tidied_at.is_none_or(|at| now.since(at) >= TIDY) && !is_ending() {
            match store.tidy(clock.wall()) {
                // A bit at a time: events must not wait long behind it.
                Ok(tidied) => tidied_at = (!tidied.more).then_some(now),
                Err(error) => {
                    tidied_at = Some(now);
                    tracing::debug!("tidying up waits: {error}");
                }
            }
        }
    }
}
