//! From text to nodes: whatever can be known to be wrong before there is data is said here.

use std::collections::HashMap;

use super::{MAX_DEPTH, MAX_TEXT, Template, function};

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Show(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
    Template(String, Option<Pipe>),
    Break,
    Continue,
}

/// Commands, each of which is given the result of the one before as its last argument.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    /// The variables that take the result.
    pub(super) variables: Vec<String>,
    /// Whether they are declared here.
    pub(super) declares: bool,
    /// Each a value, or a function and its arguments; none is empty.
    pub(super) commands: Vec<Vec<Arg>>,
}

/// A value and the fields that are taken of it, one of the other.
#[derive(Clone, Debug)]
pub(super) struct Arg {
    pub(super) of: Operand,
    pub(super) fields: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Variable(String),
    Function(String),
    Pipe(Box<Pipe>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Open,
    Close,
    Dot,
    Field(String),
    Variable(String),
    Word(String),
    Quoted(String),
    Int(i64),
    Float(f64),
    Pipe,
    Left,
    Right,
    Comma,
    Declare,
    Assign,
    /// Between two values; what follows a value without one is a field of it.
    Space,
}

const VARIABLES: [&str; 5] = ["$", "$labels", "$externalLabels", "$externalURL", "$value"];

pub(super) fn parse(text: &str) -> Result<Template, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("it is longer than {MAX_TEXT} bytes"));
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        variables: VARIABLES.map(str::to_owned).to_vec(),
        defined: HashMap::new(),
        depth: 0,
        ranges: 0,
    };
    let (body, end) = parser.block()?;
    match end {
        None => Ok(Template { body, defined: parser.defined }),
        Some(word) => Err(parser.wrong(format!("{word} ends nothing"))),
    }
}

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut all = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(at) = rest.find("{{") {
        let (before, action) = (&rest[..at], &rest[at + 2..]);
        let trims = action.starts_with('-') && action[1..].starts_with(char::is_whitespace);
        let shown = if trims { before.trim_end() } else { before };
        if !shown.is_empty() {
            all.push((Token::Text(shown.to_owned()), line));
        }
        line += before.matches('\n').count();
        let mut lexer = Lexer { rest: if trims { &action[1..] } else { action }, line };
        let trims = lexer.action(&mut all)?;
        (rest, line) = (lexer.rest, lexer.line);
        if trims {
            let kept = rest.trim_start();
            line += rest[..rest.len() - kept.len()].matches('\n').count();
            rest = kept;
        }
    }
    if !rest.is_empty() {
        all.push((Token::Text(rest.to_owned()), line));
    }
    Ok(all)
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn wrong(&self, reason: &str) -> String {
        format!("line {}: {reason}", self.line)
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        self.take(self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len()))
    }

    /// Reads up to the end of the action; says whether the space after it goes.
    fn action(&mut self, all: &mut Vec<(Token, usize)>) -> Result<bool, String> {
        let start = self.line;
        let body = self.rest.trim_start();
        if body.starts_with("/*") {
            let end = body.find("*/").ok_or_else(|| self.wrong("a comment is not closed"))?;
            self.take(self.rest.len() - body.len() + end + 2);
            let after = self.rest.trim_start();
            let trims = after.starts_with("-}}") && after.len() < self.rest.len();
            let closing = if trims { "-}}" } else { "}}" };
            if !after.starts_with(closing) {
                return Err(self.wrong("a comment must be alone in its action"));
            }
            self.take(self.rest.len() - after.len() + closing.len());
            return Ok(trims);
        }
        all.push((Token::Open, start));
        loop {
            let line = self.line;
            let mut push = |token| all.push((token, line));
            let Some(next) = self.rest.chars().next() else {
                return Err(format!("line {start}: an action is not closed"));
            };
            if next.is_whitespace() {
                self.take_while(char::is_whitespace);
                if self.rest.starts_with("-}}") {
                    push(Token::Close);
                    self.take(3);
                    return Ok(true);
                }
                push(Token::Space);
            } else if self.rest.starts_with("}}") {
                push(Token::Close);
                self.take(2);
                return Ok(false);
            } else {
                let token = self.token(next)?;
                push(token);
            }
        }
    }

    fn token(&mut self, next: char) -> Result<Token, String> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let second = self.rest.chars().nth(1).unwrap_or(' ');
        Ok(match next {
            '|' | '(' | ')' | ',' | '=' => {
                self.take(1);
                match next {
                    '|' => Token::Pipe,
                    '(' => Token::Left,
                    ')' => Token::Right,
                    ',' => Token::Comma,
                    _ => Token::Assign,
                }
            }
            ':' if second == '=' => {
                self.take(2);
                Token::Declare
            }
            '"' | '\'' => self.quoted(next)?,
            '`' => {
                let end = self.rest[1..].find('`');
                let end = end.ok_or_else(|| self.wrong("a text is not closed"))?;
                let text = self.take(end + 2);
                Token::Quoted(text[1..=end].to_owned())
            }
            '$' => {
                self.take(1);
                Token::Variable(format!("${}", self.take_while(is_word)))
            }
            '.' if !second.is_ascii_digit() => {
                self.take(1);
                match self.take_while(is_word) {
                    "" => Token::Dot,
                    field => Token::Field(field.to_owned()),
                }
            }
            '+' | '-' | '.' | '0'..='9' => self.number()?,
            c if is_word(c) => Token::Word(self.take_while(is_word).to_owned()),
            c => return Err(self.wrong(&format!("{c:?} has no meaning"))),
        })
    }

    fn number(&mut self) -> Result<Token, String> {
        let mut before = ' ';
        let end = self.rest.find(|c: char| {
            let sign = matches!(c, '+' | '-') && matches!(before, ' ' | 'e' | 'E');
            before = c;
            !(sign || c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
        });
        let text = self.take(end.unwrap_or(self.rest.len()));
        let plain = text.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let prefixed = |prefix: &str, radix| {
            let digits =
                digits.strip_prefix(prefix).or(digits.strip_prefix(&prefix.to_uppercase()));
            i64::from_str_radix(digits?, radix).ok().map(|number| sign * number)
        };
        let based = prefixed("0x", 16).or(prefixed("0o", 8)).or(prefixed("0b", 2));
        if let Some(number) = based.or_else(|| plain.parse().ok()) {
            return Ok(Token::Int(number));
        }
        let begins = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        match plain.parse().ok().filter(|_| begins) {
            Some(number) => Ok(Token::Float(number)),
            None => Err(self.wrong(&format!("{text:?} is no number"))),
        }
    }

    /// A text, or the number of a character, with Go's escapes.
    fn quoted(&mut self, quote: char) -> Result<Token, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        let end = loop {
            let (at, c) = chars.next().ok_or_else(|| self.wrong("a text is not closed"))?;
            match c {
                c if c == quote => break at + 1,
                '\n' => return Err(self.wrong("a text is not closed")),
                '\\' => {
                    let (_, escaped) =
                        chars.next().ok_or_else(|| self.wrong("a text is not closed"))?;
                    let digits = match escaped {
                        'x' => 2,
                        'u' => 4,
                        'U' => 8,
                        _ => 0,
                    };
                    let read: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&read, 16).ok().and_then(char::from_u32);
                    text.push(match escaped {
                        'a' => '\u{7}',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'v' => '\u{b}',
                        '\\' | '"' | '\'' => escaped,
                        _ => {
                            code.ok_or_else(|| self.wrong(&format!("\\{escaped} is no character")))?
                        }
                    });
                }
                c => text.push(c),
            }
        };
        self.take(end);
        if quote == '"' {
            return Ok(Token::Quoted(text));
        }
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(Token::Int(i64::from(u32::from(c)))),
            _ => Err(self.wrong(&format!("'{text}' is not one character"))),
        }
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    /// Those in scope.
    variables: Vec<String>,
    defined: HashMap<String, Vec<Node>>,
    depth: usize,
    ranges: usize,
}

impl Parser {
    fn wrong(&self, reason: impl AsRef<str>) -> String {
        let last = self.at.min(self.tokens.len()).saturating_sub(1);
        let line = self.tokens.get(last).map_or(1, |(_, line)| *line);
        format!("line {line}: {}", reason.as_ref())
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.at += 1;
        }
    }

    fn eat(&mut self, token: &Token) -> bool {
        self.skip_space();
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn close(&mut self) -> Result<(), String> {
        if self.eat(&Token::Close) {
            return Ok(());
        }
        self.at += 1;
        Err(self.wrong("something is too much in this action"))
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(self.wrong(format!("deeper than {MAX_DEPTH}")))
        } else {
            Ok(())
        }
    }

    /// Nodes up to `end` or `else`, which is taken too and given back; `None` is the end of the text.
    fn block(&mut self) -> Result<(Vec<Node>, Option<&'static str>), String> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            if let Token::Text(text) = token {
                nodes.push(Node::Text(text));
                continue;
            }
            self.skip_space();
            let word = match self.peek() {
                Some(Token::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let known = [
                "if", "with", "range", "define", "block", "template", "break", "continue", "end",
                "else",
            ];
            self.at += usize::from(known.contains(&&*word));
            match word.as_str() {
                "end" => {
                    self.close()?;
                    return Ok((nodes, Some("end")));
                }
                "else" => return Ok((nodes, Some("else"))),
                "if" | "with" | "range" => nodes.push(self.control(&word)?),
                "define" | "block" => {
                    if let Some(node) = self.define(&word)? {
                        nodes.push(node);
                    }
                }
                "template" => {
                    let name = self.name("template")?;
                    let pipe = if self.eat(&Token::Close) {
                        None
                    } else {
                        Some(self.argument("template")?)
                    };
                    nodes.push(Node::Template(name, pipe));
                }
                "break" | "continue" => {
                    if self.ranges == 0 {
                        return Err(self.wrong(format!("{word} is in no range")));
                    }
                    self.close()?;
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                _ => {
                    let pipe = self.pipe("an action")?;
                    self.close()?;
                    nodes.push(Node::Show(pipe));
                }
            }
        }
        Ok((nodes, None))
    }

    fn argument(&mut self, of: &str) -> Result<Pipe, String> {
        let pipe = self.pipe(of)?;
        self.close()?;
        Ok(pipe)
    }

    fn control(&mut self, word: &str) -> Result<Node, String> {
        self.deeper()?;
        let scope = self.variables.len();
        let pipe = self.argument(word)?;
        self.ranges += usize::from(word == "range");
        let (body, mut end) = self.block()?;
        self.ranges -= usize::from(word == "range");
        let mut otherwise = Vec::new();
        if end == Some("else") {
            self.skip_space();
            let chained =
                matches!(self.peek(), Some(Token::Word(next)) if next == word && word != "range");
            if chained {
                // It has the same end.
                self.at += 1;
                otherwise.push(self.control(word)?);
                end = Some("end");
            } else {
                self.close()?;
                (otherwise, end) = self.block()?;
            }
        }
        self.variables.truncate(scope);
        self.depth -= 1;
        match (end, word) {
            (Some("end"), "if") => Ok(Node::If(pipe, body, otherwise)),
            (Some("end"), "with") => Ok(Node::With(pipe, body, otherwise)),
            (Some("end"), _) => Ok(Node::Range(pipe, body, otherwise)),
            (Some(_), _) => Err(self.wrong(format!("{word} has a second else"))),
            (None, _) => Err(self.wrong(format!("{word} is never ended"))),
        }
    }

    fn name(&mut self, of: &str) -> Result<String, String> {
        self.skip_space();
        match self.next() {
            Some(Token::Quoted(name)) => Ok(name),
            _ => Err(self.wrong(format!("{of} needs a name in quotes"))),
        }
    }

    /// Takes up what is defined; a block is used at once, too.
    fn define(&mut self, word: &str) -> Result<Option<Node>, String> {
        self.deeper()?;
        let name = self.name(word)?;
        let used = match word {
            "block" => Some(Node::Template(name.clone(), Some(self.argument(word)?))),
            _ => self.close().map(|()| None)?,
        };
        let outside = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (body, end) = self.block()?;
        (self.variables, self.ranges) = (outside, ranges);
        self.depth -= 1;
        if end != Some("end") {
            return Err(self.wrong(format!("{word} is never ended")));
        }
        self.defined.insert(name, body);
        Ok(used)
    }

    fn pipe(&mut self, of: &str) -> Result<Pipe, String> {
        self.deeper()?;
        let (variables, declares) = self.assigned(of)?;
        let mut commands = Vec::new();
        loop {
            let command = self.command()?;
            if command.is_empty() {
                return Err(self.wrong(format!("a value is missing in {of}")));
            }
            commands.push(command);
            if !self.eat(&Token::Pipe) {
                break;
            }
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        self.depth -= 1;
        Ok(Pipe { variables, declares, commands })
    }

    /// The variables before `:=` or `=`, if there are any.
    fn assigned(&mut self, of: &str) -> Result<(Vec<String>, bool), String> {
        self.skip_space();
        let start = self.at;
        let mut names = Vec::new();
        while let Some(Token::Variable(name)) = self.peek().cloned() {
            self.at += 1;
            names.push(name);
            if !self.eat(&Token::Comma) {
                break;
            }
            self.skip_space();
        }
        let declares = self.eat(&Token::Declare);
        if names.is_empty() || !(declares || self.eat(&Token::Assign)) {
            self.at = start;
            return Ok((Vec::new(), false));
        }
        if names.len() > if of == "range" { 2 } else { 1 } {
            return Err(self.wrong(format!("too many variables in {of}")));
        }
        if let Some(name) = names.iter().find(|name| !declares && !self.variables.contains(name)) {
            return Err(self.wrong(format!("there is no variable {name}")));
        }
        Ok((names, declares))
    }

    fn command(&mut self) -> Result<Vec<Arg>, String> {
        let mut args = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                None | Some(Token::Close | Token::Pipe | Token::Right) => return Ok(args),
                _ => args.push(self.arg()?),
            }
        }
    }

    fn arg(&mut self) -> Result<Arg, String> {
        let mut fields = Vec::new();
        let of = match self.next() {
            Some(Token::Dot) => Operand::Dot,
            Some(Token::Field(name)) => {
                fields.push(name);
                Operand::Dot
            }
            Some(Token::Variable(name)) if !self.variables.contains(&name) => {
                return Err(self.wrong(format!("there is no variable {name}")));
            }
            Some(Token::Variable(name)) => Operand::Variable(name),
            Some(Token::Quoted(text)) => Operand::Text(text),
            Some(Token::Int(number)) => Operand::Int(number),
            Some(Token::Float(number)) => Operand::Float(number),
            Some(Token::Word(word)) => match word.as_str() {
                "true" | "false" => Operand::Bool(word == "true"),
                "nil" => Operand::Nil,
                _ if function::is_known(&word) => Operand::Function(word),
                _ => return Err(self.wrong(format!("there is no function {word}"))),
            },
            Some(Token::Left) => {
                let pipe = self.pipe("parentheses")?;
                if !self.eat(&Token::Right) {
                    return Err(self.wrong("a parenthesis is not closed"));
                }
                Operand::Pipe(Box::new(pipe))
            }
            _ => return Err(self.wrong("a value is expected")),
        };
        while let Some(Token::Field(name)) = self.peek().cloned() {
            self.at += 1;
            fields.push(name);
        }
        Ok(Arg { of, fields })
    }
}
