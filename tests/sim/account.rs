//! Who was told what, as `incident show` counts it: at every moment of an incident each delivery is in
//! exactly one place, for the reason that holds.

use std::collections::BTreeMap;

use watchbell::{
    domain::{Impact, archive::Archive, subscriber::Wants},
    notify::{
        account::{self, Told},
        recipient::Directory,
    },
    simulation::{
        network::{refuses, up},
        relay::{away, greylists, knows_nobody, takes},
    },
};

use super::stage::{Sim, config, hours, id, mins, secs};

fn account(sim: &Sim) -> Vec<Told> {
    let (reader, now) = (sim.reader(), sim.simulation.now());
    let directory = Directory::new(&sim.simulation.config().rules);
    let mut all = Vec::new();
    for head in reader.heads().unwrap().iter().rev() {
        let incident = reader.incident(&head.id).unwrap().unwrap();
        all.extend(account::of_incident(&reader, &incident, &directory, now).unwrap());
    }
    all
}

/// Each event with what became of it: `opened: 3 accepted, 1 held: gather`.
fn short(told: &[Told]) -> Vec<String> {
    let line = |told: &Told| {
        let mut counts = BTreeMap::<String, u64>::new();
        for to in &told.to {
            let plain = [("accepted", to.accepted.count), ("folded", to.folded), ("sending", to.sending)];
            let plain = plain.into_iter().chain([("due", to.due), ("promised", to.promised)]);
            let plain = plain.map(|(what, count)| (what.to_owned(), count));
            let waiting = |what: &'static str, all: &[account::Waiting]| {
                all.iter().map(|it| (format!("{what}: {}", it.reason), it.count)).collect::<Vec<_>>()
            };
            let ended = |what: &'static str, all: &[account::Ended]| {
                all.iter().map(|it| (format!("{what}: {}", it.reason), it.count)).collect::<Vec<_>>()
            };
            let rest = [
                waiting("retried", &to.retried),
                waiting("held", &to.held),
                ended("dropped", &to.dropped),
                ended("failed", &to.failed),
            ];
            for (what, count) in plain.chain(rest.concat()) {
                *counts.entry(what).or_default() += count;
            }
        }
        let counts: Vec<String> =
            counts.into_iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}")).collect();
        format!("{}: {}", told.kind, counts.join(", "))
    };
    told.iter().map(line).collect()
}

#[test]
fn each_reader_of_an_outage_is_in_one_place_at_a_time() {
    let mut sim = Sim::new(&config(&["api", "web"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .then_after(mins(30), up())
        .relay_to("greylisted@example.org", greylists())
        .relay_to("gone@example.org", knows_nobody())
        .subscriber("a@example.org")
        .subscriber("b@example.org")
        .subscriber_of("web@example.org", &["web"])
        .subscriber("greylisted@example.org")
        .subscriber("gone@example.org");
    let planned_only = Wants { incidents: false, ..Wants::default() };
    sim.subscribe(secs(2), "planned@example.org", planned_only);
    sim.run_for(mins(10));
    let mut seen = Vec::new();
    for _ in 0..180 {
        sim.run_for(secs(1));
        let told = short(&account(&sim));
        if !told.is_empty() && seen.last() != Some(&told[0]) {
            seen.push(told[0].clone());
        }
    }
    assert_eq!(seen[0], "opened: 4 held: gather", "{seen:#?}");
    assert!(seen.iter().all(|line| {
        let number = |part: &str| part.trim().split(' ').next().unwrap().parse::<u64>().unwrap();
        line.trim_start_matches("opened:").split(',').map(number).sum::<u64>() == 4
    }));
    assert!(seen.contains(&"opened: 2 accepted, 1 failed: gone, 1 retried: later".to_owned()), "{seen:#?}");
    let first = account(&sim)[0].to[0].accepted.clone();
    let opened = sim.mails().into_iter().map(|mail| mail.taken_at);
    assert_eq!((first.first_at, first.last_at), (opened.clone().min(), opened.max()));

    sim.leaves(secs(1), "greylisted@example.org");
    sim.run_for(hours(1)).ends_well();
    assert_eq!(short(&account(&sim)), ["opened: 2 accepted, 1 dropped: left, 1 failed: gone", "resolved: 2 accepted"]);
}

#[test]
fn what_waits_says_for_what() {
    let text = config(&["api"]).replace("[defaults]", "[defaults]\n")
        + "\n[[service]]\nid = \"slow\"\nname = \"Slow\"\nnotify_after = \"15m\"\n\
           [[service.check]]\nhttp = \"https://secret-slow.example.org/\"\n";
    let mut sim = Sim::new(&text)
        .target("slow", up())
        .then_after(mins(10), refuses())
        .then_after(mins(8), up())
        .then_after(hours(1), refuses())
        .then_after(hours(1), up());
    sim = sim.subscriber("a@example.org");
    sim.run_for(mins(14));
    assert_eq!(short(&account(&sim)), ["opened: 1 held: notify_after"]);
    sim.run_for(mins(16));
    assert_eq!(short(&account(&sim)), ["opened: 1 dropped: too_short", "resolved: 1 dropped: too_short"]);
    let until = account(&sim);
    assert!(until.iter().all(|told| told.services == [id("slow")]));
}

#[test]
fn while_the_relay_is_away_all_of_it_is_due_and_then_it_is_one_message() {
    let mut sim = Sim::new(&config(&["api"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .then_after(mins(25), up())
        .relay(away())
        .then_after(hours(2), takes())
        .subscriber("a@example.org");
    sim.run_for(hours(1));
    let told = short(&account(&sim));
    assert!(told.iter().all(|line| line.ends_with("1 due") || line.ends_with("1 sending")), "{told:?}");
    sim.run_for(hours(2)).ends_well();
    assert_eq!(short(&account(&sim)), ["opened: 1 folded", "resolved: 1 accepted"]);
}

#[test]
fn whom_it_does_not_matter_enough_is_counted_apart() {
    let text = config(&["api"]).replace("owners", "max_impact = \"minor\"\nowners");
    let mut sim = Sim::new(&text).target("api", up()).then_after(mins(10), refuses()).then_after(mins(20), up());
    sim = sim.subscriber("a@example.org");
    sim.subscribe(secs(1), "b@example.org", Wants { min_impact: Impact::Major, ..Wants::default() });
    sim.run_for(mins(15));
    assert_eq!(short(&account(&sim)), ["opened: 1 accepted, 1 held: below_min_impact"]);
    sim.run_for(hours(1)).ends_well();
    assert_eq!(
        short(&account(&sim)),
        ["opened: 1 accepted, 1 dropped: below_min_impact", "resolved: 1 accepted, 1 dropped: below_min_impact"]
    );
}
