//! What is forwarded, and how.

use pushpull_testkit::Receiver;
use serde_json::json;

use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_forwarded_in_order_to_the_byte_and_signed() {
    let (site, receiver) = (Site::start(), Receiver::ok().await);
    let listening = site.listen(&receiver, &["--exit-after", "5"]);
    let json = [r#"{ "a" : 1.50,  "b":"\u00e9" }"#, r#"{"rawPayload":"x"}"#];
    for payload in json {
        site.send("invoice.paid", payload);
    }
    let raw = ["plain text, ünïcode\n", r#" {"a":1} "#, r#"{"rawPayload":"x"}"#];
    for text in raw {
        let as_text = json!({"rawPayload": text, "headers": {"content-type": "text/plain; charset=utf-8"}});
        site.post(
            "/app/acme/msg",
            &json!({"eventType": "note", "payload": {}, "transformationsParams": as_text}),
        );
    }
    let (code, out, said) = listening.end();
    assert_eq!(code, Some(0), "{said:#?}");

    let received = receiver.received();
    let bodies: Vec<&str> = received.iter().map(|one| std::str::from_utf8(&one.body).unwrap()).collect();
    assert_eq!(bodies, [&json[..], &raw[..]].concat());
    let secret = site.secret("listen-listen");
    for (n, one) in received.iter().enumerate() {
        assert!(one.is_signed_with(&secret), "{one:?}");
        assert_eq!((one.path.as_str(), one.header("pushpull-seq")), ("/hooks", (n + 1).to_string().as_str()));
        assert_eq!(one.header("pushpull-position"), (n + 1).to_string());
        let content_type = if n < json.len() { "application/json" } else { "text/plain; charset=utf-8" };
        assert_eq!(one.header("content-type"), content_type);
    }
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 10, "{out}");
    assert_eq!(lines[0], format!("--> invoice.paid {} 1", received[0].header("webhook-id")));
    assert!(lines[1].starts_with("<-- [200] ") && lines[1].ends_with(&receiver.url("/hooks")), "{out}");
    assert!(said[0].starts_with("made    pull endpoint listen-listen in acme"), "{said:#?}");
    assert_eq!(
        said[1],
        format!("ready   acme/listen-listen, as consumer listen, to {}", receiver.url("/hooks"))
    );
    assert_eq!(said[2..], ["end     5 forwarded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_between_two_runs_comes_in_the_next_and_nothing_comes_twice() {
    let (site, receiver) = (Site::start(), Receiver::ok().await);
    let listening = site.listen(&receiver, &[]);
    let mut sent = site.send_many(3);
    receiver.wait_for(3).await;
    let (_, said) = listening.interrupt();
    assert_eq!(said.last().unwrap(), "end     3 forwarded");
    sent.extend(site.send_many(3));
    let listening = site.listen(&receiver, &[]);
    sent.extend(site.send_many(1));
    receiver.wait_for(7).await;
    let (_, said) = listening.interrupt();
    assert!(said[0].starts_with("ready "), "made once: {said:#?}");
    let ids: Vec<String> =
        receiver.received().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert_eq!(ids, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_pushed_is_read_beside_and_signed_as_it_signs() {
    let (site, receiver) = (Site::start(), Receiver::ok().await);
    let endpoint = json!({"uid": "live", "url": "https://receiver.invalid/", "eventTypes": ["a"]});
    site.post("/app/acme/endpoint", &endpoint);
    let first = site.send("a", "{}");
    site.send("b", "{}");
    // A new reader begins at the head of what others are sent, unless it says where.
    let listening = site.listen(&receiver, &["--endpoint", "live", "--exit-after", "1"]);
    let second = site.send("a", r#"{"n":2}"#);
    assert_eq!(listening.end().0, Some(0));
    let all = site.listen(
        &receiver,
        &["--endpoint", "live", "--consumer", "all", "--from", "earliest", "--exit-after", "2"],
    );
    assert_eq!(all.end().0, Some(0));
    let seq = site
        .listen(&receiver, &["--endpoint", "live", "--consumer", "seq", "--from", "2", "--exit-after", "1"]);
    assert_eq!(seq.end().0, Some(0));
    let received = receiver.received();
    let ids: Vec<&str> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids, [&second, &first, &second, &second]);
    let secret = site.secret("live");
    assert!(received.iter().all(|one| one.is_signed_with(&secret)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_event_types_asked_for_come() {
    let (site, receiver) = (Site::start(), Receiver::ok().await);
    let listening = site.listen(&receiver, &["--events", "a,b", "--exit-after", "2"]);
    let sent = ["c", "b", "c", "a"].map(|event_type| site.send(event_type, "{}"));
    let (_, out, _) = listening.end();
    let told: Vec<&str> = out.lines().filter(|line| line.starts_with("-->")).collect();
    assert_eq!(told, [format!("--> b {} 1", sent[1]), format!("--> a {} 2", sent[3])]);
    let listening = site.listen(&receiver, &["--exit-after", "1"]);
    site.send("c", "{}");
    let (_, _, said) = listening.end();
    assert_eq!(said[0], "note    listen-listen gets all event types from now on");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_printed_when_asked_for() {
    let receiver =
        Receiver::start(|received| pushpull_testkit::Reply::status(if received.n == 0 { 500 } else { 204 }))
            .await;
    let site = Site::start();
    let listening = site.listen(&receiver, &["--json", "--exit-after", "1"]);
    let id = site.send("invoice.paid", "{}");
    let (_, out, _) = listening.end();
    let shown = out.replace(&id, "MSG").replace(&receiver.url(""), "http://TARGET");
    let shown = shown.lines().map(|line| {
        let mut object: serde_json::Value = serde_json::from_str(line).unwrap();
        if object.get("ms").is_some_and(serde_json::Value::is_u64) {
            object["ms"] = json!(0);
        }
        object.to_string()
    });
    insta::assert_snapshot!("json", shown.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_secret_is_printed_for_scripts_and_stays() {
    let site = Site::start();
    let print = || {
        let output = site.command(&["listen", "9", "--app", "acme", "--print-secret"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let secret = print();
    assert_eq!(secret.trim_end(), site.secret("listen-listen"));
    assert_eq!(print(), secret);
}
