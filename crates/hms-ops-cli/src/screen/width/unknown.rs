//! How wide the terminal is, where only the environment may know.

/// Characters in a line of the terminal.
pub(crate) fn of_terminal() -> Option<usize> {
    std::env::var("COLUMNS").ok()?.parse().ok()
}
