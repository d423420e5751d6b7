//! The bodies of answers: what lies in memory, and what is read from a file piece by piece as the
//! client takes it.

use std::{
    fs::File,
    future::Future,
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::connections::Answering;

/// A body of known length.
#[derive(Debug)]
pub(super) enum Body {
    /// In memory.
    Bytes(Bytes),
    /// In a file, from its present position.
    File(FileBody),
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// How much of a file is in memory for one client.
const PIECE: u64 = 64 * 1024;

/// A file on its way to a client. Each piece is read when the one before is gone, so that a slow
/// client holds one piece and no thread.
#[derive(Debug)]
pub(super) struct FileBody {
    state: State,
    left: u64,
}

#[derive(Debug)]
enum State {
    Ready(File),
    Reading(JoinHandle<(File, io::Result<Vec<u8>>)>),
    Over,
}

impl FileBody {
    /// The next `len` bytes of `file`.
    pub(super) fn new(file: File, len: u64) -> Self {
        Self { state: State::Ready(file), left: len }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            self.state = State::Over;
            return Poll::Ready(None);
        }
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Ready(file) => {
                let want = self.left.min(PIECE);
                State::Reading(spawn_blocking(move || {
                    let mut piece = Vec::new();
                    let read = (&file).take(want).read_to_end(&mut piece);
                    (file, read.map(|_| piece))
                }))
            }
            under_way => under_way,
        };
        let State::Reading(reading) = &mut self.state else { return Poll::Ready(None) };
        let (file, piece) = match std::task::ready!(Pin::new(reading).poll(cx)) {
            Ok(read) => read,
            Err(error) => {
                self.state = State::Over;
                return Poll::Ready(Some(Err(io::Error::other(error))));
            }
        };
        match piece {
            // The length is promised already: a file that was cut short ends the connection.
            Ok(piece) if piece.is_empty() => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            Ok(piece) => {
                self.left = self.left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                self.state = State::Ready(file);
                Poll::Ready(Some(Ok(piece.into())))
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

/// A body that ends its [`Answering`] when it is gone.
pub(super) struct Guarded {
    pub(super) body: Body,
    pub(super) _answering: Answering,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.body {
            Body::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::File(file) => file.poll_piece(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Body::Bytes(bytes) => bytes.is_empty(),
            Body::File(file) => file.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.body {
            Body::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Body::File(file) => file.left,
        })
    }
}
