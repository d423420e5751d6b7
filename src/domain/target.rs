//! From where a target is reached, by its host alone.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

/// From where targets are reached: a fault of one way out says nothing of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetClass {
    /// This machine.
    Loopback,
    /// A network of our own.
    Private,
    /// Everything else.
    Public,
    /// By name, wherever they are: through the name servers.
    ByName,
}

impl TargetClass {
    /// Whether a target of that host is found through name servers.
    #[must_use]
    pub fn is_by_name(host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.parse::<IpAddr>().is_err() && Self::of(host) != Self::Loopback
    }

    /// The class of a target by its host. A name says less than an address: those without a dot and
    /// those of the zones kept for private use are taken for private.
    #[must_use]
    pub fn of(host: &str) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return match address.to_canonical() {
                IpAddr::V4(v4) => Self::of_v4(v4),
                IpAddr::V6(v6) => Self::of_v6(v6),
            };
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let zone = name.rsplit_once('.').map(|(_, zone)| zone);
        match zone.unwrap_or(&name) {
            "localhost" => Self::Loopback,
            "local" | "internal" | "lan" | "intranet" | "home" | "private" | "corp" | "test" => Self::Private,
            _ if zone.is_none() || name.ends_with(".home.arpa") => Self::Private,
            _ => Self::Public,
        }
    }

    const fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, ..] = address.octets();
        if address.is_loopback() || address.is_unspecified() {
            Self::Loopback
        } else if address.is_private() || address.is_link_local() || (a == 100 && b & 0xc0 == 64) {
            Self::Private
        } else {
            Self::Public
        }
    }

    const fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() || address.is_unspecified() {
            Self::Loopback
        } else if address.is_unique_local() || address.is_unicast_link_local() {
            Self::Private
        } else {
            Self::Public
        }
    }
}

impl fmt::Display for TargetClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "on this machine",
            Self::Private => "in private networks",
            Self::Public => "on the public network",
            Self::ByName => "by name",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_target_is_told_by_its_host() {
        for (host, class) in [
            ("127.0.0.1", TargetClass::Loopback),
            ("[::1]", TargetClass::Loopback),
            ("localhost", TargetClass::Loopback),
            ("api.localhost", TargetClass::Loopback),
            ("10.1.2.3", TargetClass::Private),
            ("192.168.0.9", TargetClass::Private),
            ("100.64.0.1", TargetClass::Private),
            ("fd00::1", TargetClass::Private),
            ("::ffff:10.0.0.1", TargetClass::Private),
            ("db", TargetClass::Private),
            ("db.internal", TargetClass::Private),
            ("printer.home.arpa", TargetClass::Private),
            ("192.0.2.1", TargetClass::Public),
            ("2001:db8::1", TargetClass::Public),
            ("api.example.org.", TargetClass::Public),
        ] {
            assert_eq!(TargetClass::of(host), class, "{host}");
        }
    }
}
