//! How wide the terminal is.

use std::io::stdout;

use rustix::termios::tcgetwinsize;

/// Characters in a line of the terminal that standard output is.
pub(crate) fn of_terminal() -> Option<usize> {
    let size = tcgetwinsize(stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
