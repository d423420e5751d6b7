//! The program under test: its commands, and the daemon as a process that can be killed.

use std::{
    ffi::OsStr,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::http;

/// The program.
pub const WATCHBELL: &str = env!("CARGO_BIN_EXE_watchbell");

/// A new folder on the disk of the checkout (a temporary one may be in memory, where the store
/// refuses to live). With `WATCHBELL_KEEP` in the environment it stays, to be looked at.
pub fn folder() -> tempfile::TempDir {
    let keep = std::env::var_os("WATCHBELL_KEEP").is_some();
    tempfile::Builder::new().prefix("e2e").disable_cleanup(keep).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// An address of loopback that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs a command of the program in `folder` to its end.
pub fn watchbell(folder: &Path, args: &[&str]) -> Output {
    Command::new(WATCHBELL).current_dir(folder).args(args).env_remove("RUST_LOG").output().unwrap()
}

/// Runs a command that must succeed, and returns what it printed.
pub fn ok(folder: &Path, args: &[&str]) -> String {
    let output = watchbell(folder, args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "watchbell {args:?}: {:?}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// What a command printed as JSON.
pub fn json(folder: &Path, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&ok(folder, args)).unwrap()
}

/// Asks again and again until there is an answer; fails if none comes in time.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < limit, "in {limit:?} there was no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running daemon. Dropping it kills it, and prints its log if the test failed.
pub struct Daemon {
    child: Killer,
    id: u32,
    log: PathBuf,
}

/// Ends a process at once, from any thread.
#[derive(Clone)]
pub struct Killer(Arc<Mutex<Child>>);

impl Killer {
    /// SIGKILL; nothing if it has ended already.
    pub fn kill(&self) {
        let _ = self.0.lock().unwrap().kill();
    }

    fn ended(&self) -> Option<ExitStatus> {
        self.0.lock().unwrap().try_wait().unwrap()
    }
}

impl Daemon {
    /// Starts `watchbell run` in `folder`, whose `watchbell.toml` exists, and waits until it
    /// serves at `address`.
    pub fn start(folder: &Path, address: SocketAddr) -> Self {
        Self::start_with(folder, address, &[])
    }

    /// As [`Daemon::start`], with this in its environment.
    pub fn start_with(folder: &Path, address: SocketAddr, environment: &[(&str, &OsStr)]) -> Self {
        let daemon = Self::spawn_with(folder, &["run"], environment);
        wait_for("answer from /healthz", Duration::from_secs(20), || {
            http::get(address, "/healthz").filter(|answer| answer.status == 200)
        });
        daemon
    }

    /// Starts the program with these arguments and does not wait.
    pub fn spawn(folder: &Path, args: &[&str]) -> Self {
        Self::spawn_with(folder, args, &[])
    }

    fn spawn_with(folder: &Path, args: &[&str], environment: &[(&str, &OsStr)]) -> Self {
        Self::spawn_under(folder, &[], args, environment)
    }

    /// As [`Daemon::spawn`], by way of another program, which becomes it: `prlimit --nofile=64`.
    pub fn spawn_under(folder: &Path, under: &[&str], args: &[&str], environment: &[(&str, &OsStr)]) -> Self {
        let log = folder.join("log.txt");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut words = under.iter().copied().chain([WATCHBELL]).chain(args.iter().copied());
        let child = Command::new(words.next().unwrap())
            .current_dir(folder)
            .args(words)
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let id = child.id();
        Self { child: Killer(Arc::new(Mutex::new(child))), id, log }
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// What ends it, for others.
    pub fn killer(&self) -> Killer {
        self.child.clone()
    }

    /// What the system says of its memory, in KiB: `VmHWM` is the most that it ever had.
    pub fn memory(&self, what: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill();
        self.ended(Duration::from_secs(10));
    }

    /// Sends a signal by name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id.to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// SIGTERM; the exit status and how long it took.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal("TERM");
        let status = self.ended(Duration::from_mins(1));
        (status, began.elapsed())
    }

    /// The exit status, if it has ended.
    pub fn has_ended(&self) -> Option<ExitStatus> {
        self.child.ended()
    }

    /// The exit status, once it ends by itself.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        wait_for("end of the process", limit, || self.child.ended())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill();
        let _ = self.child.0.lock().unwrap().wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}
