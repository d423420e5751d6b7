//! Whether the daemon does its work, for `/healthz`, the watchdog and the heartbeat.

use std::{sync::Mutex, time::Duration};

use crate::clock::Elapsed;

/// Without a turn of the judging task for so long, something is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What each part last said of itself.
#[derive(Debug, Default)]
pub struct Health(Mutex<Parts>);

#[derive(Debug, Default)]
struct Parts {
    judged_at: Option<Elapsed>,
    store: Option<String>,
}

impl Health {
    /// The judging task is alive.
    pub fn judged(&self, now: Elapsed) {
        self.with(|parts| parts.judged_at = Some(now));
    }

    /// A commit failed.
    pub fn store_failed(&self, why: &str) {
        self.with(|parts| parts.store = Some(why.to_owned()));
    }

    /// A commit succeeded.
    pub fn store_works(&self) {
        self.with(|parts| parts.store = None);
    }

    /// Whether probes run and the store writes.
    ///
    /// # Errors
    /// What is wrong, in words that name no target, path or address.
    pub fn check(&self, now: Elapsed) -> Result<(), String> {
        self.with(|parts| {
            if parts.store.is_some() {
                return Err("the store cannot be written".to_owned());
            }
            match parts.judged_at {
                Some(at) if now.since(at) < STUCK_AFTER => Ok(()),
                Some(_) => Err("probing is stuck".to_owned()),
                None => Err("starting".to_owned()),
            }
        })
    }

    /// Whether the judging task turns: what the watchdog looks at, since a full disk is no reason
    /// to be restarted.
    #[must_use]
    pub fn is_alive(&self, now: Elapsed) -> bool {
        self.with(|parts| parts.judged_at.is_none_or(|at| now.since(at) < STUCK_AFTER))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Parts) -> T) -> T {
        // A panic elsewhere while holding the lock leaves plain values behind: go on with them.
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_good_only_while_probes_run_and_the_store_writes() {
        let at = |seconds| Elapsed(Duration::from_secs(seconds));
        let health = Health::default();
        assert_eq!(health.check(at(0)), Err("starting".to_owned()));
        health.judged(at(1));
        assert_eq!(health.check(at(2)), Ok(()));
        health.store_failed("/secret/path: disk full");
        assert_eq!(health.check(at(2)), Err("the store cannot be written".to_owned()));
        health.store_works();
        assert_eq!(health.check(at(40)), Err("probing is stuck".to_owned()));
    }
}
