//! What the world knows of the sender: the DNS records by which other servers judge our mail, each
//! with what it says, and with the record to publish where one is missing. It looks and sends nothing.
//!
//! What is read: RFC 7208 (SPF), RFC 6376 and 8463 (DKIM), RFC 7489 (DMARC), RFC 7505 (null MX).

use std::fmt;

use serde::Serialize;

use self::zone::{Answer, Zone};
use crate::config::{Email, MailTransport, signing::SigningKey};

pub mod advice;
mod dkim;
mod dmarc;
mod spf;
pub mod zone;

/// How a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing; nothing need be done.
    Note,
    /// The name servers did not say.
    Unknown,
    /// It keeps mail from arriving.
    Bad,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Bad => "bad",
        }
    }
}

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// At which name.
    pub name: String,
    /// Of which type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// With which value.
    pub value: String,
}

impl fmt::Display for Record {
    /// As a line of a zone file: no string in it is longer than 255 bytes (RFC 1035, section 3.3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.name, self.kind)?;
        if self.kind != "TXT" {
            return write!(f, " {}", self.value);
        }
        let mut rest = self.value.as_str();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at_checked(255).unwrap_or((rest, ""));
            write!(f, " \"{piece}\"")?;
            rest = after;
        }
        Ok(())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What: `MX`, `SPF`, `DKIM`, `DMARC` or `alignment`.
    pub about: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What it is, what that means, and what to do, for somebody who never did this before.
    pub text: String,
    /// What to publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
}

impl Finding {
    fn new(about: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self { about, verdict, text: text.into(), record: None }
    }

    fn publish(self, name: &str, value: impl Into<String>) -> Self {
        let kind = if self.about == "MX" { "MX" } else { "TXT" };
        Self { record: Some(Record { name: name.to_owned(), kind, value: value.into() }), ..self }
    }
}

/// Who sends.
#[derive(Debug)]
pub struct Sender {
    /// The domain of `From`: what readers see.
    from: String,
    /// The domain of the envelope's sender: where bounces go, and what SPF is asked of.
    envelope: String,
    /// The relay, if mail leaves by one.
    relay: Option<String>,
    /// What signs.
    signer: Option<Signer>,
}

#[derive(Debug)]
struct Signer {
    domain: String,
    selector: String,
    key: SigningKey,
}

impl Sender {
    /// Who sends by `[email]`.
    #[must_use]
    pub fn new(email: &Email) -> Self {
        let envelope = email.envelope_from.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
        let signer = email.dkim.as_ref().and_then(|dkim| {
            // A key that cannot sign is refused with the config.
            let key = SigningKey::parse(dkim.key.reveal()).ok()?;
            Some(Signer { domain: dkim.domain.to_ascii_lowercase(), selector: dkim.selector.clone(), key })
        });
        Self {
            from: email.from.domain().to_owned(),
            // With a token in it, any name below it is as good.
            envelope: envelope.map_or_else(|| email.from.domain().to_owned(), |domain| domain.replace("{token}", "0")),
            relay: match &email.transport {
                MailTransport::Smtp { host, .. } => Some(host.clone()),
                MailTransport::Dir(_) => None,
            },
            signer,
        }
    }

    /// Looks up all that is known of the sender.
    #[must_use]
    pub fn look_up(&self, zone: &dyn Zone) -> Vec<Finding> {
        let mut findings = vec![mx(&self.envelope, zone)];
        findings.push(spf::look_up(&self.envelope, self.relay.as_deref(), zone));
        findings.push(match &self.signer {
            Some(signer) => dkim::look_up(&signer.domain, &signer.selector, &signer.key, zone),
            None => dkim::unsigned(),
        });
        let (policy, finding) = dmarc::look_up(&self.from, zone);
        findings.push(finding);
        findings.push(self.alignment(policy.as_ref()));
        findings
    }

    /// Whether what is proven by SPF or DKIM is the domain that readers see.
    fn alignment(&self, policy: Option<&dmarc::Policy>) -> Finding {
        let is_aligned = |domain: &str, is_strict: bool| {
            let below = |one: &str, other: &str| one.strip_suffix(other).is_some_and(|rest| rest.ends_with('.'));
            let of_one = |top: &str| [domain, &self.from].iter().all(|one| *one == top || below(one, top));
            domain == self.from
                || !is_strict
                    && (below(domain, &self.from) || below(&self.from, domain) || policy.is_some_and(|p| of_one(&p.at)))
        };
        let by_spf = is_aligned(&self.envelope, policy.is_some_and(|policy| policy.is_spf_strict));
        let by_dkim =
            self.signer.as_ref().map(|signer| is_aligned(&signer.domain, policy.is_some_and(|p| p.is_dkim_strict)));
        let from = &self.from;
        let about = |verdict, text: String| Finding::new("alignment", verdict, text);
        match (by_spf, by_dkim) {
            (true, Some(true)) => about(
                Verdict::Good,
                format!("both the envelope and the signature are of `{from}`, the domain that readers see in From"),
            ),
            (false, Some(true)) => about(
                Verdict::Good,
                format!(
                    "the signature is of `{from}`, which readers see in From; the envelope is of `{}`, so that SPF proves \
                     nothing for DMARC: the signature alone must",
                    self.envelope
                ),
            ),
            (true, Some(false)) => about(
                Verdict::Bad,
                format!(
                    "the signature is not of `{from}`, which readers see in From: sign with `dkim.domain = \"{from}\"`"
                ),
            ),
            (true, None) => about(
                Verdict::Note,
                format!(
                    "the envelope is of `{from}`, which readers see in From; SPF alone is lost when mail is forwarded"
                ),
            ),
            (false, Some(false)) => about(
                Verdict::Bad,
                format!(
                    "neither the envelope nor the signature is of `{from}`, which readers see in From: for DMARC this mail \
                     is forged; sign with `dkim.domain = \"{from}\"`"
                ),
            ),
            (false, None) => about(
                Verdict::Bad,
                format!(
                    "the envelope is of `{}` and readers see `{from}`: without a signature this mail is forged for DMARC; \
                     set `dkim`, or an `envelope_from` of `{from}`",
                    self.envelope
                ),
            ),
        }
    }
}

/// Whether anything can come back.
fn mx(domain: &str, zone: &dyn Zone) -> Finding {
    let about = |verdict, text: String| Finding::new("MX", verdict, text);
    let missing = |why: &str| {
        let text = format!("{why}: bounces and answers reach nobody, and many servers refuse mail from such a domain");
        about(Verdict::Bad, text).publish(domain, format!("10 mail.{domain}."))
    };
    match zone.mx(domain) {
        Answer::Found(servers) => match servers.as_slice() {
            [only] if only.is_empty() || only == "." => missing(&format!("`{domain}` says that it takes no mail")),
            servers => {
                about(Verdict::Good, format!("`{domain}` takes mail, so bounces find a way: {}", listed(servers)))
            }
        },
        Answer::Nothing => match zone.addresses(domain) {
            Answer::Found(_) => {
                about(Verdict::Note, format!("`{domain}` has no MX record, but an address, to which mail goes then"))
                    .publish(domain, format!("10 mail.{domain}."))
            }
            Answer::Nothing => missing(&format!("`{domain}` has neither an MX record nor an address")),
            Answer::Failed(why) => unknown("MX", domain, &why),
        },
        Answer::Failed(why) => unknown("MX", domain, &why),
    }
}

fn unknown(about: &'static str, name: &str, why: &str) -> Finding {
    Finding::new(about, Verdict::Unknown, format!("looking up `{name}` failed: {why}"))
}

fn listed(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).map(|name| name.trim_end_matches('.')).collect::<Vec<_>>().join(", ");
    let rest = names.len().saturating_sub(SHOWN);
    if rest == 0 { shown } else { format!("{shown} and {rest} more") }
}

#[cfg(test)]
mod tests;
