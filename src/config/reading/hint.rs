//! Guesses at what somebody meant who wrote a name that there is not.

use super::{Key, Scope, Type};

/// How like two names must be for one to be taken for the other.
const ALIKE: f64 = 0.82;

/// No name of ours is as long; comparing takes as much time and memory as both are long.
const LONGEST: usize = 100;

/// The candidate that is most like `name`, if any is alike enough.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    candidates
        .map(|candidate| (likeness(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// From 0 to 1. Two measures, since each misses some slips: one forgives wrong and missing
/// letters, the other letters that changed places.
fn likeness(a: &str, b: &str) -> f64 {
    let fold = |text: &str| text.to_lowercase().replace(['-', '_', '.', ' '], "_");
    let (a, b) = (fold(a), fold(b));
    let longer = a.chars().count().max(b.chars().count());
    if a == b {
        return 1.0;
    }
    // A slip or two in a long name; at most one in a short one.
    let slips = strsim::damerau_levenshtein(&a, &b);
    let allowed = if longer <= 4 { 1 } else { 2 };
    if slips <= allowed && slips < longer.div_ceil(2) {
        return 0.99 - f64::from(u32::try_from(slips).unwrap_or(9)) / 100.0;
    }
    if longer < 5 { 0.0 } else { strsim::jaro_winkler(&a, &b) * strsim::normalized_damerau_levenshtein(&a, &b).sqrt() }
}

/// Whether an unknown key may be a misspelt one for a secret, by its name, or one for a secret that
/// stands in the wrong table.
pub(super) fn may_hold_a_secret(root: &'static Scope, name: &str) -> bool {
    const SUSPECT: &[&str] = &["pass", "secret", "token", "key", "auth", "cred", "pwd", "cookie", "url"];
    let lower = name.to_lowercase();
    let is_secret = |kind: Type| matches!(kind, Type::Secret | Type::Map(Type::Secret));
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_one = |key: &Key| {
        let own = key.name.rsplit('.').next().unwrap_or(key.name);
        is_secret(key.kind) && (key.name == name || own == last || key.also.contains(&name))
    };
    let mut all = Vec::new();
    collect(root, &mut all);
    let keys = || all.iter().flat_map(|scope| scope.keys);
    SUSPECT.iter().any(|part| lower.contains(part))
        || keys().any(is_one)
        || nearest(name, keys().filter(|key| is_secret(key.kind)).map(|key| key.name)).is_some()
}

/// What to say of the unknown key `name` in `scope`, somewhere below `root`.
#[must_use]
pub fn unknown(root: &'static Scope, scope: &'static Scope, name: &str) -> String {
    let own = || scope.keys.iter().filter(|key| scope.takes(key));
    let last = |key: &Key| key.name.rsplit('.').next().unwrap_or(key.name);
    if let Some(key) = own().find(|key| key.also.contains(&name) || last(key) == name) {
        return format!("did you mean `{}`?", key.name);
    }
    let mut others = Vec::new();
    collect(root, &mut others);
    others.retain(|other| !std::ptr::eq(*other, scope));
    let homes: Vec<(&Scope, &Key)> =
        others.iter().filter_map(|other| other.key(name).map(|key| (*other, key))).collect();
    let close = nearest(name, own().map(|key| key.name));
    // A name that stands in other tables was meant as such, unless it is one slip from a name here.
    let is_slip = close.is_some_and(|key| strsim::damerau_levenshtein(key, name) <= 1);
    match homes.as_slice() {
        [(_, Key { kind: Type::Table(table) | Type::Tables(table), .. })] if !is_slip => {
            return format!("write `{}`", table.header);
        }
        [(home, _)] if !is_slip => return format!("it belongs in `{}`", home.header),
        [first @ .., (last, _)] if close.is_none() && !first.is_empty() && first.len() <= 3 => {
            let first: Vec<&str> = first.iter().map(|(home, _)| home.header).collect();
            return format!("it belongs in `{}` or `{}`", first.join("`, `"), last.header);
        }
        _ => {}
    }
    if let Some(key) = close {
        return format!("did you mean `{key}`?");
    }
    let far = others
        .iter()
        .flat_map(|other| other.keys.iter().map(move |key| (other, key)))
        .find(|(_, key)| key.also.contains(&name) || nearest(name, std::iter::once(key.name)).is_some());
    match far {
        Some((_, Key { kind: Type::Table(table) | Type::Tables(table), .. })) => {
            format!("did you mean `{}`?", table.header)
        }
        Some((other, key)) => format!("did you mean `{}` of `{}`?", key.name, other.header),
        None => {
            let names: Vec<&str> = own().map(|key| key.name).collect();
            if names.is_empty() || names.len() > 14 {
                "see `config.example.toml` for every key".to_owned()
            } else {
                format!("the keys here are `{}`", names.join("`, `"))
            }
        }
    }
}

/// `scope` and all below it, each once.
fn collect(scope: &'static Scope, into: &mut Vec<&'static Scope>) {
    if into.iter().any(|known| std::ptr::eq(*known, scope)) {
        return;
    }
    into.push(scope);
    for key in scope.keys {
        if let Type::Table(inner) | Type::Tables(inner) = key.kind {
            collect(inner, into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_forgiven_and_other_words_are_not() {
        let keys = ["every", "timeout", "down_after", "up_after", "degraded_after", "ip"];
        assert_eq!(nearest(&"every".repeat(100_000), keys.into_iter()), None);
        for (given, meant) in [
            ("evry", Some("every")),
            ("tiemout", Some("timeout")),
            ("downafter", Some("down_after")),
            ("down-after", Some("down_after")),
            ("TimeOut", Some("timeout")),
            ("zebra", None),
            ("x", None),
        ] {
            assert_eq!(nearest(given, keys.into_iter()), meant, "{given}");
        }
    }
}
