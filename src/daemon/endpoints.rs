//! What the HTTP side asks of the store: the way out.

use std::sync::{Arc, Mutex, PoisonError};

use super::health::Health;
use crate::{
    clock::Clock,
    config,
    store::{Store, StoreError, tokens::Key},
    web::{Endpoints, Unavailable},
};

/// Answers for the daemon, over a connection of its own that is opened when first needed.
pub struct Exits {
    config: config::Store,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    desk: Mutex<Option<(Store, Key)>>,
}

impl Exits {
    /// Over the store of that config.
    #[must_use]
    pub fn new(config: config::Store, clock: Arc<dyn Clock>, health: Arc<Health>) -> Self {
        Self { config, clock, health, desk: Mutex::new(None) }
    }

    fn leave(&self, token: &str) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, key) = match &mut *desk {
            Some(desk) => desk,
            none => none.insert((Store::open(&self.config, now)?, Key::open(&self.config)?)),
        };
        if let Some(subscriber) = key.check_unsubscribe(token)
            && store.remove_subscriber(&subscriber, now)?
        {
            tracing::info!(%subscriber, "a subscriber left");
        }
        Ok(())
    }
}

impl Endpoints for Exits {
    fn unsubscribe(&self, token: &str) -> Result<(), Unavailable> {
        self.leave(token).map_err(|error| {
            tracing::error!("a subscriber could not leave, and was asked to try again: {error}");
            Unavailable("the store cannot be written".to_owned())
        })
    }

    fn health(&self) -> Result<(), String> {
        self.health.check(self.clock.elapsed())
    }
}
