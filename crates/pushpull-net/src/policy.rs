//! The address guard: which addresses may be called.
//!
//! The table follows the IANA special-purpose registries (RFC 6890 and its updates) and the addresses at
//! which clouds answer with credentials. What is not known to be public is forbidden: for IPv6 that is
//! everything outside `2000::/3`. An IPv4 address that travels inside an IPv6 one is judged as itself.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

#[cfg(test)]
mod tests;

/// Where requests may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Networks that may be called although the table forbids them. An IPv4 network also stands for its
    /// IPv4-mapped IPv6 addresses.
    pub allow: Vec<IpNet>,
    /// Whether `http://` may be used.
    pub plain_http: Plain,
}

/// Whether requests may go out without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plain {
    /// Never.
    Never,
    /// Only to addresses inside [`Policy::allow`]: an own network, where the operator vouches for the wire.
    #[default]
    AllowListOnly,
    /// To any address that may be called.
    Allowed,
}

impl Policy {
    /// Whether an address is on the operator's allow list, itself or as the IPv4 address it maps.
    pub fn allows(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        self.allow.iter().any(|net| net.contains(&address) || net.contains(&canonical))
    }

    /// Whether this address may be called.
    ///
    /// # Errors
    /// The rule that forbids it, for people to read.
    pub fn check_ip(&self, address: IpAddr) -> Result<(), Forbidden> {
        match rule_for(address) {
            Some(rule) if !self.allows(address) => Err(Forbidden { address, rule }),
            _ => Ok(()),
        }
    }
}

/// An address that may not be called, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {rule}")]
pub struct Forbidden {
    /// The address as it was given or resolved, not unwrapped.
    pub address: IpAddr,
    /// The rule that forbids it.
    pub rule: Rule,
}

/// Why an address is not a public one. An address with an IPv4 address inside has the rule of the latter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// 127.0.0.0/8, `::1`.
    Loopback,
    /// RFC 1918: 10/8, 172.16/12, 192.168/16.
    Private,
    /// 169.254/16, `fe80::/10`.
    LinkLocal,
    /// Where clouds answer with credentials: 169.254.169.254, `fd00:ec2::254` and their like.
    Metadata,
    /// RFC 6598, shared by a carrier's customers: 100.64/10.
    Cgnat,
    /// RFC 2544: 198.18/15, `2001:2::/48`.
    Benchmark,
    /// Kept for a use that is not the public internet.
    Reserved,
    /// 224/4, `ff00::/8`.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// 0.0.0.0/8, `::`. On Linux a connect to them reaches the machine itself.
    Unspecified,
    /// 192.0.2/24, 198.51.100/24, 203.0.113/24, `2001:db8::/32`, `3fff::/20`.
    Documentation,
    /// `::a.b.c.d` and `::ffff:0:a.b.c.d`: obsolete, and no public host has such an address.
    Ipv4InIpv6,
    /// `64:ff9b:1::/48`, the local NAT64 prefix (RFC 8215): leads where the network's owner decides.
    Nat64Local,
    /// `2002::/16` and its relays 192.88.99/24: leads to an IPv4 address through a stranger.
    SixToFour,
    /// `2001::/32`: leads to an IPv4 address through a stranger.
    Teredo,
    /// `fc00::/7`.
    UniqueLocal,
    /// `fec0::/10`, obsolete.
    SiteLocal,
    /// `100::/64` and `100:0:0:1::/64`.
    Discard,
}

impl Rule {
    /// The rule in words that complete "this address is …".
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud metadata address",
            Self::Cgnat => "a shared carrier address",
            Self::Benchmark => "a benchmarking address",
            Self::Reserved => "a reserved address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Unspecified => "an unspecified address",
            Self::Documentation => "a documentation address",
            Self::Ipv4InIpv6 => "an obsolete form of an IPv4 address",
            Self::Nat64Local => "a local NAT64 address",
            Self::SixToFour => "a 6to4 address",
            Self::Teredo => "a Teredo address",
            Self::UniqueLocal => "a unique local address",
            Self::SiteLocal => "a site-local address",
            Self::Discard => "a discard address",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(s: [u16; 8], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), length)
}

/// The first line that contains an address decides, so single addresses stand above their networks.
const V4: &[(Ipv4Net, Rule)] = &[
    // AWS, GCP, Azure and most others; AWS tasks and pods; Alibaba; Oracle; Azure's platform service.
    (v4(169, 254, 169, 254, 32), Rule::Metadata),
    (v4(169, 254, 170, 2, 32), Rule::Metadata),
    (v4(169, 254, 170, 23, 32), Rule::Metadata),
    (v4(100, 100, 100, 200, 32), Rule::Metadata),
    (v4(192, 0, 0, 192, 32), Rule::Metadata),
    (v4(168, 63, 129, 16, 32), Rule::Metadata),
    (v4(0, 0, 0, 0, 8), Rule::Unspecified),
    (v4(10, 0, 0, 0, 8), Rule::Private),
    (v4(100, 64, 0, 0, 10), Rule::Cgnat),
    (v4(127, 0, 0, 0, 8), Rule::Loopback),
    (v4(169, 254, 0, 0, 16), Rule::LinkLocal),
    (v4(172, 16, 0, 0, 12), Rule::Private),
    (v4(192, 0, 0, 0, 24), Rule::Reserved),
    (v4(192, 0, 2, 0, 24), Rule::Documentation),
    (v4(192, 88, 99, 0, 24), Rule::SixToFour),
    (v4(192, 168, 0, 0, 16), Rule::Private),
    (v4(198, 18, 0, 0, 15), Rule::Benchmark),
    (v4(198, 51, 100, 0, 24), Rule::Documentation),
    (v4(203, 0, 113, 0, 24), Rule::Documentation),
    (v4(224, 0, 0, 0, 4), Rule::Multicast),
    (v4(255, 255, 255, 255, 32), Rule::Broadcast),
    (v4(240, 0, 0, 0, 4), Rule::Reserved),
];

/// As [`V4`]; forms that carry an IPv4 address are unwrapped before.
const V6: &[(Ipv6Net, Rule)] = &[
    // AWS and GCP.
    (v6([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254], 128), Rule::Metadata),
    (v6([0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254], 128), Rule::Metadata),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), Rule::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Rule::Loopback),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), Rule::Ipv4InIpv6),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), Rule::Ipv4InIpv6),
    (v6([0x0064, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Rule::Nat64Local),
    (v6([0x0100, 0, 0, 0, 0, 0, 0, 0], 63), Rule::Discard),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), Rule::Teredo),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), Rule::Benchmark),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Rule::Reserved),
    (v6([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32), Rule::Documentation),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), Rule::SixToFour),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Rule::Documentation),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Rule::UniqueLocal),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Rule::LinkLocal),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Rule::SiteLocal),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Rule::Multicast),
];

/// Global unicast: all that IANA gives out to the public so far.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The well-known NAT64 prefix (RFC 6052). In a network without IPv4 it is how public IPv4 hosts are
/// called, so it stands or falls with the address inside.
const NAT64: Ipv6Net = v6([0x0064, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

fn rule_for(address: IpAddr) -> Option<Rule> {
    match address {
        IpAddr::V4(address) => rule_for_v4(address),
        IpAddr::V6(address) => rule_for_v6(address),
    }
}

fn rule_for_v4(address: Ipv4Addr) -> Option<Rule> {
    V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, rule)| *rule)
}

fn rule_for_v6(address: Ipv6Addr) -> Option<Rule> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return rule_for_v4(mapped);
    }
    if NAT64.contains(&address) {
        return rule_for_v4(last_v4(address));
    }
    let by_table = V6.iter().find(|(net, _)| net.contains(&address)).map(|(_, rule)| *rule);
    // A forbidden address inside names the danger better than its wrapping does.
    let inside = embedded_v4(address).and_then(rule_for_v4);
    match by_table {
        Some(Rule::Ipv4InIpv6 | Rule::SixToFour | Rule::Teredo) => inside.or(by_table),
        Some(rule) => Some(rule),
        None if !PUBLIC_V6.contains(&address) => Some(Rule::Reserved),
        None => inside,
    }
}

/// The IPv4 address that a router or tunnel would take out of this one; `None` if it carries none.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        // 6to4 (RFC 3056), and ISATAP (RFC 5214 s. 6.1) in any prefix.
        [0x2002, high, low, ..] | [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => Some(join(high, low)),
        // Teredo (RFC 4380 s. 4) keeps the client's address inverted.
        [0x2001, 0, .., high, low] => Some(join(!high, !low)),
        [0, 0, 0, 0, 0 | 0xffff, 0, ..] => Some(last_v4(address)),
        _ => None,
    }
}

fn last_v4(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}
