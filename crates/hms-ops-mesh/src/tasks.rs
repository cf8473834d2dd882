//! Tasks with an owner that asks them to stop and joins them.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Owns tasks. Dropped, it asks them to stop and aborts them.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    set: Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
}

/// Tells a task when it shall stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the task shall stop. Cancel safe.
    pub(crate) async fn wait(&mut self) {
        // An owner that is gone wants it to stop, too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl Tasks {
    /// Starts a task. Those that have ended meanwhile are forgotten.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set();
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    pub(crate) fn stop(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Asks every task to stop.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Asks every task to stop and waits until all have ended, also those that are started
    /// meanwhile. What has not ended after `patience` is aborted. Cancel safe.
    pub(crate) async fn shutdown(&self, patience: Duration) {
        self.ask_to_stop();
        if timeout(patience, self.join()).await.is_err() {
            self.set().abort_all();
            self.join().await;
        }
    }

    async fn join(&self) {
        while poll_fn(|cx| self.set().poll_join_next(cx)).await.is_some() {}
    }

    fn set(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}
