//! The whole program, from outside, on real input.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use serde_json::Value;

use crate::support::{daemon, http};

mod blind;
mod commands;
mod demo;
mod faults;
mod leaving;
mod mail;
mod notes;
mod older;
mod outage;
mod pages;
mod preview;
mod queue;
mod readers;
mod refusals;
mod reload;
mod scale;
mod stage;
mod subscribing;
mod webhooks;

/// Nothing here should take longer.
pub const SOON: Duration = Duration::from_secs(30);

/// A config with quick checks; each service is `(id, check lines)`.
pub fn write_config(folder: &Path, listen: SocketAddr, extra: &str, services: &[(&str, String)]) {
    let mut text = format!(
        r#"
[site]
title = "Example Status"
url = "http://{listen}/"

[server]
listen = "{listen}"

[incidents]
gather = "500ms"
reopen_window = "1s"

[notes]
settle = "1s"

[defaults]
every = "1s"
timeout = "1s"
recheck = "200ms"
{extra}
"#
    );
    for (id, check) in services {
        let name = format!("{}{}", id[..1].to_uppercase(), &id[1..]);
        text.push_str(&format!("\n[[service]]\nid = \"{id}\"\nname = \"{name}\"\n\n[[service.check]]\n{check}\n"));
    }
    fs::write(folder.join("watchbell.toml"), text).unwrap();
}

/// The status of a service as the site's JSON has it.
pub fn status(listen: SocketAddr, service: &str) -> String {
    let Some(answer) = http::get(listen, "/api/v2/components.json") else { return "no answer".to_owned() };
    if answer.status != 200 {
        return answer.status.to_string();
    }
    let json = answer.json();
    let component = json["components"].as_array().unwrap().iter().find(|component| component["id"] == service).cloned();
    component.map_or("missing".to_owned(), |component| component["status"].as_str().unwrap().to_owned())
}

/// Waits until the site says so.
pub fn await_status(listen: SocketAddr, service: &str, wanted: &str) {
    daemon::wait_for(&format!("{service} that is {wanted}"), SOON, || {
        (status(listen, service) == wanted).then_some(())
    });
}

/// All incidents as the command prints them, newest first.
pub fn incidents(folder: &Path) -> Vec<Value> {
    daemon::json(folder, &["-q", "incident", "list", "--json"]).as_array().unwrap().clone()
}
