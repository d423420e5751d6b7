//! Redirects: which are followed, and what goes along.

use watchbell::{domain::outcome::Class, secret::Secret};

use super::{Requests, Server, down, http, ok, probe, up};

fn to(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// A server that sends `/` on to `target`, and answers everything else.
async fn sends_to(target: String) -> (Server, Requests) {
    Server::http(move |seen| if seen.line.starts_with("GET / ") { to(&target) } else { ok("there") }).await
}

fn with_secrets(http: &mut watchbell::domain::service::Http) {
    for (name, value) in [("Authorization", "Bearer s"), ("Cookie", "s=1"), ("X-Api-Key", "s"), ("Accept", "text/html")]
    {
        http.headers.push((name.to_owned(), Secret::new(value)));
    }
    http.expect.body = Some("there".to_owned());
}

#[tokio::test]
async fn a_redirect_is_followed_and_the_same_host_gets_everything_again() {
    let (server, requests) = sends_to("/next".to_owned()).await;
    up(&http(&server.url(), with_secrets)).await;
    let seen = requests.all();
    assert_eq!(
        seen.iter().map(|seen| seen.line.as_str()).collect::<Vec<_>>(),
        ["GET / HTTP/1.1", "GET /next HTTP/1.1"]
    );
    assert_eq!(seen[1].headers["authorization"], "Bearer s");
    assert_eq!(seen[1].headers["x-api-key"], "s");
}

#[tokio::test]
async fn another_host_never_sees_a_credential() {
    let (other, requests) = Server::http(|_| ok("there")).await;
    // Another name of the same machine, then another port of the same name.
    for target in [format!("http://localhost:{}/x", other.address.port()), format!("{}x", other.url())] {
        let (server, _) = sends_to(target).await;
        let check = http(&server.url(), |http| {
            with_secrets(http);
            http.headers.retain(|(name, _)| name != "Authorization");
            http.basic_auth = Some(("user".to_owned(), Secret::new("pass")));
        });
        up(&check).await;
        let seen = requests.all().pop().unwrap();
        assert_eq!(seen.headers.get("accept").map(String::as_str), Some("text/html"));
        for name in ["authorization", "cookie", "x-api-key"] {
            assert!(!seen.headers.contains_key(name), "{name}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn cookies_that_a_server_sets_are_not_kept() {
    let (server, requests) = Server::http(|seen| {
        if seen.line.starts_with("GET / ") {
            "HTTP/1.1 302 Found\r\nSet-Cookie: a=b\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n".to_owned()
        } else {
            ok("")
        }
    })
    .await;
    up(&http(&server.url(), |_| {})).await;
    assert!(!requests.all()[1].headers.contains_key("cookie"));
    assert!(!requests.all()[1].headers.contains_key("referer"));
}

#[tokio::test]
async fn circles_and_long_ways_are_failures() {
    let (server, requests) = Server::http(|seen| to(if seen.line.contains("/a") { "/b" } else { "/a" })).await;
    let outcome = down(&http(&format!("{}a", server.url()), |_| {}), Class::Redirect).await;
    assert!(outcome.detail.unwrap().contains("circle"));
    assert_eq!(requests.all().len(), 2);
    let (server, requests) = Server::http(|seen| to(&format!("{}x", seen.line.split(' ').nth(1).unwrap()))).await;
    let outcome = down(&http(&server.url(), |http| http.follow_redirects = 3), Class::Redirect).await;
    assert!(outcome.detail.unwrap().contains("more than 3"));
    assert_eq!(requests.all().len(), 4);
}

#[tokio::test]
async fn a_redirect_that_is_expected_or_not_to_be_followed_is_the_answer() {
    let (server, requests) = sends_to("http://192.0.2.1/".to_owned()).await;
    up(&http(&server.url(), |http| http.expect.status = vec![(200, 299), (302, 302)])).await;
    let outcome = down(&http(&server.url(), |http| http.follow_redirects = 0), Class::HttpStatus).await;
    assert_eq!(outcome.cause.unwrap().http_status, Some(302));
    assert_eq!(requests.all().len(), 2);
}

#[tokio::test]
async fn a_redirect_to_no_web_address_is_a_failure() {
    for target in ["ftp://127.0.0.1/", "javascript:alert(1)", "http://", "gopher:x"] {
        let (server, _) = sends_to(target.to_owned()).await;
        down(&http(&server.url(), |_| {}), Class::Redirect).await;
    }
    let server = Server::answering("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n").await;
    down(&http(&server.url(), |_| {}), Class::HttpStatus).await;
}

#[tokio::test]
async fn a_redirect_to_a_metadata_service_is_not_followed() {
    let (server, _) = sends_to("http://169.254.169.254/latest/meta-data/".to_owned()).await;
    down(&http(&server.url(), |_| {}), Class::Redirect).await;
}

#[tokio::test]
async fn a_body_goes_along_only_to_the_same_host() {
    let (server, requests) = Server::http(|seen| match seen.line.split(' ').nth(1) {
        Some("/see-other") => "HTTP/1.1 303 See Other\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n".to_owned(),
        Some("/again") => "HTTP/1.1 307 Again\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n".to_owned(),
        Some("/away") => "HTTP/1.1 307 Again\r\nLocation: http://localhost:9/\r\nContent-Length: 0\r\n\r\n".to_owned(),
        _ => ok(""),
    })
    .await;
    let post = |path: &str| {
        http(&format!("{}{path}", server.url()), |http| {
            http.method = "POST".to_owned();
            http.body = Some(Secret::new("secret"));
        })
    };
    up(&post("see-other")).await;
    up(&post("again")).await;
    down(&post("away"), Class::Redirect).await;
    let seen = requests.all();
    assert_eq!((seen[1].line.as_str(), seen[1].body.as_str()), ("GET /end HTTP/1.1", ""));
    assert_eq!((seen[3].line.as_str(), seen[3].body.as_str()), ("POST /end HTTP/1.1", "secret"));
}

#[tokio::test]
async fn the_timeout_covers_all_redirects_together() {
    let server = Server::new(|stream| async move {
        let mut stream = tokio::io::BufReader::new(stream);
        let seen = super::head(&mut stream).await;
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        let answer = to(&format!("{}x", seen.line.split(' ').nth(1).unwrap_or("/")));
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        super::close(stream.into_inner()).await;
    })
    .await;
    let mut check = http(&server.url(), |http| http.follow_redirects = 100);
    check.timeout = std::time::Duration::from_millis(500);
    let outcome = probe(&check).await;
    assert_eq!(outcome.cause.unwrap().class, Class::Timeout, "{outcome:?}");
}
