//! A server on a port of its own, and a client that can say anything.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, runtime::Runtime, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use watchbell::{
    domain::{asking::Asking, subscriber::Choice},
    fsio,
    store::Taken,
    web::{self, App, Chosen, Endpoints, Joined, Limits, Pages, Takes, Unavailable},
};

/// Notes what it is asked.
#[derive(Default)]
pub struct Desk {
    pub unsubscribed: Mutex<Vec<String>>,
    pub asked: Mutex<Vec<(Asking, IpAddr)>>,
    pub confirmed: Mutex<Vec<String>>,
    pub choice: Mutex<Choice>,
    pub is_full: AtomicBool,
    pub store_is_locked: AtomicBool,
    pub ailment: Mutex<Option<String>>,
}

impl Endpoints for Desk {
    fn unsubscribe(&self, token: &str) -> Result<(), Unavailable> {
        if self.store_is_locked.load(Ordering::SeqCst) {
            return Err(Unavailable("the database is locked".into()));
        }
        self.unsubscribed.lock().unwrap().push(token.to_owned());
        Ok(())
    }

    fn ask(&self, asking: &Asking, client: IpAddr) -> Result<Taken, Unavailable> {
        if self.store_is_locked.load(Ordering::SeqCst) {
            return Err(Unavailable("the database is locked".into()));
        }
        if self.is_full.load(Ordering::SeqCst) {
            return Ok(Taken::TooMany { until: jiff::Timestamp::MAX });
        }
        self.asked.lock().unwrap().push((asking.clone(), client));
        Ok(Taken::Down)
    }

    fn confirm(&self, token: &str) -> Result<Option<Joined>, Unavailable> {
        self.confirmed.lock().unwrap().push(token.to_owned());
        Ok((token == "good").then(|| Joined { manage: "mine".to_owned(), secret: None }))
    }

    fn choice(&self, token: &str) -> Result<Option<Chosen>, Unavailable> {
        Ok((token == "mine").then(|| Chosen { choice: self.choice.lock().unwrap().clone(), secret: None }))
    }

    fn choose(&self, token: &str, choice: Choice) -> Result<bool, Unavailable> {
        *self.choice.lock().unwrap() = choice;
        Ok(token == "mine")
    }

    fn leave(&self, token: &str) -> Result<bool, Unavailable> {
        self.unsubscribed.lock().unwrap().push(token.to_owned());
        Ok(token == "mine")
    }

    fn health(&self) -> Result<(), String> {
        self.ailment.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

/// A server that lives as long as the test.
pub struct Server {
    pub address: SocketAddr,
    pub desk: Arc<Desk>,
    pub folder: tempfile::TempDir,
    pub shutdown: CancellationToken,
    pub serving: Option<JoinHandle<()>>,
    pub runtime: Runtime,
    _app: watch::Sender<Arc<App>>,
}

/// Limits short enough to wait for.
pub fn short() -> Limits {
    let short = Duration::from_millis(300);
    Limits { head: short, body: short, idle: short, stall: short, grace: short, ..Limits::default() }
}

impl Server {
    pub fn start() -> Self {
        Self::with(Limits::default(), true)
    }

    /// `proxied`: clients on loopback count as trusted proxies, as they do by default.
    pub fn with(limits: Limits, proxied: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let desk = Arc::new(Desk::default());
        let pages = Pages {
            unsubscribe: "<form method=post><button>Unsubscribe</button></form>".into(),
            unsubscribed: "<p>No more mails.</p>".into(),
            try_again: "<p>Try again.</p>".into(),
            policy: "default-src 'none'; form-action 'self'".into(),
            ..Pages::plain()
        };
        let trusted = if proxied { vec!["127.0.0.0/8".parse().unwrap()] } else { Vec::new() };
        let bases = vec!["/status/".to_owned(), "/".to_owned()];
        let endpoints: Arc<dyn Endpoints> = Arc::<Desk>::clone(&desk);
        let app = App::with(folder.path().join("public"), bases, trusted, pages, endpoints);
        let app = app.subscribing(Arc::default(), Takes { mail: true, webhooks: true });
        let (sender, app) = watch::channel(Arc::new(app));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = Some(runtime.spawn(web::serve(listener, app, limits, shutdown.clone())));
        Self { address, desk, folder, shutdown, serving, runtime, _app: sender }
    }

    pub fn publish(&self, path: &str, content: impl AsRef<[u8]>) {
        fsio::write(&self.root().join(path), content.as_ref()).unwrap();
    }

    pub fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("public")
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// One request as it stands, and all that comes back until the server closes.
    pub fn raw(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).unwrap();
        Reply::read(&mut stream)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.get_with(path, "")
    }

    /// `headers`: whole lines, each ending in CRLF.
    pub fn get_with(&self, path: &str, headers: &str) -> Reply {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"))
    }

    pub fn post(&self, path: &str, media: &str, body: &str) -> Reply {
        let len = body.len();
        self.raw(format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {media}\r\nContent-Length: {len}\r\n\r\n{body}"
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(serving) = self.serving.take() {
            self.runtime.block_on(serving).unwrap();
        }
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Whether the server has closed its end, or does so before the client's patience ends.
pub fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The first answer on a stream that the server then closes; status 0 if there is none.
    pub fn read(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("no end of the answer: {error}; so far {:?}", String::from_utf8_lossy(&bytes)),
            }
        }
        Self::parse(&bytes)
    }

    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, body) = end.map_or((&bytes[..0], &bytes[..0]), |end| (&bytes[..end], &bytes[end + 4..]));
        let head = String::from_utf8(head.to_vec()).unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head, body: body.to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    #[track_caller]
    pub fn has(&self, name: &str, value: &str) {
        assert_eq!(self.header(name), Some(value), "{name} in\n{}", self.head);
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Text that compresses, of at least `len` bytes.
pub fn prose(len: usize) -> String {
    (0..)
        .map(|n| format!("<p>{n}</p>\n"))
        .scan(0, |total, line| {
            let wanted = *total < len;
            *total += line.len();
            wanted.then_some(line)
        })
        .collect()
}

pub fn write_link(from: &Path, to: &Path) {
    std::os::unix::fs::symlink(to, from).unwrap();
}
