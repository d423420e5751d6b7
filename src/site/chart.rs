//! Bars and lines as inline SVG: shapes first, colours from the style sheet, words beside them.
//!
//! Pure. Heights tell states apart without colour: bad days stand taller, days without data are
//! stubs. Everything is drawn in a box that the page stretches, so no text stands in it.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::domain::{ServiceStatus, archive::LatencyPoint, span::Tally};

use super::templates::escape;

/// The word for a status in class names and icons.
#[must_use]
pub fn class(status: ServiceStatus) -> &'static str {
    match status {
        ServiceStatus::Operational => "ok",
        ServiceStatus::DegradedPerformance => "slow",
        ServiceStatus::PartialOutage => "partial",
        ServiceStatus::MajorOutage => "outage",
        ServiceStatus::UnderMaintenance => "planned",
        ServiceStatus::Unknown => "none",
    }
}

/// How tall a day stands, of 30.
fn height(worst: Option<ServiceStatus>) -> u32 {
    match worst {
        Some(ServiceStatus::Operational | ServiceStatus::UnderMaintenance) => 18,
        Some(ServiceStatus::DegradedPerformance) => 23,
        Some(ServiceStatus::PartialOutage) => 26,
        Some(ServiceStatus::MajorOutage) => 28,
        Some(ServiceStatus::Unknown) | None => 6,
    }
}

/// The box: 30 high, 10 a day, of which 8 are the bar.
const HEIGHT: u32 = 30;
const STEP: usize = 10;
const BAR: usize = 8;

/// One bar a day, oldest first. `label` is what the picture says to those who do not see it;
/// `hint` gives the words for a day on which something was wrong (all days, if it gives some).
#[must_use]
pub fn bars(days: &[Tally], label: &str, hint: impl Fn(usize, &Tally) -> Option<String>) -> String {
    let width = days.len() * STEP - (STEP - BAR);
    let mut svg = format!(
        "<svg class=\"bars\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        escape(label)
    );
    // Days without a hint and of one kind are one path: a page of a thousand services stays small.
    let mut plain: Vec<(&str, String)> = Vec::new();
    let mut hinted = String::new();
    for (n, day) in days.iter().enumerate() {
        let kind = day.worst.map_or("none", class);
        let (x, height) = (n * STEP, height(day.worst));
        let y = HEIGHT - height;
        if let Some(hint) = hint(n, day) {
            let hint = escape(&hint);
            let _ = write!(
                hinted,
                "<rect class=\"b-{kind}\" x=\"{x}\" y=\"{y}\" width=\"{BAR}\" height=\"{height}\" rx=\"2\"><title>{hint}</title></rect>"
            );
        } else {
            if plain.iter().all(|(known, _)| *known != kind) {
                plain.push((kind, String::new()));
            }
            if let Some((_, path)) = plain.iter_mut().find(|(known, _)| *known == kind) {
                let _ = write!(path, "M{x} {y}h{BAR}v{height}h-{BAR}z");
            }
        }
    }
    for (kind, path) in plain {
        let _ = write!(svg, "<path class=\"b-{kind}\" d=\"{path}\"/>");
    }
    svg + &hinted + "</svg>"
}

/// Response times over a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The picture.
    pub svg: String,
    /// The time that the top of the picture stands for, in microseconds.
    pub top_us: u32,
}

const PLOT_WIDTH: i64 = 1000;
const PLOT_HEIGHT: i64 = 240;

/// Median and 95th percentile as lines; a gap where buckets are missing. `None` without points.
#[must_use]
pub fn latency(points: &[LatencyPoint], from: Timestamp, to: Timestamp, width_ms: i64, label: &str) -> Option<Latency> {
    let top_us = nice(points.iter().map(|point| point.p95_us.max(point.p50_us)).max()?);
    let length = to.as_millisecond().saturating_sub(from.as_millisecond()).max(1);
    let x = |at: Timestamp| {
        let middle = at.as_millisecond().saturating_add(width_ms / 2).saturating_sub(from.as_millisecond());
        middle.saturating_mul(PLOT_WIDTH) / length
    };
    let y = |us: u32| PLOT_HEIGHT - i64::from(us) * PLOT_HEIGHT / i64::from(top_us.max(1));
    let line = |value: fn(&LatencyPoint) -> u32| {
        let mut path = String::new();
        let mut last: Option<Timestamp> = None;
        for point in points {
            let joins = last.is_some_and(|last| point.at.as_millisecond() - last.as_millisecond() <= width_ms);
            let (x, y) = (x(point.at), y(value(point)));
            // A lone point is a dot: a line of no length with round ends.
            let _ = if joins { write!(path, "L{x} {y}") } else { write!(path, "M{x} {y}h0") };
            last = Some(point.at);
        }
        path
    };
    let half = PLOT_HEIGHT / 2;
    // The box is stretched, the lines are not.
    let fixed = "vector-effect=\"non-scaling-stroke\"";
    let svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {PLOT_WIDTH} {PLOT_HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <path class=\"grid\" {fixed} d=\"M0 0H{PLOT_WIDTH}M0 {half}H{PLOT_WIDTH}M0 {PLOT_HEIGHT}H{PLOT_WIDTH}\"/>\
         <path class=\"p95\" {fixed} d=\"{}\"/><path class=\"p50\" {fixed} d=\"{}\"/></svg>",
        escape(label),
        line(|point| point.p95_us),
        line(|point| point.p50_us),
    );
    Some(Latency { svg, top_us })
}

/// The next of 1, 2 or 5 times a power of ten at or above `us`, at least a millisecond.
fn nice(us: u32) -> u32 {
    let mut power = 1000_u32;
    loop {
        for factor in [1, 2, 5] {
            let candidate = power.saturating_mul(factor);
            if candidate >= us {
                return candidate;
            }
        }
        match power.checked_mul(10) {
            Some(next) => power = next,
            None => return u32::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(worst: Option<ServiceStatus>) -> Tally {
        Tally { worst, ..Tally::default() }
    }

    #[test]
    fn bad_days_stand_taller_and_days_without_data_are_stubs() {
        let days = [
            None,
            Some(ServiceStatus::Operational),
            Some(ServiceStatus::Operational),
            Some(ServiceStatus::MajorOutage),
        ];
        let svg = bars(&days.map(day), "a \"label\"", |n, tally| {
            (tally.worst == Some(ServiceStatus::MajorOutage)).then(|| format!("day {n} & more"))
        });
        assert_eq!(
            svg,
            "<svg class=\"bars\" viewBox=\"0 0 38 30\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"a &quot;label&quot;\">\
             <path class=\"b-none\" d=\"M0 24h8v6h-8z\"/><path class=\"b-ok\" d=\"M10 12h8v18h-8zM20 12h8v18h-8z\"/>\
             <rect class=\"b-outage\" x=\"30\" y=\"2\" width=\"8\" height=\"28\" rx=\"2\"><title>day 3 &amp; more</title></rect></svg>"
        );
    }

    #[test]
    fn ninety_days_of_calm_are_under_two_kilobytes() {
        let days = [day(Some(ServiceStatus::Operational)); 90];
        assert!(bars(&days, "", |_, _| None).len() < 2000);
    }

    #[test]
    fn the_scale_is_a_round_number() {
        assert_eq!(
            [0, 1000, 1001, 84_000, 1_240_000, u32::MAX].map(nice),
            [1000, 1000, 2000, 100_000, 2_000_000, u32::MAX]
        );
    }

    #[test]
    fn a_missing_bucket_is_a_gap_and_not_a_line() {
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let point = |hour, p50_us| LatencyPoint { at: at(hour), p50_us, p95_us: p50_us, count: 1 };
        let points = [point(0, 50_000), point(1, 100_000), point(3, 50_000)];
        let chart = latency(&points, at(0), at(4), 3_600_000, "x").unwrap();
        assert_eq!(chart.top_us, 100_000);
        assert!(
            chart.svg.contains("class=\"p50\" vector-effect=\"non-scaling-stroke\" d=\"M125 120h0L375 0M875 120h0\""),
            "{}",
            chart.svg
        );
        assert!(latency(&[], at(0), at(4), 3_600_000, "x").is_none());
    }
}
