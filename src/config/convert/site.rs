//! `[site]`, `[store]` and `[server]`.

use std::path::Path;

use url::Url;

use super::optional_path;
use crate::config::{
    Server, Site, Store,
    reading::{Fields, Reader},
    values,
};

pub(super) fn site(fields: &Fields, base: &Path, reader: &mut Reader<'_>) -> Option<Site> {
    let title: String = fields.get_or_default("title");
    if title.is_empty() && fields.has("title") {
        reader.error(fields.span("title"), "a site needs a title", "write whose status it is");
    }
    let url = fields.get("url").and_then(|url| base_url(url, "url", fields, reader));
    let (timezone, timezone_name) = fields.get("timezone").unwrap_or((jiff::tz::TimeZone::UTC, "UTC".to_owned()));
    for (name, is_file) in [("templates", false), ("static", false), ("logo", true)] {
        if let Some(path) = optional_path(fields, name, base) {
            let is_there = if is_file { path.is_file() } else { path.is_dir() };
            if !is_there {
                let what = if is_file { "file" } else { "folder" };
                reader.error(fields.span(name), format!("there is no {what} `{}`", path.display()), "");
            }
        }
    }
    if fields.given::<String>("output").is_some_and(|text| text.trim().is_empty()) {
        reader.error(fields.span("output"), "the site needs a folder to be written to", "write `public`");
    }
    let links = fields.tables("links");
    Some(Site {
        title,
        url: url?,
        description: fields.get_or_default("description"),
        timezone,
        timezone_name,
        language: fields.get_or_default("language"),
        languages: fields.list::<String>("languages").into_iter().map(|(language, _)| language).collect(),
        output: base.join(fields.get_or_default::<String>("output")),
        templates: optional_path(fields, "templates", base),
        static_files: optional_path(fields, "static", base),
        logo: optional_path(fields, "logo", base),
        accent: fields.get_or_default("accent"),
        support: fields.get("support"),
        links: links.into_iter().filter_map(|link| Some((link.get("label")?, link.get("url")?))).collect(),
        history_days: fields.get_or_default("history_days"),
        noindex: fields.get_or_default("noindex"),
    })
}

/// A URL to which paths are added: with a slash at its end, and nothing that would be lost.
fn base_url(mut url: Url, name: &str, fields: &Fields, reader: &mut Reader<'_>) -> Option<Url> {
    let span = fields.span(name);
    if !url.username().is_empty() || url.password().is_some() {
        reader.error(span, format!("`{name}` is public and cannot hold a user name or password"), "take it out");
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        reader.error(span, format!("`{name}` is a base for paths and cannot hold `?` or `#`"), "end it with a `/`");
        return None;
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

pub(super) fn store(fields: &Fields, base: &Path, reader: &mut Reader<'_>) -> Option<Store> {
    let url: String = fields.get("url")?;
    let span = fields.span("url");
    let Some(rest) = url.strip_prefix("sqlite:") else {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let (message, hint) = match scheme {
            "postgres" | "postgresql" | "mysql" | "mariadb" => (
                format!("this version keeps its store in SQLite, not in `{scheme}:`"),
                "write `sqlite:watchbell.db`".to_owned(),
            ),
            "" => ("this is not the URL of a store".to_owned(), format!("write `sqlite:{url}`")),
            _ => (format!("there is no store of the kind `{scheme}:`"), "write `sqlite:watchbell.db`".to_owned()),
        };
        reader.error(span, message, hint);
        return None;
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.ends_with('/') || path.starts_with(':') || path.contains(['?', '#']) {
        reader.error(span, "this does not name a file for the store", "write `sqlite:watchbell.db`");
        return None;
    }
    Some(Store {
        path: base.join(path),
        keep_results: fields.get_or_default("keep_results"),
        allow_volatile: fields.get_or_default("allow_volatile"),
    })
}

pub(super) fn server(fields: &Fields, site_url: Option<&Url>, reader: &mut Reader<'_>) -> Option<Server> {
    let listen: std::net::SocketAddr = fields.get("listen")?;
    let metrics: Option<std::net::SocketAddr> = fields.get("metrics");
    if metrics == Some(listen) && listen.port() != 0 {
        reader.error(fields.span("metrics"), "metrics cannot be served where the site is", "write another port");
    }
    let text: String = fields.get_or_default("url");
    let url = if text.is_empty() {
        site_url.cloned()
    } else {
        match values::url(&text, &["http", "https"]) {
            Ok(url) => base_url(url, "url", fields, reader),
            Err(wrong) => {
                reader.error(fields.span("url"), wrong.message, wrong.hint);
                None
            }
        }
    };
    let trusted_proxies = fields.list("trusted_proxies").into_iter().map(|(network, _)| network).collect();
    Some(Server { listen, url: url?, trusted_proxies, metrics })
}
