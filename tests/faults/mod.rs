//! What goes wrong around the program, and what it must cost: nothing.
//!
//! `README.md` lists the faults and where each is tried; `scripts/faults` runs all of it with bigger
//! numbers.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    e2e::{self, SOON},
    support::{
        daemon::{self, Daemon, free_address, wait_for},
        http,
    },
};

mod clocks;
mod disks;
mod limits;
mod network;
mod relay;
mod servers;
mod store;
mod table;
mod visitors;

/// A folder with a config, and what a daemon in it says.
struct Scene {
    folder: tempfile::TempDir,
    listen: SocketAddr,
    metrics: SocketAddr,
}

impl Scene {
    /// With these services, each `(id, check lines)`, and these further tables.
    fn new(extra: &str, services: &[(&str, String)]) -> Self {
        let folder = daemon::folder();
        let (listen, metrics) = (free_address(), free_address());
        e2e::write_config(folder.path(), listen, extra, services);
        let scene = Self { folder, listen, metrics };
        scene.edit("[server]\n", &format!("[server]\nmetrics = \"{metrics}\"\n"));
        scene
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces a part of the config.
    fn edit(&self, old: &str, new: &str) {
        let path = self.path().join("watchbell.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{old} in {text}");
        fs::write(path, text.replace(old, new)).unwrap();
    }

    fn start(&self) -> Daemon {
        Daemon::start(self.path(), self.listen)
    }

    /// The statuses as they are published, in the file itself: nobody need be served for it.
    fn statuses(&self) -> Vec<(String, String)> {
        let Ok(text) = fs::read(self.path().join("public/api/v2/components.json")) else { return Vec::new() };
        let json: Value = serde_json::from_slice(&text).expect("a published file is whole");
        let word = |component: &Value, key: &str| component[key].as_str().unwrap().to_owned();
        let components = json["components"].as_array().unwrap().iter();
        components.map(|component| (word(component, "id"), word(component, "status"))).collect()
    }

    fn status(&self, service: &str) -> String {
        self.statuses().into_iter().find(|(id, _)| id == service).map_or("missing".to_owned(), |(_, status)| status)
    }

    fn await_status(&self, service: &str, wanted: &str) {
        wait_for(&format!("{service} that is {wanted}"), SOON, || (self.status(service) == wanted).then_some(()));
    }

    fn incidents(&self) -> Vec<Value> {
        e2e::incidents(self.path())
    }

    /// A number among the metrics, by all that stands before it in its line.
    fn metric(&self, name: &str) -> f64 {
        let text = wait_for("metrics", SOON, || http::get(self.metrics, "/metrics")).text();
        number(&text, name).unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// How many probes ended so far, with whatever result.
    fn probes(&self) -> f64 {
        ["up", "down", "degraded", "unknown"]
            .iter()
            .map(|result| self.metric(&format!("watchbell_checks_total{{result=\"{result}\"}}")))
            .sum()
    }

    /// Waits until so many more probes have ended.
    fn await_probes(&self, more: f64) {
        let before = self.probes();
        wait_for("more probes", SOON, || (self.probes() >= before + more).then_some(()));
    }
}

fn number<T: FromStr>(text: &str, name: &str) -> Option<T> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Does something again and again for so long.
fn during(time: Duration, mut what: impl FnMut()) {
    let began = Instant::now();
    while began.elapsed() < time {
        what();
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How big a test is: what the environment says, or something small.
fn scale(name: &str, small: usize) -> usize {
    std::env::var(name).ok().map_or(small, |text| text.parse().unwrap())
}
