//! The keys of an HTTP client: credentials, trust, redirects.

use crate::client::{Access, Credentials, Secret, TlsOptions};

use hms_ops_core::yaml::fields::{Field, Fields, FileError};

/// What no client of ours does.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("oauth2", ""),
    ("proxy_url", ""),
    ("no_proxy", ""),
    ("proxy_from_environment", "false"),
    ("proxy_connect_header", ""),
    ("http_headers", ""),
];

/// Takes the keys of an HTTP client out of `fields`.
pub(super) fn read(fields: &mut Fields<'_>) -> Result<Access, FileError> {
    let mut credentials = Vec::new();
    if let Some(field) = fields.get("basic_auth") {
        credentials.push((field.clone(), basic(&field)?));
    }
    if let Some(field) = fields.get("authorization") {
        credentials.push((field.clone(), authorization(&field)?));
    }
    for key in ["bearer_token", "bearer_token_file"] {
        if let Some(field) = fields.get(key) {
            let text = field.text()?;
            let token = match key {
                "bearer_token" => Secret::Inline(text.to_owned()),
                _ => Secret::File(field.source().path(text)),
            };
            let kind = "Bearer".to_owned();
            credentials.push((field, Credentials::Token { kind, token }));
        }
    }
    if let [_, (second, _), ..] = &*credentials {
        return Err(second.error("only one kind of credentials can be shown"));
    }
    let tls = fields.get("tls_config").map(|field| tls(&field)).transpose()?;
    if let Some(field) = fields.get("enable_http2").filter(|field| field.flag().unwrap_or(true)) {
        field.flag()?;
        field.warn("HTTP/1.1 is spoken");
    }
    fields.refuse(&UNSUPPORTED)?;
    let follow_redirects = fields.flag("follow_redirects", true)?;
    let credentials = credentials.pop().map(|(_, credentials)| credentials);
    Ok(Access::new(credentials, tls.unwrap_or_default(), follow_redirects))
}

fn basic(field: &Field<'_>) -> Result<Credentials, FileError> {
    let mut fields = field.fields()?;
    let username = fields.text("username")?.unwrap_or_default().to_owned();
    let password = secret(field, &mut fields, "password", "password_file")?;
    fields.refuse(&[("username_file", ""), ("username_ref", ""), ("password_ref", "")])?;
    fields.end()?;
    Ok(Credentials::Basic { username, password: password.unwrap_or(Secret::Inline(String::new())) })
}

fn authorization(field: &Field<'_>) -> Result<Credentials, FileError> {
    let mut fields = field.fields()?;
    let kind = fields.text("type")?.map_or("Bearer", str::trim).to_owned();
    if kind.eq_ignore_ascii_case("basic") {
        return Err(field.error("type Basic is said by basic_auth"));
    }
    let token = secret(field, &mut fields, "credentials", "credentials_file")?;
    fields.refuse(&[("credentials_ref", "")])?;
    fields.end()?;
    Ok(Credentials::Token { kind, token: token.unwrap_or(Secret::Inline(String::new())) })
}

fn secret(
    field: &Field<'_>,
    fields: &mut Fields<'_>,
    inline: &str,
    file: &str,
) -> Result<Option<Secret>, FileError> {
    match (fields.text(inline)?, fields.path(file)?) {
        (Some(_), Some(_)) => Err(field.error(format!("{inline} and {file} say the same twice"))),
        (Some(secret), None) => Ok(Some(Secret::Inline(secret.to_owned()))),
        (None, path) => Ok(path.map(Secret::File)),
    }
}

fn tls(field: &Field<'_>) -> Result<TlsOptions, FileError> {
    let mut fields = field.fields()?;
    let identity = match (fields.path("cert_file")?, fields.path("key_file")?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(field.error("cert_file and key_file need each other")),
    };
    let options = TlsOptions {
        ca_file: fields.path("ca_file")?,
        identity,
        server_name: fields.text("server_name")?.filter(|n| !n.is_empty()).map(str::to_owned),
        insecure_skip_verify: fields.flag("insecure_skip_verify", false)?,
    };
    let inline =
        ["ca", "cert", "key", "ca_ref", "cert_ref", "key_ref", "min_version", "max_version"];
    fields.refuse(&inline.map(|key| (key, "")))?;
    fields.end()?;
    Ok(options)
}
