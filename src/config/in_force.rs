//! What the rules in force say, key by key, as texts to compare: so that a later config can be told
//! from the one by which results were made and judged.
//!
//! Whatever is asked of targets is kept as a digest, and secrets do not enter it: this lies in the
//! store.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write as _},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::values::shown;
use crate::domain::service::{Cadence, Check, Http, HttpExpect, Probe, Rules, Service, Tcp};

/// The table of `[incidents]` in [`InForce::tables`].
pub const INCIDENTS: &str = "[incidents]";

/// Keys and values of one table.
pub type Keys = BTreeMap<String, String>;

/// The rules in force, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Since when they say exactly this.
    pub since: Timestamp,
    /// By table: [`INCIDENTS`], a service (`api`), or a check that is switched on (`api/http`).
    pub tables: BTreeMap<String, Keys>,
}

impl InForce {
    /// What `rules` say.
    #[must_use]
    pub fn of(rules: &Rules, since: Timestamp) -> Self {
        let mut tables = BTreeMap::from([(INCIDENTS.to_owned(), incidents(rules))]);
        for service in &rules.services {
            tables.insert(service.id.to_string(), service_keys(service));
            for (key, check) in service.enabled_checks() {
                tables.insert(key.to_string(), check_keys(check));
            }
        }
        Self { since, tables }
    }
}

fn incidents(rules: &Rules) -> Keys {
    let of = &rules.incidents;
    let mut keys = Keys::new();
    let mut put = |name: &str, value: String| keys.insert(name.to_owned(), value);
    put("merge_window", shown(of.merge_window));
    put("gather", shown(of.gather));
    put("reopen_window", shown(of.reopen_window));
    put("auto_resolve", of.auto_resolve.to_string());
    let canaries = rules.canaries.iter().flat_map(|service| &service.checks);
    let canaries: Vec<_> = canaries.map(|check| &check.probe).collect();
    if !canaries.is_empty() {
        put("canary", digest(&canaries));
    }
    keys
}

fn service_keys(service: &Service) -> Keys {
    let mut keys = Keys::new();
    let mut put = |name: &str, value: String| keys.insert(name.to_owned(), value);
    if let Some(group) = &service.group {
        put("group", group.to_string());
    }
    if !service.depends_on.is_empty() {
        let needs: Vec<&str> = service.depends_on.iter().map(crate::domain::ServiceId::as_str).collect();
        put("depends_on", needs.join(", "));
    }
    put("max_impact", service.max_impact.as_str().to_owned());
    put("notify_after", shown(service.notify_after));
    keys
}

fn check_keys(check: &Check) -> Keys {
    // All of them are named, so that a new one is not forgotten.
    let Check {
        id: _,
        enabled: _,
        cadence,
        timeout,
        down_after,
        up_after,
        recheck,
        degraded_over,
        degraded_after,
        ip,
        probe,
    } = check;
    let mut keys = Keys::new();
    let mut put = |name: &str, value: String| keys.insert(name.to_owned(), value);
    match cadence {
        Cadence::Every(every) => put("every", shown(*every)),
        Cadence::Cron { patterns: _, written, timezone } => put("cron", format!("{written} ({timezone})")),
    };
    put("timeout", shown(*timeout));
    put("down_after", down_after.to_string());
    put("up_after", up_after.to_string());
    put("recheck", shown(*recheck));
    put("degraded_over", degraded_over.map_or_else(|| "off".to_owned(), shown));
    put("degraded_after", degraded_after.to_string());
    let mut ask = |name: &str, value: &dyn Debug, is_given: bool| {
        if is_given {
            keys.insert(name.to_owned(), digest(value));
        }
    };
    ask("ip", ip, ip.is_some());
    match probe {
        Probe::Http(http) => ask_http(http, &mut ask),
        Probe::Tcp(Tcp { host, port, send, expect_text }) => {
            ask("tcp", &(host, port), true);
            ask("send", send, send.is_some());
            ask("expect.text", expect_text, expect_text.is_some());
        }
    }
    keys
}

fn ask_http(http: &Http, ask: &mut dyn FnMut(&str, &dyn Debug, bool)) {
    let Http {
        url,
        method,
        headers,
        body,
        basic_auth,
        client_cert,
        client_key,
        ca,
        insecure,
        follow_redirects,
        proxy,
        max_body,
        http_version,
        expect: HttpExpect { status, body: expected, body_regex, json, header },
    } = http;
    ask("http", &url.as_str(), true);
    ask("method", method, method != "GET");
    ask("headers", headers, !headers.is_empty());
    ask("body", body, body.is_some());
    ask("basic_auth", basic_auth, basic_auth.is_some());
    ask("client_cert", client_cert, client_cert.is_some());
    ask("client_key", client_key, client_key.is_some());
    ask("ca", ca, ca.is_some());
    ask("insecure", insecure, *insecure);
    ask("follow_redirects", follow_redirects, true);
    ask("proxy", proxy, proxy.is_some());
    ask("max_body", max_body, true);
    ask("http_version", http_version, http_version.is_some());
    ask("expect.status", status, true);
    ask("expect.body", expected, expected.is_some());
    ask("expect.body_regex", &body_regex.as_ref().map(regex::Regex::as_str), body_regex.is_some());
    ask("expect.json", json, !json.is_empty());
    ask("expect.header", header, !header.is_empty());
}

/// The first six bytes of the SHA-256 of how a value prints; a secret prints as three stars.
fn digest(value: &dyn Debug) -> String {
    let mut text = String::from("#");
    for byte in Sha256::digest(format!("{value:?}")).iter().take(6) {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn in_force(check: &str) -> InForce {
        let text = format!(
            "[site]\nurl = \"https://status.example.org/\"\n[[service]]\nid = \"api\"\n[[service.check]]\n{check}\n"
        );
        let loaded = Config::parse(Path::new("watchbell.toml"), &text, &|name| Some(name.to_lowercase())).unwrap();
        InForce::of(&loaded.config.rules, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_is_asked_is_a_digest_and_a_secret_is_not_even_that() {
        let http = "http = \"https://u:pass-one@secret-host.example/?key=abc\"\nheaders = { A = { env = \"ONE\" } }";
        let one = in_force(http);
        let text = serde_json::to_string(&one).unwrap();
        assert!(!text.contains("secret-host") && !text.contains("abc") && !text.contains("one"), "{text}");
        assert_eq!(one, in_force(&http.replace("ONE", "TWO").replace("pass-one", "pass-two")));
        assert_ne!(one, in_force(&http.replace("key=abc", "key=abd")));
        assert_ne!(one, in_force(&http.replace("A =", "B =")));
        assert_eq!(serde_json::from_str::<InForce>(&text).unwrap(), one);
    }

    #[test]
    fn what_is_judged_by_is_written_as_in_the_config() {
        let keys = &in_force("tcp = \"db:1\"\ndown_after = 5\ntimeout = \"3s\"").tables["api/tcp"];
        assert_eq!((keys["down_after"].as_str(), keys["timeout"].as_str()), ("5", "3s"));
        assert_eq!((keys["degraded_over"].as_str(), keys["every"].as_str()), ("off", "1m"));
    }
}
