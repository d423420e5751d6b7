//! A name server on loopback that knows what a test tells it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, MX, TXT},
    },
};

/// What stands at a name.
#[derive(Clone, Debug)]
pub enum Data {
    Txt(String),
    Mx(u16, &'static str),
    A(Ipv4Addr),
}

/// A name server that runs until it is dropped.
pub struct NameServer {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl NameServer {
    /// One that knows these names, and that there are no others; of `silent` it says nothing.
    pub fn start(known: Vec<(&'static str, Data)>, silent: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut names: BTreeMap<String, Vec<Data>> = BTreeMap::new();
        for (name, data) in known {
            names.entry(format!("{name}.")).or_default().push(data);
        }
        let thread = thread::spawn(move || {
            let mut query = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut query) else { continue };
                if let Some(answer) = answer(&names, silent, &query[..length]) {
                    socket.send_to(&answer, peer).unwrap();
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(names: &BTreeMap<String, Vec<Data>>, silent: &str, query: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(query).unwrap();
    let question = message.queries[0].clone();
    let name = question.name().to_ascii().to_ascii_lowercase();
    if !silent.is_empty() && name == format!("{silent}.") {
        return None;
    }
    message.metadata.message_type = MessageType::Response;
    message.metadata.authoritative = true;
    let known = names.get(&name);
    if known.is_none() {
        message.metadata.response_code = ResponseCode::NXDomain;
    }
    for data in known.into_iter().flatten() {
        let data = match (question.query_type(), data) {
            (RecordType::TXT, Data::Txt(text)) => {
                // As every name server does: in pieces of 255 bytes.
                let pieces: Vec<String> =
                    text.as_bytes().chunks(255).map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect();
                RData::TXT(TXT::new(pieces))
            }
            (RecordType::MX, Data::Mx(preference, server)) => {
                RData::MX(MX::new(*preference, Name::from_ascii(server).unwrap()))
            }
            (RecordType::A, Data::A(address)) => RData::A(A(*address)),
            _ => continue,
        };
        message.add_answer(Record::from_rdata(question.name().clone(), 60, data));
    }
    Some(message.to_vec().unwrap())
}
