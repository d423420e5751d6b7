//! People who join and leave while the program dies: by commands, and by the link in a mail.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{truth::Person, victim::Dice};
use crate::support::{
    daemon::WATCHBELL,
    http,
    smtp::{self, Server},
};

/// Those who are there from the first moment to the last.
pub const FAITHFUL: [&str; 2] = ["ann@example.org", "bob@example.org"];

/// What somebody is about.
enum Errand {
    /// `subscriber add`, `import` or `remove`; for all of these, joining or leaving.
    Command { child: Child, who: Vec<String>, joins: bool },
    /// A click on the link in a mail.
    Click { answer: JoinHandle<Option<u16>>, who: String },
}

/// Everyone, and what is going on.
pub struct People {
    folder: PathBuf,
    listen: SocketAddr,
    errand: Option<Errand>,
    next_at: Instant,
    count: usize,
    /// By address.
    pub all: BTreeMap<String, Person>,
}

impl People {
    /// The faithful, who joined before the program started.
    pub fn new(folder: &Path, listen: SocketAddr) -> Self {
        let joined = Person { joined_at: Some(Timestamp::now()), leaving_at: None, left_at: None };
        Self {
            folder: folder.to_owned(),
            listen,
            errand: None,
            next_at: Instant::now(),
            count: 0,
            all: FAITHFUL.iter().map(|address| ((*address).to_owned(), joined.clone())).collect(),
        }
    }

    /// Whether nobody is about anything.
    pub fn is_quiet(&self) -> bool {
        self.errand.is_none()
    }

    /// Looks after what is going on, and begins something new if it is time.
    pub fn go_on(&mut self, dice: &mut Dice, relay: &Server) -> Result<(), String> {
        if self.errand.is_some() {
            return self.finish(dice);
        }
        if Instant::now() >= self.next_at {
            self.begin(dice, relay);
        }
        Ok(())
    }

    fn finish(&mut self, dice: &mut Dice) -> Result<(), String> {
        match self.errand.take() {
            Some(Errand::Command { mut child, who, joins }) => match child.try_wait().unwrap() {
                None => self.errand = Some(Errand::Command { child, who, joins }),
                Some(status) => {
                    self.next_at = Instant::now() + Duration::from_millis(300) + dice.millis(900);
                    // Whoever is not there has left before, and was not told.
                    if status.success() || !joins && status.code() == Some(1) {
                        self.acknowledge(&who, joins);
                    } else if status.code().is_some() {
                        let said = child.wait_with_output().unwrap();
                        let said = String::from_utf8_lossy(&said.stderr).into_owned();
                        return Err(format!("a command about {who:?} ended with {status}: {said}"));
                    } else {
                        self.ask(who, joins, "add"); // killed: nothing was promised, so it is asked for again
                    }
                }
            },
            Some(Errand::Click { answer, who }) if answer.is_finished() => {
                self.next_at = Instant::now() + Duration::from_millis(300) + dice.millis(900);
                match answer.join().unwrap() {
                    Some(200) => self.acknowledge(&[who], false),
                    Some(503) | None => {} // not there, or not able to: nothing was promised
                    Some(status) => return Err(format!("{who} clicked, and was answered {status}")),
                }
            }
            click => self.errand = click,
        }
        Ok(())
    }

    fn acknowledge(&mut self, who: &[String], joined: bool) {
        let now = Timestamp::now();
        for person in who {
            let person = self.all.get_mut(person).unwrap();
            *(if joined { &mut person.joined_at } else { &mut person.left_at }) = Some(now);
        }
    }

    /// Somebody joins now, by a command that takes a moment.
    pub fn join(&mut self, dice: &mut Dice) {
        if self.errand.is_some() {
            return;
        }
        let (how, many) = if dice.below(2) == 0 { ("add", 1) } else { ("import", 3) };
        let who: Vec<String> = (0..many)
            .map(|_| {
                self.count += 1;
                format!("person{}@example.org", self.count)
            })
            .collect();
        for address in &who {
            self.all.insert(address.clone(), Person { joined_at: None, leaving_at: None, left_at: None });
        }
        self.ask(who, true, how);
    }

    fn begin(&mut self, dice: &mut Dice, relay: &Server) {
        let here = |person: &Person| person.joined_at.is_some() && person.left_at.is_none();
        let can_leave: Vec<String> = (self.all.iter())
            .filter(|(address, person)| here(person) && !FAITHFUL.contains(&address.as_str()))
            .map(|(address, _)| address.clone())
            .collect();
        if can_leave.len() < 3 {
            return self.join(dice);
        }
        let who = can_leave[usize::try_from(dice.below(u64::try_from(can_leave.len()).unwrap())).unwrap()].clone();
        let link = relay.taken().iter().rev().find(|mail| mail.to == who).and_then(link);
        match link {
            Some(path) if dice.below(4) > 0 => {
                self.all.get_mut(&who).unwrap().leaving_at.get_or_insert_with(Timestamp::now);
                let listen = self.listen;
                let kind = "application/x-www-form-urlencoded";
                let click = move || http::post(listen, &path, kind, "List-Unsubscribe=One-Click").map(|a| a.status);
                self.errand = Some(Errand::Click { answer: thread::spawn(click), who });
            }
            Some(_) => {
                self.all.get_mut(&who).unwrap().leaving_at.get_or_insert_with(Timestamp::now);
                self.ask(vec![who], false, "remove");
            }
            None => self.join(dice),
        }
    }

    fn ask(&mut self, who: Vec<String>, joins: bool, how: &str) {
        let list = self.folder.join("people.csv");
        let mut command = Command::new(WATCHBELL);
        command.current_dir(&self.folder).args(["-q", "subscriber"]).env_remove("RUST_LOG");
        match (joins, how) {
            (false, _) => command.args(["remove", &who[0]]),
            (true, "add") if who.len() == 1 => command.args(["add", &who[0]]),
            (true, _) => {
                fs::write(&list, format!("email\n{}\n", who.join("\n"))).unwrap();
                command.args(["import", "people.csv"])
            }
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        self.errand = Some(Errand::Command { child, who, joins });
    }

    /// Kills the command that is under way, if one is.
    pub fn kill_command(&mut self) {
        if let Some(Errand::Command { child, .. }) = &mut self.errand {
            let _ = child.kill();
        }
    }
}

/// Where the link in a mail leads.
fn link(mail: &smtp::Mail) -> Option<String> {
    // The header is long, and goes on in the next lines.
    let unfolded = mail.text.replace("\r\n ", " ");
    let line = unfolded.lines().find_map(|line| line.strip_prefix("List-Unsubscribe: "))?.to_owned();
    let url = line.split_once('<')?.1.split_once('>')?.0;
    let path = url.split_once("://")?.1;
    Some(path[path.find('/')?..].to_owned())
}
