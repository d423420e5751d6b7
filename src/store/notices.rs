//! What a command has for the operator: left here, since it is the daemon who tells, and who knows
//! what was told already.

use jiff::Timestamp;

use super::{Store, StoreError, row::At};

/// Something that a command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftNotice {
    /// What it is about.
    pub key: String,
    /// One line.
    pub subject: String,
    /// The whole.
    pub text: String,
}

impl Store {
    /// Leaves a notice; of two about the same the first stands until it is taken.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn leave_notice(&mut self, notice: &LeftNotice, now: Timestamp) -> Result<(), StoreError> {
        self.write("leave a notice", |tx| {
            tx.prepare_cached(
                "INSERT INTO notice (key, at, subject, text) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO NOTHING",
            )?
            .execute((&notice.key, At(now), &notice.subject, &notice.text))
            .map(drop)
        })
    }

    /// Takes what was left, oldest first.
    ///
    /// # Errors
    /// If the store cannot be written: then all stays.
    pub fn take_notices(&mut self) -> Result<Vec<LeftNotice>, StoreError> {
        // Asking costs no lock; there is nothing most of the time.
        let is_any = self.read("look for notices", |db| db.prepare_cached("SELECT 1 FROM notice")?.exists([]))?;
        if !is_any {
            return Ok(Vec::new());
        }
        self.write("take notices", |tx| {
            let left = tx
                .prepare_cached("SELECT key, subject, text FROM notice ORDER BY at, key")?
                .query_map([], |row| Ok(LeftNotice { key: row.get(0)?, subject: row.get(1)?, text: row.get(2)? }))?
                .collect::<rusqlite::Result<_>>()?;
            tx.execute("DELETE FROM notice", [])?;
            Ok(left)
        })
    }
}
