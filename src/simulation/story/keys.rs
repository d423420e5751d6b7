//! The one table of every key of a story, in the manner of `config::keys`.

use crate::config::{
    keys::IMPACTS,
    reading::{Key, Scope, Type},
};

/// How targets can be.
pub const STATES: &[&str] = &["up", "slow", "down", "lossy"];
/// Why targets can be down.
pub const CLASSES: &[&str] = &[
    "dns",
    "connect_refused",
    "connect_timeout",
    "reset",
    "tls",
    "certificate",
    "timeout",
    "http_status",
    "redirect",
    "body",
    "protocol",
];
/// What can become of the monitor.
pub const MONITOR: &[&str] =
    &["cut", "resolver_away", "cannot_probe", "suspended", "stopped", "off", "restart", "crash", "disk_full"];
/// What the mail server can do.
pub const RELAY: &[&str] = &["takes", "away", "greylists", "refuses", "locks_us_out"];

/// The file.
pub static STORY: Scope = Scope::new(
    "",
    "a story",
    "An outage to rehearse: what happens to which services, and when.",
    &[
        Key::new("title", Type::Line(200), r#""The database dies at night""#, "What it is about.").or("\"\""),
        Key::new(
            "starts",
            Type::At,
            "2026-11-21T22:00:00Z",
            "When it begins. Without offset: in the site's zone. All was well before.",
        )
        .required()
        .also(&["start", "started", "begins"]),
        Key::new("lasts", Type::Duration("1s", "366d"), r#""2h""#, "How long it is followed.")
            .required()
            .also(&["duration", "length", "for"]),
        Key::new("seed", Type::Integer(0, i64::MAX), "1", "Another number lets chance fall otherwise.").or("1"),
        Key::new("subscriber", Type::Tables(&SUBSCRIBER), "", "Who is told. Default: one who follows everything.")
            .also(&["subscribers"]),
        Key::new("happens", Type::Tables(&HAPPENS), "", "What happens, one table each.").also(&["event", "events"]),
        Key::new("look", Type::Tables(&LOOK), "", "A moment at which the site is kept as it is.").also(&["looks"]),
    ],
);

static SUBSCRIBER: Scope = Scope::new(
    "[[subscriber]]",
    "a subscriber",
    "Someone who is told. The mails are only written into a folder.",
    &[
        Key::new("address", Type::Address, r#""ann@example.org""#, "A made-up address.").required().also(&["email"]),
        Key::new("services", Type::List(&Type::ServiceId), r#"["api"]"#, "What they follow. Default: everything.")
            .or("[]"),
        Key::new("groups", Type::List(&Type::GroupId), r#"["public"]"#, "Whatever is in these groups.").or("[]"),
        Key::new("min_impact", Type::Words(IMPACTS), r#""major""#, "Nothing of less.").or("\"none\""),
        Key::new("language", Type::Language, r#""de""#, "Default: the site's."),
        Key::new("timezone", Type::Zone, r#""Europe/Paris""#, "Default: the site's."),
    ],
);

static HAPPENS: Scope = Scope::new(
    "[[happens]]",
    "what happens",
    "One thing that happens: to targets (`are`), to the monitor, its clock or its mail server, or a note.",
    &[
        Key::new("after", Type::Duration("0s", "366d"), r#""10m""#, "How long after the beginning. Or `at`."),
        Key::new("at", Type::At, "2026-11-21T22:10:00Z", "When. Without offset: in the site's zone."),
        Key::new("lasts", Type::Duration("1s", "366d"), r#""25m""#, "Then all is as before. Default: to the end.")
            .also(&["for", "duration"]),
        Key::new("services", Type::OneOrMore(&Type::ServiceId), r#"["database"]"#, "All checks of these.")
            .also(&["service"]),
        Key::new("checks", Type::OneOrMore(&Type::Text), r#"["api/health"]"#, "These checks, as `SERVICE/CHECK`.")
            .also(&["check"]),
        Key::new("hosts", Type::OneOrMore(&Type::Host), r#"["db.internal"]"#, "All checks of what is on these hosts.")
            .also(&["host"]),
        Key::new("are", Type::Words(STATES), r#""down""#, "How they are from then on.").also(&["is", "state"]),
        Key::new("class", Type::Words(CLASSES), r#""connect_refused""#, "Why they are down. Default: `timeout`.")
            .also(&["because", "cause"]),
        Key::new("http_status", Type::Integer(100, 599), "503", "With which status, if they answer.")
            .also(&["status", "code"]),
        Key::new(
            "takes",
            Type::Duration("1ms", "1h"),
            r#""3s""#,
            "How long an answer takes, if they are up or slow. Default: longer than `degraded_over`.",
        ),
        Key::new("loses", Type::Number(0, 100), "5", "Of a hundred probes so many are lost, if they are lossy."),
        Key::new(
            "monitor",
            Type::Words(MONITOR),
            r#""cut""#,
            "What becomes of the monitor: its link cut, its resolver away, no probe possible, suspended, stopped, off, \
             restarted, crashed, its disk full.",
        ),
        Key::new("clock", Type::Text, r#""+2h""#, "So much the monitor's clock is set forward, or (`-`) back."),
        Key::new("relay", Type::Words(RELAY), r#""away""#, "What its mail server does from then on.").also(&["mail"]),
        Key::new(
            "note",
            Type::Text,
            r#""2026-11-21-database""#,
            "The note that an operator saves then: an incident's id.",
        ),
        Key::new("text", Type::Text, r#"'title = "Disk full"'"#, "What that note then says: all of its file.")
            .also(&["content"]),
    ],
);

static LOOK: Scope = Scope::new(
    "[[look]]",
    "a look",
    "The site at that moment is kept in `looks/NAME/`.",
    &[
        Key::new("after", Type::Duration("0s", "366d"), r#""12m""#, "How long after the beginning. Or `at`."),
        Key::new("at", Type::At, "2026-11-21T22:12:00Z", "When. Without offset: in the site's zone."),
        Key::new("name", Type::GroupId, r#""during""#, "What it is called. Default: its number."),
    ],
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Class;

    #[test]
    fn the_classes_are_those_of_the_domain() {
        let known: Vec<Class> =
            CLASSES.iter().map(|word| serde_json::from_value(serde_json::json!(word)).unwrap()).collect();
        assert!(!known.contains(&Class::Slow) && !known.contains(&Class::Local));
        assert_eq!(known.len(), 11);
    }
}
