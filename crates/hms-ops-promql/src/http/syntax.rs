//! `parse_query`: the syntax tree of a query, as the pages of Prometheus and Grafana draw it.
//!
//! Source: `prometheus/prometheus` 3.x, `web/api/v1/translate_ast.go`.

use axum::response::Response;
use hms_ops_core::matcher::Matcher;

use super::document::{Document, Notices};
use super::{Asked, Failure, json};
use crate::ast::{
    Aggregate, At, Binary, Call, Cardinality, Edges, Expr, Matching, Node, Subquery, Type,
    VectorSelector,
};
use crate::duration::Length;

pub(super) async fn parse_query(asked: Asked) -> Result<Response, Failure> {
    let query = asked.form.get("query");
    let parsed = crate::parse(query).map_err(|why| Failure::invalid("query", why))?;
    let mut tree = Vec::new();
    expr(&mut tree, &parsed);
    Ok(asked.answer(Document::success(&tree, |_| false, b"", &Notices::default())))
}

/// An object in the making: its keys come one after the other.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    next: u8,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, next: b'{' }
    }

    /// A node of this type.
    fn node(out: &'a mut Vec<u8>, kind: &str) -> Self {
        Self::new(out).text("type", kind)
    }

    fn key(mut self, key: &str, value: impl FnOnce(&mut Vec<u8>)) -> Self {
        self.out.push(std::mem::replace(&mut self.next, b','));
        json::text(self.out, key);
        self.out.push(b':');
        value(self.out);
        self
    }

    fn text(self, key: &str, text: &str) -> Self {
        self.key(key, |out| json::text(out, text))
    }

    /// A number, `true`, `false` or `null`.
    fn word(self, key: &str, word: impl ToString) -> Self {
        self.key(key, |out| out.extend_from_slice(word.to_string().as_bytes()))
    }

    fn texts(self, key: &str, texts: &[String]) -> Self {
        self.key(key, |out| json::list(out, texts, |out, text| json::text(out, text)))
    }

    fn expr(self, key: &str, of: &Expr) -> Self {
        self.key(key, |out| expr(out, of))
    }

    /// Where a selector or a subquery is pinned, and how far back it looks.
    fn when(self, at: Option<At>, offset: Option<&Length>) -> Self {
        let (time, edge) = match at {
            None => (None, None),
            Some(At::Time(time)) => (Some(time.as_millis()), None),
            Some(At::Start) => (None, Some("\"start\"")),
            Some(At::End) => (None, Some("\"end\"")),
        };
        self.word("offset", offset.map_or(0, millis))
            .word("timestamp", time.map_or("null".to_owned(), |time| time.to_string()))
            .word("startOrEnd", edge.unwrap_or("null"))
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

/// Milliseconds; what depends on the query's instants counts as if those were one.
fn millis(length: &Length) -> i64 {
    length.millis(0, 0).unwrap_or_default()
}

/// No deeper than the parser lets a query be.
fn expr(out: &mut Vec<u8>, of: &Expr) {
    match &of.node {
        Node::Number(number) => {
            Object::node(out, "numberLiteral").text("val", &decimal(number.value)).end();
        }
        Node::String(text) => Object::node(out, "stringLiteral").text("val", text).end(),
        Node::Vector(of) => selector(Object::node(out, "vectorSelector"), of),
        Node::Matrix(matrix) => {
            let node = Object::node(out, "matrixSelector").word("range", millis(&matrix.range));
            selector(node, &matrix.selector);
        }
        Node::Subquery(Subquery { expr, range, step, offset, at }) => {
            Object::node(out, "subquery")
                .expr("expr", expr)
                .word("range", millis(range))
                .word("step", step.as_ref().map_or(0, millis))
                .when(*at, offset.as_ref())
                .end();
        }
        Node::Paren(inner) => Object::node(out, "parenExpr").expr("expr", inner).end(),
        Node::Unary(unary) => {
            let op = if unary.negative { "-" } else { "+" };
            Object::node(out, "unaryExpr").text("op", op).expr("expr", &unary.operand).end();
        }
        Node::Binary(Binary { op, left, right, returns_bool, matching }) => {
            Object::node(out, "binaryExpr")
                .text("op", &op.to_string())
                .expr("lhs", left)
                .expr("rhs", right)
                .key("matching", |out| match matching {
                    Some(matching) => partners(out, matching),
                    None => out.extend_from_slice(b"null"),
                })
                .word("bool", returns_bool)
                .end();
        }
        Node::Aggregate(Aggregate { op, expr: of, param, labels, without }) => {
            Object::node(out, "aggregation")
                .text("op", op.name())
                .expr("expr", of)
                .key("param", |out| match param {
                    Some(param) => expr(out, param),
                    None => out.extend_from_slice(b"null"),
                })
                .texts("grouping", labels)
                .word("without", without)
                .end();
        }
        Node::Call(Call { function, args }) => {
            let takes = function.signature();
            let types = |out: &mut Vec<u8>| {
                json::list(out, takes.args, |out, of| json::text(out, word(*of)));
            };
            let signature = |out: &mut Vec<u8>| {
                Object::new(out)
                    .text("name", takes.name)
                    .key("argTypes", types)
                    .word("variadic", takes.variadic)
                    .text("returnType", word(takes.returns))
                    .end();
            };
            Object::node(out, "call")
                .key("func", signature)
                .key("args", |out| json::list(out, args, expr))
                .end();
        }
    }
}

fn selector(node: Object<'_>, of: &VectorSelector) {
    let matcher = |out: &mut Vec<u8>, matcher: &Matcher| {
        let (operator, name, value) = matcher.key();
        Object::new(out).text("name", &name).text("value", &value).text("type", operator).end();
    };
    node.text("name", of.name.as_deref().unwrap_or_default())
        .key("matchers", |out| json::list(out, &of.matchers, matcher))
        .when(of.at, of.offset.as_ref())
        .word("anchored", of.edges == Some(Edges::Anchored))
        .word("smoothed", of.edges == Some(Edges::Smoothed))
        .end();
}

fn partners(out: &mut Vec<u8>, of: &Matching) {
    let card = match of.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    // JSON has no infinity; a fill of one is told as none.
    let fill = |value: Option<f64>| {
        value.filter(|value| value.is_finite()).map_or("null".to_owned(), |value| value.to_string())
    };
    let fills = |out: &mut Vec<u8>| {
        Object::new(out).word("lhs", fill(of.fill_left)).word("rhs", fill(of.fill_right)).end();
    };
    Object::new(out)
        .text("card", card)
        .texts("labels", &of.labels)
        .word("on", of.on)
        .texts("include", &of.include)
        .key("fillValues", fills)
        .end();
}

/// As Go writes a number without an exponent.
fn decimal(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

fn word(of: Type) -> &'static str {
    match of {
        Type::Scalar => "scalar",
        Type::String => "string",
        Type::InstantVector => "vector",
        Type::RangeVector => "matrix",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(query: &str) -> String {
        let mut out = Vec::new();
        expr(&mut out, &crate::parse(query).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_kind_of_node_has_the_keys_that_pages_of_prometheus_draw() {
        let up = r#""name":"up","matchers":[{"name":"__name__","value":"up","type":"="}]"#;
        let now =
            r#""offset":0,"timestamp":null,"startOrEnd":null,"anchored":false,"smoothed":false"#;
        let vector = format!(r#"{{"type":"vectorSelector",{up},{now}}}"#);
        assert_eq!(tree("up"), vector);
        assert_eq!(
            tree("up offset -5m @ start()"),
            vector
                .replace(r#""offset":0"#, r#""offset":-300000"#)
                .replace(r#""startOrEnd":null"#, r#""startOrEnd":"start""#)
        );
        assert_eq!(
            tree("rate(up[5m])"),
            format!(
                r#"{{"type":"call","func":{{"name":"rate","argTypes":["matrix"],"variadic":0,"returnType":"vector"}},"args":[{{"type":"matrixSelector","range":300000,{up},{now}}}]}}"#
            )
        );
        assert_eq!(
            tree("topk by (job) (3, up)"),
            format!(
                r#"{{"type":"aggregation","op":"topk","expr":{vector},"param":{{"type":"numberLiteral","val":"3"}},"grouping":["job"],"without":false}}"#
            )
        );
        assert_eq!(
            tree("up > bool on (job) group_left (x) up"),
            format!(
                r#"{{"type":"binaryExpr","op":">","lhs":{vector},"rhs":{vector},"matching":{{"card":"many-to-one","labels":["job"],"on":true,"include":["x"],"fillValues":{{"lhs":null,"rhs":null}}}},"bool":true}}"#
            )
        );
        assert_eq!(
            tree("-(up)").replace(&vector, "UP"),
            r#"{"type":"unaryExpr","op":"-","expr":{"type":"parenExpr","expr":UP}}"#
        );
        assert_eq!(
            tree("up[1h:1m] @ 5").replace(&vector, "UP"),
            r#"{"type":"subquery","expr":UP,"range":3600000,"step":60000,"offset":0,"timestamp":5000,"startOrEnd":null}"#
        );
        assert_eq!(
            tree("1 + Inf"),
            r#"{"type":"binaryExpr","op":"+","lhs":{"type":"numberLiteral","val":"1"},"rhs":{"type":"numberLiteral","val":"+Inf"},"matching":null,"bool":false}"#
        );
        assert_eq!(tree(r#""a\"b""#), r#"{"type":"stringLiteral","val":"a\"b"}"#);
    }
}
