//! Rules for the headers that an endpoint's requests carry beside ours.

use std::collections::BTreeMap;

use pushpull_domain::endpoint::{CustomHeader, CustomHeaders};

/// Most custom headers of an endpoint. Receivers refuse heads over 8 KiB to 16 KiB; 50 short ones fit.
pub const HEADERS_MAX: usize = 50;
/// Longest name of a header, in bytes.
pub const NAME_MAX: usize = 256;
/// Longest value of a header, in bytes.
pub const VALUE_MAX: usize = 4096;

/// Names that belong to the connection, to the request's framing or to the message itself, never to a user:
/// hop-by-hop ones (RFC 9110 s. 7.6.1) and those that the sender writes.
const FORBIDDEN: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Beginnings of names that are forbidden: what speaks to proxies, what is signed, and what a receiver counts by.
const FORBIDDEN_PREFIXES: [&str; 4] = ["proxy-", "pushpull-", "svix-", "webhook-"];

/// Parts of names whose values are shown to nobody.
const SENSITIVE: [&str; 13] = [
    "access-key",
    "api-key",
    "api_key",
    "apikey",
    "authent",
    "authoriz",
    "cookie",
    "credential",
    "passw",
    "private",
    "secret",
    "session",
    "token",
];

/// Why a header is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// The name is no token.
    #[error("a header name has 1 to {NAME_MAX} letters, digits or !#$%&'*+-.^_`|~")]
    Name,
    /// The name is not a user's to set.
    #[error("this header is set by the server and cannot be changed")]
    Forbidden,
    /// The value cannot be sent.
    #[error("a header value has at most {VALUE_MAX} visible ASCII characters, with spaces only between them")]
    Value,
    /// The same name twice, in upper and lower case.
    #[error("this header is given twice")]
    Twice,
    /// More headers than an endpoint may have.
    #[error("an endpoint has at most {HEADERS_MAX} custom headers")]
    TooMany,
}

/// The name under which a header is kept: in lower case.
pub fn parse_name(name: &str) -> Result<String, InvalidHeader> {
    let is_token = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_token_char);
    if !is_token {
        return Err(InvalidHeader::Name);
    }
    let name = name.to_ascii_lowercase();
    let is_forbidden = FORBIDDEN.contains(&&*name) || FORBIDDEN_PREFIXES.iter().any(|p| name.starts_with(p));
    if is_forbidden { Err(InvalidHeader::Forbidden) } else { Ok(name) }
}

/// Adds a header, in place of the one that had its name.
pub fn set(headers: &mut CustomHeaders, name: &str, value: &str) -> Result<(), InvalidHeader> {
    let name = parse_name(name)?;
    if !is_value(value) {
        return Err(InvalidHeader::Value);
    }
    let sensitive = is_sensitive(&name);
    headers.insert(name, CustomHeader { value: value.to_owned(), sensitive });
    if headers.len() > HEADERS_MAX { Err(InvalidHeader::TooMany) } else { Ok(()) }
}

/// Reads a whole set of headers; an error comes with the name it is about, as it was given.
pub fn parse(given: &BTreeMap<String, String>) -> Result<CustomHeaders, (String, InvalidHeader)> {
    let mut headers = CustomHeaders::new();
    for (name, value) in given {
        let before = headers.len();
        set(&mut headers, name, value).map_err(|e| (name.clone(), e))?;
        if headers.len() == before {
            return Err((name.clone(), InvalidHeader::Twice));
        }
    }
    Ok(headers)
}

/// RFC 9110 s. 5.6.2.
fn is_token_char(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c)
}

/// Visible ASCII and inner spaces: the part of RFC 9110 s. 5.5 that every receiver reads alike.
fn is_value(value: &str) -> bool {
    value.len() <= VALUE_MAX
        && value.bytes().all(|c| (b' '..=b'~').contains(&c))
        && !value.starts_with(' ')
        && !value.ends_with(' ')
}

fn is_sensitive(name: &str) -> bool {
    SENSITIVE.iter().any(|part| name.contains(part)) || name.split(['-', '_']).any(|word| word == "auth")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, expected: Result<bool, InvalidHeader>) {
        let mut headers = CustomHeaders::new();
        let got = set(&mut headers, name, value).map(|()| headers[&name.to_ascii_lowercase()].sensitive);
        assert_eq!(got, expected, "{name}: {value}");
    }

    #[test]
    fn headers_that_a_user_may_set_are_kept() {
        check("X-Example", "123", Ok(false));
        check("x_tenant~1", "", Ok(false));
        check("X-Author", "x", Ok(false));
        check("Accept", "application/json; q=1", Ok(false));
        check("X-Webhook-Id", "1", Ok(false));
        for name in ["Authorization", "X-Api-Key", "Cookie", "X-Auth", "My-Client-Secret"] {
            check(name, "s3cret", Ok(true));
        }
    }

    #[test]
    fn headers_that_are_ours_are_refused() {
        let begun = ["Host", "webhook-id", "Svix-Signature", "Proxy-Authorization", "Pushpull-Seq"];
        for name in FORBIDDEN.into_iter().chain(begun) {
            check(name, "x", Err(InvalidHeader::Forbidden));
        }
    }

    #[test]
    fn what_could_break_out_of_a_header_is_refused() {
        for name in ["", "a b", "a:b", "a\r\nb", "é", &"a".repeat(257)] {
            check(name, "x", Err(InvalidHeader::Name));
        }
        for value in ["a\r\nb: c", "\u{0}", "é", " a", "a ", "\t", &"a".repeat(4097)] {
            check("x-a", value, Err(InvalidHeader::Value));
        }
    }

    #[test]
    fn a_set_of_headers_has_each_name_once_and_not_too_many() {
        let twice = BTreeMap::from([("X-A".to_owned(), "1".to_owned()), ("x-a".to_owned(), "2".to_owned())]);
        assert_eq!(parse(&twice), Err(("x-a".into(), InvalidHeader::Twice)));
        let many: BTreeMap<_, _> = (0..=HEADERS_MAX).map(|n| (format!("x-{n:03}"), String::new())).collect();
        assert_eq!(parse(&many), Err(("x-050".into(), InvalidHeader::TooMany)));
    }
}
