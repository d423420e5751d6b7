//! `incidents.canary`: targets that tell a fault of the monitor's own network from an outage.

use std::{sync::Arc, time::Duration};

use crate::{
    config::{
        reading::{Fields, Reader},
        values,
    },
    domain::{
        CheckId, Impact, ServiceId,
        service::{Cadence, Check, Http, HttpExpect, Probe, Service, Tcp},
    },
};

/// The canaries, as the checks of a service that nobody sees.
pub(super) fn canaries(fields: &Fields, reader: &mut Reader<'_>) -> Option<Arc<Service>> {
    let mut checks = Vec::new();
    for (n, (text, span)) in fields.list::<String>("canary").into_iter().enumerate() {
        match probe(&text) {
            Ok(probe) => checks.extend(CheckId::new(&format!("canary-{}", n + 1)).ok().map(|id| check(id, probe))),
            Err(wrong) => reader.error(span, wrong.message, wrong.hint),
        }
    }
    let id = ServiceId::of_canaries();
    (!checks.is_empty()).then(|| {
        Arc::new(Service {
            name: id.to_string(),
            id,
            group: None,
            description: String::new(),
            depends_on: Vec::new(),
            objective: None,
            acceptable_downtime: None,
            owners: Vec::new(),
            max_impact: Impact::None,
            notify_after: Duration::ZERO,
            checks,
        })
    })
}

fn probe(text: &str) -> Result<Probe, values::Wrong> {
    if let Some(target) = text.strip_prefix("tcp:") {
        let (host, port) = values::host_port(target)?;
        return Ok(Probe::Tcp(Tcp { host, port, send: None, expect_text: None }));
    }
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(values::Wrong::new(
            "a canary is `tcp:` with host and port, or an address that begins with `http`",
            "write `tcp:192.0.2.1:443` or `https://example.org/`",
        ));
    }
    let url = values::url(text, &["http", "https"])?;
    Ok(Probe::Http(Box::new(Http {
        url,
        method: "GET".to_owned(),
        headers: Vec::new(),
        body: None,
        basic_auth: None,
        client_cert: None,
        client_key: None,
        ca: None,
        insecure: false,
        follow_redirects: 0,
        proxy: None,
        max_body: 1 << 20,
        http_version: None,
        // Any answer shows that we can see.
        expect: HttpExpect { status: vec![(100, 599)], ..HttpExpect::default() },
    })))
}

fn check(id: CheckId, probe: Probe) -> Check {
    Check {
        id,
        enabled: true,
        cadence: Cadence::Every(Duration::from_mins(1)),
        timeout: Duration::from_secs(5),
        down_after: 1,
        up_after: 1,
        recheck: Duration::from_secs(5),
        degraded_over: None,
        degraded_after: 1,
        ip: None,
        probe,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{config::Config, domain::service::Probe};

    fn parse(list: &str) -> Result<Config, String> {
        let text = format!("[site]\nurl = \"https://status.example.org\"\n[incidents]\ncanary = {list}\n");
        Config::parse(Path::new("watchbell.toml"), &text, &|_| None)
            .map(|loaded| loaded.config)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn canaries_are_ports_and_addresses_of_the_web() {
        let config = parse(r#"["tcp:192.0.2.1:443", "https://example.org/"]"#).unwrap();
        let canaries = config.rules.canaries.unwrap();
        let ids: Vec<_> = canaries.checks.iter().map(|check| check.id.as_str()).collect();
        assert_eq!(ids, ["canary-1", "canary-2"]);
        assert!(matches!(&canaries.checks[0].probe, Probe::Tcp(tcp) if tcp.port == 443));
        assert_eq!(canaries.checks[1].probe.host(), "example.org");
        assert!(parse("[]").unwrap().rules.canaries.is_none());
    }

    #[test]
    fn what_is_no_canary_is_said_with_what_to_write() {
        let said = parse(r#"["icmp:192.0.2.1", "tcp:192.0.2.1"]"#).unwrap_err();
        assert!(said.contains("write `tcp:192.0.2.1:443` or `https://example.org/`"), "{said}");
        assert_eq!(said.matches("watchbell.toml:").count(), 2, "both are said: {said}");
    }
}
