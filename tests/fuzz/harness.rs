//! Many inputs through one function: what it panics on, and what takes it too long.
//!
//! `WATCHBELL_FUZZ` is how many inputs, `WATCHBELL_SEED` where they begin: a failure names the seed
//! that makes its input the first. What fails is cut down to what still fails, and kept in
//! `target/fuzz-found`.

use std::{
    cell::{Cell, RefCell},
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Mutex, Once,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::dice::Dice;

/// No input may take longer, in an optimised program.
const TOO_LONG: Duration = Duration::from_secs(1);
/// The same as a part of all tests, unoptimised and beside others.
const TOO_LONG_IN_TESTS: Duration = Duration::from_secs(10);
/// After this, an input will never be done.
const HANGS: Duration = Duration::from_mins(2);
/// How long is spent on making a failing input smaller.
const CUTTING: Duration = Duration::from_secs(5);

/// Something to be fuzzed.
pub struct Target<'a> {
    /// Also the folder of its corpus.
    pub name: &'static str,
    /// How many inputs as a part of all tests.
    pub cases: u64,
    /// How many at once. More than there are processors is for those that wait for sockets.
    pub threads: usize,
    /// Further inputs, to begin with and to make others of.
    pub seeds: Vec<Vec<u8>>,
    /// Large ones, of which no others are made.
    pub large: Vec<Vec<u8>>,
    /// What the inputs are made of.
    pub words: &'a [&'a str],
}

impl Target<'static> {
    pub fn new(name: &'static str, cases: u64) -> Self {
        Self { name, cases, threads: 1, seeds: Vec::new(), large: Vec::new(), words: &[] }
    }
}

/// What became of one input.
struct Failure {
    seed: Option<u64>,
    input: Vec<u8>,
    why: String,
}

/// All that the threads share.
struct Run<'a> {
    target: &'a Target<'a>,
    corpus: Vec<Vec<u8>>,
    base: u64,
    cases: u64,
    next: AtomicU64,
    slowest: Mutex<(Duration, u64)>,
    failure: Mutex<Option<Failure>>,
    /// For each thread: since when (in ms since the start, plus one) it has been busy with which case.
    busy: Vec<(AtomicU64, AtomicU64)>,
    began: Instant,
}

impl Target<'_> {
    /// Runs all cases; fails with the first that panics, or takes too long.
    pub fn run(mut self, make: impl Fn(&mut Dice) -> Vec<u8> + Sync, run: impl Fn(&[u8]) + Sync) {
        keep_quiet_about_panics();
        let (asked, base) = (number("WATCHBELL_FUZZ"), number("WATCHBELL_SEED"));
        let cases = asked.unwrap_or(self.cases);
        if is_long() {
            self.threads = self.threads.max(2);
        }
        let mut corpus = std::mem::take(&mut self.seeds);
        corpus.extend(files(&corpus_folder().join(self.name)));
        let shared = Run {
            busy: (0..self.threads).map(|_| Default::default()).collect(),
            target: &self,
            base: base.unwrap_or(1),
            // What is known to be hard comes first, as it is.
            cases: cases + known(&self, &corpus),
            corpus,
            next: AtomicU64::new(0),
            slowest: Mutex::default(),
            failure: Mutex::default(),
            began: Instant::now(),
        };
        let (done, watched) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let shared = &shared;
            let make = &make;
            scope.spawn(move || shared.watch(&watched, make));
            let workers: Vec<_> = (0..self.threads)
                .map(|n| (n, &run))
                .map(|(n, run)| scope.spawn(move || shared.work(n, make, run)))
                .collect();
            for worker in workers {
                worker.join().expect("the harness itself does not panic");
            }
            drop(done);
        });
        if let Some(failure) = shared.failure.lock().unwrap().take() {
            fail(&self, &shared, &run, failure);
        }
        if is_long() {
            let (slowest, case) = *shared.slowest.lock().unwrap();
            let took = shared.began.elapsed();
            eprintln!(
                "fuzz {}: {cases} inputs in {:.0} s ({:.0}/s), 0 panics, 0 hangs, slowest {:.1} ms (seed {:?}), at most {} MiB",
                self.name,
                took.as_secs_f64(),
                cases as f64 / took.as_secs_f64(),
                slowest.as_secs_f64() * 1e3,
                shared.seed(case),
                peak_mib(),
            );
        }
    }
}

/// How many inputs there are before any is made.
fn known(target: &Target<'_>, corpus: &[Vec<u8>]) -> u64 {
    (target.large.len() + corpus.len()) as u64
}

impl Run<'_> {
    /// The seed of a case; `None`: it is one of those known.
    fn seed(&self, case: u64) -> Option<u64> {
        let case = case.checked_sub(known(self.target, &self.corpus))?;
        // The first case's seed is the one given, so that any case can be made the first.
        Some(if case == 0 { self.base } else { Dice::new(self.base ^ case.wrapping_mul(0x2545_f491_4f6c_dd1d)).next() })
    }

    fn input(&self, case: u64, make: &dyn Fn(&mut Dice) -> Vec<u8>) -> Vec<u8> {
        let Some(seed) = self.seed(case) else {
            return self.target.large.iter().chain(&self.corpus).nth(case as usize).cloned().unwrap_or_default();
        };
        let mut dice = Dice::new(seed);
        let one_of = |dice: &mut Dice| self.corpus.get(dice.below(self.corpus.len())).cloned();
        let known = if dice.one_in(2) { one_of(&mut dice) } else { None };
        let is_changed = known.is_some() || dice.one_in(3);
        let mut input = known.unwrap_or_else(|| make(&mut dice));
        if is_changed {
            let other = one_of(&mut dice).unwrap_or_default();
            dice.mutate(&mut input, self.target.words, &other);
        }
        input
    }

    fn work(&self, thread: usize, make: &dyn Fn(&mut Dice) -> Vec<u8>, run: &dyn Fn(&[u8])) {
        loop {
            let case = self.next.fetch_add(1, Ordering::Relaxed);
            if case >= self.cases || self.failure.lock().unwrap().is_some() {
                self.busy[thread].0.store(0, Ordering::Relaxed);
                return;
            }
            let input = self.input(case, make);
            self.busy[thread].1.store(case, Ordering::Relaxed);
            self.busy[thread].0.store(self.began.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
            match attempt(run, &input) {
                Ok(took) => {
                    let mut slowest = self.slowest.lock().unwrap();
                    if took > slowest.0 {
                        *slowest = (took, case);
                    }
                }
                Err(why) => {
                    let seed = self.seed(case);
                    self.failure.lock().unwrap().get_or_insert(Failure { seed, input, why });
                    self.busy[thread].0.store(0, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Ends the process if an input is never done; tells how far it is.
    fn watch(&self, ended: &mpsc::Receiver<()>, make: &dyn Fn(&mut Dice) -> Vec<u8>) {
        let mut told = Instant::now();
        while matches!(ended.recv_timeout(Duration::from_millis(200)), Err(mpsc::RecvTimeoutError::Timeout)) {
            let now = self.began.elapsed().as_millis() as u64;
            for (since, case) in &self.busy {
                let since = since.load(Ordering::Relaxed);
                if since > 0 && u128::from(now.saturating_sub(since)) > HANGS.as_millis() {
                    let case = case.load(Ordering::Relaxed);
                    let found = keep(self.target.name, &self.input(case, make));
                    let seed = self.seed(case);
                    eprintln!("fuzz {}: it hangs with the seed {seed:?}: {}", self.target.name, found.display());
                    std::process::exit(101);
                }
            }
            if is_long() && told.elapsed() > Duration::from_secs(30) {
                told = Instant::now();
                let done = self.next.load(Ordering::Relaxed).min(self.cases);
                eprintln!("fuzz {}: {done} of {} inputs after {} s", self.target.name, self.cases, now / 1000);
            }
        }
    }
}

/// Runs one input: how long it took, or what went wrong.
fn attempt(run: &dyn Fn(&[u8]), input: &[u8]) -> Result<Duration, String> {
    let mut best = Duration::MAX;
    // What is slow because the machine is busy is not slow three times in a row.
    for _ in 0..3 {
        let began = Instant::now();
        QUIET.set(true);
        let caught = panic::catch_unwind(AssertUnwindSafe(|| run(input)));
        QUIET.set(false);
        if caught.is_err() {
            return Err(SAID.take());
        }
        best = best.min(began.elapsed());
        if best <= if is_long() { TOO_LONG } else { TOO_LONG_IN_TESTS } {
            return Ok(best);
        }
    }
    Err(format!("it took {best:?}"))
}

/// Cuts a failing input down, keeps it, and panics with all that is needed to see it again.
fn fail(target: &Target<'_>, run: &Run<'_>, function: &dyn Fn(&[u8]), failure: Failure) -> ! {
    let small = cut(function, failure.input, &failure.why);
    let found = keep(target.name, &small);
    let seed = failure.seed.map_or_else(String::new, |seed| format!("WATCHBELL_SEED={seed} WATCHBELL_FUZZ=1 "));
    panic!(
        "{seed}cargo test fuzz::targets::{} (of {} inputs from seed {})\n{}\nwith {} bytes, kept in {}:\n{}",
        target.name,
        run.cases,
        run.base,
        failure.why,
        small.len(),
        found.display(),
        small.escape_ascii().to_string().chars().take(2000).collect::<String>()
    );
}

/// The input without as much as can be left out of it so that it still fails at the same place.
fn cut(run: &dyn Fn(&[u8]), mut input: Vec<u8>, why: &str) -> Vec<u8> {
    let began = Instant::now();
    let place = |why: &str| why.lines().next().unwrap_or("").to_owned();
    let still_fails = |input: &[u8]| attempt(run, input).is_err_and(|other| place(&other) == place(why));
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            if began.elapsed() > CUTTING {
                return input;
            }
            let mut less = input.clone();
            less.drain(at..(at + size).min(less.len()));
            if still_fails(&less) {
                input = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}

fn keep(name: &str, input: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/fuzz-found");
    let path = folder.join(format!("{name}-{:016x}", Dice::new(input.len() as u64).next() ^ checksum(input)));
    let _ = fs::create_dir_all(&folder);
    let _ = fs::write(&path, input);
    path
}

fn checksum(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

pub fn corpus_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

/// What lies in a folder, in the order of names.
pub fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().filter(|path| path.is_file()).map(|path| fs::read(path).unwrap()).collect()
}

/// Whether this is a run of `scripts/fuzz`.
fn is_long() -> bool {
    std::env::var_os("WATCHBELL_FUZZ").is_some()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The most memory that this process ever had.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

thread_local! {
    /// Whether a panic here is an answer, and no news for the screen.
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Threads whose names begin so run the product's tasks: a panic there reaches nobody else.
pub const WATCHED: &str = "fuzzed-";
static TASK_PANICKED: Mutex<Option<String>> = Mutex::new(None);

/// Panics if a task on a watched thread did.
pub fn no_task_panicked() {
    let said = TASK_PANICKED.lock().unwrap().clone();
    assert!(said.is_none(), "a task panicked: {}", said.unwrap_or_default());
}

fn keep_quiet_about_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| if QUIET.get() { SAID.set(info.to_string()) } else { usual(info) }));
    });
}

/// A runtime whose tasks' panics are noticed by [`no_task_panicked`].
pub fn runtime(name: &'static str) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(format!("{WATCHED}{name}"))
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_failure_names_its_seed_and_a_small_input() {
    let failed = panic::catch_unwind(|| {
        let make = |dice: &mut Dice| format!("{}bad{}", dice.text(), dice.text()).into_bytes();
        Target::new("harness", 500).run(make, |input| assert!(!input.windows(3).any(|w| w == b"bad"), "found"));
    });
    let said = *failed.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("WATCHBELL_SEED=1 ") && said.contains("\nfound\n") && said.ends_with(":\nbad"), "{said}");
}
