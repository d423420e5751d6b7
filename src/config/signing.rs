//! The private key that signs mails: reading it, so that a config that is accepted can sign.

use ring::signature::{Ed25519KeyPair, RsaKeyPair};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

/// A key that can sign mails (RFC 6376; RFC 8463 for Ed25519).
pub enum SigningKey {
    /// RSA of 2048 to 4096 bits.
    Rsa(Box<RsaKeyPair>),
    /// Ed25519.
    Ed25519(Ed25519KeyPair),
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
