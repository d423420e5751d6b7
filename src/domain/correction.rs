//! Corrections: what an operator says a stretch of time counts as, whatever was measured. What was
//! measured stays as it is beneath; take the correction away, and it is back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ServiceId, ServiceStatus, span::Span, status::words, text::LocalText};

words!(
    /// What a corrected stretch counts as.
    CountAs, "what time counts as" {
        /// Planned work: it does not count.
        Maintenance = "maintenance",
        /// Down, all of it.
        Outage = "outage",
        /// All was well.
        Up = "up",
        /// Nobody knows: it does not count.
        Unknown = "unknown",
    }
);

impl CountAs {
    /// The status that a service is taken to have had.
    #[must_use]
    pub const fn status(self) -> ServiceStatus {
        match self {
            Self::Maintenance => ServiceStatus::UnderMaintenance,
            Self::Outage => ServiceStatus::MajorOutage,
            Self::Up => ServiceStatus::Operational,
            Self::Unknown => ServiceStatus::Unknown,
        }
    }
}

/// One `[[correct]]` of `notes/corrections.toml`, valid. Those of one service do not overlap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Correction {
    /// Whose time.
    pub service: ServiceId,
    /// From when, in whole milliseconds.
    pub from: Timestamp,
    /// Until when; later than `from`.
    pub to: Timestamp,
    /// As what it counts.
    pub count_as: CountAs,
    /// Markdown, for everyone to read.
    pub why: LocalText,
}

impl Correction {
    fn span(&self) -> Span {
        Span { status: self.count_as.status(), from: self.from, to: Some(self.to) }
    }
}

/// One service's spans with its corrections laid over them: where time is corrected it is as the
/// correction says, also where nothing was measured; elsewhere it is as it was. Both are given in
/// order of time. Neighbours of the same status become one.
#[must_use]
pub fn lay_over(measured: &[Span], corrections: &[Correction]) -> Vec<Span> {
    let mut pieces: Vec<Span> = corrections.iter().map(Correction::span).collect();
    let mut first = corrections;
    for span in measured {
        // What ends before this span does not reach a later one either.
        let over = first.iter().take_while(|correction| correction.to <= span.from).count();
        first = first.get(over..).unwrap_or_default();
        let mut from = span.from;
        for correction in first.iter().take_while(|correction| span.to.is_none_or(|to| correction.from < to)) {
            if from < correction.from {
                pieces.push(Span { from, to: Some(correction.from), ..*span });
            }
            from = correction.to;
        }
        // One that only begins is there too.
        if span.to.is_none_or(|to| from < to) {
            pieces.push(Span { from, ..*span });
        }
    }
    pieces.sort_by_key(|span| span.from);
    let mut joined: Vec<Span> = Vec::with_capacity(pieces.len());
    for span in pieces {
        match joined.last_mut() {
            Some(last) if last.status == span.status && last.to == Some(span.from) => last.to = span.to,
            _ => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn span(status: ServiceStatus, from: i64, to: Option<i64>) -> Span {
        Span { status, from: at(from), to: to.map(at) }
    }

    fn correction(count_as: CountAs, from: i64, to: i64) -> Correction {
        let service = ServiceId::new("api").unwrap();
        Correction { service, from: at(from), to: at(to), count_as, why: "".into() }
    }

    const UP: ServiceStatus = ServiceStatus::Operational;
    const DOWN: ServiceStatus = ServiceStatus::MajorOutage;

    #[test]
    fn an_outage_that_was_none_becomes_one_good_time_with_what_is_around_it() {
        let measured = [span(UP, 0, Some(10)), span(DOWN, 10, Some(20)), span(UP, 20, None)];
        assert_eq!(lay_over(&measured, &[correction(CountAs::Up, 10, 20)]), [span(UP, 0, None)]);
        assert_eq!(lay_over(&measured, &[]), measured);
    }

    #[test]
    fn what_was_planned_is_cut_out_of_an_outage() {
        let measured = [span(UP, 0, Some(10)), span(DOWN, 10, None)];
        let planned = ServiceStatus::UnderMaintenance;
        assert_eq!(
            lay_over(&measured, &[correction(CountAs::Maintenance, 5, 12), correction(CountAs::Unknown, 14, 15)]),
            [
                span(UP, 0, Some(5)),
                span(planned, 5, Some(12)),
                span(DOWN, 12, Some(14)),
                span(ServiceStatus::Unknown, 14, Some(15)),
                span(DOWN, 15, None),
            ]
        );
    }

    #[test]
    fn an_outage_that_no_check_saw_counts_also_before_the_first_result() {
        let measured = [span(UP, 100, None)];
        assert_eq!(
            lay_over(&measured, &[correction(CountAs::Outage, 10, 30)]),
            [span(DOWN, 10, Some(30)), span(UP, 100, None)]
        );
        assert_eq!(lay_over(&[], &[correction(CountAs::Outage, 10, 30)]), [span(DOWN, 10, Some(30))]);
    }

    #[test]
    fn an_outage_that_began_earlier_than_was_seen_is_one() {
        let measured = [span(UP, 0, Some(10)), span(DOWN, 10, Some(20)), span(UP, 20, None)];
        assert_eq!(
            lay_over(&measured, &[correction(CountAs::Outage, 5, 10)]),
            [span(UP, 0, Some(5)), span(DOWN, 5, Some(20)), span(UP, 20, None)]
        );
    }

    fn status_at(spans: &[Span], minute: i64) -> Option<ServiceStatus> {
        spans
            .iter()
            .find(|span| span.from <= at(minute) && span.to.is_none_or(|to| to > at(minute)))
            .map(|span| span.status)
    }

    proptest! {
        #[test]
        fn every_minute_is_as_its_correction_says_or_else_as_measured(
            lengths in prop::collection::vec((1_i64..9, 0_usize..6), 0..12),
            begins in 0_i64..20,
            gaps in prop::collection::vec((0_i64..9, 1_i64..9, 0_usize..4), 0..8),
        ) {
            let (mut measured, mut from) = (Vec::<Span>::new(), begins);
            for (length, status) in lengths {
                let status = ServiceStatus::ALL[status];
                match measured.last_mut() {
                    Some(last) if last.status == status => last.to = Some(at(from + length)),
                    _ => measured.push(span(status, from, Some(from + length))),
                }
                from += length;
            }
            if let Some(last) = measured.last_mut() {
                last.to = None;
            }
            let (mut corrections, mut from) = (Vec::new(), 0);
            for (gap, length, word) in gaps {
                corrections.push(correction(CountAs::ALL[word], from + gap, from + gap + length));
                from += gap + length;
            }
            let spans = lay_over(&measured, &corrections);
            for minute in 0..150 {
                let corrected = corrections.iter().find(|it| it.from <= at(minute) && it.to > at(minute));
                let expected = corrected.map(|it| it.count_as.status()).or_else(|| status_at(&measured, minute));
                prop_assert_eq!(status_at(&spans, minute), expected, "minute {}", minute);
            }
            for pair in spans.windows(2) {
                prop_assert!(pair[0].to.is_some_and(|to| to <= pair[1].from), "{:?}", spans);
                prop_assert!(pair[0].status != pair[1].status || pair[0].to != Some(pair[1].from), "{:?}", spans);
            }
        }
    }
}
