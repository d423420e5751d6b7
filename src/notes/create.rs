//! The file that an automatic incident gets, for its operator to write in. Written once.

use std::{fmt::Write as _, io, path::Path};

use crate::{
    domain::{IncidentStatus, ServiceId, incident::Incident},
    fsio, untrusted,
};

/// Creates `incidents/ID.toml` in the folder of notes, with what is known as comments and an empty
/// text to fill in. An existing file stays as it is: then this is `false`.
///
/// # Errors
/// As the file system says.
pub fn create_file(dir: &Path, incident: &Incident, name: &dyn Fn(&ServiceId) -> String) -> io::Result<bool> {
    let path = dir.join(super::folder::INCIDENTS).join(format!("{}.toml", incident.id));
    match fsio::create(&path, file_text(incident, name).as_bytes(), 0o644) {
        Ok(()) => Ok(true),
        // Not if it is the folder whose place is taken.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.symlink_metadata().is_ok() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes what processes that were killed left as they created files; how many. To be called before
/// this one creates any.
///
/// # Errors
/// As the file system says.
pub fn remove_left(dir: &Path) -> io::Result<usize> {
    fsio::remove_left(&dir.join(super::folder::INCIDENTS))
}

/// What [`create_file`] writes: a note that says nothing yet.
#[must_use]
pub fn file_text(incident: &Incident, name: &dyn Fn(&ServiceId) -> String) -> String {
    let mut text = String::new();
    // Names come from the config, but a line end in one would end the comment.
    let named = |id: &ServiceId| untrusted::line(&name(id), 100);
    let _ = writeln!(text, "# Incident {}", incident.id);
    let _ = writeln!(text, "# began   {}", incident.started_at);
    let _ = writeln!(text, "# noticed {}", incident.noticed_at);
    for part in &incident.affected {
        let cause = part.cause.map_or(String::new(), |cause| format!(", {}", cause.class));
        let _ = writeln!(
            text,
            "# {} ({}): {} since {}{cause}",
            part.service,
            named(&part.service),
            part.worst,
            part.started_at
        );
    }
    let words = super::keys::PROGRESS;
    let words: Vec<&str> = words.iter().copied().filter(|word| *word != IncidentStatus::Postmortem.as_str()).collect();
    let _ = write!(
        text,
        "#
# Write what people should know between the quotes, in markdown, and save: pages follow at once,
# messages when the text has rested. For more, add further `[[update]]` tables. Optional in each:
#   status = {}
#   at = {}
#   next_update = \"30m\"
# Optional at the top of the file: title, impact, services, started, resolved, auto_resolve.

[[update]]
text = \"\"
",
        words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" | "),
        incident.noticed_at.strftime("%Y-%m-%dT%H:%M:00Z"),
    );
    text
}
