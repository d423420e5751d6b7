//! Where a redirect leads, and what goes along. Pure.
//!
//! To the same host everything goes along. To another, only headers that say nothing of who asks:
//! any other may be a credential, whatever its name. From `https` to `http` nobody's credentials
//! go, and a body goes to no other host at all.

use reqwest::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName},
};
use url::Url;

/// Headers that may go to another host.
const HARMLESS: [HeaderName; 6] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::USER_AGENT,
];

/// What is asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// Whether user name and password go along.
    pub(super) basic_auth: bool,
    /// Whether the body goes along.
    pub(super) body: bool,
}

/// Why a redirect is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the redirect leads to `{0}`, which is no web address")]
    BadTarget(String),
    #[error("the redirect leads from https to http, and the check has credentials")]
    Downgrade,
    #[error("the redirect would hand the request's body to another host")]
    BodyElsewhere,
}

/// Whether `status` is a redirect that a client follows.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether what is for `a` may go to `b`: the same host and port, or the same host's secure side.
pub(super) fn same_host(a: &Url, b: &Url) -> bool {
    let upgraded = a.scheme() == "http" && b.scheme() == "https" && a.port().is_none() && b.port().is_none();
    let same_port = a.scheme() == b.scheme() && a.port_or_known_default() == b.port_or_known_default();
    a.host() == b.host() && (same_port || upgraded)
}

/// What to ask after `status` sent us to `location`. `client_cert`: whether the check shows one.
///
/// # Errors
/// If it must not be followed.
pub(super) fn next(asked: &Request, status: StatusCode, location: &str, client_cert: bool) -> Result<Request, Refused> {
    let bad = || Refused::BadTarget(location.to_owned());
    let mut url = asked.url.join(location).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(bad());
    }
    // A password in the address would be the target's choice, not the operator's.
    if !url.username().is_empty() || url.password().is_some() {
        url.set_password(None).map_err(|()| bad())?;
        url.set_username("").map_err(|()| bad())?;
    }
    url.set_fragment(None);
    // What is a URL to browsers, such as `http://1"l/`, need not be one that can be asked. That is
    // the target's fault; left to the client it would count as ours.
    url.as_str().parse::<hyper::Uri>().map_err(|_| bad())?;
    let mut next = Request { url, ..asked.clone() };
    let becomes_get = match status.as_u16() {
        303 => asked.method != Method::HEAD,
        301 | 302 => asked.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = false;
        next.headers.remove(header::CONTENT_TYPE);
        next.headers.remove(header::CONTENT_LENGTH);
        next.headers.remove(header::CONTENT_ENCODING);
    }
    let secret =
        next.basic_auth || next.body || client_cert || next.headers.keys().any(|name| !HARMLESS.contains(name));
    if asked.url.scheme() == "https" && next.url.scheme() == "http" && secret {
        return Err(Refused::Downgrade);
    }
    if !same_host(&asked.url, &next.url) {
        if next.body {
            return Err(Refused::BodyElsewhere);
        }
        next.basic_auth = false;
        let told: Vec<_> = next.headers.keys().filter(|name| !HARMLESS.contains(name)).cloned().collect();
        for name in told {
            next.headers.remove(name);
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn asked(url: &str, method: Method) -> Request {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "cookie", "x-api-key", "host", "accept", "content-type"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        let body = method == Method::POST;
        Request { url: url.parse().unwrap(), method, headers, basic_auth: true, body }
    }

    fn follow(url: &str, status: u16, location: &str) -> Result<Request, Refused> {
        next(&asked(url, Method::GET), StatusCode::from_u16(status).unwrap(), location, false)
    }

    #[test]
    fn an_address_that_cannot_be_asked_is_no_target() {
        let url: Url = "http://a.example/".parse().unwrap();
        let asked = Request { url, method: Method::GET, headers: HeaderMap::new(), basic_auth: false, body: false };
        let refused = next(&asked, StatusCode::FOUND, "http://1\"l", false).unwrap_err();
        assert!(matches!(refused, Refused::BadTarget(_)), "{refused}");
    }

    #[test]
    fn another_host_gets_no_credentials_of_any_name() {
        for location in ["http://b.example/", "//b.example/x", "http://a.example:81/", "http://A.example.evil/"] {
            let next = follow("http://a.example/", 302, location).unwrap();
            assert_eq!(next.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"], "{location}");
            assert!(!next.basic_auth);
        }
    }

    #[test]
    fn the_same_host_and_its_secure_side_get_everything() {
        for location in ["/x", "http://A.example:80/x", "https://a.example/x"] {
            let next = follow("http://a.example/", 302, location).unwrap();
            assert_eq!((next.headers.len(), next.basic_auth), (6, true), "{location}");
        }
    }

    #[test]
    fn credentials_never_leave_encryption() {
        assert_eq!(follow("https://a.example/", 302, "http://a.example/"), Err(Refused::Downgrade));
        assert_eq!(follow("https://a.example/", 302, "http://b.example/"), Err(Refused::Downgrade));
        let plain =
            Request { headers: HeaderMap::new(), basic_auth: false, ..asked("https://a.example/", Method::GET) };
        assert!(next(&plain, StatusCode::FOUND, "http://a.example/", false).is_ok());
        assert_eq!(next(&plain, StatusCode::FOUND, "http://a.example/", true), Err(Refused::Downgrade));
    }

    #[test]
    fn methods_change_as_browsers_change_them() {
        let post = |status| {
            let next = next(&asked("http://a.example/", Method::POST), status, "/x", false).unwrap();
            (next.method, next.body, next.headers.contains_key("content-type"))
        };
        assert_eq!(post(StatusCode::FOUND), (Method::GET, false, false));
        assert_eq!(post(StatusCode::SEE_OTHER), (Method::GET, false, false));
        assert_eq!(post(StatusCode::TEMPORARY_REDIRECT), (Method::POST, true, true));
        let head = next(&asked("http://a.example/", Method::HEAD), StatusCode::SEE_OTHER, "/x", false).unwrap();
        assert_eq!(head.method, Method::HEAD);
        let other =
            next(&asked("http://a.example/", Method::POST), StatusCode::PERMANENT_REDIRECT, "http://b.example/", false);
        assert_eq!(other, Err(Refused::BodyElsewhere));
    }

    #[test]
    fn addresses_that_are_none_are_refused_and_passwords_in_them_dropped() {
        for location in ["ftp://a.example/", "javascript:alert(1)", "http://", "file:///etc/passwd"] {
            assert!(matches!(follow("http://a.example/", 302, location), Err(Refused::BadTarget(_))), "{location}");
        }
        assert_eq!(follow("http://a.example/", 302, "//u:p@a.example/#x").unwrap().url.as_str(), "http://a.example/");
    }
}
