//! The pages as browsers, validators and people with every kind of eyes and screens meet them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use super::stage::Stage;
use crate::support::{
    daemon::folder,
    skip::{note_missing, program},
};

/// All files under `folder` whose names end so.
fn files(folder: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The tags of a page, each from its `<` to its `>`.
fn tags(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let mut in_quotes = false;
        let end = rest[start..].find(|c| {
            in_quotes ^= c == '"';
            c == '>' && !in_quotes
        });
        let end = start + end.expect("a tag that ends");
        found.push(&rest[start..end]);
        rest = &rest[end..];
        // What stands in a script is no markup.
        if found.last().unwrap().starts_with("<script") {
            rest = &rest[rest.find("</script").unwrap()..];
        }
    }
    found
}

/// The values of `href`, `src` and `action` in a page.
fn links(page: &str) -> BTreeSet<String> {
    tags(page)
        .into_iter()
        .flat_map(|tag| [" href=\"", " src=\"", " action=\""].map(|name| tag.split_once(name)))
        .filter_map(|found| found?.1.split('"').next())
        .map(|link| link.replace("&amp;", "&").replace("&#x2f;", "/"))
        .collect()
}

/// `base` joined with a relative link, without `.` and `..`.
fn resolve(base: &Path, link: &str) -> PathBuf {
    let mut path = base.parent().unwrap().to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    if link.ends_with('/') || link.ends_with("..") || link == "." || link.is_empty() {
        path.push("index.html");
    }
    path
}

/// No link of the site leads to nothing, leaves the site unasked, or works only where it was made.
fn assert_links_lead_somewhere(site: &Path, url: &str) {
    let mut wrong = Vec::new();
    for page in files(site, &[".html"]) {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let link = link.split('#').next().unwrap_or_default();
            let outside = ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme));
            // Where the form goes is no file.
            if link == format!("{url}subscribe") {
                continue;
            }
            let path = link.strip_prefix(url).map(|rest| resolve(&site.join("index.html"), rest));
            let path = match path {
                Some(path) => path,
                None if outside || link.is_empty() => continue,
                // 404.html is shown at any address, so its links begin at the root.
                None if link.starts_with('/') && page.ends_with("404.html") => {
                    resolve(&site.join("index.html"), link.trim_start_matches('/'))
                }
                None => resolve(&page, link),
            };
            if !path.starts_with(site) || !path.is_file() {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
        // What people wrote as markup has become text.
        let hostile = ["onerror", "javascript:", "data:text", "position:fixed", "tracker.example"];
        let bad = tags(&text)
            .into_iter()
            .filter(|tag| !tag.starts_with("<meta ") && hostile.iter().any(|word| tag.contains(word)));
        wrong.extend(bad.map(|tag| format!("{}: {tag}", page.display())));
        assert_eq!(text.matches("<script").count(), 1, "{}", page.display());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The Nu checker finds neither errors nor warnings. For pages it is given addresses, not files, so
/// that the site's policy is judged as a browser would.
pub(super) fn assert_valid(java: &Path, checker: &Path, site: &Path, url: &str, more: &[String]) {
    for (kind, end) in [(None, ".html"), (Some("--css"), ".css"), (Some("--svg"), ".svg")] {
        let files = files(site, &[end]);
        assert!(!files.is_empty(), "{end}");
        let address = |file: &PathBuf| match kind {
            None => format!("{url}{}", file.strip_prefix(site).unwrap().display()).replace("index.html", ""),
            Some(_) => file.display().to_string(),
        };
        let output = Command::new(java)
            .args(["-Xss4m", "-Dnu.validator.servlet.allow-forbidden-hosts=true", "-jar"])
            .arg(checker)
            .args(["--stdout", "--format", "gnu"])
            .args(kind)
            .args(files.iter().map(address))
            .args(more.iter().filter(|_| kind.is_none()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        // The checker does not compare the hash of an inline style with its policy, which the browser
        // does (and finds it right).
        let inline = |line: &&str| line.contains("/404.html\"") && line.contains("Inline style violates");
        let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty() && !inline(line)).collect();
        assert!(said.is_empty() && output.status.success(), "{} files\n{}", files.len(), said.join("\n"));
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// Runs scripts/browse.mjs, which must find nothing wrong.
pub(super) fn browse(node: &Path, args: &[&std::ffi::OsStr]) {
    let chromium = program("chromium").expect("chromium is installed");
    let output =
        Command::new(node).arg(script("browse.mjs")).args(args).env("WATCHBELL_CHROMIUM", chromium).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_site_in_the_middle_of_an_outage_stands_every_test() {
    let (java, checker) = (program("java"), program("vnu.jar"));
    let (node, chromium, axe) = (program("node"), program("chromium"), program("axe.min.js"));
    let folder = folder();
    let folder = folder.path();
    let stage = Stage::set(folder);
    let site = folder.join("public");
    assert_links_lead_somewhere(&site, &stage.url(""));

    if let (Some(node), Some(_), Some(axe)) = (&node, &chromium, &axe) {
        let month = fs::read_dir(site.join("history")).unwrap().map(|entry| entry.unwrap().file_name());
        let month =
            month.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("20")).max().unwrap();
        let mut pages: Vec<serde_json::Value> = [
            "",
            "services/api/",
            "services/silent/",
            "services/slow/",
            &format!("incidents/{}/", stage.open),
            "incidents/logins-fail/",
            "incidents/hypervisor/",
            "history/",
            &format!("history/{month}/"),
            "subscribe/",
            "uptime/",
        ]
        .iter()
        .map(|path| serde_json::json!({ "url": stage.url(path) }))
        .collect();
        pages.push(serde_json::json!({ "url": stage.url("nowhere/at/all"), "status": 404 }));
        pages.push(serde_json::json!({ "url": stage.ways_out[0] }));
        pages.push(serde_json::json!({ "url": stage.ways_out[1], "submit": true }));
        let fill = serde_json::json!({ "email": "cleo@example.org" });
        pages.push(serde_json::json!({ "url": stage.url("subscribe/"), "fill": fill, "submit": true }));
        let fill = serde_json::json!({ "email": "cleo@example" });
        pages.push(serde_json::json!({ "url": stage.url("subscribe/"), "fill": fill, "submit": true, "status": 400 }));
        pages.push(serde_json::json!({ "url": stage.confirm }));
        pages.push(serde_json::json!({ "url": stage.confirm, "submit": true }));
        pages.push(serde_json::json!({ "url": stage.manage }));
        pages.push(serde_json::json!({ "url": stage.manage, "submit": true }));
        let job = serde_json::json!({
            "axe": axe, "pages": pages, "widths": [320, 390, 1100], "schemes": ["light", "dark"],
        });
        fs::write(folder.join("audit.json"), job.to_string()).unwrap();
        browse(node, &["audit".as_ref(), folder.join("audit.json").as_ref()]);
    }

    let url = stage.url("");
    if let (Some(java), Some(checker)) = (&java, &checker) {
        let more = [&stage.ways_out[0], &stage.confirm, &stage.manage].map(Clone::clone);
        assert_valid(java, checker, &site, &url, &more);
    }
    stage.end();
    if let (Some(node), Some(_)) = (&node, &chromium) {
        let open = files(&site, &["index.html"]);
        let pages: Vec<serde_json::Value> =
            open.iter().map(|path| serde_json::json!({ "url": format!("file://{}", path.display()) })).collect();
        let job = serde_json::json!({ "pages": pages, "widths": [320], "schemes": ["light"] });
        fs::write(folder.join("files.json"), job.to_string()).unwrap();
        browse(node, &["audit".as_ref(), folder.join("files.json").as_ref()]);
        browse(node, &["age".as_ref(), site.as_ref(), "".as_ref()]);
        browse(node, &["age".as_ref(), site.as_ref(), "services/api/".as_ref()]);
    }
    note_missing(&[
        ("java", &java),
        ("vnu-jar", &checker),
        ("node", &node),
        ("chromium", &chromium),
        ("axe-core", &axe),
    ]);
}
