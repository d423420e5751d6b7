//! Encrypting a connection to a mail server, from its first byte or by STARTTLS. Never less than
//! was asked for.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use lettre::transport::smtp::{
    client::{AsyncSmtpConnection, Certificate, TlsParameters},
    extension::ClientId,
};
use rustls::{ClientConfig, ProtocolVersion, crypto::ring, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    Encryption, Server,
    link::{Link, within},
    wire::Wire,
};
use crate::{
    config::MailSecurity,
    notify::reply::{Phase, Reply},
};

/// Why TLS cannot be spoken at all.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The verifier could not be set up.
    #[error("the system's certificates cannot be used: {0}")]
    Roots(#[from] rustls::Error),
    /// A name that no certificate could be for.
    #[error("`{0}` is not a name that a certificate can be for")]
    Name(String),
    /// As above, for STARTTLS.
    #[error("TLS for mail cannot be set up: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
}

/// How connections to one server are encrypted.
pub enum Tls {
    /// Not at all.
    None,
    /// By STARTTLS.
    Upgrade(TlsParameters),
    /// From the first byte.
    Wrapped(TlsConnector, ServerName<'static>),
}

impl Tls {
    pub fn new(server: &Server) -> Result<Self, TlsError> {
        let name = server.host.trim_matches(['[', ']']).to_owned();
        match server.security {
            MailSecurity::Plain => Ok(Self::None),
            MailSecurity::StartTls => {
                let mut builder = TlsParameters::builder(name);
                for root in &server.extra_roots {
                    builder = builder.add_root_certificate(Certificate::from_der(root.to_vec())?);
                }
                Ok(Self::Upgrade(builder.build()?))
            }
            MailSecurity::Tls => {
                let provider = Arc::new(ring::default_provider());
                let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(
                    server.extra_roots.iter().cloned(),
                    Arc::clone(&provider),
                )?;
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()?
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
                    .with_no_client_auth();
                let server_name = ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name))?;
                Ok(Self::Wrapped(TlsConnector::from(Arc::new(config)), server_name))
            }
        }
    }

    /// Greets the server on a fresh socket and encrypts as asked for.
    pub async fn open(&self, socket: TcpStream, hello: &ClientId, limit: Duration) -> Result<Link, Reply> {
        let mut encryption = None;
        let wire = match self {
            Self::None | Self::Upgrade(_) => Wire::plain(socket),
            Self::Wrapped(connector, name) => {
                let handshake = connector.connect(name.clone(), socket);
                match tokio::time::timeout(limit, handshake).await {
                    Ok(Ok(stream)) => {
                        let version = stream.get_ref().1.protocol_version();
                        let is_newest = version == Some(ProtocolVersion::TLSv1_3);
                        encryption = Some(if is_newest { Encryption::Tls13 } else { Encryption::Tls12 });
                        Wire::tls(stream)
                    }
                    Ok(Err(error)) => return Err(Reply::broken(Phase::Tls, &error.to_string())),
                    Err(_) => return Err(Reply::broken(Phase::Tls, "no TLS handshake in time")),
                }
            }
        };
        let greeting = AsyncSmtpConnection::connect_with_transport(Box::new(wire), hello);
        let greeting = guarded(Phase::Greeting, within(limit, Phase::Greeting, greeting));
        let mut connection = greeting.await?;
        if let Self::Upgrade(parameters) = self {
            if !connection.can_starttls() {
                let text = "the server offers no STARTTLS, so nothing was sent";
                return Err(Reply::Unfit { text: text.to_owned() });
            }
            let upgrade = within(limit, Phase::Tls, connection.starttls(parameters.clone(), hello));
            guarded(Phase::Tls, upgrade).await?;
            return Ok(Link::new(connection, Some(Encryption::StartTls)));
        }
        Ok(Link::new(connection, encryption))
    }
}

/// lettre panics on an extension without a name; whatever is wrong with a server's words is an answer
/// that was not understood, and no end of all mail. What was begun is dropped with it.
async fn guarded<T>(phase: Phase, talk: impl Future<Output = Result<T, Reply>>) -> Result<T, Reply> {
    let caught = AssertUnwindSafe(talk).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(Reply::broken(phase, "the server's words are not understood")))
}
