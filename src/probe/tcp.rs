//! `tcp`: a connection, and what comes through it.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    classify::Fault,
    resolve::Names,
    trace::{Stage, Trace},
};
use crate::domain::{outcome::Class, service::Tcp};

/// How much is read in search of the expected text, in bytes.
const MOST: usize = 64 * 1024;
/// When an address does not answer, the next is tried beside it after this long (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Connects, sends and looks for the expected text.
///
/// # Errors
/// Why it is not as expected.
pub(super) async fn probe(names: &Names, trace: &Trace, tcp: &Tcp) -> Result<String, Fault> {
    trace.enter(Stage::Dns);
    let host = idna::domain_to_ascii(&tcp.host).unwrap_or_else(|_| tcp.host.clone());
    let found = names.lookup(&host, trace.ip).await.map_err(|error| Fault::from_error(&error, Stage::Dns))?;
    let addresses: Vec<_> = found.into_iter().map(|address| SocketAddr::new(address, tcp.port)).collect();
    trace.enter(Stage::Connect);
    let mut stream = connect(&addresses).await.map_err(|error| Fault::from_error(&error, Stage::Connect))?;
    trace.enter(Stage::FirstByte);
    let from = stream.peer_addr().map_or_else(|_| String::new(), |address| format!(" to {address}"));
    let broken = |error: io::Error| Fault::from_error(&error, Stage::FirstByte);
    if let Some(send) = &tcp.send {
        stream.write_all(send.reveal().as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
    }
    if let Some(text) = &tcp.expect_text {
        look_for(&mut stream, trace, text).await?;
    }
    trace.enter(Stage::Idle);
    Ok(format!("connected{from}"))
}

/// Connects to whichever address answers first, trying them in order, a little apart.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut left = addresses.iter();
    let mut first_error = None;
    loop {
        if let Some(&address) = left.next() {
            attempts.push(TcpStream::connect(address));
        }
        let ended = if left.len() == 0 {
            attempts.next().await
        } else {
            match tokio::time::timeout(NEXT_ADDRESS, attempts.next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => {
                first_error.get_or_insert(error);
            }
            None => return Err(first_error.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))),
        }
    }
}

async fn look_for(stream: &mut TcpStream, trace: &Trace, text: &str) -> Result<(), Fault> {
    let (mut read, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut part).await.map_err(|error| Fault::from_error(&error, Stage::FirstByte))?;
        if read.is_empty() {
            trace.enter(Stage::Body);
        }
        // The text may lie across two parts.
        let from = read.len().saturating_sub(text.len());
        read.extend_from_slice(part.get(..count).unwrap_or_default());
        let fresh = read.get(from..).unwrap_or_default();
        if text.is_empty() || fresh.windows(text.len()).any(|window| window == text.as_bytes()) {
            return Ok(());
        }
        if count == 0 {
            let detail = format!("closed after {} bytes, without `{text}`", read.len());
            return Err(Fault::new(Class::Body, &detail));
        }
        if read.len() >= MOST {
            return Err(Fault::new(Class::Body, &format!("`{text}` is not in the first {} bytes", read.len())));
        }
    }
}
