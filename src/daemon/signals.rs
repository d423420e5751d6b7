//! What the service manager says to us, and what we say to it.

use std::{io, sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::health::Health;
use crate::clock::Clock;

/// The task that ends the daemon at SIGTERM or SIGINT and reports SIGHUP.
///
/// # Errors
/// If the system does not let us listen.
pub fn run(shutdown: CancellationToken, hangups: mpsc::Sender<()>) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    // One waiting already says all there is to say.
                    let _ = hangups.try_send(());
                }
                () = shutdown.cancelled() => return,
            }
        }
        tracing::info!("ending");
        tell(NotifyState::Stopping);
        shutdown.cancel();
    })
}

/// Tells systemd that we are ready, and then, while all is well, that we are alive.
pub async fn watchdog(clock: Arc<dyn Clock>, health: Arc<Health>, shutdown: CancellationToken) {
    tell(NotifyState::Ready);
    let Some(within) = sd_notify::watchdog_enabled() else {
        shutdown.cancelled().await;
        return;
    };
    let pace = (within / 3).max(Duration::from_millis(100));
    loop {
        if health.is_alive(clock.elapsed()) {
            tell(NotifyState::Watchdog);
        }
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn tell(state: NotifyState<'_>) {
    // Without a service manager there is nobody to tell.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("systemd was not told: {error}");
    }
}
