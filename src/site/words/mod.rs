//! What watchbell says, in a language: states, causes, lengths and times in words.
//!
//! Pure: a [`Words`] holds a catalogue, everything else is an argument. [`incident`] makes titles,
//! subjects and facts, [`sentence`] the line on top of the first page.

use std::{collections::BTreeMap, path::Path};

use crate::domain::{
    Impact, IncidentStatus, ServiceId, ServiceStatus,
    outcome::{Cause, CertificateFault, Class},
    service::Rules,
    text::LocalText,
};

use super::catalog::Catalog;
pub use super::catalog::CatalogError;

pub mod incident;
pub mod sentence;
mod time;

/// How services are called.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<ServiceId, String>);

impl Names {
    /// The names of all configured services.
    #[must_use]
    pub fn of(rules: &Rules) -> Self {
        rules.services.iter().map(|service| (service.id.clone(), service.name.clone())).collect()
    }

    /// Whether a configured service has that id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// What `service` is called; its id if it is not configured.
    #[must_use]
    pub fn get<'a>(&'a self, service: &'a ServiceId) -> &'a str {
        self.0.get(service).map_or(service.as_str(), String::as_str)
    }
}

impl FromIterator<(ServiceId, String)> for Names {
    fn from_iter<I: IntoIterator<Item = (ServiceId, String)>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

/// One language's words.
#[derive(Clone, Debug)]
pub struct Words {
    catalog: Catalog,
    /// The language of operators' texts to fall back to.
    default_language: String,
}

impl Words {
    /// The words of `language` (BCP 47), or of the nearest language that there is; `overrides` is
    /// `site.templates`, whose `i18n/LANGUAGE.toml` may replace some or all.
    ///
    /// # Errors
    /// If a catalogue of the operator's cannot be read or parsed.
    pub fn load(language: &str, overrides: Option<&Path>) -> Result<Self, CatalogError> {
        Ok(Self { catalog: Catalog::load(language, overrides)?, default_language: language.to_owned() })
    }

    /// The same, where operators' texts fall back to the language `site` of the site.
    #[must_use]
    pub fn with_site_language(mut self, site: &str) -> Self {
        site.clone_into(&mut self.default_language);
        self
    }

    /// The texts themselves.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The language that the words are in (BCP 47).
    #[must_use]
    pub fn language(&self) -> &str {
        self.catalog.language()
    }

    /// `ltr` or `rtl`.
    #[must_use]
    pub fn direction(&self) -> &str {
        self.catalog.raw("style.direction")
    }

    /// An operator's text in this language, or the nearest one.
    #[must_use]
    pub fn local<'a>(&self, text: &'a LocalText) -> &'a str {
        text.get(self.language(), &self.default_language)
    }

    /// A text of the catalogue with its `{name}`s filled in.
    #[must_use]
    pub fn text(&self, key: &str, args: &[(&str, &str)]) -> String {
        self.catalog.text(key, args)
    }

    /// A text of the catalogue for a number, which fills `{n}` in digits.
    #[must_use]
    pub fn count(&self, key: &str, n: u64, args: &[(&str, &str)]) -> String {
        let number = self.digits(n);
        let mut all = vec![("n", number.as_str())];
        all.extend_from_slice(args);
        self.catalog.plural(key, n, &all)
    }

    /// The word for a service's status: "Outage".
    #[must_use]
    pub fn status(&self, status: ServiceStatus) -> &str {
        self.word("status", status.as_str())
    }

    /// The word for an impact: "Major outage".
    #[must_use]
    pub fn impact(&self, impact: Impact) -> &str {
        self.word("impact", impact.as_str())
    }

    /// The word for how far people are: "Identified".
    #[must_use]
    pub fn incident_status(&self, status: IncidentStatus) -> &str {
        self.word("incident_status", status.as_str())
    }

    /// The heading of a postmortem's section: "Root cause" for `root_cause`.
    #[must_use]
    pub fn postmortem_heading(&self, section: &str) -> &str {
        self.word("postmortem", section)
    }

    fn word(&self, table: &str, name: &str) -> &str {
        self.catalog.get(&format!("{table}.{name}")).unwrap_or("")
    }

    /// Why a probe failed, as the public is told: "HTTP 503", "Timed out after 10 s".
    #[must_use]
    pub fn cause(&self, cause: &Cause) -> String {
        let key = format!("cause.{}", cause.class);
        let limit = cause.limit_ms.map(|ms| self.limit(ms));
        let with = |suffix: &str, name: &str, value: &str| self.text(&format!("{key}_{suffix}"), &[(name, value)]);
        match (cause.class, &limit, cause.http_status, cause.certificate) {
            (Class::ConnectTimeout | Class::Timeout, Some(limit), _, _) => with("after", "limit", limit),
            (Class::Slow, Some(limit), _, _) => with("over", "limit", limit),
            (Class::HttpStatus, _, Some(code), _) => with("code", "code", &code.to_string()),
            (Class::Certificate, _, _, Some(fault)) => with(
                match fault {
                    CertificateFault::Expired => "expired",
                    CertificateFault::WrongName => "wrong_name",
                    CertificateFault::Untrusted => "untrusted",
                },
                "",
                "",
            ),
            _ => self.text(&key, &[]),
        }
    }

    /// The same words inside a sentence: "connection refused", but "HTTP 503".
    #[must_use]
    pub fn inside(&self, words: &str) -> String {
        let mut chars = words.chars();
        match (chars.next(), chars.next()) {
            (Some(first), second)
                if self.catalog.raw("style.lower_inside") == "yes"
                    && !second.is_some_and(|c| c.is_uppercase() || c.is_numeric()) =>
            {
                first.to_lowercase().chain(words.chars().skip(1)).collect()
            }
            _ => words.to_owned(),
        }
    }

    /// Names in a row: "Bugzilla", "Bugzilla and Ask", "Bugzilla, Ask and 1 more" (at most `shown`
    /// of them by name).
    #[must_use]
    pub fn list(&self, names: &[&str], shown: usize) -> String {
        let (named, rest) = names.split_at(names.len().min(shown));
        let join = |named: &[&str]| {
            named.iter().fold(String::new(), |list, name| {
                if list.is_empty() {
                    (*name).to_owned()
                } else {
                    self.text("list.comma", &[("a", list.as_str()), ("b", name)])
                }
            })
        };
        if !rest.is_empty() {
            let n = u64::try_from(rest.len()).unwrap_or(u64::MAX);
            return self.count("list.more", n, &[("names", &join(named))]);
        }
        match named {
            [a, b] => self.text("list.two", &[("a", a), ("b", b)]),
            [before @ .., last] if !before.is_empty() => self.text("list.last", &[("a", &join(before)), ("b", last)]),
            _ => join(named),
        }
    }

    /// A number in words up to twelve, in digits from there on.
    #[must_use]
    pub fn number(&self, n: u64) -> String {
        self.catalog.get(&format!("number.{n}")).map_or_else(|| self.digits(n), str::to_owned)
    }

    /// A number in digits, grouped from five digits on: "4312", "12,345".
    #[must_use]
    pub fn digits(&self, n: u64) -> String {
        let plain = n.to_string();
        if plain.len() < 5 {
            return plain;
        }
        let mut grouped = String::new();
        for (at, digit) in plain.chars().enumerate() {
            if at > 0 && (plain.len() - at).is_multiple_of(3) {
                grouped.push_str(self.catalog.raw("style.thousands"));
            }
            grouped.push(digit);
        }
        grouped
    }

    /// An uptime in hundred-thousandths: "99.98 %", "100 %". Cut, never rounded up; the third
    /// decimal is shown from 99.99 % on, where it matters.
    #[must_use]
    pub fn uptime(&self, share: Option<u32>) -> String {
        let Some(share) = share else { return self.text("uptime.no_data", &[]) };
        let (whole, fraction) = (share / 1000, share % 1000);
        let point = self.catalog.raw("style.decimal");
        let number = match fraction {
            0 if whole == 100 || whole == 0 => whole.to_string(),
            _ if share >= 99_990 && fraction % 10 != 0 => format!("{whole}{point}{fraction:03}"),
            _ => format!("{whole}{point}{:02}", fraction / 10),
        };
        self.text("uptime.percent", &[("n", &number)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words::load("en", None).unwrap()
    }

    #[test]
    fn uptime_is_cut_and_shows_the_third_decimal_where_it_matters() {
        let shown = |share| words().uptime(Some(share));
        assert_eq!(shown(100_000), "100 %");
        assert_eq!(shown(99_998), "99.998 %");
        assert_eq!(shown(99_989), "99.98 %");
        assert_eq!(shown(99_900), "99.90 %");
        assert_eq!(shown(0), "0 %");
        assert_eq!(shown(7), "0.00 %");
        assert_eq!(words().uptime(None), "no data");
    }

    #[test]
    fn a_cause_is_said_by_its_class_and_its_few_facts() {
        let words = words();
        let cause = |class| Cause::from(class);
        assert_eq!(words.cause(&cause(Class::ConnectRefused)), "Connection refused");
        assert_eq!(words.cause(&Cause { http_status: Some(503), ..cause(Class::HttpStatus) }), "HTTP 503");
        assert_eq!(words.cause(&Cause { limit_ms: Some(10_000), ..cause(Class::Timeout) }), "Timed out after 10 s");
        assert_eq!(words.cause(&Cause { limit_ms: Some(2500), ..cause(Class::Slow) }), "Slower than 2.5 s");
        let expired = Cause { certificate: Some(CertificateFault::Expired), ..cause(Class::Certificate) };
        assert_eq!(words.cause(&expired), "Certificate expired");
        assert_eq!(words.inside("Connection refused"), "connection refused");
        assert_eq!(words.inside("HTTP 503"), "HTTP 503");
    }

    #[test]
    fn every_status_impact_and_class_has_its_word() {
        let words = words();
        assert!(ServiceStatus::ALL.iter().all(|&status| !words.status(status).is_empty()));
        assert!(Impact::ALL.iter().all(|&impact| !words.impact(impact).is_empty()));
        assert!(IncidentStatus::ALL.iter().all(|&status| !words.incident_status(status).is_empty()));
        for section in crate::domain::note::POSTMORTEM_SECTIONS {
            assert!(!words.postmortem_heading(section).is_empty(), "{section}");
        }
    }

    #[test]
    fn a_row_of_names_ends_in_and() {
        let words = words();
        assert_eq!(words.list(&["A"], 3), "A");
        assert_eq!(words.list(&["A", "B"], 3), "A and B");
        assert_eq!(words.list(&["A", "B", "C"], 3), "A, B and C");
        assert_eq!(words.list(&["A", "B", "C"], 2), "A, B and 1 more");
        assert_eq!(words.list(&[], 2), "");
    }

    #[test]
    fn numbers_are_words_up_to_twelve() {
        assert_eq!(words().number(12), "twelve");
        assert_eq!(words().number(13), "13");
        assert_eq!(words().digits(1_234_567), "1,234,567");
    }
}
