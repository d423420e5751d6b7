//! Makes the pages for subscribers, by the templates and in the words of the site.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{Chosen, Joined};
use crate::{
    config::Config,
    domain::subscriber::Choice,
    secret::Secret,
    site::{
        SiteError,
        context::Context,
        feeds::Authority,
        view::{self, Base, choices::Choices},
    },
};

/// Templates, words, and what stands in every page.
#[derive(Debug)]
pub struct Press {
    context: Context,
    policy: String,
    /// The site's own address, if it is another than that of these pages.
    elsewhere: Option<String>,
    /// The same for readers of further languages, by tag in lower case.
    others: BTreeMap<String, Press>,
}

/// What is said of a choice that was just sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Nothing: it was not sent, only looked at.
    None,
    /// It is in force.
    Saved,
    /// It cannot be, and why: a key of the catalogue.
    Wrong(&'static str),
}

#[derive(Serialize)]
struct Form {
    base: Base,
    text: String,
    button: String,
}

#[derive(Serialize)]
struct Message {
    base: Base,
    text: String,
    more: String,
    /// A link, if there is one: its label is never empty.
    link: Option<view::Link>,
    /// What signs the calls of a webhook.
    secret: Option<String>,
}

#[derive(Serialize)]
struct Manage {
    base: Base,
    text: String,
    secret: Option<String>,
    notice: Option<Said>,
    choice: Choices,
}

#[derive(Serialize)]
struct Said {
    class: &'static str,
    text: String,
}

/// How deep a page lies below the site.
#[derive(Clone, Copy)]
enum Depth {
    /// Such as `/subscribe`.
    Beside,
    /// Such as `/confirm/TOKEN`.
    Below,
}

impl Press {
    /// Loads templates and words, in every language that may be chosen.
    ///
    /// # Errors
    /// If a template, a catalogue or the logo of the operator's cannot be used.
    pub(super) fn new(config: &Config) -> Result<Self, SiteError> {
        let mut press = Self::load(config)?;
        for language in config.site.languages.iter().filter(|language| **language != config.site.language) {
            let mut other = Self::load(config)?;
            other.context = other.context.speaking(language)?;
            press.others.insert(language.to_ascii_lowercase(), other);
        }
        Ok(press)
    }

    fn load(config: &Config) -> Result<Self, SiteError> {
        // No feed is made here: who would mint its ids does not matter.
        let authority = Authority::mint(&config.site.url, Timestamp::UNIX_EPOCH);
        let context = Context::load(config, authority, false)?;
        let is_elsewhere = config.server.url != config.site.url;
        let elsewhere = is_elsewhere.then(|| config.site.url.to_string());
        Ok(Self { context, policy: policy(config), elsewhere, others: BTreeMap::new() })
    }

    /// The one for a reader who chose `language`, as mails choose it; else the site's.
    pub(super) fn for_reader(&self, language: Option<&str>) -> &Self {
        let Some(tag) = language.map(str::to_ascii_lowercase) else { return self };
        let bare = tag.split('-').next().unwrap_or(&tag);
        self.others.get(&tag).or_else(|| self.others.get(bare)).unwrap_or(self)
    }

    /// The same, once the pages that are made later were made once.
    ///
    /// # Errors
    /// If a template does not fit.
    pub(super) fn proven(self) -> Result<Self, SiteError> {
        let secret = Some(Secret::new("whsec_"));
        for press in std::iter::once(&self).chain(self.others.values()) {
            press.confirmed(&Joined { manage: String::new(), secret: secret.clone() })?;
            press.manage(&Chosen { choice: Choice::default(), secret: secret.clone() }, Notice::Saved)?;
        }
        Ok(self)
    }

    /// What the pages may load.
    pub(super) fn policy(&self) -> &str {
        &self.policy
    }

    /// A question with one button.
    pub(super) fn button(&self, title: &str, text: &str, button: &str) -> Result<Bytes, SiteError> {
        let form = Form { base: self.base(title, Depth::Below), text: self.words(text), button: self.words(button) };
        Ok(self.context.templates.render("unsubscribe.html", form)?.into())
    }

    /// That no news comes any more.
    pub(super) fn left(&self) -> Result<Bytes, SiteError> {
        self.say("unsubscribe.done", "unsubscribe.done_text", "unsubscribe.done_more", Depth::Below, None)
    }

    /// A few words, at the address of the form.
    pub(super) fn beside_site(&self, title: &str, text: &str, more: &str) -> Result<Bytes, SiteError> {
        self.say(title, text, more, Depth::Beside, None)
    }

    /// That a link is too old, with the way to a new one.
    pub(super) fn old(&self, text: &str) -> Result<Bytes, SiteError> {
        let href = format!("{}subscribe/", self.root(Depth::Below));
        let link = view::Link { text: self.words("confirm.form"), href };
        self.say("confirm.old", text, "", Depth::Below, Some(link))
    }

    /// That news comes from now on.
    pub(super) fn confirmed(&self, joined: &Joined) -> Result<Bytes, SiteError> {
        let href = format!("../manage/{}", joined.manage);
        let (more, manage) = match joined.secret {
            Some(_) => ("confirm.done_webhook", "confirm.manage_webhook"),
            None => ("confirm.done_more", "confirm.manage"),
        };
        let message = Message {
            base: self.base("confirm.done", Depth::Below),
            text: self.words("confirm.done_text"),
            more: self.words(more),
            link: Some(view::Link { text: self.words(manage), href }),
            secret: shown(joined.secret.as_ref()),
        };
        Ok(self.context.templates.render("message.html", message)?.into())
    }

    /// What was chosen, to be changed.
    pub(super) fn manage(&self, chosen: &Chosen, notice: Notice) -> Result<Bytes, SiteError> {
        let notice = match notice {
            Notice::None => None,
            Notice::Saved => Some(Said { class: "ok", text: self.words("manage.saved") }),
            Notice::Wrong(why) => {
                let text = format!("{} {}", self.words("manage.wrong"), self.words(why));
                Some(Said { class: "outage", text })
            }
        };
        let page = Manage {
            base: self.base("manage.title", Depth::Below),
            text: self.words("manage.text"),
            notice,
            secret: shown(chosen.secret.as_ref()),
            choice: Choices::new(&self.context, &chosen.choice),
        };
        Ok(self.context.templates.render("manage.html", page)?.into())
    }

    fn say(
        &self,
        title: &str,
        text: &str,
        more: &str,
        depth: Depth,
        link: Option<view::Link>,
    ) -> Result<Bytes, SiteError> {
        let more = if more.is_empty() { String::new() } else { self.words(more) };
        let message = Message { base: self.base(title, depth), text: self.words(text), more, link, secret: None };
        Ok(self.context.templates.render("message.html", message)?.into())
    }

    fn words(&self, key: &str) -> String {
        self.context.words.text(key, &[("site", &self.context.site.title)])
    }

    fn root(&self, depth: Depth) -> String {
        self.elsewhere.clone().unwrap_or_else(|| match depth {
            Depth::Beside => "./".to_owned(),
            Depth::Below => "../".to_owned(),
        })
    }

    /// A page's frame, but without script, address and feeds: nothing that this page is about.
    fn base(&self, title: &str, depth: Depth) -> Base {
        let title = self.words(title);
        let page = view::Page {
            path: "unsubscribe/",
            title: &title,
            description: "",
            present: None,
            section: "unsubscribe",
            service: None,
        };
        let mut base = view::base(&self.context, &page, Timestamp::UNIX_EPOCH);
        base.root = self.root(depth);
        self.policy.clone_into(&mut base.csp);
        base.script = String::new().into();
        base.canonical.clear();
        base.feeds.clear();
        base.noindex = true;
        base
    }
}

/// On the one page that is for whoever owns it.
fn shown(secret: Option<&Secret>) -> Option<String> {
    secret.map(|secret| secret.reveal().to_owned())
}

/// The site's own styles and pictures, a form that leads back here, and nothing else.
fn policy(config: &Config) -> String {
    let (site, server) = (config.site.url.origin(), config.server.url.origin());
    let from = if site == server { "'self'".to_owned() } else { format!("'self' {}", site.ascii_serialization()) };
    format!("default-src 'none'; style-src {from}; img-src {from}; form-action 'self'; base-uri 'none'")
}
