//! From a request to its answer: the one place where routes, files and endpoints meet.

use std::{io, sync::Arc};

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use tokio::task::spawn_blocking;

use super::{
    App, Limits, Metrics,
    body::Body,
    connections::Connection,
    files::{Found, Served},
    negotiate,
    route::{Route, route},
    subscribing, types,
};

/// Answers one request to the public address.
pub(super) async fn answer(
    app: &Arc<App>,
    request: Request<Incoming>,
    connection: &Connection,
    limits: &Limits,
) -> Response<Body> {
    let head_only = request.method() == Method::HEAD;
    let route = route(request.uri().path(), &app.bases);
    let response = match route {
        Route::Bad => plain(StatusCode::BAD_REQUEST, "This is no path."),
        _ if !allowed(&route).contains(request.method()) => not_allowed(allowed(&route)),
        Route::Health => health(app),
        Route::Unsubscribe(token) => subscribing::unsubscribe(app, token, request, connection, limits).await,
        Route::Confirm(token) => subscribing::confirm(app, token, request, connection, limits).await,
        Route::Manage(token) => subscribing::manage(app, token, request, connection, limits).await,
        Route::Subscribe if request.method() != Method::POST => {
            file(app, vec!["subscribe".to_owned()], false, &request).await
        }
        Route::Subscribe if !app.takes.any() => missing(app, request.headers()).await,
        Route::Subscribe => subscribing::subscribe(app, request, connection, limits).await,
        Route::Elsewhere(to) => elsewhere(&to, request.uri().query()),
        Route::Nothing => missing(app, request.headers()).await,
        Route::File(segments, folder) => file(app, segments, folder, &request).await,
    };
    finish(response, head_only)
}

/// Answers one request to the address for metrics.
pub(super) fn metrics(metrics: &Metrics, request: &Request<Incoming>) -> Response<Body> {
    let response = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let (media, text) = metrics.text(accept.unwrap_or_default());
            let mut response = with_type(StatusCode::OK, media, text);
            set(&mut response, header::CACHE_CONTROL, "no-store");
            response
        }
        (_, "/metrics") => not_allowed(READ),
        _ => plain(StatusCode::NOT_FOUND, "Metrics are at /metrics."),
    };
    finish(response, request.method() == Method::HEAD)
}

const READ: &[Method] = &[Method::GET, Method::HEAD];
const READ_OR_POST: &[Method] = &[Method::GET, Method::HEAD, Method::POST];

const fn allowed(route: &Route) -> &'static [Method] {
    match route {
        Route::Unsubscribe(_) | Route::Confirm(_) | Route::Manage(_) | Route::Subscribe => READ_OR_POST,
        _ => READ,
    }
}

fn not_allowed(methods: &[Method]) -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "This address cannot be used that way.");
    set(&mut response, header::ALLOW, &methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", "));
    response
}

fn health(app: &App) -> Response<Body> {
    let mut response = match app.endpoints.health() {
        Ok(()) => plain(StatusCode::OK, "ok"),
        Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, &reason),
    };
    set(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

/// Whether a text can be a token of ours at all.
pub(super) fn is_token(text: &str) -> bool {
    text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

async fn file(app: &Arc<App>, segments: Vec<String>, folder: bool, request: &Request<Incoming>) -> Response<Body> {
    let gzip = negotiate::takes_gzip(request.headers());
    let (searching, wanted) = (Arc::clone(app), segments.clone());
    let found = spawn_blocking(move || searching.files.find(&wanted, folder, gzip)).await;
    match found.map_err(io::Error::other).flatten() {
        Ok(Found::File(served)) => whole(served, types::caching(&segments), request.headers()),
        Ok(Found::Folder) => {
            let last = segments.last().map(|segment| escaped(segment)).unwrap_or_default();
            elsewhere(&format!("./{last}/"), request.uri().query())
        }
        Ok(Found::Nothing) => missing(app, request.headers()).await,
        Err(error) => unreadable(&error),
    }
}

/// The site's own page for what is not there.
async fn missing(app: &Arc<App>, headers: &HeaderMap) -> Response<Body> {
    let gzip = negotiate::takes_gzip(headers);
    let app = Arc::clone(app);
    let found = spawn_blocking(move || app.files.find(&["404.html".to_owned()], false, gzip)).await;
    match found.map_err(io::Error::other).flatten() {
        Ok(Found::File(served)) => {
            // Without conditions: a copy of this page is no copy of what was asked for.
            let mut response = whole(served, "no-cache", &HeaderMap::new());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response.headers_mut().remove(header::ETAG);
            response.headers_mut().remove(header::LAST_MODIFIED);
            response
        }
        Ok(_) => plain(StatusCode::NOT_FOUND, "There is nothing here."),
        Err(error) => unreadable(&error),
    }
}

pub(super) fn unreadable(error: &io::Error) -> Response<Body> {
    tracing::debug!(%error, "a request could not be answered");
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "This cannot be read just now.");
    set(&mut response, header::RETRY_AFTER, "5");
    response
}

fn whole(served: Served, caching: &'static str, headers: &HeaderMap) -> Response<Body> {
    let unchanged = negotiate::is_unchanged(headers, &served.etag, served.modified_at);
    let mut response = Response::new(if unchanged { Bytes::new().into() } else { served.body });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        set(&mut response, header::CONTENT_LENGTH, &served.len.to_string());
        set(&mut response, header::CONTENT_TYPE, served.kind.media);
        if served.gzip {
            set(&mut response, header::CONTENT_ENCODING, "gzip");
        }
    }
    set(&mut response, header::ETAG, &served.etag);
    if let Some(date) = negotiate::date(served.modified_at) {
        set(&mut response, header::LAST_MODIFIED, &date);
    }
    set(&mut response, header::CACHE_CONTROL, caching);
    set(&mut response, header::ACCEPT_RANGES, "none");
    if served.kind.text {
        set(&mut response, header::VARY, "Accept-Encoding");
    }
    if served.kind.shared {
        set(&mut response, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        set(&mut response, CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin");
    }
    response
}

/// A redirect for good. The address is relative, so it holds under any base and behind any proxy.
fn elsewhere(to: &str, query: Option<&str>) -> Response<Body> {
    let mut response = plain(StatusCode::MOVED_PERMANENTLY, "It is at the same address with a `/` at its end.");
    let to = query.map_or_else(|| to.to_owned(), |query| format!("{to}?{query}"));
    set(&mut response, header::LOCATION, &to);
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    response
}

fn escaped(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    segment
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// A whole answer in memory.
pub(super) fn with_type(status: StatusCode, media: &str, content: impl Into<Bytes>) -> Response<Body> {
    let content = content.into();
    let len = content.len();
    let mut response = Response::new(content.into());
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, media);
    set(&mut response, header::CONTENT_LENGTH, &len.to_string());
    response
}

/// Sets a header; one that is no valid header is left out.
pub(super) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// What every answer says. A page's own policy (what it may load) stands in the page.
fn finish(mut response: Response<Body>, head_only: bool) -> Response<Body> {
    let every = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "same-origin"),
        (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in every {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    if head_only {
        *response.body_mut() = Bytes::new().into();
    }
    response
}
