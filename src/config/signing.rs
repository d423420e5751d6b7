//! The private key that signs mails: reading it, so that a config that is accepted can sign.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{Ed25519KeyPair, KeyPair, RsaKeyPair};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

/// A key that can sign mails (RFC 6376; RFC 8463 for Ed25519).
pub enum SigningKey {
    /// RSA of 2048 to 4096 bits.
    Rsa(Box<RsaKeyPair>),
    /// Ed25519.
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kind())
    }
}

/// Why a text is no key that can sign mails. It never shows the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not a private key in PEM.
    #[error("this is not a private key in PEM")]
    Pem,
    /// A private key of another kind or size.
    #[error("this key cannot sign mail ({0})")]
    Kind(String),
}

impl SigningKey {
    /// Reads a key in PEM, as PKCS #1 or PKCS #8.
    ///
    /// # Errors
    /// If it is none, or of a kind or size that mail servers do not verify.
    pub fn parse(pem: &str) -> Result<Self, BadKey> {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadKey::Pem)?;
        let kind = |error: ring::error::KeyRejected| BadKey::Kind(error.to_string());
        match &key {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).map(Self::rsa).map_err(kind),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                    Ok(pair) => Ok(Self::Ed25519(pair)),
                    Err(_) => RsaKeyPair::from_pkcs8(der).map(Self::rsa).map_err(kind),
                }
            }
            _ => Err(BadKey::Kind("neither RSA nor Ed25519".to_owned())),
        }
    }

    fn rsa(pair: RsaKeyPair) -> Self {
        Self::Rsa(Box::new(pair))
    }

    /// The word for its kind in DNS.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa",
            Self::Ed25519(_) => "ed25519",
        }
    }

    /// The record to publish at `SELECTOR._domainkey.DOMAIN`.
    #[must_use]
    pub fn record(&self) -> String {
        format!("v=DKIM1; k={}; p={}", self.kind(), STANDARD.encode(self.public_key()))
    }

    /// Whether these bytes, of the `p=` of a record, are its public half. Of an RSA key some publish
    /// the numbers alone (RFC 8017, appendix A.1.1), which is what RFC 6376 says, and most the form in
    /// which OpenSSL writes them (RFC 5280); servers take both.
    #[must_use]
    pub fn is_public_key(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Rsa(pair) if bytes == pair.public().as_ref() => true,
            _ => bytes == self.public_key(),
        }
    }

    fn public_key(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Self::Rsa(pair) => {
                // rsaEncryption, without parameters.
                const ALGORITHM: [u8; 15] = [48, 13, 6, 9, 42, 134, 72, 134, 247, 13, 1, 1, 1, 5, 0];
                let mut bits = vec![0];
                bits.extend_from_slice(pair.public().as_ref());
                let mut inner = ALGORITHM.to_vec();
                inner.extend(der(3, &bits));
                der(48, &inner)
            }
        }
    }
}

/// A value with its tag and length (X.690, section 8.1).
fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let length = length.get(length.iter().take_while(|byte| **byte == 0).count()..).unwrap_or_default();
    let mut out = vec![tag];
    match length {
        [] => out.push(0),
        [short @ ..=127] => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(0));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_openssl_writes_them_are_read_and_others_are_not() {
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        assert!(matches!(SigningKey::parse(&ed25519), Ok(SigningKey::Ed25519(_))));
        let ecdsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        assert!(matches!(SigningKey::parse(&ecdsa), Err(BadKey::Kind(_))));
        assert!(matches!(SigningKey::parse("hunter2"), Err(BadKey::Pem)));
        let rsa = include_str!("../../tests/configs/valid/dkim.pem");
        assert!(matches!(SigningKey::parse(rsa), Ok(SigningKey::Rsa(_))));
    }
}
