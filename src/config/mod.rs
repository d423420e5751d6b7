//! `watchbell.toml`: one table of keys makes the parser, the hints, the defaults, the example and
//! the schema. What comes out needs no more checking.

pub mod cron;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use jiff::tz::TimeZone;
use url::Url;

use crate::{
    domain::{ServiceId, service::Rules, subscriber::Address},
    secret::Secret,
};

/// A whole, valid configuration. Relative paths are already joined to the config's folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from, as the operator named it.
    pub path: PathBuf,
    /// What the site shows and where it goes.
    pub site: Site,
    /// Where facts are kept.
    pub store: Store,
    /// The HTTP side.
    pub server: Server,
    /// Who is told about the monitor itself.
    pub operators: Vec<OperatorTarget>,
    /// The folder of notes.
    pub notes_dir: PathBuf,
    /// What is watched, and how failures become incidents.
    pub rules: Rules,
    /// How mail leaves; without it subscribers cannot be told.
    pub email: Option<Email>,
    /// Whether and how people subscribe.
    pub subscriptions: Subscriptions,
    /// What is called while all is well.
    pub heartbeat: Option<Heartbeat>,
}

/// `[site]`.
#[derive(Clone, Debug)]
pub struct Site {
    /// Whose status this is.
    pub title: String,
    /// Absolute base of every link in feeds and mails; ends in `/`.
    pub url: Url,
    /// A sentence for search engines and feeds; may be empty.
    pub description: String,
    /// The zone whose days and times people read.
    pub timezone: TimeZone,
    /// Its IANA name.
    pub timezone_name: String,
    /// The site's language (BCP 47).
    pub language: String,
    /// Further languages.
    pub languages: Vec<String>,
    /// Where the site is written.
    pub output: PathBuf,
    /// Files that replace those of `site-templates/`.
    pub templates: Option<PathBuf>,
    /// Files copied into the site as they are.
    pub static_files: Option<PathBuf>,
    /// An image shown in place of the title.
    pub logo: Option<PathBuf>,
    /// Colour of links and focus: `#rrggbb`.
    pub accent: String,
    /// Where people ask for help.
    pub support: Option<Url>,
    /// Further links in the footer: label and address.
    pub links: Vec<(String, Url)>,
    /// How many days the bars show.
    pub history_days: u32,
    /// Whether search engines are asked to stay away.
    pub noindex: bool,
}

/// `[store]`.
#[derive(Clone, Debug)]
pub struct Store {
    /// The database file.
    pub path: PathBuf,
    /// How long raw results are kept.
    pub keep_results: Duration,
    /// Whether a volatile or network file system is allowed.
    pub allow_volatile: bool,
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where the site and the endpoints are served.
    pub listen: SocketAddr,
    /// Public base of the endpoints; ends in `/`.
    pub url: Url,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
}

/// One of `[operator] notify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorTarget {
    /// By mail.
    Mail(Address),
    /// By a `[[channel]]`.
    Channel(String),
}

/// `[email]`.
#[derive(Clone, Debug)]
pub struct Email {
    /// The name part of `From`; may be empty.
    pub from_name: String,
    /// The address part of `From`.
    pub from: Address,
    /// Where mails go.
    pub transport: MailTransport,
    /// User name and password.
    pub credentials: Option<(String, Secret)>,
    /// The most connections at once.
    pub connections: u32,
    /// The most mails a second; `None`: as fast as the server takes them.
    pub rate_per_second: Option<f64>,
    /// Envelope sender with `{token}` in it; empty: the same as `from`.
    pub envelope_from: String,
    /// How mails are signed.
    pub dkim: Option<Dkim>,
}

/// Where mails go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailTransport {
    /// An SMTP server.
    Smtp {
        /// Name or address.
        host: String,
        /// Port: 25 for `smtp`, 587 for `smtp+starttls`, 465 for `smtps` unless told otherwise.
        port: u16,
        /// How it is encrypted.
        security: MailSecurity,
    },
    /// A folder of `.eml` files.
    Dir(PathBuf),
}

/// How a connection to the mail server is encrypted. Never less than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// `smtp://`: not at all.
    Plain,
    /// `smtp+starttls://`: STARTTLS, or no mail.
    StartTls,
    /// `smtps://`: TLS from the first byte.
    Tls,
}

/// `[email] dkim` (RFC 6376).
#[derive(Clone, Debug)]
pub struct Dkim {
    /// `d=`.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// PEM of the private key.
    pub key: Secret,
}

/// `[subscriptions]`.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    /// Whether the public can subscribe.
    pub enabled: bool,
    /// How long a confirmation is good.
    pub confirm_within: Duration,
    /// Whether the public can subscribe webhooks.
    pub webhooks: bool,
}

/// `[heartbeat]`.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// What is called; its path is often the secret.
    pub url: Secret,
    /// How often.
    pub every: Duration,
}

impl Config {
    /// Names of the services, for messages.
    pub fn service_ids(&self) -> impl Iterator<Item = &ServiceId> {
        self.rules.services.iter().map(|service| &service.id)
    }
}
