//! Asking a target: one attempt, one outcome. The target being down is an outcome, never an error.
//!
//! Every probe makes a fresh lookup and a fresh connection, keeps no cookies, takes no proxy from
//! the environment, and ends at its timeout whatever the target does. Dropping the future cuts the
//! probe short; then there is no outcome.
//!
//! It does not decide when to probe ([`crate::schedule`]), how many at once ([`Bounds`]), or what
//! results mean ([`crate::judge`]).

pub mod bounds;
pub mod classify;
mod client;
mod expect;
mod http;
mod reach;
mod redirect;
mod resolve;
mod tcp;
mod tls;
mod trace;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

pub use self::bounds::{Bounds, Permit};
pub use self::resolve::{LookupError, Names};
pub use self::trace::Stage;
use self::{classify::Fault, client::Clients, tls::Tls, trace::Trace};
use crate::{
    clock::Clock,
    domain::{
        outcome::{Cause, CheckResult, Class, Outcome, Phases},
        service::{Check, Probe},
    },
};

/// If a probe ends later than this after its timeout, we were not running when we should have
/// been: its result is about us.
const STARVED: Duration = Duration::from_millis(1500);

/// Makes probes. Cheap to clone; clones share clients and name servers. Needs a tokio runtime.
#[derive(Clone)]
pub struct Prober {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    names: Names,
    tls: Tls,
    clients: Clients,
}

impl Prober {
    /// A prober that measures with `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let names = Names::new(clock.clone());
        let tls = Tls::new(clock.clone());
        let clients = Clients::new(clock.clone(), tls.clone(), names.clone());
        Self { shared: Arc::new(Shared { clock, names, tls, clients }) }
    }

    /// Probes `check` once, within its timeout. `at` is the wall clock's time now.
    pub async fn probe(&self, check: &Check, at: Timestamp) -> Outcome {
        let shared = &*self.shared;
        let trace = Trace::new(shared.clock.clone(), check.ip);
        let began = shared.clock.elapsed();
        let attempt = trace.clone().follow(async {
            match &check.probe {
                Probe::Http(http) => http::probe(&shared.clients, &shared.tls, &trace, check, http).await,
                Probe::Tcp(tcp) => tcp::probe(&shared.names, &trace, tcp).await,
            }
        });
        // On the heap: most of a daemon's probes wait, and this is large.
        let found = match tokio::time::timeout(check.timeout, Box::pin(attempt)).await {
            Ok(Ok(detail)) => Found::Answer(detail),
            Ok(Err(fault)) => Found::Fault(fault),
            Err(_) => Found::TooLate(trace.stage()),
        };
        let latency = shared.clock.elapsed().since(began);
        outcome(check, at, latency, trace.phases(), found)
    }
}

/// How an attempt ended.
#[derive(Clone, Debug)]
enum Found {
    /// As expected.
    Answer(String),
    /// Not as expected.
    Fault(Fault),
    /// Not at all, in that stage.
    TooLate(Stage),
}

/// What an attempt that ended like that says of its check. Pure.
fn outcome(check: &Check, started_at: Timestamp, latency: Duration, phases: Phases, found: Found) -> Outcome {
    let (cause, detail) = match found {
        _ if latency > check.timeout + STARVED => {
            let late = latency.saturating_sub(check.timeout).as_millis();
            (Some(Class::Local.into()), format!("the monitor itself was held up for {late} ms"))
        }
        Found::Answer(detail) => match check.degraded_over {
            Some(limit) if latency > limit => (Some(limited(Class::Slow, limit)), detail),
            _ => (None, detail),
        },
        Found::Fault(fault) => {
            let timed_out = matches!(fault.cause.class, Class::Timeout | Class::ConnectTimeout);
            let cause = if timed_out { limited(fault.cause.class, check.timeout) } else { fault.cause };
            (Some(cause), fault.detail)
        }
        Found::TooLate(stage) => {
            let fault = Fault::too_late(stage, check.timeout);
            (Some(fault.cause), fault.detail)
        }
    };
    let result = match cause.map(|cause: Cause| cause.class) {
        None => CheckResult::Up,
        Some(Class::Slow) => CheckResult::Degraded,
        Some(Class::Local) => CheckResult::Unknown,
        Some(_) => CheckResult::Down,
    };
    Outcome { result, cause, started_at, latency, phases, detail: Some(detail) }
}

fn limited(class: Class, limit: Duration) -> Cause {
    Cause { limit_ms: Some(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX)), ..class.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        CheckId,
        service::{Cadence, Tcp},
    };

    fn found(after_ms: u64, found: Found) -> Outcome {
        let probe = Probe::Tcp(Tcp { host: "192.0.2.1".to_owned(), port: 1, send: None, expect_text: None });
        let check = Check {
            id: CheckId::new("tcp").unwrap(),
            enabled: true,
            cadence: Cadence::Every(Duration::from_mins(1)),
            timeout: Duration::from_secs(10),
            down_after: 3,
            up_after: 2,
            recheck: Duration::from_secs(5),
            degraded_over: Some(Duration::from_secs(2)),
            degraded_after: 3,
            ip: None,
            probe,
        };
        outcome(&check, Timestamp::UNIX_EPOCH, Duration::from_millis(after_ms), Phases::default(), found)
    }

    fn says(outcome: &Outcome) -> (CheckResult, Option<(Class, Option<u32>)>) {
        (outcome.result, outcome.cause.map(|cause| (cause.class, cause.limit_ms)))
    }

    #[test]
    fn a_good_answer_is_up_and_a_slow_one_degraded() {
        let answer = || Found::Answer("connected".to_owned());
        assert_eq!(says(&found(2_000, answer())), (CheckResult::Up, None));
        assert_eq!(says(&found(2_001, answer())), (CheckResult::Degraded, Some((Class::Slow, Some(2_000)))));
    }

    #[test]
    fn running_out_of_time_says_how_much_there_was() {
        let expected = (CheckResult::Down, Some((Class::Timeout, Some(10_000))));
        assert_eq!(says(&found(10_001, Found::TooLate(Stage::Tls))), expected);
        let expected = (CheckResult::Down, Some((Class::Dns, Some(10_000))));
        assert_eq!(says(&found(10_001, Found::TooLate(Stage::Dns))), expected);
    }

    #[test]
    fn our_own_faults_are_never_a_verdict() {
        let fault = Found::Fault(Fault::new(Class::Local, "no descriptors"));
        assert_eq!(found(1, fault).result, CheckResult::Unknown);
        for late in
            [Found::Answer(String::new()), Found::TooLate(Stage::Body), Found::Fault(Fault::new(Class::Reset, ""))]
        {
            assert_eq!(says(&found(12_000, late)), (CheckResult::Unknown, Some((Class::Local, None))));
        }
    }
}
