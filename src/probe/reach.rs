//! From how far an address can be reached, and where a redirect may lead. Pure.
//!
//! A target is the operator's choice and may be anything; where a redirect leads is the target's
//! choice. A public server must not make us ask our own machine, our own network or a cloud's
//! metadata service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From how far an address can be reached; what only we can reach comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The whole world.
    Public,
    /// A network of somebody's own (RFC 1918, RFC 4193, RFC 6598).
    Private,
    /// Neighbours on one link; clouds put their metadata services there.
    Link,
    /// This machine.
    Loopback,
}

impl Reach {
    /// From how far `address` can be reached.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, ..] = address.octets();
        if address.is_loopback() || address.is_unspecified() {
            Self::Loopback
        } else if address.is_link_local() {
            Self::Link
        } else if address.is_private() || (a == 100 && (64..128).contains(&b)) {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() || address.is_unspecified() {
            Self::Loopback
        } else if address.is_unicast_link_local() {
            Self::Link
        } else if address.is_unique_local() {
            Self::Private
        } else {
            Self::Public
        }
    }

    /// Whether a server of this reach may send us on to one of `other`.
    #[must_use]
    pub fn may_lead_to(self, other: Self) -> bool {
        match other {
            Self::Public => true,
            Self::Link => self == Self::Link,
            Self::Private | Self::Loopback => self >= other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(address: &str) -> Reach {
        Reach::of(address.parse().unwrap())
    }

    #[test]
    fn addresses_are_told_apart() {
        for (address, expected) in [
            ("192.0.2.1", Reach::Public),
            ("2001:db8::1", Reach::Public),
            ("10.1.2.3", Reach::Private),
            ("172.31.0.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("fd00::1", Reach::Private),
            ("169.254.169.254", Reach::Link),
            ("fe80::1", Reach::Link),
            ("127.0.0.53", Reach::Loopback),
            ("0.0.0.0", Reach::Loopback),
            ("::1", Reach::Loopback),
            ("::ffff:127.0.0.1", Reach::Loopback),
        ] {
            assert_eq!(reach(address), expected, "{address}");
        }
    }

    #[test]
    fn a_redirect_never_leads_further_in() {
        assert!(Reach::Public.may_lead_to(Reach::Public));
        assert!(!Reach::Public.may_lead_to(Reach::Private));
        assert!(!Reach::Private.may_lead_to(Reach::Loopback));
        assert!(Reach::Private.may_lead_to(Reach::Private));
        assert!(Reach::Loopback.may_lead_to(Reach::Private));
        assert!(Reach::Loopback.may_lead_to(Reach::Loopback));
        assert!(!Reach::Loopback.may_lead_to(Reach::Link));
    }
}
