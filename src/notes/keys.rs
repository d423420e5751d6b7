//! The one table of every key of an incident's note and of corrections, in the manner of `config::keys`.

use crate::config::{
    keys::IMPACTS,
    reading::{Key, Scope, Type},
};

/// The most characters of a title.
const TITLE: usize = 200;
/// The most characters of an update or of one item of a list.
const TEXT: usize = 20_000;
/// The most characters of a section of a postmortem.
const SECTION: usize = 100_000;

/// What services can be said to be.
pub const STATUSES: &[&str] =
    &["operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"];
/// How far people can be.
pub const PROGRESS: &[&str] = &["investigating", "identified", "monitoring", "resolved", "postmortem"];

/// The file.
pub static INCIDENT: Scope = Scope::new(
    "",
    "a note",
    "What an operator says about one incident.",
    &[
        Key::new(
            "title",
            Type::Local(TITLE),
            r#""API answers slowly""#,
            "Replaces the title that the incident gives itself.",
        )
        .also(&["name", "summary"]),
        Key::new("impact", Type::Words(IMPACTS), r#""major""#, "How much it matters, whatever the checks say.")
            .also(&["severity"]),
        Key::new(
            "services",
            Type::List(&Type::ServiceId),
            r#"["api"]"#,
            "Affected services, besides those that checks find.",
        )
        .or("[]")
        .also(&["affects", "components"]),
        Key::new("started", Type::At, "2026-11-21T10:15:00Z", "When it began, if that was before any check saw it.")
            .also(&["starts", "start", "started_at", "begin"]),
        Key::new("resolved", Type::At, "2026-11-21T22:00:00Z", "When it ended. Acts once, when it is first seen.")
            .also(&["ends", "end", "resolved_at", "ended"]),
        Key::new(
            "auto_resolve",
            Type::Bool,
            "true",
            "Whether it ends by itself once all is well again. Default: as configured.",
        ),
        Key::new("override", Type::Bool, "false", "Whether it wins over the checks of its services.").or("false"),
        Key::new("withdrawn", Type::Bool, "false", "Takes it off the site.").or("false"),
        Key::new("notify", Type::Bool, "true", "`false` tells nobody; `true` tells even of what is long past."),
        Key::new("update", Type::Tables(&UPDATE), "", "What people should know, one table each time.")
            .also(&["updates"]),
        Key::new("postmortem", Type::Table(&POSTMORTEM), "", "What was learned, once it is over."),
    ],
);

/// As what time can be corrected.
pub const COUNT_AS: &[&str] = &["maintenance", "outage", "up", "unknown"];

/// The file of corrections.
pub static CORRECTIONS: Scope = Scope::new(
    "",
    "the corrections",
    "What stretches of time count as, whatever was measured.",
    &[Key::new("correct", Type::Tables(&CORRECT), "", "One stretch of one service, a table each.")
        .also(&["correction", "corrections"])],
);

static CORRECT: Scope = Scope::new(
    "[[correct]]",
    "a correction",
    "What a stretch of time counts as.",
    &[
        Key::new("service", Type::ServiceId, r#""api""#, "Whose time.").required().also(&["id", "component"]),
        Key::new("from", Type::At, "2026-11-21T10:15:00Z", "From when.").required().also(&["starts", "start", "began"]),
        Key::new("to", Type::At, "2026-11-21T10:30:00Z", "Until when.").required().also(&["ends", "end", "until"]),
        Key::new("count_as", Type::Words(COUNT_AS), r#""maintenance""#, "As what it counts.").required().also(&[
            "as",
            "counts_as",
            "status",
        ]),
        Key::new("why", Type::Local(TEXT), r#""The check itself was broken.""#, "For everyone to read, in markdown.")
            .required()
            .also(&["reason", "text", "because"]),
    ],
);

static UPDATE: Scope = Scope::new(
    "[[update]]",
    "an update",
    "Something to tell people.",
    &[
        Key::new("at", Type::At, "2026-11-21T10:20:00Z", "When it applies. Default: when it is first seen.")
            .also(&["time", "date", "when"]),
        Key::new("status", Type::Words(PROGRESS), r#""identified""#, "How far people are. Default: as before.")
            .also(&["state"]),
        Key::new("text", Type::Local(TEXT), r#""The cause is found.""#, "In markdown.").also(&["message", "body"]),
        Key::new(
            "affected",
            Type::Map(&Type::Words(STATUSES)),
            r#"{ api = "operational" }"#,
            "How services are from here on.",
        )
        .also(&["services"]),
        Key::new("next_update", Type::Duration("1m", "30d"), r#""30m""#, "How soon the next word is promised."),
        Key::new("notify", Type::Bool, "true", "Whether anyone is told.").or("true"),
    ],
);

static POSTMORTEM: Scope = Scope::new(
    "[postmortem]",
    "`[postmortem]`",
    "What was learned. All texts are markdown.",
    &[
        Key::new("published", Type::At, "2026-11-25T09:00:00Z", "From when on it is public. Without it: a draft."),
        Key::new("summary", Type::Local(SECTION), r#""In short.""#, "All of it in a few sentences."),
        Key::new("impact", Type::Local(SECTION), r#""Nobody could log in.""#, "What people noticed."),
        Key::new("leadup", Type::Local(SECTION), r#""A disk was replaced.""#, "What went before."),
        Key::new("trigger", Type::Local(SECTION), r#""A restart.""#, "What set it off."),
        Key::new("root_cause", Type::Local(SECTION), r#""A missing volume.""#, "What was behind it."),
        Key::new("detection", Type::Local(SECTION), r#""A check failed.""#, "How it was noticed."),
        Key::new("response", Type::Local(SECTION), r#""Two people were called.""#, "What was done at first."),
        Key::new("resolution", Type::Local(SECTION), r#""A new volume.""#, "What ended it."),
        Key::new("recovery", Type::Local(SECTION), r#""Queues drained in an hour.""#, "How things came back."),
        Key::new("supporting", Type::Local(SECTION), r#""Graphs and logs.""#, "Whatever else belongs to it."),
        Key::new("five_whys", LIST, r#"["The volume was missing."]"#, "Each answers why of the one before."),
        Key::new("went_well", LIST, r#"["The alarm came at once."]"#, "What helped."),
        Key::new("went_wrong", LIST, r#"["The runbook was old."]"#, "What did not."),
        Key::new("got_lucky", LIST, r#"["It was a Sunday."]"#, "What could have been worse."),
        Key::new("learned", LIST, r#"["Volumes need a check."]"#, "What is known now."),
        Key::new("timeline", Type::Tables(&TIMELINE), "[]", "What happened when."),
        Key::new("actions", Type::Tables(&ACTION), "[]", "What follows."),
    ],
);

const LIST: Type = Type::List(&Type::Block(TEXT));

static TIMELINE: Scope = Scope::new(
    "postmortem.timeline",
    "a line of the timeline",
    "One thing that happened.",
    &[
        Key::new("at", Type::At, "2026-11-21T10:15:00Z", "When.").required(),
        Key::new("text", Type::Block(TEXT), r#""The first request fails.""#, "What.").required(),
        Key::new("mark", Type::Line(TITLE), r#""outage begins""#, "A turning point."),
    ],
);

static ACTION: Scope = Scope::new(
    "postmortem.actions",
    "an action",
    "One thing to be done.",
    &[
        Key::new("text", Type::Block(TEXT), r#""Check the volumes.""#, "What.").required(),
        Key::new("kind", Type::Line(TITLE), r#""prevent""#, "Such as `prevent`, `mitigate`, `detect`, `process`."),
        Key::new("owner", Type::Line(TITLE), r#""storage""#, "A role; shown as written."),
        Key::new("status", Type::Line(TITLE), r#""in progress""#, "Such as `to do`, `in progress`, `done`."),
        Key::new("url", Type::Url(&["mailto", "http", "https"]), r#""https://example.org/1""#, "Where it is followed."),
    ],
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Impact, IncidentStatus, ServiceStatus, correction::CountAs, note::POSTMORTEM_SECTIONS};

    #[test]
    fn the_words_are_those_of_the_domain() {
        let words = |statuses: &[ServiceStatus]| statuses.iter().map(|s| s.as_str()).collect::<Vec<_>>();
        let mut known = words(ServiceStatus::ALL);
        known.retain(|word| *word != "unknown");
        let mut ours = STATUSES.to_vec();
        known.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, known);
        assert_eq!(PROGRESS, IncidentStatus::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>());
        assert_eq!(COUNT_AS, CountAs::ALL.iter().map(|c| c.as_str()).collect::<Vec<_>>());
        assert_eq!(IMPACTS, Impact::ALL.iter().map(|i| i.as_str()).collect::<Vec<_>>());
    }

    #[test]
    fn every_section_of_a_postmortem_has_a_key() {
        for section in POSTMORTEM_SECTIONS {
            assert!(POSTMORTEM.key(section).is_some(), "{section}");
        }
    }
}
