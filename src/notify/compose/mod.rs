//! A message as bytes: what it says in the reader's language and zone, as plain text and as HTML,
//! under headers that thread it, name its list and offer the way out.
//!
//! The same delivery always gives the same bytes: its date is the event's, its ids and boundary
//! come from the delivery's id. So a retry is a copy, and known as one.
//! What is read: RFC 5322, 2045, 2046 (form), 2369, 2919, 8058 (list), 3834 (automatic), 6376 (signed).

use std::{collections::BTreeMap, time::SystemTime};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use lettre::{
    Message,
    message::{
        Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use sha2::{Digest, Sha256};
use url::{Host, Url};

use self::{
    dkim::Signer,
    letter::{Frame, Letter, Slip, Source, Trial},
    stencil::{Known, Marks, Stencil, Stencils},
    templates::{Rendered, Templates},
};
use super::{ledger, plan::News, recipient::Directory, relay::Outgoing};
use crate::{
    config::{Config, Email, signing::BadKey},
    domain::{
        IncidentId, SubscriberId,
        asking::LetterKind,
        event::Event,
        id::DeliveryId,
        subscriber::{Address, Subscriber},
    },
    site::{
        catalog::CatalogError,
        words::{Names, Words},
    },
    untrusted,
};

pub mod dkim;
pub mod letter;
mod stencil;
pub mod templates;
#[cfg(test)]
mod tests;

/// The longest header value that is written.
const LONGEST_HEADER: usize = 200;

/// Why mails cannot be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A template.
    #[error("the template {}: {source}", source.name().unwrap_or("of a mail"))]
    Template {
        /// What is wrong with it.
        #[from]
        source: minijinja::Error,
    },
    /// A catalogue.
    #[error(transparent)]
    Words(#[from] CatalogError),
    /// The key to sign with.
    #[error("`email.dkim.key`: {0}")]
    Dkim(#[from] BadKey),
    /// An address or a header that cannot be written.
    #[error("a mail could not be put together: {0}")]
    Mail(String),
}

/// One message to be composed.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// What it is.
    pub news: News,
    /// Under which delivery it is sent.
    pub delivery: DeliveryId,
    /// To whom.
    pub subscriber: &'a Subscriber,
    /// What it tells of, oldest first.
    pub events: &'a [&'a Event],
    /// What its links open.
    pub tokens: &'a Tokens,
}

/// What links in a message open, and what its envelope says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The way out; of a question: the way never to be asked again.
    pub unsubscribe: String,
    /// What was chosen.
    pub manage: String,
    /// Which message comes back.
    pub envelope: String,
}

/// Where a message leads its reader for their own ends.
struct Links {
    leave: Url,
    manage: Url,
}

/// How long a link to one's choice is good: a mail may be read late, and passed on.
const MANAGE_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Tokens {
    /// Those of a letter; that to what was chosen is good until `manage_until`.
    #[must_use]
    pub fn of(letter: &ledger::Letter, ledger: &dyn ledger::Ledger, manage_until: Timestamp) -> Self {
        let id = letter.subscriber.id;
        let tokens = ledger.tokens(&id, manage_until, ledger::Sent::Letter(id), letter.at);
        match letter.kind {
            LetterKind::Confirm => Self { unsubscribe: ledger.stop_token(&id, &letter.mailbox), ..tokens },
            LetterKind::Settings | LetterKind::Welcome => tokens,
        }
    }
}

/// Makes messages: templates, words and the sender's facts, loaded once.
#[derive(Debug)]
pub struct Composer {
    templates: Templates,
    stencils: Stencils,
    /// By language tag, in lower case.
    words: BTreeMap<String, Words>,
    site_words: Words,
    names: Names,
    directory: Directory,
    from: Mailbox,
    sender: Address,
    envelope_from: String,
    signer: Option<Signer>,
    site_title: String,
    site_url: Url,
    server_url: Url,
    zone: TimeZone,
    accent: String,
    host: String,
}

impl Composer {
    /// Loads all that mails are made of.
    ///
    /// # Errors
    /// If a template, a catalogue or the DKIM key cannot be used.
    pub fn new(config: &Config, email: &Email) -> Result<Self, ComposeError> {
        let overrides = config.site.templates.as_deref();
        let load = |language: &str| {
            Ok::<_, CatalogError>(Words::load(language, overrides)?.with_site_language(&config.site.language))
        };
        let mut words = BTreeMap::new();
        for language in &config.site.languages {
            words.insert(language.to_ascii_lowercase(), load(language)?);
        }
        let name = header_text(&email.from_name);
        Ok(Self {
            templates: Templates::load(overrides)?,
            stencils: Stencils::default(),
            words,
            site_words: load(&config.site.language)?,
            names: Names::of(&config.rules),
            directory: Directory::new(&config.rules),
            from: Mailbox::new(Some(name).filter(|name| !name.is_empty()), mail_address(email.from.as_str())?),
            sender: email.from.clone(),
            envelope_from: email.envelope_from.clone(),
            signer: email.dkim.as_ref().map(Signer::new).transpose()?,
            site_title: untrusted::line(&config.site.title, 100),
            site_url: config.site.url.clone(),
            server_url: config.server.url.clone(),
            zone: config.site.timezone.clone(),
            accent: config.site.accent.clone(),
            host: host(&config.site.url),
        })
    }

    /// What telling needs to know of the services.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Composes one message.
    ///
    /// # Errors
    /// If a template does not fit its context, or there is nothing to tell.
    pub fn compose(&self, draft: &Draft<'_>) -> Result<Outgoing, ComposeError> {
        let subscriber = draft.subscriber;
        let last = *draft.events.last().ok_or_else(nothing)?;
        let to = mailbox(subscriber)?;
        let marks = Marks {
            delivery: draft.delivery,
            thread: thread_id(&last.incident, &subscriber.id),
            token: draft.tokens.unsubscribe.clone(),
            manage: draft.tokens.manage.clone(),
            to: to.as_str().to_owned(),
        };
        let known = self.stencils.known(draft);
        let copied = if let Known::Stencil(stencil) = &known { stencil.fill(&marks) } else { None };
        let bytes = if let Some(bytes) = copied {
            bytes
        } else {
            let bytes = self.write(draft, &marks)?;
            self.learn(draft, &marks, &known, &bytes);
            bytes
        };
        Ok(Outgoing {
            delivery: draft.delivery,
            subscriber: Some(subscriber.id),
            from: self.sender_for(&draft.tokens.envelope),
            to: to.clone(),
            at: last.recorded_at,
            bytes: self.signed(bytes, last.recorded_at).into(),
        })
    }

    /// Makes a stencil at the second message of a kind, and believes it only if it gives this
    /// message, to the byte.
    fn learn(&self, draft: &Draft<'_>, marks: &Marks, known: &Known, bytes: &[u8]) {
        let learned = match known {
            Known::Nothing => Known::Seen,
            Known::Seen => {
                let stencil = self.write(draft, &Stencil::marks()).map(|blank| Stencil::cut(&blank));
                match stencil {
                    Ok(stencil) if stencil.fill(marks).as_deref() == Some(bytes) => Known::Stencil(stencil.into()),
                    _ => Known::Unfit,
                }
            }
            Known::Stencil(_) | Known::Unfit => return,
        };
        self.stencils.learn(draft, learned);
    }

    /// What a message says: its subject and its two bodies.
    ///
    /// # Errors
    /// As [`Composer::compose`].
    pub fn render(&self, draft: &Draft<'_>) -> Result<Rendered, ComposeError> {
        self.render_with(draft, &self.links(&draft.tokens.unsubscribe, &draft.tokens.manage)?)
    }

    fn link(&self, path: &str, token: &str) -> Result<Url, ComposeError> {
        self.server_url.join(&format!("{path}/{token}")).map_err(|error| ComposeError::Mail(error.to_string()))
    }

    fn links(&self, unsubscribe: &str, manage: &str) -> Result<Links, ComposeError> {
        Ok(Links { leave: self.link("unsubscribe", unsubscribe)?, manage: self.link("manage", manage)? })
    }

    fn frame<'a>(&'a self, words: &'a Words, zone: Option<&'a TimeZone>, links: &'a Links) -> Frame<'a> {
        Frame {
            directory: &self.directory,
            names: &self.names,
            words,
            zone: zone.unwrap_or(&self.zone),
            site_title: &self.site_title,
            site_url: &self.site_url,
            accent: &self.accent,
            manage_url: links.manage.as_str(),
            leave_url: links.leave.as_str(),
        }
    }

    fn words_for(&self, subscriber: &Subscriber) -> &Words {
        subscriber.language.as_deref().map_or(&self.site_words, |language| self.words(language))
    }

    fn render_with(&self, draft: &Draft<'_>, links: &Links) -> Result<Rendered, ComposeError> {
        let subscriber = draft.subscriber;
        let zone = subscriber.timezone.as_deref().and_then(|name| TimeZone::get(name).ok());
        let letter = Letter::new(&Source {
            news: draft.news,
            events: draft.events,
            wants: &subscriber.wants,
            frame: self.frame(self.words_for(subscriber), zone.as_ref(), links),
        })
        .ok_or_else(nothing)?;
        Ok(self.templates.render(draft.news.as_str(), &letter)?)
    }

    /// One message, unsigned, for whoever the marks name.
    fn write(&self, draft: &Draft<'_>, marks: &Marks) -> Result<Vec<u8>, ComposeError> {
        let words = self.words_for(draft.subscriber);
        let links = self.links(&marks.token, &marks.manage)?;
        let last = *draft.events.last().ok_or_else(nothing)?;
        let rendered = self.render_with(draft, &links)?;

        let thread = &marks.thread;
        let mut headers = vec![
            ("In-Reply-To", format!("<{thread}@{}>", self.host)),
            ("References", format!("<{thread}@{}>", self.host)),
        ];
        headers.extend(self.list_headers(&links.leave));
        headers.push(("Content-Language", words.language().to_owned()));
        // The Date is when it was recorded, so that a thread reads in order whatever was backdated.
        self.bytes(marks.delivery, &marks.to, last.recorded_at, &rendered, &headers)
    }

    /// How long a link to one's choice is good.
    #[must_use]
    pub fn manage_for(&self) -> SignedDuration {
        MANAGE_FOR
    }

    /// Composes a letter; links to what was chosen are good until `manage_until`.
    ///
    /// # Errors
    /// If a template does not fit its context.
    pub fn compose_letter(
        &self,
        letter: &ledger::Letter,
        tokens: &Tokens,
        manage_until: Timestamp,
    ) -> Result<Outgoing, ComposeError> {
        let subscriber = &letter.subscriber;
        let to = mailbox(subscriber)?;
        let choice = &letter.choice;
        let words = choice.language.as_deref().map_or(&self.site_words, |language| self.words(language));
        let zone = choice.timezone.as_deref().and_then(|name| TimeZone::get(name).ok());
        let links = self.links(&tokens.unsubscribe, &tokens.manage)?;
        let confirm_url = self.link("confirm", &letter.token)?;
        let rendered = self.templates.render(
            letter.kind.as_str(),
            &Letter::slip(&Slip {
                kind: letter.kind,
                choice,
                events: &letter.events,
                confirm_url: confirm_url.as_str(),
                good_until: if letter.kind == LetterKind::Confirm { letter.good_until } else { manage_until },
                frame: self.frame(words, zone.as_ref(), &links),
            }),
        )?;
        let mut headers = vec![("Content-Language", words.language().to_owned())];
        // Who has not confirmed is on no list yet.
        if letter.kind != LetterKind::Confirm {
            headers.extend(self.list_headers(&links.leave));
        }
        let bytes = self.bytes(letter.id, to.as_str(), letter.at, &rendered, &headers)?;
        Ok(Outgoing {
            delivery: letter.id,
            subscriber: Some(subscriber.id),
            from: self.sender_for(&tokens.envelope),
            to: to.clone(),
            at: letter.at,
            bytes: self.signed(bytes, letter.at).into(),
        })
    }

    /// Composes a test message, with the headers of every other and a way out that leads nobody out.
    ///
    /// # Errors
    /// If a template does not fit its context.
    pub fn compose_trial(
        &self,
        id: DeliveryId,
        to: &Address,
        tokens: &Tokens,
        at: Timestamp,
    ) -> Result<Outgoing, ComposeError> {
        let links = self.links(&tokens.unsubscribe, &tokens.manage)?;
        let from = self.sender_for(&tokens.envelope);
        let letter = Letter::trial(&Trial {
            from: self.sender.as_str(),
            envelope: from.as_str(),
            signer: self.signer.as_ref().map(Signer::names),
            at,
            frame: self.frame(&self.site_words, None, &links),
        });
        let rendered = self.templates.render(templates::TRIAL, &letter)?;
        let mut headers = self.list_headers(&links.leave);
        headers.push(("Content-Language", self.site_words.language().to_owned()));
        let bytes = self.bytes(id, to.as_str(), at, &rendered, &headers)?;
        Ok(Outgoing { delivery: id, subscriber: None, from, to: to.clone(), at, bytes: self.signed(bytes, at).into() })
    }

    /// What names the list and its way out: RFC 2919, 2369, 8058.
    fn list_headers(&self, leave_url: &Url) -> Vec<(&'static str, String)> {
        let mut headers =
            vec![("List-Id", format!("<updates.{}>", self.host)), ("List-Unsubscribe", format!("<{leave_url}>"))];
        if is_one_click(leave_url) {
            headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
        }
        headers
    }

    /// Composes a plain message to an operator about the monitor itself.
    ///
    /// # Errors
    /// If it cannot be put together.
    pub fn compose_notice(
        &self,
        id: DeliveryId,
        to: &Address,
        subject: &str,
        text: &str,
        at: Timestamp,
    ) -> Result<Outgoing, ComposeError> {
        let subject = self.site_words.text("mail.subject", &[("site", &self.site_title), ("subject", subject)]);
        let builder = self.headed(id, to.as_str(), at, &subject, &[])?;
        let message = builder.singlepart(part(ContentType::TEXT_PLAIN, text)?).map_err(failed)?;
        let bytes = self.signed(message.formatted(), at);
        let from = self.sender.clone();
        Ok(Outgoing { delivery: id, subscriber: None, from, to: to.clone(), at, bytes: bytes.into() })
    }

    fn words(&self, language: &str) -> &Words {
        let tag = language.to_ascii_lowercase();
        let bare = tag.split('-').next().unwrap_or(&tag);
        self.words.get(&tag).or_else(|| self.words.get(bare)).unwrap_or(&self.site_words)
    }

    /// The envelope's sender, to which a bounce goes: it names the message if the config says so.
    fn sender_for(&self, token: &str) -> Address {
        Some(self.envelope_from.replace("{token}", token))
            .filter(|from| !from.is_empty())
            .and_then(|from| Address::parse(&from).ok())
            .unwrap_or_else(|| self.sender.clone())
    }

    fn bytes(
        &self,
        delivery: DeliveryId,
        to: &str,
        at: Timestamp,
        rendered: &Rendered,
        headers: &[(&'static str, String)],
    ) -> Result<Vec<u8>, ComposeError> {
        let body = MultiPart::alternative()
            .boundary(format!("=_watchbell_{}", simple(delivery)))
            .singlepart(part(ContentType::TEXT_PLAIN, &rendered.text)?)
            .singlepart(part(ContentType::TEXT_HTML, &rendered.html)?);
        let builder = self.headed(delivery, to, at, &rendered.subject, headers)?;
        Ok(builder.multipart(body).map_err(failed)?.formatted())
    }

    fn headed(
        &self,
        id: DeliveryId,
        to: &str,
        at: Timestamp,
        subject: &str,
        headers: &[(&'static str, String)],
    ) -> Result<lettre::message::MessageBuilder, ComposeError> {
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, mail_address(to)?))
            .date(SystemTime::from(at))
            .subject(header_text(subject))
            .message_id(Some(format!("<{id}@{}>", self.host)));
        let always = [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")];
        let always = always.map(|(name, value)| (name, value.to_owned()));
        for (name, value) in headers.iter().cloned().chain(always) {
            builder = builder.raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str(name),
                // A URL is never cut; nothing else here is long.
                untrusted::line(&value, 900),
            ));
        }
        Ok(builder)
    }

    fn signed(&self, message: Vec<u8>, at: Timestamp) -> Vec<u8> {
        match &self.signer {
            Some(signer) => signer.sign(&message, at),
            None => message,
        }
    }
}

/// A text in a header that people read. What looks like an encoded word (RFC 2047) would be decoded
/// by whoever shows it, line ends and all; there is no way to write it as it is but to part it.
fn header_text(text: &str) -> String {
    untrusted::line(text, LONGEST_HEADER).replace("=?", "= ?")
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn failed(error: lettre::error::Error) -> ComposeError {
    ComposeError::Mail(error.to_string())
}

/// Where a mail to them goes.
fn mailbox(subscriber: &Subscriber) -> Result<&Address, ComposeError> {
    let other = || ComposeError::Mail("whoever is told by a webhook has no address".to_owned());
    subscriber.address.mail().ok_or_else(other)
}

fn nothing() -> ComposeError {
    ComposeError::Mail("there is nothing to tell".to_owned())
}

/// One part of a message, encoded so that no line is long, empty of dots at its start, or ended by
/// anything but CRLF.
fn part(kind: ContentType, text: &str) -> Result<SinglePart, ComposeError> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        .map_err(|_| ComposeError::Mail("a text could not be encoded".to_owned()))?;
    Ok(SinglePart::builder().header(kind).body(body))
}

fn mail_address(address: &str) -> Result<lettre::Address, ComposeError> {
    address.parse().map_err(|error: lettre::address::AddressError| ComposeError::Mail(error.to_string()))
}

/// The id without hyphens: for a boundary.
fn simple(id: DeliveryId) -> String {
    id.to_string().replace('-', "")
}

/// The id of a message that was never sent, which starts the thread of one incident for one
/// subscriber. It names neither to others.
fn thread_id(incident: &IncidentId, subscriber: &SubscriberId) -> String {
    let mut hash = Sha256::new();
    hash.update(b"thread\0");
    hash.update(incident.as_str().as_bytes());
    hash.update([0]);
    hash.update(subscriber.as_bytes());
    hash.finalize().iter().take(16).fold("thread.".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

/// The name after the `@` of ids: the site's, in ASCII.
fn host(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(domain)) => domain.to_owned(),
        Some(Host::Ipv4(address)) => format!("[{address}]"),
        Some(Host::Ipv6(address)) => format!("[IPv6:{address}]"),
        None => "watchbell.invalid".to_owned(),
    }
}

/// Whether a mail program may leave on its reader's behalf (RFC 8058 wants `https`; on loopback
/// there is nobody to listen).
fn is_one_click(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost" || domain.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}
