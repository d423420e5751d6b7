//! The keys of `[[service.check]]`, and of `[defaults]`, which takes those that are not for one
//! check alone.

use crate::config::reading::{Key, Scope, Type};

/// The kinds of checks; each is also the key that names the target.
pub const KINDS: &[&str] = &["http", "tcp", "tls", "dns", "icmp", "command", "grpc", "heartbeat"];

const HTTP: &[&str] = &["http"];
const TCP: &[&str] = &["tcp"];

/// `[[service.check]]`.
pub static CHECK: Scope =
    Scope::new("[[service.check]]", "a check", "One probe of one target. Exactly one of the kinds.", KEYS);

/// `[defaults]`.
pub static DEFAULTS: Scope = Scope {
    header: "[defaults]",
    place: "`[defaults]`",
    doc: "Any key of a check but its id and target: what holds where a check says nothing else.",
    keys: KEYS,
    is_defaults: true,
};

const KEYS: &[Key] = &[
    Key::new("id", Type::CheckId, r#""health""#, "Unique in its service. Default: the kind, then `kind-2`, `kind-3`.")
        .per_check(),
    // Kinds.
    Key::new("http", Type::Url(&["http", "https"]), r#""https://api.example.org/health""#, "Asks a web server.")
        .only(HTTP)
        .per_check()
        .also(&["url", "target"]),
    Key::new("tcp", Type::HostPort, r#""db.internal:5432""#, "Opens a connection.")
        .only(TCP)
        .per_check()
        .also(&["host", "address"]),
    Key::new("tls", Type::HostPort, r#""mail.example.org:465""#, "Looks at a server's certificate.")
        .only(&["tls"])
        .per_check()
        .later("this version makes no `tls` checks: the check is left out"),
    Key::new("dns", Type::Host, r#""example.org""#, "Asks for a name.")
        .only(&["dns"])
        .per_check()
        .later("this version makes no `dns` checks: the check is left out"),
    Key::new("icmp", Type::Host, r#""router.example.org""#, "Sends an echo request.")
        .only(&["icmp"])
        .per_check()
        .also(&["ping"])
        .later("this version makes no `icmp` checks: the check is left out"),
    Key::new(
        "command",
        Type::List(&Type::Text),
        r#"["/usr/lib/nagios/plugins/check_disk", "-w", "10%"]"#,
        "Runs a program whose exit code follows the Nagios plugin API.",
    )
    .only(&["command"])
    .per_check()
    .also(&["exec", "script"])
    .later("this version makes no `command` checks: the check is left out"),
    Key::new("grpc", Type::HostPort, r#""api.example.org:50051""#, "Asks by the gRPC health protocol.")
        .only(&["grpc"])
        .per_check()
        .later("this version makes no `grpc` checks: the check is left out"),
    Key::new("heartbeat", Type::Secret, r#"{ env = "BACKUP_TOKEN" }"#, "Waits for the service to call `/push/TOKEN`.")
        .only(&["heartbeat"])
        .per_check()
        .also(&["push"])
        .later("this version makes no `heartbeat` checks: the check is left out"),
    // When.
    Key::new("every", Type::Duration("100ms", "7d"), r#""30s""#, "How often it is probed.").or(r#""60s""#).also(&[
        "interval",
        "period",
        "frequency",
    ]),
    Key::new("cron", Type::Cron, r#""*/5 * * * *""#, "When it is probed, in place of `every`.")
        .aside()
        .also(&["schedule"]),
    Key::new("timezone", Type::Zone, r#""Europe/Berlin""#, "The zone of `cron`. Default: that of the site.").aside(),
    Key::new(
        "timeout",
        Type::Duration("10ms", "1h"),
        r#""10s""#,
        "The most that one probe may take, name lookup included.",
    )
    .or(r#""10s""#),
    // When it counts.
    Key::new("down_after", Type::Integer(1, 1000), "3", "Failures in a row until it counts as down.").or("3").also(&[
        "retries",
        "failure_threshold",
        "threshold",
        "max_attempts",
    ]),
    Key::new("recheck", Type::Duration("10ms", "1h"), r#""5s""#, "The pace between a first change and the verdict.")
        .or(r#""5s""#)
        .also(&["retry_interval", "recheck_every"]),
    Key::new("up_after", Type::Integer(1, 1000), "2", "Successes in a row until it is up again.")
        .or("2")
        .also(&["success_threshold"]),
    Key::new("degraded_over", Type::Duration("1ms", "1h"), r#""2s""#, "Slower answers than this count as degraded."),
    Key::new("degraded_after", Type::Integer(1, 1000), "3", "Degraded answers in a row until it counts.").or("3"),
    Key::new("enabled", Type::Bool, "true", "Whether it is probed at all.").or("true"),
    Key::new("ip", Type::Choice(&[4, 6]), "4", "Only addresses of this family.").aside().also(&["ip_version"]),
    // HTTP.
    Key::new("method", Type::Words(METHODS), r#""GET""#, "The request's method.").or(r#""GET""#).only(HTTP),
    Key::new(
        "headers",
        Type::Map(&Type::Secret),
        r#"{ Authorization = "Bearer {env:API_TOKEN}" }"#,
        "Headers to send; a value may hold `{env:NAME}`.",
    )
    .only(HTTP)
    .also(&["header"]),
    Key::new("body", Type::Secret, r#""{\"ping\": true}""#, "What is sent.").only(HTTP).aside(),
    Key::new("basic_auth.username", Type::Text, r#""status""#, "The name to log in with.")
        .required()
        .aside()
        .only(HTTP),
    Key::new("basic_auth.password", Type::Secret, r#"{ env = "API_PASSWORD" }"#, "Its password.")
        .required()
        .aside()
        .only(HTTP),
    Key::new("client_cert", Type::Path, r#""client.pem""#, "A PEM file with our certificate.").only(HTTP).aside(),
    Key::new("client_key", Type::Path, r#""client.key""#, "A PEM file with its key.").only(HTTP).aside(),
    Key::new("ca", Type::Path, r#""ca.pem""#, "A PEM file with the only authorities to trust.").only(HTTP).aside(),
    Key::new("insecure", Type::Bool, "false", "Whether any certificate will do.")
        .or("false")
        .only(HTTP)
        .also(&["skip_verify", "insecure_skip_verify"]),
    Key::new("follow_redirects", Type::Integer(0, 20), "5", "How many redirects are followed; 0 for none.")
        .or("5")
        .only(HTTP)
        .also(&["max_redirects", "redirects"]),
    Key::new(
        "proxy",
        Type::Secret,
        r#""http://proxy.example.org:3128""#,
        "A proxy: `http://`, `https://` or `socks5://`.",
    )
    .only(HTTP)
    .aside(),
    Key::new("max_body", Type::Size(1024, 64 << 20), r#""1MiB""#, "How much of the answer is read.")
        .or(r#""1MiB""#)
        .only(HTTP),
    Key::new("http_version", Type::Words(&["1.1", "2"]), r#""1.1""#, "Only this version of HTTP.").only(HTTP).aside(),
    Key::new("expect.status", Type::OneOrMore(&Type::Statuses), r#"["2xx", 301]"#, "Statuses that are good.")
        .or(r#"["2xx"]"#)
        .only(HTTP),
    Key::new("expect.body", Type::Text, r#""ok""#, "Text that the answer must hold.").only(HTTP),
    Key::new(
        "expect.body_regex",
        Type::Regex,
        r#""(?i)all systems""#,
        "An expression that must match somewhere in it.",
    )
    .only(HTTP)
    .aside(),
    Key::new(
        "expect.json",
        Type::Map(&Type::Json),
        r#"{ "/status" = "ok" }"#,
        "Values that a JSON answer must have, by JSON pointer.",
    )
    .only(HTTP)
    .aside(),
    Key::new(
        "expect.header",
        Type::Map(&Type::Text),
        r#"{ Content-Type = "text/html" }"#,
        "Text that headers of the answer must hold.",
    )
    .only(HTTP)
    .also(&["expect.headers"])
    .aside(),
    // TCP.
    Key::new("send", Type::Secret, r#""PING\r\n""#, "What is sent once connected.").only(TCP),
    Key::new("expect.text", Type::Text, r#""PONG""#, "Text that must come back.").only(TCP),
    // Kinds of later versions.
    Key::new("warn_before", Type::Duration("1h", "366d"), r#""21d""#, "When owners hear that a certificate runs out.")
        .or(r#""21d""#)
        .only(&["tls"]),
    Key::new("record", Type::Words(RECORDS), r#""A""#, "The type of record.").or(r#""A""#).only(&["dns"]),
    Key::new("server", Type::Text, r#""192.0.2.53""#, "The name server to ask. Default: the system's.").only(&["dns"]),
    Key::new(
        "expect.answers",
        Type::OneOrMore(&Type::Text),
        r#"["192.0.2.10"]"#,
        "Answers that must be among those given.",
    )
    .only(&["dns"]),
    Key::new("grpc_service", Type::Text, r#""""#, "The service to ask about.").or(r#""""#).only(&["grpc"]),
    Key::new("grace", Type::Duration("0s", "30d"), r#""10m""#, "How late a call may come.")
        .or(r#""0s""#)
        .only(&["heartbeat"]),
];

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const RECORDS: &[&str] = &["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];
