//! TLS: good certificates, bad ones, and servers that only pretend.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio_rustls::TlsAcceptor;
use watchbell::{
    domain::{
        outcome::{CertificateFault, Class},
        service::{Check, Http, HttpVersion},
    },
    secret::Secret,
};

use super::{Server, down, head, http, ok, up};

/// An authority of our own, with a folder for its files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { certificate: certificate.der().clone(), issuer: Issuer::new(params, key), folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `name`, changed by `edit`, and its key.
    fn certify(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        edit(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A web server for `name` under this authority.
    async fn server(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Server {
        self.server_with(name, edit, false, &[]).await
    }

    async fn server_with(
        &self,
        name: &str,
        edit: impl FnOnce(&mut CertificateParams),
        asks_client: bool,
        alpn: &[&str],
    ) -> Server {
        let (certificate, key) = self.certify(name, edit);
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = if asks_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Server::new(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut stream = BufReader::new(stream);
                let seen = head(&mut stream).await;
                let _ = stream.write_all(ok(&seen.line).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }
}

fn https(server: &Server, edit: impl FnOnce(&mut Http)) -> Check {
    http(&format!("https://localhost:{}/", server.address.port()), edit)
}

async fn bad_certificate(check: &Check, fault: CertificateFault) {
    let outcome = down(check, Class::Certificate).await;
    assert_eq!(outcome.cause.unwrap().certificate, Some(fault), "{outcome:?}");
}

#[tokio::test]
async fn a_good_certificate_is_good_and_every_phase_is_measured() {
    let authority = Authority::new();
    let server = authority.server("localhost", |_| {}).await;
    let outcome = up(&https(&server, |http| http.ca = Some(authority.file()))).await;
    let phases = outcome.phases;
    for (phase, took) in [
        ("dns", phases.dns_us),
        ("connect", phases.connect_us),
        ("tls", phases.tls_us),
        ("first byte", phases.first_byte_us),
        ("body", phases.body_us),
    ] {
        assert!(took.is_some(), "{phase}");
    }
    let sum = [phases.dns_us, phases.connect_us, phases.tls_us, phases.first_byte_us, phases.body_us]
        .into_iter()
        .flatten()
        .sum::<u32>();
    assert!(Duration::from_micros(sum.into()) <= outcome.latency);
}

#[tokio::test]
async fn a_certificate_that_is_over_or_has_not_come_is_named_so() {
    let authority = Authority::new();
    let ca = Some(authority.file());
    let server = authority.server("localhost", |params| params.not_after = date_time_ymd(2020, 1, 1)).await;
    bad_certificate(&https(&server, |http| http.ca = ca.clone()), CertificateFault::Expired).await;
    let server = authority.server("localhost", |params| params.not_before = date_time_ymd(2999, 1, 1)).await;
    bad_certificate(&https(&server, |http| http.ca = ca), CertificateFault::Expired).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_named_so() {
    let authority = Authority::new();
    let server = authority.server("www.example.org", |_| {}).await;
    bad_certificate(&https(&server, |http| http.ca = Some(authority.file())), CertificateFault::WrongName).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_named_so() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = theirs.server("localhost", |_| {}).await;
    bad_certificate(&https(&server, |http| http.ca = Some(ours.file())), CertificateFault::Untrusted).await;
}

#[tokio::test]
async fn any_certificate_will_do_where_the_operator_says_so() {
    let authority = Authority::new();
    let server = authority.server("www.example.org", |params| params.not_after = date_time_ymd(2020, 1, 1)).await;
    up(&https(&server, |http| http.insecure = true)).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let server = authority.server_with("localhost", |_| {}, true, &[]).await;
    down(&https(&server, |http| http.ca = Some(authority.file())), Class::Tls).await;
    let (certificate, key) = authority.certify("client", |_| {});
    let (cert_file, key_file) = (authority.folder.path().join("c.pem"), authority.folder.path().join("k.pem"));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let with_certificate = https(&server, |http| {
        http.ca = Some(authority.file());
        http.client_cert = Some(cert_file);
        http.client_key = Some(key_file);
    });
    up(&with_certificate).await;
}

#[tokio::test]
async fn a_certificate_renewed_under_the_same_name_is_read_again() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = new.server("localhost", |_| {}).await;
    let check = https(&server, |http| http.ca = Some(old.file()));
    let prober = watchbell::probe::Prober::new(Arc::new(watchbell::clock::SystemClock::new()));
    let outcome = prober.probe(&check, jiff::Timestamp::UNIX_EPOCH).await;
    assert_eq!(outcome.cause.unwrap().class, Class::Certificate);
    std::fs::copy(new.file(), old.file()).unwrap();
    // File systems may tell times apart only by some milliseconds.
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    std::fs::File::options().append(true).open(old.file()).unwrap().set_modified(later).unwrap();
    let outcome = prober.probe(&check, jiff::Timestamp::UNIX_EPOCH).await;
    assert_eq!(outcome.cause, None, "{outcome:?}");
}

#[tokio::test]
async fn the_version_is_agreed_on_or_insisted_on() {
    let authority = Authority::new();
    let ca = Some(authority.file());
    let server = authority.server_with("localhost", |_| {}, false, &["http/1.1"]).await;
    let body = Some("HTTP/1.1".to_owned());
    up(&https(&server, |http| (http.ca, http.expect.body) = (ca.clone(), body))).await;
    // The server knows no HTTP/2: no protocol in common.
    down(&https(&server, |http| (http.ca, http.http_version) = (ca, Some(HttpVersion::Http2))), Class::Tls).await;
}

#[tokio::test]
async fn a_proxy_is_tunnelled_through_and_sees_no_header_of_the_check() {
    let authority = Authority::new();
    let server = authority.server("localhost", |_| {}).await;
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = asked.clone();
    let proxy = Server::new(move |stream| {
        let log = log.clone();
        async move {
            let mut stream = BufReader::new(stream);
            let seen = head(&mut stream).await;
            let target = seen.line.split(' ').nth(1).unwrap_or("").to_owned();
            log.lock().unwrap().push(seen);
            if target.ends_with(":9") {
                let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
                return super::close(stream.into_inner()).await;
            }
            let mut target = tokio::net::TcpStream::connect(target).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
        }
    })
    .await;
    let edit = |http: &mut Http| {
        http.ca = Some(authority.file());
        http.proxy = Some(Secret::new(proxy.url()));
        http.headers = vec![("X-Key".to_owned(), Secret::new("s"))];
    };
    up(&https(&server, edit)).await;
    let seen = asked.lock().unwrap().remove(0);
    assert_eq!(seen.line, format!("CONNECT localhost:{} HTTP/1.1", server.address.port()));
    assert!(!seen.headers.contains_key("x-key"));
    down(&http("https://localhost:9/", edit), Class::Protocol).await;
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_fails_the_handshake() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0; 512], b"\x16\x03\x03\x00\x04\x02\xff\xff\xff", b""] {
        let server = Server::new(move |mut stream| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
            super::close(stream).await;
        })
        .await;
        down(&https(&server, |http| http.insecure = true), Class::Tls).await;
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_times_out_in_the_handshake() {
    let server =
        Server::new(|mut stream| async move { while let Ok(1..) = stream.read(&mut [0; 4096]).await {} }).await;
    let mut check = https(&server, |http| http.insecure = true);
    check.timeout = Duration::from_millis(300);
    let outcome = down(&check, Class::Timeout).await;
    assert!(outcome.detail.unwrap().contains("TLS handshake"));
    assert!(outcome.phases.tls_us.unwrap() > 200_000 && outcome.phases.connect_us.unwrap() < 200_000);
}

#[tokio::test]
async fn a_redirect_out_of_tls_is_followed_without_credentials_only() {
    let authority = Authority::new();
    let (plain, _) = Server::http(|_| ok("")).await;
    let target = plain.url();
    let (certificate, key) = authority.certify("localhost", |_| {});
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::new(move |stream| {
        let (acceptor, target) = (acceptor.clone(), target.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let mut stream = BufReader::new(stream);
            head(&mut stream).await;
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    up(&https(&server, |http| http.ca = Some(authority.file()))).await;
    let secret = https(&server, |http| {
        http.ca = Some(authority.file());
        http.headers = vec![("X-Key".to_owned(), Secret::new("s"))];
    });
    down(&secret, Class::Redirect).await;
}
