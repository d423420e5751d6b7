//! Calls a webhook, once: looks its name up, looks at every address that the name leads to, connects to
//! one of those and to nothing else, and says what came back.
//!
//! No redirect is followed, no proxy asked, no cookie kept, no connection used twice; of the reply
//! nothing but its head is read. What goes wrong is said in words of ours: neither a receiver's words
//! nor its name reach a log.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{self, HeaderMap},
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::{
    ClientConfig,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::AbortOnDropHandle;

use super::{answer::Answer, queue::Call, sign};
use crate::{
    clock::Clock,
    domain::webhook::{WebhookUrl, is_public},
    probe::Names,
};

/// What every call says of itself.
const USER_AGENT: &str = concat!("watchbell/", env!("CARGO_PKG_VERSION"));
/// How long one of the addresses may take to let us connect, and to encrypt.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long all of them may, and the lookup before.
const CONNECTED_WITHIN: Duration = Duration::from_secs(7);
/// How long the answer may take from there.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How many of a name's addresses are tried.
const ADDRESSES: usize = 3;
/// The longest head of a reply that is read.
const HEAD_BYTES: usize = 16 * 1024;

/// Which addresses may be called.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    also: Vec<SocketAddr>,
}

impl Guard {
    /// Public ones: all that a daemon ever calls.
    #[must_use]
    pub fn public() -> Self {
        Self::default()
    }

    /// Public ones and those. For tests alone, whose receivers are on this machine: nothing that an
    /// operator writes leads here.
    #[must_use]
    pub fn and(also: Vec<SocketAddr>) -> Self {
        Self { also }
    }

    fn allows(&self, address: SocketAddr) -> bool {
        is_public(address.ip()) || self.also.contains(&address)
    }
}

/// Calls webhooks.
pub struct Client {
    names: Names,
    tls: TlsConnector,
    guard: Guard,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("webhooks cannot be called: {0}")]
pub struct ClientError(#[from] rustls::Error);

impl Client {
    /// One that trusts the system's certificates, and `extra_roots`.
    ///
    /// # Errors
    /// If the system's certificates cannot be used.
    pub fn new(
        clock: Arc<dyn Clock>,
        guard: Guard,
        extra_roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, ClientError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra_roots, Arc::clone(&provider))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { names: Names::new(clock), tls: TlsConnector::from(Arc::new(config)), guard })
    }

    /// Makes one call, at `at` by the wall clock.
    pub async fn call(&self, call: &Call, at: Timestamp) -> Answer {
        let stream = match tokio::time::timeout(CONNECTED_WITHIN, self.connect(&call.url)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(what)) => return Answer::Failed { what, may_have_it: false },
            Err(_) => return Answer::Failed { what: "no connection in time", may_have_it: false },
        };
        match tokio::time::timeout(ANSWER_WITHIN, exchange(stream, call, at)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(what)) => Answer::Failed { what, may_have_it: true },
            Err(_) => Answer::Failed { what: "no answer in time", may_have_it: true },
        }
    }

    /// An encrypted connection to one of the addresses that were looked at.
    async fn connect(&self, url: &WebhookUrl) -> Result<TlsStream<TcpStream>, &'static str> {
        let name = ServerName::try_from(url.host().to_owned()).map_err(|_| "a name that no certificate can be for")?;
        let mut last = "it has no address";
        for address in self.addresses(url).await?.into_iter().take(ADDRESSES) {
            let connecting = async {
                let stream = TcpStream::connect(address).await.map_err(|_| "it cannot be connected to")?;
                // Whom we talk to is whom we looked at; nothing in between may say otherwise.
                if stream.peer_addr().ok() != Some(address) {
                    return Err("it cannot be connected to");
                }
                self.tls.connect(name.clone(), stream).await.map_err(|_| "it cannot be talked to by TLS")
            };
            match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(what)) => last = what,
                Err(_) => last = "no connection in time",
            }
        }
        Err(last)
    }

    /// What a name leads to, if all of it may be called: a name that leads inside now and then is not
    /// to be trusted at all.
    async fn addresses(&self, url: &WebhookUrl) -> Result<Vec<SocketAddr>, &'static str> {
        let found = self.names.lookup(url.host(), None).await.map_err(|_| "its name cannot be looked up")?;
        let found: Vec<SocketAddr> = found.into_iter().map(|ip: IpAddr| SocketAddr::new(ip, url.port())).collect();
        if found.iter().all(|address| self.guard.allows(*address)) {
            Ok(found)
        } else {
            Err("its name leads to an address that is not public")
        }
    }
}

/// One request and the head of its reply.
async fn exchange(stream: TlsStream<TcpStream>, call: &Call, at: Timestamp) -> Result<Answer, &'static str> {
    let lost = |_| "the connection was lost";
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // It ends with this call, whatever the other side does.
    let _driving = AbortOnDropHandle::new(tokio::spawn(connection));
    let reply = sender.send_request(request(call, at)?).await.map_err(|_| "no answer that is HTTP")?;
    Ok(Answer::Status { code: reply.status().as_u16(), retry_after: retry_after(reply.headers()) })
}

fn request(call: &Call, at: Timestamp) -> Result<Request<Full<Bytes>>, &'static str> {
    let id = call.delivery.to_string();
    Request::post(call.url.target())
        .header(header::HOST, call.url.authority())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header("webhook-timestamp", at.as_second())
        .header("webhook-signature", sign::signature(&call.secret, &id, at, &call.body))
        .header("webhook-id", id)
        .body(Full::new(call.body.clone()))
        .map_err(|_| "a request cannot be made of it")
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
