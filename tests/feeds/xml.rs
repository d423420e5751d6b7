//! RSS and Atom as an XML parser of another make sees them, and the rules of the feed validators
//! that can be checked without one.

use std::collections::BTreeMap;

use quick_xml::{Reader, events::BytesStart, events::Event};
use watchbell::{domain::IncidentStatus, site::feeds::Feed};

use super::fixture::{self, World};

/// Every element's text by its path, in document order; attributes as `path@name`.
pub fn flat(xml: &str) -> Vec<(String, String)> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let mut path: Vec<String> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    let mut out = Vec::new();
    let attributes = |start: &BytesStart<'_>, path: &str, out: &mut Vec<(String, String)>| {
        for attribute in start.attributes().with_checks(true) {
            let attribute = attribute.expect("well-formed attributes");
            let name = attribute.key.as_ref().to_owned();
            out.push((format!("{path}@{name}"), quick_xml::escape::unescape(&attribute.value).unwrap().into_owned()));
        }
    };
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(start) => {
                path.push(start.name().as_ref().to_owned());
                texts.push(String::new());
                attributes(&start, &path.join("/"), &mut out);
            }
            Event::Empty(start) => {
                path.push(start.name().as_ref().to_owned());
                attributes(&start, &path.join("/"), &mut out);
                out.push((path.join("/"), String::new()));
                path.pop();
            }
            Event::End(_) => {
                out.push((path.join("/"), texts.pop().unwrap()));
                path.pop();
            }
            Event::Text(text) => {
                if let Some(last) = texts.last_mut() {
                    last.push_str(&text);
                }
            }
            Event::CData(text) => texts.last_mut().unwrap().push_str(&text),
            Event::GeneralRef(name) => {
                let spelt = format!("&{};", name.xml10_content());
                texts.last_mut().unwrap().push_str(&quick_xml::escape::unescape(&spelt).unwrap());
            }
            Event::Eof => break,
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    assert!(path.is_empty(), "unclosed: {path:?}");
    out
}

pub fn all<'a>(flat: &'a [(String, String)], path: &str) -> Vec<&'a str> {
    flat.iter().filter(|(at, _)| at == path).map(|(_, text)| text.as_str()).collect()
}

fn feeds() -> Vec<(World, Feed)> {
    [fixture::hypervisor(), fixture::hostile(), fixture::quiet()]
        .into_iter()
        .flat_map(|world| {
            let service = world.rules.services[0].id.clone();
            let feeds = [world.updates(None), world.updates(Some(&service)), world.history()];
            feeds.map(|feed| (world.clone(), feed))
        })
        .collect()
}

#[test]
fn every_rss_feed_reads_back_as_it_was_meant() {
    for (_, feed) in feeds() {
        let xml = String::from_utf8(feed.rss()).unwrap();
        assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<rss version=\"2.0\""), "{xml}");
        let read = flat(&xml);
        assert_eq!(all(&read, "rss/channel/atom:link@rel"), ["self"]);
        assert_eq!(all(&read, "rss/channel/atom:link@href"), [format!("{}.rss", feed.self_url)]);
        assert_eq!(all(&read, "rss/channel/language"), ["en"]);
        assert_eq!(all(&read, "rss/channel/lastBuildDate").len(), 1);
        assert!(all(&read, "rss/channel/pubDate").is_empty());
        let guids = all(&read, "rss/channel/item/guid");
        assert_eq!(guids, feed.entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>());
        assert!(all(&read, "rss/channel/item/guid@isPermaLink").iter().all(|value| *value == "false"));
        assert_eq!(all(&read, "rss/channel/item/guid@isPermaLink").len(), guids.len());
        let html = all(&read, "rss/channel/item/description");
        assert_eq!(html, feed.entries.iter().map(|entry| entry.html.as_str()).collect::<Vec<_>>());
        for title in all(&read, "rss/channel/item/title") {
            assert!(!title.is_empty() && !title.contains("</"), "{title}");
        }
        for date in all(&read, "rss/channel/item/pubDate") {
            assert!(date.ends_with(" +0000"), "{date}");
        }
    }
}

#[test]
fn every_atom_feed_reads_back_as_it_was_meant() {
    for (_, feed) in feeds() {
        let xml = String::from_utf8(feed.atom()).unwrap();
        assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feed "), "{xml}");
        let read = flat(&xml);
        assert_eq!(all(&read, "feed@xmlns"), ["http://www.w3.org/2005/Atom"]);
        assert_eq!(all(&read, "feed@xml:lang"), ["en"]);
        assert_eq!(all(&read, "feed/id"), [feed.id.as_str()]);
        assert_eq!(all(&read, "feed/link@rel"), ["self", "alternate"]);
        assert_eq!(all(&read, "feed/author/name").len(), 1);
        assert_eq!(all(&read, "feed/entry/id"), feed.entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>());
        let html = all(&read, "feed/entry/content");
        assert_eq!(html, feed.entries.iter().map(|entry| entry.html.as_str()).collect::<Vec<_>>());
        assert!(all(&read, "feed/entry/content@type").iter().all(|kind| *kind == "html"));
        let mut updated = all(&read, "feed/entry/updated");
        assert!(updated.iter().all(|time| time.ends_with("+00:00")), "{updated:?}");
        let count = updated.len();
        updated.sort_unstable();
        updated.dedup();
        assert_eq!(updated.len(), count, "distinct");
        assert_eq!(all(&read, "feed/updated").len(), 1);
        let first_entry = read.iter().position(|(at, _)| at.starts_with("feed/entry")).unwrap_or(read.len());
        let metadata = |(at, _): &(String, String)| at.starts_with("feed/") && !at.starts_with("feed/entry");
        assert!(!read.iter().skip(first_entry).any(metadata), "metadata stands before the entries");
    }
}

/// That `html` holds only elements and attributes that readers keep, and absolute links.
pub fn is_kept(html: &str) {
    const ELEMENTS: &[&str] = &[
        "p",
        "small",
        "time",
        "br",
        "strong",
        "em",
        "a",
        "ul",
        "ol",
        "li",
        "pre",
        "code",
        "blockquote",
        "hr",
        "h4",
        "h5",
        "h6",
    ];
    const ATTRIBUTES: &[&str] = &["href", "rel", "datetime", "start"];
    for (path, value) in &flat(&format!("<x>{html}</x>")) {
        let (element, attribute) = path.split_once('@').map_or((path.as_str(), None), |(e, a)| (e, Some(a)));
        let element = element.rsplit('/').next().unwrap();
        assert!(element == "x" || ELEMENTS.contains(&element), "{element} in {html}");
        if let Some(attribute) = attribute {
            assert!(ATTRIBUTES.contains(&attribute), "{attribute} in {html}");
            let is_absolute = ["https://", "http://", "mailto:"].iter().any(|scheme| value.starts_with(scheme));
            assert!(attribute != "href" || is_absolute, "{value}");
        }
    }
}

#[test]
fn content_is_html_that_every_reader_keeps() {
    for (_, feed) in feeds() {
        feed.entries.iter().for_each(|entry| is_kept(&entry.html));
    }
}

#[test]
fn the_first_strong_of_a_history_entry_is_the_present_state() {
    for world in [fixture::hypervisor(), fixture::hostile()] {
        let word = |status| match status {
            IncidentStatus::Investigating => "Investigating",
            IncidentStatus::Identified => "Identified",
            IncidentStatus::Monitoring => "Monitoring",
            IncidentStatus::Resolved => "Resolved",
            IncidentStatus::Postmortem => "Postmortem",
        };
        let states: BTreeMap<_, _> = world
            .incidents
            .values()
            .map(|incident| (world.authority.incident(&incident.id), word(incident.status)))
            .collect();
        for entry in world.history().entries {
            let (_, rest) = entry.html.split_once("<strong>").unwrap();
            let (state, _) = rest.split_once("</strong>").unwrap();
            assert_eq!(Some(state), states.get(&entry.id).copied());
            assert!(
                entry.html.contains(" April 2020, ") || entry.html.contains(" March 2020, "),
                "times carry the year"
            );
        }
    }
}

#[test]
fn no_feed_holds_a_character_that_xml_forbids() {
    for (_, feed) in feeds() {
        for bytes in [feed.rss(), feed.atom(), feed.json()] {
            let text = String::from_utf8(bytes).unwrap();
            let bad = text.chars().find(
                |c| matches!(c, '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffd}'..='\u{ffff}'),
            );
            assert_eq!(bad, None);
        }
    }
}
