//! Queries as text: in one line, and broken where they are long.

use std::fmt::{self, Display};

use hms_ops_core::matcher::Matcher;

use crate::ast::{
    Aggregate, At, Binary, BinaryOp, Call, Cardinality, Edges, Expr, Matching, Node, Subquery,
    Unary, VectorSelector,
};
use crate::duration::{Length, Span};
use crate::text::Quoted;

/// Characters in a line; [`pretty`] breaks what is longer.
const LINE: usize = 100;

/// In one line; parsed again it is the same query.
impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Number(number) if number.is_duration => write!(f, "{}", Span(number.value)),
            Node::Number(number) => write!(f, "{}", Float(number.value)),
            Node::String(text) => write!(f, "{}", Quoted(text)),
            Node::Vector(selector) => {
                write!(f, "{}{}", Series(selector), When(selector.at, None))?;
                write!(f, "{}{}", edges(selector), When(None, selector.offset.as_ref()))
            }
            Node::Matrix(matrix) => {
                let of = &matrix.selector;
                let when = When(of.at, of.offset.as_ref());
                write!(f, "{}[{}]{}{when}", Series(of), matrix.range, edges(of))
            }
            Node::Subquery(subquery) => write!(f, "{}{}", subquery.expr, Window(subquery)),
            Node::Paren(inner) => write!(f, "({inner})"),
            Node::Unary(unary) => write!(f, "{}{}", sign(unary), unary.operand),
            Node::Binary(binary) => {
                write!(f, "{} {} {}", Base(binary), Operator(binary), binary.right)
            }
            Node::Aggregate(aggregate) => {
                write!(f, "{}(", Head(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Node::Call(Call { function, args }) => {
                write!(f, "{}({})", function.signature().name, List(args))
            }
        }
    }
}

/// The query with line breaks and indents, as `/api/v1/format_query` answers it: what is longer
/// than 100 bytes is broken at its parentheses and operators.
pub fn pretty(expr: &Expr) -> String {
    broken(expr, 0)
}

fn broken(expr: &Expr, level: usize) -> String {
    let indent = "  ".repeat(level);
    let line = expr.to_string();
    if line.len() <= LINE && !matches!(expr.node, Node::Unary(_)) {
        // A subquery is the one that Prometheus does not indent.
        return if matches!(expr.node, Node::Subquery(_)) { line } else { indent + &line };
    }
    let inside = |expr| broken(expr, level + 1);
    match &expr.node {
        Node::Aggregate(aggregate) => {
            let param = aggregate.param.as_ref();
            let param = param.map_or(String::new(), |param| inside(param) + ",\n");
            let head = Head(aggregate);
            format!("{indent}{head}(\n{param}{}\n{indent})", inside(&aggregate.expr))
        }
        Node::Binary(binary) => {
            let right = inside(&binary.right);
            let left = match is_infinite_base(binary) {
                true => format!("{indent}  Inf"),
                false => inside(&binary.left),
            };
            format!("{left}\n{indent}{}\n{right}", Operator(binary))
        }
        Node::Call(call) => {
            let args: Vec<_> = call.args.iter().map(inside).collect();
            let name = call.function.signature().name;
            format!("{indent}{name}(\n{}\n{indent})", args.join(",\n"))
        }
        Node::Paren(inner) => format!("{indent}(\n{}\n{indent})", inside(inner)),
        Node::Subquery(subquery) => {
            format!("{}{}", broken(&subquery.expr, level), Window(subquery))
        }
        Node::Unary(unary) => {
            format!("{indent}{}{}", sign(unary), broken(&unary.operand, level).trim())
        }
        Node::Number(_) | Node::String(_) | Node::Vector(_) | Node::Matrix(_) => indent + &line,
    }
}

/// What stands before an operator.
struct Base<'a>(&'a Binary);

impl Display for Base<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match is_infinite_base(self.0) {
            true => f.write_str("Inf"),
            false => self.0.left.fmt(f),
        }
    }
}

/// A power binds stronger than a sign: the one of `+Inf ^ 2` would be read as a sign of the power.
fn is_infinite_base(binary: &Binary) -> bool {
    let infinite = |node: &Node| matches!(node, Node::Number(n) if n.value == f64::INFINITY);
    binary.op == BinaryOp::Pow && infinite(&binary.left.node)
}

/// A number without exponent, as Go writes it.
pub(crate) struct Float(pub(crate) f64);

impl Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value}"),
        }
    }
}

/// Name and matchers of a selector.
struct Series<'a>(&'a VectorSelector);

impl Display for Series<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VectorSelector { name, matchers, .. } = self.0;
        let mut matchers = &matchers[..];
        if let Some(name) = name {
            f.write_str(name)?;
            matchers = &matchers[..matchers.len().saturating_sub(1)];
        }
        if matchers.is_empty() && name.is_some() {
            return Ok(());
        }
        let mut texts: Vec<_> = matchers.iter().map(matcher).collect();
        texts.sort_unstable();
        write!(f, "{{{}}}", texts.join(","))
    }
}

fn matcher(matcher: &Matcher) -> String {
    let (operator, name, value) = matcher.key();
    format!("{}{operator}{}", Label(&name), Quoted(&value))
}

/// The name of a label, in quotes if it needs them.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
        match self.0 {
            name if name.starts_with(|c: char| !c.is_ascii_digit())
                && name.chars().all(is_word) =>
            {
                f.write_str(name)
            }
            name => write!(f, "{}", Quoted(name)),
        }
    }
}

/// Parts with commas between them.
struct List<'a, T>(&'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            write!(f, "{}{part}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// ` (a, b)`
struct Labels<'a>(&'a [String]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.0.iter().map(|label| Label(label)).collect();
        write!(f, " ({})", List(&labels))
    }
}

/// ` @ 17.000 offset 5m`
struct When<'a>(Option<At>, Option<&'a Length>);

impl Display for When<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(At::Time(at)) => write!(f, " @ {:.3}", at.as_millis() as f64 / 1e3)?,
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            None => {}
        }
        match self.1 {
            Some(offset) if !offset.is_zero() => write!(f, " offset {offset}"),
            _ => Ok(()),
        }
    }
}

fn edges(selector: &VectorSelector) -> &'static str {
    match selector.edges {
        Some(Edges::Anchored) => " anchored",
        Some(Edges::Smoothed) => " smoothed",
        None => "",
    }
}

/// `[1h:1m] @ end()`
struct Window<'a>(&'a Subquery);

impl Display for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subquery { range, step, offset, at, .. } = self.0;
        write!(f, "[{range}:")?;
        if let Some(step) = step {
            write!(f, "{step}")?;
        }
        write!(f, "]{}", When(*at, offset.as_ref()))
    }
}

fn sign(unary: &Unary) -> &'static str {
    if unary.negative { "-" } else { "+" }
}

/// `sum by (label) `
struct Head<'a>(&'a Aggregate);

impl Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Aggregate { op, labels, without, .. } = self.0;
        f.write_str(op.name())?;
        match without {
            true => write!(f, " without{} ", Labels(labels)),
            false if labels.is_empty() => Ok(()),
            false => write!(f, " by{} ", Labels(labels)),
        }
    }
}

/// `== bool on (label) group_left ()`
struct Operator<'a>(&'a Binary);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Binary { op, returns_bool, matching, .. } = self.0;
        write!(f, "{op}{}", if *returns_bool { " bool" } else { "" })?;
        let Some(Matching { cardinality, labels, on, include, fill_left, fill_right }) = matching
        else {
            return Ok(());
        };
        let group = match cardinality {
            Cardinality::ManyToOne => Some(" group_left"),
            Cardinality::OneToMany => Some(" group_right"),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if !labels.is_empty() || *on || group.is_some() {
            write!(f, " {}{}", if *on { "on" } else { "ignoring" }, Labels(labels))?;
        }
        if let Some(group) = group {
            write!(f, "{group}{}", Labels(include))?;
        }
        match (fill_left, fill_right) {
            (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
                write!(f, " fill ({})", Float(*left))
            }
            _ => {
                for (word, value) in [("left", fill_left), ("right", fill_right)] {
                    if let Some(value) = value {
                        write!(f, " fill_{word} ({})", Float(*value))?;
                    }
                }
                Ok(())
            }
        }
    }
}
