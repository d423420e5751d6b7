//! The log: to stderr, one line an event.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt};

use super::{Color, Global, LogFormat};

/// Starts the log as the options say; `RUST_LOG` refines it. What a rehearsed daemon has to say, at
/// times that are none, is told otherwise: only who asks for it hears it here.
pub fn init(global: &Global, is_rehearsal: bool) {
    // Of others only what is broken: what a library finds worth saying may name a target. And whoever
    // asks for a connection says why it failed, once; the verifier would say it each time.
    let level = match (global.quiet, global.verbose) {
        (_, 0) if is_rehearsal => "off",
        (true, _) => "error,rustls_platform_verifier=off,watchbell=warn",
        (false, 0) => "error,rustls_platform_verifier=off,watchbell=info",
        (false, 1) => "watchbell=debug,info",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let log = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour).with_target(false);
    // Only the first call in a process can succeed, and it is the only one.
    let _ = match global.log_format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
