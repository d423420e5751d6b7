//! Incidents by month. These pages claim no present: an incident that is not over is said to have
//! begun, no more.

use jiff::civil::Date;
use serde::Serialize;

use crate::domain::{
    ServiceStatus,
    archive::{ArchiveError, Head},
};

use super::{Base, Link, Page, When, base, same_day};
use crate::site::{context::Context, days, snapshot::Snapshot};

/// One incident in a list.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its colour: how bad it was.
    pub class: &'static str,
    /// "Down for 26 min, resolved 09:41 UTC".
    pub detail: String,
}

/// An incident in a list; `None` if it is gone.
///
/// # Errors
/// If the archive cannot be read.
pub fn line(snapshot: &Snapshot<'_>, head: &Head) -> Result<Option<Line>, ArchiveError> {
    let Some(summary) = snapshot.summary(head)? else { return Ok(None) };
    Ok(Some(Line {
        id: head.id.to_string(),
        title: summary.title.clone(),
        class: crate::site::chart::class(summary.worst),
        detail: summary.detail.clone(),
    }))
}

/// How an incident ended, or that it began, whose worst is known.
#[must_use]
pub fn detail(context: &Context, head: &Head, worst: ServiceStatus) -> String {
    let (words, zone) = (&context.words, context.zone());
    match head.resolved_at {
        Some(resolved_at) => {
            let key = match worst {
                ServiceStatus::MajorOutage => "page.was_down",
                ServiceStatus::PartialOutage => "page.was_partly",
                ServiceStatus::DegradedPerformance => "page.was_slow",
                _ => "page.was_other",
            };
            let what = words.text(key, &[("duration", &words.between(head.started_at, resolved_at))]);
            let time = if same_day(context, resolved_at, head.started_at) {
                words.time(resolved_at, zone)
            } else {
                words.moment_near(resolved_at, head.started_at, zone)
            };
            words.text("page.ended", &[("what", &what), ("time", &time)])
        }
        None => words.text("page.began", &[("time", &words.time(head.started_at, zone))]),
    }
}

/// `2026-11`.
#[must_use]
pub fn month_name(month: Date) -> String {
    format!("{:04}-{:02}", month.year(), month.month())
}

/// `history/`: all months.
#[derive(Debug, Serialize)]
pub struct History {
    base: Base,
    years: Vec<Year>,
}

#[derive(Debug, Serialize)]
struct Year {
    year: String,
    months: Vec<MonthLink>,
}

#[derive(Debug, Serialize)]
struct MonthLink {
    name: String,
    href: String,
    count: String,
}

/// The list of months.
#[must_use]
pub fn history(snapshot: &Snapshot<'_>) -> History {
    let words = &snapshot.context.words;
    let title = words.text("history.title", &[]);
    let page =
        Page { path: "history/", title: &title, description: "", present: None, section: "history", service: None };
    let mut years: Vec<Year> = Vec::new();
    for (month, heads) in snapshot.facts.heads.months() {
        let year = month.year().to_string();
        let count = words.count("history.count", u64::try_from(heads.len()).unwrap_or(u64::MAX), &[]);
        let link = MonthLink { name: words.month(month), href: format!("{}/", month_name(month)), count };
        match years.last_mut() {
            Some(last) if last.year == year => last.months.push(link),
            _ => years.push(Year { year, months: vec![link] }),
        }
    }
    History { base: base(snapshot.context, &page, snapshot.now), years }
}

/// `history/YYYY-MM/`: one month.
#[derive(Debug, Serialize)]
pub struct Month {
    base: Base,
    name: String,
    count: String,
    days: Vec<Day>,
    newer: Option<Link>,
    older: Option<Link>,
}

#[derive(Debug, Serialize)]
struct Day {
    day: When,
    incidents: Vec<Line>,
}

/// The incidents of a month.
///
/// # Errors
/// If the archive cannot be read.
pub fn month(snapshot: &Snapshot<'_>, month: Date) -> Result<Month, ArchiveError> {
    let context = snapshot.context;
    let words = &context.words;
    let all = &snapshot.facts.heads;
    let heads = all.of_month(month);
    let name = words.month(month);
    let title = format!("{} · {name}", words.text("history.title", &[]));
    let path = format!("history/{}/", month_name(month));
    let page = Page { path: &path, title: &title, description: "", present: None, section: "history", service: None };
    let mut listed: Vec<(Date, Day)> = Vec::new();
    for head in heads {
        let Some(line) = line(snapshot, head)? else { continue };
        let date = days::date(head.started_at, context.zone());
        match listed.last_mut() {
            Some((last, day)) if *last == date => day.incidents.push(line),
            _ => {
                let day = When { text: words.day(date), iso: date.to_string() };
                listed.push((date, Day { day, incidents: vec![line] }));
            }
        }
    }
    let neighbour = |key: &str, other: Option<Date>| {
        other.map(|month| Link {
            text: words.text(key, &[("month", &words.month(month))]),
            href: format!("../{}/", month_name(month)),
        })
    };
    Ok(Month {
        base: base(context, &page, snapshot.now),
        count: words.count("history.count", u64::try_from(heads.len()).unwrap_or(u64::MAX), &[]),
        name,
        days: listed.into_iter().map(|(_, day)| day).collect(),
        newer: neighbour("history.newer", all.month_after(month)),
        older: neighbour("history.older", all.month_before(month)),
    })
}
