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

/// Leaves in `new` as it is in `old` what cannot change while the daemon runs; names what differs,
/// as `table.key`.
pub fn keep_until_restart(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    let mut keep = |key, differs: bool| kept.extend(differs.then_some(key));
    keep("store.url", old.store.path != new.store.path);
    keep("store.keep_results", old.store.keep_results != new.store.keep_results);
    keep("server.listen", old.server.listen != new.server.listen);
    keep("server.metrics", old.server.metrics != new.server.metrics);
    keep("site.output", old.site.output != new.site.output);
    keep("notes.dir", old.notes_dir != new.notes_dir);
    new.store = old.store.clone();
    new.server.listen = old.server.listen;
    new.server.metrics = old.server.metrics;
    new.site.output.clone_from(&old.site.output);
    new.notes_dir.clone_from(&old.notes_dir);
    kept
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
    fn what_cannot_change_live_is_named_and_stays() {
        let old = config(1, "");
        assert_eq!(keep_until_restart(&old, &mut config(2, "")), Vec::<&str>::new());
        let mut new = config(1, "[server]\nlisten = \"127.0.0.1:81\"\n[store]\nurl = \"sqlite:other.db\"");
        assert_eq!(keep_until_restart(&old, &mut new), ["store.url", "server.listen"]);
        assert_eq!((new.store.path, new.server.listen), (old.store.path, old.server.listen));
    }
}
