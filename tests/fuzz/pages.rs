//! Whole pages: texts that attack, in every place where somebody may write one.

use std::{collections::BTreeSet, path::Path, sync::OnceLock};

use jiff::Timestamp;
use watchbell::{
    config::Config,
    domain::IncidentStatus,
    site::{
        context::Context,
        facts::Facts,
        feeds::Authority,
        plan,
        render::Renderer,
        snapshot::{Memory, Snapshot},
    },
    untrusted,
};

use super::{
    dice::{Dice, NEXT, texts},
    harness::Target,
    html,
};
use crate::site::scene::{Down, NOW, Partly, Scene, at};

/// How many texts a site is made of.
const TEXTS: usize = 16;

/// The config as its keys make it of these texts: lines are cleaned, all else is as written.
fn config(texts: &[String]) -> Config {
    let line = |n: usize| toml::Value::String(untrusted::line(&texts[n], 200)).to_string();
    let text = format!(
        "[site]\nurl = \"https://status.example.org/sub/\"\ntitle = {}\ndescription = {}\nlinks = [{{ label = {}, url = \"https://docs.example.org/?a=1&b='2'\" }}]\n\
         [[group]]\nid = \"g\"\nname = {}\n[[service]]\nid = \"s\"\nname = {}\ngroup = \"g\"\ndescription = {}\nobjective = 99.9\ncheck = [{{ tcp = \"secret.internal:1\" }}]\n\
         owners = [\"hidden@example.org\"]\n[[service]]\nid = \"t\"\nname = {}\ndepends_on = [\"s\"]\ncheck = [{{ http = \"https://secret.internal/\" }}]\n",
        line(0),
        line(1),
        line(2),
        line(3),
        line(4),
        line(5),
        line(6)
    );
    match Config::parse(Path::new("/nowhere/watchbell.toml"), &text, &|_| None) {
        Ok(loaded) => loaded.config,
        // A text that is no title at all has one in its place.
        Err(problems) => {
            let is_empty = |n: usize| untrusted::line(&texts[n], 200).is_empty();
            assert!((0..7).any(is_empty), "{}", problems[0]);
            let filled: Vec<String> = texts
                .iter()
                .enumerate()
                .map(|(n, text)| if n < 7 && is_empty(n) { "x".to_owned() } else { text.clone() })
                .collect();
            config(&filled)
        }
    }
}

fn scene(texts: &[String]) -> Scene {
    let mut scene = Scene::calm(config(texts), at("2026-11-01T00:00:00Z"));
    let start = at("2026-11-21T10:15:12Z");
    scene.turn("s", Down, start);
    scene.turn("t", Partly, start);
    scene.open("evil", &[("s", Down), ("t", Partly)], start).title =
        Some(untrusted::line(&texts[7], 200).as_str().into());
    scene.say("evil", IncidentStatus::Identified, at("2026-11-21T10:31:00Z"), &texts[8]).next_update_at =
        Some(at("2026-11-21T15:00:00Z"));
    scene.say("evil", IncidentStatus::Monitoring, at("2026-11-21T10:51:00Z"), &texts[9]);
    let old = at("2026-11-11T10:15:12Z");
    scene.open("old", &[("s", Down)], old).title = Some(untrusted::line(&texts[10], 200).as_str().into());
    scene.resolve("old", at("2026-11-11T12:15:12Z"));
    let old = scene.incident_mut("old");
    old.status = IncidentStatus::Postmortem;
    old.aliases.push("other-name".parse().unwrap());
    let line = |n: usize| Some(untrusted::line(&texts[n], 200));
    old.postmortem = Some(watchbell::domain::note::Postmortem {
        published: Some(at("2026-11-12T09:00:00Z")),
        sections: vec![
            ("summary".to_owned(), texts[11].as_str().into()),
            ("root_cause".to_owned(), texts[12].as_str().into()),
        ],
        five_whys: vec![texts[13].clone()],
        went_well: vec![texts[14].clone()],
        learned: vec![texts[15].clone()],
        timeline: vec![watchbell::domain::note::TimelineEntry {
            at: at("2026-11-11T10:15:00Z"),
            text: texts[13].clone(),
            mark: line(14),
        }],
        actions: vec![watchbell::domain::note::Action {
            text: texts[15].clone(),
            kind: line(13),
            owner: line(12),
            status: line(11),
            url: Some("https://tracker.example.org/1?a=1&b=2".into()),
        }],
        ..watchbell::domain::note::Postmortem::default()
    });
    scene
}

/// Every HTML page of the site, by its path, and everything else.
fn rendered(scene: &Scene) -> Vec<(String, String)> {
    let now: Timestamp = at(NOW);
    let authority = Authority::mint(&scene.config.site.url, Timestamp::UNIX_EPOCH);
    let context = Context::load(&scene.config, authority, true).unwrap();
    let (mut facts, memory) = (Facts::default(), Memory::default());
    let touched = facts.update(scene, &context, now).unwrap();
    assert!(touched.all);
    let snapshot = Snapshot::new(&context, &facts, &memory, scene, now);
    let renderer = Renderer::new(&snapshot);
    let files = plan::plan(&snapshot, &touched).filter(|file| !matches!(file.what, plan::What::Asset(_)));
    let files = files.filter_map(|file| Some((file.path.clone(), renderer.render(&file.what, &file.path).unwrap()?)));
    files.map(|(path, file)| (path, String::from_utf8(file.bytes).unwrap())).collect()
}

/// What harmless texts make: elements with their attributes, and scripts.
struct Known {
    used: BTreeSet<(String, String)>,
    scripts: BTreeSet<String>,
}

fn starts(read: &html::Read) -> impl Iterator<Item = (String, String)> + '_ {
    read.tags.iter().filter(|tag| !tag.is_end).flat_map(|tag| {
        let attributes = tag.attributes.iter().map(|(name, _)| (tag.name.clone(), name.clone()));
        std::iter::once((tag.name.clone(), String::new())).chain(attributes)
    })
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let words = "Words\n\n# a\n\n## b\n\n### c\n\n> - *a* **b** `c`\n> 1. [d](https://d.example/)\n\n3. e\\\nf\n\n```\ng\n```\n\n---\n";
        let texts: Vec<String> = (0..TEXTS).map(|n| if n < 8 || n == 10 { "Words".to_owned() } else { words.to_owned() }).collect();
        let mut known = Known { used: BTreeSet::new(), scripts: BTreeSet::new() };
        for (path, text) in rendered(&scene(&texts)) {
            if path.rsplit('.').next() == Some("html") {
                let read = html::read(&text);
                assert_eq!(read.errors, [""; 0], "{path}");
                known.used.extend(starts(&read));
                known.scripts.extend(read.scripts);
            }
        }
        known.used.extend([4, 5, 6].map(|n| (format!("h{n}"), String::new())));
        assert!(!known.used.iter().any(|(_, name)| name.starts_with("on")), "{:?}", known.used);
        known
    })
}

/// Whatever stands in any text of the site, no page has an element, an attribute, a script or a
/// scheme that it would not have without, and all other files are what they say.
pub fn pages() {
    let make = |dice: &mut Dice| {
        let all: Vec<String> = (0..TEXTS).map(|_| dice.text()).collect();
        all.join(&NEXT.to_string()).into_bytes()
    };
    Target::new("pages", 40).run(make, |input| {
        let mut texts = texts(input);
        texts.resize(TEXTS, String::new());
        let known = known();
        for (path, text) in rendered(&scene(&texts)) {
            assert!(!text.contains("secret.internal") && !text.contains("hidden@"), "a secret in {path}");
            match path.rsplit('.').next().unwrap_or("") {
                "html" => {
                    let read = html::read(&text);
                    let foreign: Vec<_> = starts(&read).filter(|used| !known.used.contains(used)).collect();
                    assert!(foreign.is_empty(), "{foreign:?} in {path}:\n{text}");
                    assert!(
                        read.scripts.iter().all(|script| known.scripts.contains(script)),
                        "{:?} in {path}",
                        read.scripts
                    );
                    assert_eq!(read.errors, [""; 0], "{path}");
                    html::is_clean(&read.text);
                    for (name, value) in read.tags.iter().flat_map(|tag| &tag.attributes) {
                        let is_address = matches!(name.as_str(), "href" | "src" | "action");
                        assert!(!is_address || html::leads_to_a_good_place(value, true), "{name}={value} in {path}");
                        html::is_clean(value);
                    }
                }
                "xml" | "rss" | "atom" | "svg" => drop(crate::feeds::xml::flat(&text)),
                "json" => drop(serde_json::from_str::<serde_json::Value>(&text).unwrap()),
                "csv" | "txt" | "ics" => {}
                _ => drop(
                    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{path}: {error}")),
                ),
            }
        }
    });
}
