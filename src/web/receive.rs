//! Reading what a client sends, within its limits of size and time.

use http_body_util::BodyExt;
use hyper::{
    StatusCode,
    body::{Body, Bytes, Incoming},
};
use tokio::time::timeout;

use super::{Limits, connections::Connection};

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TooLong,
    TooSlow,
    Broken,
}

impl Refused {
    /// The status, and the words for it.
    pub(super) const fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "This is too long."),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "The request took too long."),
            Self::Broken => (StatusCode::BAD_REQUEST, "The request broke off."),
        }
    }
}

/// How much more than allowed is read, only to be thrown away: an answer sent while the client is
/// still sending would be lost with the connection.
const PATIENCE: usize = 32;

/// The whole body.
pub(super) async fn body(mut body: Incoming, connection: &Connection, limits: &Limits) -> Result<Bytes, Refused> {
    let patience = limits.body_bytes.saturating_mul(PATIENCE);
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > patience) {
        return Err(Refused::TooLong);
    }
    connection.asking(true);
    let read = timeout(limits.body, async {
        let (mut bytes, mut total) = (Vec::new(), 0_usize);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() else { continue };
            total = total.saturating_add(data.len());
            if total > patience {
                break;
            }
            if total <= limits.body_bytes {
                bytes.extend_from_slice(&data);
            }
        }
        if total > limits.body_bytes { Err(Refused::TooLong) } else { Ok(bytes.into()) }
    });
    let read = read.await;
    connection.asking(false);
    read.unwrap_or(Err(Refused::TooSlow))
}
