//! Other processes: started, stopped, and what they cost, by what the kernel says of them.

use std::{
    fs,
    io::{self, Write},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Ticks a second in `/proc/PID/stat`: the same on every Linux that Rust knows.
const TICKS: f64 = 100.0;

/// CPU seconds that this process has used until now.
pub fn own_cpu() -> io::Result<f64> {
    cpu_of(std::process::id())
}

fn cpu_of(process: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may hold anything; utime and stime are fields 14 and 15 of all.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace()).into_iter().flatten();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS)
}

/// A child that does not outlive us.
pub struct Process(Child);

impl Process {
    /// Starts `command`.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// CPU seconds that it has used until now, in all its threads; to 10 ms.
    pub fn cpu(&self) -> io::Result<f64> {
        cpu_of(self.id())
    }

    /// Its anonymous memory now, in MB (10^6 bytes): what it has asked for and touched, without
    /// what is only a file seen through memory.
    pub fn anonymous_mb(&self) -> io::Result<f64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<f64>().ok());
        kib.map(|kib| kib * 1024.0 / 1e6).ok_or_else(|| io::Error::other("no `Anonymous` in smaps_rollup"))
    }

    /// SIGTERM; waits for the end.
    pub fn stop(mut self) -> io::Result<()> {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)?;
        }
        let status = wait_for("end of a process", Duration::from_secs(20), || self.0.try_wait().transpose())??;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("a process ended badly: {status}"))) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU seconds that `processes` need together during `window`.
pub fn cpu_during(processes: &[&Process], window: Duration) -> io::Result<f64> {
    let sum = || processes.iter().map(|process| process.cpu()).sum::<io::Result<f64>>();
    let (before, began) = (sum()?, Instant::now());
    thread::sleep(window);
    let used = sum()? - before;
    // A busy machine wakes us late: what counts is the time that passed.
    Ok(used * window.as_secs_f64() / began.elapsed().as_secs_f64())
}

/// Asks again and again until there is an answer.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> io::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if began.elapsed() > limit {
            return Err(io::Error::other(format!("in {limit:?} there was no {what}")));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a program can be found; if not, it is said that what needs it is left out.
pub fn have(program: &str, what: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.any(|folder| folder.join(program).is_file());
    if !found {
        say(&format!("SKIP: {what} ({program} is not installed)"));
    }
    found
}

/// Tells whoever waits what goes on. Results go to standard output, this does not.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
