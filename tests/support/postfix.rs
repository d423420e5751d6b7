//! A real Postfix of our own, delivering into one Maildir, and `smtp-sink`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use super::daemon::{free_address, wait_for};

/// Where Postfix is, if it is installed and may be run (it insists on root).
pub fn installed() -> Result<PathBuf, &'static str> {
    let postfix = PathBuf::from("/usr/sbin/postfix");
    if !postfix.exists() {
        return Err("postfix is not installed");
    }
    let is_root = fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if is_root { Ok(postfix) } else { Err("postfix needs root") }
}

/// A running Postfix.
pub struct Postfix {
    /// Where it takes mail.
    pub address: SocketAddr,
    /// Where it speaks TLS from the first byte, if it does.
    pub wrapped: Option<SocketAddr>,
    folder: PathBuf,
}

/// One delivered mail.
#[derive(Debug)]
pub struct Mail {
    /// All of it, line ends as `\n`.
    pub text: String,
}

impl Mail {
    /// A header's value, unfolded; the first of that name.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.text.split("\n\n").next()?;
        let unfolded = head.replace("\n ", " ").replace("\n\t", " ");
        let wanted = format!("{}:", name.to_ascii_lowercase());
        unfolded
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(&wanted))
            .map(|line| line[wanted.len()..].trim().to_owned())
    }

    /// Whom it was for.
    pub fn recipient(&self) -> String {
        self.header("Delivered-To").or_else(|| self.header("To")).unwrap_or_default()
    }
}

fn id_of(user: &str) -> u32 {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with(&format!("{user}:"))).expect("the user exists");
    line.split(':').nth(2).unwrap().parse().unwrap()
}

impl Postfix {
    /// One that takes mail for `example.org`.
    pub fn start(folder: &Path) -> Self {
        Self::launch(folder, false, |_| String::new())
    }

    /// One that offers TLS as `localhost`, with `postfix/cert.pem` as its certificate and root.
    pub fn start_with_tls(folder: &Path) -> Self {
        Self::launch(folder, true, |_| String::new())
    }

    /// One that does what `decide` says about each stage of each dialogue: the action of an access
    /// table (`man 5 access`) for a request of the policy protocol. It hangs up soon on who is silent.
    pub fn start_deciding(folder: &Path, decide: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Self {
        let policy = serve(decide);
        Self::launch(folder, false, |_| {
            let mut lines = "smtpd_delay_reject = no\nsmtpd_timeout = 2\n".to_owned();
            for stage in ["client", "helo", "sender", "recipient", "data", "end_of_data"] {
                writeln!(lines, "smtpd_{stage}_restrictions = check_policy_service inet:{policy}").unwrap();
            }
            lines
        })
    }

    /// One like [`Self::start_with_tls`] that takes mail only from who logs in with this name and
    /// password, and lets nobody do so in clear.
    pub fn start_with_login(folder: &Path, name: &str, password: &str) -> Self {
        Self::launch(folder, true, |folder| {
            // Where Debian's Postfix looks whatever it is told.
            let sasl = folder.join("config/sasl");
            fs::create_dir(&sasl).unwrap();
            let users = sasl.join("users");
            let mut add = Command::new("saslpasswd2");
            add.args(["-p", "-c", "-u", "example.org", "-f"]).arg(&users).arg(name);
            let mut child = add.stdin(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success());
            chown(&users, Some(id_of("postfix")), None).unwrap();
            let plugin = "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path:";
            fs::write(sasl.join("smtpd.conf"), format!("{plugin} {}\n", users.display())).unwrap();
            format!(
                "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = cyrus\nsmtpd_sasl_path = smtpd\n\
                 cyrus_sasl_config_path = {}\nsmtpd_sasl_local_domain = example.org\nsmtpd_tls_auth_only = yes\n\
                 smtpd_client_restrictions = \nsmtpd_relay_restrictions = permit_sasl_authenticated, reject\n",
                sasl.display()
            )
        })
    }

    /// `further` makes more lines of `main.cf`; the last of a name counts.
    fn launch(folder: &Path, has_tls: bool, further: impl FnOnce(&Path) -> String) -> Self {
        let folder = folder.join("postfix");
        for part in ["config", "queue", "data", "mail"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let (owner, nobody) = (id_of("postfix"), id_of("nobody"));
        chown(folder.join("data"), Some(owner), None).unwrap();
        chown(folder.join("mail"), Some(nobody), Some(nobody)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(env!("CARGO_TARGET_TMPDIR"))) {
            fs::set_permissions(above, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let address = free_address();
        let wrapped = has_tls.then(free_address);
        let dir = folder.display();
        let tls = if has_tls {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
            fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
            format!("may\nsmtpd_tls_cert_file = {dir}/cert.pem\nsmtpd_tls_key_file = {dir}/key.pem")
        } else {
            "none".to_owned()
        };
        let further = further(&folder);
        fs::write(
            folder.join("config/main.cf"),
            format!(
                "compatibility_level = 3.6\nqueue_directory = {dir}/queue\ndata_directory = {dir}/data\nmail_owner = postfix\n\
                 inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = mail.example.org\nmydestination =\n\
                 virtual_mailbox_domains = example.org\nvirtual_mailbox_base = {dir}/mail\nvirtual_mailbox_maps = static:all/\n\
                 virtual_uid_maps = static:{nobody}\nvirtual_gid_maps = static:{nobody}\nvirtual_minimum_uid = 100\n\
                 maillog_file = {dir}/mail.log\nmaillog_file_prefixes = {dir}\nmynetworks = 127.0.0.0/8\n\
                 smtpd_relay_restrictions = permit_mynetworks, reject\nin_flow_delay = 0\nsmtpd_tls_security_level = {tls}\n{further}"
            ),
        )
        .unwrap();
        let mut master = format!("{address} inet n - n - - smtpd\n");
        if let Some(wrapped) = wrapped {
            master.push_str(&format!("{wrapped} inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes\n"));
        }
        for (name, kind, private, wakeup, limit, program) in [
            ("tlsmgr", "unix", "-", "1000?", "1", "tlsmgr"),
            ("pickup", "unix", "n", "60", "1", "pickup"),
            ("cleanup", "unix", "n", "-", "0", "cleanup"),
            ("qmgr", "unix", "n", "300", "1", "qmgr"),
            ("rewrite", "unix", "-", "-", "-", "trivial-rewrite"),
            ("bounce", "unix", "-", "-", "0", "bounce"),
            ("defer", "unix", "-", "-", "0", "bounce"),
            ("trace", "unix", "-", "-", "0", "bounce"),
            ("proxymap", "unix", "-", "-", "-", "proxymap"),
            ("error", "unix", "-", "-", "-", "error"),
            ("virtual", "unix", "-", "-", "-", "virtual"),
            ("anvil", "unix", "-", "-", "1", "anvil"),
            ("scache", "unix", "-", "-", "1", "scache"),
            ("postlog", "unix-dgram", "n", "-", "1", "postlogd"),
        ] {
            let unprivileged = if program == "virtual" { "n" } else { "-" };
            master.push_str(&format!("{name} {kind} {private} {unprivileged} n {wakeup} {limit} {program}\n"));
        }
        fs::write(folder.join("config/master.cf"), master).unwrap();
        let postfix = Self { address, wrapped, folder };
        postfix.command("start");
        wait_for("Postfix", Duration::from_secs(20), || std::net::TcpStream::connect(address).ok());
        postfix
    }

    fn command(&self, what: &str) {
        let output =
            Command::new("/usr/sbin/postfix").arg("-c").arg(self.folder.join("config")).arg(what).output().unwrap();
        assert!(output.status.success(), "postfix {what}: {output:?}\n{}", self.log());
    }

    /// What Postfix says.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("mail.log")).unwrap_or_default()
    }

    /// Whether nobody is connected any more.
    pub fn is_idle(&self) -> bool {
        let log = self.log();
        log.matches(": connect from").count() == log.matches(": disconnect from").count()
    }

    /// All mails delivered so far, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        let Ok(entries) = fs::read_dir(self.folder.join("mail/all/new")) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        files.iter().map(|path| Mail { text: fs::read_to_string(path).unwrap() }).collect()
    }

    /// Waits until at least `count` mails are delivered.
    pub fn wait_for_mails(&self, count: usize, limit: Duration) -> Vec<Mail> {
        wait_for(&format!("{count} mails"), limit, || Some(self.mails()).filter(|mails| mails.len() >= count))
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/postfix").arg("-c").arg(self.folder.join("config")).arg("stop").output();
        if std::thread::panicking() {
            eprintln!("--- Postfix's log ---\n{}", self.log());
        }
    }
}

/// What Postfix asks at a stage of a dialogue: `protocol_state` is `CONNECT`, `EHLO`, `MAIL`, `RCPT`,
/// `DATA` or `END-OF-MESSAGE`; `recipient` is whom it is about.
pub type Asked = BTreeMap<String, String>;

/// Answers Postfix until the test's process ends.
fn serve(decide: impl Fn(&Asked) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let decide = Arc::new(decide);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, decide) = (stream.unwrap(), Arc::clone(&decide));
            thread::spawn(move || {
                let mut asked = Asked::new();
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let Ok(line) = line else { return };
                    if let Some((name, value)) = line.split_once('=') {
                        asked.insert(name.to_owned(), value.to_owned());
                    } else if write!(stream, "action={}\n\n", decide(&std::mem::take(&mut asked))).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A running `smtp-sink`, which takes everything and writes each mail into a file.
pub struct Sink {
    child: Child,
    /// Where it takes mail.
    pub address: SocketAddr,
    folder: PathBuf,
}

impl Sink {
    /// Where the program is, if it is installed.
    pub fn installed() -> Option<PathBuf> {
        super::skip::program("smtp-sink")
    }

    /// One with these further arguments.
    pub fn start(folder: &Path, args: &[&str]) -> Self {
        let folder = folder.join("sink");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let address = free_address();
        let child = Command::new(Self::installed().expect("smtp-sink is installed"))
            .current_dir(&folder)
            .args(["-u", "root", "-d", "%Y%m%d%H%M%S."])
            .args(args)
            .arg(address.to_string())
            .arg("100")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("smtp-sink", Duration::from_secs(10), || std::net::TcpStream::connect(address).ok());
        Self { child, address, folder }
    }

    /// How many mails it took so far, or is taking.
    pub fn count(&self) -> usize {
        fs::read_dir(&self.folder).unwrap().count()
    }

    /// All mails taken so far.
    pub fn mails(&self) -> Vec<Mail> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| Mail { text: fs::read_to_string(path).unwrap().replace("\r\n", "\n") }).collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
