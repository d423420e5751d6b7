//! From tables that are each well-formed to a [`Config`] that is right as a whole: what values mean
//! together. Reports everything that is wrong, not the first thing only.

mod canary;
mod check;
mod folders;
mod graph;
mod mail;
mod service;
mod site;

use std::path::{Path, PathBuf};

use super::{Config, Heartbeat, OperatorTarget, Subscriptions, keys, reading::Fields, reading::Reader, values};
use crate::domain::service::{IncidentRules, Rules};

/// Makes a config of a file that was read. `None` if anything is missing for it, which was then
/// reported; something may have been reported all the same if there is one.
pub fn config(path: &Path, root: &Fields, reader: &mut Reader<'_>) -> Option<Config> {
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    // Tables that do not stand in the file are all defaults.
    let absent = |scope| Fields::new(scope, 0..0);
    let table = |name: &str, scope| root.table(name).cloned().unwrap_or_else(|| absent(scope));

    let site_fields = table("site", &keys::SITE);
    let site = site::site(&site_fields, &base, reader);
    let store = site::store(&table("store", &keys::STORE), &base, reader);
    let server = site::server(&table("server", &keys::SERVER), site.as_ref().map(|site| &site.url), reader);
    let email = root.table("email").map(|fields| mail::email(fields, &base, reader));
    let notes = table("notes", &keys::NOTES);
    let notes_dir = base.join(notes.get_or_default::<String>("dir"));
    let subscriptions = table("subscriptions", &keys::SUBSCRIPTIONS);
    let subscriptions = Subscriptions {
        enabled: subscriptions.get_or_default("enabled"),
        confirm_within: subscriptions.get_or_default("confirm_within"),
        webhooks: subscriptions.get_or_default("webhooks"),
    };

    let incidents = table("incidents", &keys::INCIDENTS);
    let incidents = IncidentRules {
        merge_window: incidents.get_or_default("merge_window"),
        gather: incidents.get_or_default("gather"),
        reopen_window: incidents.get_or_default("reopen_window"),
        auto_resolve: incidents.get_or_default("auto_resolve"),
        settle: notes.get_or_default("settle"),
    };
    let canaries = canary::canaries(&table("incidents", &keys::INCIDENTS), reader);
    let defaults = table("defaults", &keys::DEFAULTS);
    let zone = site.as_ref().map_or_else(|| "UTC".to_owned(), |site| site.timezone_name.clone());
    let surroundings = service::Surroundings { base: &base, zone: &zone, defaults: &defaults };
    let groups = service::groups(root, reader);
    let services = service::services(root, &groups, &surroundings, reader);

    let channels = channels(root, reader);
    let operators = operators(&table("operator", &keys::OPERATOR), &channels, email.is_some(), reader);
    let heartbeat = root.table("heartbeat").map(|fields| heartbeat(fields, reader));

    let (site, store, server) = (site?, store?, server?);
    folders::check(
        &folders::Places { config: path, site: &site, store: &store.path, notes: &notes_dir },
        &site_fields,
        reader,
    );
    let email = match email {
        Some(email) => Some(email?),
        None => None,
    };
    let heartbeat = match heartbeat {
        Some(heartbeat) => Some(heartbeat?),
        None => None,
    };
    let rules = Rules { services, groups, incidents, canaries };
    let path = path.to_owned();
    Some(Config { path, site, store, server, operators, notes_dir, rules, email, subscriptions, heartbeat })
}

/// The names of `[[channel]]`s; whom they are for is checked, too.
fn channels(root: &Fields, reader: &mut Reader<'_>) -> Vec<String> {
    let known = service::names(root);
    let mut names: Vec<String> = Vec::new();
    for fields in root.tables("channel") {
        if let Some(name) = fields.get::<String>("name") {
            if names.contains(&name) {
                reader.error(
                    fields.span("name"),
                    format!("there is another channel `{name}`"),
                    "give it a name of its own",
                );
            }
            names.push(name);
        }
        service::unknown_services(fields, "services", &known, reader);
    }
    names
}

fn operators(fields: &Fields, channels: &[String], has_mail: bool, reader: &mut Reader<'_>) -> Vec<OperatorTarget> {
    let mut targets = Vec::new();
    for (text, span) in fields.list::<String>("notify") {
        if let Some(name) = text.strip_prefix("channel:") {
            if channels.iter().any(|known| known == name) {
                reader.warning(span, "this version tells nobody through channels: only mail is sent", "");
                targets.push(OperatorTarget::Channel(name.to_owned()));
            } else {
                let near = super::reading::hint::nearest(name, channels.iter().map(String::as_str));
                let hint = near.map_or_else(
                    || format!("add a `[[channel]]` with `name = \"{name}\"`"),
                    |near| format!("did you mean `channel:{near}`?"),
                );
                reader.missing(span, format!("there is no channel `{name}`"), hint);
            }
            continue;
        }
        match values::address(&text) {
            Ok(address) => {
                if !has_mail {
                    reader.warning(span, "nobody can be told by mail without `[email]`", "add `[email]`");
                }
                targets.push(OperatorTarget::Mail(address));
            }
            Err(wrong) => reader.error(span, wrong.message, "write `ops@example.org` or `channel:NAME`"),
        }
    }
    targets
}

fn heartbeat(fields: &Fields, reader: &mut Reader<'_>) -> Option<Heartbeat> {
    let url: crate::secret::Secret = fields.get("url")?;
    if let Err(wrong) = values::url(url.reveal(), &["http", "https"]) {
        reader.error(fields.span("url"), wrong.message, wrong.hint);
    }
    Some(Heartbeat { url, every: fields.get_or_default("every") })
}

/// A path that may be left out: empty text is none.
fn optional_path(fields: &Fields, name: &str, base: &Path) -> Option<PathBuf> {
    fields.get::<String>(name).filter(|text| !text.is_empty()).map(|text| base.join(text))
}
