//! TLS settings of probes: whom to trust, who we are, and no memory between probes.
//!
//! The machine's own authorities are loaded when the first `https` probe needs them, so a machine
//! without any can still probe `http`; the others then are our own fault, not the target's.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, NamedGroup, OtherError, RootCertStore, SignatureScheme,
    client::{
        ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::trace::{Stage, Trace};
use crate::{
    clock::{Clock, Elapsed},
    domain::service::HttpVersion,
};

/// How long the machine's authorities are used before they are read again.
const ROOTS_FRESH: Duration = Duration::from_hours(1);

/// This machine trusts nobody: there is no store of certificates.
#[derive(Clone, Debug, thiserror::Error)]
#[error("this machine has no usable CA certificates (install `ca-certificates`, or set `ca`): {0}")]
pub struct NoRoots(String);

/// A file of ours that is needed for TLS and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// It cannot be read.
    #[error("`{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It holds nothing of the kind needed.
    #[error("`{}` holds no {what} in PEM form", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// What it holds is refused.
    #[error("`{}`: {error}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// The settings do not go together.
    #[error("{0}")]
    Settings(rustls::Error),
}

/// What one client's TLS depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    pub(super) ca: Option<&'a Path>,
    pub(super) client_cert: Option<&'a Path>,
    pub(super) client_key: Option<&'a Path>,
    pub(super) insecure: bool,
    pub(super) version: Option<HttpVersion>,
}

/// Makes TLS settings.
#[derive(Clone)]
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    roots: Arc<SystemRoots>,
}

impl Tls {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(SystemRoots { provider: provider.clone(), clock, loaded: Mutex::new(None) });
        Self { provider, roots }
    }

    /// Makes sure that the machine's authorities are there. Takes some milliseconds and reads
    /// files, once an hour: not in a task of its own.
    ///
    /// # Errors
    /// If there are none.
    pub(super) async fn load_roots(&self) -> Result<(), NoRoots> {
        if self.roots.are_fresh() {
            return Ok(());
        }
        let roots = self.roots.clone();
        match tokio::task::spawn_blocking(move || roots.load().map(|_| ())).await {
            Ok(loaded) => loaded,
            Err(error) => Err(NoRoots(error.to_string())),
        }
    }

    /// # Errors
    /// If a file cannot be used.
    pub(super) fn config(&self, settings: &Settings) -> Result<ClientConfig, TlsSetupError> {
        let verifier: Arc<dyn ServerCertVerifier> = match settings.ca {
            _ if settings.insecure => Arc::new(AnyCertificate(self.provider.clone())),
            Some(path) => self.only(path)?,
            None => self.roots.clone(),
        };
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsSetupError::Settings)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match settings.client_cert {
            Some(path) => {
                let chain = certificates(path)?;
                let key = private_key(settings.client_key.unwrap_or(path))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| TlsSetupError::Refused { path: path.to_owned(), error })?
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::store(Arc::new(NoSessions));
        config.alpn_protocols = match settings.version {
            Some(HttpVersion::Http1) => vec![b"http/1.1".to_vec()],
            Some(HttpVersion::Http2) => vec![b"h2".to_vec()],
            None => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(config)
    }

    /// Trusts the authorities of one file and nobody else.
    fn only(&self, path: &Path) -> Result<Arc<dyn ServerCertVerifier>, TlsSetupError> {
        let refused = |error| TlsSetupError::Refused { path: path.to_owned(), error };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(refused)?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| refused(rustls::Error::General(error.to_string())))?;
        Ok(verifier)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let text = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    if found.is_empty() { Err(TlsSetupError::Empty { path: path.to_owned(), what: "certificate" }) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| TlsSetupError::Empty { path: path.to_owned(), what: "private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    fs::read(path).map_err(|error| TlsSetupError::Read { path: path.to_owned(), error })
}

/// The authorities that this machine trusts.
struct SystemRoots {
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    loaded: Mutex<Option<(Elapsed, Arc<dyn ServerCertVerifier>)>>,
}

impl SystemRoots {
    fn are_fresh(&self) -> bool {
        let now = self.clock.elapsed();
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.as_ref().is_some_and(|(at, _)| now.since(*at) < ROOTS_FRESH)
    }

    fn load(&self) -> Result<Arc<dyn ServerCertVerifier>, NoRoots> {
        let now = self.clock.elapsed();
        let fresh = rustls_platform_verifier::Verifier::new(self.provider.clone());
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match (fresh, loaded.as_ref()) {
            (Ok(verifier), _) => {
                let verifier: Arc<dyn ServerCertVerifier> = Arc::new(verifier);
                *loaded = Some((now, verifier.clone()));
                Ok(verifier)
            }
            // What was read an hour ago is better than nothing.
            (Err(_), Some((_, old))) => Ok(old.clone()),
            (Err(error), None) => Err(NoRoots(error.to_string())),
        }
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match loaded {
            Some((_, verifier)) => Ok(verifier),
            // A redirect to https that nobody announced.
            None => self.load().map_err(|error| rustls::Error::Other(OtherError(Arc::new(error)))),
        }
    }
}

impl fmt::Debug for SystemRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemRoots")
    }
}

impl ServerCertVerifier for SystemRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `insecure`: any certificate will do, though its owner must still hold the key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, known).or_else(unless_unreadable)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, known).or_else(unless_unreadable)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Old certificates (X.509 version 1) cannot be read at all; `insecure` is often meant for just
/// those.
fn unless_unreadable(error: rustls::Error) -> Result<HandshakeSignatureValid, rustls::Error> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadEncoding | CertificateError::Other(_)) => {
            Ok(HandshakeSignatureValid::assertion())
        }
        other => Err(other),
    }
}

/// Remembers nothing: each probe makes a full handshake, as a new visitor would. Being asked for a
/// ticket, which is the first act of a handshake, it tells where TCP ends and TLS begins.
#[derive(Debug)]
struct NoSessions;

impl ClientSessionStore for NoSessions {
    fn set_kx_hint(&self, _server_name: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server_name: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _server_name: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server_name: ServerName<'static>, _value: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        Trace::enter_current(Stage::Tls);
        None
    }
}

#[cfg(test)]
impl NoRoots {
    pub(super) fn for_tests() -> Self {
        Self("no file".to_owned())
    }
}
