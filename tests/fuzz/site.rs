//! What readers of the site get: markdown as HTML and as text, feeds, the calendar.

use icalendar::Component;
use watchbell::site::{
    calendar::{CalendarHead, ics},
    feeds::text,
    markdown as html_of,
};

use super::{
    dice::{Dice, NEXT, texts},
    harness::Target,
    html,
};
use crate::feeds::{properties, xml};

const MARKDOWN: &[&str] = &[
    "\n",
    "\n\n",
    "  \n",
    "\\\n",
    " ",
    "    ",
    "\t",
    "a",
    "word ",
    "*",
    "**",
    "_",
    "`",
    "``",
    "```\n",
    "```html x\n",
    "~~~\n",
    "> ",
    ">",
    "- ",
    "+ ",
    "1. ",
    "2) ",
    "999999999. ",
    "# ",
    "###### ",
    "---\n",
    "===\n",
    "[",
    "]",
    "(",
    ")",
    "![",
    "](",
    "]: ",
    "[a](https://x.example/)",
    "[a](/x)",
    "[a]: https://x.example/ \"t\"\n",
    "[a]",
    "[a][]",
    "![a](https://x.example/p.png)",
    "<https://x.example/>",
    "<mail@x.example>",
    "<javascript:alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html,x)",
    "[x](&#106;avascript:alert(1))",
    "[x](java\\script:alert(1))",
    "[x](<https://x.example/a b>)",
    "[x](https://x.example/\"onclick=alert(1))",
    "[x](//evil.example)",
    "[x](mailto:a@x.example?subject=%0d%0ab)",
    "[x](https://user:pass@x.example/)",
    "[x](vbscript:x)",
    "[x](https:x.example)",
    "[x](http:\\\\x.example)",
    "<b>",
    "</b>",
    "<b onclick=x>",
    "<div>\n",
    "</div>",
    "<script>",
    "</script>\n",
    "<style>",
    "<!-- ",
    " -->",
    "<?php ",
    "?>",
    "<![CDATA[",
    "]]>",
    "<!DOCTYPE x>",
    "<p>",
    "</p>",
    "</li></ul>",
    "&amp;",
    "&lt;",
    "&#60;script&#62;",
    "&#x1b;",
    "&#8238;",
    "&NotAnEntity;",
    "\\<",
    "\\[",
    "|a|b|\n|-|-|\n",
    "[^1]",
    "[^1]: x\n",
    "- [ ] ",
    "~~a~~",
    "$x$",
    ":-)",
    "{#id .class}",
    "https://x.example/",
];

fn written(dice: &mut Dice) -> Vec<u8> {
    if dice.one_in(50) {
        // Deep and long: what grows faster than its input shows here.
        let (a, b) = (dice.pick(MARKDOWN), dice.pick(MARKDOWN));
        let times = dice.below(3000);
        return format!("{}{}{}", a.repeat(times), dice.pieces(MARKDOWN, 10), b.repeat(dice.below(3000))).into_bytes();
    }
    dice.pieces(MARKDOWN, 40).into_bytes()
}

/// Whatever is written, readers get no element, attribute, scheme or character but those that are
/// allowed, and not much more of it than was written.
pub fn markdown() {
    let target = Target { words: MARKDOWN, ..Target::new("markdown", 4000) };
    target.run(written, |input| {
        let text = String::from_utf8_lossy(input);
        for (above, html) in [(3, html_of::to_html(&text)), (1, html_of::to_html_under(&text, 1))] {
            assert!(html.len() <= 1000 + text.len() * 30, "{} bytes from {}", html.len(), text.len());
            let read = html::is_harmless(&html);
            let heading = |tag: &&html::Tag| tag.name.len() == 2 && tag.name.starts_with('h') && tag.name != "hr";
            for heading in read.tags.iter().filter(heading) {
                assert!(heading.name.as_str() > format!("h{above}").as_str(), "{html}");
            }
            // What is HTML to a browser is XML to a feed reader.
            xml::flat(&format!("<x>{html}</x>"));
        }
        let plain = html_of::to_text(&text);
        html::is_clean(&plain);
        assert!(plain.len() <= 1000 + text.len() * 30, "{} bytes from {}", plain.len(), text.len());
    });
}

/// Title, name of the service, then the texts of updates.
fn story(dice: &mut Dice) -> Vec<u8> {
    let mut all = vec![dice.text(), dice.text()];
    for _ in 0..dice.few(4) {
        all.push(String::from_utf8(written(dice)).unwrap());
    }
    all.join(&NEXT.to_string()).into_bytes()
}

/// Feeds are well-formed to a parser of another make, and say what was written.
pub fn feeds() {
    let target = Target { words: MARKDOWN, ..Target::new("feeds", 400) };
    target.run(story, |input| {
        let texts = texts(input);
        let get = |n: usize| texts.get(n).map_or("", String::as_str);
        let said: Vec<(String, u16)> = texts.iter().skip(2).take(8).map(|text| (text.clone(), 1)).collect();
        let world = properties::world(get(0), get(1), &said);
        for feed in [world.updates(None), world.history()] {
            let (rss, atom) = (String::from_utf8(feed.rss()).unwrap(), String::from_utf8(feed.atom()).unwrap());
            let (rss, atom) = (xml::flat(&rss), xml::flat(&atom));
            let ids: Vec<&str> = feed.entries.iter().map(|entry| entry.id.as_str()).collect();
            let contents: Vec<&str> = feed.entries.iter().map(|entry| entry.html.as_str()).collect();
            // A line of spaces before a title is no part of it.
            let titles: Vec<String> = feed.entries.iter().map(|entry| text::title(&entry.title)).collect();
            assert_eq!(xml::all(&rss, "rss/channel/item/guid"), ids);
            assert_eq!(xml::all(&atom, "feed/entry/id"), ids);
            assert_eq!(xml::all(&rss, "rss/channel/item/description"), contents);
            assert_eq!(xml::all(&atom, "feed/entry/content"), contents);
            assert_eq!(xml::all(&rss, "rss/channel/item/title"), titles);
            assert_eq!(xml::all(&atom, "feed/entry/title"), titles);
            assert_eq!(xml::all(&rss, "rss/channel/title"), [text::title(&feed.title)]);
            for html in contents {
                html::is_made_of_what_is_allowed(html);
            }
            let json: serde_json::Value = serde_json::from_slice(&feed.json()).unwrap();
            let items = json["items"].as_array().unwrap();
            assert_eq!(items.iter().map(|item| item["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
            for (item, entry) in items.iter().zip(&feed.entries) {
                assert_eq!(item["content_html"], entry.html.as_str());
                assert_eq!(item["title"], text::clean(&entry.title));
            }
        }
        for bytes in [world.summary(), world.incidents()] {
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        }
    });
}

/// A calendar's lines, unfolded: name with its parameters, and value. Written after RFC 5545,
/// section 3.1, and knowing nothing of the crate that writes.
fn lines_of(bytes: &[u8]) -> Vec<(String, String)> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("every line ends in CRLF");
        let line = &rest[..end];
        rest = &rest[end + 2..];
        assert!(line.len() <= 75, "{} octets: {}", line.len(), line.escape_ascii());
        assert!(!line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'), "{}", line.escape_ascii());
        assert!(std::str::from_utf8(line).is_ok(), "a character is split: {}", line.escape_ascii());
        match line.first() {
            Some(b' ' | b'\t') => lines.last_mut().expect("a first line").extend_from_slice(&line[1..]),
            _ => lines.push(line.to_vec()),
        }
    }
    let lines = lines.into_iter().map(|line| String::from_utf8(line).unwrap());
    lines.map(|line| line.split_once(':').map(|(n, v)| (n.to_owned(), v.to_owned())).expect("a name")).collect()
}

/// A value of type TEXT, unescaped (section 3.3.11).
fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n' | 'N') => text.push('\n'),
                Some(c @ ('\\' | ';' | ',')) => text.push(c),
                other => panic!("`\\{other:?}` in {value}"),
            },
            ';' | ',' => panic!("`{c}` stands bare in {value}"),
            c => text.push(c),
        }
    }
    text
}

/// A calendar unfolds to its lines, and its texts read back as they were.
pub fn calendar() {
    let make = |dice: &mut Dice| {
        let texts: Vec<String> = (0..3).map(|_| format!("{}{}", dice.text(), "ü🚨,;".repeat(dice.few(30)))).collect();
        texts.join(&NEXT.to_string()).into_bytes()
    };
    Target::new("calendar", 2000).run(make, |input| {
        let texts = texts(input);
        let get = |n: usize| text::clean(texts.get(n).map_or("", String::as_str)).replace('\t', " ");
        let head = CalendarHead { name: texts[0].as_str(), url: "https://status.example.org/maintenance.ics" };
        let (summary, description) = (get(1), get(2));
        let event = icalendar::Event::new()
            .uid("1")
            .timestamp(chrono::DateTime::from_timestamp(0, 0).unwrap())
            .summary(&summary)
            .description(&description)
            .done();
        for events in [Vec::new(), vec![event]] {
            let is_empty = events.is_empty();
            let lines = lines_of(&ics(&head, events));
            let value = |name: &str| lines.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            let name = get(0).replace('\n', " ");
            assert_eq!(value("NAME").map(unescaped), Some(name.clone()));
            assert_eq!(value("X-WR-CALNAME").map(unescaped), Some(name));
            assert_eq!(value("SUMMARY").map(unescaped), (!is_empty).then(|| summary.clone()));
            assert_eq!(value("DESCRIPTION").map(unescaped), (!is_empty).then(|| description.clone()));
            let mut open = Vec::new();
            for (name, value) in &lines {
                match name.as_str() {
                    "BEGIN" => open.push(value),
                    "END" => assert_eq!(open.pop(), Some(value)),
                    _ => assert!(!open.is_empty()),
                }
            }
            assert!(open.is_empty());
        }
    });
}
