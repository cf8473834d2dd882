//! `printf`: the verbs of Go's `fmt` for what a template computes with.

use super::MAX_OUTPUT;
use super::eval::Value;
use super::number;

/// How one value is to be shown.
#[derive(Debug, Default)]
struct Verb {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Fills in `format`. Mistakes stand in the text, as in Go.
pub(super) fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut verb = Verb::default();
        while let Some(flag) = rest.chars().next().filter(|c| "-+ 0#".contains(*c)) {
            match flag {
                '-' => verb.left = true,
                '+' => verb.plus = true,
                ' ' => verb.space = true,
                '0' => verb.zero = true,
                _ => {}
            }
            rest = &rest[1..];
        }
        verb.width = digits(&mut rest)?.unwrap_or(0);
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            verb.precision = Some(digits(&mut rest)?.unwrap_or(0));
        }
        let Some(letter) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[letter.len_utf8()..];
        match (letter, args.len()) {
            ('%', _) => out.push('%'),
            (_, 0) => out += &format!("%!{letter}(MISSING)"),
            _ => out += &args.next().map(|value| verb.show(letter, value)).unwrap_or_default(),
        }
        if out.len() > MAX_OUTPUT {
            return Err(format!("a text would be longer than {MAX_OUTPUT} bytes"));
        }
    }
    out.push_str(rest);
    let extra: Vec<_> = args.map(|value| format!("{}={}", go_type(value), value.show())).collect();
    if !extra.is_empty() {
        out += &format!("%!(EXTRA {})", extra.join(", "));
    }
    Ok(out)
}

fn digits(rest: &mut &str) -> Result<Option<usize>, String> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    *rest = after;
    if number.is_empty() {
        return Ok(None);
    }
    let fits = number.parse().ok().filter(|number| *number <= MAX_OUTPUT);
    fits.map(Some).ok_or_else(|| format!("{number} is too wide"))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Nil => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float64",
        Value::Text(_) => "string",
        Value::Labels(_) => "map[string]string",
        Value::Args(_) => "map[string]interface {}",
        Value::Series(_) | Value::One(..) | Value::Data => "struct",
    }
}

impl Verb {
    fn show(&self, letter: char, value: &Value) -> String {
        let upper = letter.is_ascii_uppercase();
        let number = matches!(value, Value::Int(_) | Value::Float(_));
        let text = match (letter, value) {
            ('v', Value::Float(v)) => number::general(*v, self.precision, false),
            ('v', value) => value.show(),
            ('s', Value::Text(text)) => self.cut(text),
            ('q', Value::Text(text)) => format!("{:?}", self.cut(text)),
            ('x' | 'X', Value::Text(text)) => {
                let digits = text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
                if upper { digits.to_uppercase() } else { digits }
            }
            ('t', Value::Bool(v)) => v.to_string(),
            ('d', Value::Int(v)) => v.to_string(),
            ('b', Value::Int(v)) => format!("{v:b}"),
            ('o', Value::Int(v)) => format!("{v:o}"),
            ('x', Value::Int(v)) => format!("{}{:x}", minus(*v), v.unsigned_abs()),
            ('X', Value::Int(v)) => format!("{}{:X}", minus(*v), v.unsigned_abs()),
            ('c', Value::Int(v)) => {
                u32::try_from(*v).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
            }
            ('f' | 'F', Value::Float(v)) => number::fixed(*v, self.precision.unwrap_or(6)),
            ('e' | 'E', Value::Float(v)) => {
                number::scientific(*v, self.precision.unwrap_or(6), upper)
            }
            ('g' | 'G', Value::Float(v)) => number::general(*v, self.precision, upper),
            (_, value) => return format!("%!{letter}({}={})", go_type(value), value.show()),
        };
        let text = match (self.plus, self.space) {
            (true, _) if number && !text.starts_with(['-', '+']) => format!("+{text}"),
            (_, true) if number && !text.starts_with(['-', '+']) => format!(" {text}"),
            _ => text,
        };
        self.pad(text, number)
    }

    fn cut(&self, text: &str) -> String {
        text.chars().take(self.precision.unwrap_or(usize::MAX)).collect()
    }

    fn pad(&self, text: String, number: bool) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left {
            return text + &" ".repeat(missing);
        }
        let finite = number && text.ends_with(|c: char| c.is_ascii_digit());
        if self.zero && finite {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+', ' '])));
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        " ".repeat(missing) + &text
    }
}

fn minus(v: i64) -> &'static str {
    if v < 0 { "-" } else { "" }
}
