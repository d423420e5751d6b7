//! Faults put in on purpose, through the ports: an oracle that finds nothing proves nothing.
//! `scripts/mutants` does the same to the sources.

use std::{fs, path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use watchbell::{
    domain::SubscriberId,
    notify::ledger::{Decide, Fate, Lane, Ledger, LedgerError, Sent, Settled, Settlement, StoreLedger, Tokens},
    simulation::{
        Action, Port, Side,
        network::{refuses, up},
        relay::{greylists, takes},
    },
};

use super::{
    invariants::Broken,
    stage::{Sim, config, hours, mins, secs},
};

/// What a ledger does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    MarksBeforeSending,
    LetsTheNewestOvertake,
}

/// The queue in the store, with a fault.
struct Sabotaged {
    ledger: StoreLedger,
    wrong: Wrong,
}

impl Ledger for Sabotaged {
    fn claim(&mut self, epoch: i64, now: Timestamp, limit: usize, decide: Decide<'_>) -> Result<usize, LedgerError> {
        let (wrong, mut marked) = (self.wrong, Vec::new());
        let mut decide = |mut lane: Lane| match wrong {
            Wrong::Nothing => decide(lane),
            Wrong::MarksBeforeSending => {
                marked.extend(lane.pending.iter().map(|pending| Settled {
                    delivery: pending.delivery,
                    result: Settlement::Sent { reply: "surely".to_owned() },
                }));
                decide(lane)
            }
            Wrong::LetsTheNewestOvertake => {
                let newest = lane.pending.pop();
                let until = now + SignedDuration::from_secs(30);
                let waits = lane.pending.iter().map(|pending| (pending.delivery, Fate::Waits { until }));
                let mut fates: Vec<_> = waits.collect();
                lane.pending = newest.into_iter().collect();
                fates.extend(decide(lane));
                fates
            }
        };
        let lanes = self.ledger.claim(epoch, now, limit, &mut decide)?;
        self.ledger.settle(&marked, now)?;
        Ok(lanes)
    }

    fn settle(&mut self, settled: &[Settled], now: Timestamp) -> Result<(), LedgerError> {
        self.ledger.settle(settled, now)
    }

    fn refused(&mut self, subscriber: &SubscriberId, gone: bool, now: Timestamp) -> Result<bool, LedgerError> {
        self.ledger.refused(subscriber, gone, now)
    }

    fn set_back(&mut self, by: SignedDuration, now: Timestamp) -> Result<(), LedgerError> {
        self.ledger.set_back(by, now)
    }

    fn tokens(&self, subscriber: &SubscriberId, manage_until: Timestamp, sent: Sent, at: Timestamp) -> Tokens {
        self.ledger.tokens(subscriber, manage_until, sent, at)
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>, LedgerError> {
        self.ledger.next_due()
    }
}

fn sabotaged(wrong: Wrong) -> Sim {
    let config = config(&["api"]).replace("timeout = ", "down_after = 4\ntimeout = ");
    let mut sim = Sim::new(&config)
        .target("api", up())
        .then_after(mins(10), refuses())
        .then_after(mins(20), up())
        .subscriber("a@example.org");
    sim.simulation.wrap_ledger(Box::new(move |ledger| Box::new(Sabotaged { ledger, wrong })));
    sim
}

fn play(mut sim: Sim) -> Result<(), Broken> {
    sim.try_run_for(hours(3))?;
    sim.try_end()
}

fn assert_breaks(invariant: &str, played: Result<(), Broken>) {
    let broken = played.expect_err("nobody noticed").to_string();
    assert!(broken.starts_with(invariant), "{broken}");
}

#[test]
fn a_claim_that_is_marked_as_sent_before_it_is_sent_is_noticed() {
    let end = Action::EndAt(Port::Send, Side::Before, 0);
    let story = |wrong| play(sabotaged(wrong).after(mins(5), end.clone()));
    story(Wrong::Nothing).unwrap();
    assert_breaks("I3", story(Wrong::MarksBeforeSending));
}

#[test]
fn a_resolved_mail_that_overtakes_is_noticed() {
    let story = |wrong| play(sabotaged(wrong).relay(greylists()).then_after(mins(40), takes()));
    story(Wrong::Nothing).unwrap();
    assert_breaks("I5", story(Wrong::LetsTheNewestOvertake));
}

#[test]
fn a_streak_that_is_forgotten_at_a_restart_is_noticed() {
    let story = |forgets: bool| {
        let mut sim = sabotaged(Wrong::Nothing);
        sim.try_run_for(mins(9))?;
        // No life is long enough for four failures of its own.
        while sim.simulation.moment() < mins(31) {
            sim.plan(Duration::ZERO, Action::Pause(secs(1)));
            sim.try_run_for(Duration::from_millis(500))?;
            if forgets {
                let db = rusqlite::Connection::open(&sim.simulation.config().store.path).unwrap();
                db.execute("DELETE FROM world WHERE key LIKE 'check:%'", []).unwrap();
            }
            sim.try_run_for(Duration::from_millis(8500))?;
        }
        play(sim)
    };
    story(false).unwrap();
    assert_breaks("I1", story(true));
}

#[test]
fn the_faults_that_are_put_into_sources_find_their_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stories = fs::read_to_string(root.join("tests/sim/stories.rs")).unwrap();
    let patches: Vec<_> = fs::read_dir(root.join("tests/sim/mutants")).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(patches.len() >= 3, "{patches:?}");
    for patch in patches {
        let text = fs::read_to_string(&patch).unwrap();
        let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap();
        let source = fs::read_to_string(root.join(after("--- a/"))).unwrap();
        let (_, hunk) = text.split_once("\n@@").unwrap();
        let old: Vec<&str> = hunk.lines().skip(1).filter_map(|line| line.strip_prefix(['-', ' '])).collect();
        assert!(source.contains(&old.join("\n")), "{} does not apply any more", patch.display());
        let noticed_by = after("Noticed by: sim::stories::");
        assert!(stories.contains(&format!("\nfn {noticed_by}")), "{}: no such story", patch.display());
    }
}
