//! `[[service.check]]` with what `[defaults]` adds to it.

use std::{collections::BTreeMap, time::Duration};

use super::service::{Surroundings, shown};
use crate::{
    config::{
        cron::Cron,
        keys::{self, KINDS},
        reading::{Fields, FromValue, Reader},
        values,
    },
    domain::{
        CheckId,
        service::{Cadence, Check, Http, HttpExpect, HttpVersion, IpVersion, Probe, Tcp},
    },
    secret::Secret,
};

/// A check's own keys, then those of `[defaults]` that are for its kind.
struct Both<'a> {
    own: &'a Fields,
    defaults: &'a Fields,
}

impl Both<'_> {
    fn get<T: FromValue>(&self, name: &str) -> Option<T> {
        if self.own.has(name) { self.own.get(name) } else { self.defaults.get(name) }
    }

    fn get_or_default<T: FromValue + Default>(&self, name: &str) -> T {
        self.get(name).unwrap_or_default()
    }

    fn list<T: FromValue>(&self, name: &str) -> Vec<T> {
        let fields = if self.own.has(name) { self.own } else { self.defaults };
        fields.list(name).into_iter().map(|(value, _)| value).collect()
    }

    /// Entries of both, the check's own in place of those of the same name.
    fn map<T: FromValue>(&self, name: &str) -> Vec<(String, T)> {
        let own = self.own.map::<T>(name);
        let more = self.defaults.map::<T>(name).into_iter();
        let more: Vec<_> =
            more.filter(|(key, ..)| !own.iter().any(|(name, ..)| name.eq_ignore_ascii_case(key))).collect();
        more.into_iter().chain(own).map(|(key, _, value)| (key, value)).collect()
    }
}

/// What can be wrong with `[defaults]` by itself.
pub(super) fn defaults(fields: &Fields, reader: &mut Reader<'_>) {
    one_cadence(fields, reader);
    header_names(fields, reader);
}

/// One check; `None` if it is unusable, which was reported, or of a kind that this version does
/// not make. `taken` counts the ids of its service.
pub(super) fn check(
    own: &Fields,
    around: &Surroundings<'_>,
    taken: &mut BTreeMap<String, u32>,
    reader: &mut Reader<'_>,
) -> Option<Check> {
    let kind = kind(own, reader)?;
    for (name, item) in own.items() {
        if let Some(key) = keys::CHECK.key(name)
            && !(key.only.is_empty() || key.only.contains(&kind))
        {
            reader.error(
                item.key.clone(),
                format!("`{name}` is for checks of the kind `{}`, and this one is `{kind}`", key.only.join("`, `")),
                "take it out",
            );
        }
    }
    let id = id(own, kind, taken, reader);
    let both = Both { own, defaults: around.defaults };
    let cadence = cadence(&both, around, reader);
    let interval = match &cadence {
        Cadence::Every(interval) => Some(*interval),
        Cadence::Cron { .. } => None,
    };
    let timeout = within(&both, "timeout", interval, reader);
    let recheck = within(&both, "recheck", interval, reader);
    let degraded_over: Option<Duration> = both.get("degraded_over");
    if own.has("degraded_over")
        && let Some(limit) = degraded_over.filter(|limit| *limit >= timeout)
    {
        reader.error(
            own.span("degraded_over"),
            format!("no answer is slower than {} and still in time: the timeout is {}", shown(limit), shown(timeout)),
            "write less than the timeout",
        );
    }
    let probe = match kind {
        "http" => Probe::Http(Box::new(http(&both, around, reader)?)),
        "tcp" => Probe::Tcp(tcp(&both)?),
        other => {
            later(other, own, reader);
            return None;
        }
    };
    Some(Check {
        id: id?,
        enabled: both.get("enabled").unwrap_or(true),
        cadence,
        timeout,
        down_after: both.get_or_default("down_after"),
        up_after: both.get_or_default("up_after"),
        recheck,
        degraded_over,
        degraded_after: both.get_or_default("degraded_after"),
        ip: match both.get::<i64>("ip") {
            Some(4) => Some(IpVersion::V4),
            Some(6) => Some(IpVersion::V6),
            _ => None,
        },
        probe,
    })
}

/// The one kind that the check is of.
fn kind(own: &Fields, reader: &mut Reader<'_>) -> Option<&'static str> {
    let mut given = KINDS.iter().filter(|kind| own.has(kind));
    let Some(first) = given.next() else {
        reader.missing(
            own.header(),
            "this check does not say what to probe",
            format!("add one of `{}`", KINDS.join("`, `")),
        );
        return None;
    };
    if let Some(second) = given.next() {
        reader.error(
            own.key_span(second),
            format!("this check is of two kinds: `{first}` and `{second}`"),
            "write a `[[service.check]]` for each",
        );
        return None;
    }
    Some(first)
}

/// The id as given, else the kind, `kind-2`, `kind-3`, … in the order of the file.
fn id(own: &Fields, kind: &str, taken: &mut BTreeMap<String, u32>, reader: &mut Reader<'_>) -> Option<CheckId> {
    if own.has("id") {
        let id: String = own.get("id")?;
        if taken.insert(id.clone(), 1).is_some() {
            reader.error(own.span("id"), format!("its service has another check `{id}`"), "give it an id of its own");
        }
        return CheckId::new(&id).ok();
    }
    let name = (1..).find_map(|n: u32| {
        let name = if n == 1 { kind.to_owned() } else { format!("{kind}-{n}") };
        (!taken.contains_key(&name)).then_some(name)
    })?;
    taken.insert(name.clone(), 1);
    CheckId::new(&name).ok()
}

fn one_cadence(fields: &Fields, reader: &mut Reader<'_>) {
    if fields.has("every") && fields.has("cron") {
        reader.error(fields.key_span("cron"), "`every` and `cron` exclude each other", "keep one of the two");
    }
}

fn cadence(both: &Both<'_>, around: &Surroundings<'_>, reader: &mut Reader<'_>) -> Cadence {
    one_cadence(both.own, reader);
    // The check's own word of either kind goes before that of the defaults.
    let fields = if both.own.has("every") || both.own.has("cron") { both.own } else { both.defaults };
    if both.own.has("timezone") && !fields.has("cron") {
        reader.error(
            both.own.key_span("timezone"),
            "`timezone` is the zone of `cron`, which is not given",
            "add `cron`, or take it out",
        );
    }
    match fields.get::<Cron>("cron") {
        Some(cron) => {
            let zone = both.get::<(jiff::tz::TimeZone, String)>("timezone");
            Cadence::Cron {
                patterns: cron.patterns,
                written: cron.written,
                timezone: zone.map_or_else(|| around.zone.to_owned(), |(_, name)| name),
            }
        }
        None => Cadence::Every(fields.get_or_default("every")),
    }
}

/// A length of time that must not exceed the interval: an error where the check itself says so,
/// else quietly the interval.
fn within(both: &Both<'_>, name: &str, interval: Option<Duration>, reader: &mut Reader<'_>) -> Duration {
    let length: Duration = both.get_or_default(name);
    match interval {
        Some(interval) if length > interval => {
            if both.own.has(name) {
                reader.error(
                    both.own.span(name),
                    format!("`{name}` is longer than the interval of {}", shown(interval)),
                    format!("write `{}` or less", shown(interval)),
                );
            }
            interval
        }
        _ => length,
    }
}

fn http(both: &Both<'_>, around: &Surroundings<'_>, reader: &mut Reader<'_>) -> Option<Http> {
    let own = both.own;
    let mut url: url::Url = own.get("http")?;
    let mut basic_auth =
        both.get::<String>("basic_auth.username").and_then(|name| Some((name, both.get("basic_auth.password")?)));
    if !url.username().is_empty() || url.password().is_some() {
        if own.has_within("basic_auth") {
            reader.error(own.span("http"), "user name and password are given twice", "take them out of the address");
        }
        // Kept apart from the address, which messages for the operator may show.
        let plain = |text: &str| percent_decoded(text);
        basic_auth = Some((plain(url.username()), Secret::new(plain(url.password().unwrap_or("")))));
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url.set_fragment(None);
    header_names(own, reader);
    let method: String = both.get_or_default("method");
    for name in ["expect.body", "expect.body_regex", "expect.json"] {
        if method == "HEAD" && own.has(name) {
            reader.error(own.key_span(name), format!("an answer to `HEAD` has no body for `{name}`"), "use `GET`");
        }
    }
    let path = |name: &str, reader: &mut Reader<'_>| {
        let text: String = both.get(name)?;
        let path = around.base.join(text);
        if !path.is_file() {
            let span = if own.has(name) { own.span(name) } else { around.defaults.span(name) };
            reader.error(span, format!("there is no file `{}`", path.display()), "");
        }
        Some(path)
    };
    let (client_cert, client_key, ca) = (path("client_cert", reader), path("client_key", reader), path("ca", reader));
    if client_cert.is_some() != client_key.is_some() {
        let (given, other) =
            if client_cert.is_some() { ("client_cert", "client_key") } else { ("client_key", "client_cert") };
        reader.missing(own.key_span(given), format!("`{given}` needs a `{other}`"), format!("add `{other} = ...`"));
    }
    let proxy: Option<Secret> = both.get("proxy");
    if let Some(proxy) = proxy.as_ref().filter(|_| own.has("proxy"))
        && let Err(wrong) = values::url(proxy.reveal(), &["socks5", "socks5h", "http", "https"])
    {
        reader.error(own.span("proxy"), wrong.message, "write `http://`, `https://` or `socks5://` and host and port");
    }
    Some(Http {
        url,
        method,
        headers: both.map("headers"),
        body: both.get("body"),
        basic_auth,
        client_cert,
        client_key,
        ca,
        insecure: both.get_or_default("insecure"),
        follow_redirects: both.get_or_default("follow_redirects"),
        proxy,
        max_body: both.get_or_default("max_body"),
        http_version: match both.get::<String>("http_version").as_deref() {
            Some("1.1") => Some(HttpVersion::Http1),
            Some("2") => Some(HttpVersion::Http2),
            _ => None,
        },
        expect: HttpExpect {
            status: both.list("expect.status"),
            body: both.get("expect.body"),
            body_regex: both.get("expect.body_regex"),
            json: both.map("expect.json").into_iter().collect(),
            header: both.map("expect.header").into_iter().collect(),
        },
    })
}

/// Headers that would end up as something else, and JSON pointers that point nowhere.
fn header_names(fields: &Fields, reader: &mut Reader<'_>) {
    let is_token = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    for key in ["headers", "expect.header"] {
        let names = if key == "headers" {
            fields.map::<Secret>(key).into_iter().map(|(name, span, value)| (name, span, Some(value))).collect()
        } else {
            fields.map::<String>(key).into_iter().map(|(name, span, _)| (name, span, None)).collect::<Vec<_>>()
        };
        for (name, span, value) in names {
            if !is_token(&name) {
                reader.error(span, format!("`{name}` is not the name of a header"), "write a name such as `Accept`");
            } else if value.is_some_and(|value| value.reveal().chars().any(|c| c.is_control() && c != '\t')) {
                reader.error(span, format!("the value of `{name}` holds a line end or another control character"), "");
            } else if key == "headers"
                && ["content-length", "transfer-encoding", "connection"].contains(&&*name.to_ascii_lowercase())
            {
                reader.error(span, format!("`{name}` follows from the request itself"), "take it out");
            }
        }
    }
    for (pointer, span, _) in fields.map::<serde_json::Value>("expect.json") {
        if !(pointer.is_empty() || pointer.starts_with('/')) {
            reader.error(
                span,
                format!("`{pointer}` is not a JSON pointer"),
                format!("write `\"/{}\"`", pointer.trim_start_matches("$.").replace('.', "/")),
            );
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let pair = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map_or_else(String::new, |(_, value)| value.into_owned())
}

fn tcp(both: &Both<'_>) -> Option<Tcp> {
    let (host, port) = both.own.get("tcp")?;
    Some(Tcp { host, port, send: both.get("send"), expect_text: both.get("expect.text") })
}

/// Checks of kinds that only a later version makes: what is wrong with them is said all the same.
fn later(kind: &str, own: &Fields, reader: &mut Reader<'_>) {
    if kind == "command" && own.has("command") && own.list::<String>("command").is_empty() {
        reader.error(own.span("command"), "`command` names no program", "write `[\"/path/to/program\"]`");
    }
    if kind == "dns"
        && let Some(server) = own.given::<String>("server")
        && values::host(&server).is_err()
        && values::host_port(&server).is_err()
    {
        reader.error(
            own.span("server"),
            format!("`{server}` is not a name server"),
            "write `192.0.2.53` or `192.0.2.53:53`",
        );
    }
}
