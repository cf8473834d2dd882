//! The config as it may be shown.

use toml::{Table, Value};

const HIDDEN: &str = "<secret>";

/// The config as YAML, without its secrets: values under keys that say they are one, and user and
/// password in URLs. Names of files stay.
pub(super) fn yaml(config: &str) -> String {
    // It was read at the start; if that is not so, nothing of it is shown.
    let Ok(mut table) = config.parse::<Table>() else { return HIDDEN.to_owned() };
    table.iter_mut().for_each(|(key, value)| hide_value(key, value));
    let mut out = String::new();
    write(&mut out, &Value::Table(table), 0);
    out.trim_start().to_owned()
}

/// Blocks for tables and lists, after what they belong to; the rest in its line. Texts are in quotes,
/// as JSON has them, which is YAML too (YAML 1.2, section 7.3.1).
fn write(out: &mut String, value: &Value, level: usize) {
    let indent = |out: &mut String| out.extend(["\n", &"  ".repeat(level)]);
    match value {
        Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                indent(out);
                // A key that needs no quotes in TOML needs none here, unless it is a number or a word.
                let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
                    && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                let quoted = serde_json::Value::from(key.as_str()).to_string();
                out.push_str(if plain { key } else { &quoted });
                out.push(':');
                write(out, value, level + 1);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for value in values {
                indent(out);
                out.push('-');
                write(out, value, level + 1);
            }
        }
        Value::Table(_) => out.push_str(" {}"),
        Value::Array(_) => out.push_str(" []"),
        Value::String(text) => {
            out.extend([" ", &serde_json::Value::from(text.as_str()).to_string()])
        }
        Value::Float(number) if number.is_infinite() => {
            out.push_str(if *number > 0.0 { " .inf" } else { " -.inf" });
        }
        Value::Float(number) if number.is_nan() => out.push_str(" .nan"),
        other => out.extend([" ", &other.to_string()]),
    }
}

fn hide_value(key: &str, value: &mut Value) {
    match value {
        Value::Table(table) => table.iter_mut().for_each(|(key, value)| hide_value(key, value)),
        Value::Array(values) => values.iter_mut().for_each(|value| hide_value(key, value)),
        Value::String(text) if is_secret(key) => *text = HIDDEN.to_owned(),
        Value::String(text) => hide_user(text),
        other if is_secret(key) => *other = HIDDEN.into(),
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let says_so = ["secret", "password", "token", "credential", "private_key", "api_key"];
    says_so.iter().any(|word| key.contains(word)) && !key.ends_with("_file")
}

/// `http://user:password@host/` (RFC 3986, section 3.2.1).
fn hide_user(text: &mut String) {
    let Some(start) = text.find("://").map(|at| at + 3) else { return };
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    if let Some(at) = text[start..end].rfind('@') {
        text.replace_range(start..start + at, HIDDEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_names_of_files_are_not() {
        let config = "
            [[receiver]]
            url = \"https://user:pass@host/a@b\"
            secret_file = \"on-call.secret\"
            [remote]
            bearer_token = \"abc\"
            basic_auth = { username = \"me\", password = \"pw\" }
            api_keys = [\"k1\", 2]
            [listen]
            admin = \"127.0.0.1:9110\"
        ";
        let shown = yaml(config);
        for secret in ["pass@", "\"abc\"", "\"pw\"", "k1"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        for open in ["https://<secret>@host/a@b", "on-call.secret", "127.0.0.1:9110", "\"me\""] {
            assert!(shown.contains(open), "{open} in {shown}");
        }
        assert_eq!(yaml("not = [toml"), HIDDEN);
        assert_eq!(yaml(""), "{}");
    }

    #[test]
    fn tables_and_lists_are_blocks() {
        let config =
            "a = 1\n\"b c\" = [true, \"x: \\\"y\\\"\"]\nf = inf\n[[t]]\nu = \"v\"\n[t.w]\ne = []";
        let shown = "a: 1\n\"b c\":\n  - true\n  - \"x: \\\"y\\\"\"\nf: .inf\nt:\n  -\n    u: \"v\"\n    \
                     w:\n      e: []";
        assert_eq!(yaml(config), shown);
    }
}
