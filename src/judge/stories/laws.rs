//! Laws that hold for every schedule of results, notes, restarts and reloads. That spans lie end to
//! end, that sealed events never change, that recording never runs backwards and that merging loses no
//! service is checked by [`Story`] after every input; that a restored world goes on in the same way, at
//! inputs that each case chooses; that incidents begin with the first of enough failures, by a witness.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use crate::{
    domain::{
        GroupId, Impact, IncidentStatus, ServiceId, ServiceStatus,
        event::EventKind,
        maintenance::{MaintenanceId, Window},
        note::{Note, NoteUpdate, Postmortem},
        outcome::CheckResult,
        service::Rules,
    },
    judge::{Input, story::*},
};

/// Services that need each other; `mail` and `shop` share a group, `shop` and `cdn` a host.
const SERVICES: [&str; 7] = ["db", "api: one two -> db", "web -> api", "legacy:", "mail", "shop -> mail db", "cdn"];
const CHECKS: [&str; 8] = ["db", "api/one", "api/two", "web", "mail", "shop", "cdn", "~canary/one"];

fn all_rules() -> Rules {
    let mut rules = rules(&SERVICES);
    for index in [4, 5] {
        Arc::get_mut(&mut rules.services[index]).unwrap().group = Some(GroupId::new("sales").unwrap());
    }
    Arc::get_mut(&mut rules.services[6]).unwrap().checks[0] = check("tcp", "shop");
    let mut canaries = service("canaries: one");
    canaries.id = crate::domain::ServiceId::of_canaries();
    rules.canaries = Some(Arc::new(canaries));
    rules
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    /// A target says this from now on, for so many seconds.
    Target(usize, CheckResult, i64),
    /// Nobody looks for so long.
    Sleep(i64),
    Suspend,
    /// Note `.0` is saved with change `.1`.
    Note(usize, usize),
    /// Service `.0` vanishes from the rules, or comes back.
    Toggle(usize),
    Reload,
    Restart,
    /// Work on service `.0` is planned to begin in `.1` seconds, for `.2` seconds; `.3` is its number.
    Plan(usize, i64, i64, u8),
}

fn result() -> impl Strategy<Value = CheckResult> {
    prop_oneof![4 => Just(UP), 4 => Just(DOWN), 1 => Just(SLOW), 1 => Just(UNKNOWN)]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => (0..CHECKS.len(), result(), prop_oneof![4 => 1..20i64, 4 => 20..200i64, 1 => 300..1500i64])
            .prop_map(|(check, result, lasts)| Happening::Target(check, result, lasts)),
        1 => (1..4000i64).prop_map(Happening::Sleep),
        1 => Just(Happening::Suspend),
        3 => (0..3usize, 0..12usize).prop_map(|(note, change)| Happening::Note(note, change)),
        1 => (0..SERVICES.len()).prop_map(Happening::Toggle),
        1 => Just(Happening::Reload),
        1 => Just(Happening::Restart),
        2 => (0..SERVICES.len(), -400..400i64, 1..1500i64, 0..3u8)
            .prop_map(|(service, starts, lasts, number)| Happening::Plan(service, starts, lasts, number)),
    ]
}

fn changed(note: &mut Note, change: usize, now: i64) {
    let say = |note: &mut Note, status| {
        let text = format!("text {} at {now}", note.updates.len());
        note.updates.push(NoteUpdate { status, ..update(&text) });
    };
    match change {
        0 => note.title = Some("Title".into()),
        1 => say(note, None),
        2 => say(note, Some(IncidentStatus::Identified)),
        3 => say(note, Some(IncidentStatus::Resolved)),
        4 => note.resolved = Some(at(now)),
        5 => {
            note.updates.pop();
        }
        6 => {
            if let Some(update) = note.updates.first_mut() {
                update.text = format!("edited at {now}").as_str().into();
            }
        }
        7 => note.withdrawn = !note.withdrawn,
        8 => note.impact = if note.impact.is_some() { None } else { Some(Impact::Major) },
        9 => {
            say(note, None);
            let status = if now % 2 == 0 { ServiceStatus::PartialOutage } else { ServiceStatus::Operational };
            let service = service_id(["db", "api", "web", "legacy", "ghost"][usize::try_from(now % 5).unwrap()]);
            note.updates.last_mut().unwrap().affected = BTreeMap::from([(service, status)]);
        }
        10 => note.started = Some(at(now - 500)),
        _ => note.postmortem = Some(Postmortem { published: Some(at(now + 50)), ..Postmortem::default() }),
    }
}

/// Lets everything happen.
fn tell(happenings: &[Happening], seed: u64) -> Story {
    let all = all_rules();
    let mut story = Story::light(all.clone(), seed);
    let mut notes = [note("2026-11-21-db", &[]), note("by-hand", &["api", "legacy"]), note("other", &["web"])];
    let mut clock = 0;
    for happening in happenings {
        match happening {
            Happening::Target(check, result, lasts) => {
                clock += lasts;
                story.target(CHECKS[*check], *result).run_to(clock);
            }
            Happening::Sleep(lasts) => {
                clock += lasts;
                story.sleep_to(clock).give(Input::Tick);
            }
            Happening::Suspend => {
                story.give(Input::Suspended);
            }
            Happening::Note(index, change) => {
                changed(&mut notes[*index], *change, clock);
                let note = notes[*index].clone();
                story.note(&note);
            }
            Happening::Toggle(index) => {
                story.witness.as_mut().unwrap().is_disturbed = true;
                let mut rules = story.rules.clone();
                let service = &all.services[*index];
                let place = rules.services.iter().position(|it| it.id == service.id);
                match place {
                    Some(place) => {
                        rules.services.remove(place);
                    }
                    None => rules.services.push(Arc::clone(service)),
                }
                story.reload(rules);
            }
            Happening::Plan(index, starts, lasts, number) => {
                let starts = clock + starts;
                story.give(Input::Maintenance(Box::new(Window {
                    id: MaintenanceId::new(&format!("work-{number}")).unwrap(),
                    services: vec![all.services[*index].id.clone()],
                    starts: at(starts),
                    ends: at(starts + lasts),
                    covers_dependents: starts % 2 == 0,
                    cancelled: lasts % 7 == 0,
                })));
            }
            Happening::Restart => {
                story.restart();
            }
            Happening::Reload => {
                story.reload(story.rules.clone());
            }
        }
        check_now(&story);
    }
    story
}

/// What holds at any moment.
fn check_now(story: &Story) {
    for incident in story.incidents.values() {
        assert_eq!(Some(incident), story.world.incident(&incident.id), "the last version told is the one that holds");
        assert!(incident.resolved_at.is_none_or(|at| at >= incident.started_at), "{incident:?}");
        for part in &incident.affected {
            assert!(part.worst >= part.status || !part.status.is_trouble(), "{part:?}");
            assert!(part.recovered_at.is_none_or(|at| at >= part.started_at), "{part:?}");
            assert!(incident.is_open() || part.recovered_at.is_some(), "over is over for all: {incident:?}");
            assert!(part.recovered_at.is_none() || !part.status.is_trouble(), "{part:?}");
        }
        let mut services: Vec<_> = incident.affected.iter().map(|part| &part.service).collect();
        services.sort();
        services.dedup();
        assert_eq!(services.len(), incident.affected.len(), "no service twice");
    }
    for service in &story.rules.services {
        let now = story.world.services[&service.id].record.now();
        let last = story.raw_spans(service.id.as_str()).last().map(|span| (span.status, span.from));
        assert_eq!(now, last, "the record told is the one that holds");
    }
}

/// Whoever reads the events in order always knows whether an incident is going on.
fn opened_and_resolved_alternate(story: &Story) {
    let mut open = BTreeMap::new();
    for event in &story.events {
        let was_open = open.get(&event.incident).copied();
        match event.kind {
            EventKind::Opened => assert_eq!(was_open, None, "{:?}", story.told()),
            EventKind::Reopened => assert_eq!(was_open, Some(false), "{:?}", story.told()),
            EventKind::Resolved | EventKind::Joined | EventKind::Recovered => {
                assert_ne!(was_open, Some(false), "{:?}", story.told());
            }
            _ => {}
        }
        match event.kind {
            EventKind::Opened | EventKind::Reopened | EventKind::Intermittent => {
                open.insert(event.incident.clone(), true);
            }
            EventKind::Resolved => {
                open.insert(event.incident.clone(), false);
            }
            _ => {}
        }
    }
}

/// What one check's results mean, said in the plainest way: the times at which it went down and
/// came back.
fn outages(results: &[CheckResult]) -> Vec<(i64, Option<i64>)> {
    let mut outages: Vec<(i64, Option<i64>)> = Vec::new();
    let mut is_down = false;
    for end in 0..results.len() {
        let tail = |wanted: CheckResult, count: usize| -> Option<i64> {
            let known: Vec<usize> = (0..=end).filter(|i| results[*i] != UNKNOWN).collect();
            let from = known.len().checked_sub(count)?;
            let good = known[from..].iter().all(|i| (results[*i] == DOWN) == (wanted == DOWN));
            good.then(|| i64::try_from(known[from]).unwrap())
        };
        if !is_down && let Some(first) = tail(DOWN, 3) {
            outages.push((first, None));
            is_down = true;
        } else if is_down && let Some(first) = tail(UP, 2) {
            outages.last_mut().unwrap().1 = Some(first);
            is_down = false;
        }
    }
    outages
}

/// So many cases, or as many as `PROPTEST_CASES` says.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// No service is lost: whoever was ever in trouble is part of an incident, but for planned work. What
/// fails before it and is found during it opens nothing, and work that was said to have been at another
/// time uncovers what is over; both lie beside the work.
fn no_service_is_lost(story: &Story) {
    let all = all_rules();
    let windows = &story.witness.as_ref().unwrap().windows;
    for service in &story.rules.services {
        let id = &service.id;
        if story.incidents.values().any(|incident| incident.part(id).is_some()) {
            continue;
        }
        for span in story.raw_spans(id.as_str()).iter().filter(|span| span.status.is_trouble()) {
            let mut beside =
                windows.iter().filter(|it| it.starts <= span.to.unwrap_or(story.now) && it.ends >= span.from);
            let is_planned =
                beside.any(|it| it.services.iter().any(|of| of == id || it.covers_dependents && needs(&all, id, of)));
            assert!(is_planned, "{id} is in no incident: {:?}", story.spans(id.as_str()));
        }
    }
}

/// Whether `one` cannot work without `other`, at any depth.
fn needs(rules: &Rules, one: &ServiceId, other: &ServiceId) -> bool {
    let needed = rules.service(one).map_or(&[][..], |service| &service.depends_on);
    needed.iter().any(|id| id == other || needs(rules, id, other))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(10_000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_contradicts_itself(
        happenings in prop::collection::vec(happening(), 1..25), seed in any::<u64>()
    ) {
        let story = tell(&happenings, seed);
        opened_and_resolved_alternate(&story);
        no_service_is_lost(&story);
        // Who suffers now is in an open incident that says so, unless an operator said it is over.
        let notes = happenings.iter().any(|it| matches!(it, Happening::Note(..)));
        for service in story.rules.services.iter().filter(|_| !notes) {
            let suffers = story.status(service.id.as_str()).is_some_and(ServiceStatus::is_trouble);
            let told = !story.world.suffering(&service.id).is_empty();
            prop_assert!(!suffers || told, "{:?}", story.told());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(10_000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn outages_begin_and_end_exactly_where_the_plain_reading_says(
        results in prop::collection::vec(prop_oneof![Just(UP), Just(DOWN), Just(DOWN), Just(UNKNOWN)], 1..40)
    ) {
        let mut story = Story::quick(rules(&["api"]));
        for (second, result) in results.iter().enumerate() {
            let second = i64::try_from(second).unwrap();
            story.now = at(second);
            story.probe_at("api", *result, at(second));
        }
        let expected = outages(&results);
        let seen: Vec<_> = story
            .raw_spans("api")
            .iter()
            .filter(|span| span.status == ServiceStatus::MajorOutage)
            .map(|span| (seconds(span.from), span.to.map(seconds)))
            .collect();
        prop_assert_eq!(&seen, &expected);
        // Failing again within the window is the same incident, so each outage is one opening or
        // reopening; from the third one on it comes and goes, which is told once.
        let is_begin =
            |kind| matches!(kind, EventKind::Opened | EventKind::Reopened | EventKind::Intermittent);
        let begins = story.events.iter().filter(|it| is_begin(it.kind));
        let begins: Vec<_> = begins.map(|event| seconds(event.at)).collect();
        prop_assert_eq!(begins, expected.iter().map(|(from, _)| *from).take(3).collect::<Vec<_>>());
        prop_assert!(story.incidents.len() <= 1);
        if let Some(incident) = story.incidents.values().next() {
            let down: i64 = expected.iter().map(|(from, to)| to.unwrap_or(100) - from).sum();
            prop_assert_eq!(incident.affected[0].downtime_ms(at(100)), u64::try_from(down * 1000).unwrap());
        }
    }

    #[test]
    fn in_a_storm_no_service_is_lost(
        starts in prop::collection::vec(0..300i64, 1..20), grouped in prop::collection::vec(any::<bool>(), 20)
    ) {
        let names: Vec<String> = (0..starts.len()).map(|n| format!("s{n}")).collect();
        let mut rules = rules(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (service, _) in rules.services.iter_mut().zip(&grouped).filter(|(_, grouped)| **grouped) {
            Arc::get_mut(service).unwrap().group = Some(GroupId::new("group").unwrap());
        }
        let mut story = Story::quick(rules);
        let mut order: Vec<_> = starts.iter().zip(&names).collect();
        order.sort();
        for (start, name) in order {
            story.now = at(start + 10);
            for probe in [0, 5, 10] {
                story.probe_at(name, DOWN, at(start + probe));
            }
        }
        let told: std::collections::BTreeSet<_> = story.events.iter().flat_map(|event| &event.services).collect();
        prop_assert_eq!(told.len(), names.len());
        let parts: usize = story.incidents.values().map(|incident| incident.affected.len()).sum();
        prop_assert_eq!(parts, names.len(), "each in one incident");
    }
}

/// A check that nobody had heard of failed often enough, and its verdict waited: once that is given,
/// silence counts again as it does after a restart.
#[test]
fn a_verdict_that_waited_grows_old_as_any_other() {
    use Happening::{Note, Sleep, Target};
    let happenings = [
        Sleep(6),
        Sleep(60),
        Target(0, UP, 179),
        Target(4, DOWN, 1),
        Target(0, UP, 65),
        Target(7, UNKNOWN, 470),
        Sleep(599),
        Target(3, DOWN, 9),
        Sleep(171),
        Target(1, DOWN, 2),
        Target(0, UP, 11),
        Note(0, 0),
        Target(0, UP, 13),
        Sleep(600),
        Target(0, UP, 1),
    ];
    tell(&happenings, 18_063_683_554_370_864_356);
}

/// Whoever is down, is not seen for ten minutes, and is then seen down again, goes on with the same
/// trouble: the time between is nobody's.
#[test]
fn trouble_that_was_out_of_sight_goes_on_with_its_first_result() {
    use Happening::{Plan, Sleep, Target};
    let unknown = [Target(1, DOWN, 566), Target(1, UNKNOWN, 395), Target(3, UP, 120), Target(1, DOWN, 60)];
    tell(&unknown, 0);
    let planned = [Target(2, UP, 307), Plan(0, 19, 540, 0), Target(0, UP, 1), Target(1, DOWN, 63), Sleep(600)];
    let slow = [Target(1, SLOW, 6)];
    tell(&[planned.as_slice(), &slow].concat(), 0);
}
