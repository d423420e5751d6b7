//! `[[group]]` and `[[service]]`: names, and what services have to do with each other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use super::{check, graph};
use crate::{
    config::{
        reading::{Fields, Reader, hint},
        values,
    },
    domain::{
        GroupId, Impact, ServiceId,
        service::{Group, Service},
    },
};

/// What a service's tables do not say themselves.
pub(super) struct Surroundings<'a> {
    pub base: &'a Path,
    /// The site's time zone.
    pub zone: &'a str,
    pub defaults: &'a Fields,
}

pub(super) fn groups(root: &Fields, reader: &mut Reader<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for fields in root.tables("group") {
        let Some(id) = fields.get::<String>("id").and_then(|id| GroupId::new(&id).ok()) else { continue };
        if groups.iter().any(|group| group.id == id) {
            reader.error(fields.span("id"), format!("there is another group `{id}`"), "give it an id of its own");
        }
        let name = fields.get::<String>("name").filter(|name| !name.is_empty());
        groups.push(Group { name: name.unwrap_or_else(|| id.to_string()), id });
    }
    groups
}

pub(super) fn services(
    root: &Fields,
    groups: &[Group],
    around: &Surroundings<'_>,
    reader: &mut Reader<'_>,
) -> Vec<Arc<Service>> {
    check::defaults(around.defaults, reader);
    let tables = root.tables("service");
    if tables.is_empty() && !root.has("service") {
        reader.warning(0..0, "this file names no `[[service]]`: there is nothing to watch", "");
    }
    let mut services = Vec::with_capacity(tables.len());
    let mut places: HashMap<ServiceId, usize> = HashMap::new();
    for fields in &tables {
        let Some(service) = service(fields, groups, around, reader) else { continue };
        if places.insert(service.id.clone(), services.len()).is_some() {
            reader.error(
                fields.span("id"),
                format!("there is another service `{}`", service.id),
                "give it an id of its own",
            );
        }
        services.push((service, *fields));
    }

    let known = names(root);
    let mut edges = Vec::with_capacity(services.len());
    for (service, fields) in &services {
        unknown_services(fields, "depends_on", &known, reader);
        edges.push(service.depends_on.iter().filter_map(|id| places.get(id).copied()).collect::<Vec<_>>());
    }
    for circle in graph::circles(&edges) {
        let names: Vec<&str> =
            circle.iter().filter_map(|&at| services.get(at)).map(|(service, _)| service.id.as_str()).collect();
        let Some((_, fields)) = circle.first().and_then(|&at| services.get(at)) else { continue };
        reader.error(
            fields.span("depends_on"),
            format!("`depends_on` runs in a circle: {}", names.join(" -> ")),
            "take one of them out",
        );
    }
    services.into_iter().map(|(service, _)| Arc::new(service)).collect()
}

/// The ids of all `[[service]]`s, whatever else is wrong with them.
pub(super) fn names(root: &Fields) -> BTreeSet<String> {
    root.tables("service").iter().filter_map(|service| service.get("id")).collect()
}

/// Reports every id in the list `key` that is not `known`.
pub(super) fn unknown_services(fields: &Fields, key: &str, known: &BTreeSet<String>, reader: &mut Reader<'_>) {
    for (id, span) in fields.list::<String>(key) {
        if !known.contains(&id) {
            let near = hint::nearest(&id, known.iter().map(String::as_str));
            let hint = near.map_or_else(
                || format!("add a `[[service]]` with `id = \"{id}\"`, or take it out"),
                |near| format!("did you mean `{near}`?"),
            );
            reader.missing(span, format!("there is no service `{id}`"), hint);
        }
    }
}

fn service(fields: &Fields, groups: &[Group], around: &Surroundings<'_>, reader: &mut Reader<'_>) -> Option<Service> {
    let group = fields.get::<String>("group");
    if let Some(group) = &group
        && !groups.iter().any(|known| known.id.as_str() == group)
    {
        let near = hint::nearest(group, groups.iter().map(|group| group.id.as_str()));
        let hint = near.map_or_else(
            || format!("add a `[[group]]` with `id = \"{group}\"`"),
            |near| format!("did you mean `{near}`?"),
        );
        reader.missing(fields.span("group"), format!("there is no group `{group}`"), hint);
    }
    let mut checks = Vec::new();
    let mut taken: BTreeMap<String, u32> = BTreeMap::new();
    for table in fields.tables("check") {
        checks.extend(check::check(table, around, &mut taken, reader));
    }
    checks.shrink_to_fit(); // most services have one, and a vector that grew to one has room for four
    let objective = fields.get::<f64>("objective").and_then(|percent| objective(percent, fields, reader));
    let ids = |key: &str| {
        fields.list::<String>(key).into_iter().filter_map(|(id, _)| ServiceId::new(&id).ok()).collect::<Vec<_>>()
    };
    let depends_on = ids("depends_on");
    let id = fields.get::<String>("id").and_then(|id| ServiceId::new(&id).ok())?;
    let name = fields.get::<String>("name").filter(|name| !name.is_empty());
    Some(Service {
        name: name.unwrap_or_else(|| id.to_string()),
        id,
        group: group.and_then(|group| GroupId::new(&group).ok()),
        description: fields.get_or_default("description"),
        depends_on,
        objective,
        acceptable_downtime: fields.get("acceptable_downtime"),
        owners: fields.list("owners").into_iter().map(|(owner, _)| owner).collect(),
        max_impact: fields.get::<String>("max_impact").and_then(|word| word.parse().ok()).unwrap_or(Impact::Critical),
        notify_after: fields.get_or_default("notify_after"),
        checks,
    })
}

/// Percent in hundred-thousandths; more decimals than that would be dropped unseen.
fn objective(percent: f64, fields: &Fields, reader: &mut Reader<'_>) -> Option<u32> {
    let thousandths = format!("{:.0}", percent * 1000.0).parse::<u32>().ok()?;
    if (percent * 1000.0 - f64::from(thousandths)).abs() > 1e-6 {
        reader.error(
            fields.span("objective"),
            "`objective` has more than three decimals",
            "write at most three, such as `99.995`",
        );
    }
    Some(thousandths)
}

/// A duration in words that the config itself would take.
pub(super) fn shown(duration: std::time::Duration) -> String {
    values::shown(duration)
}
