//! The way out of a subscription, health, metrics, and the life of the server itself.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use watchbell::{
    domain::{CheckId, CheckKey, ServiceId, outcome::CheckResult},
    web::{self, Limits, Metrics},
};

use super::client::{Reply, Server, connect, is_closed, short};
use crate::support::skip::program;

#[test]
fn looking_at_the_way_out_changes_nothing() {
    let server = Server::start();
    for request in ["GET", "HEAD"] {
        let page = server.raw(format!("{request} /unsubscribe/abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert_eq!(page.status, 200);
        page.has("cache-control", "no-store");
        page.has("referrer-policy", "no-referrer");
        page.has("x-robots-tag", "noindex, nofollow");
        assert!(page.header("content-security-policy").unwrap().contains("form-action 'self'"));
        assert_eq!(page.header("set-cookie"), None);
    }
    assert!(server.get("/unsubscribe/abc").text().contains("<button>"));
    assert!(server.desk.unsubscribed.lock().unwrap().is_empty());
}

#[test]
fn every_kind_of_post_is_a_way_out() {
    let server = Server::start();
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
    let bodies = [
        ("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"),
        ("multipart/form-data; boundary=b", multipart),
        ("application/x-www-form-urlencoded", ""),
        ("text/plain", "anything"),
    ];
    for (media, body) in bodies {
        let reply = server.post("/unsubscribe/abc", media, body);
        assert_eq!((reply.status, reply.text().as_str()), (200, "<p>No more mails.</p>"));
        reply.has("cache-control", "no-store");
    }
    let bare = server.raw("POST /unsubscribe/abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(bare.status, 200, "without any body");
    let chunked = "POST /status/unsubscribe/abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                   Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(server.raw(chunked).status, 200);
    assert_eq!(*server.desk.unsubscribed.lock().unwrap(), ["abc"; 6]);
}

#[test]
fn a_token_that_cannot_be_ours_gets_the_same_answer() {
    let server = Server::start();
    let known = server.post("/unsubscribe/abc", "text/plain", "");
    for garbled in ["%3Cscript%3E", &"a".repeat(2000), "a%20b", "%C3%BC"] {
        let reply = server.post(&format!("/unsubscribe/{garbled}"), "text/plain", "");
        assert_eq!((reply.status, &reply.body), (known.status, &known.body));
    }
    assert_eq!(*server.desk.unsubscribed.lock().unwrap(), ["abc"]);
}

#[test]
fn a_store_that_cannot_write_does_not_say_done() {
    let server = Server::start();
    server.desk.store_is_locked.store(true, Ordering::SeqCst);
    let reply = server.post("/unsubscribe/abc", "text/plain", "");
    assert_eq!((reply.status, reply.text().as_str()), (503, "<p>Try again.</p>"));
    reply.has("retry-after", "60");
}

#[test]
fn health_is_ok_or_a_reason() {
    let server = Server::start();
    let well = server.get("/healthz");
    assert_eq!((well.status, well.text().as_str()), (200, "ok\n"));
    well.has("cache-control", "no-store");
    *server.desk.ailment.lock().unwrap() = Some("the store has not taken a write for 40 s".into());
    let ill = server.get("/healthz");
    assert_eq!((ill.status, ill.text().as_str()), (503, "the store has not taken a write for 40 s\n"));
}

#[test]
fn metrics_have_an_address_of_their_own() {
    let server = Server::start();
    assert_eq!(server.get("/metrics").status, 404, "never on the public one");

    let metrics = Arc::new(Metrics::new());
    let key = CheckKey { service: ServiceId::new("api").unwrap(), check: CheckId::new("http").unwrap() };
    metrics.checked(&key, CheckResult::Up, Duration::from_millis(20));
    let listener = server.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = web::serve_metrics(listener, metrics, Limits::default(), server.shutdown.clone());
    let serving = server.runtime.spawn(serving);

    let ask = |request: &str| {
        let mut stream = connect(address);
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        Reply::read(&mut stream)
    };
    let reply = ask("GET /metrics");
    assert_eq!(reply.status, 200);
    reply.has("content-type", "text/plain; version=0.0.4; charset=utf-8");
    assert!(reply.text().contains("watchbell_check_up{service=\"api\",check=\"http\"} 1\n"));
    assert_eq!(ask("POST /metrics").status, 405);
    assert_eq!(ask("GET /").status, 404);
    server.shutdown.cancel();
    server.runtime.block_on(serving).unwrap();
}

#[test]
fn other_programs_can_read_the_metrics() {
    let Some(python) = program("venv-python") else { crate::skip!("prometheus-client is not installed") };
    let metrics = Metrics::new();
    let key = CheckKey { service: ServiceId::new("api").unwrap(), check: CheckId::new("http").unwrap() };
    metrics.checked(&key, CheckResult::Up, Duration::from_millis(20));
    metrics.published(Duration::from_millis(20));
    for (module, accept) in [("parser", ""), ("openmetrics.parser", "application/openmetrics-text")] {
        let read = format!(
            "import sys\n\
             from prometheus_client.{module} import text_string_to_metric_families\n\
             for family in text_string_to_metric_families(sys.stdin.read()):\n    \
                 assert family.documentation and family.samples or family.name, family\n    \
                 print(family.name, family.type)"
        );
        let mut reader = Command::new(&python)
            .args(["-c", &read])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        reader.stdin.take().unwrap().write_all(metrics.text(accept).1.as_bytes()).unwrap();
        let output = reader.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let families = String::from_utf8(output.stdout).unwrap();
        assert!(families.contains("watchbell_checks counter\n"), "{families}");
        assert!(families.contains("watchbell_publish_duration_seconds histogram\n"), "{families}");
        assert!(!families.contains("unknown"), "every type is known: {families}");
    }
}

#[test]
fn a_port_in_use_is_waited_for() {
    let server = Server::start();
    server.runtime.block_on(async {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = holder.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let waiting = tokio::spawn(async move { web::bind_retrying(address, "the site", &token).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(holder);
        assert_eq!(waiting.await.unwrap().unwrap().local_addr().unwrap(), address);

        let _holder = TcpListener::bind(address).await.unwrap();
        shutdown.cancel();
        assert!(web::bind_retrying(address, "the site", &shutdown).await.is_none());
    });
}

#[test]
fn the_end_waits_for_what_is_under_way_but_not_for_ever() {
    // Sockets hold some of a long answer, so it is longer than that.
    let mut server = Server::with(Limits { stall: Duration::from_mins(1), ..short() }, true);
    server.publish("long.bin", vec![7; 64 * 1024 * 1024]);
    let mut silent = server.connect();
    let mut stuck = server.connect();
    stuck.write_all(b"GET /long.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stuck.read_exact(&mut [0; 12]).unwrap();
    let mut posting = server.connect();
    let len = 4;
    let head =
        format!("POST /unsubscribe/abc HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len}\r\n\r\n");
    posting.write_all(head.as_bytes()).unwrap();
    posting.read_exact(&mut [0; 25]).unwrap(); // "HTTP/1.1 100 Continue": the request is under way

    server.shutdown.cancel();
    posting.write_all(b"abcd").unwrap();
    assert_eq!(Reply::read(&mut posting).status, 200, "finished");
    assert!(is_closed(&mut silent));
    let serving = server.serving.take().unwrap();
    server.runtime.block_on(serving).unwrap();
    assert!(is_closed(&mut stuck), "cut at the end");
}
