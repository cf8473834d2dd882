//! Unit tests of rule files, as Prometheus writes them: series go in, and what its rules record, what
//! alerts fire and what queries evaluate to is compared with what is expected.
//!
//! Everything is as in the engine that runs: the same PromQL, and the same alerts. Files that
//! `promtool test rules` of Prometheus 3 passes, pass.
//!
//! Source: the Prometheus documentation, "Unit testing for rules".

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::rule_files::RuleFileError;

mod file;
mod run;

/// What came of one file of tests.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The file.
    pub file: String,
    /// How many tests it has.
    pub tests: usize,
    /// How many things they compare.
    pub checks: usize,
    /// What was not as expected; none if all is well.
    pub failures: Vec<Failure>,
    /// What is likely a mistake.
    pub warnings: Vec<String>,
}

/// One thing that was not as expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The line of the file on which the expectation stands, from 1.
    pub line: usize,
    /// The test, by its name or its place.
    pub test: String,
    /// What was looked at, and when.
    pub check: String,
    /// What should be there, sorted.
    pub expected: Vec<String>,
    /// What is, sorted.
    pub got: Vec<String>,
    /// Why nothing could be compared, if so.
    pub error: Option<String>,
}

/// Runs the tests of one file.
///
/// Works for as long as that takes; from a thread of a runtime call it by `spawn_blocking`.
///
/// # Errors
///
/// [`RuleFileError`] when the file or one of its rule files cannot be used.
pub fn run(path: impl AsRef<Path>) -> Result<Report, RuleFileError> {
    let (file, warnings) = file::TestFile::read(path.as_ref())?;
    // The tests know nothing of each other: as many at once as there are processors.
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Relaxed);
            let Some(test) = file.tests.get(i) else { return done };
            done.push((i, block_on(run::run(&file, test))));
        }
    };
    let at_once = thread::available_parallelism().map_or(1, NonZero::get).min(file.tests.len());
    let mut done = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.flatten().collect::<Vec<_>>()
    });
    done.sort_by_key(|(i, _)| *i);
    let checks = file.tests.iter().map(|test| test.alerts.len() + test.queries.len()).sum();
    let failures = done.into_iter().flat_map(|(_, failures)| failures).collect();
    Ok(Report { tests: file.tests.len(), file: file.name, checks, failures, warnings })
}

/// Waits for what needs no runtime: the store is in memory, and queries are evaluated in place.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
