//! What a form says: its fields, and what they ask for. Pure.
//!
//! A field that we do not know is none of our business; a value that we do not know is an error, since
//! somebody would hear of something else than they meant.

use jiff::tz::TimeZone;
use url::form_urlencoded;

use super::Takes;
use crate::domain::{
    GroupId, Impact, ServiceId,
    asking::Asking,
    service::Rules,
    subscriber::{Address, BadAddress, Choice, Destination, Wants},
    webhook::{BadUrl, WebhookUrl},
};

/// The fields of a form, in order.
pub(super) type Fields = Vec<(String, String)>;

/// Why nothing can be done with a form. Nothing of it depends on what is known of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No form that we can read.
    Body,
    /// No address, or several; or a webhook besides.
    NoAddress,
    /// A webhook, and the site takes none.
    NoWebhooks,
    /// A webhook that cannot be called, whoever's it is.
    Webhook(BadUrl),
    /// An address that cannot be written to, whoever it is.
    Address(BadAddress),
    /// A service that there is not.
    Service,
    /// A group that there is not.
    Group,
    /// Kinds of news that there are not, or none.
    Kind,
    /// An impact that there is not.
    Impact,
    /// No language tag.
    Language,
    /// No zone.
    Timezone,
}

impl Refusal {
    /// The key of the words for it.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Body => "asking.bad_body",
            Self::NoAddress => "asking.no_address",
            Self::NoWebhooks => "asking.no_webhooks",
            Self::Webhook(BadUrl::TooLong) => "asking.webhook_too_long",
            Self::Webhook(BadUrl::Port) => "asking.webhook_port",
            Self::Webhook(BadUrl::Host) => "asking.webhook_host",
            Self::Webhook(BadUrl::Form | BadUrl::Scheme | BadUrl::Parts) => "asking.webhook_form",
            Self::Address(BadAddress::TooLong) => "asking.too_long",
            Self::Address(BadAddress::Form) => "asking.bad_form",
            Self::Address(BadAddress::Local) => "asking.bad_local",
            Self::Address(BadAddress::Domain) => "asking.bad_domain",
            Self::Service => "asking.no_service",
            Self::Group => "asking.no_group",
            Self::Kind => "asking.no_kind",
            Self::Impact => "asking.no_impact",
            Self::Language => "asking.no_language",
            Self::Timezone => "asking.no_zone",
        }
    }
}

/// The fields of a body of that media type: what browsers send, and what `curl -d` and `curl -F` do.
pub(super) fn fields(media: &str, body: &[u8]) -> Result<Fields, Refusal> {
    let (essence, parameters) = media.split_once(';').unwrap_or((media, ""));
    match essence.trim().to_ascii_lowercase().as_str() {
        "" | "application/x-www-form-urlencoded" => Ok(form_urlencoded::parse(body).into_owned().collect()),
        "multipart/form-data" => multipart(&boundary(parameters).ok_or(Refusal::Body)?, body),
        _ => Err(Refusal::Body),
    }
}

fn boundary(parameters: &str) -> Option<String> {
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    (1..=70).contains(&value.len()).then_some(value)
}

/// RFC 7578, of texts alone.
fn multipart(boundary: &str, body: &[u8]) -> Result<Fields, Refusal> {
    let body = std::str::from_utf8(body).map_err(|_| Refusal::Body)?;
    let mark = format!("\r\n--{boundary}");
    // The first boundary has no line before it.
    let body = format!("\r\n{body}");
    let mut parts = body.split(mark.as_str());
    parts.next();
    let mut fields = Fields::new();
    for part in parts {
        if part.starts_with("--") {
            return Ok(fields);
        }
        let (head, value) = part.split_once("\r\n\r\n").ok_or(Refusal::Body)?;
        let name = head.lines().find_map(|line| {
            let (header, rest) = line.split_once(':')?;
            let rest = header.trim().eq_ignore_ascii_case("content-disposition").then_some(rest)?;
            rest.split_once("name=\"")?.1.split_once('"').map(|(name, _)| name.to_owned())
        });
        fields.push((name.ok_or(Refusal::Body)?, value.to_owned()));
    }
    Err(Refusal::Body) // cut short
}

fn values<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a str> {
    fields
        .iter()
        .filter(move |(field, _)| field == name)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

/// The last value of that name: what a form says twice, it says last where it matters.
pub(super) fn value<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    values(fields, name).last()
}

/// What a form asks for, of what the site `takes`.
pub(super) fn asking(fields: &Fields, rules: &Rules, takes: Takes) -> Result<Asking, Refusal> {
    let address = destination(fields, takes)?;
    let mut choice = choice(fields, rules, &Choice::default())?;
    if !(choice.wants.incidents || choice.wants.maintenance) {
        (choice.wants.incidents, choice.wants.maintenance) = (true, true);
    }
    Ok(Asking { address, choice })
}

/// Where news is to go: to one address or one webhook.
fn destination(fields: &Fields, takes: Takes) -> Result<Destination, Refusal> {
    let (mut addresses, mut webhooks) = (values(fields, "email"), values(fields, "webhook"));
    match (addresses.next(), webhooks.next(), addresses.next().or(webhooks.next())) {
        (Some(address), None, None) if takes.mail => {
            // Not trimmed of all that is blank: a line end within is never meant.
            Ok(Address::parse(address).map_err(Refusal::Address)?.into())
        }
        (None, Some(_), None) if !takes.webhooks => Err(Refusal::NoWebhooks),
        (None, Some(url), None) => match WebhookUrl::parse(url) {
            Ok(url) if url.is_inner() => Err(Refusal::Webhook(BadUrl::Host)),
            Ok(url) => Ok(url.into()),
            Err(why) => Err(Refusal::Webhook(why)),
        },
        _ => Err(Refusal::NoAddress),
    }
}

/// What a form chooses, of what there is, and of what was chosen `before` and is not there any more: no
/// form can show that. No service and no group: all of them.
pub(super) fn choice(fields: &Fields, rules: &Rules, before: &Choice) -> Result<Choice, Refusal> {
    let mut wants = Wants { incidents: false, maintenance: false, ..Wants::default() };
    for value in values(fields, "service") {
        let id = ServiceId::new(value).map_err(|_| Refusal::Service)?;
        if !is_service(rules, &id) && !before.wants.services.contains(&id) {
            return Err(Refusal::Service);
        }
        if !wants.services.contains(&id) {
            wants.services.push(id);
        }
    }
    for value in values(fields, "group") {
        let id = GroupId::new(value).map_err(|_| Refusal::Group)?;
        if !is_group(rules, &id) && !before.wants.groups.contains(&id) {
            return Err(Refusal::Group);
        }
        if !wants.groups.contains(&id) {
            wants.groups.push(id);
        }
    }
    if !(wants.services.is_empty() && wants.groups.is_empty()) {
        let services = before.wants.services.iter().filter(|id| !is_service(rules, id));
        let services: Vec<_> = services.filter(|id| !wants.services.contains(id)).cloned().collect();
        let groups = before.wants.groups.iter().filter(|id| !is_group(rules, id));
        let groups: Vec<_> = groups.filter(|id| !wants.groups.contains(id)).cloned().collect();
        wants.services.extend(services);
        wants.groups.extend(groups);
    }
    for kind in values(fields, "kinds").flat_map(|value| value.split([',', ' '])).filter(|kind| !kind.is_empty()) {
        match kind {
            "incidents" => wants.incidents = true,
            "maintenance" => wants.maintenance = true,
            _ => return Err(Refusal::Kind),
        }
    }
    if let Some(impact) = value(fields, "min_impact") {
        wants.min_impact = impact.parse::<Impact>().map_err(|_| Refusal::Impact)?;
    }
    let language = value(fields, "language");
    let is_tag =
        |text: &str| (2..=35).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !language.is_none_or(is_tag) {
        return Err(Refusal::Language);
    }
    let timezone = value(fields, "timezone");
    if !timezone.is_none_or(|name| name.len() <= 64 && TimeZone::get(name).is_ok()) {
        return Err(Refusal::Timezone);
    }
    Ok(Choice { wants, language: language.map(str::to_owned), timezone: timezone.map(str::to_owned) })
}

fn is_service(rules: &Rules, id: &ServiceId) -> bool {
    rules.services.iter().any(|service| service.id == *id)
}

fn is_group(rules: &Rules, id: &GroupId) -> bool {
    rules.groups.iter().any(|group| group.id == *id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::story::rules;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn ask(body: &str) -> Result<Asking, Refusal> {
        asking(&fields(FORM, body.as_bytes())?, &rules(&["api", "web"]), BOTH)
    }

    const BOTH: Takes = Takes { mail: true, webhooks: true };

    #[test]
    fn a_webhook_is_taken_where_the_site_takes_any_and_only_a_public_one() {
        let asked = ask("webhook=https%3A%2F%2FExample.org%2Fx&email=&service=api").unwrap();
        assert_eq!(asked.address.as_str(), "https://example.org/x");
        for (body, refusal) in [
            ("webhook=https://example.org/&email=a@example.org", Refusal::NoAddress),
            ("webhook=https://example.org/&webhook=https://example.net/", Refusal::NoAddress),
            ("webhook=http://example.org/", Refusal::Webhook(BadUrl::Scheme)),
            ("webhook=https://10.0.0.1/", Refusal::Webhook(BadUrl::Host)),
            ("webhook=https://[::ffff:127.0.0.1]/", Refusal::Webhook(BadUrl::Host)),
            ("webhook=https://169.254.169.254/latest/", Refusal::Webhook(BadUrl::Host)),
            ("webhook=https://localhost/", Refusal::Webhook(BadUrl::Host)),
            ("webhook=https://example.org:22/", Refusal::Webhook(BadUrl::Port)),
        ] {
            assert_eq!(ask(body), Err(refusal), "{body}");
        }
        let fields = fields(FORM, b"webhook=https://example.org/").unwrap();
        let mail = Takes { mail: true, webhooks: false };
        assert_eq!(asking(&fields, &rules(&["api"]), mail), Err(Refusal::NoWebhooks));
    }

    #[test]
    fn an_address_alone_asks_for_everything() {
        let asking = ask("email=Ann%2Bnews%40Example.org").unwrap();
        assert_eq!(asking.address.as_str(), "Ann+news@example.org");
        assert_eq!(asking.choice, Choice::default());
        assert_eq!(ask("email=u%40b%C3%BCcher.example").unwrap().address.as_str(), "u@xn--bcher-kva.example");
    }

    #[test]
    fn all_that_can_be_chosen_is_taken() {
        let asking =
            ask("email=a@example.org&service=api&service=web&service=api&kinds=incidents&min_impact=major&language=de\
             &timezone=Europe%2FBerlin&unknown=x");
        let choice = asking.unwrap().choice;
        assert_eq!(choice.wants.services.len(), 2);
        assert_eq!((choice.wants.incidents, choice.wants.maintenance), (true, false));
        assert_eq!(choice.wants.min_impact, Impact::Major);
        assert_eq!((choice.language.as_deref(), choice.timezone.as_deref()), (Some("de"), Some("Europe/Berlin")));
        assert!(ask("email=a@example.org&service=&kinds=&min_impact=&language=&timezone=").is_ok(), "empty is nothing");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        use BadAddress::{Domain, Form, Local, TooLong};
        let long = format!("email={}@{}.example", "a".repeat(64), "b".repeat(60).repeat(4));
        for (body, refusal) in [
            ("", Refusal::NoAddress),
            ("email=", Refusal::NoAddress),
            ("email=a@example.org&email=b@example.org", Refusal::NoAddress),
            ("email=ann", Refusal::Address(Form)),
            ("email=a%00@example.org", Refusal::Address(Local)),
            ("email=a@example.org%00", Refusal::Address(Domain)),
            ("email=a%0d%0aBcc:%20x@example.org", Refusal::Address(Local)),
            ("email=a@example.org%0d%0aBcc:%20x@y.example", Refusal::Address(Local)),
            ("email=%22a%20b%22@example.org", Refusal::Address(Local)),
            ("email=a@[192.0.2.1]", Refusal::Address(Domain)),
            ("email=a@example.org&service=nope", Refusal::Service),
            ("email=a@example.org&group=nope", Refusal::Group),
            ("email=a@example.org&kinds=weather", Refusal::Kind),
            ("email=a@example.org&min_impact=huge", Refusal::Impact),
            ("email=a@example.org&language=%3Cb%3E", Refusal::Language),
            ("email=a@example.org&timezone=Mars/Base", Refusal::Timezone),
        ] {
            assert_eq!(ask(body), Err(refusal), "{body}");
        }
        assert!(matches!(ask(&long), Err(Refusal::Address(TooLong | Domain))));
    }

    #[test]
    fn a_form_in_parts_says_the_same() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\na@example.org\r\n--b\r\n\
                    content-disposition: form-data; name=\"service\"\r\n\r\napi\r\n--b--\r\n";
        let parts = fields("multipart/form-data; boundary=b", body.as_bytes()).unwrap();
        assert_eq!(asking(&parts, &rules(&["api"]), BOTH), ask("email=a@example.org&service=api"));
        for (media, body) in [
            ("multipart/form-data", body),
            ("multipart/form-data; boundary=c", body),
            ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\na@ex"),
            ("multipart/form-data; boundary=b", "--b\r\nno head\r\n--b--"),
            ("application/json", "{}"),
        ] {
            assert_eq!(fields(media, body.as_bytes()), Err(Refusal::Body), "{media}");
        }
    }

    #[test]
    fn what_is_watched_no_more_stays_chosen() {
        let gone = ServiceId::new("gone").unwrap();
        let mut before = Choice::default();
        before.wants.services.push(gone.clone());
        let choose = |body: &str| choice(&fields(FORM, body.as_bytes()).unwrap(), &rules(&["api"]), &before).unwrap();
        assert_eq!(choose("service=api&kinds=incidents").wants.services, [ServiceId::new("api").unwrap(), gone]);
        assert!(choose("kinds=incidents").wants.services.is_empty(), "all of them");
    }
}
