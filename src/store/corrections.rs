//! What an operator says that time counts as. Spans are never touched by it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row};

use super::{
    Store, StoreError, bump_revision,
    row::{At, Json, Word, json},
};
use crate::domain::{ServiceId, correction::Correction};

impl Store {
    /// Whether any correction is in force.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn is_corrected(&self) -> Result<bool, StoreError> {
        self.read("read corrections", |db| {
            db.prepare_cached("SELECT EXISTS (SELECT 1 FROM correction)")?.query_row([], |row| row.get(0))
        })
    }

    /// From now on these corrections are in force and no others; whether that changes any. Pages of
    /// services whose corrections stay as they are need not be made anew.
    ///
    /// # Errors
    /// If the store cannot be written; those of before are in force then.
    pub fn set_corrections(&mut self, corrections: &[Correction]) -> Result<bool, StoreError> {
        let (new, old) = (corrections.to_vec(), self.read("read corrections", |db| of(db, None))?);
        let (new, old) = (by_service(new), by_service(old));
        let services: BTreeSet<&ServiceId> = new.keys().chain(old.keys()).collect();
        let changed: Vec<&ServiceId> = services.into_iter().filter(|id| new.get(*id) != old.get(*id)).collect();
        if changed.is_empty() {
            return Ok(false);
        }
        self.write("record corrections", |tx| {
            let revision = bump_revision(tx)?;
            let mut delete = tx.prepare_cached("DELETE FROM correction WHERE service = ?1")?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO correction (service, from_at, to_at, count_as, why) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            // One that was never heard of has no pages, and gets none by that.
            let mut touch = tx.prepare_cached(
                "UPDATE service SET revision = ?2 WHERE id = ?1
                     AND (position IS NOT NULL OR EXISTS (SELECT 1 FROM service_now WHERE service = ?1))",
            )?;
            for service in changed {
                delete.execute([service.as_str()])?;
                for Correction { from, to, count_as, why, .. } in new.get(service).into_iter().flatten() {
                    insert.execute((service.as_str(), At(*from), At(*to), count_as.as_str(), json(why)?))?;
                }
                touch.execute((service.as_str(), revision))?;
            }
            Ok(true)
        })
    }
}

fn by_service(corrections: Vec<Correction>) -> BTreeMap<ServiceId, Vec<Correction>> {
    let mut map = BTreeMap::<ServiceId, Vec<Correction>>::new();
    for correction in corrections {
        map.entry(correction.service.clone()).or_default().push(correction);
    }
    for own in map.values_mut() {
        own.sort_by_key(|correction| correction.from);
    }
    map
}

/// The corrections of one service, or of all, oldest first for each.
pub(super) fn of(db: &Connection, service: Option<&ServiceId>) -> rusqlite::Result<Vec<Correction>> {
    let mut rows = db.prepare_cached(
        "SELECT service, from_at, to_at, count_as, why FROM correction WHERE ?1 IS NULL OR service = ?1
         ORDER BY service, from_at",
    )?;
    rows.query_map([service.map(ServiceId::as_str)], correction)?.collect()
}

fn correction(row: &Row<'_>) -> rusqlite::Result<Correction> {
    let (service, from, to): (Word<_>, At, At) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let count_as: Word<_> = row.get(3)?;
    let why: Json<_> = row.get(4)?;
    Ok(Correction { service: service.0, from: from.0, to: to.0, count_as: count_as.0, why: why.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            ServiceStatus,
            archive::Archive,
            correction::CountAs,
            span::{Span, SpanEdit},
        },
        judge::Step,
        store::{
            Commit,
            testing::{at, config, service, store},
        },
    };

    fn correction(id: &str, from: i64, to: i64) -> Correction {
        let why = "A **cable**.".into();
        Correction { service: service(id), from: at(from), to: at(to), count_as: CountAs::Maintenance, why }
    }

    /// Up, down in `[10, 20)`, up.
    fn measured() -> [Span; 3] {
        let (up, down) = (ServiceStatus::Operational, ServiceStatus::MajorOutage);
        let span = |status, from, to: Option<i64>| Span { status, from: at(from), to: to.map(at) };
        [span(up, 0, Some(10)), span(down, 10, Some(20)), span(up, 20, None)]
    }

    #[test]
    fn what_was_measured_is_there_again_when_its_correction_goes() {
        let (folder, mut store) = store();
        let edit = |id| SpanEdit { service: service(id), from: at(0), spans: measured().into() };
        let step = Step { spans: vec![edit("api"), edit("web")], ..Step::default() };
        store.commit(&Commit { steps: vec![step], ..Commit::new(at(30)) }).unwrap();
        let mut reader = Store::reader(&config(folder.path())).unwrap();
        reader.rest().unwrap();
        let corrected = [correction("api", 15, 25), correction("api", 5, 8)];
        assert!(store.set_corrections(&corrected).unwrap() && store.is_corrected().unwrap());
        let spans = reader.spans(&service("api"), at(0), at(100)).unwrap();
        let statuses: Vec<_> = spans.iter().map(|span| span.status.as_str()).collect();
        let (up, planned) = ("operational", "under_maintenance");
        assert_eq!(statuses, [up, planned, up, "major_outage", planned, up]);
        assert_eq!(reader.spans(&service("web"), at(0), at(100)).unwrap(), measured());
        assert_eq!(reader.measured(&service("api"), at(0), at(100)).unwrap(), measured());
        let listed = [correction("api", 5, 8), correction("api", 15, 25)];
        assert_eq!(reader.corrections(None).unwrap(), listed);
        assert_eq!(reader.corrections(Some(&service("web"))).unwrap(), []);
        // A window gives what reaches into it, uncut.
        assert_eq!(reader.spans(&service("api"), at(9), at(12)).unwrap(), spans[2..4]);
        assert!(store.set_corrections(&[]).unwrap() && !store.is_corrected().unwrap());
        assert_eq!(reader.spans(&service("api"), at(0), at(100)).unwrap(), measured());
    }

    #[test]
    fn only_services_whose_corrections_change_have_changed() {
        let (folder, mut store) = store();
        let now = |id: &str| crate::domain::archive::ServiceNow {
            service: service(id),
            status: ServiceStatus::Operational,
            since: at(0),
            checks_up: 1,
            checks_known: 1,
            last_result_at: None,
        };
        let step = Step { services: vec![now("api"), now("web")], ..Step::default() };
        store.commit(&Commit { steps: vec![step], ..Commit::new(at(30)) }).unwrap();
        let mut reader = Store::reader(&config(folder.path())).unwrap();
        reader.rest().unwrap();
        let changed = |since| -> Vec<ServiceId> {
            reader.changes(since).unwrap().unwrap().services.into_iter().map(|(id, _)| id).collect()
        };
        let (before, typo) = (reader.revision().unwrap(), correction("wbe", 1, 2));
        store.set_corrections(&[correction("web", 1, 2), typo.clone()]).unwrap();
        assert_eq!(changed(before), [service("web")], "nobody ever heard of `wbe`");
        let before = reader.revision().unwrap();
        assert!(!store.set_corrections(&[typo.clone(), correction("web", 1, 2)]).unwrap());
        assert_eq!(reader.revision().unwrap(), before, "nothing is new");
        store.set_corrections(&[correction("api", 1, 2), typo, correction("web", 1, 2)]).unwrap();
        assert_eq!(changed(before), [service("api")]);
    }
}
