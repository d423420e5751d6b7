//! Names of things. A value of one of these types is well-formed.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A name that breaks the rules for its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a usable {what}: write {rule}")]
pub struct BadId {
    /// What was given.
    pub given: String,
    /// What kind of name it should be.
    pub what: &'static str,
    /// The rule, as a phrase that completes "write …".
    pub rule: &'static str,
}

/// Whether `text` is `[a-z0-9][a-z0-9-]*` with at most `max` characters.
fn is_slug(text: &str, max: usize) -> bool {
    let mut bytes = text.bytes();
    text.len() <= max
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl ServiceId {
    /// The name under which canaries are probed: none that a config can give.
    const CANARIES: &str = "~canary";

    /// Under which canaries are probed.
    #[must_use]
    pub fn of_canaries() -> Self {
        Self(Self::CANARIES.into())
    }

    /// Whether canaries are meant, and no service.
    #[must_use]
    pub fn is_canaries(&self) -> bool {
        self.as_str() == Self::CANARIES
    }
}

macro_rules! slug {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $rule:literal, $reserved:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// If it breaks the rule that the error states.
            pub fn new(text: &str) -> Result<Self, BadId> {
                let reserved: &[&str] = $reserved;
                if is_slug(text, $max) && !reserved.contains(&text) {
                    Ok(Self(text.into()))
                } else {
                    Err(BadId { given: text.to_owned(), what: $what, rule: $rule })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

slug!(
    /// A service's permanent name; `overall` is reserved for the badge of the whole site.
    ServiceId, "service id", 64,
    "1 to 64 of `a-z`, `0-9` and `-`, not starting with `-`, and not `overall`", &["overall"]
);
slug!(
    /// A group's permanent name.
    GroupId, "group id", 64, "1 to 64 of `a-z`, `0-9` and `-`, not starting with `-`", &[]
);
slug!(
    /// A check's name, unique within its service.
    CheckId, "check id", 64, "1 to 64 of `a-z`, `0-9` and `-`, not starting with `-`", &[]
);
slug!(
    /// An incident's permanent name: `2026-11-21-api`, or the name of the note that opened it.
    IncidentId, "incident id", 100, "1 to 100 of `a-z`, `0-9` and `-`, not starting with `-`", &[]
);

impl IncidentId {
    /// The `n`-th candidate for an incident of `service` that started at `started_at`: the UTC
    /// day and the service, from the second on with `-2`, `-3`, … (spec, section 4, rule 3).
    #[must_use]
    pub fn minted(started_at: Timestamp, service: &ServiceId, n: u32) -> Self {
        let day = started_at.to_zoned(TimeZone::UTC).date();
        let text = if n <= 1 { format!("{day}-{service}") } else { format!("{day}-{service}-{n}") };
        Self(text.into())
    }
}

/// One check of one service: `api/health`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct CheckKey {
    /// The service that the check belongs to.
    pub service: ServiceId,
    /// The check within it.
    pub check: CheckId,
}

impl fmt::Display for CheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.check)
    }
}

macro_rules! unique {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// An id for something recorded at `at` (RFC 9562, version 7); `random` makes it unique.
            #[must_use]
            pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
                let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// When it was recorded.
            #[must_use]
            pub fn at(&self) -> Timestamp {
                let millis = self.as_bytes().iter().take(6).fold(0, |ms: i64, byte| ms << 8 | i64::from(*byte));
                Timestamp::from_millisecond(millis).unwrap_or_default()
            }

            /// The sixteen bytes of the id.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// An id from its sixteen bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.as_hyphenated())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.as_hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

unique!(
    /// Names one event for ever: feed entries and Message-IDs come from it.
    EventId
);
unique!(
    /// Names one update of an incident for ever.
    UpdateId
);
unique!(
    /// Names one event for one subscriber.
    DeliveryId
);
unique!(
    /// Names a subscriber without naming their address.
    SubscriberId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_to_their_alphabet() {
        assert!(ServiceId::new("api-2").is_ok());
        for bad in ["", "-a", "A", "a_b", "ä", "overall", &"a".repeat(65)] {
            assert!(ServiceId::new(bad).is_err(), "{bad}");
        }
        assert!(IncidentId::new(&"a".repeat(100)).is_ok());
    }

    #[test]
    fn an_incident_is_named_after_its_utc_day_and_first_service() {
        let at: Timestamp = "2026-11-21T00:30:00+01:00".parse().unwrap();
        let api = ServiceId::new("api").unwrap();
        assert_eq!(IncidentId::minted(at, &api, 1).as_str(), "2026-11-20-api");
        assert_eq!(IncidentId::minted(at, &api, 3).as_str(), "2026-11-20-api-3");
    }
}
