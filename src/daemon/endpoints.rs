//! What the HTTP side asks of the store: the ways in and out.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::SignedDuration;
use tokio::sync::{Notify, watch};

use super::health::Health;
use crate::{
    clock::Clock,
    config::{self, Config},
    domain::{
        SubscriberId,
        asking::Asking,
        subscriber::{Choice, Subscriber},
    },
    notify::{recipient::Directory, webhook::sign, welcome},
    secret::Secret,
    store::{Store, StoreError, Taken, letters::Confirmed, tokens::Key},
    web::{Chosen, Endpoints, Joined, Unavailable},
};

/// How long somebody who has just confirmed may look at their choice: the mail has a link for longer.
const CHOOSE_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// What is rung when something came of a request.
#[derive(Clone, Debug)]
pub struct Rings {
    /// Requests wait to be answered.
    pub asked: Arc<Notify>,
    /// Mail waits to be sent.
    pub queued: watch::Sender<u64>,
}

impl Rings {
    /// Mail waits to be sent.
    pub fn queued(&self) {
        self.queued.send_modify(|rung| *rung += 1);
    }
}

/// Answers for the daemon, over a connection of its own that is opened when first needed.
pub struct Exits {
    config: config::Store,
    directory: Directory,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    rings: Rings,
    desk: Mutex<Option<(Store, Key)>>,
}

impl Exits {
    /// Over the store of that config.
    #[must_use]
    pub fn new(config: &Config, clock: Arc<dyn Clock>, health: Arc<Health>, rings: Rings) -> Self {
        let directory = Directory::new(&config.rules);
        Self { config: config.store.clone(), directory, clock, health, rings, desk: Mutex::new(None) }
    }

    /// Does `work` at the desk; what cannot be done is said to be so.
    fn at_desk<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Store, &Key) -> Result<T, StoreError>,
    ) -> Result<T, Unavailable> {
        let done = {
            let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
            self.open(&mut desk).and_then(|(store, key)| work(store, key))
        };
        done.map_err(|error| {
            tracing::error!("{what}, and was asked to try again: {error}");
            Unavailable("the store cannot be written".to_owned())
        })
    }

    fn open<'a>(&self, desk: &'a mut Option<(Store, Key)>) -> Result<&'a mut (Store, Key), StoreError> {
        match desk {
            Some(desk) => Ok(desk),
            none => Ok(none.insert((Store::open(&self.config, self.clock.wall())?, Key::open(&self.config)?))),
        }
    }

    fn remove(&self, store: &mut Store, subscriber: Option<SubscriberId>) -> Result<bool, StoreError> {
        let Some(subscriber) = subscriber else { return Ok(false) };
        let was_there = store.remove_subscriber(&subscriber, self.clock.wall())?;
        if was_there {
            tracing::info!(%subscriber, "a subscriber left");
        }
        Ok(was_there)
    }
}

/// What signs the calls of a webhook. Whoever holds a link to what was chosen may see it: it was sent
/// to the webhook itself.
fn secret(subscriber: &Subscriber, key: &Key) -> Option<Secret> {
    subscriber.address.webhook().map(|_| Secret::new(sign::shown(&key.webhook_secret(&subscriber.id))))
}

impl Endpoints for Exits {
    fn unsubscribe(&self, token: &str) -> Result<(), Unavailable> {
        self.at_desk("a subscriber could not leave", |store, key| {
            if let Some((subscriber, mailbox)) = key.check_stop(token) {
                tracing::info!(%subscriber, "somebody who was asked does not want to be asked again");
                return store.stop_asking(&subscriber, &mailbox, self.clock.wall());
            }
            self.remove(store, key.check_unsubscribe(token)).map(drop)
        })
    }

    fn ask(&self, asking: &Asking, client: IpAddr) -> Result<Taken, Unavailable> {
        let taken =
            self.at_desk("somebody could not ask for news", |store, _| store.ask(asking, client, self.clock.wall()))?;
        if taken == Taken::Down {
            self.rings.asked.notify_one();
        }
        Ok(taken)
    }

    fn confirm(&self, token: &str) -> Result<Option<Joined>, Unavailable> {
        self.at_desk("a subscriber could not confirm", |store, key| {
            let now = self.clock.wall();
            let mut greet = |wants: &_, open: &[_]| welcome::theirs(wants, &self.directory, open);
            let subscriber = match store.confirm(token, &mut greet, now)? {
                Confirmed::Now(subscriber) => {
                    tracing::info!(%subscriber, "a subscriber confirmed");
                    self.rings.queued();
                    subscriber
                }
                Confirmed::Before(subscriber) => subscriber,
                Confirmed::Nothing => return Ok(None),
            };
            let good_until = now.checked_add(CHOOSE_WITHIN).unwrap_or(now);
            let secret = store.subscriber(&subscriber)?.and_then(|found| secret(&found, key));
            Ok(Some(Joined { manage: key.manage(&subscriber, good_until), secret }))
        })
    }

    fn choice(&self, token: &str) -> Result<Option<Chosen>, Unavailable> {
        self.at_desk("a subscriber could not see what they chose", |store, key| {
            let Some(subscriber) = key.check_manage(token, self.clock.wall()) else { return Ok(None) };
            let found = store.subscriber(&subscriber)?;
            Ok(found.map(|found| Chosen { choice: found.choice(), secret: secret(&found, key) }))
        })
    }

    fn choose(&self, token: &str, choice: Choice) -> Result<bool, Unavailable> {
        self.at_desk("a subscriber could not choose", |store, key| {
            let Some(subscriber) = key.check_manage(token, self.clock.wall()) else { return Ok(false) };
            let chosen = store.choose(&subscriber, choice)?;
            if chosen {
                tracing::info!(%subscriber, "a subscriber chose anew");
            }
            Ok(chosen)
        })
    }

    fn leave(&self, token: &str) -> Result<bool, Unavailable> {
        self.at_desk("a subscriber could not leave", |store, key| {
            self.remove(store, key.check_manage(token, self.clock.wall()))
        })
    }

    fn health(&self) -> Result<(), String> {
        self.health.check(self.clock.elapsed())
    }
}
