//! A service to watch, whose state the test sets: an HTTP server on a thread of its own.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

/// A small HTTP server.
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    status: Arc<AtomicU16>,
    delay_ms: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Target {
    /// One that answers 200.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target =
            Self { address, status: Arc::new(AtomicU16::new(200)), delay_ms: Arc::default(), ended: Arc::default() };
        let (status, delay_ms, ended) = (target.status.clone(), target.delay_ms.clone(), target.ended.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (status, delay) = (status.load(Ordering::SeqCst), delay_ms.load(Ordering::SeqCst));
                std::thread::spawn(move || answer(stream, status, Duration::from_millis(delay)));
            }
        });
        target
    }

    /// From now on it answers with this status.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// From now on it takes so long.
    pub fn takes(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, status: u16, delay: Duration) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut request = [0; 4096];
    let _ = stream.read(&mut request);
    std::thread::sleep(delay);
    let _ = write!(stream, "HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
}
