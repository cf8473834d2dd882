//! The owner of every task: it cancels and joins them.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

/// Starts tasks, tells them to end, and waits until they have. Dropped, it ends them where they
/// stand.
#[derive(Debug)]
pub(crate) struct Tasks {
    stop: watch::Sender<bool>,
    running: Mutex<Option<JoinSet<()>>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { stop: watch::Sender::new(false), running: Mutex::new(Some(JoinSet::new())) }
    }

    /// Starts a task; `false` after the shutdown has begun.
    pub(crate) fn spawn<F>(&self, task: impl FnOnce(Stop) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = running.as_mut() else { return false };
        while running.try_join_next().is_some() {}
        running.spawn(task(Stop(self.stop.subscribe())));
        true
    }

    /// Tells every task to end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Tells every task to end, and waits until they have.
    pub(crate) async fn shutdown(&self) {
        self.stop();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut running) = running {
            while running.join_next().await.is_some() {}
        }
    }
}

/// Tells a task when to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the task shall end. Cancel safe.
    pub(crate) async fn requested(&mut self) {
        // An error means that the owner is gone, and then the task shall end too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
