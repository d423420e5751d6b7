//! Which file of the notes' folder holds which note, so that a file that got a new name is known
//! after a restart too.

use rusqlite::Connection;

use super::{Reader, Store, StoreError};
use crate::{domain::IncidentId, notes::Mark};

/// Before a file's name in `meta`; `note;` is what sorts right behind.
const PREFIX: &str = "note:";

impl Store {
    /// What is remembered of all files.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn note_files(&self) -> Result<Vec<Mark>, StoreError> {
        self.read("read the names of notes", marks)
    }

    /// Remembers `marks`, and nothing more of the files `forgotten`.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn set_note_files(&mut self, marks: &[Mark], forgotten: &[IncidentId]) -> Result<(), StoreError> {
        self.write("record the names of notes", |tx| {
            for name in forgotten {
                tx.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([format!("{PREFIX}{name}")])?;
            }
            let mut put = tx.prepare_cached(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )?;
            for Mark { name, id, hash } in marks {
                let hash = hash.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
                put.execute((format!("{PREFIX}{name}"), format!("{id} {hash}")))?;
            }
            Ok(())
        })
    }
}

impl Reader {
    /// As [`Store::note_files`].
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn note_files(&self) -> Result<Vec<Mark>, StoreError> {
        self.read("read the names of notes", marks)
    }
}

fn marks(db: &Connection) -> rusqlite::Result<Vec<Mark>> {
    let mut rows =
        db.prepare_cached("SELECT key, value FROM meta WHERE key >= 'note:' AND key < 'note;' ORDER BY key")?;
    let marks = rows.query_map([], |row| Ok(mark(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?)))?;
    marks.filter_map(Result::transpose).collect()
}

/// A row's content; `None` if a newer watchbell wrote it in another way.
fn mark(key: &str, value: &str) -> Option<Mark> {
    let (id, text) = value.split_once(' ')?;
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(Mark { name: key.strip_prefix(PREFIX)?.parse().ok()?, id: id.parse().ok()?, hash })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;

    fn name(text: &str) -> IncidentId {
        IncidentId::new(text).unwrap()
    }

    #[test]
    fn what_a_file_held_reads_back_until_it_is_forgotten() {
        let (_folder, mut store) = testing::store();
        store.mint("authority", "example.org").unwrap();
        assert_eq!(store.note_files().unwrap(), []);
        let one = Mark { name: name("x"), id: name("x"), hash: [1; 32] };
        let two = Mark { name: name("y"), id: name("x"), hash: [0xfe; 32] };
        store.set_note_files(&[one.clone(), two.clone()], &[]).unwrap();
        assert_eq!(store.note_files().unwrap(), [one, two.clone()]);
        let newer = Mark { hash: [3; 32], ..two };
        store.set_note_files(std::slice::from_ref(&newer), &[name("x")]).unwrap();
        assert_eq!(store.note_files().unwrap(), [newer]);
    }
}
