//! Signing as the Standard Webhooks specification asks: the receiver knows by it that a call comes from
//! us, that nobody changed it, and that it is not an old one. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

/// A secret as people copy it.
#[must_use]
pub fn shown(secret: &[u8; 32]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// The header `webhook-signature`: over the id, the second in which it is sent, and the body.
#[must_use]
pub fn signature(secret: &[u8; 32], id: &str, at: Timestamp, body: &[u8]) -> String {
    // A key shorter than a block is the same as one filled up with zeros (RFC 2104, section 2).
    let mut block = [0; 64];
    block.iter_mut().zip(secret).for_each(|(place, byte)| *place = *byte);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    mac.update(format!("{id}.{}.", at.as_second()).as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // Made with Python: hmac.new(bytes(range(32)), b"msg_1.1674087231.{}", "sha256").
        let mut secret = [0; 32];
        (0..).zip(&mut secret).for_each(|(n, byte)| *byte = n);
        let at = Timestamp::from_second(1_674_087_231).unwrap();
        assert_eq!(signature(&secret, "msg_1", at, b"{}"), "v1,BxU1mYCBV2ldG2HAG6MnEv0UJfY6XIfbCpPpj/9VI/Y=");
        assert_eq!(shown(&secret), "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        assert_ne!(signature(&secret, "msg_2", at, b"{}"), signature(&secret, "msg_1", at, b"{}"));
    }
}
