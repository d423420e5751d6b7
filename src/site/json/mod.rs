//! `api/v2/`: the public JSON, in the shapes of the Statuspage API v2.

use serde::Serialize;

/// One line of JSON.
pub(crate) fn bytes(value: &impl Serialize) -> Vec<u8> {
    // Our values have string keys and no floats: they always serialise.
    let mut out = serde_json::to_vec(value).unwrap_or_default();
    out.push(b'\n');
    out
}
