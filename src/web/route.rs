//! What a request path asks for. Pure: whether such a file exists is found out elsewhere.

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/healthz`.
    Health,
    /// `/unsubscribe/TOKEN`.
    Unsubscribe(String),
    /// `/confirm/TOKEN`.
    Confirm(String),
    /// `/manage/TOKEN`.
    Manage(String),
    /// `/subscribe`, the form's address; with a `/` at its end it is a page of the site.
    Subscribe,
    /// A file of the site: its path in segments that are safe to join, and whether the path ended
    /// in `/`, which asks for a folder's index.
    File(Vec<String>, bool),
    /// The base of the site without its `/`: the relative address of the site.
    Elsewhere(String),
    /// A path that nothing on the site can have.
    Nothing,
    /// No path at all: broken escapes, `..`, control characters.
    Bad,
}

/// Reads a path as it stands in the request; `bases` (each beginning and ending in `/`, the longest
/// first) are where the site appears to visitors, besides `/`.
pub(super) fn route(path: &str, bases: &[String]) -> Route {
    if let Some(base) = bases.iter().find(|base| base.len() > 1 && base.strip_suffix('/') == Some(path)) {
        let last = base.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        return Route::Elsewhere(format!("./{last}/"));
    }
    let within = bases.iter().find_map(|base| path.strip_prefix(base.as_str()));
    let Some(within) = within.or_else(|| path.strip_prefix('/')) else {
        return Route::Bad;
    };
    let mut segments = Vec::new();
    for raw in within.split('/') {
        match decode(raw) {
            Some(segment) => segments.push(segment),
            None => return Route::Bad,
        }
    }
    let folder = segments.last().is_some_and(String::is_empty);
    if folder {
        segments.pop();
    }
    match segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["healthz"] if !folder => return Route::Health,
        ["unsubscribe", token] if !folder => return Route::Unsubscribe((*token).to_owned()),
        ["confirm", token] if !folder => return Route::Confirm((*token).to_owned()),
        ["manage", token] if !folder => return Route::Manage((*token).to_owned()),
        ["subscribe"] if !folder => return Route::Subscribe,
        _ => {}
    }
    if segments.iter().any(|segment| segment == ".." || segment == "." || segment.contains('\0')) {
        return Route::Bad;
    }
    // Hidden files are nobody's business, but for the one folder that is made to be seen (RFC 8615).
    let hidden = |(at, segment): (usize, &String)| segment.starts_with('.') && !(at == 0 && segment == ".well-known");
    if segments.iter().any(|segment| segment.is_empty() || segment.contains('/'))
        || segments.iter().enumerate().any(hidden)
    {
        return Route::Nothing;
    }
    Route::File(segments, folder)
}

/// Undoes percent-encoding. `None` if an escape is broken, or the result is no UTF-8.
fn decode(raw: &str) -> Option<String> {
    if !raw.contains('%') {
        return Some(raw.to_owned());
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Route {
        route(path, &["/status/eu/".into(), "/status/".into(), "/".into()])
    }

    fn file(segments: &[&str], folder: bool) -> Route {
        Route::File(segments.iter().map(|segment| (*segment).to_owned()).collect(), folder)
    }

    #[test]
    fn the_site_appears_under_each_of_its_bases() {
        for path in ["/services/api/", "/status/services/api/", "/status/eu/services/api/"] {
            assert_eq!(at(path), file(&["services", "api"], true));
        }
        assert_eq!(at("/"), file(&[], true));
        assert_eq!(at("/status/"), file(&[], true));
        assert_eq!(at("/index.html"), file(&["index.html"], false));
        assert_eq!(at("/status"), Route::Elsewhere("./status/".into()));
        assert_eq!(at("/status/eu"), Route::Elsewhere("./eu/".into()));
    }

    #[test]
    fn endpoints_are_found_under_each_base() {
        assert_eq!(at("/healthz"), Route::Health);
        assert_eq!(at("/status/healthz"), Route::Health);
        assert_eq!(at("/unsubscribe/a%2Db"), Route::Unsubscribe("a-b".into()));
        assert_eq!(at("/confirm/a-b"), Route::Confirm("a-b".into()));
        assert_eq!(at("/status/manage/a-b"), Route::Manage("a-b".into()));
        assert_eq!(at("/status/subscribe"), Route::Subscribe);
        assert_eq!(at("/subscribe/"), file(&["subscribe"], true));
        assert_eq!(at("/unsubscribe/"), file(&["unsubscribe"], true));
    }

    #[test]
    fn escapes_are_undone_once() {
        assert_eq!(at("/a%20b"), file(&["a b"], false));
        assert_eq!(at("/%252e%252e"), file(&["%2e%2e"], false));
        for bad in ["/%", "/%4", "/%zz", "/%ff", "/a%00b"] {
            assert_eq!(at(bad), Route::Bad, "{bad}");
        }
    }

    #[test]
    fn nothing_leads_upwards() {
        for bad in ["/..", "/../x", "/a/../b", "/%2e%2e/x", "/.%2E/x", "/status/../../x", "/./x", "*", "x"] {
            assert_eq!(at(bad), Route::Bad, "{bad}");
        }
        assert_eq!(at("/..%2fx"), Route::Nothing);
        assert_eq!(at("/a%2f..%2fb"), Route::Nothing);
    }

    #[test]
    fn hidden_files_do_not_exist() {
        for hidden in ["/.git/config", "/.manifest", "/services/.x.wb-tmp", "/services/.well-known/x", "//etc", "/a//b"]
        {
            assert_eq!(at(hidden), Route::Nothing, "{hidden}");
        }
        assert_eq!(at("/.well-known/security.txt"), file(&[".well-known", "security.txt"], false));
    }
}
