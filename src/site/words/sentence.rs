//! The one line that answers "is it them?", and the one below it that says what is *not* affected.

use crate::domain::ServiceStatus;

use super::Words;

/// How many names stand in "Website and Mailing lists are fine" before they are counted.
const FINE_NAMED: usize = 4;

impl Words {
    /// How all services are, as a written sentence: "All services are operational", "Two services
    /// are down, one partly", "Bugzilla is slow". `services` are names and statuses.
    #[must_use]
    pub fn sentence(&self, services: &[(&str, ServiceStatus)]) -> String {
        let count = |wanted| services.iter().filter(|(_, status)| *status == wanted).count();
        let total = services.len();
        let Some(worst) = services.iter().map(|(_, status)| *status).max() else {
            return self.text("sentence.nothing", &[]);
        };
        let concerned = total - count(ServiceStatus::Operational);
        let whole = match worst {
            ServiceStatus::Operational => Some("sentence.all_operational"),
            ServiceStatus::MajorOutage if count(worst) == total && total > 1 => Some("sentence.all_down"),
            ServiceStatus::Unknown if count(worst) == total => Some("sentence.no_data"),
            _ => None,
        };
        if let Some(key) = whole {
            return self.text(key, &[]);
        }
        let key = format!("sentence.{}", word(worst));
        let mut sentence = match services.iter().find(|(_, status)| *status == worst) {
            Some((name, _)) if concerned == 1 => self.text(&format!("{key}.name"), &[("name", name)]),
            _ => {
                let n = size(count(worst));
                self.catalog().plural(&key, n, &[("n", &self.number(n))])
            }
        };
        for &status in ServiceStatus::ALL.iter().rev().filter(|&&status| status < worst) {
            let n = count(status);
            if n > 0 && status != ServiceStatus::Operational {
                let n = size(n);
                let args = [("sentence", sentence.as_str()), ("n", &self.number(n))];
                sentence = self.catalog().plural(&format!("sentence.also_{}", word(status)), n, &args);
            }
        }
        capital(&sentence)
    }

    /// What is not affected: "Website and Mailing lists are fine."; empty if everything is fine, or
    /// nothing is.
    #[must_use]
    pub fn fine(&self, services: &[(&str, ServiceStatus)]) -> String {
        let fine: Vec<&str> = services
            .iter()
            .filter(|(_, status)| *status == ServiceStatus::Operational)
            .map(|(name, _)| *name)
            .collect();
        let n = size(fine.len());
        if fine.is_empty() || fine.len() == services.len() {
            String::new()
        } else if fine.len() > FINE_NAMED {
            self.count("page.others_fine", n, &[])
        } else {
            self.count("page.fine", n, &[("names", &self.list(&fine, FINE_NAMED))])
        }
    }
}

/// The word in catalogue keys.
fn word(status: ServiceStatus) -> &'static str {
    match status {
        ServiceStatus::MajorOutage => "down",
        ServiceStatus::PartialOutage => "partly",
        ServiceStatus::DegradedPerformance => "slow",
        ServiceStatus::UnderMaintenance => "planned",
        ServiceStatus::Unknown => "unknown",
        ServiceStatus::Operational => "operational",
    }
}

fn size(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServiceStatus::{
        DegradedPerformance as Slow, MajorOutage as Down, Operational as Up, PartialOutage as Partly,
        UnderMaintenance as Planned, Unknown,
    };

    fn say(statuses: &[ServiceStatus]) -> String {
        let named = ["Website", "Bugzilla", "Ask", "Lists", "Wiki", "Build"];
        let services: Vec<_> = named.iter().copied().cycle().zip(statuses.iter().copied()).collect();
        Words::load("en", None).unwrap().sentence(&services)
    }

    #[test]
    fn the_sentence_is_written_and_not_a_code() {
        assert_eq!(say(&[Up, Up]), "All services are operational");
        assert_eq!(say(&[Up, Down, Down, Partly]), "Two services are down, one partly");
        assert_eq!(say(&[Up, Slow]), "Bugzilla is slow");
        assert_eq!(say(&[Down]), "Website is down");
        assert_eq!(say(&[Down, Down]), "All services are down");
        assert_eq!(say(&[Slow, Slow, Up]), "Two services are slow");
        assert_eq!(say(&[Partly, Slow, Slow, Planned]), "One service is partly down, two slow, planned work on one");
        assert_eq!(say(&[Planned, Up]), "Planned work on Website");
        assert_eq!(say(&[Down; 13]), "All services are down");
        assert_eq!(say(&[[Down; 13].as_slice(), &[Up]].concat()), "13 services are down");
    }

    #[test]
    fn not_knowing_is_never_green() {
        assert_eq!(say(&[Unknown, Unknown]), "No recent data");
        assert_eq!(say(&[Unknown, Up]), "No recent data on Website");
        assert_eq!(say(&[Unknown, Down, Up]), "One service is down, no recent data on one");
        assert_eq!(say(&[]), "Nothing is watched yet");
    }

    #[test]
    fn what_is_fine_is_said_by_name_while_that_is_short() {
        let words = Words::load("en", None).unwrap();
        assert_eq!(
            words.fine(&[("Website", Up), ("API", Down), ("Mailing lists", Up)]),
            "Website and Mailing lists are fine."
        );
        assert_eq!(words.fine(&[("Website", Up), ("API", Down)]), "Website is fine.");
        assert_eq!(words.fine(&[("Website", Up)]), "");
        assert_eq!(words.fine(&[("Website", Down)]), "");
        let many: Vec<_> = [("X", Up); 9].into_iter().chain([("Y", Down)]).collect();
        assert_eq!(words.fine(&many), "The other 9 services are fine.");
    }
}
