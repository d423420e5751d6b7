//! Every option of an `http` check, against servers that mean well.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};
use watchbell::{
    domain::{
        outcome::{CheckResult, Class},
        service::{HttpVersion, IpVersion},
    },
    secret::Secret,
};

use super::{Server, down, http, ok, probe, refusing, up};

#[tokio::test]
async fn a_request_carries_what_the_config_says_and_nothing_of_ours_but_a_name() {
    let (server, requests) = Server::http(|_| ok("{}")).await;
    let check = http(&format!("{}a?b=c", server.url()), |http| {
        http.method = "POST".to_owned();
        http.headers = vec![("X-Key".to_owned(), Secret::new("k")), ("Content-Type".to_owned(), Secret::new("text/x"))];
        http.body = Some(Secret::new("hello"));
        http.basic_auth = Some(("user".to_owned(), Secret::new("pass")));
    });
    let outcome = up(&check).await;
    let seen = requests.all().remove(0);
    assert_eq!(seen.line, "POST /a?b=c HTTP/1.1");
    assert_eq!(seen.body, "hello");
    let mut headers = seen.headers.clone();
    assert_eq!(headers.remove("user-agent"), Some(format!("watchbell/{}", env!("CARGO_PKG_VERSION"))));
    assert_eq!(headers.remove("authorization").as_deref(), Some("Basic dXNlcjpwYXNz"));
    assert_eq!(headers.remove("x-key").as_deref(), Some("k"));
    assert_eq!(headers.remove("content-type").as_deref(), Some("text/x"));
    assert_eq!(headers.remove("host"), Some(server.address.to_string()));
    let rest: Vec<_> = headers.keys().map(String::as_str).collect();
    assert_eq!(rest, ["accept", "content-length"], "{:?}", seen.headers);
    let phases = outcome.phases;
    assert!(phases.connect_us.is_some() && phases.first_byte_us.is_some() && phases.body_us.is_some());
    assert_eq!((phases.dns_us, phases.tls_us), (None, None));
}

#[tokio::test]
async fn the_name_of_the_program_and_the_host_can_be_set() {
    let (server, requests) = Server::http(|_| ok("")).await;
    let headers = [("User-Agent", "mine/1"), ("Host", "www.example.org")];
    let headers = headers.map(|(name, value)| (name.to_owned(), Secret::new(value)));
    up(&http(&server.url(), |http| http.headers = headers.to_vec())).await;
    let seen = requests.all().remove(0).headers;
    assert_eq!(seen["user-agent"], "mine/1");
    assert_eq!(seen["host"], "www.example.org");
}

#[tokio::test]
async fn a_status_that_is_not_expected_is_named() {
    let server = Server::answering("HTTP/1.1 503 Nope\r\nContent-Length: 0\r\n\r\n").await;
    let outcome = down(&http(&server.url(), |_| {}), Class::HttpStatus).await;
    assert_eq!(outcome.cause.unwrap().http_status, Some(503));
    up(&http(&server.url(), |http| http.expect.status = vec![(500, 503)])).await;
}

#[tokio::test]
async fn answers_without_a_body_are_answers() {
    for (method, answer) in [
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("GET", "HTTP/1.0 200 OK\r\n\r\nuntil the end"),
        ("OPTIONS", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let server = Server::answering(answer).await;
        let check = http(&server.url(), |http| {
            http.method = method.to_owned();
            http.expect.status = vec![(200, 304)];
        });
        up(&check).await;
    }
}

#[tokio::test]
async fn all_expectations_must_hold() {
    let answer = "HTTP/1.1 200 OK\r\nX-Env: production\r\nContent-Length: 27\r\n\r\n{\"status\":\"ok\",\"n\":[1,2.5]}";
    let server = Server::answering(answer).await;
    let edit = |http: &mut watchbell::domain::service::Http| {
        http.expect.status = vec![(200, 299)];
        http.expect.body = Some("status".to_owned());
        http.expect.body_regex = Some(regex::Regex::new("\"n\":\\[\\d").unwrap());
        http.expect.json = [("/status".to_owned(), "ok".into()), ("/n/1".to_owned(), 2.5.into())].into();
        http.expect.header = [("X-Env".to_owned(), "prod".to_owned())].into();
    };
    up(&http(&server.url(), edit)).await;
    let but = |change: fn(&mut watchbell::domain::service::HttpExpect)| {
        http(&server.url(), |http| {
            edit(http);
            change(&mut http.expect);
        })
    };
    down(&but(|expect| expect.body = Some("missing".to_owned())), Class::Body).await;
    down(&but(|expect| expect.body_regex = Some(regex::Regex::new("^x").unwrap())), Class::Body).await;
    down(&but(|expect| expect.json = [("/status".to_owned(), "bad".into())].into()), Class::Body).await;
    down(&but(|expect| expect.header = [("X-Env".to_owned(), "test".to_owned())].into()), Class::Body).await;
}

#[tokio::test]
async fn a_body_in_another_character_set_is_read_as_text() {
    let server = Server::answering(
        &b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Length: 5\r\n\r\nGr\xf6\xdfe"[..],
    )
    .await;
    up(&http(&server.url(), |http| http.expect.body = Some("Größe".to_owned()))).await;
}

#[tokio::test]
async fn a_slow_answer_is_degraded_and_says_by_what_limit() {
    let server = Server::new(|stream| async move {
        let mut stream = tokio::io::BufReader::new(stream);
        super::head(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(120)).await;
        let _ = stream.write_all(ok("").as_bytes()).await;
        super::close(stream.into_inner()).await;
    })
    .await;
    let mut check = http(&server.url(), |_| {});
    check.degraded_over = Some(Duration::from_millis(100));
    let outcome = probe(&check).await;
    assert_eq!(outcome.result, CheckResult::Degraded, "{outcome:?}");
    let cause = outcome.cause.unwrap();
    assert_eq!((cause.class, cause.limit_ms), (Class::Slow, Some(100)));
    assert!(outcome.latency >= Duration::from_millis(100));
    check.degraded_over = Some(Duration::from_secs(5));
    up(&check).await;
}

#[tokio::test]
async fn a_name_is_looked_up_and_the_phase_is_measured() {
    let (server, _) = Server::http(|_| ok("")).await;
    let mut check = http(&format!("http://localhost:{}/", server.address.port()), |_| {});
    let outcome = up(&check).await;
    assert!(outcome.phases.dns_us.is_some() && outcome.phases.connect_us.is_some());
    check.ip = Some(IpVersion::V4);
    up(&check).await;
    // The server listens on the other family only.
    check.ip = Some(IpVersion::V6);
    let outcome = probe(&check).await;
    assert!(matches!(outcome.cause.unwrap().class, Class::ConnectRefused | Class::Dns | Class::Local), "{outcome:?}");
    let mut check = http(&server.url(), |_| {});
    check.ip = Some(IpVersion::V6);
    down(&check, Class::Dns).await;
}

/// Speaks HTTP/2 without being asked by TLS.
async fn http2() -> Server {
    Server::new(|stream| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            let text = format!("{:?}", request.version());
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_asked_for() {
    let server = http2().await;
    let check = http(&server.url(), |http| {
        http.http_version = Some(HttpVersion::Http2);
        http.expect.body = Some("HTTP/2.0".to_owned());
    });
    up(&check).await;
    down(&http(&server.url(), |http| http.http_version = Some(HttpVersion::Http1)), Class::Protocol).await;
}

#[tokio::test]
async fn a_proxy_is_used_if_it_is_configured() {
    let (proxy, requests) = Server::http(|_| ok("by proxy")).await;
    let check = http("http://never-looked-up.invalid/x", |http| {
        http.proxy = Some(Secret::new(format!("http://me:secret@{}", proxy.address)));
        http.expect.body = Some("by proxy".to_owned());
    });
    up(&check).await;
    let seen = requests.all().remove(0);
    assert_eq!(seen.line, "GET http://never-looked-up.invalid/x HTTP/1.1");
    assert_eq!(seen.headers["proxy-authorization"], "Basic bWU6c2VjcmV0");
    let (_socket, address) = refusing();
    let gone = http("http://192.0.2.1/", |http| http.proxy = Some(Secret::new(format!("http://me:secret@{address}"))));
    let outcome = down(&gone, Class::ConnectRefused).await;
    assert!(!outcome.detail.unwrap().contains("secret"));
}

/// A SOCKS5 proxy without authentication (RFC 1928); a target port of 9 is refused.
async fn socks() -> Server {
    Server::new(|mut stream| async move {
        let mut greeting = [0; 2];
        stream.read_exact(&mut greeting).await.unwrap();
        stream.read_exact(&mut vec![0; greeting[1].into()]).await.unwrap();
        stream.write_all(&[5, 0]).await.unwrap();
        let mut request = [0; 10];
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(request[..4], [5, 1, 0, 1], "connect to an IPv4 address");
        let port = u16::from_be_bytes([request[8], request[9]]);
        if port == 9 {
            stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            return super::close(stream).await;
        }
        let mut target = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut target).await;
    })
    .await
}

#[tokio::test]
async fn a_socks_proxy_is_used_if_it_is_configured() {
    let proxy = socks().await;
    let (server, requests) = Server::http(|_| ok("")).await;
    let through = |url: &str| http(url, |http| http.proxy = Some(Secret::new(format!("socks5://{}", proxy.address))));
    up(&through(&server.url())).await;
    assert_eq!(requests.all().len(), 1);
    down(&through("http://127.0.0.1:9/"), Class::ConnectRefused).await;
}

#[tokio::test]
async fn a_file_that_is_missing_is_our_own_fault() {
    let (server, requests) = Server::http(|_| ok("")).await;
    for edit in [
        |http: &mut watchbell::domain::service::Http| http.ca = Some("/no/such/ca.pem".into()),
        |http: &mut watchbell::domain::service::Http| http.client_cert = Some("/no/such/cert.pem".into()),
    ] {
        let outcome = probe(&http(&server.url(), edit)).await;
        assert_eq!((outcome.result, outcome.cause.unwrap().class), (CheckResult::Unknown, Class::Local));
        assert!(outcome.detail.unwrap().contains("/no/such/"));
    }
    assert!(requests.all().is_empty());
}

#[tokio::test]
async fn a_probe_that_is_dropped_lets_go_of_its_connection() {
    let ended = Arc::new(tokio::sync::Notify::new());
    let told = ended.clone();
    let server = Server::new(move |mut stream| {
        let told = told.clone();
        async move {
            while let Ok(1..) = stream.read(&mut [0; 512]).await {}
            told.notify_one();
        }
    })
    .await;
    let mut check = http(&server.url(), |_| {});
    check.timeout = Duration::from_secs(30);
    let cut = tokio::time::timeout(Duration::from_millis(100), probe(&check)).await;
    assert!(cut.is_err());
    tokio::time::timeout(Duration::from_secs(2), ended.notified()).await.expect("the connection is closed");
}
