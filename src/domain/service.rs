//! What is watched, and by which rules: services, groups, checks.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use regex::Regex;
use url::Url;

use super::{CheckId, CheckKey, GroupId, Impact, ServiceId, subscriber::Address, target::TargetClass};
use crate::secret::Secret;

/// Everything that judging depends on besides time and results.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// In the order of the config, which is the order on the site.
    pub services: Vec<Arc<Service>>,
    /// In the order of the config.
    pub groups: Vec<Group>,
    /// How failures become incidents.
    pub incidents: IncidentRules,
    /// Targets that tell a fault of our own network from an outage, as the checks of a service that
    /// nobody sees ([`ServiceId::of_canaries`]); `None` without any.
    pub canaries: Option<Arc<Service>>,
}

impl Rules {
    /// Everything that is probed: the services, and the canaries.
    pub fn probed(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter().chain(&self.canaries)
    }

    /// The service of that name, if it is still configured.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.iter().find(|service| service.id == *id)
    }

    /// The check of that name, if it is still configured and enabled.
    #[must_use]
    pub fn check(&self, key: &CheckKey) -> Option<&Check> {
        self.service(&key.service)?.checks.iter().find(|check| check.id == key.check && check.enabled)
    }
}

/// `[incidents]`: how failures become incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentRules {
    /// Related failures within it share an incident.
    pub merge_window: Duration,
    /// News waits this long for others to join.
    pub gather: Duration,
    /// Failing again within it reopens.
    pub reopen_window: Duration,
    /// An incident ends with its last recovery, unless its note says otherwise.
    pub auto_resolve: bool,
    /// `[notes] settle`: an update is told when its text has rested this long.
    pub settle: Duration,
}

impl Default for IncidentRules {
    fn default() -> Self {
        Self {
            merge_window: Duration::from_mins(1),
            gather: Duration::from_secs(10),
            reopen_window: Duration::from_mins(10),
            auto_resolve: true,
            settle: Duration::from_secs(30),
        }
    }
}

/// A heading under which services stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its permanent name.
    pub id: GroupId,
    /// What people read.
    pub name: String,
}

/// What the public knows as one thing.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its permanent name.
    pub id: ServiceId,
    /// What people read.
    pub name: String,
    /// Where it stands.
    pub group: Option<GroupId>,
    /// A sentence for people; may be empty.
    pub description: String,
    /// What it cannot work without.
    pub depends_on: Vec<ServiceId>,
    /// The uptime aimed at over a rolling 30 days, in hundred-thousandths (`99_900` is 99.9 %).
    pub objective: Option<u32>,
    /// How long one outage may last before the incident page says it was exceeded.
    pub acceptable_downtime: Option<Duration>,
    /// Told with the operator; never on the site.
    pub owners: Vec<Address>,
    /// The most that its failure can mean for an incident.
    pub max_impact: Impact,
    /// Subscribers are told only of what lasts this long.
    pub notify_after: Duration,
    /// How it is watched; without any, notes alone set its status.
    pub checks: Vec<Check>,
}

impl Service {
    /// Its checks that are switched on, with their keys.
    pub fn enabled_checks(&self) -> impl Iterator<Item = (CheckKey, &Check)> {
        self.checks
            .iter()
            .filter(|check| check.enabled)
            .map(|check| (CheckKey { service: self.id.clone(), check: check.id.clone() }, check))
    }

    /// Whether any of them reaches its target by a way of that class.
    #[must_use]
    pub fn is_reached(&self, class: TargetClass) -> bool {
        self.checks.iter().filter(|check| check.enabled).any(|check| match class {
            TargetClass::ByName => TargetClass::is_by_name(check.probe.host()),
            _ => TargetClass::of(check.probe.host()) == class,
        })
    }
}

/// One probe of one target on a schedule, and when its results count.
#[derive(Clone, Debug)]
pub struct Check {
    /// Unique in its service.
    pub id: CheckId,
    /// Whether it is probed at all.
    pub enabled: bool,
    /// When it is probed.
    pub cadence: Cadence,
    /// The most that one probe may take, name lookup included.
    pub timeout: Duration,
    /// Consecutive failures until it is down.
    pub down_after: u32,
    /// Consecutive successes until it is up again.
    pub up_after: u32,
    /// Pace between a first change and its verdict.
    pub recheck: Duration,
    /// Slower than this is degraded.
    pub degraded_over: Option<Duration>,
    /// Consecutive degraded results until it is degraded.
    pub degraded_after: u32,
    /// Only addresses of this family.
    pub ip: Option<IpVersion>,
    /// What is asked, and what is expected.
    pub probe: Probe,
}

/// When a check is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cadence {
    /// Once in each interval, at a phase of its own.
    Every(Duration),
    /// At the times of a cron pattern, in a time zone (IANA name).
    Cron {
        /// Six fields, as the `cron` crate reads them (seconds first, Sunday is 1).
        patterns: Vec<String>,
        /// As the operator wrote it, for messages.
        written: String,
        /// The zone in which its hours are meant.
        timezone: String,
    },
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// Whether `address` belongs to it.
    #[must_use]
    pub const fn has(self, address: IpAddr) -> bool {
        matches!((self, address), (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)))
    }
}

/// What is asked of a target. One variant a kind of check.
#[derive(Clone, Debug)]
pub enum Probe {
    /// An HTTP request.
    Http(Box<Http>),
    /// A TCP connection.
    Tcp(Tcp),
}

impl Probe {
    /// The word for the kind: the config key that names the target.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
        }
    }

    /// The host part of the target, for bounds per target and for relating services.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Http(http) => http.url.host_str().unwrap_or(""),
            Self::Tcp(tcp) => &tcp.host,
        }
    }
}

/// An HTTP request and what its answer must be.
#[derive(Clone, Debug)]
pub struct Http {
    /// `http` or `https`; never holds a user name or password.
    pub url: Url,
    /// `GET` unless told otherwise.
    pub method: String,
    /// In order; a value may hold a secret.
    pub headers: Vec<(String, Secret)>,
    /// What is sent.
    pub body: Option<Secret>,
    /// User name and password.
    pub basic_auth: Option<(String, Secret)>,
    /// PEM file with our certificate chain.
    pub client_cert: Option<PathBuf>,
    /// PEM file with its key.
    pub client_key: Option<PathBuf>,
    /// PEM file with the only authorities to trust.
    pub ca: Option<PathBuf>,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// How many redirects are followed.
    pub follow_redirects: u32,
    /// `http://`, `https://` or `socks5://`; may hold a password.
    pub proxy: Option<Secret>,
    /// How much of the body is read, in bytes.
    pub max_body: u64,
    /// Only this version; `None`: what both sides like best.
    pub http_version: Option<HttpVersion>,
    /// What must come back.
    pub expect: HttpExpect,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge on `http:`.
    Http2,
}

/// What an HTTP answer must be for its check to be up. All of it must hold.
#[derive(Clone, Debug, Default)]
pub struct HttpExpect {
    /// Codes and ranges that are good, ends included; empty means 200 to 299.
    pub status: Vec<(u16, u16)>,
    /// Must occur in the body.
    pub body: Option<String>,
    /// Must match somewhere in the body.
    pub body_regex: Option<Regex>,
    /// By JSON pointer (RFC 6901).
    pub json: BTreeMap<String, serde_json::Value>,
    /// By header name; the value must occur in one of that header's.
    pub header: BTreeMap<String, String>,
}

/// A TCP connection and what must come through it.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What is sent once connected.
    pub send: Option<Secret>,
    /// Must come back.
    pub expect_text: Option<String>,
}
