//! Probes against real sockets on loopback whose other end follows a script, mostly a bad one.
//!
//! Whatever the other end does: the class is right, the probe ends in time, and no more is read
//! than may be.

mod certificates;
mod corpus;
mod hostile;
mod http;
mod many;
mod ourselves;
mod redirects;
mod tcp;

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use watchbell::{
    clock::SystemClock,
    domain::{
        CheckId,
        outcome::{CheckResult, Class, Outcome},
        service::{Cadence, Check, Http, HttpExpect, Probe},
    },
    probe::Prober,
};

/// What a probe may take beyond its timeout.
const GRACE: Duration = Duration::from_millis(500);

/// A server on loopback that treats each connection by its script, until dropped.
pub struct Server {
    pub address: SocketAddr,
    /// How many connections came.
    pub connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Runs `script` for each connection.
    pub async fn new<F, R>(script: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    pub fn on<F, R>(listener: TcpListener, script: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(script(stream));
            }
        });
        Self { address, connections, task }
    }

    /// Reads a request's head and answers with these bytes, then closes.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::new(move |stream| {
            let answer = answer.clone();
            async move {
                let mut stream = BufReader::new(stream);
                head(&mut stream).await;
                let _ = stream.write_all(&answer).await;
                close(stream.into_inner()).await;
            }
        })
        .await
    }

    /// Answers each request with what `handler` makes of it.
    pub async fn http(handler: impl Fn(&Seen) -> String + Send + Sync + 'static) -> (Self, Requests) {
        let requests = Requests::default();
        let (seen, handler) = (requests.clone(), Arc::new(handler));
        let server = Self::new(move |stream| {
            let (seen, handler) = (seen.clone(), handler.clone());
            async move {
                let mut stream = BufReader::new(stream);
                let mut request = head(&mut stream).await;
                let length = request.headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                let mut body = vec![0; length];
                let _ = stream.read_exact(&mut body).await;
                request.body = String::from_utf8_lossy(&body).into_owned();
                let answer = handler(&request);
                seen.0.lock().unwrap().push(request);
                let _ = stream.write_all(answer.as_bytes()).await;
                close(stream.into_inner()).await;
            }
        })
        .await;
        (server, requests)
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port that is ours, so that nobody else comes to listen there, and refuses connections.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Ends a connection as servers do: closing at once with unread bytes would reset it.
async fn close(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut rest = [0; 1024];
    while let Ok(Ok(1..)) = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut rest)).await {}
}

/// A request as a server saw it; header names in lower case.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What a server was asked, in order.
#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<Vec<Seen>>>);

impl Requests {
    pub fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }
}

/// Reads a request's head.
pub async fn head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Seen {
    let mut seen = Seen::default();
    let mut line = String::new();
    while let Ok(1..) = stream.read_line(&mut line).await {
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if seen.line.is_empty() {
            seen.line = text.to_owned();
        } else if let Some((name, value)) = text.split_once(':') {
            seen.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        line.clear();
    }
    seen
}

/// A plain good answer.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A check with a timeout of one second.
pub fn check(probe: Probe) -> Check {
    Check {
        id: CheckId::new("probed").unwrap(),
        enabled: true,
        cadence: Cadence::Every(Duration::from_mins(1)),
        timeout: Duration::from_secs(1),
        down_after: 3,
        up_after: 2,
        recheck: Duration::from_secs(5),
        degraded_over: None,
        degraded_after: 3,
        ip: None,
        probe,
    }
}

/// An `http` check of `url` with every option at its default, changed by `edit`.
pub fn http(url: &str, edit: impl FnOnce(&mut Http)) -> Check {
    let mut http = Http {
        url: url.parse().unwrap(),
        method: "GET".to_owned(),
        headers: Vec::new(),
        body: None,
        basic_auth: None,
        client_cert: None,
        client_key: None,
        ca: None,
        insecure: false,
        follow_redirects: 5,
        proxy: None,
        max_body: 1 << 20,
        http_version: None,
        expect: HttpExpect::default(),
    };
    edit(&mut http);
    check(Probe::Http(Box::new(http)))
}

/// Probes once, and holds the probe to what every outcome promises.
pub async fn probe(check: &Check) -> Outcome {
    let prober = Prober::new(Arc::new(SystemClock::new()));
    let at = Timestamp::UNIX_EPOCH;
    let began = Instant::now();
    let outcome = prober.probe(check, at).await;
    let took = began.elapsed();
    assert!(took <= check.timeout + GRACE, "{took:?}: {outcome:?}");
    assert!(outcome.latency <= took);
    assert_eq!(outcome.started_at, at);
    assert_eq!(outcome.cause.is_none(), outcome.result == CheckResult::Up, "{outcome:?}");
    let detail = outcome.detail.as_deref().unwrap_or("");
    assert!(detail.chars().count() <= 300 && !detail.chars().any(char::is_control), "{detail:?}");
    outcome
}

/// Probes once; it must be up.
pub async fn up(check: &Check) -> Outcome {
    let outcome = probe(check).await;
    assert_eq!(outcome.result, CheckResult::Up, "{outcome:?}");
    outcome
}

/// Probes once; it must be down for that reason.
pub async fn down(check: &Check, class: Class) -> Outcome {
    let outcome = probe(check).await;
    assert_eq!(outcome.cause.map(|cause| cause.class), Some(class), "{outcome:?}");
    assert_eq!(outcome.result, CheckResult::Down);
    outcome
}
