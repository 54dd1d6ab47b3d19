use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn allow(nets: &[&str]) -> Policy {
    Policy { allow: nets.iter().map(|net| net.parse().unwrap()).collect(), ..Policy::default() }
}

#[track_caller]
fn check(address: &str, expected: Option<Rule>) {
    let expected = expected.map(|rule| Forbidden { address: ip(address), rule });
    assert_eq!(Policy::default().check_ip(ip(address)).err(), expected, "{address}");
}

#[test]
fn an_ipv4_address_of_a_special_network_is_forbidden() {
    for (address, rule) in [
        ("0.0.0.0", Rule::Unspecified),
        ("0.255.255.255", Rule::Unspecified),
        ("10.0.0.0", Rule::Private),
        ("10.255.255.255", Rule::Private),
        ("100.64.0.0", Rule::Cgnat),
        ("100.127.255.255", Rule::Cgnat),
        ("100.100.100.200", Rule::Metadata),
        ("127.0.0.1", Rule::Loopback),
        ("127.255.255.254", Rule::Loopback),
        ("168.63.129.16", Rule::Metadata),
        ("169.254.0.1", Rule::LinkLocal),
        ("169.254.169.254", Rule::Metadata),
        ("169.254.170.2", Rule::Metadata),
        ("169.254.170.23", Rule::Metadata),
        ("169.254.255.255", Rule::LinkLocal),
        ("172.16.0.1", Rule::Private),
        ("172.31.255.255", Rule::Private),
        ("192.0.0.1", Rule::Reserved),
        ("192.0.0.192", Rule::Metadata),
        ("192.0.2.7", Rule::Documentation),
        ("192.88.99.1", Rule::SixToFour),
        ("192.168.0.0", Rule::Private),
        ("192.168.255.255", Rule::Private),
        ("198.18.0.0", Rule::Benchmark),
        ("198.19.255.255", Rule::Benchmark),
        ("198.51.100.9", Rule::Documentation),
        ("203.0.113.1", Rule::Documentation),
        ("224.0.0.1", Rule::Multicast),
        ("239.255.255.255", Rule::Multicast),
        ("240.0.0.1", Rule::Reserved),
        ("255.255.255.254", Rule::Reserved),
        ("255.255.255.255", Rule::Broadcast),
    ] {
        check(address, Some(rule));
    }
}

#[test]
fn an_ipv6_address_of_a_special_network_is_forbidden() {
    for (address, rule) in [
        ("::", Rule::Unspecified),
        ("::1", Rule::Loopback),
        ("::2", Rule::Unspecified),
        ("100::1", Rule::Discard),
        ("100:0:0:1::1", Rule::Discard),
        ("100:0:0:2::1", Rule::Reserved),
        ("64:ff9b:1::1", Rule::Nat64Local),
        ("64:ff9b:1:ffff::8.8.8.8", Rule::Nat64Local),
        ("64:ff9b:2::1", Rule::Reserved),
        ("2001:2::1", Rule::Benchmark),
        ("2001:10::1", Rule::Reserved),
        ("2001:1ff:ffff::1", Rule::Reserved),
        ("2001:db8::1", Rule::Documentation),
        ("3fff::1", Rule::Documentation),
        ("3fff:fff::1", Rule::Documentation),
        ("4000::1", Rule::Reserved),
        ("5f00::1", Rule::Reserved),
        ("fc00::1", Rule::UniqueLocal),
        ("fd00:ec2::253", Rule::UniqueLocal),
        ("fd00:ec2::254", Rule::Metadata),
        ("fd20:ce::254", Rule::Metadata),
        ("fe80::1", Rule::LinkLocal),
        ("febf::1", Rule::LinkLocal),
        ("fec0::1", Rule::SiteLocal),
        ("ff02::1", Rule::Multicast),
        ("1::1", Rule::Reserved),
    ] {
        check(address, Some(rule));
    }
}

#[test]
fn an_ipv4_address_inside_an_ipv6_address_is_judged_as_itself() {
    for (address, rule) in [
        ("::ffff:127.0.0.1", Rule::Loopback),
        ("::ffff:169.254.169.254", Rule::Metadata),
        ("::ffff:10.1.2.3", Rule::Private),
        ("::127.0.0.1", Rule::Loopback),
        ("::ffff:0:192.168.1.1", Rule::Private),
        ("64:ff9b::169.254.169.254", Rule::Metadata),
        ("64:ff9b::10.0.0.1", Rule::Private),
        ("2002:7f00:1::1", Rule::Loopback),
        ("2002:a9fe:a9fe::", Rule::Metadata),
        // Teredo, client address 10.0.0.1 inverted.
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", Rule::Private),
        // ISATAP under a public prefix.
        ("2a00:1450::5efe:10.0.0.1", Rule::Private),
        ("2a00:1450::200:5efe:127.0.0.1", Rule::Loopback),
    ] {
        check(address, Some(rule));
    }
}

#[test]
fn a_tunnel_to_a_public_ipv4_address_is_forbidden_as_a_tunnel() {
    check("::8.8.8.8", Some(Rule::Ipv4InIpv6));
    check("::ffff:0:8.8.8.8", Some(Rule::Ipv4InIpv6));
    check("2002:808:808::1", Some(Rule::SixToFour));
    check("2001:0:4136:e378:8000:63bf:f7f7:f7f7", Some(Rule::Teredo));
}

#[test]
fn a_public_address_is_allowed() {
    for address in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700::1111",
        "2a00:1450:4001::8a",
        "2a00:1450::5efe:8.8.8.8",
        "3ffe::1",
    ] {
        check(address, None);
    }
}

#[test]
fn an_allowed_network_may_be_called_in_either_spelling() {
    let policy = allow(&["127.0.0.0/8", "fd12::/16"]);
    for address in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "fd12::7"] {
        assert_eq!(policy.check_ip(ip(address)), Ok(()), "{address}");
    }
    for address in ["10.0.0.1", "::1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "fd13::7"] {
        assert!(policy.check_ip(ip(address)).is_err(), "{address}");
    }
}

#[test]
fn a_refusal_names_address_and_rule() {
    let refusal = Policy::default().check_ip(ip("::ffff:10.0.0.1")).unwrap_err();
    assert_eq!(refusal.to_string(), "::ffff:10.0.0.1 is a private address");
}

proptest::proptest! {
    #[test]
    fn every_wrapping_of_a_forbidden_ipv4_address_is_forbidden(bits: u32) {
        let inner = Ipv4Addr::from(bits);
        let policy = Policy::default();
        let forbidden = policy.check_ip(inner.into()).is_err();
        let low = u128::from(bits);
        let nat64 = Ipv6Addr::from((0x0064_ff9b_u128 << 96) | low);
        for wrapped in [inner.to_ipv6_mapped(), nat64] {
            proptest::prop_assert_eq!(policy.check_ip(wrapped.into()).is_err(), forbidden, "{}", wrapped);
        }
        let sixtofour = Ipv6Addr::from((0x2002_u128 << 112) | (low << 80) | 1);
        let isatap = Ipv6Addr::from((0x2a00_u128 << 112) | (0x5efe_u128 << 32) | low);
        let compatible = Ipv6Addr::from(low);
        proptest::prop_assert!(policy.check_ip(sixtofour.into()).is_err());
        proptest::prop_assert!(policy.check_ip(compatible.into()).is_err());
        proptest::prop_assert_eq!(policy.check_ip(isatap.into()).is_err(), forbidden);
    }

    #[test]
    fn nothing_outside_global_unicast_and_nat64_is_public(bits: u128) {
        let address = Ipv6Addr::from(bits);
        if Policy::default().check_ip(address.into()).is_ok() {
            let first = address.segments()[0];
            proptest::prop_assert!(
                first >> 13 == 1 || address.to_ipv4_mapped().is_some() || NAT64.contains(&address)
            );
        }
    }

    /// The standard library knows a part of the table; where it does, both agree.
    #[test]
    fn the_table_contains_what_the_standard_library_knows(bits: u32) {
        let address = Ipv4Addr::from(bits);
        if address.is_private() || address.is_loopback() || address.is_link_local()
            || address.is_multicast() || address.is_documentation() || address.is_broadcast()
        {
            proptest::prop_assert!(Policy::default().check_ip(address.into()).is_err());
        }
    }
}
