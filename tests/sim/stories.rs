//! Stories of whole days, and ends at every port.

use watchbell::{
    domain::{event::EventKind, incident::Origin},
    simulation::{
        Action, Disk, Port, Side,
        network::{answers, refuses, times_out, up},
        relay::{away, greylists, knows_nobody, locks_us_out, loses_replies, takes},
    },
};

use super::stage::{Sim, clock_step, config, hours, mins, secs};

fn kinds(sim: &Sim) -> Vec<EventKind> {
    sim.events().iter().map(|event| event.kind).collect()
}

#[test]
fn a_service_that_times_out_becomes_an_incident_and_two_mails() {
    let mut sim = Sim::new(&config(&["api", "web"]))
        .target("api", up())
        .then_after(mins(10), times_out())
        .then_after(mins(25), up())
        .subscriber("a@example.org");
    sim.run_for(hours(24)).ends_well();
    let incident = sim.the_incident();
    assert_eq!(incident.id.as_str(), "2026-03-01-api");
    assert!(incident.started_at.duration_since(super::stage::at("2026-03-01T00:10:00Z")).as_secs() <= 60);
    assert_eq!(kinds(&sim), [EventKind::Opened, EventKind::Resolved]);
    let subjects = sim.subjects();
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    assert!(subjects[0].contains("Outage: Api") && subjects[1].contains("Resolved: Api"), "{subjects:?}");
    assert!(sim.page("index.html").contains("data-status=\"operational\""));
}

#[test]
fn a_link_of_ours_that_is_cut_is_told_to_the_operator_and_to_nobody_else() {
    let config = config(&["api", "web"]) + "\n[incidents]\ncanary = [\"tcp:192.0.2.1:443\"]\n";
    let cut =
        |sim: Sim, target: &str| sim.target(target, up()).then_after(mins(10), times_out()).then_after(mins(20), up());
    let mut sim = ["api", "web", "~canary/canary-1"].into_iter().fold(Sim::new(&config), cut);
    sim = sim.subscriber("a@example.org");
    sim.run_for(mins(20));
    let says = |sim: &Sim, page: &str| sim.page(page).contains("The monitor itself has been cut off");
    assert!(says(&sim, "index.html") && says(&sim, "services/api/index.html"), "{}", sim.page("index.html"));
    assert!(sim.page("index.html").contains("since 1 March 2026, 00:1"), "{}", sim.page("index.html"));
    sim.run_for(mins(40));
    assert!(!says(&sim, "index.html") && !says(&sim, "services/api/index.html"), "{}", sim.page("index.html"));
    assert!(kinds(&sim).is_empty(), "{:?}", sim.subjects());
    let notices = sim.notices();
    assert!(notices.iter().any(|notice| notice.contains("is blind")), "{notices:?}");
    assert!(notices.iter().any(|notice| notice.contains("sees again")), "{notices:?}");
    assert!(sim.page("index.html").contains("data-status=\"operational\""));
}

#[test]
fn the_relay_is_away_for_hours_and_what_passed_meanwhile_is_one_message() {
    let mut sim = Sim::new(&config(&["api"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .then_after(mins(25), up())
        .then_after(hours(2), answers(503))
        .relay(away())
        .then_after(hours(6), takes())
        .subscriber("a@example.org");
    sim.run_for(hours(7));
    let subjects = sim.subjects();
    // One outage began and ended unheard of; the other one goes on.
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    assert!(sim.mails().iter().all(|mail| mail.taken >= hours(6) && mail.taken < hours(6) + mins(6)), "{subjects:?}");
    // A mail that mail is paused would come too late to say so.
    let of_mail: Vec<_> = sim.notices().into_iter().filter(|notice| notice.starts_with("Mail ")).collect();
    assert_eq!(of_mail, ["Mail goes on after 5 h 49 min"]);
    sim.ends_well();
}

#[test]
fn two_days_without_a_mail_server_lose_nothing_and_leave_one_message_of_each_incident() {
    let config = config(&["database", "api -> database", "web", "search"]).replace("60s", "3m");
    let mut sim = Sim::new(&config)
        .relay(takes())
        .then_after(mins(30), away())
        .then_after(mins(48 * 60 - 30), takes())
        // Told before mail stops, over while it does not move.
        .target("web", up())
        .then_after(mins(10), refuses())
        .then_after(hours(5), up())
        // Neither its beginning nor its end can be told; later it comes and goes.
        .target("database", up())
        .then_after(hours(10), refuses())
        .then_after(hours(2), up())
        .target("api", up())
        .then_after(hours(10), times_out())
        .then_after(hours(2), up())
        .then_after(hours(18), answers(500));
    for _ in 0..3 {
        sim = sim.then_after(mins(5), up()).then_after(mins(7), answers(500));
    }
    let sim = sim.then_after(mins(5), up());
    let mut sim = sim
        // Goes on when mail moves again.
        .target("search", up())
        .then_after(hours(47), times_out())
        .subscriber("all@example.org")
        .subscriber_of("api@example.org", &["api"])
        .subscriber_of("web@example.org", &["web"])
        .subscriber("gone@example.org")
        .after(hours(24), Action::Restart);
    sim.leaves(hours(40), "gone@example.org");
    sim.invariants.compare_every(10_000);
    sim.run_for(hours(49)).ends_well();
    let after = |person: &str| -> Vec<String> {
        let mails = sim.mails().into_iter().filter(|mail| mail.to == person && mail.taken >= hours(48));
        mails.map(|mail| mail.subject().replace("[Example Status] ", "")).collect()
    };
    let begins = |person: &str, wanted: &[&str]| {
        let subjects = after(person);
        let fits = subjects.len() == wanted.len()
            && wanted.iter().all(|wanted| subjects.iter().any(|subject| subject.starts_with(wanted)));
        assert!(fits, "{person}: {subjects:?}");
    };
    begins("web@example.org", &["Resolved: Web (was down 5 h"]);
    begins("gone@example.org", &[]);
    begins("api@example.org", &["Was down: Api (2 h)", "Was down: Api ("]);
    begins("all@example.org", &["Resolved: Web (", "Was down: Database", "Was down: Api (", "Outage: Search"]);
}

#[test]
fn a_relay_that_refuses_some_holds_up_nobody_else() {
    let mut sim = Sim::new(&config(&["api"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .then_after(mins(25), up())
        .relay_to("greylisted@example.org", greylists())
        .then_after(mins(30), takes())
        .relay_to("gone@example.org", knows_nobody())
        .subscriber("a@example.org")
        .subscriber("greylisted@example.org")
        .subscriber("gone@example.org");
    sim.run_for(hours(3)).ends_well();
    let to = |address: &str| sim.mails().iter().filter(|mail| mail.to == address).count();
    assert_eq!(to("a@example.org"), 2);
    assert_eq!(to("gone@example.org"), 0);
    assert!(to("greylisted@example.org") >= 1, "{:?}", sim.subjects());
}

#[test]
fn a_relay_that_locks_us_out_is_told_to_the_operator_and_costs_nobody_a_mail() {
    let mut sim = Sim::new(&config(&["api"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .relay(locks_us_out())
        .then_after(hours(1), takes())
        .subscriber("a@example.org");
    sim.run_for(hours(2)).ends_well();
    assert_eq!(sim.mails().len(), 1, "{:?}", sim.subjects());
    let of_mail: Vec<_> = sim.notices().into_iter().filter(|notice| notice.starts_with("Mail ")).collect();
    assert_eq!(of_mail, ["Mail goes on after 50 min"]);
}

#[test]
fn a_reply_that_is_lost_gives_a_copy_under_the_same_message_id() {
    let mut sim = Sim::new(&config(&["api"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .relay(loses_replies())
        .then_after(mins(14), takes())
        .subscriber("a@example.org");
    sim.run_for(hours(1)).ends_well();
    let ids: Vec<String> = sim.mails().iter().map(|mail| mail.header("Message-ID")).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn an_end_at_any_port_loses_nothing_and_doubles_nothing() {
    for port in Port::ALL {
        for side in [Side::Before, Side::After] {
            for passes in 0..3 {
                let mut sim = Sim::new(&config(&["database", "api -> database", "web"]))
                    .target("database", up())
                    .then_after(mins(10), refuses())
                    .then_after(mins(20), up())
                    .target("api", up())
                    .then_after(mins(10), times_out())
                    .then_after(mins(20), up())
                    .subscriber("a@example.org")
                    .subscriber_of("b@example.org", &["api"])
                    .after(mins(5), Action::EndAt(port, side, passes));
                sim.invariants.compare_every(1000);
                sim.run_for(hours(1));
                let doomed = sim.simulation.is_doomed();
                let rare = matches!(port, Port::NoteFile | Port::Claim | Port::Send | Port::Mark);
                assert!(!doomed || (rare && passes > 0), "never came to {side:?} {port:?}");
                assert_eq!(sim.simulation.crashes(), u64::from(!doomed));
                sim.ends_well();
                let incidents = sim.incidents();
                assert_eq!(incidents.len(), 1, "{side:?} {port:?} {passes}: {incidents:#?}");
                assert!(!incidents[0].is_open());
                for address in ["a@example.org", "b@example.org"] {
                    let mine = sim.mails().into_iter().filter(|mail| mail.to == address).collect::<Vec<_>>();
                    let told: std::collections::BTreeSet<_> =
                        mine.iter().map(|mail| mail.header("Message-ID")).collect();
                    // Who follows both may hear apart of what fails and is back in different seconds.
                    assert!((2..=4).contains(&told.len()), "{side:?} {port:?} {passes}: {:?}", sim.subjects());
                    assert!(mine.last().unwrap().subject().contains("Resolved"), "{:?}", sim.subjects());
                }
                let file = sim.folder().join("notes/incidents").join(format!("{}.toml", incidents[0].id));
                assert!(file.exists(), "{side:?} {port:?}: no note file");
            }
        }
    }
}

#[test]
fn restarts_at_every_step_of_an_outage_change_nothing_of_it() {
    let story = |every: u64| {
        let mut sim = Sim::new(&config(&["api"]))
            .target("api", up())
            .then_after(mins(10), refuses())
            .then_after(mins(5), up())
            .subscriber("a@example.org");
        let mut moment = mins(9);
        while every > 0 && moment < mins(17) {
            sim.plan(moment, Action::Restart);
            moment += secs(every);
        }
        sim.run_for(hours(1)).ends_well();
        let incident = sim.the_incident();
        (incident.started_at.as_second() / 60, sim.subjects().len(), kinds(&sim))
    };
    let undisturbed = story(0);
    assert_eq!(undisturbed.1, 2);
    for every in [7, 13, 31] {
        assert_eq!(story(every), undisturbed, "restarted every {every} s");
    }
}

#[test]
fn a_disk_that_is_full_or_read_only_for_an_hour_loses_nothing() {
    for disk in [Disk::Full, Disk::ReadOnly] {
        let mut sim = Sim::new(&config(&["api", "web"]))
            .target("api", up())
            .then_after(mins(10), refuses())
            .then_after(mins(90), up())
            .target("web", up())
            .then_after(mins(30), refuses())
            .then_after(mins(10), up())
            .subscriber("a@example.org")
            .after(mins(8), Action::Disk(disk))
            .after(mins(68), Action::Disk(Disk::Fine));
        sim.invariants.compare_every(2);
        sim.run_for(hours(3)).ends_well();
        let incidents = sim.incidents();
        assert_eq!(incidents.len(), 2, "{incidents:#?}");
        // As it was, though it could be written down only later.
        assert!(incidents.iter().all(|it| it.started_at < super::stage::at("2026-03-01T00:32:00Z")));
        assert!(sim.subjects().iter().all(|it| it.as_str() >= "01:08"), "{:?}", sim.subjects());
    }
}

#[test]
fn a_suspended_machine_and_a_stopped_process_open_nothing() {
    for action in [Action::Suspend(hours(1)), Action::Stop(secs(30)), Action::Stop(hours(1))] {
        let mut sim =
            Sim::new(&config(&["api", "web", "database"])).subscriber("a@example.org").after(mins(61), action);
        sim.run_for(hours(4)).ends_well();
        assert!(sim.incidents().is_empty());
        assert!(sim.mails().is_empty());
    }
}

#[test]
fn clocks_that_are_set_either_way_open_nothing_and_hold_nothing_up() {
    for seconds in [-7200, 7200, -30, 30, -1, 1] {
        let mut sim = Sim::new(&config(&["api", "web"]))
            .target("api", up())
            .then_after(mins(70), refuses())
            .then_after(mins(20), up())
            .subscriber("a@example.org")
            .after(mins(30), clock_step(seconds))
            .after(mins(75), clock_step(-seconds));
        sim.run_for(mins(69));
        assert!(sim.incidents().is_empty(), "{seconds}");
        sim.run_for(hours(3)).ends_well();
        let incident = sim.the_incident();
        assert!(!incident.is_open());
        assert_eq!(sim.mails().len(), 2, "{seconds}: {:?}", sim.subjects());
        let told = sim.mails().iter().map(|mail| mail.taken).collect::<Vec<_>>();
        assert!(told[0] < mins(70) + mins(3) && told[1] < mins(90) + mins(3), "{seconds}: {told:?}");
    }
}

#[test]
fn a_note_is_on_the_page_within_two_seconds_and_in_the_mail_when_it_has_rested() {
    let mut sim = Sim::new(&config(&["api"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .then_after(hours(1), up())
        .subscriber("a@example.org");
    sim.run_for(mins(20));
    sim.note("incidents/2026-03-01-api.toml", "[[update]]\nstatus = \"identified\"\ntext = \"A cable was cut.\"\n");
    sim.run_for(secs(2));
    assert!(sim.page("incidents/2026-03-01-api/index.html").contains("A cable was cut."));
    assert_eq!(sim.mails().len(), 1);
    sim.run_for(secs(40));
    assert_eq!(sim.mails().len(), 2, "{:?}", sim.subjects());
    sim.note("incidents/2026-03-01-api.toml", "[[update]]\nstatus = \"oops\"\n");
    sim.run_for(mins(2));
    assert!(sim.page("incidents/2026-03-01-api/index.html").contains("A cable was cut."));
    assert!(sim.notices().iter().any(|notice| notice.contains("note")), "{:?}", sim.notices());
    sim.run_for(hours(2)).ends_well();
    sim.note("incidents/by-hand.toml", "title = \"Slow\"\nservices = [\"api\"]\nimpact = \"minor\"\n");
    sim.run_for(mins(5));
    let incidents = sim.incidents();
    assert_eq!(incidents.iter().map(|it| it.origin).collect::<Vec<_>>(), [Origin::Automatic, Origin::Operator]);
    assert!(sim.page("index.html").contains("Slow"));
    sim.ends_well();
}

#[test]
fn a_reload_in_the_middle_of_an_outage_keeps_it_and_a_service_that_is_gone_ends() {
    let mut sim = Sim::new(&config(&["api", "web"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .target("web", up())
        .then_after(mins(40), refuses())
        .then_after(mins(10), up())
        .subscriber("a@example.org");
    sim.run_for(mins(20));
    assert_eq!(sim.incidents().len(), 1);
    sim.reload(&config(&["web", "api"]));
    sim.run_for(mins(10));
    assert!(sim.the_incident().is_open());
    sim.reload(&config(&["web"]));
    sim.run_for(mins(5));
    assert!(!sim.the_incident().is_open());
    sim.restart();
    sim.run_for(hours(1)).ends_well();
    assert_eq!(sim.incidents().len(), 2);
}

#[test]
fn who_leaves_is_not_written_to_not_even_what_was_queued() {
    let mut sim = Sim::new(&config(&["api"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .then_after(mins(25), up())
        .relay(away())
        .then_after(mins(20), takes())
        .subscriber("a@example.org")
        .subscriber("b@example.org");
    sim.leaves(mins(15), "b@example.org");
    sim.subscribe(mins(50), "late@example.org", watchbell::domain::subscriber::Wants::default());
    sim.run_for(hours(2)).ends_well();
    assert!(sim.mails().iter().all(|mail| mail.to == "a@example.org"), "{:?}", sim.subjects());
    assert_eq!(sim.mails().len(), 2);
}

#[test]
fn the_same_seed_gives_the_same_day() {
    let day = || {
        let mut sim = Sim::seeded(&config(&["api", "web"]), 42)
            .target("api", watchbell::simulation::Behaviour::Loses(300))
            .subscriber("a@example.org")
            .after(hours(2), Action::Crash);
        sim.run_for(hours(6));
        let mails: Vec<_> = sim.mails().iter().map(|mail| (mail.taken, mail.header("Message-ID"))).collect();
        (mails, sim.events())
    };
    assert_eq!(day(), day());
}

#[test]
fn an_update_that_was_promised_and_does_not_come_is_told_to_operators_and_owners_alone() {
    let mut sim = Sim::new(&config(&["api", "web"]))
        .target("api", up())
        .then_after(mins(10), refuses())
        .then_after(hours(2), up())
        .subscriber("a@example.org");
    sim.run_for(mins(12));
    sim.note(
        "incidents/2026-03-01-api.toml",
        "[[update]]\nstatus = \"identified\"\ntext = \"A cable was cut.\"\nnext_update = \"20m\"\n",
    );
    sim.run_for(mins(60));
    let overdue = sim.simulation.mails().iter().filter(|mail| mail.subject().contains("overdue"));
    let mut told: Vec<_> = overdue.map(|mail| (mail.to.clone(), mail.subscriber.is_some())).collect();
    told.sort();
    let expected = ["secret-operator@example.org", "secret-owner@example.org"].map(|to| (to.to_owned(), false));
    assert_eq!(told, expected);
}
