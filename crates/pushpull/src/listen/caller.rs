//! Who calls, seen through the proxies that are trusted.

use std::{net::IpAddr, sync::Arc};

use http::HeaderMap;
use ipnet::IpNet;

/// Who calls: the other end of the connection, or whom a trusted proxy speaks for.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) peer: IpAddr,
    pub(super) proxies: Arc<[IpNet]>,
}

impl Caller {
    /// The last address of `X-Forwarded-For` that is no trusted proxy's: what stands before it may be invented.
    pub(super) fn address(&self, headers: &HeaderMap) -> IpAddr {
        let trusted = |address: IpAddr| self.proxies.iter().any(|net| net.contains(&address.to_canonical()));
        let forwarded =
            headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
        let mut address = self.peer;
        for hop in hops.into_iter().rev() {
            match hop.trim().parse() {
                Ok(before) if trusted(address) => address = before,
                _ => break,
            }
        }
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &[&'static str], expected: &str) {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let caller = Caller { peer: peer.parse().unwrap(), proxies: proxies.into() };
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", http::HeaderValue::from_static(value));
        }
        assert_eq!(caller.address(&headers), expected.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn x_forwarded_for_is_believed_from_trusted_proxies_only() {
        check("10.0.0.1", &[], "10.0.0.1");
        check("203.0.113.9", &["192.0.2.1"], "203.0.113.9");
        check("10.0.0.1", &["192.0.2.1"], "192.0.2.1");
        check("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1");
        // What the client itself wrote stands before what the proxy added.
        check("10.0.0.1", &["192.0.2.66, 192.0.2.1"], "192.0.2.1");
        check("10.0.0.1", &["192.0.2.1, 10.0.0.2"], "192.0.2.1");
        check("10.0.0.1", &["192.0.2.1", "10.0.0.2"], "192.0.2.1");
        check("10.0.0.1", &["nonsense"], "10.0.0.1");
    }
}
