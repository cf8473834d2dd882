//! What a terminal is shown: colours where they are wanted, and no text that plays tricks.

use std::io::IsTerminal;

#[cfg(unix)]
pub(crate) mod width;
#[cfg(not(unix))]
#[path = "screen/width/unknown.rs"]
pub(crate) mod width;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours if `stream` is a terminal, unless NO_COLOR says otherwise (no-color.org).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: stream.is_terminal() && !unwanted }
    }

    #[cfg(test)]
    pub(crate) const NONE: Self = Self { on: false };

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text from elsewhere, without what would move the cursor or turn the direction of writing.
pub(crate) fn plain(text: &str) -> String {
    let is_trick =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if is_trick(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{202e}d µs"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d µs");
    }

    #[test]
    fn a_pipe_gets_no_colours() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Paint::of(&file).red("x"), "x");
        assert_eq!(Paint { on: true }.red("x"), "\x1b[1;31mx\x1b[0m");
    }
}
