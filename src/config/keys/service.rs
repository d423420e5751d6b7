//! The keys of `[[group]]` and `[[service]]`.

use super::{CHECK, NAME, TEXT};
use crate::config::reading::{Key, Scope, Type};

/// `[[group]]`.
pub static GROUP: Scope = Scope::new(
    "[[group]]",
    "a group",
    "A heading under which services stand.",
    &[
        Key::new("id", Type::GroupId, r#""public""#, "Its permanent name.").required(),
        Key::new("name", Type::Line(NAME), r#""Public services""#, "What people read. Default: the id."),
    ],
);

/// `[[service]]`.
pub static SERVICE: Scope = Scope::new(
    "[[service]]",
    "a service",
    "What the public knows as one thing. Services and groups stand on the site in the order of this file.",
    &[
        Key::new(
            "id",
            Type::ServiceId,
            r#""api""#,
            "Its permanent name, part of addresses and incident ids: `a-z`, `0-9` and `-`.",
        )
        .required(),
        Key::new("name", Type::Line(NAME), r#""API""#, "What people read. Default: the id.").also(&["title"]),
        Key::new("group", Type::GroupId, r#""public""#, "The id of the group that it stands in."),
        Key::new("description", Type::Line(TEXT), r#""Used by every app""#, "A sentence for people.").or(r#""""#),
        Key::new(
            "depends_on",
            Type::List(&Type::ServiceId),
            r#"["database"]"#,
            "Services that it cannot work without; their failure explains its own. Never in a circle.",
        )
        .or("[]")
        .also(&["dependencies", "parents", "requires"]),
        Key::new(
            "objective",
            Type::Number(0, 100),
            "99.9",
            "The uptime aimed at over 30 days, in percent, with up to three decimals.",
        )
        .also(&["slo", "sla"]),
        Key::new(
            "acceptable_downtime",
            Type::Duration("1s", "3660d"),
            r#""30m""#,
            "How long one outage may last; the incident page says when it was exceeded.",
        ),
        Key::new(
            "owners",
            Type::List(&Type::Address),
            r#"["api-team@example.org"]"#,
            "Who is told together with the operator. Never shown on the site.",
        )
        .or("[]"),
        Key::new(
            "max_impact",
            Type::Words(IMPACTS),
            r#""critical""#,
            "The most that its failure can mean for the whole.",
        )
        .or(r#""critical""#),
        Key::new(
            "notify_after",
            Type::Duration("0s", "1d"),
            r#""0s""#,
            "Subscribers hear only of what lasts this long. The site shows it at once.",
        )
        .or(r#""0s""#),
        Key::new("check", Type::Tables(&CHECK), "", "How it is watched; without any, notes alone say how it is.")
            .also(&["checks", "probe"]),
    ],
);

/// The words for an impact, least first.
pub const IMPACTS: &[&str] = &["none", "minor", "major", "critical"];
