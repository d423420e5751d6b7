//! `watchbell.toml`: one table of keys makes the parser, the hints, the defaults, the example and
//! the schema. What comes out needs no more checking.

mod convert;
pub mod cron;
mod example;
pub mod in_force;
pub mod keys;
pub mod reading;
pub mod reload;
mod schema;
pub mod signing;
pub mod values;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use example::example;
use ipnet::IpNet;
use jiff::tz::TimeZone;
use reading::{Reader, Sources};
pub use schema::schema;
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    domain::{
        ServiceId,
        diagnostic::{Diagnostic, Severity, SourceFile},
        service::Rules,
        subscriber::Address,
    },
    fsio,
    secret::Secret,
};

/// The longest config that is read, in bytes: 10,000 checks fit in a tenth of it.
const MAX_BYTES: u64 = 32 << 20;
/// The longest file with a secret that is read, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

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

impl Email {
    /// How long what stands for `{token}` in `envelope_from` is.
    pub const TOKEN_LENGTH: usize = 45;
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

/// A configuration with what is to be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What works otherwise than the operator may think.
    pub warnings: Vec<Diagnostic>,
    /// Names the text: equal texts have equal hashes.
    pub text_hash: u64,
}

impl Config {
    /// Reads and checks a config file; secrets come from the process's environment and from files.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the file.
    pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
        let text = fsio::read_text(path, MAX_BYTES).map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => "`watchbell init` writes one".to_owned(),
                _ => String::new(),
            };
            vec![Diagnostic {
                severity: Severity::Error,
                source: Arc::new(SourceFile { path: path.to_owned(), text: String::new() }),
                span: 0..0,
                message: format!("the config cannot be read: {}", fsio::reason(&error)),
                hint,
            }]
        })?;
        Self::parse(path, &text, &|name| std::env::var(name).ok())
    }

    /// Checks the text of a config file. `path` names it in messages, and relative paths start at
    /// its folder; `env` gives environment variables.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the file.
    pub fn parse(path: &Path, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Diagnostic>> {
        let base = path.parent().unwrap_or(Path::new(""));
        let file = |name: &str| fsio::read_text(&base.join(name), MAX_SECRET_BYTES).map_err(|error| error.to_string());
        let mut reader = Reader::new(&keys::ROOT, text, Sources { env, file: &file }, TimeZone::UTC);
        let root = reader.read();
        let config = convert::config(path, &root, &mut reader);
        let (errors, warnings) = reader.finish(path);
        match config {
            Some(config) if errors.is_empty() => Ok(Loaded { config, warnings, text_hash: hash(text) }),
            _ => Err(errors),
        }
    }

    /// Names of the services, for messages.
    pub fn service_ids(&self) -> impl Iterator<Item = &ServiceId> {
        self.rules.services.iter().map(|service| &service.id)
    }
}

/// The first eight bytes of the text's SHA-256.
fn hash(text: &str) -> u64 {
    Sha256::digest(text).iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
