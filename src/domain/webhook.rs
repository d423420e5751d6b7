//! Where a webhook is called, and from which addresses it may be answered. Pure.
//!
//! Anyone may name a webhook in the form, and our machine calls it: so only such as the whole world
//! can reach are called, and nothing in our own network. What a name leads to is looked at each time,
//! by whoever connects; here is the rule.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The longest URL that is kept.
const LONGEST: usize = 1000;

/// The URL of a webhook: `https`, a public name or address, port 443 or one of those that need no
/// privilege, no user, no fragment. In its normal form.
///
/// Ports below 1024 but 443 belong to other protocols; a request to one of those is only ever meant
/// to harm. Above, people run their receivers as themselves.
///
/// `Debug` shows only that there is one: often the URL is all that is needed to write to somebody's
/// chat.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl(Box<Url>);

/// Why a text is not the URL of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Longer than [`LONGEST`].
    #[error("it is longer than 1000 characters")]
    TooLong,
    /// No URL.
    #[error("it is not of the form `https://example.org/path`")]
    Form,
    /// Another scheme.
    #[error("it must begin with `https://`")]
    Scheme,
    /// A user, a password or a fragment.
    #[error("it must have no user, no password, and nothing after a `#`")]
    Parts,
    /// A port of another protocol.
    #[error("its port must be 443, or 1024 and above")]
    Port,
    /// A name without a dot, or one that means this machine or this network.
    #[error("its host must be a public name such as `example.org`")]
    Host,
}

impl WebhookUrl {
    /// Checks a URL and brings it into its normal form.
    ///
    /// # Errors
    /// If nothing public can be called there. An address of an inner network is well-formed; see
    /// [`WebhookUrl::is_inner`].
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(BadUrl::TooLong);
        }
        // A parser forgives what no person means.
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(BadUrl::Form);
        }
        let url = Url::parse(text).map_err(|_| BadUrl::Form)?;
        if url.scheme() != "https" {
            return Err(BadUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(BadUrl::Parts);
        }
        if url.port().is_some_and(|port| port < 1024) {
            return Err(BadUrl::Port);
        }
        match url.host() {
            Some(Host::Domain(name)) if is_public_name(name) => {}
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => {}
            _ => return Err(BadUrl::Host),
        }
        if url.as_str().len() > LONGEST { Err(BadUrl::TooLong) } else { Ok(Self(Box::new(url))) }
    }

    /// The URL itself, for the one who calls and the operator's own lists.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name or address that is called, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The name as it stands in a request: with its port, if that is another than usual.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port().unwrap_or(443)
    }

    /// Path and query, as they stand in a request.
    #[must_use]
    pub fn target(&self) -> String {
        self.0.query().map_or_else(|| self.0.path().to_owned(), |query| format!("{}?{query}", self.0.path()))
    }

    /// Whether it names an address that is not public: what everyone can see who asks. A name may
    /// lead to one all the same.
    #[must_use]
    pub fn is_inner(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(v4)) => !is_public(v4.into()),
            Some(Host::Ipv6(v6)) => !is_public(v6.into()),
            Some(Host::Domain(_)) | None => false,
        }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl(***)")
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = BadUrl;
    fn try_from(text: String) -> Result<Self, BadUrl> {
        Self::parse(&text)
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        (*url.0).into()
    }
}

/// Whether a name could be somebody's on the internet (RFC 6761, RFC 6762, RFC 9476).
fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let top = name.rsplit('.').next().unwrap_or_default();
    let is_special =
        ["localhost", "local", "internal", "invalid", "test", "onion", "alt", "arpa", "lan", "home"].contains(&top);
    name.contains('.') && !is_special
}

/// Whether an address is one of the whole world's: none of those that the registries of special
/// purposes set aside (RFC 6890 and what IANA added since). What wraps another address, as 6to4, NAT64
/// and mapped ones do, is none either: where it leads is not ours to see.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// What is not public, each network with the length of its prefix.
const SPECIAL_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),       // this network
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // carriers' own
    ([127, 0, 0, 0], 8),     // this machine
    ([169, 254, 0, 0], 16),  // one link; clouds put their metadata services there
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 88, 99, 0], 24),  // 6to4 relays
    ([192, 168, 0, 0], 16),  // private
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 4),     // multicast
    ([240, 0, 0, 0], 4),     // reserved, broadcast
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_in = |(network, prefix): &([u8; 4], u32)| {
        let differs = address.to_bits() ^ Ipv4Addr::from_octets(*network).to_bits();
        differs.leading_zeros() >= *prefix
    };
    !SPECIAL_V4.iter().any(is_in)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    match (first, second) {
        // protocol assignments with Teredo and benchmarks, documentation, 6to4
        (0x2001, 0..0x0200 | 0x0db8) | (0x2002, _) | (0x3fff, 0..0x1000) => false,
        // All that is given out so far is in 2000::/3; the rest is special or nobody's.
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_whole_world_reaches_is_public() {
        for address in ["1.1.1.1", "93.184.215.14", "100.63.255.255", "172.32.0.1", "198.20.0.1", "2606:4700::1111"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.254",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:1.1.1.1",
            "::ffff:127.0.0.1",
            "::1.1.1.1",
            "64:ff9b::1.1.1.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_can_be_called_is_brought_into_one_form() {
        for (given, kept) in [
            ("https://Example.org", "https://example.org/"),
            (" https://example.org:443/a?b=c ", "https://example.org/a?b=c"),
            ("https://example.org:8443/", "https://example.org:8443/"),
            ("https://b\u{fc}cher.example/", "https://xn--bcher-kva.example/"),
            ("https://1.1.1.1/x", "https://1.1.1.1/x"),
            ("https://[2606:4700::1111]/x", "https://[2606:4700::1111]/x"),
        ] {
            assert_eq!(WebhookUrl::parse(given).map(String::from).as_deref(), Ok(kept), "{given}");
        }
        let url = WebhookUrl::parse("https://example.org:8443/a?b=c").unwrap();
        assert_eq!((url.host(), url.port(), url.authority().as_str()), ("example.org", 8443, "example.org:8443"));
        assert_eq!(url.target(), "/a?b=c");
        assert_eq!(format!("{url:?}"), "WebhookUrl(***)");
    }

    #[test]
    fn what_could_do_harm_is_refused() {
        let long = format!("https://example.org/{}", "a".repeat(1000));
        for (text, why) in [
            ("", BadUrl::Form),
            ("example.org/hook", BadUrl::Form),
            ("https://", BadUrl::Form),
            ("https://example.org/a b", BadUrl::Form),
            ("https://example.org\\@evil.example/", BadUrl::Form),
            ("https://example.org/\r\nHost: x", BadUrl::Form),
            ("http://example.org/", BadUrl::Scheme),
            ("file:///etc/passwd", BadUrl::Scheme),
            ("https://me:secret@example.org/", BadUrl::Parts),
            ("https://example.org/#x", BadUrl::Parts),
            ("https://example.org:25/", BadUrl::Port),
            ("https://example.org:80/", BadUrl::Port),
            ("https://localhost/", BadUrl::Host),
            ("https://db.internal/", BadUrl::Host),
            ("https://intranet/", BadUrl::Host),
            ("https://printer.local./", BadUrl::Host),
            (&long, BadUrl::TooLong),
        ] {
            assert_eq!(WebhookUrl::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn however_an_inner_address_is_written_it_is_seen() {
        for text in ["https://127.0.0.1/", "https://0x7f.1/", "https://2130706433/", "https://[::1]/", "https://0/"] {
            assert!(WebhookUrl::parse(text).unwrap().is_inner(), "{text}");
        }
        assert!(!WebhookUrl::parse("https://1.1.1.1/").unwrap().is_inner());
    }
}
