//! `watchbell init [URL...]`: a commented config and the notes folder, ready to run.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use clap::Args;
use url::Url;

use super::{Failure, Global, Outcome, output};
use crate::{domain::ServiceId, fsio};

/// Arguments.
#[derive(Debug, Args)]
pub struct Init {
    /// What to watch: `https://www.example.org/`, or `db.example.org:5432` for a TCP port
    targets: Vec<String>,
}

pub fn init(global: &Global, args: &Init) -> Outcome {
    let text = config(&args.targets)?;
    let path = &global.config;
    fsio::create(path, text.as_bytes(), 0o644).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::Usage(format!(
            "{} exists already and is left as it is; name another with `--config PATH`",
            path.display()
        )),
        _ => Failure::Failed(anyhow::Error::new(error).context(format!("{} cannot be written", path.display()))),
    })?;
    let folder = path.parent().unwrap_or(Path::new("")).join("notes/incidents");
    fsio::create_folder(&folder)?;
    let option =
        if path == Path::new("watchbell.toml") { String::new() } else { format!("--config {} ", path.display()) };
    output::say(&format!(
        "{} and {} are written.\nLook at what it does with `watchbell {option}probe`, then start it with `watchbell {option}run`.",
        path.display(),
        folder.display()
    ));
    Ok(())
}

/// The config for some targets.
fn config(targets: &[String]) -> Result<String, Failure> {
    let mut text = String::from(
        r#"# watchbell.toml: what is watched, and where the status page goes.
# Every key with its default and meaning: config.example.toml, or `watchbell schema config`.

[site]
title = "Example Status"
url = "http://127.0.0.1:8080/"       # where people find the page: every link in feeds and mails begins with it
timezone = "UTC"                     # days and times are this zone's, such as "Europe/Berlin"
output = "public"

[server]
listen = "127.0.0.1:8080"            # put nginx or Caddy in front, or open this in your browser

# Without this, nobody is told by mail. `dir:mails` writes mails into a folder, to look at.
[email]
from = "Example Status <status@example.org>"
smtp = "dir:mails"                   # or smtps://mail.example.org with `username` and `password`
"#,
    );
    let mut ids = BTreeSet::new();
    for target in targets {
        let (name, check) = described(target)?;
        let mut id = slug(&name);
        let mut n = 1;
        while !ids.insert(id.clone()) {
            n += 1;
            id = format!("{}-{n}", slug(&name));
        }
        let _ = write!(
            text,
            "\n[[service]]\n{:36} # permanent: it is part of addresses\nname = {name:?}\n\n[[service.check]]\n{check}\nevery = \"60s\"\n",
            format!("id = {id:?}")
        );
    }
    if targets.is_empty() {
        text.push_str(
            "\n[[service]]\nid = \"website\"                       # permanent: it is part of addresses\nname = \"Website\"\n\n[[service.check]]\nhttp = \"https://www.example.org/\"    # write your own here\nevery = \"60s\"\n",
        );
    }
    Ok(text)
}

/// A name for people and the check's line for one target.
fn described(target: &str) -> Result<(String, String), Failure> {
    let unusable = || {
        Failure::Usage(format!(
            "`{target}` is nothing to watch: write an address such as `https://www.example.org/`, or `db.example.org:5432` for a TCP port"
        ))
    };
    if let Ok(url) = Url::parse(target)
        && matches!(url.scheme(), "http" | "https")
    {
        let host = url.host_str().ok_or_else(unusable)?;
        let path = url.path().trim_matches('/').replace('/', " ");
        // Several services of one host differ by their ports.
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host} port {port}"));
        let name = if path.is_empty() { host } else { format!("{host} {path}") };
        return Ok((name, format!("http = {:?}", url.as_str())));
    }
    let (host, port) = target.rsplit_once(':').ok_or_else(unusable)?;
    if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
        return Err(unusable());
    }
    Ok((format!("{host} port {port}"), format!("tcp = {target:?}")))
}

/// A service id made of a name.
fn slug(name: &str) -> String {
    let spaced: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    let mut slug = spaced.split_whitespace().collect::<Vec<_>>().join("-");
    slug.truncate(56);
    let slug = slug.trim_matches('-');
    if ServiceId::new(slug).is_ok() { slug.to_owned() } else { "service".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_writes_is_a_good_config() {
        let targets = [
            "https://www.example.org/",
            "https://www.example.org/shop/",
            "db.example.org:5432",
            "https://www.example.org",
        ]
        .map(str::to_owned);
        for targets in [&targets[..], &[]] {
            let text = config(targets).ok().unwrap();
            let loaded = crate::config::Config::parse(Path::new("watchbell.toml"), &text, &|_| None).unwrap();
            assert_eq!(loaded.config.rules.services.len(), targets.len().max(1));
            assert!(loaded.warnings.is_empty());
        }
    }

    #[test]
    fn services_of_one_host_have_names_of_their_own() {
        let text = config(&["http://127.0.0.1:81/", "http://127.0.0.1:82/"].map(str::to_owned)).ok().unwrap();
        for one in ["id = \"127-0-0-1-port-81\"", "name = \"127.0.0.1 port 81\"", "name = \"127.0.0.1 port 82\""] {
            assert!(text.contains(one), "{one} in {text}");
        }
        let text = config(&["a.example:1"; 3].map(str::to_owned)).ok().unwrap();
        assert!(text.contains("\"a-example-port-1-2\"") && text.contains("\"a-example-port-1-3\""), "{text}");
    }

    #[test]
    fn what_cannot_be_watched_is_refused() {
        for bad in ["", "www.example.org", "ftp://example.org/", ":80", "host:http", "host:99999"] {
            assert!(described(bad).is_err(), "{bad}");
        }
    }
}
