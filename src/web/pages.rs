//! The few pages that are no files: asking before a subscription begins or ends, and saying that it
//! has.
//!
//! Most are the same for everyone, so they are made once. A form has no address of its own: a button
//! posts to where its page came from.

use std::sync::Arc;

use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{self, HeaderName},
};

use super::{
    Chosen, Joined,
    answer::{set, with_type},
    body::Body,
    form::Refusal,
    press::{Notice, Press},
};
use crate::{config::Config, site::SiteError};

/// The pages, ready to be sent.
#[derive(Clone, Debug)]
pub struct Pages {
    /// With one button that ends the subscription.
    pub unsubscribe: Bytes,
    /// It has ended; or there was none.
    pub unsubscribed: Bytes,
    /// It could not be ended just now.
    pub try_again: Bytes,
    /// A request was taken: the same whatever is known of its address.
    pub asked: Bytes,
    /// The same for a webhook.
    pub asked_webhook: Bytes,
    /// Too many requests came from there.
    pub too_many: Bytes,
    /// Too many requests came from everywhere.
    pub busy: Bytes,
    /// A request cannot be taken just now.
    pub not_now: Bytes,
    /// With one button that confirms.
    pub confirm: Bytes,
    /// The same, after it could not be done.
    pub confirm_again: Bytes,
    /// A link that confirms nothing any more.
    pub old: Bytes,
    /// What they may load (`Content-Security-Policy`).
    pub policy: String,
    /// Makes those that are for one reader; `None`: they are plain.
    pub press: Option<Arc<Press>>,
}

impl Pages {
    /// The pages of `config`; if a template of the operator's is broken, which is reported, those
    /// of `otherwise`: a way out is always open.
    #[must_use]
    pub fn render_or(config: &Config, otherwise: impl FnOnce() -> Self) -> Self {
        Self::render(config).unwrap_or_else(|error| {
            tracing::error!(%error, "the pages for subscribers stay as they were");
            otherwise()
        })
    }

    /// The pages without any template, in English.
    #[must_use]
    pub fn plain() -> Self {
        let button = |word: &str| format!("<form method=\"post\"><button type=\"submit\">{word}</button></form>");
        let again = "<p>It could not be done just now, and nothing has changed. Try again in a minute.</p>";
        Self {
            unsubscribe: plain("Unsubscribe?", &button("Unsubscribe")),
            unsubscribed: plain("Unsubscribed", "<p>The address that got this link gets no more messages.</p>"),
            try_again: plain("Not unsubscribed yet", &button("Unsubscribe")),
            asked: plain("Check your mail", "<p>If this address can get mail, a message is on its way to it.</p>"),
            asked_webhook: plain("Look at your receiver", "<p>If it can be called, a message is posted to it.</p>"),
            too_many: plain("Too many requests", "<p>Nothing was sent. Try again in an hour.</p>"),
            busy: plain("Too many people ask", "<p>Nothing was sent. Try again in an hour.</p>"),
            not_now: plain("Not done yet", again),
            confirm: plain("Confirm", &button("Yes, send me news")),
            confirm_again: plain("Not confirmed yet", &button("Yes, send me news")),
            old: plain("This link is no longer good", "<p>If you have confirmed already, all is well.</p>"),
            policy: "default-src 'none'; form-action 'self'; base-uri 'none'".to_owned(),
            press: None,
        }
    }

    /// The pages in the words and the design of the site.
    ///
    /// # Errors
    /// If a template, a catalogue or the logo of the operator's cannot be used.
    pub fn render(config: &Config) -> Result<Self, SiteError> {
        let press = Press::new(config)?;
        let button = |title: &str, text: &str, button: &str| press.button(title, text, button);
        Ok(Self {
            unsubscribe: button("unsubscribe.title", "unsubscribe.text", "unsubscribe.button")?,
            unsubscribed: press.left()?,
            try_again: button("unsubscribe.later", "unsubscribe.later_text", "unsubscribe.later_button")?,
            asked: press.beside_site("asking.asked", "asking.asked_text", "asking.asked_more")?,
            asked_webhook: press.beside_site("asking.called", "asking.called_text", "asking.called_more")?,
            too_many: press.beside_site("asking.too_many", "asking.too_many_text", "")?,
            busy: press.beside_site("asking.busy", "asking.busy_text", "")?,
            not_now: press.beside_site("asking.later", "asking.later_text", "")?,
            confirm: button("confirm.title", "confirm.text", "confirm.button")?,
            confirm_again: button("asking.later", "asking.later_text", "confirm.button")?,
            old: press.old("confirm.old_text")?,
            policy: press.policy().to_owned(),
            press: Some(Arc::new(press.proven()?)),
        })
    }

    /// Says why a form was refused.
    pub(super) fn refused(&self, why: Refusal) -> Bytes {
        let page = self.press.as_ref().map(|press| press.beside_site("asking.refused", why.key(), "asking.again"));
        or_plain(page, || plain("Not subscribed", "<p>Go back and correct it.</p>"))
    }

    /// Says that news comes from now on, with the way to one's choice, and a webhook's secret.
    pub(super) fn confirmed(&self, joined: &Joined, language: Option<&str>) -> Bytes {
        let page = self.press.as_ref().map(|press| press.for_reader(language).confirmed(joined));
        or_plain(page, || plain("Confirmed", "<p>News goes to the address that got this link from now on.</p>"))
    }

    /// Says to somebody who chose a language that no news comes any more.
    pub(super) fn left(&self, language: Option<&str>) -> Bytes {
        let page = self.press.as_ref().map(|press| press.for_reader(language).left());
        or_plain(page, || self.unsubscribed.clone())
    }

    /// Says that a link to one's choice is too old.
    pub(super) fn too_old(&self) -> Bytes {
        or_plain(self.press.as_ref().map(|press| press.old("manage.old_text")), || self.old.clone())
    }

    /// What somebody chose, to be changed.
    pub(super) fn manage(&self, chosen: &Chosen, notice: Notice) -> Bytes {
        let language = chosen.choice.language.as_deref();
        let page = self.press.as_ref().map(|press| press.for_reader(language).manage(chosen, notice));
        or_plain(page, || plain("What you hear of", "<p>It cannot be shown just now. Try again later.</p>"))
    }
}

/// A page without any template.
fn plain(title: &str, rest: &str) -> Bytes {
    let page =
        format!("<!doctype html>\n<html lang=\"en\"><title>{title}</title>\n<h1>{title}</h1>\n{rest}\n</html>\n");
    Bytes::from(page)
}

/// A page that was just made, unless a template fails in a way that no trial has shown.
fn or_plain(page: Option<Result<Bytes, SiteError>>, plain: impl FnOnce() -> Bytes) -> Bytes {
    match page {
        Some(Ok(page)) => page,
        Some(Err(error)) => {
            tracing::error!(%error, "a page for a subscriber could not be made");
            plain()
        }
        None => plain(),
    }
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
