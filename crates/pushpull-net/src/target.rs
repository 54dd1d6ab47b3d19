//! A URL, parsed once, in the pieces that a request needs.
//!
//! Invariant: host and port are read from the URL exactly once, by the WHATWG rules, and everything after
//! (guard, lookup, dial, TLS name, `Host` header) uses these same values. There is no second parser to
//! disagree with.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use http::{HeaderValue, Uri};
use rustls_pki_types::ServerName;
use url::{Position, Url};

use crate::policy::{Forbidden, Plain, Policy};

#[cfg(test)]
mod tests;

/// Most characters of a URL: 65,536, the length that the API promises.
pub const URL_CHARS_MAX: usize = 65_536;

/// Most characters of a host name: 253, what fits the 255 octets of RFC 1035 s. 2.3.4.
pub const HOST_CHARS_MAX: usize = 253;

/// Most characters between two dots of a host name (RFC 1035 s. 2.3.4).
const LABEL_CHARS_MAX: usize = 63;

/// A place that requests can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    host: Host,
    port: u16,
    /// Path and query, in the form of the request line.
    uri: Uri,
    /// Value of the `Host` header.
    authority: HeaderValue,
    /// `scheme://host:port`, the key under which connections are kept.
    origin: Arc<str>,
    /// The name that the certificate must be for; `None` without TLS.
    server_name: Option<ServerName<'static>>,
}

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP over bare TCP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as URLs spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Who is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name: lower case, punycode, no dot at the end.
    Name(Box<str>),
    /// An address that stood in the URL, in whatever spelling.
    Ip(IpAddr),
}

impl Host {
    /// Whether this is `localhost` or a name below it, which always means this machine (RFC 6761 s. 6.3).
    pub fn is_localhost(&self) -> bool {
        match self {
            Self::Name(name) => &**name == "localhost" || name.ends_with(".localhost"),
            Self::Ip(_) => false,
        }
    }
}

/// As in a URL: an IPv6 address stands in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Why a URL cannot be a target. The text is for the person who typed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// More than [`URL_CHARS_MAX`] characters.
    #[error("the URL is longer than {URL_CHARS_MAX} characters")]
    TooLong,
    /// Not a URL at all.
    #[error("this is not a URL: {0}")]
    Invalid(String),
    /// Another scheme than http or https.
    #[error("the URL must start with https:// or http://, not {0}:")]
    Scheme(String),
    /// A user name or password in the URL.
    #[error("the URL must not contain a user name or password; use a header instead")]
    Userinfo,
    /// The host cannot be a DNS name.
    #[error("{0:?} is not a valid host name")]
    Host(String),
    /// Port 0 cannot be connected to.
    #[error("port 0 cannot be connected to")]
    PortZero,
    /// The URL names an address that may not be called.
    #[error("this address may not be called: {0}")]
    Forbidden(Forbidden),
    /// `localhost`, which may not be called.
    #[error("this address may not be called: {0} is this server itself")]
    Localhost(String),
    /// `http://`, which the settings forbid, at all or for this host.
    #[error("http:// is not allowed for this host; use https://")]
    PlainHttp,
}

impl Target {
    /// Reads a URL. Spellings of an address (`0x7f.1`, `2130706433`, full-width digits) become the address.
    ///
    /// A fragment is dropped: it is never sent (RFC 9110 s. 4.2.5).
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.chars().nth(URL_CHARS_MAX).is_some() {
            return Err(TargetError::TooLong);
        }
        // The WHATWG rules drop tabs and line ends wherever they stand; what a person sees would not be
        // what is called.
        if text.chars().any(char::is_control) {
            return Err(TargetError::Invalid("it contains a control character".to_owned()));
        }
        let url = Url::parse(text).map_err(|error| TargetError::Invalid(error.to_string()))?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(TargetError::Scheme(other.to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Userinfo);
        }
        let host = parse_host(&url)?;
        // The default port of http and https is always known.
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(TargetError::PortZero)?;
        let uri = url[Position::BeforePath..Position::AfterQuery]
            .parse::<Uri>()
            .map_err(|error| TargetError::Invalid(error.to_string()))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let authority = HeaderValue::try_from(authority).map_err(|_| TargetError::Host(host.to_string()))?;
        let origin = format!("{}://{host}:{port}", scheme.as_str()).into();
        let server_name = match scheme {
            Scheme::Http => None,
            Scheme::Https => Some(server_name(&host)?),
        };
        Ok(Self { scheme, host, port, uri, authority, origin, server_name })
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Who is called.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query as the request line wants them; starts with `/`.
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }

    /// The value of the `Host` header: host, and the port unless it is the scheme's own.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    pub(crate) fn server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }
}

/// The URL in its canonical spelling, without fragment.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.authority.to_str().unwrap_or_default();
        write!(f, "{}://{authority}{}", self.scheme.as_str(), self.path_and_query())
    }
}

impl Policy {
    /// Refuses what is certain to be refused when dialled, so that the person who saves it learns at once.
    ///
    /// A name is not looked up: what it resolves to now says nothing about later. The dial decides.
    pub fn check_target_at_save(&self, target: &Target) -> Result<(), TargetError> {
        match target.host() {
            Host::Ip(address) => self.check_ip(*address).map_err(TargetError::Forbidden)?,
            host if host.is_localhost() && !self.allows_localhost() => {
                return Err(TargetError::Localhost(host.to_string()));
            }
            Host::Name(_) => {}
        }
        let plain_may_pass = match (target.scheme(), self.plain_http) {
            (Scheme::Https, _) | (Scheme::Http, Plain::Allowed) => true,
            (Scheme::Http, Plain::Never) => false,
            (Scheme::Http, Plain::AllowListOnly) => match target.host() {
                Host::Ip(address) => self.allows(*address),
                // Any name may yet resolve into the allow list, if there is one.
                Host::Name(_) => !self.allow.is_empty(),
            },
        };
        if plain_may_pass { Ok(()) } else { Err(TargetError::PlainHttp) }
    }

    fn allows_localhost(&self) -> bool {
        LOCALHOST.into_iter().any(|address| self.allows(address))
    }
}

/// What `localhost` and every name below it resolve to, without asking anyone (RFC 6761 s. 6.3).
pub(crate) const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn parse_host(url: &Url) -> Result<Host, TargetError> {
    match url.host() {
        Some(url::Host::Ipv4(address)) => Ok(Host::Ip(address.into())),
        Some(url::Host::Ipv6(address)) => Ok(Host::Ip(address.into())),
        Some(url::Host::Domain(name)) => {
            // `example.com.` is the same host as `example.com`, and certificates know only the latter.
            let name = name.strip_suffix('.').unwrap_or(name);
            if is_dns_name(name) {
                Ok(Host::Name(name.into()))
            } else {
                Err(TargetError::Host(name.to_owned()))
            }
        }
        None => Err(TargetError::Host(String::new())),
    }
}

/// Letters, digits, hyphens and, since people do use them, underscores. WHATWG lets far more pass.
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_CHARS_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= HOST_CHARS_MAX && name.split('.').all(is_label)
}

fn server_name(host: &Host) -> Result<ServerName<'static>, TargetError> {
    match host {
        Host::Ip(address) => Ok(ServerName::from(*address)),
        Host::Name(name) => {
            ServerName::try_from(name.to_string()).map_err(|_| TargetError::Host(name.to_string()))
        }
    }
}
