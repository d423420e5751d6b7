//! What the daemon counts, for Prometheus. Labels come from the config and from fixed lists only,
//! so the number of series is bounded by what the operator wrote.

use std::{collections::BTreeSet, fmt::Write, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::domain::{CheckKey, outcome::CheckResult};

/// All counters and gauges. Every method is cheap and may be called from anywhere.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    check_up: Family<CheckLabels, Gauge>,
    check_duration: Family<CheckLabels, Gauge<f64, AtomicU64>>,
    checks: Family<ResultLabels, Counter>,
    blips: Counter,
    incidents_open: Gauge,
    deliveries: Family<DeliveryLabels, Counter>,
    outbox_pending: Gauge,
    outbox_paused: Gauge,
    publish_duration: Histogram,
    schedule_lag: Histogram,
    config_valid: Gauge,
    notes_invalid: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    service: String,
    check: String,
}

impl From<&CheckKey> for CheckLabels {
    fn from(key: &CheckKey) -> Self {
        Self { service: key.service.to_string(), check: key.check.to_string() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    result: Delivered,
}

/// What became of a delivery, or of one attempt at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "label values are spelled as their variants")]
pub enum Delivered {
    /// The server took it.
    sent,
    /// It failed for now, and is tried again.
    retried,
    /// Another message says it too.
    folded,
    /// There was no need for it any more.
    dropped,
    /// It failed for good.
    failed,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// With every metric registered, and the config taken for valid.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("watchbell");
        let seconds = || Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]);
        let metrics = Self {
            check_up: Family::default(),
            check_duration: Family::default(),
            checks: Family::default(),
            blips: Counter::default(),
            incidents_open: Gauge::default(),
            deliveries: Family::default(),
            outbox_pending: Gauge::default(),
            outbox_paused: Gauge::default(),
            publish_duration: seconds(),
            schedule_lag: seconds(),
            config_valid: Gauge::default(),
            notes_invalid: Gauge::default(),
            registry: Registry::default(),
        };
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        metrics.config_valid.set(1);
        for result in [CheckResult::Up, CheckResult::Degraded, CheckResult::Down, CheckResult::Unknown] {
            metrics.checks.get_or_create(&ResultLabels { result: word(result) }).inc_by(0);
        }
        for result in [Delivered::sent, Delivered::retried, Delivered::folded, Delivered::dropped, Delivered::failed] {
            metrics.deliveries.get_or_create(&DeliveryLabels { result }).inc_by(0);
        }

        registry.register(
            "check_up",
            "Whether the last probe found the target up (1; also if slow) or not (0); absent while unknown",
            metrics.check_up.clone(),
        );
        registry.register_with_unit(
            "check_duration",
            "How long the last probe took",
            Unit::Seconds,
            metrics.check_duration.clone(),
        );
        registry.register("checks", "Probes made, by result", metrics.checks.clone());
        registry.register("blips", "Runs of failures that ended before the verdict", metrics.blips.clone());
        registry.register("incidents_open", "Incidents that are not resolved", metrics.incidents_open.clone());
        registry.register("deliveries", "What became of messages, by result", metrics.deliveries.clone());
        registry.register("outbox_pending", "Messages that wait to be sent", metrics.outbox_pending.clone());
        registry.register(
            "outbox_paused",
            "Whether mail rests because the mail server does not take it (1); one message at a time is tried",
            metrics.outbox_paused.clone(),
        );
        registry.register_with_unit(
            "publish_duration",
            "How long publishing the site took",
            Unit::Seconds,
            metrics.publish_duration.clone(),
        );
        registry.register_with_unit(
            "schedule_lag",
            "How long after its time a probe was begun",
            Unit::Seconds,
            metrics.schedule_lag.clone(),
        );
        registry.register(
            "config_valid",
            "Whether the config file on disk is valid (1); if not (0), the last valid one is in force",
            metrics.config_valid.clone(),
        );
        registry.register(
            "notes_invalid",
            "Note files that cannot be used as they are; their last good version is in force",
            metrics.notes_invalid.clone(),
        );
        registry.register("build_info", "Always 1; its labels say what runs", build);
        Self { registry, ..metrics }
    }

    /// A probe has ended with `result` after `took`.
    pub fn checked(&self, key: &CheckKey, result: CheckResult, took: Duration) {
        let labels = CheckLabels::from(key);
        match result {
            CheckResult::Up | CheckResult::Degraded => {
                self.check_up.get_or_create(&labels).set(1);
            }
            CheckResult::Down => {
                self.check_up.get_or_create(&labels).set(0);
            }
            CheckResult::Unknown => {
                self.check_up.remove(&labels);
            }
        }
        self.check_duration.get_or_create(&labels).set(took.as_secs_f64());
        self.checks.get_or_create(&ResultLabels { result: word(result) }).inc();
    }

    /// Forgets `gone`: a check that is no longer in the config.
    pub fn forget_check(&self, gone: &CheckKey) {
        let labels = CheckLabels::from(gone);
        self.check_up.remove(&labels);
        self.check_duration.remove(&labels);
    }

    /// Forgets the checks of `before` that are not in `now`.
    pub fn keep_checks(&self, before: &BTreeSet<CheckKey>, now: &BTreeSet<CheckKey>) {
        before.difference(now).for_each(|gone| self.forget_check(gone));
    }

    /// So many more runs of failures ended before the verdict.
    pub fn blips(&self, count: u64) {
        if count > 0 {
            self.blips.inc_by(count);
        }
    }

    /// How many incidents are not resolved.
    pub fn incidents_open(&self, count: usize) {
        self.incidents_open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `count` deliveries, or attempts at them, ended like that.
    pub fn delivered(&self, result: Delivered, count: u64) {
        self.deliveries.get_or_create(&DeliveryLabels { result }).inc_by(count);
    }

    /// How many messages wait to be sent.
    pub fn outbox_pending(&self, count: usize) {
        self.outbox_pending.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether mail rests because of the mail server.
    pub fn outbox_paused(&self, paused: bool) {
        self.outbox_paused.set(i64::from(paused));
    }

    /// The site was published within `took`.
    pub fn published(&self, took: Duration) {
        self.publish_duration.observe(took.as_secs_f64());
    }

    /// A probe was begun `lag` after its time.
    pub fn begun(&self, lag: Duration) {
        self.schedule_lag.observe(lag.as_secs_f64());
    }

    /// Whether the config on disk is valid.
    pub fn config_valid(&self, valid: bool) {
        self.config_valid.set(i64::from(valid));
    }

    /// How many notes cannot be used as they are.
    pub fn notes_invalid(&self, count: usize) {
        self.notes_invalid.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All of it: its media type, and the text. `OpenMetrics` for who asks for it, else the older
    /// format that everything reads.
    #[must_use]
    pub fn text(&self, accept: &str) -> (&'static str, String) {
        let mut text = String::new();
        // Writing into a string cannot fail, and the metrics themselves are ours.
        if text::encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        if accept.contains("application/openmetrics-text") {
            return ("application/openmetrics-text; version=1.0.0; charset=utf-8", text);
        }
        ("text/plain; version=0.0.4; charset=utf-8", classic(&text))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

const fn word(result: CheckResult) -> &'static str {
    match result {
        CheckResult::Up => "up",
        CheckResult::Degraded => "degraded",
        CheckResult::Down => "down",
        CheckResult::Unknown => "unknown",
    }
}

/// `OpenMetrics` in the older text format: there, a counter's name includes `_total`, and there are
/// no units and no end mark.
fn classic(text: &str) -> String {
    let counters: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut classic = String::with_capacity(text.len());
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let renamed = ["# HELP ", "# TYPE "].into_iter().find_map(|comment| {
            let (name, rest) = line.strip_prefix(comment)?.split_once(' ')?;
            counters.contains(name).then(|| format!("{comment}{name}_total {rest}"))
        });
        let _ = writeln!(classic, "{}", renamed.as_deref().unwrap_or(line));
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CheckId, ServiceId};

    fn key(service: &str) -> CheckKey {
        CheckKey { service: ServiceId::new(service).unwrap(), check: CheckId::new("http").unwrap() }
    }

    #[test]
    fn every_promised_name_is_there_from_the_start() {
        let metrics = Metrics::new();
        metrics.checked(&key("api"), CheckResult::Down, Duration::from_millis(1500));
        let (media, text) = metrics.text("*/*");
        assert_eq!(media, "text/plain; version=0.0.4; charset=utf-8");
        for line in [
            "# TYPE watchbell_check_up gauge",
            "watchbell_check_up{service=\"api\",check=\"http\"} 0",
            "# TYPE watchbell_check_duration_seconds gauge",
            "watchbell_check_duration_seconds{service=\"api\",check=\"http\"} 1.5",
            "# TYPE watchbell_checks_total counter",
            "watchbell_checks_total{result=\"down\"} 1",
            "watchbell_blips_total 0",
            "watchbell_incidents_open 0",
            "# TYPE watchbell_deliveries_total counter",
            "watchbell_deliveries_total{result=\"sent\"} 0",
            "watchbell_outbox_pending 0",
            "watchbell_outbox_paused 0",
            "# TYPE watchbell_publish_duration_seconds histogram",
            "watchbell_publish_duration_seconds_count 0",
            "# TYPE watchbell_schedule_lag_seconds histogram",
            "watchbell_config_valid 1",
            "watchbell_notes_invalid 0",
            "# TYPE watchbell_build_info gauge",
            concat!("watchbell_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    }

    #[test]
    fn openmetrics_is_served_to_who_asks_for_it() {
        let (media, text) = Metrics::new().text("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert!(media.starts_with("application/openmetrics-text"));
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains("# TYPE watchbell_checks counter\n"));
    }

    #[test]
    fn a_check_that_is_gone_or_unknown_has_no_series() {
        let metrics = Metrics::new();
        for service in ["api", "web"] {
            metrics.checked(&key(service), CheckResult::Up, Duration::from_secs(1));
        }
        metrics.checked(&key("web"), CheckResult::Unknown, Duration::from_secs(1));
        metrics.keep_checks(&BTreeSet::from([key("api"), key("web")]), &BTreeSet::from([key("web")]));
        let (_, text) = metrics.text("");
        assert!(!text.contains("service=\"api\""));
        assert!(!text.contains("watchbell_check_up{"));
    }
}
