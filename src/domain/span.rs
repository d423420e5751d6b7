//! Spans: how a service was, from when to when. The only source of uptime and bars.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ServiceId, ServiceStatus};

/// A stretch of time in which a service had one status. A service's spans lie end to end, from
/// its first result on; only the last one is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// How it was.
    pub status: ServiceStatus,
    /// Since when.
    pub from: Timestamp,
    /// Until when; `None`: it still is.
    pub to: Option<Timestamp>,
}

/// "From `from` on, the service's spans are these": whatever was recorded from then on is
/// replaced, and an earlier span that reaches into it ends at `from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanEdit {
    /// Whose spans.
    pub service: ServiceId,
    /// From when on.
    pub from: Timestamp,
    /// End to end, the first beginning at `from`, the last one open. Neighbours differ in status.
    pub spans: Vec<Span>,
}

/// Time spent in each state within some window, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The whole window, as far as it lies in the past.
    pub total_ms: u64,
    /// `partial_outage` and `major_outage`.
    pub down_ms: u64,
    /// `degraded_performance`.
    pub degraded_ms: u64,
    /// `under_maintenance`.
    pub maintenance_ms: u64,
    /// No data.
    pub unknown_ms: u64,
    /// The worst status seen; `None` if there is no data at all.
    pub worst: Option<ServiceStatus>,
}

impl Tally {
    /// Adds up `spans` within `[from, to)`; time that no span covers is unknown.
    #[must_use]
    pub fn of<'a>(spans: impl IntoIterator<Item = &'a Span>, from: Timestamp, to: Timestamp) -> Self {
        let length = |a: Timestamp, b: Timestamp| {
            u64::try_from(b.as_millisecond().saturating_sub(a.as_millisecond())).unwrap_or(0)
        };
        let mut tally = Self { total_ms: length(from, to), ..Self::default() };
        let mut covered = 0;
        for span in spans {
            let ms = length(span.from.max(from), span.to.unwrap_or(to).min(to));
            let is_beginning = span.to.is_none() && span.from == to;
            if ms == 0 && !is_beginning {
                continue;
            }
            covered += ms;
            match span.status {
                ServiceStatus::Operational => {}
                ServiceStatus::DegradedPerformance => tally.degraded_ms += ms,
                ServiceStatus::PartialOutage | ServiceStatus::MajorOutage => tally.down_ms += ms,
                ServiceStatus::UnderMaintenance => tally.maintenance_ms += ms,
                ServiceStatus::Unknown => tally.unknown_ms += ms,
            }
            if span.status != ServiceStatus::Unknown {
                tally.worst = tally.worst.max(Some(span.status));
            }
        }
        tally.unknown_ms += tally.total_ms.saturating_sub(covered);
        tally
    }

    /// The share of counted time that was not down, in hundred-thousandths (`99_998` is 99.998 %),
    /// cut, never rounded up; `None` if no time counts. Counted is all but unknown time and
    /// maintenance (spec, section 4, rule 9).
    #[must_use]
    pub fn uptime(&self) -> Option<u32> {
        let counted = self.total_ms.saturating_sub(self.unknown_ms).saturating_sub(self.maintenance_ms);
        let up = u128::from(counted.saturating_sub(self.down_ms));
        let share = (up * 100_000).checked_div(u128::from(counted))?;
        u32::try_from(share).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn span(status: ServiceStatus, from: i64, to: Option<i64>) -> Span {
        Span { status, from: at(from), to: to.map(at) }
    }

    #[test]
    fn uptime_leaves_out_what_nobody_saw_and_what_was_planned() {
        let spans = [
            span(ServiceStatus::Operational, 10, Some(60)),
            span(ServiceStatus::MajorOutage, 60, Some(70)),
            span(ServiceStatus::UnderMaintenance, 70, Some(90)),
            span(ServiceStatus::Operational, 90, None),
        ];
        let tally = Tally::of(&spans, at(0), at(100));
        assert_eq!(tally.unknown_ms, 600_000);
        assert_eq!(tally.maintenance_ms, 1_200_000);
        assert_eq!(tally.uptime(), Some(60 * 100_000 / 70));
        assert_eq!(tally.worst, Some(ServiceStatus::MajorOutage));
    }

    #[test]
    fn uptime_is_cut_so_that_one_second_down_in_a_year_is_not_a_hundred_percent() {
        let spans = [span(ServiceStatus::Operational, 0, None)];
        assert_eq!(Tally::of(&spans, at(0), at(525_600)).uptime(), Some(100_000));
        let tally = Tally { total_ms: 31_536_000_000, down_ms: 1000, ..Tally::default() };
        assert_eq!(tally.uptime(), Some(99_999));
    }

    #[test]
    fn no_data_gives_no_percentage() {
        assert_eq!(Tally::of(&[], at(0), at(60)).uptime(), None);
    }
}
