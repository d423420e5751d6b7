//! What a browser makes of a text: the tokenizer of html5ever, and what must hold of its tokens.

use std::cell::{Cell, RefCell};

use html5ever::{
    local_name,
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::{RawKind, Rawtext, Rcdata, ScriptData},
    },
};

/// A tag as a browser sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub is_end: bool,
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

/// A text in pieces.
#[derive(Default, Debug)]
pub struct Read {
    pub tags: Vec<Tag>,
    pub text: String,
    /// What stands in `<script>` elements.
    pub scripts: Vec<String>,
    pub comments: usize,
    pub errors: Vec<String>,
}

#[derive(Default)]
struct Sink {
    read: RefCell<Read>,
    in_script: Cell<bool>,
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut read = self.read.borrow_mut();
        match token {
            Token::TagToken(tag) => {
                let is_end = tag.kind == TagKind::EndTag;
                let attributes = tag.attrs.iter();
                let attributes = attributes.map(|a| (a.name.local.to_string(), a.value.to_string())).collect();
                read.tags.push(Tag { is_end, name: tag.name.to_string(), attributes });
                self.in_script.set(!is_end && tag.name == local_name!("script"));
                if self.in_script.get() {
                    read.scripts.push(String::new());
                }
                match &*tag.name {
                    _ if is_end => {}
                    "script" => return TokenSinkResult::RawData(ScriptData),
                    "title" | "textarea" => return TokenSinkResult::RawData(Rcdata),
                    "style" | "xmp" | "iframe" | "noembed" | "noframes" | "noscript" => return raw(Rawtext),
                    "plaintext" => return TokenSinkResult::Plaintext,
                    _ => {}
                }
            }
            Token::CharacterTokens(text) if self.in_script.get() => read.scripts.last_mut().unwrap().push_str(&text),
            Token::CharacterTokens(text) => read.text.push_str(&text),
            Token::NullCharacterToken => read.errors.push("a NUL".to_owned()),
            Token::CommentToken(_) => read.comments += 1,
            Token::ParseError(error) => read.errors.push(error.into_owned()),
            Token::DoctypeToken(_) | Token::EOFToken => {}
        }
        TokenSinkResult::Continue
    }
}

fn raw(kind: RawKind) -> TokenSinkResult<()> {
    TokenSinkResult::RawData(kind)
}

/// Reads a document or a part of one.
pub fn read(html: &str) -> Read {
    let queue = BufferQueue::default();
    queue.push_back(StrTendril::from(html));
    let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts { exact_errors: true, ..TokenizerOpts::default() });
    while !queue.is_empty() {
        let _ = tokenizer.feed(&queue);
    }
    tokenizer.end();
    tokenizer.sink.read.into_inner()
}

const VOID: &[&str] = &["br", "hr", "img", "input", "link", "meta"];

/// Whether an address leads to the web, to mail, or (if `local`) to somewhere on the same site.
pub fn leads_to_a_good_place(address: &str, local: bool) -> bool {
    if ["https://", "http://", "mailto:"].iter().any(|scheme| address.starts_with(scheme)) {
        return true;
    }
    let before = address.split(['/', '?', '#']).next().unwrap_or("");
    local && !address.starts_with("//") && !before.contains([':', '&', '\t', '\n', '\\'])
}

/// That every tag is closed in order and nothing is nested that a browser would take apart.
#[track_caller]
pub fn is_balanced(tags: &[Tag], html: &str) {
    const BLOCKS: &[&str] = &["p", "ul", "ol", "pre", "blockquote", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "table"];
    let mut open: Vec<&str> = Vec::new();
    for tag in tags {
        let name = tag.name.as_str();
        if tag.is_end {
            assert_eq!(open.pop(), Some(name), "what is closed is open, in {html}");
            continue;
        }
        if BLOCKS.contains(&name) {
            assert!(!open.contains(&"p"), "`{name}` within a paragraph in {html}");
        }
        assert!(name != "a" || !open.contains(&"a"), "a link within a link in {html}");
        if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} stay open in {html}");
}

/// That HTML made of markdown holds nothing but what it may, and no character that misleads.
#[track_caller]
pub fn is_harmless(html: &str) -> Read {
    let read = is_made_of_what_is_allowed(html);
    is_clean(&read.text);
    read
}

/// The same for a feed, where names stand that were cleaned when they came in.
#[track_caller]
pub fn is_made_of_what_is_allowed(html: &str) -> Read {
    let read = read(html);
    for tag in &read.tags {
        let allowed: &[&str] = match tag.name.as_str() {
            "a" => &["href", "rel"],
            "ol" => &["start"],
            "time" => &["datetime"],
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "em" | "strong" | "ul" | "li" | "pre" | "code"
            | "blockquote" | "hr" | "br" | "small" => &[],
            other => panic!("<{other}> in {html}"),
        };
        for (name, value) in &tag.attributes {
            assert!(allowed.contains(&name.as_str()), "<{} {name}=\"{value}\"> in {html}", tag.name);
            assert!(name != "href" || leads_to_a_good_place(value, false), "{value} in {html}");
            assert!(name != "start" || value.bytes().all(|b| b.is_ascii_digit()), "{value} in {html}");
            assert!(!value.chars().any(char::is_control), "{value:?} in {html}");
        }
    }
    assert_eq!((&read.errors[..], read.comments), (&[][..], 0), "{html}");
    is_balanced(&read.tags, html);
    read
}

/// That a text holds nothing that misleads its reader or breaks XML.
#[track_caller]
pub fn is_clean(text: &str) {
    let bad = |c: &char| {
        (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if let Some(c) = text.chars().find(bad) {
        panic!("{c:?} in {text:?}");
    }
}

#[test]
fn the_checker_sees_what_a_browser_would() {
    for bad in [
        "<script>alert(1)</script>",
        "<p onclick=x>a</p>",
        "<a href=\"javascript:alert(1)\">a</a>",
        "<a href=\"java&#9;script:alert(1)\">a</a>",
        "<a href=\" javascript:alert(1)\">a</a>",
        "<p><p>a</p></p>",
        "<a href=\"https://a/\"><a href=\"https://b/\">a</a></a>",
        "<p>a",
        "<!-- a -->",
        "<p>a\u{202e}</p>",
        "<p>&#x202e;</p>",
        "a & b &#0;",
    ] {
        assert!(std::panic::catch_unwind(|| is_harmless(bad)).is_err(), "{bad}");
    }
    is_harmless("<p>a &lt;script&gt; <a href=\"https://a/?b&amp;c\" rel=\"nofollow\">a</a><br /></p>\n<hr />");
}
