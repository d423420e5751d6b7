//! A thousand checks at once.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use watchbell::{
    clock::SystemClock,
    domain::outcome::CheckResult,
    judge::Priority,
    probe::{Bounds, Prober},
};

use super::{Server, http, ok};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_checks_are_probed_within_bounds() {
    let (server, _) = Server::http(|_| ok("ok")).await;
    let prober = Prober::new(Arc::new(SystemClock::new()));
    let bounds = Bounds::new(64);
    let mut check = http(&server.url(), |_| {});
    check.timeout = Duration::from_secs(20);
    let check = Arc::new(check);
    let began = Instant::now();
    let probes: Vec<_> = (0..1000)
        .map(|n| {
            let (prober, bounds, check) = (prober.clone(), bounds.clone(), check.clone());
            tokio::spawn(async move {
                let _permit = bounds.start(&format!("host-{}", n % 50), Priority::Regular).await;
                assert!(bounds.in_flight() <= 64);
                prober.probe(&check, Timestamp::UNIX_EPOCH).await
            })
        })
        .collect();
    for probe in probes {
        let outcome = probe.await.unwrap();
        assert_eq!(outcome.result, CheckResult::Up, "{outcome:?}");
    }
    eprintln!("1000 probes in {:?}", began.elapsed());
    assert_eq!(server.connections.load(Ordering::Relaxed), 1000);
    assert_eq!((bounds.in_flight(), bounds.waiting()), (0, 0));
}
