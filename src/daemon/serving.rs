//! Serves the site and the endpoints, and metrics on an address of their own. A port in use is
//! reported and tried again; it stops nothing else.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    endpoints::{Exits, Rings},
    health::Health,
};
use crate::{
    clock::Clock,
    config::Config,
    web::{self, App, Limits, Metrics, Pages},
};

/// Everything the task talks to.
pub struct Serving {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The newest good configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// For `/healthz`.
    pub health: Arc<Health>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Rung when something came of a request.
    pub rings: Rings,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// Serves until shutdown.
pub async fn run(mut task: Serving) {
    let config = task.config.borrow_and_update().clone();
    let limits =
        Limits::for_descriptors(rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024));
    let mut pages = Pages::render_or(&config, Pages::plain);
    let (app, app_rx) = watch::channel(Arc::new(task.app(&config, pages.clone())));
    let site = async {
        if let Some(listener) = web::bind_retrying(config.server.listen, "server.listen", &task.shutdown).await {
            web::serve(listener, app_rx, limits, task.shutdown.clone()).await;
        }
    };
    let metrics = async {
        if let Some(address) = config.server.metrics
            && let Some(listener) = web::bind_retrying(address, "server.metrics", &task.shutdown).await
        {
            web::serve_metrics(listener, Arc::clone(&task.metrics), limits, task.shutdown.clone()).await;
        }
    };
    let mut changes = task.config.clone();
    let follow = async {
        loop {
            tokio::select! {
                () = task.shutdown.cancelled() => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        task.shutdown.cancelled().await;
                        return;
                    }
                    let config = changes.borrow_and_update().clone();
                    pages = Pages::render_or(&config, || pages);
                    app.send_replace(Arc::new(task.app(&config, pages.clone())));
                }
            }
        }
    };
    tokio::join!(site, metrics, follow);
}

impl Serving {
    fn app(&self, config: &Config, pages: Pages) -> App {
        let exits = Exits::new(config, Arc::clone(&self.clock), Arc::clone(&self.health), self.rings.clone());
        App::new(config, pages, Arc::new(exits))
    }
}
