//! A feed in its three formats: RSS 2.0, Atom (RFC 4287) and JSON Feed 1.1.
//!
//! The bytes depend on nothing but the value: no clock, no order but the entries' own.

use atom_syndication as atom;
use chrono::{DateTime, FixedOffset};
use jiff::{Timestamp, fmt::rfc2822, tz::TimeZone};
use rss::extension::atom::AtomExtension;
use serde::Serialize;

use super::text;

/// A feed, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Permanent.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// One sentence on what it brings; may be empty.
    pub description: String,
    /// BCP 47.
    pub language: String,
    /// Whose news it brings.
    pub author: String,
    /// The page that it belongs to, absolute.
    pub home_url: String,
    /// Its own address without the ending: `https://status.example.org/updates`.
    pub self_url: String,
    /// The address of its JSON form, if it has one.
    pub json_url: Option<String>,
    /// As old as the newest entry, or as the site.
    pub updated_at: Timestamp,
    /// Newest first.
    pub entries: Vec<Entry>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Permanent.
    pub id: String,
    /// Plain text.
    pub title: String,
    /// Absolute.
    pub url: String,
    /// HTML, absolute links only, without characters that XML forbids.
    pub html: String,
    /// When it was recorded.
    pub published_at: Timestamp,
    /// When its text last changed; no two entries of a feed share it.
    pub updated_at: Timestamp,
    /// Words to sort it by.
    pub categories: Vec<String>,
}

const GENERATOR: &str = "watchbell";

impl Feed {
    /// RSS 2.0, with `atom:link rel="self"`.
    #[must_use]
    pub fn rss(&self) -> Vec<u8> {
        let own = atom::Link {
            href: format!("{}.rss", self.self_url),
            rel: "self".to_owned(),
            mime_type: Some("application/rss+xml".to_owned()),
            ..atom::Link::default()
        };
        let channel = rss::Channel {
            title: text::title(&self.title),
            link: self.home_url.clone(),
            // RSS demands one.
            description: text::title(if self.description.is_empty() { &self.title } else { &self.description }),
            language: Some(self.language.clone()),
            generator: Some(GENERATOR.to_owned()),
            last_build_date: Some(rfc2822(self.updated_at)),
            atom_ext: Some(AtomExtension { links: vec![own] }),
            items: self.entries.iter().map(Entry::rss).collect(),
            ..rss::Channel::default()
        };
        // Writing to memory does not fail.
        let mut out = channel.pretty_write_to(Vec::new(), b' ', 1).unwrap_or_default();
        out.push(b'\n');
        out
    }

    /// Atom (RFC 4287).
    #[must_use]
    pub fn atom(&self) -> Vec<u8> {
        let link = |rel: &str, href: String, mime_type: &str| atom::Link {
            href,
            rel: rel.to_owned(),
            mime_type: Some(mime_type.to_owned()),
            ..atom::Link::default()
        };
        let feed = atom::Feed {
            title: plain(&self.title),
            id: self.id.clone(),
            updated: chrono(self.updated_at),
            authors: vec![atom::Person { name: text::title(&self.author), ..atom::Person::default() }],
            generator: Some(atom::Generator { value: GENERATOR.to_owned(), ..atom::Generator::default() }),
            links: vec![
                link("self", format!("{}.atom", self.self_url), "application/atom+xml"),
                link("alternate", self.home_url.clone(), "text/html"),
            ],
            subtitle: (!self.description.is_empty()).then(|| plain(&self.description)),
            entries: self.entries.iter().map(Entry::atom).collect(),
            lang: Some(self.language.clone()),
            ..atom::Feed::default()
        };
        let config = atom::WriteConfig { write_document_declaration: false, indent_size: Some(1) };
        let mut out = br#"<?xml version="1.0" encoding="UTF-8"?>"#.to_vec();
        out.push(b'\n');
        let mut out = feed.write_with_config(out, config).unwrap_or_default();
        out.push(b'\n');
        out
    }

    /// JSON Feed 1.1, <https://www.jsonfeed.org/version/1.1/>.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        let feed = JsonFeed {
            version: "https://jsonfeed.org/version/1.1",
            title: text::clean(&self.title),
            home_page_url: &self.home_url,
            feed_url: self.json_url.as_deref(),
            description: text::clean(&self.description),
            language: &self.language,
            authors: [JsonAuthor { name: text::clean(&self.author), url: &self.home_url }],
            items: self
                .entries
                .iter()
                .map(|entry| JsonItem {
                    id: &entry.id,
                    url: &entry.url,
                    title: text::clean(&entry.title),
                    content_html: &entry.html,
                    date_published: entry.published_at,
                    date_modified: entry.updated_at,
                    tags: &entry.categories,
                })
                .collect(),
        };
        crate::site::json::bytes(&feed)
    }
}

impl Entry {
    fn rss(&self) -> rss::Item {
        rss::Item {
            title: Some(text::title(&self.title)),
            link: Some(self.url.clone()),
            description: Some(self.html.clone()),
            guid: Some(rss::Guid { value: self.id.clone(), permalink: false }),
            pub_date: Some(rfc2822(self.published_at)),
            categories: self
                .categories
                .iter()
                .map(|name| rss::Category { name: text::title(name), domain: None })
                .collect(),
            ..rss::Item::default()
        }
    }

    fn atom(&self) -> atom::Entry {
        atom::Entry {
            title: plain(&self.title),
            id: self.id.clone(),
            updated: chrono(self.updated_at),
            published: Some(chrono(self.published_at)),
            links: vec![atom::Link {
                href: self.url.clone(),
                rel: "alternate".to_owned(),
                mime_type: Some("text/html".to_owned()),
                ..atom::Link::default()
            }],
            categories: self
                .categories
                .iter()
                .map(|term| atom::Category { term: text::title(term), ..atom::Category::default() })
                .collect(),
            content: Some(atom::Content {
                value: Some(self.html.clone()),
                content_type: Some("html".to_owned()),
                ..atom::Content::default()
            }),
            ..atom::Entry::default()
        }
    }
}

/// Gives every entry an `updated_at` of its own. What is recorded in one transaction shares its
/// millisecond, so each entry gets microseconds that follow from its id: the same whatever stands
/// beside it.
pub(super) fn distinguish(entries: &mut [Entry]) {
    let mut taken = std::collections::BTreeSet::new();
    // Oldest first, so that what is already published is not moved by what comes later.
    for entry in entries.iter_mut().rev() {
        let salt = entry.id.bytes().fold(0_u64, |sum, b| (sum * 31 + u64::from(b)) % 999_983) % 1000;
        let micros = entry.updated_at.as_millisecond().saturating_mul(1000).saturating_add_unsigned(salt);
        let free = (micros..micros.saturating_add(100_000)).find(|&at| taken.insert(at)).unwrap_or(micros);
        entry.updated_at = Timestamp::from_microsecond(free).unwrap_or(entry.updated_at);
    }
}

fn plain(value: &str) -> atom::Text {
    atom::Text { value: text::title(value), r#type: atom::TextType::Text, ..atom::Text::default() }
}

fn chrono(at: Timestamp) -> DateTime<FixedOffset> {
    DateTime::from_timestamp_micros(at.as_microsecond()).unwrap_or_default().fixed_offset()
}

/// With a zone of `+0000`: `-0000` would mean that the zone is not known.
fn rfc2822(at: Timestamp) -> String {
    rfc2822::to_string(&at.to_zoned(TimeZone::UTC)).unwrap_or_default()
}

#[derive(Serialize)]
struct JsonFeed<'a> {
    version: &'a str,
    title: String,
    home_page_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    feed_url: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    language: &'a str,
    authors: [JsonAuthor<'a>; 1],
    items: Vec<JsonItem<'a>>,
}

#[derive(Serialize)]
struct JsonAuthor<'a> {
    name: String,
    url: &'a str,
}

#[derive(Serialize)]
struct JsonItem<'a> {
    id: &'a str,
    url: &'a str,
    title: String,
    content_html: &'a str,
    date_published: Timestamp,
    date_modified: Timestamp,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, ms: i64) -> Entry {
        let at = Timestamp::from_millisecond(ms).unwrap();
        Entry {
            id: id.to_owned(),
            title: "t".to_owned(),
            url: "https://s.example.org/".to_owned(),
            html: "<p>h</p>".to_owned(),
            published_at: at,
            updated_at: at,
            categories: Vec::new(),
        }
    }

    #[test]
    fn entries_of_one_moment_differ_in_microseconds_that_do_not_depend_on_neighbours() {
        let mut all: Vec<_> = (0..500).map(|n| entry(&format!("tag:x,2026-01-01:event/{n}"), 5)).collect();
        distinguish(&mut all);
        let mut times: Vec<_> = all.iter().map(|entry| entry.updated_at).collect();
        times.sort();
        times.dedup();
        assert_eq!(times.len(), 500);

        let mut pair = [entry("b", 5), entry("a", 5)];
        let mut alone = [entry("b", 5)];
        distinguish(&mut pair);
        distinguish(&mut alone);
        assert_eq!(pair[0].updated_at, alone[0].updated_at);
    }

    #[test]
    fn dates_have_four_digit_years_and_a_known_zone() {
        assert_eq!(rfc2822(Timestamp::UNIX_EPOCH), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(chrono(Timestamp::UNIX_EPOCH).to_rfc3339(), "1970-01-01T00:00:00+00:00");
    }
}
