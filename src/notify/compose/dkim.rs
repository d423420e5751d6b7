//! Signing mails (RFC 6376, with relaxed canonicalisation; RFC 8463 for Ed25519 keys).
//!
//! Ours rather than lettre's: its signatures carry the time of signing, so that a retry would be
//! another message, and it reads no PKCS #8, which is what OpenSSL writes today.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use ring::{rand::SystemRandom, signature::RSA_PKCS1_SHA256};
use sha2::{Digest, Sha256};

use crate::config::{
    Dkim,
    signing::{BadKey, SigningKey},
};

/// The headers that are signed, those of the list among them (RFC 8058, section 4).
const SIGNED: &[&str] = &[
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "auto-submitted",
    "content-language",
    "mime-version",
    "content-type",
];

/// What programs show, of which a second one put in front would be shown in the first one's place.
const OVERSIGNED: &[&str] = &["from", "to", "subject", "date"];

/// Signs messages for one domain.
pub struct Signer {
    domain: String,
    selector: String,
    key: SigningKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("domain", &self.domain).field("selector", &self.selector).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key.
    ///
    /// # Errors
    /// If it is none that can sign mails.
    pub fn new(config: &Dkim) -> Result<Self, BadKey> {
        let key = SigningKey::parse(config.key.reveal())?;
        Ok(Self { domain: config.domain.clone(), selector: config.selector.clone(), key })
    }

    /// The domain that signs, and which of its keys.
    #[must_use]
    pub fn names(&self) -> (&str, &str) {
        (&self.domain, &self.selector)
    }

    /// The message with a signature in front, dated `at`. A message that is none comes back as it is.
    #[must_use]
    pub fn sign(&self, message: &[u8], at: Timestamp) -> Vec<u8> {
        let text = String::from_utf8_lossy(message);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return message.to_vec() };
        let fields = fields(head);
        let mut names: Vec<&str> = Vec::new();
        let mut input = String::new();
        for name in SIGNED {
            if let Some((_, value)) = fields.iter().rev().find(|(field, _)| field.eq_ignore_ascii_case(name)) {
                names.push(name);
                input.push_str(&relaxed_header(name, value));
                input.push_str("\r\n");
            }
        }
        // Named once more than they are there: whoever adds another breaks the signature (section 8.15).
        names.extend(OVERSIGNED);
        let algorithm = match self.key {
            SigningKey::Rsa(_) => "rsa-sha256",
            SigningKey::Ed25519(_) => "ed25519-sha256",
        };
        let body_hash = STANDARD.encode(Sha256::digest(relaxed_body(body).as_bytes()));
        let (domain, selector, seconds, names) = (&self.domain, &self.selector, at.as_second(), names.join(":"));
        let unsigned = format!(
            "v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector};\r\n\tt={seconds}; h={};\r\n\tbh={body_hash};\r\n\tb=",
            names.replace("list-id", "\r\n\tlist-id"),
        );
        input.push_str(&relaxed_header("dkim-signature", &unsigned));
        let Some(signature) = self.signature(input.as_bytes()) else { return message.to_vec() };
        let mut signed = format!("DKIM-Signature: {unsigned}{}\r\n", folded(&STANDARD.encode(signature))).into_bytes();
        signed.extend_from_slice(message);
        signed
    }

    fn signature(&self, input: &[u8]) -> Option<Vec<u8>> {
        match &self.key {
            SigningKey::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature).ok()?;
                Some(signature)
            }
            SigningKey::Ed25519(pair) => Some(pair.sign(&Sha256::digest(input)).as_ref().to_vec()),
        }
    }
}

/// The header fields in order, each with its folds.
fn fields(head: &str) -> Vec<(&str, String)> {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in head.split("\r\n") {
        match fields.last_mut() {
            Some((_, value)) if line.starts_with([' ', '\t']) => {
                value.push_str("\r\n");
                value.push_str(line);
            }
            _ => {
                if let Some((name, value)) = line.split_once(':') {
                    fields.push((name, value.to_owned()));
                }
            }
        }
    }
    fields
}

/// RFC 6376, section 3.4.2, without the line end.
fn relaxed_header(name: &str, value: &str) -> String {
    let words: Vec<&str> = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect();
    format!("{}:{}", name.to_ascii_lowercase(), words.join(" "))
}

/// RFC 6376, section 3.4.4.
fn relaxed_body(body: &str) -> String {
    let mut relaxed = String::with_capacity(body.len());
    for line in body.split_inclusive("\r\n") {
        let line = line.trim_end_matches(['\r', '\n']).trim_end_matches([' ', '\t']);
        let mut was_space = false;
        for c in line.chars() {
            let is_space = matches!(c, ' ' | '\t');
            if !is_space {
                relaxed.push(c);
            } else if !was_space {
                relaxed.push(' ');
            }
            was_space = is_space;
        }
        relaxed.push_str("\r\n");
    }
    while relaxed.ends_with("\r\n\r\n") {
        relaxed.truncate(relaxed.len() - 2);
    }
    if relaxed == "\r\n" { String::new() } else { relaxed }
}

/// Base64 in lines that no server finds too long.
fn folded(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + 16);
    for (at, c) in text.chars().enumerate() {
        if at > 0 && at % 72 == 0 {
            lines.push_str("\r\n\t");
        }
        lines.push(c);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_6376_come_out_right() {
        // Section 3.4.6.
        assert_eq!(relaxed_header("A", " X\r\n"), "a:X");
        assert_eq!(relaxed_header("B ", " Y\t\r\n\tZ  \r\n").replace("b ", "b"), "b:Y Z");
        assert_eq!(relaxed_body(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
        assert_eq!(relaxed_body("\r\n\r\n"), "");
    }
}
