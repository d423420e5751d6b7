//! What visitors, feed readers and caches are served.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::client::{Reply, Server, prose};

#[test]
fn pages_come_with_their_types_and_guards() {
    let server = Server::start();
    server.publish("index.html", "<p>All well</p>");
    server.publish("updates.rss", "<rss/>");
    server.publish("feed.json", "{}");
    server.publish("api/v2/summary.json", "{}");
    server.publish("maintenance.ics", "BEGIN:VCALENDAR");
    server.publish("assets/site.0123456789abcdef.css", "a{}");

    let page = server.get("/");
    assert_eq!((page.status, page.text().as_str()), (200, "<p>All well</p>"));
    page.has("content-type", "text/html; charset=utf-8");
    page.has("x-content-type-options", "nosniff");
    page.has("x-frame-options", "DENY");
    page.has("content-security-policy", "frame-ancestors 'none'");
    page.has("referrer-policy", "same-origin");
    page.has("cross-origin-opener-policy", "same-origin");
    page.has("cache-control", "no-cache");
    page.has("vary", "Accept-Encoding");
    page.has("accept-ranges", "none");
    assert_eq!(page.header("access-control-allow-origin"), None);

    for (path, media) in [
        ("/updates.rss", "application/rss+xml; charset=utf-8"),
        ("/feed.json", "application/feed+json; charset=utf-8"),
        ("/api/v2/summary.json", "application/json; charset=utf-8"),
        ("/maintenance.ics", "text/calendar; charset=utf-8"),
    ] {
        let reply = server.get(path);
        reply.has("content-type", media);
        reply.has("access-control-allow-origin", "*");
    }
    let asset = server.get("/assets/site.0123456789abcdef.css");
    asset.has("cache-control", "public, max-age=31536000, immutable");
}

#[test]
fn a_folder_without_its_slash_is_moved_for_good() {
    let server = Server::start();
    server.publish("services/api/index.html", "api");
    let moved = server.get("/services/api?from=mail");
    assert_eq!(moved.status, 301);
    moved.has("location", "./api/?from=mail");
    assert_eq!(server.get("/services/api/").text(), "api");
    assert_eq!(server.get("/services/").status, 404, "a folder without an index");
}

#[test]
fn the_site_also_lies_under_the_path_of_its_address() {
    let server = Server::start();
    server.publish("services/api/index.html", "api");
    assert_eq!(server.get("/status/services/api/").text(), "api");
    server.get("/status").has("location", "./status/");
    assert_eq!(server.get("/status/healthz").text(), "ok\n");
}

#[test]
fn what_is_not_there_gets_the_sites_own_page() {
    let server = Server::start();
    assert_eq!(server.get("/nothing").text(), "There is nothing here.\n");
    server.publish("404.html", "<p>Not here</p>");
    let missing = server.get_with("/nothing", "If-None-Match: *\r\n");
    assert_eq!((missing.status, missing.text().as_str()), (404, "<p>Not here</p>"));
    missing.has("content-type", "text/html; charset=utf-8");
    assert_eq!(missing.header("etag"), None);
}

#[test]
fn what_a_client_has_already_is_not_sent_again() {
    let server = Server::start();
    server.publish("index.html", prose(5000));
    let first = server.get("/");
    let (etag, date) = (first.header("etag").unwrap(), first.header("last-modified").unwrap());
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag} is strong");

    let again = server.get_with("/", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((again.status, again.body.len()), (304, 0));
    again.has("etag", etag);
    again.has("cache-control", "no-cache");
    again.has("vary", "Accept-Encoding");
    assert_eq!(again.header("content-length").unwrap_or("0"), "0");
    assert_eq!(server.get_with("/", &format!("If-Modified-Since: {date}\r\n")).status, 304);
    assert_eq!(server.get_with("/", &format!("If-None-Match: W/{etag}\r\n")).status, 304);

    server.publish("index.html", prose(6000));
    assert_eq!(server.get_with("/", &format!("If-None-Match: {etag}\r\n")).status, 200);
}

#[test]
fn text_is_compressed_for_those_who_take_it() {
    let server = Server::start();
    server.publish("index.html", prose(200_000));
    server.publish("small.html", "<p>hi</p>");
    let (plain, packed) = (server.get("/"), server.get_with("/", "Accept-Encoding: br, gzip\r\n"));
    assert_eq!(plain.header("content-encoding"), None);
    packed.has("content-encoding", "gzip");
    packed.has("content-length", &packed.body.len().to_string());
    assert!(packed.body.len() < plain.body.len() / 2);
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text());
    assert_ne!(plain.header("etag"), packed.header("etag"), "each form has its own tag");
    let etag = packed.header("etag").unwrap();
    let both = format!("Accept-Encoding: gzip\r\nIf-None-Match: {etag}\r\n");
    assert_eq!(server.get_with("/", &both).status, 304);
    assert_eq!(server.get_with("/small.html", "Accept-Encoding: gzip\r\n").header("content-encoding"), None);
}

#[test]
fn head_says_what_get_would() {
    let server = Server::start();
    server.publish("index.html", prose(200_000));
    let get = server.get("/");
    let head = server.raw("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-length", "content-type", "etag", "last-modified", "cache-control"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert_eq!(server.raw("HEAD /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status, 404);
}

#[test]
fn other_methods_are_told_which_ones_there_are() {
    let server = Server::start();
    server.publish("index.html", "x");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
        let reply =
            server.raw(format!("{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(reply.status, 405, "{method}");
        reply.has("allow", "GET, HEAD");
    }
    let reply = server.raw("DELETE /unsubscribe/abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(reply.status, 405);
    reply.has("allow", "GET, HEAD, POST");
}

#[test]
fn a_long_file_arrives_whole() {
    let server = Server::start();
    let long: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    server.publish("long.bin", &long);
    assert!(server.get("/long.bin").body == long);
    server.publish("longer.bin", vec![7; 9 * 1024 * 1024]);
    let longer = server.get("/longer.bin");
    assert_eq!(longer.body.len(), 9 * 1024 * 1024);
    let etag = longer.header("etag").unwrap();
    assert_eq!(server.get_with("/longer.bin", &format!("If-None-Match: {etag}\r\n")).status, 304);
}

#[test]
fn readers_see_the_old_page_or_the_new_while_pages_are_published() {
    let server = Arc::new(Server::start());
    let page = |n: usize| format!("{n}:{}", n.to_string().repeat(50_000));
    server.publish("index.html", page(0));
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let (server, over) = (Arc::clone(&server), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut seen = 0;
                while !over.load(Ordering::SeqCst) || seen == 0 {
                    let headers = if reader % 2 == 0 { "" } else { "Accept-Encoding: gzip\r\n" };
                    let reply = server.get_with("/", headers);
                    assert_eq!(reply.status, 200);
                    let mut text = String::new();
                    if reply.header("content-encoding").is_some() {
                        flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_string(&mut text).unwrap();
                    } else {
                        text = reply.text();
                    }
                    let (n, rest) = text.split_once(':').unwrap();
                    assert!(rest == n.repeat(50_000), "half a page");
                    seen += 1;
                }
            })
        })
        .collect();
    for n in 1..60 {
        server.publish("index.html", page(n % 10));
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.join().unwrap();
    }
}

#[test]
fn old_clients_and_patient_ones_are_served() {
    let server = Server::start();
    server.publish("index.html", "hello");
    let old = server.raw("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((old.status, old.text().as_str()), (200, "hello"));

    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"hello") {
            let mut piece = [0; 1024];
            let read = stream.read(&mut piece).unwrap();
            assert_ne!(read, 0, "closed too early");
            bytes.extend_from_slice(&piece[..read]);
        }
        assert_eq!(Reply::parse(&bytes).status, 200);
    }
}

#[test]
fn http_2_without_tls_is_served() {
    let server = Server::start();
    server.publish("index.html", prose(300_000));
    server.runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for method in ["GET", "HEAD"] {
            let request = Request::builder().method(method).uri("http://x/").body(Empty::<Bytes>::new()).unwrap();
            let reply = sender.send_request(request).await.unwrap();
            assert_eq!(reply.status(), 200);
            assert_eq!(reply.headers()["content-length"], prose(300_000).len().to_string());
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), if method == "GET" { prose(300_000).len() } else { 0 });
        }
    });
}
