//! `services/ID/outages.csv`: everything but good times, for people with a spreadsheet (RFC 4180).

use std::fmt::Write as _;

use crate::domain::{ServiceStatus, span::Span};

/// The whole file: a head line, then one line for each span that is not operational, oldest first.
/// Times are UTC (RFC 3339), lengths are in seconds; a span that still goes on has neither an end
/// nor a length, so the bytes rest while nothing changes.
#[must_use]
pub fn csv(spans: &[Span]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let mut rows = vec![["kind", "start", "end", "length_s"].map(str::to_owned)];
    rows.extend(spans.iter().filter(|span| span.status != ServiceStatus::Operational).map(|span| {
        [
            span.status.as_str().to_owned(),
            span.from.to_string(),
            span.to.map(|to| to.to_string()).unwrap_or_default(),
            span.to
                .map(|to| seconds(to.as_millisecond().saturating_sub(span.from.as_millisecond())))
                .unwrap_or_default(),
        ]
    }));
    for row in rows {
        // Writing to memory does not fail.
        let _ = writer.write_record(row);
    }
    writer.into_inner().unwrap_or_default()
}

/// Milliseconds as seconds, exactly, without needless zeros.
fn seconds(ms: i64) -> String {
    let mut text = (ms / 1000).to_string();
    if ms % 1000 != 0 {
        let _ = write!(text, ".{:03}", (ms % 1000).abs());
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(status: ServiceStatus, from: &str, to: Option<&str>) -> Span {
        Span { status, from: from.parse().unwrap(), to: to.map(|to| to.parse().unwrap()) }
    }

    #[test]
    fn all_but_good_times_are_listed_with_their_length() {
        let spans = [
            span(ServiceStatus::Operational, "2026-11-20T00:00:00Z", Some("2026-11-21T10:15:00Z")),
            span(ServiceStatus::MajorOutage, "2026-11-21T10:15:00Z", Some("2026-11-21T10:48:00Z")),
            span(ServiceStatus::Unknown, "2026-11-21T10:48:00Z", Some("2026-11-21T10:48:01.5Z")),
            span(ServiceStatus::DegradedPerformance, "2026-11-21T11:00:00.250Z", None),
        ];
        let expected = "kind,start,end,length_s\r\n\
            major_outage,2026-11-21T10:15:00Z,2026-11-21T10:48:00Z,1980\r\n\
            unknown,2026-11-21T10:48:00Z,2026-11-21T10:48:01.5Z,1.5\r\n\
            degraded_performance,2026-11-21T11:00:00.25Z,,\r\n";
        assert_eq!(String::from_utf8(csv(&spans)).unwrap(), expected);
    }

    #[test]
    fn a_service_that_never_failed_has_a_head_line() {
        assert_eq!(csv(&[]), b"kind,start,end,length_s\r\n");
    }
}
