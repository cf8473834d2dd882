//! YAML as a tree that knows its lines, read with bounds on depth and size.
//!
//! Scalars stay text: what one means depends on the key that it stands at.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

pub mod fields;

/// How deep a document may be.
const MAX_DEPTH: usize = 64;
/// Nodes of a document; one that is repeated by an alias counts each time.
const MAX_NODES: usize = 1_000_000;
/// Keys of one mapping, each of which is compared with those before it.
const MAX_KEYS: usize = 1_000;
/// What the parser says of a quoted text whose further lines do not stand deep enough.
const OUTDENTED: &str = "invalid indentation in quoted scalar";
/// Bytes that are read again because of that, all in all.
const MAX_REPAIRED: usize = 64 << 20;
/// How deep such lines are moved.
const MAX_COLUMN: usize = 1_000;
/// The key whose mappings are merged into the one it stands in.
const MERGE: &str = "<<";

/// A value and the line, from 1, on which it begins.
#[derive(Clone, Debug)]
pub struct Node {
    /// From 1.
    pub line: usize,
    /// What stands there.
    pub value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, a number, a truth value.
    Scalar(Arc<str>),
    /// A list.
    Sequence(Vec<Node>),
    /// In the order of the text; no key stands there twice.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub struct Key {
    /// From 1.
    pub line: usize,
    /// The key itself.
    pub text: Arc<str>,
}

/// Why a text is no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// Reads the one document of `text`; none is [`Value::Null`].
///
/// # Errors
///
/// [`Fault`] when the text is no YAML, has a second document, a key twice, or is too large.
pub fn parse(text: &str) -> Result<Node, Fault> {
    let mut text = Cow::Borrowed(text);
    let mut repaired = 0;
    loop {
        let error = match read(&text) {
            Ok(node) => return Ok(node),
            Err(Refused::Fault(fault)) => return Err(fault),
            Err(Refused::Syntax(error)) => error,
        };
        repaired += text.len();
        let is_repairable = error.info() == OUTDENTED && repaired <= MAX_REPAIRED;
        match Some(error.marker()).filter(|_| is_repairable).and_then(|at| indented(&text, at)) {
            Some(better) => text = Cow::Owned(better),
            None => return Err(malformed(&error)),
        }
    }
}

enum Refused {
    Syntax(ScanError),
    Fault(Fault),
}

fn read(text: &str) -> Result<Node, Refused> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(Refused::Syntax)?;
        builder.take(event, span).map_err(Refused::Fault)?;
    }
    Ok(builder.root.unwrap_or(Node { line: 1, value: Value::Null }))
}

/// The text with more space before the further lines of the quoted text that begins at `at`.
///
/// YAML wants them deeper than what they belong to. `libyaml`, and with it Prometheus, does not, and
/// people write series that way. The space means nothing: lines are folded.
fn indented(text: &str, at: &Marker) -> Option<String> {
    let line: usize = text.split_inclusive('\n').take(at.line() - 1).map(str::len).sum();
    let (start, quote) = text[line..].char_indices().nth(at.col())?;
    let (start, margin) = (line + start, " ".repeat(at.col().min(MAX_COLUMN) + 1));
    if !matches!(quote, '"' | '\'') {
        return None;
    }
    let (before, quoted) = text.split_at(start + 1);
    let mut better = before.to_owned();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        better.push(c);
        match c {
            '\n' => better.push_str(&margin),
            '\\' if quote == '"' => {
                better.extend(chars.next_if(|(_, c)| *c != '\n').map(|(_, c)| c))
            }
            c if c == quote => match chars.next_if(|(_, c)| *c == quote && quote == '\'') {
                Some((_, c)) => better.push(c),
                None => return Some(better + &quoted[at + 1..]),
            },
            _ => {}
        }
        if better.len() > 2 * text.len() + MAX_COLUMN {
            return None;
        }
    }
    None
}

/// What is begun and not yet ended.
struct Open {
    line: usize,
    anchor: usize,
    value: Value,
    /// The key that waits for its value.
    key: Option<Key>,
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Fault { line, reason: "a second document begins here".to_owned() })
            }
            Event::Scalar(text, style, anchor, _) => {
                let null = style == ScalarStyle::Plain
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Scalar(Arc::from(text)) };
                self.add(Node { line, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, Value::Sequence(vec![])),
            Event::MappingStart(anchor, _) => self.begin(line, anchor, Value::Mapping(vec![])),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { line, anchor, mut value, .. }) => {
                    if let Value::Mapping(pairs) = &mut value {
                        merge(pairs);
                    }
                    self.add(Node { line, value }, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    let reason = "an alias of what is not complete here".to_owned();
                    return Err(Fault { line, reason });
                };
                let (nodes, depth) = size(node);
                self.nodes += nodes;
                if self.nodes > MAX_NODES || self.open.len() + depth > MAX_DEPTH {
                    return Err(too_large(line));
                }
                let node = Node { line, value: node.value.clone() };
                self.add(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, value: Value) -> Result<(), Fault> {
        if self.open.len() == MAX_DEPTH {
            return Err(too_large(line));
        }
        self.open.push(Open { line, anchor, value, key: None });
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(too_large(node.line));
        }
        if anchor != 0 {
            let (nodes, _) = size(&node);
            self.nodes += nodes;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.value {
            Value::Sequence(items) => items.push(node),
            Value::Mapping(pairs) => match (open.key.take(), node) {
                (None, Node { line, value: Value::Scalar(text) }) => {
                    if let Some((first, _)) = pairs.iter().find(|(key, _)| key.text == text) {
                        let reason = format!("{text} stands on line {} already", first.line);
                        return Err(Fault { line, reason });
                    }
                    if pairs.len() == MAX_KEYS {
                        return Err(too_large(line));
                    }
                    open.key = Some(Key { line, text });
                }
                (None, Node { line, .. }) => {
                    return Err(Fault { line, reason: "a key must be text".to_owned() });
                }
                (Some(key), node) => pairs.push((key, node)),
            },
            Value::Null | Value::Scalar(_) => {}
        }
        Ok(())
    }
}

/// Takes over what `<<` points to, as far as it is not said here.
fn merge(pairs: &mut Vec<(Key, Node)>) {
    let is_mapping = |node: &Node| matches!(node.value, Value::Mapping(_));
    let merges = |(key, node): &mut (Key, Node)| {
        &*key.text == MERGE
            && match &node.value {
                Value::Sequence(items) => items.iter().all(is_mapping),
                _ => is_mapping(node),
            }
    };
    let merged: Vec<_> = pairs.extract_if(.., merges).collect();
    for (_, node) in merged {
        let mappings = if let Value::Sequence(items) = node.value { items } else { vec![node] };
        for mapping in mappings {
            let Value::Mapping(more) = mapping.value else { continue };
            for (key, node) in more {
                if pairs.len() < MAX_KEYS && pairs.iter().all(|(known, _)| known.text != key.text) {
                    pairs.push((key, node));
                }
            }
        }
    }
}

/// Nodes and depth of a tree, which is never deeper than [`MAX_DEPTH`].
fn size(node: &Node) -> (usize, usize) {
    let of = |nodes: &mut dyn Iterator<Item = &Node>| {
        let sum = |(nodes, depth): (usize, usize), node| {
            let (more, deep) = size(node);
            (nodes + more, depth.max(deep))
        };
        let (nodes, depth) = nodes.fold((1, 0), sum);
        (nodes, depth + 1)
    };
    match &node.value {
        Value::Null | Value::Scalar(_) => (1, 0),
        Value::Sequence(items) => of(&mut items.iter()),
        Value::Mapping(pairs) => of(&mut pairs.iter().map(|(_, node)| node)),
    }
}

fn too_large(line: usize) -> Fault {
    let reason =
        format!("deeper than {MAX_DEPTH}, or more than {MAX_NODES} values or {MAX_KEYS} keys");
    Fault { line, reason }
}

fn malformed(error: &ScanError) -> Fault {
    Fault { line: error.marker().line(), reason: format!("not YAML: {}", error.info()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        let value = match &node.value {
            Value::Null => "null".to_owned(),
            Value::Scalar(text) => text.to_string(),
            Value::Sequence(items) => {
                format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" "))
            }
            Value::Mapping(pairs) => {
                let pair = |(key, node): &(Key, Node)| format!("{}={}", key.text, shown(node));
                format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(" "))
            }
        };
        format!("{value}@{}", node.line)
    }

    #[test]
    fn every_value_knows_its_line() {
        let text =
            "# c\na: 1\nb:\n  - x\n  - {y: ~, z: 'null'}\nc: &n\n  d: on\ne: *n\nf: |\n  g\n";
        assert_eq!(
            shown(&parse(text).unwrap()),
            "{a=1@2 b=[x@4 {y=null@5 z=null@5}@5]@4 c={d=on@7}@6 e={d=on@7}@8 f=g\n@10}@2"
        );
        assert_eq!(shown(&parse("").unwrap()), "null@1");
        assert_eq!(
            shown(&parse(r#"[{"targets": ["a:1"]}]"#).unwrap()),
            "[{targets=[a:1@1]@1}@1]@1"
        );
    }

    #[test]
    fn a_merged_mapping_gives_way_to_what_is_said_beside_it() {
        let text =
            "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 5\nd:\n  <<: *b\n";
        let shown = shown(&parse(text).unwrap());
        assert!(shown.contains("c={x=5@5 y=2@1 z=4@2}@4"), "{shown}");
        assert!(shown.contains("d={y=3@2 z=4@2}@7"), "{shown}");
    }

    #[test]
    fn what_is_no_document_is_refused_with_its_line() {
        let fault = |text: &str| {
            let Fault { line, reason } = parse(text).unwrap_err();
            format!("{line}: {reason}")
        };
        assert_eq!(fault("a: 1\nb: 2\na: 3\n"), "3: a stands on line 1 already");
        assert_eq!(fault("a: 1\n---\nb: 1\n"), "2: a second document begins here");
        assert_eq!(fault("? [a]\n: 1\n"), "1: a key must be text");
        assert!(fault("a: [1\nb: 2\n").contains(": not YAML: "));
        assert_eq!(fault("a: *b\n").split(':').next(), Some("1"));
    }

    #[test]
    fn further_lines_of_a_quoted_text_may_stand_less_deep_than_it() {
        let text = "a:\n  - b: 'x{\n    y=\"1\",\n  z}''s'\n    c: 1\n  - d: \"e \\\"\n\n f\\\n g\"\nh: i\n";
        assert_eq!(
            shown(&parse(text).unwrap()),
            "{a=[{b=x{ y=\"1\", z}'s@2 c=1@5}@2 {d=e \"\nfg@6}@6]@2 h=i@10}@1"
        );
        assert!(parse("a:\n  - b: 'x\nc").is_err());
        let wide = format!("{}a:\n  b: 'x\n{}'\n", " ".repeat(3000), "\n".repeat(3000));
        assert!(parse(&wide).is_err());
    }

    #[test]
    fn json_is_read_as_any_program_writes_it() {
        for (json, read) in [
            (
                "[\n\t{\n\t\t\"targets\": [\n\t\t\t\"a:1\"\n\t\t]\n\t}\n]\n",
                "[{targets=[a:1@4]@3}@2]@1",
            ),
            (
                r#"[{"targets":["a:1"],"labels":{"b":"c"}}]"#,
                "[{targets=[a:1@1]@1 labels={b=c@1}@1}@1]@1",
            ),
            ("{\"a\" : \"b\\/c\"\r\n,\"d\":null}", "{a=b/c@1 d=null@2}@1"),
            (r#"{"a": "\u00e4\b\f"}"#, "{a=ä\u{8}\u{c}@1}@1"),
        ] {
            let parsed = parse(json).map(|node| shown(&node));
            assert_eq!(parsed.map_err(|fault| fault.reason), Ok(read.to_owned()), "{json}");
        }
    }

    #[test]
    fn depth_and_repetition_are_bounded() {
        let reason = |text: &str| parse(text).unwrap_err().reason;
        assert!(reason(&"[".repeat(200)).starts_with("deeper than 64"));
        // The parser itself has a limit too.
        assert!(!reason(&"[".repeat(100_000)).is_empty());
        assert!(!reason(&"- ".repeat(100_000)).is_empty());
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let repeated = vec![format!("*a{}", i - 1); 9].join(", ");
            text += &format!("a{i}: &a{i} [{repeated}]\n");
        }
        assert!(reason(&text).starts_with("deeper than 64"));
    }
}
