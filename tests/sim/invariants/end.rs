//! What must hold in the end: each outage is an incident (I1), everyone was told of each event or is
//! not for a reason (I3), and everyone is still there (I10).

use super::*;

impl Invariants {
    /// What must hold when all is quiet.
    pub fn at_the_end(&self, simulation: &Simulation) -> Check1 {
        for service in &simulation.config().rules.services {
            self.outages_are_incidents(simulation, &service.id)?;
        }
        self.everyone_was_told()?;
        self.everyone_is_there(simulation)?;
        site_is_a_function_of_the_store(simulation)?;
        self.nothing_secret_is_shown(simulation)
    }

    /// I1.
    fn outages_are_incidents(&self, simulation: &Simulation, service: &ServiceId) -> Check1 {
        let now = simulation.moment();
        let Some(checks) = checks(simulation.config(), service) else { return Ok(()) };
        let bound = checks.iter().map(detection_bound).max().unwrap_or_default();
        let outages = outages(simulation, service, false);
        for (n, outage) in outages.iter().enumerate() {
            let end = outage.to.unwrap_or(now).min(now);
            if self.config_changed || self.longest_watch(outage.from, end) < bound {
                continue;
            }
            // Others so near that they may be in the same incident's time, or its in theirs.
            let near = bound + bound;
            let before = n.checked_sub(1).and_then(|n| outages[n].to);
            let is_alone = before.is_none_or(|before| before + near < outage.from)
                && outages.get(n + 1).is_none_or(|next| end + near < next.from);
            let mine = |(id, _, stretch): &&(ServiceId, IncidentId, Stretch)| {
                id == service && stretch.overlaps(outage.from, end + bound)
            };
            let past = self.past.iter().filter(mine).map(|(_, incident, _)| incident);
            let open = self.suffering.iter().filter(|((id, _), it)| id == service && it.overlaps(outage.from, end));
            let found: BTreeSet<&IncidentId> = past.chain(open.map(|((_, incident), _)| incident)).collect();
            if found.is_empty() || (is_alone && found.len() > 1) {
                let blind = &self.blind;
                return broken(format!(
                    "I1: {service} failed from {:?} to {end:?}, which is in {found:?} (nobody watched {blind:?})",
                    outage.from
                ));
            }
        }
        let well_since = outages.last().map_or(Some(Duration::ZERO), |last| last.to);
        let is_well = well_since.is_some_and(|since| self.longest_watch(since, now) >= bound);
        match self.suffering.keys().find(|(id, _)| id == service) {
            Some((_, incident)) if is_well && !self.config_changed => {
                broken(format!("I1: {service} is well since {well_since:?}, and still suffers in {incident}"))
            }
            _ => Ok(()),
        }
    }

    /// For how long somebody watched, at most, without a break after which all begins anew. A
    /// start is no such break: what was seen before it still counts.
    fn longest_watch(&self, from: Duration, to: Duration) -> Duration {
        let mut cuts: Vec<Blind> = self.blind.iter().copied().filter(|it| it.at.overlaps(from, to)).collect();
        let dark = self.dark_since.map(|from| Stretch { from, to: None });
        cuts.extend(dark.map(|at| Blind { at, costs: Duration::ZERO, resets: false }));
        cuts.sort_by_key(|it| it.at.from);
        let (mut longest, mut watched, mut since) = (Duration::ZERO, Duration::ZERO, from);
        for cut in cuts {
            watched += cut.at.from.saturating_sub(since);
            longest = longest.max(watched);
            watched = if cut.resets { Duration::ZERO } else { watched };
            since = since.max(cut.at.to.map_or(Duration::MAX, |end| end + cut.costs));
        }
        longest.max(watched + to.saturating_sub(since))
    }

    /// I3, when all is quiet.
    fn everyone_was_told(&self) -> Check1 {
        let rows = self.rows();
        let by_event: BTreeMap<(&[u8], &[u8]), &Row> =
            rows.values().map(|row| ((row.event.as_slice(), row.subscriber.as_slice()), row)).collect();
        // Of who left, only that they were written to is kept.
        let gone: BTreeSet<&[u8]> = self
            .people
            .iter()
            .filter(|(_, it)| self.left.contains_key(it.address.as_str()))
            .map(|(_, it)| it.id.as_bytes().as_slice())
            .collect();
        for row in rows.values().filter(|row| !gone.contains(row.subscriber.as_slice())) {
            let is_done = match row.state.as_str() {
                "sent" => true,
                "folded" => row.folded_into.as_ref().and_then(|id| rows.get(id)).is_some_and(|it| it.state == "sent"),
                "dropped" | "failed" => row.reply.as_ref().is_some_and(|reason| !reason.is_empty()),
                _ => false,
            };
            if !is_done {
                return broken(format!("I3: event {} is {} ({:?}) in the end", row.seq, row.state, row.reply));
            }
        }
        let mut rows = self.db().prepare_cached("SELECT id FROM subscriber WHERE state = 'suspended'").unwrap();
        let suspended: BTreeSet<Vec<u8>> = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut events = self.db().prepare_cached("SELECT id, seq, json FROM event").unwrap();
        let events = events.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))).unwrap();
        for (id, seq, json) in events.map(Result::<(Vec<u8>, i64, String), _>::unwrap) {
            let event: watchbell::domain::event::Event = serde_json::from_str(&json).unwrap();
            let seen_at = self.events.get(&id).copied().unwrap_or_default();
            for (since, person) in &self.people {
                let is_there = *since < seen_at
                    && !self.left.contains_key(person.address.as_str())
                    && !suspended.contains(person.id.as_bytes().as_slice());
                let follows =
                    person.wants.incidents && event.services.iter().any(|service| person.wants.follows(service, None));
                let has = by_event.contains_key(&(id.as_slice(), person.id.as_bytes().as_slice()));
                if event.notify && is_there && follows && !has {
                    return broken(format!("I3: nobody thought of telling {} of event {seq}", person.address.as_str()));
                }
            }
        }
        Ok(())
    }

    /// I10.
    fn everyone_is_there(&self, simulation: &Simulation) -> Check1 {
        let store = Store::open(&simulation.config().store, simulation.now()).unwrap();
        for (since, person) in self.people.iter().filter(|(since, _)| *since < simulation.moment()) {
            let is_there = store.subscriber_by_address(&person.address).unwrap().is_some();
            let has_left = self.left.get(person.address.as_str()).is_some_and(|left| left > since);
            if is_there == has_left {
                return broken(format!("I10: {} is there: {is_there}, left: {has_left}", person.address.as_str()));
            }
        }
        Ok(())
    }
}
