//! What the queue does when the ledger fails between two words.

use std::path::Path;

use super::*;
use crate::{
    config::Config,
    notify::{
        ledger::{Decide, Tokens},
        story::{Story, at, subscriber},
    },
};

/// A ledger in memory that fails when told to.
#[derive(Default)]
struct Failing {
    lanes: Vec<Lane>,
    fates: Vec<(DeliveryId, Fate)>,
    settled: Vec<Settled>,
    /// After so many that work.
    claims_fail: Option<usize>,
    refused_fails: bool,
}

fn failure() -> LedgerError {
    LedgerError("the disk is full".into())
}

impl Ledger for Failing {
    fn claim(&mut self, _: i64, _: Timestamp, limit: usize, decide: Decide<'_>) -> Result<usize, LedgerError> {
        if let Some(left) = &mut self.claims_fail {
            let Some(fewer) = left.checked_sub(1) else {
                self.claims_fail = None;
                return Err(failure());
            };
            *left = fewer;
        }
        let lanes = limit.min(self.lanes.len());
        self.lanes.drain(..lanes).for_each(|lane| self.fates.extend(decide(lane)));
        Ok(lanes)
    }

    fn settle(&mut self, settled: &[Settled], _: Timestamp) -> Result<(), LedgerError> {
        self.settled.extend_from_slice(settled);
        Ok(())
    }

    fn refused(&mut self, _: &SubscriberId, _: bool, _: Timestamp) -> Result<bool, LedgerError> {
        if std::mem::take(&mut self.refused_fails) { Err(failure()) } else { Ok(true) }
    }

    fn set_back(&mut self, _: SignedDuration, _: Timestamp) -> Result<(), LedgerError> {
        Ok(())
    }

    fn tokens(&self, _: &SubscriberId, _: Timestamp, _: Sent, _: Timestamp) -> Tokens {
        Tokens { unsubscribe: "token".to_owned(), ..Tokens::default() }
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>, LedgerError> {
        Ok(None)
    }
}

fn outbox() -> Outbox {
    let text = "[site]\nurl = \"https://status.example.org/\"\n\
                [email]\nfrom = \"status@example.org\"\nsmtp = \"dir:mails\"\n\
                [[service]]\nid = \"api\"\n";
    let config = Config::parse(Path::new("watchbell.toml"), text, &|_| None).unwrap().config;
    let composer = Composer::new(&config, config.email.as_ref().unwrap()).unwrap();
    Outbox::new(1, Arc::new(composer), 4, None)
}

#[test]
fn a_message_composed_before_the_ledger_failed_leaves_later() {
    let story = Story::opens(0, &["api"]);
    let not_theirs = story.lane(&subscriber(&["website"]), &[], &[0]);
    let theirs = story.lane(&subscriber(&["api"]), &[], &[0]);
    let mut ledger = Failing { lanes: vec![not_theirs, theirs], claims_fail: Some(1), ..Failing::default() };
    let mut outbox = outbox();
    outbox.poll(&mut ledger, at(60)).unwrap_err();
    let outgoing = outbox.poll(&mut ledger, at(61)).unwrap();
    assert_eq!(outgoing.len(), 1, "the message was lost");
    assert!(matches!(ledger.fates[..], [(_, Fate::Dropped { .. }), (_, Fate::Leaves { .. })]), "{:?}", ledger.fates);
    outbox.complete(outgoing[0].delivery, &Reply::Accepted { text: "250 ok".to_owned() }, at(62));
    assert_eq!(outbox.in_flight(), 0);
}

#[test]
fn a_refusal_that_could_not_be_noted_is_noted_later() {
    let story = Story::opens(0, &["api"]);
    let lane = story.lane(&subscriber(&["api"]), &[], &[0]);
    let mut ledger = Failing { lanes: vec![lane], refused_fails: true, ..Failing::default() };
    let mut outbox = outbox();
    let outgoing = outbox.poll(&mut ledger, at(60)).unwrap();
    outbox.complete(outgoing[0].delivery, &Reply::refused(Phase::Recipient, 550, "5.1.1 nobody"), at(61));
    outbox.poll(&mut ledger, at(62)).unwrap_err();
    outbox.poll(&mut ledger, at(63)).unwrap();
    assert!(matches!(ledger.settled[..], [Settled { result: Settlement::Failed { .. }, .. }]), "{:?}", ledger.settled);
}

#[test]
fn what_became_doubtful_is_not_what_was_never_begun() {
    let story = Story::opens(0, &["api"]);
    let after = |reply: Reply| {
        let lane = story.lane(&subscriber(&["api"]), &[], &[0]);
        let mut ledger = Failing { lanes: vec![lane], ..Failing::default() };
        let mut outbox = outbox();
        let outgoing = outbox.poll(&mut ledger, at(60)).unwrap();
        outbox.complete(outgoing[0].delivery, &reply, at(61));
        outbox.flush(&mut ledger, at(62)).unwrap();
        ledger.settled.remove(0).result
    };
    let until = at(61);
    let cut = after(Reply::broken(Phase::Body, "cut"));
    assert!(matches!(cut, Settlement::Doubted { reply: Some(_), .. }), "{cut:?}");
    assert_eq!(after(Reply::broken(Phase::Recipient, "cut")), Settlement::Hold { until });
    assert_eq!(after(Reply::NotTried), Settlement::Hold { until });
}
