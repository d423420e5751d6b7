//! What a new config may do to a running daemon.
//!
//! A change on disk that takes away many services is more likely a slip (a half-written file, the
//! wrong file) than meant, so it waits for a person. Nothing here loads or changes anything.

use std::collections::HashSet;

use super::Config;
use crate::domain::{ServiceId, service::Rules};

/// Whether a new config is taken without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Take,
    /// It takes away so many services that an operator must say so, by SIGHUP.
    NeedsSighup {
        /// Which, in the order of the old config.
        removed: Vec<ServiceId>,
    },
}

/// Judges a change that was found on disk; on SIGHUP there is nothing to judge. More than a fifth
/// of the services gone, and at least three, is too much.
#[must_use]
pub fn assess(old: &Rules, new: &Rules) -> Verdict {
    let kept: HashSet<&ServiceId> = new.services.iter().map(|service| &service.id).collect();
    let ids = old.services.iter().map(|service| &service.id);
    let removed: Vec<ServiceId> = ids.filter(|id| !kept.contains(id)).cloned().collect();
    if removed.len() >= 3 && removed.len() * 5 > old.services.len() {
        Verdict::NeedsSighup { removed }
    } else {
        Verdict::Take
    }
}

/// The keys that differ and take effect only with a restart, as `table.key`.
#[must_use]
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let differs = [
        ("store.url", old.store.path != new.store.path),
        ("server.listen", old.server.listen != new.server.listen),
        ("server.metrics", old.server.metrics != new.server.metrics),
        ("site.output", old.site.output != new.site.output),
        ("notes.dir", old.notes_dir != new.notes_dir),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, path::Path};

    use super::*;

    fn config(count: usize, more: &str) -> Config {
        let mut text = format!("[site]\nurl = \"https://s.example.org/\"\n{more}\n");
        for n in 0..count {
            let _ = writeln!(text, "[[service]]\nid = \"s{n}\"");
        }
        Config::parse(Path::new("w.toml"), &text, &|_| None).unwrap().config
    }

    fn verdict(before: usize, after: usize) -> Verdict {
        assess(&config(before, "").rules, &config(after, "").rules)
    }

    #[test]
    fn a_change_that_takes_away_a_fifth_or_two_services_is_taken() {
        assert_eq!(verdict(20, 16), Verdict::Take);
        assert_eq!(verdict(2, 0), Verdict::Take);
        assert_eq!(verdict(3, 30), Verdict::Take);
        assert_eq!(verdict(0, 0), Verdict::Take);
    }

    #[test]
    fn a_change_that_takes_away_more_waits_for_a_person_and_names_them() {
        let Verdict::NeedsSighup { removed } = verdict(14, 11) else { panic!("it was taken") };
        assert_eq!(removed.iter().map(ServiceId::as_str).collect::<Vec<_>>(), ["s11", "s12", "s13"]);
        assert!(matches!(verdict(3, 0), Verdict::NeedsSighup { .. }));
    }

    #[test]
    fn what_cannot_change_live_is_named() {
        let old = config(1, "");
        assert_eq!(needs_restart(&old, &config(2, "")), Vec::<&str>::new());
        let new = config(1, "[server]\nlisten = \"127.0.0.1:81\"\n[store]\nurl = \"sqlite:other.db\"");
        assert_eq!(needs_restart(&old, &new), ["store.url", "server.listen"]);
    }
}
