//! `[email]`: where mail goes, as whom, and how it is signed.

use std::path::Path;

use url::{Host, Url};

use crate::{
    config::{
        Dkim, Email, MailSecurity, MailTransport,
        reading::{Fields, Reader},
        signing::SigningKey,
        values,
    },
    domain::subscriber::Address,
    secret::Secret,
};

/// RFC 5321, section 4.5.3.1.1.
const LONGEST_LOCAL_PART: usize = 64;

const EXAMPLE: &str = "write `smtps://mail.example.org`, `smtp+starttls://...`, `smtp://...` or `dir:PATH`";

pub(super) fn email(fields: &Fields, base: &Path, reader: &mut Reader<'_>) -> Option<Email> {
    let from: Option<(String, Address)> = fields.get("from");
    let transport = fields.get::<String>("smtp").and_then(|text| transport(&text, fields, base, reader));
    let credentials = credentials(fields, transport.as_ref(), reader);
    let envelope_from: String = fields.get_or_default("envelope_from");
    if !envelope_from.is_empty() {
        check_envelope(&envelope_from, fields, reader);
    }
    let dkim = dkim(fields, reader);
    if let (Some(dkim), Some((_, from))) = (&dkim, &from) {
        let domain = from.domain();
        if domain != dkim.domain && !domain.ends_with(&format!(".{}", dkim.domain)) {
            reader.warning(
                fields.span("dkim.domain"),
                format!("mail from `{domain}` signed by `{}` counts as unsigned for DMARC", dkim.domain),
                format!("write `{domain}`"),
            );
        }
    }
    let (from_name, from) = from?;
    Some(Email {
        from_name,
        from,
        transport: transport?,
        credentials,
        connections: fields.get_or_default("connections"),
        rate_per_second: fields.get("rate"),
        envelope_from,
        dkim,
    })
}

/// With a token in it, it must still be an address that mail servers take.
fn check_envelope(text: &str, fields: &Fields, reader: &mut Reader<'_>) {
    const BOUNCES: &str = "write `bounces+{token}@example.org`";
    let (span, length) = (fields.span("envelope_from"), Email::TOKEN_LENGTH);
    if let Err(wrong) = values::address(&text.replace("{token}", "0")) {
        reader.error(span, wrong.message, BOUNCES);
    } else if values::address(&text.replace("{token}", &"0".repeat(length))).is_err() {
        let room = LONGEST_LOCAL_PART - length;
        let what = format!("a token has {length} characters, which leaves {room} for the rest before the `@`");
        reader.error(span, what, BOUNCES);
    }
}

fn transport(text: &str, fields: &Fields, base: &Path, reader: &mut Reader<'_>) -> Option<MailTransport> {
    let span = fields.span("smtp");
    if let Some(path) = text.strip_prefix("dir:") {
        if path.trim().is_empty() {
            reader.error(span, "`dir:` names no folder", "write `dir:mails`");
            return None;
        }
        return Some(MailTransport::Dir(base.join(path)));
    }
    let Ok(url) = Url::parse(text) else {
        reader.error(span, "this is not a mail server", EXAMPLE);
        return None;
    };
    let (security, usual_port) = match url.scheme() {
        "smtp" => (MailSecurity::Plain, 25),
        "smtp+starttls" => (MailSecurity::StartTls, 587),
        "smtps" => (MailSecurity::Tls, 465),
        scheme => {
            reader.error(span, format!("mail does not go to `{scheme}:`"), EXAMPLE);
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        reader.error(
            span,
            "user name and password do not stand in the address",
            "write `username = ...` and `password = ...`",
        );
        return None;
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        reader.error(span, "the address of a mail server ends with its name or port", EXAMPLE);
        return None;
    }
    let host = url.host().and_then(|host| match host {
        // These schemes are none that the URL standard knows: the host has not been looked at yet.
        Host::Domain(name) => values::host(name).ok(),
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    });
    let (Some(host), Some(port @ 1..)) = (host, Some(url.port().unwrap_or(usual_port))) else {
        reader.error(span, "this does not name a mail server", EXAMPLE);
        return None;
    };
    Some(MailTransport::Smtp { host, port, security })
}

fn credentials(
    fields: &Fields,
    transport: Option<&MailTransport>,
    reader: &mut Reader<'_>,
) -> Option<(String, Secret)> {
    for (given, other) in [("username", "password"), ("password", "username")] {
        if fields.has(given) && !fields.has(other) {
            reader.missing(
                fields.key_span(given),
                format!("`{given}` needs a `{other}`"),
                format!("add `{other} = ...`"),
            );
        }
    }
    let both = (fields.get("username")?, fields.get("password")?);
    if let Some(MailTransport::Smtp { host, security: MailSecurity::Plain, .. }) = transport
        && !is_loopback(host)
    {
        reader.error(
            fields.key_span("password"),
            "with `smtp://` the password would cross the network unencrypted",
            "use `smtps://` or `smtp+starttls://`",
        );
    }
    Some(both)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn dkim(fields: &Fields, reader: &mut Reader<'_>) -> Option<Dkim> {
    if !fields.has_within("dkim") {
        return None;
    }
    let selector: Option<String> = fields.get("dkim.selector");
    let is_label = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    if selector.as_deref().is_some_and(|selector| !is_label(selector)) {
        reader.error(
            fields.span("dkim.selector"),
            "this is not a DKIM selector",
            "write the part before `._domainkey`",
        );
    }
    let key: Option<Secret> = fields.get("dkim.key");
    if let Some(Err(wrong)) = key.as_ref().map(|key| SigningKey::parse(key.reveal())) {
        reader.error(fields.span("dkim.key"), wrong.to_string(), "make one: `openssl genrsa -out dkim.pem 2048`");
    }
    Some(Dkim { domain: fields.get("dkim.domain")?, selector: selector?, key: key? })
}
