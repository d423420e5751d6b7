//! False alarms and missed outages: a day of a thousand services, judged and scheduled alone.
//!
//! Healthy services whose probes get lost now and then, a resolver that fails, a link of ours that
//! is cut, a process that stands still and clocks that are moved: nobody may be told anything. In
//! the same day, five hundred outages: each must be found, and soon.
//!
//! Every time a fifth of them, which is enough to see what breaks; `WATCHBELL_DAYS=n` plays so many
//! days of both kinds in full, and `WATCHBELL_SEED=n` one of those again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use watchbell::{
    daemon::{SLOT, engine::Engine},
    domain::{
        CheckKey, ServiceId,
        outcome::{CheckResult, Class, Outcome, Phases},
        service::Rules,
    },
    judge::{Sight, World},
    schedule::Schedule,
    simulation::Dice,
};

use super::stage::{at, parse};

const SERVICES: usize = 1000;
const OUTAGES: usize = 500;
/// The usual days have so many times less of both.
const USUALLY_LESS: usize = 5;
/// A group of so many, of which the first is needed by the next few.
const GROUP: usize = 25;
/// Milliseconds.
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;
const TIMEOUT: i64 = 10 * SECOND;
/// So soon after it begins and can be seen an outage must be a verdict: the interval, two rechecks,
/// three timeouts, and the slots that they start in.
const HANGING: i64 = MINUTE + 2 * 5 * SECOND + 3 * TIMEOUT + 100;
/// The same where each failure is found at once.
const REFUSING: i64 = MINUTE + 2 * 5 * SECOND + 3 * 300 + 100;

/// What a probe finds instead of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// At once.
    Refuses,
    /// Not before the time is over.
    Hangs,
    /// The name has no address: at once, or not before the time is over.
    NoName { at_once: bool },
}

/// From when to when, in milliseconds of true time.
#[derive(Clone, Copy, Debug)]
struct Span<T> {
    from: i64,
    to: i64,
    what: T,
}

/// What goes wrong with the monitor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// The link to the public network; whether routers say so, or nothing comes back.
    Link { is_told: bool },
    /// The name servers.
    Resolver { at_once: bool },
    /// The process stands still.
    Stall,
    /// The wall clock is moved by so many milliseconds.
    Clock(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Name,
    Address,
    Private,
    Loopback,
}

/// What is true of one day.
struct Day {
    seed: u64,
    rules: Arc<Rules>,
    targets: BTreeMap<CheckKey, Target>,
    ours: Vec<Span<Ours>>,
    outages: BTreeMap<ServiceId, Span<Fault>>,
}

/// How one day was judged.
#[derive(Debug, Default)]
struct Judged {
    false_alarms: Vec<String>,
    missed: Vec<String>,
    /// From the beginning of each outage that could be seen to its verdict, by whether it hangs.
    delays: BTreeMap<bool, Vec<i64>>,
    probes: u64,
    failed: u64,
    was_blind: usize,
}

fn target_of(n: usize) -> Target {
    match n % 20 {
        17 => Target::Address,
        18 => Target::Private,
        19 => Target::Loopback,
        _ => Target::Name,
    }
}

fn config(services: usize) -> String {
    let mut text = String::from(
        "[site]\nurl = \"https://status.example.org/\"\n[store]\nallow_volatile = true\n\
         [incidents]\ncanary = [\"tcp:192.0.2.1:443\", \"tcp:192.0.2.2:443\", \"https://canary.example.net/\"]\n",
    );
    for group in 0..services / GROUP {
        text.push_str(&format!("[[group]]\nid = \"g{group}\"\nname = \"Group {group}\"\n"));
    }
    for n in 0..services {
        let (group, place) = (n / GROUP, n % GROUP);
        let needs = if (1..6).contains(&place) { format!("\"s{}\"", n - place) } else { String::new() };
        let host = match target_of(n) {
            Target::Name => format!("s{n}.example.org"),
            Target::Address => format!("198.51.100.{}", n % 250),
            Target::Private => format!("10.1.{}.{}", n / 250, n % 250),
            Target::Loopback => format!("127.1.{}.{}", n / 250, n % 250),
        };
        text.push_str(&format!(
            "[[service]]\nid = \"s{n}\"\nname = \"S{n}\"\ngroup = \"g{group}\"\ndepends_on = [{needs}]\n\
             [[service.check]]\nhttp = \"http://{host}/\"\n",
        ));
    }
    text
}

impl<T> Span<T> {
    fn covers(&self, moment: i64) -> bool {
        (self.from..self.to).contains(&moment)
    }

    fn touches(&self, from: i64, to: i64) -> bool {
        self.from < to && from < self.to
    }
}

fn below(dice: &mut Dice, limit: i64) -> i64 {
    i64::try_from(dice.below(limit.unsigned_abs())).unwrap()
}

/// What goes wrong with us in a day, one after the other with room between.
fn our_day(dice: &mut Dice) -> Vec<Span<Ours>> {
    let mut all = Vec::new();
    for n in 0..3 {
        all.push((Ours::Resolver { at_once: (dice.below(3) + n).is_multiple_of(2) }, SECOND * (20 + below(dice, 400))));
    }
    for n in 0..2 {
        all.push((Ours::Link { is_told: (dice.below(3) + n).is_multiple_of(2) }, SECOND * (10 + below(dice, 600))));
    }
    all.extend([(Ours::Stall, 30 * SECOND); 5]);
    all.extend([(Ours::Clock(2 * 60 * MINUTE), 0), (Ours::Clock(-2 * 60 * MINUTE), 0)]);
    // In any order, each in a share of the day of its own.
    for n in (1..all.len()).rev() {
        all.swap(n, usize::try_from(dice.below(n as u64 + 1)).unwrap());
    }
    let share = DAY / i64::try_from(all.len()).unwrap();
    let place = |(n, (what, lasts)): (i64, (Ours, i64))| {
        let from = n * share + 5 * MINUTE + below(dice, share - lasts - 10 * MINUTE);
        Span { from, to: from + lasts, what }
    };
    (0..).zip(all).map(place).collect()
}

impl Day {
    fn new(seed: u64, rules: &Arc<Rules>, outages: usize) -> Self {
        let mut dice = Dice::new(seed);
        let ours = our_day(&mut dice);
        let mut targets: BTreeMap<CheckKey, Target> = BTreeMap::new();
        for (n, service) in rules.services.iter().enumerate() {
            targets.extend(service.enabled_checks().map(|(key, _)| (key, target_of(n))));
        }
        for (key, check) in rules.canaries.iter().flat_map(|canaries| canaries.enabled_checks()) {
            let is_name = check.probe.host().ends_with("example.net");
            targets.insert(key, if is_name { Target::Name } else { Target::Address });
        }
        let mut day = Self { seed, rules: Arc::clone(rules), targets, ours, outages: BTreeMap::new() };
        while day.outages.len() < outages {
            let service = usize::try_from(dice.below(rules.services.len() as u64)).unwrap();
            let lasts = SECOND * (180 + below(&mut dice, 1620));
            let from = 2 * MINUTE + below(&mut dice, DAY - lasts - 10 * MINUTE);
            let what = match dice.below(8) {
                0..4 => Fault::Refuses,
                4..7 => Fault::Hangs,
                _ => Fault::NoName { at_once: dice.below(2) == 0 },
            };
            let span = Span { from, to: from + lasts, what };
            // What nobody can see for long enough, nobody can tell.
            if day.seen_from(target_of(service), &span).is_some() {
                day.outages.entry(rules.services[service].id.clone()).or_insert(span);
            }
        }
        day
    }

    /// From when on an outage can be seen for as long as a verdict takes.
    fn seen_from(&self, target: Target, outage: &Span<Fault>) -> Option<i64> {
        let mut from = outage.from;
        for ours in self.ours.iter().filter(|ours| match ours.what {
            Ours::Link { .. } => matches!(target, Target::Name | Target::Address),
            // What fails by another name than a resolver's fault does is seen all the same: only
            // names cannot be.
            Ours::Resolver { .. } => target == Target::Name,
            Ours::Stall | Ours::Clock(_) => true,
        }) {
            // Until the canaries are heard again, and all is probed anew.
            if ours.touches(from, from + HANGING + TIMEOUT) {
                from = ours.to + TIMEOUT;
            }
        }
        (from + HANGING + TIMEOUT <= outage.to).then_some(from)
    }

    /// What a probe of `check` finds that begins at `moment`, and how long it takes.
    fn probe(&self, check: &CheckKey, moment: i64, dice: &mut Dice) -> (Option<Class>, i64) {
        let target = self.targets[check];
        let usual = 20 + below(dice, 200);
        let ours = self.ours.iter().find(|ours| ours.covers(moment));
        let fault = match (ours.map(|ours| ours.what), target) {
            (Some(Ours::Link { is_told: true }), Target::Address) => Some(Fault::Refuses),
            (Some(Ours::Link { is_told: false }), Target::Address) => Some(Fault::Hangs),
            (Some(Ours::Link { is_told }), Target::Name) => Some(Fault::NoName { at_once: is_told }),
            (Some(Ours::Resolver { at_once }), Target::Name) => Some(Fault::NoName { at_once }),
            _ => self.outages.get(&check.service).filter(|outage| outage.covers(moment)).map(|outage| outage.what),
        };
        let is_lost = dice.below(1000) == 0;
        match fault {
            Some(Fault::Refuses) => (Some(Class::ConnectRefused), usual),
            Some(Fault::NoName { at_once: true }) => (Some(Class::Dns), usual),
            Some(Fault::NoName { at_once: false }) => (Some(Class::Dns), timeout_of(check)),
            Some(Fault::Hangs) => (Some(Class::Timeout), timeout_of(check)),
            None if is_lost => (Some(Class::Timeout), timeout_of(check)),
            None => (None, usual),
        }
    }

    fn play(&self) -> Judged {
        let mut play = Play::new(self);
        play.run();
        play.judged
    }
}

fn timeout_of(check: &CheckKey) -> i64 {
    if check.service.is_canaries() { 5 * SECOND } else { TIMEOUT }
}

/// A day under way.
struct Play<'a> {
    day: &'a Day,
    engine: Engine,
    dice: Dice,
    /// True time, and how far the clock is off.
    moment: i64,
    off: i64,
    /// Soonest to end first; the number is the place in `probes`.
    under_way: BinaryHeap<Reverse<(i64, usize)>>,
    probes: Vec<Option<(CheckKey, Outcome)>>,
    free: Vec<usize>,
    /// Who is down by now, and whom of the outages was found when.
    down: BTreeSet<ServiceId>,
    found: BTreeMap<ServiceId, i64>,
    judged: Judged,
}

impl<'a> Play<'a> {
    fn new(day: &'a Day) -> Self {
        let engine = Engine::new(Arc::clone(&day.rules), World::new(day.seed), Schedule::new(SLOT), start());
        Self {
            day,
            engine,
            dice: Dice::new(day.seed ^ 0x5eed),
            moment: 0,
            off: 0,
            under_way: BinaryHeap::new(),
            probes: Vec::new(),
            free: Vec::new(),
            down: BTreeSet::new(),
            found: BTreeMap::new(),
            judged: Judged::default(),
        }
    }

    fn wall(&self) -> Timestamp {
        start() + SignedDuration::from_millis(self.moment + self.off)
    }

    fn run(&mut self) {
        let mut ours = self.day.ours.iter().peekable();
        loop {
            let acts_at = self.engine.acts_at().map(|at| at.as_millisecond() - start().as_millisecond() - self.off);
            let ends_at = self.under_way.peek().map(|Reverse((at, _))| *at);
            let next = acts_at.into_iter().chain(ends_at).min().unwrap_or(DAY).max(self.moment);
            if let Some(span) =
                ours.next_if(|span| span.from <= next && matches!(span.what, Ours::Stall | Ours::Clock(_)))
            {
                self.moment = span.to;
                if let Ours::Clock(by) = span.what {
                    self.off += by;
                }
                self.engine.suspended(self.wall());
            } else if ours.next_if(|span| span.from <= next).is_none() {
                if next >= DAY {
                    break;
                }
                self.moment = next;
                self.turn();
            }
        }
        self.engine.take_all(self.wall());
        for (service, outage) in &self.day.outages {
            let seen_from = self.day.seen_from(target_of(number_of(service)), outage).unwrap();
            match self.found.get(service) {
                Some(found) => {
                    let delay = (found - seen_from).max(0);
                    let hangs = !matches!(outage.what, Fault::Refuses | Fault::NoName { at_once: true });
                    self.judged.delays.entry(hangs).or_default().push(delay);
                }
                None => self.judged.missed.push(format!("{service}: {outage:?}, to be seen from {seen_from}")),
            }
        }
    }

    fn turn(&mut self) {
        let now = self.wall();
        while let Some(Reverse((ends_at, place))) = self.under_way.peek().copied()
            && ends_at <= self.moment
        {
            self.under_way.pop();
            self.free.push(place);
            let (check, outcome) = self.probes[place].take().unwrap();
            self.engine.finished(check, outcome, now);
        }
        self.engine.tick(now);
        for due in self.engine.take_due(now) {
            self.begin(due.check, now);
        }
        self.look();
        let lost = |sight: &Sight| matches!(sight, Sight::Lost { .. });
        self.judged.was_blind += self.engine.take_sights().iter().filter(|sight| lost(sight)).count();
        if self.judged.probes.is_multiple_of(20_000) {
            self.engine.take_all(now);
        }
    }

    fn begin(&mut self, check: CheckKey, now: Timestamp) {
        let (class, lasts) = self.day.probe(&check, self.moment, &mut self.dice);
        self.judged.probes += 1;
        self.judged.failed += u64::from(class.is_some());
        let outcome = Outcome {
            result: if class.is_some() { CheckResult::Down } else { CheckResult::Up },
            cause: class.map(Into::into),
            started_at: now,
            latency: Duration::from_millis(lasts.unsigned_abs()),
            phases: Phases::default(),
            detail: None,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.probes.push(None);
            self.probes.len() - 1
        });
        self.probes[place] = Some((check, outcome));
        self.under_way.push(Reverse((self.moment + lasts, place)));
    }

    /// Who is down that was not, and whether that is true.
    fn look(&mut self) {
        let mut now = BTreeSet::new();
        for incident in self.engine.world().open_incidents() {
            for part in incident.affected.iter().filter(|part| part.recovered_at.is_none()) {
                now.insert(part.service.clone());
                if self.down.contains(&part.service) {
                    continue;
                }
                let outage = self.day.outages.get(&part.service);
                // What is over by the time that it is a verdict was an outage all the same.
                match outage.filter(|it| it.from <= self.moment && self.moment <= it.to + HANGING) {
                    Some(_) => {
                        self.found.entry(part.service.clone()).or_insert(self.moment);
                    }
                    None => self.judged.false_alarms.push(format!(
                        "{} at {} s: {:?}, after {:?}",
                        part.service,
                        self.moment / SECOND,
                        incident.facts,
                        self.day.ours.iter().rfind(|ours| ours.from <= self.moment)
                    )),
                }
            }
        }
        self.down = now;
    }
}

fn start() -> Timestamp {
    at("2026-03-01T00:00:00Z")
}

fn number_of(service: &ServiceId) -> usize {
    service.as_str()[1..].parse().unwrap()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Of a hundred, the ninety-ninth.
fn p99(delays: &mut [i64]) -> i64 {
    delays.sort_unstable();
    delays.get((delays.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
}

/// Plays the usual day, or those that were asked for.
fn play(outages: usize) {
    let (seed, days) = (number("WATCHBELL_SEED"), number("WATCHBELL_DAYS"));
    let less = if seed.or(days).is_some() { 1 } else { USUALLY_LESS };
    let (services, outages) = (SERVICES / less, outages / less);
    let seeds = match (seed, days) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(days)) => 100..100 + days,
        (None, None) => 1..2,
    };
    let rules = Arc::new(parse(&config(services), Path::new("/nowhere")).config.rules);
    let (mut delays, mut count, mut probes) = (BTreeMap::<bool, Vec<i64>>::new(), 0, 0);
    for seed in seeds {
        let judged = Day::new(seed, &rules, outages).play();
        let again = format!("of the day of WATCHBELL_SEED={seed}");
        let (alarms, missed) = (&judged.false_alarms, &judged.missed);
        assert!(alarms.is_empty(), "{} false alarms {again}, the first: {}", alarms.len(), alarms[0]);
        assert!(missed.is_empty(), "{} missed {again}: {missed:#?}", missed.len());
        // The network and we were as bad as they were meant to be.
        assert!(judged.failed > judged.probes / 1000, "{} of {} probes failed", judged.failed, judged.probes);
        assert!(judged.was_blind >= 5, "{again} we were blind {} times", judged.was_blind);
        for (hangs, mine) in judged.delays {
            delays.entry(hangs).or_default().extend(mine);
        }
        (count, probes) = (count + 1, probes + judged.probes);
    }
    eprintln!(
        "{count} days of {services} services, {outages} outages each, {probes} probes: no false alarm, none missed"
    );
    for (hangs, mut delays) in delays {
        let (p99, limit) = (p99(&mut delays), if hangs { HANGING } else { REFUSING });
        let (how, most) = (if hangs { "hang" } else { "fail at once" }, delays.last().copied().unwrap_or(0));
        eprintln!("{} {how}: a verdict after {p99} ms (p99), {most} ms at most", delays.len());
        assert!(p99 <= limit, "where they {how}, the verdict took {p99} ms (p99), more than {limit}");
    }
}

#[test]
fn in_a_day_without_outages_nobody_is_told_of_any() {
    play(0);
}

#[test]
fn in_a_day_of_five_hundred_outages_each_is_found_soon_and_no_other() {
    play(OUTAGES);
}
