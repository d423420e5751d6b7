//! The daemon under measurement: the real program with a config of its own, on disk.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::process::{Process, wait_for};

/// The program.
pub const WATCHBELL: &str = env!("CARGO_BIN_EXE_watchbell");

/// A site that has not changed for so long is at rest.
const RESTED: Duration = Duration::from_secs(3);

/// A folder on the disk of the checkout: a temporary one may be in memory.
pub fn folder() -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("bench").tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}

/// An address of loopback that was free a moment ago.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// `watchbell run`, until it is dropped or stopped.
pub struct Daemon {
    process: Process,
    folder: PathBuf,
}

impl Daemon {
    /// Starts it in `folder` with `services` (the text of all `[[service]]`, `[email]` and so on
    /// below the first tables), and waits until it is healthy and `index.html` is there.
    pub fn start(folder: &Path, services: &str) -> io::Result<Self> {
        let listen = free_address()?;
        let head = format!(
            "[site]\ntitle = \"Bench\"\nurl = \"http://{listen}/\"\n\n[server]\nlisten = \"{listen}\"\n\n{services}"
        );
        fs::write(folder.join("watchbell.toml"), head)?;
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log.txt"))?;
        let process = Process::start(
            Command::new(WATCHBELL)
                .arg("run")
                .current_dir(folder)
                .env_remove("RUST_LOG")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )?;
        let daemon = Self { process, folder: folder.to_owned() };
        let ready = || (healthy(listen) && folder.join("public/index.html").exists()).then_some(());
        match wait_for("healthy daemon", Duration::from_mins(2), ready) {
            Ok(()) => Ok(daemon),
            Err(error) => Err(io::Error::other(format!("{error}\n{}", daemon.log()))),
        }
    }

    /// Waits until every service has been looked at and the site that says so is published: what
    /// comes then is every day's work.
    pub fn settled(&self) -> io::Result<()> {
        let index = self.folder.join("public/index.html");
        let rests = || {
            let unchanged = fs::metadata(&index).ok()?.modified().ok()?.elapsed().ok()? > RESTED;
            let known = !fs::read_to_string(&index).ok()?.contains("data-status=\"unknown\"");
            (unchanged && known).then_some(())
        };
        wait_for("site at rest", Duration::from_mins(3), rests)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log.txt")).unwrap_or_default()
    }

    /// SIGTERM; waits for the end.
    pub fn stop(self) -> io::Result<()> {
        let log = self.folder.join("log.txt");
        self.process
            .stop()
            .map_err(|error| io::Error::other(format!("{error}\n{}", fs::read_to_string(log).unwrap_or_default())))
    }
}

fn healthy(address: SocketAddr) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream
            .write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
