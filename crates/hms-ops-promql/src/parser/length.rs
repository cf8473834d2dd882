//! Lengths of time, as they stand in brackets and after `offset`.

use super::{ParseError, Parser, number, precedence};
use crate::ast::{BinaryOp, Span};
use crate::duration::Length;
use crate::lexer::{Keyword, Kind, Token};

/// What a length of time can begin with, as messages say it.
const A_LENGTH: &str = "number, duration, step(), or range()";

impl<'a> Parser<'a> {
    /// The window of a selector or a subquery.
    pub(super) fn positive_length(&mut self) -> Result<Length, ParseError> {
        self.positive_length_in("subquery or range selector", A_LENGTH)
    }

    /// A length that is more than nothing, as far as that is known before the query runs.
    pub(super) fn positive_length_in(
        &mut self,
        inside: &'static str,
        expected: &'static str,
    ) -> Result<Length, ParseError> {
        let outside = std::mem::replace(&mut self.context, (inside, expected));
        let start = self.peek()?.start;
        let length = self.length(0)?;
        self.context = outside;
        match length {
            Length::Literal { seconds, .. } if seconds <= 0.0 => {
                let span = Span { start, end: self.end };
                Err(ParseError::new(span, "duration must be greater than 0"))
            }
            _ => Ok(length),
        }
    }

    /// What follows `offset`: without parentheses around it arithmetic ends there, so that
    /// `a offset 5m + b` adds `b` to `a`.
    pub(super) fn offset_length(&mut self) -> Result<Length, ParseError> {
        let outside = std::mem::replace(&mut self.context, ("offset", A_LENGTH));
        let length = match self.peek()?.kind {
            Kind::LeftParen => self.length(0)?,
            Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                let sign = self.take()?;
                let of = match self.length_operand()? {
                    // After a second sign arithmetic goes on, and would not when printed.
                    of @ (Length::Binary { .. } | Length::Signed { .. }) => {
                        Length::Paren(Box::new(of))
                    }
                    of => of,
                };
                signed(op, of, sign)?
            }
            _ => self.length_operand()?,
        };
        self.context = outside;
        Ok(length)
    }

    /// A length, as far as its operators bind at least as tightly as `min`.
    fn length(&mut self, min: u8) -> Result<Length, ParseError> {
        use BinaryOp::{Add, Div, Mod, Mul, Pow, Sub};
        self.enter()?;
        let mut left = self.length_operand()?;
        while let token = self.peek()?
            && let Kind::Op(op @ (Add | Sub | Mul | Div | Mod | Pow)) = token.kind
            && precedence(op) >= min
        {
            self.take()?;
            let tall = self.height;
            let right = self.length(precedence(op) + u8::from(op != Pow))?;
            let wrong = match op {
                Div if right.is_zero() => Some("division by zero"),
                Mod if right.is_zero() => Some("modulo by zero"),
                _ => None,
            };
            if let Some(message) = wrong {
                return Err(ParseError::new(token.span(), message));
            }
            self.grow(tall, token.span())?;
            left = Length::Binary { op, left: Box::new(left), right: Box::new(right) };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn length_operand(&mut self) -> Result<Length, ParseError> {
        let token = self.peek()?;
        let length = match token.kind {
            Kind::Number | Kind::Duration => {
                self.take()?;
                let is_duration = token.kind == Kind::Duration;
                in_range(Length::Literal { seconds: number(token)?, is_duration }, token)?
            }
            Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.take()?;
                let of = self.length(precedence(BinaryOp::Pow))?;
                self.grow(0, token.span())?;
                return signed(op, of, token);
            }
            Kind::LeftParen => {
                self.take()?;
                let inner = self.length(0)?;
                self.expect(Kind::RightParen)?;
                self.grow(0, token.span())?;
                return Ok(Length::Paren(Box::new(inner)));
            }
            Kind::Keyword(word @ (Keyword::Step | Keyword::Range)) => {
                self.take()?;
                self.expect(Kind::LeftParen)?;
                self.expect(Kind::RightParen)?;
                if word == Keyword::Step { Length::Step } else { Length::Range }
            }
            Kind::Keyword(word @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.take()?;
                self.expect(Kind::LeftParen)?;
                let first = Box::new(self.length(0)?);
                let tall = self.height;
                self.expect(Kind::Comma)?;
                let second = Box::new(self.length(0)?);
                self.expect(Kind::RightParen)?;
                self.grow(tall, token.span())?;
                return Ok(match word {
                    Keyword::MinOf => Length::Min(first, second),
                    _ => Length::Max(first, second),
                });
            }
            _ => return Err(self.unexpected()),
        };
        self.height = 1;
        Ok(length)
    }
}

fn signed(op: BinaryOp, of: Length, sign: Token<'_>) -> Result<Length, ParseError> {
    let negative = op == BinaryOp::Sub;
    match of {
        Length::Literal { seconds, is_duration } if negative => {
            in_range(Length::Literal { seconds: -seconds, is_duration }, sign)
        }
        of if negative => Ok(Length::Signed { negative, of: Box::new(of) }),
        of => Ok(of),
    }
}

/// Refuses what nanoseconds in 63 bits cannot count.
fn in_range(literal: Length, token: Token<'_>) -> Result<Length, ParseError> {
    match literal {
        Length::Literal { seconds, .. }
            if seconds.is_nan() || seconds.abs() > 2_f64.powi(63) / 1e9 =>
        {
            Err(ParseError::new(token.span(), "duration out of range"))
        }
        _ => Ok(literal),
    }
}
