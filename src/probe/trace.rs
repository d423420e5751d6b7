//! Where a probe is, and how long each part of it took.
//!
//! The HTTP client resolves, connects and handshakes out of our sight, but in our task: the parts
//! find the probe that they belong to through a task-local value.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::reach::Reach;
use crate::{
    clock::{Clock, Elapsed},
    domain::{outcome::Phases, service::IpVersion},
};

tokio::task_local! {
    static CURRENT: Arc<Trace>;
}

/// A part of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing that the target is asked for.
    Idle,
    /// Its name is looked up.
    Dns,
    /// A connection is made.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The request is sent; no answer yet.
    FirstByte,
    /// The answer is read.
    Body,
}

/// One probe's progress.
pub(super) struct Trace {
    clock: Arc<dyn Clock>,
    /// Only addresses of this family are good.
    pub(super) ip: Option<IpVersion>,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    since: Elapsed,
    phases: Phases,
    limit: Option<Reach>,
}

impl Trace {
    pub(super) fn new(clock: Arc<dyn Clock>, ip: Option<IpVersion>) -> Arc<Self> {
        let since = clock.elapsed();
        let state = State { stage: Stage::Idle, since, phases: Phases::default(), limit: None };
        Arc::new(Self { clock, ip, state: Mutex::new(state) })
    }

    /// Runs `probe` so that its parts find this trace.
    pub(super) fn follow<F: Future>(self: Arc<Self>, probe: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, probe)
    }

    /// The trace of the probe that runs this, if one does.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// The probe goes on to `stage`; the time since the last call belongs to the one before.
    /// Stages that come again (redirects) add up.
    pub(super) fn enter(&self, stage: Stage) {
        let now = self.clock.elapsed();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A client says that it connects, and only then that it must look up where to.
        if (state.stage, stage) != (Stage::Connect, Stage::Dns) {
            state.count(now);
            state.since = now;
        }
        state.stage = stage;
    }

    /// [`Self::enter`] for the probe that runs this.
    pub(super) fn enter_current(stage: Stage) {
        if let Some(trace) = Self::current() {
            trace.enter(stage);
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stage
    }

    /// How long the parts took until now.
    pub(super) fn phases(&self) -> Phases {
        let now = self.clock.elapsed();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.count(now);
        state.since = now;
        state.phases
    }

    /// From here on, only addresses that may be asked on behalf of one of that reach.
    pub(super) fn set_limit(&self, limit: Option<Reach>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).limit = limit;
    }

    pub(super) fn limit(&self) -> Option<Reach> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).limit
    }
}

impl State {
    fn count(&mut self, now: Elapsed) {
        let slot = match self.stage {
            Stage::Idle => return,
            Stage::Dns => &mut self.phases.dns_us,
            Stage::Connect => &mut self.phases.connect_us,
            Stage::Tls => &mut self.phases.tls_us,
            Stage::FirstByte => &mut self.phases.first_byte_us,
            Stage::Body => &mut self.phases.body_us,
        };
        *slot = Some(slot.unwrap_or(0).saturating_add(micros(now.since(self.since))));
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Steps(Mutex<u64>);

    impl Clock for Steps {
        fn wall(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }
        fn elapsed(&self) -> Elapsed {
            let mut now = self.0.lock().unwrap();
            *now += 10;
            Elapsed(Duration::from_micros(*now))
        }
    }

    #[test]
    fn stages_that_come_again_add_up_and_those_that_never_came_are_missing() {
        let trace = Trace::new(Arc::new(Steps(Mutex::new(0))), None);
        for stage in [Stage::Connect, Stage::Dns, Stage::Connect, Stage::FirstByte, Stage::Connect, Stage::Idle] {
            trace.enter(stage);
        }
        let phases = trace.phases();
        assert_eq!(phases.dns_us, Some(20));
        assert_eq!(phases.connect_us, Some(20));
        assert_eq!(phases.first_byte_us, Some(10));
        assert_eq!((phases.tls_us, phases.body_us), (None, None));
    }
}
