//! What may not be called is not called: not one packet.

use super::receiver::*;
use crate::{Plain, ResolveError, client::*};

fn url(host: &str, port: u16) -> Target {
    Target::parse(&format!("http://{host}:{port}/")).unwrap()
}

fn client_knowing(allow: &[&str], host: &str, answers: &[&[&str]]) -> Client {
    Client::new(Config { resolver: Names::of(host, answers), ..config(allow) }).unwrap()
}

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_dialled() {
    let canary = Receiver::saying(OK).await;
    let policy = Policy { plain_http: Plain::Allowed, ..Policy::default() };
    let client = Client::new(Config { policy, ..config(&[]) }).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "0",
        "localhost",
        "a.localhost",
    ] {
        let failure = post(&client, &url(host, canary.port())).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::BlockedAddress, "{host}");
        assert!(failure.detail.contains(" is a"), "{host}: {}", failure.detail);
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_not_dialled() {
    let canary = Receiver::saying(OK).await;
    let policy = Policy { plain_http: Plain::Allowed, ..Policy::default() };
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "::", "10.0.0.1", "169.254.169.254"] {
        let resolver = Names::of("a.example", &[&[address]]);
        let client = Client::new(Config { policy: policy.clone(), resolver, ..config(&[]) }).unwrap();
        let failure = post(&client, &url("a.example", canary.port())).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::BlockedAddress, "{address}");
        assert!(failure.detail.starts_with("a.example leads to"), "{}", failure.detail);
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn one_forbidden_address_refuses_the_whole_answer() {
    let canary = Receiver::saying(OK).await;
    // 127.0.0.1 plays the public address here.
    for answer in [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]] {
        let client = client_knowing(&["127.0.0.1/32"], "a.example", &[&answer]);
        let failure = post(&client, &url("a.example", canary.port())).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::BlockedAddress);
        assert!(failure.detail.contains("127.0.0.2 is a loopback address"), "{}", failure.detail);
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_name_that_turns_to_a_forbidden_address_is_refused_from_then_on() {
    let receiver =
        Receiver::saying_and_closing("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await;
    let client = client_knowing(&["127.0.0.1/32"], "a.example", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let target = url("a.example", receiver.port());
    assert_eq!(post(&client, &target).await.unwrap().status, 200);
    for _ in 0..3 {
        assert_eq!(class(post(&client, &target).await), ErrorClass::BlockedAddress);
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_stays_with_the_address_that_was_checked() {
    let receiver = Receiver::saying(OK).await;
    let client = client_knowing(&["127.0.0.1/32"], "a.example", &[&["127.0.0.1"], &["127.0.0.2"]]);
    for _ in 0..3 {
        post(&client, &url("a.example", receiver.port())).await.unwrap();
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn plain_http_goes_to_allowed_networks_only() {
    let client = client_knowing(&["127.0.0.0/8"], "a.example", &[&["8.8.8.8"]]);
    for host in ["a.example", "8.8.8.8"] {
        let failure = post(&client, &url(host, 80)).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::BlockedAddress, "{host}");
    }
    let receiver = Receiver::saying(OK).await;
    let mut never = config(&["127.0.0.0/8"]);
    never.policy.plain_http = Plain::Never;
    let failure = post(&Client::new(never).unwrap(), &receiver.target()).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::BlockedAddress);
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn localhost_is_called_without_asking_anyone_when_it_is_allowed() {
    let receiver = Receiver::saying(OK).await;
    for host in ["localhost", "a.localhost"] {
        assert_eq!(post(&client(), &url(host, receiver.port())).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_dead_address_is_passed_over_for_the_next() {
    let receiver = Receiver::saying(OK).await;
    // Nobody listens on 127.0.0.2.
    let client = client_knowing(&["127.0.0.0/8"], "a.example", &[&["127.0.0.2", "127.0.0.1"]]);
    let answer = post(&client, &url("a.example", receiver.port())).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.timings.dns.is_some());
}

#[tokio::test]
async fn a_port_without_a_listener_refuses() {
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let failure = post(&client(), &url("127.0.0.1", port)).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::ConnectRefused);
    assert!(failure.detail.starts_with(&format!("connect to 127.0.0.1:{port}: ")), "{}", failure.detail);
}

#[tokio::test]
async fn a_name_without_an_address_is_a_dns_failure() {
    assert_eq!(class(post(&client(), &url("a.example", 80)).await), ErrorClass::Dns);
    let client = client_knowing(&["127.0.0.0/8"], "a.example", &[&[]]);
    assert_eq!(class(post(&client, &url("a.example", 80)).await), ErrorClass::Dns);
}

/// A name server that is asked and never answers.
struct Silent;

impl Resolve for Silent {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
    ) -> futures_util::future::BoxFuture<'a, Result<Vec<std::net::IpAddr>, ResolveError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_without_end_is_given_up_at_the_connect_deadline() {
    let limits = Limits::default();
    let client = Client::new(Config { resolver: Arc::new(Silent), limits, ..config(&[]) }).unwrap();
    let failure = post(&client, &Target::parse("https://a.example/").unwrap()).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::ConnectTimeout);
    assert_eq!(failure.timings.total.as_secs(), limits.connect.as_secs());
    assert_eq!(failure.detail, "no connection within 5s: still looking up the name");
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_a_connection_end_at_their_own_deadline() {
    let limits = Limits { connect: Duration::from_mins(1), ..Limits::default() };
    let client = Client::new(Config { resolver: Arc::new(Silent), limits, ..config(&[]) }).unwrap();
    let target = Target::parse("https://a.example/").unwrap();
    let results = futures_util::future::join_all((0..40).map(|_| post(&client, &target))).await;
    for result in results {
        let failure = result.unwrap_err();
        assert_eq!(failure.class, ErrorClass::ConnectTimeout);
        assert_eq!(failure.timings.total.as_secs(), limits.total.as_secs());
    }
}
