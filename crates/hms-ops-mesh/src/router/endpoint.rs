//! Where a cluster is reached.

use http::{HeaderValue, Uri};

/// An address of the form `http://host:port`.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What a request to it has as `host`.
    pub(crate) authority: HeaderValue,
}

impl Endpoint {
    /// `None` when `url` has another form: TLS, credentials, a path.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        let plain = uri.scheme_str() == Some("http")
            && matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("" | "/"))
            && !authority.as_str().contains('@');
        plain.then_some(())?;
        Some(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: HeaderValue::from_str(authority.as_str()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_plain_http_without_a_path() {
        let endpoint = Endpoint::parse("http://[::1]:9001/").unwrap();
        assert_eq!((&*endpoint.host, endpoint.port), ("::1", 9001));
        assert_eq!(Endpoint::parse("http://svc").unwrap().port, 80);
        for bad in
            ["", "svc:80", "https://svc", "http://a:b@svc", "http://svc/api", "http://svc/?x"]
        {
            assert!(Endpoint::parse(bad).is_none(), "{bad}");
        }
    }
}
