//! HTTP clients, one for each combination of settings that a client cannot change: thousands of
//! checks share a few.

use std::{
    collections::HashMap,
    fs,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use reqwest::{Client, Proxy, redirect::Policy};
use tower::{Layer, Service};

use super::{
    expect,
    resolve::Names,
    tls::{Settings, Tls, TlsSetupError},
    trace::{Stage, Trace},
};
use crate::{
    clock::{Clock, Elapsed},
    domain::service::{Check, Http, HttpVersion},
    secret::Secret,
};

/// What every probe calls itself.
const USER_AGENT: &str = concat!("watchbell/", env!("CARGO_PKG_VERSION"));
/// A client that nobody used for so long is dropped: its settings are gone from the config.
const UNUSED: Duration = Duration::from_hours(48);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    #[error("the proxy's address cannot be used")]
    Proxy,
    #[error("the HTTP client cannot be set up: {0}")]
    Build(reqwest::Error),
}

/// All that a client cannot change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    ca: Option<File>,
    /// Our certificate and its key.
    identity: [Option<File>; 2],
    insecure: bool,
    proxy: Option<Secret>,
    version: Option<HttpVersion>,
    /// Asked for only where the content matters: otherwise a small answer could cost us much.
    gzip: bool,
    /// Shared out among a name's addresses.
    timeout: Duration,
}

/// A file as it is now: certificates are renewed under the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct File {
    path: PathBuf,
    changed_at: Option<SystemTime>,
}

impl File {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), changed_at: fs::metadata(path).and_then(|meta| meta.modified()).ok() }
    }
}

/// The clients in use.
pub(super) struct Clients {
    clock: Arc<dyn Clock>,
    tls: Tls,
    names: Names,
    known: Mutex<HashMap<Key, (Client, Elapsed)>>,
}

impl Clients {
    pub(super) fn new(clock: Arc<dyn Clock>, tls: Tls, names: Names) -> Self {
        Self { clock, tls, names, known: Mutex::default() }
    }

    /// The client for such a check.
    ///
    /// # Errors
    /// If a file that it needs, or its proxy, cannot be used.
    pub(super) fn get(&self, check: &Check, http: &Http) -> Result<Client, ClientError> {
        let file = |path: &Option<PathBuf>| path.as_deref().map(File::new);
        let key = Key {
            ca: file(&http.ca),
            identity: [file(&http.client_cert), file(&http.client_key)],
            insecure: http.insecure,
            proxy: http.proxy.clone(),
            version: http.http_version,
            gzip: expect::wants_body(&http.expect),
            timeout: check.timeout,
        };
        let now = self.clock.elapsed();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((client, used)) = known.get_mut(&key) {
            *used = now;
            return Ok(client.clone());
        }
        known.retain(|_, (_, used)| now.since(*used) < UNUSED);
        let client = self.build(&key)?;
        known.insert(key, (client.clone(), now));
        Ok(client)
    }

    fn build(&self, key: &Key) -> Result<Client, ClientError> {
        let path = |file: &'_ Option<File>| file.as_ref().map(|file| file.path.clone());
        let (ca, [client_cert, client_key]) = (path(&key.ca), key.identity.each_ref().map(path));
        let tls = self.tls.config(&Settings {
            ca: ca.as_deref(),
            client_cert: client_cert.as_deref(),
            client_key: client_key.as_deref(),
            insecure: key.insecure,
            version: key.version,
        })?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(self.names.clone()))
            .connector_layer(Connected)
            .user_agent(USER_AGENT)
            // A connection is never used twice: one that is kept alive hides a server that no
            // longer accepts any, and fails when the server closes it.
            .pool_max_idle_per_host(0)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .gzip(key.gzip)
            .connect_timeout(key.timeout)
            // A probe ends at its own timeout, not before; each option would cost a system call.
            .tcp_keepalive(None)
            .tcp_keepalive_interval(None)
            .tcp_keepalive_retries(None)
            // Nothing from the environment.
            .no_proxy();
        #[cfg(target_os = "linux")]
        {
            builder = builder.tcp_user_timeout(None);
        }
        if let Some(proxy) = &key.proxy {
            builder = builder.proxy(Proxy::all(proxy.reveal()).map_err(|_| ClientError::Proxy)?);
        }
        builder = match key.version {
            Some(HttpVersion::Http1) => builder.http1_only(),
            Some(HttpVersion::Http2) => builder.http2_prior_knowledge(),
            None => builder,
        };
        builder.build().map_err(ClientError::Build)
    }
}

/// Tells the probe when its connection begins and when it stands.
#[derive(Clone)]
struct Connected;

impl<S> Layer<S> for Connected {
    type Service = Connecting<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Connecting(inner)
    }
}

#[derive(Clone)]
struct Connecting<S>(S);

impl<S, R> Service<R> for Connecting<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        Trace::enter_current(Stage::Connect);
        let connecting = self.0.call(request);
        Box::pin(async move {
            let connection = connecting.await?;
            Trace::enter_current(Stage::FirstByte);
            Ok(connection)
        })
    }
}
