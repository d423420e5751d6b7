//! Permanent names of feeds and entries: `tag:` URIs (RFC 4151).
//!
//! The authority is minted once, from the address that the site had when it was first published,
//! and kept by whoever calls: the ids must survive a change of titles and of `site.url`.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use url::Url;

use crate::domain::{EventId, IncidentId, ServiceId};

/// Who mints, and since when: `tag:status.example.org,2026-11-21`. Display and [`FromStr`] are the
/// form in which it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: String,
    day: Date,
}

/// A text that is no authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form `tag:status.example.org,2026-11-21`")]
pub struct BadAuthority(pub String);

impl Authority {
    /// Mints one for a site at `url` that is published for the first time at `at`. Do it once and
    /// keep it.
    #[must_use]
    pub fn mint(url: &Url, at: Timestamp) -> Self {
        let host: String = url.host_str().unwrap_or("").to_ascii_lowercase();
        // What RFC 4151 does not allow (an IPv6 address, an underscore) becomes a hyphen.
        let host: String =
            host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect::<String>();
        let host = host.trim_matches(['-', '.']);
        let host = if host.is_empty() { "localhost" } else { host };
        Self { host: host.to_owned(), day: at.to_zoned(TimeZone::UTC).date() }
    }

    /// When it was minted: the start of that day (UTC). An empty feed is as old as this.
    #[must_use]
    pub fn founded_at(&self) -> Timestamp {
        self.day.to_zoned(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |start| start.timestamp())
    }

    /// The name of an event's entry.
    #[must_use]
    pub fn event(&self, id: &EventId) -> String {
        format!("{self}:event/{id}")
    }

    /// The name of an incident's entry.
    #[must_use]
    pub fn incident(&self, id: &IncidentId) -> String {
        format!("{self}:incident/{id}")
    }

    /// The name of a feed: `name` is `updates` or `history`, of one service or of all.
    #[must_use]
    pub fn feed(&self, name: &str, service: Option<&ServiceId>) -> String {
        service.map_or_else(|| format!("{self}:{name}"), |service| format!("{self}:services/{service}/{name}"))
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tag:{},{}", self.host, self.day)
    }
}

impl FromStr for Authority {
    type Err = BadAuthority;
    fn from_str(text: &str) -> Result<Self, BadAuthority> {
        let bad = || BadAuthority(text.to_owned());
        let (host, day) = text.strip_prefix("tag:").and_then(|rest| rest.split_once(',')).ok_or_else(bad)?;
        let is_host = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
        };
        let day: Date = day.parse().map_err(|_| bad())?;
        let kept = Self { host: host.to_owned(), day };
        if is_host(host) && kept.to_string() == text { Ok(kept) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mint(url: &str) -> String {
        Authority::mint(&url.parse().unwrap(), "2026-11-21T23:30:00-05:00".parse().unwrap()).to_string()
    }

    #[test]
    fn the_authority_is_the_host_and_the_utc_day_of_the_first_publish() {
        assert_eq!(mint("https://status.example.org/base/"), "tag:status.example.org,2026-11-22");
        assert_eq!(mint("http://127.0.0.1:8080/"), "tag:127.0.0.1,2026-11-22");
    }

    #[test]
    fn a_host_that_no_tag_may_hold_is_bent_until_it_fits() {
        assert_eq!(mint("http://[::1]:8080/"), "tag:1,2026-11-22");
        assert_eq!(mint("http://[::]/"), "tag:localhost,2026-11-22");
        assert_eq!(mint("https://my_status.Example.org/"), "tag:my-status.example.org,2026-11-22");
    }

    #[test]
    fn what_was_kept_reads_back_and_nothing_else_does() {
        let minted = Authority::mint(&"https://s.example.org/".parse().unwrap(), Timestamp::UNIX_EPOCH);
        assert_eq!(minted.to_string().parse(), Ok(minted));
        for bad in ["", "tag:,2026-01-01", "tag:x", "tag:X.org,2026-01-01", "tag:x,2026-1-1", "tag:a b,2026-01-01"] {
            assert!(bad.parse::<Authority>().is_err(), "{bad}");
        }
    }
}
