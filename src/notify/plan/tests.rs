//! The rule of telling, case by case.

use super::*;
use crate::{
    domain::{GroupId, IncidentStatus, ServiceStatus, service::Rules},
    notify::story::{Story, at, directory, rules, service, subscriber},
};

/// What a plan says in short: for each pending event `opened`, `folded`, `hold 30`, `not_theirs`.
fn short(lane: &Lane, second: i64) -> Vec<String> {
    short_by(lane, &rules(), second)
}

fn short_by(lane: &Lane, rules: &Rules, second: i64) -> Vec<String> {
    plan(lane, &Directory::new(rules), at(second))
        .into_iter()
        .map(|(_, decision)| match decision {
            Decision::Send { news, .. } => news.as_str().to_owned(),
            Decision::Hold { until, .. } => format!("hold {}", until.duration_since(at(0)).as_secs()),
            Decision::Folded { .. } => "folded".to_owned(),
            Decision::Drop { reason } => reason.as_str().to_owned(),
        })
        .collect()
}

#[test]
fn an_outage_is_told_and_so_is_its_end() {
    let mut story = Story::opens(0, &["api"]);
    assert_eq!(short(&story.lane(&subscriber(&[]), &[], &[0]), 1), ["opened"]);
    story.resolves(600);
    assert_eq!(short(&story.lane(&subscriber(&[]), &[0], &[1]), 601), ["resolved"]);
}

#[test]
fn what_is_not_sealed_waits_and_so_does_what_comes_after_it() {
    let mut story = Story::untold(0, &["api"]);
    story.tell(0, EventKind::Opened, &["api"]).seals_at = at(10);
    assert_eq!(short(&story.lane(&subscriber(&[]), &[], &[0]), 9), ["hold 10"]);
    assert_eq!(short(&story.lane(&subscriber(&[]), &[], &[0]), 10), ["opened"]);
    story.says(5, IncidentStatus::Identified, "Found.").seals_at = at(35);
    story.resolves(20);
    let lane = story.lane(&subscriber(&[]), &[], &[0, 1, 2]);
    assert_eq!(short(&lane, 9), ["hold 10", "hold 35", "hold 35"]);
    assert_eq!(short(&lane, 10), ["opened", "hold 35", "hold 35"]);
}

#[test]
fn what_waits_says_for_what() {
    let reasons = |lane: &Lane, second: i64| -> Vec<&str> {
        let all = plan(lane, &directory(), at(second)).into_iter();
        let reasons = all.map(|(_, decision)| match decision {
            Decision::Hold { reason, .. } => reason.as_str(),
            _ => "",
        });
        reasons.collect()
    };
    let mut story = Story::untold(0, &["api"]);
    story.tell(0, EventKind::Opened, &["api"]).seals_at = at(10);
    story.says(5, IncidentStatus::Identified, "Found.").seals_at = at(35);
    story.resolves(20);
    let lane = story.lane(&subscriber(&[]), &[], &[0, 1, 2]);
    assert_eq!(reasons(&lane, 21), ["", "settle", "order"]);
    assert_eq!(reasons(&lane, 9), ["gather", "settle", "order"], "what is sealed waits for what is not");
    let slow = Story::opens(0, &["slowpoke"]);
    assert_eq!(reasons(&slow.lane(&subscriber(&[]), &[], &[0]), 60), ["notify_after"]);
    let mut picky = subscriber(&[]);
    picky.wants.min_impact = Impact::Critical;
    let mut minor = Story::opens(0, &["api"]);
    minor.incident.impact_override = Some(Impact::Minor);
    assert_eq!(reasons(&minor.lane(&picky, &[], &[0]), 60), ["below_min_impact"]);
}

#[test]
fn what_was_taken_back_while_it_was_claimed_is_not_told() {
    let mut story = Story::opens(0, &["api"]);
    story.says(5, IncidentStatus::Identified, "Found.").notify = false;
    assert_eq!(short(&story.lane(&subscriber(&[]), &[0], &[1]), 40), ["taken_back"]);
}

#[test]
fn an_outage_that_came_and_went_unseen_is_one_message() {
    let mut story = Story::opens(0, &["api"]);
    story.joins(5, "website");
    story.says(60, IncidentStatus::Identified, "Found.");
    story.is_back(90, "website");
    story.resolves(600);
    let lane = story.lane(&subscriber(&[]), &[], &[0, 1, 2, 3, 4]);
    assert_eq!(short(&lane, 7200), ["folded", "folded", "folded", "folded", "passed"]);
    let (last, decision) = plan(&lane, &directory(), at(7200)).pop().unwrap();
    assert_eq!(last, Story::delivery(4));
    assert_eq!(decision, Decision::Send { news: News::Passed, fold: (0..4).map(Story::delivery).collect() });
}

#[test]
fn in_a_storm_what_joins_and_what_is_back_is_told_once_a_minute_and_its_end_at_once() {
    let all = ["a", "b", "c", "d", "e"];
    let mut story = Story::opens(0, &all[..3]);
    story.joins(15, "d");
    let lane = story.lane(&subscriber(&[]), &[0], &[1]);
    assert_eq!(short(&lane, 15), ["joined"], "four are no storm");
    story.joins(20, "e");
    let lane = story.lane(&subscriber(&[]), &[0], &[1, 2]);
    assert_eq!(short(&lane, 20), ["hold 60", "hold 60"], "the last message was a moment ago");
    assert_eq!(short(&lane, 60), ["folded", "joined"]);
    // Who follows few of them is told at once.
    assert_eq!(short(&story.lane(&subscriber(&["d", "e"]), &[], &[1]), 15), ["opened"]);
    assert_eq!(short(&story.lane(&subscriber(&["a", "e"]), &[0], &[2]), 20), ["joined"]);
    story.is_back(600, "a");
    story.is_back(620, "b");
    let lane = story.lane(&subscriber(&[]), &[0, 1, 2], &[3, 4]);
    assert_eq!(short(&lane, 630), ["hold 660", "hold 660"], "others may be back as well");
    assert_eq!(short(&lane, 660), ["folded", "recovered"]);
    // A clock that was set back holds nothing up.
    assert_eq!(short(&lane, -4000), ["folded", "recovered"]);
    story.resolves(640);
    let lane = story.lane(&subscriber(&[]), &[0, 1, 2], &[3, 4, 5]);
    assert_eq!(short(&lane, 641), ["folded", "folded", "resolved"], "its end waits for nothing");
}

#[test]
fn an_outage_of_last_month_that_nobody_heard_of_is_history() {
    let mut story = Story::opens(0, &["api"]);
    story.resolves(600);
    let lane = story.lane(&subscriber(&[]), &[], &[0, 1]);
    assert_eq!(short(&lane, 600 + 6 * 86_400), ["folded", "passed"]);
    assert_eq!(short(&lane, 600 + 7 * 86_400), ["long_past", "long_past"]);
}

#[test]
fn an_outage_that_is_still_going_on_after_a_stop_is_told_as_it_is_now() {
    let mut story = Story::opens(0, &["api", "website"]);
    story.is_back(90, "website");
    assert_eq!(short(&story.lane(&subscriber(&[]), &[], &[0, 1]), 7200), ["folded", "opened"]);
}

#[test]
fn several_updates_that_wait_are_one_message() {
    let mut story = Story::opens(0, &["api"]);
    story.says(60, IncidentStatus::Identified, "One.");
    story.says(120, IncidentStatus::Identified, "Two.");
    story.joins(130, "website");
    let lane = story.lane(&subscriber(&[]), &[0], &[1, 2, 3]);
    assert_eq!(short(&lane, 7200), ["folded", "folded", "updated"]);
}

#[test]
fn nobody_reads_up_who_never_read_down() {
    // They subscribed in the middle, so nothing was queued for them when it opened.
    let mut story = Story::opens(0, &["api"]);
    story.resolves(600);
    assert_eq!(short(&story.lane(&subscriber(&[]), &[], &[1]), 601), ["passed"]);
    let mut story = Story::opens(0, &["api", "website"]);
    story.is_back(60, "website");
    assert_eq!(short(&story.lane(&subscriber(&[]), &[], &[1]), 601), ["opened"]);
    let mut story = Story::opens(0, &["api"]);
    story.says(60, IncidentStatus::Identified, "Found.");
    assert_eq!(short(&story.lane(&subscriber(&[]), &[], &[1]), 601), ["opened"]);
}

#[test]
fn what_was_over_before_notify_after_is_never_told() {
    let mut story = Story::opens(0, &["slowpoke"]);
    let ann = subscriber(&[]);
    assert_eq!(short(&story.lane(&ann, &[], &[0]), 30), ["hold 900"]);
    let mut short_one = story.clone();
    short_one.resolves(600);
    assert_eq!(short(&short_one.lane(&ann, &[], &[0, 1]), 601), ["too_short", "too_short"]);
    // Its end alone is no news either.
    assert_eq!(short(&short_one.lane(&ann, &[], &[1]), 601), ["too_short"]);
    assert_eq!(short(&story.lane(&ann, &[], &[0]), 900), ["opened"]);
    story.resolves(1000);
    assert_eq!(short(&story.lane(&ann, &[0], &[1]), 1001), ["resolved"]);
    // Held up by a stop, it is told all the same: it lasted long enough.
    assert_eq!(short(&story.lane(&ann, &[], &[0, 1]), 9000), ["folded", "passed"]);
}

#[test]
fn an_end_that_is_not_sealed_yet_counts_for_notify_after() {
    let mut story = Story::opens(0, &["slowpoke"]);
    story.resolves(895).seals_at = at(905);
    let lane = story.lane(&subscriber(&[]), &[], &[0, 1]);
    assert_eq!(short(&lane, 900), ["too_short", "hold 905"]);
    assert_eq!(short(&lane, 905), ["too_short", "too_short"]);
}

#[test]
fn a_persons_word_does_not_wait_for_notify_after() {
    let mut story = Story::opens(0, &["slowpoke"]);
    story.says(60, IncidentStatus::Identified, "A disk is full.");
    assert_eq!(short(&story.lane(&subscriber(&[]), &[], &[0, 1]), 90), ["folded", "opened"]);
}

#[test]
fn a_service_that_joins_waits_for_its_own_notify_after() {
    let mut story = Story::opens(0, &["api"]);
    story.joins(60, "slowpoke");
    let ann = subscriber(&[]);
    assert_eq!(short(&story.lane(&ann, &[0], &[1]), 70), ["hold 960"]);
    assert_eq!(short(&story.lane(&ann, &[0], &[1]), 960), ["joined"]);
    let mut brief = story.clone();
    brief.is_back(90, "slowpoke");
    assert_eq!(short(&brief.lane(&ann, &[0], &[1, 2]), 100), ["too_short", "too_short"]);
    // The end of all of it is told, whatever waited.
    story.resolves(120);
    assert_eq!(short(&story.lane(&ann, &[0], &[1, 2]), 130), ["folded", "resolved"]);
}

#[test]
fn services_that_nobody_asked_about_are_not_told() {
    let mut story = Story::opens(0, &["api"]);
    story.joins(5, "database");
    let ann = subscriber(&["api"]);
    assert_eq!(short(&story.lane(&ann, &[0], &[1]), 10), ["not_theirs"]);
    let mut bob = subscriber(&[]);
    bob.wants.groups = vec![GroupId::new("public").unwrap()];
    assert_eq!(short(&story.lane(&bob, &[], &[0, 1]), 10), ["opened", "not_theirs"]);
}

#[test]
fn for_who_follows_some_services_it_is_over_when_theirs_are_back() {
    let mut story = Story::opens(0, &["api", "database"]);
    let ann = subscriber(&["api"]);
    story.is_back(60, "api");
    assert_eq!(short(&story.lane(&ann, &[0], &[1]), 61), ["resolved"]);
    story.says(70, IncidentStatus::Identified, "The database is being restored.");
    assert_eq!(short(&story.lane(&ann, &[0, 1], &[2]), 71), ["already_told"]);
    story.resolves(600);
    assert_eq!(short(&story.lane(&ann, &[0, 1], &[3]), 601), ["already_told"]);
    // Who follows all of it hears each part.
    let bob = subscriber(&[]);
    assert_eq!(short(&story.lane(&bob, &[0], &[1]), 61), ["recovered"]);
    assert_eq!(short(&story.lane(&bob, &[0, 1, 2], &[3]), 601), ["resolved"]);
}

#[test]
fn who_follows_all_of_it_waits_for_the_operator_to_end_it() {
    let mut story = Story::opens(0, &["api"]);
    story.is_back(60, "api");
    let bob = subscriber(&[]);
    assert_eq!(short(&story.lane(&bob, &[0], &[1]), 61), ["recovered"]);
    story.resolves(600);
    assert_eq!(short(&story.lane(&bob, &[0, 1], &[2]), 601), ["resolved"]);
}

#[test]
fn a_service_that_fails_again_is_told_again() {
    let mut story = Story::opens(0, &["api"]);
    story.resolves(60);
    story.reopens(120, "api");
    let ann = subscriber(&[]);
    assert_eq!(short(&story.lane(&ann, &[0, 1], &[2]), 121), ["reopened"]);
    // Ended and failed again while the server was away.
    assert_eq!(short(&story.lane(&ann, &[0], &[1, 2]), 7200), ["folded", "reopened"]);
    story.resolves(300);
    assert_eq!(short(&story.lane(&ann, &[0, 1], &[2, 3]), 7200), ["folded", "passed"]);
    assert_eq!(short(&story.lane(&ann, &[0], &[1, 2, 3]), 7200), ["folded", "folded", "resolved"]);
    assert_eq!(short(&story.lane(&ann, &[], &[0, 1, 2, 3]), 7200), ["folded", "folded", "folded", "passed"]);
}

#[test]
fn a_second_short_outage_is_not_told_because_the_first_was_long() {
    let mut story = Story::opens(0, &["slowpoke"]);
    story.resolves(1000);
    story.reopens(1100, "slowpoke");
    let ann = subscriber(&[]);
    assert_eq!(short(&story.lane(&ann, &[0, 1], &[2]), 1101), ["hold 2000"]);
    story.resolves(1200);
    assert_eq!(short(&story.lane(&ann, &[0, 1], &[2, 3]), 1201), ["too_short", "too_short"]);
}

#[test]
fn what_matters_too_little_waits_until_it_matters_or_is_over() {
    let mut story = Story::untold(0, &["api"]);
    story.incident.affected[0].worst = ServiceStatus::DegradedPerformance;
    story.tell(0, EventKind::Opened, &["api"]);
    let mut ann = subscriber(&[]);
    ann.wants.min_impact = Impact::Major;
    assert_eq!(short(&story.lane(&ann, &[], &[0]), 1), ["hold 16"]);
    assert_eq!(short(&story.lane(&ann, &[], &[0]), 400), ["hold 500"]);
    assert_eq!(short(&story.lane(&ann, &[], &[0]), 40_000), ["hold 40300"]);
    let mut worse = story.clone();
    worse.incident.affected[0].worst = ServiceStatus::PartialOutage;
    assert_eq!(short(&worse.lane(&ann, &[], &[0]), 400), ["opened"]);
    story.resolves(600);
    assert_eq!(short(&story.lane(&ann, &[], &[0, 1]), 601), ["below_min_impact", "below_min_impact"]);
}

#[test]
fn what_mattered_enough_once_is_told_to_the_end() {
    let mut story = Story::opens(0, &["api"]);
    story.incident.impact_override = Some(Impact::Minor);
    story.resolves(600);
    let mut ann = subscriber(&[]);
    ann.wants.min_impact = Impact::Major;
    assert_eq!(short(&story.lane(&ann, &[0], &[1]), 601), ["resolved"]);
}

#[test]
fn a_write_up_is_a_message_of_its_own_after_the_end() {
    let mut story = Story::opens(0, &["api"]);
    story.resolves(600);
    story.is_written_up(700);
    let ann = subscriber(&[]);
    assert_eq!(short(&story.lane(&ann, &[0], &[1, 2]), 7200), ["resolved", "hold 7200"]);
    assert_eq!(short(&story.lane(&ann, &[0, 1], &[2]), 7200), ["postmortem"]);
    assert_eq!(short(&story.lane(&ann, &[], &[2]), 7200), ["postmortem"]);
}

#[test]
fn what_was_withdrawn_is_taken_back_only_from_those_who_heard_of_it() {
    let mut story = Story::opens(0, &["api"]);
    story.is_withdrawn(60);
    let ann = subscriber(&[]);
    assert_eq!(short(&story.lane(&ann, &[0], &[1]), 61), ["withdrawn"]);
    assert_eq!(short(&story.lane(&ann, &[], &[0, 1]), 61), ["withdrawn", "withdrawn"]);
    let (_, first) = plan(&story.lane(&ann, &[], &[0, 1]), &directory(), at(61)).remove(0);
    assert_eq!(first, Decision::Drop { reason: DropReason::Withdrawn });
}

#[test]
fn who_wants_planned_work_only_or_has_left_hears_nothing() {
    let story = Story::opens(0, &["api"]);
    let mut ann = subscriber(&[]);
    ann.wants.incidents = false;
    assert_eq!(short(&story.lane(&ann, &[], &[0]), 1), ["not_wanted"]);
    let mut ann = subscriber(&[]);
    ann.state = SubscriberState::Suspended;
    assert_eq!(short(&story.lane(&ann, &[], &[0]), 1), ["not_confirmed"]);
}

#[test]
fn an_intermittent_incident_is_called_so() {
    let mut story = Story::opens(0, &["api"]);
    story.resolves(60);
    story.reopens(120, "api");
    story.tell(125, EventKind::Intermittent, &["api"]);
    let ann = subscriber(&[]);
    assert_eq!(short(&story.lane(&ann, &[0, 1], &[2, 3]), 130), ["folded", "intermittent"]);
    story.resolves(900);
    assert_eq!(short(&story.lane(&ann, &[0, 1, 3], &[4]), 901), ["resolved"]);
}

#[test]
fn impact_and_state_are_those_of_their_services() {
    let directory = directory();
    let mut story = Story::opens(0, &["api", "database"]);
    story.incident.affected[0].worst = ServiceStatus::DegradedPerformance;
    let ann = subscriber(&["api"]);
    let recipient = Recipient { wants: &ann.wants, directory: &directory };
    assert_eq!(recipient.impact(&story.incident), Impact::Minor);
    assert!(recipient.follows(&service("api")) && !recipient.follows(&service("database")));
}
