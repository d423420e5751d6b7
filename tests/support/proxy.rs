//! Stands between a client and a server: writes down what is said, and spoils it if told to: late,
//! a byte at a time, broken off after any byte, led elsewhere. What it does can be changed while it
//! runs; connections that are open keep what they began with.

use std::{
    collections::VecDeque,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

/// How a connection is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides see a close.
    Close,
    /// Only who is being told something sees the end of it; the other direction goes on.
    HalfClose,
    /// Both sides see a reset.
    Reset,
    /// Nothing more is passed on, and nobody is told.
    Stall,
}

/// What is done to one direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// Each piece is held back for so long.
    pub delay: Duration,
    /// One byte at a time, with such a pause after each.
    pub pace: Option<Duration>,
    /// After so many bytes it ends, and how.
    pub end: Option<(usize, End)>,
}

impl Way {
    /// Ends after so many bytes.
    pub fn ending(after: usize, end: End) -> Self {
        Self { end: Some((after, end)), ..Self::default() }
    }
}

/// What is done to a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spoiled {
    /// What the client says.
    pub asked: Way,
    /// What the server says.
    pub answered: Way,
}

impl Spoiled {
    /// Ends once the client has said so many bytes.
    pub fn asking(after: usize, end: End) -> Self {
        Self { asked: Way::ending(after, end), ..Self::default() }
    }

    /// Ends once the server has said so many bytes.
    pub fn answering(after: usize, end: End) -> Self {
        Self { answered: Way::ending(after, end), ..Self::default() }
    }
}

#[derive(Default)]
struct Book {
    leads_to: Option<SocketAddr>,
    usual: Spoiled,
    next: VecDeque<Spoiled>,
    inside: usize,
    most: usize,
    connections: usize,
    asked: Vec<u8>,
    answered: Vec<u8>,
}

/// The proxy; it ends with the value, and all connections with it.
pub struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
    ended: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// One that leads to `server`.
    pub fn to(server: SocketAddr) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), server)
    }

    /// As [`Proxy::to`], at an address that a client knows already.
    pub fn at(address: SocketAddr, server: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Mutex::new(Book { leads_to: Some(server), ..Book::default() }));
        let (ended, mut ends) = watch::channel(false);
        let kept = Arc::clone(&book);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    tokio::select! {
                        _ = ends.changed() => return,
                        Ok((client, _)) = listener.accept() => drop(tokio::spawn(admit(client, Arc::clone(&book)))),
                    }
                }
            });
        });
        Self { address, book: kept, ended, thread: Some(thread) }
    }

    /// As [`Proxy::to`], holding back each thing that the client says for so long.
    pub fn slow(server: SocketAddr, delay: Duration) -> Self {
        let proxy = Self::to(server);
        proxy.spoil(Spoiled { asked: Way { delay, ..Way::default() }, ..Spoiled::default() });
        proxy
    }

    /// Leads to another server from now on; to none: it closes at once.
    pub fn lead_to(&self, server: Option<SocketAddr>) {
        self.look(|book| book.leads_to = server);
    }

    /// What is done to connections from now on.
    pub fn spoil(&self, usual: Spoiled) {
        self.look(|book| book.usual = usual);
    }

    /// What is done to the next connections, one each, before the usual is done again.
    pub fn spoil_next(&self, next: impl IntoIterator<Item = Spoiled>) {
        self.look(|book| book.next.extend(next));
    }

    /// How many of [`Proxy::spoil_next`] are still to come.
    pub fn to_come(&self) -> usize {
        self.look(|book| book.next.len())
    }

    /// How many connections came so far.
    pub fn connections(&self) -> usize {
        self.look(|book| book.connections)
    }

    /// How many were inside at once, at most.
    pub fn most(&self) -> usize {
        self.look(|book| book.most)
    }

    /// All that clients said.
    pub fn said(&self) -> String {
        self.look(|book| String::from_utf8_lossy(&book.asked).into_owned())
    }

    /// How many bytes were passed on so far: of clients, and of the server.
    pub fn passed(&self) -> (usize, usize) {
        self.look(|book| (book.asked.len(), book.answered.len()))
    }

    fn look<T>(&self, see: impl FnOnce(&mut Book) -> T) -> T {
        see(&mut self.book.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn admit(client: TcpStream, book: Arc<Mutex<Book>>) {
    let (server, spoiled) = {
        let mut book = book.lock().unwrap();
        book.connections += 1;
        let usual = book.usual;
        (book.leads_to, book.next.pop_front().unwrap_or(usual))
    };
    let Some(server) = server else { return };
    let Ok(server) = TcpStream::connect(server).await else { return };
    {
        let mut book = book.lock().unwrap();
        book.inside += 1;
        book.most = book.most.max(book.inside);
    }
    pass(client, server, spoiled, &book).await;
    book.lock().unwrap().inside -= 1;
}

/// Carries bytes both ways until both sides are done, or an end comes.
async fn pass(mut client: TcpStream, mut server: TcpStream, spoiled: Spoiled, book: &Mutex<Book>) {
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let asked = carry(&mut from_client, &mut to_server, spoiled.asked, |bytes| {
            book.lock().unwrap().asked.extend(bytes);
        });
        let answered = carry(&mut from_server, &mut to_client, spoiled.answered, |bytes| {
            book.lock().unwrap().answered.extend(bytes);
        });
        tokio::pin!(asked, answered);
        let (mut asks, mut answers) = (true, true);
        loop {
            let end = tokio::select! {
                end = &mut asked, if asks => { asks = false; end }
                end = &mut answered, if answers => { answers = false; end }
                else => break None,
            };
            if end.is_some() {
                break end;
            }
        }
    };
    match end {
        Some(End::Reset) => {
            // Closing with this set sends a reset.
            let (_, _) = (client.set_zero_linger(), server.set_zero_linger());
        }
        Some(_) => {
            let (_, _) = (client.shutdown().await, server.shutdown().await);
            // Closing with unread bytes would be a reset.
            let ((mut client, _), (mut server, _)) = (client.split(), server.split());
            tokio::join!(swallow(&mut client), swallow(&mut server));
        }
        None => {}
    }
}

/// Carries one direction; the end that the whole connection is to have, if one is to come.
async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    way: Way,
    mut note: impl FnMut(&[u8]),
) -> Option<End> {
    let (mut passed, mut bytes) = (0, vec![0; if way.pace.is_some() { 1 } else { 16 * 1024 }]);
    loop {
        let room = way.end.map_or(bytes.len(), |(after, _)| after.saturating_sub(passed).min(bytes.len()));
        if let (0, Some((_, end))) = (room, way.end) {
            match end {
                End::Close | End::Reset => return Some(end),
                End::HalfClose => drop(to.shutdown().await),
                End::Stall => std::future::pending().await,
            }
            swallow(from).await;
            return None;
        }
        let length = match from.read(&mut bytes[..room]).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(_) => return Some(End::Reset),
        };
        passed += length;
        note(&bytes[..length]);
        if let Some(pause) = way.pace.or(Some(way.delay).filter(|delay| !delay.is_zero())) {
            tokio::time::sleep(pause).await;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return Some(End::Reset);
        }
    }
    let _ = to.shutdown().await;
    None
}

async fn swallow(from: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = [0; 4096];
    while let Ok(1..) = from.read(&mut bytes).await {}
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read, Write},
        net::Shutdown,
        time::Instant,
    };

    use super::*;

    /// Says `question` through a proxy that spoils so, to a server that repeats it; what came back,
    /// and how that ended.
    fn ask(spoiled: Spoiled, question: &[u8]) -> (Vec<u8>, Result<(), ErrorKind>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap());
        proxy.spoil(spoiled);
        let echo = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            let ended = stream.read_to_end(&mut heard);
            let _ = stream.write_all(&heard);
            ended
        });
        let mut stream = std::net::TcpStream::connect(proxy.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let _ = stream.write_all(question);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).map(drop).map_err(|error| error.kind());
        drop((stream, proxy));
        let _ = echo.join().unwrap();
        (answer, ended)
    }

    #[test]
    fn what_passes_is_passed_on_and_what_is_to_end_ends_as_told() {
        let (all, cut) = (b"0123456789".to_vec(), b"0123".to_vec());
        assert_eq!(ask(Spoiled::default(), &all), (all.clone(), Ok(())));
        assert_eq!(ask(Spoiled::answering(4, End::Close), &all), (cut.clone(), Ok(())));
        assert_eq!(ask(Spoiled::answering(4, End::HalfClose), &all), (cut.clone(), Ok(())));
        assert_eq!(ask(Spoiled::answering(4, End::Stall), &all), (cut.clone(), Err(ErrorKind::WouldBlock)));
        assert_eq!(ask(Spoiled::answering(4, End::Reset), &all).1, Err(ErrorKind::ConnectionReset));
        // Only the server sees the end of what was asked, and answers to what it heard.
        assert_eq!(ask(Spoiled::asking(4, End::HalfClose), &all), (cut, Ok(())));
        assert_eq!(ask(Spoiled::asking(4, End::Close), &all), (Vec::new(), Ok(())));
        assert_eq!(ask(Spoiled::asking(4, End::Stall), &all), (Vec::new(), Err(ErrorKind::WouldBlock)));
        assert_eq!(ask(Spoiled::asking(0, End::Reset), &all).1, Err(ErrorKind::ConnectionReset));
    }

    #[test]
    fn a_byte_at_a_time_takes_its_time() {
        let began = Instant::now();
        let slowly = Way { pace: Some(Duration::from_millis(10)), ..Way::default() };
        let spoiled = Spoiled { asked: slowly, ..Spoiled::default() };
        assert_eq!(ask(spoiled, b"0123456789"), (b"0123456789".to_vec(), Ok(())));
        assert!(began.elapsed() >= Duration::from_millis(100));
    }
}
