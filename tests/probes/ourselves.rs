//! Faults of this machine: never a verdict about a target. Each test runs this program again in a
//! process of its own, whose limits and environment it can spoil.

use std::{
    process::{Command, Output},
    time::Duration,
};

use watchbell::domain::outcome::{CheckResult, Class, Outcome};

use super::{Server, http, ok, probe};

/// Runs one of the ignored tests below by itself, after `prelude` of shell.
fn alone(name: &str, prelude: &str, environment: &[(&str, &str)]) -> Output {
    Command::new("sh")
        .arg("-c")
        .arg(format!("{prelude} exec \"$0\" --exact probes::ourselves::{name} --ignored --nocapture"))
        .arg(std::env::current_exe().unwrap())
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn passed(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
}

fn is_unknown(outcome: &Outcome) {
    assert_eq!(outcome.result, CheckResult::Unknown, "{outcome:?}");
    assert_eq!(outcome.cause.unwrap().class, Class::Local, "{outcome:?}");
}

#[test]
fn without_descriptors_nothing_is_said_of_the_target() {
    passed(&alone("without_descriptors", "ulimit -n 40;", &[]));
}

#[tokio::test]
#[ignore = "run by the test above, with few descriptors"]
async fn without_descriptors() {
    let (server, _) = Server::http(|_| ok("")).await;
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    is_unknown(&probe(&http(&server.url(), |_| {})).await);
    is_unknown(&probe(&http(&format!("http://localhost:{}/", server.address.port()), |_| {})).await);
    held.truncate(held.len() - 10);
    let outcome = probe(&http(&server.url(), |_| {})).await;
    assert_eq!(outcome.result, CheckResult::Up, "{outcome:?}");
}

#[test]
fn a_machine_that_trusts_nobody_still_probes_plain_http() {
    passed(&alone(
        "without_authorities",
        "",
        &[("SSL_CERT_FILE", "/no/such/file"), ("SSL_CERT_DIR", "/no/such/folder")],
    ));
}

#[tokio::test]
#[ignore = "run by the test above, without certificates"]
async fn without_authorities() {
    let (server, _) = Server::http(|_| ok("")).await;
    let outcome = probe(&http(&server.url(), |_| {})).await;
    assert_eq!(outcome.result, CheckResult::Up, "{outcome:?}");
    let outcome = probe(&http(&format!("https://{}/", server.address), |_| {})).await;
    is_unknown(&outcome);
    assert!(outcome.detail.unwrap().contains("no usable CA certificates"));
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let nowhere = "http://127.0.0.1:9";
    passed(&alone(
        "without_proxy",
        "",
        &[("HTTP_PROXY", nowhere), ("http_proxy", nowhere), ("ALL_PROXY", nowhere), ("all_proxy", nowhere)],
    ));
}

#[tokio::test]
#[ignore = "run by the test above, with a proxy in the environment"]
async fn without_proxy() {
    let (server, _) = Server::http(|_| ok("")).await;
    let outcome = probe(&http(&server.url(), |_| {})).await;
    assert_eq!(outcome.result, CheckResult::Up, "{outcome:?}");
}

#[tokio::test]
async fn a_monitor_that_was_held_up_says_nothing_of_the_target() {
    let server = Server::new(|stream| async move {
        // Nothing of this program runs meanwhile: there is one thread.
        std::thread::sleep(Duration::from_millis(2200));
        drop(stream);
    })
    .await;
    let mut check = http(&server.url(), |_| {});
    check.timeout = Duration::from_millis(100);
    let prober = watchbell::probe::Prober::new(std::sync::Arc::new(watchbell::clock::SystemClock::new()));
    is_unknown(&prober.probe(&check, jiff::Timestamp::UNIX_EPOCH).await);
}
