//! Who asked to be told, and of what.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    GroupId, Impact, ServiceId, SubscriberId,
    webhook::{BadUrl, WebhookUrl},
};

/// An e-mail address that a message can be sent to: one `@`, a local part of plain ASCII, a domain
/// with a dot (or an address literal's name such as `localhost` refused), in its ASCII form (IDNA).
///
/// `Debug` shows only that there is one: addresses of people stay out of logs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Longer than RFC 5321, section 4.5.3.1.3 allows.
    #[error("it is longer than 254 characters")]
    TooLong,
    /// Not `local@domain`.
    #[error("it is not of the form `name@example.org`")]
    Form,
    /// The part before the `@`.
    #[error("the part before the `@` has a character that mail servers refuse")]
    Local,
    /// The part after the `@`.
    #[error("the part after the `@` is not a domain such as `example.org`")]
    Domain,
}

impl Address {
    /// Checks an address and brings its domain into ASCII lower case.
    ///
    /// # Errors
    /// If no usual mail server would take it; quoted local parts are among those refused.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let text = text.trim();
        if text.len() > 1024 {
            return Err(BadAddress::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(BadAddress::Form)?;
        let is_atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b);
        if local.is_empty()
            || local.len() > 64
            || !local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
        {
            return Err(BadAddress::Local);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| BadAddress::Domain)?;
        let is_label =
            |label: &str| !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-');
        let top_is_number = domain.rsplit('.').next().is_none_or(|top| top.bytes().all(|b| b.is_ascii_digit()));
        if !domain.contains('.') || !domain.split('.').all(is_label) || top_is_number {
            return Err(BadAddress::Domain);
        }
        let whole = format!("{local}@{domain}");
        if whole.len() > 254 { Err(BadAddress::TooLong) } else { Ok(Self(whole)) }
    }

    /// The address itself, for the envelope and the operator's own lists.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(***)")
    }
}

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Address {
    type Error = BadAddress;
    fn try_from(text: String) -> Result<Self, BadAddress> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

/// By which way somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// By mail.
    Mail,
    /// By a request to an address of theirs.
    Webhook,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Mail, Self::Webhook];

    /// The word for it in the store and in lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
        }
    }
}

/// Where somebody is told. As text, a webhook is what begins with `https://`: no mail address does.
///
/// `Debug` shows only the way: a webhook is as private as an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// By mail.
    Mail(Address),
    /// By a request.
    Webhook(WebhookUrl),
}

/// Why nobody can be told there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDestination {
    /// As a mail address.
    #[error(transparent)]
    Mail(#[from] BadAddress),
    /// As a webhook.
    #[error(transparent)]
    Webhook(#[from] BadUrl),
}

impl Destination {
    /// Reads either: whatever has a scheme is meant as a webhook.
    ///
    /// # Errors
    /// If it is neither an address nor a webhook that can be called.
    pub fn parse(text: &str) -> Result<Self, BadDestination> {
        if text.contains("://") {
            Ok(Self::Webhook(WebhookUrl::parse(text)?))
        } else {
            Ok(Self::Mail(Address::parse(text)?))
        }
    }

    /// By which way.
    #[must_use]
    pub const fn way(&self) -> Way {
        match self {
            Self::Mail(_) => Way::Mail,
            Self::Webhook(_) => Way::Webhook,
        }
    }

    /// The address or URL itself, for the operator's own lists.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Mail(address) => address.as_str(),
            Self::Webhook(url) => url.as_str(),
        }
    }

    /// As it is compared: nobody has two mailboxes that differ in case alone.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Mail(address) => address.as_str().to_lowercase(),
            Self::Webhook(url) => url.as_str().to_owned(),
        }
    }

    /// The mail address, if it is one.
    #[must_use]
    pub const fn mail(&self) -> Option<&Address> {
        match self {
            Self::Mail(address) => Some(address),
            Self::Webhook(_) => None,
        }
    }

    /// The webhook, if it is one.
    #[must_use]
    pub const fn webhook(&self) -> Option<&WebhookUrl> {
        match self {
            Self::Mail(_) => None,
            Self::Webhook(url) => Some(url),
        }
    }
}

impl From<Address> for Destination {
    fn from(address: Address) -> Self {
        Self::Mail(address)
    }
}

impl From<WebhookUrl> for Destination {
    fn from(url: WebhookUrl) -> Self {
        Self::Webhook(url)
    }
}

impl PartialEq<Destination> for Address {
    fn eq(&self, other: &Destination) -> bool {
        other.mail() == Some(self)
    }
}

impl FromStr for Destination {
    type Err = BadDestination;
    fn from_str(text: &str) -> Result<Self, BadDestination> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Destination {
    type Error = BadDestination;
    fn try_from(text: String) -> Result<Self, BadDestination> {
        Self::parse(&text)
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        match destination {
            Destination::Mail(address) => address.into(),
            Destination::Webhook(url) => url.into(),
        }
    }
}

/// Someone who asked for news.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// Names them without naming their address.
    pub id: SubscriberId,
    /// Where to write.
    pub address: Destination,
    /// Whether they are written to.
    pub state: SubscriberState,
    /// What they want to hear of.
    pub wants: Wants,
    /// Language of their mails (BCP 47); `None`: the site's.
    pub language: Option<String>,
    /// Zone of the times in their mails (IANA); `None`: the site's.
    pub timezone: Option<String>,
    /// When they asked.
    pub created_at: Timestamp,
    /// When they confirmed, or the operator vouched for them.
    pub confirmed_at: Option<Timestamp>,
}

/// Whether a subscriber is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriberState {
    /// Asked, not yet confirmed: gets nothing but one confirmation.
    Pending,
    /// Gets what they chose.
    Confirmed,
    /// Their server refused for good: gets nothing until they subscribe again.
    Suspended,
}

impl SubscriberState {
    /// The word for it in JSON and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Suspended => "suspended",
        }
    }
}

/// What a subscriber wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    /// These services; with `groups` empty too: all.
    #[serde(default)]
    pub services: Vec<ServiceId>,
    /// Whatever is in these groups.
    #[serde(default)]
    pub groups: Vec<GroupId>,
    /// Whether incidents.
    pub incidents: bool,
    /// Whether planned work.
    pub maintenance: bool,
    /// Nothing of less impact.
    pub min_impact: Impact,
}

impl Default for Wants {
    fn default() -> Self {
        Self { services: Vec::new(), groups: Vec::new(), incidents: true, maintenance: true, min_impact: Impact::None }
    }
}

/// All that is theirs to say: of what they hear, and how it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What they want to hear of.
    pub wants: Wants,
    /// Language of their mails (BCP 47); `None`: the site's.
    pub language: Option<String>,
    /// Zone of the times in their mails (IANA); `None`: the site's.
    pub timezone: Option<String>,
}

impl Subscriber {
    /// What they chose.
    #[must_use]
    pub fn choice(&self) -> Choice {
        Choice { wants: self.wants.clone(), language: self.language.clone(), timezone: self.timezone.clone() }
    }

    /// The same person, who chose anew.
    #[must_use]
    pub fn choosing(self, choice: Choice) -> Self {
        Self { wants: choice.wants, language: choice.language, timezone: choice.timezone, ..self }
    }
}

impl Wants {
    /// Whether they follow `service`, which stands in `group`.
    #[must_use]
    pub fn follows(&self, service: &ServiceId, group: Option<&GroupId>) -> bool {
        (self.services.is_empty() && self.groups.is_empty())
            || self.services.contains(service)
            || group.is_some_and(|group| self.groups.contains(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_mail_servers_take_are_taken() {
        for (given, kept) in [
            ("ann@example.org", "ann@example.org"),
            (" Ann.B+news@Example.ORG ", "Ann.B+news@example.org"),
            ("u@bücher.example", "u@xn--bcher-kva.example"),
        ] {
            assert_eq!(Address::parse(given).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn addresses_that_could_do_harm_are_refused() {
        let long = format!("a@{}.org", "b.".repeat(200));
        for bad in [
            "",
            "ann",
            "@example.org",
            "ann@",
            "ann@localhost",
            "a b@example.org",
            "a@b@example.org",
            "\"a b\"@example.org",
            "a\r\nBcc: x@example.org",
            "a@example.org\r\nBcc: x",
            "a@example.org\0",
            "jörg@example.org",
            "a@[192.0.2.1]",
            "a@192.0.2.1",
            ".a@example.org",
            "a..b@example.org",
            "a@-b.org",
            "a@b..org",
            &long,
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_has_a_scheme_is_a_webhook_and_all_else_an_address() {
        let way = |text: &str| Destination::parse(text).map(|found| found.way());
        assert_eq!(way("ann@example.org"), Ok(Way::Mail));
        assert_eq!(way("https://ann@example.org/"), Err(BadUrl::Parts.into()));
        assert_eq!(way("https://example.org/hook"), Ok(Way::Webhook));
        assert_eq!(way("http://example.org/hook"), Err(BadUrl::Scheme.into()));
        let (one, two) = (Destination::parse("Ann@example.org"), Destination::parse("ann@EXAMPLE.org"));
        assert_eq!(one.unwrap().key(), two.unwrap().key());
        let (one, two) = (Destination::parse("https://EXAMPLE.org/A"), Destination::parse("https://example.org/a"));
        assert_ne!(one.unwrap().key(), two.unwrap().key(), "a path may tell them apart");
    }

    #[test]
    fn an_address_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Address::parse("ann@example.org").unwrap()), "Address(***)");
    }
}
