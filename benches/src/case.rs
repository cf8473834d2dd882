//! Cases, and how they are measured.

use std::fmt;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hms_ops_core::clock::Stopwatch;

use crate::host;

/// How often each case has its turn.
const ROUNDS: usize = 5;
/// Batches that are measured in a turn, per thread.
const BATCHES: usize = 61;
/// Batches before those, which fill caches and make what is made at the first call.
const WARM_UP: usize = 10;

/// One way to do the work: a batch of many calls.
pub struct Case<'a> {
    name: String,
    threads: usize,
    calls: usize,
    batch: Box<dyn Fn() + Sync + 'a>,
    after: Box<dyn Fn() + Sync + 'a>,
    reader: Option<(Duration, Box<dyn Fn() + Sync + 'a>)>,
}

/// What was measured, in nanoseconds per call: medians over all batches of all threads.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Name of the case.
    pub name: String,
    /// How many threads did the work at once; each made all the calls of its batches.
    pub threads: usize,
    /// On the clock on the wall.
    pub wall: f64,
    /// Of the thread on its processor; the wall's where the system does not tell.
    pub cpu: f64,
    /// What nine of ten batches stayed below, on the processor.
    pub p90: f64,
    /// What the reader spent on its processor for each call that was made meanwhile.
    pub reader: Option<f64>,
}

impl<'a> Case<'a> {
    /// A case of one thread; `batch` makes `calls` calls.
    pub fn new(name: &str, calls: usize, batch: impl Fn() + Sync + 'a) -> Self {
        let (batch, after) = (Box::new(batch), Box::new(|| ()));
        Self { name: name.to_owned(), threads: 1, calls, batch, after, reader: None }
    }

    /// Runs the batches in as many threads at once, each on a processor of its own.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Does this after each batch, off the clock.
    #[must_use]
    pub fn after(self, after: impl Fn() + Sync + 'a) -> Self {
        Self { after: Box::new(after), ..self }
    }

    /// Reads meanwhile, again after each pause.
    #[must_use]
    pub fn reader(self, pause: Duration, read: impl Fn() + Sync + 'a) -> Self {
        Self { reader: Some((pause, Box::new(read))), ..self }
    }

    /// Does its turn.
    fn turn(&self, taken: &mut Taken) {
        let (done, line) = (AtomicBool::new(false), StartLine::new(self.threads));
        thread::scope(|scope| {
            let reader = self.reader.as_ref().map(|(pause, read)| {
                let done = &done;
                scope.spawn(move || read_until(done, *pause, read))
            });
            let workers: Vec<_> = (0..self.threads)
                .map(|number| {
                    let line = &line;
                    scope.spawn(move || self.work(number, line))
                })
                .collect();
            for worker in workers {
                let Batches { wall, cpu } = worker.join().expect("a batch does not panic");
                taken.batches.wall.extend(wall);
                taken.batches.cpu.extend(cpu);
            }
            done.store(true, Ordering::Relaxed);
            if let Some(reader) = reader {
                taken.reader += reader.join().expect("a reader does not panic");
                taken.calls += self.threads * self.calls * (WARM_UP + BATCHES);
            }
        });
    }

    /// What one of its threads does in a turn.
    fn work(&self, number: usize, line: &StartLine) -> Batches {
        host::pin(number);
        let mut batches = Batches::default();
        for n in 0..WARM_UP + BATCHES {
            line.wait();
            let (watch, cpu) = (Stopwatch::start(), host::cpu_nanos());
            (self.batch)();
            let cpu = host::cpu_nanos().zip(cpu).map(|(end, begin)| (end - begin) as f64);
            let wall = watch.elapsed().as_nanos() as f64;
            (self.after)();
            if n >= WARM_UP {
                batches.wall.push(wall / self.calls as f64);
                batches.cpu.push(cpu.unwrap_or(wall) / self.calls as f64);
            }
        }
        batches
    }

    fn figures(&self, taken: Taken) -> Figures {
        let Batches { mut wall, mut cpu } = taken.batches;
        let reader = self.reader.is_some().then(|| taken.reader as f64 / taken.calls as f64);
        Figures {
            name: self.name.clone(),
            threads: self.threads,
            wall: quantile(&mut wall, 0.5),
            cpu: quantile(&mut cpu, 0.5),
            p90: quantile(&mut cpu, 0.9),
            reader,
        }
    }
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Figures {
    /// The figure that counts: of one thread what it ran, so that other programs do not count; of
    /// several the wall's, because a thread that waits for another does not run.
    pub fn nanos(&self) -> f64 {
        if self.threads == 1 { self.cpu } else { self.wall }
    }
}

/// Measures all cases in turns, and says what they took in the order in which they were given.
pub fn compare(cases: &[Case<'_>]) -> Vec<Figures> {
    let mut taken: Vec<_> = cases.iter().map(|_| Taken::default()).collect();
    for _ in 0..ROUNDS {
        cases.iter().zip(&mut taken).for_each(|(case, taken)| case.turn(taken));
    }
    cases.iter().zip(taken).map(|(case, taken)| case.figures(taken)).collect()
}

/// What the turns of a case took so far.
#[derive(Default)]
struct Taken {
    batches: Batches,
    /// Nanoseconds of the reader.
    reader: u64,
    /// Calls while there was a reader.
    calls: usize,
}

/// Nanoseconds per call, one entry a batch.
#[derive(Default)]
struct Batches {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

/// Says how long the reader ran.
fn read_until(done: &AtomicBool, pause: Duration, read: &(dyn Fn() + Sync)) -> u64 {
    // The last processor: the first has work to do.
    host::pin(usize::MAX);
    let begin = host::cpu_nanos();
    // Once at least, also where the batches are over before this thread has begun.
    loop {
        read();
        if done.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(pause);
    }
    host::cpu_nanos().zip(begin).map_or(0, |(end, begin)| end - begin)
}

/// Where threads wait for each other before each batch, awake, so that they begin together.
struct StartLine {
    threads: usize,
    arrived: AtomicUsize,
}

impl StartLine {
    fn new(threads: usize) -> Self {
        Self { threads, arrived: AtomicUsize::new(0) }
    }

    fn wait(&self) {
        let mine = self.arrived.fetch_add(1, Ordering::AcqRel);
        let all = (mine / self.threads + 1) * self.threads;
        let mut spins = 0u32;
        while self.arrived.load(Ordering::Acquire) < all {
            spin_loop();
            spins += 1;
            if spins.is_multiple_of(1000) {
                thread::yield_now();
            }
        }
    }
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let mut values = [5.0, 1.0, 3.0, 2.0, 4.0];
        assert_eq!(quantile(&mut values, 0.5), 3.0);
        assert_eq!(quantile(&mut values, 1.0), 5.0);
        assert_eq!(quantile(&mut [7.0], 0.9), 7.0);
    }

    #[test]
    fn every_thread_makes_every_batch_and_the_reader_reads() {
        let (batches, reads) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let add = |to: &AtomicUsize| {
            to.fetch_add(1, Ordering::Relaxed);
        };
        let case = Case::new("two", 1, || add(&batches))
            .threads(2)
            .reader(Duration::from_millis(1), || add(&reads));
        let figures = compare(&[case]);
        assert_eq!(batches.into_inner(), ROUNDS * (WARM_UP + BATCHES) * 2);
        assert!(reads.into_inner() >= ROUNDS);
        assert_eq!((figures.len(), figures[0].threads), (1, 2));
    }
}
