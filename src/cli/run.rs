//! `watchbell run`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Global, Outcome, load, runtime};
use crate::{clock::SystemClock, daemon};

pub fn run(global: &Global) -> Outcome {
    let loaded = load(global)?;
    let quiet = global.quiet;
    let options = daemon::Options {
        loaded,
        clock: Arc::new(SystemClock::new()),
        shutdown: CancellationToken::new(),
        announce: Box::new(move |lines| {
            if !quiet {
                for line in lines {
                    super::output::say(line);
                }
            }
        }),
        signals: true,
    };
    let runtime = runtime()?;
    let result = runtime.block_on(daemon::run(options));
    // What still runs on its threads would be waited for: it has had its time.
    runtime.shutdown_background();
    Ok(result?)
}
