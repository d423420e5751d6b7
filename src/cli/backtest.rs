//! `watchbell backtest --since 30d`: what other rules would have made of the recorded results.

use std::collections::BTreeSet;

use clap::Args;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::{Failure, Global, Outcome, load, output};
use crate::{
    backtest::{self, Account, Backtest, Brief, Edit, Judged},
    clock::{Clock, SystemClock},
    config::{Config, values},
    domain::ServiceId,
    site::words::{Names, Words},
    store::{Store, maintenance::Progress},
};

/// So many incidents of a kind are listed.
const LISTED: usize = 20;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How far back: a duration (`30d`), a day (`2026-11-01`) or a time (`2026-11-01T12:00:00Z`)
    #[arg(long, default_value = "30d", value_name = "WHEN")]
    since: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn backtest(global: &Global, args: &Arguments) -> Outcome {
    let config = load(global)?.config;
    let since = moment(&args.since, SystemClock::new().wall(), &config.site.timezone)?;
    let mut reader = Store::reader(&config.store)?;
    let mut show = output::progress();
    let compared = backtest::backtest(&mut reader, &config.rules, since, &mut |done, total| {
        show(Progress { done, total });
    })?;
    if args.json {
        return Ok(output::print_json(&compared)?);
    }
    let words = Words::load(&config.site.language, config.site.templates.as_deref())?;
    let page = Page { words: &words, names: &Names::of(&config.rules), zone: &config.site.timezone };
    page.print(&config, &compared)
}

/// The moment that `--since` means.
fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Failure> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(day) = text.parse::<Date>()
        && let Ok(start) = day.to_zoned(zone.clone())
    {
        return Ok(start.timestamp());
    }
    let wrong = |wrong: values::Wrong| {
        Failure::Usage(format!("--since: {}: {}, or a day: `2026-11-01`", wrong.message, wrong.hint))
    };
    let ago = SignedDuration::try_from(values::duration(text).map_err(wrong)?).unwrap_or(SignedDuration::MAX);
    Ok(now.saturating_sub(ago).unwrap_or(Timestamp::MIN))
}

struct Page<'a> {
    words: &'a Words,
    names: &'a Names,
    zone: &'a TimeZone,
}

impl Page<'_> {
    fn print(&self, config: &Config, compared: &Backtest) -> Outcome {
        let (there, was) = (&compared.would_have_been, &compared.was);
        output::print(&self.sentence(there, was))?;
        output::print("")?;
        output::print_table(["", "would have been", "was"], &self.rows(config, there, was))?;
        self.print_incidents("no longer an incident", &was.incidents, &there.incidents)?;
        self.print_incidents("an incident that there was not", &there.incidents, &was.incidents)?;
        for (heading, lines) in [("edited", edits(compared, self.words)), ("mind", self.limits(compared))] {
            if !lines.is_empty() {
                output::print(&format!("\n{heading}:"))?;
                lines.iter().try_for_each(|line| output::print(&format!("  {line}")))?;
            }
        }
        let (from, until) = (self.time(compared.from), self.time(compared.until));
        let results = self.words.number(compared.results);
        output::print(&format!("\n{results} results replayed, from {from} to {until}"))?;
        Ok(())
    }

    fn sentence(&self, there: &Account, was: &Account) -> String {
        let incidents = count(there.incidents.len(), "incident");
        let messages = count(usize::try_from(there.told()).unwrap_or(usize::MAX), "message");
        let length = |account: &Account| self.words.duration(account.downtime());
        [
            beside(&incidents, there.incidents.len() == was.incidents.len(), &was.incidents.len().to_string()),
            beside(
                &format!("downtime {}", length(there)),
                there.downtime().abs_diff(was.downtime()) < 1000,
                &length(was),
            ),
            beside(&messages, there.told() == was.told(), &was.told().to_string()),
        ]
        .join("; ")
    }

    fn rows(&self, config: &Config, there: &Account, was: &Account) -> Vec<[String; 3]> {
        let mut rows = vec![
            ["incidents".to_owned(), there.incidents.len().to_string(), was.incidents.len().to_string()],
            ["messages to each reader of everything".to_owned(), there.told().to_string(), was.told().to_string()],
        ];
        let kinds: BTreeSet<_> = there.messages.keys().chain(was.messages.keys()).collect();
        for kind in kinds {
            let number = |account: &Account| account.messages.get(*kind).copied().unwrap_or(0).to_string();
            rows.push([format!("  {kind}"), number(there), number(was)]);
        }
        let length = |account: &Account| self.words.duration(account.downtime());
        rows.push(["downtime".to_owned(), length(there), length(was)]);
        let known =
            config.service_ids().filter(|id| there.downtime_ms.contains_key(*id) || was.downtime_ms.contains_key(*id));
        let gone = was.downtime_ms.keys().filter(|id| !config.service_ids().any(|known| known == *id));
        for service in known.chain(gone) {
            let length =
                |account: &Account| self.words.duration(account.downtime_ms.get(service).copied().unwrap_or(0));
            rows.push([format!("  {}", self.names.get(service)), length(there), length(was)]);
        }
        rows
    }

    /// Those of `these` that have nothing of the kind among `those`.
    fn print_incidents(&self, heading: &str, these: &[Brief], those: &[Brief]) -> Outcome {
        let alone: Vec<&Brief> = these.iter().filter(|it| !those.iter().any(|other| it.overlaps(other))).collect();
        if alone.is_empty() {
            return Ok(());
        }
        output::print(&format!("\n{heading}:"))?;
        for brief in alone.iter().take(LISTED) {
            let lasted = match brief.resolved_at {
                Some(end) => self.words.between(brief.started_at, end),
                None => "goes on".to_owned(),
            };
            let names: Vec<&str> = brief.services.iter().map(|id: &ServiceId| self.names.get(id)).collect();
            output::print(&format!("  {}  {lasted}  {}", self.time(brief.started_at), self.words.list(&names, 3)))?;
        }
        let more = alone.len().saturating_sub(LISTED);
        if more > 0 {
            output::print(&format!("  and {more} more"))?;
        }
        Ok(())
    }

    fn limits(&self, compared: &Backtest) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(oldest) = compared.oldest_result_at {
            lines.push(format!("the oldest result that is kept is of {}", self.time(oldest)));
        }
        if let Some(since) = compared.in_force_since {
            lines.push(format!(
                "the rules that the store knows are in force since {}; before, there were others",
                self.time(since)
            ));
        }
        if !compared.without_results.is_empty() {
            let names: Vec<String> = compared.without_results.iter().map(ToString::to_string).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            lines.push(format!("no result of {}", self.words.list(&names, 5)));
        }
        if compared.filled_in > 0 {
            lines.push(format!(
                "{} probes that these rules would have made were not made: each is taken to have found what those \
                 before and after it found",
                self.words.number(compared.filled_in)
            ));
        }
        for it in compared.undecided.iter().take(LISTED) {
            lines.push(format!(
                "{} at {}: {} of {} failures, then nobody looked until it was back: it may have been down",
                it.check,
                self.time(it.from),
                it.seen,
                it.needed
            ));
        }
        let more = compared.undecided.len().saturating_sub(LISTED);
        if more > 0 {
            lines.push(format!("{more} more of that kind"));
        }
        lines
    }

    fn time(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What there would have been, and what there was if that is something else.
fn beside(there: &str, is_same: bool, was: &str) -> String {
    if is_same { format!("{there} as before") } else { format!("{there} instead of {was}") }
}

/// What was edited, the same in several places as one line.
fn edits(compared: &Backtest, words: &Words) -> Vec<String> {
    let Some(edits) = &compared.edited else {
        return vec![
            "the store does not say by which rules was judged: whether targets, expectations or intervals were \
             edited cannot be told"
                .to_owned(),
        ];
    };
    if edits.is_empty() {
        return vec!["nothing that results are judged by".to_owned()];
    }
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for edit in edits {
        let what = edited(edit);
        match lines.iter_mut().find(|(known, _)| *known == what) {
            Some((_, places)) => places.push(&edit.of),
            None => lines.push((what, vec![&edit.of])),
        }
    }
    lines.into_iter().map(|(what, places)| format!("{what} ({})", words.list(&places, 4))).collect()
}

/// What an edit is, wherever it was made.
fn edited(Edit { of: _, key, was, is, judged }: &Edit) -> String {
    let what = match (key.as_str(), was, is) {
        ("", ..) if *judged == Judged::NoResults => "new".to_owned(),
        ("", ..) => "gone".to_owned(),
        (key, Some(was), Some(is)) => format!("{key} = {is} instead of {was}"),
        (key, None, Some(is)) => format!("{key} = {is}"),
        (key, Some(was), None) => format!("{key} is no longer {was}"),
        (key, None, None) => key.to_owned(),
    };
    let why = match judged {
        Judged::Yes => return what,
        Judged::WhereProbed => "judged as far as probes were made",
        Judged::NotWhatIsAsked => "not judged, for results are of what was asked then",
        Judged::NotWhen => "not judged, for probes were made when they were made",
        Judged::NotWhatWasCutOff => "not judged, for whatever took longer was cut off",
        Judged::NotCanaries => "not judged, for what canaries answered is not kept",
        Judged::NoResults => "not judged, for there are no results",
    };
    format!("{what}: {why}")
}
