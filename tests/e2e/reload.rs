//! Changing the config of a running daemon.

use std::{fs, time::Duration};

use super::{SOON, await_status, status, write_config};
use crate::support::{
    daemon::{Daemon, folder, free_address, wait_for},
    target::Target,
};

#[test]
fn a_good_config_is_taken_a_bad_one_changes_nothing() {
    let folder = folder();
    let folder = folder.path();
    let (target, other, listen) = (Target::start(), Target::start(), free_address());
    let api = ("api", format!("http = \"http://{}/\"", target.address));
    let web = ("web", format!("http = \"http://{}/\"", other.address));
    write_config(folder, listen, "", std::slice::from_ref(&api));
    let daemon = Daemon::start(folder, listen);
    await_status(listen, "api", "operational");
    let good = fs::read_to_string(folder.join("watchbell.toml")).unwrap();

    fs::write(folder.join("watchbell.toml"), format!("{good}\n[[service]]\nid = \"x\"\nnmae = \"X\"\n")).unwrap();
    daemon.signal("HUP");
    wait_for("the complaint", SOON, || daemon.log().contains("did you mean `name`?").then_some(()));
    assert_eq!(status(listen, "api"), "operational");

    write_config(folder, listen, "", &[api.clone(), web]);
    await_status(listen, "web", "operational"); // by itself, without a signal

    // The other way round: a state survives a reload, and so does what was counted.
    target.answers(500);
    await_status(listen, "api", "major_outage");
    write_config(folder, listen, "", &[api]);
    daemon.signal("HUP");
    wait_for("web to go", SOON, || (status(listen, "web") == "missing").then_some(()));
    assert_eq!(status(listen, "api"), "major_outage");
    assert_eq!(super::incidents(folder).len(), 1);
    let (ended, took) = daemon.terminate();
    assert!(ended.success() && took < Duration::from_secs(5), "{ended:?} {took:?}");
}
