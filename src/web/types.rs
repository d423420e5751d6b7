//! What each kind of file is called in HTTP, who may read it, and how long it may be kept.

/// How one kind of file is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// `Content-Type`.
    pub(super) media: &'static str,
    /// Whether compression makes it smaller.
    pub(super) text: bool,
    /// Whether scripts and pages of other sites may read it.
    pub(super) shared: bool,
}

const fn kind(media: &'static str, text: bool, shared: bool) -> Kind {
    Kind { media, text, shared }
}

/// The kind of a file, by its name alone.
pub(super) fn of(name: &str) -> Kind {
    if name == "feed.json" {
        return kind("application/feed+json; charset=utf-8", true, true);
    }
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => kind("text/html; charset=utf-8", true, false),
        "css" => kind("text/css; charset=utf-8", true, false),
        "js" | "mjs" => kind("text/javascript; charset=utf-8", true, false),
        "json" => kind("application/json; charset=utf-8", true, true),
        "rss" => kind("application/rss+xml; charset=utf-8", true, true),
        "atom" => kind("application/atom+xml; charset=utf-8", true, true),
        "ics" => kind("text/calendar; charset=utf-8", true, true),
        "csv" => kind("text/csv; charset=utf-8", true, true),
        "svg" => kind("image/svg+xml; charset=utf-8", true, true),
        "xml" => kind("application/xml; charset=utf-8", true, false),
        "txt" => kind("text/plain; charset=utf-8", true, false),
        "webmanifest" => kind("application/manifest+json; charset=utf-8", true, false),
        "png" => kind("image/png", false, true),
        "jpg" | "jpeg" => kind("image/jpeg", false, true),
        "gif" => kind("image/gif", false, true),
        "webp" => kind("image/webp", false, true),
        "avif" => kind("image/avif", false, true),
        "ico" => kind("image/x-icon", true, true),
        "woff2" => kind("font/woff2", false, false),
        "pdf" => kind("application/pdf", false, false),
        _ => kind("application/octet-stream", false, false),
    }
}

/// `Cache-Control` for a file of the site. An asset's name holds the hash of its content, so it
/// never changes; all else may change within the second, and is asked for again with its tag.
pub(super) fn caching(segments: &[String]) -> &'static str {
    match segments {
        [folder, .., name] if folder == "assets" && is_hashed(name) => "public, max-age=31536000, immutable",
        _ => "no-cache",
    }
}

/// Whether a name is `NAME.HASH.ENDING`.
fn is_hashed(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let (_ending, hash, stem) = (parts.next(), parts.next(), parts.next());
    stem.is_some() && hash.is_some_and(|hash| hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_hash_are_kept_for_ever() {
        let caching = |path: &str| caching(&path.split('/').map(str::to_owned).collect::<Vec<_>>());
        assert!(caching("assets/site.0123abcd.css").contains("immutable"));
        for changing in ["assets/site.css", "assets/0123abcd.css", "assets/a.b.css", "index.html", "x.0123abcd.css"] {
            assert_eq!(caching(changing), "no-cache", "{changing}");
        }
    }

    #[test]
    fn feeds_have_the_types_that_readers_look_for() {
        assert_eq!(of("updates.rss").media, "application/rss+xml; charset=utf-8");
        assert_eq!(of("feed.json").media, "application/feed+json; charset=utf-8");
        assert_eq!(of("summary.json").media, "application/json; charset=utf-8");
        assert_eq!(of("README").media, "application/octet-stream");
        assert!(of("feed.json").shared && !of("index.html").shared);
    }
}
