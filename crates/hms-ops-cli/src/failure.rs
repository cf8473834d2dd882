//! What is wrong, in one line on standard error, and in the exit status.

use std::fmt;
use std::process::ExitCode;

use anyhow::Error;

use crate::screen::plain;

/// Exit status of a wrong command line or config file.
pub(crate) const MISUSE: u8 = 2;
/// Exit status of any other failure.
pub(crate) const FAILED: u8 = 1;

/// The one who asked is wrong, not the world.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// Says what failed, and gives the exit status.
pub(crate) fn report(error: &Error) -> ExitCode {
    say(&line(error));
    ExitCode::from(if error.is::<Misuse>() { MISUSE } else { FAILED })
}

/// One line on standard error.
pub(crate) fn say(line: &str) {
    eprintln!("hms-ops: {line}");
}

/// An error and its causes in one line; a cause that an error quotes already is not repeated.
pub(crate) fn line(error: &Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    let words: Vec<_> = line.split_whitespace().collect();
    plain(&words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_and_its_causes_are_one_line_without_repetition() {
        let error = Error::msg("no route").context("cannot reach x: no route").context("lab\nlost");
        assert_eq!(line(&error), "lab lost: cannot reach x: no route");
    }
}
