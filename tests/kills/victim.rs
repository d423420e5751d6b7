//! The program, and how it dies: at the next moment of a pack of them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::moments::{Moment, Trap, Watcher};
use crate::support::daemon::Daemon;

/// Whatever a trap waits for comes within this; else death comes anyway, and the moment again.
const PATIENCE: Duration = Duration::from_secs(6);

/// Small numbers that a seed repeats.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.below(1);
        }
        dice
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }
}

/// The moments of so many kills: about half of them named, beginning with another one each time.
fn pack(kills: u64, dice: &mut Dice) -> Vec<Moment> {
    let first = dice.below(9);
    let mut pack: Vec<Moment> = (0..kills)
        .map(|n| match n % 4 {
            0 | 2 => Moment::NAMED[usize::try_from((first + n / 2) % 9).unwrap()],
            1 => Moment::AnyTime,
            _ if dice.below(2) == 0 => Moment::Starting,
            _ => Moment::AnyTime,
        })
        .collect();
    for n in (1..pack.len()).rev() {
        let other = usize::try_from(dice.below(u64::try_from(n + 1).unwrap())).unwrap();
        pack.swap(n, other);
    }
    pack
}

/// A running program that will not live long.
pub struct Victim {
    folder: PathBuf,
    pack: Vec<Moment>,
    next: Option<Moment>,
    trap: Trap,
    watcher: Option<Watcher>,
    daemon: Option<Daemon>,
    born_at: Instant,
    dies_at: Instant,
    /// When it died, and of what.
    pub deaths: Vec<(Timestamp, Moment)>,
}

impl Victim {
    /// Starts it; it will die so often.
    pub fn new(folder: &Path, trap: Trap, kills: u64, dice: &mut Dice) -> Self {
        let now = Instant::now();
        let mut victim = Self {
            folder: folder.to_owned(),
            pack: pack(kills, dice),
            next: None,
            trap,
            watcher: None,
            daemon: None,
            born_at: now,
            dies_at: now,
            deaths: Vec::new(),
        };
        victim.live(dice);
        victim
    }

    /// Starts it anew, and settles when it is to die.
    pub fn live(&mut self, dice: &mut Dice) {
        let daemon = Daemon::spawn(&self.folder, &["run"]);
        self.next = self.pack.pop();
        self.born_at = Instant::now();
        let life = match self.next {
            None => Duration::MAX / 4,
            Some(Moment::Starting) => dice.millis(150),
            Some(Moment::AnyTime) => Duration::from_millis(150) + dice.millis(1800),
            Some(Moment::Reload | Moment::Backup | Moment::Command | Moment::Ending) => {
                Duration::from_millis(250) + dice.millis(900)
            }
            Some(_) => PATIENCE,
        };
        self.dies_at = self.born_at + life;
        match self.next {
            Some(moment @ (Moment::BeforeReply | Moment::Untaken)) => {
                self.trap.set(moment, Duration::ZERO, daemon.killer());
            }
            Some(moment @ Moment::AfterReply) => self.trap.set(moment, dice.millis(12), daemon.killer()),
            Some(moment @ Moment::SiteFile) => {
                self.trap.set(moment, Duration::ZERO, daemon.killer());
                let skipped = dice.below(12);
                self.watcher = Some(Watcher::of(&self.folder.join("public"), &self.trap, moment, skipped));
            }
            Some(moment @ Moment::NoteFile) => {
                self.trap.set(moment, Duration::from_micros(dice.below(3000)), daemon.killer());
                self.watcher = Some(Watcher::of(&self.folder.join("notes/incidents"), &self.trap, moment, 0));
            }
            _ => {}
        }
        self.daemon = Some(daemon);
    }

    /// Whether its time has come: what it is to die of, and whether it is dead already.
    pub fn fate(&mut self) -> Option<(Moment, bool)> {
        let moment = self.next?;
        if self.trap.has_sprung() {
            return Some((moment, true));
        }
        if let Some(status) = self.daemon.as_ref().and_then(Daemon::has_ended)
            && !self.trap.has_sprung()
        {
            panic!("it ended by itself: {status}\n{}", self.log());
        }
        (Instant::now() >= self.dies_at).then_some((moment, false))
    }

    /// Its process, until it is buried.
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    /// SIGKILL, if it is not dead yet. What did not come in time will be waited for again.
    pub fn bury(&mut self, moment: Moment) {
        self.daemon.take().unwrap().kill();
        self.watcher = None;
        let waited = matches!(
            moment,
            Moment::BeforeReply | Moment::Untaken | Moment::AfterReply | Moment::SiteFile | Moment::NoteFile
        );
        let moment = if waited && !self.trap.take_away() {
            let at = self.pack.len() / 2;
            self.pack.insert(at, moment);
            Moment::AnyTime
        } else {
            moment
        };
        self.next = None;
        self.deaths.push((Timestamp::now(), moment));
    }

    /// How long it has lived.
    pub fn age(&self) -> Duration {
        self.born_at.elapsed()
    }

    /// Whether it will not be killed any more.
    pub fn is_spared(&self) -> bool {
        self.next.is_none() && self.pack.is_empty() && self.daemon.is_some()
    }

    /// SIGTERM; it must end in time and well.
    pub fn terminate(&mut self) -> Result<(), String> {
        let (status, took) = self.daemon.take().unwrap().terminate();
        if status.success() && took < Duration::from_secs(5) {
            return Ok(());
        }
        Err(format!("after SIGTERM it took {took:?} to end with {status}"))
    }

    /// All that it said, in all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log.txt")).unwrap_or_default()
    }
}
