//! An incident in words: its title, the subject of each piece of news about it, and what the
//! monitor says on its timeline.

use jiff::Timestamp;

use crate::domain::{
    ServiceId, ServiceStatus,
    event::{EventKind, IncidentView},
    incident::{Affected, Fact, FactKind, Incident},
    text::LocalText,
};

use super::{Names, Words};

/// How many names a title holds before it counts the rest.
const NAMED: usize = 2;

/// What the words for an incident are made of: an [`Incident`], or the [`IncidentView`] of an event.
pub trait About {
    /// The operator's title.
    fn title(&self) -> Option<&LocalText>;
    /// The service whose failure explains the others'.
    fn root(&self) -> Option<&ServiceId>;
    /// Every service that it touched.
    fn affected(&self) -> &[Affected];
    /// When it began.
    fn started_at(&self) -> Timestamp;
    /// When it ended.
    fn resolved_at(&self) -> Option<Timestamp>;
}

macro_rules! about {
    ($type:ty) => {
        impl About for $type {
            fn title(&self) -> Option<&LocalText> {
                self.title.as_ref()
            }
            fn root(&self) -> Option<&ServiceId> {
                self.root.as_ref()
            }
            fn affected(&self) -> &[Affected] {
                &self.affected
            }
            fn started_at(&self) -> Timestamp {
                self.started_at
            }
            fn resolved_at(&self) -> Option<Timestamp> {
                self.resolved_at
            }
        }
    };
}
about!(Incident);
about!(IncidentView);

/// The word in catalogue keys for the worst that happened.
fn severity(worst: ServiceStatus) -> &'static str {
    match worst {
        ServiceStatus::MajorOutage => "down",
        ServiceStatus::PartialOutage => "partly",
        ServiceStatus::DegradedPerformance => "slow",
        ServiceStatus::Operational | ServiceStatus::Unknown | ServiceStatus::UnderMaintenance => "other",
    }
}

fn worst(affected: &[Affected]) -> ServiceStatus {
    affected.iter().map(|part| part.worst).max().unwrap_or(ServiceStatus::Operational)
}

/// The operator's title, unless it is blank.
fn own_title<'a>(words: &'a Words, about: &'a impl About) -> Option<&'a str> {
    about.title().map(|title| words.local(title).trim()).filter(|title| !title.is_empty())
}

impl Words {
    /// The operator's title, or one that names the root and the affected: "VM host 1 is down:
    /// Bugzilla, Ask and 1 more affected", "API is slow"; "API was down" once it is over.
    #[must_use]
    pub fn incident_title(&self, about: &impl About, names: &Names) -> String {
        if let Some(title) = own_title(self, about) {
            return title.to_owned();
        }
        let table = if about.resolved_at().is_some() { "title_past" } else { "title" };
        let say = |status: ServiceStatus, listed: &[&str]| {
            let n = u64::try_from(listed.len()).unwrap_or(u64::MAX);
            let listed = self.list(listed, NAMED);
            self.count(&format!("{table}.{}", severity(status)), n, &[("names", &listed)])
        };
        let all: Vec<&str> = about.affected().iter().map(|part| names.get(&part.service)).collect();
        let Some(root) = about.root() else {
            return if all.is_empty() { self.text("title.nothing", &[]) } else { say(worst(about.affected()), &all) };
        };
        let own = about.affected().iter().find(|part| part.service == *root);
        let title = say(own.map_or(ServiceStatus::MajorOutage, |part| part.worst), &[names.get(root)]);
        let others = others(about.affected(), root, names);
        if others.is_empty() {
            return title;
        }
        self.text("title.affected", &[("title", &title), ("names", &self.list(&others, NAMED))])
    }

    /// The names that stand for an incident where there is little room: the operator's title, "VM
    /// host 1 (Bugzilla, Ask and 1 more)", "API and Website".
    #[must_use]
    pub fn incident_names(&self, about: &impl About, names: &Names) -> String {
        if let Some(title) = own_title(self, about) {
            return title.to_owned();
        }
        if let Some(root) = about.root() {
            let others = others(about.affected(), root, names);
            if others.is_empty() {
                return names.get(root).to_owned();
            }
            let listed = self.list(&others, NAMED);
            return self.text("subject.because", &[("root", names.get(root)), ("names", &listed)]);
        }
        let all: Vec<&str> = about.affected().iter().map(|part| names.get(&part.service)).collect();
        if all.is_empty() { self.text("title.nothing", &[]) } else { self.list(&all, NAMED) }
    }

    /// The subject of a piece of news: "Outage: API", "Resolved: API (was down 12 min)".
    ///
    /// `services` are those that the news is about, `view` the incident as its reader should see
    /// it (for a subscriber of some services: with only those among the affected).
    #[must_use]
    pub fn event_subject(&self, kind: EventKind, view: &IncidentView, services: &[ServiceId], names: &Names) -> String {
        in_one_bracket(&self.subject_of(kind, view, services, names))
    }

    fn subject_of(&self, kind: EventKind, view: &IncidentView, services: &[ServiceId], names: &Names) -> String {
        let whole = self.incident_names(view, names);
        let named: Vec<&str> = services.iter().map(|service| names.get(service)).collect();
        let some = if named.is_empty() { whole.clone() } else { self.list(&named, NAMED + 1) };
        let say = |key: &str, names: &str| self.text(&format!("subject.{key}"), &[("names", names)]);
        let ended = |key: &str, names: &str, status: ServiceStatus, ms: Option<u64>| {
            let suffix = match status {
                ServiceStatus::MajorOutage | ServiceStatus::PartialOutage => "_down",
                ServiceStatus::DegradedPerformance => "_slow",
                _ => return say(key, names),
            };
            let Some(ms) = ms else { return say(key, names) };
            let duration = self.duration(ms);
            self.text(&format!("subject.{key}{suffix}"), &[("names", names), ("duration", &duration)])
        };
        let in_line = || match (view.root(), own_title(self, view)) {
            // What lasted follows in brackets: the names have none of their own.
            (Some(root), None) => {
                let mut listed = others(&view.affected, root, names);
                listed.insert(0, names.get(root));
                self.list(&listed, NAMED)
            }
            _ => whole.clone(),
        };
        match kind {
            EventKind::Opened => say(&format!("opened_{}", severity(worst(&view.affected))), &whole),
            EventKind::Joined => say("joined", &some),
            EventKind::Recovered => {
                let parts = || view.affected.iter().filter(|part| services.contains(&part.service));
                let longest = parts().filter_map(|part| Some(part.downtime_ms(part.recovered_at?))).max();
                ended(
                    "recovered",
                    &some,
                    parts().map(|part| part.worst).max().unwrap_or(ServiceStatus::Operational),
                    longest,
                )
            }
            EventKind::Updated => say("updated", &whole),
            EventKind::Resolved => {
                let lasted = view.resolved_at.map(|at| length(view.started_at, at));
                ended("resolved", &in_line(), worst(&view.affected), lasted)
            }
            EventKind::Reopened => say("reopened", &some),
            EventKind::Intermittent => say("intermittent", &whole),
            EventKind::Postmortem => say("postmortem", &whole),
            EventKind::Withdrawn => say("withdrawn", &whole),
        }
    }

    /// That `root` is back and `services`, which need it, are not.
    fn left_behind(&self, root: &ServiceId, services: &[ServiceId], names: &Names) -> String {
        let n = u64::try_from(services.len()).unwrap_or(u64::MAX);
        let listed = self.names_of(services, names);
        self.count("fact.left_behind", n, &[("root", names.get(root)), ("names", &listed)])
    }

    fn names_of(&self, services: &[ServiceId], names: &Names) -> String {
        let listed: Vec<&str> = services.iter().map(|service| names.get(service)).collect();
        self.list(&listed, NAMED)
    }

    /// What the monitor saw, as a sentence for the timeline.
    #[must_use]
    pub fn fact(&self, fact: &Fact, names: &Names) -> String {
        let about = |service: &ServiceId| ("service", names.get(service).to_owned());
        match &fact.what {
            FactKind::FirstFailure { service } => self.with("fact.first_failure", &[about(service)]),
            FactKind::Confirmed { service, probes, cause } => {
                let service = names.get(service);
                match cause {
                    Some(cause) => {
                        let cause = self.inside(&self.cause(cause));
                        let args = [("service", service), ("cause", cause.as_str())];
                        self.count("fact.confirmed_cause", u64::from(*probes), &args)
                    }
                    None => self.count("fact.confirmed", u64::from(*probes), &[("service", service)]),
                }
            }
            FactKind::Joined { service, needs: None } => self.with("fact.joined", &[about(service)]),
            FactKind::Joined { service, needs: Some(root) } => {
                self.with("fact.joined_needs", &[about(service), ("needs", names.get(root).to_owned())])
            }
            FactKind::Changed { service, status: ServiceStatus::PartialOutage, up, of } if *up > 0 => {
                let args = [("service", names.get(service)), ("up", &up.to_string())];
                self.count("fact.better", u64::from(*of), &args)
            }
            FactKind::Changed { service, status, .. } => {
                let status = self.inside(self.status(*status));
                self.with("fact.changed", &[about(service), ("status", status)])
            }
            FactKind::Recovered { service, after_ms } => {
                self.with("fact.recovered", &[about(service), ("duration", self.duration(*after_ms))])
            }
            FactKind::Reopened { service } => self.with("fact.reopened", &[about(service)]),
            FactKind::Intermittent => self.text("fact.intermittent", &[]),
            FactKind::Steady { services } if services.is_empty() => self.text("fact.steady_up", &[]),
            FactKind::Steady { services } => {
                let n = u64::try_from(services.len()).unwrap_or(u64::MAX);
                self.count("fact.steady_down", n, &[("names", &self.names_of(services, names))])
            }
            FactKind::LeftBehind { root, services } => self.left_behind(root, services, names),
            FactKind::NoLongerMonitored { service } => self.with("fact.no_longer_monitored", &[about(service)]),
            FactKind::Resolved => self.text("fact.resolved", &[]),
        }
    }

    fn with(&self, key: &str, args: &[(&str, String)]) -> String {
        let args: Vec<(&str, &str)> = args.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.text(key, &args)
    }
}

fn others<'a>(affected: &'a [Affected], root: &ServiceId, names: &'a Names) -> Vec<&'a str> {
    affected.iter().filter(|part| part.service != *root).map(|part| names.get(&part.service)).collect()
}

/// A line without two brackets in a row: what names have in theirs, and what we say after it.
#[must_use]
pub fn in_one_bracket(line: &str) -> String {
    line.replace(") (", "; ")
}

fn length(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Impact, IncidentStatus,
        outcome::{Cause, Class},
    };

    fn id(text: &str) -> ServiceId {
        ServiceId::new(text).unwrap()
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn names() -> Names {
        [("vm", "VM host 1"), ("bugzilla", "Bugzilla"), ("ask", "Ask"), ("archive", "Download archive"), ("api", "API")]
            .map(|(service, name)| (id(service), name.to_owned()))
            .into_iter()
            .collect()
    }

    fn view(root: Option<&str>, parts: &[(&str, ServiceStatus)]) -> IncidentView {
        let affected = parts.iter().map(|(service, worst)| Affected {
            service: id(service),
            status: *worst,
            worst: *worst,
            started_at: at(0),
            recovered_at: None,
            earlier_ms: 0,
            cause: None,
            seen_failing: true,
        });
        IncidentView {
            title: None,
            root: root.map(id),
            status: IncidentStatus::Investigating,
            impact: Impact::Critical,
            started_at: at(0),
            resolved_at: None,
            affected: affected.collect(),
        }
    }

    use ServiceStatus::{DegradedPerformance as Slow, MajorOutage as Down, PartialOutage as Partly};

    #[test]
    fn a_title_names_the_root_and_the_affected() {
        let words = Words::load("en", None).unwrap();
        let title = |view: &IncidentView| words.incident_title(view, &names());
        let cascade = view(Some("vm"), &[("vm", Down), ("bugzilla", Down), ("ask", Down), ("archive", Partly)]);
        assert_eq!(title(&cascade), "VM host 1 is down: Bugzilla, Ask and 1 more affected");
        assert_eq!(title(&view(Some("api"), &[("api", Down)])), "API is down");
        assert_eq!(title(&view(None, &[("api", Slow)])), "API is slow");
        assert_eq!(title(&view(None, &[("api", Partly)])), "API is partly down");
        assert_eq!(title(&view(None, &[("api", Down), ("ask", Slow)])), "API and Ask are down");
        assert_eq!(title(&view(None, &[])), "Incident");
    }

    #[test]
    fn the_operators_title_wins_and_a_past_incident_claims_no_present() {
        let words = Words::load("en", None).unwrap();
        let mut view = view(None, &[("api", Down)]);
        view.resolved_at = Some(at(12));
        assert_eq!(words.incident_title(&view, &names()), "API was down");
        view.title = Some("  ".into());
        assert_eq!(words.incident_title(&view, &names()), "API was down");
        view.title = Some("API answers slowly".into());
        assert_eq!(words.incident_title(&view, &names()), "API answers slowly");
    }

    #[test]
    fn subjects_say_what_happened_to_what_and_for_how_long() {
        let words = Words::load("en", None).unwrap();
        let mut api = view(None, &[("api", Down)]);
        let subject = |kind, view: &IncidentView| words.event_subject(kind, view, &[id("api")], &names());
        assert_eq!(subject(EventKind::Opened, &api), "Outage: API");
        api.resolved_at = Some(at(12));
        assert_eq!(subject(EventKind::Resolved, &api), "Resolved: API (was down 12 min)");
        let mut cascade = view(Some("vm"), &[("vm", Down), ("api", Down), ("ask", Down)]);
        assert_eq!(subject(EventKind::Opened, &cascade), "Outage: VM host 1 (API and Ask)");
        cascade.affected[1].recovered_at = Some(at(7));
        assert_eq!(subject(EventKind::Recovered, &cascade), "Recovered: API (was down 7 min)");
        assert_eq!(subject(EventKind::Joined, &cascade), "Also affected: API");
        cascade.resolved_at = Some(at(12));
        assert_eq!(subject(EventKind::Resolved, &cascade), "Resolved: VM host 1, API and 1 more (was down 12 min)");
    }

    #[test]
    fn no_subject_has_two_brackets_in_a_row() {
        let words = Words::load("en", None).unwrap();
        let mut view = view(Some("vm"), &[("vm", Down), ("api", Down)]);
        let names: Names = [("vm", "VM host (EU)"), ("api", "API")]
            .map(|(id, name)| (self::id(id), name.to_owned()))
            .into_iter()
            .collect();
        let subject = |kind, view: &IncidentView| words.event_subject(kind, view, &[id("api")], &names);
        assert_eq!(subject(EventKind::Opened, &view), "Outage: VM host (EU; API)");
        view.resolved_at = Some(at(12));
        view.title = Some("Login fails (EU)".into());
        assert_eq!(subject(EventKind::Resolved, &view), "Resolved: Login fails (EU; was down 12 min)");
    }

    #[test]
    fn facts_are_sentences() {
        let words = Words::load("en", None).unwrap();
        let fact = |what| words.fact(&Fact { at: at(0), what }, &names());
        let (vm, ask) = (id("vm"), id("ask"));
        assert_eq!(fact(FactKind::FirstFailure { service: vm.clone() }), "First failed probe of VM host 1.");
        let cause = Some(Cause::from(Class::ConnectTimeout));
        assert_eq!(
            fact(FactKind::Confirmed { service: vm.clone(), probes: 3, cause }),
            "Outage of VM host 1 confirmed: 3 probes failed (connection timed out)."
        );
        let left = FactKind::LeftBehind { root: vm.clone(), services: vec![ask.clone()] };
        assert_eq!(fact(left), "VM host 1 is back; Ask, which needs it, is not.");
        assert_eq!(fact(FactKind::Joined { service: ask.clone(), needs: Some(vm) }), "Ask joined: it needs VM host 1.");
        assert_eq!(
            fact(FactKind::Changed { service: ask.clone(), status: Partly, up: 2, of: 3 }),
            "Ask answers again in part (2 of 3 checks)."
        );
        assert_eq!(fact(FactKind::Recovered { service: ask, after_ms: 90_000 }), "Ask is back after 1 min.");
    }
}
