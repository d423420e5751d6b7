//! `watchbell check`.

use super::{Failure, Global, Outcome, notify::time, output, read_notes};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    domain::diagnostic::{Diagnostic, Severity},
    notes::Remembered,
    site::{Publisher, defaults},
    store::Store,
};

pub fn check(global: &Global) -> Outcome {
    let mut problems: Vec<Diagnostic> = Vec::new();
    let mut other_errors = 0_usize;
    let mut other_warnings = 0_usize;
    let mut good = None;
    match Config::load(&global.config) {
        Err(errors) => problems.extend(errors),
        Ok(loaded) => {
            problems.extend(loaded.warnings);
            let config = loaded.config;
            let scan = read_notes(&config, Remembered::default(), SystemClock::new().wall());
            if let Some(error) = &scan.failed {
                output::say(&format!("{} cannot be read: {error}\n", config.notes_dir.display()));
                other_errors += 1;
            }
            problems.extend(scan.problems);
            if let Err(error) = Publisher::new(&config) {
                output::say(&format!("{error}\n"));
                other_errors += 1;
            }
            other_warnings = say_unused(&config) + say_paused(&config);
            good = Some((config, scan.changed.len()));
        }
    }
    for problem in &problems {
        output::say(&format!("{problem}\n"));
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count() + other_errors;
    let warnings = problems.len() + other_errors - errors + other_warnings;
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let verdict = match (errors, warnings) {
        (0, 0) => "good".to_owned(),
        (0, warnings) => format!("good, with {}", counted(warnings, "warning")),
        (errors, 0) => counted(errors, "error"),
        (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    };
    let contents = good.map_or(String::new(), |(config, notes)| {
        let services = &config.rules.services;
        let checks = services.iter().map(|service| service.checks.len()).sum();
        format!(" ({}, {}, {})", counted(services.len(), "service"), counted(checks, "check"), counted(notes, "note"))
    });
    output::print(&format!("{}: {verdict}{contents}", global.config.display()))?;
    if errors > 0 { Err(Failure::Bad) } else { Ok(()) }
}

/// Says whether mail is paused, which is no fault of the config alone; how many warnings that is.
fn say_paused(config: &Config) -> usize {
    // Without a store there is no pause; one that cannot be read is looked into by `store verify`.
    let pause = Store::reader(&config.store).and_then(|reader| reader.pause()).ok().flatten();
    let Some(pause) = pause.filter(|_| config.email.is_some()) else { return 0 };
    output::say(&format!(
        "warning: mail is paused since {}: {}\n  the mail server said: {}\n  `watchbell notify queue` shows what waits\n",
        time(pause.since_at),
        pause.cause.in_words(),
        pause.said,
    ));
    1
}

/// Says which of the operator's templates replace nothing; how many.
fn say_unused(config: &Config) -> usize {
    let Some(folder) = &config.site.templates else { return 0 };
    // What cannot be read has been said of the templates themselves.
    let unused = defaults::unused(folder).unwrap_or_default();
    for (name, near) in &unused {
        let hint = near.as_ref().map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        output::say(&format!(
            "{}: warning: there is no template of that name to replace{hint}\n",
            folder.join(name).display()
        ));
    }
    unused.len()
}
