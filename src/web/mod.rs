//! The HTTP side: the static site, the ways into a subscription and out of it, health and metrics.
//!
//! What it knows of the rest comes through [`Endpoints`]; it decides nothing about monitoring.
//! TLS is the business of a proxy in front.

mod accept;
mod answer;
mod body;
mod client;
mod connections;
mod files;
mod form;
mod metrics;
mod negotiate;
mod pages;
mod press;
mod progress;
mod receive;
mod route;
mod subscribing;
mod types;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

pub use client::{Network, client_address};
pub use metrics::{Delivered, Metrics};
pub use pages::Pages;
pub use press::Press;

use self::{connections::Connection, files::Files};
use crate::{
    config::Config,
    domain::{asking::Asking, service::Rules, subscriber::Choice},
    secret::Secret,
    store::Taken,
};

/// What the HTTP side asks of the daemon.
pub trait Endpoints: Send + Sync {
    /// Ends the subscription that `token` belongs to: address and queued mails go. A token that
    /// belongs to nobody (any more) is no error. May block: it is never called on a worker
    /// thread of the runtime.
    ///
    /// # Errors
    /// If the store cannot do it now; the reader is asked to try again.
    fn unsubscribe(&self, token: &str) -> Result<(), Unavailable>;

    /// Takes down a request for news that came from `client`; what follows comes by mail. May block,
    /// as the next ones, and takes the same time for every address.
    ///
    /// # Errors
    /// If the store cannot do it now; so for the next ones.
    fn ask(&self, asking: &Asking, client: IpAddr) -> Result<Taken, Unavailable>;

    /// Confirms by a token. `None`: it is too old, or was none of ours.
    fn confirm(&self, token: &str) -> Result<Option<Joined>, Unavailable>;

    /// What whoever has this token of [`Endpoints::confirm`], or of a mail, chose.
    fn choice(&self, token: &str) -> Result<Option<Chosen>, Unavailable>;

    /// Gives them another choice; whether they are there.
    fn choose(&self, token: &str, choice: Choice) -> Result<bool, Unavailable>;

    /// As [`Endpoints::unsubscribe`], for whoever looks at their choice; whether they were there.
    fn leave(&self, token: &str) -> Result<bool, Unavailable>;

    /// Whether probes run and the store writes. Must not block.
    ///
    /// # Errors
    /// The reason why not, in words that may be shown to anyone.
    fn health(&self) -> Result<(), String>;
}

/// Somebody who has just confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The token of the way to what they chose.
    pub manage: String,
    /// What signs the calls of their webhook, if it is one, as they copy it.
    pub secret: Option<Secret>,
}

/// What somebody chose, as they may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What they chose.
    pub choice: Choice,
    /// As in [`Joined`].
    pub secret: Option<Secret>,
}

/// Something cannot be done now, but may be later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be done now: {0}")]
pub struct Unavailable(pub String);

/// All that requests are answered from. A reload makes a new one.
pub struct App {
    files: Files,
    bases: Vec<String>,
    pages: Pages,
    trusted_proxies: Vec<IpNet>,
    endpoints: Arc<dyn Endpoints>,
    /// What there is to choose from.
    rules: Arc<Rules>,
    /// What `POST /subscribe` takes.
    takes: Takes,
}

/// What the public may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// News by mail.
    pub mail: bool,
    /// News by webhook.
    pub webhooks: bool,
}

impl Takes {
    /// Anything at all.
    #[must_use]
    pub const fn any(self) -> bool {
        self.mail || self.webhooks
    }
}

impl App {
    /// The site in `site.output`, under `/` and under the paths of `site.url` and `server.url`.
    #[must_use]
    pub fn new(config: &Config, pages: Pages, endpoints: Arc<dyn Endpoints>) -> Self {
        let bases = [&config.site.url, &config.server.url].map(|url| url.path().to_owned());
        let proxies = config.server.trusted_proxies.clone();
        Self::with(config.site.output.clone(), bases.into(), proxies, pages, endpoints)
            .subscribing(Arc::new(config.rules.clone()), takes(config))
    }

    /// The same, where people can choose among `rules`, and ask for what it `takes`.
    #[must_use]
    pub fn subscribing(self, rules: Arc<Rules>, takes: Takes) -> Self {
        Self { rules, takes, ..self }
    }

    /// The same from its parts; each of `bases` begins and ends with `/`.
    #[must_use]
    pub fn with(
        root: PathBuf,
        mut bases: Vec<String>,
        trusted_proxies: Vec<IpNet>,
        pages: Pages,
        endpoints: Arc<dyn Endpoints>,
    ) -> Self {
        // The longest first, so that `/status/eu/` is not taken for something below `/status/`.
        bases.sort_by_key(|base| std::cmp::Reverse(base.len()));
        bases.dedup();
        let files = Files::new(root);
        Self { files, bases, pages, trusted_proxies, endpoints, rules: Arc::default(), takes: Takes::default() }
    }
}

/// What the public may ask for: nobody is written to without a mail server.
#[must_use]
pub fn takes(config: &Config) -> Takes {
    let subscriptions = &config.subscriptions;
    Takes {
        mail: subscriptions.enabled && config.email.is_some(),
        webhooks: subscriptions.enabled && subscriptions.webhooks,
    }
}

/// Whether the site has a form: it is for mail, first of all.
#[must_use]
pub fn takes_subscribers(config: &Config) -> bool {
    takes(config).mail
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("bases", &self.bases).finish_non_exhaustive()
    }
}

/// What a client may cost us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all. Beyond it the one that has been silent longest makes room.
    pub connections: usize,
    /// Connections of one client network (a /24, or a /56), unless it is a trusted proxy's.
    pub per_network: usize,
    /// From the first moment of a connection to the end of its first request's head.
    pub head: Duration,
    /// From the end of a request's head to the end of its body.
    pub body: Duration,
    /// From the end of an answer to the end of the next request's head.
    pub idle: Duration,
    /// How long a client may take no byte of an answer.
    pub stall: Duration,
    /// How long requests under way have when the daemon ends.
    pub grace: Duration,
    /// The longest request head, in bytes.
    pub head_bytes: usize,
    /// The longest request body, in bytes.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_network: 128,
            head: Duration::from_secs(10),
            body: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            stall: Duration::from_secs(15),
            grace: Duration::from_secs(2),
            head_bytes: 16 * 1024,
            body_bytes: 8 * 1024,
        }
    }
}

impl Limits {
    /// The defaults, but at most a quarter of the descriptors this process may have: probes, store
    /// and relay need the rest.
    #[must_use]
    pub fn for_descriptors(descriptors: u64) -> Self {
        let limits = Self::default();
        let quarter = usize::try_from(descriptors / 4).unwrap_or(limits.connections);
        let connections = quarter.clamp(8, limits.connections);
        Self { connections, per_network: limits.per_network.min(connections), ..limits }
    }
}

/// Opens `address`, however long it takes: a port in use is reported once and tried again, with
/// growing pauses of up to 10 s. `None` only if `shutdown` came first.
pub async fn bind_retrying(
    address: std::net::SocketAddr,
    what: &'static str,
    shutdown: &CancellationToken,
) -> Option<TcpListener> {
    accept::bind_retrying(address, what, shutdown).await
}

/// Serves site and endpoints until `shutdown`; requests under way then have [`Limits::grace`].
/// Each request is answered from the newest [`App`].
pub async fn serve(listener: TcpListener, app: watch::Receiver<Arc<App>>, limits: Limits, shutdown: CancellationToken) {
    let trusted = app.clone();
    let is_proxy = move |peer| client::is_trusted(peer, &trusted.borrow().trusted_proxies);
    let answer = move |request, connection: Arc<Connection>| {
        let app = Arc::clone(&app.borrow());
        async move { answer::answer(&app, request, &connection, &limits).await }
    };
    accept::serve(listener, limits, is_proxy, answer, shutdown).await;
}

/// Serves metrics, and nothing else, until `shutdown`.
pub async fn serve_metrics(listener: TcpListener, metrics: Arc<Metrics>, limits: Limits, shutdown: CancellationToken) {
    let answer = move |request, _: Arc<Connection>| std::future::ready(answer::metrics(&metrics, &request));
    // Scrapers are the operator's own: no limit per network.
    accept::serve(listener, limits, |_| true, answer, shutdown).await;
}
