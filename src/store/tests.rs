//! Stories of the store.

use super::{testing::*, *};
use crate::domain::{archive::Archive, event::EventKind};

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let (folder, mut store) = store();
    let incident = incident("2026-11-21-api", 1, &["api"]);
    let opened = event(20, EventKind::Opened, &incident);
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    store.commit(&commit(&[incident.clone()], &[opened.clone()])).unwrap();
    drop(store);

    let mut store = Store::open(&config(folder.path()), at(40)).unwrap();
    let reader = Store::reader(&config(folder.path())).unwrap();
    assert_eq!(reader.incident(&incident.id).unwrap(), Some(incident.clone()));
    assert_eq!(reader.events(None, None, 10).unwrap(), [opened]);
    let epoch = store.new_epoch().unwrap();
    assert!(store.claim(epoch, at(29), 10).unwrap().is_empty());
    let lanes = store.claim(epoch, at(30), 10).unwrap();
    assert_eq!(lanes.len(), 1);
    assert_eq!(*lanes[0].current, incident);
}
