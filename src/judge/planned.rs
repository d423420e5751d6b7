//! Planned work: during it its services are `under_maintenance`; failures are recorded and open
//! nothing, and what still fails at the end opens an incident then (spec, section 4, rule 7).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{turn::Turn, uptime::Planned};
use crate::{
    clock,
    domain::{ServiceId, ServiceStatus, maintenance::Window},
};

impl Turn<'_> {
    /// A window is new, or was moved, cancelled or declared over.
    pub fn window(&mut self, mut window: Window) {
        window.starts = clock::to_millis(window.starts);
        window.ends = clock::to_millis(window.ends);
        let id = window.id.clone();
        if self.world.windows.get(&id) == Some(&window) {
            return;
        }
        if window.cancelled {
            self.world.windows.remove(&id);
        } else {
            self.world.windows.insert(id.clone(), window);
        }
        self.world.touch_window(&id);
        self.plan_work();
    }

    /// Brings every service's record in line with all windows: they, or what needs what, changed.
    pub fn plan_work(&mut self) {
        let mut planned: BTreeMap<ServiceId, Vec<Planned>> = BTreeMap::new();
        for window in self.world.windows.values().filter(|window| window.starts < window.ends) {
            let mut services = window.services.clone();
            if window.covers_dependents {
                services.extend(window.services.iter().flat_map(|id| self.world.descendants(id)));
            }
            services.sort();
            services.dedup();
            for service in services {
                planned.entry(service).or_default().push(Planned { from: window.starts, to: window.ends });
            }
        }
        let services: Vec<ServiceId> = self.world.services.keys().cloned().collect();
        for id in services {
            let mut new = planned.remove(&id).unwrap_or_default();
            new.sort();
            let Some(state) = self.world.services.get_mut(&id) else { continue };
            if state.record.planned == new {
                continue;
            }
            let old = std::mem::replace(&mut state.record.planned, new);
            let new = &state.record.planned;
            let differing = old.iter().filter(|it| !new.contains(it)).chain(new.iter().filter(|it| !old.contains(it)));
            let from = differing.map(|it| it.from).min().filter(|from| *from <= self.at);
            self.world.touch_service(&id);
            if let Some(from) = from {
                self.judge(&id, from);
            }
        }
        self.look_ahead();
    }

    /// Work began or ended since the last look.
    pub fn follow_plan(&mut self) {
        let Some(from) = self.world.head.planned_at.filter(|at| *at <= self.at) else { return };
        let until = self.at;
        let changed = |planned: &Planned| {
            let edges = [planned.from, planned.to];
            edges.into_iter().filter(|at| (from..=until).contains(at)).min()
        };
        let mut due: Vec<(Timestamp, ServiceId)> = Vec::new();
        for (id, state) in &self.world.services {
            let first = state.record.planned.iter().filter_map(changed).min();
            due.extend(first.map(|at| (at, id.clone())));
        }
        due.sort();
        for (at, id) in due {
            self.judge(&id, at);
        }
        self.look_ahead();
    }

    /// Finds when work next begins or ends.
    pub fn look_ahead(&mut self) {
        let edges = self.world.windows.values().filter(|it| it.starts < it.ends).flat_map(|it| [it.starts, it.ends]);
        let next = edges.filter(|at| *at > self.at).min();
        if self.world.head.planned_at != next {
            self.world.head.planned_at = next;
            self.world.touch_head();
        }
    }

    /// Since when all checks of `service` are well although work on it goes on; `None` if they are not.
    pub fn well_since(&self, service: &ServiceId) -> Option<Timestamp> {
        let state = self.world.services.get(service)?;
        state.checks_now().filter(|status| *status == ServiceStatus::Operational)?;
        let last = state.record.checks.values().filter_map(|line| line.points().last()).map(|(at, _)| *at).max();
        last.map(|at| at.min(self.at))
    }
}
