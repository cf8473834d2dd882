//! The config as it may be shown.

use toml::{Table, Value};

const HIDDEN: &str = "<secret>";

/// The config's text without its secrets: values under keys that say they are one, and user and
/// password in URLs. Names of files stay.
pub(super) fn hide(config: &str) -> String {
    // It was read at the start; if that is not so, nothing of it is shown.
    let Ok(mut table) = config.parse::<Table>() else { return HIDDEN.to_owned() };
    table.iter_mut().for_each(|(key, value)| hide_value(key, value));
    table.to_string()
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
            [[webhook]]
            url = \"https://user:pass@host/a@b\"
            secret_file = \"on-call.secret\"
            [remote]
            bearer_token = \"abc\"
            basic_auth = { username = \"me\", password = \"pw\" }
            api_keys = [\"k1\", 2]
            [listen]
            admin = \"127.0.0.1:9110\"
        ";
        let shown = hide(config);
        for secret in ["pass@", "\"abc\"", "\"pw\"", "k1"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        for open in ["https://<secret>@host/a@b", "on-call.secret", "127.0.0.1:9110", "\"me\""] {
            assert!(shown.contains(open), "{open} in {shown}");
        }
        assert_eq!(hide("not = [toml"), HIDDEN);
        assert_eq!(hide(""), "");
    }
}
