//! From nodes and data to text.

use std::collections::BTreeMap;
use std::sync::Arc;

use hms_ops_core::labels::Labels;

use super::parse::{Arg, Node, Operand, Pipe};
use super::{Answers, Data, MAX_DEPTH, MAX_OUTPUT, MAX_STEPS, Template, function, number};

/// What a template computes with.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    Labels(Labels),
    /// What `args` makes.
    Args(Arc<BTreeMap<String, Value>>),
    Series(Arc<[(Labels, f64)]>),
    One(Labels, f64),
    /// What the template is about.
    Data,
}

/// Why an expansion goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(String),
    Ask(String),
    Break,
    Continue,
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

pub(super) fn expand(
    template: &Template,
    data: &Data<'_>,
    answers: &Answers,
) -> Result<String, Stop> {
    let mut run = Run {
        template,
        data,
        answers,
        out: String::new(),
        variables: vec![
            ("$", Value::Data),
            ("$labels", Value::Labels(data.labels.clone())),
            ("$externalLabels", Value::Labels(data.external_labels.clone())),
            ("$externalURL", Value::Text(data.external_url.into())),
            ("$value", Value::Float(data.value)),
        ],
        steps: 0,
        depth: 0,
    };
    run.nodes(&template.body, &Value::Data)?;
    Ok(run.out)
}

pub(super) struct Run<'a> {
    template: &'a Template,
    pub(super) data: &'a Data<'a>,
    pub(super) answers: &'a Answers,
    out: String,
    variables: Vec<(&'a str, Value)>,
    steps: usize,
    depth: usize,
}

impl<'a> Run<'a> {
    fn step(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Stop::Failed(format!("more than {MAX_STEPS} steps")));
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), Stop> {
        if self.out.len() + text.len() > MAX_OUTPUT {
            return Err(too_long());
        }
        self.out.push_str(text);
        Ok(())
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Value) -> Result<(), Stop> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    /// Nodes with a scope of their own.
    fn block(&mut self, nodes: &'a [Node], dot: &Value, scope: usize) -> Result<(), Stop> {
        let done = self.nodes(nodes, dot);
        self.variables.truncate(scope);
        done
    }

    fn node(&mut self, node: &'a Node, dot: &Value) -> Result<(), Stop> {
        self.step()?;
        let scope = self.variables.len();
        match node {
            Node::Text(text) => self.write(text),
            Node::Show(pipe) => {
                let value = self.pipe(pipe, dot)?;
                // What is kept in a variable is not shown.
                if pipe.variables.is_empty() { self.write(&value.show()) } else { Ok(()) }
            }
            Node::If(pipe, then, otherwise) => {
                let chosen = if self.pipe(pipe, dot)?.is_true() { then } else { otherwise };
                self.block(chosen, dot, scope)
            }
            Node::With(pipe, then, otherwise) => match self.pipe(pipe, dot)? {
                value if value.is_true() => self.block(then, &value, scope),
                _ => self.block(otherwise, dot, scope),
            },
            Node::Range(pipe, body, otherwise) => self.range(pipe, body, otherwise, dot),
            Node::Template(name, pipe) => {
                let value = pipe.as_ref().map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
                let template = self.template;
                let Some(body) = template.defined.get(name) else {
                    return Err(Stop::Failed(format!("there is no template {name:?}")));
                };
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(Stop::Failed(format!("templates deeper than {MAX_DEPTH}")));
                }
                let outside = std::mem::replace(&mut self.variables, vec![("$", value.clone())]);
                let done = self.nodes(body, &value);
                self.variables = outside;
                self.depth -= 1;
                done
            }
            Node::Break => Err(Stop::Break),
            Node::Continue => Err(Stop::Continue),
        }
    }

    fn range(
        &mut self,
        pipe: &'a Pipe,
        body: &'a [Node],
        otherwise: &'a [Node],
        dot: &Value,
    ) -> Result<(), Stop> {
        let scope = self.variables.len();
        let text = |text: &str| Value::Text(text.into());
        let items: Vec<(Value, Value)> = match self.commands(pipe, dot)? {
            Value::Nil => Vec::new(),
            Value::Labels(labels) => labels.iter().map(|(n, v)| (text(n), text(v))).collect(),
            Value::Args(args) => args.iter().map(|(n, v)| (text(n), v.clone())).collect(),
            Value::Series(series) => {
                let item = |(i, (labels, value)): (usize, &(Labels, f64))| {
                    (Value::Int(i as i64), Value::One(labels.clone(), *value))
                };
                series.iter().enumerate().map(item).collect()
            }
            other => return Err(Stop::Failed(format!("{} has no items", other.kind()))),
        };
        if items.is_empty() {
            return self.block(otherwise, dot, scope);
        }
        for (key, item) in items {
            match (&pipe.variables[..], pipe.declares) {
                ([], _) => {}
                ([one], true) => self.variables.push((one, item.clone())),
                ([first, second, ..], true) => {
                    self.variables.extend([(first.as_str(), key), (second.as_str(), item.clone())]);
                }
                ([one], false) => self.assign(one, item.clone()),
                ([first, second, ..], false) => {
                    self.assign(first, key);
                    self.assign(second, item.clone());
                }
            }
            match self.block(body, &item, scope) {
                Ok(()) | Err(Stop::Continue) => {}
                Err(Stop::Break) => break,
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) {
        if let Some((_, kept)) = self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            *kept = value;
        }
    }

    fn pipe(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, Stop> {
        let value = self.commands(pipe, dot)?;
        if let [name] = &pipe.variables[..] {
            match pipe.declares {
                true => self.variables.push((name, value.clone())),
                false => self.assign(name, value.clone()),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, Stop> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(
        &mut self,
        command: &'a [Arg],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Stop> {
        let (first, rest) = command.split_first().expect("the parser leaves no command empty");
        let Operand::Function(name) = &first.of else {
            if !rest.is_empty() || last.is_some() {
                return Err(Stop::Failed("only a function takes arguments".to_owned()));
            }
            return self.arg(first, dot);
        };
        // These two look at no more than they need.
        if matches!(&**name, "and" | "or") {
            let mut value = None;
            for arg in rest {
                let next = self.arg(arg, dot)?;
                if next.is_true() == (name == "or") {
                    return Ok(next);
                }
                value = Some(next);
            }
            let value = last.or(value);
            return value.ok_or_else(|| Stop::Failed(format!("{name}: a value is missing")));
        }
        let mut args = Vec::with_capacity(rest.len() + 1);
        for arg in rest {
            args.push(self.arg(arg, dot)?);
        }
        args.extend(last);
        let value = self.call(name, args)?;
        first.fields.iter().try_fold(value, |value, field| self.field(&value, field))
    }

    fn call(&mut self, name: &str, args: Vec<Value>) -> Result<Value, Stop> {
        self.step()?;
        match function::call(self, name, &args) {
            Ok(Value::Text(text)) if text.len() > MAX_OUTPUT => Err(too_long()),
            Err(Stop::Failed(reason)) => Err(Stop::Failed(format!("{name}: {reason}"))),
            other => other,
        }
    }

    fn arg(&mut self, arg: &'a Arg, dot: &Value) -> Result<Value, Stop> {
        self.step()?;
        let value = match &arg.of {
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Int(value) => Value::Int(*value),
            Operand::Float(value) => Value::Float(*value),
            Operand::Text(value) => Value::Text(value.as_str().into()),
            Operand::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let missing = || Stop::Failed(format!("there is no variable {name}"));
                known.map(|(_, value)| value.clone()).ok_or_else(missing)?
            }
            Operand::Function(name) if matches!(&**name, "and" | "or") => {
                return Err(Stop::Failed(format!("{name}: a value is missing")));
            }
            Operand::Function(name) => self.call(name, Vec::new())?,
            Operand::Pipe(pipe) => self.pipe(pipe, dot)?,
        };
        arg.fields.iter().try_fold(value, |value, field| self.field(&value, field))
    }

    fn field(&self, of: &Value, name: &str) -> Result<Value, Stop> {
        Ok(match (of, name) {
            (Value::Labels(labels), _) => Value::Text(labels.get(name).unwrap_or_default().into()),
            (Value::Args(args), _) => args.get(name).cloned().unwrap_or(Value::Nil),
            (Value::One(labels, _), "Labels") => Value::Labels(labels.clone()),
            (Value::One(_, value), "Value") => Value::Float(*value),
            (Value::Data, "Labels") => Value::Labels(self.data.labels.clone()),
            (Value::Data, "ExternalLabels") => Value::Labels(self.data.external_labels.clone()),
            (Value::Data, "ExternalURL") => Value::Text(self.data.external_url.into()),
            (Value::Data, "Value") => Value::Float(self.data.value),
            _ => return Err(Stop::Failed(format!("{} has no field {name}", of.kind()))),
        })
    }
}

fn too_long() -> Stop {
    Stop::Failed(format!("a text would be longer than {MAX_OUTPUT} bytes"))
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Float(_) => "a float64",
            Self::Text(_) => "a text",
            Self::Labels(_) => "a set of labels",
            Self::Args(_) => "a set of arguments",
            Self::Series(_) => "an answer",
            Self::One(..) => "a series",
            Self::Data => "the data",
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Labels(labels) => !labels.is_empty(),
            Self::Args(args) => !args.is_empty(),
            Self::Series(series) => !series.is_empty(),
            Self::One(..) | Self::Data => true,
        }
    }

    /// As it stands in the output; no longer than a little over [`MAX_OUTPUT`].
    pub(super) fn show(&self) -> String {
        let labelled = |labels: &Labels| {
            let pairs: Vec<_> = labels.iter().map(|(n, v)| format!("{n}:{v}")).collect();
            format!("map[{}]", pairs.join(" "))
        };
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => number::shortest(*value),
            Self::Text(text) => text.to_string(),
            Self::Labels(labels) => labelled(labels),
            Self::Args(args) => {
                let mut shown = String::from("map[");
                for (i, (name, value)) in args.iter().enumerate() {
                    if shown.len() > MAX_OUTPUT {
                        break;
                    }
                    shown += if i > 0 { " " } else { "" };
                    shown += &format!("{name}:{}", value.show());
                }
                shown + "]"
            }
            Self::Series(series) => {
                let mut shown = String::from("[");
                for (i, (labels, value)) in series.iter().enumerate() {
                    if shown.len() > MAX_OUTPUT {
                        break;
                    }
                    shown += if i > 0 { " " } else { "" };
                    shown += &format!("{{{} {}}}", labelled(labels), number::shortest(*value));
                }
                shown + "]"
            }
            Self::One(labels, value) => {
                format!("{{{} {}}}", labelled(labels), number::shortest(*value))
            }
            Self::Data => "{}".to_owned(),
        }
    }
}
