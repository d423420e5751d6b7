//! The daemon in a network of its own, whose packets are lost, whose link is cut, and where no name
//! is found.

use std::{fs, process::Command, time::Duration};

use super::{SOON, Scene, during, scale, wait_for};
use crate::{
    skip,
    support::{
        daemon::{Daemon, WATCHBELL, folder},
        netns::Network,
        target::Target,
    },
};

/// A network, or a visible skip.
macro_rules! network {
    () => {
        match Network::new() {
            Ok(network) => network,
            Err(why) => skip!("{why}"),
        }
    };
}

/// Services on this side of the link, and a scene whose daemon will be on the other.
fn scene(network: &Network, count: usize, timeout: &str) -> (Vec<Target>, Scene) {
    let targets: Vec<Target> = (0..count).map(|_| Target::at(network.host.into())).collect();
    let check = |target: &Target| format!("http = \"http://{}/\"", target.address);
    let services: Vec<(String, String)> =
        targets.iter().enumerate().map(|(n, target)| (format!("s{n}"), check(target))).collect();
    let services: Vec<(&str, String)> = services.iter().map(|(id, check)| (id.as_str(), check.clone())).collect();
    let scene = Scene::new("", &services);
    scene.edit("every = \"1s\"\ntimeout = \"1s\"", &format!("every = \"{timeout}\"\ntimeout = \"{timeout}\""));
    (targets, scene)
}

fn start(network: &Network, scene: &Scene) -> Daemon {
    let daemon = Daemon::spawn_under(scene.path(), &network.inside(), &["run"], &[]);
    scene.await_status("s0", "operational");
    daemon
}

fn nobody_is_down(scene: &Scene) {
    let down: Vec<_> = scene.statuses().into_iter().filter(|(_, status)| status.contains("outage")).collect();
    assert!(down.is_empty(), "{down:?}");
}

#[test]
fn a_fifth_of_all_packets_lost_is_no_incident_and_all_of_them_is() {
    let network = network!();
    let (_targets, scene) = scene(&network, 20, "4s");
    let daemon = start(&network, &scene);
    network.rule("numgen random mod 100 < 20 counter drop");
    let seconds = scale("WATCHBELL_LOSS", 10);
    during(Duration::from_secs(seconds.try_into().unwrap()), || nobody_is_down(&scene));
    assert!(network.counted() > 20, "packets were lost");
    assert_eq!(scene.incidents().len(), 0);
    network.rule("meta l4proto tcp counter drop");
    scene.await_status("s0", "major_outage");
    network.rule("");
    scene.await_status("s0", "operational");
    assert!(daemon.terminate().0.success());
}

#[test]
fn a_link_that_is_cut_is_our_own_trouble_and_no_incident() {
    let network = network!();
    let (targets, scene) = scene(&network, 3, "1s");
    let daemon = start(&network, &scene);
    for _ in 0..scale("WATCHBELL_CUT_LINKS", 1) {
        network.ip(&["link", "set", "inside", "down"]);
        during(Duration::from_secs(6), || nobody_is_down(&scene));
        network.ip(&["link", "set", "inside", "up"]);
        network.ip(&["route", "replace", "default", "via", &network.host.to_string()]);
        during(Duration::from_secs(3), || nobody_is_down(&scene));
        assert_eq!(scene.incidents().len(), 0);
    }
    targets[1].answers(500);
    scene.await_status("s1", "major_outage");
    assert_eq!(scene.incidents().len(), 1);
    assert!(daemon.terminate().0.success());
}

#[test]
fn what_the_network_does_to_a_connection_is_told_apart() {
    let network = network!();
    let folder = folder();
    let target = Target::at(network.host.into());
    let port = target.address.port();
    fs::write(
        folder.path().join("resolv.conf"),
        format!("nameserver {}\noptions timeout:1 attempts:1\n", network.host),
    )
    .unwrap();
    let probe = |host: &str, wanted: &str, what: &str| {
        let config = format!(
            "[site]\ntitle = \"T\"\nurl = \"http://127.0.0.1/\"\n\n[[service]]\nid = \"a\"\n[[service.check]]\nhttp = \"http://{host}:{port}/\"\ntimeout = \"1s\"\n"
        );
        fs::write(folder.path().join("watchbell.toml"), config).unwrap();
        // The names of this network are asked for where nobody answers.
        let shell = "mount --bind resolv.conf /etc/resolv.conf && exec \"$@\"";
        let inside = network.inside();
        let output = Command::new(inside[0])
            .args(&inside[1..])
            .args(["unshare", "--mount", "sh", "-c", shell, "sh", WATCHBELL, "probe", "--json"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let found = (json[0]["result"].as_str(), json[0]["class"].as_str());
        let result = match wanted {
            "up" => "up",
            "local" => "unknown",
            _ => "down",
        };
        assert_eq!(found, (Some(result), Some(wanted).filter(|class| *class != "up")), "{what}: {json}");
    };
    let host = network.host.to_string();
    probe(&host, "up", "nothing is wrong");
    network.rule(&format!("tcp sport {port} drop"));
    probe(&host, "connect_timeout", "packets are dropped");
    network.rule(&format!("tcp sport {port} tcp flags & (syn|ack) != (syn|ack) drop"));
    probe(&host, "timeout", "packets are dropped once the connection stands");
    network.rule("");
    target_gone(&network, &probe);
    probe("nowhere.example.org", "dns", "the name server is silent");
    network.ip(&["route", "add", "blackhole", "192.0.2.1"]);
    probe("192.0.2.1", "local", "our own route leads nowhere");
    network.ip(&["route", "add", "unreachable", "192.0.2.2"]);
    probe("192.0.2.2", "connect_timeout", "a router says that the host is away");
    network.ip(&["route", "add", "prohibit", "192.0.2.3"]);
    probe("192.0.2.3", "local", "we are not allowed to");
    network.ip(&["link", "set", "inside", "down"]);
    probe(&host, "local", "the link is cut");
}

fn target_gone(network: &Network, probe: &impl Fn(&str, &str, &str)) {
    // An address of ours inside, where nobody listens.
    network.ip(&["address", "add", "192.0.2.9/32", "dev", "lo"]);
    probe("192.0.2.9", "connect_refused", "nobody listens");
}

#[test]
fn a_network_without_name_servers_is_no_reason_not_to_start() {
    let network = network!();
    let (targets, scene) = scene(&network, 1, "1s");
    scene.edit(&format!("http://{}/", targets[0].address), "http://nowhere.example.org/");
    fs::write(scene.path().join("resolv.conf"), format!("nameserver {}\n", network.host)).unwrap();
    let shell = "mount --bind resolv.conf /etc/resolv.conf && exec \"$@\"";
    let under = [&network.inside()[..], &["unshare", "--mount", "sh", "-c", shell, "sh"]].concat();
    let daemon = Daemon::spawn_under(scene.path(), &under, &["run"], &[]);
    scene.await_status("s0", "major_outage");
    let page =
        wait_for("the page", SOON, || fs::read_to_string(scene.path().join("public/services/s0/index.html")).ok());
    assert!(!page.contains("nowhere.example.org"), "no name of a target is published");
    assert!(daemon.terminate().0.success());
}
