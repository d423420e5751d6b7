//! A service to watch, whose state the test sets: an HTTP server on a thread of its own.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

/// A small HTTP server.
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    status: Arc<AtomicU16>,
    delay_ms: Arc<AtomicU64>,
    hiccups: Arc<AtomicU64>,
    answered: Arc<Mutex<Vec<Answered>>>,
    ended: Arc<AtomicBool>,
}

/// One answer that was given.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// When it was decided on: after the request began, before its answer came.
    pub at: Timestamp,
    /// The status.
    pub status: u16,
}

impl Target {
    /// One that answers 200.
    pub fn start() -> Self {
        Self::at("127.0.0.1".parse().unwrap())
    }

    /// One that answers 200, at an address of this machine.
    pub fn at(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let target = Self {
            address,
            status: Arc::new(AtomicU16::new(200)),
            delay_ms: Arc::default(),
            hiccups: Arc::default(),
            answered: Arc::default(),
            ended: Arc::default(),
        };
        let (status, delay_ms, ended) = (target.status.clone(), target.delay_ms.clone(), target.ended.clone());
        let (hiccups, answered) = (target.hiccups.clone(), target.answered.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (mut status, delay) = (status.load(Ordering::SeqCst), delay_ms.load(Ordering::SeqCst));
                if hiccups.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    status = 503;
                }
                answered.lock().unwrap().push(Answered { at: Timestamp::now(), status });
                std::thread::spawn(move || answer(stream, status, Duration::from_millis(delay)));
            }
        });
        target
    }

    /// From now on it answers with this status.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The next answers, so many, are failures.
    pub fn hiccups(&self, answers: u64) {
        self.hiccups.store(answers, Ordering::SeqCst);
    }

    /// How many of them are still to come.
    pub fn hiccups_left(&self) -> u64 {
        self.hiccups.load(Ordering::SeqCst)
    }

    /// When the last answer was a failure.
    pub fn failed_at(&self) -> Option<Timestamp> {
        let answered = self.answered.lock().unwrap();
        answered.iter().rev().find(|answer| answer.status != 200).map(|answer| answer.at)
    }

    /// Every answer so far, in order.
    pub fn answered(&self) -> Vec<Answered> {
        self.answered.lock().unwrap().clone()
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
    // All of it: closing with something unread would be a reset.
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(read @ 1..) => request.extend_from_slice(&bytes[..read]),
            _ => break,
        }
    }
    std::thread::sleep(delay);
    let _ = write!(stream, "HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
}
