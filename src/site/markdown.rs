//! What operators write, as HTML or as plain text: `CommonMark` without raw HTML and images, links
//! only to `http`, `https` and `mailto`.
//!
//! The output holds nothing that could run, load or mislead: no attribute but those written here,
//! and no character that [`untrusted`] removes, however it was spelt.

use std::fmt::Write as _;

use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};
use url::Url;

use super::templates::escape;
use crate::untrusted;

/// Headings begin below those of a postmortem's parts.
const TOP_HEADING: usize = 4;

/// How many lists, their items and quotes may stand in one another. Browsers give up at some
/// hundreds, and in plain text every line repeats the marks of all that it stands in.
const DEEPEST: usize = 32;

/// `text` as HTML blocks. Raw HTML in it is shown as text, an image as its description, a link
/// that may not be followed as its words; its topmost heading becomes an `h4`.
#[must_use]
pub fn to_html(text: &str) -> String {
    to_html_under(text, TOP_HEADING - 1)
}

/// [`to_html`] for a place under a heading of level `above`: no level is left out.
#[must_use]
pub fn to_html_under(text: &str, above: usize) -> String {
    let events: Vec<Event<'_>> = events(text).collect();
    let top = events.iter().filter_map(heading).min().unwrap_or(1);
    // For each link that is open: whether it is written.
    let mut links: Vec<bool> = Vec::new();
    let safe = events.into_iter().filter_map(|event| match event {
        Event::Html(html) | Event::InlineHtml(html) => Some(Event::Text(html)),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::HtmlBlock) => Some(Event::Start(Tag::Paragraph)),
        Event::End(TagEnd::HtmlBlock) => Some(Event::End(TagEnd::Paragraph)),
        Event::Start(Tag::Link { link_type, dest_url, .. }) => {
            // An address in the words of a link stands for itself; HTML has no link within a link.
            let address = link_address(link_type, &dest_url).filter(|_| !links.contains(&true));
            links.push(address.is_some());
            let open = |url: Url| format!("<a href=\"{}\" rel=\"nofollow noopener\">", escape(url.as_str()));
            address.map(|url| Event::InlineHtml(open(url).into()))
        }
        Event::End(TagEnd::Link) => links.pop().unwrap_or(false).then(|| Event::InlineHtml("</a>".into())),
        Event::Start(Tag::Heading { level, .. }) => {
            let level = moved(level, top, above);
            Some(Event::Start(Tag::Heading { level, id: None, classes: Vec::new(), attrs: Vec::new() }))
        }
        Event::End(TagEnd::Heading(level)) => Some(Event::End(TagEnd::Heading(moved(level, top, above)))),
        // The word after the fence would become a class.
        Event::Start(Tag::CodeBlock(_)) => Some(Event::Start(Tag::CodeBlock(pulldown_cmark::CodeBlockKind::Indented))),
        other => Some(other),
    });
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    html::push_html(&mut out, safe);
    untrusted::block(&out, usize::MAX)
}

/// What `text` consists of; lists and quotes that are nested beyond all sense end at [`DEEPEST`],
/// where what is in them goes on without them.
fn events(text: &str) -> impl Iterator<Item = Event<'_>> {
    // For each list, item and quote that is open: whether it is kept.
    let mut open: Vec<bool> = Vec::new();
    let mut has_gap = false;
    Parser::new_ext(text, Options::empty()).filter_map(move |event| {
        let is_kept = match &event {
            Event::Start(Tag::List(_) | Tag::BlockQuote(_)) => {
                open.push(open.len() < DEEPEST);
                open.last().copied()
            }
            Event::Start(Tag::Item) => {
                open.push(open.last().copied().unwrap_or(true));
                open.last().copied()
            }
            Event::End(TagEnd::List(_) | TagEnd::BlockQuote(_) | TagEnd::Item) => open.pop(),
            _ => None,
        };
        if is_kept != Some(false) {
            has_gap = false;
            return Some(event);
        }
        // Items without their marks would run into one another.
        let is_gap = matches!(event, Event::Start(Tag::Item)) && !std::mem::replace(&mut has_gap, true);
        is_gap.then_some(Event::SoftBreak)
    })
}

fn heading(event: &Event<'_>) -> Option<usize> {
    if let Event::Start(Tag::Heading { level, .. }) = event { Some(number(*level)) } else { None }
}

fn number(level: HeadingLevel) -> usize {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

fn moved(level: HeadingLevel, top: usize, above: usize) -> HeadingLevel {
    let wanted = (number(level).saturating_sub(top) + above + 1).min(6);
    HeadingLevel::try_from(wanted).unwrap_or(HeadingLevel::H6)
}

/// Where a link may lead; `None` if it may not be followed.
fn link_address(kind: LinkType, address: &str) -> Option<Url> {
    let text = if kind == LinkType::Email { format!("mailto:{address}") } else { address.to_owned() };
    Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https" | "mailto"))
}

/// `text` as plain text for mails and terminals: one line a paragraph, an empty line between
/// blocks, addresses of links in brackets.
#[must_use]
pub fn to_text(text: &str) -> String {
    let mut plain = Plain::default();
    for event in events(text) {
        plain.push(event);
    }
    untrusted::block(&plain.out, usize::MAX)
}

#[derive(Default)]
struct Plain {
    out: String,
    /// For each list that is open: the number of its next item, or none for bullets.
    lists: Vec<Option<u64>>,
    quotes: usize,
    /// For each link that is open: where it leads, and where its words begin.
    links: Vec<(Option<String>, usize)>,
    in_code: bool,
    /// A list item has begun, and its first block continues the line of its mark.
    after_mark: bool,
}

impl Plain {
    fn push(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::Paragraph | Tag::Heading { .. } | Tag::HtmlBlock) => self.block(),
            Event::Start(Tag::CodeBlock(_)) => {
                self.block();
                self.in_code = true;
                self.out.push_str("    ");
            }
            Event::End(TagEnd::CodeBlock) => {
                self.in_code = false;
                self.out.truncate(self.out.trim_end().len());
            }
            Event::Start(Tag::BlockQuote(_)) => {
                self.block();
                self.quotes += 1;
                self.out.push_str("> ");
                self.after_mark = true;
            }
            Event::End(TagEnd::BlockQuote(_)) => self.quotes = self.quotes.saturating_sub(1),
            Event::Start(Tag::List(first)) => {
                if self.lists.is_empty() {
                    self.block();
                }
                self.lists.push(first);
            }
            Event::End(TagEnd::List(_)) => {
                self.lists.pop();
            }
            Event::Start(Tag::Item) => self.item(),
            Event::End(TagEnd::Item) => self.after_mark = false,
            Event::Start(Tag::Link { link_type, dest_url, .. }) => {
                let address = link_address(link_type, &dest_url).map(|_| dest_url.to_string());
                self.links.push((address, self.out.len()));
            }
            Event::End(TagEnd::Link) => {
                if let Some((Some(address), start)) = self.links.pop()
                    && self.out.get(start..).is_some_and(|words| words.trim() != address)
                {
                    self.out.push_str(" (");
                    self.out.push_str(&address);
                    self.out.push(')');
                }
            }
            Event::Text(words) | Event::Code(words) | Event::Html(words) | Event::InlineHtml(words) => {
                self.words(&words);
            }
            Event::SoftBreak => self.out.push(' '),
            Event::HardBreak => self.line(),
            Event::Rule => {
                self.block();
                self.out.push_str("---");
            }
            _ => {}
        }
    }

    fn words(&mut self, words: &CowStr<'_>) {
        self.after_mark = false;
        if self.in_code {
            self.out.push_str(&words.replace('\n', "\n    "));
        } else {
            self.out.push_str(words.trim_end_matches('\n'));
        }
    }

    /// Begins a block: an empty line after the one before, unless a mark stands before it.
    fn block(&mut self) {
        if std::mem::take(&mut self.after_mark) || self.out.is_empty() {
            return;
        }
        self.out.push('\n');
        self.line();
    }

    fn line(&mut self) {
        self.out.push('\n');
        for _ in 0..self.quotes {
            self.out.push_str("> ");
        }
        for _ in 0..self.lists.len() {
            self.out.push_str("  ");
        }
    }

    fn item(&mut self) {
        let depth = self.lists.len().saturating_sub(1);
        if !self.out.is_empty() && !self.out.ends_with("\n\n") && !std::mem::take(&mut self.after_mark) {
            self.out.push('\n');
        }
        let is_new_line = self.out.is_empty() || self.out.ends_with('\n');
        if is_new_line {
            for _ in 0..depth {
                self.out.push_str("  ");
            }
        }
        match self.lists.last_mut() {
            Some(Some(number)) => {
                let _ = write!(self.out, "{number}. ");
                *number += 1;
            }
            _ => self.out.push_str("- "),
        }
        self.after_mark = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_stands_within_another() {
        let html = to_html("[a <https://b.example/> c](https://a.example/)");
        assert_eq!(html, "<p><a href=\"https://a.example/\" rel=\"nofollow noopener\">a https://b.example/ c</a></p>");
        assert_eq!(to_html("[x <b@c.example>](javascript:x)").matches("<a ").count(), 1);
    }

    #[test]
    fn nesting_without_end_has_an_end() {
        let text = format!("{}a\\\nb\n\n{}c", "> ".repeat(5000), "- ".repeat(5000));
        let (html, plain) = (to_html(&text), to_text(&text));
        assert!(html.len() < 2000 && html.contains("a<br />\nb"), "{html}");
        assert!(plain.len() < 2000 && plain.ends_with('c'), "{plain}");
    }

    #[test]
    fn raw_html_is_shown_and_not_run() {
        let html = to_html("a <b onclick=x>b</b>\n\n<script>alert(1)</script>");
        assert_eq!(html, "<p>a &lt;b onclick=x&gt;b&lt;/b&gt;</p>\n<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>");
    }

    #[test]
    fn links_lead_to_the_web_or_to_mail_and_nowhere_else() {
        let html = to_html("[a](https://x.example/?a=1&b=\"2) <mail@x.example> <http://y.example/>");
        assert!(
            html.contains("<a href=\"https://x.example/?a=1&amp;b=%222\" rel=\"nofollow noopener\">a</a>"),
            "{html}"
        );
        assert!(html.contains("<a href=\"mailto:mail@x.example\" rel=\"nofollow noopener\">mail@x.example</a>"));
        for bad in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "/etc",
            "x",
            "java&#10;script:x",
            "vbscript:x",
        ] {
            let html = to_html(&format!("[a]({bad})"));
            assert_eq!(html, "<p>a</p>", "{bad}");
        }
        assert!(!to_html("<javascript:alert(1)>").contains("href"));
    }

    #[test]
    fn images_become_their_descriptions() {
        assert_eq!(to_html("![a *tracker*](https://x.example/p.gif)"), "<p>a <em>tracker</em></p>");
        assert_eq!(
            to_html("[![x](a.png)](https://x.example/)"),
            "<p><a href=\"https://x.example/\" rel=\"nofollow noopener\">x</a></p>"
        );
    }

    #[test]
    fn headings_go_below_ours_without_a_gap() {
        assert_eq!(to_html("## A\n### B"), "<h4>A</h4>\n<h5>B</h5>");
        assert_eq!(to_html("# A\n###### B"), "<h4>A</h4>\n<h6>B</h6>");
    }

    #[test]
    fn a_fence_sets_no_class() {
        assert_eq!(to_html("```x onload=\ncode\n```"), "<pre><code>code\n</code></pre>");
    }

    #[test]
    fn characters_spelt_as_entities_are_cleaned_too() {
        assert_eq!(to_html("a&#8238;b&#1;c&#xFFFE;d"), "<p>abcd</p>");
        assert_eq!(to_text("a&#8238;b&#1;c"), "abc");
    }

    #[test]
    fn plain_text_keeps_the_structure() {
        let text = to_text(
            "# Title\nOne\n**two** [docs](https://x.example/).\n\n1. a\n2. b\n   - c\n\n> q\n\n```\nx\ny\n```\nend",
        );
        assert_eq!(
            text,
            "Title\n\nOne two docs (https://x.example/).\n\n1. a\n2. b\n  - c\n\n> q\n\n    x\n    y\n\nend"
        );
        assert_eq!(to_text("<https://x.example/>"), "https://x.example/");
        assert_eq!(to_text("- a\n\n  b\n- c"), "- a\n\n  b\n- c");
    }
}
