//! Servers that answer badly, too much, too slowly, or not at all.

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
    outcome::{Class, Outcome},
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

/// Sends `start` at once and `part` every 20 ms for ever.
async fn dripping(start: &'static str, part: &'static str) -> Server {
    Server::new(move |stream| async move {
        let mut stream = BufReader::new(stream);
        head(&mut stream).await;
        let _ = stream.write_all(start.as_bytes()).await;
        while stream.write_all(part.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

fn short(mut check: Check) -> Check {
    check.timeout = Duration::from_millis(400);
    check
}

async fn answers(answer: &[u8], class: Class) -> Outcome {
    let server = Server::answering(answer).await;
    down(&http(&server.url(), |_| {}), class).await
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
async fn endless_headers_are_refused_early() {
    let (server, sent) = endless("HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n".repeat(1000)).await;
    down(&http(&server.url(), |_| {}), Class::Protocol).await;
    assert!(sent.load(Ordering::Relaxed) < MIB + IN_BUFFERS, "{}", sent.load(Ordering::Relaxed));
    let (server, sent) = endless("HTTP/1.1 200 OK\r\nX-One: ", vec![b'a'; 64 * 1024]).await;
    down(&http(&server.url(), |_| {}), Class::Protocol).await;
    assert!(sent.load(Ordering::Relaxed) < MIB + IN_BUFFERS, "{}", sent.load(Ordering::Relaxed));
}

#[tokio::test]
async fn ten_megabytes_of_headers_are_refused() {
    let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
    for n in 0..10_000 {
        answer.extend_from_slice(format!("X-{n}: {}\r\n", "v".repeat(1000)).as_bytes());
    }
    answer.extend_from_slice(b"\r\n");
    answers(&answer, Class::Protocol).await;
}

#[tokio::test]
async fn a_byte_now_and_then_ends_at_the_deadline_wherever_it_comes() {
    for (start, part) in [
        ("", "H"),
        ("HTTP/1.1 200 OK\r\nX: ", "x"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", "b"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nb\r\n"),
    ] {
        let server = dripping(start, part).await;
        let class = if start.is_empty() { None } else { Some(Class::Timeout) };
        let outcome = probe(&short(http(&server.url(), |_| {}))).await;
        // `HHHH` is no status line, which a parser may notice before the time is over.
        let found = outcome.cause.unwrap().class;
        assert!(class.is_none_or(|class| class == found), "{start:?}: {outcome:?}");
        assert!(matches!(found, Class::Timeout | Class::Protocol));
    }
}

#[tokio::test]
async fn endless_interim_answers_end_at_the_deadline() {
    let (server, _) = endless("", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)).await;
    down(&short(http(&server.url(), |_| {})), Class::Timeout).await;
    let server = dripping("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
    down(&short(http(&server.url(), |_| {})), Class::Timeout).await;
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
async fn what_is_no_http_is_a_protocol_failure() {
    answers(b"SSH-2.0-OpenSSH_9.2\r\n", Class::Protocol).await;
    answers(b"\x15\x03\x01\x00\x02\x02\x50", Class::Protocol).await;
    answers(&[0; 4096], Class::Protocol).await;
    answers(b"HTTP/9.9 200 OK\r\n\r\n", Class::Protocol).await;
    answers(b"HTTP/1.1 abc OK\r\n\r\n", Class::Protocol).await;
    answers(b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n", Class::Protocol).await;
    answers(b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", Class::Protocol).await;
    answers(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", Class::Protocol).await;
}

#[tokio::test]
async fn a_server_that_speaks_before_it_is_asked_speaks_no_http() {
    let server = Server::new(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n").await;
        close(stream).await;
    })
    .await;
    down(&http(&server.url(), |_| {}), Class::Protocol).await;
}

#[tokio::test]
async fn impossible_chunk_sizes_are_a_protocol_failure_and_reserve_nothing() {
    let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
    answers(chunked("FFFFFFFFFFFFFFFFF\r\n").as_bytes(), Class::Protocol).await;
    answers(chunked("zz\r\n").as_bytes(), Class::Protocol).await;
    // Possible in principle, but never sent.
    answers(chunked("7FFFFFFFFFFFFFFF\r\nabc").as_bytes(), Class::Reset).await;
    answers(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551614\r\n\r\nabc", Class::Protocol).await;
    answers(b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nabc", Class::Reset).await;
}

#[tokio::test]
async fn a_connection_that_ends_too_early_is_cut() {
    answers(b"", Class::Reset).await;
    answers(b"HTTP/1.1 200 OK\r\nContent-Le", Class::Reset).await;
    answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Class::Reset).await;
    answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Class::Reset).await;
}

#[tokio::test]
async fn a_connection_that_is_reset_is_cut() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"] {
        let server = Server::new(move |stream| async move {
            let mut stream = BufReader::new(stream);
            head(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.flush().await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            // Closing with this set sends a reset.
            let _ = stream.get_ref().set_zero_linger();
        })
        .await;
        down(&http(&server.url(), |_| {}), Class::Reset).await;
    }
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
async fn broken_gzip_is_a_failure_where_the_content_matters() {
    let server =
        Server::answering("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nno gzip").await;
    down(&http(&server.url(), |http| http.expect.body = Some("a".to_owned())), Class::Protocol).await;
    up(&http(&server.url(), |_| {})).await;
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
