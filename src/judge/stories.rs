//! What the judge makes of whole outages: one story a test.

use super::story::*;
use crate::domain::{Impact, IncidentStatus, ServiceStatus};

#[test]
fn an_outage_begins_with_the_first_failure_and_ends_with_the_first_success() {
    let mut story = Story::of(&["api"]);
    story.run_to(300).target("api", DOWN).run_to(900).target("api", UP).run_to(1800);
    // Failing at 300, 305.1 and 310.2, good at 900 and 905.1.
    assert_eq!(story.told(), ["310 opened api", "905 resolved api"]);
    assert_eq!(story.spans("api"), ["0 operational", "300 major_outage", "900 operational"]);
    let incident = story.the_incident();
    assert_eq!(incident.id.as_str(), "2026-11-21-api");
    assert_eq!((incident.started_at, incident.resolved_at), (at(300), Some(at(900))));
    assert_eq!(incident.status, IncidentStatus::Resolved);
    assert_eq!(incident.impact, Impact::Critical);
    assert_eq!(incident.affected[0].downtime_ms(at(5000)), 600_000);
    assert_eq!(story.status("api"), Some(ServiceStatus::Operational));
}

#[test]
fn two_failures_are_a_blip() {
    let mut story = Story::of(&["api"]);
    story.run_to(300).target("api", DOWN).run_to(306).target("api", UP).run_to(900);
    assert!(story.told().is_empty());
    assert_eq!(story.spans("api"), ["0 operational"]);
}
