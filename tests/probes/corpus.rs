//! Every server of the corpus, asked by the real probe: the class is right, the probe ends in time,
//! and little is taken.

use std::{net::Ipv4Addr, time::Duration};

use futures_util::{StreamExt, stream};
use watchbell::domain::outcome::{CheckResult, Class, Outcome};

use super::{http, probe};
use crate::support::corpus::{self, Below, Finds, Hostile, Running};

/// What a probe may take from a server in all: the body's limit and the head.
const MOST: usize = 2 << 20;
/// What the system takes for us before we ask for it.
const ON_THE_WAY: usize = 2 << 20;
/// How many are asked at once.
const AT_ONCE: usize = 16;

/// What is wrong with what a probe made of it.
async fn meet(hostile: Hostile) -> Option<String> {
    let server = Running::start(&hostile, Ipv4Addr::LOCALHOST);
    let mut check = http(&hostile.url(server.address), |http| {
        http.insecure = hostile.below != Below::Tcp;
        http.expect.body = hostile.needle.map(ToOwned::to_owned);
    });
    // Long enough for those who are only too much, of whom none waits.
    let is_slow = hostile.finds == Finds::Down(Class::Timeout);
    check.timeout = Duration::from_millis(if is_slow { 400 } else { 5000 });
    let outcome = probe(&check).await;
    let found = found(&outcome);
    let taken = server.taken();
    let is_as_said = found == Some(hostile.finds) && (hostile.is_idle || taken <= MOST + ON_THE_WAY);
    (!is_as_said).then(|| format!("{}: {found:?}, {taken} bytes, {:?}", hostile.name, outcome.detail))
}

fn found(outcome: &Outcome) -> Option<Finds> {
    match (outcome.result, outcome.cause) {
        (CheckResult::Up, None) => Some(Finds::Up),
        (CheckResult::Down, Some(cause)) => Some(cause.http_status.map_or(Finds::Down(cause.class), Finds::Status)),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hostile_server_is_found_out_in_time_and_little_is_taken_from_it() {
    let all = corpus::all();
    let names: std::collections::BTreeSet<_> = all.iter().map(|hostile| hostile.name).collect();
    assert_eq!(names.len(), all.len(), "each name stands for one");
    let wrong: Vec<String> =
        stream::iter(all).map(meet).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), names.len());
}
