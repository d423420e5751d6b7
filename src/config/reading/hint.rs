//! Guesses at what somebody meant who wrote a name that there is not.

use super::{Key, Scope, Type};

/// How like two names must be for one to be taken for the other.
const ALIKE: f64 = 0.82;

/// The candidate that is most like `name`, if any is alike enough.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
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

/// What to say of the unknown key `name` in `scope`, somewhere below `root`.
pub fn unknown(root: &'static Scope, scope: &'static Scope, name: &str) -> String {
    let own = || scope.keys.iter().filter(|key| scope.takes(key));
    let last = |key: &Key| key.name.rsplit('.').next().unwrap_or(key.name);
    if let Some(key) = own().find(|key| key.also.contains(&name) || last(key) == name) {
        return format!("did you mean `{}`?", key.name);
    }
    let mut scopes = Vec::new();
    collect(root, &mut scopes);
    let elsewhere: Vec<&str> = scopes
        .iter()
        .filter(|other| !std::ptr::eq(**other, scope) && other.key(name).is_some())
        .map(|s| s.header)
        .collect();
    let close = nearest(name, own().map(|key| key.name));
    if let ([_, ..], Some(key)) = (elsewhere.as_slice(), close)
        && strsim::damerau_levenshtein(key, name) <= 1
    {
        return format!("did you mean `{key}`?");
    }
    match elsewhere.as_slice() {
        [] => {}
        [one] => return belongs(root, one, name),
        [first @ .., last] if first.len() <= 3 && close.is_none() => {
            return format!("it belongs in `{}` or `{last}`", first.join("`, `"));
        }
        _ => {}
    }
    if let Some(key) = close {
        return format!("did you mean `{key}`?");
    }
    let others = scopes.iter().filter(|other| !std::ptr::eq(**other, scope));
    let far = others.flat_map(|other| other.keys.iter().map(move |key| (other, key))).find_map(|(other, key)| {
        (key.also.contains(&name) || nearest(name, std::iter::once(key.name)).is_some()).then_some((other, key))
    });
    if let Some((other, key)) = far {
        let place = if other.header.is_empty() { String::new() } else { format!(" of `{}`", other.header) };
        return format!("did you mean `{}`{place}?", key.name);
    }
    let names: Vec<&str> = own().map(|key| key.name).collect();
    match names.as_slice() {
        [] => String::new(),
        names if names.len() <= 14 => format!("the keys here are `{}`", names.join("`, `")),
        _ => "see `config.example.toml` for every key".to_owned(),
    }
}

fn belongs(root: &Scope, header: &str, name: &str) -> String {
    match root.key(name).map(|key| key.kind) {
        // A table that stands inside another one where it should not.
        Some(Type::Tables(scope) | Type::Table(scope)) => {
            format!("write `{}` in a line of its own, at the left margin of the file's structure", scope.header)
        }
        _ if header.is_empty() => "it belongs at the top of the file, before the first `[table]`".to_owned(),
        _ => format!("it belongs in `{header}`"),
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
