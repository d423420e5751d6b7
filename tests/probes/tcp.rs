//! `tcp` checks.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use watchbell::{
    domain::{
        outcome::Class,
        service::{Check, IpVersion, Probe, Tcp},
    },
    secret::Secret,
};

use super::{Server, check, close, down, head, http, refusing, up};

fn tcp(host: &str, port: u16, send: Option<&str>, text: Option<&str>) -> Check {
    check(Probe::Tcp(Tcp {
        host: host.to_owned(),
        port,
        send: send.map(Secret::new),
        expect_text: text.map(str::to_owned),
    }))
}

/// Greets in two parts, then repeats what it is told.
async fn greeter() -> Server {
    Server::new(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.exam").await;
        let _ = stream.flush().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _ = stream.write_all(b"ple.org ready\r\n").await;
        let mut told = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut told).await {
            let _ = stream.write_all(&told[..count]).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_port_that_accepts_is_up_and_the_phases_are_measured() {
    let server = greeter().await;
    let outcome = up(&tcp("localhost", server.address.port(), None, None)).await;
    assert!(outcome.phases.dns_us.is_some() && outcome.phases.connect_us.is_some());
    let mut check = tcp("127.0.0.1", server.address.port(), None, None);
    check.ip = Some(IpVersion::V4);
    up(&check).await;
    check.ip = Some(IpVersion::V6);
    down(&check, Class::Dns).await;
}

#[tokio::test]
async fn addresses_of_both_families_are_connected_to_by_number_and_by_name() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { crate::skip!("this machine has no IPv6") };
    let server = Server::on(listener, |stream| async move {
        let mut stream = BufReader::new(stream);
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        close(stream.into_inner()).await;
    });
    let port = server.address.port();
    up(&http(&format!("http://[::1]:{port}/"), |_| {})).await;
    up(&tcp("::1", port, Some("GET / HTTP/1.1\r\n\r\n"), Some("200 OK"))).await;
    // Nobody listens at the first address of the name: the second one is tried.
    let mut check = tcp("both.localhost", port, None, None);
    up(&check).await;
    check.ip = Some(IpVersion::V6);
    up(&check).await;
    check.ip = Some(IpVersion::V4);
    down(&check, Class::ConnectRefused).await;
}

#[tokio::test]
async fn a_text_is_found_across_parts_and_after_what_was_sent() {
    let server = greeter().await;
    let port = server.address.port();
    up(&tcp("127.0.0.1", port, None, Some("mail.example.org"))).await;
    up(&tcp("127.0.0.1", port, Some("PING\r\n"), Some("PING"))).await;
    let mut check = tcp("127.0.0.1", port, None, Some("never"));
    check.timeout = Duration::from_millis(300);
    down(&check, Class::Timeout).await;
}

#[tokio::test]
async fn a_server_that_closes_without_the_text_is_not_as_expected() {
    let server = Server::new(|mut stream| async move {
        let _ = stream.write_all(b"go away\r\n").await;
        close(stream).await;
    })
    .await;
    let outcome = down(&tcp("127.0.0.1", server.address.port(), None, Some("220")), Class::Body).await;
    assert!(outcome.detail.unwrap().contains("closed after 9 bytes"));
}

#[tokio::test]
async fn endless_text_is_read_up_to_a_limit() {
    let server = Server::new(|mut stream| async move { while stream.write_all(&[b'a'; 4096]).await.is_ok() {} }).await;
    down(&tcp("127.0.0.1", server.address.port(), None, Some("needle")), Class::Body).await;
}

#[tokio::test]
async fn refused_reset_and_unknown_are_told_apart() {
    let server = Server::new(|stream| async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let _ = stream.set_zero_linger();
    })
    .await;
    let port = server.address.port();
    down(&tcp("127.0.0.1", port, None, Some("x")), Class::Reset).await;
    let (_socket, address) = refusing();
    down(&tcp("127.0.0.1", address.port(), None, None), Class::ConnectRefused).await;
    down(&tcp("no-such-host.invalid", 1, None, None), Class::Dns).await;
}
