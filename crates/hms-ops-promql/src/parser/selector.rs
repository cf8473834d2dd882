//! Selectors, and what stands behind an expression: windows, `offset`, `@`, `anchored`.

use hms_ops_core::labels::NAME;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::time::Timestamp;

use super::{ParseError, Parser, Tree, metric, text, tree};
use crate::ast::{At, BinaryOp, Edges, Expr, MatrixSelector, Node, Span, Subquery, VectorSelector};
use crate::duration::Length;
use crate::format::Float;
use crate::lexer::{Keyword, Kind, Token};

impl<'a> Parser<'a> {
    /// A selector whose name was taken, or one without a name.
    pub(super) fn selector(&mut self, name: Option<Token<'a>>) -> Result<Tree, ParseError> {
        let start = match name {
            Some(name) => name.start,
            None => self.peek()?.start,
        };
        let mut matchers = Vec::new();
        if self.eat(Kind::LeftBrace)? {
            while !self.eat(Kind::RightBrace)? {
                matchers.push(self.matcher()?);
                if !self.eat(Kind::Comma)? && self.peek()?.kind != Kind::RightBrace {
                    return Err(self.unexpected_in("label matching", "\",\" or \"}\""));
                }
            }
        }
        let name = name.map(metric);
        // The last one: what comes before it and speaks of the name contradicts it.
        matchers.extend(name.as_deref().map(|name| Matcher::equal(NAME, name)));
        let selector = VectorSelector { name, matchers, offset: None, at: None, edges: None };
        self.height = 1;
        Ok(tree(Node::Vector(selector), Span { start, end: self.end }))
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        const IN: &str = "label matching";
        let label = self.peek()?;
        let name = match label.kind {
            Kind::Name => label.text.to_owned(),
            Kind::String => text(label)?,
            _ => return Err(self.unexpected_in(IN, "identifier or \"}\"")),
        };
        self.take()?;
        let op = self.peek()?.kind;
        match op {
            Kind::Assign | Kind::Op(BinaryOp::NotEqual) | Kind::Matches | Kind::MatchesNot => {}
            // A text alone is the name of the metric.
            _ if label.kind == Kind::String => return Ok(Matcher::equal(NAME, &name)),
            _ => return Err(self.unexpected_in(IN, "label matching operator")),
        }
        self.take()?;
        let token = self.peek()?;
        if token.kind != Kind::String {
            return Err(self.unexpected_in(IN, "string"));
        }
        self.take()?;
        let value = text(token)?;
        let matcher = match op {
            Kind::Assign => return Ok(Matcher::equal(&name, &value)),
            Kind::Matches => Matcher::regex(&name, &value),
            Kind::MatchesNot => Matcher::not_regex(&name, &value),
            _ => return Ok(Matcher::not_equal(&name, &value)),
        };
        matcher.map_err(|error| {
            let span = Span { start: label.start, end: token.span().end };
            ParseError::new(span, error.to_string())
        })
    }

    /// Takes what stands behind `of`, if `token` begins it.
    pub(super) fn modifier(&mut self, of: &mut Expr, token: Token<'a>) -> Result<bool, ParseError> {
        // A length is a tree of its own, which stands beside this one.
        let tall = self.height;
        match token.kind {
            Kind::LeftBracket => self.window(of, token)?,
            Kind::At => self.at(of)?,
            Kind::Keyword(Keyword::Offset) => self.offset(of)?,
            Kind::Keyword(Keyword::Anchored) => self.edges(of, Edges::Anchored)?,
            Kind::Keyword(Keyword::Smoothed) => self.edges(of, Edges::Smoothed)?,
            _ => return Ok(false),
        }
        self.height = self.height.max(tall);
        Ok(true)
    }

    fn window(&mut self, of: &mut Expr, bracket: Token<'a>) -> Result<(), ParseError> {
        self.take()?;
        let tall = self.height;
        let range = self.positive_length()?;
        if self.eat(Kind::Colon)? {
            let step = match self.peek()?.kind {
                Kind::RightBracket => None,
                _ => Some(self.positive_length_in(
                    "subquery selector",
                    "number, duration, step(), range(), or \"]\"",
                )?),
            };
            if !self.eat(Kind::RightBracket)? {
                return Err(self.unexpected_in("subquery selector", "\"]\""));
            }
            let span = Span { start: of.span.start, end: self.end };
            self.grow(tall, span)?;
            // What is moved out is put back inside.
            let inner = std::mem::replace(of, Expr { node: Node::String(String::new()), span });
            let expr = Box::new(inner);
            of.node = Node::Subquery(Subquery { expr, range, step, offset: None, at: None });
            return Ok(());
        }
        if !self.eat(Kind::RightBracket)? {
            return Err(self.unexpected_in("subquery or range", "\":\" or \"]\""));
        }
        let selector_span = of.span;
        of.span.end = self.end;
        let wrong = match &of.node {
            Node::Vector(selector) if selector.offset.as_ref().is_some_and(|o| !o.is_zero()) => {
                "no offset modifiers allowed before range"
            }
            Node::Vector(VectorSelector { at: Some(_), .. }) => {
                "no @ modifiers allowed before range"
            }
            Node::Vector(selector) => {
                let selector = selector.clone();
                of.node = Node::Matrix(MatrixSelector { selector, selector_span, range });
                return Ok(());
            }
            _ => "ranges only allowed for vector selectors",
        };
        Err(ParseError::new(Span { start: bracket.start, end: self.end }, wrong))
    }

    fn offset(&mut self, of: &mut Expr) -> Result<(), ParseError> {
        self.take()?;
        let length = self.offset_length()?;
        let Some((offset, _)) = when(&mut of.node) else {
            return Err(misplaced(of.span, "offset modifier"));
        };
        if offset.as_ref().is_some_and(|known| !known.is_zero()) {
            return Err(ParseError::new(of.span, "offset may not be set multiple times"));
        }
        *offset = Some(length);
        of.span.end = self.end;
        Ok(())
    }

    fn at(&mut self, of: &mut Expr) -> Result<(), ParseError> {
        self.take()?;
        let outside = std::mem::replace(&mut self.context, ("@", "timestamp"));
        let instant = match self.peek()?.kind {
            Kind::Keyword(word @ (Keyword::Start | Keyword::End)) => {
                self.take()?;
                self.expect(Kind::LeftParen)?;
                self.expect(Kind::RightParen)?;
                if word == Keyword::Start { At::Start } else { At::End }
            }
            _ => {
                let seconds = self.signed_number()?;
                if seconds.is_nan() || seconds.abs() >= 2_f64.powi(63) {
                    let seconds = match seconds.is_finite() {
                        true => format!("{seconds:.6}"),
                        false => Float(seconds).to_string(),
                    };
                    let message = format!("timestamp out of bounds for @ modifier: {seconds}");
                    return Err(ParseError::new(of.span, message));
                }
                At::Time(Timestamp::from_millis((seconds * 1e3).round() as i64))
            }
        };
        self.context = outside;
        let Some((_, at)) = when(&mut of.node) else {
            return Err(misplaced(of.span, "@ modifier"));
        };
        if at.is_some() {
            return Err(ParseError::new(of.span, "@ <timestamp> may not be set multiple times"));
        }
        *at = Some(instant);
        of.span.end = self.end;
        Ok(())
    }

    fn edges(&mut self, of: &mut Expr, edges: Edges) -> Result<(), ParseError> {
        self.take()?;
        let word = if edges == Edges::Anchored { "anchored" } else { "smoothed" };
        let wrong = match &mut of.node {
            Node::Vector(selector) | Node::Matrix(MatrixSelector { selector, .. }) => {
                match selector.edges.replace(edges) {
                    Some(other) if other != edges => {
                        "anchored and smoothed modifiers cannot be used together".to_owned()
                    }
                    _ => return Ok(()),
                }
            }
            Node::Subquery(_) => format!("{word} modifier is not supported for subqueries"),
            _ => format!("{word} modifier not implemented"),
        };
        Err(ParseError::new(of.span, wrong))
    }
}

/// Where an expression keeps its `offset` and its `@`, if it can have them.
fn when(node: &mut Node) -> Option<(&mut Option<Length>, &mut Option<At>)> {
    match node {
        Node::Vector(selector) | Node::Matrix(MatrixSelector { selector, .. }) => {
            Some((&mut selector.offset, &mut selector.at))
        }
        Node::Subquery(subquery) => Some((&mut subquery.offset, &mut subquery.at)),
        _ => None,
    }
}

fn misplaced(span: Span, what: &str) -> ParseError {
    let message = format!(
        "{what} must be preceded by an instant vector selector or range vector selector or a \
         subquery"
    );
    ParseError::new(span, message)
}
