//! Files that load, and what becomes of them.

use std::{fs, time::Duration};

use serde_json::json;
use watchbell::{
    config::{Config, Loaded, MailSecurity, MailTransport, OperatorTarget},
    domain::service::{Cadence, Check, Http, HttpVersion, IncidentRules, IpVersion, Probe},
};

use super::{compare, env, files, folder, shown};

fn load(name: &str) -> Loaded {
    let path = folder("valid").join(name);
    let text = fs::read_to_string(&path).unwrap();
    match Config::parse(&path, &text, &env) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{}", shown(&errors, &folder("valid"))),
    }
}

fn checks(config: &Config) -> &[Check] {
    &config.rules.services[0].checks
}

fn http(check: &Check) -> &Http {
    match &check.probe {
        Probe::Http(http) => http,
        Probe::Tcp(tcp) => panic!("{tcp:?}"),
    }
}

#[test]
fn good_files_load_and_say_what_will_not_happen() {
    let mut wrong = Vec::new();
    for path in files("valid") {
        let loaded = load(path.file_name().unwrap().to_str().unwrap());
        let said = shown(&loaded.warnings, &folder("valid"));
        wrong.extend(compare(&path.with_extension("txt"), &said).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_given_has_its_default() {
    let config = load("minimal.toml").config;
    let here = folder("valid");
    assert_eq!(config.site.url.as_str(), "https://status.example.org/");
    assert_eq!(config.server.url, config.site.url);
    assert_eq!((config.site.title.as_str(), config.site.timezone_name.as_str()), ("Status", "UTC"));
    assert_eq!((config.site.output, config.notes_dir), (here.join("public"), here.join("notes")));
    assert_eq!(config.store.path, here.join("watchbell.db"));
    assert_eq!(config.store.keep_results, Duration::from_hours(35 * 24));
    assert_eq!((config.server.listen.to_string().as_str(), config.server.metrics), ("127.0.0.1:8080", None));
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(config.rules.incidents, IncidentRules::default());
    assert!(config.email.is_none() && config.heartbeat.is_none() && config.operators.is_empty());
    assert!(config.subscriptions.enabled && !config.subscriptions.webhooks);
    assert_eq!((config.site.logo, config.site.support), (None, None));
}

#[test]
fn every_section_says_what_it_says() {
    let config = load("all_sections.toml").config;
    assert_eq!(config.site.links[0].0, "Docs");
    assert_eq!(config.site.timezone_name, "Europe/Berlin");
    assert_eq!(config.server.metrics.unwrap().port(), 9464);
    assert!(matches!(&config.operators[1], OperatorTarget::Channel(name) if name == "ops"));
    let email = config.email.unwrap();
    assert_eq!((email.from_name.as_str(), email.from.as_str()), ("Example Status", "status@example.org"));
    let server = MailTransport::Smtp { host: "mail.example.org".to_owned(), port: 465, security: MailSecurity::Tls };
    assert_eq!(email.transport, server);
    assert_eq!(email.credentials.unwrap().1.reveal(), "canary");
    assert!(email.dkim.unwrap().key.reveal().starts_with("-----BEGIN RSA"));
    assert_eq!(config.heartbeat.unwrap().every, Duration::from_mins(1));
    let [database, api] = config.rules.services.as_slice() else { panic!() };
    assert_eq!(api.depends_on, std::slice::from_ref(&database.id));
    assert_eq!((api.objective, api.acceptable_downtime), (Some(99_900), Some(Duration::from_mins(30))));
    assert_eq!(api.group.as_ref().unwrap(), &config.rules.groups[0].id);
    assert_eq!(api.checks[0].id.as_str(), "health");
    assert_eq!(http(&api.checks[0]).headers[0].1.reveal(), "Bearer canary");
    assert_eq!(http(&api.checks[0]).expect.status, [(200, 299), (301, 301)]);
}

#[test]
fn every_option_of_a_check_arrives() {
    let config = load("checks.toml").config;
    let checks = checks(&config);
    let ids: Vec<&str> = checks.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, ["http", "tcp", "tcp-2", "tcp-3", "tcp-4", "http-2"]);

    let check = &checks[0];
    let Cadence::Cron { patterns, written, timezone } = &check.cadence else { panic!() };
    assert_eq!(
        (patterns[0].as_str(), written.as_str(), timezone.as_str()),
        ("0 0 3 * * 2", "0 3 * * Mon", "America/New_York")
    );
    assert_eq!((check.timeout, check.recheck), (Duration::from_secs(7), Duration::from_secs(2)));
    assert_eq!([check.down_after, check.up_after, check.degraded_after], [4, 5, 6]);
    assert_eq!(check.degraded_over, Some(Duration::from_millis(1500)));
    assert_eq!((check.enabled, check.ip), (false, Some(IpVersion::V6)));
    let http_check = http(check);
    // The login of the address is kept apart from it.
    assert_eq!(http_check.url.as_str(), "https://api.example.org/health?deep=1");
    let (name, password) = http_check.basic_auth.as_ref().unwrap();
    assert_eq!((name.as_str(), password.reveal()), ("ann", "s@cret"));
    assert_eq!((http_check.method.as_str(), http_check.body.as_ref().unwrap().reveal()), ("POST", "canary"));
    assert_eq!(http_check.client_cert.as_deref(), Some(folder("valid").join("client.pem").as_path()));
    assert!(http_check.insecure && http_check.ca.is_some() && http_check.client_key.is_some());
    assert_eq!((http_check.follow_redirects, http_check.max_body), (0, 65_536));
    assert_eq!(http_check.proxy.as_ref().unwrap().reveal(), "socks5://127.0.0.1:1080");
    assert_eq!(http_check.http_version, Some(HttpVersion::Http2));
    let expect = &http_check.expect;
    assert_eq!(expect.status, [(200, 299), (301, 301), (400, 403)]);
    assert_eq!(expect.body.as_deref(), Some("ok"));
    assert!(expect.body_regex.as_ref().unwrap().is_match("ALL SYSTEMS GO"));
    assert_eq!(expect.json[""], json!({ "a": [true, 1.5] }));
    assert_eq!((&expect.json["/status"], &expect.json["/n"]), (&json!("ok"), &json!(1)));
    assert_eq!(expect.header["Content-Type"], "text/html");

    let Probe::Tcp(tcp) = &checks[1].probe else { panic!() };
    assert_eq!((tcp.host.as_str(), tcp.port), ("2001:db8::1", 6379));
    assert_eq!((tcp.send.as_ref().unwrap().reveal(), tcp.expect_text.as_deref()), ("PING\r\n", Some("PONG")));
    assert_eq!(http(&checks[5]).basic_auth.as_ref().unwrap().1.reveal(), "canary");
    assert_eq!(http(&checks[5]).expect.status, [(204, 204)]);
}

#[test]
fn defaults_hold_where_a_check_says_nothing_else() {
    let config = load("defaults.toml").config;
    let [first, second, third] = checks(&config) else { panic!() };
    assert_eq!((&first.cadence, first.timeout), (&Cadence::Every(Duration::from_secs(20)), Duration::from_secs(4)));
    assert_eq!((http(first).method.as_str(), http(first).expect.status.len()), ("HEAD", 2));
    // What would not fit a shorter interval is shortened with it.
    assert_eq!([second.timeout, second.recheck], [Duration::from_secs(2); 2]);
    let headers: Vec<_> = http(second).headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("User-Agent", "watch"), ("accept", "text/html")]);
    assert_eq!((http(second).method.as_str(), http(second).expect.status.as_slice()), ("GET", &[(200, 200)][..]));
    assert!(matches!(&third.cadence, Cadence::Cron { timezone, .. } if timezone == "UTC"));
    let Probe::Tcp(tcp) = &third.probe else { panic!() };
    assert_eq!(tcp.send.as_ref().unwrap().reveal(), "hello");
}

#[test]
fn checks_of_kinds_that_are_not_made_are_left_out() {
    let config = load("later.toml").config;
    assert_eq!(checks(&config).len(), 1);
}

#[test]
fn nothing_that_is_printed_shows_a_secret() {
    for path in files("valid") {
        let printed = format!("{:?}", load(path.file_name().unwrap().to_str().unwrap()).config);
        assert!(!printed.contains("canary") && !printed.contains("s@cret"), "{}: {printed}", path.display());
    }
}
