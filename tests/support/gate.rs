//! A door between a client and a server: it counts who is inside, writes down what the client says,
//! takes its time if told to, and can be led elsewhere.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::daemon::free_address;

#[derive(Default)]
struct Book {
    leads_to: Option<SocketAddr>,
    inside: usize,
    most: usize,
    said: Vec<u8>,
    ended: bool,
}

/// The door; it ends with the value.
pub struct Gate {
    /// Where clients knock.
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Gate {
    /// One that leads to `server`, and holds back each thing that the client says for so long.
    pub fn to(server: SocketAddr, delay: Duration) -> Self {
        Self::at(free_address(), server, delay)
    }

    /// As [`Gate::to`], at an address that a client knows already.
    pub fn at(address: SocketAddr, server: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let book = Arc::new(Mutex::new(Book { leads_to: Some(server), ..Book::default() }));
        let kept = Arc::clone(&book);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                let server = {
                    let mut book = book.lock().unwrap();
                    if book.ended {
                        return;
                    }
                    let server = book.leads_to.and_then(|server| TcpStream::connect(server).ok());
                    book.inside += usize::from(server.is_some());
                    book.most = book.most.max(book.inside);
                    server
                };
                let Some(server) = server else { continue };
                let book = Arc::clone(&book);
                thread::spawn(move || {
                    pass(client, server, &book, delay);
                    book.lock().unwrap().inside -= 1;
                });
            }
        });
        Self { address, book: kept }
    }

    /// Leads to another server from now on; to none: it closes at once.
    pub fn lead_to(&self, server: Option<SocketAddr>) {
        self.book.lock().unwrap().leads_to = server;
    }

    /// How many were inside at once, at most.
    pub fn most(&self) -> usize {
        self.book.lock().unwrap().most
    }

    /// All that clients said.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.book.lock().unwrap().said).into_owned()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.book.lock().unwrap().ended = true;
        let _ = TcpStream::connect(self.address);
    }
}

/// Carries bytes both ways until one side is done.
fn pass(client: TcpStream, server: TcpStream, book: &Mutex<Book>, delay: Duration) {
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut client, mut server) = (client, server);
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = client.read(&mut bytes) {
        book.lock().unwrap().said.extend(&bytes[..length]);
        thread::sleep(delay);
        if server.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    back.join().unwrap();
}
