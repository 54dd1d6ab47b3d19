//! The resolver against a name server that follows a script.

use std::sync::Mutex;

use hickory_resolver::{
    config::NameServerConfig,
    proto::{
        op::{Message, ResponseCode},
        rr::{RData, Record, RecordType},
    },
};
use tokio::net::UdpSocket;

use super::*;

/// A name server that answers every query for IPv4 with these addresses.
struct Server {
    dns: Dns,
    asked: Arc<Mutex<Vec<String>>>,
}

enum Script {
    Addresses(&'static [&'static str]),
    Code(ResponseCode),
    Silence,
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
async fn server(script: Script) -> Server {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        loop {
            let (length, client) = socket.recv_from(&mut packet).await.unwrap();
            let query = Message::from_vec(&packet[..length]).unwrap();
            log.lock().unwrap().push(query.queries[0].name().to_string());
            if let Some(answer) = answer(query, &script) {
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        }
    });
    let mut name_server = NameServerConfig::udp(address.ip());
    name_server.connections[0].port = address.port();
    let domain = Name::from_ascii("cluster.local.").unwrap();
    let config = ResolverConfig::from_parts(Some(domain.clone()), vec![domain], vec![name_server]);
    let direct = Some(direct_resolver(config, ResolverOpts::default()).unwrap());
    Server { dns: Dns { direct, ..Dns::system() }, asked }
}

fn answer(query: Message, script: &Script) -> Option<Message> {
    let question = query.queries[0].clone();
    let mut answer = query.into_response();
    match script {
        Script::Silence => return None,
        Script::Code(code) => answer.metadata.response_code = *code,
        Script::Addresses(addresses) => {
            for address in *addresses {
                let data = match address.parse().unwrap() {
                    IpAddr::V4(address) => RData::A(address.into()),
                    IpAddr::V6(address) => RData::AAAA(address.into()),
                };
                if data.record_type() == question.query_type() {
                    answer.add_answer(Record::from_rdata(question.name().clone(), 60, data));
                }
            }
        }
    }
    debug_assert!(matches!(question.query_type(), RecordType::A | RecordType::AAAA));
    Some(answer)
}

#[tokio::test]
async fn every_address_of_both_families_is_told() {
    let server = server(Script::Addresses(&["10.0.0.1", "2606:4700::1111", "8.8.8.8"])).await;
    let mut found = server.dns.resolve("a.example").await.unwrap();
    found.sort_unstable();
    let expected: Vec<IpAddr> =
        ["8.8.8.8", "10.0.0.1", "2606:4700::1111"].map(|ip| ip.parse().unwrap()).to_vec();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_name_is_asked_as_it_is_and_kept() {
    let server = server(Script::Addresses(&["8.8.8.8"])).await;
    for _ in 0..3 {
        server.dns.resolve("a.example").await.unwrap();
    }
    // Once for each family, the second of which has no answer to keep.
    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().all(|name| name == "a.example."), "{asked:?}");
    assert!((2..=4).contains(&asked.len()), "{asked:?}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_not_searched_for_elsewhere() {
    let server = server(Script::Code(ResponseCode::NXDomain)).await;
    let error = server.dns.resolve("a.example").await.unwrap_err();
    assert_eq!(error, ResolveError::NotFound { host: "a.example".to_owned() });
    assert!(server.asked.lock().unwrap().iter().all(|name| name == "a.example."));
}

#[tokio::test]
async fn a_name_server_that_fails_is_an_error() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let server = server(Script::Code(code)).await;
        assert!(server.dns.resolve("a.example").await.is_err(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_is_silent_is_given_up() {
    let server = server(Script::Silence).await;
    let started = tokio::time::Instant::now();
    assert!(server.dns.resolve("a.example").await.is_err());
    assert!(started.elapsed() <= LOOKUP_MAX + Duration::from_millis(10));
}

#[tokio::test]
async fn the_system_is_asked_for_names_without_a_dot() {
    let server = server(Script::Addresses(&["8.8.8.8"])).await;
    let found = server.dns.resolve("localhost").await.unwrap();
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    assert!(server.asked.lock().unwrap().is_empty());
}
