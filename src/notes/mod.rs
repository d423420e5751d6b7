//! Notes: TOML files in which operators write about incidents, and what time counts as.
//!
//! [`parse`] reads one file with the same diagnostics as the config, [`parse_corrections`] that of
//! corrections; [`Folder`] watches a folder of them; [`create_file`] puts an automatic incident's file
//! there. What a note means for incidents is for the judge.

mod convert;
mod create;
mod folder;
pub mod keys;

use std::path::Path;

pub use create::{create_file, file_text, remove_left};
pub use folder::{Folder, Mark, Remembered, Scan};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    config::reading::{Reader, Sources, schema},
    domain::{IncidentId, ServiceId, correction::Correction, diagnostic::Diagnostic, note::Note},
};

/// The longest note that is read, in bytes.
pub const MAX_BYTES: usize = 512 << 10;

/// What a note is read against.
#[derive(Clone, Debug)]
pub struct Known {
    /// The services there are.
    pub services: Vec<ServiceId>,
    /// The zone of times without an offset: the site's.
    pub timezone: TimeZone,
    /// Now: nothing in a note has happened later.
    pub now: Timestamp,
}

/// Reads one note. Its name must be an incident's id and `.toml`. With it come warnings.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn parse(path: &Path, text: &str, known: &Known) -> Result<(Note, Vec<Diagnostic>), Vec<Diagnostic>> {
    parse_as(id_of(path), path, text, known)
}

/// The same for a file that has been renamed, and still is the note of another incident.
fn parse_as(
    id: Option<IncidentId>,
    path: &Path,
    text: &str,
    known: &Known,
) -> Result<(Note, Vec<Diagnostic>), Vec<Diagnostic>> {
    let is_short = text.len() <= MAX_BYTES;
    let mut reader =
        Reader::new(&keys::INCIDENT, if is_short { text } else { "" }, Sources::none(), known.timezone.clone());
    let note = match id {
        Some(id) if is_short => {
            let root = reader.read();
            Some(convert::note(id, &root, known, &mut reader))
        }
        Some(_) => {
            reader.error(0..0, format!("the note is longer than {} KiB", MAX_BYTES >> 10), "write less, or link to it");
            None
        }
        None => {
            let hint = "name it with `a-z`, `0-9` and `-`, at most 100 of them, and `.toml`";
            reader.error(0..0, "this is not the name of a note", hint);
            None
        }
    };
    let (errors, warnings) = reader.finish(path);
    match note {
        Some(note) if errors.is_empty() => Ok((note, warnings)),
        _ => Err(errors),
    }
}

/// Reads the file of corrections. With them come warnings.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn parse_corrections(
    path: &Path,
    text: &str,
    known: &Known,
) -> Result<(Vec<Correction>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut reader = Reader::new(&keys::CORRECTIONS, text, Sources::none(), known.timezone.clone());
    let root = reader.read();
    let corrections = convert::corrections(&root, known, &mut reader);
    let (errors, warnings) = reader.finish(path);
    if errors.is_empty() { Ok((corrections, warnings)) } else { Err(errors) }
}

/// The incident that a file of that name is about.
#[must_use]
pub fn id_of(path: &Path) -> Option<IncidentId> {
    IncidentId::new(path.file_name()?.to_str()?.strip_suffix(".toml")?).ok()
}

/// The JSON Schema of an incident's note.
#[must_use]
pub fn incident_schema() -> serde_json::Value {
    schema::of(&keys::INCIDENT, "watchbell: notes/incidents/ID.toml")
}

/// The JSON Schema of the file of corrections.
#[must_use]
pub fn corrections_schema() -> serde_json::Value {
    schema::of(&keys::CORRECTIONS, "watchbell: notes/corrections.toml")
}

#[cfg(test)]
mod tests;
