//! The rule of telling over many generated incidents: whatever happens, in whatever order the
//! server comes and goes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{IncidentStatus, subscriber::Subscriber},
    notify::{
        ledger::{Pending, Told},
        story::{Story, at, directory, subscriber},
    },
};

const SERVICES: [&str; 3] = ["api", "database", "slowpoke"];

/// What happens next, as small numbers that always mean something in the state at hand.
#[derive(Clone, Copy, Debug)]
struct Happening {
    what: u8,
    service: usize,
    after: i64,
    seal: i64,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = (0..10u8, 0..3usize, 1..600i64, prop_oneof![Just(0i64), Just(10), Just(30)])
        .prop_map(|(what, service, after, seal)| Happening { what, service, after, seal });
    prop::collection::vec(one, 1..12)
}

fn happen(story: &mut Story, happening: Happening, now: i64) {
    let id = SERVICES[happening.service];
    let part = story.incident.part(&id.parse().unwrap()).cloned();
    let suffering = story.incident.affected.iter().filter(|part| part.recovered_at.is_none()).count();
    let is_open = story.incident.is_open();
    let event = match (happening.what, part) {
        (0..=2, None) if is_open => story.joins(now, id),
        (0..=4, Some(part)) if is_open && part.recovered_at.is_none() && suffering > 1 => story.is_back(now, id),
        (3..=6, _) if is_open => story.resolves(now),
        (_, Some(_)) if !is_open && happening.what < 7 => story.reopens(now, id),
        (7, _) if !is_open => story.is_written_up(now),
        _ if is_open => story.says(now, IncidentStatus::Identified, "News."),
        _ => return,
    };
    event.seals_at = at(now + happening.seal);
}

/// A ledger of one lane, and what its subscriber read.
#[derive(Default)]
struct Reader {
    /// By event, oldest first: how it ended.
    done: BTreeMap<usize, &'static str>,
    told: Vec<usize>,
    mails: Vec<(News, usize, Vec<usize>)>,
    /// What was on its way when the connection was lost.
    left: Option<(News, usize, Vec<usize>)>,
}

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Away,
    There,
    /// It takes the message, or does not: nobody knows.
    Lost,
}

impl Reader {
    fn look(&mut self, story: &Story, ann: &Subscriber, now: i64, weather: Weather) -> bool {
        let number = |delivery| (0..story.events.len()).find(|&n| Story::delivery(n) == delivery).unwrap();
        let left = self.left.clone();
        let left_in = |n: usize| {
            let (_, last, fold) = left.as_ref()?;
            (*last == n || fold.contains(&n)).then(|| Story::delivery(*last))
        };
        let lane = Lane {
            pending: (0..story.events.len())
                .filter(|n| !self.done.contains_key(n))
                .map(|n| Pending {
                    delivery: Story::delivery(n),
                    event: story.events[n].clone(),
                    attempts: 0,
                    first_tried_at: None,
                    left_in: left_in(n),
                })
                .collect(),
            told: self.told.iter().map(|&n| Told { event: story.events[n].clone(), at: at(now) }).collect(),
            ..story.lane(ann, &[], &[])
        };
        let decisions = plan(&lane, &directory(), at(now));
        let planned: Vec<_> = decisions.iter().map(|(delivery, _)| number(*delivery)).collect();
        let pending: Vec<_> = lane.pending.iter().map(|pending| number(pending.delivery)).collect();
        assert_eq!(planned, pending, "each pending event is decided once, in order");
        let mut changed = false;
        for (delivery, decision) in decisions {
            match decision {
                Decision::Send { news, fold } if weather != Weather::Away => {
                    let n = number(delivery);
                    let fold: Vec<_> = fold.into_iter().map(number).collect();
                    let message = (news, n, fold.clone());
                    if let Some(left) = &left {
                        assert_eq!(*left, message, "what may be there already is sent again as it was");
                    }
                    if weather == Weather::Lost {
                        self.left = Some(message);
                        continue;
                    }
                    self.left = None;
                    let all_sealed = fold.iter().chain([&n]).all(|&n| story.events[n].is_sealed(at(now)));
                    assert!(all_sealed, "what may still change is not told");
                    self.done.insert(n, "sent");
                    for &folded in &fold {
                        self.done.insert(folded, "folded");
                    }
                    self.told.push(n);
                    self.mails.push((news, n, fold));
                    changed = true;
                }
                Decision::Drop { .. } => {
                    self.done.insert(number(delivery), "dropped");
                    changed = true;
                }
                Decision::Hold { until, .. } => assert!(until >= at(now)),
                Decision::Send { .. } | Decision::Folded { .. } => {}
            }
        }
        changed
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn events_are_told_in_order_once_and_no_up_comes_without_a_down(
        first in 0..3usize,
        follows in prop::sample::subsequence(vec!["api", "database", "slowpoke"], 0..=3),
        steps in happenings(),
        weather in prop::collection::vec(prop::sample::select(vec![Weather::Away, Weather::There, Weather::Lost]), 24),
    ) {
        let ann = subscriber(&follows);
        let mut story = Story::opens(0, &[SERVICES[first]]);
        let mut reader = Reader::default();
        let mut now = 0;
        let mut weather = weather.into_iter().cycle();
        for step in steps {
            now += step.after;
            happen(&mut story, step, now);
            // Looked at twice, with the server there or away.
            for _ in 0..2 {
                let is_there = weather.next().unwrap();
                reader.look(&story, &ann, now, is_there);
            }
        }
        // In the end the server is there for long enough.
        for _ in 0..100 {
            now += 60;
            while reader.look(&story, &ann, now, Weather::There) {}
        }

        // Everything ends in one way, if the incident itself has ended or notify_after is over.
        prop_assert_eq!(reader.done.len(), story.events.len());

        // In order: no message is older than one before it.
        let order: Vec<_> = reader.mails.iter().map(|(_, n, _)| *n).collect();
        prop_assert!(order.is_sorted(), "{:?}", reader.mails);
        let all: BTreeSet<_> = reader.mails.iter().flat_map(|(_, n, fold)| fold.iter().chain([n])).collect();
        prop_assert_eq!(all.len(), reader.mails.iter().map(|(_, _, fold)| fold.len() + 1).sum::<usize>());

        // No up without down, no down twice in a row without an up between.
        let mut is_down = false;
        for (at, (news, n, fold)) in reader.mails.iter().enumerate() {
            let is_first = at == 0;
            match news {
                News::Opened | News::Reopened => { prop_assert!(!is_down || *news == News::Reopened, "{:?}", reader.mails); is_down = true; }
                News::Resolved => { prop_assert!(is_down, "{:?}", reader.mails); is_down = false; }
                News::Joined | News::Recovered => prop_assert!(is_down, "{:?}", reader.mails),
                News::Passed => {
                    // The first that they hear of it, or a further round of it.
                    let is_round = |&n: &usize| !matches!(story.events[n].kind, EventKind::Resolved | EventKind::Recovered);
                    let is_news = is_first || fold.iter().chain([n]).any(is_round);
                    prop_assert!(!is_down && is_news, "{:?}", reader.mails);
                }
                News::Updated | News::Intermittent | News::Postmortem | News::Withdrawn => {}
            }
        }

        // What they believe in the end is true.
        let directory = directory();
        let recipient = Recipient { wants: &ann.wants, directory: &directory };
        let view = (&story.incident).into();
        let is_theirs = recipient.parts(&story.incident.affected).next().is_some();
        if is_theirs && !recipient.is_over(&view) {
            prop_assert!(is_down, "it goes on, and they were told {:?}", reader.mails);
        }
        if is_down {
            prop_assert!(!recipient.is_over(&view), "it is over, and they were told {:?}", reader.mails);
        }
    }
}
