//! `pushpull audit`, beside a running server.

use serde_json::{Value, json};

use crate::support::{Home, Served, call, text};

/// A server with an endpoint that is read, and so many messages.
fn serve(home: &Home, messages: usize) -> (Served, Vec<String>) {
    let served = home.serve();
    post(home, &served, "/api/v1/app", &json!({ "name": "a", "uid": "acme" }));
    post(home, &served, "/api/v1/app/acme/endpoint", &json!({ "uid": "billing", "mode": "pull" }));
    let message = json!({ "eventType": "a", "payload": {} });
    let sent = (0..messages)
        .map(|_| post(home, &served, "/api/v1/app/acme/msg", &message)["id"].as_str().unwrap().to_owned())
        .collect();
    (served, sent)
}

fn key(home: &Home) -> String {
    std::fs::read_to_string(home.data().join("admin.key")).unwrap().trim().to_owned()
}

#[track_caller]
fn post(home: &Home, served: &Served, path: &str, body: &Value) -> Value {
    let answer = call(served.address(), "POST", path, Some(&key(home)), &body.to_string());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 20"), "{answer}");
    serde_json::from_str(body).unwrap_or(Value::Null)
}

#[test]
fn an_audit_says_what_became_of_everything_and_fails_if_something_is_not_to_come() {
    let home = Home::new();
    let (served, sent) = serve(&home, 3);
    let audit = |more: &[&'static str]| {
        let mut args = vec!["audit", "--server", &served.url, "--endpoint", "billing"];
        args.extend(more);
        let output = home.run(&args);
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, err) = audit(&["--app", "acme"]);
    assert_eq!(
        said,
        "billing of acme, seq 1 to 3:\n  accepted  3\n  owed      3  still to come\n\
         complete: each one was delivered, was read, or is still to come\n"
    );
    assert_eq!((code, &*err), (0, ""));

    let reader = "/api/v1/app/acme/polling-endpoint/billing/consumer/reader";
    served.get(reader, Some(&key(&home)));
    post(&home, &served, &format!("{reader}/commit"), &json!({ "offset": 2 }));
    let content = format!("/api/v1/app/acme/msg/{}/content", sent[2]);
    call(served.address(), "DELETE", &content, Some(&key(&home)), "");
    let (code, said, _) = audit(&[]);
    assert_eq!(
        said,
        "billing of acme, seq 1 to 3:\n  accepted  3\n  read      2  committed by a reader\n  \
         canceled  1  0 by age, 1 erased, 0 with its endpoint\nNOT complete\n"
    );
    assert_eq!(code, 1);
    let (code, said, _) = audit(&["--since", "1h", "--json"]);
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &shown["read"], &shown["canceled"]["expunged"]), (1, &json!(2), &json!(1)));
    assert_eq!((&shown["first"], &shown["last"], &shown["complete"]), (&json!(1), &json!(3), &json!(false)));
    let (code, said, _) = audit(&["--since", "4"]);
    assert_eq!(said.lines().next().unwrap(), "billing of acme: nothing was accepted");
    assert_eq!(code, 0);
}

#[test]
fn an_audit_that_cannot_be_made_says_why() {
    let home = Home::new();
    let (served, _) = serve(&home, 0);
    let url = served.url.clone();
    let with = |more: &[&'static str], code| {
        let mut args = vec!["audit", "--server", &url];
        args.extend(more);
        home.fails(&args, code)
    };
    assert!(with(&["--endpoint", "nobody"], 1).contains("there is no endpoint nobody"));
    assert!(with(&["--endpoint", "billing", "--since", "yesterday"], 2).contains("--since"));
    with(&["--app", "acme"], 2);
    served.stop();
    with(&["--endpoint", "billing"], 7);
}
