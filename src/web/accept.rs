//! Accepting connections and ending them: every way in which a client can be slow has a deadline.
//!
//! Not `axum::serve`: it has no timer, so a client that says nothing stays for ever. hyper's own
//! limits start only when it knows which version of HTTP is spoken; the deadlines of
//! [`Connection`] start with the connection.

use std::{convert::Infallible, future::Future, io, net::IpAddr, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Limits,
    body::{Body, Guarded},
    connections::{Connection, Connections},
    progress::Watched,
};

/// See [`super::bind_retrying`].
pub(super) async fn bind_retrying(
    address: SocketAddr,
    what: &'static str,
    shutdown: &CancellationToken,
) -> Option<TcpListener> {
    let mut pause = Duration::from_millis(500);
    let mut reported = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if reported {
                    tracing::info!(%address, what, "the address is free now, and used");
                }
                return Some(listener);
            }
            Err(error) if reported => tracing::debug!(%address, what, %error, "the address still cannot be used"),
            Err(error) => {
                reported = true;
                tracing::error!(%address, what, %error, "the address cannot be used; it is tried again, all else goes on");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = sleep(pause) => pause = (pause * 2).min(Duration::from_secs(10)),
        }
    }
}

/// Accepts until `shutdown`, gives each request to `answer`, and comes back when every connection
/// is closed, by itself or after [`Limits::grace`]. Peers of which `is_proxy` is true are not
/// limited by network.
pub(super) async fn serve<A, F>(
    listener: TcpListener,
    limits: Limits,
    is_proxy: impl Fn(IpAddr) -> bool,
    answer: A,
    shutdown: CancellationToken,
) where
    A: Fn(Request<Incoming>, Arc<Connection>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = Arc::new(Connections::new(limits));
    let (tasks, kill) = (TaskTracker::new(), CancellationToken::new());
    let protocol = Arc::new(protocol(&limits));
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Without a descriptor the newcomer stays in the queue: a place is made for it, and
                // the pause keeps us from asking for it ten thousand times a second.
                if is_exhaustion(&error) {
                    connections.make_room();
                    let pause = trouble.again(&error);
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = sleep(pause) => {}
                    }
                }
                continue;
            }
        };
        trouble.over();
        let Some(connection) = connections.admit(peer.ip(), !is_proxy(peer.ip())) else {
            continue; // all places are busy: the newcomer is closed, and may come again
        };
        let (connections, protocol) = (Arc::clone(&connections), Arc::clone(&protocol));
        let (answer, shutdown, kill) = (answer.clone(), shutdown.clone(), kill.clone());
        tasks.spawn(async move {
            let until = Until { limits, shutdown, kill };
            run(stream, &connection, &protocol, answer, until).await;
            connections.leave(&connection);
        });
    }
    drop(listener);
    tasks.close();
    if timeout(limits.grace, tasks.wait()).await.is_err() {
        kill.cancel();
        tasks.wait().await;
    }
}

fn protocol(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle.max(limits.head))
        .max_buf_size(limits.head_bytes)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(32)
        .max_send_buf_size(64 * 1024)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(64 * 1024);
    builder
}

/// What ends a connection besides its client.
struct Until {
    limits: Limits,
    shutdown: CancellationToken,
    kill: CancellationToken,
}

async fn run<A, F>(
    stream: TcpStream,
    connection: &Arc<Connection>,
    protocol: &auto::Builder<TokioExecutor>,
    answer: A,
    until: Until,
) where
    A: Fn(Request<Incoming>, Arc<Connection>) -> F,
    F: Future<Output = Response<Body>>,
    F: Send + 'static,
{
    // Answers are small and complete: waiting to fill a packet only costs time.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Watched { stream, connection: Arc::clone(connection) });
    let service = service_fn(|request| {
        let answering = connection.begin();
        let response = answer(request, Arc::clone(connection));
        async move { Ok::<_, Infallible>(response.await.map(|body| Guarded { body, _answering: answering })) }
    });
    let mut served = pin!(protocol.serve_connection(io, service));
    let mut ending = false;
    loop {
        let deadline = connection.deadline(&until.limits);
        tokio::select! {
            biased;
            _ = served.as_mut() => break, // what a client did to its own connection concerns nobody
            () = connection.evicted.cancelled() => break,
            () = until.kill.cancelled() => break,
            () = until.shutdown.cancelled(), if !ending => {
                ending = true;
                served.as_mut().graceful_shutdown();
            }
            () = sleep_until(deadline) => if connection.deadline(&until.limits) <= Instant::now() { break },
        }
    }
}

/// Whether accepting fails for want of something that others of us hold.
fn is_exhaustion(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&errno))
}

/// A run of failures to accept: reported once, with growing pauses.
#[derive(Default)]
struct Trouble {
    failures: u32,
}

impl Trouble {
    fn again(&mut self, error: &io::Error) -> Duration {
        if self.failures == 0 {
            tracing::warn!(%error, "connections cannot be accepted; the longest silent ones are closed");
        }
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(10 << self.failures.min(6))
    }

    fn over(&mut self) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "connections are accepted again");
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_below_a_second() {
        let (mut trouble, error) = (Trouble::default(), io::Error::from(Errno::MFILE));
        let pauses: Vec<_> = (0..20).map(|_| trouble.again(&error).as_millis()).collect();
        assert_eq!(pauses[..3], [20, 40, 80]);
        assert!(pauses.iter().all(|pause| *pause < 1000));
        trouble.over();
        assert_eq!(trouble.again(&error).as_millis(), 20);
    }

    #[test]
    fn only_exhaustion_is_waited_for() {
        assert!(is_exhaustion(&Errno::MFILE.into()));
        assert!(!is_exhaustion(&Errno::CONNABORTED.into()));
    }
}
