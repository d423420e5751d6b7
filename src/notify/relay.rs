//! Where messages leave: an SMTP server, or a folder of `.eml` files to look at.

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;

use super::{
    reply::{Phase, Reply},
    smtp::{Dialogue, Server, Smtp, Timeouts, TlsError},
};
use crate::{
    clock::{Clock, Elapsed},
    config::{Email, MailTransport},
    domain::{SubscriberId, id::DeliveryId, subscriber::Address},
    fsio,
};

/// One message, ready to leave.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Under which delivery.
    pub delivery: DeliveryId,
    /// To which subscriber; `None` for operators.
    pub subscriber: Option<SubscriberId>,
    /// Envelope sender.
    pub from: Address,
    /// Envelope recipient.
    pub to: Address,
    /// When what it tells of was recorded.
    pub at: Timestamp,
    /// The whole message, with CRLF line ends and ASCII only.
    pub bytes: Arc<[u8]>,
}

/// Until when what was known as a message was claimed is good enough, and how to look again after that.
#[derive(Clone)]
pub struct Leave {
    /// What has no connection by then is not begun.
    pub begin_by: Elapsed,
    /// Whether it may still leave; asked if it is later than that when the message itself is to be said. It
    /// may touch the disk.
    pub look: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Leave {
    /// Whether a message may be said at `now`.
    pub async fn is_given(&self, now: Elapsed) -> bool {
        if now <= self.begin_by {
            return true;
        }
        let look = Arc::clone(&self.look);
        tokio::task::spawn_blocking(move || look()).await.unwrap_or(false)
    }
}

/// Where messages leave.
#[derive(Debug)]
pub enum Relay {
    /// An SMTP server.
    Smtp(Box<Smtp>),
    /// A folder.
    Folder(PathBuf),
}

impl Relay {
    /// What `[email] smtp` asks for. Nothing is connected yet.
    ///
    /// # Errors
    /// If TLS is asked for and cannot be set up.
    pub fn new(email: &Email, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        match &email.transport {
            MailTransport::Dir(folder) => Ok(Self::Folder(folder.clone())),
            MailTransport::Smtp { host, port, security } => {
                let server = Server {
                    host: host.clone(),
                    port: *port,
                    security: *security,
                    credentials: email.credentials.clone(),
                    connections: email.connections,
                    timeouts: Timeouts::default(),
                    extra_roots: Vec::new(),
                };
                Ok(Self::Smtp(Box::new(Smtp::new(server, clock)?)))
            }
        }
    }

    /// Hands over one message, and says how that ended.
    pub async fn send(&self, message: &Outgoing) -> Reply {
        self.send_by(message, None).await
    }

    /// As [`Relay::send`], as long as it has `leave` to.
    pub async fn send_by(&self, message: &Outgoing, leave: Option<&Leave>) -> Reply {
        match self {
            Self::Smtp(smtp) => smtp.send_by(&message.from, &message.to, &message.bytes, leave).await,
            Self::Folder(folder) => {
                let path = folder.join(file_name(message));
                let bytes = Arc::clone(&message.bytes);
                let written = tokio::task::spawn_blocking(move || {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    fsio::write(&path, &bytes).map(|()| name)
                });
                match written.await {
                    Ok(Ok(name)) => Reply::Accepted { text: format!("250 written to {name}") },
                    Ok(Err(error)) => Reply::broken(Phase::Connect, &error.to_string()),
                    Err(_) => Reply::NotTried,
                }
            }
        }
    }

    /// Hands over one message on a connection of its own, and says how that went.
    pub async fn try_out(&self, message: &Outgoing) -> Dialogue {
        match self {
            Self::Smtp(smtp) => smtp.try_out(&message.from, &message.to, &message.bytes).await,
            Self::Folder(_) => {
                Dialogue { peer: None, encryption: None, is_logged_in: false, reply: self.send(message).await }
            }
        }
    }

    /// Closes connections that have rested for long. Returns whether any still rest.
    pub async fn tidy(&self) -> bool {
        match self {
            Self::Smtp(smtp) => smtp.tidy().await,
            Self::Folder(_) => false,
        }
    }

    /// Says good-bye on every connection that rests.
    pub async fn close(&self) {
        if let Self::Smtp(smtp) = self {
            smtp.close().await;
        }
    }
}

/// A name that sorts by time and is the same for every attempt, so that a retry writes no copy.
fn file_name(message: &Outgoing) -> String {
    format!("{}-{}.eml", message.at.strftime("%Y%m%dT%H%M%S%.3fZ"), message.delivery)
}
