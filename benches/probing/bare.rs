//! The anchor: the least that reqwest needs to ask so many services at an even pace, each time over
//! a fresh connection, and nothing else: no schedule, no judgement, no store, no site.

use std::{
    io,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{runtime, time};

use super::farm;
use crate::support::process::Process;

/// Starts the loop as a process of its own.
pub fn start(port: u16, services: usize, every: Duration) -> io::Result<Process> {
    let me = std::env::current_exe()?;
    let args = ["bare", &port.to_string(), &services.to_string(), &every.as_millis().to_string()];
    Process::start(Command::new(me).args(args).stdin(Stdio::null()))
}

/// The loop itself.
pub fn run(port: u16, services: usize, every: Duration) -> io::Result<()> {
    // Nobody is asked by TLS, but without a provider there is no client.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let client = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(io::Error::other)?;
        let urls: Vec<String> = (0..services).map(|n| format!("http://{}:{port}/", farm::address(n))).collect();
        let mut turns = time::interval(every / u32::try_from(services).unwrap_or(u32::MAX));
        for url in urls.iter().cycle() {
            turns.tick().await;
            let request = client.get(url.as_str()).timeout(Duration::from_secs(10));
            tokio::spawn(async move {
                if let Ok(response) = request.send().await {
                    let _ = response.bytes().await;
                }
            });
        }
        Ok(())
    })
}
