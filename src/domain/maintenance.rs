//! Planned work, as far as judging goes: which services, from when to when. What people write about
//! it, and what is told of it, is not here yet.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ServiceId;

/// The permanent name of a maintenance, or of one occurrence of a recurring one
/// (`ID-YYYYMMDDTHHMMZ`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MaintenanceId(String);

impl MaintenanceId {
    /// The name; nothing but letters, digits and hyphens.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (!text.is_empty() && text.len() <= 120 && text.bytes().all(is_good)).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MaintenanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A window of planned work; it may lie in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Permanent.
    pub id: MaintenanceId,
    /// What is worked on.
    pub services: Vec<ServiceId>,
    /// When it begins.
    pub starts: Timestamp,
    /// When it is over: as planned, or as declared.
    pub ends: Timestamp,
    /// Whether those that need these services are part of it, at any depth.
    pub covers_dependents: bool,
    /// It does not take place.
    pub cancelled: bool,
}
