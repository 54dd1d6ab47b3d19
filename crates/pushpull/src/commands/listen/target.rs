//! Where messages are forwarded to.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use http::HeaderValue;
use pushpull_net::{Client, Config, Host, Limits, Plain, Policy, Target};

use crate::wire::USER_AGENT;

/// Reads `PORT` or a URL. Only this machine, unless others are allowed: a wrong line in a shell's history must not
/// send a customer's data to a stranger.
pub(super) fn parse(text: &str, allow_external: bool) -> Result<Target, String> {
    let url = match text.parse::<u16>() {
        Ok(port) => format!("http://127.0.0.1:{port}/"),
        Err(_) => text.to_owned(),
    };
    let target = Target::parse(&url).map_err(|error| format!("`{text}` is no target: {error}"))?;
    let is_here = match target.host() {
        Host::Ip(address) => address.to_canonical().is_loopback(),
        host @ Host::Name(_) => host.is_localhost(),
    };
    if is_here || allow_external {
        Ok(target)
    } else {
        Err(format!("{target} is not on this machine: allow it with --allow-external"))
    }
}

/// What forwards. Without others allowed the target is loopback or `localhost`, which no lookup leads elsewhere.
pub(super) fn client(allow_external: bool, timeout: Duration, ca_file: Option<PathBuf>) -> Result<Client> {
    let networks = if allow_external { ["0.0.0.0/0", "::/0"] } else { ["127.0.0.0/8", "::1/128"] };
    let networks = networks.map(|network| network.parse().expect("a network"));
    let config = Config {
        policy: Policy { allow: networks.into(), plain_http: Plain::AllowListOnly },
        limits: Limits { total: timeout, ..Limits::default() },
        ca_file,
        user_agent: HeaderValue::from_static(USER_AGENT),
        ..Config::default()
    };
    Client::new(config).context("set up the client that forwards")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_of_this_machine() {
        assert_eq!(parse("3000", false).unwrap().to_string(), "http://127.0.0.1:3000/");
        let url = "http://localhost:3000/hooks?a=b";
        assert_eq!(parse(url, false).unwrap().to_string(), url);
    }

    #[test]
    fn only_this_machine_is_a_target_unless_others_are_allowed() {
        for here in ["http://127.0.0.1/", "http://[::1]:80/", "https://app.localhost/", "http://127.9.9.9:1/"]
        {
            assert!(parse(here, false).is_ok(), "{here}");
        }
        for elsewhere in ["http://10.0.0.1/", "https://example.com/", "http://localhost.example.com/"] {
            assert!(parse(elsewhere, false).unwrap_err().contains("--allow-external"), "{elsewhere}");
            assert!(parse(elsewhere, true).is_ok(), "{elsewhere}");
        }
        for wrong in ["0", "65536", "localhost:3000", "ftp://127.0.0.1/", "", "http://u:p@localhost/"] {
            assert!(parse(wrong, true).is_err(), "{wrong}");
        }
    }
}
