//! One service: its state, its days, its response times, its incidents.

use jiff::{Timestamp, ToSpan};
use minijinja::Value;
use serde::Serialize;

use crate::domain::{
    ServiceId, ServiceStatus,
    archive::{ArchiveError, LatencyPoint},
    correction::Correction,
    service::Service,
};

use super::{Base, Link, Page, State, When, base, history, html, index, state};
use crate::site::{
    chart, days, markdown,
    snapshot::{LATENCY_DAYS, LATENCY_HOURS, Snapshot},
};

/// So many incidents stand on a service's page.
const LISTED: usize = 20;
/// Uptime is shown over so many days.
const WINDOWS: [i64; 5] = [1, 7, 30, 90, 365];

/// A service's page.
#[derive(Debug, Serialize)]
pub struct ServicePage {
    base: Base,
    id: String,
    name: String,
    description: String,
    state: Option<State>,
    as_of: Option<When>,
    since: Option<When>,
    blind: Option<When>,
    checks: String,
    needs: Vec<Link>,
    needed_by: Vec<Link>,
    open: Vec<Link>,
    bars: Value,
    uptime: String,
    days: u32,
    windows: Vec<Window>,
    objective: String,
    latency: Option<LatencyView>,
    corrections: Vec<Corrected>,
    incidents: Vec<Dated>,
    badge: String,
}

#[derive(Debug, Serialize)]
struct Window {
    label: String,
    uptime: String,
    down: String,
}

#[derive(Debug, Serialize)]
struct LatencyView {
    svg: Value,
    top: String,
    half: String,
    from: String,
    summary: String,
}

#[derive(Debug, Serialize)]
struct Corrected {
    from: When,
    to: When,
    what: String,
    why: Value,
}

#[derive(Debug, Serialize)]
struct Dated {
    day: String,
    iso: String,
    lines: Vec<history::Line>,
}

/// A service's page as of now.
///
/// # Errors
/// If the archive cannot be read.
pub fn service(snapshot: &Snapshot<'_>, service: &Service) -> Result<ServicePage, ArchiveError> {
    let context = snapshot.context;
    let (words, zone) = (&context.words, context.zone());
    let status = snapshot.facts.status(&service.id);
    let pace = snapshot.pace_of(&service.id);
    let stated_at = snapshot.stated_at(snapshot.changed_at(&service.id), pace);
    let path = format!("services/{}/", service.id);
    let page = Page {
        path: &path,
        title: &service.name,
        description: &service.description,
        present: Some(status),
        section: "service",
        service: Some(&service.id),
    };
    let now = snapshot.facts.services.get(&service.id);
    let moment = |key: &str, at| words.text(key, &[("moment", &words.moment(at, zone))]);
    let link = |id: &ServiceId| Link { text: context.names.get(id).to_owned(), href: format!("../{id}/") };
    let (bars, uptime) = index::bars(snapshot, service, &snapshot.days, true, pace);
    let checks = match now {
        Some(now) if now.checks_known > 0 => {
            let up = words.digits(u64::from(now.checks_up));
            words.count("service.checks", u64::from(now.checks_known), &[("up", &up)])
        }
        _ if service.checks.is_empty() => words.text("page.notes_alone", &[]),
        _ => String::new(),
    };
    let spans = snapshot.facts.spans(&service.id);
    let counted_until = snapshot.counted_until(&service.id, pace);
    let windows = WINDOWS.map(|n| {
        let tally = days::window(spans, n, counted_until);
        let down = if tally.down_ms == 0 { String::new() } else { words.duration(tally.down_ms) };
        let down = if down.is_empty() { down } else { words.text("page.bar_down", &[("duration", &down)]) };
        Window { label: words.text(&format!("service.window_{n}"), &[]), uptime: words.uptime(tally.uptime()), down }
    });
    Ok(ServicePage {
        base: base(context, &page, snapshot.now),
        id: service.id.to_string(),
        name: service.name.clone(),
        description: service.description.clone(),
        state: Some(state(context, status)),
        as_of: Some(When::new(moment("page.as_of", stated_at), stated_at)),
        since: now.map(|now| When::new(moment("service.since", now.since), now.since)),
        blind: snapshot.blind_since(service).map(|since| {
            let is_unseen = status == ServiceStatus::Unknown;
            When::new(moment(if is_unseen { "service.blind" } else { "service.blind_partly" }, since), since)
        }),
        checks,
        needs: service.depends_on.iter().map(link).collect(),
        needed_by: context
            .rules
            .services
            .iter()
            .filter(|other| other.depends_on.contains(&service.id))
            .map(|other| link(&other.id))
            .collect(),
        open: open(snapshot, &service.id),
        bars: html(bars),
        uptime: words.text("uptime.uptime", &[("percent", &words.uptime(uptime))]),
        days: context.site.history_days,
        windows: windows.into(),
        objective: objective(snapshot, service, stated_at),
        latency: latency(snapshot, service)?,
        corrections: corrections(snapshot, &service.id),
        incidents: incidents(snapshot, &service.id)?,
        badge: words.text("service.badge_alt", &[("service", &service.name)]),
    })
}

/// The page of a service that is no longer configured: its past, and no present.
///
/// # Errors
/// If the archive cannot be read.
pub fn retired(snapshot: &Snapshot<'_>, id: &ServiceId) -> Result<ServicePage, ArchiveError> {
    let context = snapshot.context;
    let path = format!("services/{id}/");
    let name = context.names.get(id).to_owned();
    let page = Page { path: &path, title: &name, description: "", present: None, section: "service", service: None };
    Ok(ServicePage {
        base: base(context, &page, snapshot.now),
        id: id.to_string(),
        name: name.clone(),
        description: String::new(),
        state: None,
        as_of: None,
        since: None,
        blind: None,
        checks: context.words.text("service.retired", &[]),
        needs: Vec::new(),
        needed_by: Vec::new(),
        open: Vec::new(),
        bars: html(String::new()),
        uptime: String::new(),
        days: 0,
        windows: Vec::new(),
        objective: String::new(),
        latency: None,
        corrections: corrections(snapshot, id),
        incidents: incidents(snapshot, id)?,
        badge: String::new(),
    })
}

/// The open incidents in which it still suffers.
fn open(snapshot: &Snapshot<'_>, service: &ServiceId) -> Vec<Link> {
    let context = snapshot.context;
    let suffers = |incident: &&crate::domain::incident::Incident| {
        incident.part(service).is_some_and(|part| part.status != ServiceStatus::Operational)
    };
    snapshot
        .facts
        .open()
        .into_iter()
        .filter(suffers)
        .map(|incident| Link {
            text: context.words.incident_title(incident, &context.names),
            href: format!("../../incidents/{}/", incident.id),
        })
        .collect()
}

/// What its time counts as although something else was measured, newest first.
fn corrections(snapshot: &Snapshot<'_>, service: &ServiceId) -> Vec<Corrected> {
    let (words, zone) = (&snapshot.context.words, snapshot.context.zone());
    let shown = |correction: &Correction| {
        let Correction { from, to, count_as, why, .. } = correction;
        let lasted = words.between(*from, *to);
        let is_same_day = days::date(*from, zone) == days::date(*to, zone);
        let until = if is_same_day { words.time(*to, zone) } else { words.moment(*to, zone) };
        Corrected {
            from: When::new(words.moment(*from, zone), *from),
            to: When::new(until, *to),
            what: words.text(&format!("service.corrected_{count_as}"), &[("duration", &lasted)]),
            why: html(markdown::to_html_under(words.local(why), 2)),
        }
    };
    snapshot.facts.corrections(service).iter().rev().map(shown).collect()
}

fn incidents(snapshot: &Snapshot<'_>, service: &ServiceId) -> Result<Vec<Dated>, ArchiveError> {
    let context = snapshot.context;
    let mut listed: Vec<Dated> = Vec::new();
    for head in snapshot.heads_of(service).take(LISTED) {
        let Some(line) = history::line(snapshot, head)? else { continue };
        let date = days::date(head.started_at, context.zone());
        match listed.last_mut() {
            Some(day) if day.iso == date.to_string() => day.lines.push(line),
            _ => listed.push(Dated { day: context.words.date(date), iso: date.to_string(), lines: vec![line] }),
        }
    }
    Ok(listed)
}

/// "Objective 99.90 % over 30 days: 12 min of 43 min left"; empty without one.
fn objective(snapshot: &Snapshot<'_>, service: &Service, stated_at: Timestamp) -> String {
    let words = &snapshot.context.words;
    let Some(objective) = service.objective else { return String::new() };
    let tally = days::window(snapshot.facts.spans(&service.id), 30, stated_at);
    let counted = tally.total_ms.saturating_sub(tally.unknown_ms).saturating_sub(tally.maintenance_ms);
    let allowed_ms = counted.saturating_mul(u64::from(100_000_u32.saturating_sub(objective))) / 100_000;
    let aim = words.text("service.objective", &[("objective", &words.uptime(Some(objective)))]);
    let total = words.duration(allowed_ms);
    let budget = match allowed_ms.checked_sub(tally.down_ms) {
        Some(left) => words.text("service.budget_left", &[("left", &words.duration(left)), ("total", &total)]),
        None => words.text("service.budget_spent", &[("down", &words.duration(tally.down_ms)), ("total", &total)]),
    };
    words.text("service.objective_and", &[("objective", &aim), ("budget", &budget)])
}

fn latency(snapshot: &Snapshot<'_>, service: &Service) -> Result<Option<LatencyView>, ArchiveError> {
    if service.checks.is_empty() {
        return Ok(None);
    }
    let (words, zone) = (&snapshot.context.words, snapshot.context.zone());
    let points = snapshot.latency(&service.id)?;
    let to = snapshot.latency_until();
    let from = to.checked_sub((LATENCY_DAYS * 24).hours()).unwrap_or(Timestamp::MIN);
    let Some(slowest) = points.iter().max_by_key(|point| (point.p95_us, point.at)) else { return Ok(None) };
    let args = [
        ("p50", words.latency(middle(&points, |point| point.p50_us))),
        ("p95", words.latency(middle(&points, |point| point.p95_us))),
        ("max", words.latency(slowest.p95_us)),
        ("day", words.day(days::date(slowest.at, zone))),
    ];
    let summary = words.text("service.response_summary", &args.each_ref().map(|(name, value)| (*name, value.as_str())));
    let label = format!("{}: {summary}", words.text("service.response_times", &[]));
    let chart = chart::latency(&points, from, to, LATENCY_HOURS * 3_600_000, &label);
    Ok(chart.map(|chart| LatencyView {
        svg: html(chart.svg),
        top: words.latency(chart.top_us),
        half: words.latency(chart.top_us / 2),
        from: words.count("page.days_ago", LATENCY_DAYS.unsigned_abs(), &[]),
        summary,
    }))
}

/// The median over all buckets.
fn middle(points: &[LatencyPoint], value: fn(&LatencyPoint) -> u32) -> u32 {
    let mut values: Vec<u32> = points.iter().map(value).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
