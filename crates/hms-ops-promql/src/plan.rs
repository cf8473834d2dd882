//! From a syntax tree to what is evaluated: times are numbers, and every selector knows which samples
//! it needs.

use hms_ops_core::labels::NAME;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::query::QueryError;
use hms_ops_core::time::{TimeRange, Timestamp};

use crate::ast::{
    Aggregate, AggregateOp, At, Binary, Call, Edges, Expr, MatrixSelector, Node, Span, Subquery,
    Type, VectorSelector,
};
use crate::duration::Length;
use crate::eval::column::Grid;
use crate::function::Function;

/// A query that is ready for evaluation.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: Step,
    /// What has to be selected, in the order of the slots.
    pub(crate) selections: Vec<Selection>,
    /// Whether the order of series in the result means something.
    pub(crate) is_ordered: bool,
}

/// What one selector needs of the store.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) range: TimeRange,
    pub(crate) only_last: bool,
    /// Whether resets are to be found that no sample tells of.
    pub(crate) finds_resets: bool,
}

/// An operation and where it stands in the query.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) span: Span,
    pub(crate) returns: Type,
}

/// What is done.
#[derive(Debug)]
pub(crate) enum Op {
    Number(f64),
    Text(String),
    /// The newest sample of each series.
    Newest(Newest),
    /// When the newest sample of each series was taken.
    NewestTime(Newest),
    /// The samples of a window; only as an argument, or alone.
    Window(Window),
    /// The same at every instant: evaluated once.
    Constant(Box<Step>),
    Negate(Box<Step>),
    Binary {
        of: Binary,
        left: Box<Step>,
        right: Box<Step>,
    },
    Aggregate {
        op: AggregateOp,
        by: Grouping,
        of: Box<Step>,
        param: Option<Box<Step>>,
    },
    Call {
        function: Function,
        args: Vec<Step>,
    },
    /// Series with the labels of the info series that are of the same target.
    Info {
        of: Box<Step>,
        info: Newest,
    },
}

/// How series are put into groups.
#[derive(Clone, Debug)]
pub(crate) struct Grouping {
    pub(crate) labels: Vec<String>,
    pub(crate) without: bool,
}

/// The newest sample of each series of a selection.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) slot: usize,
    pub(crate) when: When,
    pub(crate) lookback: i64,
    /// Whether what lies between two samples is meant, instead of the newest.
    pub(crate) smoothed: bool,
    /// What is selected, for `absent`.
    pub(crate) matchers: Vec<Matcher>,
}

/// The samples of a window before each instant.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) source: Source,
    pub(crate) when: When,
    /// How long it is, in ms.
    pub(crate) range: i64,
    pub(crate) edges: Option<Edges>,
    pub(crate) lookback: i64,
    /// The matchers of what is selected, for `absent_over_time`.
    pub(crate) matchers: Vec<Matcher>,
}

/// Where the samples of a window come from.
#[derive(Debug)]
pub(crate) enum Source {
    Slot(usize),
    Subquery { of: Box<Step>, grid: Grid },
}

/// Of which instant the samples are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    /// The instant of evaluation, unless it is pinned to this.
    at: Option<i64>,
    /// So much earlier, in ms.
    offset: i64,
}

impl When {
    /// The instant that is meant when `at` is evaluated.
    pub(crate) fn of(self, at: i64) -> i64 {
        self.at.unwrap_or(at).saturating_sub(self.offset)
    }
}

/// What the whole query is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) grid: Grid,
    /// Where the query ends; at most one step after the last instant.
    pub(crate) end: i64,
    /// What `step()` is in ms: 0 for a query of one instant.
    pub(crate) step: i64,
    pub(crate) lookback: i64,
    /// How far apart the instants of a subquery are that does not say it.
    pub(crate) subquery_step: i64,
}

impl Plan {
    /// Makes the plan of a query.
    ///
    /// # Errors
    ///
    /// [`QueryError::Failed`] when a length of time is none.
    pub(crate) fn new(expr: &Expr, frame: Frame) -> Result<Self, QueryError> {
        let mut planner =
            Planner { frame, selections: Vec::new(), is_ordered: false, finds_resets: false };
        let root = planner.step(expr, frame.grid)?;
        Ok(Self { root, selections: planner.selections, is_ordered: planner.is_ordered })
    }
}

struct Planner {
    frame: Frame,
    selections: Vec<Selection>,
    is_ordered: bool,
    finds_resets: bool,
}

impl Planner {
    /// Plans what is evaluated on `grid`.
    fn step(&mut self, expr: &Expr, grid: Grid) -> Result<Step, QueryError> {
        let expr = expr.inside_parens();
        let returns = expr.returns();
        // A window has its own instants, and a literal costs nothing.
        let worth_it = matches!(returns, Type::InstantVector | Type::Scalar)
            && !matches!(expr.node, Node::Number(_));
        let constant = worth_it && grid.count > 1 && is_constant(expr);
        let on = if constant { grid.first() } else { grid };
        let op = self.op(expr, on)?;
        let step = Step { op, span: expr.span, returns };
        Ok(match constant {
            true => Step { op: Op::Constant(Box::new(step)), span: expr.span, returns },
            false => step,
        })
    }

    fn op(&mut self, expr: &Expr, grid: Grid) -> Result<Op, QueryError> {
        Ok(match &expr.node {
            Node::Number(number) => Op::Number(number.value),
            Node::String(text) => Op::Text(text.clone()),
            Node::Vector(selector) => Op::Newest(self.newest(selector, grid)?),
            Node::Matrix(selector) => Op::Window(self.window(selector, grid)?),
            Node::Subquery(subquery) => Op::Window(self.subquery(subquery, grid)?),
            Node::Paren(inner) => self.op(inner, grid)?,
            Node::Unary(unary) => {
                let of = self.step(&unary.operand, grid)?;
                if unary.negative { Op::Negate(Box::new(of)) } else { of.op }
            }
            Node::Binary(binary) => {
                let left = Box::new(self.step(&binary.left, grid)?);
                let right = Box::new(self.step(&binary.right, grid)?);
                Op::Binary { of: binary.clone(), left, right }
            }
            Node::Aggregate(aggregate) => self.aggregate(aggregate, grid)?,
            Node::Call(call) => self.call(call, grid)?,
        })
    }

    fn aggregate(&mut self, aggregate: &Aggregate, grid: Grid) -> Result<Op, QueryError> {
        use AggregateOp::{Bottomk, Topk};
        self.is_ordered |= matches!(aggregate.op, Topk | Bottomk);
        let param = match &aggregate.param {
            Some(param) => Some(Box::new(self.step(param, grid)?)),
            None => None,
        };
        let mut labels = aggregate.labels.clone();
        labels.sort();
        labels.dedup();
        let by = Grouping { labels, without: aggregate.without };
        let of = Box::new(self.step(&aggregate.expr, grid)?);
        Ok(Op::Aggregate { op: aggregate.op, by, of, param })
    }

    fn call(&mut self, call: &Call, grid: Grid) -> Result<Op, QueryError> {
        use Function::{
            HistogramAvg, HistogramCount, HistogramFraction, HistogramQuantile, HistogramQuantiles,
            HistogramSum, Sort, SortByLabel, SortByLabelDesc, SortDesc, Timestamp,
        };
        self.is_ordered |= matches!(call.function, Sort | SortDesc | SortByLabel | SortByLabelDesc);
        if call.function == Timestamp
            && let [Expr { node: Node::Vector(selector), .. }] =
                call.args.iter().map(Expr::inside_parens).collect::<Vec<_>>()[..]
            && selector.edges.is_none()
        {
            return Ok(Op::NewestTime(self.newest(selector, grid)?));
        }
        if call.function == Function::Info {
            return self.info(&call.args, grid);
        }
        let outside = self.finds_resets;
        self.finds_resets = match call.function {
            HistogramCount | HistogramSum | HistogramAvg => true,
            HistogramQuantile | HistogramQuantiles | HistogramFraction => false,
            _ => outside,
        };
        let args = call.args.iter().map(|arg| self.step(arg, grid)).collect::<Result<_, _>>();
        self.finds_resets = outside;
        Ok(Op::Call { function: call.function, args: args? })
    }

    fn info(&mut self, args: &[Expr], grid: Grid) -> Result<Op, QueryError> {
        let mut matchers = match args.get(1).map(|arg| &arg.inside_parens().node) {
            Some(Node::Vector(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let mut names = matchers.iter().filter(|matcher| matcher.name() == NAME).peekable();
        if names.peek().is_none() {
            matchers.push(Matcher::equal(NAME, "target_info"));
        } else if names.all(Matcher::is_negative) {
            // What is not excluded is not an info metric yet.
            let infos = Matcher::regex(NAME, ".+_info").expect("the pattern is well-formed");
            matchers.push(infos);
        }
        let of = Box::new(self.step(&args[0], grid)?);
        let (lookback, when) = (self.frame.lookback, When { at: None, offset: 0 });
        let start = grid.start.saturating_sub(lookback).saturating_add(1);
        let slot = self.select(&matchers, start, grid.end(), grid.count == 1);
        let info = Newest { slot, when, lookback, smoothed: false, matchers };
        Ok(Op::Info { of, info })
    }

    fn newest(&mut self, selector: &VectorSelector, grid: Grid) -> Result<Newest, QueryError> {
        let lookback = self.frame.lookback;
        let when = self.when(selector.at, selector.offset.as_ref())?;
        let smoothed = selector.edges == Some(Edges::Smoothed);
        let start = when.of(grid.start).saturating_sub(lookback).saturating_add(1);
        let end = when.of(grid.end()).saturating_add(if smoothed { lookback } else { 0 });
        // At one instant the newest sample decides alone, staleness marker or not.
        let only_last = !smoothed && when.of(grid.start) == when.of(grid.end());
        let slot = self.select(&selector.matchers, start, end, only_last);
        let matchers = selector.matchers.clone();
        Ok(Newest { slot, when, lookback, smoothed, matchers })
    }

    fn window(&mut self, matrix: &MatrixSelector, grid: Grid) -> Result<Window, QueryError> {
        let selector = &matrix.selector;
        let (lookback, edges) = (self.frame.lookback, selector.edges);
        let when = self.when(selector.at, selector.offset.as_ref())?;
        let range = self.positive(&matrix.range)?;
        let (before, after) = match edges {
            None => (0, 0),
            Some(Edges::Anchored) => (lookback, 0),
            Some(Edges::Smoothed) => (lookback, lookback),
        };
        let start = when.of(grid.start).saturating_sub(range + before).saturating_add(1);
        let end = when.of(grid.end()).saturating_add(after);
        let slot = self.select(&selector.matchers, start, end, false);
        let matchers = selector.matchers.clone();
        Ok(Window { source: Source::Slot(slot), when, range, edges, lookback, matchers })
    }

    fn subquery(&mut self, subquery: &Subquery, grid: Grid) -> Result<Window, QueryError> {
        let lookback = self.frame.lookback;
        let when = self.when(subquery.at, subquery.offset.as_ref())?;
        let range = self.positive(&subquery.range)?;
        let step = match &subquery.step {
            Some(step) => self.positive(step)?,
            None => self.frame.subquery_step,
        };
        // Instants are multiples of the step, the same ones whenever it is asked.
        let from = when.of(grid.start).saturating_sub(range);
        let mut start = step * (from / step);
        if start <= from {
            start += step;
        }
        let end = when.of(grid.end());
        let count = if end < start { 0 } else { ((end - start) / step + 1) as usize };
        if count as u64 > crate::engine::MAX_STEPS {
            let (points, limit) = (count as u64, crate::engine::MAX_STEPS);
            return Err(QueryError::TooLarge { points, limit });
        }
        let inner = Grid { start, step, count };
        let of = Box::new(self.step(&subquery.expr, inner)?);
        let source = Source::Subquery { of, grid: inner };
        Ok(Window { source, when, range, edges: None, lookback, matchers: Vec::new() })
    }

    fn when(&self, at: Option<At>, offset: Option<&Length>) -> Result<When, QueryError> {
        let at = at.map(|at| match at {
            At::Time(at) => at.as_millis(),
            At::Start => self.frame.grid.start,
            At::End => self.frame.end,
        });
        let offset = offset.map_or(Ok(0), |offset| self.length(offset))?;
        Ok(When { at, offset })
    }

    fn positive(&self, length: &Length) -> Result<i64, QueryError> {
        match self.length(length)? {
            ms if ms > 0 => Ok(ms),
            _ => Err(QueryError::Failed("duration must be greater than 0".to_owned())),
        }
    }

    fn length(&self, length: &Length) -> Result<i64, QueryError> {
        let Frame { grid, end, step, .. } = self.frame;
        length
            .millis(step, end.saturating_sub(grid.start))
            .map_err(|error| QueryError::Failed(error.to_string()))
    }

    fn select(&mut self, matchers: &[Matcher], start: i64, end: i64, only_last: bool) -> usize {
        let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
        let finds_resets = self.finds_resets;
        let only_last = only_last && !finds_resets;
        let matchers = matchers.to_vec();
        self.selections.push(Selection { matchers, range, only_last, finds_resets });
        self.selections.len() - 1
    }
}

/// Whether the value is the same at every instant.
fn is_constant(expr: &Expr) -> bool {
    use Function::{
        DayOfMonth, DayOfWeek, DayOfYear, DaysInMonth, Hour, Info, Minute, Month, PredictLinear,
        StartTimestamp, Time, Timestamp, Year,
    };
    match &expr.node {
        Node::Number(_) | Node::String(_) => true,
        Node::Vector(selector) => selector.at.is_some(),
        Node::Matrix(matrix) => matrix.selector.at.is_some(),
        Node::Subquery(subquery) => subquery.at.is_some(),
        Node::Paren(inner) => is_constant(inner),
        Node::Unary(unary) => is_constant(&unary.operand),
        Node::Binary(binary) => is_constant(&binary.left) && is_constant(&binary.right),
        Node::Aggregate(of) => is_constant(&of.expr) && of.param.as_deref().is_none_or(is_constant),
        Node::Call(call) => {
            // These look at the instant itself.
            let looks = matches!(
                call.function,
                DayOfMonth
                    | DayOfWeek
                    | DayOfYear
                    | DaysInMonth
                    | Hour
                    | Info
                    | Minute
                    | Month
                    | PredictLinear
                    | StartTimestamp
                    | Time
                    | Timestamp
                    | Year
            );
            !looks && call.args.iter().all(is_constant)
        }
    }
}
