//! Who a request comes from. Pure; limits that build on it live elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The network a client is counted by: a /24 or a /56, about what one party holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72))),
        })
    }
}

/// Whether `peer` is a proxy whose word about its client counts.
pub(super) fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|network| network.contains(&peer))
}

/// The address of the client behind `peer`.
///
/// `forwarded` holds the values of the `X-Forwarded-For` fields in their order. They count only if
/// `peer` is trusted, and are read from the right: each trusted proxy vouches for the one address
/// before it, so what a client made up on the left is never reached. An entry that is no address
/// ends the walk at the proxy that wrote it.
#[must_use]
pub fn client_address<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer.to_canonical();
    let entries = forwarded.rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    for entry in entries {
        if !is_trusted(client, trusted) {
            break;
        }
        match std::str::from_utf8(entry).ok().and_then(parse) {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

/// An address as proxies write it: bare, in brackets, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"].map(|net| net.parse().unwrap());
        client_address(peer.parse().unwrap(), forwarded.iter().map(|value| value.as_bytes()), &trusted).to_string()
    }

    #[test]
    fn a_stranger_speaks_only_for_itself() {
        assert_eq!(client("192.0.2.7", &["198.51.100.1"]), "192.0.2.7");
    }

    #[test]
    fn a_trusted_proxy_names_its_client() {
        assert_eq!(client("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::1", &["2001:db8::5"]), "2001:db8::5");
        assert_eq!(client("127.0.0.1", &["198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["[2001:db8::5]:4711"]), "2001:db8::5");
    }

    #[test]
    fn what_the_client_made_up_on_the_left_is_never_reached() {
        assert_eq!(client("127.0.0.1", &["10.9.9.9, 203.0.113.5, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["203.0.113.5", "198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn trusted_proxies_in_a_row_are_walked_through() {
        assert_eq!(client("127.0.0.1", &["203.0.113.5, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn garbage_ends_the_walk() {
        assert_eq!(client("127.0.0.1", &["198.51.100.1, unknown"]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &[""]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn a_mapped_address_is_the_one_it_stands_for() {
        assert_eq!(client("::ffff:127.0.0.1", &["::ffff:198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn neighbours_share_a_network() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.254"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8:0:ff::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("2001:db8:0:ff::1"), network("2001:db8:0:100::1"));
    }
}
