//! `watchbell run`.

use std::{env, os::unix::process::CommandExt, process::Command, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Global, Outcome, load, runtime};
use crate::{clock::SystemClock, daemon};

/// What the GNU C library is told before it starts: one pool of memory instead of one for each
/// thread, and to give back what lies free at its end. Few threads of ours allocate at once, but
/// work moves between them, and each pool would keep the most that ever was in it: twice the memory
/// (42 MB against 21 with 1,000 checks). Other C libraries do not listen to this.
const MALLOC: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// Becomes the same program with [`MALLOC`] in its environment, in the same process. Does nothing if
/// any of it is there already, or if the system does not let us.
fn with_one_pool() {
    if MALLOC.iter().any(|(name, _)| env::var_os(name).is_some()) {
        return;
    }
    if let Ok(program) = env::current_exe() {
        let name = env::args_os().next().unwrap_or_default();
        let _ = Command::new(program).arg0(name).args(env::args_os().skip(1)).envs(MALLOC).exec();
    }
}

pub fn run(global: &Global) -> Outcome {
    with_one_pool();
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
