//! Compares what is recorded with what happened. Pure: two values in, every disagreement out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    record::{Incident, Mail, Record},
    truth::{Person, Truth},
};

/// The note that the operator writes from nothing is the incident of this id.
pub const BY_HAND: &str = "by-hand";
/// Whoever left may still get what was on its way for so long.
const LEFT_WITHIN: SignedDuration = SignedDuration::from_secs(1);
/// What was sent before a death lies with a relay or a service for so long, at most, until it is read.
const READ_WITHIN: SignedDuration = SignedDuration::from_millis(500);
/// A result is written down at the latest so long after it was found, however busy the machine.
const WRITTEN_WITHIN: SignedDuration = SignedDuration::from_secs(3);
/// A kill may make so many messages leave twice: 8 for each of 4 connections (spec, section 8).
const COPIES_A_KILL: usize = 32;
/// Instants of the record are whole milliseconds.
const UNIT: SignedDuration = SignedDuration::from_millis(1);

/// All that is wrong, in words.
pub fn audit(truth: &Truth, record: &Record) -> Vec<String> {
    let mut audit = Audit { truth, record, wrong: Vec::new() };
    audit.incidents();
    audit.spans();
    audit.words();
    audit.people();
    audit.deliveries();
    audit.mails();
    audit.copies();
    audit.threads();
    audit.wrong
}

/// How many messages came more than once, counted beyond the first.
pub fn copies(record: &Record) -> usize {
    record.mails.len() - by_id(record).len()
}

/// How many messages were taken and not marked since their reader left meanwhile.
pub fn to_who_left(record: &Record) -> usize {
    let rows: BTreeSet<&str> = record.deliveries.iter().map(|found| found.id.as_str()).collect();
    by_id(record).keys().filter(|(_, id)| !rows.contains(id)).count()
}

fn by_id(record: &Record) -> BTreeMap<(&str, &str), Vec<&Mail>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for mail in &record.mails {
        found.entry((mail.to.as_str(), mail.id.as_str())).or_default().push(mail);
    }
    found
}

struct Audit<'a> {
    truth: &'a Truth,
    record: &'a Record,
    wrong: Vec<String>,
}

impl Audit<'_> {
    fn wrong(&mut self, text: impl Into<String>) {
        self.wrong.push(text.into());
    }

    /// Incidents that checks opened, of one service.
    fn recorded(&self, service: &str) -> Vec<&Incident> {
        let of_service = |found: &&Incident| found.id != BY_HAND && found.services.iter().any(|id| id == service);
        self.record.incidents.iter().filter(of_service).collect()
    }

    /// Each outage is one incident, with the times of the first bad and the first good answer.
    fn incidents(&mut self) {
        let truth = self.truth;
        let services: BTreeSet<&str> = truth.answered.keys().map(String::as_str).collect();
        for service in services {
            let outages: Vec<_> = truth.outages.iter().filter(|outage| outage.service == service).collect();
            let recorded: Vec<Incident> = self.recorded(service).into_iter().cloned().collect();
            if recorded.len() != outages.len() {
                self.wrong(format!("{service}: {} outages, {} incidents", outages.len(), recorded.len()));
                continue;
            }
            for (incident, outage) in recorded.iter().zip(outages) {
                self.instant(service, incident, "started", outage.failed_at, Some(incident.started_at), true);
                self.instant(service, incident, "resolved", outage.well_at, incident.resolved_at, false);
            }
        }
        let known = |id: &str| truth.answered.contains_key(id);
        for incident in &self.record.incidents {
            if incident.id != BY_HAND && !incident.services.iter().any(|id| known(id)) {
                self.wrong.push(format!("{} is about nothing that is watched", incident.id));
            }
        }
    }

    /// `found` is when the probe began that got the first answer of that kind after `from`; or of
    /// a later one, if a kill took the result of each earlier one.
    fn instant(
        &mut self,
        service: &str,
        incident: &Incident,
        what: &str,
        from: Timestamp,
        found: Option<Timestamp>,
        fails: bool,
    ) {
        let id = &incident.id;
        let Some(found) = found else { return self.wrong(format!("{id} was never {what}")) };
        if self.truth.stalls > 0 {
            return;
        }
        let of_kind = |status: u16| (status != 200) == fails;
        let answers = self.truth.answered.get(service).into_iter().flatten();
        let after: Vec<_> = answers.filter(|answer| answer.at >= from && of_kind(answer.status)).collect();
        let earlier = after.iter().take_while(|answer| answer.at < found).map(|answer| answer.at);
        for answer in earlier {
            if !self.truth.was_killed(answer - READ_WITHIN, found.min(answer + WRITTEN_WITHIN)) {
                self.wrong.push(format!("{id} {what} at {found}, but the first such answer was at {answer}"));
            }
        }
        // The probe began before its answer, and no other answer lies between.
        let answers = self.truth.answered.get(service).into_iter().flatten();
        match answers.clone().find(|answer| answer.at >= from.max(found - UNIT) && of_kind(answer.status)) {
            None => self.wrong(format!("{id} {what} at {found}, and nothing answered so after that")),
            Some(first) => {
                let between = answers.filter(|other| found + UNIT < other.at && other.at < first.at).count();
                if between > 0 {
                    self.wrong(format!("{id} {what} at {found}, but the next answers were others"));
                }
            }
        }
    }

    /// Spans of each service meet end to end, and tell the same story as the incidents.
    fn spans(&mut self) {
        let services: Vec<String> = self.truth.answered.keys().cloned().collect();
        for service in services {
            let spans = self.record.spans.get(&service).cloned().unwrap_or_default();
            if spans.is_empty() {
                self.wrong(format!("{service} has no spans"));
            }
            for pair in spans.windows(2) {
                if pair[0].to != Some(pair[1].from) {
                    self.wrong(format!("{service}: a span ends {:?}, the next begins {}", pair[0].to, pair[1].from));
                }
            }
            if spans.last().is_some_and(|span| span.to.is_some()) {
                self.wrong(format!("{service}: the last span has an end"));
            }
            let incidents: Vec<Incident> = self.recorded(&service).into_iter().cloned().collect();
            let mut down = Vec::<(Timestamp, Option<Timestamp>)>::new();
            for span in spans.iter().filter(|span| span.status == "major_outage") {
                match down.last_mut() {
                    Some((_, to)) if *to == Some(span.from) => *to = span.to,
                    _ => down.push((span.from, span.to)),
                }
            }
            let told: Vec<_> = incidents.iter().map(|found| (found.started_at, found.resolved_at)).collect();
            if down != told {
                self.wrong(format!("{service} was down {down:?} by its spans, {told:?} by its incidents"));
            }
        }
    }

    /// Every word of the operator is there, once; and every incident has its file.
    fn words(&mut self) {
        let by_hand = self.record.incidents.iter().find(|incident| incident.id == BY_HAND).cloned();
        let texts = by_hand.map(|incident| incident.texts).unwrap_or_default();
        for n in 1..=self.truth.words {
            let count = texts.iter().filter(|text| **text == format!("Text {n}.")).count();
            if count != 1 {
                self.wrong(format!("text {n} stands {count} times in {BY_HAND}"));
            }
        }
        for (id, remark) in &self.truth.remarks {
            let texts = self.record.incidents.iter().filter(|incident| incident.id == *id).flat_map(|i| &i.texts);
            if texts.filter(|text| *text == remark).count() != 1 {
                self.wrong.push(format!("{id} does not say once what the operator wrote into its file"));
            }
        }
        for left in self.record.notes.iter().filter(|name| name.starts_with('.')) {
            self.wrong.push(format!("{left} is left among the notes"));
        }
        for incident in &self.record.incidents {
            if !self.record.notes.contains(&format!("{}.toml", incident.id)) {
                self.wrong.push(format!("{} has no file", incident.id));
            }
        }
    }

    /// Whoever was told that they joined is in; whoever was told that they left is out.
    fn people(&mut self) {
        let listed: BTreeSet<&str> = self.record.subscribers.values().map(String::as_str).collect();
        for (address, person) in &self.truth.people {
            let is_listed = listed.contains(address.as_str());
            if person.left_at.is_some() && is_listed {
                self.wrong.push(format!("{address} left, and is still listed"));
            }
            if person.joined_at.is_some() && person.leaving_at.is_none() && !is_listed {
                self.wrong.push(format!("{address} joined, and is not listed"));
            }
        }
        for address in listed.iter().filter(|address| !self.truth.people.contains_key(**address)) {
            self.wrong.push(format!("{address} never asked"));
        }
    }

    /// Every event has a delivery for everyone who was there, and each came to a good end.
    fn deliveries(&mut self) {
        let there: BTreeMap<&str, &Person> = (self.record.subscribers.iter())
            .filter_map(|(id, address)| Some((id.as_str(), self.truth.people.get(address)?)))
            .collect();
        let of: BTreeMap<(&str, &str), &str> = (self.record.deliveries.iter())
            .map(|found| ((found.event.as_str(), found.subscriber.as_str()), found.state.as_str()))
            .collect();
        if of.len() != self.record.deliveries.len() {
            self.wrong.push("an event has two deliveries for one subscriber".to_owned());
        }
        let mut ids: Vec<&str> = self.record.events.iter().map(|event| event.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != self.record.events.len() {
            self.wrong.push("two events have one id".to_owned());
        }
        for event in self.record.events.iter().filter(|event| event.tells) {
            for (id, person) in &there {
                let must = person.joined_at.is_some_and(|at| at < event.recorded_at) && person.leaving_at.is_none();
                if must && !of.contains_key(&(event.id.as_str(), *id)) {
                    self.wrong.push(format!("the event {} has no delivery for {id}", event.id));
                }
            }
        }
        let state_of: BTreeMap<&str, &str> =
            self.record.deliveries.iter().map(|found| (found.id.as_str(), found.state.as_str())).collect();
        for delivery in &self.record.deliveries {
            let id = &delivery.id;
            match (delivery.state.as_str(), &delivery.folded_into) {
                ("sent", _) => {}
                ("folded", Some(into)) if state_of.get(into.as_str()) == Some(&"sent") => {}
                ("folded", into) => self.wrong.push(format!("{id} is told by {into:?}, which was not sent")),
                (state, _) => self.wrong.push(format!("{id} is {state} ({})", delivery.reply)),
            }
        }
    }

    /// What was marked as sent was taken, and what was taken was due to somebody.
    fn mails(&mut self) {
        let taken: BTreeSet<&str> = self.record.mails.iter().map(|mail| mail.id.as_str()).collect();
        for delivery in self.record.deliveries.iter().filter(|delivery| delivery.state == "sent") {
            if !taken.contains(delivery.id.as_str()) {
                self.wrong.push(format!("the mail {} is lost: it is marked as sent, and nobody has it", delivery.id));
            }
        }
        let rows: BTreeMap<&str, &str> =
            self.record.deliveries.iter().map(|delivery| (delivery.id.as_str(), delivery.state.as_str())).collect();
        for mail in &self.record.mails {
            let Some(person) = self.truth.people.get(&mail.to) else {
                self.wrong.push(format!("{} was written to and never asked", mail.to));
                continue;
            };
            if person.left_at.is_some_and(|at| mail.at > at + LEFT_WITHIN) {
                self.wrong.push(format!("{} left, and was written to at {}", mail.to, mail.at));
            }
            match rows.get(mail.id.as_str()) {
                Some(&"sent") => {}
                // Also after a kill: what may have been taken is sent again as it was.
                Some(state) => self.wrong.push(format!("the mail {} was taken, and is {state}", mail.id)),
                None if person.leaving_at.is_some() => {}
                None => self.wrong.push(format!("the mail {} to {} is of no delivery", mail.id, mail.to)),
            }
        }
    }

    /// A copy comes after a kill, and is the same message.
    fn copies(&mut self) {
        let mut by_kill = BTreeMap::<Timestamp, usize>::new();
        for ((to, id), mails) in by_id(self.record) {
            for pair in mails.windows(2) {
                let (first, second) = (pair[0].at, pair[1].at);
                let kill = self.truth.kills.iter().find(|at| first <= **at + READ_WITHIN && **at <= second);
                if let Some(kill) = kill {
                    *by_kill.entry(*kill).or_default() += 1;
                } else {
                    let text = format!("{to} got {id} at {first} and {second}, and nothing was killed in between");
                    self.wrong.push(text);
                }
                if pair[0].text != pair[1].text {
                    self.wrong.push(format!(
                        "two messages with the one id {id} differ:\n{}\n--- and\n{}",
                        pair[0].text, pair[1].text
                    ));
                }
            }
        }
        for (kill, count) in by_kill.into_iter().filter(|(_, count)| *count > COPIES_A_KILL) {
            self.wrong.push(format!("the kill at {kill} made {count} copies"));
        }
    }

    /// Everyone who was there all the time heard the end of each outage, once, and after its
    /// beginning.
    fn threads(&mut self) {
        for (address, person) in &self.truth.people {
            let mails: Vec<&Mail> = self.record.mails.iter().filter(|mail| mail.to == *address).collect();
            let mut ended = BTreeMap::<&str, BTreeSet<&str>>::new();
            for mail in &mails {
                // The second is one message for both, the beginning and the end.
                if mail.subject.contains("Resolved: ") || mail.subject.contains("Was down: ") {
                    ended.entry(&mail.thread).or_default().insert(&mail.id);
                } else if mail.subject.contains("Outage: ") && ended.contains_key(mail.thread.as_str()) {
                    self.wrong.push(format!("{address} heard \"{}\" after its end", mail.subject));
                }
            }
            for (thread, ids) in ended.iter().filter(|(_, ids)| ids.len() > 1) {
                self.wrong.push(format!("{address} heard the end of {thread} {} times", ids.len()));
            }
            let first = self.truth.outages.first().map(|outage| outage.failed_at);
            let was_there =
                person.leaving_at.is_none() && first.is_none_or(|at| person.joined_at.is_some_and(|in_at| in_at < at));
            if was_there && ended.len() != self.truth.outages.len() {
                let outages = self.truth.outages.len();
                self.wrong.push(format!("{address} heard the end of {} outages, there were {outages}", ended.len()));
            }
        }
    }
}
