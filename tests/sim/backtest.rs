//! Histories of simulated days, replayed: by the same rules they come out the same, by others as
//! these would have judged.

use std::time::Duration;

use watchbell::{
    backtest::{Backtest, Judged, backtest},
    config::Loaded,
    simulation::{
        Action, Dice,
        network::{Behaviour, answers, refuses, slow, times_out, up},
        relay::takes,
    },
};

use super::stage::{Sim, config, hours, id, parse, secs};

/// What is replayed of a simulation by another config.
fn replayed(sim: &Sim, config: &str, back: Duration) -> Backtest {
    let Loaded { config, .. } = parse(config, sim.folder());
    let since = sim.simulation.now() - back;
    backtest(&mut sim.reader(), &config.rules, since, &mut |_, _| ()).unwrap()
}

fn edits(compared: &Backtest) -> Vec<(&str, &str, Judged)> {
    let edits = compared.edited.as_ref().unwrap();
    edits.iter().map(|edit| (edit.of.as_str(), edit.key.as_str(), edit.judged)).collect()
}

/// Some days of services that fail now and then, alone and together, for seconds and for hours.
fn history(seed: u64, config: &str, services: &[&str], lasts: Duration) -> Sim {
    let mut dice = Dice::new(seed);
    let mut sim = Sim::seeded(config, seed);
    sim.simulation.pass_coarsely();
    sim.simulation.relay(secs(0), takes());
    for service in services {
        let mut at = 600_u64;
        while at < lasts.as_secs() {
            at += 60 + dice.below(14_400);
            let behaviour = match dice.below(5) {
                0 => refuses(),
                1 => times_out(),
                2 => answers(503),
                3 => slow(Duration::from_secs(3)),
                _ => Behaviour::Loses(300),
            };
            sim.simulation.target(&id(service), secs(at), behaviour);
            at += [5, 20, 90, 400, 3000][usize::try_from(dice.below(5)).unwrap()];
            sim.simulation.target(&id(service), secs(at), up());
        }
    }
    sim
}

#[test]
fn the_same_rules_make_the_same_of_the_same_results() {
    let services = ["database", "api -> database", "web -> api", "mail", "slow"];
    let text = config(&services).replace("timeout = \"10s\"", "timeout = \"10s\"\ndegraded_over = \"2s\"");
    for seed in 1..=3 {
        let mut sim = history(seed, &text, &["database", "api", "web", "mail", "slow"], hours(20));
        for n in 0..5 {
            sim.simulation.plan(hours(n * 4 + seed), Action::Restart);
        }
        sim.simulation.run_until(hours(20), &mut |_, _| ()).unwrap();
        let compared = replayed(&sim, &text, hours(30));
        assert!(compared.was.incidents.len() > 5 && compared.was.told() > 10, "seed {seed}: a dull history");
        assert_eq!(compared.would_have_been.incidents, compared.was.incidents, "seed {seed}");
        assert_eq!(compared.would_have_been.downtime_ms, compared.was.downtime_ms, "seed {seed}");
        assert_eq!(compared.would_have_been.messages, compared.was.messages, "seed {seed}");
        assert_eq!(edits(&compared), []);
        assert!(compared.undecided.is_empty() && compared.filled_in == 0);
        assert!(compared.oldest_result_at.is_some(), "more was asked for than there is");
    }
}

/// Outages of the API: how long each lasts, an hour apart.
fn outages(lengths: &[u64]) -> Sim {
    let mut sim = Sim::new(&config(&["api", "web"]));
    sim.simulation.pass_coarsely();
    for (hour, lasts) in (1..).zip(lengths) {
        // Just after a turn of its check, so that rechecks are made while it lasts.
        sim.simulation.target(&id("api"), hours(hour), refuses());
        sim.simulation.target(&id("api"), hours(hour) + secs(60 + lasts), up());
    }
    sim.simulation.run_until(hours(1 + u64::try_from(lengths.len()).unwrap()), &mut |_, _| ()).unwrap();
    sim
}

#[test]
fn a_higher_threshold_leaves_out_what_was_short_and_says_where_nobody_looked() {
    let sim = outages(&[1800, 0, 600]);
    let text = config(&["api", "web"]);
    let was = replayed(&sim, &text, hours(4)).was;
    assert_eq!(was.incidents.len(), 3, "{was:#?}");
    // 20 failures at the pace of rechecks take 95 s: longer than the second outage may have lasted.
    let compared = replayed(&sim, &text.replace("every =", "down_after = 20\nevery ="), hours(4));
    assert_eq!(compared.was, was);
    assert_eq!(edits(&compared).len(), 2);
    assert!(edits(&compared).contains(&("api/http", "down_after", Judged::WhereProbed)));
    let kept: Vec<_> = compared.would_have_been.incidents.iter().map(|it| it.started_at).collect();
    assert_eq!(kept, [was.incidents[0].started_at, was.incidents[2].started_at], "dated as they were");
    assert!(compared.filled_in > 0, "at its turns it was asked too seldom");
    let undecided: Vec<_> = compared.undecided.iter().map(|it| (it.check.to_string(), it.from)).collect();
    assert_eq!(undecided, [("api/http".to_owned(), was.incidents[1].started_at)]);
    assert_eq!((compared.would_have_been.told(), was.told()), (4, 6));
}

#[test]
fn a_lower_threshold_finds_what_was_a_blip() {
    let mut sim = Sim::new(&config(&["api"]));
    sim.simulation.pass_coarsely();
    // Whenever its turn is, it fails in one of these, and at most once more by a recheck.
    for n in 0..9 {
        sim.simulation.target(&id("api"), hours(1) + secs(67 * n), refuses());
        sim.simulation.target(&id("api"), hours(1) + secs(67 * n + 9), up());
    }
    sim.simulation.run_until(hours(2), &mut |_, _| ()).unwrap();
    let text = config(&["api"]);
    let same = replayed(&sim, &text, hours(2));
    let lower = replayed(&sim, &text.replace("every =", "down_after = 1\nevery ="), hours(2));
    assert_eq!(lower.was, same.was);
    assert!(lower.would_have_been.incidents.len() > lower.was.incidents.len(), "{lower:#?}");
    assert!(edits(&lower).contains(&("api/http", "down_after", Judged::Yes)));
}

#[test]
fn what_was_slow_and_when_people_hear_of_it_are_judged_by_the_new_rules() {
    let mut sim = Sim::new(&config(&["api"]));
    sim.simulation.pass_coarsely();
    sim.simulation.target(&id("api"), hours(1), slow(Duration::from_secs(4)));
    sim.simulation.target(&id("api"), hours(2), up());
    sim.simulation.target(&id("api"), hours(3), refuses());
    sim.simulation.target(&id("api"), hours(3) + secs(600), up());
    sim.simulation.run_until(hours(4), &mut |_, _| ()).unwrap();
    let text = config(&["api"]);
    let same = replayed(&sim, &text, hours(4));
    assert_eq!((same.would_have_been.incidents.len(), same.would_have_been.told()), (1, 2));
    let slower = replayed(&sim, &text.replace("every =", "degraded_over = \"2s\"\nevery ="), hours(4));
    assert_eq!(slower.would_have_been.incidents.len(), 2);
    assert_eq!(slower.would_have_been.downtime_ms, same.would_have_been.downtime_ms, "slow is not down");
    let stricter = replayed(&sim, &text.replace("timeout = \"10s\"", "timeout = \"3s\""), hours(4));
    assert_eq!(stricter.would_have_been.incidents.len(), 2);
    assert!(stricter.would_have_been.downtime() > same.would_have_been.downtime() + 3_000_000);
    let patient = replayed(&sim, &text.replace("name = \"Api\"", "name = \"Api\"\nnotify_after = \"1h\""), hours(4));
    assert_eq!(patient.would_have_been.incidents, same.was.incidents);
    assert_eq!((patient.would_have_been.told(), patient.was.told()), (0, 2));
}

#[test]
fn what_no_replay_can_judge_is_named_without_its_value() {
    let sim = outages(&[300]);
    let text = config(&["api", "web"])
        .replace("secret-api.example.org", "secret-new.example.org")
        .replace("every = \"60s\"", "every = \"30s\"")
        .replace("timeout = \"10s\"", "timeout = \"20s\"")
        + "expect.body = \"secret-words\"\n[[service]]\nid = \"new\"\n[[service.check]]\ntcp = \"db:1\"\n";
    let compared = replayed(&sim, &text, hours(2));
    let edits = edits(&compared);
    for edit in [
        ("api/http", "http", Judged::NotWhatIsAsked),
        ("api/http", "every", Judged::NotWhen),
        ("api/http", "timeout", Judged::NotWhatWasCutOff),
        ("web/http", "expect.body", Judged::NotWhatIsAsked),
        ("new/tcp", "", Judged::NoResults),
    ] {
        assert!(edits.contains(&edit), "{edit:?} in {edits:?}");
    }
    assert!(!format!("{compared:?}").contains("secret"));
    assert_eq!(compared.without_results.iter().map(ToString::to_string).collect::<Vec<_>>(), ["new/tcp"]);
    let every = compared.edited.unwrap().into_iter().find(|edit| edit.key == "every").unwrap();
    assert_eq!((every.was.as_deref(), every.is.as_deref()), (Some("1m"), Some("30s")));
}

#[test]
fn a_day_without_sight_is_no_outage_in_a_replay_either() {
    let text = config(&["api", "web"]) + "\n[incidents]\ncanary = [\"tcp:192.0.2.1:443\"]\n";
    let cut = |sim: Sim, target: &str| {
        sim.target(target, up()).then_after(hours(1), times_out()).then_after(secs(1200), up())
    };
    let mut sim = ["api", "web", "~canary/canary-1"].into_iter().fold(Sim::new(&text), cut);
    sim.simulation.pass_coarsely();
    sim.simulation.target(&id("api"), hours(2), refuses());
    sim.simulation.target(&id("api"), hours(2) + secs(300), up());
    sim.simulation.run_until(hours(3), &mut |_, _| ()).unwrap();
    let compared = replayed(&sim, &text, hours(3));
    assert_eq!(compared.was.incidents.len(), 1);
    assert_eq!(compared.would_have_been, compared.was);
}

#[test]
fn rules_that_were_reloaded_are_those_in_force_from_then_on() {
    let mut sim = outages(&[300]);
    let text = config(&["api", "web"]).replace("every =", "down_after = 5\nevery =");
    assert_eq!(edits(&replayed(&sim, &text, hours(2))).len(), 2);
    let reloaded_at = sim.simulation.now();
    sim.simulation.plan(sim.simulation.moment(), Action::Reload(Box::new(parse(&text, sim.folder()))));
    let end = sim.simulation.moment() + secs(300);
    sim.simulation.run_until(end, &mut |_, _| ()).unwrap();
    let compared = replayed(&sim, &text, hours(3));
    assert_eq!(edits(&compared), []);
    assert_eq!(compared.in_force_since, Some(reloaded_at));
}
