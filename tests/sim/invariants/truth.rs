//! The scripted truth: which outages there were, and how soon each must be found.

use super::*;

pub fn checks(config: &Config, service: &ServiceId) -> Option<Vec<Check>> {
    Some(config.rules.service(service)?.checks.iter().filter(|check| check.enabled).cloned().collect())
}

/// By when an outage is in an incident, and by when an end of one is known, at the latest.
pub fn detection_bound(check: &Check) -> Duration {
    let every = match check.cadence {
        Cadence::Every(every) => every,
        Cadence::Cron { .. } => crate::sim::stage::hours(1),
    };
    // The one under way, its turn, then one after the other, and the commit.
    check.timeout + every + (check.recheck + check.timeout) * check.down_after.max(check.up_after) + secs(5)
}

/// When any check of a service failed in truth; with `perhaps`, also when it may have.
pub fn outages(simulation: &Simulation, service: &ServiceId, perhaps: bool) -> Vec<Stretch> {
    let Some(service) = simulation.config().rules.service(service) else { return Vec::new() };
    let mut all: Vec<Stretch> = Vec::new();
    for (key, check) in service.enabled_checks() {
        let fails = |it: &Behaviour| match it {
            Behaviour::Up(latency) => *latency >= check.timeout,
            Behaviour::Loses(_) => perhaps,
            Behaviour::OursFails => false,
            Behaviour::Fails(_) | Behaviour::Hangs => true,
        };
        let failing = simulation.truth(&key).stretches().filter(|(from, to, it)| fails(it) && Some(*from) != *to);
        all.extend(failing.map(|(from, to, _)| Stretch { from, to }));
    }
    all.sort_by_key(|it| it.from);
    let mut joined: Vec<Stretch> = Vec::new();
    for it in all {
        match joined.last_mut() {
            Some(last) if last.to.is_none_or(|to| to >= it.from) => {
                last.to = last.to.and_then(|to| it.to.map(|end| end.max(to)));
            }
            _ => joined.push(it),
        }
    }
    joined
}
