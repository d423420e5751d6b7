//! Incidents by month. These pages claim no present: an incident that is not over is said to have
//! begun, no more.

use std::sync::Arc;

use jiff::civil::Date;
use minijinja::Value;
use serde::Serialize;

use crate::domain::{
    ServiceStatus,
    archive::{ArchiveError, Head},
};

use super::{Base, Link, Page, When, base, html, same_day};
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
    /// [`DAYS`].
    days: Value,
    newer: Option<Link>,
    older: Option<Link>,
}

/// Stands where the days go, each made of `day.html`. No text of anybody's becomes a comment.
pub const DAYS: &str = "<!--days-->";

/// The incidents that began on one day.
#[derive(Debug, Serialize)]
pub struct Day {
    date: When,
    root: String,
    incidents: Vec<Line>,
}

/// The path of a month's page.
fn month_path(month: Date) -> String {
    format!("history/{}/", month_name(month))
}

/// The page of a month, but for its days.
#[must_use]
pub fn month(snapshot: &Snapshot<'_>, month: Date) -> Month {
    let context = snapshot.context;
    let words = &context.words;
    let all = &snapshot.facts.heads;
    let name = words.month(month);
    let title = format!("{} · {name}", words.text("history.title", &[]));
    let path = month_path(month);
    let page = Page { path: &path, title: &title, description: "", present: None, section: "history", service: None };
    let neighbour = |key: &str, other: Option<Date>| {
        other.map(|month| Link {
            text: words.text(key, &[("month", &words.month(month))]),
            href: format!("../{}/", month_name(month)),
        })
    };
    Month {
        base: base(context, &page, snapshot.now),
        count: words.count("history.count", u64::try_from(all.of_month(month).len()).unwrap_or(u64::MAX), &[]),
        name,
        days: html(DAYS.to_owned()),
        newer: neighbour("history.newer", all.month_after(month)),
        older: neighbour("history.older", all.month_before(month)),
    }
}

/// The days of a month on which incidents began, with these.
pub fn days<'a>(snapshot: &Snapshot<'a>, month: Date) -> impl Iterator<Item = (Date, &'a [Arc<Head>])> {
    let zone = snapshot.context.zone();
    let date = move |head: &Head| days::date(head.started_at, zone);
    snapshot
        .facts
        .heads
        .of_month(month)
        .chunk_by(move |one, next| date(one) == date(next))
        .filter_map(move |heads| Some((date(heads.first()?), heads)))
}

/// One day of a month.
///
/// # Errors
/// If the archive cannot be read.
pub fn day(snapshot: &Snapshot<'_>, date: Date, heads: &[Arc<Head>]) -> Result<Day, ArchiveError> {
    let lines = heads.iter().filter_map(|head| line(snapshot, head).transpose());
    Ok(Day {
        date: When { text: snapshot.context.words.day(date), iso: date.to_string() },
        root: super::root_of(&month_path(date.first_of_month())),
        incidents: lines.collect::<Result<_, _>>()?,
    })
}
