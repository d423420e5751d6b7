//! The record of how each service was.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::row::{At, Word};
use crate::domain::{
    ServiceId,
    span::{Span, SpanEdit},
};

/// Applies an edit. A first new span that goes on where the last old one ends, with the same
/// status, prolongs it: one outage is one span.
pub(super) fn apply(tx: &Connection, edit: &SpanEdit) -> rusqlite::Result<()> {
    let service = edit.service.as_str();
    tx.prepare_cached("DELETE FROM span WHERE service = ?1 AND from_at >= ?2")?.execute((service, At(edit.from)))?;
    tx.prepare_cached(
        "UPDATE span SET to_at = ?2 WHERE service = ?1 AND from_at < ?2 AND (to_at IS NULL OR to_at > ?2)",
    )?
    .execute((service, At(edit.from)))?;
    let mut last = tx
        .prepare_cached("SELECT status, from_at, to_at FROM span WHERE service = ?1 ORDER BY from_at DESC LIMIT 1")?
        .query_row([service], span)
        .optional()?;
    let mut prolong = tx.prepare_cached("UPDATE span SET to_at = ?3 WHERE service = ?1 AND from_at = ?2")?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO span (service, from_at, to_at, status) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (service, from_at) DO UPDATE SET to_at = excluded.to_at, status = excluded.status",
    )?;
    for new in edit.spans.iter().filter(|span| span.to.is_none_or(|to| to > span.from)) {
        match &mut last {
            Some(old) if old.status == new.status && old.to == Some(new.from) => {
                prolong.execute((service, At(old.from), new.to.map(At)))?;
                old.to = new.to;
            }
            _ => {
                insert.execute((service, At(new.from), new.to.map(At), new.status.as_str()))?;
                last = Some(new.clone());
            }
        }
    }
    Ok(())
}

/// A service's spans that reach into `[from, to)`, oldest first.
pub(super) fn within(
    db: &Connection,
    service: &ServiceId,
    from: Timestamp,
    to: Timestamp,
) -> rusqlite::Result<Vec<Span>> {
    // Spans do not overlap: nothing before the last one that began by `from` can reach beyond it.
    let mut rows = db.prepare_cached(
        "SELECT status, from_at, to_at FROM span
         WHERE service = ?1 AND from_at < ?3 AND (to_at IS NULL OR to_at > ?2)
           AND from_at >= coalesce((SELECT max(from_at) FROM span WHERE service = ?1 AND from_at <= ?2), ?2)
         ORDER BY from_at",
    )?;
    rows.query_map((service.as_str(), At(from), At(to)), span)?.collect()
}

fn span(row: &rusqlite::Row<'_>) -> rusqlite::Result<Span> {
    let status: Word<_> = row.get(0)?;
    let from: At = row.get(1)?;
    let to: Option<At> = row.get(2)?;
    Ok(Span { status: status.0, from: from.0, to: to.map(|to| to.0) })
}
