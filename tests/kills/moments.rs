//! The moments at which the program is killed, and what waits for one of them: the relay, a
//! watcher of a folder. Nothing of it is in the program.

use std::{
    ffi::OsStr,
    fs,
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::fs::inotify;

use crate::support::{
    daemon::Killer,
    smtp::{self, Act},
};

/// When the program is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Whenever.
    AnyTime,
    /// As it starts.
    Starting,
    /// The relay has the whole message, and keeps it, but does not come to say so.
    BeforeReply,
    /// The same, and the relay does not keep it.
    Untaken,
    /// The relay said that it took the message.
    AfterReply,
    /// A temporary file lies in the site's folder.
    SiteFile,
    /// The file of a note is being created.
    NoteFile,
    /// A changed config is being read.
    Reload,
    /// A backup is being made.
    Backup,
    /// Somebody is being added or imported.
    Command,
    /// It was asked to end.
    Ending,
}

impl Moment {
    /// All that have a name of their own.
    pub const NAMED: [Self; 9] = [
        Self::BeforeReply,
        Self::Untaken,
        Self::AfterReply,
        Self::SiteFile,
        Self::NoteFile,
        Self::Reload,
        Self::Backup,
        Self::Command,
        Self::Ending,
    ];

    /// As the summary says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnyTime => "whenever",
            Self::Starting => "as it started",
            Self::BeforeReply => "message kept, 250 not said",
            Self::Untaken => "message not kept, 250 not said",
            Self::AfterReply => "250 just said",
            Self::SiteFile => "temporary file in the site",
            Self::NoteFile => "note file being created",
            Self::Reload => "reload",
            Self::Backup => "backup",
            Self::Command => "subscriber being added",
            Self::Ending => "SIGTERM received",
        }
    }
}

#[derive(Default)]
struct Set {
    armed: Option<(Moment, Duration, Killer)>,
    sprung: bool,
}

/// Kills when the moment that it is set for has come.
#[derive(Clone, Default)]
pub struct Trap(Arc<Mutex<Set>>);

impl Trap {
    /// Waits for `moment`, and kills so much after it.
    pub fn set(&self, moment: Moment, delay: Duration, killer: Killer) {
        *self.0.lock().unwrap() = Set { armed: Some((moment, delay, killer)), sprung: false };
    }

    /// Waits no longer; whether it had killed.
    pub fn take_away(&self) -> bool {
        let set = std::mem::take(&mut *self.0.lock().unwrap());
        set.sprung
    }

    /// Whether it has killed.
    pub fn has_sprung(&self) -> bool {
        self.0.lock().unwrap().sprung
    }

    /// The moment is there: kills if it is the one. Returns after the death.
    fn strikes(&self, moment: Moment) -> bool {
        let mut set = self.0.lock().unwrap();
        match &set.armed {
            Some((waited_for, delay, killer)) if *waited_for == moment => {
                thread::sleep(*delay);
                killer.kill();
                *set = Set { armed: None, sprung: true };
                true
            }
            _ => false,
        }
    }

    /// What a relay does in whose conversations the trap lies.
    pub fn at_the_relay(&self) -> impl Fn(&smtp::Moment) -> Act + Send + Sync + 'static {
        let trap = self.clone();
        move |moment| match moment {
            smtp::Moment::Received(_) if trap.strikes(Moment::Untaken) => Act::Close,
            smtp::Moment::Received(_) => {
                trap.strikes(Moment::BeforeReply);
                Act::Usual
            }
            smtp::Moment::Replied(_) => {
                trap.strikes(Moment::AfterReply);
                Act::Usual
            }
            _ => Act::Usual,
        }
    }
}

/// Looks into a folder and all below it, and says when a temporary file has appeared.
pub struct Watcher {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Springs `trap` at `moment`: at the temporary file after `skipped` others.
    pub fn of(folder: &Path, trap: &Trap, moment: Moment, mut skipped: u64) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        for folder in folders(folder) {
            // One that has just gone has no files.
            let _ = inotify::add_watch(&watch, &folder, inotify::WatchFlags::CREATE);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let (trap, ends) = (trap.clone(), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(&watch, &mut buffer);
            while !ends.load(Ordering::SeqCst) {
                match events.next() {
                    Ok(event) => {
                        let name = event.file_name().map_or(&[][..], |name| name.to_bytes());
                        if !OsStr::from_bytes(name).to_string_lossy().ends_with(".wb-tmp") {
                            continue;
                        }
                        if skipped == 0 {
                            trap.strikes(moment);
                            return;
                        }
                        skipped -= 1;
                    }
                    Err(rustix::io::Errno::AGAIN) => thread::sleep(Duration::from_micros(200)),
                    Err(error) => panic!("the folder cannot be watched: {error}"),
                }
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the watcher of a folder broke off");
    }
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut at = 0;
    while at < found.len() {
        for entry in fs::read_dir(&found[at]).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                found.push(entry.path());
            }
        }
        at += 1;
    }
    found
}
