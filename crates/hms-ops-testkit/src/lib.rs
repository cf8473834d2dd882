//! Conformance suites for every trait of `hms-ops-core`, for authors of backends; used from tests
//! only.
//!
//! The contract of a trait is prose on the trait; here is one test for each of its promises. A
//! backend is finished when it passes. One macro call expands to the whole suite, so the listing of
//! the tests reads as the specification:
//!
//! ```
//! mod memory_store {
//!     use hms_ops_core::store::MemoryStore;
//!
//!     hms_ops_testkit::store_suite! {
//!         MemoryStore::new(),
//!         out_of_order: std::time::Duration::from_secs(300)
//!     }
//! }
//! ```
//!
//! The expression makes one fresh backend; it is evaluated once a test and may `.await`. Where a
//! backend needs something that must outlive it, such as a temporary folder, [`keep`] keeps it until
//! the test ends. Where a suite must drive what lies beyond the backend, such as traffic through a
//! mesh, its module has a trait `…UnderTest` for the author to implement.
//!
//! | suite | for | cases |
//! |---|---|---|
//! | [`store_suite!`] | [`Store`](hms_ops_core::store::Store) | [`store`] |
//! | [`ledger_suite!`] | [`Ledger`](hms_ops_core::ledger::Ledger) | [`ledger`] |
//! | [`span_store_suite!`] | [`SpanStore`](hms_ops_core::span_store::SpanStore) | [`span_store`] |
//! | [`query_suite!`] | [`QueryEngine`](hms_ops_core::query::QueryEngine) | [`query`] |
//! | [`rule_suite!`] | [`AlertRule`](hms_ops_core::alert::AlertRule) | [`rule`] |
//! | [`notifier_suite!`] | [`Notifier`](hms_ops_core::notify::Notifier) | [`notifier`] |
//! | [`capability_suite!`] | [`Capability`](hms_ops_core::runbook::Capability) | [`runbook`] |
//! | [`mesh_suite!`] | [`MeshController`](hms_ops_core::mesh::MeshController) | [`mesh`] |
//! | [`evidence_suite!`] | [`TrafficEvidence`](hms_ops_core::mesh::TrafficEvidence) | [`mesh::evidence`] |
//! | [`traffic_control_suite!`] | [`TrafficControl`](hms_ops_core::mesh::TrafficControl) | [`mesh::control`] |
//! | [`control_suite!`] | [`Control`](hms_ops_core::control::Control) | [`control`] |
//! | [`clock_suite!`] | [`Clock`](hms_ops_core::clock::Clock), moved by hand | [`clock`] |
//!
//! [`fault_disk::FaultDisk`] stands in for the [`Disk`](hms_ops_wal::disk::Disk) beneath a backend that
//! keeps files: it loses power, tears sectors, fills up and fails at any call.

#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub mod clock;
pub mod control;
pub mod fault_disk;
pub mod ledger;
pub mod mesh;
pub mod notifier;
pub mod query;
pub mod rule;
pub mod runbook;
pub mod span_store;
pub mod store;
pub mod world;

/// How long a case waits for what a backend promises without saying when.
pub const PATIENCE: Duration = Duration::from_secs(10);

thread_local! {
    static KEPT: RefCell<Vec<Arc<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Keeps `guard` until the test ends, after the backend is gone; for use in the expression that a
/// suite is given.
///
/// ```
/// struct Folder;
///
/// impl Drop for Folder {
///     fn drop(&mut self) {
///         println!("removed after the case");
///     }
/// }
///
/// hms_ops_testkit::block_on(async {
///     let _folder = hms_ops_testkit::keep(Folder);
/// });
/// ```
pub fn keep<T: 'static>(guard: T) -> Arc<T> {
    let guard = Arc::new(guard);
    KEPT.with_borrow_mut(|kept| kept.push(guard.clone()));
    guard
}

/// Runs one case to its end on a runtime of its own, with two threads.
pub fn block_on<T>(case: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    let result = runtime.block_on(case);
    // Tasks that the backend has left behind go first, then what it stood on.
    drop(runtime);
    drop(KEPT.take());
    result
}

/// Waits for `future`, and fails with `what` when [`PATIENCE`] is at its end.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(result) => result,
        Err(_) => panic!("{what}: nothing within {PATIENCE:?}"),
    }
}

/// Asks again and again until the answer is `Ok`; fails with the last `Err` when [`PATIENCE`] is at
/// its end.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut reason = String::new();
    let answered = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(why) => reason = why,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(answer) => answer,
        Err(_) => panic!("after {PATIENCE:?}: {reason}"),
    }
}

/// One test for each case; what every suite macro expands to.
#[doc(hidden)]
#[macro_export]
macro_rules! cases {
    ($make:expr; $($case:ident)*; $($module:ident)::+) => {
        $crate::cases!(@each $make; $($case)*; ($crate::$($module)::+));
    };
    (@each $make:expr; $($case:ident)*; $path:tt) => {
        $($crate::cases!(@one $make; $case; $path);)*
    };
    (@one $make:expr; $case:ident; ($($path:tt)+)) => {
        #[test]
        fn $case() {
            $crate::block_on(async { $($path)+::$case($make).await });
        }
    };
}
