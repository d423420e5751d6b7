//! A mail server that does what a test tells it to: refuses, stalls, hangs up, at any point.
//! It keeps every message exactly as it came over the wire.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

/// Where in a conversation the server is asked what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A client connected: the `n`-th, from 0.
    Connected(usize),
    /// A command, whole, without its line end.
    Command(String),
    /// The body's first line came.
    InBody,
    /// The final dot came; the message is the `n`-th, from 0.
    Received(usize),
    /// The reply to the `n`-th message is on its way; what comes back to this is not looked at.
    Replied(usize),
}

/// What the server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// What a good server would.
    Usual,
    /// Says this instead.
    Say(&'static str),
    /// Says this and closes the connection.
    SayAndClose(&'static str),
    /// Closes the connection.
    Close,
    /// Says nothing, for ever.
    Hang,
}

/// One message as it came.
#[derive(Clone, Debug)]
pub struct Mail {
    pub from: String,
    pub to: String,
    /// Everything after DATA up to the final dot, dots undone.
    pub text: String,
    /// The same as it was on the wire.
    pub wire: Vec<u8>,
    /// Whether the server said that it took it.
    pub taken: bool,
    pub encrypted: bool,
    /// When its final dot came.
    pub at: Timestamp,
}

/// What the server saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub mails: Vec<Mail>,
    pub commands: Vec<String>,
    pub connections: usize,
    pub open: usize,
    pub most_open: usize,
}

impl Seen {
    fn summary(&self) -> String {
        let to: Vec<&str> = self.mails.iter().map(|mail| mail.to.as_str()).collect();
        format!("{} connections, {} open, mails to {to:?}, {:?}", self.connections, self.open, self.commands)
    }
}

type Script = Box<dyn Fn(&Moment) -> Act + Send + Sync>;

/// How the server speaks.
#[derive(Default)]
pub struct Setup {
    pub script: Option<Script>,
    /// Extensions in the answer to EHLO.
    pub extensions: Vec<&'static str>,
    /// TLS, with STARTTLS or from the first byte.
    pub tls: Option<(TlsAcceptor, bool)>,
}

/// A running server. It ends with its runtime.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    changes: watch::Receiver<usize>,
}

impl Server {
    pub async fn start(setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (ring, changes) = watch::channel(0);
        let shared = Arc::new(Shared { setup, seen: Arc::clone(&seen), ring });
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&shared).accept(socket));
            }
        });
        Self { address, seen, changes }
    }

    /// A server that takes everything.
    pub async fn good() -> Self {
        Self::start(Setup::default()).await
    }

    /// A server that does what `script` says.
    pub async fn scripted(script: impl Fn(&Moment) -> Act + Send + Sync + 'static) -> Self {
        Self::start(Setup { script: Some(Box::new(script)), ..Setup::default() }).await
    }

    pub fn look<T>(&self, see: impl FnOnce(&Seen) -> T) -> T {
        see(&self.seen.lock().unwrap())
    }

    /// The messages that it took.
    pub fn taken(&self) -> Vec<Mail> {
        self.look(|seen| seen.mails.iter().filter(|mail| mail.taken).cloned().collect())
    }

    /// Waits until what it saw is as wished.
    pub async fn until(&self, wish: impl Fn(&Seen) -> bool) {
        let mut changes = self.changes.clone();
        let waiting = async {
            while !self.look(&wish) {
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
        assert!(waited.is_ok(), "waited in vain: {}", self.look(Seen::summary));
    }
}

/// A certificate for `names` that signs itself, and a server with it.
pub fn tls(names: &[&str]) -> (CertificateDer<'static>, TlsAcceptor) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certificate = made.cert.der().clone();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (certificate, TlsAcceptor::from(Arc::new(config)))
}

struct Shared {
    setup: Setup,
    seen: Arc<Mutex<Seen>>,
    ring: watch::Sender<usize>,
}

/// Why a conversation ended.
enum End {
    Closed,
    StartTls,
}

impl Shared {
    fn note<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let changed = change(&mut self.seen.lock().unwrap());
        self.ring.send_modify(|n| *n += 1);
        changed
    }

    fn act(&self, moment: &Moment) -> Act {
        self.setup.script.as_ref().map_or(Act::Usual, |script| script(moment))
    }

    async fn accept(self: Arc<Self>, socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        let number = self.note(|seen| {
            seen.connections += 1;
            seen.open += 1;
            seen.most_open = seen.most_open.max(seen.open);
            seen.connections - 1
        });
        match &self.setup.tls {
            Some((acceptor, true)) => {
                if let Ok(stream) = acceptor.accept(socket).await {
                    let mut stream = BufReader::new(stream);
                    if self.greet(&mut stream, number).await {
                        self.talk(&mut stream, true).await;
                    }
                }
            }
            tls => {
                let mut stream = BufReader::new(socket);
                if self.greet(&mut stream, number).await
                    && matches!(self.talk(&mut stream, false).await, End::StartTls)
                    && let Some((acceptor, _)) = tls
                    && let Ok(stream) = acceptor.accept(stream.into_inner()).await
                {
                    self.talk(&mut BufReader::new(stream), true).await;
                }
            }
        }
        self.note(|seen| seen.open -= 1);
    }

    /// Says `usual` unless told otherwise; whether the conversation goes on.
    async fn say<S: AsyncWrite + Unpin>(stream: &mut S, act: Act, usual: &str) -> bool {
        let (text, goes_on) = match act {
            Act::Usual => (usual.to_owned(), true),
            Act::Say(text) => (format!("{text}\r\n"), true),
            Act::SayAndClose(text) => (format!("{text}\r\n"), false),
            Act::Close => return false,
            Act::Hang => std::future::pending().await,
        };
        stream.write_all(text.as_bytes()).await.is_ok() && stream.flush().await.is_ok() && goes_on
    }

    async fn greet<S: AsyncWrite + Unpin>(&self, stream: &mut S, number: usize) -> bool {
        Self::say(stream, self.act(&Moment::Connected(number)), "220 test\r\n").await
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut BufReader<S>, encrypted: bool) -> End {
        let (mut from, mut to) = (String::new(), String::new());
        loop {
            let mut line = Vec::new();
            // What is cut off in the middle is no command.
            if !matches!(stream.read_until(b'\n', &mut line).await, Ok(1..)) || !line.ends_with(b"\n") {
                return End::Closed;
            }
            let command = String::from_utf8(line).unwrap();
            let command = command.strip_suffix("\r\n").expect("a command ends in CRLF").to_owned();
            self.note(|seen| seen.commands.push(command.clone()));
            let verb = command.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
            let argument =
                command.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(text, _)| text);
            let usual = match verb.as_str() {
                "EHLO" => {
                    let mut lines = vec!["test".to_owned()];
                    lines.extend(self.setup.extensions.iter().map(ToString::to_string));
                    if matches!(self.setup.tls, Some((_, false))) && !encrypted {
                        lines.push("STARTTLS".to_owned());
                    }
                    let last = lines.len() - 1;
                    let mark = |n| if n == last { ' ' } else { '-' };
                    let lines: Vec<_> =
                        lines.iter().enumerate().map(|(n, line)| format!("250{}{line}", mark(n))).collect();
                    lines.join("\r\n") + "\r\n"
                }
                "STARTTLS" => "220 go ahead\r\n".to_owned(),
                "AUTH" => "235 welcome\r\n".to_owned(),
                "RCPT" if from.is_empty() => "503 no sender\r\n".to_owned(),
                "DATA" if to.is_empty() => "554 no valid recipients\r\n".to_owned(),
                "DATA" => "354 go on\r\n".to_owned(),
                "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 fine\r\n".to_owned(),
                "QUIT" => "221 bye\r\n".to_owned(),
                _ => "500 what?\r\n".to_owned(),
            };
            let act = self.act(&Moment::Command(command.clone()));
            let is_usual = act == Act::Usual;
            match verb.as_str() {
                "MAIL" if is_usual => {
                    argument.clone_into(&mut from);
                    to.clear();
                }
                "RCPT" if is_usual && !from.is_empty() => argument.clone_into(&mut to),
                "RSET" => from.clear(),
                _ => {}
            }
            if !Self::say(stream.get_mut(), act, &usual).await {
                return End::Closed;
            }
            match verb.as_str() {
                "QUIT" => return End::Closed,
                "STARTTLS" if is_usual => return End::StartTls,
                "DATA"
                    if usual.starts_with("354") && is_usual && !self.receive(stream, &from, &to, encrypted).await =>
                {
                    return End::Closed;
                }
                _ => {}
            }
        }
    }

    async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        from: &str,
        to: &str,
        encrypted: bool,
    ) -> bool {
        let (mut wire, mut text) = (Vec::new(), String::new());
        loop {
            let mut line = Vec::new();
            if !matches!(stream.read_until(b'\n', &mut line).await, Ok(1..)) {
                return false;
            }
            if wire.is_empty() {
                match self.act(&Moment::InBody) {
                    Act::Close => return false,
                    Act::Hang => std::future::pending().await,
                    _ => {}
                }
            }
            wire.extend_from_slice(&line);
            if line == b".\r\n" {
                break;
            }
            let line = String::from_utf8(line).unwrap();
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
        }
        let at = Timestamp::now();
        let mail = |taken| Mail { from: from.to_owned(), to: to.to_owned(), text, wire, taken, encrypted, at };
        let number = self.look_count();
        let act = self.act(&Moment::Received(number));
        let taken = match &act {
            Act::Usual => true,
            Act::Say(text) | Act::SayAndClose(text) => text.starts_with('2'),
            Act::Close | Act::Hang => false,
        };
        self.note(|seen| seen.mails.push(mail(taken)));
        let goes_on = Self::say(stream.get_mut(), act, "250 2.0.0 queued as TEST\r\n").await;
        self.act(&Moment::Replied(number));
        goes_on
    }

    fn look_count(&self) -> usize {
        self.seen.lock().unwrap().mails.len()
    }
}
