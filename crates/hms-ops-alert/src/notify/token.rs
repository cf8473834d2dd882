//! What a receiver knows us by.

use std::fmt;

/// A bearer token or a routing key; never printed.
///
/// ```
/// use hms_ops_alert::notify::Token;
///
/// let token = Token::new(" tk_hidden\n")?;
/// assert_eq!(format!("{token:?}"), "Token(…)");
/// # Ok::<(), hms_ops_alert::notify::TokenError>(())
/// ```
#[derive(Clone)]
pub struct Token(String);

/// Why a text is no token; it is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("a token is 1 to 1,024 visible ASCII characters")]
pub struct TokenError;

impl Token {
    /// Takes the text of a file, trimmed.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let fits = (1..=1024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(TokenError) }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
