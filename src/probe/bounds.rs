//! How many probes may be in flight, in all and per target host, and who goes first when there are
//! more.
//!
//! Half of the descriptors that the process may open are for probes, at most 4096. No host is asked
//! by more than eight at once. An eighth of the slots is kept for canaries and rechecks: a verdict
//! waits for them, and when many targets hang they must not queue behind regular turns.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::oneshot;

use crate::judge::Priority;

/// The most probes in flight, whatever the descriptors allow.
const MOST: usize = 4096;
/// The most probes in flight against one host.
const PER_HOST: usize = 8;
/// So many descriptors are wished for: two for each probe (its connection and its name lookup).
const DESCRIPTORS: u64 = 16_384;

/// How many descriptors this process may have open: its limit is raised as far as is allowed, within
/// reason.
#[must_use]
pub fn descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if let Some(current) = limit.current
        && current < DESCRIPTORS.min(most)
    {
        let mut wished = limit;
        wished.current = Some(DESCRIPTORS.min(most));
        // Fewer slots are no reason not to run.
        let _ = setrlimit(Resource::Nofile, wished);
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The slots that probes run in. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Bounds {
    shared: Arc<Mutex<State>>,
}

struct State {
    total: usize,
    /// Of `total`, only for canaries and rechecks.
    reserved: usize,
    in_flight: usize,
    /// Probes in flight by host, and who waits because it has as many as it may.
    hosts: HashMap<Arc<str>, Host>,
    /// Who waits for a slot, most urgent first, then first come first served.
    waiting: BTreeMap<Turn, Waiter>,
    arrivals: u64,
}

type Turn = (Priority, u64);

struct Waiter {
    host: Arc<str>,
    start: oneshot::Sender<Permit>,
}

#[derive(Default)]
struct Host {
    in_flight: usize,
    waiting: BTreeMap<Turn, Waiter>,
}

/// One slot, given back when dropped.
pub struct Permit {
    /// Taken out when given back.
    bounds: Option<Bounds>,
    host: Arc<str>,
}

impl Bounds {
    /// `total` slots.
    #[must_use]
    pub fn new(total: usize) -> Self {
        let total = total.max(1);
        let state = State {
            total,
            reserved: total / 8,
            in_flight: 0,
            hosts: HashMap::new(),
            waiting: BTreeMap::new(),
            arrivals: 0,
        };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// As many slots as this process can have: half of its descriptors.
    #[must_use]
    pub fn of_process() -> Self {
        let now = descriptors();
        Self::new(usize::try_from(now / 2).unwrap_or(MOST).min(MOST))
    }

    /// A slot for a probe of `host`, if one is free now and nobody more urgent waits for it.
    #[must_use]
    pub fn try_start(&self, host: &str, priority: Priority) -> Option<Permit> {
        let host: Arc<str> = host.to_ascii_lowercase().into();
        let mut state = self.lock();
        let passed_over = state.waiting.first_key_value().is_some_and(|((waiting, _), _)| *waiting <= priority);
        if passed_over || !state.has_room(priority) || !state.host_has_room(&host) {
            return None;
        }
        state.take(&host);
        Some(Permit { bounds: Some(self.clone()), host })
    }

    /// A slot for a probe of `host`, as soon as it is this one's turn. Dropping the future gives up
    /// the place in the queue.
    pub async fn start(&self, host: &str, priority: Priority) -> Permit {
        let host: Arc<str> = host.to_ascii_lowercase().into();
        loop {
            let (start, started) = oneshot::channel();
            {
                let mut state = self.lock();
                state.arrivals += 1;
                let turn = (priority, state.arrivals);
                state.waiting.insert(turn, Waiter { host: host.clone(), start });
            }
            self.admit();
            if let Ok(permit) = started.await {
                return permit;
            }
        }
    }

    /// How many slots there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.lock().total
    }

    /// How many are taken.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// How many probes wait for one.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.hosts.values().map(|host| host.waiting.len()).sum::<usize>()
    }

    /// Lets everyone start who may, most urgent first.
    fn admit(&self) {
        loop {
            let (waiter, permit) = {
                let mut state = self.lock();
                let Some(waiter) = state.next() else { return };
                state.take(&waiter.host);
                let host = waiter.host.clone();
                (waiter, Permit { bounds: Some(self.clone()), host })
            };
            // Whoever gave up waiting hands the permit straight back; here, not by its `drop`,
            // which would call us again.
            if let Err(permit) = waiter.start.send(permit) {
                permit.give_back();
            }
        }
    }

    /// The state has no invariant that a panic elsewhere could break half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, priority: Priority) -> bool {
        let limit = match priority {
            Priority::Canary | Priority::Recheck => self.total,
            Priority::PulledForward | Priority::Regular => self.total - self.reserved,
        };
        self.in_flight < limit
    }

    fn host_has_room(&self, host: &str) -> bool {
        self.hosts.get(host).is_none_or(|known| known.in_flight < PER_HOST)
    }

    fn take(&mut self, host: &Arc<str>) {
        self.in_flight += 1;
        self.hosts.entry(host.clone()).or_default().in_flight += 1;
    }

    /// The most urgent one that may start. Those whose host is busy step aside until it is not.
    fn next(&mut self) -> Option<Waiter> {
        loop {
            let (&turn, _) = self.waiting.first_key_value()?;
            if !self.has_room(turn.0) {
                return None;
            }
            let waiter = self.waiting.remove(&turn)?;
            if self.host_has_room(&waiter.host) {
                return Some(waiter);
            }
            self.hosts.entry(waiter.host.clone()).or_default().waiting.insert(turn, waiter);
        }
    }

    fn give_back(&mut self, host: &Arc<str>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(known) = self.hosts.get_mut(host) else { return };
        known.in_flight = known.in_flight.saturating_sub(1);
        if let Some((turn, waiter)) = known.waiting.pop_first() {
            self.waiting.insert(turn, waiter);
        } else if known.in_flight == 0 {
            self.hosts.remove(host);
        }
    }
}

impl Permit {
    fn give_back(mut self) -> Option<Bounds> {
        self.release()
    }

    fn release(&mut self) -> Option<Bounds> {
        let bounds = self.bounds.take()?;
        bounds.lock().give_back(&self.host);
        Some(bounds)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(bounds) = self.release() {
            bounds.admit();
        }
    }
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "Bounds({} of {} in flight, {} waiting)", state.in_flight, state.total, state.waiting.len())
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.host)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::BoxFuture};

    use super::*;

    fn wait(bounds: &Bounds, host: &str, priority: Priority) -> BoxFuture<'static, Permit> {
        let (bounds, host) = (bounds.clone(), host.to_owned());
        let mut future = async move { bounds.start(&host, priority).await }.boxed();
        assert!((&mut future).now_or_never().is_none(), "nothing was free");
        future
    }

    fn hosts(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("h{n}")).collect()
    }

    #[test]
    fn no_more_than_the_total_run_and_some_slots_are_kept_for_rechecks() {
        let bounds = Bounds::new(16);
        let regular: Vec<_> = hosts(20).iter().filter_map(|host| bounds.try_start(host, Priority::Regular)).collect();
        assert_eq!(regular.len(), 14);
        let urgent: Vec<_> = hosts(20).iter().filter_map(|host| bounds.try_start(host, Priority::Recheck)).collect();
        assert_eq!(urgent.len(), 2);
        drop(regular);
        assert_eq!(bounds.in_flight(), 2);
    }

    #[test]
    fn one_host_has_at_most_eight_and_holds_up_no_other() {
        let bounds = Bounds::new(100);
        let mut held: Vec<_> = (0..20).filter_map(|_| bounds.try_start("a", Priority::Regular)).collect();
        assert_eq!(held.len(), 8);
        assert!(bounds.try_start("A", Priority::Canary).is_none());
        let mut ninth = wait(&bounds, "a", Priority::Canary);
        assert!(bounds.start("b", Priority::Regular).now_or_never().is_some());
        held.pop();
        assert!((&mut ninth).now_or_never().is_some());
    }

    #[test]
    fn the_most_urgent_goes_first_and_then_whoever_came_first() {
        let bounds = Bounds::new(1);
        let held = bounds.try_start("a", Priority::Regular).unwrap();
        let mut first = wait(&bounds, "b", Priority::Regular);
        let mut second = wait(&bounds, "c", Priority::Regular);
        let mut urgent = wait(&bounds, "d", Priority::Canary);
        assert_eq!(bounds.waiting(), 3);
        drop(held);
        assert!(bounds.try_start("e", Priority::Regular).is_none());
        assert!((&mut first).now_or_never().is_none());
        let permit = (&mut urgent).now_or_never().unwrap();
        drop(permit);
        assert!((&mut second).now_or_never().is_none());
        drop((&mut first).now_or_never().unwrap());
        assert!((&mut second).now_or_never().is_some());
        assert_eq!((bounds.in_flight(), bounds.waiting()), (0, 0));
    }

    #[test]
    fn whoever_gives_up_waiting_costs_nobody_a_slot() {
        let bounds = Bounds::new(1);
        let held = bounds.try_start("a", Priority::Regular).unwrap();
        drop(wait(&bounds, "b", Priority::Regular));
        let mut patient = wait(&bounds, "c", Priority::Regular);
        drop(held);
        assert!((&mut patient).now_or_never().is_some());
        assert!(bounds.try_start("d", Priority::Regular).is_some());
        assert!(bounds.lock().hosts.is_empty());
    }

    #[test]
    fn the_process_has_room_for_probes() {
        let bounds = Bounds::of_process();
        assert!((1..=MOST).contains(&bounds.total()));
    }
}
