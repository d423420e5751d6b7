//! Servers that mean no good, as data: what each says, and what a probe is to make of it.
//!
//! Wherever a server may put words of its own it puts [`WORD`], which nobody but the operator may
//! ever see.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use watchbell::domain::outcome::Class;

use super::smtp;

mod table;

/// The word that hostile servers try to spread.
pub const WORD: &str = "Leviathan";
/// Between two bytes of a server that is in no hurry.
const PAUSE: Duration = Duration::from_millis(20);

/// A flood that was drunk so far is no longer as fast as it can be.
const ENOUGH: usize = 8 << 20;

/// One thing that a server does.
#[derive(Clone, Debug)]
pub enum Does {
    /// Hears the request's head out.
    Hears,
    /// Hears whatever comes first.
    Listens,
    /// Says this; `{me}` is its address, `{path}` what it was asked for.
    Says(Vec<u8>),
    /// Says this, a byte at a time.
    Spells(Vec<u8>),
    /// Says this again and again, as fast as it is taken, for ever.
    Floods(Vec<u8>),
    /// Says this again and again with a pause after each, for ever.
    Drips(Vec<u8>),
    /// Says nothing more, and stays.
    Waits,
    /// Resets the connection.
    Resets,
}

/// What goes below the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// Nothing.
    Tcp,
    /// TLS, as it should be.
    Tls,
    /// Nothing, where TLS is expected.
    NoTls,
}

/// What a probe is to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finds {
    /// Nothing wrong: odd, but it answers.
    Up,
    /// Failure of that class.
    Down(Class),
    /// That status, which is none of the good ones.
    Status(u16),
}

/// A server of the corpus.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// What it does, in words.
    pub name: &'static str,
    /// What it does on each connection; then it closes.
    pub does: Vec<Does>,
    /// What goes below.
    pub below: Below,
    /// What its check looks for in the body, if anything.
    pub needle: Option<&'static str>,
    /// Whether it wastes time and nothing else: what it sends counts for nothing, and is read until
    /// the time is over.
    pub is_idle: bool,
    /// What its check finds.
    pub finds: Finds,
}

impl Hostile {
    fn new(name: &'static str, does: impl Into<Vec<Does>>, finds: Finds) -> Self {
        Self { name, does: does.into(), below: Below::Tcp, needle: None, is_idle: false, finds }
    }

    /// Its check reads the body, which may be compressed, and looks for a text that is not there.
    fn searched(self) -> Self {
        Self { needle: Some("needle"), ..self }
    }

    /// It says this instead.
    fn saying(self, words: Vec<u8>) -> Self {
        Self { does: vec![Does::Hears, Does::Says(words)], ..self }
    }

    /// Nothing that it sends comes to anything.
    fn idle(self) -> Self {
        Self { is_idle: true, ..self }
    }

    fn below(self, below: Below) -> Self {
        Self { below, ..self }
    }

    /// What its check asks for.
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.below == Below::Tcp { "http" } else { "https" };
        format!("{scheme}://{address}/")
    }
}

/// A server of the corpus that runs, until dropped.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// How many bytes were taken from it.
    pub taken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts it on the runtime of the caller, at an address of this machine: no host is asked by
    /// many at once.
    pub fn start(hostile: &Hostile, ip: Ipv4Addr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // So that little is taken only because there was room on the way.
        socket.set_send_buffer_size(4096).unwrap();
        socket.bind((ip, 0).into()).unwrap();
        let listener: TcpListener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(AtomicUsize::new(0));
        let (hostile, count) = (Arc::new(hostile.clone()), Arc::clone(&taken));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(meet(stream, address, Arc::clone(&hostile), Arc::clone(&count)));
            }
        });
        Self { address, taken, task }
    }

    /// How many bytes were taken so far.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

static TLS: LazyLock<TlsAcceptor> = LazyLock::new(|| smtp::tls(&["127.0.0.1", WORD]).1);

async fn meet(mut stream: TcpStream, address: SocketAddr, hostile: Arc<Hostile>, taken: Arc<AtomicUsize>) {
    let resets = if hostile.below == Below::Tls {
        let Ok(mut tls) = TLS.accept(stream).await else { return };
        let resets = act(&mut tls, address, &hostile.does, &taken).await;
        stream = tls.into_inner().0;
        resets
    } else {
        act(&mut stream, address, &hostile.does, &taken).await
    };
    if resets {
        // Closing with this set sends a reset.
        let _ = stream.set_zero_linger();
        return;
    }
    // Closing at once with unread bytes would be a reset, too.
    let _ = stream.shutdown().await;
    let mut rest = [0; 1024];
    while let Ok(Ok(1..)) = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut rest)).await {}
}

/// Does what there is to be done; whether it ends in a reset.
async fn act<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    me: SocketAddr,
    does: &[Does],
    taken: &AtomicUsize,
) -> bool {
    let mut path = String::from("/");
    for one in does {
        match one {
            Does::Hears => {
                let (mut head, mut part) = (Vec::new(), vec![0; 4096]);
                while !head.ends_with(b"\r\n\r\n")
                    && let Ok(length @ 1..) = stream.read(&mut part).await
                {
                    head.extend_from_slice(&part[..length]);
                }
                let head = String::from_utf8_lossy(&head);
                path = head.split(' ').nth(1).unwrap_or("/").to_owned();
            }
            Does::Listens => drop(stream.read(&mut vec![0; 16 * 1024]).await),
            Does::Says(words) => {
                let words = filled(words, me, &path);
                // Piece by piece, to know how much of it was taken.
                for piece in words.chunks(4096) {
                    if stream.write_all(piece).await.is_err() {
                        return false;
                    }
                    taken.fetch_add(piece.len(), Ordering::SeqCst);
                }
                let _ = stream.flush().await;
            }
            Does::Spells(words) => {
                for byte in words {
                    let _ = stream.write_all(&[*byte]).await;
                    let _ = stream.flush().await;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Does::Floods(words) => {
                while stream.write_all(words).await.is_ok() {
                    if taken.fetch_add(words.len(), Ordering::SeqCst) > ENOUGH {
                        // The point is made, and others want to make theirs.
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            Does::Drips(words) => {
                while stream.write_all(words).await.is_ok() && stream.flush().await.is_ok() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Does::Waits => while let Ok(1..) = stream.read(&mut [0; 1024]).await {},
            Does::Resets => {
                // What was said before may arrive before.
                tokio::time::sleep(PAUSE).await;
                return true;
            }
        }
    }
    let _ = stream.shutdown().await;
    false
}

fn filled(words: &[u8], me: SocketAddr, path: &str) -> Vec<u8> {
    match std::str::from_utf8(words) {
        Ok(text) if text.contains('{') => text.replace("{me}", &me.to_string()).replace("{path}", path).into_bytes(),
        _ => words.to_vec(),
    }
}

/// Bytes, compressed.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(plain).unwrap();
    gzip.finish().unwrap()
}

/// 64 MiB, compressed: some 64 KiB.
fn bomb() -> Vec<u8> {
    static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(&vec![b'a'; 64 << 20]));
    BOMB.clone()
}

/// A good start of an answer, with these further lines and the words after the head.
fn good(lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 {WORD}\r\nServer: {WORD}\r\n{lines}\r\n").into_bytes();
    answer.extend_from_slice(body.as_ref());
    answer
}

/// The start of a good answer that has no end yet.
fn begun(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 {WORD}\r\n{lines}").into_bytes()
}

fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    good("Transfer-Encoding: chunked\r\n", body)
}

fn packed(coding: &str, body: &[u8]) -> Vec<u8> {
    good(&format!("Content-Encoding: {coding}\r\nContent-Length: {}\r\n", body.len()), body)
}

fn to(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 {WORD}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn status(code: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} {WORD}\r\nContent-Length: 9\r\n\r\n{WORD}").into_bytes()
}

/// All of them.
pub fn all() -> Vec<Hostile> {
    [
        table::silent_and_slow(),
        table::no_http(),
        table::heads(),
        table::lengths_and_chunks(),
        table::bodies(),
        table::redirects(),
        table::cuts(),
        table::tls(),
    ]
    .concat()
}

/// One that hears the request, says something and closes.
fn says(name: &'static str, words: impl AsRef<[u8]>, finds: Finds) -> Hostile {
    Hostile::new(name, [Does::Hears, Does::Says(words.as_ref().to_vec())], finds)
}

/// One that hears the request, says something, and then the same without end.
fn floods(name: &'static str, start: impl AsRef<[u8]>, again: impl AsRef<[u8]>, finds: Finds) -> Hostile {
    let (start, again) = (start.as_ref().to_vec(), again.as_ref().to_vec());
    Hostile::new(name, [Does::Hears, Does::Says(start), Does::Floods(again)], finds)
}

/// One that hears the request, says something, and then the same now and then.
fn drips(name: &'static str, start: impl AsRef<[u8]>, again: impl AsRef<[u8]>, finds: Finds) -> Hostile {
    let (start, again) = (start.as_ref().to_vec(), again.as_ref().to_vec());
    Hostile::new(name, [Does::Hears, Does::Says(start), Does::Drips(again)], finds)
}

/// One that hears the request, says something, and then nothing.
fn stops(name: &'static str, words: impl AsRef<[u8]>, finds: Finds) -> Hostile {
    Hostile::new(name, [Does::Hears, Does::Says(words.as_ref().to_vec()), Does::Waits], finds)
}

/// One that hears the request, says something, and resets the connection.
fn resets(name: &'static str, words: impl AsRef<[u8]>) -> Hostile {
    Hostile::new(name, [Does::Hears, Does::Says(words.as_ref().to_vec()), Does::Resets], Finds::Down(Class::Reset))
}
