//! Brings the site up to the newest commit. A publish that fails leaves the old site, is tried
//! again, and holds up neither probing nor telling.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::complaints::{Complaints, Speak, some};
use crate::{
    clock::Clock,
    config::{self, Config},
    notify::operator::{Desk, Notice},
    site::{Options, Published, Publisher, SiteError},
    store::{Reader, Store, StoreError},
    web::{self, Metrics},
};

/// After each step, as long a rest as it took, but no longer than this: rings meanwhile are one.
pub const PAUSE: Duration = Duration::from_millis(100);
/// So many pages that only state a newer present are made at once, before whatever was committed
/// meanwhile goes first.
const SLICE: usize = 32;
/// A lost ring costs no more than this.
const POLL: Duration = Duration::from_secs(30);
/// Pause after a failure, doubling up to [`POLL`].
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishingError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The site could not be made or written.
    #[error(transparent)]
    Site(#[from] SiteError),
}

/// At the end, the last commit is waited for this long.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// Everything the task talks to.
pub struct Publishing {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The newest good configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// Rings after a commit.
    pub bell: watch::Receiver<u64>,
    /// What the operator should know.
    pub desk: Desk,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends the task, after one last publish.
    pub shutdown: CancellationToken,
}

/// What is kept between two publishes. It waits for nothing.
pub struct Bench {
    /// A config that pages are to be made by from now on, if its templates can be used.
    next: Option<Arc<Config>>,
    store: config::Store,
    publisher: Option<Publisher>,
    reader: Option<Reader>,
    /// After a failure: the pause until the next try.
    retry: Option<Duration>,
    complaints: Complaints,
    desk: Desk,
}

impl Bench {
    /// One that has published nothing yet.
    #[must_use]
    pub fn new(config: Arc<Config>, desk: Desk) -> Self {
        let (store, complaints) = (config.store.clone(), Complaints::default());
        Self { store, next: Some(config), publisher: None, reader: None, retry: None, complaints, desk }
    }

    /// Makes pages by another config from now on.
    pub fn set_config(&mut self, config: Arc<Config>) {
        self.next = Some(config);
    }

    /// Publishes by the newest config that can be used. That a newer one cannot is an error, but
    /// the pages go on being renewed as before. `now` is asked once the facts are read: none of them
    /// is younger than the moment that pages state.
    ///
    /// # Errors
    /// If the store cannot be read or the site cannot be made or written; then
    /// [`Self::learn`] says when to try again.
    pub fn publish(&mut self, now: impl FnOnce() -> Timestamp) -> Result<Published, PublishingError> {
        self.with_publisher(|publisher, reader| publisher.publish(reader, now()))
    }

    /// Goes a step towards that: publishes whatever changed, or else restates the present on a few
    /// pages.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn advance(&mut self, now: impl FnOnce() -> Timestamp) -> Result<Published, PublishingError> {
        self.with_publisher(|publisher, reader| publisher.advance(reader, now(), SLICE))
    }

    fn with_publisher(
        &mut self,
        act: impl FnOnce(&mut Publisher, &Reader) -> Result<Published, SiteError>,
    ) -> Result<Published, PublishingError> {
        let mut unusable = None;
        if let Some(config) = &self.next {
            let options = Options { subscribe_form: web::takes_subscribers(config) };
            match Publisher::with_options(config, options) {
                Ok(publisher) => (self.publisher, self.next) = (Some(publisher), None),
                Err(error) => unusable = Some(error),
            }
        }
        let published = match &mut self.publisher {
            Some(publisher) => {
                let reader = match &mut self.reader {
                    Some(reader) => {
                        reader.refresh()?;
                        reader
                    }
                    none => none.insert(Store::reader(&self.store)?),
                };
                let published = act(publisher, reader)?;
                // Between two publishes the store's log may be cut back.
                reader.rest()?;
                published
            }
            None => Published::default(),
        };
        unusable.map_or(Ok(published), |error| Err(error.into()))
    }

    /// Learns how a publish ended; how long to rest if nobody rings.
    pub fn learn(&mut self, result: Result<Published, PublishingError>, now: Timestamp) -> Duration {
        match result {
            Ok(published) => {
                self.retry = None;
                if self.complaints.settled("publishing") {
                    self.desk.settle("publishing");
                    tracing::info!("the site is published again");
                }
                tracing::debug!(written = published.written, removed = published.removed, "published");
                self.until_renewal(now)
            }
            Err(error) => {
                let text = error.to_string();
                if let Speak::Now { repeated } = self.complaints.about("publishing", &text, now) {
                    tracing::error!(repeated = some(repeated), "the site is not published, the old one stays: {text}");
                    let text = format!("The old site stays as it is. {text}");
                    self.desk.tell(Notice::new("publishing", "The site is not published", &text), now);
                }
                let pause = self.retry.map_or(FIRST_RETRY, |pause| (pause * 2).min(POLL));
                self.retry = Some(pause);
                self.reader = None;
                pause
            }
        }
    }

    /// How long pages may rest, at most [`POLL`].
    fn until_renewal(&self, now: Timestamp) -> Duration {
        self.renew_at()
            .map_or(POLL, |at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO).min(POLL))
    }

    /// When pages must be renewed even if nothing happens.
    #[must_use]
    pub fn renew_at(&self) -> Option<Timestamp> {
        self.publisher.as_ref()?.renew_at()
    }
}

/// Publishes at every ring and whenever the pages need renewal, until shutdown.
pub async fn run(mut task: Publishing) {
    let mut bench = Bench::new(task.config.borrow_and_update().clone(), task.desk.clone());
    loop {
        let is_last = task.shutdown.is_cancelled();
        if is_last {
            // What was judged last is being written: the bell goes when all of it is.
            let _ = tokio::time::timeout(LAST_COMMIT, async { while task.bell.changed().await.is_ok() {} }).await;
        }
        task.bell.mark_unchanged();
        let began = task.clock.elapsed();
        let (mut at_work, clock) = (bench, Arc::clone(&task.clock));
        let Ok((back, result)) = spawn_blocking(move || {
            let result = at_work.advance(|| clock.wall());
            (at_work, result)
        })
        .await
        else {
            tracing::error!("publishing broke off; it starts anew: that is a fault in watchbell");
            bench = Bench::new(task.config.borrow().clone(), task.desk.clone());
            if is_last {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = task.shutdown.cancelled() => {}
            }
            continue;
        };
        bench = back;
        let took = task.clock.elapsed().since(began);
        let is_behind = result.as_ref().is_ok_and(|published| published.left > 0);
        if result.is_ok() {
            task.metrics.published(took);
        }
        let rest = bench.learn(result, task.clock.wall());
        if is_last {
            return;
        }
        let pause = took.min(PAUSE);
        // Between two steps of a renewal whoever rings comes at once.
        let rest = if is_behind { pause } else { rest };
        if !is_behind {
            tokio::time::sleep(pause).await;
        }
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = task.bell.changed() => {}
            _ = task.config.changed() => bench.set_config(task.config.borrow_and_update().clone()),
            () = task.shutdown.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{
        daemon::engine::Engine,
        domain::outcome::{Class, Outcome, Phases},
        fsio,
        judge::{
            World,
            story::{self, DOWN, key},
        },
        schedule::Schedule,
    };

    fn config(folder: &Path, more: &str) -> Arc<Config> {
        let text = format!(
            "[site]\nurl = \"https://status.example.org/\"\n{more}\n[store]\nallow_volatile = true\n[[service]]\nid = \"api\"\n"
        );
        Arc::new(Config::parse(&folder.join("watchbell.toml"), &text, &|_| None).unwrap().config)
    }

    #[test]
    fn pages_go_on_being_renewed_while_new_templates_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let at = |minute: i64| Timestamp::from_second(1_795_255_200 + minute * 60).unwrap();
        let good = config(folder.path(), "");
        Store::open(&good.store, at(0)).unwrap().set_services(&good.rules).unwrap();
        let mut bench = Bench::new(Arc::clone(&good), Desk::new());
        bench.publish(|| at(0)).unwrap();
        let page = || fs::read_to_string(good.site.output.join("index.html")).unwrap();
        let first = page();
        fsio::write(&folder.path().join("mine/index.html"), b"{% oops").unwrap();
        bench.next = Some(config(folder.path(), "templates = \"mine\""));
        bench.publish(|| at(9)).unwrap_err();
        let second = page();
        assert_ne!(first, second, "it was renewed");
        fsio::write(&folder.path().join("mine/index.html"), b"mine").unwrap();
        bench.publish(|| at(10)).unwrap();
        assert_eq!(page(), "mine");
    }

    #[test]
    fn no_page_tells_of_what_happened_after_the_moment_that_it_states() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "");
        let mut store = Store::open(&config.store, story::at(0)).unwrap();
        store.set_services(&config.rules).unwrap();
        let mut bench = Bench::new(Arc::clone(&config), Desk::new());
        let rules = Arc::new(story::rules(&["api"]));
        let mut engine = Engine::new(rules, World::new(7), Schedule::new(super::super::SLOT), story::at(0));
        for second in 1..=3 {
            let outcome = Outcome {
                result: DOWN,
                cause: Some(Class::Reset.into()),
                started_at: story::at(second),
                latency: Duration::from_millis(5),
                phases: Phases::default(),
                detail: None,
            };
            engine.finished(key("api"), outcome, story::at(second));
        }
        let commit = engine.take_all(story::at(3));
        let page = || fs::read_to_string(config.site.output.join("index.html")).unwrap();
        // Somebody commits just when the time is asked.
        let mut asked = || {
            store.commit(&commit).unwrap();
            story::at(2)
        };
        bench.publish(&mut asked).unwrap();
        assert!(!page().contains("data-incident"), "{}", page());
        bench.publish(|| story::at(4)).unwrap();
        assert!(page().contains("data-incident"), "{}", page());
    }
}
