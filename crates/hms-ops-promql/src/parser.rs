//! The parser: a query in, its syntax tree out, of which every type fits.
//!
//! Operators are taken by precedence climbing (Pratt, *Top Down Operator Precedence*, 1973); the
//! grammar, the order of the checks and the messages are those of Prometheus 3.14. One thing is
//! added: the name of a metric may have dots, and means the name under which it is stored.

use std::fmt;

use hms_ops_core::name::stored_name;

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Matching, Node, Number,
    Span, Unary,
};
use crate::function::Function;
use crate::lexer::{Keyword, Kind, Lexer, Token};
use crate::text::{Quoted, unquote};

mod check;
mod length;
mod selector;

/// Bytes of a query; more are refused.
pub const MAX_QUERY: usize = 64 << 10;

/// How many expressions a query may have inside one another; more are refused, so that walking the
/// tree never needs more stack than there is.
pub const MAX_DEPTH: usize = 128;

/// How tall a tree may be: [`MAX_DEPTH`], and chains such as `a + b + c`, each of which stands on
/// the one before.
pub const MAX_HEIGHT: usize = 256;

/// Why a text is not a query.
///
/// Prints as Prometheus does: `1:5: parse error: unexpected end of input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub span: Span,
    /// How.
    pub message: String,
    place: String,
}

impl ParseError {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), place: String::new() }
    }

    fn placed(mut self, query: &str) -> Self {
        self.place = match position(query, self.span) {
            _ if query.is_empty() => "unknown position".to_owned(),
            (line, column) => format!("{line}:{column}"),
        };
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: parse error: {}", self.place, self.message)
    }
}

impl std::error::Error for ParseError {}

/// In which line and at which byte of it something begins, both counted from 1.
pub fn position(query: &str, span: Span) -> (usize, usize) {
    let before = &query.as_bytes()[..span.start.min(query.len())];
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let lines = before.iter().filter(|&&b| b == b'\n').count();
    (lines + 1, before.len() - line_start + 1)
}

/// Parses a query and checks its types.
///
/// # Errors
///
/// [`ParseError`] for the first thing that is wrong with it.
///
/// ```
/// use hms_ops_promql::parse;
///
/// let query = parse("sum by (cluster) (rate(eligibility.requests[5m]))")?;
/// assert_eq!(query.to_string(), "sum by (cluster) (rate(eligibility_requests[5m]))");
/// assert_eq!(
///     parse("rate(up)").unwrap_err().to_string(),
///     r#"1:6: parse error: expected type range vector in call to function "rate", got instant vector"#,
/// );
/// # Ok::<(), hms_ops_promql::ParseError>(())
/// ```
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    if query.len() > MAX_QUERY {
        let message = format!("query is longer than {MAX_QUERY} bytes");
        return Err(ParseError::new(Span::default(), message).placed(query));
    }
    let mut parser = Parser {
        lexer: Lexer::new(query),
        ahead: None,
        end: 0,
        depth: 0,
        height: 0,
        context: ("", ""),
    };
    let tree = parser.query().and_then(|mut tree| {
        check::check(query, &mut tree)?;
        Ok(*tree)
    });
    tree.map_err(|error| error.placed(query))
}

/// What is parsed; in a box, so that the parser needs little stack at each level.
type Tree = Box<Expr>;

fn tree(node: Node, span: Span) -> Tree {
    Box::new(Expr { node, span })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next token, once somebody asked for it.
    ahead: Option<Token<'a>>,
    /// Where the last token that was taken is over.
    end: usize,
    /// How many expressions are being parsed, each inside the one before.
    depth: usize,
    /// How tall the tree is that was parsed last.
    height: usize,
    /// In what, and instead of what, a token is unexpected if nobody knows better.
    context: (&'static str, &'static str),
}

impl<'a> Parser<'a> {
    fn query(&mut self) -> Result<Tree, ParseError> {
        if self.peek()?.kind == Kind::End {
            return Err(ParseError::new(Span::default(), "no expression found in input"));
        }
        let tree = self.expr(0)?;
        match self.peek()?.kind {
            Kind::End => Ok(tree),
            _ => Err(self.unexpected()),
        }
    }

    /// An expression, as far as its operators bind at least as tightly as `min`.
    fn expr(&mut self, min: u8) -> Result<Tree, ParseError> {
        self.enter()?;
        let mut left = self.operand()?;
        loop {
            let token = self.peek()?;
            match token.kind {
                Kind::Op(op) if precedence(op) >= min => {
                    self.take()?;
                    left = self.binary(left, op)?;
                }
                _ if !self.modifier(&mut left, token)? => break,
                _ => {}
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    fn binary(&mut self, left: Tree, op: BinaryOp) -> Result<Tree, ParseError> {
        let tall = self.height;
        let returns_bool = self.eat(Kind::Keyword(Keyword::Bool))?;
        let matching = Some(self.matching()?);
        // Of equal operators the left one binds first, except for powers.
        let right = self.expr(precedence(op) + u8::from(op != BinaryOp::Pow))?;
        let span = Span { start: left.span.start, end: right.span.end };
        self.grow(tall, span)?;
        let binary = Binary { op, left, right, returns_bool, matching };
        Ok(tree(Node::Binary(binary), span))
    }

    fn matching(&mut self) -> Result<Matching, ParseError> {
        let mut matching = Matching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let Kind::Keyword(word @ (Keyword::On | Keyword::Ignoring)) = self.peek()?.kind {
            self.take()?;
            matching.on = word == Keyword::On;
            matching.labels = self.labels()?;
            matching.cardinality = match self.peek()?.kind {
                Kind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
                Kind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
                _ => Cardinality::OneToOne,
            };
            if matching.cardinality != Cardinality::OneToOne {
                self.take()?;
                if self.peek()?.kind == Kind::LeftParen {
                    matching.include = self.labels()?;
                }
            }
        }
        if self.eat(Kind::Keyword(Keyword::Fill))? {
            matching.fill_left = Some(self.fill()?);
            matching.fill_right = matching.fill_left;
            return Ok(matching);
        }
        if self.eat(Kind::Keyword(Keyword::FillLeft))? {
            matching.fill_left = Some(self.fill()?);
        }
        if self.eat(Kind::Keyword(Keyword::FillRight))? {
            matching.fill_right = Some(self.fill()?);
        }
        if matching.fill_left.is_none() && self.eat(Kind::Keyword(Keyword::FillLeft))? {
            matching.fill_left = Some(self.fill()?);
        }
        Ok(matching)
    }

    fn fill(&mut self) -> Result<f64, ParseError> {
        self.expect(Kind::LeftParen)?;
        let value = self.signed_number()?;
        self.expect(Kind::RightParen)?;
        Ok(value)
    }

    fn operand(&mut self) -> Result<Tree, ParseError> {
        let token = self.peek()?;
        match token.kind {
            Kind::Number | Kind::Duration | Kind::String => self.literal(),
            Kind::Op(sign @ (BinaryOp::Add | BinaryOp::Sub)) => self.unary(sign),
            Kind::LeftParen => self.paren(),
            Kind::LeftBrace => self.selector(None),
            kind if can_be_metric(kind) => {
                self.take()?;
                match (kind, self.peek()?.kind) {
                    (
                        Kind::Aggregate(op),
                        Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without),
                    ) => self.aggregate(op, token),
                    (Kind::Name, Kind::LeftParen) => self.call(token),
                    (Kind::Keyword(word), Kind::LeftParen) if word.is_call() => self.call(token),
                    _ => self.selector(Some(token)),
                }
            }
            _ => Err(self.unexpected()),
        }
    }

    fn literal(&mut self) -> Result<Tree, ParseError> {
        let token = self.take()?;
        let node = match token.kind {
            Kind::String => Node::String(literal(token)?),
            kind => {
                Node::Number(Number { value: number(token)?, is_duration: kind == Kind::Duration })
            }
        };
        self.height = 1;
        Ok(tree(node, token.span()))
    }

    fn paren(&mut self) -> Result<Tree, ParseError> {
        let start = self.take()?.start;
        let inner = self.expr(0)?;
        self.expect(Kind::RightParen)?;
        let span = Span { start, end: self.end };
        self.grow(0, span)?;
        Ok(tree(Node::Paren(inner), span))
    }

    fn unary(&mut self, sign: BinaryOp) -> Result<Tree, ParseError> {
        let start = self.take()?.start;
        let negative = sign == BinaryOp::Sub;
        let mut operand = self.expr(precedence(BinaryOp::Pow))?;
        let span = Span { start, end: operand.span.end };
        if let Node::Number(number) = &mut operand.node {
            number.value = if negative { -number.value } else { number.value };
            operand.span = span;
            return Ok(operand);
        }
        self.grow(0, span)?;
        Ok(tree(Node::Unary(Unary { negative, operand }), span))
    }

    fn call(&mut self, name: Token<'a>) -> Result<Tree, ParseError> {
        let args = self.args()?;
        let Some(function) = Function::named(name.text) else {
            let message = format!("unknown function with name {}", Quoted(name.text));
            return Err(ParseError::new(name.span(), message));
        };
        let span = Span { start: name.start, end: self.end };
        self.grow(0, span)?;
        Ok(tree(Node::Call(Call { function, args }), span))
    }

    fn aggregate(&mut self, op: AggregateOp, name: Token<'a>) -> Result<Tree, ParseError> {
        let outside = std::mem::replace(&mut self.context, ("aggregation", ""));
        let mut grouping = self.grouping()?;
        let mut args = self.args()?;
        self.context = outside;
        let end = self.end;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let span = Span { start: name.start, end: self.end };
        let wanted = 1 + usize::from(op.has_param());
        if args.is_empty() {
            let message = "no arguments for aggregate expression provided";
            return Err(ParseError::new(span, message));
        }
        if args.len() != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, \
                 expected {wanted}, got {}",
                args.len(),
            );
            return Err(ParseError::new(span, message));
        }
        let expr = args.pop().map(Box::new).expect("it has one or two");
        let param = args.pop().map(Box::new);
        let (without, labels) = grouping.unwrap_or_default();
        self.grow(0, Span { start: name.start, end })?;
        Ok(tree(Node::Aggregate(Aggregate { op, expr, param, labels, without }), span))
    }

    /// `by (labels)` or `without (labels)`, and whether it is the latter.
    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        let without = match self.peek()?.kind {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.take()?;
        Ok(Some((without, self.labels()?)))
    }

    /// Leaves the height of the tallest one behind.
    fn args(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect(Kind::LeftParen)?;
        let (mut args, mut tallest) = (Vec::new(), 0);
        if self.peek()?.kind != Kind::RightParen {
            loop {
                args.push(*self.expr(0)?);
                tallest = tallest.max(self.height);
                let comma = self.peek()?;
                if comma.kind != Kind::Comma {
                    break;
                }
                self.take()?;
                if self.peek()?.kind == Kind::RightParen {
                    let message = "trailing commas not allowed in function call args";
                    return Err(ParseError::new(comma.span(), message));
                }
            }
        }
        self.expect(Kind::RightParen)?;
        self.height = tallest;
        Ok(args)
    }

    /// `(label, "label")`
    fn labels(&mut self) -> Result<Vec<String>, ParseError> {
        const IN: &str = "grouping opts";
        if !self.eat(Kind::LeftParen)? {
            return Err(self.unexpected_in(IN, "\"(\""));
        }
        let mut labels = Vec::new();
        while !self.eat(Kind::RightParen)? {
            let token = self.peek()?;
            let label = match token.kind {
                Kind::String => {
                    self.take()?;
                    text(token)?
                }
                kind if can_be_label(kind) && !token.text.contains('.') => {
                    self.take()?;
                    token.text.to_owned()
                }
                _ => return Err(self.unexpected_in(IN, "label")),
            };
            if label.is_empty() {
                let message = "invalid label name for grouping: \"\"";
                return Err(ParseError::new(token.span(), message));
            }
            labels.push(label);
            if !self.eat(Kind::Comma)? && self.peek()?.kind != Kind::RightParen {
                return Err(self.unexpected_in(IN, "\",\" or \")\""));
            }
        }
        Ok(labels)
    }

    fn signed_number(&mut self) -> Result<f64, ParseError> {
        let negative = self.eat(Kind::Op(BinaryOp::Sub))?;
        if !negative {
            self.eat(Kind::Op(BinaryOp::Add))?;
        }
        let token = self.peek()?;
        if !matches!(token.kind, Kind::Number | Kind::Duration) {
            return Err(self.unexpected());
        }
        self.take()?;
        let value = number(token)?;
        Ok(if negative { -value } else { value })
    }

    fn peek(&mut self) -> Result<Token<'a>, ParseError> {
        match self.ahead {
            Some(token) => Ok(token),
            None => Ok(*self.ahead.insert(self.lexer.next()?)),
        }
    }

    fn take(&mut self) -> Result<Token<'a>, ParseError> {
        let token = self.peek()?;
        self.ahead = None;
        self.end = token.span().end;
        Ok(token)
    }

    fn eat(&mut self, kind: Kind) -> Result<bool, ParseError> {
        let found = self.peek()?.kind == kind;
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn expect(&mut self, kind: Kind) -> Result<(), ParseError> {
        if self.eat(kind)? { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&mut self) -> ParseError {
        let (inside, expected) = self.context;
        self.unexpected_in(inside, expected)
    }

    fn unexpected_in(&mut self, inside: &str, expected: &str) -> ParseError {
        let token = match self.peek() {
            Ok(token) => token,
            Err(error) => return error,
        };
        let mut message = format!("unexpected {token}");
        for (word, what) in [(" in ", inside), (", expected ", expected)] {
            if !what.is_empty() {
                message.extend([word, what]);
            }
        }
        ParseError::new(token.span(), message)
    }

    /// Goes one level deeper. Nobody goes on after an error, so only success leaves again.
    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return Ok(());
        }
        let message = format!("more than {MAX_DEPTH} expressions inside one another");
        Err(ParseError::new(self.peek()?.span(), message))
    }

    /// Puts a node on top of the tree that was parsed last and of another one.
    fn grow(&mut self, other: usize, span: Span) -> Result<(), ParseError> {
        self.height = self.height.max(other) + 1;
        if self.height <= MAX_HEIGHT {
            return Ok(());
        }
        let message = format!("more than {MAX_HEIGHT} operators on top of one another");
        Err(ParseError::new(span, message))
    }
}

/// How tightly an operator binds.
fn precedence(op: BinaryOp) -> u8 {
    use BinaryOp::{Add, And, Atan2, Div, Mod, Mul, Or, Pow, Sub, Unless};
    match op {
        Or => 1,
        And | Unless => 2,
        Add | Sub => 4,
        Mul | Div | Mod | Atan2 => 5,
        Pow => 6,
        _ => 3,
    }
}

/// Whether a metric can be called so, when it stands where an expression begins.
fn can_be_metric(kind: Kind) -> bool {
    use Keyword::{Anchored, By, Offset, Smoothed, Without};
    match kind {
        Kind::Name | Kind::MetricName | Kind::Aggregate(_) => true,
        Kind::Op(op) => op.is_set(),
        Kind::Keyword(word) => {
            word.is_call() || matches!(word, Anchored | By | Offset | Smoothed | Without)
        }
        _ => false,
    }
}

/// Whether a label can be called so in a list of labels.
fn can_be_label(kind: Kind) -> bool {
    use BinaryOp::Atan2;
    match kind {
        Kind::Keyword(_) | Kind::Op(Atan2) => true,
        _ => can_be_metric(kind),
    }
}

/// The value of a number, or the seconds of a duration.
fn number(token: Token<'_>) -> Result<f64, ParseError> {
    let value = match token.kind {
        Kind::Duration => crate::duration::seconds_of(token.text),
        _ => value_of(token.text).map_err(|wrong| {
            let text = Quoted(token.text);
            format!("error parsing number: strconv.ParseFloat: parsing {text}: {wrong}")
        }),
    };
    value.map_err(|message| ParseError::new(token.span(), message))
}

fn value_of(text: &str) -> Result<f64, &'static str> {
    let digits: String = text.chars().filter(|&c| c != '_').collect();
    let whole = match digits.strip_prefix(['0']) {
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(rest) => i64::from_str_radix(rest, 16),
            // Not if it is `0`, `0.5` or `08`.
            None => i64::from_str_radix(rest, 8),
        },
        None => digits.parse(),
    };
    match whole {
        _ if text.ends_with('_') => Err("invalid syntax"),
        Ok(whole) => Ok(whole as f64),
        Err(_) => match digits.parse::<f64>() {
            Ok(value) if value.is_infinite() && !text.eq_ignore_ascii_case("inf") => {
                Err("value out of range")
            }
            Ok(value) => Ok(value),
            Err(_) => Err("invalid syntax"),
        },
    }
}

/// What a text in quotes says.
fn text(token: Token<'_>) -> Result<String, ParseError> {
    let refuse = |message: String| ParseError::new(token.span(), message);
    let (said, _) = unquote(token.text).map_err(refuse)?;
    String::from_utf8(said).map_err(|_| refuse(format!("string {} is not UTF-8", token.text)))
}

/// What a text in quotes says that is neither a name nor a value: bytes that are not UTF-8 are for the
/// function that takes it to refuse.
fn literal(token: Token<'_>) -> Result<String, ParseError> {
    let refuse = |message: String| ParseError::new(token.span(), message);
    let (said, _) = unquote(token.text).map_err(refuse)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// The name of a metric, as it is stored.
fn metric(token: Token<'_>) -> String {
    match token.text.contains('.') {
        true => stored_name(token.text).into_owned(),
        false => token.text.to_owned(),
    }
}

/// Whether this can be the name of a label: any text that is UTF-8.
pub(crate) fn is_label(name: &str) -> bool {
    // The replacement character is what bytes that are not UTF-8 have become.
    !name.is_empty() && !name.contains('\u{fffd}')
}
