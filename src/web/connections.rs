//! The connections that are open, what each is doing, and which one has to go.
//!
//! A client that sends nothing costs a descriptor; a crowd of them must cost visitors nothing. So
//! there is a fixed number of places, and a newcomer gets the place of whoever has been silent
//! longest.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Limits, Network};

/// One client's connection.
pub(super) struct Connection {
    id: u64,
    /// What it is counted by; `None` for trusted proxies.
    network: Option<Network>,
    /// The other end: a client, or a proxy before it.
    pub(super) peer: IpAddr,
    /// Rung when somebody else gets its place.
    pub(super) evicted: CancellationToken,
    activity: Mutex<Activity>,
}

#[derive(Clone, Copy, Debug)]
struct Activity {
    phase: Phase,
    /// When this phase began.
    since: Instant,
    /// When it last took bytes of ours.
    wrote_at: Instant,
    /// Requests whose answers are not finished.
    open: u32,
}

/// What a connection is doing; those that come first give way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// It has not sent a whole request yet.
    Asking,
    /// It rests between two requests.
    Resting,
    /// It is being answered.
    Answered,
}

impl Connection {
    fn activity(&self) -> MutexGuard<'_, Activity> {
        // Plain values: whoever panicked left them whole.
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client took some bytes.
    pub(super) fn wrote(&self) {
        self.activity().wrote_at = Instant::now();
    }

    /// A request's head has arrived; its answer is finished when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        let now = Instant::now();
        let mut activity = self.activity();
        activity.open = activity.open.saturating_add(1);
        (activity.phase, activity.since, activity.wrote_at) = (Phase::Answered, now, now);
        drop(activity);
        Answering { connection: Arc::clone(self) }
    }

    /// The rest of a request is being waited for (`true`), or has arrived.
    pub(super) fn asking(&self, asking: bool) {
        let mut activity = self.activity();
        activity.phase = if asking { Phase::Asking } else { Phase::Answered };
        activity.wrote_at = Instant::now();
    }

    /// When this connection has to be cut, if nothing moves until then. The head of a later request
    /// and the body of any have limits of their own.
    pub(super) fn deadline(&self, limits: &Limits) -> Instant {
        let Activity { phase, since, wrote_at, open } = *self.activity();
        match phase {
            Phase::Asking if open == 0 => since + limits.head,
            Phase::Asking => wrote_at + limits.body + limits.stall,
            Phase::Resting => since.max(wrote_at) + limits.idle,
            Phase::Answered => wrote_at + limits.stall,
        }
    }
}

/// Lives as long as a request is being answered.
pub(super) struct Answering {
    connection: Arc<Connection>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut activity = self.connection.activity();
        activity.open = activity.open.saturating_sub(1);
        if activity.open == 0 {
            (activity.phase, activity.since) = (Phase::Resting, Instant::now());
        }
    }
}

/// All places.
pub(super) struct Connections {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_id: BTreeMap<u64, Arc<Connection>>,
}

/// An answer that has not moved for so long may be cut for a newcomer's sake.
const STUCK: Duration = Duration::from_secs(2);
/// Who came less than this ago is not yet called silent when descriptors, and not places, are short:
/// there may be so few connections that the oldest is also the newest.
const FRESH: Duration = Duration::from_millis(100);

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a newcomer, at the cost of the most silent one if all are taken; `None` if all
    /// are busy. A peer that `counts` shares the places of its network.
    pub(super) fn admit(&self, peer: IpAddr, counts: bool) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let network = counts.then(|| Network::from(peer));
        let mut open = self.open();
        if let Some(network) = network {
            let of_it = |connection: &Connection| connection.network == Some(network);
            if open.by_id.values().filter(|connection| of_it(connection)).count() >= self.limits.per_network {
                open.make_room(now, of_it)?;
            }
        }
        if open.by_id.len() >= self.limits.connections {
            open.make_room(now, |_| true)?;
        }
        let id = open.next;
        open.next = id.wrapping_add(1);
        let activity = Activity { phase: Phase::Asking, since: now, wrote_at: now, open: 0 };
        let connection = Arc::new(Connection {
            id,
            network,
            peer,
            evicted: CancellationToken::new(),
            activity: Mutex::new(activity),
        });
        open.by_id.insert(id, Arc::clone(&connection));
        Some(connection)
    }

    /// Closes the most silent connection, if there is one to spare.
    pub(super) fn make_room(&self) {
        let now = Instant::now();
        let settled = |connection: &Connection| now.saturating_duration_since(connection.activity().since) >= FRESH;
        // With nobody to spare, time will make somebody so.
        let _ = self.open().make_room(now, settled);
    }

    /// The connection is closed; its place is free.
    pub(super) fn leave(&self, connection: &Connection) {
        self.open().by_id.remove(&connection.id);
    }
}

impl Open {
    fn make_room(&mut self, now: Instant, among: impl Fn(&Connection) -> bool) -> Option<()> {
        let victim = self
            .by_id
            .values()
            .filter(|connection| among(connection))
            .filter_map(|connection| {
                let Activity { phase, since, wrote_at, .. } = *connection.activity();
                let stuck = now.saturating_duration_since(wrote_at) >= STUCK;
                (phase != Phase::Answered || stuck).then_some((phase, since, connection.id))
            })
            .min()
            .map(|(_, _, id)| id)?;
        let victim = self.by_id.remove(&victim)?;
        victim.evicted.cancel();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, per_network: usize) -> Connections {
        Connections::new(Limits { connections, per_network, ..Limits::default() })
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([192, 0, last, 1])
    }

    #[test]
    fn the_one_that_has_been_silent_longest_makes_room() {
        let places = places(2, 2);
        let (first, second) = (places.admit(peer(1), true).unwrap(), places.admit(peer(2), true).unwrap());
        let third = places.admit(peer(3), true).unwrap();
        assert!(first.evicted.is_cancelled() && !second.evicted.is_cancelled() && !third.evicted.is_cancelled());
    }

    #[test]
    fn who_never_asked_goes_before_who_rests() {
        let places = places(2, 2);
        let resting = places.admit(peer(1), true).unwrap();
        drop(resting.begin());
        let silent = places.admit(peer(2), true).unwrap();
        places.admit(peer(3), true).unwrap();
        assert!(silent.evicted.is_cancelled() && !resting.evicted.is_cancelled());
    }

    #[test]
    fn who_is_being_answered_stays() {
        let places = places(1, 1);
        let busy = places.admit(peer(1), true).unwrap();
        let answering = busy.begin();
        assert!(places.admit(peer(2), true).is_none());
        busy.asking(true);
        assert!(places.admit(peer(2), true).is_some(), "a body that does not come is no answer");
        drop(answering);
    }

    #[test]
    fn a_network_fills_its_own_places_only() {
        let places = places(8, 2);
        let stranger = places.admit(peer(1), true).unwrap();
        let held: Vec<_> = (0..4).map(|_| places.admit(peer(2), true).unwrap()).collect();
        let gone = held.iter().filter(|connection| connection.evicted.is_cancelled()).count();
        assert_eq!(gone, 2);
        assert!(!stranger.evicted.is_cancelled());
    }

    #[test]
    fn a_proxy_is_not_counted_as_one_client() {
        let places = places(8, 1);
        let held: Vec<_> = (0..8).map(|_| places.admit(peer(1), false).unwrap()).collect();
        assert!(held.iter().all(|connection| !connection.evicted.is_cancelled()));
    }

    #[test]
    fn a_place_is_free_again_when_its_holder_leaves() {
        let places = places(1, 1);
        let first = places.admit(peer(1), true).unwrap();
        places.leave(&first);
        places.admit(peer(2), true).unwrap();
        assert!(!first.evicted.is_cancelled());
    }
}
