//! What a query must fulfil beyond its grammar: above all, that the types fit.

use hms_ops_core::labels::NAME;

use super::ParseError;
use crate::ast::{
    Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, Node, Span, Type, VectorSelector,
};
use crate::function::Function;
use crate::text::Quoted;

/// Checks `expr`, makes set operators match many to many, and takes the matching from operators
/// of which one side is a scalar.
///
/// # Errors
///
/// [`ParseError`] for what Prometheus would complain about first.
pub(super) fn check(query: &str, expr: &mut Expr) -> Result<Type, ParseError> {
    let span = expr.span;
    let returns = expr.returns();
    match &mut expr.node {
        Node::Number(_) | Node::String(_) => {}
        Node::Vector(selector) => check_selector(selector, span, false)?,
        Node::Matrix(matrix) => check_selector(&matrix.selector, matrix.selector_span, false)?,
        Node::Subquery(subquery) => {
            let of = check(query, &mut subquery.expr)?;
            if of != Type::InstantVector {
                let of = go_name(of);
                let message =
                    format!("subquery is only allowed on instant vector, got {of} instead");
                return Err(ParseError::new(span, message));
            }
        }
        Node::Paren(inner) => {
            check(query, inner)?;
        }
        Node::Unary(unary) => {
            let of = check(query, &mut unary.operand)?;
            if !matches!(of, Type::Scalar | Type::InstantVector) {
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant \
                     vector, got \"{of}\""
                );
                return Err(ParseError::new(span, message));
            }
        }
        Node::Binary(binary) => check_binary(query, binary, span)?,
        Node::Aggregate(aggregate) => check_aggregate(query, aggregate)?,
        Node::Call(call) => check_call(query, call, span)?,
    }
    Ok(returns)
}

fn expect(query: &str, expr: &mut Expr, wanted: Type, place: &str) -> Result<(), ParseError> {
    match check(query, expr)? {
        found if found == wanted => Ok(()),
        found => {
            let message = format!("expected type {wanted} in {place}, got {found}");
            Err(ParseError::new(expr.span, message))
        }
    }
}

fn check_aggregate(query: &str, aggregate: &mut Aggregate) -> Result<(), ParseError> {
    expect(query, &mut aggregate.expr, Type::InstantVector, "aggregation expression")?;
    let wanted = match aggregate.op {
        AggregateOp::CountValues => Type::String,
        _ => Type::Scalar,
    };
    match &mut aggregate.param {
        Some(param) => expect(query, param, wanted, "aggregation parameter"),
        None => Ok(()),
    }
}

fn check_binary(query: &str, binary: &mut Binary, span: Span) -> Result<(), ParseError> {
    let Binary { op, left, right, returns_bool, matching } = binary;
    let (lt, rt) = (check(query, left)?, check(query, right)?);
    let between = Span { start: left.span.end, end: right.span.start };
    let at_operator = |message: &str| {
        let spaces = query[between.start..between.end].bytes().take_while(u8::is_ascii_whitespace);
        let start = between.start + spaces.count();
        Err(ParseError::new(Span { start, ..between }, message))
    };
    let wrong = |message: String| Err(ParseError::new(span, message));

    if *returns_bool && !op.is_comparison() {
        return at_operator("bool modifier can only be used on comparison operators");
    }
    let scalars = lt == Type::Scalar && rt == Type::Scalar;
    if op.is_comparison() && !*returns_bool && scalars {
        return at_operator("comparisons between scalars must use BOOL modifier");
    }
    let grouped = matching.as_ref().filter(|m| m.on);
    let twice = grouped.and_then(|m| m.labels.iter().find(|label| m.include.contains(label)));
    if let Some(label) = twice {
        let label = Quoted(label);
        return at_operator(&format!(
            "label {label} must not occur in ON and GROUP clause at once"
        ));
    }
    for (side, of) in [(&left, lt), (&right, rt)] {
        if !matches!(of, Type::Scalar | Type::InstantVector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(ParseError::new(side.span, message));
        }
    }
    let vectors = lt == Type::InstantVector && rt == Type::InstantVector;
    if let Some(m) = matching {
        let fills = m.fill_left.is_some() || m.fill_right.is_some();
        if !vectors {
            if !m.labels.is_empty() {
                return wrong("vector matching only allowed between instant vectors".to_owned());
            }
            if fills {
                let message = "filling in missing series only allowed between instant vectors";
                return wrong(message.to_owned());
            }
        } else if op.is_set() {
            if m.cardinality != Cardinality::OneToOne {
                return wrong(format!("no grouping allowed for \"{op}\" operation"));
            }
            if fills {
                let message = "filling in missing series not allowed for set operators";
                return wrong(message.to_owned());
            }
            m.cardinality = Cardinality::ManyToMany;
        }
    }
    if !vectors {
        *matching = None;
        if op.is_set() {
            return wrong(format!("set operator \"{op}\" not allowed in binary scalar expression"));
        }
    }
    Ok(())
}

fn check_call(query: &str, call: &mut Call, span: Span) -> Result<(), ParseError> {
    let signature = call.function.signature();
    let (name, types, given) = (signature.name, signature.args, call.args.len());
    let wrong = |bound: &str, wanted: usize| {
        let message =
            format!("expected {bound}{wanted} argument(s) in call to \"{name}\", got {given}");
        Err(ParseError::new(span, message))
    };
    if signature.variadic == 0 {
        if given != types.len() {
            return wrong("", types.len());
        }
    } else {
        let least = types.len() - 1;
        let most = usize::try_from(signature.variadic).map(|more| least + more);
        match most {
            _ if given < least => return wrong("at least ", least),
            Ok(most) if given > most => return wrong("at most ", most),
            _ => {}
        }
    }
    let place = format!("call to function \"{name}\"");
    let last = types.len().saturating_sub(1);
    if call.function == Function::Info
        && let Some(labels) = call.args.get(1)
    {
        let found = labels.returns();
        let wrong = match &labels.node {
            _ if found != Type::InstantVector => {
                let wanted = Type::InstantVector;
                let message = format!("expected type {wanted} in {place}, got {found}");
                return Err(ParseError::new(span, message));
            }
            Node::Vector(VectorSelector { name: Some(_), .. }) => {
                Some("expected label selectors only, got vector selector instead")
            }
            Node::Vector(_) => None,
            _ => Some("expected label selectors only"),
        };
        if let Some(message) = wrong {
            return Err(ParseError::new(labels.span, message));
        }
    }
    for (i, arg) in call.args.iter_mut().enumerate() {
        match &arg.node {
            // The labels that `info` adds may be all that there are.
            Node::Vector(selector) if call.function == Function::Info && i == 1 => {
                check_selector(selector, arg.span, true)?;
            }
            _ => expect(query, arg, types[i.min(last)], &place)?,
        }
    }
    Ok(())
}

fn check_selector(
    selector: &VectorSelector,
    span: Span,
    may_be_all: bool,
) -> Result<(), ParseError> {
    let VectorSelector { name, matchers, .. } = selector;
    if let Some(name) = name {
        // Its own matcher is the last one.
        let others = &matchers[..matchers.len() - 1];
        if let Some(other) = others.iter().find(|matcher| matcher.name() == NAME) {
            let (_, _, other) = other.key();
            let message = format!(
                "metric name must not be set twice: {} or {}",
                Quoted(name),
                Quoted(&other)
            );
            return Err(ParseError::new(span, message));
        }
    } else if !may_be_all && matchers.iter().all(|matcher| matcher.matches_empty()) {
        let message = "vector selector must contain at least one non-empty matcher";
        return Err(ParseError::new(span, message));
    }
    Ok(())
}

/// As Prometheus calls it where it does not use the words of its documentation.
fn go_name(of: Type) -> &'static str {
    match of {
        Type::Scalar => "scalar",
        Type::String => "string",
        Type::InstantVector => "vector",
        Type::RangeVector => "matrix",
    }
}
