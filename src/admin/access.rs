//! Who may ask: a known host, no foreign origin, and the token where one is set.
//!
//! Source: RFC 6750, section 2.1, and RFC 7617, section 2.

use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// A shorter token could be found by trying.
const SHORTEST_TOKEN: usize = 16;
/// Longer than any token; it bounds what is read and decoded.
const LONGEST_TOKEN: usize = 4096;

/// As those encode who leave the padding out, too.
const PADDED_OR_NOT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request must show.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) bound: SocketAddr,
    pub(super) token: Option<Token>,
    pub(super) behind_tls: bool,
    pub(super) hosts: Vec<String>,
}

/// A secret that those who may ask know, too.
pub(super) struct Token(String);

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("cannot read the token in {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },

    #[error(
        "the token in {} must have {SHORTEST_TOKEN} to {LONGEST_TOKEN} visible ASCII characters",
        path.display()
    )]
    Unfit { path: PathBuf },
}

impl Token {
    /// The token in a file, without the space around it.
    pub(super) fn read(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokenError::Io { path: path.to_owned(), source })?;
        let token = text.trim();
        let visible = token.bytes().all(|b| b.is_ascii_graphic());
        if !visible || !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&token.len()) {
            return Err(TokenError::Unfit { path: path.to_owned() });
        }
        Ok(Self(token.to_owned()))
    }

    /// Takes as long for a wrong byte at the start as for one at the end.
    fn is(&self, offered: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differences = own.iter().zip(offered).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
        own.len() == offered.len() && differences == 0
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let Some(said) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let (scheme, credentials) = said.split_once(' ').unwrap_or_default();
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.is(credentials.as_bytes());
        }
        if !scheme.eq_ignore_ascii_case("basic") || credentials.len() > 2 * LONGEST_TOKEN {
            return false;
        }
        let decoded = PADDED_OR_NOT.decode(credentials).unwrap_or_default();
        let password = decoded.iter().position(|&b| b == b':').map(|at| &decoded[at + 1..]);
        password.is_some_and(|password| self.is(password))
    }
}

/// Never the secret itself.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(<secret>)")
    }
}

/// Refuses requests that a page of another origin, or a name that was made to point here, sends
/// through somebody's browser; and those without the token.
pub(super) async fn check(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(reason) = access.refusal(request.headers()) {
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    if access.token.as_ref().is_some_and(|token| !token.is_in(request.headers())) {
        let wanted = [(WWW_AUTHENTICATE, "Basic realm=\"hms-ops\"")];
        return (StatusCode::UNAUTHORIZED, wanted, "the admin token is wanted\n").into_response();
    }
    next.run(request).await
}

impl Access {
    fn refusal(&self, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("not text"));
        let host = text(HOST).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        });
        if !self.knows(name) {
            return Some("this engine answers to localhost, its address and its hosts only\n");
        }
        // Browsers send an origin with every request that is not a plain GET of their own.
        let own = |origin: &str| {
            let of = |scheme| origin.strip_prefix(scheme) == Some(host);
            of("http://") || self.behind_tls && of("https://")
        };
        match text(ORIGIN) {
            Some(origin) if !own(origin) => Some("requests of other origins are refused\n"),
            _ => None,
        }
    }

    fn knows(&self, name: &str) -> bool {
        let bound = self.bound.ip();
        match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            // Nobody can make an address point elsewhere.
            Ok(ip) => ip.is_loopback() || ip == bound || bound.is_unspecified(),
            Err(_) => {
                let known = self.hosts.iter().map(String::as_str);
                known.chain(["localhost"]).any(|known| known.eq_ignore_ascii_case(name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(bound: &str) -> Access {
        let bound = bound.parse().unwrap();
        Access { bound, token: None, behind_tls: false, hosts: Vec::new() }
    }

    fn allowed(access: &Access, host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        access.refusal(&headers).is_none()
    }

    #[test]
    fn a_name_that_was_made_to_point_here_and_a_foreign_origin_are_refused() {
        let access = access("127.0.0.1:9110");
        for host in ["127.0.0.1:9110", "localhost:9110", "LOCALHOST", "[::1]:9110", "127.9.9.9"] {
            assert!(allowed(&access, host, None), "{host}");
        }
        for host in ["evil.test", "evil.test:9110", "127.0.0.1.evil.test:9110", "10.0.0.1", ""] {
            assert!(!allowed(&access, host, None), "{host}");
        }
        assert!(allowed(&access, "127.0.0.1:9110", Some("http://127.0.0.1:9110")));
        for origin in ["http://evil.test", "null", "https://127.0.0.1:9110", "http://localhost:1"] {
            assert!(!allowed(&access, "127.0.0.1:9110", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn behind_a_proxy_its_name_is_known_once_it_was_said() {
        let mut access = access("0.0.0.0:9110");
        assert!(allowed(&access, "10.0.0.7:9110", None));
        assert!(!allowed(&access, "ops.example.org", None));
        access.hosts.push("ops.example.org".to_owned());
        assert!(!allowed(&access, "ops.example.org", Some("https://ops.example.org")));
        access.behind_tls = true;
        assert!(allowed(&access, "Ops.example.org", Some("https://Ops.example.org")));
        assert!(!allowed(&access, "ops.example.org", Some("https://evil.test")));
    }

    #[test]
    fn the_token_is_that_of_a_bearer_or_the_password_of_any_user() {
        let token = Token("0123456789abcdef".to_owned());
        let offered = |value: &str| {
            token.is_in(&HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]))
        };
        assert!(offered("Bearer 0123456789abcdef") && offered("bearer  0123456789abcdef"));
        // me:0123456789abcdef, and without a user.
        assert!(offered("Basic bWU6MDEyMzQ1Njc4OWFiY2RlZg=="));
        assert!(offered("basic OjAxMjM0NTY3ODlhYmNkZWY"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdefg",
            "Digest 0123456789abcdef",
            "Basic 0123456789abcdef",
            "Basic !",
            "Basic MDEyMzQ1Njc4OWFiY2RlZg==",
        ] {
            assert!(!offered(wrong), "{wrong}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
        assert_eq!(format!("{token:?}"), "Token(<secret>)");
    }

    #[test]
    fn a_token_that_could_be_guessed_or_cannot_be_sent_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let absent = Token::read(&path).unwrap_err().to_string();
        assert!(absent.starts_with(&format!("cannot read the token in {}: ", path.display())));
        for text in ["", "short", "0123456789 abcdef", "0123456789abcdef\u{e9}"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Token::read(&path), Err(TokenError::Unfit { .. })), "{text:?}");
        }
        std::fs::write(&path, " 0123456789abcdef\n").unwrap();
        assert_eq!(Token::read(&path).unwrap().0, "0123456789abcdef");
    }
}
