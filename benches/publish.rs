//! From a verdict to the published files: how long, against a program that writes the same bytes
//! with the same syncs; and what it grows with. Verdicts fall on random services of a store with a
//! past, and into renewals.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "benches stand outside: they look at the clock, and fail loudly"
)]

mod past;
mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};
use past::Past;
use support::{
    daemon::folder,
    process::say,
    table::{self, Figure, Goal, Row, percentile},
};
use watchbell::{
    site::Publisher,
    store::{Reader, Store},
};

/// So many verdicts of each scene, the larger half of them outages.
const VERDICTS: usize = 240;
/// Every so many verdicts the same is written by the anchor.
const ANCHORED: usize = 4;
/// Between two verdicts.
const APART: SignedDuration = SignedDuration::from_millis(7003);
/// Pages that the daemon restates at once, and as many threads as it has for writing.
const SLICE: usize = 32;
const WRITERS: usize = 8;

fn main() -> io::Result<()> {
    let (mut verdict, mut during) = (Figure::new("ms, p99"), Figure::new("ms, p99"));
    let (mut ours, mut anchor) = (Figure::new("ms"), Figure::new("ms"));
    let main = scene(1_000, 10_000)?;
    verdict.push(main.p99());
    during.push(main.p99_of_renewals());
    for (publish, written) in &main.pairs {
        ours.push(*publish);
        anchor.push(*written);
    }
    let young = scene(1_000, 1_000)?;
    let small = scene(100, 10_000)?;
    let median = |scene: &Scene| Figure { rounds: vec![scene.median()], unit: "ms, median".to_owned() };
    let of = |name: &str, scene: &Scene| Some((name.to_owned(), median(scene)));
    let row = |question: &str, ours, anchor, goal| Row { question: question.to_owned(), ours, anchor, goal };
    table::print(&[
        row(
            "verdict to published files, 1,000 services, 10,000 past incidents, renewals between",
            verdict,
            None,
            Goal::AtMost(100.0),
        ),
        row("the same while pages are being renewed", during, None, Goal::AtMost(100.0)),
        row(
            "publishing a verdict",
            ours,
            Some(("the same bytes, syncs and renames".to_owned(), anchor)),
            Goal::AtMostTimes(2.0),
        ),
        row(
            "publishing a verdict with ten times the past",
            median(&main),
            of("1,000 past incidents", &young),
            Goal::AtMostTimes(1.3),
        ),
        row(
            "publishing a verdict with ten times the services",
            median(&main),
            of("100 services", &small),
            Goal::Information,
        ),
    ])
}

/// What was measured, in milliseconds.
#[derive(Default)]
struct Scene {
    /// From before the commit until all files are in their place.
    verdicts: Vec<f64>,
    /// Those that came while a renewal was under way: with the slice that they waited for.
    in_renewals: Vec<f64>,
    /// Publishing alone, and the anchor with the same files.
    pairs: Vec<(f64, f64)>,
}

impl Scene {
    fn p99(&self) -> f64 {
        percentile(&mut self.verdicts.clone(), 0.99).unwrap()
    }

    fn p99_of_renewals(&self) -> f64 {
        percentile(&mut self.in_renewals.clone(), 0.99).unwrap()
    }

    fn median(&self) -> f64 {
        percentile(&mut self.verdicts.clone(), 0.5).unwrap()
    }
}

fn scene(services: usize, incidents: usize) -> io::Result<Scene> {
    let folder = folder()?;
    let mut now: Timestamp = "2026-11-21T14:00:10Z".parse().unwrap();
    let mut past = Past::make(folder.path(), &past::services_text(services, "127.0.0.1:9"), incidents, now);
    let mut reader = Store::reader(&past.config.store).unwrap();
    let mut publisher = Publisher::new(&past.config).unwrap();
    let output = past.config.site.output.clone();
    let began = Instant::now();
    let first = publisher.publish(&reader, now).unwrap();
    say(&format!(
        "{services} services, {incidents} past incidents: {} files at first, in {:.1} s",
        first.written,
        began.elapsed().as_secs_f64()
    ));
    let mut scene = Scene::default();
    let mut random = 88_172_645_463_325_252_u64;
    for n in 0..VERDICTS {
        now += APART;
        // Renewals that are due by now have been made, but for the one that this verdict falls into.
        let mut waited = None;
        while publisher.renew_at().is_some_and(|at| at <= now) {
            let at = publisher.renew_at().unwrap();
            loop {
                let began = Instant::now();
                let step = advance(&mut publisher, &mut reader, at);
                if n % 2 == 0 && step.left > services / 2 && step.written > 0 {
                    waited = Some(ms(began));
                }
                if step.left == 0 || waited.is_some() {
                    break;
                }
            }
            if waited.is_some() {
                break;
            }
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let down: Vec<usize> = (0..services).filter(|service| past.is_down(*service)).collect();
        let pick = random as usize;
        let service = if n % 2 == 1 && !down.is_empty() { down[pick % down.len()] } else { pick % services };
        let before = (n % ANCHORED == 0).then(|| files(&output));
        let began = Instant::now();
        past.verdict(service, now);
        let committed = Instant::now();
        let published = advance(&mut publisher, &mut reader, now);
        scene.verdicts.push(ms(began));
        let publishing = ms(committed);
        if let Some(waited) = waited {
            scene.in_renewals.push(waited + ms(began));
        }
        assert!(published.written >= 10, "{published:?}");
        if let Some(before) = before {
            let written: Vec<PathBuf> = files(&output)
                .into_iter()
                .filter(|(path, file)| before.get(path) != Some(file))
                .map(|(path, _)| path)
                .collect();
            scene.pairs.push((publishing, write_again(&output, &folder.path().join("anchor"), &written)?));
        }
        while publisher.renew_at().is_some_and(|at| at <= now) || waited.take().is_some() {
            while advance(&mut publisher, &mut reader, now).left > 0 {}
        }
    }
    Ok(scene)
}

/// One step, as the daemon makes it.
fn advance(publisher: &mut Publisher, reader: &mut Reader, now: Timestamp) -> watchbell::site::Published {
    reader.refresh().unwrap();
    let published = publisher.advance(reader, now, SLICE).unwrap();
    reader.rest().unwrap();
    published
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Every file below `folder`, and what tells one version from the next.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, u64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::metadata(&path).unwrap();
            if meta.is_dir() {
                folders.push(path);
            } else {
                found.insert(path, (meta.ino(), meta.mtime_nsec(), meta.len()));
            }
        }
    }
    found
}

/// The anchor: the same files with the same content, each over an older one, as temporaries that
/// are synced, renamed, and made durable in their folders; as many at a time as we write. What is
/// appended to our journal is written whole here, which costs about as much.
fn write_again(output: &Path, anchor: &Path, written: &[PathBuf]) -> io::Result<f64> {
    let copies: Vec<(PathBuf, Vec<u8>)> = written
        .iter()
        .filter(|path| !path.ends_with("lock") && !path.ends_with("journal"))
        .map(|path| Ok((anchor.join(path.strip_prefix(output).unwrap()), fs::read(path)?)))
        .collect::<io::Result<_>>()?;
    for (path, bytes) in &copies {
        fs::create_dir_all(path.parent().unwrap())?;
        fs::write(path, bytes)?;
    }
    rustix::fs::syncfs(File::open(anchor)?)?;
    let began = Instant::now();
    shared(&copies, |(path, bytes)| {
        let mut file = File::create(temporary(path)).unwrap();
        file.write_all(bytes).unwrap();
        file.sync_all().unwrap();
    });
    for (path, _) in &copies {
        fs::rename(temporary(path), path)?;
    }
    let mut folders: Vec<&Path> = copies.iter().flat_map(|(path, _)| path.ancestors().skip(1)).collect();
    folders.retain(|folder| folder.starts_with(anchor));
    folders.sort_unstable();
    folders.dedup();
    shared(&folders, |folder| File::open(folder).unwrap().sync_all().unwrap());
    Ok(ms(began))
}

fn temporary(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.tmp", path.file_name().unwrap_or_default().to_string_lossy()))
}

fn shared<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let work = &work;
    thread::scope(|scope| {
        for chunk in items.chunks(items.len().div_ceil(WRITERS).max(1)) {
            scope.spawn(move || chunk.iter().for_each(work));
        }
    });
}
