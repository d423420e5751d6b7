//! One life of the daemon: the same parts that its tasks carry values between, driven by turns.
//! It ends by being dropped, as a process does: what was not written down is gone.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Dice, Happened, Wrap,
    faults::{Faults, GuardedJournal, GuardedLedger, Port, Side},
    network::Network,
    relay::{Handover, ScriptedRelay},
    time::Time,
};
use crate::{
    clock::{Elapsed, to_millis},
    config::{Config, Loaded},
    daemon::{
        self, DaemonError, Opened, delivering,
        engine::Engine,
        health::Health,
        judging::{self, Watch},
        noting::{self, Kept, NoteReader},
        publishing::{self, Bench, PublishingError},
        reloading::{Reloaded, Reloader},
        writing::{self, Writer},
    },
    domain::{CheckKey, incident::Incident, outcome::Outcome, service::Rules, subscriber::Address},
    fsio::Lock,
    notify::{compose::Composer, ledger::Ledger, operator::Desk, outbox::Outbox, worker},
    schedule::Schedule,
    site::Published,
    store::{Commit, Store},
    web::Metrics,
};

/// Commits that may wait for the writer, as in the daemon.
const COMMITS_WAITING: usize = 64;
/// After a failure of the queue, and between two tries to begin delivering.
const POST_RETRY: Duration = Duration::from_secs(1);
/// The mail worker looks at its queue this often, whatever it was told.
const POST_POLL: Duration = Duration::from_secs(5);
/// The site is looked at this often, whatever it was told.
const SITE_POLL: Duration = Duration::from_secs(30);
/// A note that is wrong is read again after so long.
const NOTES_RETRY: Duration = Duration::from_secs(20);
/// Between two steps of a renewal of pages.
const STEP: Duration = Duration::from_millis(10);
/// How often the last commit is tried.
const LAST_TRIES: u32 = 3;

/// Publishes, as of the time that it asks for.
type Publish = fn(&mut Bench, &mut dyn FnMut() -> Timestamp) -> Result<Published, PublishingError>;

/// What the daemon lives in, and what outlives it.
pub(super) struct Outside {
    pub time: Time,
    pub network: Network,
    pub relay: ScriptedRelay,
    pub dice: Dice,
    pub faults: Faults,
    /// What happened in the present step.
    pub happened: Vec<Happened>,
}

/// What a start depends on.
pub(super) struct Start<'a> {
    pub config: Arc<Config>,
    pub text_hash: u64,
    pub seed: u64,
    /// How often the schedule wakes up.
    pub slot: Duration,
    /// For how long samples are gathered, if time passes coarsely.
    pub gather: Option<SignedDuration>,
    pub wrap: Option<&'a Wrap>,
}

/// One life.
pub(super) struct Life {
    config: Arc<Config>,
    engine: Engine,
    watch: Watch,
    /// By when they come back.
    probes: BTreeMap<(Duration, u64), (CheckKey, Outcome)>,
    begun: u64,
    commits: VecDeque<Commit>,
    writer: Writer<GuardedJournal>,
    write_at: Duration,
    fan_out_at: Option<Duration>,
    bench: Bench,
    publish_at: Option<Duration>,
    /// Whether pages are made anew when what they say of the present grows old.
    renews: bool,
    site_rests_until: Duration,
    notes: NoteReader,
    notes_at: Option<Duration>,
    to_file: VecDeque<Incident>,
    post: Option<PostRoom>,
    /// When to try again to begin delivering.
    post_at: Option<Duration>,
    reloader: Reloader,
    desk: Desk,
    /// Held until the end.
    _lock: Lock,
}

/// Delivering.
struct PostRoom {
    outbox: Outbox,
    ledger: GuardedLedger,
    composer: Arc<Composer>,
    operators: Vec<Address>,
    poll_at: Option<Duration>,
    /// By when they end.
    on_their_way: BTreeMap<(Duration, u64), Handover>,
    begun: u64,
}

impl Life {
    /// Starts the daemon.
    pub fn start(start: &Start<'_>, outside: &mut Outside) -> Result<Self, DaemonError> {
        let config = Arc::clone(&start.config);
        let (now, wall) = (outside.time.moment(), outside.time.wall());
        outside.faults.of_store(&config.store.path)?;
        let Opened { lock, store, world, remembered } = daemon::open_seeded(&config, wall, start.seed)?;
        let (desk, health) = (Desk::new(), Arc::new(Health::default()));
        let to_file = daemon::unfiled(&world, &remembered.files).into();
        let mut engine = Engine::new(Arc::new(config.rules.clone()), world, Schedule::new(start.slot), wall);
        if let Some(gather) = start.gather {
            engine.gather_samples_for(gather);
        }
        let journal = GuardedJournal { store, faults: outside.faults.clone() };
        let mut life = Self {
            engine,
            watch: Watch::new((wall, outside.time.elapsed())),
            probes: BTreeMap::new(),
            begun: 0,
            commits: VecDeque::new(),
            writer: Writer::new(journal, health, desk.clone()),
            write_at: now,
            fan_out_at: Some(now),
            bench: Bench::new(Arc::clone(&config), desk.clone()),
            publish_at: Some(now),
            renews: start.gather.is_none(),
            site_rests_until: now,
            notes: NoteReader::new(&config, remembered, desk.clone()),
            notes_at: Some(now),
            to_file,
            post: None,
            post_at: None,
            reloader: Reloader::new(Arc::clone(&config), start.text_hash, desk.clone(), Arc::new(Metrics::new())),
            desk,
            config,
            _lock: lock,
        };
        life.begin_post(start.wrap, outside);
        Ok(life)
    }

    /// When something is due next.
    pub fn next(&self, time: &Time) -> Option<Duration> {
        let wake = if self.commits.len() < COMMITS_WAITING { self.engine.wake_at() } else { self.engine.acts_at() };
        let probe = self.probes.first_key_value().map(|((at, _), _)| *at);
        let write = (!self.commits.is_empty()).then_some(self.write_at);
        let file = (!self.to_file.is_empty()).then_some(time.moment());
        let post = self.post.as_ref().and_then(PostRoom::next);
        let rung = self.post.as_ref().filter(|post| post.outbox.lets_notices_leave() && !self.desk.is_empty());
        let rung = rung.map(|_| time.moment());
        let all = [wake.map(|at| time.moment_of(at)), probe, write, file, post, rung];
        let all = all.into_iter().chain([self.publish_at, self.notes_at, self.post_at, self.fan_out_at]);
        all.flatten().min().map(|at| at.max(time.moment()))
    }

    /// Does what is due now. `jumped`: a clock was moved, or we stood still, since the last turn.
    pub fn turn(&mut self, jumped: bool, wrap: Option<&Wrap>, outside: &mut Outside) {
        self.look(jumped, outside);
        self.judge(outside);
        // Whoever ended on the way does nothing more.
        let _ = self.write(outside)
            && self.read_notes(outside)
            && self.create_files(outside)
            && self.deliver(wrap, outside)
            && self.publish(outside);
    }

    /// Looks at both clocks.
    fn look(&mut self, jumped: bool, outside: &Outside) {
        let look = clocks(&outside.time);
        if !jumped {
            // It looked four times a second all the while.
            self.watch = Watch::new(look);
        } else if self.watch.stood_still(look) {
            self.engine.suspended(look.0);
        }
    }

    /// A jump begins: whatever the clocks say after it is compared with now.
    pub fn before_jump(&mut self, outside: &Outside) {
        self.watch = Watch::new(clocks(&outside.time));
    }

    /// A jump is over: what waits by elapsed time looks again within its usual pauses. What was
    /// asked of targets while we `stood_still` was cut off.
    pub fn after_jump(&mut self, stood_still: bool, outside: &Outside) {
        let now = outside.time.moment();
        let soon = |at: &mut Option<Duration>, pause: Duration| {
            *at = Some(at.map_or(Duration::MAX, |at| at.max(now)).min(now.saturating_add(pause)));
        };
        soon(&mut self.publish_at, SITE_POLL);
        soon(&mut self.notes_at, noting::LOOK);
        if let Some(post) = &mut self.post {
            soon(&mut post.poll_at, POST_POLL);
        }
        if stood_still {
            for ((at, _), (_, outcome)) in &mut self.probes {
                if *at <= now {
                    *outcome = Network::cut(outcome.started_at, outcome.latency);
                }
            }
        }
    }

    fn judge(&mut self, outside: &mut Outside) {
        let (now, wall) = (outside.time.moment(), outside.time.wall());
        while let Some(entry) = self.probes.first_entry()
            && entry.key().0 <= now
        {
            let (check, outcome) = entry.remove();
            self.engine.finished(check, outcome, wall);
        }
        self.engine.tick(wall);
        for due in self.engine.take_due(wall) {
            let service = self.engine.service_of(&due.check);
            let check = service.iter().flat_map(|service| &service.checks).find(|check| check.id == due.check.check);
            let Some(check) = check else {
                self.engine.gave_up(&due.check, wall);
                continue;
            };
            let outcome = outside.network.probe(&due.check, check, now, wall, &mut outside.dice);
            self.begun += 1;
            self.probes.insert((now.saturating_add(outcome.latency), self.begun), (due.check, outcome));
        }
        self.hand_on(wall);
    }

    /// Passes on what is to be written, if the writer has room for it.
    fn hand_on(&mut self, wall: Timestamp) {
        self.to_file.extend(self.engine.take_opened());
        for sight in self.engine.take_sights() {
            judging::tell_operator(&self.desk, self.engine.rules(), &sight, wall);
        }
        if self.commits.len() < COMMITS_WAITING {
            self.commits.extend(self.engine.take_commit(wall));
        }
    }

    /// Writes what waits; whether the process lives on.
    fn write(&mut self, outside: &mut Outside) -> bool {
        let (now, wall) = (outside.time.moment(), outside.time.wall());
        while self.write_at <= now
            && let Some(commit) = self.commits.front()
        {
            let is_written = self.writer.write(commit, wall);
            if outside.faults.is_dead() {
                return false;
            }
            if !is_written {
                self.write_at = now.saturating_add(writing::RETRY);
                break;
            }
            if commit.changes_something() {
                outside.happened.push(Happened::Committed);
                self.publish_at = Some(self.site_rests_until.max(now));
                self.fan_out_at = Some(now);
                if let Some(post) = &mut self.post {
                    post.poll_at = Some(now);
                }
            }
            self.commits.pop_front();
            self.writer.tidy(wall, outside.time.elapsed());
            self.hand_on(wall);
        }
        if self.fan_out_at.is_some_and(|at| at <= now) {
            let (queued, wait) = self.writer.fan_out(wall);
            self.fan_out_at = wait.map(|wait| now.saturating_add(wait));
            if let Some(post) = self.post.as_mut().filter(|_| queued > 0) {
                post.poll_at = Some(now);
            }
        }
        true
    }

    /// Looks at the notes if it is time for that; whether the process lives on.
    fn read_notes(&mut self, outside: &mut Outside) -> bool {
        let (now, wall) = (outside.time.moment(), outside.time.wall());
        if self.notes_at.is_none_or(|at| at > now) {
            return true;
        }
        let (config, faults) = (Arc::clone(&self.config), outside.faults.clone());
        let mut keep = |kept: Kept<'_>| {
            faults.of_store(&config.store.path)?;
            kept.keep(&mut Store::open(&config.store, wall)?)
        };
        let found = self.notes.look(&self.config, wall, &mut keep);
        self.notes_at = if found.is_unsettled {
            Some(now.saturating_add(noting::LOOK_AGAIN))
        } else {
            (found.invalid > 0 || found.is_unkept).then(|| now.saturating_add(NOTES_RETRY))
        };
        if found.is_corrected {
            self.publish_at = Some(self.site_rests_until.max(now));
        }
        for note in found.notes {
            self.engine.note(note, wall);
        }
        self.hand_on(wall);
        true
    }

    /// The folder of notes has changed.
    pub fn notes_changed(&mut self, outside: &Outside) {
        let soon = outside.time.moment().saturating_add(noting::LOOK);
        self.notes_at = Some(self.notes_at.map_or(soon, |at| at.min(soon)));
    }

    /// Creates the files of incidents that have opened; whether the process lives on.
    fn create_files(&mut self, outside: &mut Outside) -> bool {
        while let Some(incident) = self.to_file.pop_front() {
            if !outside.faults.lives(Port::NoteFile, Side::Before) {
                return false;
            }
            let created = outside.faults.of_files().and_then(|()| noting::create_file(&self.config, &incident));
            if let Ok(true) = created {
                outside.happened.push(Happened::NoteFile(incident.id.clone()));
            }
            if !outside.faults.lives(Port::NoteFile, Side::After) {
                return false;
            }
            self.notes.created(created, outside.time.wall());
            self.notes_changed(outside);
        }
        true
    }

    fn begin_post(&mut self, wrap: Option<&Wrap>, outside: &Outside) {
        self.post_at = None;
        let Some(email) = &self.config.email else { return };
        let begun = outside
            .faults
            .of_store(&self.config.store.path)
            .and_then(|()| delivering::begin_epoch(&self.config, outside.time.wall()));
        let (Ok((epoch, ledger)), Ok(composer)) = (begun, Composer::new(&self.config, email)) else {
            self.post_at = Some(outside.time.moment().saturating_add(POST_RETRY));
            return;
        };
        let ledger: Box<dyn Ledger> = match wrap {
            Some(wrap) => wrap(ledger),
            None => Box::new(ledger),
        };
        let composer = Arc::new(composer);
        self.post = Some(PostRoom {
            outbox: Outbox::new(epoch, Arc::clone(&composer), email.connections, email.rate_per_second),
            ledger: GuardedLedger { ledger, path: self.config.store.path.clone(), faults: outside.faults.clone() },
            composer,
            operators: delivering::operators(&self.config).collect(),
            poll_at: Some(outside.time.moment()),
            on_their_way: BTreeMap::new(),
            begun: 0,
        });
    }

    /// Carries mail; whether the process lives on.
    fn deliver(&mut self, wrap: Option<&Wrap>, outside: &mut Outside) -> bool {
        if self.post_at.is_some_and(|at| at <= outside.time.moment()) {
            self.begin_post(wrap, outside);
        }
        match &mut self.post {
            Some(post) => post.turn(&self.desk, outside),
            None => true,
        }
    }

    /// Publishes if it is time for that; whether the process lives on.
    fn publish(&mut self, outside: &mut Outside) -> bool {
        self.publish_by(outside, |bench, now| bench.advance(now))
    }

    fn publish_by(&mut self, outside: &mut Outside, act: Publish) -> bool {
        let (now, wall) = (outside.time.moment(), outside.time.wall());
        if self.publish_at.is_none_or(|at| at > now) {
            return true;
        }
        if !outside.faults.lives(Port::Publish, Side::Before) {
            return false;
        }
        let allowed = outside.faults.of_site(&self.config.site.output);
        let result = allowed.and_then(|()| act(&mut self.bench, &mut || wall));
        if !outside.faults.lives(Port::Publish, Side::After) {
            return false;
        }
        let is_behind = result.as_ref().is_ok_and(|published| published.left > 0);
        let is_done = result.is_ok();
        match &result {
            Ok(_) if is_behind && self.renews => outside.happened.push(Happened::NewsPublished),
            Ok(_) => outside.happened.push(Happened::Published),
            Err(error) => outside.happened.push(Happened::NotPublished(error.to_string())),
        }
        let rest = self.bench.learn(result, wall);
        if is_behind && self.renews {
            // Whatever is committed meanwhile goes first.
            self.publish_at = Some(now.saturating_add(STEP));
            return true;
        }
        self.site_rests_until = now.saturating_add(publishing::PAUSE);
        // Looks at which nothing can have changed are left out.
        let renewal = self.bench.renew_at().filter(|_| is_done && self.renews).map(|at| outside.time.moment_of(at));
        let next = if is_done { renewal } else { Some(now.saturating_add(rest)) };
        self.publish_at = next.map(|at| at.max(self.site_rests_until));
        true
    }

    /// Brings the site up to date now, pages that only state a newer present included.
    pub fn publish_now(&mut self, outside: &mut Outside) {
        self.publish_at = Some(outside.time.moment());
        self.publish_by(outside, |bench, now| bench.publish(now));
    }

    /// A config was read again, by SIGHUP or because its file changed.
    pub fn reload(&mut self, loaded: Loaded, by_signal: bool, wrap: Option<&Wrap>, outside: &mut Outside) {
        let (wall, faults) = (outside.time.wall(), outside.faults.clone());
        let mut record = |store: &crate::config::Store, rules: &Rules| {
            faults.of_store(&store.path)?;
            let mut store = Store::open(store, wall)?;
            store.set_services(rules)?;
            store.set_in_force(rules, wall)
        };
        let Reloaded::InForce(config) = self.reloader.read(Ok(loaded), by_signal, wall, &mut record) else { return };
        self.engine.set_rules(Arc::new(config.rules.clone()), wall);
        self.hand_on(wall);
        self.bench.set_config(Arc::clone(&config));
        self.publish_at = Some(outside.time.moment());
        self.config = config;
        self.notes_changed(outside);
        match (&mut self.post, &self.config.email) {
            (Some(post), Some(email)) => {
                if let Ok(composer) = Composer::new(&self.config, email) {
                    post.composer = Arc::new(composer);
                    let composer = Arc::clone(&post.composer);
                    post.outbox.reconfigure(composer, email.connections, email.rate_per_second);
                    post.poll_at = Some(outside.time.moment());
                }
            }
            (Some(_), None) => self.post = None,
            (None, _) => self.begin_post(wrap, outside),
        }
    }

    /// The config in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Ends as at SIGTERM: writes, publishes, and lets messages on their way end.
    pub fn stop(mut self, outside: &mut Outside) {
        let wall = outside.time.wall();
        self.commits.push_back(self.engine.take_all(wall));
        'writing: while let Some(commit) = self.commits.pop_front() {
            for _ in 0..LAST_TRIES {
                if self.writer.write(&commit, wall) {
                    continue 'writing;
                }
            }
            break;
        }
        self.publish_at = Some(outside.time.moment());
        self.publish(outside);
        if let Some(mut post) = self.post {
            post.end_all(outside);
        }
    }

    /// Ends as at SIGKILL. Of the messages on their way the server has some.
    pub fn die(self, outside: &mut Outside) {
        let (now, wall) = (outside.time.moment(), outside.time.wall());
        for (_, handover) in self.post.map(|post| post.on_their_way).unwrap_or_default() {
            if handover.post.is_taken() && outside.dice.below(2) == 0 {
                outside.relay.take(&handover, now, wall, false);
            }
        }
    }
}

impl PostRoom {
    fn next(&self) -> Option<Duration> {
        self.on_their_way.first_key_value().map(|((at, _), _)| *at).into_iter().chain(self.poll_at).min()
    }

    /// Takes back what ended, and gives out what is due; whether the process lives on.
    fn turn(&mut self, desk: &Desk, outside: &mut Outside) -> bool {
        let (now, wall) = (outside.time.moment(), outside.time.wall());
        let is_rung = self.outbox.lets_notices_leave() && !desk.is_empty();
        let mut is_due = is_rung || self.poll_at.is_some_and(|at| at <= now);
        while let Some(entry) = self.on_their_way.first_entry()
            && entry.key().0 <= now
        {
            is_due = true;
            let handover = entry.remove();
            if !self.end(&handover, outside) {
                return false;
            }
        }
        if !is_due {
            return true;
        }
        let messages = self.outbox.poll(&mut self.ledger, wall);
        if outside.faults.is_dead() {
            return false;
        }
        let is_able = messages.is_ok();
        for message in messages.unwrap_or_default() {
            if !self.begin(message, outside) {
                return false;
            }
        }
        for notice in self.outbox.take_notices() {
            desk.tell(notice, wall);
        }
        if self.outbox.lets_notices_leave() {
            for message in worker::notices(&self.composer, &self.operators, desk) {
                if !self.begin(message, outside) {
                    return false;
                }
            }
        }
        let wake_at = self.outbox.wake_at().map(|at| outside.time.moment_of(at));
        let wake_at = wake_at.map(|at| at.max(now.saturating_add(Duration::from_millis(1))));
        self.poll_at = if is_able { wake_at } else { Some(now.saturating_add(POST_RETRY)) };
        true
    }

    fn begin(&mut self, message: crate::notify::relay::Outgoing, outside: &mut Outside) -> bool {
        if !outside.faults.lives(Port::Send, Side::Before) {
            return false;
        }
        let (ends_at, handover) = outside.relay.begin(message, outside.time.moment());
        self.begun += 1;
        self.on_their_way.insert((ends_at, self.begun), handover);
        true
    }

    fn end(&mut self, handover: &Handover, outside: &mut Outside) -> bool {
        let (delivery, is_notice) = (handover.message.delivery, handover.message.subscriber.is_none());
        let is_taken = handover.post.is_taken();
        let reply = outside.relay.end(handover, outside.time.moment(), outside.time.wall());
        if is_taken {
            outside.happened.push(Happened::Mailed);
        }
        if !outside.faults.lives(Port::Send, Side::After) {
            return false;
        }
        if !is_notice {
            self.outbox.complete(delivery, &reply, outside.time.wall());
        }
        true
    }

    /// Lets what is on its way end, and writes down how.
    fn end_all(&mut self, outside: &mut Outside) {
        for (_, handover) in std::mem::take(&mut self.on_their_way) {
            if !self.end(&handover, outside) {
                return;
            }
        }
        // What cannot be written down now is sent again by the next life.
        let _ = self.outbox.flush(&mut self.ledger, outside.time.wall());
    }
}

fn clocks(time: &Time) -> (Timestamp, Elapsed) {
    (to_millis(time.wall()), time.elapsed())
}
