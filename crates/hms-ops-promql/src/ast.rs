//! The syntax tree of a query.

use std::fmt;

use hms_ops_core::matcher::Matcher;
use hms_ops_core::time::Timestamp;

use crate::duration::Length;
use crate::function::Function;

/// A piece of the query's text: byte offsets, the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// Where it begins.
    pub start: usize,
    /// Where it is over.
    pub end: usize,
}

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Where it stands in the query.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug)]
pub enum Node {
    /// A number, or a duration in seconds.
    Number(Number),
    /// A text in quotes.
    String(String),
    /// The newest sample of each series.
    Vector(VectorSelector),
    /// The samples of each series in a window.
    Matrix(MatrixSelector),
    /// The values of an expression in a window.
    Subquery(Subquery),
    /// An expression in parentheses.
    Paren(Box<Expr>),
    /// A sign before an expression.
    Unary(Unary),
    /// An operator between two expressions.
    Binary(Binary),
    /// Many series made few.
    Aggregate(Aggregate),
    /// A function of expressions.
    Call(Call),
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// One number at each instant.
    Scalar,
    /// A text.
    String,
    /// For each series one sample at each instant.
    InstantVector,
    /// For each series the samples of a window.
    RangeVector,
}

/// As error messages say it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::InstantVector => "instant vector",
            Self::RangeVector => "range vector",
        })
    }
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// Its value; of a duration, its seconds.
    pub value: f64,
    /// Whether it was written as a duration, `1h30m`.
    pub is_duration: bool,
}

/// `name{label="value"} offset 5m @ 17`.
#[derive(Clone, Debug)]
pub struct VectorSelector {
    /// The metric's name where it stands before the braces.
    pub name: Option<String>,
    /// All conditions, that on the name included.
    pub matchers: Vec<Matcher>,
    /// How far back from the instant of evaluation; negative is ahead.
    pub offset: Option<Length>,
    /// Where it is pinned.
    pub at: Option<At>,
    /// What stands for the window's edges.
    pub edges: Option<Edges>,
}

/// The instant that `@` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// This one.
    Time(Timestamp),
    /// `start()`: the first of the query.
    Start,
    /// `end()`: the last of the query.
    End,
}

/// What stands for the edges of a window where no sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edges {
    /// `anchored`: the sample before.
    Anchored,
    /// `smoothed`: what lies on the line between the samples at both sides.
    Smoothed,
}

/// `selector[5m]`.
#[derive(Clone, Debug)]
pub struct MatrixSelector {
    /// Which series, and when.
    pub selector: VectorSelector,
    /// Where the selector stands, without the window.
    pub selector_span: Span,
    /// How long the window is.
    pub range: Length,
}

/// `expression[1h:1m] offset 5m @ 17`.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Box<Expr>,
    /// How long the window is.
    pub range: Length,
    /// How far apart the instants are; the engine's default where it is not said.
    pub step: Option<Length>,
    /// How far back.
    pub offset: Option<Length>,
    /// Where it is pinned.
    pub at: Option<At>,
}

/// `-expression` or `+expression`.
#[derive(Clone, Debug)]
pub struct Unary {
    /// Whether the sign is a minus.
    pub negative: bool,
    /// What it is before.
    pub operand: Box<Expr>,
}

/// `left operator right`.
#[derive(Clone, Debug)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// What is before it.
    pub left: Box<Expr>,
    /// What is after it.
    pub right: Box<Expr>,
    /// Whether a comparison answers 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// How the series of two vectors find each other; `None` where one side is a scalar.
    pub matching: Option<Matching>,
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "their names say it")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `</`: keeps the observations of a histogram below a number.
    TrimUpper,
    /// `>/`: keeps the observations of a histogram above a number.
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// Whether it filters by comparing.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual)
    }

    /// Whether it is `and`, `or` or `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// As it is written.
impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        })
    }
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// How many of each side go together.
    pub cardinality: Cardinality,
    /// The labels after `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether they are those of `on`.
    pub on: bool,
    /// The labels that `group_left` or `group_right` copies from the side of one.
    pub include: Vec<String>,
    /// What stands for a missing partner at the left, by `fill` and `fill_left`.
    pub fill_left: Option<f64>,
    /// What stands for a missing partner at the right, by `fill` and `fill_right`.
    pub fill_right: Option<f64>,
}

/// How many series of each side go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Cardinality {
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// `sum by (label) (expression)`.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// The parameter of those that have one: a scalar, or the label of `count_values`.
    pub param: Option<Box<Expr>>,
    /// The labels after `by` or `without`.
    pub labels: Vec<String>,
    /// Whether they are those of `without`.
    pub without: bool,
}

/// An aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "their names say it")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Quantile,
    CountValues,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// Whether a parameter comes before the vector.
    pub fn has_param(self) -> bool {
        use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Quantile, Topk};
        matches!(self, Topk | Bottomk | Quantile | CountValues | Limitk | LimitRatio)
    }

    /// The one of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name().eq_ignore_ascii_case(name))
    }

    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Topk,
        Self::Bottomk,
        Self::Quantile,
        Self::CountValues,
        Self::Limitk,
        Self::LimitRatio,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::Quantile => "quantile",
            Self::CountValues => "count_values",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }
}

/// `function(arguments)`.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which function.
    pub function: Function,
    /// Its arguments, of the number and the types that it takes.
    pub args: Vec<Expr>,
}

impl Expr {
    /// What it evaluates to.
    pub fn returns(&self) -> Type {
        match &self.node {
            Node::Number(_) => Type::Scalar,
            Node::String(_) => Type::String,
            Node::Vector(_) | Node::Aggregate(_) => Type::InstantVector,
            Node::Matrix(_) | Node::Subquery(_) => Type::RangeVector,
            Node::Paren(inner) => inner.returns(),
            Node::Unary(unary) => unary.operand.returns(),
            Node::Binary(Binary { left, right, .. }) => match (left.returns(), right.returns()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::InstantVector,
            },
            Node::Call(call) => call.function.signature().returns,
        }
    }

    /// This expression without the parentheses around it.
    pub fn inside_parens(&self) -> &Self {
        match &self.node {
            Node::Paren(inner) => inner.inside_parens(),
            _ => self,
        }
    }
}
