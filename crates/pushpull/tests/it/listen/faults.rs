//! Programs that fail, kills, restarts, and servers that forget: nothing is lost, and all of it is said.

use std::{collections::HashSet, sync::mpsc::sync_channel};

use pushpull_testkit::{Receiver, Reply};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    site::{PATIENCE, Running, Site, iterators_sent, scripted, troubles},
    support::Home,
};

fn ids(receiver: &Receiver) -> Vec<String> {
    receiver.received().iter().map(|one| one.header("webhook-id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_gets_the_message_again_before_the_next() {
    let receiver = Receiver::start(|received| Reply::status(if received.n < 2 { 503 } else { 200 })).await;
    let site = Site::start();
    let listening = site.listen(&receiver, &["--exit-after", "2"]);
    let sent = site.send_many(2);
    let (code, out, said) = listening.end();
    assert_eq!(code, Some(0), "{said:#?}");
    assert_eq!(ids(&receiver), [&sent[0], &sent[0], &sent[0], &sent[1]].map(Clone::clone));
    assert_eq!(out.matches("<-- [503]").count(), 2);
    let target = receiver.url("/hooks");
    assert_eq!(
        said[2..],
        [
            "retry   seq 1: answered 503; again in 500 ms".to_owned(),
            "retry   seq 1: answered 503; again in 1 s".to_owned(),
            format!("resume  {target} took seq 1"),
            "end     2 forwarded".to_owned(),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_yet_is_waited_for_and_stopping_loses_nothing() {
    let site = Site::start();
    // An address where nobody listens any more.
    let address = Receiver::ok().await.addr;
    let target = format!("http://{address}/hooks");
    let listening = Running::start(site.command(&["listen", &target, "--app", "acme"]));
    listening.wait_for("ready ");
    let sent = site.send_many(1);
    listening.wait_for("retry   seq 1: connect to");
    let (out, _) = listening.interrupt();
    assert!(out.contains("<-- [---] "), "{out}");

    let receiver = Receiver::start_at(address, |_| Reply::status(200)).await;
    assert_eq!(site.listen(&receiver, &["--exit-after", "1"]).end().0, Some(0));
    assert_eq!(ids(&receiver), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_passed_over_when_that_is_asked_for() {
    let receiver = Receiver::start(|received| Reply::status(if received.n == 0 { 500 } else { 200 })).await;
    let site = Site::start();
    let listening = site.listen(&receiver, &["--skip-failing", "--exit-after", "2"]);
    let sent = site.send_many(2);
    let (code, _, said) = listening.end();
    assert_eq!(code, Some(0));
    assert_eq!(said[2..], ["skip    seq 1: answered 500", "end     1 forwarded, 1 skipped"]);
    assert_eq!(ids(&receiver), sent);
    let third = site.send_many(1);
    assert_eq!(site.listen(&receiver, &["--exit-after", "1"]).end().0, Some(0));
    assert_eq!(ids(&receiver)[2..], third);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_repeats_at_most_the_message_in_flight_and_loses_none() {
    const MESSAGES: usize = 60;
    const KILLS: usize = 3;
    let (site, receiver) = (Site::start(), Receiver::ok().await);
    site.prepare();
    let sent = site.send_many(MESSAGES);
    for kill in 1..=KILLS {
        let listening = site.listen(&receiver, &[]);
        let so_far = receiver.received().len();
        receiver.wait_for(so_far + 9 + kill).await;
        listening.signal(Signal::KILL);
        assert_eq!(listening.end().0, None);
    }
    let listening = site.listen(&receiver, &[]);
    let last = sent.last().unwrap().clone();
    receiver.wait_until(|received| received.iter().any(|one| one.header("webhook-id") == last)).await;
    listening.interrupt();
    let arrived = ids(&receiver);
    let mut first = HashSet::new();
    let firsts: Vec<&String> = arrived.iter().filter(|id| first.insert(*id)).collect();
    assert_eq!(firsts, sent.iter().collect::<Vec<_>>());
    assert!(arrived.len() <= MESSAGES + KILLS, "{} repeats of {KILLS} kills", arrived.len() - MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_is_told_and_survived() {
    let (mut site, receiver) = (Site::start(), Receiver::ok().await);
    let listening = site.listen(&receiver, &[]);
    let mut sent = site.send_many(2);
    receiver.wait_for(2).await;
    site.stop();
    listening.wait_for("drop ");
    site.start_again();
    sent.extend(site.send_many(2));
    receiver.wait_for(4).await;
    listening.wait_for("resume  the server answers again");
    listening.interrupt();
    assert_eq!(ids(&receiver), sent);
}

/// Tells it to stop while the first message is in flight, which is then answered with this status.
async fn stopped_in_flight(status: u16) -> (Site, Receiver, Vec<String>) {
    let ((arrived, arrivals), (go, gate)) = (sync_channel(1), sync_channel(1));
    let gate = std::sync::Mutex::new(gate);
    let receiver = Receiver::start(move |received| {
        if received.n > 0 {
            return Reply::status(200);
        }
        arrived.send(()).unwrap();
        gate.lock().unwrap().recv().unwrap();
        Reply::status(status)
    })
    .await;
    let site = Site::start();
    let listening = site.listen(&receiver, &[]);
    site.send_many(2);
    arrivals.recv_timeout(PATIENCE).unwrap();
    listening.signal(Signal::TERM);
    go.send(()).unwrap();
    let (code, _, said) = listening.end();
    assert_eq!(code, Some(0), "{said:#?}");
    (site, receiver, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_waited_for_when_it_is_told_to_stop() {
    let (site, receiver, said) = stopped_in_flight(200).await;
    assert_eq!(said.last().unwrap(), "end     1 forwarded");
    assert_eq!(site.listen(&receiver, &["--exit-after", "1"]).end().0, Some(0));
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_then_is_left_for_the_next_run() {
    let (site, receiver, said) = stopped_in_flight(500).await;
    assert_eq!(said.last().unwrap(), "end     0 forwarded");
    assert_eq!(site.listen(&receiver, &["--exit-after", "2"]).end().0, Some(0));
    let ids = ids(&receiver);
    assert_eq!((ids.len(), &ids[0]), (3, &ids[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_rotated_signs_from_then_on() {
    let trusted = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let secret = std::sync::Arc::clone(&trusted);
    let receiver = Receiver::start(move |received| {
        Reply::status(if received.is_signed_with(&secret.lock().unwrap()) { 200 } else { 401 })
    })
    .await;
    let site = Site::start();
    let listening = site.listen(&receiver, &["--exit-after", "2"]);
    site.post("/app/acme/endpoint/listen-listen/secret/rotate", &json!({"gracePeriodSeconds": 0}));
    *trusted.lock().unwrap() = site.secret("listen-listen");
    site.send_many(2);
    let (code, out, said) = listening.end();
    assert_eq!(code, Some(0));
    assert_eq!((out.matches("<-- [401]").count(), out.matches("<-- [200]").count()), (1, 2));
    assert_eq!(said[2], "note    the endpoint's secret was rotated: the new one signs from now on");
}

fn listen_to(server: &Receiver, target: &Receiver, args: &[&str]) -> Running {
    let home = Home::new();
    let key = home.path("key");
    std::fs::write(&key, "a key\n").unwrap();
    let (server, target) = (server.url(""), target.url("/"));
    let fixed = ["listen", &target, "--app", "acme", "--endpoint", "live", "--server", &server];
    let mut command = home.command(&[&fixed, args].concat());
    command.arg("--key-file").arg(&key);
    let listening = Running::start(command);
    listening.wait_for("ready ");
    listening
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_the_server_forgot_and_what_it_removed_are_told() {
    let (server, target) = (scripted(troubles()).await, Receiver::ok().await);
    let listening = listen_to(&server, &target, &["--exit-after", "2", "--json"]);
    let (code, out, said) = listening.end();
    assert_eq!(code, Some(0));
    assert!(out.contains(r#"{"event":"gap","from":2,"until":6}"#), "{out}");
    assert_eq!(
        said[1..],
        [
            "drop    the server answers 503: said so; again in 250 ms",
            "note    the server does not know this place any more: it goes on from the one it keeps",
            "resume  the server answers again",
            "gap     seq 2 to 6 were removed by retention before they were read",
            "end     2 forwarded",
        ]
    );
    assert_eq!(iterators_sent(&server), ["after-1", "after-1", "after-7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_not_kept_is_passed_over_and_told() {
    let expired = r#"{"data":[{"id":"msg_1","eventType":"a","seq":1,"position":1,"payload":{"expired":true},
        "payloadExpired":true}],"iterator":"1"}"#;
    let (server, target) = (scripted(vec![(200, expired.to_owned())]).await, Receiver::ok().await);
    let (code, _, said) = listen_to(&server, &target, &["--exit-after", "1"]).end();
    assert_eq!(code, Some(0));
    assert_eq!(
        said[1..],
        ["skip    seq 1: its payload is not kept any more", "end     0 forwarded, 1 skipped"]
    );
    assert!(target.received().is_empty());
}
