//! Stories to rehearse: the five outages of other people as far as checks tell them, with what must
//! come of each beside it; nights in which clocks change; and stories that are wrong, each with what
//! is said of it.
//!
//! `WATCHBELL_BLESS=1 cargo test stories` writes the expected texts anew; read the difference.

mod clocks;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use watchbell::{
    config::Config,
    domain::{ServiceId, diagnostic::Diagnostic},
    fsio,
    simulation::{
        rehearsal::{Kind, RehearsalError, Rehearsed, rehearse},
        story::{self, Story},
    },
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stories")
}

fn config(path: &Path) -> Config {
    match Config::load(path) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{}", shown(&problems)),
    }
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    let all: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    all.join("\n\n").replace(&format!("{}/", folder().join("invalid").display()), "") + "\n"
}

fn tomls(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "toml") && !path.ends_with("watchbell.toml"));
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

/// Compares `text` with the file, or writes it there if asked to.
fn compare(path: &Path, text: &str) -> Result<(), String> {
    if std::env::var_os("WATCHBELL_BLESS").is_some() {
        fsio::write(path, text.as_bytes()).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == text { Ok(()) } else { Err(format!("{}\nexpected:\n{expected}\nfound:\n{text}", path.display())) }
}

fn parse(path: &Path, config: &Config) -> Story {
    match story::parse(path, &fs::read_to_string(path).unwrap(), config) {
        Ok((story, warnings)) => {
            assert_eq!(shown(&warnings), "\n", "{}", path.display());
            story
        }
        Err(problems) => panic!("{}", shown(&problems)),
    }
}

fn play(config: Config, story: &Story, output: &Path) -> Rehearsed {
    rehearse(config, story, output, &mut |_| ()).unwrap()
}

/// What changed and who was told, a line each: why is for other tests.
fn told(rehearsed: &Rehearsed) -> String {
    let mut text = String::new();
    for line in rehearsed.lines.iter().filter(|line| line.kind != Kind::Decision) {
        text += &format!("{}  {:8}  {}\n", line.at.strftime("%Y-%m-%d %H:%M:%S"), line.kind.as_str(), line.text);
    }
    for incident in &rehearsed.incidents {
        let end = incident.resolved_at.map_or("open".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
        let services: Vec<&str> = incident.services.iter().map(ServiceId::as_str).collect();
        text += &format!("\n{}: {}\n", incident.id, incident.title);
        text += &format!("  {} to {end}: {}\n", incident.started_at.strftime("%Y-%m-%d %H:%M:%S"), services.join(", "));
    }
    text
}

/// Plays the stories of a folder by its config, and compares what came of them.
fn outage(name: &str) {
    let own = folder().join(name);
    let mut wrong = Vec::new();
    for path in tomls(&own) {
        let config = config(&own.join("watchbell.toml"));
        let story = parse(&path, &config);
        let output = tempfile::tempdir().unwrap();
        let rehearsed = play(config, &story, output.path());
        wrong.extend(compare(&path.with_extension("txt"), &told(&rehearsed)).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_host_of_containers_loses_its_storage() {
    outage("open_food_facts");
}

#[test]
fn three_machines_do_not_boot_again() {
    outage("document_foundation");
}

#[test]
fn a_library_fails_in_five_ways() {
    outage("open_library");
}

#[test]
fn a_whole_fleet_restarts_and_that_is_one_message() {
    outage("fleet");
}

#[test]
fn a_node_comes_back_without_its_volumes() {
    outage("python_discord");
}

#[test]
fn every_rule_says_what_is_wrong_with_a_story_where_and_what_to_write_instead() {
    let config = config(&folder().join("watchbell.toml"));
    let mut wrong = Vec::new();
    for path in tomls(&folder().join("invalid")) {
        let said = match story::parse(&path, &fs::read_to_string(&path).unwrap(), &config) {
            Ok(_) => "(nothing)\n".to_owned(),
            Err(problems) => shown(&problems),
        };
        assert_ne!(said, "(nothing)\n", "{}", path.display());
        wrong.extend(compare(&path.with_extension("txt"), &said).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A short story about the config of this folder.
fn short(happens: &str) -> Story {
    let config = config(&folder().join("watchbell.toml"));
    let text = format!("starts = 2026-11-21T22:00:00\nlasts = \"1h\"\n{happens}");
    match story::parse(Path::new("story.toml"), &text, &config) {
        Ok((story, _)) => story,
        Err(problems) => panic!("{}", shown(&problems)),
    }
}

fn lines(rehearsed: &Rehearsed, kind: Kind) -> Vec<&str> {
    rehearsed.lines.iter().filter(|line| line.kind == kind).map(|line| line.text.as_str()).collect()
}

#[test]
fn what_is_left_is_a_site_looks_notes_and_mails_and_nothing_real_is_touched() {
    let real = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(folder().join("watchbell.toml")).unwrap()
        + "owners = [\"real-owner@example.net\"]\n[operator]\nnotify = [\"real-operator@example.net\"]\n";
    let path = real.path().join("watchbell.toml");
    fs::write(&path, text.replace("dir:mails", "smtps://real-relay.example.net")).unwrap();
    let story = short(
        "[[happens]]\nafter = \"5m\"\nservices = [\"api\"]\nare = \"down\"\nlasts = \"20m\"\n\
         [[happens]]\nafter = \"10m\"\nnote = \"2026-11-21-api\"\ntext = '''\n[[update]]\ntext = \"We <look>.\"\nnext_update = \"1m\"\n'''\n\
         [[look]]\nafter = \"12m\"\nname = \"during\"\n",
    );
    let output = real.path().join("out");
    let rehearsed = play(config(&path), &story, &output);
    let read = |name: &str| fs::read_to_string(output.join(name)).unwrap();
    let (during, after) = (read("looks/during/index.html"), read("site/index.html"));
    assert!(during.contains("API is down") && during.contains("We &lt;look&gt;."), "{during}");
    assert!(after.contains("All services are operational"), "{after}");
    assert!(!during.contains("fresh-until\" content"), "a copy does not grow old");
    assert!(output.join("site/incidents/2026-11-21-api/index.html").exists());
    assert!(read("notes/incidents/2026-11-21-api.toml").contains("We <look>."));
    let mut mails: Vec<String> = fs::read_dir(output.join("mails"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    mails.sort();
    let to = |mail: &String| mail.rsplit_once("Z-").unwrap().1.to_owned();
    let reader = "reader@example.org.eml";
    assert_eq!(mails.iter().map(to).collect::<Vec<_>>(), [reader, reader, "operator@example.org.eml", reader]);
    assert_eq!(rehearsed.mails, (3, 1));
    assert!(mails[0].starts_with("001-20261121T21"), "{mails:?}");
    assert!(fs::read_to_string(output.join("mails").join(&mails[0])).unwrap().contains("Outage: API"));
    // Nothing but the config and the folder is there, and nothing of it names anyone real.
    let mut left: Vec<_> = fs::read_dir(real.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["out", "watchbell.toml"]);
    for mail in &mails {
        assert!(!fs::read_to_string(output.join("mails").join(mail)).unwrap().contains("real-"), "{mail}");
    }
    let again = rehearse(config(&path), &story, &output, &mut |_| ());
    assert!(matches!(again, Err(RehearsalError::NotEmpty { .. })), "what is there is not overwritten");
}

#[test]
fn the_same_story_gives_the_same_day_and_another_seed_another_chance() {
    let text = "[[happens]]\nafter = \"5m\"\nservices = [\"api\"]\nare = \"lossy\"\nloses = 60\n";
    let play = |text: &str| {
        let output = tempfile::tempdir().unwrap();
        told(&play(config(&folder().join("watchbell.toml")), &short(text), output.path()))
    };
    let first = play(text);
    assert!(first.contains("API"), "{first}");
    assert_eq!(first, play(text));
    assert_ne!(first, play(&format!("seed = 7\n{text}")));
}

#[test]
fn troubles_of_the_monitor_are_no_outages_and_are_told() {
    let output = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(folder().join("watchbell.toml")).unwrap()
        + "[operator]\nnotify = [\"ops@example.org\"]\n[incidents]\ncanary = [\"tcp:192.0.2.1:443\", \"tcp:192.168.0.1:53\"]\n";
    let config = Config::parse(&folder().join("watchbell.toml"), &text, &|_| None).unwrap().config;
    let story = short(
        "[[happens]]\nafter = \"5m\"\nmonitor = \"cut\"\nlasts = \"5m\"\n\
         [[happens]]\nafter = \"20m\"\nmonitor = \"suspended\"\nlasts = \"5m\"\n\
         [[happens]]\nafter = \"27m\"\nmonitor = \"crash\"\n\
         [[happens]]\nafter = \"30m\"\nclock = \"+1h\"\n\
         [[happens]]\nafter = \"35m\"\nmonitor = \"cannot_probe\"\nlasts = \"2m\"\n\
         [[happens]]\nafter = \"40m\"\nmonitor = \"disk_full\"\nlasts = \"5m\"\n\
         [[happens]]\nafter = \"50m\"\nmonitor = \"off\"\nlasts = \"5m\"\n",
    );
    let rehearsed = play(config, &story, output.path());
    assert!(rehearsed.incidents.is_empty(), "{rehearsed:#?}");
    assert_eq!(rehearsed.mails.0, 0);
    let operators = lines(&rehearsed, Kind::Operator).join("\n");
    assert!(operators.contains("blind") && operators.contains("sees again"), "{operators}");
    let monitor = lines(&rehearsed, Kind::Monitor);
    assert_eq!(monitor.iter().filter(|line| **line == "started").count(), 3, "{monitor:?}");
    assert!(monitor.contains(&"was killed") && monitor.contains(&"ended"), "{monitor:?}");
}

#[test]
fn a_resolver_that_is_away_spares_what_has_an_address() {
    let output = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(folder().join("watchbell.toml")).unwrap().replace("db.internal", "10.0.0.5");
    let config = Config::parse(&folder().join("watchbell.toml"), &text, &|_| None).unwrap().config;
    let story = short("[[happens]]\nafter = \"5m\"\nmonitor = \"resolver_away\"\nlasts = \"5m\"\n");
    let rehearsed = play(config, &story, output.path());
    assert_eq!(rehearsed.incidents.len(), 1);
    assert_eq!(rehearsed.incidents[0].services.iter().map(ServiceId::as_str).collect::<Vec<_>>(), ["api"]);
    assert!(lines(&rehearsed, Kind::Fact).iter().any(|fact| fact.contains("name could not be resolved")));
}

#[test]
fn the_example_tells_the_story_that_it_promises() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("config.example.toml")).unwrap();
    let env = |_: &str| Some("https://example.org/".to_owned());
    let config = Config::parse(&root.join("config.example.toml"), &text, &env).unwrap().config;
    let story = parse(&root.join("story.example.toml"), &config);
    let output = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let rehearsed = play(config, &story, output.path());
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    let titles: Vec<&str> = rehearsed.incidents.iter().map(|it| it.title.as_str()).collect();
    assert!(titles[0].starts_with("Database was down") && titles[1].contains("slow"), "{titles:?}");
    assert!(output.path().join("looks/during/index.html").exists());
    // Nothing is told while the mail server is away, and what passed meanwhile is told after.
    let away = story.starts + Duration::from_mins(49)..story.starts + Duration::from_mins(59);
    let told = |line: &&watchbell::simulation::rehearsal::Line| line.kind == Kind::Told;
    assert!(!rehearsed.lines.iter().filter(told).any(|line| away.contains(&line.at)), "{rehearsed:#?}");
    assert!(lines(&rehearsed, Kind::Told).iter().any(|line| line.contains("ben@example.org: Resolved: API")));
}
