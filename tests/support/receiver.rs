//! A receiver of webhooks on loopback: HTTPS, one request a connection, answers by a script.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use watchbell::domain::webhook::WebhookUrl;

use super::{daemon::wait_for, smtp::tls};

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST /path HTTP/1.1`.
    pub line: String,
    /// As they came, with lower-case names.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Request {
    /// The only header of that name.
    pub fn header(&self, name: &str) -> &str {
        let found: Vec<_> = self.headers.iter().filter(|(known, _)| known == name).collect();
        assert_eq!(found.len(), 1, "{name} in {:?}", self.headers);
        &found[0].1
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What is written in answer to the nth request, counted from 0: the raw bytes; `None`: nothing, ever.
pub type Script = Box<dyn Fn(usize) -> Option<Vec<u8>> + Send + Sync>;

/// The receiver.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it shows, which signs itself.
    pub certificate: CertificateDer<'static>,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<usize>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer without a body.
pub fn status(code: u16) -> Vec<u8> {
    format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

impl Receiver {
    pub async fn good() -> Self {
        Self::scripted(|_| Some(status(204))).await
    }

    pub async fn scripted(script: impl Fn(usize) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, script).await
    }

    /// One at an address of this machine.
    pub async fn at(ip: Ipv4Addr, script: impl Fn(usize) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (certificate, acceptor) = tls(&[&ip.to_string()]);
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<Mutex<usize>>::default());
        let (seen, counted, script): (_, _, Arc<Script>) =
            (Arc::clone(&requests), Arc::clone(&connections), Arc::new(Box::new(script)));
        let serving = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                *counted.lock().unwrap() += 1;
                let (acceptor, seen, script) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&script));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Some(request) = read(&mut stream).await else { return };
                    let n = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(request);
                        seen.len() - 1
                    };
                    match script(n) {
                        Some(bytes) => {
                            let _ = stream.write_all(&bytes).await;
                            let _ = stream.shutdown().await;
                        }
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, certificate, requests, connections, serving }
    }

    pub fn url(&self, path: &str) -> WebhookUrl {
        WebhookUrl::parse(&format!("https://{}{path}", self.address)).unwrap()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// All requests, once there are so many.
    pub async fn awaited(&self, count: usize) -> Vec<Request> {
        let requests = Arc::clone(&self.requests);
        let look = move || {
            wait_for(&format!("{count} requests"), Duration::from_secs(20), || {
                let requests = requests.lock().unwrap().clone();
                (requests.len() >= count).then_some(requests)
            })
        };
        tokio::task::spawn_blocking(look).await.unwrap()
    }
}

async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let got = stream.read(&mut buffer).await.ok()?;
        if got == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..got]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let mut lines = head.split("\r\n");
        let line = lines.next()?.to_owned();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length: usize = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
        if bytes.len() >= end + 4 + length {
            return Some(Request { line, headers, body: bytes[end + 4..end + 4 + length].to_vec() });
        }
    }
}
