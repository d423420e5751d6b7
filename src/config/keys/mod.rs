//! The one table of every key of `watchbell.toml`. The parser, its hints, the defaults, the example
//! and the JSON Schema all come from here; what the values mean together does not.

mod check;
mod service;

pub use check::{CHECK, DEFAULTS, KINDS};
pub use service::{GROUP, IMPACTS, SERVICE};

use super::reading::{Key, Scope, Type};

/// The most characters of a title or name.
const NAME: usize = 200;
/// The most characters of a description.
const TEXT: usize = 2000;

/// The file.
pub static ROOT: Scope = Scope::new(
    "",
    "the file",
    "",
    &[
        Key::new("site", Type::Table(&SITE), "", "").required(),
        Key::new("store", Type::Table(&STORE), "", ""),
        Key::new("server", Type::Table(&SERVER), "", ""),
        Key::new("operator", Type::Table(&OPERATOR), "", ""),
        Key::new("notes", Type::Table(&NOTES), "", ""),
        Key::new("defaults", Type::Table(&DEFAULTS), "", ""),
        Key::new("incidents", Type::Table(&INCIDENTS), "", ""),
        Key::new("email", Type::Table(&EMAIL), "", "").also(&["mail", "smtp"]),
        Key::new("subscriptions", Type::Table(&SUBSCRIPTIONS), "", ""),
        Key::new("heartbeat", Type::Table(&HEARTBEAT), "", "")
            .later("`[heartbeat]` is read, but this version calls no address while all is well"),
        Key::new("channel", Type::Tables(&CHANNEL), "", "")
            .later("`[[channel]]` is read, but this version tells nobody through channels: only mail is sent"),
        Key::new("group", Type::Tables(&GROUP), "", ""),
        Key::new("service", Type::Tables(&SERVICE), "", ""),
    ],
);

static LINK: Scope = Scope::new(
    "site.links",
    "a link",
    "",
    &[
        Key::new("label", Type::Line(NAME), r#""Docs""#, "What people read.").required(),
        Key::new("url", Type::Url(&["mailto", "http", "https"]), r#""https://docs.example.org""#, "Where it leads.")
            .required(),
    ],
);

/// `[site]`.
pub static SITE: Scope = Scope::new(
    "[site]",
    "`[site]`",
    "What the public sees, and where it is written.",
    &[
        Key::new("title", Type::Line(NAME), r#""Example Status""#, "Whose status this is.")
            .or(r#""Status""#)
            .also(&["name"]),
        Key::new(
            "url",
            Type::Url(&["http", "https"]),
            r#""https://status.example.org/""#,
            "The public address. All links in feeds and mails begin with it; it may have a path.",
        )
        .required()
        .also(&["base_url"]),
        Key::new("description", Type::Line(TEXT), r#""""#, "One sentence for search engines and feeds.").or(r#""""#),
        Key::new("timezone", Type::Zone, r#""Europe/Berlin""#, "The IANA zone whose days and clock the site shows.")
            .or(r#""UTC""#)
            .also(&["tz", "zone"]),
        Key::new("language", Type::Language, r#""en""#, "The language of the pages, as a BCP 47 tag.")
            .or(r#""en""#)
            .also(&["lang", "locale"]),
        Key::new("languages", Type::List(&Type::Language), "[]", "Further languages, whose pages lie under /LANG/.")
            .or("[]")
            .later("`languages` is read, but this version writes pages in `language` alone"),
        Key::new("output", Type::Path, r#""public""#, "The folder into which the site is written.").or(r#""public""#),
        Key::new(
            "templates",
            Type::Path,
            r#""""#,
            "A folder of templates, texts and styles; each replaces the built-in file of the same name (those of `site-templates/` in the sources).",
        )
        .or(r#""""#),
        Key::new("static", Type::Path, r#""""#, "A folder whose files are put into the site unchanged.").or(r#""""#),
        Key::new("logo", Type::Path, r#""""#, "An image to show beside the title.").or(r#""""#),
        Key::new("accent", Type::Colour, r##""#2563eb""##, "The colour of links and buttons.").or(r##""#2563eb""##),
        Key::new(
            "support",
            Type::Url(&["mailto", "http", "https"]),
            r#""mailto:help@example.org""#,
            "Where visitors find help.",
        ),
        Key::new(
            "links",
            Type::Tables(&LINK),
            r#"[{ label = "Docs", url = "https://docs.example.org" }]"#,
            "More links for the foot of each page.",
        )
        .or("[]"),
        Key::new("history_days", Type::Integer(1, 366), "90", "How many days the uptime bars cover.").or("90"),
        Key::new("noindex", Type::Bool, "false", "Whether search engines are asked to stay away.").or("false"),
    ],
);

/// `[store]`.
pub static STORE: Scope = Scope::new(
    "[store]",
    "`[store]`",
    "Where results, incidents and subscribers are kept.",
    &[
        Key::new("url", Type::Text, r#""sqlite:watchbell.db""#, "The database: `sqlite:` and a path.")
            .or(r#""sqlite:watchbell.db""#)
            .also(&["path"]),
        Key::new(
            "keep_results",
            Type::Duration("1h", "3660d"),
            r#""35d""#,
            "How long single results are kept. Outages and summaries stay for ever.",
        )
        .or(r#""35d""#),
        Key::new(
            "allow_volatile",
            Type::Bool,
            "false",
            "Whether the database may lie on a file system that a restart empties, or on a network.",
        )
        .or("false"),
    ],
);

/// `[server]`.
pub static SERVER: Scope = Scope::new(
    "[server]",
    "`[server]`",
    "The HTTP side: the site itself, subscribing, health and metrics.",
    &[
        Key::new("listen", Type::Socket, r#""127.0.0.1:8080""#, "Where it listens.")
            .or(r#""127.0.0.1:8080""#)
            .also(&["port", "address", "bind"]),
        Key::new("url", Type::Text, r#""""#, "The public address of the endpoints, where it differs from `site.url`.")
            .or(r#""""#),
        Key::new(
            "trusted_proxies",
            Type::List(&Type::Network),
            r#"["127.0.0.0/8", "::1/128"]"#,
            "Proxies that are believed when they say whom they speak for.",
        )
        .or(r#"["127.0.0.0/8", "::1/128"]"#),
        Key::new(
            "metrics",
            Type::SocketOrFalse,
            r#""127.0.0.1:9464""#,
            "Where Prometheus finds metrics; `false` for nowhere.",
        )
        .or("false"),
    ],
);

/// `[operator]`.
pub static OPERATOR: Scope = Scope::new(
    "[operator]",
    "`[operator]`",
    "Who hears about the monitor itself: bad files, mail that cannot be sent, overdue updates.",
    &[Key::new(
        "notify",
        Type::List(&Type::Text),
        r#"["ops@example.org"]"#,
        "Mail addresses, and channels as `channel:NAME`.",
    )
    .or("[]")],
);

/// `[notes]`.
pub static NOTES: Scope = Scope::new(
    "[notes]",
    "`[notes]`",
    "Where operators write about incidents and maintenance.",
    &[
        Key::new("dir", Type::Path, r#""notes""#, "The folder of notes.").or(r#""notes""#).also(&["path"]),
        Key::new(
            "settle",
            Type::Duration("0s", "1h"),
            r#""30s""#,
            "An update is sent out once its text has not changed for this long.",
        )
        .or(r#""30s""#),
    ],
);

/// `[incidents]`.
pub static INCIDENTS: Scope = Scope::new(
    "[incidents]",
    "`[incidents]`",
    "How failures become incidents.",
    &[
        Key::new(
            "merge_window",
            Type::Duration("0s", "1h"),
            r#""60s""#,
            "Related failures this soon after an incident's start belong to it.",
        )
        .or(r#""60s""#),
        Key::new(
            "gather",
            Type::Duration("0s", "10m"),
            r#""10s""#,
            "Messages wait this long so that others can join them. The site does not wait.",
        )
        .or(r#""10s""#),
        Key::new(
            "reopen_window",
            Type::Duration("0s", "1d"),
            r#""10m""#,
            "A failure this soon after an incident's end reopens it.",
        )
        .or(r#""10m""#),
        Key::new("auto_resolve", Type::Bool, "true", "Whether an incident ends by itself once all is well again.")
            .or("true"),
        Key::new(
            "canary",
            Type::List(&Type::Text),
            "[]",
            "Targets such as `tcp:192.0.2.1:443` or `https://example.org/` that tell a fault of the monitor's own network \
             from an outage: while all of them fail, nothing like them (on this machine, in private networks, public) is \
             called down. Name servers that fail are told apart only by one that is given by name.",
        )
        .or("[]")
        .also(&["canaries"]),
    ],
);

/// `[email]`.
pub static EMAIL: Scope = Scope::new(
    "[email]",
    "`[email]`",
    "How mail leaves. Without this table nobody is told by mail.",
    &[
        Key::new("from", Type::Mailbox, r#""Example Status <status@example.org>""#, "The sender.").required(),
        Key::new(
            "smtp",
            Type::Text,
            r#""smtps://mail.example.org""#,
            "The mail server: `smtp://` without encryption, `smtp+starttls://` or `smtps://` with; or `dir:PATH` to \
             write `.eml` files into a folder.",
        )
        .required()
        .also(&["url", "host", "server"]),
        Key::new("username", Type::Text, r#""status""#, "The name to log in with.").also(&["user", "login"]),
        Key::new("password", Type::Secret, r#"{ env = "SMTP_PASSWORD" }"#, "Its password.").also(&["pass", "secret"]),
        Key::new("connections", Type::Integer(1, 64), "4", "The most connections at a time.").or("4"),
        Key::new(
            "rate",
            Type::Rate,
            r#""50/s""#,
            "The most mails in a time. Without it: as fast as the server takes them.",
        ),
        Key::new(
            "envelope_from",
            Type::Text,
            r#""""#,
            "The address that bounces go to; `{token}` in it tells them apart: `bounces+{token}@example.org`.",
        )
        .or(r#""""#),
        Key::new("dkim.domain", Type::Host, r#""example.org""#, "The domain that signs.").required().aside(),
        Key::new("dkim.selector", Type::Text, r#""s1""#, "Which of its keys.").required().aside(),
        Key::new("dkim.key", Type::Secret, r#"{ file = "dkim.pem" }"#, "The private key, as PEM: RSA or Ed25519.")
            .required()
            .aside(),
    ],
);

/// `[subscriptions]`.
pub static SUBSCRIPTIONS: Scope = Scope::new(
    "[subscriptions]",
    "`[subscriptions]`",
    "How people ask for news.",
    &[
        Key::new(
            "enabled",
            Type::Bool,
            "true",
            "Whether the public can subscribe, by the form on the site. It needs `[email]`.",
        )
        .or("true"),
        Key::new("confirm_within", Type::Duration("5m", "30d"), r#""48h""#, "How long a confirmation link is good.")
            .or(r#""48h""#),
        Key::new(
            "webhooks",
            Type::Bool,
            "false",
            "Whether the public can have webhooks called, too: https and public addresses only.",
        )
        .or("false"),
    ],
);

/// `[heartbeat]`.
pub static HEARTBEAT: Scope = Scope::new(
    "[heartbeat]",
    "`[heartbeat]`",
    "An address to call while all is well with the monitor, so that somebody else notices when it stops.",
    &[
        Key::new("url", Type::Secret, r#""https://hc.example.org/ping""#, "What is called.").required(),
        Key::new("every", Type::Duration("10s", "1d"), r#""60s""#, "How often.").or(r#""60s""#),
    ],
);

/// `[[channel]]`.
pub static CHANNEL: Scope = Scope::new(
    "[[channel]]",
    "a channel",
    "A place where operators read news: a chat room, a webhook.",
    &[
        Key::new("name", Type::GroupId, r#""ops""#, "Its name, for `[operator]`.").required().also(&["id"]),
        Key::new("kind", Type::Words(CHANNEL_KINDS), r#""slack""#, "What kind of place.").required().also(&["type"]),
        Key::new("url", Type::Secret, r#"{ env = "OPS_SLACK" }"#, "Where messages go.").required(),
        Key::new("services", Type::List(&Type::ServiceId), r#"["api"]"#, "Only these services. Without it: all."),
        Key::new("notify_after", Type::Duration("0s", "30d"), r#""15m""#, "Only what is still wrong after this long.")
            .or(r#""0s""#),
        Key::new(
            "repeat_every",
            Type::Duration("0s", "30d"),
            r#""0s""#,
            "How often it is said again while it lasts; `0s` for once.",
        )
        .or(r#""0s""#),
    ],
);

/// Kinds of channels.
pub const CHANNEL_KINDS: &[&str] =
    &["slack", "discord", "teams", "mattermost", "matrix", "telegram", "ntfy", "gotify", "webhook"];
