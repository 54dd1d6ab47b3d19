//! The egress guard, in a network of its own where every address leads to a listener: no spelling of an address
//! inside, no name that leads there, no redirect, no proxy of the environment makes the server call it.

mod canary;
mod names;

use std::{collections::BTreeSet, net::IpAddr};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Client, Home, Server, eventually, json as body, network, say};

use canary::Canary;
use names::NameServer;

/// Gives every address to this machine, and names to the name server here.
const NETWORK: &str = "set -e
    ip link set lo up
    ip route add local 0.0.0.0/0 dev lo
    ip -6 route add local ::/0 dev lo
    mount --bind \"$0\" /etc/resolv.conf
    exec \"$@\"";
/// A public address, which may be called.
const PUBLIC: &str = "93.184.216.34";

/// Spellings of addresses that are refused when they are set. `P` stands for the canary's port.
const SPELLINGS: &[&str] = &[
    "http://127.0.0.1:P/",
    "http://127.0.0.1.:P/",
    "http://127.1:P/",
    "http://127.0.1:P/",
    "http://2130706433:P/",
    "http://0x7f000001:P/",
    "http://0x7f.0.0.1:P/",
    "http://0x7f.1:P/",
    "http://017700000001:P/",
    "http://0177.0.0.1:P/",
    "http://0177.0.0.01:P/",
    "http://0:P/",
    "http://0.0.0.0:P/",
    "http://0x0:P/",
    "http://127.255.255.254:P/",
    "http://%31%32%37.0.0.1:P/",
    "http://１２７.０.０.１:P/",
    "http://127。0。0。1:P/",
    "http://①②⑦.0.0.1:P/",
    "http:\\\\127.0.0.1:P\\",
    "http:127.0.0.1:P/",
    "http:///127.0.0.1:P/",
    "HTTP://127.0.0.1:P/",
    "http://127.0.0.1:P#@93.184.216.34/",
    "http://127.0.0.1:P?@93.184.216.34/",
    "http://127.0.0.1:P\\@93.184.216.34/",
    "http://93.184.216.34@127.0.0.1:P/",
    "http://93.184.216.34:P@127.0.0.1:P/",
    "http://user:word@93.184.216.34:P/",
    "http://@127.0.0.1:P/",
    "http://127.0.0.1\t:P/",
    " http://127.0.0.1:P/",
    "http://localhost:P/",
    "http://LocalHost:P/",
    "http://localhost.:P/",
    "http://a.localhost:P/",
    "http://ｌｏｃａｌｈｏｓｔ:P/",
    "http://[::1]:P/",
    "http://[::]:P/",
    "http://[0:0:0:0:0:0:0:1]:P/",
    "http://[::127.0.0.1]:P/",
    "http://[::ffff:127.0.0.1]:P/",
    "http://[::ffff:7f00:1]:P/",
    "http://[0:0:0:0:0:ffff:10.1.2.3]:P/",
    "http://[::ffff:0:10.1.2.3]:P/",
    "http://[64:ff9b::127.0.0.1]:P/",
    "http://[64:ff9b::a01:203]:P/",
    "http://[64:ff9b::a9fe:a9fe]:P/",
    "http://[64:ff9b:1::5db8:d822]:P/",
    "http://[2002:7f00:1::]:P/",
    "http://[2002:a01:203::1]:P/",
    "http://[2001:0:a01:203::1]:P/",
    "http://[fc00::1]:P/",
    "http://[fd00:ec2::254]:P/",
    "http://[fe80::1]:P/",
    "http://[fe80::1%25lo]:P/",
    "http://[fec0::1]:P/",
    "http://[ff02::1]:P/",
    "http://[100::1]:P/",
    "http://[2001:db8::1]:P/",
    "http://10.1.2.3:P/",
    "http://10.66051:P/",
    "http://0xa010203:P/",
    "http://012.1.2.3:P/",
    "http://172.16.0.1:P/",
    "http://172.31.255.255:P/",
    "http://192.168.7.7:P/",
    "http://192.168.1799:P/",
    "http://169.254.169.254:P/",
    "http://0xa9fea9fe:P/",
    "http://2852039166:P/",
    "http://0251.0376.0251.0376:P/",
    "http://[::ffff:a9fe:a9fe]:P/",
    "http://169.254.170.2:P/",
    "http://100.100.100.200:P/",
    "http://168.63.129.16:P/",
    "http://100.64.0.1:P/",
    "http://100.127.255.255:P/",
    "http://198.18.0.1:P/",
    "http://198.19.255.255:P/",
    "http://192.0.0.1:P/",
    "http://192.0.2.1:P/",
    "http://192.88.99.1:P/",
    "http://198.51.100.1:P/",
    "http://203.0.113.1:P/",
    "http://224.0.0.1:P/",
    "http://240.0.0.1:P/",
    "http://255.255.255.255:P/",
    "http://0.1.2.3:P/",
];

/// Names, and the class that a delivery to them ends in. Empty: it arrives.
const NAMES: &[(&str, &str)] = &[
    ("public.example", ""),
    ("private.example", "blocked_address"),
    ("loopback.example", "blocked_address"),
    ("loopback6.example", "blocked_address"),
    ("metadata.example", "blocked_address"),
    ("unspecified.example", "blocked_address"),
    ("mapped.example", "blocked_address"),
    ("nat64.example", "blocked_address"),
    ("sixtofour.example", "blocked_address"),
    ("mixed.example", "blocked_address"),
    ("mixed6.example", "blocked_address"),
    ("alias.example", "blocked_address"),
    ("fails.example", "dns"),
    ("nothing.example", "dns"),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_no_name_and_no_redirect_leads_inside() {
    if network::is_inside() {
        return inside().await;
    }
    let resolv_conf = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&resolv_conf, "nameserver 127.0.0.1\n").unwrap();
    let name = "canaries::no_spelling_no_name_and_no_redirect_leads_inside";
    network::run_inside(name, NETWORK, resolv_conf.path()).await;
}

async fn inside() {
    let canary = Canary::start().await;
    let names = NameServer::start().await;
    let proxy = format!("http://127.0.0.1:{}", canary.port);
    let home = Home::new().with("PUSHPULL_RETRY_SCHEDULE", "").with("PUSHPULL_HTTPS_ONLY", "false");
    let guarded = ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        .into_iter()
        .fold(home, |home, variable| home.with(variable, &*proxy))
        .with("PUSHPULL_EGRESS_ALLOW", "");
    let server = guarded.start().await;
    let mut client = server.client();
    client.app("app").await;

    let spellings = spellings_are_refused(&mut client, &canary).await;
    let called = names_are_judged(&mut client, &canary).await;
    redirects_are_not_followed(&mut client, &canary).await;
    let rebound = rebinding_is_of_no_use(&mut client, &canary).await;
    let touched = canary.touched();
    assert_eq!(touched, BTreeSet::from([PUBLIC.parse().unwrap()]), "only the public address is called");
    server.stop().await;

    let hit = the_canaries_sing(&canary).await;
    say(format!(
        "{spellings} spellings refused, {called} names called, {rebound} of 20 rebound deliveries blocked, names asked \
         for {} times; without the guard {hit} addresses inside were hit",
        names.asked()
    ));
}

/// Creates, replaces, changes and upserts with every spelling.
async fn spellings_are_refused(client: &mut Client, canary: &Canary) -> usize {
    let public = canary.url(PUBLIC, "/");
    let endpoint = json!({"url": public, "uid": "good"});
    let made = client.post("/api/v1/app/app/endpoint", &endpoint).await.expect(201).text("id");
    for spelling in SPELLINGS {
        let url = spelling.replace(":P", &format!(":{}", canary.port));
        let new = json!({"url": url});
        for (method, path) in [
            (Method::POST, "/api/v1/app/app/endpoint".to_owned()),
            (Method::PUT, format!("/api/v1/app/app/endpoint/{made}")),
            (Method::PATCH, format!("/api/v1/app/app/endpoint/{made}")),
            (Method::PUT, "/api/v1/app/app/endpoint/new-one".to_owned()),
        ] {
            let answer = client.call(method.clone(), &path, body(&new)).await;
            let place = answer.json()["detail"][0]["loc"].clone();
            assert_eq!((answer.status, &place), (422, &json!(["body", "url"])), "{method} {url}: {place}");
        }
    }
    assert_eq!(client.list("/api/v1/app/app/endpoint").await.len(), 1);
    let answer = attempt(client, &made).await;
    assert_eq!(class(&answer), "", "the control arrives: {answer}");
    SPELLINGS.len()
}

/// Sends an example and a message to every name.
async fn names_are_judged(client: &mut Client, canary: &Canary) -> usize {
    for (name, expected) in NAMES {
        let endpoint = json!({"url": canary.url(name, "/")});
        let made = client.post("/api/v1/app/app/endpoint", &endpoint).await.expect(201).text("id");
        let answer = attempt(client, &made).await;
        assert_eq!(class(&answer), *expected, "{name}: {answer}");
        client.post("/api/v1/app/app/msg", &json!({"eventType": "a", "payload": {}})).await.expect(202);
        let path = format!("/api/v1/app/app/attempt/endpoint/{made}");
        let again = eventually("the message's attempt", async || {
            let attempts = client.list(&path).await;
            (attempts.len() > 1).then(|| attempts[0].clone())
        })
        .await;
        assert_eq!(class(&again), *expected, "{name}: {again}");
        client
            .call(Method::DELETE, &format!("/api/v1/app/app/endpoint/{made}"), Bytes::new())
            .await
            .expect(204);
    }
    NAMES.len()
}

async fn redirects_are_not_followed(client: &mut Client, canary: &Canary) {
    for status in [301, 302, 303, 307, 308] {
        let endpoint = json!({"url": canary.url(PUBLIC, &format!("/redirect/{status}"))});
        let made = client.post("/api/v1/app/app/endpoint", &endpoint).await.expect(201).text("id");
        let answer = attempt(client, &made).await;
        assert_eq!(
            (class(&answer), answer["responseStatusCode"].as_u64()),
            ("status", Some(status)),
            "{answer}"
        );
    }
}

/// A name that is public at one lookup and private at the next.
async fn rebinding_is_of_no_use(client: &mut Client, canary: &Canary) -> usize {
    let endpoint = json!({"url": canary.url("rebind.example", "/close")});
    let made = client.post("/api/v1/app/app/endpoint", &endpoint).await.expect(201).text("id");
    let mut blocked = 0;
    for _ in 0..20 {
        let answer = attempt(client, &made).await;
        match class(&answer) {
            "" => {}
            "blocked_address" => blocked += 1,
            _ => panic!("{answer}"),
        }
    }
    assert!((1..20).contains(&blocked), "{blocked} of 20 were blocked");
    blocked
}

/// The control: where everything is allowed, the listeners are called. How many inside were.
async fn the_canaries_sing(canary: &Canary) -> usize {
    let everywhere = Home::new().with("PUSHPULL_EGRESS_ALLOW", "0.0.0.0/0,::/0");
    let server: Server = everywhere.start().await;
    let mut client = server.client();
    client.app("app").await;
    let inside =
        ["127.0.0.1", "[::1]", "10.1.2.3", "169.254.169.254", "[fd00:ec2::254]", "[64:ff9b::a01:203]"];
    for host in inside.iter().copied().chain(["private.example"]) {
        let endpoint = json!({"url": canary.url(host, "/")});
        let made = client.post("/api/v1/app/app/endpoint", &endpoint).await.expect(201).text("id");
        let answer = attempt(&mut client, &made).await;
        assert_eq!(class(&answer), "", "{host}: {answer}");
    }
    server.stop().await;
    let touched = canary.touched();
    for host in inside {
        let address: IpAddr = host.trim_matches(['[', ']']).parse().unwrap();
        assert!(touched.contains(&address), "{address} cannot be seen from here: {touched:?}");
    }
    inside.len()
}

/// Sends an endpoint its example; the attempt that it led to.
async fn attempt(client: &mut Client, endpoint: &str) -> Value {
    let example = format!("/api/v1/app/app/endpoint/{endpoint}/send-example");
    let message = client.post(&example, &json!({"eventType": "svix.ping"})).await.expect(202).text("id");
    let path = format!("/api/v1/app/app/attempt/msg/{message}");
    eventually("an attempt", async || client.list(&path).await.into_iter().next()).await
}

fn class(attempt: &Value) -> &str {
    attempt["errorClass"].as_str().unwrap_or_default()
}
