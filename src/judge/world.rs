//! The world: all that the judge carries from one step to the next, as rows that the store keeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{blindness::Canary, case::Case, check::CheckState, notes::NoteState, service::ServiceState, time};
use crate::domain::{
    CheckId, CheckKey, EventId, GroupId, IncidentId, ServiceId,
    id::UpdateId,
    incident::Incident,
    maintenance::{MaintenanceId, Window},
    note::Note,
    service::{Rules, Service},
    target::TargetClass,
};

/// What ended within this is not history yet.
const LATE: SignedDuration = SignedDuration::from_hours(24);

/// All that the judge carries from one step to the next. Two worlds are equal if every further
/// step gives the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Rows", into = "Rows")]
pub struct World {
    pub(super) head: Head,
    pub(super) checks: BTreeMap<CheckKey, CheckState>,
    pub(super) services: BTreeMap<ServiceId, ServiceState>,
    /// Every incident there ever was: a note may still speak of it, and its id is never given twice.
    pub(super) cases: BTreeMap<IncidentId, Case>,
    pub(super) notes: BTreeMap<IncidentId, NoteState>,
    /// What is known of each canary.
    pub(super) canaries: BTreeMap<CheckId, Canary>,
    /// Planned work.
    pub(super) windows: BTreeMap<MaintenanceId, Window>,
    pub(super) scratch: Scratch,
}

/// What belongs to no one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    seed: u64,
    minted: u64,
    /// When the last event was recorded: the order of feeds never runs backwards.
    pub recorded_at: Option<Timestamp>,
    /// Since when we cannot see targets of these classes.
    #[serde(default)]
    pub blind: BTreeMap<TargetClass, Timestamp>,
    /// When planned work next begins or ends.
    #[serde(default)]
    pub planned_at: Option<Timestamp>,
}

/// What follows from the rest, kept for speed. Never part of what a world is.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// Rows changed since they were last taken.
    dirty: BTreeSet<RowKey>,
    /// Where each service stands in the rules.
    index: BTreeMap<ServiceId, usize>,
    /// Which services need a service.
    dependants: BTreeMap<ServiceId, Vec<ServiceId>>,
    /// Incidents that time or results may still change.
    live: BTreeSet<IncidentId>,
    /// Checks whose verdict waits, by when it waits no longer.
    waiting: BTreeSet<(Timestamp, CheckKey)>,
    /// Until when each of them is in `waiting`.
    held: BTreeMap<CheckKey, Timestamp>,
    /// The checks of services that share something, and when one of them last turned down.
    kin: BTreeMap<Kin, (Vec<CheckKey>, Option<Timestamp>)>,
    /// No check becomes stale before this; `None`: none can.
    pub fresh_until: Option<Timestamp>,
}

impl Scratch {
    /// The verdict of `key` waits until then, or no longer.
    fn hold(&mut self, key: &CheckKey, until: Option<Timestamp>) {
        if self.held.get(key).copied() == until {
            return;
        }
        if let Some(old) = self.held.remove(key) {
            self.waiting.remove(&(old, key.clone()));
        }
        if let Some(until) = until {
            self.held.insert(key.clone(), until);
            self.waiting.insert((until, key.clone()));
        }
    }
}

impl PartialEq for Scratch {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What services can share so that one's failure makes others suspect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kin {
    /// A group.
    Group(GroupId),
    /// A service that they need.
    Need(ServiceId),
    /// A host that they are probed on, in lower case.
    Host(String),
}

impl Kin {
    /// All that `service` may share with others.
    pub fn of(service: &Service) -> impl Iterator<Item = Self> {
        let hosts: BTreeSet<String> = service
            .checks
            .iter()
            .filter(|check| check.enabled)
            .map(|it| it.probe.host().to_ascii_lowercase())
            .collect();
        let group = service.group.clone().map(Self::Group);
        let needs = service.depends_on.iter().cloned().map(Self::Need);
        group.into_iter().chain(needs).chain(hosts.into_iter().filter(|host| !host.is_empty()).map(Self::Host))
    }
}

/// One row of the world as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `check:api/health`, `service:api`, `incident:ID`, `note:ID`, `maintenance:ID`, `canary:ID` or `world`.
    pub key: String,
    /// Its content; `None`: it is gone.
    pub json: Option<String>,
}

/// A row that the judge did not write, or wrote in another version.
#[derive(Debug, thiserror::Error)]
#[error("the row `{key}` of the judge's state cannot be read: {problem}")]
pub struct RestoreError {
    /// Which row.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey {
    Head,
    Check(CheckKey),
    Service(ServiceId),
    Incident(IncidentId),
    Note(IncidentId),
    Window(MaintenanceId),
    Canary(CheckId),
}

impl std::fmt::Display for RowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head => write!(f, "world"),
            Self::Check(key) => write!(f, "check:{key}"),
            Self::Service(id) => write!(f, "service:{id}"),
            Self::Incident(id) => write!(f, "incident:{id}"),
            Self::Note(id) => write!(f, "note:{id}"),
            Self::Window(id) => write!(f, "maintenance:{id}"),
            Self::Canary(id) => write!(f, "canary:{id}"),
        }
    }
}

/// A world as a map, for serde.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Rows(BTreeMap<String, String>);

impl From<World> for Rows {
    fn from(world: World) -> Self {
        Self(world.rows().into_iter().filter_map(|row| Some((row.key, row.json?))).collect())
    }
}

impl TryFrom<Rows> for World {
    type Error = RestoreError;
    fn try_from(rows: Rows) -> Result<Self, RestoreError> {
        let mut world = Self::restore(0, rows.0.iter().map(|(key, json)| (key.clone(), json.clone())))?;
        if let Some(head) = rows.0.get("world").and_then(|json| serde_json::from_str(json).ok()) {
            world.head = head;
        }
        Ok(world)
    }
}

impl World {
    /// A world in which nothing was ever seen. `seed` makes its ids differ from other worlds'.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { head: Head { seed, ..Head::default() }, ..Self::default() }
    }

    /// The world that `rows` were taken from, taking further ids from `seed`.
    ///
    /// # Errors
    /// If a row of a known kind cannot be read. Rows of unknown kinds are left alone.
    pub fn restore(seed: u64, rows: impl Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        fn parse<T: serde::de::DeserializeOwned>(key: &str, json: &str) -> Result<T, RestoreError> {
            let fail = |e: serde_json::Error| RestoreError { key: key.to_owned(), problem: e.to_string() };
            serde_json::from_str(json).map_err(fail)
        }
        let mut world = Self::default();
        for (key, json) in rows {
            let bad = |problem: String| RestoreError { key: key.clone(), problem };
            let (kind, name) = key.split_once(':').unwrap_or((&key, ""));
            match kind {
                "world" => world.head = parse(&key, &json)?,
                "check" => {
                    let (service, check) = name.split_once('/').ok_or_else(|| bad("no `/`".to_owned()))?;
                    let service = ServiceId::new(service).map_err(|e| bad(e.to_string()))?;
                    let check = CheckId::new(check).map_err(|e| bad(e.to_string()))?;
                    world.checks.insert(CheckKey { service, check }, parse(&key, &json)?);
                }
                "service" => {
                    let id = ServiceId::new(name).map_err(|e| bad(e.to_string()))?;
                    world.services.insert(id, parse(&key, &json)?);
                }
                "incident" => {
                    let id = IncidentId::new(name).map_err(|e| bad(e.to_string()))?;
                    world.cases.insert(id, parse(&key, &json)?);
                }
                "note" => {
                    let id = IncidentId::new(name).map_err(|e| bad(e.to_string()))?;
                    world.notes.insert(id, parse(&key, &json)?);
                }
                "canary" => {
                    let id = CheckId::new(name).map_err(|e| bad(e.to_string()))?;
                    world.canaries.insert(id, parse(&key, &json)?);
                }
                "maintenance" => {
                    let id = MaintenanceId::new(name).ok_or_else(|| bad("no name".to_owned()))?;
                    world.windows.insert(id, parse(&key, &json)?);
                }
                _ => {}
            }
        }
        world.head.seed = seed;
        world.scratch.fresh_until = world.checks.values().filter_map(CheckState::stale_at).min();
        for (key, state) in &world.checks {
            world.scratch.hold(key, state.held_until);
        }
        world.scratch.live = world.cases.iter().filter(|(_, case)| case.is_live()).map(|(id, _)| id.clone()).collect();
        Ok(world)
    }

    /// The rows that changed since the last call.
    pub fn take_dirty(&mut self) -> Vec<Row> {
        let dirty = std::mem::take(&mut self.scratch.dirty);
        dirty.iter().map(|key| self.row(key)).collect()
    }

    /// All rows.
    fn rows(&self) -> Vec<Row> {
        let checks = self.checks.keys().cloned().map(RowKey::Check);
        let services = self.services.keys().cloned().map(RowKey::Service);
        let cases = self.cases.keys().cloned().map(RowKey::Incident);
        let notes = self.notes.keys().cloned().map(RowKey::Note);
        let keys = [RowKey::Head].into_iter().chain(checks).chain(services).chain(cases).chain(notes);
        let keys = keys.chain(self.canaries.keys().cloned().map(RowKey::Canary));
        let keys = keys.chain(self.windows.keys().cloned().map(RowKey::Window));
        keys.map(|key| self.row(&key)).collect()
    }

    fn row(&self, key: &RowKey) -> Row {
        fn json<T: Serialize>(value: Option<&T>) -> Option<String> {
            value.and_then(|value| serde_json::to_string(value).ok())
        }
        let json = match key {
            RowKey::Head => json(Some(&self.head)),
            RowKey::Check(key) => json(self.checks.get(key)),
            RowKey::Service(id) => json(self.services.get(id)),
            RowKey::Incident(id) => json(self.cases.get(id)),
            RowKey::Note(id) => json(self.notes.get(id)),
            RowKey::Window(id) => json(self.windows.get(id)),
            RowKey::Canary(id) => json(self.canaries.get(id)),
        };
        Row { key: key.to_string(), json }
    }

    pub(super) fn touch_head(&mut self) {
        self.scratch.dirty.insert(RowKey::Head);
    }

    pub(super) fn touch_check(&mut self, key: &CheckKey) {
        self.touch_held_check(key, self.checks.get(key).and_then(|state| state.held_until));
    }

    /// The same, if it is known until when its verdict waits.
    pub(super) fn touch_held_check(&mut self, key: &CheckKey, held_until: Option<Timestamp>) {
        self.scratch.dirty.insert(RowKey::Check(key.clone()));
        self.scratch.hold(key, held_until);
    }

    /// A check is without recent data from then on.
    pub(super) fn expect_by(&mut self, deadline: Option<Timestamp>) {
        let fresh_until = &mut self.scratch.fresh_until;
        *fresh_until = (*fresh_until).or(deadline).min(deadline.or(*fresh_until));
    }

    pub(super) fn touch_service(&mut self, id: &ServiceId) {
        self.scratch.dirty.insert(RowKey::Service(id.clone()));
    }

    pub(super) fn touch_note(&mut self, id: &IncidentId) {
        self.scratch.dirty.insert(RowKey::Note(id.clone()));
    }

    pub(super) fn touch_canary(&mut self, id: &CheckId) {
        self.scratch.dirty.insert(RowKey::Canary(id.clone()));
    }

    /// We start: every canary must prove itself anew.
    pub fn distrust_canaries(&mut self) {
        for (id, canary) in &mut self.canaries {
            *canary = Canary::default();
            self.scratch.dirty.insert(RowKey::Canary(id.clone()));
        }
    }

    pub(super) fn touch_window(&mut self, id: &MaintenanceId) {
        self.scratch.dirty.insert(RowKey::Window(id.clone()));
    }

    pub(super) fn touch_incident(&mut self, id: &IncidentId) {
        let live = self.cases.get(id).is_some_and(Case::is_live);
        if live {
            self.scratch.live.insert(id.clone());
        } else {
            self.scratch.live.remove(id);
        }
        self.scratch.dirty.insert(RowKey::Incident(id.clone()));
    }

    /// The incidents that go on, oldest id first; those taken off the site are left out.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.live().map(|case| &case.incident).filter(|incident| incident.is_open() && !incident.withdrawn)
    }

    /// The incidents that go on, and those that ended within a day of the last event, oldest id first;
    /// those taken off the site are left out.
    pub fn late_incidents(&self) -> impl Iterator<Item = &Incident> {
        let since = self.head.recorded_at.map(|at| at.checked_sub(LATE).unwrap_or(Timestamp::MIN));
        let all = self.cases.values().map(|case| &case.incident).filter(|incident| !incident.withdrawn);
        all.filter(move |incident| incident.resolved_at.is_none_or(|at| since.is_some_and(|since| at >= since)))
    }

    /// Planned work that is known, past and coming.
    pub fn planned(&self) -> impl Iterator<Item = &Window> {
        self.windows.values()
    }

    /// When each check was last heard of.
    pub fn last_results(&self) -> impl Iterator<Item = (&CheckKey, Option<Timestamp>)> {
        self.checks.iter().map(|(key, state)| (key, state.last_at))
    }

    /// Whether no verdict is pending, and no event waits for others to join it.
    #[must_use]
    pub fn is_decided(&self, now: Timestamp) -> bool {
        !self.checks.values().any(CheckState::is_pending)
            && self.cases.values().flat_map(|case| &case.unsealed).all(|event| event.is_sealed(now))
    }

    /// The checks whose verdict waits.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &CheckKey> {
        self.scratch.waiting.iter().map(|(_, key)| key)
    }

    /// When the first of them waits no longer.
    pub(super) fn wait_ends_at(&self) -> Option<Timestamp> {
        self.scratch.waiting.first().map(|(until, _)| *until)
    }

    /// The checks that share `kin`, unless one of them turned down less than `pace` ago.
    pub(super) fn kin_to_ask(&self, kin: &Kin, now: Timestamp, pace: Duration) -> Option<Vec<CheckKey>> {
        let (members, fell_at) = self.scratch.kin.get(kin)?;
        let is_asked = fell_at.is_some_and(|fell| now < time::plus(fell, pace));
        (!is_asked).then(|| members.clone())
    }

    /// A check of `service` turned down.
    pub(super) fn note_fall(&mut self, service: &Service, now: Timestamp) {
        for kin in Kin::of(service) {
            if let Some((_, fell_at)) = self.scratch.kin.get_mut(&kin) {
                *fell_at = (*fell_at).max(Some(now));
            }
        }
    }

    /// The clock may have been moved: no fall is known any more.
    pub(super) fn forget_falls(&mut self) {
        self.scratch.kin.values_mut().for_each(|(_, fell_at)| *fell_at = None);
    }

    /// The incident of that name or alias.
    #[must_use]
    pub fn incident(&self, id: &IncidentId) -> Option<&Incident> {
        self.cases.get(self.real_id(id)).map(|case| &case.incident)
    }

    /// The last good version of the note of that name.
    #[must_use]
    pub fn note(&self, id: &IncidentId) -> Option<&Note> {
        self.notes.get(id).map(|state| &state.note)
    }

    /// The incident that `id` leads to.
    pub(super) fn real_id<'a>(&'a self, id: &'a IncidentId) -> &'a IncidentId {
        if self.cases.contains_key(id) { id } else { self.notes.get(id).map_or(id, |state| &state.incident) }
    }

    /// Incidents that time or results may still change.
    pub(super) fn live(&self) -> impl Iterator<Item = &Case> {
        self.scratch.live.iter().filter_map(|id| self.cases.get(id))
    }

    /// The ids of the open incidents in which `service` still suffers.
    pub(super) fn suffering(&self, service: &ServiceId) -> Vec<IncidentId> {
        let open = self.live().map(|case| &case.incident).filter(|incident| incident.is_open());
        open.filter(|incident| incident.part(service).is_some_and(|part| part.recovered_at.is_none()))
            .map(|incident| incident.id.clone())
            .collect()
    }

    /// The open incident that `service` is part of.
    pub(super) fn open_part(&self, service: &ServiceId) -> Option<IncidentId> {
        let open = self.live().map(|case| &case.incident).filter(|incident| incident.is_open());
        let mut mine = open.filter(|incident| incident.part(service).is_some());
        mine.next().map(|incident| incident.id.clone())
    }

    /// Whether an incident or a note has that name.
    pub(super) fn is_taken(&self, id: &IncidentId) -> bool {
        self.cases.contains_key(id) || self.notes.contains_key(id)
    }

    /// Brings the indexes up to `rules`; cheap if they are.
    pub(super) fn index(&mut self, rules: &Rules, anew: bool) {
        if !anew && self.scratch.index.len() == rules.services.len() {
            return;
        }
        self.scratch.index = rules.services.iter().enumerate().map(|(i, service)| (service.id.clone(), i)).collect();
        self.scratch.dependants.clear();
        self.scratch.kin.clear();
        for service in &rules.services {
            for needed in &service.depends_on {
                self.scratch.dependants.entry(needed.clone()).or_default().push(service.id.clone());
            }
            let fell_at = |(key, _): (CheckKey, _)| self.checks.get(&key).and_then(|state| state.fell_at);
            let fell_at = service.enabled_checks().filter_map(fell_at).max();
            for kin in Kin::of(service) {
                let (members, latest) = self.scratch.kin.entry(kin).or_default();
                members.extend(service.enabled_checks().map(|(key, _)| key));
                *latest = (*latest).max(fell_at);
            }
        }
    }

    /// The service of that name, if it is configured.
    pub(super) fn service<'r>(&self, rules: &'r Rules, id: &ServiceId) -> Option<&'r Service> {
        let found = self.scratch.index.get(id).and_then(|index| rules.services.get(*index));
        found.filter(|service| service.id == *id).map(|service| &**service)
    }

    /// All that `id` cannot work without, at any depth, nearest first.
    pub(super) fn ancestors(&self, rules: &Rules, id: &ServiceId) -> Vec<ServiceId> {
        reach(id, |id| self.service(rules, id).map_or(&[], |service| &service.depends_on))
    }

    /// All that cannot work without `id`, at any depth, nearest first.
    pub(super) fn descendants(&self, id: &ServiceId) -> Vec<ServiceId> {
        reach(id, |id| self.scratch.dependants.get(id).map_or(&[], Vec::as_slice))
    }

    fn random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014): ids must differ, not be hard to guess.
        self.head.minted = self.head.minted.wrapping_add(1);
        let mut z = self.head.seed.wrapping_add(self.head.minted.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn random_bytes(&mut self) -> [u8; 10] {
        self.touch_head();
        let mut bytes = [0; 10];
        let words = [self.random().to_be_bytes(), self.random().to_be_bytes()];
        bytes.iter_mut().zip(words.as_flattened()).for_each(|(to, from)| *to = *from);
        bytes
    }

    pub(super) fn event_id(&mut self, at: Timestamp) -> EventId {
        let bytes = self.random_bytes();
        EventId::new(at, bytes)
    }

    pub(super) fn update_id(&mut self, at: Timestamp) -> UpdateId {
        let bytes = self.random_bytes();
        UpdateId::new(at, bytes)
    }

    /// The earliest time at which [`super::Input::Tick`] could change anything.
    #[must_use]
    pub fn wake_at(&self, rules: &Rules) -> Option<Timestamp> {
        let _ = rules;
        let cases = self.live().filter_map(Case::wake_at).min();
        [self.scratch.fresh_until, cases, self.wait_ends_at(), self.head.planned_at].into_iter().flatten().min()
    }
}

/// Everything that `next` leads to from `start`, nearest first, without `start`.
fn reach<'a>(start: &ServiceId, next: impl Fn(&ServiceId) -> &'a [ServiceId]) -> Vec<ServiceId> {
    let mut seen: BTreeSet<&'a ServiceId> = BTreeSet::new();
    let mut found: Vec<&'a ServiceId> = next(start).iter().filter(|id| *id != start && seen.insert(id)).collect();
    let mut done = 0;
    while let Some(id) = found.get(done) {
        done += 1;
        let further: Vec<&'a ServiceId> = next(id).iter().filter(|id| *id != start && seen.insert(id)).collect();
        found.extend(further);
    }
    found.into_iter().cloned().collect()
}
