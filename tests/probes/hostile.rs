//! What a probe says of servers that answer badly, too much or not at all, beyond what the corpus
//! asks of each.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
};
use watchbell::domain::{
    outcome::Class,
    service::{Check, HttpVersion},
};

use super::{Server, close, down, head, http, probe, refusing, up};

/// Reads the request, sends `start`, then `part` again and again as fast as it is taken. Tells how
/// many bytes were taken.
async fn endless(start: &str, part: Vec<u8>) -> (Server, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let (start, part, count) = (start.to_owned(), Arc::new(part), sent.clone());
    let server = Server::new(move |stream| {
        let (start, part, count) = (start.clone(), part.clone(), count.clone());
        async move {
            let mut stream = BufReader::new(stream);
            head(&mut stream).await;
            let _ = stream.write_all(start.as_bytes()).await;
            while stream.write_all(&part).await.is_ok() {
                count.fetch_add(part.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    (server, sent)
}

fn short(mut check: Check) -> Check {
    check.timeout = Duration::from_millis(400);
    check
}

const MIB: usize = 1 << 20;
/// What may lie in the buffers of two sockets beside what was read.
const IN_BUFFERS: usize = 12 * MIB;

#[tokio::test]
async fn an_endless_body_is_read_up_to_its_limit_and_no_further() {
    let (server, sent) = endless("HTTP/1.1 200 OK\r\n\r\n", vec![b'a'; 64 * 1024]).await;
    let outcome = up(&http(&server.url(), |_| {})).await;
    assert!(outcome.detail.unwrap().ends_with("1048576 bytes"));
    down(&http(&server.url(), |http| http.expect.body = Some("needle".to_owned())), Class::Body).await;
    assert!(sent.load(Ordering::Relaxed) < 2 * (MIB + IN_BUFFERS), "{}", sent.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_server_that_says_nothing_times_out_and_says_when() {
    let server = Server::new(|stream| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    })
    .await;
    let outcome = down(&short(http(&server.url(), |_| {})), Class::Timeout).await;
    assert_eq!(outcome.cause.unwrap().limit_ms, Some(400));
    assert!(outcome.detail.unwrap().contains("waiting for an answer"));
    assert!(outcome.phases.connect_us.is_some() && outcome.phases.first_byte_us.unwrap() > 300_000);
}

#[tokio::test]
async fn a_server_that_never_accepts_is_a_connect_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Fills the queue of connections that nobody accepts.
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        held.push(stream);
        assert!(held.len() < 100, "the queue never fills");
    }
    let outcome = down(&short(http(&format!("http://{address}/"), |_| {})), Class::ConnectTimeout).await;
    assert_eq!(outcome.cause.unwrap().limit_ms, Some(400));
    assert_eq!(outcome.phases.first_byte_us, None);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_refused() {
    let (_socket, address) = refusing();
    down(&http(&format!("http://{address}/"), |_| {}), Class::ConnectRefused).await;
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_dns_failure() {
    let outcome = down(&http("http://no-such-host.invalid/", |_| {}), Class::Dns).await;
    assert!(outcome.detail.unwrap().contains("no-such-host.invalid"));
    assert!(outcome.phases.dns_us.is_some() && outcome.phases.connect_us.is_none());
}

#[tokio::test]
async fn a_gzip_bomb_is_unpacked_only_up_to_the_limit() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..64 {
        bomb.write_all(&vec![b'a'; MIB]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len()).into_bytes();
    answer.extend_from_slice(&bomb);
    let server = Server::answering(answer).await;
    let expecting = |text: &str| {
        let mut check = http(&server.url(), |http| {
            http.max_body = 200_000;
            http.expect.body = Some(text.to_owned());
        });
        check.timeout = Duration::from_secs(3);
        check
    };
    assert!(up(&expecting("aaa")).await.detail.unwrap().contains(" 200000 bytes"));
    let outcome = down(&expecting("needle"), Class::Body).await;
    assert_eq!(outcome.detail.unwrap(), "`needle` is not in the first 200000 bytes of the body");
}

#[tokio::test]
async fn odd_bytes_in_headers_and_body_are_only_bytes() {
    let server = Server::answering(
        &b"HTTP/1.1 200 \xff\xfe\r\nX-Odd: \xff\xe2\x80\xae ok\r\nContent-Length: 8\r\n\r\n\0\xff\xfe ok \0"[..],
    )
    .await;
    let check = http(&server.url(), |http| {
        http.expect.body = Some("ok".to_owned());
        http.expect.header = [("x-odd".to_owned(), "ok".to_owned())].into();
    });
    up(&check).await;
    let outcome =
        down(&http(&server.url(), |http| http.expect.json = [("/a".to_owned(), 1.into())].into()), Class::Body).await;
    assert!(outcome.detail.unwrap().starts_with("the body is not JSON"));
}

#[tokio::test]
async fn a_server_that_knows_no_http2_fails_where_it_is_asked_for() {
    let server = Server::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let outcome = probe(&http(&server.url(), |http| http.http_version = Some(HttpVersion::Http2))).await;
    assert!(matches!(outcome.cause.unwrap().class, Class::Protocol | Class::Reset), "{outcome:?}");
}

#[tokio::test]
async fn a_connection_is_never_used_twice() {
    let server = Server::new(|stream| async move {
        let mut stream = BufReader::new(stream);
        loop {
            if head(&mut stream).await.line.is_empty() {
                return close(stream.into_inner()).await;
            }
            let _ = stream.write_all(super::ok("ok").as_bytes()).await;
        }
    })
    .await;
    let prober = watchbell::probe::Prober::new(Arc::new(watchbell::clock::SystemClock::new()));
    let check = http(&server.url(), |_| {});
    for _ in 0..3 {
        let outcome = prober.probe(&check, jiff::Timestamp::UNIX_EPOCH).await;
        assert_eq!(outcome.cause, None, "{outcome:?}");
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 3);
}
