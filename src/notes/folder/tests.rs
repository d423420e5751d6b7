//! The folder as an operator and an editor treat it.
#![expect(clippy::disallowed_methods, reason = "an operator's editor keeps to no rules of ours")]

use tempfile::TempDir;

use super::*;
use crate::domain::{Impact, IncidentStatus, ServiceStatus, incident::*};

/// A folder and a clock that both the files and the looks go by.
struct Story {
    dir: TempDir,
    folder: Folder,
    now: Timestamp,
}

impl Story {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        Self { dir, folder, now: "2026-11-21T12:00:00Z".parse().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(INCIDENTS).join(name)
    }

    /// Writes a file at the present of the story.
    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path("")).unwrap();
        let file = fs::OpenOptions::new().create(true).write(true).truncate(true).open(self.path(name)).unwrap();
        io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
        file.set_modified(self.now.into()).unwrap();
    }

    fn scan_after(&mut self, millis: i64) -> Scan {
        self.now += SignedDuration::from_millis(millis);
        let services = vec![ServiceId::new("api").unwrap()];
        self.folder.scan(&Known { services, timezone: TimeZone::UTC, now: self.now })
    }

    /// The folder as another process sees it, which was told what the first one had marked.
    fn restart(&mut self, marks: &[Mark]) {
        self.folder = Folder::new(self.dir.path());
        self.folder.remember(Remembered { files: marks.to_vec(), is_corrected: false });
    }

    /// What is to be remembered, looking often enough for a file to rest.
    fn marks(&mut self) -> Vec<Mark> {
        let mut marks = self.scan_after(10).marks;
        marks.extend(self.scan_after(200).marks);
        marks
    }

    /// The titles of what changed, looking often enough for a file to rest.
    fn titles(&mut self) -> Vec<String> {
        let mut changed = self.scan_after(10).changed;
        changed.extend(self.scan_after(200).changed);
        changed
            .iter()
            .map(|note| format!("{}: {}", note.id, note.title.as_ref().map_or("", |t| t.get("", ""))))
            .collect()
    }
}

#[test]
fn a_saved_note_is_seen_once_and_again_when_it_changes() {
    let mut story = Story::new();
    assert!(story.titles().is_empty());
    story.write("x.toml", "title = \"one\"");
    assert_eq!(story.titles(), ["x: one"]);
    assert!(story.titles().is_empty());
    story.write("x.toml", "title = \"two\"");
    assert_eq!(story.titles(), ["x: two"]);
    // Saved again without a change, or with one that says the same.
    story.write("x.toml", "title = \"two\"");
    story.write("x.toml", "# the same\ntitle = \"two\"");
    assert!(story.titles().is_empty());
}

#[test]
fn a_file_that_is_still_being_written_is_left_alone() {
    let mut story = Story::new();
    for text in ["ti", "title = \"a", "title = \"ab\""] {
        story.write("x.toml", text);
        let scan = story.scan_after(100);
        assert!(scan.is_unsettled && scan.changed.is_empty() && scan.problems.is_empty());
    }
    assert_eq!(story.titles(), ["x: ab"]);
}

#[test]
fn a_note_that_was_emptied_stays_in_force_and_the_operator_hears_of_it() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"");
    let marks = story.marks();
    story.write("x.toml", "\n");
    assert!(story.titles().is_empty());
    assert_eq!(story.scan_after(10).invalid(), 1);
    story.restart(&marks);
    assert!(story.titles().is_empty(), "after a restart too");
    let problem = story.scan_after(10).problems[0].to_string();
    assert!(problem.contains("the note is empty") && problem.contains("withdrawn = true"), "{problem}");
    story.write("x.toml", "title = \"one\"\nimpact = \"minor\"");
    assert_eq!(story.titles(), ["x: one"]);
    assert_eq!(story.scan_after(10).invalid(), 0);

    story.write("new.toml", "");
    assert!(story.titles().is_empty());
    assert_eq!(story.scan_after(10).invalid(), 0, "somebody is about to write");
}

#[test]
fn what_has_long_rested_is_read_at_the_first_look() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"");
    let scan = story.scan_after(1000);
    assert_eq!(scan.changed.len(), 1);
    assert!(!scan.is_unsettled);
}

#[test]
fn a_bad_file_is_reported_until_it_is_good_and_changes_nothing() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"");
    story.titles();
    story.write("x.toml", "titel = \"two\"");
    assert!(story.titles().is_empty());
    for _ in 0..2 {
        let scan = story.scan_after(500);
        assert_eq!(scan.invalid(), 1);
        assert!(scan.problems[0].to_string().contains("x.toml:1:1: unknown key `titel`"));
    }
    story.write("x.toml", "title = \"three\"");
    assert_eq!(story.titles(), ["x: three"]);
    assert_eq!(story.scan_after(10).invalid(), 0);
}

#[test]
fn a_time_that_lay_ahead_is_read_once_it_has_come() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"\n[[update]]\nat = 2026-11-21T12:05:10Z\ntext = \"x\"");
    assert!(story.titles().is_empty());
    assert_eq!(story.scan_after(1000).invalid(), 1);
    assert_eq!(story.scan_after(30_000).changed.len(), 1);
    assert_eq!(story.scan_after(10).invalid(), 0);
}

#[test]
fn a_vanished_file_leaves_its_note_in_force_and_is_named() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"");
    story.titles();
    fs::remove_file(story.path("x.toml")).unwrap();
    let scan = story.scan_after(10);
    assert!(scan.changed.is_empty());
    assert_eq!(scan.vanished[0].as_str(), "x");
    story.write("x.toml", "title = \"one\"");
    assert!(story.titles().is_empty());
    assert!(story.scan_after(10).vanished.is_empty());
}

#[test]
fn a_renamed_file_keeps_the_id_of_its_note() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"");
    story.titles();
    fs::rename(story.path("x.toml"), story.path("y.toml")).unwrap();
    let (first, second) = (story.scan_after(10), story.scan_after(200));
    let renamed: Vec<_> = first.renamed.into_iter().chain(second.renamed).collect();
    assert_eq!((renamed[0].0.as_str(), renamed[0].1.as_str()), ("y", "x"));
    assert!(second.vanished.is_empty() && second.changed.is_empty());
    assert_eq!(first.forgotten.into_iter().chain(second.forgotten).map(String::from).collect::<Vec<_>>(), ["x"]);
    story.write("y.toml", "title = \"two\"");
    let marks = story.marks();
    story.restart(&marks);
    assert_eq!(story.titles(), ["x: two"], "after a restart as before");
    assert!(story.marks().is_empty(), "nothing new to remember");
}

#[test]
fn a_file_renamed_while_nobody_looked_keeps_the_id_of_its_note() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"");
    let marks = story.marks();
    fs::rename(story.path("x.toml"), story.path("y.toml")).unwrap();
    story.restart(&marks);
    let (first, second) = (story.scan_after(10), story.scan_after(200));
    let changed: Vec<_> = first.changed.into_iter().chain(second.changed).map(|note| note.id.to_string()).collect();
    assert_eq!(changed, ["x"]);
    let marks: Vec<_> = first.marks.into_iter().chain(second.marks).collect();
    assert_eq!((marks[0].name.as_str(), marks[0].id.as_str()), ("y", "x"));
    story.restart(&marks);
    assert_eq!(story.titles(), ["x: one"]);
}

#[test]
fn a_copy_is_still_nothing_after_a_restart_whatever_it_is_called() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"");
    let marks = story.marks();
    story.write("a.toml", "title = \"one\"");
    story.restart(&marks);
    assert_eq!(story.titles(), ["x: one"]);
}

#[test]
fn a_copy_is_nothing_until_it_is_edited() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"");
    story.titles();
    story.write("z.toml", "title = \"one\"");
    story.write("x.toml~", "title = \"one\"");
    story.write(".x.toml.swp", "title = \"one\"");
    assert!(story.titles().is_empty());
    story.write("x.toml", "title = \"two\"");
    assert_eq!(story.titles(), ["x: two"]);
    story.write("z.toml", "title = \"three\"");
    assert_eq!(story.titles(), ["z: three"]);
}

#[test]
fn an_original_that_goes_away_after_its_copy_came_was_renamed() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"");
    story.titles();
    story.write("z.toml", "title = \"one\"");
    assert!(story.titles().is_empty());
    fs::remove_file(story.path("x.toml")).unwrap();
    let scan = story.scan_after(200);
    assert_eq!(scan.renamed.len(), 1);
    assert!(scan.vanished.is_empty());
}

#[test]
fn services_that_come_or_go_make_notes_be_read_again() {
    let mut story = Story::new();
    story.write("x.toml", "title = \"one\"\nservices = [\"new\"]");
    assert!(story.titles().is_empty());
    let services = vec![ServiceId::new("new").unwrap()];
    let scan = story.folder.scan(&Known { services, timezone: TimeZone::UTC, now: story.now });
    assert_eq!(scan.changed.len(), 1);
}

#[test]
fn strange_things_in_the_folder_hurt_nothing() {
    let mut story = Story::new();
    fs::create_dir_all(story.path("folder.toml")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", story.path("link.toml")).unwrap();
    fs::write(story.path("binary.toml"), [0xff, 0xfe, 0x00]).unwrap();
    story.write("good.toml", "title = \"one\"");
    let mut ids = story.titles();
    ids.extend(story.scan_after(5000).changed.iter().map(|note| note.id.to_string()));
    assert_eq!(ids, ["good: one"]);
    let scan = story.scan_after(10);
    assert_eq!(scan.problems.len(), 1);
    assert!(scan.problems[0].message.contains("not valid UTF-8"), "{}", scan.problems[0]);
}

#[test]
fn an_automatic_incidents_file_is_written_once_and_says_nothing_yet() {
    let mut story = Story::new();
    let started_at: Timestamp = "2026-11-21T10:15:00Z".parse().unwrap();
    let service = ServiceId::new("api").unwrap();
    let incident = Incident {
        id: IncidentId::new("2026-11-21-api").unwrap(),
        version: 1,
        aliases: Vec::new(),
        origin: Origin::Automatic,
        title: None,
        root: None,
        status: IncidentStatus::Investigating,
        impact: Impact::Critical,
        impact_override: None,
        started_at,
        noticed_at: started_at + SignedDuration::from_secs(10),
        resolved_at: None,
        affected: vec![Affected {
            service,
            status: ServiceStatus::MajorOutage,
            worst: ServiceStatus::MajorOutage,
            started_at,
            recovered_at: None,
            earlier_ms: 0,
            cause: Some(crate::domain::outcome::Class::Reset.into()),
            seen_failing: true,
        }],
        updates: Vec::new(),
        facts: Vec::new(),
        postmortem: None,
        auto_resolve: true,
        withdrawn: false,
        reopened: 0,
    };
    let name = |_: &ServiceId| "API\n[evil]".to_owned();
    assert!(super::super::create_file(story.dir.path(), &incident, &name).unwrap());
    let path = story.path("2026-11-21-api.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("# api (API [evil]): major_outage since 2026-11-21T10:15:00Z, reset"), "{text}");
    let scans = [story.scan_after(10), story.scan_after(200)];
    let changed: Vec<_> = scans.into_iter().flat_map(|scan| scan.changed).collect();
    assert_eq!(changed, [Note::blank(incident.id.clone())]);
    assert_eq!(story.scan_after(10).invalid(), 0);

    fs::write(&path, text.replace("text = \"\"", "text = \"We look into it.\"")).unwrap();
    assert!(!super::super::create_file(story.dir.path(), &incident, &name).unwrap());
    let mut changed = story.scan_after(10).changed;
    changed.extend(story.scan_after(200).changed);
    assert_eq!(changed[0].updates.len(), 1);
}

const CORRECT: &str = "[[correct]]\nservice = \"api\"\nfrom = 2026-11-21T10:00:00Z\nto = 2026-11-21T11:00:00Z\ncount_as = \"up\"\nwhy = \"x\"\n";

impl Story {
    /// How many corrections there are now, if others than before, looking often enough for the file
    /// to rest; and what is wrong then.
    fn corrected(&mut self) -> (Option<usize>, String) {
        let first = self.scan_after(10).corrections;
        let scan = self.scan_after(200);
        let said = scan.problems.iter().map(ToString::to_string).collect();
        (scan.corrections.or(first).map(|all| all.len()), said)
    }
}

#[test]
fn corrections_are_in_force_once_their_file_has_rested_and_as_long_as_it_is_good() {
    let mut story = Story::new();
    assert_eq!(story.corrected(), (None, String::new()));
    story.write("../corrections.toml", CORRECT);
    assert!(story.scan_after(100).is_unsettled);
    assert_eq!(story.corrected(), (Some(1), String::new()));
    story.write("../corrections.toml", &format!("# the same\n{CORRECT}"));
    assert_eq!(story.corrected(), (None, String::new()));
    story.write("../corrections.toml", &CORRECT.replace("\"up\"", "\"fine\""));
    let (changed, said) = story.corrected();
    assert!(changed.is_none() && said.contains("corrections.toml:5:12: "), "{said}");
    assert_eq!(story.scan_after(10).invalid(), 1);
    story.write("../corrections.toml", "\n");
    let (changed, said) = story.corrected();
    assert!(changed.is_none() && said.contains("the file of corrections is empty"), "{said}");
    fs::remove_file(story.path("../corrections.toml")).unwrap();
    let (changed, said) = story.corrected();
    assert!(changed.is_none() && said.contains("the file of corrections is gone"), "{said}");
    assert_eq!(story.scan_after(10).invalid(), 1);
    story.write("../corrections.toml", CORRECT);
    assert_eq!(story.corrected(), (None, String::new()), "back as it was");
    story.write("../corrections.toml", "# all is as measured\n");
    assert_eq!(story.corrected(), (Some(0), String::new()));
    fs::remove_file(story.path("../corrections.toml")).unwrap();
    assert_eq!(story.corrected(), (None, String::new()), "it held nothing");
}

#[test]
fn a_file_of_corrections_that_vanishes_between_two_runs_is_missed() {
    let mut story = Story::new();
    story.folder.remember(Remembered { files: Vec::new(), is_corrected: true });
    let (changed, said) = story.corrected();
    assert!(changed.is_none() && said.contains("gone") && said.contains("put it back"), "{said}");
    story.write("../corrections.toml", " ");
    assert!(story.corrected().1.contains("empty"));
    story.write("../corrections.toml", CORRECT);
    assert_eq!(story.corrected(), (Some(1), String::new()));
}

#[test]
fn corrections_that_could_not_be_used_are_tried_again_since_times_come() {
    let mut story = Story::new();
    story.write("../corrections.toml", &CORRECT.replace("10:00", "12:10").replace("T11:00", "T12:12"));
    let (changed, said) = story.corrected();
    assert!(changed.is_none() && said.contains("`from` lies ahead"), "{said}");
    assert!(story.scan_after(600_000).corrections.is_some());
    assert_eq!(story.corrected(), (None, String::new()));
}
