//! All that pages are made of besides facts: the config's part of it, words, templates, assets.
//!
//! Made once for a config. What changes here changes [`Context::key`], and with it every page.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

use crate::{
    config::{self, Config},
    domain::{
        GroupId, ServiceId,
        service::{Cadence, Rules, Service},
    },
};

use super::{
    SiteError, defaults,
    feeds::{Authority, FeedSite},
    key::{Key, content_hash, hex},
    templates::Templates,
    words::{Names, Words},
};

/// The kinds of state that have an icon of their own.
pub const CLASSES: &[&str] = &["ok", "slow", "partial", "outage", "planned", "none"];

/// Where a page's style sheet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// In a file of its own.
    Linked,
    /// In the page, which then needs nothing beside it.
    Inside,
}

/// A file that never changes under its name.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its path within the site: the name holds a hash of the content.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// All that pages are made of besides facts.
#[derive(Debug)]
pub struct Context {
    /// `[site]`.
    pub site: config::Site,
    /// Where the endpoints are.
    pub server_url: url::Url,
    /// Whether `POST /subscribe` is answered.
    pub subscribe_form: bool,
    /// Whether that takes webhooks, too.
    pub takes_webhooks: bool,
    /// Services and groups, in order.
    pub rules: Rules,
    /// The shortest and longest time between two probes of a check; `None` without any.
    pub cadence: Option<(Duration, Duration)>,
    /// The same services by id.
    services: HashMap<ServiceId, Arc<Service>>,
    /// How services are called.
    pub names: Names,
    /// What the pages say.
    pub words: Words,
    /// What mails may be written in, the site's own first: each tag with what the language calls
    /// itself.
    pub languages: Vec<(String, String)>,
    /// How they say it.
    pub templates: Templates,
    /// The style sheet and the icons, by name.
    pub assets: BTreeMap<&'static str, Asset>,
    /// The script that every page has in it.
    pub script: String,
    /// Who mints the ids of feeds.
    pub authority: Authority,
    /// Of all of the above.
    pub key: Key,
}

impl Context {
    /// Reads templates and words, and renders the assets.
    ///
    /// # Errors
    /// If a file of the operator's cannot be used.
    pub fn load(config: &Config, authority: Authority, subscribe_form: bool) -> Result<Self, SiteError> {
        let site = config.site.clone();
        let words = Words::load(&site.language, site.templates.as_deref())?.with_site_language(&site.language);
        let templates = Templates::load(site.templates.as_deref(), &words)?;
        let languages = languages(&site)?;
        let mut assets = BTreeMap::new();
        let css = templates.render("assets/site.css", minijinja::context! { accent => site.accent.as_str() })?;
        assets.insert("css", asset("assets/site", "css", css.into_bytes()));
        for class in CLASSES {
            let icon = templates.render("assets/icon.svg", minijinja::context! { class => *class })?;
            assets.insert(*class, asset(&format!("assets/icon-{class}"), "svg", icon.into_bytes()));
        }
        if let Some(path) = &site.logo {
            let bytes = std::fs::read(path).map_err(|source| SiteError::Logo { path: path.clone(), source })?;
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("img");
            assets.insert("logo", asset("assets/logo", extension, bytes));
        }
        let script = templates.render("script.html", minijinja::context! {})?.trim().to_owned();
        let names = Names::of(&config.rules);
        let mut context = Self {
            server_url: config.server.url.clone(),
            rules: config.rules.clone(),
            services: config.rules.services.iter().map(|service| (service.id.clone(), Arc::clone(service))).collect(),
            cadence: cadence(&config.rules),
            key: Key::default(),
            site,
            subscribe_form,
            takes_webhooks: subscribe_form && config.subscriptions.webhooks,
            names,
            words,
            languages,
            templates,
            assets,
            script,
            authority,
        };
        context.key = context.make_key()?;
        Ok(context)
    }

    /// The same in the words of another language.
    ///
    /// # Errors
    /// If a catalogue or a template of the operator's cannot be used.
    pub fn speaking(mut self, language: &str) -> Result<Self, SiteError> {
        let overrides = self.site.templates.as_deref();
        self.words = Words::load(language, overrides)?.with_site_language(&self.site.language);
        self.templates = Templates::load(overrides, &self.words)?;
        self.key = self.key.and(language);
        Ok(self)
    }

    /// Of everything that a page may show. Never of addresses, targets or secrets: those cannot be
    /// on a page.
    fn make_key(&self) -> Result<Key, SiteError> {
        let mut key = Key::of((env!("CARGO_PKG_VERSION"), self.authority.to_string(), self.subscribe_form));
        key = key.and(self.takes_webhooks);
        let site = &self.site;
        key = key.and((&site.title, site.url.as_str(), &site.description, &site.timezone_name, &site.language));
        key = key.and(&site.languages);
        key = key.and((&site.accent, site.history_days, site.noindex, self.server_url.as_str()));
        key = key.and((site.support.as_ref().map(url::Url::as_str), format!("{:?}", site.links)));
        for name in defaults::names() {
            key = key.and((&*name, defaults::read(site.templates.as_deref(), &name)?));
        }
        if site.templates.is_some() {
            // A language that only the operator has.
            key = key.and(defaults::read(site.templates.as_deref(), &format!("i18n/{}.toml", self.words.language()))?);
        }
        for asset in self.assets.values() {
            key = key.and(&asset.path);
        }
        for group in &self.rules.groups {
            key = key.and((group.id.as_str(), &group.name));
        }
        for service in &self.rules.services {
            key = key.and((
                (service.id.as_str(), &service.name, service.group.as_ref().map(GroupId::as_str), &service.description),
                (service.objective, service.acceptable_downtime),
                service.depends_on.iter().map(ServiceId::as_str).collect::<Vec<_>>(),
                service.enabled_checks().map(|(_, check)| every(&check.cadence)).collect::<Vec<_>>(),
            ));
        }
        Ok(key)
    }

    /// The zone whose days and times people read.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.site.timezone
    }

    /// A service that is configured.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id)
    }

    /// What feeds and the JSON API need.
    #[must_use]
    pub fn feed_site(&self) -> FeedSite<'_> {
        FeedSite { site: &self.site, names: &self.names, words: &self.words, authority: &self.authority }
    }

    /// The policy of every page: nothing but our own style sheet and pictures, and our one script.
    #[must_use]
    pub fn content_security_policy(&self, style: Style) -> String {
        let hash = |text: &[u8]| STANDARD.encode(Sha256::digest(text));
        let script = hash(self.script.as_bytes());
        let style = match style {
            Style::Linked => "'self'".to_owned(),
            Style::Inside => format!("'sha256-{}'", hash(self.css())),
        };
        let origin = self.server_url.origin();
        let form = if self.subscribe_form && origin.is_tuple() {
            format!("'self' {}", origin.ascii_serialization())
        } else if self.subscribe_form {
            "'self'".to_owned()
        } else {
            "'none'".to_owned()
        };
        format!(
            "default-src 'none'; style-src {style}; img-src 'self'; script-src 'sha256-{script}'; \
             connect-src 'self'; form-action {form}; base-uri 'none'"
        )
    }

    /// The style sheet.
    #[must_use]
    pub fn css(&self) -> &[u8] {
        self.assets.get("css").map_or(&[], |asset| &asset.bytes)
    }

    /// An absolute address within the site.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.site.url)
    }

    /// The path of an asset by its short name.
    #[must_use]
    pub fn asset(&self, name: &str) -> &str {
        self.assets.get(name).map_or("", |asset| &asset.path)
    }
}

/// `site.language` and `site.languages`, each once, with their own names; a language that nobody
/// translated has its tag.
fn languages(site: &config::Site) -> Result<Vec<(String, String)>, SiteError> {
    let mut languages: Vec<(String, String)> = Vec::new();
    for tag in std::iter::once(&site.language).chain(&site.languages) {
        if languages.iter().any(|(known, _)| known == tag) {
            continue;
        }
        let words = Words::load(tag, site.templates.as_deref())?;
        let name = words.text("style.name", &[]);
        let bare = tag.split('-').next().unwrap_or(tag);
        let name = match words.language() {
            found if found == tag => name,
            found if found == bare => format!("{name} ({tag})"),
            _ => tag.clone(),
        };
        languages.push((tag.clone(), name));
    }
    Ok(languages)
}

fn cadence(rules: &Rules) -> Option<(Duration, Duration)> {
    let checks = || rules.services.iter().flat_map(|service| service.enabled_checks());
    let times = || checks().filter_map(|(_, check)| every(&check.cadence));
    Some((times().min()?, times().max()?))
}

fn every(cadence: &Cadence) -> Option<Duration> {
    match cadence {
        Cadence::Every(every) => Some(*every),
        Cadence::Cron { .. } => None,
    }
}

fn asset(stem: &str, extension: &str, bytes: Vec<u8>) -> Asset {
    let hash = hex(content_hash(&bytes).get(..5).unwrap_or_default());
    Asset { path: format!("{stem}.{hash}.{extension}"), bytes }
}

/// How long a statement about the present stands before it is made anew, in seconds.
pub const SLOT_S: i64 = 300;

/// The same while something is going on or has only begun, in seconds: a minute is as exact as the
/// pages are.
pub const LIVE_SLOT_S: i64 = 60;

/// When the slot of `now` began, for what is going on.
#[must_use]
pub fn live_slot(now: Timestamp) -> Timestamp {
    let seconds = now.as_second().div_euclid(LIVE_SLOT_S) * LIVE_SLOT_S;
    Timestamp::from_second(seconds).unwrap_or(now)
}

/// The beginning of the next slot, for what is going on.
#[must_use]
pub fn next_live_slot(now: Timestamp) -> Timestamp {
    later(live_slot(now), LIVE_SLOT_S)
}

/// When the slot of `now` began: what is said about the present is said as of then, or as of the
/// last change since, so that the same facts give the same bytes all through the slot.
#[must_use]
pub fn slot(now: Timestamp) -> Timestamp {
    let seconds = now.as_second().div_euclid(SLOT_S) * SLOT_S;
    Timestamp::from_second(seconds).unwrap_or(now)
}

/// Until when what was said in a slot may be believed: two slots, of which one is always left when
/// it is said anew.
#[must_use]
pub fn fresh_until(slot: Timestamp) -> Timestamp {
    later(slot, 2 * SLOT_S)
}

/// The beginning of the next slot.
#[must_use]
pub fn next_slot(now: Timestamp) -> Timestamp {
    later(slot(now), SLOT_S)
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(at.as_second().saturating_add(seconds)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_renewed_long_before_it_goes_stale_and_never_reaches_further_than_ten_minutes() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for now in ["2026-11-21T14:00:00Z", "2026-11-21T14:03:12.5Z", "2026-11-21T14:04:59.999Z"].map(at) {
            assert_eq!(slot(now), at("2026-11-21T14:00:00Z"));
            assert_eq!(fresh_until(slot(now)), at("2026-11-21T14:10:00Z"));
            assert_eq!(next_slot(now), at("2026-11-21T14:05:00Z"));
        }
    }
}
