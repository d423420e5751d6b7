//! What the pages say, and what they promise to browsers: `tests/golden/site/` holds outlines of
//! whole pages. Read a change there as you would read code. `WATCHBELL_GOLDEN=write` writes them
//! anew.

use std::{collections::BTreeMap, path::PathBuf};

use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use watchbell::{
    domain::incident::{Fact, FactKind},
    fsio,
    site::{Options, Publisher},
};

use super::scene::{self, Scene, at, tree};

type Site = BTreeMap<String, Vec<u8>>;

fn site(make: fn(&std::path::Path) -> Scene, now: &str) -> Site {
    let home = tempfile::tempdir().unwrap();
    let scene = make(home.path());
    Publisher::new(&scene.config).unwrap().publish(&scene, at(now)).unwrap();
    tree(&home.path().join("public"))
}

fn text<'a>(site: &'a Site, name: &str) -> &'a str {
    std::str::from_utf8(site.get(name).unwrap_or_else(|| panic!("no {name}"))).unwrap()
}

fn pages(site: &Site) -> impl Iterator<Item = (&String, &str)> {
    site.iter()
        .filter(|(name, _)| std::path::Path::new(name).extension().is_some_and(|extension| extension == "html"))
        .map(|(name, bytes)| (name, std::str::from_utf8(bytes).unwrap()))
}

/// The values of an attribute, in order.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    page.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// What a reader of the page gets: a line for each element that has words, pictures by their label.
fn outline(page: &str) -> String {
    let body = page.split_once("<body").unwrap().1;
    let body = body.split_once("</symbol>\n</svg>").map_or(body, |(_, rest)| rest);
    let mut out = String::new();
    let mut line = String::new();
    for part in body.split('<').skip(1) {
        let (tag, words) = part.split_once('>').unwrap();
        let name = tag.split([' ', '\n']).next().unwrap();
        let inline = ["a", "/a", "strong", "/strong", "em", "/em", "time", "/time", "small", "/small", "code", "/code"];
        let silent = ["use", "/svg", "span", "/span", "svg", "path", "/path", "title", "/title", "rect", "/rect"];
        if name == "svg" && tag.contains("aria-label") {
            line = line + "[" + values(tag, "aria-label")[0] + "]";
        }
        if name.starts_with('h') && name.len() == 2 {
            line = line + &"#".repeat(name[1..].parse().unwrap()) + " ";
        }
        for attribute in ["data-status", "data-service", "data-incident"] {
            for value in values(&format!(" {tag}"), attribute) {
                line = line + "(" + attribute + " " + value + ") ";
            }
        }
        if name == "script" {
            break;
        }
        if name == "title" {
            continue; // of a bar: its words are in the label
        }
        if !inline.contains(&name) && !silent.contains(&name) && !line.trim().is_empty() && name.starts_with('/') {
            out.push_str(line.trim());
            out.push('\n');
            line.clear();
        }
        line.push_str(&words.replace('\n', " "));
        line = line.replace("  ", " ");
    }
    out
}

#[test]
fn the_pages_read_like_their_golden_outlines() {
    let (calm, outage) = (site(scene::calm, scene::NOW), site(scene::outage, scene::NOW));
    let over = site(scene::written_up, "2026-12-03T10:00:00Z");
    let blind = site(scene::blind, scene::NOW);
    let incident = "incidents/2026-11-21-vm-host-1/index.html";
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/site");
    for (name, page) in [
        ("calm-index", text(&calm, "index.html")),
        ("calm-month", text(&calm, "history/2026-11/index.html")),
        ("calm-subscribe", text(&calm, "subscribe/index.html")),
        ("outage-index", text(&outage, "index.html")),
        ("outage-incident", text(&outage, incident)),
        ("outage-service", text(&outage, "services/bugzilla/index.html")),
        ("over-incident", text(&over, incident)),
        ("blind-index", text(&blind, "index.html")),
        ("blind-service", text(&blind, "services/bugzilla/index.html")),
        ("over-history", text(&over, "history/index.html")),
    ] {
        let (path, ours) = (root.join(format!("{name}.txt")), outline(page));
        if std::env::var_os("WATCHBELL_GOLDEN").is_some_and(|value| value == "write") {
            fsio::write(&path, ours.as_bytes()).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        let first = ours.lines().zip(golden.lines()).find(|(a, b)| a != b);
        assert!(ours == golden, "{} differs: {first:?}", path.display());
    }
}

#[test]
fn a_page_that_shows_the_present_says_until_when_and_an_archived_one_does_not() {
    let now = at(scene::NOW);
    let outage = site(scene::outage, scene::NOW);
    for (name, page) in pages(&outage) {
        let shows_the_present = name == "index.html"
            || name.starts_with("services/")
            || name == "incidents/2026-11-21-vm-host-1/index.html";
        let fresh = page.split_once("<meta name=\"watchbell:fresh-until\" content=\"");
        assert_eq!(fresh.is_some(), shows_the_present, "{name}");
        assert_eq!(page.contains("As of 21 November 2026, 14:0"), shows_the_present, "{name}");
        if let Some((_, rest)) = fresh {
            let until: Timestamp = rest.split('"').next().unwrap().parse().unwrap();
            let ahead = until.duration_since(now);
            assert!(ahead > SignedDuration::from_mins(5) && ahead <= SignedDuration::from_mins(10), "{name}: {ahead}");
            assert!(page.contains("<body data-status=\""), "{name}");
        }
    }
    assert!(text(&outage, "index.html").contains("<body data-status=\"major_outage\">"));
}

#[test]
fn while_the_monitor_is_cut_off_the_pages_that_it_covers_say_since_when_and_no_others() {
    let blind = site(scene::blind, scene::NOW);
    let since = "datetime=\"2026-11-21T13:41:20Z\">The monitor itself has been cut off";
    let said: Vec<&String> = pages(&blind).filter(|(_, page)| page.contains(since)).map(|(name, _)| name).collect();
    let covered = ["archive", "ask", "bugzilla", "vm-host-1", "website"].map(|id| format!("services/{id}/index.html"));
    assert_eq!(said, std::iter::once(&"index.html".to_owned()).chain(&covered).collect::<Vec<_>>());
    let index = text(&blind, "index.html");
    assert!(index.contains("since 21 November 2026, 13:41 UTC. Until it is back, nothing new is known of 5 services"));
    assert!(index.contains("<body data-status=\"unknown\">"), "nothing is claimed");
    // What programs read is as honest.
    let json = |name: &str| serde_json::from_slice::<serde_json::Value>(&blind[name]).unwrap();
    let components = json("api/v2/components.json");
    let website = components["components"].as_array().unwrap().iter().find(|it| it["id"] == "website").unwrap().clone();
    assert_eq!(website["status"], "degraded_performance");
    assert_eq!(website["description"], "No recent data");
    assert_eq!(website["watchbell"]["status"], "unknown");
    assert_eq!(website["watchbell"]["since"], "2026-11-21T13:41:20.000Z");
    assert!(text(&blind, "badge/website/status.svg").contains("No recent data"));
    assert!(text(&blind, "badge/lists/status.svg").contains("Operational"));
}

#[test]
fn while_names_are_not_found_a_service_whose_name_is_known_all_the_same_says_nothing() {
    let nameless = |folder: &std::path::Path| {
        let mut scene = scene::blind(folder);
        let since = scene.blind.values().copied().next().unwrap();
        scene.blind = [(watchbell::domain::target::TargetClass::ByName, since)].into();
        scene.turn("website", scene::Up, at("2026-11-21T13:42:00Z"));
        scene
    };
    let site = site(nameless, scene::NOW);
    let says = |name: &str| text(&site, name).contains("The monitor itself has been cut off");
    assert!(says("services/bugzilla/index.html"));
    assert!(!says("services/website/index.html") && !says("services/lists/index.html"));
    assert!(text(&site, "index.html").contains("nothing new is known of 4 services"), "{}", text(&site, "index.html"));
}

#[test]
fn a_service_that_is_seen_by_another_way_as_well_says_that_a_part_is_cut_off() {
    let partly = |folder: &std::path::Path| {
        let mut scene = scene::blind(folder);
        let tcp = "check = [{ tcp = \"vm1.example.org:22\" }]";
        let both = "check = [{ tcp = \"vm1.example.org:22\" }, { tcp = \"10.0.0.7:22\" }]";
        scene.config = scene::config(folder, &scene::DOCUMENT_HOUSE.replace(tcp, both));
        scene.turn("vm-host-1", scene::Up, at("2026-11-21T13:42:00Z"));
        scene
    };
    let site = site(partly, scene::NOW);
    let page = text(&site, "services/vm-host-1/index.html");
    assert!(page.contains("cut off from a part of this service since 21 November 2026, 13:41 UTC"), "{page}");
}

#[test]
fn every_link_within_the_site_is_relative_and_leads_somewhere() {
    for (make, now) in [(scene::outage as fn(&_) -> _, scene::NOW), (scene::written_up, "2026-12-03T10:00:00Z")] {
        let site = site(make, now);
        for (name, page) in pages(&site) {
            let body = page.split_once("<link rel=\"icon\"").unwrap().1;
            for link in values(body, "href").into_iter().chain(values(body, "src")) {
                if link.starts_with("http") || link.starts_with("mailto:") || link.starts_with('#') {
                    continue;
                }
                let target = match link.strip_prefix('/') {
                    Some(from_top) if name == "404.html" => from_top.to_owned(),
                    _ => join(name, link),
                };
                let target = if target.is_empty() || target.ends_with('/') { target + "index.html" } else { target };
                assert!(site.contains_key(&target), "{name} links to {link}: no {target}");
            }
        }
    }
}

/// `link` as seen from `page`, from the root.
fn join(page: &str, link: &str) -> String {
    assert!(!link.starts_with('/'), "{page}: {link} is not relative");
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => assert!(parts.pop().is_some(), "{page}: {link} leaves the site"),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn the_policy_allows_our_one_script_and_nothing_from_elsewhere() {
    let site = site(scene::outage, scene::NOW);
    for (name, page) in pages(&site) {
        let policy = page.split_once("http-equiv=\"Content-Security-Policy\" content=\"").unwrap().1;
        let policy = policy.split('"').next().unwrap();
        let script = page.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script));
        assert!(policy.starts_with("default-src &#39;none&#39;;"), "{name}");
        assert!(policy.contains(&format!("script-src &#39;sha256-{hash}&#39;;")), "{name}");
        assert!(policy.contains("form-action &#39;none&#39;") && !policy.contains("unsafe"), "{name}");
        assert_eq!(page.matches("<script").count(), 1, "{name}");
        for attribute in ["style", "onclick", "onload"] {
            assert!(values(page, attribute).is_empty(), "{name}: {attribute}");
        }
    }
}

#[test]
fn hostile_texts_are_shown_and_do_nothing_and_secrets_are_nowhere() {
    let site = site(scene::hostile, scene::NOW);
    for (name, page) in pages(&site) {
        assert_eq!(page.matches("<script").count(), 1, "{name}");
        for bad in ["<img src=x", "<svg onload", "<style>*", "href=\"javascript:", "evil.example/y.png", "</h1><script"]
        {
            assert!(!page.contains(bad), "{name}: {bad}");
        }
    }
    assert!(text(&site, "incidents/evil/index.html").contains("&lt;script&gt;alert(2)&lt;/script&gt; {{ 7 * 7 }}"));
    for (name, bytes) in &site {
        let text = String::from_utf8_lossy(bytes);
        for secret in ["secret.internal", "hidden@example.org"] {
            assert!(!text.contains(secret), "{name} gives away {secret}");
        }
        assert!(!text.contains('\u{202e}'), "{name}");
    }
}

#[test]
fn an_alias_leads_on_and_a_withdrawn_incident_is_gone_but_for_a_word() {
    fn changed(home: &std::path::Path) -> Scene {
        let mut scene = scene::outage(home);
        scene.incident_mut("2026-11-21-vm-host-1").aliases.push("by-hand".parse().unwrap());
        scene.incident_mut("2026-11-14-website").withdrawn = true;
        scene
    }
    let site = site(changed, scene::NOW);
    let alias = text(&site, "incidents/by-hand/index.html");
    assert!(alias.contains("<meta http-equiv=\"refresh\" content=\"0; url=../2026-11-21-vm-host-1/\">"));
    assert!(
        alias.contains("<link rel=\"canonical\" href=\"https://status.example.org/incidents/2026-11-21-vm-host-1/\">")
    );
    let gone = text(&site, "incidents/2026-11-14-website/index.html");
    assert!(gone.contains("was taken off the site") && !gone.contains("crawler"));
    for name in ["index.html", "history/index.html", "services/website/index.html", "sitemap-2026-11.xml"] {
        assert!(!text(&site, name).contains("2026-11-14-website"), "{name}");
    }
    assert!(!site.contains_key("api/v2/incidents/2026-11-14-website.json"));
}

#[test]
fn what_became_part_of_another_incident_leads_there() {
    fn changed(home: &std::path::Path) -> Scene {
        let mut scene = scene::outage(home);
        scene.incident_mut("2026-11-21-vm-host-1").aliases.push("2026-11-14-website".parse().unwrap());
        scene.incident_mut("2026-11-14-website").withdrawn = true;
        scene
    }
    let site = site(changed, scene::NOW);
    let alias = text(&site, "incidents/2026-11-14-website/index.html");
    assert!(alias.contains("<meta http-equiv=\"refresh\" content=\"0; url=../2026-11-21-vm-host-1/\">"), "{alias}");
}

#[test]
fn a_large_group_folds_unless_something_in_it_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let service = |n| format!("[[service]]\nid = \"s{n}\"\nname = \"S{n}\"\ncheck = [{{ tcp = \"h:1\" }}]\n");
    let services = (0..13).map(service).collect::<Vec<_>>().concat();
    let text = format!("[site]\ntitle = \"T\"\nurl = \"https://s.example.org/\"\n{services}");
    let mut scene = Scene::calm(scene::config(home.path(), &text), at("2026-11-01T00:00:00Z"));
    let index = |scene: &Scene| {
        Publisher::new(&scene.config).unwrap().publish(scene, at(scene::NOW)).unwrap();
        std::fs::read_to_string(home.path().join("public/index.html")).unwrap()
    };
    assert!(index(&scene).contains("<details>"));
    scene.turn("s7", scene::Slow, at("2026-11-21T14:02:00Z"));
    let page = index(&scene);
    assert!(page.contains("<details open>") && page.contains("13 services, 1 needs attention"));
    assert!(page.contains("<h1>S7 is slow</h1>"));
}

#[test]
fn a_form_stands_only_where_somebody_answers_it() {
    let home = tempfile::tempdir().unwrap();
    let scene = scene::calm(home.path());
    let publish = |config, options| {
        Publisher::with_options(config, options).unwrap().publish(&scene, at(scene::NOW)).unwrap();
        std::fs::read_to_string(home.path().join("public/index.html")).unwrap()
    };
    assert!(!publish(&scene.config, Options::default()).contains("<form"));
    let answered = Options { subscribe_form: true };
    let page = publish(&scene.config, answered);
    assert!(page.contains("<form class=\"told\" method=\"post\" action=\"https://status.example.org/subscribe\">"));
    assert!(page.contains("form-action &#39;self&#39; https://status.example.org"));
    let mut closed = scene.config.clone();
    closed.subscriptions.enabled = false;
    assert!(!publish(&closed, answered).contains("<form"));
}

#[test]
fn a_service_that_is_no_longer_watched_keeps_its_page_and_claims_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut scene = scene::calm(home.path());
    scene.config.rules.services.retain(|service| service.id.as_str() != "website");
    Publisher::new(&scene.config).unwrap().publish(&scene, at(scene::NOW)).unwrap();
    let site = tree(&home.path().join("public"));
    let page = text(&site, "services/website/index.html");
    assert!(page.contains("No longer monitored.") && page.contains("Slow answers from the website"));
    assert!(!page.contains("data-status") && !page.contains("fresh-until\" content"));
    assert!(site.contains_key("services/website/updates.rss"));
    assert!(!text(&site, "index.html").contains("data-service=\"website\""));
}

#[test]
fn what_has_only_begun_counts_from_its_first_moment_and_the_badge_says_what_the_page_says() {
    let home = tempfile::tempdir().unwrap();
    let began_at = at("2026-11-21T14:00:07Z");
    let mut scene = Scene::calm(scene::config(home.path(), scene::DOCUMENT_HOUSE), began_at);
    let mut publisher = Publisher::new(&scene.config).unwrap();
    publisher.publish(&scene, began_at).unwrap();
    let site = tree(&home.path().join("public"));
    for page in ["index.html", "services/website/index.html"] {
        assert!(text(&site, page).contains("100 % uptime"), "{page}");
    }
    assert!(!text(&site, "index.html").contains("no data"));
    let down_at = at("2026-11-21T14:00:27Z");
    scene.turn("website", scene::Down, down_at);
    scene.open("2026-11-21-website", &[("website", scene::Down)], down_at);
    scene.resolve("2026-11-21-website", at("2026-11-21T14:00:47Z"));
    publisher.publish(&scene, at("2026-11-21T14:00:50Z")).unwrap();
    let site = tree(&home.path().join("public"));
    for file in ["index.html", "services/website/index.html", "badge/website/uptime-90d.svg"] {
        assert!(text(&site, file).contains("50.00 %"), "{file}: {}", text(&site, file));
    }
}

#[test]
fn the_logo_stands_beside_the_title() {
    let home = tempfile::tempdir().unwrap();
    fsio::write(&home.path().join("logo.svg"), b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>").unwrap();
    let text = scene::DOCUMENT_HOUSE.replace("[site]", "[site]\nlogo = \"logo.svg\"");
    let scene = Scene::calm(scene::config(home.path(), &text), at("2026-11-21T14:00:00Z"));
    Publisher::new(&scene.config).unwrap().publish(&scene, at("2026-11-21T14:00:00Z")).unwrap();
    let page = std::fs::read_to_string(home.path().join("public/index.html")).unwrap();
    let home = page.split_once("class=\"home\"").unwrap().1.split_once("</a>").unwrap().0;
    assert!(home.contains("/logo.") && home.ends_with("alt=\"\"> Document House"), "{home}");
}

#[test]
fn the_end_of_an_incident_is_its_newest_entry() {
    let home = tempfile::tempdir().unwrap();
    let mut scene = Scene::calm(scene::config(home.path(), scene::DOCUMENT_HOUSE), at("2026-11-01T00:00:00Z"));
    let (from, to) = (at("2026-11-20T10:00:00Z"), at("2026-11-20T10:10:30Z"));
    scene.open("2026-11-20-website", &[("website", scene::Down), ("ask", scene::Down)], from);
    // As people read it, the first was back when the whole was over.
    let incident = scene.incident_mut("2026-11-20-website");
    incident.affected[0].recovered_at = Some(to - SignedDuration::from_millis(90));
    let back = FactKind::Recovered { service: scene::id("ask"), after_ms: 600_000 };
    incident.facts.push(Fact { at: to, what: back });
    scene.resolve("2026-11-20-website", to);
    Publisher::new(&scene.config).unwrap().publish(&scene, at("2026-11-21T14:00:00Z")).unwrap();
    let site = tree(&home.path().join("public"));
    let page = text(&site, "incidents/2026-11-20-website/index.html");
    let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("no {words} in {page}"));
    assert!(place("All affected services are back.") < place("Ask is back after 10 min."));
    assert!(!page.contains("<small>back "));
}
