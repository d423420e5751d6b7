//! How fast do mails leave? 20,000 different ones from a real outbox, each marked durably, against
//! what only sends: `smtp-source`, to the same `smtp-sink`, over as many connections.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "benches stand outside: they look at the clock, and fail loudly"
)]

mod support;

use std::{
    fmt::Write as _,
    fs, io,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use support::{
    daemon::{folder, free_address},
    process::{Process, have, wait_for},
    table::{self, Figure, Goal, Row},
};
use tokio::{runtime::Runtime, sync::watch};
use tokio_util::sync::CancellationToken;
use watchbell::{
    clock::{Clock, SystemClock},
    config::Config,
    domain::{
        EventId, Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus,
        event::{Event, EventKind},
        incident::{Affected, Incident, Origin},
    },
    judge::Step,
    notify::{
        compose::Composer,
        ledger::StoreLedger,
        operator::Desk,
        outbox::Outbox,
        relay::Relay,
        worker::{self, Handles, Settings},
    },
    store::{Commit, Store, csv, tokens::Key},
};

const MAILS: usize = 20_000;
/// What `smtp-source` adds to the length that it is told.
const SOURCE_HEADER: usize = 130;
const ROUNDS: usize = 3;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let programs = ["smtp-sink", "smtp-source"];
    if !programs.iter().all(|program| have(program, "mails to a server that takes all")) {
        return Ok(());
    }
    let folder = folder()?;
    let sink = Sink::start()?;
    let bytes = Office::open(&folder.path().join("one"), &sink, 1)?.length()?;
    let mut office = Office::open(&folder.path().join("all"), &sink, MAILS)?;
    let runtime = Runtime::new()?;
    let mut rows = Vec::new();
    for (connections, signed, goal) in [
        (10, false, Goal::AtLeastTimes(0.5)),
        (1, false, Goal::AtLeastTimes(0.6)),
        (10, true, Goal::Information),
        (1, true, Goal::Information),
    ] {
        let (mut ours, mut theirs) = ([rate(), cpu()], [rate(), cpu()]);
        for _ in 0..if signed { 1 } else { ROUNDS } {
            for (figure, value) in theirs.iter_mut().zip(source(&sink, connections, bytes)?) {
                figure.push(value);
            }
            for (figure, value) in ours.iter_mut().zip(office.send(&runtime, connections, signed)?) {
                figure.push(value);
            }
        }
        let how = if signed { "signed (RSA-2048)" } else { "unsigned" };
        let question = format!("{MAILS} mails of {bytes} bytes, {how}, over {connections} connections");
        for ((ours, theirs), (what, goal)) in
            ours.into_iter().zip(theirs).zip([("", goal), (": CPU of the sender", Goal::Information)])
        {
            let anchor = Some((format!("smtp-source -s {connections}"), theirs));
            rows.push(Row { question: format!("{question}{what}"), ours, anchor, goal });
        }
    }
    Ok(table::print(&rows)?)
}

fn rate() -> Figure {
    Figure::new("mails/s")
}

fn cpu() -> Figure {
    Figure::new("ms CPU per 1,000 mails")
}

/// A server that takes everything and keeps nothing.
struct Sink {
    address: SocketAddr,
    _process: Process,
}

impl Sink {
    fn start() -> io::Result<Self> {
        let address = free_address()?;
        let process =
            Process::start(Command::new("/usr/sbin/smtp-sink").args(["-u", "root", &address.to_string(), "256"]))?;
        wait_for("smtp-sink", Duration::from_secs(10), || TcpStream::connect(address).ok())?;
        Ok(Self { address, _process: process })
    }
}

/// Mails a second and CPU of `smtp-source`.
fn source(sink: &Sink, connections: u32, bytes: usize) -> Fallible<[f64; 2]> {
    let (cpu, began) = (cpu_of_us()?.1, Instant::now());
    let status = Command::new("/usr/sbin/smtp-source")
        .args(["-d", "-f", "status@example.org", "-t", "reader@example.net"])
        .args(["-s", &connections.to_string(), "-m", &MAILS.to_string()])
        .args(["-l", &bytes.saturating_sub(SOURCE_HEADER).to_string()])
        .arg(sink.address.to_string())
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(format!("smtp-source: {status}").into());
    }
    let took = began.elapsed().as_secs_f64();
    Ok(figures(took, cpu_of_us()?.1 - cpu))
}

fn figures(seconds: f64, cpu: f64) -> [f64; 2] {
    [MAILS as f64 / seconds, cpu * 1e6 / MAILS as f64]
}

/// CPU seconds of this process, and of its children that have ended.
fn cpu_of_us() -> Fallible<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let ticks: Vec<f64> = fields.split_ascii_whitespace().skip(11).take(4).map(str::parse).collect::<Result<_, _>>()?;
    Ok(((ticks[0] + ticks[1]) / 100.0, (ticks[2] + ticks[3]) / 100.0))
}

/// A store on the disk with readers in it, and what mails are made with.
struct Office {
    unsigned: Config,
    signed: Config,
    store: Store,
    told: u8,
}

impl Office {
    fn open(folder: &Path, sink: &Sink, readers: usize) -> Fallible<Self> {
        fs::create_dir_all(folder)?;
        let key = folder.join("dkim.pem");
        let made = Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into());
        }
        let text = |dkim: &str| {
            format!(
                "[site]\nurl = \"https://status.example.org/\"\n[store]\nurl = \"sqlite:{folder}/watchbell.db\"\n\
                 [email]\nfrom = \"Example Status <status@example.org>\"\nsmtp = \"smtp://{sink}\"\n{dkim}\n\
                 [[service]]\nid = \"api\"\nname = \"API\"\n",
                folder = folder.display(),
                sink = sink.address,
            )
        };
        let parse = |dkim: &str| {
            Config::parse(&folder.join("watchbell.toml"), &text(dkim), &|_| None)
                .map(|parsed| parsed.config)
                .map_err(|errors| format!("{errors:?}"))
        };
        let unsigned = parse("")?;
        let dkim = "dkim.domain = \"example.org\"\ndkim.selector = \"s1\"\ndkim.key = { file = \"dkim.pem\" }\n";
        let signed = parse(dkim)?;
        let now = SystemClock::new().wall();
        let mut store = Store::open(&unsigned.store, now)?;
        store.set_services(&unsigned.rules)?;
        let mut list = "email\n".to_owned();
        for n in 0..readers {
            writeln!(list, "reader{n}@example.net")?;
        }
        csv::import(&mut store, list.as_bytes(), &unsigned.rules, false, now)?;
        Ok(Self { unsigned, signed, store, told: 0 })
    }

    /// An outage that everyone is to be told.
    fn opens(&mut self) -> Fallible<()> {
        let now = SystemClock::new().wall();
        self.told += 1;
        let service = ServiceId::new("api").map_err(|error| format!("{error:?}"))?;
        let incident = Incident {
            id: IncidentId::minted(now, &service, self.told.into()),
            version: 1,
            aliases: Vec::new(),
            origin: Origin::Automatic,
            title: None,
            root: None,
            status: IncidentStatus::Investigating,
            impact: Impact::Critical,
            impact_override: None,
            started_at: now,
            noticed_at: now,
            resolved_at: None,
            affected: vec![Affected {
                service: service.clone(),
                status: ServiceStatus::MajorOutage,
                worst: ServiceStatus::MajorOutage,
                started_at: now,
                recovered_at: None,
                earlier_ms: 0,
                cause: None,
                seen_failing: true,
            }],
            updates: Vec::new(),
            facts: Vec::new(),
            postmortem: None,
            auto_resolve: true,
            withdrawn: false,
            reopened: 0,
        };
        let event = Event {
            id: EventId::new(now, [self.told; 10]),
            kind: EventKind::Opened,
            incident: incident.id.clone(),
            at: now,
            recorded_at: now,
            seals_at: now,
            services: vec![service],
            notify: true,
            view: (&incident).into(),
            update: None,
            fact: None,
        };
        let mut commit = Commit::new(now);
        commit.steps.push(Step { incidents: vec![incident], events: vec![event], ..Step::default() });
        self.store.commit(&commit)?;
        while self.store.fan_out(now)?.next_at.is_some() {}
        Ok(())
    }

    fn ledger(&self, now: Timestamp) -> Fallible<StoreLedger> {
        let config = &self.unsigned.store;
        Ok(StoreLedger::new(Store::open(config, now)?, Key::open(config)?))
    }

    /// The length of one whole message.
    fn length(&mut self) -> Fallible<usize> {
        self.opens()?;
        let email = self.unsigned.email.as_ref().ok_or("no [email]")?;
        let composer = Arc::new(Composer::new(&self.unsigned, email)?);
        let mut outbox = Outbox::new(self.store.new_epoch()?, composer, 1, None);
        let now = SystemClock::new().wall();
        let messages = outbox.poll(&mut self.ledger(now)?, now)?;
        Ok(messages.first().ok_or("there is no message")?.bytes.len())
    }

    /// Mails a second and CPU, from the first claim until the last one is marked.
    fn send(&mut self, runtime: &Runtime, connections: u32, signed: bool) -> Fallible<[f64; 2]> {
        self.opens()?;
        let before = self.store.outbox_counts()?.sent;
        let config = if signed { &self.signed } else { &self.unsigned };
        let mut email = config.email.clone().ok_or("no [email]")?;
        email.connections = connections;
        let clock = Arc::new(SystemClock::new());
        let composer = Arc::new(Composer::new(config, &email)?);
        let outbox = Outbox::new(self.store.new_epoch()?, Arc::clone(&composer), connections, None);
        let (ledger, counters) = (self.ledger(clock.wall())?, outbox.counters());
        let relay = Arc::new(Relay::new(&email, Arc::clone(&clock) as Arc<dyn Clock>)?);
        let (_settings, receiver) = watch::channel(Arc::new(Settings::new(&email, composer, relay, Vec::new())));
        let shutdown = CancellationToken::new();
        let handles =
            Handles { clock, ring: Arc::default(), desk: Desk::new(), settings: receiver, shutdown: shutdown.clone() };
        let (cpu, began) = (cpu_of_us()?.0, Instant::now());
        let work = runtime.spawn(worker::run(outbox, ledger, handles));
        let is_done = || (counters.sent.load(Ordering::Relaxed) >= MAILS as u64).then_some(());
        wait_for("mail", Duration::from_mins(3), is_done)?;
        shutdown.cancel();
        runtime.block_on(work)??;
        let figures = figures(began.elapsed().as_secs_f64(), cpu_of_us()?.0 - cpu);
        let counts = self.store.outbox_counts()?;
        if counts.sent - before != MAILS as u64 || counts.open() > 0 {
            return Err(format!("not all were marked: {counts:?}").into());
        }
        Ok(figures)
    }
}
