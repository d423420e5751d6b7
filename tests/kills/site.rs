//! What the published files must be like at any moment, and in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::support::daemon::ok;

/// Every file below a folder, with its bytes, without the temporary ones.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                files.insert(path.strip_prefix(root).unwrap().display().to_string(), bytes);
            }
        }
    }
    files
}

fn is_temporary(name: &str) -> bool {
    name.ends_with(".wb-tmp")
}

/// How many temporary files lie there.
pub fn temporary(folder: &Path) -> usize {
    tree(&folder.join("public")).keys().filter(|name| is_temporary(name)).count()
}

/// Files that are not whole: after a kill there is none of these.
pub fn torn(folder: &Path) -> Vec<String> {
    let is_whole = |name: &str, bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        match name.rsplit('.').next() {
            Some("html") => text.trim_end().ends_with("</html>"),
            Some("json") => serde_json::from_slice::<serde_json::Value>(bytes).is_ok(),
            Some("atom") => text.trim_end().ends_with("</feed>"),
            Some("rss") => text.trim_end().ends_with("</rss>"),
            Some("svg") => text.trim_end().ends_with("</svg>"),
            _ => !bytes.is_empty(),
        }
    };
    let files = tree(&folder.join("public"));
    // Not the lock of the publisher, which is written in place.
    let is_page = |name: &str| !is_temporary(name) && !name.starts_with(".watchbell");
    let torn = files.iter().filter(|(name, bytes)| is_page(name) && !is_whole(name, bytes));
    torn.map(|(name, bytes)| format!("{name} is not whole: {} bytes", bytes.len())).collect()
}

/// The site as it grew, and one made at once from the store: the same bytes, and nothing left over.
pub fn unlike_a_fresh_one(folder: &Path) -> Vec<String> {
    let config = fs::read_to_string(folder.join("watchbell.toml")).unwrap();
    fs::write(folder.join("fresh.toml"), config.replacen("[site]\n", "[site]\noutput = \"fresh\"\n", 1)).unwrap();
    let mut differing = BTreeSet::new();
    for _ in 0..3 {
        let _ = fs::remove_dir_all(folder.join("fresh"));
        ok(folder, &["-q", "build"]);
        ok(folder, &["-q", "--config", "fresh.toml", "build"]);
        let (grown, fresh) = (tree(&folder.join("public")), tree(&folder.join("fresh")));
        let names: BTreeSet<&String> = grown.keys().chain(fresh.keys()).collect();
        // Not the notes of the publisher to itself.
        let names = names.into_iter().filter(|name| !name.starts_with(".watchbell"));
        differing = names.filter(|name| grown.get(*name) != fresh.get(*name)).cloned().collect::<BTreeSet<_>>();
        if differing.is_empty() {
            return Vec::new();
        }
        // A page that states the minute may have been made in another one: look again.
    }
    let text = |root: &str, name: &str| {
        fs::read_to_string(folder.join(root).join(name)).unwrap_or_else(|error| format!("({error})"))
    };
    let tell = |name: &String| {
        let (grown, fresh) = (text("public", name), text("fresh", name));
        // The lines that are not the same, of which some are very long.
        let lines = grown.lines().zip(fresh.lines()).filter(|(grown, fresh)| grown != fresh);
        let short = |line: &str| line.chars().take(400).collect::<String>();
        let lines: Vec<String> =
            lines.take(5).map(|(grown, fresh)| format!("- {}\n+ {}", short(grown), short(fresh))).collect();
        format!("{name}: as it grew (-) and fresh (+) differ\n{}", lines.join("\n"))
    };
    differing.iter().map(tell).collect()
}
