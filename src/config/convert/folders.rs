//! Folders that must not lie within each other: publishing removes what it no longer needs, so
//! nothing of value may lie where it writes.

use std::path::{Component, Path, PathBuf};

use crate::config::{
    Site,
    reading::{Fields, Reader},
};

/// Where things lie.
pub(super) struct Places<'a> {
    pub config: &'a Path,
    pub site: &'a Site,
    pub store: &'a Path,
    pub notes: &'a Path,
}

pub(super) fn check(places: &Places<'_>, site: &Fields, reader: &mut Reader<'_>) {
    let output = plain(&places.site.output);
    if site.given::<String>("output").is_some_and(|text| text.trim().is_empty()) {
        return; // already said
    }
    let span = if site.has("output") { site.span("output") } else { site.header() };
    if output.parent().is_none() {
        reader.error(span, "the site cannot be written to the root of the file system", "write a folder of its own");
        return;
    }
    let others = [
        ("this file", Some(places.config)),
        ("the store", Some(places.store)),
        ("the notes", Some(places.notes)),
        ("the templates", places.site.templates.as_deref()),
        ("the static files", places.site.static_files.as_deref()),
        ("the logo", places.site.logo.as_deref()),
    ];
    for (what, path) in others {
        if path.is_some_and(|path| plain(path).starts_with(&output)) {
            reader.error(
                span.clone(),
                format!("the site would be written to a folder that holds {what}"),
                "write a folder of its own, such as `public`",
            );
            return;
        }
    }
    for (what, path) in [("this file", places.config), ("the store", places.store), ("the notes", places.notes)] {
        if places.site.static_files.as_deref().is_some_and(|files| plain(path).starts_with(plain(files))) {
            reader.error(
                site.span("static"),
                format!("the static files would publish {what}"),
                "write a folder that holds nothing else",
            );
            return;
        }
    }
    if places.site.static_files.as_deref().is_some_and(|path| output.starts_with(plain(path))) {
        reader.error(
            span,
            "the site would be written into the static files and copied into itself",
            "write another folder",
        );
    }
}

/// A path that begins at the root and has no `.` and `..`, without asking the file system.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}
