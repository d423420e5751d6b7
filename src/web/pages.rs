//! The few pages that are no files: asking before a subscription ends, and saying that it has.
//!
//! They are the same for everyone, so they are made once. Their form has no address of its own: a
//! button posts to where its page came from.

use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{self, HeaderName},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    answer::{set, with_type},
    body::Body,
};
use crate::{
    config::Config,
    site::{
        SiteError,
        context::Context,
        feeds::Authority,
        view::{self, Base},
    },
};

/// The pages, ready to be sent.
#[derive(Clone, Debug)]
pub struct Pages {
    /// With one button that ends the subscription.
    pub unsubscribe: Bytes,
    /// It has ended; or there was none.
    pub unsubscribed: Bytes,
    /// It could not be ended just now.
    pub try_again: Bytes,
    /// What they may load (`Content-Security-Policy`).
    pub policy: String,
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
}

impl Pages {
    /// The pages of `config`; if a template of the operator's is broken, which is reported, those
    /// of `otherwise`: a way out is always open.
    #[must_use]
    pub fn render_or(config: &Config, otherwise: impl FnOnce() -> Self) -> Self {
        Self::render(config).unwrap_or_else(|error| {
            tracing::error!(%error, "the pages for unsubscribing stay as they were");
            otherwise()
        })
    }

    /// The pages without any template, in English.
    #[must_use]
    pub fn plain() -> Self {
        let page = |title: &str, rest: &str| {
            let page = format!(
                "<!doctype html>\n<html lang=\"en\"><title>{title}</title>\n<h1>{title}</h1>\n{rest}\n</html>\n"
            );
            Bytes::from(page)
        };
        let button = "<form method=\"post\"><button type=\"submit\">Unsubscribe</button></form>";
        Self {
            unsubscribe: page("Unsubscribe?", button),
            unsubscribed: page("Unsubscribed", "<p>The address that got this link gets no more messages.</p>"),
            try_again: page("Not unsubscribed yet", button),
            policy: "default-src 'none'; form-action 'self'; base-uri 'none'".to_owned(),
        }
    }

    /// The pages in the words and the design of the site.
    ///
    /// # Errors
    /// If a template, a catalogue or the logo of the operator's cannot be used.
    pub fn render(config: &Config) -> Result<Self, SiteError> {
        // No feed is made here: who would mint its ids does not matter.
        let authority = Authority::mint(&config.site.url, Timestamp::UNIX_EPOCH);
        let context = Context::load(config, authority, false)?;
        let words = |key: &str| context.words.text(&format!("unsubscribe.{key}"), &[("site", &context.site.title)]);
        let policy = policy(config);
        let base = |title: &str| base(config, &context, &words(title), &policy);
        let form = |title: &str, text: &str, button: &str| {
            let form = Form { base: base(title), text: words(text), button: words(button) };
            context.templates.render("unsubscribe.html", form).map(Bytes::from)
        };
        let done = Message { base: base("done"), text: words("done_text"), more: words("done_more") };
        Ok(Self {
            unsubscribe: form("title", "text", "button")?,
            unsubscribed: context.templates.render("message.html", done)?.into(),
            try_again: form("later", "later_text", "later_button")?,
            policy,
        })
    }
}

/// A page's frame, but without script, address and feeds: nothing that this page is about.
fn base(config: &Config, context: &Context, title: &str, policy: &str) -> Base {
    let page = view::Page {
        path: "unsubscribe/",
        title,
        description: "",
        present: None,
        section: "unsubscribe",
        service: None,
    };
    let mut base = view::base(context, &page, Timestamp::UNIX_EPOCH);
    if config.server.url != config.site.url {
        config.site.url.as_str().clone_into(&mut base.root);
    }
    policy.clone_into(&mut base.csp);
    base.script = String::new().into();
    base.canonical.clear();
    base.feeds.clear();
    base.noindex = true;
    base
}

/// The site's own styles and pictures, a form that leads back here, and nothing else.
fn policy(config: &Config) -> String {
    let (site, server) = (config.site.url.origin(), config.server.url.origin());
    let from = if site == server { "'self'".to_owned() } else { format!("'self' {}", site.ascii_serialization()) };
    format!("default-src 'none'; style-src {from}; img-src {from}; form-action 'self'; base-uri 'none'")
}

/// A page that belongs to one reader: kept by nobody, found by nobody, telling nobody where the
/// reader came from.
pub(super) fn response(status: StatusCode, page: &Bytes, policy: &str) -> Response<Body> {
    let mut response = with_type(status, "text/html; charset=utf-8", page.clone());
    set(&mut response, header::CACHE_CONTROL, "no-store");
    set(&mut response, header::REFERRER_POLICY, "no-referrer");
    set(&mut response, HeaderName::from_static("x-robots-tag"), "noindex, nofollow");
    set(&mut response, header::CONTENT_SECURITY_POLICY, &format!("{policy}; frame-ancestors 'none'"));
    response
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn pages(more: &str) -> (Pages, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let text =
            format!("{more}\n[[service]]\nid = \"api\"\nname = \"API\"\n[[service.check]]\ntcp = \"127.0.0.1:1\"\n");
        let config = Config::parse(&folder.path().join("watchbell.toml"), &text, &|_| None).unwrap().config;
        (Pages::render_or(&config, Pages::plain), folder)
    }

    fn text(page: &Bytes) -> String {
        String::from_utf8(page.to_vec()).unwrap()
    }

    #[test]
    fn the_page_asks_with_one_button_that_posts_to_where_it_came_from() {
        let (pages, _folder) =
            pages("[site]\ntitle = \"Example <Status>\"\nurl = \"https://status.example.org/at/\"\n");
        let page = text(&pages.unsubscribe);
        assert_eq!(page.matches("<form").count(), 1);
        assert_eq!(page.matches("<button").count(), 1);
        assert!(page.contains("<form class=\"told\" method=\"post\">"), "{page}");
        assert!(page.contains("Example &lt;Status&gt;"));
        assert!(page.contains("href=\"../assets/"), "from /unsubscribe/TOKEN up to the site");
        assert!(!page.contains("<script") && !page.contains("rel=\"canonical\""));
        assert!(page.contains("noindex"));
        assert!(pages.policy.contains("form-action 'self'") && pages.policy.contains("style-src 'self';"));
        for page in [&pages.unsubscribed, &pages.try_again] {
            assert!(text(page).contains("</html>"));
        }
    }

    #[test]
    fn endpoints_elsewhere_take_their_styles_from_the_site() {
        let (pages, _folder) = pages(
            "[site]\ntitle = \"A\"\nurl = \"https://status.example.org/\"\n\
             [server]\nurl = \"https://hooks.example.org/\"\n",
        );
        assert!(text(&pages.unsubscribed).contains("href=\"https://status.example.org/assets/"));
        assert!(pages.policy.contains("style-src 'self' https://status.example.org;"));
    }

    #[test]
    fn a_broken_template_leaves_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        crate::fsio::write(&folder.path().join("message.html"), b"{{ nothing }}").unwrap();
        let more = format!(
            "[site]\ntitle = \"A\"\nurl = \"https://status.example.org/\"\ntemplates = {:?}\n",
            Path::new(folder.path())
        );
        let (pages, _folder) = pages(&more);
        assert!(text(&pages.unsubscribe).contains("<button"));
    }
}
