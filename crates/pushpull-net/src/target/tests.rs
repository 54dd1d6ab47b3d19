use super::*;

fn target(text: &str) -> Target {
    Target::parse(text).unwrap()
}

fn policy(allow: &[&str], plain_http: Plain) -> Policy {
    Policy { allow: allow.iter().map(|net| net.parse().unwrap()).collect(), plain_http }
}

#[test]
fn a_url_becomes_the_pieces_of_a_request() {
    let target = target("HTTPS://Hooks.Example.COM:8443/in box?a=1&b=ü#part");
    assert_eq!(target.scheme(), Scheme::Https);
    assert_eq!(target.host(), &Host::Name("hooks.example.com".into()));
    assert_eq!(target.port(), 8443);
    assert_eq!(target.path_and_query(), "/in%20box?a=1&b=%C3%BC");
    assert_eq!(target.authority(), "hooks.example.com:8443");
    assert_eq!(&**target.origin(), "https://hooks.example.com:8443");
    assert_eq!(target.to_string(), "https://hooks.example.com:8443/in%20box?a=1&b=%C3%BC");
}

#[test]
fn a_default_port_is_not_in_the_host_header() {
    for (url, port, authority) in [
        ("https://a.example", 443, "a.example"),
        ("https://a.example:443/", 443, "a.example"),
        ("http://a.example:80/", 80, "a.example"),
        ("http://a.example:443/", 443, "a.example:443"),
        ("http://[2001:DB8::1]:81/", 81, "[2001:db8::1]:81"),
    ] {
        assert_eq!(
            (target(url).port(), target(url).authority().to_str().unwrap()),
            (port, authority),
            "{url}"
        );
    }
}

#[test]
fn a_path_is_sent_with_every_mark_a_url_may_have() {
    for path in ["/", "/a|b^c`d{e}", "/%zz?q=[x]{y}|z^`", "/?", "//double", "/a;b=c,d'e(f)*!$&@:~"] {
        let sent = target(&format!("https://a.example{path}")).path_and_query().to_owned();
        assert!(sent.starts_with('/') && sent.is_ascii(), "{path} became {sent}");
    }
}

/// Every spelling that some parser somewhere takes for 127.0.0.1.
#[test]
fn a_spelling_of_an_address_becomes_the_address() {
    for spelling in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7f.0x0.0x0.0x1",
        "0X7F000001",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "017700000001",
        "0177.0x0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
    ] {
        let host = target(&format!("http://{spelling}/")).host().clone();
        assert_eq!(host, Host::Ip(Ipv4Addr::LOCALHOST.into()), "{spelling}");
    }
    let mapped = target("http://[::FFFF:7f00:1]/").host().clone();
    assert_eq!(mapped, Host::Ip(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()));
}

#[test]
fn a_dot_at_the_end_of_a_name_is_dropped() {
    assert_eq!(target("https://a.example./").host(), &Host::Name("a.example".into()));
    assert!(target("http://localhost./").host().is_localhost());
}

#[track_caller]
fn check_refused(url: &str, expected: &str) {
    let error = Target::parse(url).unwrap_err();
    assert!(format!("{error:?}").starts_with(expected), "{url:?} gave {error:?}");
}

#[test]
fn what_is_no_target_is_refused() {
    for (url, expected) in [
        ("", "Invalid"),
        ("a.example/hook", "Invalid"),
        ("/hook", "Invalid"),
        ("https://", "Invalid"),
        ("https://a.example:70000/", "Invalid"),
        ("https://[::1", "Invalid"),
        ("https://[fe80::1%25eth0]/", "Invalid"),
        ("https://256.1.1.1/", "Invalid"),
        ("https://1.2.3.4.5/", "Invalid"),
        ("https://a.exa\tmple/", "Invalid"),
        ("https://a.example/\r\nX-Evil: 1", "Invalid"),
        ("https://a.example/\0", "Invalid"),
        ("ftp://a.example/", "Scheme"),
        ("file:///etc/passwd", "Scheme"),
        ("gopher://127.0.0.1:6379/_x", "Scheme"),
        ("javascript:alert(1)", "Scheme"),
        ("data:text/plain,x", "Scheme"),
        ("https://user@a.example/", "Userinfo"),
        ("https://user:secret@a.example/", "Userinfo"),
        ("https://:secret@a.example/", "Userinfo"),
        ("https://a.example:0/", "PortZero"),
        ("https://a..example/", "Host"),
        ("https://.a.example/", "Host"),
        ("https://a.example../", "Host"),
        ("https://a!b.example/", "Host"),
        ("https://a*.example/", "Host"),
    ] {
        check_refused(url, expected);
    }
    check_refused(&format!("https://{}.example/", "a".repeat(64)), "Host");
    check_refused(&format!("https://{}example/", "abcdefg.".repeat(40)), "Host");
    check_refused(&format!("https://a.example/{}", "a".repeat(URL_CHARS_MAX)), "TooLong");
}

#[test]
fn user_info_that_looks_like_a_host_is_refused() {
    check_refused("https://a.example@127.0.0.1/", "Userinfo");
    check_refused("https://a.example%40x@127.0.0.1/", "Userinfo");
    // A backslash is a slash to WHATWG: the host is the first one, for all of us.
    assert_eq!(target("https://a.example\\@127.0.0.1/").host(), &Host::Name("a.example".into()));
}

#[test]
fn saving_refuses_an_address_that_can_never_be_called() {
    let policy = policy(&[], Plain::Allowed);
    for host in [
        "127.1",
        "10.0.0.8",
        "169.254.169.254",
        "[::]",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "0",
        "[fd00:ec2::254]",
        "[64:ff9b::a00:1]",
        "100.64.0.1",
    ] {
        let error = policy.check_target_at_save(&target(&format!("https://{host}/"))).unwrap_err();
        assert!(matches!(error, TargetError::Forbidden(_)), "{host} gave {error}");
    }
    for host in ["localhost", "LOCALHOST.", "a.localhost"] {
        let error = policy.check_target_at_save(&target(&format!("https://{host}/"))).unwrap_err();
        assert!(matches!(error, TargetError::Localhost(_)), "{host} gave {error}");
    }
}

#[test]
fn saving_allows_public_addresses_and_any_other_name() {
    let policy = Policy::default();
    for host in ["8.8.8.8", "[2606:4700::1111]", "a.example", "intranet", "localhost.example", "notlocalhost"]
    {
        assert_eq!(policy.check_target_at_save(&target(&format!("https://{host}/"))), Ok(()), "{host}");
    }
}

#[test]
fn saving_allows_localhost_when_loopback_is_allowed() {
    let policy = policy(&["127.0.0.0/8"], Plain::AllowListOnly);
    for url in
        ["http://localhost:1/", "https://a.localhost/", "http://127.0.0.1:1/", "http://[::ffff:127.0.0.1]/"]
    {
        assert_eq!(policy.check_target_at_save(&target(url)), Ok(()), "{url}");
    }
    assert!(policy.check_target_at_save(&target("http://[::1]/")).is_err());
}

#[test]
fn plain_http_is_saved_as_the_setting_says() {
    use Plain::{AllowListOnly, Allowed, Never};
    for (url, setting, allow, may_be_saved) in [
        ("http://8.8.8.8/", Never, &["8.8.8.8/32"][..], false),
        ("http://8.8.8.8/", AllowListOnly, &[], false),
        ("http://8.8.8.8/", AllowListOnly, &["8.8.8.8/32"], true),
        ("http://8.8.8.8/", Allowed, &[], true),
        ("http://a.example/", Never, &["10.0.0.0/8"], false),
        ("http://a.example/", AllowListOnly, &[], false),
        ("http://a.example/", AllowListOnly, &["10.0.0.0/8"], true),
        ("http://a.example/", Allowed, &[], true),
        ("http://10.0.0.1/", AllowListOnly, &["10.0.0.0/8"], true),
        ("http://10.0.0.1/", Never, &["10.0.0.0/8"], false),
        ("https://10.0.0.1/", Never, &["10.0.0.0/8"], true),
    ] {
        let saved = policy(allow, setting).check_target_at_save(&target(url));
        let expected = if may_be_saved { Ok(()) } else { Err(TargetError::PlainHttp) };
        assert_eq!(saved, expected, "{url} with {setting:?} and {allow:?}");
    }
}

#[test]
fn a_refusal_tells_the_user_what_to_do() {
    let error = Policy::default().check_target_at_save(&target("https://2130706433/")).unwrap_err();
    assert_eq!(error.to_string(), "this address may not be called: 127.0.0.1 is a loopback address");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        drop(Target::parse(&text));
        drop(Target::parse(&format!("https://{text}/")));
        drop(Target::parse(&format!("https://a.example/{text}")));
    }

    #[test]
    fn a_target_prints_a_url_that_reads_back_as_itself(host in "[a-z0-9.-]{1,20}", path in "\\PC{0,30}") {
        if let Ok(target) = Target::parse(&format!("https://{host}/{path}")) {
            proptest::prop_assert_eq!(Target::parse(&target.to_string()), Ok(target));
        }
    }
}
