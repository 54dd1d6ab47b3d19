//! `pushpull audit`, beside a running server.

use serde_json::{Value, json};

use crate::{site::Site, support::text};

/// A server with an endpoint that is read, and so many messages.
fn site(messages: usize) -> (Site, Vec<String>) {
    let site = Site::start();
    site.post("/app/acme/endpoint", &json!({ "uid": "billing", "mode": "pull" }));
    let sent = site.send_many(messages);
    (site, sent)
}

#[test]
fn an_audit_says_what_became_of_everything_and_fails_if_something_is_not_to_come() {
    let (site, sent) = site(3);
    let audit = |more: &[&str]| {
        let output = site.command(&["audit", "--endpoint", "billing"]).args(more).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, err) = audit(&["--app", "acme"]);
    assert_eq!(
        said,
        "billing of acme, seq 1 to 3:\n  accepted  3\n  owed      3  still to come\n\
         complete: each one was delivered, was read, or is still to come\n"
    );
    assert_eq!((code, &*err), (0, ""));

    let reader = "/app/acme/polling-endpoint/billing/consumer/reader";
    site.get(reader);
    site.post(&format!("{reader}/commit"), &json!({ "offset": 2 }));
    site.call("DELETE", &format!("/app/acme/msg/{}/content", sent[2]), "");
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
    let (mut site, _) = site(0);
    let with = |site: &Site, more: &[&str], code| {
        let url = &*site.url;
        site.home.fails(&[&["audit", "--server", url], more].concat(), code)
    };
    assert!(with(&site, &["--endpoint", "nobody"], 1).contains("there is no endpoint nobody"));
    assert!(with(&site, &["--endpoint", "billing", "--since", "yesterday"], 2).contains("--since"));
    with(&site, &["--app", "acme"], 2);
    site.stop();
    with(&site, &["--endpoint", "billing"], 7);
}
