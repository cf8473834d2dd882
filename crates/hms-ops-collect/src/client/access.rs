//! How a server is reached, beside its URL: credentials, trust, redirects.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::tls::Connector;
use super::{Answer, ClientError, Connection, Endpoint};

const MAX_REDIRECTS: usize = 10;
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// How servers are reached; whoever shares one shares what is known of certificates.
#[derive(Debug, Default)]
pub(crate) struct Access {
    credentials: Option<Credentials>,
    tls: TlsOptions,
    follow_redirects: bool,
    connector: Connector,
}

/// What is shown to a server, and only to the one that was named: not where that one points to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "prometheus-config"), allow(dead_code, reason = "a file says them"))]
pub(crate) enum Credentials {
    /// A name and a password.
    Basic { username: String, password: Secret },
    /// A type, such as `Bearer`, and a token.
    Token { kind: String, token: Secret },
}

/// What nobody else should read; a file is read anew each time.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "prometheus-config"), allow(dead_code, reason = "a file says them"))]
pub(crate) enum Secret {
    Inline(String),
    File(PathBuf),
}

/// Whom to trust, and what to show them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// Whose word counts; without it, the roots of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// A certificate of our own and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Whom to expect, if not the host of the URL.
    pub(crate) server_name: Option<String>,
    /// Takes any certificate of anybody.
    pub(crate) insecure_skip_verify: bool,
}

impl Access {
    #[cfg_attr(not(feature = "prometheus-config"), allow(dead_code, reason = "a file says them"))]
    pub(crate) fn new(
        credentials: Option<Credentials>,
        tls: TlsOptions,
        follow_redirects: bool,
    ) -> Self {
        Self { credentials, tls, follow_redirects, connector: Connector::default() }
    }

    /// Asks for `endpoint` with these headers and reads the answer, of which at most `limit` bytes
    /// are held.
    ///
    /// Cancel safe: dropped, it closes the connection. It has no deadline of its own.
    pub(crate) async fn get(
        &self,
        endpoint: &Endpoint,
        headers: &[(HeaderName, HeaderValue)],
        limit: usize,
    ) -> Result<Answer, ClientError> {
        let authorization = self.authorization().await?;
        let mut asked = endpoint.clone();
        let mut redirects = 0;
        loop {
            let mut request = asked.request(Bytes::new());
            request.headers_mut().extend(headers.iter().cloned());
            if let Some(authorization) = authorization.as_ref().filter(|_| asked.is_at(endpoint)) {
                request.headers_mut().insert(AUTHORIZATION, authorization.clone());
            }
            match asked.exchange_over(&self.connector, &self.tls, request, limit).await {
                Err(ClientError::Redirect { status, location: Some(location) })
                    if self.follow_redirects =>
                {
                    if redirects == MAX_REDIRECTS {
                        return Err(ClientError::Redirects { status, limit: MAX_REDIRECTS });
                    }
                    redirects += 1;
                    asked = asked.join(&location)?;
                }
                answer => return answer,
            }
        }
    }

    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, ClientError> {
        let Some(credentials) = self.credentials.clone() else { return Ok(None) };
        // A file may be read, which may take its time.
        let header = tokio::task::spawn_blocking(move || credentials.header()).await;
        header.unwrap_or(Err(ClientError::Unsendable)).map(Some)
    }

    #[cfg_attr(not(feature = "remote-store"), allow(dead_code, reason = "a pool connects so"))]
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, ClientError> {
        endpoint.connect(&self.connector, &self.tls).await
    }
}

impl Credentials {
    /// What a request says. Blocks while a file is read.
    ///
    /// # Errors
    ///
    /// [`ClientError::Secret`] and [`ClientError::Unsendable`].
    pub(crate) fn header(&self) -> Result<HeaderValue, ClientError> {
        let text = match self {
            Self::Basic { username, password } => {
                let pair = format!("{username}:{}", password.read()?);
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            Self::Token { kind, token } => format!("{kind} {}", token.read()?),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::Unsendable)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// By what they do; what they know of certificates follows from that.
impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        (&self.credentials, &self.tls, self.follow_redirects)
            == (&other.credentials, &other.tls, other.follow_redirects)
    }
}

impl Eq for Access {}

impl Secret {
    fn read(&self) -> Result<String, ClientError> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let wrong = |source| ClientError::Secret { path: path.clone(), source };
                let text = read_bounded(path, MAX_SECRET_BYTES).map_err(wrong)?;
                Ok(text.trim().to_owned())
            }
        }
    }
}

/// Not the secret itself.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "<secret in {}>", path.display()),
        }
    }
}

/// The text of a file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    match text.len() as u64 <= limit {
        true => Ok(text),
        false => {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let credentials = Credentials::Basic {
            username: "u".to_owned(),
            password: Secret::Inline("hidden".to_owned()),
        };
        assert!(!format!("{credentials:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn credentials_are_what_the_header_says_and_a_file_is_trimmed() {
        let file = std::env::temp_dir().join(format!("hms-ops-secret-{}", std::process::id()));
        std::fs::write(&file, "open sesame\n").unwrap();
        for (credentials, header) in [
            (
                Credentials::Basic {
                    username: "Aladdin".to_owned(),
                    password: Secret::File(file.clone()),
                },
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            (
                Credentials::Token {
                    kind: "Bearer".to_owned(),
                    token: Secret::Inline("t".to_owned()),
                },
                "Bearer t",
            ),
        ] {
            let access = Access { credentials: Some(credentials), ..Access::default() };
            assert_eq!(access.authorization().await.unwrap().unwrap(), header);
        }
        std::fs::remove_file(&file).unwrap();
        let password = Secret::File(file.clone());
        let credentials = Credentials::Token { kind: "Bearer".to_owned(), token: password };
        let access = Access { credentials: Some(credentials), ..Access::default() };
        let error = access.authorization().await.unwrap_err().to_string();
        assert_eq!(error, format!("cannot read {}", file.display()));
    }
}
