//! Handing mail to an SMTP server: a bounded pool of connections, each with its own socket.
//!
//! The protocol's words are lettre's; the socket is ours, because without `TCP_NODELAY` each
//! message would wait 40 ms for a delayed acknowledgement. The pool neither retries nor decides:
//! it says what the server said. What was asked to be encrypted never leaves in the clear.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lettre::transport::smtp::{authentication::Credentials, extension::ClientId};
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;

use self::link::{Ended, Link};
use super::{
    relay::Leave,
    reply::{Phase, Reply},
};
use crate::{
    clock::{Clock, Elapsed},
    config::MailSecurity,
    domain::subscriber::Address,
    secret::Secret,
};

mod link;
mod tls;
mod wire;

pub use tls::TlsError;

/// A connection that rested longer is closed: servers close theirs after 30 to 300 s, and a
/// message begun on a closing one is in doubt.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// Some servers limit the messages of one connection to 100.
const MESSAGES_PER_CONNECTION: u32 = 100;

/// How long each phase may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Resolving and connecting.
    pub connect: Duration,
    /// The answer to one command, and a TLS handshake.
    pub command: Duration,
    /// The answer to a whole message (RFC 5321, section 4.5.3.2.6 asks for 10 minutes).
    pub body: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), command: Duration::from_mins(1), body: Duration::from_mins(10) }
    }
}

/// Where an SMTP server is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is encrypted.
    pub security: MailSecurity,
    /// User name and password; sent only when encrypted, or on loopback.
    pub credentials: Option<(String, Secret)>,
    /// The most connections at once.
    pub connections: u32,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// Certificates trusted besides the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

/// How handing over one message went, step by step: for who sets a server up.
#[derive(Clone, Debug)]
pub struct Dialogue {
    /// The address that was connected to.
    pub peer: Option<SocketAddr>,
    /// How it was encrypted.
    pub encryption: Option<Encryption>,
    /// Whether user name and password were taken.
    pub is_logged_in: bool,
    /// How it ended.
    pub reply: Reply,
}

/// How a connection is encrypted. The server's certificate was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// By STARTTLS: TLS 1.2 or newer.
    StartTls,
    /// From its first byte on, by TLS 1.2.
    Tls12,
    /// From its first byte on, by TLS 1.3.
    Tls13,
}

impl Encryption {
    /// In words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::StartTls => "STARTTLS, TLS 1.2 or newer",
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        }
    }
}

/// A pool of connections to one SMTP server.
pub struct Smtp {
    server: Server,
    credentials: Option<Credentials>,
    hello: ClientId,
    tls: tls::Tls,
    slots: Semaphore,
    idle: Mutex<Vec<(Link, Elapsed)>>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Dialogue {
    fn begun() -> Self {
        Self { peer: None, encryption: None, is_logged_in: false, reply: Reply::NotTried }
    }
}

impl Smtp {
    /// A pool without connections yet.
    ///
    /// # Errors
    /// If TLS is asked for and the system's certificates cannot be used, or the name is none.
    pub fn new(server: Server, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let tls = tls::Tls::new(&server)?;
        let slots = Semaphore::new(usize::try_from(server.connections.max(1)).unwrap_or(1));
        let credentials = server
            .credentials
            .as_ref()
            .map(|(user, password)| Credentials::new(user.clone(), password.reveal().to_owned()));
        let hello = ClientId::default();
        Ok(Self { server, credentials, hello, tls, slots, idle: Mutex::new(Vec::new()), clock })
    }

    /// Hands over one message, waiting for a free connection if need be. `bytes` is a whole
    /// message with CRLF line ends.
    ///
    /// A kept connection that the server closed meanwhile is no attempt: a fresh one is used.
    pub async fn send(&self, from: &Address, to: &Address, bytes: &[u8]) -> Reply {
        self.send_by(from, to, bytes, None).await
    }

    /// As [`Smtp::send`]; what could begin only after `leave` says is not tried, nor what may not leave any
    /// more by the time the server is ready for it.
    pub async fn send_by(&self, from: &Address, to: &Address, bytes: &[u8], leave: Option<&Leave>) -> Reply {
        let Ok(_slot) = self.slots.acquire().await else { return Reply::NotTried };
        let is_late = || leave.is_some_and(|leave| self.clock.elapsed() > leave.begin_by);
        while !is_late() {
            let Some(link) = self.kept() else {
                return match self.connect(&mut Dialogue::begun()).await {
                    // It took long to open, but it is open now.
                    Ok(link) if is_late() => {
                        self.keep(link);
                        Reply::NotTried
                    }
                    Ok(link) => self.deliver(link, from, to, bytes, leave).await.reply,
                    Err(reply) => reply,
                };
            };
            let ended = self.deliver(link, from, to, bytes, leave).await;
            if !ended.is_stale {
                return ended.reply;
            }
        }
        Reply::NotTried
    }

    /// Hands over one message on a connection of its own, and says how that went.
    pub async fn try_out(&self, from: &Address, to: &Address, bytes: &[u8]) -> Dialogue {
        let mut dialogue = Dialogue::begun();
        dialogue.reply = match self.connect(&mut dialogue).await {
            Ok(mut link) => {
                let ended = link.deliver(from, to, bytes, &self.server.timeouts, async { true }).await;
                link.quit().await;
                ended.reply
            }
            Err(reply) => reply,
        };
        dialogue
    }

    async fn deliver(
        &self,
        mut link: Link,
        from: &Address,
        to: &Address,
        bytes: &[u8],
        leave: Option<&Leave>,
    ) -> Ended {
        let may_leave = async {
            match leave {
                Some(leave) => leave.is_given(self.clock.elapsed()).await,
                None => true,
            }
        };
        let ended = link.deliver(from, to, bytes, &self.server.timeouts, may_leave).await;
        if link.is_usable() {
            if link.sent() < MESSAGES_PER_CONNECTION {
                self.keep(link);
            } else {
                link.quit().await;
            }
        }
        ended
    }

    /// Closes connections that have rested for long. Returns whether any still rest.
    pub async fn tidy(&self) -> bool {
        let now = self.clock.elapsed();
        let (old, rests) = {
            let mut idle = self.lock();
            let all = std::mem::take(&mut *idle);
            let (old, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, since)| now.since(*since) >= IDLE_LIMIT);
            *idle = kept;
            (old, !idle.is_empty())
        };
        for (link, _) in old {
            link.quit().await;
        }
        rests
    }

    /// Says good-bye on every connection that rests.
    pub async fn close(&self) {
        let all = std::mem::take(&mut *self.lock());
        for (link, _) in all {
            link.quit().await;
        }
    }

    /// The connection that rested last, if it has not rested too long.
    fn kept(&self) -> Option<Link> {
        let now = self.clock.elapsed();
        let mut idle = self.lock();
        let (link, since) = idle.pop()?;
        if now.since(since) < IDLE_LIMIT {
            return Some(link);
        }
        // Those below it have rested even longer.
        idle.clear();
        None
    }

    fn keep(&self, link: Link) {
        let now = self.clock.elapsed();
        self.lock().push((link, now));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Link, Elapsed)>> {
        // Nothing that holds it can leave it half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection, and notes how far it came.
    async fn connect(&self, dialogue: &mut Dialogue) -> Result<Link, Reply> {
        let Server { host, port, timeouts, .. } = &self.server;
        let connecting = wire::connect(host, *port);
        let socket = match tokio::time::timeout(timeouts.connect, connecting).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(Reply::broken(Phase::Connect, &error.to_string())),
            Err(_) => return Err(Reply::broken(Phase::Connect, "no connection in time")),
        };
        dialogue.peer = socket.peer_addr().ok();
        let is_loopback = dialogue.peer.is_some_and(|peer| peer.ip().is_loopback());
        let mut link = self.tls.open(socket, &self.hello, timeouts.command).await?;
        dialogue.encryption = link.encryption();
        if let Some(credentials) = &self.credentials {
            if link.encryption().is_none() && !is_loopback {
                let text = "the connection is not encrypted, so the password was not sent";
                return Err(Reply::Unfit { text: text.to_owned() });
            }
            link.log_in(credentials, timeouts.command).await?;
            dialogue.is_logged_in = true;
        }
        link.learn(&self.hello, timeouts.command).await?;
        Ok(link)
    }
}
