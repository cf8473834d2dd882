//! Standard input as the rope to the parent: its lines are orders, its end means to end.

use std::io::BufRead;

use tokio::sync::mpsc;

/// The lines of standard input; `None` follows when it is closed, also by the parent's death.
///
/// Read by a thread of its own: the runtime would wait for its blocking read when it ends.
pub(crate) fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(8);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines().map_while(Result::ok);
        for line in lines {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Waits until standard input is closed.
pub(crate) async fn closed(mut lines: mpsc::Receiver<String>) {
    while lines.recv().await.is_some() {}
}
