//! What one probe found.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What one probe says of its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// As expected, and fast enough.
    Up,
    /// As expected, but slower than `degraded_over`.
    Degraded,
    /// Not as expected.
    Down,
    /// The probe could not be made; this says nothing about the target.
    Unknown,
}

/// The kind of a failure: all that the public is told about it (spec, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The name could not be resolved.
    Dns,
    /// Nothing listens there.
    ConnectRefused,
    /// No connection within the time given.
    ConnectTimeout,
    /// The connection was cut.
    Reset,
    /// The TLS handshake failed.
    Tls,
    /// The certificate is expired, for another name, or not trusted.
    Certificate,
    /// No complete answer within the time given.
    Timeout,
    /// An answer with a status that is not expected.
    HttpStatus,
    /// Too many redirects, or one that may not be followed.
    Redirect,
    /// The content is not as expected.
    Body,
    /// What came back does not follow the protocol.
    Protocol,
    /// As expected, but too slow.
    Slow,
    /// The monitor's own fault: never a verdict.
    Local,
}

impl Class {
    /// The word for it in JSON, metrics and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Reset => "reset",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Timeout => "timeout",
            Self::HttpStatus => "http_status",
            Self::Redirect => "redirect",
            Self::Body => "body",
            Self::Protocol => "protocol",
            Self::Slow => "slow",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateFault {
    /// Its time is over, or has not come.
    Expired,
    /// It is for another name.
    WrongName,
    /// Nobody we trust vouches for it.
    Untrusted,
}

/// Why a probe did not find its target up: the class, and the few facts that may be shown to
/// anyone. It never holds text from the server, an address or a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cause {
    /// The kind of failure.
    pub class: Class,
    /// The status code, for [`Class::HttpStatus`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The time given in milliseconds, for timeouts; the limit, for [`Class::Slow`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u32>,
    /// What is wrong with the certificate, for [`Class::Certificate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFault>,
}

impl From<Class> for Cause {
    fn from(class: Class) -> Self {
        Self { class, http_status: None, limit_ms: None, certificate: None }
    }
}

/// How long each part of a probe took, as far as they can be told apart, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Resolving the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_us: Option<u32>,
    /// Connecting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u32>,
    /// The TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_us: Option<u32>,
    /// From the request sent to the first byte of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u32>,
    /// Reading the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_us: Option<u32>,
}

/// One probe, from the moment it got its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it says.
    pub result: CheckResult,
    /// Why it is not [`CheckResult::Up`]. `None` exactly then.
    pub cause: Option<Cause>,
    /// When it began (wall clock).
    pub started_at: Timestamp,
    /// How long all of it took.
    pub latency: Duration,
    /// How long the parts took.
    pub phases: Phases,
    /// For the operator's log and `watchbell probe` only: cleaned, one line, may name the target.
    pub detail: Option<String>,
}
