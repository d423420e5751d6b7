//! All incidents in short, kept in the orders in which pages list them: one incident more costs
//! what one costs, however many there are.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{civil::Date, tz::TimeZone};

use super::{days, key::Key};
use crate::domain::{IncidentId, ServiceId, archive::Head};

/// Heads, newest start first.
pub type Listed = Vec<Arc<Head>>;

/// The heads of all incidents.
#[derive(Debug)]
pub struct Heads {
    zone: TimeZone,
    newest: Listed,
    by_id: BTreeMap<IncidentId, Arc<Head>>,
    /// Those that touched a service, withdrawn ones included.
    by_service: BTreeMap<ServiceId, Listed>,
    /// Those of a month that stand on the site.
    by_month: BTreeMap<Date, Listed>,
    /// Whose alias it is, or could be.
    by_alias: BTreeMap<IncidentId, Listed>,
    open: BTreeSet<IncidentId>,
    sum: u64,
}

/// What else a new version of a head concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// The services that it touches, or touched.
    pub services: BTreeSet<ServiceId>,
    /// The months that list it, or listed it.
    pub months: BTreeSet<Date>,
    /// Files may leave the site, or belong to another incident.
    pub uproots: bool,
}

impl Heads {
    /// None yet. Months are those of `zone`.
    #[must_use]
    pub fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            newest: Vec::new(),
            by_id: BTreeMap::new(),
            by_service: BTreeMap::new(),
            by_month: BTreeMap::new(),
            by_alias: BTreeMap::new(),
            open: BTreeSet::new(),
            sum: 0,
        }
    }

    /// Takes in a head: a new one, or a new version.
    pub fn put(&mut self, head: Head) -> Moved {
        let head = Arc::new(head);
        let mut moved = Moved::default();
        let is_new_month = self.month_of(&head).is_some_and(|month| !self.by_month.contains_key(&month));
        let before = self.by_id.insert(head.id.clone(), Arc::clone(&head));
        if let Some(before) = &before {
            self.out(before, &mut moved);
        }
        self.sum = self.sum.wrapping_add(key_of(&head));
        insert(&mut self.newest, &head);
        for service in &head.services {
            insert(self.by_service.entry(service.clone()).or_default(), &head);
            moved.services.insert(service.clone());
        }
        if let Some(month) = self.month_of(&head) {
            insert(self.by_month.entry(month).or_default(), &head);
            moved.months.insert(month);
        }
        for alias in &head.aliases {
            insert(self.by_alias.entry(alias.clone()).or_default(), &head);
        }
        if head.status.is_open() {
            self.open.insert(head.id.clone());
        }
        moved.uproots = match &before {
            Some(before) => {
                before.withdrawn != head.withdrawn
                    || before.aliases != head.aliases
                    || moved.months.len() > 1
                    || before.services.iter().any(|service| !head.services.contains(service))
            }
            // Its own id may have been an alias until now; the months around a new one name it.
            None => is_new_month || !head.aliases.is_empty() || self.by_alias.contains_key(&head.id),
        };
        moved
    }

    fn out(&mut self, head: &Arc<Head>, moved: &mut Moved) {
        self.sum = self.sum.wrapping_sub(key_of(head));
        self.open.remove(&head.id);
        remove(&mut self.newest, head);
        for service in &head.services {
            remove_of(&mut self.by_service, service, head);
            moved.services.insert(service.clone());
        }
        if let Some(month) = self.month_of(head) {
            remove_of(&mut self.by_month, &month, head);
            moved.months.insert(month);
        }
        for alias in &head.aliases {
            remove_of(&mut self.by_alias, alias, head);
        }
    }

    fn month_of(&self, head: &Head) -> Option<Date> {
        (!head.withdrawn).then(|| days::month(days::date(head.started_at, &self.zone)))
    }

    /// All of them, newest start first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Head>> {
        self.newest.iter()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &IncidentId) -> Option<&Arc<Head>> {
        self.by_id.get(id)
    }

    /// Those that are not over.
    pub fn open(&self) -> impl Iterator<Item = &IncidentId> {
        self.open.iter()
    }

    /// Those that touched a service, withdrawn ones included, newest start first.
    #[must_use]
    pub fn of_service(&self, service: &ServiceId) -> &[Arc<Head>] {
        self.by_service.get(service).map_or(&[], Vec::as_slice)
    }

    /// Every service that an incident touched.
    pub fn services(&self) -> impl Iterator<Item = &ServiceId> {
        self.by_service.keys()
    }

    /// The months that list incidents, newest first, with those of each, newest first.
    pub fn months(&self) -> impl Iterator<Item = (Date, &[Arc<Head>])> {
        self.by_month.iter().rev().map(|(month, heads)| (*month, heads.as_slice()))
    }

    /// The incidents of a month, newest first.
    #[must_use]
    pub fn of_month(&self, month: Date) -> &[Arc<Head>] {
        self.by_month.get(&month).map_or(&[], Vec::as_slice)
    }

    /// The next month that lists incidents.
    #[must_use]
    pub fn month_after(&self, month: Date) -> Option<Date> {
        self.by_month.range(month..).map(|(month, _)| *month).find(|other| *other > month)
    }

    /// The last month before that lists incidents.
    #[must_use]
    pub fn month_before(&self, month: Date) -> Option<Date> {
        self.by_month.range(..month).next_back().map(|(month, _)| *month)
    }

    /// Whether an alias leads to this incident: to the newest on the site that claims it, and never
    /// if an incident on the site has that id for itself.
    #[must_use]
    pub fn leads_to(&self, alias: &IncidentId, head: &Head) -> bool {
        let has_it = self.by_id.get(alias).is_some_and(|own| !own.withdrawn);
        !has_it && self.claim(alias).is_some_and(|claim| claim.id == head.id)
    }

    /// Whether an incident on the site has this id among its aliases.
    #[must_use]
    pub fn is_led(&self, id: &IncidentId) -> bool {
        self.claim(id).is_some()
    }

    fn claim(&self, alias: &IncidentId) -> Option<&Arc<Head>> {
        self.by_alias.get(alias)?.iter().find(|head| !head.withdrawn)
    }

    /// The key of all of them: which there are, and in which versions.
    #[must_use]
    pub fn key(&self) -> Key {
        Key(self.sum)
    }
}

/// Summed up, so that one can be taken out again.
fn key_of(head: &Head) -> u64 {
    Key::of((head.id.as_str(), head.version, head.withdrawn)).0
}

/// Newest start first; a stable order among those that began at once.
fn order(a: &Head, b: &Head) -> Ordering {
    (b.started_at, &b.id).cmp(&(a.started_at, &a.id))
}

fn insert(list: &mut Listed, head: &Arc<Head>) {
    if let Err(at) = list.binary_search_by(|other| order(other, head)) {
        list.insert(at, Arc::clone(head));
    }
}

fn remove(list: &mut Listed, head: &Head) {
    if let Ok(at) = list.binary_search_by(|other| order(other, head)) {
        list.remove(at);
    }
}

fn remove_of<K: Ord>(lists: &mut BTreeMap<K, Listed>, key: &K, head: &Head) {
    if let Some(list) = lists.get_mut(key) {
        remove(list, head);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Impact, IncidentStatus};

    fn head(id: u8, version: u64, hour: i64, services: &[u8], withdrawn: bool) -> Head {
        let name = |n: &u8| format!("n{n}");
        Head {
            id: IncidentId::new(&name(&id)).unwrap(),
            aliases: services.iter().map(|n| IncidentId::new(&format!("a{n}")).unwrap()).collect(),
            version,
            status: if hour % 2 == 0 { IncidentStatus::Investigating } else { IncidentStatus::Resolved },
            impact: Impact::Major,
            started_at: jiff::Timestamp::from_second(1_795_219_200 + hour * 3600).unwrap(),
            resolved_at: None,
            services: services.iter().map(|n| ServiceId::new(&name(n)).unwrap()).collect(),
            withdrawn,
        }
    }

    fn all(heads: &Heads) -> String {
        format!("{heads:?}")
    }

    proptest! {
        #[test]
        fn one_after_the_other_gives_the_same_as_the_last_versions_at_once(
            puts in prop::collection::vec((0_u8..6, 0_i64..2000, prop::collection::vec(0_u8..4, 0..3), any::<bool>()), 0..40)
        ) {
            let mut one_by_one = Heads::new(TimeZone::UTC);
            let mut last = BTreeMap::new();
            for (version, (id, hour, mut services, withdrawn)) in (1..).zip(puts) {
                services.sort_unstable();
                services.dedup();
                let head = head(id, version, hour, &services, withdrawn);
                last.insert(id, head.clone());
                one_by_one.put(head);
            }
            let mut at_once = Heads::new(TimeZone::UTC);
            for head in last.into_values() {
                at_once.put(head);
            }
            prop_assert_eq!(all(&one_by_one), all(&at_once));
        }
    }

    #[test]
    fn what_could_make_files_leave_is_said_so() {
        let mut heads = Heads::new(TimeZone::UTC);
        assert!(heads.put(head(1, 1, 1, &[1], false)).uproots, "a new month");
        assert!(!heads.put(head(1, 2, 2, &[1], false)).uproots);
        assert!(heads.put(head(1, 3, 2, &[1], true)).uproots, "withdrawn");
        assert!(heads.put(head(1, 4, 2, &[1], false)).uproots);
        assert!(heads.put(head(1, 5, 2, &[2], false)).uproots, "another service, another alias");
        assert!(heads.put(head(1, 6, 2000, &[2], false)).uproots, "another month");
        let moved = heads.put(head(2, 7, 2000, &[], false));
        assert_eq!((moved.services.len(), moved.months.len(), moved.uproots), (0, 1, false));
    }
}
