//! `watchbell demo`: the whole system here and now, with nothing to set up.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Global, Outcome, output, runtime};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    daemon, fsio,
};

mod targets;

/// Past incidents, retold after public postmortems.
const NOTES: &[(&str, &str)] = &[
    ("2016-04-20-fleet", include_str!("notes/2016-04-20-fleet.toml")),
    ("2017-04-01-lending", include_str!("notes/2017-04-01-lending.toml")),
    ("2020-03-26-vm-host-1", include_str!("notes/2020-03-26-vm-host-1.toml")),
    ("2021-07-11-cluster", include_str!("notes/2021-07-11-cluster.toml")),
    ("2021-10-03-proxmox", include_str!("notes/2021-10-03-proxmox.toml")),
];

/// Arguments.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where the site is served; port 0 takes any
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where everything is written [default: a new folder among the temporary ones]
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// End after so many seconds instead of at Ctrl-C
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
}

pub fn demo(global: &Global, args: &Demo) -> Outcome {
    let folder = match &args.dir {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("watchbell-demo-{}", std::process::id())),
    };
    runtime()?.block_on(play(global, args, folder))?;
    Ok(())
}

async fn play(global: &Global, args: &Demo, folder: PathBuf) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let targets = targets::start(shutdown.clone()).await.context("the sample services cannot be started")?;
    let listen = free_address(args.listen).await;
    let path = folder.join("watchbell.toml");
    fsio::write(&path, config(listen, &targets).as_bytes())
        .with_context(|| format!("{} cannot be written", path.display()))?;
    for (id, text) in NOTES {
        fsio::write(&folder.join(format!("notes/incidents/{id}.toml")), text.as_bytes())?;
    }
    let loaded = Config::load(&path).map_err(|problems| {
        anyhow::anyhow!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let clock = Arc::new(SystemClock::new());
    subscribe(&loaded.config, &*clock)?;
    if !global.quiet {
        output::say(&format!(
            "A status page of four sample services that fail and recover by script:\n\n  \
             site   http://{listen}/\n  mails  {}\n  all    {}\n\n\
             In a few seconds the API fails, then recovers; then the database takes the API down with it; then the\n\
             website is slow. Five real outages of other people are in the history. Ctrl-C ends it.\n",
            folder.join("mails").display(),
            folder.display(),
        ));
    }
    if let Some(seconds) = args.seconds {
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            shutdown.cancel();
        });
    }
    let options = daemon::Options { loaded, clock, shutdown, announce: Box::new(|_| {}), signals: true };
    daemon::run(options).await?;
    Ok(())
}

/// `wanted` if it is free, else any port of the same address.
async fn free_address(wanted: SocketAddr) -> SocketAddr {
    for address in [wanted, SocketAddr::new(wanted.ip(), 0)] {
        if let Ok(listener) = TcpListener::bind(address).await
            && let Ok(bound) = listener.local_addr()
        {
            return bound;
        }
    }
    wanted
}

/// Someone who follows everything, and someone who follows the website alone.
fn subscribe(config: &Config, clock: &dyn Clock) -> anyhow::Result<()> {
    use crate::{
        domain::{
            ServiceId, SubscriberId,
            subscriber::{Address, Subscriber, SubscriberState, Wants},
        },
        store::Store,
    };
    let now = clock.wall();
    let mut store = Store::open(&config.store, now)?;
    store.set_services(&config.rules)?;
    let website = Wants { services: vec![ServiceId::new("website")?], ..Wants::default() };
    for (address, wants) in [("ann@example.org", Wants::default()), ("ben@example.org", website)] {
        let mut random = [0; 10];
        getrandom::fill(&mut random)?;
        store.add_subscriber(&Subscriber {
            id: SubscriberId::new(now, random),
            address: Address::parse(address)?.into(),
            state: SubscriberState::Confirmed,
            wants,
            language: None,
            timezone: None,
            created_at: now,
            confirmed_at: Some(now),
        })?;
    }
    Ok(())
}

fn config(listen: SocketAddr, targets: &targets::Addresses) -> String {
    let targets::Addresses { website, api, database, mail } = targets;
    format!(
        r#"# The demo's config: change it while the demo runs, and see.
[site]
title = "Example Collective"
url = "http://{listen}/"
description = "A sample of four services that fail and recover by script"

[server]
listen = "{listen}"

[store]
allow_volatile = true        # a demo may be forgotten

[incidents]
gather = "1s"
merge_window = "10s"
reopen_window = "15s"

[notes]
settle = "5s"

[email]
from = "Example Collective <status@example.org>"
smtp = "dir:mails"

[defaults]
every = "1s"
timeout = "2s"
recheck = "300ms"

[[group]]
id = "public"
name = "Public services"

[[group]]
id = "inside"
name = "Infrastructure"

[[service]]
id = "website"
name = "Website"
group = "public"
description = "What everyone sees first"
[[service.check]]
http = "http://{website}/"
degraded_over = "400ms"

[[service]]
id = "api"
name = "API"
group = "public"
description = "What our apps talk to"
depends_on = ["database"]
[[service.check]]
http = "http://{api}/health"
expect.body = "ok"

[[service]]
id = "mail"
name = "Mailing lists"
group = "public"
[[service.check]]
tcp = "{mail}"
expect.text = "220"

[[service]]
id = "database"
name = "Database"
group = "inside"
[[service.check]]
tcp = "{database}"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_config_and_its_notes_are_good() {
        let any: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let targets = targets::Addresses { website: any, api: any, database: any, mail: any };
        let loaded = Config::parse(std::path::Path::new("watchbell.toml"), &config(any, &targets), &|_| None).unwrap();
        assert!(loaded.warnings.is_empty());
        let known = crate::notes::Known {
            services: loaded.config.service_ids().cloned().collect(),
            timezone: jiff::tz::TimeZone::UTC,
            now: "2026-11-21T00:00:00Z".parse().unwrap(),
        };
        for (id, text) in NOTES {
            let path = PathBuf::from(format!("{id}.toml"));
            let (note, _) = crate::notes::parse(&path, text, &known).unwrap();
            assert!(note.postmortem.is_some() && note.resolved.is_some());
        }
    }
}
