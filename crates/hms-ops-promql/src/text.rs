//! Texts in quotes, as Go writes and PromQL reads them.

use std::fmt::{self, Write as _};

/// A text in double quotes, with everything escaped that does not print.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.0.chars().try_for_each(|c| escaped(f, c, '"'))?;
        f.write_char('"')
    }
}

/// A character in single quotes; U+FFFD where there is none.
pub(crate) struct QuotedChar(pub(crate) Option<char>);

impl fmt::Display for QuotedChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('\'')?;
        escaped(f, self.0.unwrap_or(char::REPLACEMENT_CHARACTER), '\'')?;
        f.write_char('\'')
    }
}

fn escaped(f: &mut fmt::Formatter<'_>, c: char, quote: char) -> fmt::Result {
    if let Some(i) = ESCAPES.iter().position(|&(_, meant)| meant == c) {
        return write!(f, "\\{}", ESCAPES[i].0);
    }
    match c {
        _ if c == quote || c == '\\' => write!(f, "\\{c}"),
        '\0'..'\u{20}' | '\u{7f}' => write!(f, "\\x{:02x}", u32::from(c)),
        _ if c.is_control() || c != ' ' && c.is_whitespace() => {
            write!(f, "\\u{:04x}", u32::from(c))
        }
        _ => f.write_char(c),
    }
}

/// The letters after a backslash that mean one other character.
const ESCAPES: [(char, char); 7] = [
    ('a', '\u{7}'),
    ('b', '\u{8}'),
    ('f', '\u{c}'),
    ('n', '\n'),
    ('r', '\r'),
    ('t', '\t'),
    ('v', '\u{b}'),
];

/// What the quoted text at the beginning of `rest` says, and how many bytes of `rest` it takes,
/// quotes included.
///
/// Bytes, since `"\xff"` is allowed to say what is no UTF-8.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn unquote(rest: &str) -> Result<(Vec<u8>, usize), String> {
    let bytes = rest.as_bytes();
    let quote = bytes[0];
    let mut said = Vec::new();
    let mut at = 1;
    loop {
        match bytes.get(at) {
            Some(&byte) if byte == quote => return Ok((said, at + 1)),
            None if quote == b'`' => return Err("unterminated raw string".to_owned()),
            Some(b'\\') if quote != b'`' => at += escape(&rest[at..], quote, &mut said)?,
            None | Some(b'\n') if quote != b'`' => {
                return Err("unterminated quoted string".to_owned());
            }
            Some(&byte) => {
                said.push(byte);
                at += 1;
            }
            None => unreachable!("both kinds of quote end above"),
        }
    }
}

/// Takes one escape, and answers how many bytes it has.
fn escape(rest: &str, quote: u8, said: &mut Vec<u8>) -> Result<usize, String> {
    let cut = || "escape sequence not terminated".to_owned();
    let letter = rest[1..].chars().next().ok_or_else(cut)?;
    if let Some(&(_, meant)) = ESCAPES.iter().find(|&&(known, _)| known == letter) {
        said.push(meant as u8);
        return Ok(2);
    }
    let (skip, digits, base) = match letter {
        '\\' => (1, 0, 0),
        _ if letter == char::from(quote) => (1, 0, 0),
        '0'..='7' => (1, 3, 8),
        'x' => (2, 2, 16),
        'u' => (2, 4, 16),
        'U' => (2, 8, 16),
        _ => return Err(format!("unknown escape sequence {}", code_point(letter))),
    };
    if digits == 0 {
        said.push(letter as u8);
        return Ok(2);
    }
    let mut code = 0_u32;
    let mut chars = rest[skip..].chars();
    for _ in 0..digits {
        let c = chars.next().ok_or_else(cut)?;
        let digit = c
            .to_digit(base)
            .ok_or_else(|| format!("illegal character {} in escape sequence", code_point(c)))?;
        // Eight digits of four bits fit exactly.
        code = code.wrapping_mul(base) + digit;
    }
    let wrong = || "escape sequence is an invalid Unicode code point".to_owned();
    match letter {
        'u' | 'U' => {
            let c = char::from_u32(code).ok_or_else(wrong)?;
            said.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        _ => said.push(u8::try_from(code).map_err(|_| wrong())?),
    }
    Ok(skip + digits)
}

fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}
