//! Words and signs of a query, one at a time.
//!
//! What a character means depends on where it stands: inside braces every word is a name, and
//! inside brackets only lengths of time are known. The rules and the complaints are those of
//! Prometheus, whose messages people and tools know.

use std::fmt;

use crate::ast::{AggregateOp, BinaryOp, Span};
use crate::parser::ParseError;
use crate::text::{Quoted, QuotedChar, unquote};

/// A word or a sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    /// As it is written.
    pub(crate) text: &'a str,
    /// At which byte it begins.
    pub(crate) start: usize,
}

impl Token<'_> {
    pub(crate) fn span(&self) -> Span {
        Span { start: self.start, end: self.start + self.text.len() }
    }
}

/// As complaints name it.
impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, text, .. } = *self;
        let what = match kind {
            Kind::End => return f.write_str("end of input"),
            Kind::Op(_) | Kind::At | Kind::Matches | Kind::MatchesNot => {
                return write!(f, "<op:{text}>");
            }
            Kind::Aggregate(_) => return write!(f, "<aggr:{text}>"),
            Kind::Keyword(word) if !word.is_call() => return write!(f, "<{text}>"),
            Kind::Name => "identifier ",
            Kind::MetricName => "metric identifier ",
            Kind::String => "string ",
            Kind::Number => "number ",
            Kind::Duration => "duration ",
            _ => "",
        };
        match text.char_indices().nth(10) {
            Some((cut, _)) if matches!(kind, Kind::String | Kind::Number | Kind::Duration) => {
                write!(f, "{what}{}...", Quoted(&text[..cut]))
            }
            _ => write!(f, "{what}{}", Quoted(text)),
        }
    }
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    End,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`
    Assign,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
    At,
    Op(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    /// A word without colons.
    Name,
    /// A word that only a metric can be called: it has colons or dots.
    MetricName,
    String,
    Number,
    Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Anchored,
    Bool,
    By,
    End,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    MaxOf,
    MinOf,
    Offset,
    On,
    Range,
    Smoothed,
    Start,
    Step,
    Without,
}

impl Keyword {
    /// Whether parentheses after it make it a call.
    pub(crate) fn is_call(self) -> bool {
        use Keyword::{End, MaxOf, MinOf, Range, Start, Step};
        matches!(self, End | MaxOf | MinOf | Range | Start | Step)
    }

    /// Whether it begins a length of time.
    fn is_length(self) -> bool {
        matches!(self, Self::MaxOf | Self::MinOf | Self::Range | Self::Step)
    }
}

/// Longer signs first.
const SIGNS: [(&str, Kind); 24] = [
    ("==", Kind::Op(BinaryOp::Equal)),
    ("!=", Kind::Op(BinaryOp::NotEqual)),
    ("<=", Kind::Op(BinaryOp::LessOrEqual)),
    (">=", Kind::Op(BinaryOp::GreaterOrEqual)),
    ("</", Kind::Op(BinaryOp::TrimUpper)),
    (">/", Kind::Op(BinaryOp::TrimLower)),
    ("<", Kind::Op(BinaryOp::Less)),
    (">", Kind::Op(BinaryOp::Greater)),
    ("=", Kind::Assign),
    ("@", Kind::At),
    ("[", Kind::LeftBracket),
    ("{", Kind::LeftBrace),
    ("}", Kind::RightBrace),
    ("+", Kind::Op(BinaryOp::Add)),
    ("-", Kind::Op(BinaryOp::Sub)),
    ("*", Kind::Op(BinaryOp::Mul)),
    ("/", Kind::Op(BinaryOp::Div)),
    ("%", Kind::Op(BinaryOp::Mod)),
    ("^", Kind::Op(BinaryOp::Pow)),
    (",", Kind::Comma),
    ("(", Kind::LeftParen),
    (")", Kind::RightParen),
    ("]", Kind::RightBracket),
    (":", Kind::Colon),
];

const WORDS: [(&str, Kind); 25] = [
    ("and", Kind::Op(BinaryOp::And)),
    ("or", Kind::Op(BinaryOp::Or)),
    ("unless", Kind::Op(BinaryOp::Unless)),
    ("atan2", Kind::Op(BinaryOp::Atan2)),
    ("inf", Kind::Number),
    ("nan", Kind::Number),
    ("anchored", Kind::Keyword(Keyword::Anchored)),
    ("bool", Kind::Keyword(Keyword::Bool)),
    ("by", Kind::Keyword(Keyword::By)),
    ("end", Kind::Keyword(Keyword::End)),
    ("fill", Kind::Keyword(Keyword::Fill)),
    ("fill_left", Kind::Keyword(Keyword::FillLeft)),
    ("fill_right", Kind::Keyword(Keyword::FillRight)),
    ("group_left", Kind::Keyword(Keyword::GroupLeft)),
    ("group_right", Kind::Keyword(Keyword::GroupRight)),
    ("ignoring", Kind::Keyword(Keyword::Ignoring)),
    ("max_of", Kind::Keyword(Keyword::MaxOf)),
    ("min_of", Kind::Keyword(Keyword::MinOf)),
    ("offset", Kind::Keyword(Keyword::Offset)),
    ("on", Kind::Keyword(Keyword::On)),
    ("range", Kind::Keyword(Keyword::Range)),
    ("smoothed", Kind::Keyword(Keyword::Smoothed)),
    ("start", Kind::Keyword(Keyword::Start)),
    ("step", Kind::Keyword(Keyword::Step)),
    ("without", Kind::Keyword(Keyword::Without)),
];

/// Where in the query the next token is.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    query: &'a str,
    at: usize,
    parens: usize,
    in_braces: bool,
    brackets: Brackets,
}

/// Whether the next token is inside brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brackets {
    Outside,
    /// No number has come yet.
    Opened,
    Inside {
        colon: bool,
    },
}

type Result<T> = std::result::Result<T, ParseError>;

impl<'a> Lexer<'a> {
    pub(crate) fn new(query: &'a str) -> Self {
        Self { query, at: 0, parens: 0, in_braces: false, brackets: Brackets::Outside }
    }

    /// The next token; [`Kind::End`] again and again at the end.
    pub(crate) fn next(&mut self) -> Result<Token<'a>> {
        self.skip_blanks();
        let mut chars = self.rest().chars();
        let Some(c) = chars.next() else { return self.end() };
        let digit_after = chars.next().is_some_and(|c| c.is_ascii_digit());
        match c {
            _ if self.in_braces => self.in_braces(c),
            '0'..='9' => self.number(),
            '.' if digit_after => self.number(),
            _ if self.brackets != Brackets::Outside => self.in_brackets(c),
            '"' | '\'' | '`' => self.string(),
            ':' | '_' | 'a'..='z' | 'A'..='Z' => Ok(self.word()),
            _ => self.sign(c),
        }
    }

    fn end(&self) -> Result<Token<'a>> {
        let wrong = match self.brackets {
            _ if self.in_braces => "unexpected end of input inside braces",
            Brackets::Opened => "unexpected end of input in duration expression",
            _ if self.parens > 0 => "unclosed left parenthesis",
            Brackets::Inside { .. } => "unclosed left bracket",
            Brackets::Outside => return Ok(Token { kind: Kind::End, text: "", start: self.at }),
        };
        Err(self.error(self.at, wrong))
    }

    fn in_braces(&mut self, c: char) -> Result<Token<'a>> {
        let second = self.rest().chars().nth(1);
        let (kind, len) = match (c, second) {
            ('"' | '\'' | '`', _) => return self.string(),
            ('_' | 'a'..='z' | 'A'..='Z', _) => (Kind::Name, self.run(is_word)),
            (',', _) => (Kind::Comma, 1),
            ('=', Some('~')) => (Kind::Matches, 2),
            ('=', _) => (Kind::Assign, 1),
            ('!', Some('~')) => (Kind::MatchesNot, 2),
            ('!', Some('=')) => (Kind::Op(BinaryOp::NotEqual), 2),
            ('!', c) => {
                let c = QuotedChar(c);
                let wrong = format!("unexpected character after '!' inside braces: {c}");
                return Err(self.error(self.at, wrong));
            }
            ('}', _) => {
                self.in_braces = false;
                (Kind::RightBrace, 1)
            }
            ('{', _) => return Err(self.error(self.at, "unexpected left brace '{'")),
            _ => {
                let wrong = format!("unexpected character inside braces: {}", QuotedChar(Some(c)));
                return Err(self.error(self.at, wrong));
            }
        };
        Ok(self.take(kind, len))
    }

    fn in_brackets(&mut self, c: char) -> Result<Token<'a>> {
        let opened = self.brackets == Brackets::Opened;
        let wrong = match c {
            ':' => {
                let colon = std::mem::replace(&mut self.brackets, Brackets::Inside { colon: true });
                match colon {
                    Brackets::Inside { colon: false } => return Ok(self.take(Kind::Colon, 1)),
                    Brackets::Inside { .. } => "unexpected colon ':'".to_owned(),
                    _ => {
                        self.at += 1;
                        "unexpected colon before duration in duration expression".to_owned()
                    }
                }
            }
            '_' | 'a'..='z' | 'A'..='Z' => {
                let len = self.run(|b| b == b'_' || b.is_ascii_alphabetic());
                let word = keyword(&self.rest()[..len]);
                if let Some(kind @ Kind::Keyword(word)) = word
                    && word.is_length()
                {
                    self.after_length();
                    return Ok(self.take(kind, len));
                }
                match QuotedChar(Some(c)) {
                    c if opened => format!("unexpected character in duration expression: {c}"),
                    c => format!("unexpected character: {c}, expected ':'"),
                }
            }
            _ if opened && !"+-*/%^,()]".contains(c) => {
                format!("unexpected character in duration expression: {}", QuotedChar(Some(c)))
            }
            '"' | '\'' | '`' => return self.string(),
            _ => return self.sign(c),
        };
        Err(self.error(self.at, wrong))
    }

    /// A colon may follow from here on.
    fn after_length(&mut self) {
        if self.brackets == Brackets::Opened {
            self.brackets = Brackets::Inside { colon: false };
        }
    }

    fn sign(&mut self, c: char) -> Result<Token<'a>> {
        let rest = self.rest();
        let second = rest.chars().nth(1);
        let wrong = match (c, second) {
            ('=', Some('~')) => "unexpected character after '=': '~'".to_owned(),
            ('!', c) if c != Some('=') => {
                format!("unexpected character after '!': {}", QuotedChar(c))
            }
            (')', _) if self.parens == 0 => {
                self.at += 1;
                "unexpected right parenthesis ')'".to_owned()
            }
            ('[', _) if self.brackets != Brackets::Outside => {
                "unexpected left bracket '['".to_owned()
            }
            (']', _) if self.brackets == Brackets::Outside => {
                "unexpected right bracket ']'".to_owned()
            }
            _ => match SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
                Some(&(sign, kind)) if kind != Kind::RightBrace => {
                    match kind {
                        Kind::LeftParen => self.parens += 1,
                        Kind::RightParen => self.parens -= 1,
                        Kind::LeftBrace => self.in_braces = true,
                        Kind::LeftBracket => self.brackets = Brackets::Opened,
                        Kind::RightBracket => self.brackets = Brackets::Outside,
                        _ => {}
                    }
                    return Ok(self.take(kind, sign.len()));
                }
                _ => format!("unexpected character: {}", QuotedChar(Some(c))),
            },
        };
        Err(self.error(self.at, wrong))
    }

    fn string(&mut self) -> Result<Token<'a>> {
        match unquote(self.rest()) {
            Ok((_, len)) => Ok(self.take(Kind::String, len)),
            Err(wrong) => Err(self.error(self.at, wrong)),
        }
    }

    fn word(&mut self) -> Token<'a> {
        let mut len = self.run(|b| is_word(b) || b == b':');
        let plain = len;
        // No valid query of Prometheus has a dot between a word and a letter, so this takes
        // nothing away: it is the name of a metric as services write it.
        while let [b'.', b'_' | b'a'..=b'z' | b'A'..=b'Z', ..] = self.rest().as_bytes()[len..] {
            len += 1 + run(&self.rest()[len + 1..], |b| is_word(b) || b == b':');
        }
        let word = &self.rest()[..len];
        let kind = match keyword(word) {
            Some(Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.rest()[len..].trim_start_matches(is_blank).starts_with('(') =>
            {
                Kind::Name
            }
            Some(kind) => kind,
            None if len > plain || word.contains(':') => Kind::MetricName,
            None => Kind::Name,
        };
        self.take(kind, len)
    }

    fn number(&mut self) -> Result<Token<'a>> {
        let mut scan = Scan { rest: self.rest().as_bytes(), at: 0 };
        let kind = match scan.number() {
            true => Kind::Number,
            false if scan.duration() => Kind::Duration,
            false => {
                let cut = Quoted(&self.rest()[..scan.at]);
                let wrong = format!("bad number or duration syntax: {cut}");
                return Err(self.error(self.at, wrong));
            }
        };
        self.after_length();
        Ok(self.take(kind, scan.at))
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest().trim_start_matches(is_blank);
            self.at = self.query.len() - rest.len();
            match rest.strip_prefix('#') {
                Some(comment) => {
                    self.at += 1 + comment.find(['\r', '\n']).unwrap_or(comment.len());
                }
                None => return,
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.query[self.at..]
    }

    fn run(&self, fits: impl Fn(u8) -> bool) -> usize {
        run(self.rest(), fits)
    }

    fn take(&mut self, kind: Kind, len: usize) -> Token<'a> {
        let token = Token { kind, text: &self.rest()[..len], start: self.at };
        self.at += len;
        token
    }

    fn error(&self, start: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(Span { start, end: self.query.len() }, message)
    }
}

/// A number or a duration, byte by byte. What is taken is not always valid: the parser sees to that.
struct Scan<'a> {
    rest: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.get(self.at).copied()
    }

    fn eat(&mut self, fits: impl Fn(u8) -> bool) -> bool {
        let found = self.peek().is_some_and(fits);
        self.at += usize::from(found);
        found
    }

    /// Decimal, octal or hexadecimal; `_` between digits, and one dot and one exponent.
    fn number(&mut self) -> bool {
        let hexadecimal = self.eat(|b| b == b'0') && self.eat(|b| matches!(b, b'x' | b'X'));
        if hexadecimal {
            self.eat(|b| b == b'_');
        }
        let digit = |b: u8| if hexadecimal { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
        self.eat(|b| b == b'.');
        self.eat(digit);
        let (mut dot, mut exponent) = (false, false);
        while let Some(b) = self.peek() {
            match b {
                b'.' => {
                    self.at += 1;
                    if dot || self.eat(|b| matches!(b, b'_' | b'.')) || hexadecimal {
                        return false;
                    }
                    dot = true;
                }
                b'e' | b'E' => {
                    self.at += 1;
                    if exponent {
                        return false;
                    }
                    exponent = true;
                    self.eat(|b| matches!(b, b'+' | b'-'));
                    if self.ends_badly() {
                        return false;
                    }
                }
                b'_' => {
                    self.at += 1;
                    if self.ends_badly() {
                        return false;
                    }
                }
                _ if digit(b) => while self.eat(digit) {},
                _ => break,
            }
        }
        !self.peek().is_some_and(is_word)
    }

    /// Whether nothing follows, or what must not follow `_` or `e`.
    fn ends_badly(&mut self) -> bool {
        self.eat(|b| matches!(b, b'.' | b'_' | b'e' | b'E')) || self.peek().is_none()
    }

    /// The units of a duration whose first number was taken.
    fn duration(&mut self) -> bool {
        if !self.eat(|b| b"smhdwy".contains(&b)) {
            return false;
        }
        self.eat(|b| b == b's');
        while self.eat(|b| b.is_ascii_digit()) {
            while self.eat(|b| b.is_ascii_digit()) {}
            if !self.eat(|b| b"smhdw".contains(&b)) {
                return false;
            }
            self.eat(|b| b == b's');
        }
        !self.eat(is_word)
    }
}

fn keyword(word: &str) -> Option<Kind> {
    let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    known.map(|&(_, kind)| kind).or_else(|| AggregateOp::named(word).map(Kind::Aggregate))
}

fn run(rest: &str, fits: impl Fn(u8) -> bool) -> usize {
    rest.bytes().position(|b| !fits(b)).unwrap_or(rest.len())
}

fn is_word(b: u8) -> bool {
    b == b'_' || b.is_ascii_alphanumeric()
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}
