//! The socket under an SMTP connection: ours, with `TCP_NODELAY` and a bound on what it reads.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::client::TlsStream;

/// The most that is read in answer to one write: above any reply and any chain of certificates,
/// below what would hurt.
const LONGEST_ANSWER: usize = 32 * 1024;
/// The most lines of it: each new one has the whole answer read again from its beginning, so that
/// short lines without end would keep a thread busy for seconds.
const MOST_LINES: usize = 512;

/// What may still be read before the next write.
#[derive(Clone, Copy)]
pub struct Left {
    bytes: usize,
    lines: usize,
}

const ALL: Left = Left { bytes: LONGEST_ANSWER, lines: MOST_LINES };

impl Left {
    /// What is left after `read`; `None`: it was too much.
    fn after(self, read: &[u8]) -> Option<Self> {
        let lines = read.split(|byte| *byte == b'\n').count().saturating_sub(1);
        Some(Self { bytes: self.bytes.checked_sub(read.len())?, lines: self.lines.checked_sub(lines)? })
    }
}

/// A TCP connection, perhaps encrypted from its first byte on.
pub enum Wire {
    /// As it is.
    Plain(TcpStream, Left),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>, Left),
}

impl Wire {
    /// An unencrypted wire.
    pub fn plain(socket: TcpStream) -> Self {
        Self::Plain(socket, ALL)
    }

    /// An encrypted wire.
    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(stream), ALL)
    }
}

/// Connects to the first address of `host` that answers.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host.trim_matches(['[', ']']), port)).await? {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(..) => "Wire::Plain",
            Self::Tls(..) => "Wire::Tls",
        })
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket, _) => socket.peer_addr(),
            Self::Tls(stream, _) => stream.get_ref().0.peer_addr(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let (polled, left) = match self.get_mut() {
            Self::Plain(socket, left) => (Pin::new(socket).poll_read(cx, buf), left),
            Self::Tls(stream, left) => (Pin::new(&mut **stream).poll_read(cx, buf), left),
        };
        match left.after(buf.filled().get(before..).unwrap_or_default()) {
            Some(rest) => *left = rest,
            None => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the answer has no end"))),
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket, left) => {
                *left = ALL;
                Pin::new(socket).poll_write(cx, bytes)
            }
            Self::Tls(stream, left) => {
                *left = ALL;
                Pin::new(&mut **stream).poll_write(cx, bytes)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket, _) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream, _) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket, _) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream, _) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_room_for_what_servers_say_and_not_for_lines_without_end() {
        let lines = |n| "250-SIZE 10240000\r\n".repeat(n);
        assert!(ALL.after(lines(100).as_bytes()).is_some());
        assert!(
            ALL.after(&[0; 10_000])
                .and_then(|left| left.after(&[0; 10_000]))
                .is_some_and(|left| left.after(&vec![0; 20_000]).is_none())
        );
        assert!(ALL.after("2\n".repeat(600).as_bytes()).is_none());
    }
}
