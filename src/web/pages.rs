//! The few pages that are no files: asking before a subscription ends, and saying that it has.
//!
//! They are the same for everyone, so they are made once. Their form has no address of its own: a
//! button posts to where its page came from.

use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{self, HeaderName},
};

use super::{
    answer::{set, with_type},
    body::Body,
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
}

/// A page that belongs to one reader: kept by nobody, found by nobody, telling nobody where the
/// reader came from. It may load the site's own styles and nothing else.
pub(super) fn response(status: StatusCode, page: &Bytes) -> Response<Body> {
    let mut response = with_type(status, "text/html; charset=utf-8", page.clone());
    set(&mut response, header::CACHE_CONTROL, "no-store");
    set(&mut response, header::REFERRER_POLICY, "no-referrer");
    set(&mut response, HeaderName::from_static("x-robots-tag"), "noindex, nofollow");
    set(
        &mut response,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    );
    response
}
