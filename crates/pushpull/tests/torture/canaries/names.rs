//! A name server that follows a script (RFC 1035).

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::UdpSocket, task::JoinHandle};

use super::PUBLIC;

/// What a name leads to.
enum Script {
    Addresses(&'static [&'static str]),
    /// Public at every other lookup, inside at the others.
    Rebind,
    /// SERVFAIL.
    Fails,
    /// NXDOMAIN.
    Nothing,
}

fn script(name: &str) -> Script {
    Script::Addresses(match name {
        "public.example" => &[PUBLIC],
        "private.example" | "alias.example" => &["10.1.2.3"],
        "loopback.example" => &["127.0.0.1"],
        "loopback6.example" => &["::1"],
        "metadata.example" => &["169.254.169.254"],
        "unspecified.example" => &["0.0.0.0"],
        "mapped.example" => &["::ffff:10.1.2.3"],
        "nat64.example" => &["64:ff9b::a01:203"],
        "sixtofour.example" => &["2002:a01:203::1"],
        "mixed.example" => &[PUBLIC, "10.1.2.3"],
        "mixed6.example" => &[PUBLIC, "fd00::1"],
        "rebind.example" => return Script::Rebind,
        "fails.example" => return Script::Fails,
        _ => return Script::Nothing,
    })
}

/// Listens where name servers do. Ends when it is dropped.
pub(super) struct NameServer {
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NameServer {
    #[expect(clippy::disallowed_methods, reason = "aborted when this is dropped")]
    pub(super) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut packet = [0; 1_500];
            let mut rebound = 0;
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                count.fetch_add(1, Ordering::SeqCst);
                let Some(reply) = reply(&packet[..length], &mut rebound) else { continue };
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        Self { asked, task }
    }

    /// How many questions there were.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

fn reply(query: &[u8], rebound: &mut usize) -> Option<Vec<u8>> {
    let (name, kind, question) = question(query)?;
    let is_alias = name == "alias.example";
    let (code, addresses) = match script(&name) {
        Script::Addresses(addresses) => (0, addresses.to_vec()),
        Script::Fails => (SERVFAIL, Vec::new()),
        Script::Nothing => (NXDOMAIN, Vec::new()),
        Script::Rebind => {
            *rebound += usize::from(kind == A);
            (0, vec![if *rebound % 2 == 1 { PUBLIC } else { "10.1.2.3" }])
        }
    };
    let mut answers = Vec::new();
    if is_alias {
        // private.example, spelled out.
        answers.push(record(CNAME, b"\x07private\x07example\0"));
    }
    for address in addresses {
        match (address.parse().unwrap(), kind) {
            (IpAddr::V4(address), A) => answers.push(record(A, &address.octets())),
            (IpAddr::V6(address), AAAA) => answers.push(record(AAAA, &address.octets())),
            _ => {}
        }
    }
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0]);
    reply.extend(question);
    if is_alias && answers.len() == 2 {
        // The address belongs to what the alias stands for: the name in the record before.
        let target = 12 + question.len() as u16 + 12;
        answers[1][..2].copy_from_slice(&(0xc000 | target).to_be_bytes());
    }
    reply.extend(answers.concat());
    Some(reply)
}

/// An answer for the name of the question, not to be kept.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, 12];
    record.extend(kind.to_be_bytes());
    record.extend([0, 1, 0, 0, 0, 0]);
    record.extend((data.len() as u16).to_be_bytes());
    record.extend(data);
    record
}

/// The only question of a query: name, kind, and its bytes.
fn question(query: &[u8]) -> Option<(String, u16, &[u8])> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    Some((labels.join("."), kind, query.get(12..at + 5)?))
}
