//! The first page: is it them, what is known, which parts, was it so before, how do I hear.

use std::collections::BTreeMap;

use jiff::Timestamp;
use minijinja::Value;
use serde::Serialize;

use crate::domain::{
    GroupId, Impact, ServiceId, ServiceStatus,
    archive::{ArchiveError, Head},
    incident::Incident,
    service::Service,
    span::Tally,
};

use super::{Base, Page, State, When, Word, base, html, incident_class, promise, state, word};
use crate::site::{
    chart,
    context::Context,
    days::{self, Days},
    key::Key,
    snapshot::{Pace, Snapshot},
};

/// A group with more services than this folds.
const UNFOLDED: usize = 12;
/// So many past incidents stand on the first page.
const LISTED: usize = 5;

/// The first page.
#[derive(Debug, Serialize)]
pub struct Index {
    base: Base,
    state: State,
    sentence: String,
    as_of: When,
    fine: String,
    blind: Option<When>,
    incidents: Vec<Card>,
    /// [`GROUPS`].
    groups: Value,
    past: Vec<PastDay>,
    calm: Option<Calm>,
    form: Option<Form>,
}

/// Stands where the groups go, each made of `group.html`. No text of anybody's becomes a comment.
pub const GROUPS: &str = "<!--groups-->";
/// Stands in a group where its services go, each made of `row.html`.
pub const ROWS: &str = "<!--services-->";

/// An open incident.
#[derive(Debug, Serialize)]
struct Card {
    id: String,
    title: String,
    class: &'static str,
    status: &'static str,
    since: When,
    impact: String,
    word: Option<Word>,
    promise: Option<When>,
    state: String,
}

/// Services that belong together, on the first page.
#[derive(Debug, Serialize)]
pub struct Group {
    name: String,
    /// [`ROWS`].
    services: Value,
    folds: bool,
    is_open: bool,
    summary: String,
}

/// A service and its last days.
#[derive(Debug, Serialize)]
pub struct Row {
    id: String,
    name: String,
    state: State,
    needs: String,
    days: u32,
    bars: Value,
    uptime: String,
}

/// The incidents that began on one day.
#[derive(Debug, Serialize)]
struct PastDay {
    day: String,
    iso: String,
    incidents: Vec<super::history::Line>,
}

/// "Since 15 November: no incidents."
#[derive(Debug, Serialize)]
struct Calm {
    day: String,
    text: String,
}

/// Where the form goes, if it goes anywhere.
#[derive(Clone, Debug, Serialize)]
pub struct Form {
    /// `POST` address.
    pub action: String,
}

/// The form, if the endpoint behind it is there: never a dead one.
#[must_use]
pub fn form(context: &Context) -> Option<Form> {
    context.subscribe_form.then(|| Form { action: format!("{}subscribe", context.server_url) })
}

/// The first page as of now.
///
/// # Errors
/// If the archive cannot be read.
pub fn index(snapshot: &Snapshot<'_>) -> Result<Index, ArchiveError> {
    let Snapshot { context, facts, now, .. } = *snapshot;
    let words = &context.words;
    let newest = facts.events.first().map(|event| event.recorded_at);
    let newest =
        newest.max(facts.services.values().map(|now| now.since).max()).max(facts.blind.values().max().copied());
    let stated_at = snapshot.stated_at(newest, snapshot.pace());
    let statuses: Vec<(&str, ServiceStatus)> =
        context.rules.services.iter().map(|service| (service.name.as_str(), facts.status(&service.id))).collect();
    let overall = overall(snapshot);
    let sentence = words.sentence(&statuses);
    let fine = words.fine(&statuses);
    let moment = words.moment(stated_at, context.zone());
    let as_of = words.text("page.as_of", &[("moment", &moment)]);
    let page = Page { path: "", title: "", description: "", present: Some(overall), section: "index", service: None };
    let past = past(snapshot)?;
    Ok(Index {
        base: base(context, &page, now),
        state: state(context, overall),
        as_of: When::new(if fine.is_empty() { as_of } else { format!("{as_of}.") }, stated_at),
        sentence,
        fine,
        blind: blind(snapshot),
        incidents: facts.open().into_iter().map(|incident| card(snapshot, incident, stated_at)).collect(),
        groups: html(GROUPS.to_owned()),
        calm: calm(snapshot, &past, stated_at),
        past: past.into_iter().map(|(_, day)| day).collect(),
        form: form(context),
    })
}

/// That the monitor itself is cut off from services, since when, and from how many.
fn blind(snapshot: &Snapshot<'_>) -> Option<When> {
    let context = snapshot.context;
    let covered = || context.rules.services.iter().filter_map(|service| snapshot.blind_since(service));
    let since = covered().min()?;
    let moment = context.words.moment(since, context.zone());
    let n = u64::try_from(covered().count()).unwrap_or(u64::MAX);
    Some(When::new(context.words.count("page.blind", n, &[("moment", &moment)]), since))
}

/// The worst of all services.
#[must_use]
pub fn overall(snapshot: &Snapshot<'_>) -> ServiceStatus {
    let services = &snapshot.context.rules.services;
    services.iter().map(|service| snapshot.facts.status(&service.id)).max().unwrap_or(ServiceStatus::Operational)
}

fn card(snapshot: &Snapshot<'_>, incident: &Incident, stated_at: Timestamp) -> Card {
    let context = snapshot.context;
    let words = &context.words;
    let latest = incident.latest_update();
    Card {
        id: incident.id.to_string(),
        title: words.incident_title(incident, &context.names),
        class: incident_class(incident.status, incident.impact),
        status: incident.worst_now().as_str(),
        since: When::new(words.since(incident.started_at, stated_at, context.zone()), incident.started_at),
        impact: if incident.impact == Impact::None { String::new() } else { words.impact(incident.impact).to_owned() },
        word: latest.map(|update| word(context, update, incident.impact, stated_at)),
        promise: promise(snapshot, latest, stated_at, false),
        state: words.incident_status(incident.status).to_owned(),
    }
}

/// Groups in the order of the config, each with its services, then the services without one.
pub fn groups<'a>(snapshot: &Snapshot<'a>) -> Vec<(Group, Vec<&'a Service>)> {
    let Context { words, rules, .. } = snapshot.context;
    let mut members: BTreeMap<Option<&GroupId>, Vec<&Service>> = BTreeMap::new();
    for service in &rules.services {
        members.entry(service.group.as_ref()).or_default().push(service);
    }
    let named = rules.groups.iter().map(|group| (Some(&group.id), group.name.clone()));
    let rest = if rules.groups.is_empty() { "page.services" } else { "page.other_services" };
    let all = named.chain([(None, words.text(rest, &[]))]);
    all.filter_map(|(id, name)| {
        let services = members.remove(&id)?;
        let count = |test: fn(ServiceStatus) -> bool| {
            let matching = services.iter().filter(|service| test(snapshot.facts.status(&service.id)));
            u64::try_from(matching.count()).unwrap_or(u64::MAX)
        };
        let trouble = count(|status| status != ServiceStatus::Operational);
        let total = words.count("page.count_services", count(|_| true), &[]);
        let summary =
            if trouble == 0 { total } else { format!("{total}, {}", words.count("page.in_trouble", trouble, &[])) };
        let folds = services.len() > UNFOLDED;
        let group = Group { name, services: html(ROWS.to_owned()), folds, is_open: trouble > 0, summary };
        Some((group, services))
    })
    .collect()
}

/// A service's row.
#[must_use]
pub fn row(snapshot: &Snapshot<'_>, service: &Service) -> Row {
    let context = snapshot.context;
    let (bars, uptime) = bars(snapshot, service, &snapshot.days, false, snapshot.pace_of(&service.id));
    Row {
        id: service.id.to_string(),
        name: service.name.clone(),
        state: state(context, snapshot.facts.status(&service.id)),
        needs: needs(snapshot, service),
        days: context.site.history_days,
        bars: html(bars),
        uptime: match uptime {
            Some(_) => context.words.text("uptime.uptime", &[("percent", &context.words.uptime(uptime))]),
            None => context.words.uptime(None),
        },
    }
}

/// What the row of a service is made of.
#[must_use]
pub fn row_key(snapshot: &Snapshot<'_>, service: &Service) -> Key {
    let facts = snapshot.facts;
    let until = snapshot.counted_until(&service.id, snapshot.pace_of(&service.id));
    let time = (snapshot.days.from().as_second(), until.as_millisecond());
    let now = (facts.status(&service.id), facts.spans_key(&service.id), needs(snapshot, service));
    snapshot.context.key.and((service.id.as_str(), now, time))
}

/// What a service that is in trouble needs that is in trouble too; empty otherwise.
fn needs(snapshot: &Snapshot<'_>, service: &Service) -> String {
    let is_in_trouble = |id: &ServiceId| snapshot.facts.status(id).is_trouble();
    if !is_in_trouble(&service.id) {
        return String::new();
    }
    let roots: Vec<&str> =
        service.depends_on.iter().filter(|id| is_in_trouble(id)).map(|id| snapshot.context.names.get(id)).collect();
    if roots.is_empty() {
        return String::new();
    }
    snapshot.context.words.text("page.needs", &[("names", &snapshot.context.words.list(&roots, 2))])
}

/// The bars of a service's days with their words, and its uptime over them. With `all`, every day
/// has its words; else those with trouble do. `pace` is that of the page on which they stand.
#[must_use]
pub fn bars(snapshot: &Snapshot<'_>, service: &Service, days: &Days, all: bool, pace: Pace) -> (String, Option<u32>) {
    let words = &snapshot.context.words;
    let spans = snapshot.facts.spans(&service.id);
    // Today ends where the page's statement stands, so that the same facts give the same bars.
    let stated_at = snapshot.counted_until(&service.id, pace);
    let mut days = days.clone();
    if let Some(end) = days.bounds.last_mut() {
        *end = stated_at;
    }
    let tallies = days.tallies(spans);
    let uptime = Tally::of(spans, days.from(), stated_at).uptime();
    let is_bad = |day: &Tally| day.worst.is_some_and(ServiceStatus::is_trouble);
    let bad: Vec<String> = days
        .dates
        .iter()
        .zip(&tallies)
        .rev()
        .filter(|(_, tally)| is_bad(tally))
        .map(|(date, _)| words.day(*date))
        .collect();
    let worst = if bad.is_empty() {
        words.text("page.bars_good", &[])
    } else {
        let listed: Vec<&str> = bad.iter().map(String::as_str).collect();
        let n = u64::try_from(bad.len()).unwrap_or(u64::MAX);
        words.count("page.bars_bad", n, &[("days", &words.list(&listed, 5))])
    };
    let count = words.digits(u64::try_from(tallies.len()).unwrap_or(0));
    let percent = words.uptime(uptime);
    let args = [("service", service.name.as_str()), ("n", &count), ("percent", &percent), ("worst", &worst)];
    let label = words.text("page.bars", &args);
    let hint = |n: usize, tally: &Tally| {
        let date = days.dates.get(n)?;
        let is_worth_it = all || is_bad(tally) || tally.maintenance_ms > 0;
        is_worth_it.then(|| day_words(snapshot, *date, tally))
    };
    (chart::bars(&tallies, &label, hint), uptime)
}

/// "14 November 2026: down 12 min, slow 3 min".
fn day_words(snapshot: &Snapshot<'_>, date: jiff::civil::Date, tally: &Tally) -> String {
    let words = &snapshot.context.words;
    let parts: Vec<String> = [
        ("page.bar_down", tally.down_ms),
        ("page.bar_slow", tally.degraded_ms),
        ("page.bar_planned", tally.maintenance_ms),
    ]
    .into_iter()
    .filter(|(_, ms)| *ms > 0)
    .map(|(key, ms)| words.text(key, &[("duration", &words.duration(ms))]))
    .collect();
    let what = if !parts.is_empty() {
        parts.join(", ")
    } else if tally.worst.is_none() {
        words.text("page.bar_none", &[])
    } else {
        words.text("page.bar_good", &[])
    };
    words.text("page.bar_day", &[("day", &words.date(date)), ("what", &what)])
}

/// The last incidents that are over, by the day on which they began.
fn past(snapshot: &Snapshot<'_>) -> Result<Vec<(jiff::civil::Date, PastDay)>, ArchiveError> {
    let context = snapshot.context;
    let oldest = snapshot.days.from();
    let is_past = |head: &Head| !head.withdrawn && !head.status.is_open() && head.started_at >= oldest;
    let mut past: Vec<(jiff::civil::Date, PastDay)> = Vec::new();
    for head in snapshot.facts.heads.iter().filter(|head| is_past(head)).take(LISTED) {
        let Some(line) = super::history::line(snapshot, head)? else { continue };
        let date = days::date(head.started_at, context.zone());
        match past.last_mut() {
            Some((last, day)) if *last == date => day.incidents.push(line),
            _ => {
                let day = PastDay { day: context.words.day(date), iso: date.to_string(), incidents: vec![line] };
                past.push((date, day));
            }
        }
    }
    Ok(past)
}

/// What is said of the time since the last incident; nothing while one is open or just over.
fn calm(snapshot: &Snapshot<'_>, past: &[(jiff::civil::Date, PastDay)], stated_at: Timestamp) -> Option<Calm> {
    let context = snapshot.context;
    if !snapshot.facts.open().is_empty() {
        return None;
    }
    let words = &context.words;
    let today = days::date(stated_at, context.zone());
    match past.first() {
        None => {
            let n = words.digits(u64::from(context.site.history_days));
            Some(Calm { day: String::new(), text: words.text("page.no_incidents_days", &[("n", &n)]) })
        }
        Some((last, _)) if *last < today => {
            let next = last.tomorrow().unwrap_or(*last);
            let day = if next == today {
                words.text("page.today_name", &[])
            } else {
                words.text("page.since_day", &[("day", &words.day(next))])
            };
            Some(Calm { day, text: words.text("page.no_incidents", &[]) })
        }
        Some(_) => None,
    }
}
