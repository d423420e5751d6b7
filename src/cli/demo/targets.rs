//! The demo's sample services: small servers on loopback that fail and recover by script.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// How long the script is before it begins again, in seconds.
const CYCLE: u64 = 100;
/// When the API answers 503, in seconds of the script.
const API_FAILS: std::ops::Range<u64> = 4..9;
/// When nothing listens at the database's port, and the API fails for it.
const DATABASE_IS_AWAY: std::ops::Range<u64> = 35..50;
/// When the website is slow.
const WEBSITE_IS_SLOW: std::ops::Range<u64> = 70..80;

/// Where the sample services listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub website: SocketAddr,
    pub api: SocketAddr,
    pub database: SocketAddr,
    pub mail: SocketAddr,
}

/// Starts them all.
pub async fn start(shutdown: CancellationToken) -> io::Result<Addresses> {
    let began = tokio::time::Instant::now();
    let second = move || began.elapsed().as_secs() % CYCLE;
    let website = listen().await?;
    let api = listen().await?;
    let database = listen().await?;
    let mail = listen().await?;
    let addresses = Addresses {
        website: website.local_addr()?,
        api: api.local_addr()?,
        database: database.local_addr()?,
        mail: mail.local_addr()?,
    };
    spawn(
        &shutdown,
        serve(website, move |mut stream| async move {
            read_request(&mut stream).await?;
            if WEBSITE_IS_SLOW.contains(&second()) {
                sleep(Duration::from_millis(700)).await;
            }
            answer(&mut stream, "200 OK", "hello").await
        }),
    );
    spawn(
        &shutdown,
        serve(api, move |mut stream| async move {
            read_request(&mut stream).await?;
            if API_FAILS.contains(&second()) || DATABASE_IS_AWAY.contains(&second()) {
                answer(&mut stream, "503 Service Unavailable", "no").await
            } else {
                answer(&mut stream, "200 OK", "ok").await
            }
        }),
    );
    spawn(
        &shutdown,
        serve(mail, |mut stream| async move { stream.write_all(b"220 lists.example.org ESMTP\r\n").await }),
    );
    spawn(&shutdown, come_and_go(database, addresses.database, began));
    Ok(addresses)
}

async fn listen() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

fn spawn(shutdown: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    let shutdown = shutdown.clone();
    tokio::spawn(async move { shutdown.run_until_cancelled(task).await });
}

async fn serve<F>(listener: TcpListener, handle: impl Fn(TcpStream) -> F + Send + 'static)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        // A client that goes away in the middle is its own business.
        tokio::spawn(handle(stream));
    }
}

/// Listens, except while the script says that the database is away.
async fn come_and_go(mut listener: TcpListener, address: SocketAddr, began: Instant) {
    let mut cycle = 0;
    loop {
        let at = |second: u64| began + Duration::from_secs(cycle * CYCLE + second);
        tokio::select! {
            () = sleep_until(at(DATABASE_IS_AWAY.start)) => {}
            () = accept(&listener) => {}
        }
        drop(listener);
        sleep_until(at(DATABASE_IS_AWAY.end)).await;
        listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        };
        cycle += 1;
    }
}

async fn accept(listener: &TcpListener) {
    loop {
        if listener.accept().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    while !bytes.ends_with(b"\r\n\r\n") && bytes.len() < 16_384 {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        bytes.extend(chunk.iter().take(read));
    }
    Ok(())
}

async fn answer(stream: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
