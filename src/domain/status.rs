//! The states that people see, in the words of the Statuspage API v2.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it in configs, notes, JSON and `data-status`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::status::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::domain::status::UnknownWord { given: text.to_owned(), what: $what, known: &[$($word),+] }),
                }
            }
        }
    };
}

pub(super) use words;

/// A word that is none of those expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {what}: write one of `{}`", known.join("`, `"))]
pub struct UnknownWord {
    /// What was given.
    pub given: String,
    /// What it should be, with its article.
    pub what: &'static str,
    /// The words that would do.
    pub known: &'static [&'static str],
}

words!(
    /// How a service is, best first: a later one is worse. [`Self::Unknown`] stands between, since
    /// not knowing is no outage but must never hide one.
    ServiceStatus, "a service status" {
        /// All checks are up.
        Operational = "operational",
        /// Nobody has looked lately: "No recent data".
        Unknown = "unknown",
        /// Planned work is going on.
        UnderMaintenance = "under_maintenance",
        /// It answers, but slowly or not in full.
        DegradedPerformance = "degraded_performance",
        /// Some checks are down.
        PartialOutage = "partial_outage",
        /// All checks are down.
        MajorOutage = "major_outage",
    }
);

impl ServiceStatus {
    /// Whether entering it opens or joins an incident.
    #[must_use]
    pub const fn is_trouble(self) -> bool {
        matches!(self, Self::DegradedPerformance | Self::PartialOutage | Self::MajorOutage)
    }

    /// Whether the time spent in it counts as down.
    #[must_use]
    pub const fn is_down(self) -> bool {
        matches!(self, Self::PartialOutage | Self::MajorOutage)
    }

    /// The impact of an incident whose worst service is in this state.
    #[must_use]
    pub const fn impact(self) -> Impact {
        match self {
            Self::Operational | Self::Unknown | Self::UnderMaintenance => Impact::None,
            Self::DegradedPerformance => Impact::Minor,
            Self::PartialOutage => Impact::Major,
            Self::MajorOutage => Impact::Critical,
        }
    }
}

words!(
    /// How much an incident matters, least first.
    Impact, "an impact" {
        /// Worth a word, not a worry.
        None = "none",
        /// Slow or incomplete.
        Minor = "minor",
        /// Partly down.
        Major = "major",
        /// Down.
        Critical = "critical",
    }
);

words!(
    /// How far people are with an incident.
    IncidentStatus, "an incident status" {
        /// Somebody, or at least the monitor, knows that something is wrong.
        Investigating = "investigating",
        /// The cause is known.
        Identified = "identified",
        /// A repair is in place and being watched.
        Monitoring = "monitoring",
        /// Over.
        Resolved = "resolved",
        /// Over, and written up.
        Postmortem = "postmortem",
    }
);

impl IncidentStatus {
    /// Whether the incident is still going on.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Investigating | Self::Identified | Self::Monitoring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_is_greater_and_ignorance_never_hides_an_outage() {
        assert!(ServiceStatus::MajorOutage > ServiceStatus::PartialOutage);
        assert!(ServiceStatus::DegradedPerformance > ServiceStatus::Unknown);
        assert!(ServiceStatus::Unknown > ServiceStatus::Operational);
    }

    #[test]
    fn words_read_back() {
        for &status in ServiceStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        let error = "down".parse::<IncidentStatus>().unwrap_err().to_string();
        assert!(error.starts_with("`down` is not an incident status: write one of `investigating`"), "{error}");
    }
}
