//! `http`: one request, its redirects, and whether the answer is what is expected.

use std::{error::Error, net::IpAddr};

use reqwest::{
    Method, Response,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use url::{Host, Url};

use super::{
    classify::Fault,
    client::{ClientError, Clients},
    expect::{self, Body},
    reach::Reach,
    redirect::{self, Request},
    resolve::{FurtherIn, LookupError},
    tls::Tls,
    trace::{Stage, Trace},
};
use crate::domain::{
    outcome::Class,
    service::{Check, Http},
};

/// Makes the request of `check` and judges the answer.
///
/// # Errors
/// Why it is not as expected.
pub(super) async fn probe(
    clients: &Clients,
    tls: &Tls,
    trace: &Trace,
    check: &Check,
    http: &Http,
) -> Result<String, Fault> {
    let mut request = first(http)?;
    let client = clients.get(check, http).map_err(|error| {
        let source: &(dyn Error + 'static) = match &error {
            ClientError::Tls(tls) => tls,
            ClientError::Proxy | ClientError::Build(_) => &error,
        };
        Fault { cause: Class::Local.into(), ..Fault::from_error(source, Stage::Idle) }
    })?;
    let mut asked = Vec::new();
    let mut origin: Option<Reach> = None;
    loop {
        ready(tls, trace, check, http, &request.url).await?;
        let mut builder = client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if request.basic_auth
            && let Some((user, password)) = &http.basic_auth
        {
            builder = builder.basic_auth(user, Some(password.reveal()));
        }
        if request.body
            && let Some(body) = &http.body
        {
            builder = builder.body(body.reveal().to_owned());
        }
        let response = builder.send().await.map_err(|error| {
            let stage = trace.stage();
            if error.is_timeout() { Fault::too_late(stage, check.timeout) } else { Fault::from_error(&error, stage) }
        })?;
        trace.enter(Stage::Body);
        let status = response.status();
        if let Some(address) = response.remote_addr() {
            origin.get_or_insert(Reach::of(address.ip()));
        }
        let location = response.headers().get(header::LOCATION);
        if http.follow_redirects > 0
            && redirect::is_redirect(status)
            && !expect::lists(&http.expect, status)
            && let Some(location) = location
        {
            let refused = |detail: &str| Fault::new(Class::Redirect, detail);
            if asked.len() >= usize::try_from(http.follow_redirects).unwrap_or(usize::MAX) {
                return Err(refused(&format!("more than {} redirects", http.follow_redirects)));
            }
            let location = String::from_utf8_lossy(location.as_bytes());
            let next = redirect::next(&request, status, &location, http.client_cert.is_some())
                .map_err(|error| refused(&error.to_string()))?;
            asked.push((request.url, request.method));
            if asked.contains(&(next.url.clone(), next.method.clone())) {
                return Err(refused("the redirects lead in a circle"));
            }
            // Through a proxy the address that we see is the proxy's.
            let elsewhere = http.proxy.is_none() && next.url.host() != http.url.host();
            trace.set_limit(if elsewhere { origin } else { None });
            request = next;
            trace.enter(Stage::Idle);
            continue;
        }
        return judge(http, response).await;
    }
}

/// The request that the config asks for.
fn first(http: &Http) -> Result<Request, Fault> {
    let local = |what: &str| Fault::new(Class::Local, &format!("{what} cannot be sent"));
    let mut headers = HeaderMap::new();
    for (name, value) in &http.headers {
        let wrong = || local(&format!("the header `{name}`"));
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.append(HeaderName::try_from(name.as_str()).map_err(|_| wrong())?, value);
    }
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|_| local("the method"))?;
    let (basic_auth, body) = (http.basic_auth.is_some(), http.body.is_some());
    Ok(Request { url: http.url.clone(), method, headers, basic_auth, body })
}

/// What must hold before a request is sent: whom to trust is known, and an address that needs no
/// lookup is one that may be asked.
async fn ready(tls: &Tls, trace: &Trace, check: &Check, http: &Http, url: &Url) -> Result<(), Fault> {
    if url.scheme() == "https" && !http.insecure && http.ca.is_none() {
        tls.load_roots().await.map_err(|error| Fault::from_error(&error, Stage::Idle))?;
    }
    let literal: Option<IpAddr> = match url.host() {
        Some(Host::Ipv4(address)) => Some(address.into()),
        Some(Host::Ipv6(address)) => Some(address.into()),
        Some(Host::Domain(_)) | None => None,
    };
    if let Some(address) = literal {
        if http.proxy.is_none() && check.ip.is_some_and(|ip| !ip.has(address)) {
            return Err(Fault::from_error(&LookupError::NotFound(address.to_string()), Stage::Dns));
        }
        if trace.limit().is_some_and(|limit| !limit.may_lead_to(Reach::of(address))) {
            return Err(Fault::from_error(&FurtherIn, Stage::Idle));
        }
    }
    Ok(())
}

/// Whether the last answer is what is expected.
async fn judge(http: &Http, mut response: Response) -> Result<String, Fault> {
    let status = response.status();
    let from = response.remote_addr().map_or_else(String::new, |address| format!(" from {address}"));
    expect::status(&http.expect, status)
        .and_then(|()| expect::headers(&http.expect, response.headers()))
        .map_err(|fault| Fault { detail: format!("{}{from}", fault.detail), ..fault })?;
    let most = usize::try_from(http.max_body).unwrap_or(usize::MAX);
    let keep = expect::wants_body(&http.expect);
    let (mut bytes, mut length, mut cut) = (Vec::new(), 0_usize, false);
    // A cut body ends the reading, and with it the connection.
    while !cut && let Some(chunk) = response.chunk().await.map_err(|error| Fault::from_error(&error, Stage::Body))? {
        let room = most.saturating_sub(length);
        cut = chunk.len() > room;
        let part = chunk.get(..room).unwrap_or(&chunk);
        length += part.len();
        if keep {
            bytes.extend_from_slice(part);
        }
    }
    if keep {
        let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
        drop(response);
        expect::body(&http.expect, &decode(bytes, content_type, cut).await)?;
    }
    Ok(format!("HTTP {}{from}, {length} bytes", status.as_u16()))
}

/// The body as text, by the character set that the answer names.
async fn decode(bytes: Vec<u8>, content_type: Option<HeaderValue>, cut: bool) -> Body {
    let length = bytes.len();
    match String::from_utf8(bytes) {
        Ok(text) => Body { text, raw: None, length, cut },
        Err(error) => {
            let raw = error.into_bytes();
            let mut answer = hyper::Response::new(raw.clone());
            if let Some(content_type) = content_type {
                answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
            }
            // The client knows the character sets; the bytes are already here.
            let text = Response::from(answer).text().await;
            let text = text.unwrap_or_else(|_| String::from_utf8_lossy(&raw).into_owned());
            Body { text, raw: Some(raw), length, cut }
        }
    }
}
