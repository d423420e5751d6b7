//! The demo shows what it promises, in the time that it promises.

use std::time::{Duration, Instant};

use super::{incidents, status};
use crate::support::{
    daemon::{Daemon, folder, free_address, wait_for},
    http,
};

#[test]
fn within_fifteen_seconds_the_demo_shows_an_outage_and_its_end() {
    let folder = folder();
    let listen = free_address();
    let dir = folder.path().join("demo");
    let began = Instant::now();
    let mut demo = Daemon::spawn(
        folder.path(),
        &["demo", "--listen", &listen.to_string(), "--dir", dir.to_str().unwrap(), "--for", "20"],
    );
    let limit = Duration::from_secs(15);
    for wanted in ["operational", "major_outage", "operational"] {
        wait_for(&format!("API that is {wanted}"), limit, || (status(listen, "api") == wanted).then_some(()));
    }
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    let index = http::get(listen, "/").unwrap().text();
    assert!(index.contains("All services are operational"), "{index}");
    let history = http::get(listen, "/history/").unwrap().text();
    for year in ["2016", "2017", "2020", "2021"] {
        assert!(history.contains(year), "{year}");
    }
    let old = http::get(listen, "/incidents/2020-03-26-vm-host-1/").unwrap().text();
    assert!(old.contains("80 changes"), "the postmortem is on the page");
    assert_eq!(incidents(&dir).len(), 6);
    assert!(demo.ended(Duration::from_secs(15)).success());
    let mails = std::fs::read_dir(dir.join("mails")).unwrap().count();
    assert_eq!(mails, 2, "Ann is told of both, Ben of neither");
}
