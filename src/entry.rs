//! How a program begins: what `#[hms_ops::main]` expands to.

use tokio::runtime::Builder;

/// Runs `main` on a runtime with a thread for each core.
pub fn block_on<T>(main: impl Future<Output = T>) -> T {
    run(Builder::new_multi_thread(), main)
}

/// Runs `main` on a runtime with one thread.
pub fn block_on_current_thread<T>(main: impl Future<Output = T>) -> T {
    run(Builder::new_current_thread(), main)
}

fn run<T>(mut builder: Builder, main: impl Future<Output = T>) -> T {
    let runtime = builder.enable_all().build();
    runtime.expect("a process that cannot start a runtime cannot start at all").block_on(main)
}
