//! `watchbell probe [SERVICE...]`.

use std::sync::Arc;

use clap::Args;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::{Global, Outcome, is_coloured, known_services, load, output, runtime};
use crate::{
    clock::{Clock, SystemClock},
    domain::{
        CheckKey,
        outcome::{CheckResult, Phases},
    },
    probe::Prober,
    site::words::Words,
};

/// Probes under way at once.
const AT_ONCE: usize = 64;

/// Arguments.
#[derive(Debug, Args)]
pub struct Probe {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    check: CheckKey,
    kind: &'static str,
    result: CheckResult,
    class: Option<&'static str>,
    said: String,
    detail: Option<String>,
    latency_ms: f64,
    #[serde(flatten)]
    phases: Phases,
}

pub fn probe(global: &Global, args: &Probe) -> Outcome {
    let config = load(global)?.config;
    let services = known_services(&config, &args.services)?;
    let words = Words::load(&config.site.language, config.site.templates.as_deref())?;
    let checks: Vec<_> = config
        .rules
        .services
        .iter()
        .filter(|service| services.is_empty() || services.contains(&service.id))
        .flat_map(|service| service.enabled_checks())
        .collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rows: Vec<Row> = runtime()?.block_on(async {
        let prober = Prober::new(Arc::clone(&clock));
        stream::iter(checks)
            .map(|(key, check)| {
                let prober = prober.clone();
                let (clock, words) = (&clock, &words);
                async move {
                    let outcome = prober.probe(check, clock.wall()).await;
                    Row {
                        check: key,
                        kind: check.probe.kind(),
                        result: outcome.result,
                        class: outcome.cause.map(|cause| cause.class.as_str()),
                        said: outcome.cause.map_or_else(String::new, |cause| words.cause(&cause)),
                        detail: outcome.detail,
                        latency_ms: outcome.latency.as_secs_f64() * 1000.0,
                        phases: outcome.phases,
                    }
                }
            })
            .buffered(AT_ONCE)
            .collect()
            .await
    });
    if args.json {
        return Ok(output::print_json(&rows)?);
    }
    let colour = is_coloured(global);
    let table: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            let phases = [
                ("dns", row.phases.dns_us),
                ("connect", row.phases.connect_us),
                ("tls", row.phases.tls_us),
                ("first byte", row.phases.first_byte_us),
                ("body", row.phases.body_us),
            ];
            let phases: Vec<String> = phases
                .iter()
                .filter_map(|(name, us)| us.map(|us| format!("{name} {:.1}", f64::from(us) / 1000.0)))
                .collect();
            let said = match &row.detail {
                Some(detail) if row.said.is_empty() => detail.clone(),
                Some(detail) => format!("{} ({detail})", row.said),
                None => row.said.clone(),
            };
            [
                row.check.to_string(),
                result_word(row.result, colour),
                format!("{:.1} ms", row.latency_ms),
                phases.join(", "),
                said,
            ]
        })
        .collect();
    output::print_table(["check", "result", "took", "phases (ms)", "why"], &table)?;
    Ok(())
}

/// The result as a word; the colour only repeats it.
fn result_word(result: CheckResult, colour: bool) -> String {
    let (word, style) = match result {
        CheckResult::Up => ("up", anstyle::AnsiColor::Green),
        CheckResult::Degraded => ("slow", anstyle::AnsiColor::Yellow),
        CheckResult::Down => ("down", anstyle::AnsiColor::Red),
        CheckResult::Unknown => ("unknown", anstyle::AnsiColor::BrightBlack),
    };
    if colour {
        let style = style.on_default();
        format!("{style}{word}{style:#}")
    } else {
        word.to_owned()
    }
}
