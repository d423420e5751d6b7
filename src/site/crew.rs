//! A few threads that write and sync files while the next ones are made: a sync waits for the disk,
//! not for us.

use std::{
    fmt, panic,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, Builder, JoinHandle},
};

/// How many jobs are done at once.
const HANDS: usize = 8;
/// How many jobs wait, with what they hold in memory, before who gives more waits too.
const WAITING: usize = 32;

type Job<E> = Box<dyn FnOnce() -> Result<(), E> + Send>;

/// Threads that come with the first jobs and go with [`Crew::finish`].
pub(super) struct Crew<E> {
    at_work: Option<AtWork<E>>,
    /// The first error that nobody was told of.
    failed: Arc<Mutex<Option<E>>>,
}

struct AtWork<E> {
    jobs: SyncSender<Job<E>>,
    waiting: Arc<Mutex<Receiver<Job<E>>>>,
    hands: Vec<JoinHandle<()>>,
}

impl<E> Default for Crew<E> {
    fn default() -> Self {
        Self { at_work: None, failed: Arc::default() }
    }
}

impl<E> fmt::Debug for Crew<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hands = self.at_work.as_ref().map_or(0, |at_work| at_work.hands.len());
        f.debug_struct("Crew").field("hands", &hands).finish_non_exhaustive()
    }
}

impl<E: Send + 'static> Crew<E> {
    /// Has `job` done soon, by this thread if there are no others to be had.
    ///
    /// # Errors
    /// That of a job before; this one is then not done.
    pub(super) fn give(&mut self, job: impl FnOnce() -> Result<(), E> + Send + 'static) -> Result<(), E> {
        self.failure()?;
        let at_work = self.at_work.get_or_insert_with(|| {
            let (jobs, waiting) = sync_channel(WAITING);
            AtWork { jobs, waiting: Arc::new(Mutex::new(waiting)), hands: Vec::new() }
        });
        if at_work.hands.len() < HANDS {
            let (waiting, failed) = (Arc::clone(&at_work.waiting), Arc::clone(&self.failed));
            let hand = Builder::new().name("publishing".to_owned()).spawn(move || lend(&waiting, &failed));
            at_work.hands.extend(hand);
        }
        if at_work.hands.is_empty() {
            return job();
        }
        at_work.jobs.send(Box::new(job)).or_else(|unsent| (unsent.0)())
    }

    /// Waits until all jobs are done.
    ///
    /// # Errors
    /// That of one of them.
    pub(super) fn finish(&mut self) -> Result<(), E> {
        if let Some(AtWork { jobs, hands, .. }) = self.at_work.take() {
            drop(jobs);
            for hand in hands {
                if let Err(panicked) = hand.join()
                    && !thread::panicking()
                {
                    panic::resume_unwind(panicked);
                }
            }
        }
        self.failure()
    }

    fn failure(&self) -> Result<(), E> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.map_or(Ok(()), Err)
    }
}

/// Does jobs until there will be no more.
fn lend<E>(waiting: &Mutex<Receiver<Job<E>>>, failed: &Mutex<Option<E>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if let Err(error) = job() {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn all_jobs_are_done_when_it_has_finished_again_and_again() {
        let done = Arc::new(AtomicUsize::new(0));
        let mut crew = Crew::<()>::default();
        for round in 1..=3 {
            for _ in 0..1000 {
                let done = Arc::clone(&done);
                crew.give(move || {
                    done.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })
                .unwrap();
            }
            crew.finish().unwrap();
            assert_eq!(done.load(Ordering::Relaxed), round * 1000);
        }
    }

    #[test]
    fn an_error_is_told_once_and_no_later_than_at_the_end() {
        let mut crew = Crew::default();
        crew.give(|| Err("full")).unwrap();
        let told = (0..10_000).find_map(|_| crew.give(|| Ok(())).err()).or_else(|| crew.finish().err());
        assert_eq!(told, Some("full"));
        assert_eq!(crew.finish(), Ok(()));
    }
}
