//! Texts of bounded length.

use std::fmt::{self, Write};

/// Texts that are made from values of the program are cut to this many bytes.
pub(crate) const MAX_BYTES: usize = 256;

/// What `value` prints, cut to [`MAX_BYTES`] at a character; what comes after is not even made.
pub(crate) fn cut(value: fmt::Arguments<'_>) -> String {
    let mut text = Bounded(String::new());
    // An error says that the text is full, or that `value` failed to print the rest.
    let _ = text.write_fmt(value);
    text.0
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = MAX_BYTES - self.0.len();
        self.0.push_str(&more[..more.floor_char_boundary(room)]);
        if more.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(cut(format_args!("{}", "short")), "short");
        let long = "é".repeat(300);
        assert_eq!(cut(format_args!("{}", &long)), "é".repeat(128));
        assert_eq!(cut(format_args!("a{}", &long)).len(), 255);
        assert_eq!(cut(format_args!("{}{}x", &long[..254], "€€")).len(), 254);
    }
}
