//! Coming, choosing and leaving: what the form and the links in mails lead to.
//!
//! A GET changes nothing and, but for one's own choice, looks up nothing: programs that scan mails
//! follow every link, and some run scripts. Buttons post, and no script presses them.

use std::{io, sync::Arc};

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
};
use tokio::task::spawn_blocking;

use super::{
    App, Chosen, Limits, Unavailable,
    answer::{is_token, plain, set, unreadable},
    body::Body,
    client,
    connections::Connection,
    form::{self, Fields, Refusal},
    pages,
    press::Notice,
    receive,
};
use crate::{domain::subscriber::Way, store::Taken};

/// A form may be so much longer than other bodies: it may name many services.
const FORM: usize = 4;

/// `POST /subscribe`. What depends on the address is done when the answer is under way.
pub(super) async fn subscribe(
    app: &Arc<App>,
    request: Request<Incoming>,
    connection: &Connection,
    limits: &Limits,
) -> Response<Body> {
    let forwarded = request.headers().get_all("x-forwarded-for").iter().map(header::HeaderValue::as_bytes);
    let client = client::client_address(connection.peer, forwarded, &app.trusted_proxies);
    let fields = match fields(request, connection, limits).await {
        Ok(fields) => fields,
        Err(Unread::Response(response)) => return response,
        Err(Unread::Refused) => return refused(app, Refusal::Body),
    };
    let asking = match form::asking(&fields, &app.rules, app.takes) {
        Ok(asking) => asking,
        Err(why) => return refused(app, why),
    };
    let asked = match asking.address.way() {
        Way::Mail => &app.pages.asked,
        Way::Webhook => &app.pages.asked_webhook,
    };
    match blocking(app, move |app| app.endpoints.ask(&asking, client)).await {
        Ok(Taken::Down) => page(app, StatusCode::OK, asked),
        Ok(Taken::TooMany { .. }) => {
            let mut response = page(app, StatusCode::TOO_MANY_REQUESTS, &app.pages.too_many);
            // Not the very moment: that would say when others of the network asked.
            set(&mut response, header::RETRY_AFTER, "3600");
            response
        }
        Ok(Taken::Busy { .. }) => {
            let mut response = page(app, StatusCode::SERVICE_UNAVAILABLE, &app.pages.busy);
            set(&mut response, header::RETRY_AFTER, "3600");
            response
        }
        Err(trouble) => not_now(app, &app.pages.not_now, trouble),
    }
}

/// `/confirm/TOKEN`.
pub(super) async fn confirm(
    app: &Arc<App>,
    token: String,
    request: Request<Incoming>,
    connection: &Connection,
    limits: &Limits,
) -> Response<Body> {
    if request.method() != Method::POST {
        return page(app, StatusCode::OK, &app.pages.confirm);
    }
    if let Err(response) = ignored(request, connection, limits).await {
        return response;
    }
    if !is_token(&token) {
        return page(app, StatusCode::GONE, &app.pages.old);
    }
    let done = blocking(app, move |app| {
        let Some(joined) = app.endpoints.confirm(&token)? else { return Ok(None) };
        // Confirmed they are, whatever becomes of this: it is about the words only.
        let language = app.endpoints.choice(&joined.manage).ok().flatten().and_then(|chosen| chosen.choice.language);
        Ok(Some((joined, language)))
    });
    match done.await {
        Ok(Some((joined, language))) => page(app, StatusCode::OK, &app.pages.confirmed(&joined, language.as_deref())),
        Ok(None) => page(app, StatusCode::GONE, &app.pages.old),
        Err(trouble) => not_now(app, &app.pages.confirm_again, trouble),
    }
}

/// `/manage/TOKEN`.
pub(super) async fn manage(
    app: &Arc<App>,
    token: String,
    request: Request<Incoming>,
    connection: &Connection,
    limits: &Limits,
) -> Response<Body> {
    let fields = if request.method() == Method::POST {
        match fields(request, connection, limits).await {
            Ok(fields) => Some(fields),
            Err(Unread::Response(response)) => return response,
            Err(Unread::Refused) => return refused(app, Refusal::Body),
        }
    } else {
        None
    };
    if !is_token(&token) {
        return page(app, StatusCode::GONE, &app.pages.too_old());
    }
    let done = blocking(app, move |app| match fields {
        None => app.endpoints.choice(&token).map(|chosen| chosen.map(|chosen| Managed::Shown(chosen, Notice::None))),
        Some(fields) if form::value(&fields, "do") == Some("leave") => {
            let language = app.endpoints.choice(&token)?.and_then(|chosen| chosen.choice.language);
            app.endpoints.leave(&token).map(|was_there| was_there.then_some(Managed::Left(language)))
        }
        Some(fields) => choose(app, &token, &fields),
    });
    match done.await {
        Ok(Some(Managed::Shown(chosen, notice))) => {
            let status = if matches!(notice, Notice::Wrong(_)) { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            page(app, status, &app.pages.manage(&chosen, notice))
        }
        Ok(Some(Managed::Left(language))) => page(app, StatusCode::OK, &app.pages.left(language.as_deref())),
        Ok(None) => page(app, StatusCode::GONE, &app.pages.too_old()),
        Err(trouble) => not_now(app, &app.pages.not_now, trouble),
    }
}

/// `/unsubscribe/TOKEN`. Any POST ends the subscription, whatever its body says: mail programs send
/// `List-Unsubscribe=One-Click` as a form of either kind (RFC 8058), the page's button nothing. A
/// GET changes nothing: programs that scan mails follow every link. The words are the same whether
/// the token is known, was known, or never existed.
pub(super) async fn unsubscribe(
    app: &Arc<App>,
    token: String,
    request: Request<Incoming>,
    connection: &Connection,
    limits: &Limits,
) -> Response<Body> {
    if request.method() != Method::POST {
        return page(app, StatusCode::OK, &app.pages.unsubscribe);
    }
    if let Err(response) = ignored(request, connection, limits).await {
        return response;
    }
    let done = blocking(app, move |app| if is_token(&token) { app.endpoints.unsubscribe(&token) } else { Ok(()) });
    match done.await {
        Ok(()) => page(app, StatusCode::OK, &app.pages.unsubscribed),
        Err(trouble) => not_now(app, &app.pages.try_again, trouble),
    }
}

/// What became of a visit to one's choice.
enum Managed {
    Shown(Chosen, Notice),
    /// They chose that language.
    Left(Option<String>),
}

fn choose(app: &App, token: &str, fields: &Fields) -> Result<Option<Managed>, Unavailable> {
    let Some(before) = app.endpoints.choice(token)? else { return Ok(None) };
    let wanted = form::choice(fields, &app.rules, &before.choice).and_then(|choice| {
        let hears = choice.wants.incidents || choice.wants.maintenance;
        if hears { Ok(choice) } else { Err(Refusal::Kind) }
    });
    match wanted {
        Err(why) => Ok(Some(Managed::Shown(before, Notice::Wrong(why.key())))),
        Ok(choice) => {
            let saved = app.endpoints.choose(token, choice.clone())?;
            Ok(saved.then_some(Managed::Shown(Chosen { choice, ..before }, Notice::Saved)))
        }
    }
}

/// Why there are no fields.
enum Unread {
    Response(Response<Body>),
    Refused,
}

async fn fields(request: Request<Incoming>, connection: &Connection, limits: &Limits) -> Result<Fields, Unread> {
    let media = media(request.headers());
    let limits = Limits { body_bytes: limits.body_bytes.saturating_mul(FORM), ..*limits };
    let body = body(request, connection, &limits).await.map_err(Unread::Response)?;
    form::fields(&media, &body).map_err(|_| Unread::Refused)
}

fn media(headers: &HeaderMap) -> String {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// A body that says nothing that matters.
async fn ignored(request: Request<Incoming>, connection: &Connection, limits: &Limits) -> Result<(), Response<Body>> {
    body(request, connection, limits).await.map(drop)
}

/// The body, or what to say instead.
async fn body(request: Request<Incoming>, connection: &Connection, limits: &Limits) -> Result<Bytes, Response<Body>> {
    receive::body(request.into_body(), connection, limits).await.map_err(|refused| {
        let (status, words) = refused.answer();
        let mut response = plain(status, words);
        set(&mut response, header::CONNECTION, "close");
        response
    })
}

fn page(app: &App, status: StatusCode, page: &Bytes) -> Response<Body> {
    pages::response(status, page, &app.pages.policy)
}

fn refused(app: &App, why: Refusal) -> Response<Body> {
    page(app, StatusCode::BAD_REQUEST, &app.pages.refused(why))
}

/// What went wrong on a thread for work that blocks.
enum Trouble {
    Unavailable(Unavailable),
    Broken(io::Error),
}

fn not_now(app: &App, words: &Bytes, trouble: Trouble) -> Response<Body> {
    match trouble {
        Trouble::Unavailable(error) => {
            tracing::warn!(%error, "a subscriber was asked to try again");
            let mut response = page(app, StatusCode::SERVICE_UNAVAILABLE, words);
            set(&mut response, header::RETRY_AFTER, "60");
            response
        }
        Trouble::Broken(error) => unreadable(&error),
    }
}

async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, Unavailable> + Send + 'static,
) -> Result<T, Trouble> {
    let app = Arc::clone(app);
    match spawn_blocking(move || work(&app)).await {
        Ok(done) => done.map_err(Trouble::Unavailable),
        Err(error) => Err(Trouble::Broken(io::Error::other(error))),
    }
}
